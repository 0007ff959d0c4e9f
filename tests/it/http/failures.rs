//! What fails behind the doors: sinks, mints, clients that go away, bugs.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use hallpass::clock::Timestamp;
use hallpass::config::Limits;
use hallpass::dev::issuer::{GithubJob, github_claims};
use hallpass::http::log_subscriber;
use hallpass::token::TrustedIssuer;
use hallpass::token::keys::{FileKeys, KeyError, KeySet, KeySource};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::support::TestBroker;
use crate::support::broker::GITHUB;
use crate::support::client::{Answer, form, get, post_form};
use crate::support::database::{CANARY, Mood};
use crate::support::leaks::Log;
use crate::support::tokens::{NOW, TestKey, jwks};
use crate::support::wait::until;

/// T-89
#[tokio::test]
async fn what_cannot_be_recorded_is_not_minted() {
    let broker = TestBroker::start().await;
    let token = broker.github(|_| {});
    broker.sink.fail(true);
    for _ in 0..2 {
        let answer = broker.exchange(&token, "shop-db/read").await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (503, "sink.failed")
        );
        assert!(answer.header("retry-after").is_some());
    }
    assert_eq!(broker.database.started(), 0);
    let ready = get(broker.operator(), "/readyz").await;
    assert_eq!(ready.status, 503, "{}", ready.body);
}

/// T-89
#[tokio::test]
async fn a_credential_whose_outcome_cannot_be_recorded_is_revoked_and_not_handed_over() {
    let broker = TestBroker::start().await;
    let token = broker.github(|_| {});
    broker.database.gate.forget_permits(1_000);
    let (answer, ()) = tokio::join!(broker.exchange(&token, "shop-db/read"), async {
        until("the mint began", async || broker.database.started() == 1).await;
        broker.sink.fail(true);
        broker.database.gate.add_permits(1);
    });
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (503, "sink.failed")
    );
    assert_eq!((broker.database.minted(), broker.database.live()), (1, 0));
}

/// Breaks one part of a broker.
type Break = fn(&TestBroker);

/// T-98
#[tokio::test]
async fn whatever_stage_fails_nothing_is_handed_out() {
    let good = |broker: &TestBroker| broker.github(|_| {});
    // Each stage in its order, broken while all others work; and what the answer is.
    let stages: [(&str, Break, u16); 7] = [
        (
            "the clock",
            |broker| broker.clock.step(Timestamp::from_unix(0)),
            503,
        ),
        (
            "the times",
            |broker| broker.clock.advance(Duration::from_secs(7_200)),
            400,
        ),
        ("the record", |broker| broker.sink.fail(true), 503),
        (
            "a mint that refuses",
            |broker| broker.database.mood(Mood::Refuses),
            503,
        ),
        (
            "a mint that breaks off",
            |broker| broker.database.mood(Mood::BreaksOff),
            503,
        ),
        (
            "a mint that panics",
            |broker| broker.database.mood(Mood::Panics),
            500,
        ),
        (
            "a mint that never ends",
            |broker| {
                broker.database.gate.forget_permits(1_000);
            },
            408,
        ),
    ];
    for (name, break_it, status) in stages {
        let limits = Limits {
            request_time: Duration::from_millis(if status == 408 { 300 } else { 10_000 }),
            ..Limits::default()
        };
        let broker = TestBroker::builder().limits(limits).start().await;
        let token = good(&broker);
        break_it(&broker);
        let answer = broker.exchange(&token, "shop-db/read").await;
        assert_eq!(answer.status, status, "{name}: {}", answer.body);
        for secret in ["access_token", "hpl_", CANARY] {
            assert!(!answer.body.contains(secret), "{name}: {}", answer.body);
        }
        assert_eq!(broker.database.live(), 0, "{name}");
    }
}

/// T-69
#[tokio::test]
async fn a_mint_that_made_nothing_gives_the_token_back() {
    let broker = TestBroker::start().await;
    let token = broker.github(|_| {});
    broker.database.mood(Mood::Refuses);
    let answer = broker.exchange(&token, "shop-db/read").await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (503, "database.unreachable")
    );
    broker.database.mood(Mood::Good);
    assert_eq!(broker.exchange(&token, "shop-db/read").await.status, 200);
}

/// T-90
#[tokio::test]
async fn a_mint_that_may_have_happened_keeps_the_token_used() {
    let broker = TestBroker::start().await;
    let token = broker.github(|_| {});
    broker.database.mood(Mood::BreaksOff);
    assert_eq!(broker.exchange(&token, "shop-db/read").await.status, 503);
    broker.database.mood(Mood::Good);
    let answer = broker.exchange(&token, "shop-db/read").await;
    assert_eq!(answer.reason(), "token.replayed", "{}", answer.body);
    assert_eq!(broker.database.minted(), 0);
}

