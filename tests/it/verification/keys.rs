//! Which keys are admitted, and which key checks a token.

use std::collections::BTreeSet;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use hallpass::clock::{FixedClock, Timestamp};
use hallpass::token::keys::{FileKeys, KeyError, Rule};
use hallpass::token::{
    Admission, Algorithm, KeySet, SubjectToken, TrustedIssuer, Verifier, verify_jws,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::tokens::{AUDIENCE, Broker, ISSUER, NOW, TestKey, claims, jwks};

fn admit(entry: &Value) -> Option<Rule> {
    admit_by(entry, &Admission::default())
}

fn admit_by(entry: &Value, admission: &Admission) -> Option<Rule> {
    let set = KeySet::from_jwks(&jwks(std::slice::from_ref(entry)), admission).unwrap();
    let rule = set.rejected().first().map(|rejected| rejected.rule);
    assert_eq!(set.len() + set.rejected().len(), 1);
    rule
}

fn with(key: &TestKey, name: &str, value: Value) -> Value {
    let mut jwk = key.jwk();
    jwk[name] = value;
    jwk
}

/// T-31
#[test]
fn a_key_meant_for_something_else_is_left_out() {
    let key = TestKey::rsa("k1");
    for (name, value, expected) in [
        ("use", json!("sig"), None),
        ("use", json!("enc"), Some(Rule::Use)),
        ("use", json!(""), Some(Rule::Use)),
        ("use", json!(null), Some(Rule::Use)),
        ("use", json!(["sig"]), Some(Rule::Use)),
        ("use", json!("SIG"), Some(Rule::Use)),
        ("key_ops", json!(["verify"]), None),
        ("key_ops", json!(["sign", "verify"]), None),
        ("key_ops", json!(["sign"]), Some(Rule::Operations)),
        ("key_ops", json!([]), Some(Rule::Operations)),
        ("key_ops", json!("verify"), Some(Rule::Operations)),
        ("key_ops", json!([["verify"]]), Some(Rule::Operations)),
        ("key_ops", json!(null), Some(Rule::Operations)),
        ("alg", json!("RS256"), None),
        ("alg", json!("PS512"), None),
        ("alg", json!("ES256"), Some(Rule::Algorithm)),
        ("alg", json!("RSA1_5"), Some(Rule::Algorithm)),
        ("alg", json!("HS256"), Some(Rule::Algorithm)),
        ("alg", json!("none"), Some(Rule::Algorithm)),
        ("alg", json!("rs256"), Some(Rule::Algorithm)),
        ("alg", json!(null), Some(Rule::Algorithm)),
        ("alg", json!(["RS256"]), Some(Rule::Algorithm)),
        ("kty", json!("rsa"), Some(Rule::KeyType)),
        ("kty", json!("AKP"), Some(Rule::KeyType)),
        ("kty", json!("oct"), Some(Rule::KeyType)),
        ("kty", json!("EC"), Some(Rule::Curve)),
        ("kty", json!("OKP"), Some(Rule::Curve)),
        ("kty", json!(null), Some(Rule::KeyType)),
        ("kid", json!(null), Some(Rule::Kid)),
        ("kid", json!(7), Some(Rule::Kid)),
        ("kid", json!(""), Some(Rule::Kid)),
        ("kid", json!("x".repeat(256)), None),
        ("kid", json!("x".repeat(257)), Some(Rule::Kid)),
        ("x5c", json!(["whatever"]), None),
        ("USE", json!("enc"), None),
    ] {
        assert_eq!(
            admit(&with(&key, name, value.clone())),
            expected,
            "{name} {value}"
        );
    }
    let only_rs256 = Admission::new(&[Algorithm::RS256]);
    assert_eq!(
        admit_by(&with(&key, "alg", json!("RS384")), &only_rs256),
        Some(Rule::Algorithm)
    );
    assert_eq!(
        admit_by(&TestKey::p256("k").jwk(), &only_rs256),
        Some(Rule::Algorithm)
    );
    let mut issuer = TrustedIssuer::new("ci", ISSUER);
    issuer.key_use = Some("jwt-svid".to_owned());
    let svid = Admission::for_issuer(&issuer);
    assert_eq!(admit_by(&with(&key, "use", json!("jwt-svid")), &svid), None);
    assert_eq!(admit_by(&with(&key, "use", json!("sig")), &svid), None);
    assert_eq!(
        admit_by(&with(&key, "use", json!("enc")), &svid),
        Some(Rule::Use)
    );
}

/// T-25
#[test]
fn the_headers_algorithm_must_be_the_keys_and_the_issuers() {
    let keys = [
        TestKey::rsa("rsa"),
        TestKey::p256("p256"),
        TestKey::p384("p384"),
        TestKey::ed25519("ed"),
    ];
    for key in &keys {
        let possible: Vec<Algorithm> = Algorithm::ALL
            .into_iter()
            .filter(|algorithm| fits(key, *algorithm))
            .collect();
        for algorithm in Algorithm::ALL {
            let header = json!({ "alg": algorithm.name(), "kid": key.kid }).to_string();
            let token = key.sign(algorithm, &header, "x");
            for named in [None].into_iter().chain(possible.iter().copied().map(Some)) {
                let entry = match named {
                    Some(named) => with(key, "alg", json!(named.name())),
                    None => key.jwk(),
                };
                let set = KeySet::from_jwks(&jwks(&[entry]), &Admission::default()).unwrap();
                let expected = fits(key, algorithm) && named.is_none_or(|named| named == algorithm);
                let outcome = verify_jws(&token, &set, &Algorithm::ALL);
                match outcome {
                    Ok(payload) => assert!(
                        expected && payload == b"x",
                        "{} {algorithm} {named:?}",
                        key.kid
                    ),
                    Err(error) => assert!(
                        !expected && error.reason() == "token.algorithm",
                        "{} {algorithm} {named:?}: {error}",
                        key.kid
                    ),
                }
                let others: Vec<Algorithm> = Algorithm::ALL
                    .into_iter()
                    .filter(|other| *other != algorithm)
                    .collect();
                assert_eq!(
                    verify_jws(&token, &set, &others).unwrap_err().reason(),
                    "token.algorithm"
                );
            }
        }
    }
}

fn fits(key: &TestKey, algorithm: Algorithm) -> bool {
    match algorithm {
        Algorithm::ES256 => key.kid == "p256",
        Algorithm::ES384 => key.kid == "p384",
        Algorithm::EdDSA => key.kid == "ed",
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512 => key.kid == "rsa",
    }
}

/// T-32
#[test]
fn a_leaked_private_or_symmetric_key_is_left_out_and_not_shown() {
    for name in ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"] {
        let entry = with(&TestKey::rsa("k1"), name, json!("canary"));
        assert_eq!(admit(&entry), Some(Rule::PrivateMember), "{name}");
        let set = KeySet::from_jwks(&jwks(&[entry]), &Admission::default()).unwrap();
        assert!(!format!("{set:?}{}", set.rejected()[0].rule).contains("canary"));
        assert_eq!(set.rejected()[0].rule.code(), "keys.private_member");
    }
    assert_eq!(
        admit(&json!({ "kty": "oct", "k": "AAAA", "kid": "x" })),
        Some(Rule::PrivateMember)
    );
}

