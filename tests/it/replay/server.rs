//! A real server that is lost, full, foreign, misconfigured or somebody else: nothing is taken there
//! that could have been taken before.

use std::fs;
use std::time::Duration;

use hallpass::clock::Timestamp;
use hallpass::dev::issuer::GithubJob;
use hallpass::replay::redis::RedisSettings;
use hallpass::replay::{ReplayError, Reserved};
use hallpass::secret::{Secret, SecretSource};
use tokio::time::Instant;

use super::proxy::Proxy;
use super::stage::{DEPLOY, READ, Stage, settings};
use crate::support::redis::Redis;
use crate::support::tokens::NOW;

/// More than any wait in a store, and little enough to catch a hang.
const SOON: Duration = Duration::from_secs(8);

fn problem(given: Result<Reserved, ReplayError>) -> String {
    match given {
        Err(ReplayError::Unavailable { problem }) => problem,
        other => panic!("it was not refused: {other:?}"),
    }
}

fn later(seconds: i64) -> impl FnOnce(&mut GithubJob) {
    move |job| job.issued_at = Timestamp::from_unix(NOW + seconds)
}

fn password(text: &str) -> SecretSource {
    SecretSource::Value(Secret::new(text.to_owned()))
}

/// T-70, T-72
#[tokio::test]
async fn a_server_that_nobody_knows_refuses_tokens_from_before_it_was_seen() {
    let stage = Stage::on(Redis::fresh(&[])).await;
    stage.ready().await;
    let old = stage.broker.github(|_| {});
    assert_eq!(
        stage.take(&old, READ).await.unwrap_err(),
        ReplayError::IssuedBeforeStore
    );
    stage.clock().advance(Duration::from_secs(2));
    let new = stage.broker.github(later(1));
    stage.take(&new, READ).await.unwrap();
    assert!(matches!(
        stage.take(&new, READ).await,
        Err(ReplayError::Replayed { .. })
    ));
}

/// T-70, T-72
#[tokio::test]
async fn a_store_that_was_emptied_is_noticed() {
    let mut stage = Stage::redis().await;
    let token = stage.broker.github(|_| {});
    stage.take(&token, READ).await.unwrap();
    stage.server().say(&["FLUSHALL"]);
    insta::assert_snapshot!(stage.take(&token, READ).await.unwrap_err(), @"the store of used tokens was reset after the subject token was issued; request a new ID token from the CI");
    stage.clock().advance(Duration::from_secs(2));
    let new = stage.broker.github(later(1));
    stage.take(&new, READ).await.unwrap();
}

/// T-70, T-72
#[tokio::test]
async fn a_server_that_died_and_lost_its_data_opens_no_token() {
    let mut stage = Stage::redis().await;
    let token = stage.broker.github(|_| {});
    stage.take(&token, READ).await.unwrap();
    stage.server().crash();
    let began = Instant::now();
    assert!(
        stage
            .take(&stage.broker.github(|_| {}), READ)
            .await
            .is_err()
    );
    assert!(began.elapsed() < SOON);
    stage.server().restart();
    stage.ready().await;
    assert_eq!(
        stage.take(&token, READ).await.unwrap_err(),
        ReplayError::IssuedBeforeStore
    );
}

/// T-70, T-72
#[tokio::test]
async fn a_server_that_came_back_with_an_old_copy_trusts_only_newer_tokens() {
    let mut stage = Stage::redis().await;
    let (saved, lost) = (stage.broker.github(|_| {}), stage.broker.github(|_| {}));
    stage.take(&saved, READ).await.unwrap();
    stage.server().say(&["SAVE"]);
    stage.take(&lost, READ).await.unwrap();
    stage.server().crash();
    stage.server().restart();
    stage.ready().await;
    assert_eq!(stage.server().uses().len(), 1, "it did not load its copy");
    assert!(matches!(
        stage.take(&saved, READ).await,
        Err(ReplayError::Replayed { .. })
    ));
    assert_eq!(
        stage.take(&lost, READ).await.unwrap_err(),
        ReplayError::IssuedBeforeStore
    );
}

