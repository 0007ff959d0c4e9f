//! A JWT-SVID through the router: provider `spiffe`, a token with neither `iss` nor `iat`.

use std::sync::Arc;

use hallpass::token::keys::FileKeys;
use hallpass::token::{Algorithm, TrustedIssuer};
use serde_json::{Value, json};

use crate::support::TestBroker;
use crate::support::tokens::{AUDIENCE, NOW, TestKey, jwks};

const URL: &str = "https://oidc.acme.example";
const RUNNER: &str = "spiffe://acme.example/ns/ci/sa/release-runner";

const POLICIES: &str = r#"
issuers:
  mesh: { provider: spiffe, url: "https://oidc.acme.example", trust_domain: acme.example, max_lifetime: 10m }
credentials:
  api: { kind: jwt, audience: "https://a.test", max_ttl: 10m, owner: o, purpose: p, class: low }
policies:
  - name: release
    issuer: mesh
    when: { tenant_id: acme.example, project: "spiffe://acme.example/ns/ci/sa/release-runner" }
    grant: [ { credential: api, ttl: 5m } ]
"#;

/// The broker, and the key of the trust domain as its bundle has it.
async fn broker(key: &TestKey, jwk: Value) -> TestBroker {
    let trusted = TrustedIssuer {
        key_use: Some("jwt-svid".to_owned()),
        ..TrustedIssuer::new("mesh", URL)
    };
    // Without any usable key there is no set.
    let own = TestKey::other_rsa("another");
    assert_ne!(own.kid, key.kid);
    let set = jwks(&[jwk, own.jwk()]);
    let keys = FileKeys::new().with_document(&trusted, &set).unwrap();
    let broker = TestBroker::builder().policies(POLICIES);
    broker.keys(Arc::new(keys)).start().await
}

fn bundled(key: &TestKey) -> Value {
    let mut jwk = key.jwk();
    jwk["use"] = json!("jwt-svid");
    jwk
}

/// What every JWT-SVID has, and no more.
fn svid() -> Value {
    json!({ "sub": RUNNER, "aud": [AUDIENCE], "exp": NOW + 300 })
}

/// T-431
#[tokio::test]
async fn a_workload_with_a_jwt_svid_gets_what_its_policy_grants() {
    let key = TestKey::rsa("k1");
    let broker = broker(&key, bundled(&key)).await;
    let token = key.token(&svid());
    let answer = broker.exchange(&token, "api").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["hallpass"]["policy"], "release");
    // Its hash is remembered, since it has no ID.
    assert_eq!(
        broker.exchange(&token, "api").await.reason(),
        "token.replayed"
    );
    // Both words for the type, and none.
    for (exp, header) in [
        (301, json!({ "typ": "JOSE", "alg": "RS256", "kid": "k1" })),
        (302, json!({ "alg": "RS256", "kid": "k1" })),
    ] {
        let mut claims = svid();
        claims["exp"] = json!(NOW + exp);
        let token = key.token_with_header(&header, &claims);
        let answer = broker.exchange(&token, "api").await;
        assert_eq!(answer.status, 200, "{header}: {}", answer.body);
    }
}

/// T-431
#[tokio::test]
async fn a_jwt_svid_that_is_not_the_workloads_for_this_broker_gets_nothing() {
    let key = TestKey::rsa("k1");
    let broker = broker(&key, bundled(&key)).await;
    for (name, value, reason) in [
        // Another trust domain, also one that looks like ours.
        (
            "sub",
            json!("spiffe://other.example/ns/ci/sa/release-runner"),
            "token.issuer",
        ),
        (
            "sub",
            json!("spiffe://acme.example.evil.example/ns/ci"),
            "token.issuer",
        ),
        (
            "sub",
            json!("spiffe://sub.acme.example/ns/ci/sa/release-runner"),
            "token.issuer",
        ),
        ("sub", json!("spiffe://acme.example"), "token.issuer"),
        (
            "sub",
            json!("https://acme.example/ns/ci/sa/release-runner"),
            "token.issuer",
        ),
        ("sub", json!(7), "token.issuer"),
        // Any `iss` but the address of the issuer, also none at all.
        ("iss", json!("https://evil.example"), "token.issuer"),
        ("iss", json!("spiffe://acme.example"), "token.issuer"),
        ("iss", json!("acme.example"), "token.issuer"),
        ("iss", json!(""), "token.issuer"),
        ("iss", Value::Null, "token.issuer"),
        ("iss", json!([URL]), "token.issuer"),
        // Too much time left, or none.
        ("exp", json!(NOW + 601), "token.lifetime"),
        ("exp", json!(NOW - 30), "token.expired"),
        ("exp", Value::Null, "token.claim"),
        ("iat", json!(NOW + 60), "token.not_yet"),
        ("iat", json!(NOW - 700), "token.lifetime"),
        // A party beside us could use the token here.
        (
            "aud",
            json!([AUDIENCE, "https://db.acme.example"]),
            "token.audience",
        ),
        ("aud", json!("https://db.acme.example"), "token.audience"),
        ("aud", json!([]), "token.audience"),
        // Another workload of the domain.
        (
            "sub",
            json!("spiffe://acme.example/ns/ci/sa/other"),
            "policy.denied",
        ),
        (
            "sub",
            json!("spiffe://acme.example/ns/ci/sa/release-runner/x"),
            "policy.denied",
        ),
    ] {
        let mut claims = svid();
        claims[name] = value.clone();
        let answer = broker.exchange(&key.token(&claims), "api").await;
        assert_eq!(answer.reason(), reason, "{name}: {value}");
    }
    // The issuer's own name is the usual way, and the trust domain counts there too.
    let mut named = svid();
    named["iss"] = json!(URL);
    assert_eq!(broker.exchange(&key.token(&named), "api").await.status, 200);
    named["sub"] = json!("spiffe://other.example/ns/ci/sa/release-runner");
    let answer = broker.exchange(&key.token(&named), "api").await;
    assert_eq!(answer.reason(), "token.subject");
    let odd = json!({ "typ": "at+jwt", "alg": "RS256", "kid": "k1" });
    let answer = broker
        .exchange(&key.token_with_header(&odd, &svid()), "api")
        .await;
    assert_eq!(answer.reason(), "token.type");
    // A key of no bundle.
    let theirs = TestKey::other_rsa("k1").token(&svid());
    assert_eq!(
        broker.exchange(&theirs, "api").await.reason(),
        "token.signature"
    );
    let none = key.sign(Algorithm::RS256, r#"{"alg":"none"}"#, &svid().to_string());
    assert_eq!(
        broker.exchange(&none, "api").await.reason(),
        "token.algorithm"
    );
}

/// T-431: keys of a bundle for certificates sign no token.
#[tokio::test]
async fn a_key_of_the_bundle_that_is_for_certificates_signs_no_jwt_svid() {
    let key = TestKey::rsa("k1");
    let mut jwk = key.jwk();
    jwk["use"] = json!("x509-svid");
    let broker = broker(&key, jwk).await;
    let answer = broker.exchange(&key.token(&svid()), "api").await;
    assert_eq!(answer.reason(), "token.key_unknown");
}
