//! What a refused token costs: looks into the key set, and signature checks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use async_trait::async_trait;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use super::*;
use crate::clock::{FixedClock, Timestamp};
use crate::reason::Reason;
use crate::token::keys::{Admission, FileKeys};

const ISSUER: &str = "https://ci.example";
const NOW: i64 = 1_790_000_000;

/// Counts who asks for keys.
#[derive(Debug)]
struct Counted {
    keys: FileKeys,
    looks: AtomicUsize,
}

#[async_trait]
impl KeySource for Counted {
    async fn keys(
        &self,
        issuer: &Arc<TrustedIssuer>,
        kid: Option<&str>,
    ) -> Result<Arc<KeySet>, KeyError> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.keys.keys(issuer, kid).await
    }
}

struct Case {
    pair: Ed25519KeyPair,
    keys: Arc<Counted>,
    verifier: Verifier,
}

/// What became of a token while no signature could be checked.
#[derive(Debug, PartialEq, Eq)]
enum Came {
    /// It was refused, after so many looks into the key set.
    Refused(Reason, usize),
    /// It came as far as its signature check.
    ToTheCheck(usize),
}

impl Case {
    /// A verifier that has one place for signature checks.
    fn new() -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let x = BASE64URL_NOPAD.encode(pair.public_key().as_ref());
        let set = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": x }] });
        let mut issuer = TrustedIssuer::new("ci", ISSUER);
        issuer.algorithms = vec![Algorithm::EdDSA];
        let keys = FileKeys::new().with_document(&issuer, set.to_string().as_bytes());
        let keys = Arc::new(Counted {
            keys: keys.unwrap(),
            looks: AtomicUsize::new(0),
        });
        let clock = Arc::new(FixedClock::at(Timestamp::from_unix(NOW)));
        let issuers = vec![Arc::new(issuer)];
        let source = Arc::clone(&keys) as Arc<dyn KeySource>;
        let mut verifier = Verifier::new(
            "https://hallpass.example".to_owned(),
            issuers,
            source,
            clock,
        );
        verifier.limiter = SignatureLimiter::new(1);
        Self {
            pair,
            keys,
            verifier,
        }
    }

    /// A good token, but for these members of header and claims.
    fn token(&self, header: &Value, claims: &Value) -> String {
        let part = |mut whole: Value, changed: &Value| {
            let members = whole.as_object_mut().unwrap();
            members.extend(changed.as_object().unwrap().clone());
            BASE64URL_NOPAD.encode(whole.to_string().as_bytes())
        };
        let claims = part(
            json!({
                "iss": ISSUER, "aud": "https://hallpass.example", "sub": "repo:acme/shop",
                "jti": "b7c0e3a4", "iat": NOW, "nbf": NOW, "exp": NOW + 300,
            }),
            claims,
        );
        let header = part(json!({ "alg": "EdDSA", "kid": "k1" }), header);
        let input = format!("{header}.{claims}");
        let signature = self.pair.sign(input.as_bytes());
        format!("{input}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
    }

    /// Shows a token while the one place is taken.
    async fn show(&self, token: &str) -> Came {
        let before = self.keys.looks.load(Ordering::SeqCst);
        let looks = || self.keys.looks.load(Ordering::SeqCst) - before;
        let token = SubjectToken::new(token.to_owned());
        let held = self.verifier.limiter.hold().await;
        let mut verdict = Box::pin(self.verifier.verify(&token));
        let first = std::future::poll_fn(|context| Poll::Ready(verdict.as_mut().poll(context)));
        let came = match first.await {
            Poll::Ready(verdict) => Came::Refused(verdict.unwrap_err().reason(), looks()),
            Poll::Pending => Came::ToTheCheck(looks()),
        };
        drop(held);
        came
    }
}