/// Sends an exchange, waits until its mint began, goes away, and lets the mint go on when the
/// broker knows.
async fn abandon(broker: &TestBroker, token: &str, headers: &str) {
    let stream = ask_and_hold_the_mint(broker, token, headers).await;
    leave(broker, stream).await;
    broker.database.gate.add_permits(1_000);
    until("the outcome is on record", async || {
        !broker.events("outcome").await.is_empty()
    })
    .await;
}

/// An exchange whose mint has begun, and waits for a place at the gate.
async fn ask_and_hold_the_mint(broker: &TestBroker, token: &str, headers: &str) -> TcpStream {
    broker.database.gate.forget_permits(1_000);
    let body = form(&[
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("subject_token", token),
        (
            "subject_token_type",
            "urn:ietf:params:oauth:token-type:id_token",
        ),
        ("audience", "shop-db/read"),
    ]);
    let head = format!(
        "POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         {headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(broker.public()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    until("the mint began", async || broker.database.started() == 1).await;
    stream
}

/// The client goes, and the broker knows.
async fn leave(broker: &TestBroker, stream: TcpStream) {
    drop(stream);
    until("the broker saw the client go", async || {
        get(broker.operator(), "/metrics")
            .await
            .body
            .contains(r#"status="499""#)
    })
    .await;
}

/// T-90
#[tokio::test]
async fn a_credential_whose_client_is_gone_is_revoked_and_recorded_as_undelivered() {
    let broker = TestBroker::start().await;
    let token = broker.github(|_| {});
    abandon(&broker, &token, "").await;
    let outcomes = broker.events("outcome").await;
    assert_eq!(outcomes.len(), 1);
    assert_eq!(outcomes[0]["outcome"], "undelivered");
    assert_eq!(outcomes[0]["revoked"], true);
    assert_eq!((broker.database.minted(), broker.database.live()), (1, 0));
    assert_eq!(
        broker.exchange(&token, "shop-db/read").await.reason(),
        "token.replayed"
    );
}

/// T-90: the client goes while it is recorded that it gets its credential.
#[tokio::test]
async fn a_credential_whose_client_goes_at_the_last_moment_is_revoked() {
    let broker = TestBroker::start().await;
    let stream = ask_and_hold_the_mint(&broker, &broker.github(|_| {}), "").await;
    broker.sink.hold(true);
    broker.database.gate.add_permits(1_000);
    until("the outcome is being written", async || {
        broker.sink.is_held()
    })
    .await;
    leave(&broker, stream).await;
    broker.sink.hold(false);
    until("the login is gone", async || broker.database.live() == 0).await;
    let outcomes = broker.events("outcome").await;
    assert_eq!(outcomes[0]["outcome"], "minted");
    assert_eq!(broker.events("revocation").await.len(), 1);
}

/// T-90
#[tokio::test]
async fn with_an_idempotency_key_the_client_that_was_gone_gets_its_credential_at_the_next_try() {
    let broker = TestBroker::start().await;
    let token = broker.github(|_| {});
    let key = "k".repeat(43);
    abandon(&broker, &token, &format!("Idempotency-Key: {key}\r\n")).await;
    let outcomes = broker.events("outcome").await;
    assert_eq!(
        (&outcomes[0]["outcome"], &outcomes[0]["revoked"]),
        (&"undelivered".into(), &false.into())
    );
    let headers = [("Idempotency-Key", key.as_str())];
    let answer = broker
        .exchange_with(&token, "shop-db/read", &[], &headers)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!((broker.database.minted(), broker.database.live()), (1, 1));
}

/// Keys that make who asks for them panic, until told otherwise.
#[derive(Debug)]
struct PanickingKeys {
    panics: AtomicBool,
    good: FileKeys,
}

#[async_trait]
impl KeySource for PanickingKeys {
    async fn keys(
        &self,
        issuer: &Arc<TrustedIssuer>,
        kid: Option<&str>,
    ) -> Result<Arc<KeySet>, KeyError> {
        assert!(!self.panics.load(Ordering::SeqCst), "{CANARY}");
        self.good.keys(issuer, kid).await
    }
}

/// T-94
#[tokio::test]
async fn a_panic_of_any_part_is_one_500_without_its_text_and_the_next_request_is_fine() {
    panics_of_every_part().await;
}

async fn panics_of_every_part() {
    let set = jwks(&[TestKey::rsa("k1").jwk()]);
    let good = FileKeys::new().with_document(&TrustedIssuer::new("github", GITHUB), &set);
    let keys = Arc::new(PanickingKeys {
        panics: AtomicBool::new(true),
        good: good.unwrap(),
    });
    let broker = TestBroker::builder()
        .keys(Arc::clone(&keys) as Arc<_>)
        .start()
        .await;
    let check = |answer: &Answer, name: &str| {
        assert_eq!(
            (answer.status, answer.text("/error").as_str()),
            (500, "server_error"),
            "{name}: {}",
            answer.body
        );
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(answer.text("/request_id").starts_with("req_"));
        assert!(!format!("{}{}", answer.head, answer.body).contains(CANARY));
    };
    let ask = serde_json::json!({ "credential": "shop-db/read" });
    let job = || broker.github(|_| {});
    // The keys, through each door.
    check(&broker.exchange(&job(), "shop-db/read").await, "keys");
    check(
        &broker.credentials(&job(), "shop-db/read").await,
        "keys, JSON door",
    );
    check(
        &broker.ask("/api/explain", &job(), &ask).await,
        "keys, explain",
    );
    keys.panics.store(false, Ordering::SeqCst);
    // The mint, through both doors that mint.
    broker.database.mood(Mood::Panics);
    check(&broker.exchange(&job(), "shop-db/read").await, "mint");
    check(
        &broker.credentials(&job(), "shop-db/read").await,
        "mint, JSON door",
    );
    broker.database.mood(Mood::Good);
    let minted = broker.exchange(&job(), "shop-db/read").await;
    assert_eq!(minted.status, 200, "{}", minted.body);
    for outcome in &broker.events("outcome").await[..2] {
        assert_eq!(
            (&outcome["outcome"], &outcome["reason"]),
            (&"failed".into(), &"bug.panic".into())
        );
    }
    // The end of a lease.
    broker.database.revocations_panic(true);
    let handle = minted.text("/hallpass/lease");
    let revoke = form(&[("token", &handle)]);
    check(
        &post_form(broker.public(), "/revoke", &revoke).await,
        "revoke",
    );
    broker.database.revocations_panic(false);
    let ended = post_form(broker.public(), "/revoke", &revoke).await;
    assert_eq!(ended.status, 200, "{}", ended.body);
    // A sink, which has a thread to lose.
    broker.sink.panic(true);
    let answer = broker.exchange(&job(), "shop-db/read").await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (503, "sink.failed")
    );
    assert_eq!(get(broker.operator(), "/readyz").await.status, 503);
    broker.sink.panic(false);
    until("the sink works again", async || {
        broker.exchange(&job(), "shop-db/read").await.status == 200
    })
    .await;
    assert_eq!(get(broker.operator(), "/readyz").await.status, 200);
    assert!(!broker.sink.text().contains(CANARY));
}

/// T-94
#[test]
fn a_panic_leaves_its_place_on_stderr_and_not_its_text() {
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "http::failures::child_that_panics",
            "--ignored",
            "--nocapture",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stderr).into_owned()
        + &String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{said}");
    for place in ["http/failures.rs", "support/database.rs", "support/sink.rs"] {
        assert!(said.contains(place), "{place}: {said}");
    }
    assert!(said.contains("bug.panic"), "{said}");
    assert!(!said.contains(CANARY), "{said}");
}

