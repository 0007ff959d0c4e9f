//! Jobs of an issuer whose claims the policies name: the happy path, then one test per claim that
//! can fail.

use serde_json::{Value, json};

use crate::support::TestBroker;
use crate::support::tokens::claims;

const POLICIES: &str = r#"
issuers:
  own-ci:
    provider: generic
    url: https://ci.example
    facts: { repository: "/repo/name", repository_id: "/repo/id", ref: "/ref", ref_protected: "/protected" }
    types: { ref_protected: boolean }
credentials:
  deploy-api:
    kind: jwt
    audience: https://deploy.acme.dev
    scopes: ["deploy:staging"]
    max_ttl: 10m
    owner: team-platform
    purpose: calls to the deploy service
    class: moderate
policies:
  - name: own-deploy
    issuer: own-ci
    when:
      repository: acme/shop
      repository_id: "77"
      ref: refs/heads/main
      ref_protected: true
    grant:
      - { credential: deploy-api, ttl: 5m, scopes: ["deploy:staging"] }
"#;

/// What a job with one claim changed is told; `ok` where it gets the credential.
async fn told(change: impl FnOnce(&mut Value)) -> String {
    let broker = TestBroker::builder().policies(POLICIES).start().await;
    let mut claims = claims();
    claims["repo"] = json!({ "name": "acme/shop", "id": "77" });
    claims["ref"] = json!("refs/heads/main");
    claims["protected"] = json!(true);
    change(&mut claims);
    let answer = broker
        .exchange(&broker.key.token(&claims), "deploy-api")
        .await;
    if answer.status == 200 {
        return "ok".to_owned();
    }
    format!("{}: {}", answer.reason(), answer.text("/error_description"))
}

#[tokio::test]
async fn a_job_that_fits_gets_a_token() {
    assert_eq!(told(|_| {}).await, "ok");
}

#[tokio::test]
async fn another_branch_is_denied() {
    let text = told(|claims| claims["ref"] = json!("refs/heads/x")).await;
    insta::assert_snapshot!(text, @"policy.conditions: fact `ref` is `refs/heads/x`, policy `own-deploy` wants `refs/heads/main`");
}

/// T-46
#[tokio::test]
async fn a_claim_of_another_type_is_refused_and_not_coerced() {
    let text = told(|claims| claims["protected"] = json!("true")).await;
    assert!(text.starts_with("token.claim: claim `"), "{text}");
}

/// T-47
#[tokio::test]
async fn an_absent_claim_satisfies_nothing() {
    let text = told(|claims| claims["protected"] = Value::Null).await;
    assert!(
        text.starts_with("policy.conditions: fact `ref_protected` is missing"),
        "{text}"
    );
}

/// T-50
#[tokio::test]
async fn another_repository_is_a_stranger() {
    let text = told(|claims| claims["repo"]["id"] = json!("78")).await;
    assert!(text.starts_with("policy.denied: "), "{text}");
}
