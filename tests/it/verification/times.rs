//! Expiry, age and life of a token, at the second.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hallpass::clock::{FixedClock, Timestamp};
use hallpass::token::keys::FileKeys;
use hallpass::token::{
    Algorithm, KeyError, KeySet, KeySource, SubjectToken, TrustedIssuer, Verifier,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::tokens::{AUDIENCE, Broker, ISSUER, NOW, TestKey, claims, claims_with, jwks};

fn reason(name: &str, value: Option<Value>) -> &'static str {
    let (broker, key) = Broker::new();
    broker.reason(&key.token(&claims_with(name, value)))
}

/// T-42
#[test]
fn expiry_counts_to_the_second() {
    let (broker, key) = Broker::new();
    let token = key.token(&claims());
    for (after_expiry, expected) in [
        (-1, "ok"),
        (0, "ok"),
        (29, "ok"),
        (30, "token.expired"),
        (31, "token.expired"),
        (1_000_000, "token.expired"),
    ] {
        broker
            .clock
            .step(Timestamp::from_unix(NOW + 300 + after_expiry));
        assert_eq!(broker.reason(&token), expected, "{after_expiry}");
    }
}

/// Keys that come when the clock has moved on.
#[derive(Debug)]
struct SlowKeys {
    keys: FileKeys,
    clock: Arc<FixedClock>,
    then: Timestamp,
}

#[async_trait]
impl KeySource for SlowKeys {
    async fn keys(
        &self,
        issuer: &Arc<TrustedIssuer>,
        kid: Option<&str>,
    ) -> Result<Arc<KeySet>, KeyError> {
        self.clock.step(self.then);
        self.keys.keys(issuer, kid).await
    }
}

/// T-42, T-44: the time that counts is the one after the keys have come.
#[tokio::test]
async fn a_token_that_ends_while_its_keys_are_fetched_is_refused() {
    let key = TestKey::rsa("k1");
    let mut old = claims_with("iat", Some(json!(NOW - 1)));
    old["exp"] = json!(NOW + 3_000);
    for (claims, after, expected) in [
        (claims(), 329, "ok"),
        (claims(), 330, "token.expired"),
        (old.clone(), 329, "ok"),
        (old, 330, "token.age"),
    ] {
        let clock = Arc::new(FixedClock::at(Timestamp::from_unix(NOW)));
        let mut issuer = TrustedIssuer::new("ci", ISSUER);
        issuer.max_age = 330;
        let set = jwks(&[key.jwk()]);
        let keys = SlowKeys {
            keys: FileKeys::new().with_document(&issuer, &set).unwrap(),
            clock: Arc::clone(&clock),
            then: Timestamp::from_unix(NOW + after),
        };
        let issuers = vec![Arc::new(issuer)];
        let verifier = Verifier::new(AUDIENCE.to_owned(), issuers, Arc::new(keys), clock);
        let token = SubjectToken::new(key.token(&claims));
        let reason = verifier.verify(&token).await;
        let reason = reason.map_or_else(|error| error.reason().code(), |_| "ok");
        assert_eq!(reason, expected, "{after} s");
    }
}

/// T-42, T-43: every leeway there may be, at its last second and at the next.
#[test]
fn the_issuers_leeway_counts_to_the_second_on_both_sides() {
    let key = TestKey::rsa("k1");
    for leeway in [0, 1, 30, 60] {
        let mut issuer = TrustedIssuer::new("ci", ISSUER);
        issuer.leeway = leeway;
        let broker = Broker::trusting(issuer, &jwks(&[key.jwk()]));
        let token = key.token(&claims());
        let expires = NOW + 300;
        for (at, expected) in [
            (expires - 1, "ok"),
            (expires + leeway - 1, "ok"),
            (expires + leeway, "token.expired"),
        ] {
            broker.clock.step(Timestamp::from_unix(at));
            assert_eq!(broker.reason(&token), expected, "leeway {leeway} at {at}");
        }
        broker.clock.step(Timestamp::from_unix(NOW));
        for name in ["nbf", "iat"] {
            let reason = |ahead: i64| {
                broker.reason(&key.token(&claims_with(name, Some(json!(NOW + ahead)))))
            };
            assert_eq!(reason(leeway), "ok", "{name}, leeway {leeway}");
            assert_eq!(
                reason(leeway + 1),
                "token.not_yet",
                "{name}, leeway {leeway}"
            );
        }
    }
    assert_eq!(TrustedIssuer::new("ci", ISSUER).leeway, 30);
}

