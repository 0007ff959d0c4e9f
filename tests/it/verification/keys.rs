//! Which keys are admitted, and which key checks a token.

use std::collections::BTreeSet;
use std::sync::Arc;

use hallpass::broker::{NoDevKeys, OnlyDevKeys};
use hallpass::clock::{FixedClock, Timestamp};
use hallpass::token::keys::{FileKeys, KeyError};
use hallpass::token::{
    Admission, Algorithm, KeySet, SubjectToken, TrustedIssuer, Verifier, verify_jws,
};
use serde_json::json;

use super::admission::with;
use crate::support::TestBroker;
use crate::support::client::get;
use crate::support::sources::sources;
use crate::support::tokens::{AUDIENCE, Broker, ISSUER, NOW, TestKey, claims, jwks};

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
                        !expected && error.reason().code() == "token.algorithm",
                        "{} {algorithm} {named:?}: {error}",
                        key.kid
                    ),
                }
                let others: Vec<Algorithm> = Algorithm::ALL
                    .into_iter()
                    .filter(|other| *other != algorithm)
                    .collect();
                assert_eq!(
                    verify_jws(&token, &set, &others)
                        .unwrap_err()
                        .reason()
                        .code(),
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
        assert_eq!(error.reason().code(), "keys.document");
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
    let own: BTreeSet<String> = set.published().map(str::to_owned).collect();
    let verifier = broker.verifier.refusing(Arc::new(own));
    let broker = Broker {
        verifier,
        clock: broker.clock,
    };
    let error = broker.verify(&key.token(&claims())).unwrap_err();
    assert!(error.reason().is_ours());
    insta::assert_snapshot!(format!("{}: {error}", error.reason().code()), @"keys.own: issuer `https://ci.example` publishes a key of this broker and is refused");
}

/// T-84, T-109: whatever else is wrong with the entry that holds it.
#[test]
fn our_key_is_known_in_an_entry_that_is_not_admitted() {
    let (_, key) = Broker::new();
    let ours = TestKey::p256("theirs");
    let set = KeySet::from_jwks(&jwks(&[ours.jwk()]), &Admission::default()).unwrap();
    let own: BTreeSet<String> = set.published().map(str::to_owned).collect();
    let with = |name: &str, value: serde_json::Value| {
        let mut entry = ours.jwk();
        entry[name] = value;
        entry
    };
    for entry in [
        // An issuer of RS256 alone.
        ours.jwk(),
        with("use", json!("enc")),
        with("key_ops", json!(["sign"])),
        with("alg", json!("ES384")),
        with("kid", json!("k1")),
        with("kid", json!(7)),
        with("d", json!("AAAA")),
    ] {
        let document = jwks(&[key.jwk(), entry.clone()]);
        let broker = Broker::trusting(TrustedIssuer::new("ci", ISSUER), &document);
        let broker = Broker {
            verifier: broker.verifier.refusing(Arc::new(own.clone())),
            clock: broker.clock,
        };
        assert_eq!(broker.reason(&key.token(&claims())), "keys.own", "{entry}");
    }
}

/// T-29: an entry that says it is for encryption is no second key of that name.
#[test]
fn a_key_for_encryption_leaves_the_key_for_signatures_of_its_name_alone() {
    let key = TestKey::rsa("k1");
    let other = |name: &str, value: serde_json::Value| {
        let mut entry = TestKey::other_rsa("k1").jwk();
        entry[name] = value;
        entry
    };
    for (entry, expected) in [
        (other("use", json!("enc")), "ok"),
        (other("key_ops", json!(["encrypt", "wrapKey"])), "ok"),
        (other("use", json!("sig")), "token.key_ambiguous"),
        (other("alg", json!("RSA-OAEP")), "token.key_ambiguous"),
    ] {
        for entries in [[key.jwk(), entry.clone()], [entry.clone(), key.jwk()]] {
            let broker = Broker::trusting(TrustedIssuer::new("ci", ISSUER), &jwks(&entries));
            assert_eq!(broker.reason(&key.token(&claims())), expected, "{entry}");
        }
    }
}

/// T-84, T-109: found by what RFC 7638 makes of it, whatever key id it stands under.
#[tokio::test]
async fn our_own_keys_are_known_by_their_thumbprints_in_another_key_set() {
    for algorithm in ["ES256", "EdDSA"] {
        let signing = format!("signing: {{ algorithm: {algorithm} }}");
        let broker = TestBroker::builder().setting(&signing).start().await;
        let published = get(broker.public(), "/.well-known/jwks.json").await;
        let kids = published.json()["keys"].as_array().unwrap().clone();
        let kids: BTreeSet<_> = kids
            .iter()
            .map(|key| key["kid"].as_str().unwrap())
            .collect();
        let admission = Admission::new(&Algorithm::ALL);
        let set = KeySet::from_jwks(published.body.as_bytes(), &admission).unwrap();
        let thumbprints: BTreeSet<_> = set.published().collect();
        assert_eq!(thumbprints, kids, "{algorithm}");
    }
}

