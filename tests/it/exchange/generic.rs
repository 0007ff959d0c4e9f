//! Jobs of a CI that hallpass does not know, whose claims the policies name.

use serde_json::{Value, json};

use crate::support::TestBroker;
use crate::support::broker::GENERIC;
use crate::support::tokens::{AUDIENCE, NOW};

fn claims() -> Value {
    json!({
        "iss": GENERIC,
        "aud": AUDIENCE,
        "sub": "job/1",
        "jti": "job-1",
        "iat": NOW,
        "exp": NOW + 300,
        "repo": { "path": "acme/shop", "id": "17" },
        "ref": "refs/heads/main",
        "debug": false,
    })
}

/// What a job with one claim changed is told.
async fn told(pointer: &str, value: Value) -> String {
    let broker = TestBroker::start().await;
    let mut claims = claims();
    *claims.pointer_mut(pointer).unwrap() = value;
    let answer = broker
        .exchange(&broker.key.token(&claims), "deploy-api")
        .await;
    assert_eq!(answer.status, 400, "{}", answer.body);
    format!("{}: {}", answer.reason(), answer.text("/error_description"))
}

#[tokio::test]
async fn a_job_whose_claims_are_mapped_gets_a_token() {
    let broker = TestBroker::start().await;
    let answer = broker
        .exchange(&broker.key.token(&claims()), "deploy-api")
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.text("/hallpass/policy"), "shop-deploy-own");
}

#[tokio::test]
async fn a_fact_that_differs_is_named() {
    let text = told("/ref", json!("refs/heads/try-it")).await;
    insta::assert_snapshot!(text, @"policy.conditions: fact `ref` is `refs/heads/try-it`, policy `shop-deploy-own` wants `refs/heads/main`");
}

/// T-46
#[tokio::test]
async fn a_boolean_that_comes_as_text_is_refused_by_name() {
    let text = told("/debug", json!("false")).await;
    assert!(text.starts_with("token.claim: claim "), "{text}");
    assert!(text.contains("debug"), "{text}");
}

/// T-47
#[tokio::test]
async fn a_fact_that_is_null_satisfies_nothing() {
    let text = told("/debug", Value::Null).await;
    insta::assert_snapshot!(text, @"policy.conditions: fact `debug_session` is not told, policy `shop-deploy-own` wants `false` (the token does not say)");
}

/// T-50
#[tokio::test]
async fn a_repository_of_the_same_name_and_another_id_is_a_stranger() {
    let text = told("/repo/id", json!("18")).await;
    assert!(text.starts_with("policy.denied: "), "{text}");
}
