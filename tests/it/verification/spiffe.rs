//! SPIFFE tokens: neither `iss` nor `iat`; the trust domain of `sub` chooses the issuer, and its keys prove
//! nothing about another domain.

use std::sync::Arc;

use hallpass::clock::{FixedClock, Timestamp};
use hallpass::token::keys::FileKeys;
use hallpass::token::{SubjectToken, TrustedIssuer, Verifier};
use serde_json::{Value, json};

use crate::support::TestBroker;
use crate::support::tokens::{AUDIENCE, Broker, ISSUER, NOW, TestKey, jwks};

fn issuer(name: &str, url: &str, domain: &str) -> TrustedIssuer {
    TrustedIssuer {
        trust_domain: Some(domain.to_owned()),
        iat_required: false,
        max_lifetime: 600,
        token_types: vec!["JWT".to_owned(), "JOSE".to_owned()],
        ..TrustedIssuer::new(name, url)
    }
}

/// The claims that every JWT-SVID has, and no other.
fn svid(subject: &str) -> Value {
    json!({ "sub": subject, "aud": [AUDIENCE], "exp": NOW + 300 })
}

fn reason(change: impl FnOnce(&mut Value)) -> &'static str {
    let key = TestKey::rsa("k1");
    let broker = Broker::trusting(issuer("mesh", ISSUER, "acme.dev"), &jwks(&[key.jwk()]));
    let mut claims = svid("spiffe://acme.dev/ns/shop");
    change(&mut claims);
    broker.reason(&key.token(&claims))
}

/// T-387
#[test]
fn a_token_without_iss_and_iat_is_its_trust_domains() {
    assert_eq!(reason(|_| {}), "ok");
    let key = TestKey::rsa("k1");
    let broker = Broker::trusting(issuer("mesh", ISSUER, "acme.dev"), &jwks(&[key.jwk()]));
    let token = key.token(&svid("spiffe://acme.dev/ns/shop"));
    let verified = broker.verify(&token).unwrap();
    assert_eq!(verified.id().issuer, ISSUER);
    // The earliest time it may have been issued at: a record of used tokens that began later refuses it.
    assert_eq!(verified.issued_at(), Timestamp::from_unix(NOW - 300));
    // An issuer without a trust domain has no token without `iss`.
    let plain = Broker::trusting(TrustedIssuer::new("ci", ISSUER), &jwks(&[key.jwk()]));
    assert_eq!(plain.reason(&token), "token.issuer");
}

/// T-387
#[test]
fn an_iss_of_any_kind_is_never_taken_for_none() {
    for iss in [
        json!("acme.dev"),
        json!("spiffe://acme.dev"),
        json!("spiffe://acme.dev/ns/shop"),
        json!("https://acme.dev"),
        json!("https://other.example"),
        json!(""),
        json!(null),
        json!(7),
        json!([]),
        json!({}),
        json!([ISSUER]),
    ] {
        assert_eq!(
            reason(|claims| claims["iss"] = iss.clone()),
            "token.issuer",
            "{iss}"
        );
    }
    // Its own name is the usual way, and the trust domain counts there too.
    assert_eq!(reason(|claims| claims["iss"] = json!(ISSUER)), "ok");
    let reason = reason(|claims| {
        claims["iss"] = json!(ISSUER);
        claims["sub"] = json!("spiffe://other.dev/ns/shop");
    });
    assert_eq!(reason, "token.subject");
}

/// T-388
#[test]
fn a_subject_outside_of_the_trust_domain_is_refused() {
    for subject in [
        "spiffe://other.dev/ns/shop",
        "spiffe://acme.dev.evil.example/ns/shop",
        "spiffe://sub.acme.dev/ns/shop",
        "spiffe://ACME.dev/ns/shop",
        "spiffe://acme.dev",
        "spiffe://acme.dev/",
        "spiffe://acme.dev@evil.example/x",
        "spiffe://evil.example/spiffe://acme.dev/x",
        "acme.dev/ns/shop",
        "https://acme.dev/ns/shop",
    ] {
        let found = reason(|claims| claims["sub"] = json!(subject));
        assert_eq!(found, "token.issuer", "{subject}");
    }
}

