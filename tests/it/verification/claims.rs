//! Issuer, audience, subject: the claims every token needs, beside its times.

use hallpass::clock::Timestamp;
use hallpass::token::verify::subject_token_digest;
use hallpass::token::{Algorithm, TrustedIssuer};
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

/// T-41: the limits by themselves, where every entry would be tolerated.
#[test]
fn audiences_are_at_most_sixteen_of_at_most_512_bytes() {
    let key = TestKey::rsa("k1");
    let (fits, too_long) = ("x".repeat(512), "x".repeat(513));
    let mut issuer = TrustedIssuer::new("ci", ISSUER);
    issuer.tolerated_audiences = vec!["other".to_owned(), fits.clone(), too_long.clone()];
    let broker = Broker::trusting(issuer, &jwks(&[key.jwk()]));
    let outcome = |aud: Value| {
        let refused = broker.verify(&key.token(&claims_with("aud", Some(aud))));
        refused.map_or_else(|error| error.to_string(), |_| "ok".to_owned())
    };
    let list = |others: usize| {
        let entries = [AUDIENCE].into_iter().chain(vec!["other"; others]);
        json!(entries.collect::<Vec<_>>())
    };
    assert_eq!(outcome(list(15)), "ok");
    insta::assert_snapshot!(outcome(list(16)), @"claim `aud` of the subject token has more than 16 entries");
    assert_eq!(outcome(json!([AUDIENCE, fits])), "ok");
    insta::assert_snapshot!(outcome(json!([AUDIENCE, too_long])), @"claim `aud` of the subject token has an entry of more than 512 bytes");
    insta::assert_snapshot!(outcome(json!(too_long)), @"claim `aud` of the subject token has an entry of more than 512 bytes");
}

/// T-45
#[test]
fn a_subject_is_text_with_something_in_it() {
    for fine in [
        "x",
        "repo:acme/shop:ref:refs/heads/main",
        " x ",
        &"x".repeat(1_024),
        &"ü".repeat(512),
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
        json!("ü".repeat(513)),
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
        ("iss", ["Iss", "ISS", "i\u{455}s"], "token.issuer"),
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
        format!("{}: {error}", error.reason().code())
    };
    insta::assert_snapshot!(text("aud", json!("sts.amazonaws.com")), @"token.audience: claim `aud` is `sts.amazonaws.com`, expected `https://hallpass.example`; ask the CI for a token with that audience");
    insta::assert_snapshot!(text("aud", json!(["a\n\u{202e}", AUDIENCE])), @r"token.audience: claim `aud` is a list of `a\u{a}\u{202e}`, `https://hallpass.example`, expected `https://hallpass.example`; ask the CI for a token with that audience");
    insta::assert_snapshot!(text("aud", json!([])), @"token.audience: claim `aud` is an empty list, expected `https://hallpass.example`; ask the CI for a token with that audience");
    insta::assert_snapshot!(text("nbf", json!(NOW + 100)), @"token.not_yet: claim `nbf` is 2026-09-21T14:15:00Z, 100 s ahead of this broker's clock");
    insta::assert_snapshot!(text("exp", json!(NOW + 4_000)), @"token.lifetime: the subject token lives for 4000 s, expected 1 to 3600 s; `max_lifetime` of its issuer in the policies is the limit");
    insta::assert_snapshot!(text("sub", json!("")), @"token.subject: claim `sub` is not a string of 1 to 1024 bytes without control characters");
    insta::assert_snapshot!(text("exp", json!("soon")), @"token.claim: claim `exp` of the subject token is not a number of seconds from 0 to 2^53");
    insta::assert_snapshot!(text("exp", json!(null)), @"token.claim: claim `exp` of the subject token is missing");
    insta::assert_snapshot!(text("aud", json!(7)), @"token.audience: claim `aud` of the subject token is not a string or a list of strings");
    broker.clock.step(Timestamp::from_unix(NOW + 200));
    let mut old = claims_with("iat", Some(json!(NOW - 3_401)));
    old["exp"] = json!(NOW + 199);
    let error = broker.verify(&key.token(&old)).unwrap_err();
    insta::assert_snapshot!(error, @"the subject token was issued 3601 s ago, expected at most 3600 s (`max_age` of its issuer in the policies); ask the CI for a new one");
}