/// T-33
#[test]
fn rsa_numbers_are_checked_at_every_edge() {
    let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    let odd = |bits: usize| {
        let mut number = vec![0xA5_u8; bits.div_ceil(8)];
        let top = (bits - 1) % 8;
        number[0] = (1 << top) | (number[0] & ((1 << top) - 1));
        *number.last_mut().unwrap() |= 1;
        number
    };
    let rule = |n: &[u8], e: &[u8]| {
        admit(&json!({ "kty": "RSA", "kid": "k", "n": text(n), "e": text(e) }))
    };
    let e = [1, 0, 1];
    for (bits, expected) in [
        (512, Some(Rule::ModulusSize)),
        (1_024, Some(Rule::ModulusSize)),
        (2_040, Some(Rule::ModulusSize)),
        (2_047, Some(Rule::ModulusSize)),
        (2_048, None),
        (2_049, None),
        (3_072, None),
        (4_096, None),
        (8_191, None),
        (8_192, None),
        (8_193, Some(Rule::ModulusSize)),
        (16_384, Some(Rule::ModulusSize)),
    ] {
        assert_eq!(rule(&odd(bits), &e), expected, "{bits}");
    }
    let n = odd(2_048);
    let mut even = n.clone();
    even[255] &= 0xFE;
    assert_eq!(rule(&even, &e), Some(Rule::EvenModulus));
    for (e, expected) in [
        (vec![1], Some(Rule::Exponent)),
        (vec![2], Some(Rule::Exponent)),
        (vec![3], None),
        (vec![4], Some(Rule::Exponent)),
        (vec![17], None),
        (vec![0xFF; 4], None),
        (vec![1, 0, 0, 0, 1], Some(Rule::Exponent)),
        (vec![1, 0, 0], Some(Rule::Exponent)),
        (vec![0], Some(Rule::LeadingZero)),
        (vec![0, 1, 0, 1], Some(Rule::LeadingZero)),
        (vec![0xFF; 32], Some(Rule::Exponent)),
    ] {
        assert_eq!(rule(&n, &e), expected, "{e:?}");
    }
    let zero_in_front = [&[0], n.as_slice()].concat();
    assert_eq!(rule(&zero_in_front, &e), Some(Rule::LeadingZero));
    for (name, value) in [
        ("n", json!("")),
        ("n", json!(null)),
        ("n", json!(5)),
        ("e", json!("AQAB=")),
        ("e", json!("AQAC\n")),
        ("e", json!("A")),
        ("e", json!("AR")),
        ("n", json!("+/+/")),
    ] {
        assert_eq!(
            admit(&with(&TestKey::rsa("k"), name, value.clone())),
            Some(Rule::Encoding),
            "{name} {value}"
        );
    }
}

