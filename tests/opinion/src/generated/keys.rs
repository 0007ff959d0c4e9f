//! Key sets, each with the key that signed.

use data_encoding::BASE64URL_NOPAD;
use hallpass::token::Algorithm;
use serde_json::{Value, json};

use super::{KEYS, case, good_token, set_of};
use crate::case::Case;
use crate::tokens::TestKey;

pub(super) fn cases() -> Vec<Case> {
    [members(), sets(), numbers()].concat()
}

fn under(class: &str, genuine: bool, algorithm: Algorithm, keys: String) -> Case {
    let mut case = case(class, genuine, good_token(algorithm));
    case.keys = keys;
    case
}

fn with(mut key: Value, name: &str, value: Value) -> Value {
    key[name] = value;
    key
}

/// What a key says it is for.
fn members() -> Vec<Case> {
    let [rsa, p256, ..] = &*KEYS;
    let (rsa, p256) = (rsa.jwk(), p256.jwk());
    let one = |class: &str, genuine, algorithm, key: Value| {
        under(class, genuine, algorithm, set_of(&[key]))
    };
    let (rs256, es256) = (Algorithm::RS256, Algorithm::ES256);
    vec![
        one(
            "use of sig",
            true,
            es256,
            with(p256.clone(), "use", json!("sig")),
        ),
        one(
            "a key for encryption",
            false,
            es256,
            with(p256.clone(), "use", json!("enc")),
        ),
        one(
            "a key of an unknown use",
            false,
            es256,
            with(p256.clone(), "use", json!("tls")),
        ),
        one(
            "key_ops with verify",
            true,
            es256,
            with(p256.clone(), "key_ops", json!(["verify"])),
        ),
        one(
            "key_ops without verify",
            false,
            es256,
            with(p256.clone(), "key_ops", json!(["encrypt"])),
        ),
        one(
            "a key of its algorithm",
            true,
            es256,
            with(p256.clone(), "alg", json!("ES256")),
        ),
        one(
            "a key of another algorithm",
            false,
            rs256,
            with(rsa.clone(), "alg", json!("RS384")),
        ),
        one(
            "a key of another algorithm",
            false,
            rs256,
            with(rsa.clone(), "alg", json!("PS256")),
        ),
        one(
            "a key of an algorithm of encryption",
            false,
            rs256,
            with(rsa.clone(), "alg", json!("RSA-OAEP")),
        ),
        one(
            "a key of an unknown algorithm",
            false,
            rs256,
            with(rsa.clone(), "alg", json!("XS1")),
        ),
        one(
            "a key with a private member",
            false,
            es256,
            with(p256.clone(), "d", json!("AAAA")),
        ),
        one(
            "a key of an unknown kind",
            false,
            es256,
            with(p256.clone(), "kty", json!("XY")),
        ),
        one(
            "a key of an unknown curve",
            false,
            es256,
            with(p256.clone(), "crv", json!("P-257")),
        ),
        one(
            "a key without its curve",
            false,
            es256,
            with(p256.clone(), "crv", json!(null)),
        ),
        one(
            "a key of another curve",
            false,
            es256,
            with(p256.clone(), "crv", json!("P-384")),
        ),
        one(
            "a key id that is a number",
            false,
            es256,
            with(p256.clone(), "kid", json!(1)),
        ),
        one(
            "a key with members nobody knows",
            true,
            es256,
            with(p256, "x5t", json!([1])),
        ),
    ]
}