/// T-388
#[test]
fn the_keys_of_one_trust_domain_prove_nothing_about_another() {
    let (ours, theirs) = (TestKey::rsa("k1"), TestKey::other_rsa("k1"));
    let mesh = issuer("mesh", ISSUER, "acme.dev");
    let partner = issuer("partner", "https://partner.example", "partner.dev");
    let keys = FileKeys::new()
        .with_document(&mesh, &jwks(&[ours.jwk()]))
        .unwrap()
        .with_document(&partner, &jwks(&[theirs.jwk()]))
        .unwrap();
    let clock = Arc::new(FixedClock::at(Timestamp::from_unix(NOW)));
    let issuers = vec![Arc::new(mesh), Arc::new(partner)];
    let verifier = Verifier::new(AUDIENCE.to_owned(), issuers, Arc::new(keys), clock);
    let broker = |token: String| {
        let token = SubjectToken::new(token);
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let found = runtime.unwrap().block_on(verifier.verify(&token));
        found.map_or_else(
            |error| error.reason().code().to_owned(),
            |verified| verified.issuer().name.clone(),
        )
    };
    let (acme, other) = ("spiffe://acme.dev/x", "spiffe://partner.dev/x");
    assert_eq!(broker(ours.token(&svid(acme))), "mesh");
    assert_eq!(broker(theirs.token(&svid(other))), "partner");
    assert_eq!(broker(theirs.token(&svid(acme))), "token.signature");
    assert_eq!(broker(ours.token(&svid(other))), "token.signature");
    let mut named = svid(acme);
    named["iss"] = json!("https://partner.example");
    assert_eq!(broker(theirs.token(&named)), "token.subject");
}

/// T-388
#[test]
fn without_iat_the_time_that_is_left_is_bounded() {
    assert_eq!(reason(|claims| claims["exp"] = json!(NOW + 600)), "ok");
    assert_eq!(
        reason(|claims| claims["exp"] = json!(NOW + 601)),
        "token.lifetime"
    );
    assert_eq!(
        reason(|claims| claims["exp"] = json!(NOW - 30)),
        "token.expired"
    );
    // One that says when it was issued is checked by that.
    let aged = reason(|claims| {
        claims["iat"] = json!(NOW - 500);
        claims["exp"] = json!(NOW + 101);
    });
    assert_eq!(aged, "token.lifetime");
    let ahead = reason(|claims| claims["iat"] = json!(NOW + 60));
    assert_eq!(ahead, "token.not_yet");
    for exp in [NOW + 10, NOW + 20] {
        let ends_first = reason(|claims| {
            claims["iat"] = json!(NOW + 20);
            claims["exp"] = json!(exp);
        });
        assert_eq!(ends_first, "token.lifetime");
    }
}

const POLICIES: &str = r#"
issuers:
  mesh:
    provider: generic
    url: https://ci.example
    trust_domain: acme.dev
    max_lifetime: 10m
    facts: { project: "/sub" }
credentials:
  deploy-api:
    kind: jwt
    audience: https://deploy.acme.dev
    max_ttl: 10m
    owner: team-platform
    purpose: calls to the deploy service
    class: moderate
policies:
  - name: reports
    issuer: mesh
    when: { project: spiffe://acme.dev/ns/shop }
    grant: [ { credential: deploy-api, ttl: 5m } ]
"#;

/// T-387
#[tokio::test]
async fn a_workload_gets_a_credential_once_for_each_token() {
    let broker = TestBroker::builder().policies(POLICIES).start().await;
    let token = broker.key.token(&svid("spiffe://acme.dev/ns/shop"));
    let answer = broker.exchange(&token, "deploy-api").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let again = broker.exchange(&token, "deploy-api").await;
    assert_eq!(again.reason(), "token.replayed");
    let other = broker.key.token(&svid("spiffe://acme.dev/ns/other"));
    assert_eq!(
        broker.exchange(&other, "deploy-api").await.reason(),
        "policy.denied"
    );
    let stranger = broker.key.token(&svid("spiffe://evil.example/ns/shop"));
    assert_eq!(
        broker.exchange(&stranger, "deploy-api").await.reason(),
        "token.issuer"
    );
}
