//! Tokens made here: genuine ones of every algorithm, and each way to be odd.

use std::sync::LazyLock;

use data_encoding::BASE64URL_NOPAD;
use hallpass::clock::{Clock as _, SystemClock};
use hallpass::token::Algorithm;
use serde_json::{Value, json};

use crate::case::Case;
use crate::tokens::{AUDIENCE, ISSUER, TestKey};

mod claims;
mod headers;
mod keys;
mod shapes;

/// Every class.
pub(crate) fn cases() -> Vec<Case> {
    [
        genuine(),
        shapes::cases(),
        headers::cases(),
        claims::cases(),
        keys::cases(),
    ]
    .concat()
}

/// The issuer's keys, one of each kind, named by it.
pub(crate) static KEYS: LazyLock<[TestKey; 4]> = LazyLock::new(|| {
    [
        TestKey::rsa("rsa"),
        TestKey::p256("p256"),
        TestKey::p384("p384"),
        TestKey::ed25519("ed25519"),
    ]
});

pub(crate) fn key_for(algorithm: Algorithm) -> &'static TestKey {
    let [rsa, p256, p384, ed25519] = &*KEYS;
    match algorithm {
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512 => rsa,
        Algorithm::ES256 => p256,
        Algorithm::ES384 => p384,
        Algorithm::EdDSA => ed25519,
    }
}

/// The public halves of all keys.
pub(crate) fn key_set() -> String {
    set_of(&KEYS.iter().map(TestKey::jwk).collect::<Vec<_>>())
}

pub(crate) fn set_of(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// Claims of which every rule holds now and for some minutes.
pub(crate) fn good_claims() -> Value {
    let now = SystemClock::new().now().unix();
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "repo:acme/shop", "jti": "b7c0e3a4",
        "iat": now - 60, "nbf": now - 60, "exp": now + 900,
    })
}

pub(crate) fn good_header(algorithm: Algorithm) -> Value {
    json!({ "typ": "JWT", "alg": algorithm.name(), "kid": key_for(algorithm).kid })
}

/// A token of exactly these parts, validly signed whatever they are.
pub(crate) fn signed(algorithm: Algorithm, header: &str, payload: &str) -> String {
    key_for(algorithm).sign(algorithm, header, payload)
}

pub(crate) fn good_token(algorithm: Algorithm) -> String {
    signed(
        algorithm,
        &good_header(algorithm).to_string(),
        &good_claims().to_string(),
    )
}

/// A case under the usual keys and every algorithm.
pub(crate) fn case(class: &str, genuine: bool, token: String) -> Case {
    Case {
        class: class.to_owned(),
        keys: key_set(),
        algorithms: Algorithm::ALL.to_vec(),
        token,
        genuine,
    }
}

pub(crate) fn encoded(text: &str) -> String {
    BASE64URL_NOPAD.encode(text.as_bytes())
}

pub(crate) fn parts(token: &str) -> [&str; 3] {
    token.split('.').collect::<Vec<_>>().try_into().unwrap()
}

fn genuine() -> Vec<Case> {
    Algorithm::ALL
        .into_iter()
        .map(|algorithm| {
            let class = format!("genuine {algorithm}");
            case(&class, true, good_token(algorithm))
        })
        .collect()
}
