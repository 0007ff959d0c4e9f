//! The header of a subject token: what it must not bring, its type, its key id.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use hallpass::clock::{FixedClock, Timestamp};
use hallpass::token::keys::RemoteKeys;
use hallpass::token::keys::remote::Fetch;
use hallpass::token::{Algorithm, KeyError, SubjectToken, TrustedIssuer, Verifier};
use serde_json::{Value, json};

use crate::support::tokens::{AUDIENCE, Broker, ISSUER, NOW, TestKey, claims, claims_with, jwks};

/// T-19, T-21, T-23
#[test]
fn header_members_that_no_signed_ci_token_needs_are_refused() {
    let (broker, key) = Broker::new();
    let refuse = |name: &str, value: Value| {
        let mut header = key.header();
        header[name] = value;
        let token = key.token_with_header(&header, &claims());
        assert_eq!(broker.reason(&token), "token.header", "{header}");
    };
    for value in [
        json!(["exp"]),
        json!(["b64"]),
        json!([]),
        json!(null),
        json!("exp"),
        json!({}),
        json!(1),
    ] {
        refuse("crit", value);
    }
    for value in [json!(false), json!(true), json!(null), json!("false")] {
        refuse("b64", value);
    }
    refuse("jwk", key.jwk());
    refuse("jku", json!("https://evil.example/jwks"));
    refuse("x5u", json!("https://evil.example/x5u"));
    refuse("x5c", json!(["MIIB"]));
    for name in ["enc", "zip", "epk", "p2c", "p2s", "apu", "apv", "iv", "tag"] {
        refuse(name, json!("x"));
        refuse(name, json!(null));
    }
    let mut header = key.header();
    header["x5t"] = "x".into();
    header["x5t#S256"] = "x".into();
    header["nonsense"] = json!({ "a": [1] });
    assert_eq!(
        broker.reason(&key.token_with_header(&header, &claims())),
        "ok"
    );
}

/// T-21
#[test]
fn a_key_in_the_token_is_not_used_although_the_signature_holds_under_it() {
    let (broker, genuine) = Broker::new();
    let own = TestKey::other_rsa("k1");
    for (name, value) in [
        ("jwk", own.jwk()),
        ("jwk", json!(null)),
        ("jku", json!("https://evil.example/jwks")),
        ("x5u", json!("https://evil.example/x5u")),
        ("x5c", json!(["MIIB"])),
    ] {
        let header = json!({ "alg": "RS256", "kid": "k1", name: value });
        for key in [&own, &genuine] {
            assert_eq!(
                broker.reason(&key.token_with_header(&header, &claims())),
                "token.header",
                "{header}"
            );
        }
    }
    assert_eq!(broker.reason(&own.token(&claims())), "token.signature");
}

/// Counts how often an issuer is asked.
#[derive(Debug, Default)]
struct Asked(AtomicUsize);

#[async_trait]
impl Fetch for Asked {
    async fn key_set(&self, _: &TrustedIssuer) -> Result<Vec<u8>, KeyError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(jwks(&[TestKey::rsa("k1").jwk()]))
    }
}

/// T-13, T-16, T-18, T-19, T-20, T-21, T-22, T-23, T-40, T-42, T-53: nobody is asked for keys
/// because of a token that is refused anyway.
#[tokio::test]
async fn a_token_of_the_wrong_form_causes_no_fetch() {
    let key = TestKey::rsa("k1");
    let issuers = vec![Arc::new(TrustedIssuer::new("ci", ISSUER))];
    let clock = Arc::new(FixedClock::at(Timestamp::from_unix(NOW)));
    let asked = Arc::new(Asked::default());
    let keys = RemoteKeys::with_fetch(&issuers, Arc::clone(&clock) as _, Arc::clone(&asked) as _);
    let verifier = Verifier::new(AUDIENCE.to_owned(), issuers, Arc::new(keys), clock);
    let with_header = |name: &str, value: Value| {
        let mut header = key.header();
        header[name] = value;
        key.token_with_header(&header, &claims())
    };
    for (token, reason) in [
        ("x.y".to_owned(), "token.shape"),
        (key.token(&claims()) + "=", "token.encoding"),
        (key.sign(Algorithm::RS256, "[]", "{}"), "token.json"),
        (
            key.sign(
                Algorithm::RS256,
                &key.header().to_string(),
                r#"{"a":1,"a":1}"#,
            ),
            "token.json",
        ),
        (with_header("crit", json!(["exp"])), "token.header"),
        (
            with_header("jku", json!("https://ci.example/jwks")),
            "token.header",
        ),
        (
            with_header("x5u", json!("https://ci.example/x")),
            "token.header",
        ),
        (with_header("jwk", key.jwk()), "token.header"),
        (with_header("zip", json!("DEF")), "token.header"),
        (with_header("alg", json!("none")), "token.algorithm"),
        (with_header("alg", json!("PS256")), "token.algorithm"),
        (with_header("typ", json!("at+jwt")), "token.type"),
        (with_header("cty", json!("JWT")), "token.type"),
        (with_header("kid", json!(1)), "token.key"),
        (
            key.token(&claims_with("iss", Some(json!("https://ci.example/")))),
            "token.issuer",
        ),
        (
            key.token(&claims_with("iss", Some(json!("https://evil.example")))),
            "token.issuer",
        ),
        (
            key.token(&claims_with("iss", Some(json!([ISSUER])))),
            "token.issuer",
        ),
        (
            key.token(&claims_with("exp", Some(json!("5")))),
            "token.claim",
        ),
        (
            key.token(&claims_with("exp", Some(json!(NOW - 30)))),
            "token.expired",
        ),
        (
            key.token(&claims_with("aud", Some(json!(1)))),
            "token.audience",
        ),
    ] {
        let refused = verifier
            .verify(&SubjectToken::new(token))
            .await
            .unwrap_err();
        assert_eq!(refused.reason().code(), reason);
        assert_eq!(asked.0.load(Ordering::SeqCst), 0, "{reason}");
    }
    let good = SubjectToken::new(key.token(&claims()));
    assert!(verifier.verify(&good).await.is_ok());
    assert_eq!(asked.0.load(Ordering::SeqCst), 1);
}

