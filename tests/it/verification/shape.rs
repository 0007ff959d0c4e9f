//! The shape of a subject token: parts, base64url, JSON, header.

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL_NOPAD};
use hallpass::token::{Admission, Algorithm, KeySet, TrustedIssuer, verify_jws};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::tokens::{Broker, ISSUER, TestKey, claims, jwks};

/// T-13, T-15
#[test]
fn anything_but_three_parts_is_refused_by_its_shape() {
    let (broker, key) = Broker::new();
    let token = key.token(&claims());
    let [header, payload, signature] = parts(&token);
    for text in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        header.to_owned(),
        format!("{header}.{payload}"),
        format!("{header}..{signature}"),
        format!(".{payload}.{signature}"),
        format!("{header}.{payload}."),
        format!("{token}."),
        format!(".{token}"),
        format!("{token}.{signature}"),
        format!("{token}.{payload}.{signature}"),
        format!(r#"{{"payload":"{payload}","protected":"{header}","signature":"{signature}"}}"#),
        format!(
            r#"{{"payload":"{payload}","signatures":[{{"protected":"{header}","signature":"{signature}"}}]}}"#
        ),
        format!(r#"{{"a":"{token}"}}"#),
        format!("[{token}]"),
        format!("\"{token}\""),
        format!("{token}\0"),
        format!("{token}é"),
        "é".repeat(10),
        ".".repeat(16_000),
    ] {
        assert_eq!(broker.reason(&text), "token.shape", "{text}");
    }
}

/// T-14
#[test]
fn a_second_spelling_is_refused_by_its_encoding() {
    let (broker, key) = Broker::new();
    let token = key.token(&claims());
    let [header, payload, signature] = parts(&token);
    let standard = BASE64_NOPAD.encode(&BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap());
    let padded = BASE64.encode(&BASE64URL_NOPAD.decode(header.as_bytes()).unwrap());
    let mut spellings = vec![
        format!("{token}="),
        format!("{token}=="),
        format!("{header}=.{payload}.{signature}"),
        format!("{padded}=.{payload}.{signature}"),
        format!(" {token}"),
        format!("{token} "),
        format!("{token}\n"),
        format!("{token}\r\n"),
        format!("\t{token}"),
        format!("Bearer {token}"),
        format!("bearer {token}"),
        format!(
            "{header}.{payload}.{}",
            spliced(signature, signature.len() - 1, 1, "")
        ),
        format!("{header}.{payload}.A"),
    ];
    if standard != signature {
        spellings.push(format!("{header}.{payload}.{standard}"));
    }
    for text in spellings {
        assert_eq!(broker.reason(&text), "token.encoding", "{text}");
    }
    // The last character of 256 bytes carries four bits that stand for nothing.
    let last = signature.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let next = alphabet
        .chars()
        .nth(alphabet.find(last).unwrap() + 1)
        .unwrap();
    let dangling = format!(
        "{header}.{payload}.{}{next}",
        spliced(signature, signature.len() - 1, 1, "")
    );
    assert_eq!(broker.reason(&dangling), "token.encoding");
}

/// T-14
#[test]
fn every_changed_or_inserted_character_is_refused() {
    let (broker, key) = Broker::new();
    let token = key.token(&claims());
    assert_eq!(broker.reason(&token), "ok");
    for position in 0..token.len() {
        for replacement in ["A", "w", "_", ".", "="] {
            let changed = spliced(&token, position, 1, replacement);
            if changed != token {
                assert_ne!(broker.reason(&changed), "ok", "{position} {replacement}");
            }
            let inserted = spliced(&token, position, 0, replacement);
            assert_ne!(broker.reason(&inserted), "ok", "{position} {replacement}");
        }
        let removed = spliced(&token, position, 1, "");
        assert_ne!(broker.reason(&removed), "ok", "{position}");
    }
}

/// T-01
#[test]
fn a_token_is_at_most_16_kib() {
    let (broker, key) = Broker::new();
    assert_eq!(broker.reason(&"a".repeat(16 * 1_024)), "token.shape");
    assert_eq!(broker.reason(&"a".repeat(16 * 1_024 + 1)), "request.size");
    let mut long = claims();
    long["pad"] = "x".repeat(11_000).into();
    assert_eq!(broker.reason(&key.token(&long)), "ok");
    long["pad"] = "x".repeat(16_000).into();
    assert_eq!(broker.reason(&key.token(&long)), "request.size");
}

/// T-16, T-17, T-18
#[test]
fn header_and_payload_are_strict_json_objects() {
    let (broker, key) = Broker::new();
    let good = claims().to_string();
    let header = key.header().to_string();
    let inside = |extra: &str| format!("{},{extra}}}", good.strip_suffix('}').unwrap());
    for payload in [
        "[]".to_owned(),
        "null".to_owned(),
        "\"x\"".to_owned(),
        format!("[{good}]"),
        format!("\u{feff}{good}"),
        format!("{good}x"),
        format!("{good}{good}"),
        format!("{good}/* */"),
        inside(r#""a":NaN"#),
        inside(r#""a":"\ud800""#),
        inside(r#""aud":"x""#),
        inside(r#""\u0061ud":"x""#),
        inside(r#""x":{"y":[{"z":1,"z":1}]}"#),
        inside(&format!(r#""x":{}{}"#, "[".repeat(16), "]".repeat(16))),
        inside(&format!(r#""x":[{}]"#, vec!["1"; 4_096].join(","))),
        inside(&format!(r#""x":{}"#, "1".repeat(65))),
    ] {
        let token = key.sign(Algorithm::RS256, &header, &payload);
        assert_eq!(broker.reason(&token), "token.json", "{payload}");
    }
    assert_eq!(
        broker.reason(&key.sign(Algorithm::RS256, &header, &inside(r#""x":[1]"#))),
        "ok"
    );
    for odd in [
        r#"["RS256","k1"]"#.to_owned(),
        "null".to_owned(),
        format!("{header} {header}"),
        format!("\u{feff}{header}"),
        r#"{"alg":"RS256","alg":"RS256","kid":"k1"}"#.to_owned(),
        r#"{"alg":"RS256","\u0061lg":"none","kid":"k1"}"#.to_owned(),
        r#"{"alg":"RS256","kid":"k1","x":{"y":1,"y":1}}"#.to_owned(),
        format!(
            r#"{{"alg":"RS256","kid":"k1","x":"{}"}}"#,
            "y".repeat(4_096)
        ),
    ] {
        let token = key.sign(Algorithm::RS256, &odd, &good);
        assert_eq!(broker.reason(&token), "token.json", "{odd}");
    }
    let spaced = r#" { "kid" : "k1" ,	"alg":"RS256" } "#;
    assert_eq!(
        broker.reason(&key.sign(Algorithm::RS256, spaced, &good)),
        "ok"
    );
}

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
    let (broker, _) = Broker::new();
    let own = TestKey::other_rsa("k1");
    let header = json!({ "alg": "RS256", "kid": "k1", "jwk": own.jwk() });
    assert_eq!(
        broker.reason(&own.token_with_header(&header, &claims())),
        "token.header"
    );
    assert_eq!(broker.reason(&own.token(&claims())), "token.signature");
}

/// T-20, T-24, T-26
#[test]
fn only_the_issuers_algorithms_by_their_exact_names_are_accepted() {
    let (broker, key) = Broker::new();
    for algorithm in [
        json!("none"),
        json!("None"),
        json!("NONE"),
        json!("nOnE"),
        json!(""),
        json!(null),
        json!(["RS256"]),
        json!("rs256"),
        json!("RS256 "),
        json!(" RS256"),
        json!("RS256\0"),
        json!(0),
        json!(true),
        json!({}),
        json!("HS256"),
        json!("HS384"),
        json!("HS512"),
        json!("RS384"),
        json!("PS256"),
        json!("ES256"),
        json!("ES512"),
        json!("ES256K"),
        json!("EdDSA"),
        json!("RSA-OAEP"),
        json!("dir"),
    ] {
        let header = json!({ "alg": algorithm, "kid": "k1" });
        let token = key.token_with_header(&header, &claims());
        assert_eq!(broker.reason(&token), "token.algorithm", "{header}");
    }
    for header in [
        json!({ "kid": "k1" }),
        json!({ "Alg": "RS256", "kid": "k1" }),
        json!({ "ALG": "RS256", "kid": "k1" }),
        json!({ "\u{ff41}lg": "RS256", "kid": "k1" }),
    ] {
        let token = key.token_with_header(&header, &claims());
        assert_eq!(broker.reason(&token), "token.algorithm", "{header}");
    }
    let header = json!({ "alg": "RS256", "KID": "k1", "k\u{200b}id": "k1" });
    assert_eq!(
        broker.reason(&key.token_with_header(&header, &claims())),
        "token.key"
    );
}

/// T-24
#[test]
fn a_public_key_is_no_hmac_secret() {
    use aws_lc_rs::hmac;
    let (broker, key) = Broker::new();
    let jwk = key.jwk();
    let n = BASE64URL_NOPAD
        .decode(jwk["n"].as_str().unwrap().as_bytes())
        .unwrap();
    let set = KeySet::from_jwks(&jwks(std::slice::from_ref(&jwk)), &Admission::default()).unwrap();
    for secret in [
        jwk.to_string().into_bytes(),
        n,
        jwk["n"].as_str().unwrap().as_bytes().to_vec(),
        Vec::new(),
    ] {
        for (name, algorithm) in [("HS256", hmac::HMAC_SHA256), ("HS512", hmac::HMAC_SHA512)] {
            let header = json!({ "alg": name, "kid": "k1" }).to_string();
            let signing_input = format!(
                "{}.{}",
                BASE64URL_NOPAD.encode(header.as_bytes()),
                BASE64URL_NOPAD.encode(claims().to_string().as_bytes())
            );
            let tag = hmac::sign(
                &hmac::Key::new(algorithm, &secret),
                signing_input.as_bytes(),
            );
            let token = format!("{signing_input}.{}", BASE64URL_NOPAD.encode(tag.as_ref()));
            assert_eq!(broker.reason(&token), "token.algorithm");
            assert_eq!(
                verify_jws(&token, &set, &Algorithm::ALL)
                    .unwrap_err()
                    .reason(),
                "token.algorithm"
            );
        }
    }
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

/// T-28, T-91
#[test]
fn what_a_log_line_says_of_a_refused_token_is_short_plain_ascii() {
    let (broker, key) = Broker::new();
    let header = json!({ "alg": "RS256", "kid": format!("a\n\u{1b}\u{2028}{}", "x".repeat(200)) });
    let token = key.token_with_header(&header, &claims());
    let labels = broker
        .verifier
        .unverified_labels(&hallpass::token::SubjectToken::new(token));
    let kid = labels.kid.unwrap();
    assert_eq!(labels.issuer, "ci");
    assert!(kid.starts_with("a\\u{a}\\u{1b}\\u{2028}xxx"), "{kid}");
    assert!(
        kid.len() <= 64 + 5 && kid.bytes().all(|byte| matches!(byte, b' '..=b'~')),
        "{kid}"
    );
    assert_eq!(labels.subject_token_id.len(), 16);
    let nonsense = broker
        .verifier
        .unverified_labels(&hallpass::token::SubjectToken::new("x".to_owned()));
    assert_eq!((nonsense.issuer.as_str(), nonsense.kid), ("unknown", None));
}

/// Before the signature holds nothing of the token is repeated, whatever the step.
#[test]
fn refusals_before_the_signature_name_the_step_only() {
    let (broker, key) = Broker::new();
    let other = TestKey::other_rsa("k1");
    let mut elsewhere = claims();
    elsewhere["iss"] = "https://canary.example".into();
    let mut expired = claims();
    expired["exp"] = 5.into();
    let mut odd = claims();
    odd["exp"] = "canary".into();
    let texts: Vec<String> = [
        "canary".to_owned(),
        "canary.canary.canary=".to_owned(),
        key.sign(Algorithm::RS256, "{\"canary\":1,\"canary\":2}", "{}"),
        key.token_with_header(&json!({ "alg": "canary" }), &claims()),
        key.token_with_header(&json!({ "alg": "RS256", "jku": "canary" }), &claims()),
        key.token_with_header(&json!({ "alg": "RS256", "kid": 1 }), &claims()),
        key.token_with_header(&json!({ "alg": "RS256", "kid": "canary" }), &claims()),
        key.token_with_header(
            &json!({ "alg": "RS256", "kid": "k1", "typ": "canary" }),
            &claims(),
        ),
        key.token(&elsewhere),
        key.token(&expired),
        key.token(&odd),
        other.token(&claims()),
    ]
    .iter()
    .map(|token| broker.verify(token).unwrap_err().to_string())
    .collect();
    insta::assert_snapshot!(texts.join("\n"), @r"
    the subject token is not a signed token in three parts (a compact JWS)
    the subject token is not canonical base64url; send it exactly as the CI issued it
    the subject token's header is not one strict JSON object: a member stands twice in the object that ends at byte 23
    the subject token's algorithm is not one its issuer and its key may use
    the subject token's header has `jku`, which no CI token needs
    the subject token does not name its key by a `kid` of 1 to 256 bytes
    the subject token's key is not in its issuer's key set
    the subject token is of another type than its issuer's ID tokens
    the subject token's issuer is not one this broker trusts
    the subject token has expired; ask the CI for a new one
    claim `exp` of the subject token is not a number of seconds from 0 to 2^53
    the subject token's signature does not hold
    ");
}

/// The text with some of its bytes, from a position on, replaced.
fn spliced(text: &str, position: usize, count: usize, replacement: &str) -> String {
    let mut text = text.to_owned();
    text.replace_range(position..position + count, replacement);
    text
}

fn parts(token: &str) -> [&str; 3] {
    let parts: Vec<&str> = token.split('.').collect();
    parts.try_into().unwrap()
}

proptest! {
    /// T-39, T-94
    #[test]
    fn no_text_makes_the_verifier_panic(text in r"(\.|[A-Za-z0-9_=-]{0,12}|\PC){0,12}") {
        let keys = KeySet::default();
        prop_assert!(verify_jws(&text, &keys, &Algorithm::ALL).is_err());
    }

    /// T-39, T-94
    #[test]
    fn no_bytes_in_the_parts_make_the_verifier_panic(
        header in prop::collection::vec(any::<u8>(), 1..60),
        payload in prop::collection::vec(any::<u8>(), 1..60),
        signature in prop::collection::vec(any::<u8>(), 1..300),
    ) {
        let part = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let token = format!("{}.{}.{}", part(&header), part(&payload), part(&signature));
        let (broker, _) = Broker::new();
        prop_assert_ne!(broker.reason(&token), "ok");
    }

    /// T-36, T-39
    #[test]
    fn no_signature_of_any_length_holds_or_panics(
        signature in prop::collection::vec(any::<u8>(), 1..300),
        algorithm in prop::sample::select(&Algorithm::ALL[..]),
    ) {
        let keys = [TestKey::rsa("rsa"), TestKey::p256("p256"), TestKey::p384("p384"), TestKey::ed25519("ed")];
        let set = KeySet::from_jwks(&jwks(&keys.map(|key| key.jwk())), &Admission::default()).unwrap();
        let header = json!({ "alg": algorithm.name() }).to_string();
        let part = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let token = format!("{}.e30.{}", part(header.as_bytes()), part(&signature));
        prop_assert_eq!(verify_jws(&token, &set, &Algorithm::ALL).unwrap_err().reason(), "token.signature");
    }
}