/// T-84
#[test]
fn our_own_issuer_is_never_a_subject_issuer() {
    let key = TestKey::rsa("k1");
    for url in [
        AUDIENCE,
        "https://hallpass.example/",
        "https://HALLPASS.example",
        "https://hallpass.example:443",
    ] {
        let broker = Broker::trusting(TrustedIssuer::new("self", url), &jwks(&[key.jwk()]));
        let mut own = claims();
        own["iss"] = url.into();
        assert_eq!(broker.reason(&key.token(&own)), "token.issuer", "{url}");
    }
}

/// T-117: also one that is not admitted.
#[test]
fn a_key_set_of_hallpass_dev_breaks_the_rule_of_serve() {
    let key = TestKey::rsa("k1");
    let dev = TestKey::other_rsa("dev-1");
    for entry in [dev.jwk(), with(&dev, "use", json!("enc"))] {
        let set = jwks(&[key.jwk(), entry]);
        let broker = Broker::trusting(TrustedIssuer::new("ci", ISSUER), &set);
        assert_eq!(broker.reason(&key.token(&claims())), "ok");
        let serve = Broker {
            verifier: broker.verifier.with_rule(Arc::new(NoDevKeys)),
            clock: broker.clock,
        };
        assert_eq!(serve.reason(&key.token(&claims())), "keys.dev");
    }
}

/// T-251: the reverse, for a broker of `hallpass dev`.
#[test]
fn a_key_set_of_another_issuer_breaks_the_rule_of_hallpass_dev() {
    let dev = TestKey::rsa("dev-1");
    let real = TestKey::other_rsa("k1");
    for (keys, expected) in [
        (vec![dev.jwk()], "ok"),
        (vec![dev.jwk(), real.jwk()], "keys.dev"),
        (
            vec![dev.jwk(), with(&real, "use", json!("enc"))],
            "keys.dev",
        ),
    ] {
        let broker = Broker::trusting(TrustedIssuer::new("ci", ISSUER), &jwks(&keys));
        let of_dev = Broker {
            verifier: broker.verifier.with_rule(Arc::new(OnlyDevKeys)),
            clock: broker.clock,
        };
        assert_eq!(of_dev.reason(&dev.token(&claims())), expected);
    }
}

/// RFC 7638 section 3.1, and RFC 8037 appendix A.3.
#[test]
fn thumbprints_are_those_of_the_rfcs() {
    let rsa = json!({ "kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29", "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw" });
    let ed = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    let set = KeySet::from_jwks(&jwks(&[rsa, ed]), &Admission::default()).unwrap();
    let thumbprints: Vec<&str> = set.published().collect();
    assert_eq!(
        thumbprints,
        [
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        ]
    );
}

#[test]
fn an_issuer_whose_keys_are_not_to_be_had_is_our_trouble() {
    let issuer = TrustedIssuer::new("ci", ISSUER);
    let set = jwks(&[TestKey::rsa("k1").jwk()]);
    let keys = FileKeys::new().with_document(&issuer, &set).unwrap();
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
    insta::assert_snapshot!(format!("{}: {error}", error.reason().code()), @"keys.unavailable: keys of issuer `https://other.example` could not be loaded");
}

/// T-64
#[test]
fn a_blocked_key_is_refused() {
    let key = TestKey::rsa("k1");
    let mut issuer = TrustedIssuer::new("ci", ISSUER);
    issuer.blocked_kids = vec!["k1".to_owned()];
    let broker = Broker::trusting(issuer, &jwks(&[key.jwk()]));
    let error = broker.verify(&key.token(&claims())).unwrap_err();
    insta::assert_snapshot!(format!("{}: {error}", error.reason().code()), @"token.key: the subject token's key is blocked");
}

/// T-37
#[test]
fn no_function_of_a_jose_crate_that_skips_checks_is_called() {
    let sources = sources(&["src"]);
    assert!(sources.len() > 20);
    for (path, text) in sources {
        // Tests read our own tokens with such a crate.
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for word in [
            "dangerous(",
            "dangerous::",
            "insecure",
            "danger_accept",
            "jsonwebtoken::decode",
            "jsonwebtoken::dangerous",
            "DecodingKey",
            "crypto::verify",
            "Validation::",
        ] {
            assert!(!text.contains(word), "{path} has `{word}`");
        }
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

/// T-27
#[test]
fn only_the_named_key_is_tried_and_no_other_that_would_fit() {
    let (one, two) = (TestKey::rsa("one"), TestKey::other_rsa("two"));
    for keys in [[one.jwk(), two.jwk()], [two.jwk(), one.jwk()]] {
        let broker = Broker::trusting(TrustedIssuer::new("ci", ISSUER), &jwks(&keys));
        assert_eq!(broker.reason(&one.token(&claims())), "ok");
        assert_eq!(broker.reason(&two.token(&claims())), "ok");
        let header = json!({ "typ": "JWT", "alg": "RS256", "kid": "one" });
        let crossed = two.token_with_header(&header, &claims());
        assert_eq!(broker.reason(&crossed), "token.signature");
        let header = json!({ "typ": "JWT", "alg": "RS256", "kid": "three" });
        let unknown = one.token_with_header(&header, &claims());
        assert_eq!(broker.reason(&unknown), "token.key_unknown");
    }
}