/// The set around the key.
fn sets() -> Vec<Case> {
    let good = KEYS[1].jwk();
    let other = TestKey::p256("p256").jwk();
    let of = |class: &str, genuine, keys: String| under(class, genuine, Algorithm::ES256, keys);
    let beside = |class: &str, odd: Value| {
        [
            of(class, true, set_of(&[odd.clone(), good.clone()])),
            of(class, true, set_of(&[good.clone(), odd])),
        ]
    };
    let mut cases = vec![
        of("no keys", false, set_of(&[])),
        of(
            "keys that are no list",
            false,
            json!({ "keys": good }).to_string(),
        ),
        of("a set without keys", false, "{}".to_owned()),
        of("a bare list of keys", false, json!([good]).to_string()),
        of(
            "the same key twice",
            false,
            set_of(&[good.clone(), good.clone()]),
        ),
        of(
            "another key of that id before it",
            false,
            set_of(&[other.clone(), good.clone()]),
        ),
        of(
            "another key of that id after it",
            false,
            set_of(&[good.clone(), other]),
        ),
        of(
            "the list of keys twice",
            false,
            format!(r#"{{"keys":[],"keys":[{good}]}}"#),
        ),
        of(
            "a key's member twice",
            false,
            format!(
                r#"{{"keys":[{},"kid":"p256"}}]}}"#,
                good.to_string().strip_suffix('}').unwrap()
            ),
        ),
        of(
            "text after the set",
            false,
            format!("{}x", set_of(std::slice::from_ref(&good))),
        ),
        of(
            "a set with members nobody knows",
            true,
            json!({ "keys": [good], "x": 1 }).to_string(),
        ),
    ];
    cases.extend(beside("null beside the key", json!(null)));
    cases.extend(beside("a key of no kind beside it", json!({ "kid": "x" })));
    cases.extend(beside(
        "a key of a new kind beside it",
        json!({ "kty": "AKP", "kid": "x", "pub": "AAAA" }),
    ));
    cases.extend(beside(
        "a key id that is a number beside it",
        json!({ "kty": "EC", "kid": 1 }),
    ));
    cases.extend(beside(
        "a key off its curve beside it",
        json!({ "kty": "EC", "kid": "x", "crv": "P-256", "x": "AAAA", "y": "AAAA" }),
    ));
    cases
}

/// The numbers of the key, written in another way or not the key's at all.
fn numbers() -> Vec<Case> {
    let [rsa, p256, _, ed25519] = &*KEYS;
    let (rsa, p256, ed25519) = (rsa.jwk(), p256.jwk(), ed25519.jwk());
    let changed = |key: &Value, name: &str, change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let bytes = BASE64URL_NOPAD.decode(key[name].as_str().unwrap().as_bytes());
        let text = BASE64URL_NOPAD.encode(&change(bytes.unwrap()));
        with(key.clone(), name, json!(text))
    };
    let zero_in_front = |bytes: Vec<u8>| [vec![0], bytes].concat();
    let flipped = |mut bytes: Vec<u8>| {
        bytes[20] ^= 1;
        bytes
    };
    let one = |class: &str, algorithm, key: Value| under(class, false, algorithm, set_of(&[key]));
    let padded = |key: &Value, name: &str| {
        with(
            key.clone(),
            name,
            json!(format!("{}=", key[name].as_str().unwrap())),
        )
    };
    vec![
        one(
            "a zero byte before the modulus",
            Algorithm::RS256,
            changed(&rsa, "n", &zero_in_front),
        ),
        one(
            "a zero byte before the exponent",
            Algorithm::RS256,
            changed(&rsa, "e", &zero_in_front),
        ),
        one("a padded modulus", Algorithm::RS256, padded(&rsa, "n")),
        one(
            "another modulus",
            Algorithm::RS256,
            changed(&rsa, "n", &flipped),
        ),
        one(
            "another exponent",
            Algorithm::RS256,
            with(rsa.clone(), "e", json!("Aw")),
        ),
        one(
            "an exponent of one",
            Algorithm::RS256,
            with(rsa.clone(), "e", json!("AQ")),
        ),
        one("no modulus", Algorithm::RS256, with(rsa, "n", json!(null))),
        one(
            "a zero byte before a coordinate",
            Algorithm::ES256,
            changed(&p256, "x", &zero_in_front),
        ),
        one("a padded coordinate", Algorithm::ES256, padded(&p256, "x")),
        one(
            "a point off the curve",
            Algorithm::ES256,
            changed(&p256, "y", &flipped),
        ),
        one(
            "no coordinate",
            Algorithm::ES256,
            with(p256, "y", json!(null)),
        ),
        one(
            "a longer Ed25519 key",
            Algorithm::EdDSA,
            changed(&ed25519, "x", &zero_in_front),
        ),
        one(
            "a padded Ed25519 key",
            Algorithm::EdDSA,
            padded(&ed25519, "x"),
        ),
        one(
            "another Ed25519 key",
            Algorithm::EdDSA,
            with(ed25519, "x", TestKey::ed25519("x").jwk()["x"].clone()),
        ),
    ]
}