/// T-33
#[test]
fn a_leading_zero_is_stripped_only_by_the_issuers_setting() {
    let key = TestKey::rsa("k1");
    let mut entry = key.jwk();
    for name in ["n", "e"] {
        let number = BASE64URL_NOPAD
            .decode(entry[name].as_str().unwrap().as_bytes())
            .unwrap();
        entry[name] = BASE64URL_NOPAD
            .encode(&[&[0], number.as_slice()].concat())
            .into();
    }
    let mut issuer = TrustedIssuer::new("jenkins", ISSUER);
    let strict = Broker::trusting(issuer.clone(), &jwks(std::slice::from_ref(&entry)));
    assert_eq!(strict.reason(&key.token(&claims())), "token.key_unknown");
    issuer.strip_leading_zero = true;
    let lax = Broker::trusting(issuer.clone(), &jwks(std::slice::from_ref(&entry)));
    assert_eq!(lax.reason(&key.token(&claims())), "ok");
    entry["e"] = "AAABAAE".into();
    assert_eq!(
        admit_by(&entry, &Admission::for_issuer(&issuer)),
        Some(Rule::LeadingZero)
    );
}

/// T-35
#[test]
fn a_point_must_be_on_its_curve_in_its_exact_length() {
    for (key, length) in [(TestKey::p256("k"), 32), (TestKey::p384("k"), 48)] {
        assert_eq!(admit(&key.jwk()), None);
        let x = BASE64URL_NOPAD
            .decode(key.jwk()["x"].as_str().unwrap().as_bytes())
            .unwrap();
        let text = |bytes: &[u8]| json!(BASE64URL_NOPAD.encode(bytes));
        for odd in [
            &x[1..],
            &x[..length - 1],
            &[&[0], x.as_slice()].concat(),
            &[x.as_slice(), &[0]].concat(),
        ] {
            assert_eq!(
                admit(&with(&key, "x", text(odd))),
                Some(Rule::CoordinateLength)
            );
        }
        let mut split = key.jwk();
        split["x"] = text(&x[..length - 1]);
        split["y"] = text(&[&x[length - 1..], x.as_slice()].concat());
        assert_eq!(admit(&split), Some(Rule::CoordinateLength));
        assert_eq!(admit(&with(&key, "y", text(&x))), Some(Rule::NotOnCurve));
        assert_eq!(
            admit(&with(&key, "x", text(&vec![0; length]))),
            Some(Rule::NotOnCurve)
        );
        assert_eq!(
            admit(&with(&key, "x", text(&vec![0xFF; length]))),
            Some(Rule::NotOnCurve)
        );
        let mut zero = key.jwk();
        zero["x"] = text(&vec![0; length]);
        zero["y"] = text(&vec![0; length]);
        assert_eq!(admit(&zero), Some(Rule::NotOnCurve));
        for curve in ["P-521", "secp256k1", "p-256", ""] {
            assert_eq!(admit(&with(&key, "crv", json!(curve))), Some(Rule::Curve));
        }
    }
    assert_eq!(
        admit(&with(&TestKey::p256("k"), "crv", json!("P-384"))),
        Some(Rule::CoordinateLength)
    );
}

