//! What an operator blocks stops at once: keys and issuers, whatever is signed and published.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use hallpass::clock::{Clock, FixedClock, Timestamp};
use hallpass::token::keys::remote::Fetch;
use hallpass::token::keys::{KeyError, RemoteKeys};
use hallpass::token::{Blocked, SubjectToken, TrustedIssuer, Verifier};
use serde_json::json;

use crate::support::tokens::{AUDIENCE, Broker, ISSUER, NOW, TestKey, claims, claims_with, jwks};

fn blocking(blocked: Blocked) -> Broker {
    let (broker, _) = Broker::new();
    Broker {
        verifier: broker.verifier.blocking(blocked),
        clock: broker.clock,
    }
}

/// T-64
#[test]
fn a_blocked_key_of_one_issuer_is_refused() {
    let token = TestKey::rsa("k1").token(&claims());
    for issuer in ["ci", ISSUER] {
        let broker = blocking(Blocked::new().with_kid(issuer, "k1"));
        let error = broker.verify(&token).unwrap_err();
        assert_eq!(
            format!("{}: {error}", error.reason().code()),
            "token.key: the subject token's key is blocked"
        );
        assert!(!error.reason().is_ours());
    }
    for (issuer, kid) in [
        ("ci", "k2"),
        ("ci", "K1"),
        ("other", "k1"),
        ("https://ci.example/", "k1"),
    ] {
        let broker = blocking(Blocked::new().with_kid(issuer, kid));
        assert_eq!(broker.reason(&token), "ok", "{issuer} {kid}");
    }
}

/// T-64
#[test]
fn a_blocked_issuer_is_refused_and_still_named_in_the_log() {
    let token = TestKey::rsa("k1").token(&claims());
    for issuer in ["ci", ISSUER] {
        let broker = blocking(Blocked::new().with_issuer(issuer));
        let error = broker.verify(&token).unwrap_err();
        assert_eq!(
            format!("{}: {error}", error.reason().code()),
            "token.issuer: the subject token's issuer is blocked"
        );
        let labels = broker
            .verifier
            .unverified_labels(&SubjectToken::new(token.clone()));
        assert_eq!(labels.issuer.as_deref(), Some("ci"));
    }
    let other = blocking(Blocked::new().with_issuer("other"));
    assert_eq!(other.reason(&token), "ok");
}

/// T-27, T-64
#[test]
fn leaving_the_key_id_out_does_not_get_round_a_blocked_key() {
    let mut issuer = TrustedIssuer::new("ci", ISSUER);
    issuer.kid_required = false;
    let header = json!({ "typ": "JWT", "alg": "RS256" });
    let (leaked, good) = (TestKey::rsa("leaked"), TestKey::other_rsa("good"));
    let by_settings = |keys: &[&TestKey]| {
        let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
        let broker = Broker::trusting(issuer.clone(), &jwks(&keys));
        Broker {
            verifier: broker
                .verifier
                .blocking(Blocked::new().with_kid("ci", "leaked")),
            clock: broker.clock,
        }
    };
    let of_leaked = leaked.token_with_header(&header, &claims());
    let of_good = good.token_with_header(&header, &claims());
    let alone = by_settings(&[&leaked]);
    assert_eq!(alone.reason(&of_leaked), "token.key");
    let both = by_settings(&[&leaked, &good]);
    assert_eq!(both.reason(&of_leaked), "token.signature");
    assert_eq!(both.reason(&of_good), "ok");

    let mut by_policies = issuer.clone();
    by_policies.blocked_kids = vec!["leaked".to_owned()];
    let broker = Broker::trusting(by_policies, &jwks(&[leaked.jwk()]));
    assert_eq!(broker.reason(&of_leaked), "token.key");
}

#[derive(Debug, Default)]
struct Counted(AtomicUsize);

#[async_trait]
impl Fetch for Counted {
    async fn key_set(&self, _: &TrustedIssuer) -> Result<Vec<u8>, KeyError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(jwks(&[
            TestKey::rsa("k1").jwk(),
            TestKey::other_rsa("k2").jwk(),
        ]))
    }
}

/// T-53, T-64
#[tokio::test]
async fn a_block_holds_at_once_over_the_same_keys_and_causes_no_fetch() {
    let issuers = [ISSUER, "https://other.example"]
        .map(|url| Arc::new(TrustedIssuer::new(url.trim_start_matches("https://"), url)));
    let clock: Arc<dyn Clock> = Arc::new(FixedClock::at(Timestamp::from_unix(NOW)));
    let fetch = Arc::new(Counted::default());
    let keys = Arc::new(RemoteKeys::with_fetch(
        &issuers,
        Arc::clone(&clock),
        Arc::clone(&fetch) as Arc<_>,
    ));
    let reason = async |blocked: Blocked, token: String| {
        let verifier = Verifier::new(
            AUDIENCE.to_owned(),
            issuers.to_vec(),
            Arc::clone(&keys) as Arc<_>,
            Arc::clone(&clock),
        )
        .blocking(blocked);
        match verifier.verify(&SubjectToken::new(token)).await {
            Ok(_) => "ok",
            Err(error) => error.reason().code(),
        }
    };
    let one = TestKey::rsa("k1").token(&claims());
    let two = TestKey::other_rsa("k2").token(&claims());
    let of_other =
        TestKey::rsa("k1").token(&claims_with("iss", Some(issuers[1].url.clone().into())));
    let issuer = Blocked::new().with_issuer("ci.example");
    assert_eq!(reason(issuer.clone(), one.clone()).await, "token.issuer");
    let key = Blocked::new().with_kid("ci.example", "k1");
    assert_eq!(reason(key.clone(), one.clone()).await, "token.key");
    assert_eq!(
        fetch.0.load(Ordering::SeqCst),
        0,
        "blocked before any fetch"
    );
    assert_eq!(reason(Blocked::new(), one.clone()).await, "ok");
    assert_eq!(reason(key.clone(), one).await, "token.key");
    assert_eq!(reason(key.clone(), two.clone()).await, "ok");
    assert_eq!(reason(key, of_other.clone()).await, "ok");
    assert_eq!(reason(issuer.clone(), two).await, "token.issuer");
    assert_eq!(reason(issuer, of_other).await, "ok");
    assert_eq!(fetch.0.load(Ordering::SeqCst), 2);
}