/// T-42, T-43, T-44: numbers as they are written, at the second they mean.
#[test]
fn a_time_is_floored_whatever_way_it_is_written() {
    let (broker, key) = Broker::new();
    let reason = |name: &str, literal: &str, at: i64| {
        let payload = claims_with(name, Some(json!("HERE")))
            .to_string()
            .replace("\"HERE\"", literal);
        broker.clock.step(Timestamp::from_unix(at));
        broker.reason(&key.sign(Algorithm::RS256, &key.header().to_string(), &payload))
    };
    for literal in [
        "1790000300",
        "1790000300.0",
        "1790000300.999999999999",
        "1.7900003e9",
        "17900003E+2",
        "179000030000e-2",
    ] {
        assert_eq!(reason("exp", literal, NOW + 329), "ok", "{literal}");
        assert_eq!(
            reason("exp", literal, NOW + 330),
            "token.expired",
            "{literal}"
        );
    }
    for literal in ["1790000030.999", "1790000030"] {
        assert_eq!(reason("nbf", literal, NOW), "ok", "{literal}");
        assert_eq!(reason("iat", literal, NOW), "ok", "{literal}");
        assert_eq!(
            reason("nbf", literal, NOW - 1),
            "token.not_yet",
            "{literal}"
        );
        assert_eq!(
            reason("iat", literal, NOW - 1),
            "token.not_yet",
            "{literal}"
        );
    }
    for zero in ["0", "-0", "-0.0", "0e400", "1e-400"] {
        assert_eq!(reason("exp", zero, NOW), "token.expired", "{zero}");
        assert_eq!(reason("nbf", zero, NOW), "ok", "{zero}");
        assert_eq!(reason("iat", zero, NOW), "token.lifetime", "{zero}");
    }
    // 2^53 is the last number; beyond it, and beyond all floats, nothing is a time.
    for (literal, expected) in [
        ("9007199254740991", "token.lifetime"),
        ("9007199254740992", "token.lifetime"),
        ("9007199254740992.5", "token.claim"),
        ("9007199254740993", "token.claim"),
        ("9223372036854775807", "token.claim"),
        ("9223372036854775808", "token.claim"),
        ("18446744073709551616", "token.claim"),
        ("1e400", "token.claim"),
        ("-1e-400", "token.claim"),
        ("1790000300000", "token.lifetime"),
    ] {
        assert_eq!(reason("exp", literal, NOW), expected, "{literal}");
    }
    // Milliseconds where seconds should be.
    assert_eq!(reason("nbf", "1790000000000", NOW), "token.not_yet");
    assert_eq!(reason("iat", "1790000000000", NOW), "token.not_yet");
}

/// T-42, T-43
#[test]
fn times_are_numbers_of_seconds() {
    for name in ["exp", "nbf", "iat"] {
        for odd in [
            json!("1790000000"),
            json!(true),
            json!([NOW]),
            json!({}),
            json!(-1),
            json!(-0.5),
            json!(1e300),
            json!(u64::MAX),
        ] {
            assert_eq!(
                reason(name, Some(odd.clone())),
                "token.claim",
                "{name} {odd}"
            );
        }
        let (broker, key) = Broker::new();
        for literal in [
            "1e400",
            "-1e400",
            "9223372036854775808",
            "9007199254740993",
            "1e16",
            "1e99999999999999999999",
        ] {
            let payload = claims_with(name, Some(json!("HERE")))
                .to_string()
                .replace("\"HERE\"", literal);
            let token = key.sign(Algorithm::RS256, &key.header().to_string(), &payload);
            assert_eq!(broker.reason(&token), "token.claim", "{name} {literal}");
        }
    }
    assert_eq!(reason("exp", None), "token.claim");
    assert_eq!(reason("exp", Some(json!(null))), "token.claim");
    assert_eq!(reason("iat", None), "token.claim");
    assert_eq!(reason("iat", Some(json!(null))), "token.claim");
    assert_eq!(reason("nbf", None), "ok");
    assert_eq!(reason("nbf", Some(json!(null))), "ok");
    assert_eq!(reason("exp", Some(json!(1_790_000_300.9))), "ok");
    assert_eq!(reason("exp", Some(json!(NOW * 1_000))), "token.lifetime");
    assert_eq!(reason("exp", Some(json!(1_i64 << 53))), "token.lifetime");
    assert_eq!(reason("exp", Some(json!(0))), "token.expired");
}

/// T-43
#[test]
fn a_token_from_the_future_is_refused_to_the_second() {
    for name in ["nbf", "iat"] {
        assert_eq!(reason(name, Some(json!(NOW + 30))), "ok");
        assert_eq!(
            reason(name, Some(json!(NOW + 31))),
            "token.not_yet",
            "{name}"
        );
    }
    assert_eq!(reason("nbf", Some(json!(0))), "ok");
    let (broker, key) = Broker::new();
    let token = key.token(&claims_with("iat", Some(json!(NOW + 31))));
    broker.clock.advance(Duration::from_secs(1));
    assert_eq!(broker.reason(&token), "ok");
}

/// T-43, T-72
#[test]
fn issued_at_is_optional_only_by_the_issuers_setting() {
    let key = TestKey::rsa("k1");
    let mut issuer = TrustedIssuer::new("ci", ISSUER);
    issuer.iat_required = false;
    let broker = Broker::trusting(issuer, &jwks(&[key.jwk()]));
    let token = key.token(&claims_with("iat", None));
    let verified = broker.verify(&token).unwrap();
    let exp = NOW + 300;
    assert_eq!(
        verified.issued_at().unix(),
        exp - 3_600,
        "the earliest that it can have been, not the time of verification"
    );
    assert_eq!(
        broker.reason(&key.token(&claims_with("iat", Some(json!("x"))))),
        "token.claim"
    );
    assert_eq!(
        broker.reason(&key.token(&claims_with("iat", Some(json!(NOW + 31))))),
        "token.not_yet"
    );
    let mut long = claims_with("iat", None);
    long["exp"] = json!(NOW + 3_601);
    assert_eq!(broker.reason(&key.token(&long)), "token.lifetime");
    broker.clock.step(Timestamp::from_unix(NOW + 310));
    assert_eq!(broker.reason(&token), "ok");
}