/// T-35
#[test]
fn ed25519_keys_of_small_order_are_left_out_in_every_spelling() {
    let entry = |x: &[u8]| json!({ "kty": "OKP", "crv": "Ed25519", "kid": "k", "x": BASE64URL_NOPAD.encode(x) });
    let hex = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
    let p_plus = |more: u8| [vec![0xED + more], vec![0xFF; 30], vec![0x7F]].concat();
    let small = [
        [vec![0], vec![0; 31]].concat(),
        [vec![1], vec![0; 31]].concat(),
        [vec![0xEC], vec![0xFF; 30], vec![0x7F]].concat(),
        hex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
        hex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
        p_plus(0),
        p_plus(1),
        p_plus(2),
        p_plus(18),
    ];
    for mut x in small {
        assert_eq!(admit(&entry(&x)), Some(Rule::SmallOrder), "{x:?}");
        x[31] |= 0x80;
        assert_eq!(admit(&entry(&x)), Some(Rule::SmallOrder), "{x:?}");
    }
    assert_eq!(admit(&TestKey::ed25519("k").jwk()), None);
    for length in [0, 31, 33, 64] {
        assert!(admit(&entry(&vec![9; length])).is_some());
    }
    assert_eq!(
        admit(&with(&TestKey::ed25519("k"), "crv", json!("Ed448"))),
        Some(Rule::Curve)
    );
    assert_eq!(
        admit(&with(&TestKey::ed25519("k"), "crv", json!("X25519"))),
        Some(Rule::Curve)
    );
}

/// T-38
#[test]
fn one_odd_entry_does_not_spoil_the_set() {
    let key = TestKey::rsa("k1");
    let token = key.token(&claims());
    for odd in [
        json!(null),
        json!([]),
        json!("x"),
        json!(1),
        json!({}),
        json!({ "kty": "AKP", "alg": "ML-DSA-65", "kid": "new", "pub": "AAAA" }),
        json!({ "kty": "RSA", "kid": 7 }),
        json!({ "kty": "RSA", "kid": "big", "n": "!", "e": "AQAB" }),
        json!({ "kty": "EC", "crv": "P-521", "kid": "x" }),
        json!({ "kty": null }),
    ] {
        for set in [
            vec![odd.clone(), key.jwk(), TestKey::p256("k2").jwk()],
            vec![TestKey::p256("k2").jwk(), odd.clone(), key.jwk()],
            vec![key.jwk(), odd.clone()],
        ] {
            let broker = Broker::trusting(TrustedIssuer::new("ci", ISSUER), &jwks(&set));
            assert_eq!(broker.reason(&token), "ok", "{odd}");
        }
    }
}