/// T-22
#[test]
fn a_token_of_another_type_is_refused() {
    let (broker, key) = Broker::new();
    let reason = |header: &Value| broker.reason(&key.token_with_header(header, &claims()));
    for fine in ["JWT", "jwt", "Jwt", "application/jwt", "APPLICATION/JWT"] {
        assert_eq!(
            reason(&json!({ "alg": "RS256", "kid": "k1", "typ": fine })),
            "ok",
            "{fine}"
        );
    }
    assert_eq!(reason(&json!({ "alg": "RS256", "kid": "k1" })), "ok");
    for odd in [
        json!("at+jwt"),
        json!("logout+jwt"),
        json!("dpop+jwt"),
        json!("secevent+jwt"),
        json!("JOSE"),
        json!(""),
        json!("JWT "),
        json!("application/at+jwt"),
        json!("application/application/jwt"),
        json!("text/jwt"),
        json!("other/thing-JWT"),
        json!(null),
        json!(["JWT"]),
        json!(1),
    ] {
        assert_eq!(
            reason(&json!({ "alg": "RS256", "kid": "k1", "typ": odd })),
            "token.type",
            "{odd}"
        );
    }
    for nested in [json!("JWT"), json!("jwt"), json!(""), json!(null)] {
        assert_eq!(
            reason(&json!({ "alg": "RS256", "kid": "k1", "cty": nested })),
            "token.type",
            "{nested}"
        );
    }
    let mut issuer = TrustedIssuer::new("ci", ISSUER);
    issuer.token_types = vec!["application/x-ci+jwt".to_owned()];
    let broker = Broker::trusting(issuer, &jwks(&[key.jwk()]));
    let reason = |typ: &str| {
        broker.reason(&key.token_with_header(
            &json!({ "alg": "RS256", "kid": "k1", "typ": typ }),
            &claims(),
        ))
    };
    assert_eq!(
        (reason("x-ci+jwt"), reason("X-CI+JWT"), reason("JWT")),
        ("ok", "ok", "token.type")
    );
}

/// T-27, T-28
#[test]
fn a_key_id_is_a_string_and_nothing_but_a_map_key() {
    let (broker, key) = Broker::new();
    let reason = |kid: Value| {
        broker.reason(&key.token_with_header(&json!({ "alg": "RS256", "kid": kid }), &claims()))
    };
    for odd in [
        json!(null),
        json!(1),
        json!(""),
        json!(["k1"]),
        json!({}),
        json!(true),
        json!("x".repeat(257)),
        json!("é".repeat(129)),
    ] {
        assert_eq!(reason(odd.clone()), "token.key", "{odd}");
    }
    for unknown in [
        "../../dev/null",
        "/etc/passwd",
        "' OR 1=1 --",
        "k1\0",
        "k1 ",
        " k1",
        "K1",
        "k1\nX: y",
        "${jndi:ldap://x}",
        "$(id)",
        "%00",
        "https://evil.example/k1",
        &"ü".repeat(100),
        &"x".repeat(256),
    ] {
        assert_eq!(reason(json!(unknown)), "token.key_unknown", "{unknown}");
    }
    assert_eq!(
        broker.reason(&key.token_with_header(&json!({ "alg": "RS256" }), &claims())),
        "token.key"
    );
}

/// T-27
#[test]
fn a_missing_key_id_needs_a_setting_and_a_single_key() {
    let key = TestKey::rsa("k1");
    let mut issuer = TrustedIssuer::new("ci", ISSUER);
    issuer.kid_required = false;
    let token = key.token_with_header(&json!({ "alg": "RS256" }), &claims());
    let one = Broker::trusting(issuer.clone(), &jwks(&[key.jwk()]));
    assert_eq!(one.reason(&token), "ok");
    let two = Broker::trusting(
        issuer.clone(),
        &jwks(&[key.jwk(), TestKey::other_rsa("k2").jwk()]),
    );
    assert_eq!(two.reason(&token), "token.key_ambiguous");
    let none = Broker::trusting(issuer, &jwks(&[]));
    assert_eq!(none.reason(&token), "token.key_unknown");
}