#[tokio::test]
#[ignore = "run by the test above, in a process of its own"]
async fn child_that_panics() {
    log_subscriber("trace", io::stderr).try_init().unwrap();
    hallpass::http::install_panic_hook();
    panics_of_every_part().await;
}

/// Every refusal says whether the same request may succeed later, and only then when to try.
#[tokio::test]
async fn a_refusal_says_whether_trying_again_can_help() {
    let limits = Limits {
        per_repository: 4,
        ..Default::default()
    };
    let broker = TestBroker::builder().limits(limits).start().await;
    let token = broker.github(|_| {});
    let check = |answer: &Answer, status, reason: &str, retryable| {
        assert_eq!((answer.status, answer.reason().as_str()), (status, reason));
        assert_eq!(answer.json()["retryable"], retryable, "{}", answer.body);
        let wait = answer.header("retry-after");
        let wait = wait.map(|seconds| seconds.parse::<u64>().unwrap());
        assert_eq!(wait.is_some(), retryable, "{}", answer.head);
        assert!(wait.is_none_or(|seconds| seconds >= 1), "{wait:?}");
    };
    broker.database.mood(Mood::Refuses);
    let answer = broker.exchange(&token, "shop-db/read").await;
    check(&answer, 503, "database.unreachable", true);
    broker.database.mood(Mood::RefusesForGood);
    let answer = broker.exchange(&token, "shop-db/read").await;
    check(&answer, 503, "database.ceiling", false);
    let answer = broker.credentials(&token, "shop-db/read").await;
    check(&answer, 503, "database.ceiling", false);
    let answer = broker.exchange(&token, "invented").await;
    check(&answer, 400, "policy.credential", false);
    let answer = broker.exchange(&token, "shop-db/read").await;
    check(&answer, 429, "limit.rate", true);
}