/// T-29
#[test]
fn keys_that_share_an_id_are_all_left_out_in_either_order() {
    let (one, other) = (TestKey::rsa("same"), TestKey::other_rsa("same"));
    for pair in [
        [one.jwk(), other.jwk()],
        [other.jwk(), one.jwk()],
        [one.jwk(), one.jwk()],
        [one.jwk(), with(&other, "use", json!("enc"))],
        [with(&other, "kty", json!("AKP")), one.jwk()],
    ] {
        let all = [pair.to_vec(), vec![TestKey::rsa("third").jwk()]].concat();
        let broker = Broker::trusting(TrustedIssuer::new("ci", ISSUER), &jwks(&all));
        assert_eq!(broker.reason(&one.token(&claims())), "token.key_ambiguous");
        assert_eq!(
            broker.reason(&other.token(&claims())),
            "token.key_ambiguous"
        );
        assert_eq!(broker.reason(&TestKey::rsa("third").token(&claims())), "ok");
    }
}

/// T-30
#[test]
fn one_issuers_key_never_checks_anothers_token() {
    let issuers = ["https://a.example", "https://b.example"]
        .map(|url| Arc::new(TrustedIssuer::new(url, url)));
    let (a, b) = (TestKey::rsa("same"), TestKey::other_rsa("same"));
    let keys = FileKeys::new()
        .with_document(&issuers[0], &jwks(&[a.jwk()]))
        .unwrap()
        .with_document(&issuers[1], &jwks(&[b.jwk()]))
        .unwrap();
    let clock = Arc::new(FixedClock::at(Timestamp::from_unix(NOW)));
    let verifier = Verifier::new(AUDIENCE.to_owned(), issuers.to_vec(), Arc::new(keys), clock);
    let broker = Broker {
        verifier,
        clock: Arc::new(FixedClock::at(Timestamp::from_unix(NOW))),
    };
    let of = |issuer: &str| crate::support::tokens::claims_with("iss", Some(issuer.into()));
    assert_eq!(broker.reason(&a.token(&of("https://a.example"))), "ok");
    assert_eq!(broker.reason(&b.token(&of("https://b.example"))), "ok");
    assert_eq!(
        broker.reason(&a.token(&of("https://b.example"))),
        "token.signature"
    );
    assert_eq!(
        broker.reason(&b.token(&of("https://a.example"))),
        "token.signature"
    );
}

