//! Whole brokers on one store.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::support::TestBroker;
use crate::support::client::{PATIENCE, get};
use crate::support::database::Mood;
use crate::support::leaks::Observed as _;
use crate::support::redis::Redis;

const READ: &str = "shop-db/read";

async fn broker(port: u16) -> TestBroker {
    let builder = TestBroker::builder().setting(&Redis::setting(port));
    builder.start().await
}

async fn until_ready(broker: &TestBroker, status: u16) -> serde_json::Value {
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            let answer = get(broker.operator(), "/readyz").await;
            if answer.status == status {
                return answer.json();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    waited
        .await
        .unwrap_or_else(|_| panic!("/readyz was never {status}"))
}

/// T-72
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_brokers_on_one_store_mint_one_credential_for_one_token() {
    let redis = Redis::start();
    let brokers = [
        Arc::new(broker(redis.port()).await),
        Arc::new(broker(redis.port()).await),
    ];
    for broker in &brokers {
        until_ready(broker, 200).await;
    }
    for credential in [READ, "deploy-api"] {
        let token = brokers[0].github(|_| {});
        let mut asked = tokio::task::JoinSet::new();
        for n in 0..100 {
            let (broker, token) = (Arc::clone(&brokers[n % 2]), token.clone());
            asked.spawn(async move {
                let answer = broker.exchange(&token, credential).await;
                (answer.status, answer.reason())
            });
        }
        let answers = asked.join_all().await;
        let granted = answers.iter().filter(|(status, _)| *status == 200).count();
        assert_eq!(granted, 1, "{credential}: {answers:?}");
        for (status, reason) in answers {
            assert!(
                status == 200 || reason == "token.replayed" || reason == "limit.rate",
                "{status} {reason}"
            );
        }
    }
    assert_eq!(
        brokers[0].database.minted() + brokers[1].database.minted(),
        1
    );
}

/// T-106, T-110
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_brokers_on_one_store_give_one_login_for_one_key() {
    let redis = Redis::start();
    let brokers = [
        Arc::new(broker(redis.port()).await),
        Arc::new(broker(redis.port()).await),
    ];
    let token = brokers[0].github(|_| {});
    let key = "Zx4Kt8Wq1Lm6Rv3Bn9Cd2Fh7Js5Gp0Ya";
    let mut asked = tokio::task::JoinSet::new();
    for n in 0..50 {
        let (broker, token) = (Arc::clone(&brokers[n % 2]), token.clone());
        asked.spawn(async move {
            let headers = [("Idempotency-Key", key)];
            let answer = broker.exchange_with(&token, READ, &[], &headers).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            let json = answer.json();
            (
                json["hallpass"]["credential"]["username"].clone(),
                json["hallpass"]["expires_at"].clone(),
            )
        });
    }
    let given = asked.join_all().await;
    assert!(given.iter().all(|login| *login == given[0]), "{given:?}");
    let mut firsts = 0;
    for broker in &brokers {
        let intents = broker.events("intent").await;
        firsts += intents
            .iter()
            .filter(|intent| intent["repeat"] == false)
            .count();
        assert!(intents.iter().all(|intent| intent["replay"] == "shared"));
    }
    assert_eq!(firsts, 1);
}

/// T-72
#[tokio::test]
async fn a_shared_store_says_so_and_readiness_shows_how_it_is() {
    let mut redis = Redis::start();
    let broker = broker(redis.port()).await;
    let ready = until_ready(&broker, 200).await;
    assert_eq!(ready["replay"], "shared");
    assert!(ready["replay_store"]["problem"].is_null());
    assert_eq!(broker.events("policies").await[0]["replay"], "shared");
    redis.crash();
    let ready = until_ready(&broker, 503).await;
    assert!(ready["replay_store"]["problem"].is_string(), "{ready}");
    let metrics = get(broker.operator(), "/metrics").await.body;
    assert!(
        metrics.contains("hallpass_used_tokens_usable 0"),
        "{metrics}"
    );
    redis.restart();
    until_ready(&broker, 200).await;
}

/// T-70
#[tokio::test]
async fn a_store_in_memory_that_is_full_refuses_and_is_counted() {
    let setting = "replay: { store: memory, capacity: 2 }";
    let broker = TestBroker::builder().setting(setting).start().await;
    let tokens = [(); 3].map(|()| broker.github(|_| {}));
    for token in &tokens[..2] {
        assert_eq!(broker.exchange(token, READ).await.status, 200);
    }
    let refused = broker.exchange(&tokens[2], READ).await;
    assert_eq!(
        (refused.status, refused.reason().as_str()),
        (503, "limit.replay")
    );
    assert!(refused.header("retry-after").is_some());
    assert_eq!(
        broker.exchange(&tokens[0], READ).await.reason(),
        "token.replayed"
    );
    assert_eq!(broker.database.minted(), 2);
    let metrics = get(broker.operator(), "/metrics").await.body;
    for line in ["hallpass_used_tokens 2", "hallpass_used_tokens_capacity 2"] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

/// T-70, T-98
#[tokio::test]
async fn a_broker_starts_without_its_store_and_mints_nothing_until_it_is_there() {
    let mut redis = Redis::start();
    redis.crash();
    let began = Instant::now();
    let broker = broker(redis.port()).await;
    let token = broker.github(|job| {
        job.issued_at = hallpass::clock::Timestamp::from_unix(crate::support::tokens::NOW + 1);
    });
    for _ in 0..20 {
        let answer = broker.exchange(&token, READ).await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (503, "limit.replay"),
            "{}",
            answer.body
        );
    }
    assert!(
        began.elapsed() < PATIENCE,
        "an exchange waited for each try"
    );
    assert_eq!(broker.database.started(), 0);
    assert!(broker.events("intent").await.is_empty());
    redis.restart();
    until_ready(&broker, 200).await;
    broker.clock.advance(Duration::from_secs(2));
    assert_eq!(broker.exchange(&token, READ).await.status, 200);
}

/// T-89, T-90
#[tokio::test]
async fn a_store_that_dies_between_use_and_mint_changes_nothing_of_it() {
    let mut redis = Redis::start();
    let broker = broker(redis.port()).await;
    until_ready(&broker, 200).await;
    let token = broker.github(|_| {});
    broker.database.gate.forget_permits(1_000);
    let (answer, ()) = tokio::join!(broker.exchange(&token, READ), async {
        while broker.database.started() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        redis.crash();
        broker.database.gate.add_permits(1_000);
    });
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(broker.events("outcome").await.len(), 1);
    // Its use is lost with the server, and the token is not opened by that.
    redis.restart();
    until_ready(&broker, 200).await;
    let again = broker.exchange(&token, READ).await;
    assert_eq!(
        (again.status, again.reason().as_str()),
        (400, "token.before_start")
    );
    assert_eq!(broker.database.minted(), 1);
}

/// T-69
#[tokio::test]
async fn a_failed_mint_gives_the_use_back_also_when_the_store_was_away() {
    let redis = Redis::start();
    let broker = broker(redis.port()).await;
    until_ready(&broker, 200).await;
    let token = broker.github(|_| {});
    broker.database.gate.forget_permits(1_000);
    broker.database.mood(Mood::Refuses);
    let (answer, ()) = tokio::join!(broker.exchange(&token, READ), async {
        while broker.database.started() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        redis.pause();
        broker.database.gate.add_permits(1_000);
    });
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (503, "database.unreachable")
    );
    assert_eq!(
        redis_uses_after_resume(&redis).await,
        0,
        "the use was never given back"
    );
    broker.database.mood(Mood::Good);
    until_ready(&broker, 200).await;
    assert_eq!(broker.exchange(&token, READ).await.status, 200);
}