/// T-73
#[tokio::test]
async fn nothing_is_minted_while_the_clock_jumps() {
    let broker = TestBroker::start().await;
    let token = broker.github(|_| {});
    broker.clock.step(Timestamp::from_unix(NOW + 120));
    let answer = broker.exchange(&token, "shop-db/read").await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (503, "clock.jump")
    );
    assert_eq!(get(broker.operator(), "/readyz").await.status, 503);
    broker.clock.advance(Duration::from_secs(11));
    assert_eq!(broker.exchange(&token, "shop-db/read").await.status, 200);
    assert_eq!(get(broker.operator(), "/readyz").await.status, 200);
}

/// T-73
#[tokio::test]
async fn whatever_the_clock_shows_nothing_is_minted_and_nothing_panics() {
    let broker = TestBroker::start().await;
    let ask = serde_json::json!({ "credential": "shop-db/read" });
    for wall in [i64::MIN, -1, 0, 1, NOW - 86_400, NOW + 86_400, i64::MAX] {
        broker.clock.step(Timestamp::from_unix(wall));
        let token = broker.github(|_| {});
        for answer in [
            broker.exchange(&token, "shop-db/read").await,
            broker.exchange(&token, "deploy-api").await,
            broker.credentials(&token, "shop-db/read").await,
            broker.ask("/api/explain", &token, &ask).await,
        ] {
            assert_eq!(
                (answer.status, answer.reason().as_str()),
                (503, "clock.jump"),
                "{wall}: {}",
                answer.body
            );
            assert_eq!(answer.header("retry-after"), Some("10"));
        }
        let ready = get(broker.operator(), "/readyz").await;
        assert_eq!(ready.status, 503, "{wall}");
        assert!(ready.text("/clock").starts_with("clock.jump: "), "{wall}");
        // Who needs no time is served.
        for path in [
            "/healthz",
            "/.well-known/openid-configuration",
            "/.well-known/jwks.json",
        ] {
            assert_eq!(
                get(broker.public(), path).await.status,
                200,
                "{wall} {path}"
            );
        }
        let revoke = form(&[("token", "hpl_AAAA")]);
        assert_eq!(
            post_form(broker.public(), "/revoke", &revoke).await.status,
            400
        );
    }
    assert_eq!(broker.database.started(), 0);
    assert!(broker.events("intent").await.is_empty());
    broker.clock.step(Timestamp::from_unix(NOW));
    let _ = broker
        .exchange(&broker.github(|_| {}), "shop-db/read")
        .await;
    broker.clock.advance(Duration::from_secs(10));
    let answer = broker
        .exchange(&broker.github(|_| {}), "shop-db/read")
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// All of a good token, but for who signed it.
fn forged() -> String {
    let job = GithubJob::new(GITHUB, TestBroker::issuer(), Timestamp::from_unix(NOW));
    TestKey::other_rsa("k1").token(&github_claims(&job))
}

/// T-92
#[tokio::test]
async fn no_piece_of_a_secret_reaches_a_log_line_or_an_event() {
    let log = Log::default();
    let subscriber = log_subscriber("trace", log.clone());
    let _guard = tracing::subscriber::set_default(subscriber);
    let broker = TestBroker::start().await;
    let tokens = [
        broker.github(|_| {}),
        broker.github(|_| {}),
        broker.github(|job| job.r#ref = "refs/heads/x".to_owned()),
        forged(),
    ];
    let key = "canary-3a7d52c4e1b09f68".to_owned();
    let headers = [("Idempotency-Key", key.as_str())];
    let mut secrets = vec![CANARY.to_owned(), key.clone()];
    for credential in ["shop-db/read", "deploy-api"] {
        for token in &tokens {
            let answer = broker.exchange_with(token, credential, &[], &headers).await;
            if answer.status == 200 {
                secrets.push(answer.text("/access_token"));
                secrets.push(answer.text("/hallpass/lease"));
            }
            broker.exchange(token, credential).await;
            secrets.push(token.clone());
        }
    }
    let log = log.text();
    let events = broker.sink.text();
    assert!(
        log.contains("token.replayed") && log.contains("token.signature"),
        "{log}"
    );
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        // Of a token the signature is what makes it usable, and what no header or claim repeats.
        let text = secret.rsplit('.').next().unwrap();
        for piece in text.as_bytes().windows(12) {
            let piece = std::str::from_utf8(piece).unwrap();
            assert!(!log.contains(piece), "{piece} of {secret} in the log");
            assert!(!events.contains(piece), "{piece} of {secret} in an event");
        }
    }
}

#[tokio::test]
async fn each_request_leaves_one_log_line_of_printable_ascii() {
    let log = Log::default();
    let subscriber = log_subscriber("info", log.clone());
    let _guard = tracing::subscriber::set_default(subscriber);
    let broker = TestBroker::start().await;
    let token = broker.github(|job| job.r#ref = "refs/heads/\u{202e}\n\u{1b}[31m".to_owned());
    let answers = [
        broker.exchange(&token, "deploy-api").await,
        broker.exchange(&broker.github(|_| {}), "deploy-api").await,
        get(broker.public(), "/nowhere\u{7f}").await,
    ];
    let log = log.text();
    for answer in answers {
        let id = answer.header("x-request-id").map(str::to_owned);
        let Some(id) = id else { continue };
        let lines: Vec<_> = log.lines().filter(|line| line.contains(&id)).collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].bytes().all(|byte| matches!(byte, b' '..=b'~')),
            "{}",
            lines[0]
        );
        let line: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
        assert!(
            line["reason"].is_string() && line["duration_ms"].is_number(),
            "{line}"
        );
    }
}

