//! The algorithm of a subject token: the issuer's, the key's, and never a symmetric one.

use data_encoding::{BASE64, BASE64URL_NOPAD};
use hallpass::token::{Admission, Algorithm, KeySet, TrustedIssuer, verify_jws};
use serde_json::json;

use crate::support::tokens::{Broker, ISSUER, TestKey, claims, jwks};

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
        let (signed, _) = token.rsplit_once('.').unwrap();
        assert_eq!(
            broker.reason(&format!("{signed}.")),
            "token.shape",
            "{header}"
        );
        assert_eq!(broker.reason(signed), "token.shape", "{header}");
        assert_eq!(
            broker.reason(&format!("{signed}.AAAA")),
            "token.algorithm",
            "{header}"
        );
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
    let (pkcs1, spki) = der(&n, &[1, 0, 1]);
    let pem = |label: &str, der: &[u8]| {
        let body = BASE64.encode(der).into_bytes();
        let lines: Vec<&str> = body
            .chunks(64)
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect();
        format!(
            "-----BEGIN {label}-----\n{}\n-----END {label}-----",
            lines.join("\n")
        )
    };
    let spki_pem = pem("PUBLIC KEY", &spki);
    for secret in [
        jwk.to_string().into_bytes(),
        jwks(std::slice::from_ref(&jwk)),
        n,
        jwk["n"].as_str().unwrap().as_bytes().to_vec(),
        format!("{spki_pem}\n").into_bytes(),
        spki_pem.into_bytes(),
        pem("RSA PUBLIC KEY", &pkcs1).into_bytes(),
        spki,
        pkcs1,
        b"k1".to_vec(),
        Vec::new(),
    ] {
        for (name, algorithm) in [
            ("HS256", hmac::HMAC_SHA256),
            ("HS384", hmac::HMAC_SHA384),
            ("HS512", hmac::HMAC_SHA512),
            ("RS256", hmac::HMAC_SHA256),
        ] {
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
            let expected = if name == "RS256" {
                "token.signature"
            } else {
                "token.algorithm"
            };
            assert_eq!(broker.reason(&token), expected);
            assert_eq!(
                verify_jws(&token, &set, &Algorithm::ALL)
                    .unwrap_err()
                    .reason()
                    .code(),
                expected
            );
        }
    }
}

/// PKCS#1 and the `SubjectPublicKeyInfo` of an RSA key.
fn der(n: &[u8], e: &[u8]) -> (Vec<u8>, Vec<u8>) {
    fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82], &length[..], content].concat()
    }
    let number = |bytes: &[u8]| tagged(2, &[&[0], bytes].concat());
    let pkcs1 = tagged(0x30, &[number(n), number(e)].concat());
    let rsa_encryption = [
        0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0,
    ];
    let bits = tagged(3, &[&[0], pkcs1.as_slice()].concat());
    let spki = tagged(0x30, &[&rsa_encryption[..], &bits].concat());
    (pkcs1, spki)
}

/// T-24: a symmetric key that an issuer publishes is no key.
#[test]
fn a_symmetric_key_of_the_set_verifies_nothing() {
    use aws_lc_rs::hmac;
    let entry = json!({ "kty": "oct", "kid": "k1", "k": BASE64URL_NOPAD.encode(b"secret") });
    let set = KeySet::from_jwks(&jwks(&[entry]), &Admission::default()).unwrap();
    assert!(set.is_empty() && !set.knows("k1"));
    for (name, reason) in [("HS256", "token.algorithm"), ("RS256", "token.key_unknown")] {
        let header = json!({ "alg": name, "kid": "k1" }).to_string();
        let input = format!("{}.e30", BASE64URL_NOPAD.encode(header.as_bytes()));
        let tag = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, b"secret"),
            input.as_bytes(),
        );
        let token = format!("{input}.{}", BASE64URL_NOPAD.encode(tag.as_ref()));
        let refused = verify_jws(&token, &set, &Algorithm::ALL).unwrap_err();
        assert_eq!(refused.reason().code(), reason);
    }
}

/// T-25: what the issuer's settings allow, what its key allows, what the token says: all three.
#[test]
fn an_algorithm_is_the_issuers_and_the_keys_and_the_tokens() {
    let keys = [
        TestKey::rsa("rsa"),
        TestKey::p256("p256"),
        TestKey::p384("p384"),
        TestKey::ed25519("ed"),
    ];
    let named = || [None].into_iter().chain(Algorithm::ALL.map(Some));
    for key in &keys {
        let tokens = Algorithm::ALL.map(|algorithm| {
            let header = json!({ "alg": algorithm.name(), "kid": key.kid }).to_string();
            (
                algorithm,
                key.sign(algorithm, &header, &claims().to_string()),
            )
        });
        for (allowed, named) in Algorithm::ALL
            .into_iter()
            .flat_map(|one| named().map(move |other| (one, other)))
        {
            let mut issuer = TrustedIssuer::new("ci", ISSUER);
            issuer.algorithms = vec![allowed];
            let mut entry = key.jwk();
            if let Some(named) = named {
                entry["alg"] = named.name().into();
            }
            let broker = Broker::trusting(issuer, &jwks(&[entry]));
            let admitted = of_kind(&key.kid, allowed) && named.is_none_or(|named| named == allowed);
            for (algorithm, token) in &tokens {
                let expected = match (*algorithm == allowed, admitted) {
                    (false, _) => "token.algorithm",
                    (true, false) => "token.key_unknown",
                    (true, true) => "ok",
                };
                let case = format!("{} of {named:?}, {allowed} allowed, {algorithm}", key.kid);
                assert_eq!(broker.reason(token), expected, "{case}");
            }
        }
    }
}

fn of_kind(kid: &str, algorithm: Algorithm) -> bool {
    match algorithm {
        Algorithm::ES256 => kid == "p256",
        Algorithm::ES384 => kid == "p384",
        Algorithm::EdDSA => kid == "ed",
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512 => kid == "rsa",
    }
}