/// T-44
#[test]
fn lifetime_and_age_have_ends() {
    let key = TestKey::rsa("k1");
    let mut issuer = TrustedIssuer::new("ci", ISSUER);
    issuer.max_lifetime = 600;
    issuer.max_age = 400;
    let broker = Broker::trusting(issuer, &jwks(&[key.jwk()]));
    let reason = |iat: i64, exp: i64| {
        let mut claims = claims_with("iat", Some(json!(iat)));
        claims["exp"] = json!(exp);
        broker.reason(&key.token(&claims))
    };
    assert_eq!(reason(NOW, NOW + 600), "ok");
    assert_eq!(reason(NOW, NOW + 601), "token.lifetime");
    assert_eq!(reason(NOW - 400, NOW + 200), "ok");
    assert_eq!(reason(NOW - 401, NOW + 199), "token.age");
    assert_eq!(reason(0, NOW + 100), "token.lifetime");
    assert_eq!(reason(NOW, NOW), "token.lifetime");
    assert_eq!(reason(NOW + 20, NOW), "token.lifetime");
}

/// T-44: differences at the ends of what times there are.
#[test]
fn lifetime_and_age_are_compared_in_wide_arithmetic() {
    let key = TestKey::rsa("k1");
    let mut issuer = TrustedIssuer::new("ci", ISSUER);
    (issuer.max_lifetime, issuer.max_age) = (600, 400);
    let broker = Broker::trusting(issuer, &jwks(&[key.jwk()]));
    let most = 1_i64 << 53;
    for (now, iat, exp, expected) in [
        (i64::MIN, 0, 600, "token.not_yet"),
        (i64::MAX, 0, 600, "token.expired"),
        (i64::MAX, most, most, "token.expired"),
        (0, 0, most, "token.lifetime"),
        (most, 0, most, "token.lifetime"),
        (most - 300, most - 300, most, "ok"),
        (most, most - 400, most, "ok"),
        (most + 1, most - 400, most, "token.age"),
        (0, 0, 600, "ok"),
        (-30, 0, 600, "ok"),
        (-31, 0, 600, "token.not_yet"),
    ] {
        let mut claims = claims_with("nbf", None);
        claims["iat"] = json!(iat);
        claims["exp"] = json!(exp);
        broker.clock.step(Timestamp::from_unix(now));
        assert_eq!(
            broker.reason(&key.token(&claims)),
            expected,
            "{now} {iat} {exp}"
        );
    }
}

/// T-42, T-43, T-44: what an issuer's tokens may be like always has an end, and the ends have one.
#[test]
fn an_issuer_has_ceilings_of_its_own() {
    let issuer = TrustedIssuer::new("ci", ISSUER);
    assert_eq!((issuer.max_lifetime, issuer.max_age), (3_600, 3_600));
    assert!(issuer.iat_required && issuer.kid_required);
    let check = |change: fn(&mut TrustedIssuer)| {
        let mut issuer = TrustedIssuer::new("ci", ISSUER);
        change(&mut issuer);
        issuer.check().is_ok()
    };
    assert!(check(|issuer| issuer.leeway = 60) && check(|issuer| issuer.leeway = 0));
    assert!(!check(|issuer| issuer.leeway = 61));
    assert!(!check(|issuer| issuer.max_age = 0));
    assert!(!check(|issuer| issuer.max_lifetime = 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// T-74
    #[test]
    fn no_time_and_no_setting_wraps_around(exp in any::<u64>(), iat in any::<u64>(), now in any::<i64>(), leeway in any::<i64>(), most in any::<i64>()) {
        let key = TestKey::ed25519("k1");
        let mut issuer = TrustedIssuer::new("ci", ISSUER);
        issuer.algorithms = vec![Algorithm::EdDSA];
        (issuer.leeway, issuer.max_age, issuer.max_lifetime) = (leeway, most, most);
        let broker = Broker::trusting(issuer, &jwks(&[key.jwk()]));
        broker.clock.step(Timestamp::from_unix(now));
        let mut claims = claims_with("exp", Some(json!(exp)));
        claims["iat"] = json!(iat);
        let token = key.sign(Algorithm::EdDSA, r#"{"alg":"EdDSA","kid":"k1"}"#, &claims.to_string());
        let reason = broker.reason(&token);
        let in_range = exp <= 1 << 53 && iat <= 1 << 53;
        prop_assert_eq!(reason == "token.claim", !in_range);
        if reason == "ok" {
            let wide = |number: u64| i128::from(number);
            prop_assert!(i128::from(now) < wide(exp) + i128::from(leeway));
            prop_assert!(wide(exp) - wide(iat) <= i128::from(most));
        }
    }
}
