//! Claims that a provider adds: reported once per issuer, and no job is refused for them.

use serde_json::{Value, json};

use crate::support::TestBroker;
use crate::support::client::get;
use crate::support::tokens::NOW;

async fn exchange(
    broker: &TestBroker,
    id: usize,
    change: impl FnOnce(&mut Value),
) -> (u16, String) {
    let mut claims = github_claims(broker);
    claims["jti"] = json!(format!("t{id}"));
    change(&mut claims);
    let answer = broker
        .exchange(&broker.key.token(&claims), "deploy-api")
        .await;
    (answer.status, answer.text("/error_description"))
}

fn github_claims(_: &TestBroker) -> Value {
    use hallpass::clock::Timestamp;
    use hallpass::dev::issuer::GithubJob;
    let job = GithubJob::new(
        crate::support::broker::GITHUB,
        TestBroker::issuer(),
        Timestamp::from_unix(NOW),
    );
    hallpass::dev::issuer::github_claims(&job)
}

/// T-389
#[tokio::test]
async fn a_new_claim_is_reported_once_and_refuses_no_job() {
    let broker = TestBroker::start().await;
    for id in 0..3 {
        let (status, text) = exchange(&broker, id, |claims| {
            claims["runner_region"] = json!("eu\u{1b}[31m");
            claims["odd\u{202e}\nname"] = json!({ "a": [1] });
            claims["repo_property_tier"] = json!("critical");
        })
        .await;
        assert_eq!(status, 200, "{text}");
    }
    let events = broker.events("new_claim").await;
    assert_eq!(events.len(), 2, "{events:?}");
    let names: Vec<_> = events
        .iter()
        .map(|event| event["claim"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"runner_region"), "{names:?}");
    assert!(names.iter().all(|name| name.is_ascii()), "{names:?}");
    assert!(events.iter().all(|event| event["issuer"] == "github"));
    // The values are nowhere.
    assert!(!format!("{events:?}").contains("[31m"));
    let metrics = get(broker.operator(), "/metrics").await.body;
    let line = "hallpass_new_claims{issuer=\"github\"} 2\n";
    assert!(metrics.contains(line), "{metrics}");
}

/// T-389
#[tokio::test]
async fn what_is_kept_of_new_claims_is_bounded() {
    let broker = TestBroker::start().await;
    let (status, text) = exchange(&broker, 0, |claims| {
        for n in 0..60 {
            claims[format!("x{n}-{}", "y".repeat(100))] = json!(1);
        }
    })
    .await;
    assert_eq!(status, 200, "{text}");
    let events = broker.events("new_claim").await;
    assert_eq!(events.len(), 32);
    let longest = events
        .iter()
        .map(|event| event["claim"].as_str().unwrap().len())
        .max();
    assert!(longest < Some(80), "{longest:?}");
}

/// T-389
#[tokio::test]
async fn a_claim_whose_type_changes_is_an_error_that_names_it() {
    let broker = TestBroker::start().await;
    let (status, text) = exchange(&broker, 0, |claims| claims["run_attempt"] = json!(1)).await;
    assert_eq!(status, 400);
    insta::assert_snapshot!(text, @"claim `run_attempt` is a number, expected text");
    assert_eq!(broker.events("new_claim").await.len(), 0);
}

/// T-40
#[tokio::test]
async fn a_refused_issuer_is_named_escaped_and_cut() {
    let broker = TestBroker::start().await;
    let (status, _) = exchange(&broker, 0, |claims| {
        claims["iss"] = json!(format!(
            "https://evil.example/\u{1b}[31m{}",
            "x".repeat(400)
        ));
    })
    .await;
    assert_eq!(status, 400);
    let refusals = broker.events("refusal").await;
    let named = refusals[0]["unverified_iss"].as_str().unwrap();
    assert!(named.starts_with("https://evil.example/"), "{named}");
    assert!(named.len() < 200 && !named.contains('\u{1b}'), "{named}");
}
