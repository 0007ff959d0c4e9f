//! Issuer, audience, times, subject: the claims every token needs.

use std::time::Duration;

use hallpass::clock::Timestamp;
use hallpass::token::verify::subject_token_digest;
use hallpass::token::{Algorithm, TrustedIssuer};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::tokens::{AUDIENCE, Broker, ISSUER, NOW, TestKey, claims, claims_with, jwks};

fn reason(name: &str, value: Option<Value>) -> &'static str {
    let (broker, key) = Broker::new();
    broker.reason(&key.token(&claims_with(name, value)))
}

/// T-40, T-53
#[test]
fn an_issuer_that_nearly_fits_is_unknown() {
    for odd in [
        json!("https://ci.example/"),
        json!("https://CI.example"),
        json!("HTTPS://ci.example"),
        json!("http://ci.example"),
        json!("https://ci.example:443"),
        json!("https://ci.example:8443"),
        json!("https://ci.example."),
        json!("https://user@ci.example"),
        json!("https://ci.example#"),
        json!("https://ci.example?"),
        json!("https://ci.example?https://ci.example"),
        json!("https://ci.example/.well-known"),
        json!(" https://ci.example"),
        json!("https://ci.example "),
        json!("https://ci.example\n"),
        json!("https://ci%2Eexample"),
        json!("https://ci.exаmple"),
        json!("https://ci.example\0"),
        json!("ci.example"),
        json!("ci"),
        json!(""),
        json!(["https://ci.example"]),
        json!(1),
        json!(null),
        json!({}),
        json!(true),
        json!("https://evil.example"),
    ] {
        assert_eq!(reason("iss", Some(odd.clone())), "token.issuer", "{odd}");
    }
    assert_eq!(reason("iss", None), "token.issuer");
    let (broker, key) = Broker::new();
    let payload = claims().to_string().replace("\"iss\"", "\"ISS\"");
    assert_eq!(
        broker.reason(&key.sign(Algorithm::RS256, &key.header().to_string(), &payload)),
        "token.issuer"
    );
}

/// T-41
#[test]
fn exactly_our_audience_in_either_form() {
    for fine in [json!(AUDIENCE), json!([AUDIENCE])] {
        assert_eq!(reason("aud", Some(fine)), "ok");
    }
    for near in [
        "https://hallpass.example/",
        "https://hallpass.example.evil.example",
        "https://hallpass.exampl",
        "hallpass.example",
        "HTTPS://hallpass.example",
        "https://Hallpass.example",
        " https://hallpass.example",
        "https://hallpass.example ",
        "",
        "*",
        "sts.amazonaws.com",
        "https://hallpass.example\n",
        "https://hallpass.exаmple",
    ] {
        assert_eq!(reason("aud", Some(json!(near))), "token.audience", "{near}");
        assert_eq!(
            reason("aud", Some(json!([near]))),
            "token.audience",
            "{near}"
        );
        assert_eq!(
            reason("aud", Some(json!([AUDIENCE, near]))),
            "token.audience",
            "{near}"
        );
        assert_eq!(
            reason("aud", Some(json!([near, AUDIENCE]))),
            "token.audience",
            "{near}"
        );
    }
    assert_eq!(
        reason("aud", Some(json!([AUDIENCE, AUDIENCE]))),
        "token.audience"
    );
    assert_eq!(reason("aud", Some(json!([]))), "token.audience");
    for odd in [
        json!(null),
        json!(1),
        json!(true),
        json!({}),
        json!({ "0": AUDIENCE }),
        json!([1]),
        json!([[AUDIENCE]]),
        json!([AUDIENCE, null]),
        json!([null]),
    ] {
        assert_eq!(reason("aud", Some(odd.clone())), "token.audience", "{odd}");
    }
    assert_eq!(reason("aud", None), "token.audience");
    assert_eq!(
        reason("aud", Some(json!(vec![AUDIENCE; 17]))),
        "token.audience"
    );
    assert_eq!(
        reason("aud", Some(json!("x".repeat(513)))),
        "token.audience"
    );
    assert_eq!(
        reason("aud", Some(json!([AUDIENCE, "x".repeat(513)]))),
        "token.audience"
    );
}

