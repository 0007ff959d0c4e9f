//! A target that fails several times in a row is not asked for a while, by the breaker of its own.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::support::TestBroker;
use crate::support::broker::POLICIES;
use crate::support::client::{Answer, get};
use crate::support::database::Mood;
use crate::support::wait::until;

const READ: &str = "shop-db/read";
/// Failures in a row that open the breaker, and how long it refuses everything.
const FAILURES: usize = 5;
const PAUSE: Duration = Duration::from_secs(5);

#[track_caller]
fn paused(answer: &Answer, seconds: &str) {
    let found = (answer.status, answer.reason());
    assert_eq!(found, (503, "target.paused".to_owned()), "{}", answer.body);
    assert_eq!(answer.header("retry-after"), Some(seconds));
    assert_eq!(answer.json()["retryable"], true);
    assert_eq!(answer.text("/error"), "temporarily_unavailable");
}

/// A broker whose target fails, and whose breaker is open.
async fn open() -> TestBroker {
    let broker = TestBroker::start().await;
    fail(&broker, FAILURES).await;
    broker
}

async fn fail(broker: &TestBroker, times: usize) {
    broker.database.mood(Mood::Refuses);
    for _ in 0..times {
        let answer = broker.exchange(&broker.github(|_| {}), READ).await;
        assert_eq!(answer.reason(), "database.unreachable", "{}", answer.body);
    }
    broker.database.mood(Mood::Good);
}

async fn series(broker: &TestBroker, name: &str) -> String {
    let text = get(broker.operator(), "/metrics").await.body;
    let start = format!("{name}{{target=\"shop-db\"}} ");
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(&start));
    value.unwrap_or_else(|| panic!("{text}")).to_owned()
}

/// T-466
#[tokio::test]
async fn an_open_breaker_refuses_at_once_and_the_token_stays_usable() {
    let broker = open().await;
    let token = broker.github(|_| {});
    let started = broker.database.started();
    paused(&broker.exchange(&token, READ).await, "5");
    paused(&broker.credentials(&token, READ).await, "5");
    assert_eq!(broker.database.started(), started, "the target was asked");
    // It is on record, and nothing was reserved or promised.
    let denials = broker.events("denial").await;
    assert_eq!(denials.len(), 2);
    assert_eq!(denials[0]["reason"], "target.paused");
    assert_eq!(denials[0]["credential"], READ);
    assert_eq!(broker.events("intent").await.len(), FAILURES);
    // What needs no target is not refused, and neither is a question.
    let other = broker.exchange(&broker.github(|_| {}), "deploy-api").await;
    assert_eq!(other.status, 200, "{}", other.body);
    let body = json!({ "credential": READ });
    let explained = broker.ask("/api/explain", &token, &body).await;
    assert_eq!(explained.status, 200, "{}", explained.body);
    broker.clock.advance(PAUSE);
    let answer = broker.exchange(&token, READ).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// T-466
#[tokio::test]
async fn one_request_at_a_time_tries_a_target_that_failed() {
    let broker = open().await;
    broker.clock.advance(PAUSE);
    broker.database.gate.forget_permits(1_000);
    let started = broker.database.started();
    let trial_token = broker.github(|_| {});
    let trial = broker.exchange(&trial_token, READ);
    let others = async {
        until("the trial is on its way", async || {
            broker.database.started() > started
        })
        .await;
        for _ in 0..10 {
            paused(&broker.exchange(&broker.github(|_| {}), READ).await, "1");
        }
        assert_eq!(broker.database.started(), started + 1);
        broker.database.gate.add_permits(1_000);
    };
    let (answer, ()) = tokio::join!(trial, others);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let next = broker.exchange(&broker.github(|_| {}), READ).await;
    assert_eq!(next.status, 200, "{}", next.body);
}

/// T-466
#[tokio::test]
async fn a_trial_that_fails_keeps_the_breaker_open_and_one_that_is_not_sent_does_not() {
    let broker = open().await;
    broker.clock.advance(PAUSE);
    fail(&broker, 1).await;
    paused(&broker.exchange(&broker.github(|_| {}), READ).await, "5");
    broker.clock.advance(PAUSE);
    // The trial's intent cannot be recorded, so the target is never asked.
    broker.sink.fail(true);
    let token = broker.github(|_| {});
    let answer = broker.exchange(&token, READ).await;
    assert_eq!(answer.reason(), "sink.failed", "{}", answer.body);
    broker.sink.fail(false);
    until("the sink works", async || {
        broker.exchange(&token, READ).await.status == 200
    })
    .await;
}

/// T-466
#[tokio::test]
async fn refusals_of_single_requests_open_no_breaker() {
    let broker = TestBroker::start().await;
    broker.database.mood(Mood::RefusesForGood);
    for _ in 0..3 * FAILURES {
        let answer = broker.exchange(&broker.github(|_| {}), READ).await;
        assert_eq!(answer.reason(), "database.ceiling", "{}", answer.body);
    }
    broker.database.mood(Mood::Panics);
    for _ in 0..3 * FAILURES {
        let answer = broker.exchange(&broker.github(|_| {}), READ).await;
        assert_eq!(answer.reason(), "bug.panic", "{}", answer.body);
    }
    broker.database.mood(Mood::Good);
    let answer = broker.exchange(&broker.github(|_| {}), READ).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// T-467
#[tokio::test]
async fn an_open_breaker_refuses_no_revocation() {
    let broker = TestBroker::start().await;
    let granted = broker.exchange(&broker.github(|_| {}), READ).await;
    assert_eq!(granted.status, 200, "{}", granted.body);
    fail(&broker, FAILURES).await;
    let lease = granted.text("/hallpass/lease");
    let body = format!("token={lease}");
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    let answer = crate::support::client::request(
        broker.public(),
        "POST",
        "/revoke",
        &headers,
        body.as_bytes(),
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(broker.database.live(), 0);
    paused(&broker.exchange(&broker.github(|_| {}), READ).await, "5");
}

/// T-466
#[tokio::test]
async fn metrics_say_which_target_is_paused_through_a_reload() {
    let builder = TestBroker::builder().reloading(Duration::from_millis(20));
    let broker = builder.start().await;
    fail(&broker, FAILURES).await;
    paused(&broker.exchange(&broker.github(|_| {}), READ).await, "5");
    let before = broker.now();
    let policies = format!("{POLICIES}# changed\n");
    fs::write(broker.file("policies/root.yaml"), policies).unwrap();
    until("the policies are loaded again", async || {
        !Arc::ptr_eq(&before, &broker.now())
    })
    .await;
    paused(&broker.exchange(&broker.github(|_| {}), READ).await, "5");
    assert_eq!(series(&broker, "hallpass_target_paused").await, "1");
    let refused = series(&broker, "hallpass_target_paused_requests_total").await;
    assert_eq!(refused, "2");
    let text = get(broker.operator(), "/metrics").await.body;
    assert!(
        text.contains(r#"issuer="github",reason="target.paused"} 2"#),
        "{text}"
    );
    broker.clock.advance(PAUSE);
    let answer = broker.exchange(&broker.github(|_| {}), READ).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(series(&broker, "hallpass_target_paused").await, "0");
}
