//! Key admission: what is admitted is strong, and each entry stands alone.

use std::collections::BTreeSet;

use data_encoding::BASE64URL_NOPAD;
use hallpass::token::json::{self, Limits, Object, Value};
use hallpass::token::keys::Rule;
use hallpass::token::{Admission, KeySet, TrustedIssuer};

use super::text;

pub(crate) fn holds(input: &[u8]) {
    let mut jenkins = TrustedIssuer::new("jenkins", "https://ci.example");
    jenkins.strip_leading_zero = true;
    for (admission, only_rs256) in [
        (Admission::default(), false),
        (Admission::for_issuer(&jenkins), true),
    ] {
        if let Ok(set) = KeySet::from_jwks(input, &admission) {
            check(&set, &entries(input), &admission, only_rs256);
        }
    }
}

fn entries(input: &[u8]) -> Vec<Value> {
    let document = json::parse_object(input, &Limits::default()).expect("a set is strict JSON");
    match document.get("keys") {
        Some(Value::List(entries)) => entries.clone(),
        found => panic!("`keys` is {found:?}"),
    }
}

fn check(set: &KeySet, entries: &[Value], admission: &Admission, only_rs256: bool) {
    assert!(entries.len() <= 64);
    let rejected: BTreeSet<usize> = set.rejected().iter().map(|entry| entry.index).collect();
    assert_eq!(
        rejected.len(),
        set.rejected().len(),
        "an entry was rejected twice"
    );
    assert_eq!(
        set.len() + rejected.len(),
        entries.len(),
        "an entry was lost"
    );
    let published: BTreeSet<&str> = set.published().collect();
    for (index, entry) in entries.iter().enumerate() {
        let alone = alone(entry, admission);
        assert!(
            alone
                .published()
                .all(|thumbprint| published.contains(thumbprint)),
            "a key of the set is not among the published ones"
        );
        let rule = set
            .rejected()
            .iter()
            .find(|rejected| rejected.index == index);
        if let Some(rejected) = rule {
            let rules: Vec<Rule> = alone.rejected().iter().map(|entry| entry.rule).collect();
            assert!(
                rejected.rule == Rule::SharedKid || rules == [rejected.rule],
                "{rejected:?}"
            );
            continue;
        }
        assert_eq!(alone.len(), 1, "another entry made a difference");
        assert_eq!(alone.published().count(), 1);
        let Value::Object(entry) = entry else {
            panic!("{entry:?} was admitted");
        };
        is_public_and_named(entry, entries);
        is_strong(entry, only_rs256);
    }
}

/// The entry as a set of its own.
fn alone(entry: &Value, admission: &Admission) -> KeySet {
    let document = format!(r#"{{"keys":[{}]}}"#, text::of_value(entry));
    KeySet::from_jwks(document.as_bytes(), admission).expect("a set of one entry")
}

fn is_public_and_named(entry: &Object, entries: &[Value]) {
    for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        assert!(entry.get(private).is_none(), "{private} was admitted");
    }
    let purpose = entry.get("use");
    assert!(purpose.is_none_or(|purpose| purpose.as_text() == Some("sig")));
    let Some(kid) = entry.get("kid") else {
        return;
    };
    let kid = kid.as_text().expect("a key id is text");
    assert!((1..=256).contains(&kid.len()), "{kid}");
    let same = entries.iter().filter(|other| match other {
        Value::Object(other) => {
            other.get("kid").and_then(Value::as_text) == Some(kid) && may_sign(other)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => false,
    });
    assert_eq!(same.count(), 1, "two entries are named {kid}");
}

/// It does not say itself that it is for something else than signatures.
fn may_sign(entry: &Object) -> bool {
    let is_named = |names: &[Value]| names.iter().any(|name| name.as_text() == Some("verify"));
    let purpose = entry.get("use");
    purpose.is_none_or(|purpose| purpose.as_text() == Some("sig"))
        && match entry.get("key_ops") {
            None => true,
            Some(Value::List(names)) => is_named(names),
            Some(_) => false,
        }
}

fn is_strong(entry: &Object, only_rs256: bool) {
    let text = |name: &str| entry.get(name).and_then(Value::as_text);
    let bytes = |name: &str| {
        let text = text(name).expect("a member of the key");
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).expect("base64url");
        assert_eq!(BASE64URL_NOPAD.encode(&bytes), text);
        bytes
    };
    let algorithms: &[&str] = match (text("kty"), text("crv")) {
        (Some("RSA"), _) => {
            is_strong_rsa(&bytes("n"), &bytes("e"), only_rs256);
            &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]
        }
        (Some("EC"), Some("P-256")) => {
            assert_eq!((bytes("x").len(), bytes("y").len()), (32, 32));
            &["ES256"]
        }
        (Some("EC"), Some("P-384")) => {
            assert_eq!((bytes("x").len(), bytes("y").len()), (48, 48));
            &["ES384"]
        }
        (Some("OKP"), Some("Ed25519")) => {
            let y = <[u8; 32]>::try_from(bytes("x")).expect("32 bytes");
            let [first, middle @ .., last] = y;
            let small = first <= 1 && matches!(last, 0 | 0x80) && middle == [0; 30];
            assert!(!small, "a point of small order");
            &["EdDSA"]
        }
        other => panic!("{other:?} was admitted"),
    };
    let named = entry
        .get("alg")
        .map(|_| text("alg").expect("an algorithm is text"));
    assert!(
        named.is_none_or(|named| algorithms.contains(&named)),
        "{named:?}"
    );
    if only_rs256 {
        assert_eq!(named.unwrap_or("RS256"), "RS256");
        assert_eq!(text("kty"), Some("RSA"));
    }
}

fn is_strong_rsa(n: &[u8], e: &[u8], zero_in_front: bool) {
    let stripped = |number: &[u8]| match number.strip_prefix(&[0]) {
        Some(rest) if zero_in_front => rest.to_vec(),
        Some(_) | None => number.to_vec(),
    };
    let (n, e) = (stripped(n), stripped(e));
    assert!(n[0] != 0 && e[0] != 0, "a number begins with zero");
    let bits = n.len() * 8 - n[0].leading_zeros() as usize;
    assert!((2_048..=8_192).contains(&bits), "{bits} bits");
    assert_eq!(n[n.len() - 1] % 2, 1);
    assert!(
        e.len() <= 4 && e[e.len() - 1] % 2 == 1 && e != [1],
        "exponent {e:?}"
    );
}