/// T-17, T-18, T-38
#[test]
fn a_document_that_is_not_a_key_set_is_refused_whole() {
    let entry = TestKey::rsa("k").jwk().to_string();
    for document in [
        String::new(),
        "[]".into(),
        "null".into(),
        "{}".into(),
        r#"{"keys":{}}"#.into(),
        r#"{"keys":null}"#.into(),
        r#"{"Keys":[]}"#.into(),
        r#"{"keys":[],"keys":[]}"#.into(),
        format!(r#"{{"keys":[{entry}]}}x"#),
        format!("\u{feff}{{\"keys\":[{entry}]}}"),
        format!("[[{entry}]]"),
        r#"{"keys":[{"kid":"a","kid":"b"}]}"#.into(),
        format!(r#"{{"keys":[{}]}}"#, vec!["{}"; 65].join(",")),
        format!(r#"{{"keys":[],"x":"{}"}}"#, "y".repeat(256 * 1_024)),
    ] {
        let error = KeySet::from_jwks(document.as_bytes(), &Admission::default()).unwrap_err();
        assert!(
            matches!(error, KeyError::Document(_)),
            "{document}: {error}"
        );
        assert_eq!(error.reason(), "keys.document");
    }
    assert!(
        KeySet::from_jwks(br#"{"keys":[]}"#, &Admission::default())
            .unwrap()
            .is_empty()
    );
    let most = format!(r#"{{"keys":[{}]}}"#, vec!["{}"; 64].join(","));
    assert_eq!(
        KeySet::from_jwks(most.as_bytes(), &Admission::default())
            .unwrap()
            .rejected()
            .len(),
        64
    );
}

/// T-84, T-109
#[test]
fn an_issuer_that_publishes_our_key_is_refused() {
    let (broker, key) = Broker::new();
    let set = KeySet::from_jwks(&jwks(&[key.jwk()]), &Admission::default()).unwrap();
    let own: BTreeSet<String> = set.thumbprints().map(str::to_owned).collect();
    let verifier = broker.verifier.refusing(Arc::new(own));
    let broker = Broker {
        verifier,
        clock: broker.clock,
    };
    let error = broker.verify(&key.token(&claims())).unwrap_err();
    assert!(error.is_ours());
    insta::assert_snapshot!(format!("{}: {error}", error.reason()), @"keys.own: issuer `https://ci.example` publishes a key of this broker and is refused");
}

/// T-84
#[test]
fn our_own_issuer_is_never_a_subject_issuer() {
    let key = TestKey::rsa("k1");
    for url in [
        AUDIENCE,
        "https://hallpass.example/",
        "https://HALLPASS.example",
    ] {
        let broker = Broker::trusting(TrustedIssuer::new("self", url), &jwks(&[key.jwk()]));
        let mut own = claims();
        own["iss"] = url.into();
        assert_eq!(broker.reason(&key.token(&own)), "token.issuer", "{url}");
    }
}

/// T-117
#[test]
fn keys_and_issuers_of_hallpass_dev_need_a_verifier_made_for_them() {
    let key = TestKey::rsa("dev-1");
    let broker = Broker::trusting(TrustedIssuer::new("ci", ISSUER), &jwks(&[key.jwk()]));
    assert_eq!(broker.reason(&key.token(&claims())), "keys.dev");
    let for_dev = Broker {
        verifier: broker.verifier.for_dev(),
        clock: broker.clock,
    };
    assert_eq!(for_dev.reason(&key.token(&claims())), "ok");

    let key = TestKey::rsa("k1");
    let mut local = claims();
    local["iss"] = "https://localhost:8443".into();
    let broker = Broker::trusting(
        TrustedIssuer::new("ci", "https://localhost:8443"),
        &jwks(&[key.jwk()]),
    );
    assert_eq!(broker.reason(&key.token(&local)), "token.issuer");
    let for_dev = Broker {
        verifier: broker.verifier.for_dev(),
        clock: broker.clock,
    };
    assert_eq!(for_dev.reason(&key.token(&local)), "ok");
}

/// RFC 7638 section 3.1, and RFC 8037 appendix A.3.
#[test]
fn thumbprints_are_those_of_the_rfcs() {
    let rsa = json!({ "kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29", "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw" });
    let ed = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    let set = KeySet::from_jwks(&jwks(&[rsa, ed]), &Admission::default()).unwrap();
    let thumbprints: Vec<&str> = set.thumbprints().collect();
    assert_eq!(
        thumbprints,
        [
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        ]
    );
}

#[test]
fn keys_can_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ci.json");
    let issuer = TrustedIssuer::new("ci", ISSUER);
    let missing = FileKeys::new()
        .with_file(&issuer, &path)
        .unwrap_err()
        .to_string();
    assert!(
        missing.contains("ci.json") && missing.contains("No such file"),
        "{missing}"
    );
    std::fs::write(&path, jwks(&[TestKey::rsa("k1").jwk()])).unwrap();
    let keys = FileKeys::new().with_file(&issuer, &path).unwrap();
    let clock = Arc::new(FixedClock::at(Timestamp::from_unix(NOW)));
    let other = Arc::new(TrustedIssuer::new("other", "https://other.example"));
    let verifier = Verifier::new(
        AUDIENCE.to_owned(),
        vec![Arc::new(issuer), other],
        Arc::new(keys),
        clock.clone(),
    );
    let broker = Broker { verifier, clock };
    assert_eq!(broker.reason(&TestKey::rsa("k1").token(&claims())), "ok");
    let of_other = crate::support::tokens::claims_with("iss", Some("https://other.example".into()));
    let error = broker
        .verify(&TestKey::rsa("k1").token(&of_other))
        .unwrap_err();
    insta::assert_snapshot!(format!("{}: {error}", error.reason()), @"keys.unavailable: keys of issuer `https://other.example` could not be loaded");
}

/// T-64
#[test]
fn a_blocked_key_is_refused() {
    let key = TestKey::rsa("k1");
    let mut issuer = TrustedIssuer::new("ci", ISSUER);
    issuer.blocked_kids = vec!["k1".to_owned()];
    let broker = Broker::trusting(issuer, &jwks(&[key.jwk()]));
    let error = broker.verify(&key.token(&claims())).unwrap_err();
    insta::assert_snapshot!(format!("{}: {error}", error.reason()), @"token.key: the subject token's key is blocked");
}

/// T-37
#[test]
fn no_function_of_a_jose_crate_that_skips_checks_is_called() {
    let mut sources = Vec::new();
    read_sources(
        std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")),
        &mut sources,
    );
    assert!(sources.len() > 20);
    for (path, text) in sources {
        // Tests read our own tokens with such a crate.
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for word in [
            "dangerous",
            "insecure",
            "danger_accept",
            "jsonwebtoken::decode",
            "Validation::",
        ] {
            assert!(!text.contains(word), "{path} has `{word}`");
        }
    }
}

fn read_sources(folder: &std::path::Path, sources: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_sources(&path, sources);
        } else {
            sources.push((
                path.display().to_string(),
                std::fs::read_to_string(&path).unwrap(),
            ));
        }
    }
}

fn member() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<i32>().prop_map(Into::into),
        "[A-Za-z0-9_=-]{0,90}".prop_map(Into::into),
        prop::sample::select(
            &[
                "RSA", "EC", "OKP", "P-256", "P-384", "Ed25519", "sig", "RS256", "ES256", "EdDSA",
                "AQAB", "k1"
            ][..]
        )
        .prop_map(Into::into),
        prop::collection::vec(any::<u8>(), 0..300)
            .prop_map(|bytes| BASE64URL_NOPAD.encode(&bytes).into()),
        prop::collection::vec(any::<u8>(), 32..=32)
            .prop_map(|bytes| BASE64URL_NOPAD.encode(&bytes).into()),
    ]
}

