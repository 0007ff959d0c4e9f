//! Keys of an issuer that are pinned by a file of the policies.

use std::fs;
use std::time::Duration;

use hallpass::clock::{Clock as _, Timestamp};
use hallpass::dev::issuer::{GitlabJob, Issuer, gitlab_claims};
use serde_json::Value;

use super::{broker, changed_from, problem, readiness, revision};
use crate::support::TestBroker;
use crate::support::broker::POLICIES;
use crate::support::client::get;
use crate::support::tokens::{AUDIENCE, TestKey, jwks};

/// An address that no test can reach.
const LAB: &str = "https://10.255.255.7";

fn policies() -> String {
    let pinned =
        format!("gitlab: {{ provider: gitlab, url: \"{LAB}\", jwks: {{ file: keys.json }}, ");
    POLICIES.replace("gitlab: { provider: gitlab, ", &pinned)
}

fn keys(key: &TestKey) -> String {
    String::from_utf8(jwks(&[key.jwk()])).unwrap()
}

async fn start(embedded: &Issuer, key: &TestKey) -> TestBroker {
    broker()
        .policies(&policies())
        .private_file("policies/keys.json", &keys(key))
        .github(embedded)
        .start()
        .await
}

fn token(broker: &TestBroker, key: &TestKey) -> String {
    let now: Timestamp = broker.clock.now();
    key.token(&gitlab_claims(&GitlabJob::new(LAB, AUDIENCE, now)))
}

async fn reason(broker: &TestBroker, key: &TestKey) -> String {
    let answer = broker.exchange(&token(broker, key), "deploy-api").await;
    match answer.status {
        200 => "ok".to_owned(),
        _ => answer.reason(),
    }
}

/// T-308
#[tokio::test]
async fn a_pinned_key_is_the_only_one_and_none_is_ever_fetched() {
    let embedded = Issuer::start("").await.unwrap();
    let (key, other) = (TestKey::rsa("lab-1"), TestKey::other_rsa("lab-2"));
    let broker = start(&embedded, &key).await;
    assert_eq!(reason(&broker, &key).await, "ok");
    assert_eq!(reason(&broker, &other).await, "token.key_unknown");
    // The name of the pinned key, another key.
    let forged = TestKey::other_rsa("lab-1");
    assert_eq!(reason(&broker, &forged).await, "token.signature");
    // Fetched keys are too old after an hour; these do not age.
    broker.clock.advance(Duration::from_secs(3 * 3_600));
    assert_eq!(reason(&broker, &key).await, "ok");
    broker.reload();
    let ready = readiness(&broker).await;
    let lab: &Value = &ready["issuers"]["gitlab"];
    assert_eq!(lab["usable"], true, "{ready}");
    assert_eq!(lab["keys"], 1);
    assert_eq!(lab["age_seconds"], Value::Null);
    assert_eq!(lab["problem"], Value::Null);
    let metrics = get(broker.operator(), "/metrics").await.body;
    let fetched = "hallpass_key_fetches_total{issuer=\"gitlab\"";
    assert!(!metrics.contains(fetched), "{metrics}");
}

/// T-309
#[tokio::test]
async fn another_key_in_the_file_takes_the_old_one_out() {
    let embedded = Issuer::start("").await.unwrap();
    let (key, next) = (TestKey::rsa("lab-1"), TestKey::other_rsa("lab-2"));
    let broker = start(&embedded, &key).await;
    assert_eq!(reason(&broker, &key).await, "ok");
    let before = revision(&broker);
    fs::write(broker.file("policies/keys.json"), keys(&next)).unwrap();
    changed_from(&broker, &before).await;
    assert_eq!(reason(&broker, &next).await, "ok");
    assert_eq!(reason(&broker, &key).await, "token.key_unknown");
    // What cannot be used keeps the version before.
    fs::write(broker.file("policies/keys.json"), "{\"keys\":[]}").unwrap();
    let (_, text) = problem(&broker).await;
    assert!(
        text.contains("`keys.json` has no key that can be used"),
        "{text}"
    );
    assert_eq!(reason(&broker, &next).await, "ok");
}