/// What is known of a caller stands in its line: nothing of what an unverified token says but its
/// key id, and its issuer only by the name it is configured under.
#[tokio::test]
async fn a_log_line_says_who_asked_as_far_as_it_is_known() {
    let log = Log::default();
    let subscriber = log_subscriber("info", log.clone());
    let _guard = tracing::subscriber::set_default(subscriber);
    let broker = TestBroker::start().await;
    let genuine = broker.github(|_| {});
    let of_other_key = |claims: &serde_json::Value| TestKey::other_rsa("k1").token(claims);
    let forged = of_other_key(&serde_json::json!({ "iss": GITHUB, "repository": "acme/forged" }));
    let foreign = of_other_key(&serde_json::json!({ "iss": "https://ci.evil.example" }));
    let mut told = Vec::new();
    for token in [&genuine, &forged, &foreign] {
        let answer = broker.exchange(token, "deploy-api").await;
        let id = answer.text("/request_id");
        let log = log.text();
        let line = log.lines().find(|line| line.contains(&id)).unwrap();
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let id = line["subject_token_id"].as_str().unwrap_or_default();
        told.push(format!(
            "{} {} {} {} {}",
            answer.status,
            line["issuer"],
            line["kid"],
            line["repository"],
            id.len()
        ));
    }
    assert_eq!(
        told,
        [
            r#"200 "github" null "acme/shop" 16"#,
            r#"400 "github" "k1" null 16"#,
            r#"400 "unknown" "k1" null 16"#,
        ]
    );
}

#[tokio::test]
async fn a_stop_lets_the_request_under_way_end_and_signs_the_log() {
    let broker = TestBroker::start().await;
    let token = broker.github(|_| {});
    broker.database.gate.forget_permits(1_000);
    let database = Arc::clone(&broker.database);
    let sink = broker.sink.clone();
    let address = broker.public();
    let body = form(&[
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("subject_token", &token),
        (
            "subject_token_type",
            "urn:ietf:params:oauth:token-type:id_token",
        ),
        ("audience", "shop-db/read"),
    ]);
    let asked = tokio::spawn(async move { post_form(address, "/token", &body).await });
    until("the mint began", async || database.started() == 1).await;
    let stopped = tokio::spawn(broker.shutdown());
    until("nothing is accepted any more", async || {
        TcpStream::connect(address).await.is_err()
    })
    .await;
    database.gate.add_permits(1_000);
    assert_eq!(asked.await.unwrap().status, 200);
    stopped.await.unwrap();
    let events = sink.events();
    let last: Vec<_> = events
        .iter()
        .rev()
        .take(2)
        .map(|event| event["event"].clone())
        .collect();
    assert!(last.contains(&"stop".into()), "{last:?}");
}