/// T-41
#[test]
fn other_audiences_are_tolerated_by_name_only() {
    let key = TestKey::rsa("k1");
    let mut issuer = TrustedIssuer::new("ci", ISSUER);
    issuer.tolerated_audiences = vec!["ari:cloud:bitbucket".to_owned()];
    let broker = Broker::trusting(issuer, &jwks(&[key.jwk()]));
    let reason = |aud: Value| broker.reason(&key.token(&claims_with("aud", Some(aud))));
    assert_eq!(reason(json!([AUDIENCE, "ari:cloud:bitbucket"])), "ok");
    assert_eq!(reason(json!(["ari:cloud:bitbucket", AUDIENCE])), "ok");
    assert_eq!(reason(json!(AUDIENCE)), "ok");
    assert_eq!(reason(json!("ari:cloud:bitbucket")), "token.audience");
    assert_eq!(reason(json!(["ari:cloud:bitbucket"])), "token.audience");
    assert_eq!(
        reason(json!([AUDIENCE, "ari:cloud:bitbucket", "other"])),
        "token.audience"
    );
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

/// T-43
#[test]
fn issued_at_is_optional_only_by_the_issuers_setting() {
    let key = TestKey::rsa("k1");
    let mut issuer = TrustedIssuer::new("ci", ISSUER);
    issuer.iat_required = false;
    let broker = Broker::trusting(issuer, &jwks(&[key.jwk()]));
    let token = key.token(&claims_with("iat", None));
    let verified = broker.verify(&token).unwrap();
    assert_eq!(verified.issued_at().unix(), NOW);
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

/// T-45
#[test]
fn a_subject_is_text_with_something_in_it() {
    for fine in [
        "x",
        "repo:acme/shop:ref:refs/heads/main",
        " x ",
        &"x".repeat(1_024),
        "ünïcode",
    ] {
        assert_eq!(reason("sub", Some(json!(fine))), "ok", "{fine}");
    }
    for odd in [
        json!(""),
        json!(" "),
        json!("   "),
        json!("\u{a0}"),
        json!("a\nb"),
        json!("a\0"),
        json!("\u{7f}"),
        json!("\u{85}"),
        json!("a\tb"),
        json!("x".repeat(1_025)),
        json!("x".repeat(10_240)),
        json!(null),
        json!(1),
        json!(["x"]),
        json!({}),
        json!(true),
    ] {
        assert_eq!(reason("sub", Some(odd.clone())), "token.subject", "{odd}");
    }
    assert_eq!(reason("sub", None), "token.subject");
}

/// T-26
#[test]
fn look_alike_claims_fill_no_missing_one() {
    let (broker, key) = Broker::new();
    for (name, look_alikes, expected) in [
        ("exp", ["Exp", "EXP", "e\u{200b}xp"], "token.claim"),
        ("aud", ["Aud", "AUD", "\u{ff41}ud"], "token.audience"),
        ("sub", ["Sub", "SUB", "ѕub"], "token.subject"),
        ("iat", ["Iat", "IAT", "iat "], "token.claim"),
    ] {
        for look_alike in look_alikes {
            let payload = claims()
                .to_string()
                .replace(&format!("\"{name}\""), &format!("\"{look_alike}\""));
            let token = key.sign(Algorithm::RS256, &key.header().to_string(), &payload);
            assert_eq!(broker.reason(&token), expected, "{look_alike}");
        }
    }
}

/// T-71
#[test]
fn a_tokens_identity_is_its_issuer_and_jti_or_its_signing_input() {
    let key = TestKey::p256("k1");
    let mut issuer = TrustedIssuer::new("ci", ISSUER);
    issuer.algorithms = vec![Algorithm::ES256];
    let broker = Broker::trusting(issuer, &jwks(&[key.jwk()]));
    let sign = |claims: &Value| {
        key.sign(
            Algorithm::ES256,
            r#"{"alg":"ES256","kid":"k1"}"#,
            &claims.to_string(),
        )
    };
    let id = |token: &str| broker.verify(token).unwrap().id().clone();

    let by_jti = id(&sign(&claims()));
    assert_eq!(
        (by_jti.issuer.as_str(), by_jti.id.as_str()),
        (ISSUER, "b7c0e3a4")
    );

    for odd in [
        None,
        Some(json!("")),
        Some(json!(1)),
        Some(json!(null)),
        Some(json!("x".repeat(257))),
        Some(json!("sha256:00")),
    ] {
        // ECDSA signs differently each time: same signing input, other text, same token.
        let claims = claims_with("jti", odd);
        let (one, other) = (sign(&claims), sign(&claims));
        assert_ne!(one, other);
        assert_eq!(id(&one), id(&other));
        let found = id(&one);
        assert!(
            found.id.starts_with("sha256:") && found.id.len() == 7 + 64,
            "{}",
            found.id
        );
        assert_eq!(found.digest, subject_token_digest(&one));
        assert!(found.id.contains(&found.digest));
    }
    assert_eq!(
        id(&sign(&claims_with("jti", Some(json!("x".repeat(256))))))
            .id
            .len(),
        256
    );
}

#[test]
fn verified_claims_are_those_of_the_token() {
    let (broker, key) = Broker::new();
    let verified = broker.verify(&key.token(&claims())).unwrap();
    assert_eq!(verified.subject(), "repo:acme/shop");
    assert_eq!(verified.issuer().name, "ci");
    assert_eq!(verified.issued_at().unix(), NOW);
    assert_eq!(verified.usable_until().unix(), NOW + 330);
    assert_eq!(Value::Object(verified.claims().to_json()), claims());
}

/// T-91
#[test]
fn refusals_after_the_signature_name_claim_and_value_escaped() {
    let (broker, key) = Broker::new();
    let text = |name: &str, value: Value| {
        let error = broker
            .verify(&key.token(&claims_with(name, Some(value))))
            .unwrap_err();
        format!("{}: {error}", error.reason())
    };
    insta::assert_snapshot!(text("aud", json!("sts.amazonaws.com")), @"token.audience: claim `aud` is `sts.amazonaws.com`, expected `https://hallpass.example`; ask the CI for a token with that audience");
    insta::assert_snapshot!(text("aud", json!(["a\n\u{202e}", AUDIENCE])), @r"token.audience: claim `aud` is a list of `a\u{a}\u{202e}`, `https://hallpass.example`, expected `https://hallpass.example`; ask the CI for a token with that audience");
    insta::assert_snapshot!(text("aud", json!([])), @"token.audience: claim `aud` is an empty list, expected `https://hallpass.example`; ask the CI for a token with that audience");
    insta::assert_snapshot!(text("nbf", json!(NOW + 100)), @"token.not_yet: claim `nbf` is 2026-09-21T14:15:00Z, 100 s ahead of this broker's clock");
    insta::assert_snapshot!(text("exp", json!(NOW + 4_000)), @"token.lifetime: the subject token lives for 4000 s, expected 1 to 3600 s");
    insta::assert_snapshot!(text("sub", json!("")), @"token.subject: claim `sub` is not a string of 1 to 1024 bytes without control characters");
    insta::assert_snapshot!(text("exp", json!("soon")), @"token.claim: claim `exp` of the subject token is not a number of seconds from 0 to 2^53");
    insta::assert_snapshot!(text("exp", json!(null)), @"token.claim: claim `exp` of the subject token is missing");
    insta::assert_snapshot!(text("aud", json!(7)), @"token.audience: claim `aud` of the subject token is not a string or a list of strings");
    broker.clock.step(Timestamp::from_unix(NOW + 200));
    let mut old = claims_with("iat", Some(json!(NOW - 3_401)));
    old["exp"] = json!(NOW + 199);
    let error = broker.verify(&key.token(&old)).unwrap_err();
    insta::assert_snapshot!(error, @"the subject token was issued 3601 s ago, expected at most 3600 s; ask the CI for a new one");
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