/// T-96
#[tokio::test]
async fn what_costs_little_is_checked_before_keys_and_keys_before_the_signature() {
    let case = Case::new();
    let with = |header: Value, claims: Value| case.token(&header, &claims);
    let nothing = || json!({});
    let before_keys = [
        (Reason::RequestSize, "a".repeat(20_000)),
        (Reason::TokenShape, "a.b".to_owned()),
        (Reason::TokenEncoding, with(nothing(), nothing()) + "="),
        (Reason::TokenJson, "e30x.e30.AAAA".to_owned()),
        (Reason::TokenHeader, with(json!({ "crit": [] }), nothing())),
        (
            Reason::TokenAlgorithm,
            with(json!({ "alg": "RS256" }), nothing()),
        ),
        (
            Reason::TokenType,
            with(json!({ "typ": "at+jwt" }), nothing()),
        ),
        (Reason::TokenKey, with(json!({ "kid": "" }), nothing())),
        (
            Reason::TokenIssuer,
            with(nothing(), json!({ "iss": "https://other.example" })),
        ),
        (
            Reason::TokenExpired,
            with(nothing(), json!({ "exp": NOW - 3_600 })),
        ),
        (Reason::TokenClaim, with(nothing(), json!({ "iat": "now" }))),
        (Reason::TokenAudience, with(nothing(), json!({ "aud": 7 }))),
    ];
    for (reason, token) in before_keys {
        assert_eq!(case.show(&token).await, Came::Refused(reason, 0));
    }
    let unknown = with(json!({ "kid": "k2" }), nothing());
    assert_eq!(
        case.show(&unknown).await,
        Came::Refused(Reason::TokenKeyUnknown, 1)
    );
}

/// T-95, T-96
#[tokio::test]
async fn every_refusal_that_needs_a_signature_costs_one_look_and_one_check() {
    let case = Case::new();
    let good = case.token(&json!({}), &json!({}));
    let (input, signature) = good.rsplit_once('.').unwrap();
    // Wrong at its first byte, at its last, or in what it signs: the same way is gone to the same
    // end, whatever the job is.
    let mut tokens = vec![good.clone()];
    for at in [0, 31, 32, 63] {
        let mut bytes = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
        bytes[at] ^= 1;
        tokens.push(format!("{input}.{}", BASE64URL_NOPAD.encode(&bytes)));
    }
    for claims in [
        json!({ "sub": "" }),
        json!({ "aud": "https://other.example" }),
        json!({ "sub": "repo:other/shop", "repository": "other/shop" }),
        json!({ "nbf": NOW + 3_600 }),
        json!({ "exp": NOW + 10_000_000 }),
    ] {
        tokens.push(case.token(&json!({}), &claims));
    }
    for token in &tokens {
        assert_eq!(case.show(token).await, Came::ToTheCheck(1), "{token}");
    }
    for token in &tokens[1..5] {
        let token = SubjectToken::new(token.clone());
        let verdict = case.verifier.verify(&token).await;
        assert_eq!(verdict.err(), Some(VerifyError::Signature));
    }
    let token = SubjectToken::new(good);
    assert!(case.verifier.verify(&token).await.is_ok());
}

/// T-96
#[test]
fn only_the_largest_keys_are_dear_to_check_with() {
    let set = |vector: &str| {
        let line = vector.lines().find_map(|line| line.strip_prefix("keys: "));
        let mut issuer = TrustedIssuer::new("ci", ISSUER);
        issuer.algorithms = Algorithm::ALL.to_vec();
        KeySet::from_jwks(line.unwrap().as_bytes(), &Admission::for_issuer(&issuer)).unwrap()
    };
    let is_slow = |vector: &str| {
        let line = vector.lines().find_map(|line| line.strip_prefix("token: "));
        let keys = set(vector);
        let token = UnverifiedToken::parse(line.unwrap()).unwrap();
        choose_key(&token, &keys, |_| false).unwrap().is_slow()
    };
    assert!(is_slow(include_str!(
        "../../../tests/vectors/jws/rsa-8192-rs256.txt"
    )));
    for usual in [
        include_str!("../../../tests/vectors/jws/rfc7520-4-1.txt"),
        include_str!("../../../tests/vectors/jws/es384.txt"),
        include_str!("../../../tests/vectors/jws/rfc8037-a4.txt"),
    ] {
        assert!(!is_slow(usual));
    }
}

/// T-96
#[tokio::test]
async fn a_signature_that_finds_the_line_full_is_refused_as_our_trouble() {
    let case = Case::new();
    let token = SubjectToken::new(case.token(&json!({}), &json!({})));
    let _held = case.verifier.limiter.hold().await;
    let mut waiting = Vec::new();
    let busy = loop {
        let mut verdict = Box::pin(case.verifier.verify(&token));
        let first = std::future::poll_fn(|context| Poll::Ready(verdict.as_mut().poll(context)));
        match first.await {
            Poll::Ready(verdict) => break verdict.unwrap_err(),
            Poll::Pending => waiting.push(verdict),
        }
        assert!(waiting.len() < 1_000, "the line has no end");
    };
    assert_eq!(
        (busy.reason(), busy.reason().is_ours()),
        (Reason::LimitBusy, true)
    );
}