/// T-70
#[tokio::test]
async fn a_full_server_refuses_and_forgets_nothing() {
    let mut stage = Stage::redis().await;
    let token = stage.broker.github(|_| {});
    stage.take(&token, READ).await.unwrap();
    stage
        .server()
        .say(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    stage.server().say(&["CONFIG", "SET", "maxmemory", "1"]);
    let new = stage.broker.github(|_| {});
    insta::assert_snapshot!(problem(stage.take(&new, READ).await), @"is full (OOM); give it more `maxmemory`");
    assert!(matches!(
        stage.take(&token, READ).await,
        Err(ReplayError::Replayed { .. })
    ));
    stage.server().say(&["CONFIG", "SET", "maxmemory", "0"]);
    stage.take(&new, READ).await.unwrap();
}

/// T-70
#[tokio::test]
async fn a_server_that_evicts_is_refused_from_the_start_and_later() {
    let stage = Stage::on(Redis::fresh(&[
        "--maxmemory",
        "100mb",
        "--maxmemory-policy",
        "allkeys-lru",
    ]))
    .await;
    let token = stage.broker.github(|_| {});
    insta::assert_snapshot!(problem(stage.take(&token, READ).await), @"forgets used tokens when its memory is full; set its `maxmemory-policy` to `noeviction`");
    let mut stage = Stage::redis().await;
    stage.ready().await;
    stage.server().say(&["CONFIG", "SET", "maxmemory", "100mb"]);
    stage
        .server()
        .say(&["CONFIG", "SET", "maxmemory-policy", "volatile-ttl"]);
    assert!(stage.problem().await.contains("noeviction"));
    problem(stage.take(&token, READ).await);
}

/// T-70: the run's record has no expiry, so what evicts only keys with one leaves it.
#[tokio::test]
async fn a_server_that_evicted_between_two_checks_opens_no_token() {
    let mut stage = Stage::redis().await;
    let token = stage.broker.github(|_| {});
    stage.take(&token, READ).await.unwrap();
    let server = stage.server();
    server.say(&["CONFIG", "SET", "maxmemory-policy", "volatile-random"]);
    server.say(&["CONFIG", "SET", "maxmemory", "1"]);
    // It evicts all it may, and refuses the key all the same.
    assert!(server.try_say(&["SET", "other", "1"]).is_err());
    server.say(&["CONFIG", "SET", "maxmemory", "0"]);
    server.say(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    assert_eq!(server.uses(), Vec::<String>::new(), "nothing was evicted");
    assert!(!server.say(&["GET", "hallpass:run"]).is_empty());
    let found = stage.take(&token, READ).await;
    assert!(found.is_err(), "{found:?}");
    stage.ready().await;
    assert_eq!(
        stage.take(&token, READ).await.unwrap_err(),
        ReplayError::IssuedBeforeStore
    );
}

/// T-70
#[tokio::test]
async fn a_use_has_an_end_on_the_server_and_not_before_its_token() {
    let mut stage = Stage::redis().await;
    let token = stage.broker.github(|_| {});
    stage.take(&token, READ).await.unwrap();
    let names = stage.server().uses();
    let left = stage.server().say(&["TTL", &names[0]]);
    let left: i64 = left.trim_start_matches(':').parse().unwrap();
    // Five minutes, thirty seconds of leeway, and what clocks may step by.
    assert!((901..=931).contains(&left), "{left}");
    // A repeat does not move it to the end of time.
    stage.take_with(&token, "k1").await.unwrap();
    stage.take_with(&token, "k1").await.unwrap();
    for name in stage.server().uses() {
        assert!(
            !stage.server().say(&["TTL", &name]).contains("-1"),
            "{name}"
        );
    }
}

/// T-92
#[tokio::test]
async fn the_server_holds_hashes_and_times_alone() {
    let mut stage = Stage::redis().await;
    let token = stage.broker.github(|_| {});
    stage
        .take_with(&token, "canary-5d1f4c7e-of-the-test")
        .await
        .unwrap();
    let names = stage.server().uses();
    let held = format!("{}{}", names[0], stage.server().say(&["GET", &names[0]]));
    for part in token
        .split('.')
        .chain(["canary", "github", "acme", "shop", "deploy"])
    {
        assert!(!held.contains(part), "{part} in {held}");
    }
    assert!(held.contains("req_first"), "{held}");
}

/// T-70, T-98
#[tokio::test]
async fn what_somebody_else_wrote_under_our_keys_is_refused() {
    let mut stage = Stage::redis().await;
    let token = stage.broker.github(|_| {});
    stage.take_with(&token, "k1").await.unwrap();
    let name = stage.server().uses().remove(0);
    let good = stage.server().say(&["GET", &name]);
    let parts: Vec<&str> = good.split(' ').collect();
    let with = |place: usize, text: &str| {
        let mut parts = parts.clone();
        parts[place] = text;
        parts.join(" ")
    };
    let long = "x".repeat(100_000);
    let far = (NOW + 1_000_000).to_string();
    for value in [
        "",
        "1",
        "taken",
        "\r\n\0",
        long.as_str(),
        &with(0, "hp2"),
        &with(1, "x"),
        &with(2, "zz"),
        &with(3, "+"),
        &with(4, "abc"),
        // A credential that lives for eleven days, or begins in the future.
        &with(6, &far),
        &with(5, &far),
        &with(5, "-"),
        &with(6, "99999999999999999999"),
        &with(8, "a\u{1b}[2J"),
        &with(8, &"r".repeat(65)),
        &format!("{good} more"),
    ] {
        stage.server().say(&["SET", &name, value]);
        let given = stage.take_with(&token, "k1").await;
        assert!(
            matches!(given, Err(ReplayError::Unavailable { .. })),
            "{value:?}: {given:?}"
        );
    }
    for command in [
        vec!["RPUSH", &name, "x"],
        vec!["HSET", &name, "u", "x"],
        vec!["SADD", &name, "x"],
    ] {
        stage.server().say(&["DEL", &name]);
        stage.server().say(&command);
        let said = problem(stage.take_with(&token, "k1").await);
        assert_eq!(
            said,
            "has an unexpected value under `replay.prefix`; check what else writes keys with this prefix"
        );
    }
    stage.server().say(&["DEL", &name]);
    for record in ["", "garbage", "hp1 run", "hp1 abc 99999999999", "hp2 abc 1"] {
        stage.server().say(&["SET", "hallpass:run", record]);
        let given = stage.take_with(&token, "k1").await;
        assert!(
            matches!(given, Err(ReplayError::Unavailable { .. })),
            "{record:?}: {given:?}"
        );
    }
    assert!(stage.server().uses().is_empty());
}

/// T-90
#[tokio::test]
async fn an_answer_that_was_lost_is_asked_for_again_and_is_ours_alone() {
    let redis = Redis::start();
    let proxy = Proxy::start(redis.port()).await;
    let stage = Stage::through(proxy.port).await;
    stage.ready().await;
    let token = stage.broker.github(|_| {});
    proxy.cut_the_next_answer();
    let given = stage.take(&token, READ).await.unwrap();
    assert!(proxy.has_cut(), "no answer was lost");
    assert!(!given.is_repeat());
    assert_eq!(redis.uses().len(), 1);
    // Nobody else's: also not under the same id of a request.
    assert!(matches!(
        stage.take(&token, READ).await,
        Err(ReplayError::Replayed { .. })
    ));
    stage.store.release(&given.slot()).await;
    assert!(redis.uses().is_empty());
}

/// T-70, T-98
#[tokio::test]
async fn a_server_that_hangs_is_given_up_in_time_and_used_again_when_it_answers() {
    let mut stage = Stage::redis().await;
    stage.ready().await;
    let (during, after) = (stage.broker.github(|_| {}), stage.broker.github(|_| {}));
    stage.server().pause();
    let began = Instant::now();
    problem(stage.take(&during, READ).await);
    assert!(began.elapsed() < SOON);
    stage.problem().await;
    // Now nobody waits for it.
    for _ in 0..50 {
        problem(stage.take(&after, READ).await);
    }
    assert!(began.elapsed() < SOON);
    stage.server().resume();
    stage.ready().await;
    stage.take(&after, READ).await.unwrap();
    // The server took the first one after all; nothing was minted for it, so it is given back.
    let waited = Instant::now();
    while stage.take(&during, READ).await.is_err() {
        assert!(waited.elapsed() < 2 * SOON, "it was never given back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// T-70
#[tokio::test]
async fn a_port_that_accepts_and_never_answers_is_unusable_and_holds_up_nobody() {
    let redis = Redis::start();
    let proxy = Proxy::start(redis.port()).await;
    proxy.silence(true);
    let began = Instant::now();
    let stage = Stage::through(proxy.port).await;
    let token = stage.broker.github(|_| {});
    insta::assert_snapshot!(problem(stage.take(&token, READ).await), @"did not answer in time");
    assert!(began.elapsed() < SOON);
    proxy.silence(false);
    stage.ready().await;
    stage.take(&token, READ).await.unwrap();
}

/// A token that was used on a server whose clock a proxy can change, and a server that has forgotten
/// the use, as if it had ended with that clock.
async fn used_and_forgotten() -> (Redis, Proxy, Stage, String) {
    let redis = Redis::start();
    let proxy = Proxy::start(redis.port()).await;
    let stage = Stage::through(proxy.port).await;
    stage.ready().await;
    let token = stage.broker.github(|_| {});
    stage.take(&token, READ).await.unwrap();
    let name = redis.uses().remove(0);
    redis.say(&["DEL", &name]);
    (redis, proxy, stage, token)
}

/// T-70, T-73
#[tokio::test]
async fn a_server_whose_clock_runs_ahead_takes_nothing_and_begins_anew() {
    let (redis, proxy, stage, token) = used_and_forgotten().await;
    proxy.clock_is_ahead(599);
    stage
        .take(&stage.broker.github(|_| {}), READ)
        .await
        .unwrap();
    proxy.clock_is_ahead(700);
    let given = stage.take(&token, READ).await;
    assert!(given.is_err(), "{given:?}");
    proxy.clock_is_ahead(0);
    stage
        .until("it begins anew", |_| {
            !redis
                .say(&["GET", "hallpass:run"])
                .ends_with(&(NOW - 1_000).to_string())
        })
        .await;
    stage.ready().await;
    let other = stage.broker.github(|_| {});
    assert_eq!(
        stage.take(&other, READ).await.unwrap_err(),
        ReplayError::IssuedBeforeStore
    );
}

/// T-70, T-73
#[tokio::test]
async fn a_server_whose_clock_ran_ahead_while_nobody_was_connected_begins_anew() {
    let (_redis, proxy, stage, token) = used_and_forgotten().await;
    // As if the connection had broken before.
    proxy.cut_all();
    proxy.clock_is_ahead(700);
    stage
        .until("it is connected again", |_| proxy.connections() > 1)
        .await;
    stage.ready().await;
    assert_eq!(
        stage.take(&token, READ).await.unwrap_err(),
        ReplayError::IssuedBeforeStore
    );
}

/// T-70, T-98
#[tokio::test]
async fn a_server_of_another_kind_is_named() {
    let token = |stage: &Stage| stage.broker.github(|_| {});
    let stage = Stage::on(Redis::fresh(&["--cluster-enabled", "yes"])).await;
    insta::assert_snapshot!(problem(stage.take(&token(&stage), READ).await), @"is a cluster, which is not supported; use one server, or a managed one without cluster mode");
    let primary = Redis::start();
    let port = primary.port().to_string();
    let mut stage = Stage::redis().await;
    stage.ready().await;
    stage.server().say(&["REPLICAOF", "127.0.0.1", &port]);
    let said = problem(stage.take(&token(&stage), READ).await);
    assert!(
        said.contains("read-only replica") || said.contains("time") || said.contains("loading"),
        "{said}"
    );
    assert!(stage.problem().await.contains("read-only replica"));
    let stage = Stage::through(stage.broker.public().port()).await;
    problem(stage.take(&token(&stage), READ).await);
}

/// T-98
#[tokio::test]
async fn only_the_right_password_is_let_in() {
    let redis = Redis::with_password("canary-81f2-right");
    redis.known_for_long();
    let with = |user: Option<&str>, password: Option<SecretSource>| RedisSettings {
        user: user.map(str::to_owned),
        password,
        ..settings(redis.port())
    };
    let token = |stage: &Stage| stage.broker.github(|_| {});
    let stage = Stage::with(with(None, Some(password("canary-81f2-right")))).await;
    stage.take(&token(&stage), READ).await.unwrap();
    let stage = Stage::with(with(None, None)).await;
    insta::assert_snapshot!(problem(stage.take(&token(&stage), READ).await), @"requires authentication; set `replay.password`");
    let stage = Stage::with(with(None, Some(password("canary-81f2-wrong")))).await;
    insta::assert_snapshot!(problem(stage.take(&token(&stage), READ).await), @"refused the login; see `replay.user` and `replay.password`");
    let stage = Stage::with(with(None, Some(SecretSource::File("/nowhere/pw".into())))).await;
    assert!(problem(stage.take(&token(&stage), READ).await).contains("cannot be read"));
    // What `docs/operations.md` says our user must be able to do is enough.
    redis.say(&[
        "ACL",
        "SETUSER",
        "hallpass",
        "on",
        ">canary-81f2-user",
        "~hallpass:*",
        "-@all",
        "+eval",
        "+get",
        "+set",
        "+setrange",
        "+del",
        "+info",
        "+time",
    ]);
    let stage = Stage::with(with(Some("hallpass"), Some(password("canary-81f2-user")))).await;
    stage.take(&token(&stage), READ).await.unwrap();
    redis.say(&["ACL", "SETUSER", "hallpass", "-set"]);
    insta::assert_snapshot!(problem(stage.take(&token(&stage), READ).await), @"denies `replay.user` a command that hallpass needs; `docs/operations.md` lists these commands");
}

/// T-98
#[tokio::test]
async fn a_password_that_was_wrong_or_has_changed_is_read_again() {
    let mut redis = Redis::with_password("canary-81f2-right");
    redis.known_for_long();
    let file = redis.file("password");
    fs::write(&file, "canary-81f2-wrong\n").unwrap();
    let stage = Stage::with(RedisSettings {
        password: Some(SecretSource::File(file.clone())),
        ..settings(redis.port())
    })
    .await;
    let said = stage.problem().await;
    assert!(said.contains("refused the login"), "{said}");
    fs::write(&file, "canary-81f2-right\n").unwrap();
    stage.ready().await;
    stage
        .take(&stage.broker.github(|_| {}), READ)
        .await
        .unwrap();
    fs::write(&file, "canary-81f2-next\n").unwrap();
    redis.say(&["CONFIG", "SET", "requirepass", "canary-81f2-next"]);
    redis.password = Some("canary-81f2-next".to_owned());
    redis.say(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    stage
        .until("the connection is lost", |problem| problem.is_some())
        .await;
    stage.ready().await;
    stage
        .take(&stage.broker.github(|_| {}), READ)
        .await
        .unwrap();
}

/// T-98
#[tokio::test]
async fn tls_trusts_the_configured_ca_and_no_other() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let redis = Redis::with_tls(&made.cert.pem(), &made.signing_key.serialize_pem());
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(redis.file("other.pem"), other.cert.pem()).unwrap();
    let with = |host: &str, tls: bool, ca: Option<&str>| RedisSettings {
        host: host.to_owned(),
        tls,
        ca: ca.map(|name| redis.file(name)),
        ..settings(redis.port())
    };
    let token = |stage: &Stage| stage.broker.github(later(1));
    let good = Stage::with(with("localhost", true, Some("cert.pem"))).await;
    good.ready().await;
    good.clock().advance(Duration::from_secs(2));
    good.take(&token(&good), DEPLOY).await.unwrap();
    for (case, settings) in [
        ("another CA", with("localhost", true, Some("other.pem"))),
        ("public CAs", with("localhost", true, None)),
        ("another name", with("127.0.0.1", true, Some("cert.pem"))),
    ] {
        let stage = Stage::with(settings).await;
        assert!(
            stage.problem().await.contains("cannot be trusted"),
            "{case}"
        );
        problem(stage.take(&stage.broker.github(|_| {}), DEPLOY).await);
    }
    let clear = Stage::with(with("localhost", false, None)).await;
    problem(clear.take(&clear.broker.github(|_| {}), DEPLOY).await);
}
