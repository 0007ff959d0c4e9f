//! Keys fetched over HTTPS, as a broker in production has them.

use hallpass::dev::issuer::Issuer;
use serde_json::{Value, json};

use crate::support::TestBroker;
use crate::support::broker::POLICIES;
use crate::support::client::get;
use crate::support::hostile_issuer::HostileIssuer;
use crate::support::tokens::{TestKey, jwks};

#[tokio::test]
async fn a_token_is_verified_with_keys_from_its_issuers_own_server() {
    let issuer = Issuer::start("").await.unwrap();
    let broker = TestBroker::builder().github(&issuer).start().await;
    let answer = broker
        .exchange(&TestBroker::token_of(&issuer), "deploy-api")
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let ready = get(broker.operator(), "/readyz").await.json();
    assert_eq!(ready["issuers"]["github"]["usable"], true, "{ready}");
    let metrics = get(broker.operator(), "/metrics").await.body;
    let fetches = r#"hallpass_key_fetches_total{issuer="github",outcome="ok"}"#;
    assert!(metrics.contains(fetches), "{metrics}");
}

/// T-68
#[tokio::test]
async fn an_issuer_that_is_down_is_503_for_its_own_jobs_and_told_by_readiness() {
    let issuer = Issuer::start("").await.unwrap();
    let token = TestBroker::token_of(&issuer);
    let builder = TestBroker::builder()
        .policies(&without_gitlab())
        .github(&issuer);
    drop(issuer);
    let broker = builder.start().await;
    let answer = broker.exchange(&token, "deploy-api").await;
    assert_eq!(
        (answer.status, answer.text("/error").as_str()),
        (503, "temporarily_unavailable")
    );
    assert!(answer.header("retry-after").is_some());
    // None of its issuers answers, so there is no job that it could serve.
    let ready = get(broker.operator(), "/readyz").await;
    assert_eq!(ready.status, 503);
    let github = ready.json()["issuers"]["github"].clone();
    assert_eq!(github["usable"], false, "{}", ready.body);
    assert!(github["problem"].is_string(), "{}", ready.body);
}

/// The usual policies with the one issuer.
fn without_gitlab() -> String {
    let (policies, _) = POLICIES.split_once("  - name: shop-deploy-gitlab").unwrap();
    let lines = policies.lines();
    let kept: Vec<_> = lines
        .filter(|line| !line.starts_with("  gitlab:"))
        .collect();
    kept.join("\n")
}

/// What `/readyz` says of `github`, whose server publishes these keys.
async fn ready_with(jwks: &[u8]) -> (u16, Value) {
    let server = HostileIssuer::publishing(jwks).await;
    let broker = TestBroker::builder()
        .policies(&without_gitlab())
        .github_of(&server)
        .start()
        .await;
    let token = broker.github(|job| job.issuer = server.url());
    // The keys are fetched for it, whatever becomes of it.
    broker.exchange(&token, "deploy-api").await;
    let ready = get(broker.operator(), "/readyz").await;
    (ready.status, ready.json()["issuers"]["github"].clone())
}

/// T-68
#[tokio::test]
async fn one_usable_issuer_is_enough() {
    let key = TestKey::rsa("k1");
    let up = HostileIssuer::publishing(&jwks(&[key.jwk()])).await;
    let down = HostileIssuer::start().await;
    let broker = TestBroker::builder()
        .github_of(&up)
        .gitlab_of(&down)
        .start()
        .await;
    let token = broker.github(|job| job.issuer = up.url());
    broker.exchange(&token, "deploy-api").await;
    let ready = get(broker.operator(), "/readyz").await;
    assert_eq!(ready.status, 200, "{}", ready.body);
    let issuers = &ready.json()["issuers"];
    assert_eq!(issuers["github"]["usable"], true, "{issuers}");
    assert_eq!(issuers["gitlab"]["usable"], false, "{issuers}");
    assert!(issuers["gitlab"]["problem"].is_string(), "{issuers}");
}

/// T-66, T-68
#[tokio::test]
async fn an_issuer_without_keys_is_not_ready_and_says_why() {
    let key = TestKey::rsa("k1");
    let (status, github) = ready_with(&jwks(&[key.jwk()])).await;
    assert_eq!((status, &github["usable"]), (200, &json!(true)), "{github}");
    assert_eq!(github["problem"], Value::Null);

    let (status, github) = ready_with(b"{\"keys\":[]}").await;
    assert_eq!((status, &github["keys"]), (503, &json!(0)), "{github}");
    assert_eq!(github["problem"], "the issuer publishes no key at all");

    let mut odd = key.jwk();
    odd["use"] = json!("enc");
    let (status, github) = ready_with(&jwks(&[odd])).await;
    assert_eq!((status, &github["keys"]), (503, &json!(0)), "{github}");
    insta::assert_snapshot!(github["problem"].as_str().unwrap(), @"the issuer publishes no key that can be used: 1 left out, the first because its `use` is not `sig`");
}

/// T-64, T-68
#[tokio::test]
async fn an_issuer_that_is_blocked_is_not_usable() {
    let server = HostileIssuer::publishing(&jwks(&[TestKey::rsa("k1").jwk()])).await;
    let broker = TestBroker::builder()
        .policies(&without_gitlab())
        .github_of(&server)
        .setting("blocked: { issuers: [github] }")
        .start()
        .await;
    let ready = get(broker.operator(), "/readyz").await;
    assert_eq!(ready.status, 503);
    let github = ready.json()["issuers"]["github"].clone();
    assert_eq!(github["usable"], false);
    assert_eq!(github["problem"], "the issuer is blocked in the settings");
}
