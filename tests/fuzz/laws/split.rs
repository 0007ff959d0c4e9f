//! A compact token taken apart: one spelling, one header, and nothing signed but what was signed.

use std::sync::LazyLock;

use data_encoding::BASE64URL_NOPAD;
use hallpass::token::json::{self, Limits, Value};
use hallpass::token::{Admission, Algorithm, KeySet, VerifyError, verify_jws};

pub(crate) fn holds(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    // Without any key, an unknown key is the answer to every text of the right form.
    match verify_jws(text, &KeySet::default(), &Algorithm::ALL) {
        Ok(_) => panic!("a token was believed without a key"),
        Err(VerifyError::KeyUnknown) => {
            assert!(has_form(text), "accepted: {text}");
            only_genuine_tokens_hold(text);
        }
        Err(error) => {
            assert!(!has_form(text), "{error}: {text}");
            assert!(
                error
                    .to_string()
                    .bytes()
                    .all(|byte| matches!(byte, b' '..=b'~'))
            );
        }
    }
}

/// The rules of the form in their shortest words.
fn has_form(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let decoded: Option<Vec<Vec<u8>>> = parts.iter().map(|part| decoded(part)).collect();
    match decoded.as_deref() {
        Some([header, _, _]) => text.len() <= 16 * 1_024 && is_header(header),
        Some(_) | None => false,
    }
}

/// Some bytes, in the only spelling they have.
fn decoded(part: &str) -> Option<Vec<u8>> {
    let bytes = BASE64URL_NOPAD.decode(part.as_bytes()).ok()?;
    (!bytes.is_empty() && BASE64URL_NOPAD.encode(&bytes) == part).then_some(bytes)
}

fn is_header(bytes: &[u8]) -> bool {
    let Ok(header) = json::parse_object(bytes, &Limits::for_bytes(4 * 1_024)) else {
        return false;
    };
    let algorithms = [
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
    ];
    let forbidden = [
        "crit", "b64", "jwk", "jku", "x5u", "x5c", "enc", "zip", "epk", "p2c", "p2s", "apu", "apv",
        "iv", "tag",
    ];
    let algorithm = header.get("alg").and_then(Value::as_text);
    let kid = match header.get("kid") {
        None => true,
        Some(kid) => kid
            .as_text()
            .is_some_and(|kid| (1..=256).contains(&kid.len())),
    };
    algorithm.is_some_and(|name| algorithms.contains(&name))
        && kid
        && forbidden.iter().all(|name| header.get(name).is_none())
}

struct Genuine {
    keys: KeySet,
    token: String,
}

/// Tokens of the RFCs, with the keys they hold under.
static GENUINE: LazyLock<Vec<Genuine>> = LazyLock::new(|| {
    [
        include_str!("../../vectors/jws/rfc7515-a2.txt"),
        include_str!("../../vectors/jws/rfc7515-a3.txt"),
        include_str!("../../vectors/jws/rfc8037-a4.txt"),
        include_str!("../../vectors/jws/rfc7520-4-2.txt"),
    ]
    .into_iter()
    .map(|vector| {
        let field = |name: &str| {
            let line = vector.lines().find_map(|line| line.strip_prefix(name));
            line.expect("the field of a vector")
        };
        Genuine {
            keys: KeySet::from_jwks(field("keys: ").as_bytes(), &Admission::default())
                .expect("the keys of a vector"),
            token: field("token: ").to_owned(),
        }
    })
    .collect()
});

/// A signature may have other spellings (ECDSA's do), what is signed has not.
fn only_genuine_tokens_hold(text: &str) {
    let signed = |token: &str| token.rsplit_once('.').map(|(signed, _)| signed.to_owned());
    for genuine in GENUINE.iter() {
        if let Ok(payload) = verify_jws(text, &genuine.keys, &Algorithm::ALL) {
            assert_eq!(signed(text), signed(&genuine.token));
            let part = text.split('.').nth(1);
            assert_eq!(part, Some(BASE64URL_NOPAD.encode(&payload).as_str()));
        }
    }
}
