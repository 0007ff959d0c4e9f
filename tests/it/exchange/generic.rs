//! Jobs of an issuer whose claims the policies name: the happy path, then one test per claim that
//! can fail.

use std::fs;

use serde_json::{Value, json};

use crate::support::TestBroker;
use crate::support::broker::ENTRA;
use crate::support::sources::root;
use crate::support::tokens::{AUDIENCE, NOW, claims};

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

/// The policies of `docs/ci/azure.md`, with claims of an access token of Entra, version 1.0.
#[tokio::test]
async fn an_identity_of_entra_gets_a_token_of_its_own() {
    let page = fs::read_to_string(root().join("docs/ci/azure.md")).unwrap();
    let (_, policies) = page.split_once("```yaml\nissuers:").unwrap();
    let (policies, _) = policies.split_once("```").unwrap();
    let (_, credentials) = POLICIES.split_once("credentials:").unwrap();
    let (credentials, _) = credentials.split_once("policies:").unwrap();
    let policies = policies.replace(
        "shop-db/migrate, ttl: 15m",
        "deploy-api, ttl: 5m, scopes: [\"deploy:staging\"]",
    );
    let policies = format!("issuers:{policies}credentials:{credentials}");
    let broker = TestBroker::builder().policies(&policies).start().await;
    let answer = async |change: &dyn Fn(&mut Value)| {
        let tenant = "5f2c6a0e-0a4b-4c5e-9d52-7c3b1a0d9e11";
        let identity = "3c1d9f84-6f0e-4f0b-8a77-2d4e5b6c7a80";
        let mut claims = json!({
            "aud": AUDIENCE, "iss": ENTRA,
            "iat": NOW - 300, "nbf": NOW - 300, "exp": NOW + 5_100,
            "aio": "k2RgYFj", "appid": "9a1b2c3d-0000-4000-8000-000000000001", "appidacr": "2",
            "idp": ENTRA, "idtyp": "app", "oid": identity,
            "rh": "1.AAAA", "sub": identity, "tid": tenant, "uti": "aGVsbG8", "ver": "1.0",
        });
        change(&mut claims);
        let answer = broker
            .exchange(&broker.key.token(&claims), "deploy-api")
            .await;
        (answer.status, answer.reason())
    };
    assert_eq!(answer(&|_| {}).await, (200, String::new()));
    for (claim, value, reason) in [
        (
            "oid",
            "3c1d9f84-6f0e-4f0b-8a77-2d4e5b6c7a81",
            "policy.denied",
        ),
        (
            "tid",
            "5f2c6a0e-0a4b-4c5e-9d52-7c3b1a0d9e12",
            "policy.denied",
        ),
        // Of Azure DevOps, which every party that trusts pipelines accepts.
        ("aud", "api://AzureADTokenExchange", "token.audience"),
    ] {
        let found = answer(&|claims| claims[claim] = value.into()).await;
        assert_eq!(found, (400, reason.to_owned()), "{claim}");
    }
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