proptest! {
    /// T-39, T-94
    #[test]
    fn no_entry_makes_admission_panic(
        entry in prop::collection::btree_map(prop::sample::select(&["kty", "crv", "kid", "use", "alg", "key_ops", "n", "e", "x", "y", "d"][..]), member(), 0..8),
        signature in prop::collection::vec(any::<u8>(), 1..300),
    ) {
        let entry = json!(entry);
        let set = KeySet::from_jwks(&jwks(&[entry]), &Admission::default()).unwrap();
        for algorithm in Algorithm::ALL {
            let header = BASE64URL_NOPAD.encode(json!({ "alg": algorithm.name() }).to_string().as_bytes());
            let token = format!("{header}.e30.{}", BASE64URL_NOPAD.encode(&signature));
            prop_assert!(verify_jws(&token, &set, &Algorithm::ALL).is_err());
        }
    }

    /// T-94
    #[test]
    fn no_bytes_make_a_key_set_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(KeySet::from_jwks(&bytes, &Admission::default()).is_err());
    }
}

/// A subject token is redacted wherever a test or a log prints it.
#[test]
fn a_verifier_prints_no_keys_and_no_tokens() {
    let (broker, key) = Broker::new();
    let token = SubjectToken::new(key.token(&claims()));
    let printed = format!("{:?} {token:?}", broker.verifier);
    assert!(
        printed.contains(ISSUER) && !printed.contains("eyJ"),
        "{printed}"
    );
}