async fn redis_uses_after_resume(redis: &Redis) -> usize {
    redis.resume();
    let began = Instant::now();
    loop {
        let uses = redis.uses().len();
        if uses == 0 || began.elapsed() > PATIENCE {
            return uses;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// T-70, T-98
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_dies_while_many_exchange_lets_no_token_in_twice() {
    let mut redis = Redis::start();
    let broker = Arc::new(broker(redis.port()).await);
    until_ready(&broker, 200).await;
    let tokens: Vec<String> = (0..50).map(|_| broker.github(|_| {})).collect();
    let mut asked = tokio::task::JoinSet::new();
    for token in tokens.clone() {
        let broker = Arc::clone(&broker);
        asked.spawn(async move {
            let answer = broker.exchange(&token, READ).await;
            (answer.status, answer.reason(), token)
        });
    }
    // In the middle: as soon as the first is done.
    let first = asked.join_next().await.unwrap().unwrap();
    redis.crash();
    let mut answers = vec![first];
    answers.extend(asked.join_all().await);
    let mut granted = Vec::new();
    for (status, reason, token) in answers {
        match status {
            200 => granted.push(token),
            _ => assert_eq!((status, reason.as_str()), (503, "limit.replay")),
        }
    }
    assert_eq!(broker.database.minted(), granted.len());
    redis.restart();
    until_ready(&broker, 200).await;
    for token in &tokens {
        let answer = broker.exchange(token, READ).await;
        assert!(
            answer.status == 400 || answer.status == 429,
            "{}",
            answer.body
        );
    }
    assert_eq!(broker.database.minted(), granted.len());
}

/// T-98
#[tokio::test]
async fn the_check_reads_the_files_that_the_store_needs() {
    for (setting, said) in [
        (
            "password: { file: none }",
            "none`: No such file or directory",
        ),
        ("ca: none.pem", "none.pem` cannot be read"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let root = hallpass::rootkey::RootKey::generate().unwrap();
        crate::support::broker::write_root_key(&folder.path().join("root.key"), &root);
        std::fs::create_dir(folder.path().join("policies")).unwrap();
        let policies = "issuers: { github: { provider: github, tenants: [ { owner: acme, owner_id: \"1\" } ] } }\n";
        std::fs::write(folder.path().join("policies/root.yaml"), policies).unwrap();
        let settings = format!(
            "issuer: https://hallpass.example\nroot_key: {{ file: root.key }}\npolicies: {{ path: policies }}\n\
             audit: {{ sinks: [ {{ kind: stdout, required: true }} ] }}\n\
             replay: {{ store: redis, url: \"rediss://127.0.0.1:1\", {setting} }}\n"
        );
        let config = folder.path().join("hallpass.yaml");
        std::fs::write(&config, settings).unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_hallpass"))
            .args(["serve", "--check", "--config"])
            .arg(&config)
            .observed();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(5), "{text}");
        assert!(
            text.contains(said) && text.contains("see `replay:`"),
            "{text}"
        );
    }
}

/// T-69
#[tokio::test]
async fn a_denial_burns_nothing_and_the_token_is_good_once_the_policy_is_fixed() {
    let redis = Redis::start();
    let narrow =
        crate::support::broker::POLICIES.replace("ref: refs/heads/main", "ref: refs/heads/other");
    assert!(narrow.contains("refs/heads/other"));
    let setting = Redis::setting(redis.port());
    let before = TestBroker::builder()
        .policies(&narrow)
        .setting(&setting)
        .start()
        .await;
    let after = TestBroker::builder().setting(&setting).start().await;
    let token = before.github(|_| {});
    assert_eq!(before.exchange(&token, READ).await.status, 400);
    assert_eq!(after.exchange(&token, READ).await.status, 200);
    assert_eq!(before.exchange(&token, READ).await.status, 400);
}
