//! Which entries of a key set are admitted: every rule at its edges, and whatever bytes there may be.

use data_encoding::BASE64URL_NOPAD;
use hallpass::token::keys::Rule;
use hallpass::token::{Admission, Algorithm, KeySet, TrustedIssuer, verify_jws};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::tokens::{Broker, ISSUER, TestKey, claims, jwks};

fn admit(entry: &Value) -> Option<Rule> {
    admit_by(entry, &Admission::default())
}

fn admit_by(entry: &Value, admission: &Admission) -> Option<Rule> {
    let set = KeySet::from_jwks(&jwks(std::slice::from_ref(entry)), admission).unwrap();
    let rule = set.rejected().first().map(|rejected| rejected.rule);
    assert_eq!(set.len() + set.rejected().len(), 1);
    rule
}

pub(super) fn with(key: &TestKey, name: &str, value: Value) -> Value {
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

/// T-32
#[test]
fn a_leaked_private_or_symmetric_key_is_left_out_and_not_shown() {
    for name in ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"] {
        let entry = with(&TestKey::rsa("k1"), name, json!("canary"));
        assert_eq!(admit(&entry), Some(Rule::PrivateMember), "{name}");
        let set = KeySet::from_jwks(&jwks(&[entry]), &Admission::default()).unwrap();
        assert!(!format!("{set:?}{}", set.rejected()[0].rule).contains("canary"));
        assert_eq!(
            set.rejected()[0].rule.reason().code(),
            "keys.private_member"
        );
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
        without_small_factors(number)
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
    // 255 is 3 times 5 times 17, and so is every byte of it.
    assert_eq!(rule(&[0xFF; 256], &e), Some(Rule::SmallFactor));
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

/// The same number but for its end, which is odd, and which no prime below 200 divides.
fn without_small_factors(mut number: Vec<u8>) -> Vec<u8> {
    let at = number.len() - 2;
    let divides = |number: &[u8], prime: u32| {
        let rest = |rest: u32, byte: &u8| ((rest << 8) + u32::from(*byte)) % prime;
        number.iter().fold(0, rest) == 0
    };
    for end in (0..u16::MAX).rev().filter(|end| end % 2 == 1) {
        number[at..].copy_from_slice(&end.to_be_bytes());
        if !(2..200).any(|prime| divides(&number, prime)) {
            return number;
        }
    }
    panic!("every number has a small factor");
}

/// T-33, T-96
#[test]
fn the_largest_key_with_the_largest_exponent_stays_cheap() {
    let modulus = without_small_factors(vec![0xFF_u8; 1_024]);
    let entry = json!({
        "kty": "RSA", "kid": "k",
        "n": BASE64URL_NOPAD.encode(&modulus), "e": BASE64URL_NOPAD.encode(&[0xFF; 4]),
    });
    let set = KeySet::from_jwks(&jwks(&[entry]), &Admission::default()).unwrap();
    assert_eq!(set.len(), 1);
    let header = BASE64URL_NOPAD.encode(br#"{"alg":"RS256","kid":"k"}"#);
    let token = format!("{header}.e30.{}", BASE64URL_NOPAD.encode(&[0x55; 1_024]));
    let checks = std::thread::spawn(move || {
        for _ in 0..1_000 {
            assert!(verify_jws(&token, &set, &Algorithm::ALL).is_err());
        }
    });
    // A thousand of a millisecond each, ten times over: what has no limit would take minutes.
    for _ in 0..1_000 {
        if checks.is_finished() {
            return checks.join().unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("a signature check costs more than ten milliseconds");
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

/// A genuine key of every kind, and an algorithm it signs with.
fn genuine() -> Vec<(TestKey, Algorithm)> {
    vec![
        (TestKey::rsa("k"), Algorithm::RS256),
        (TestKey::rsa("k"), Algorithm::PS384),
        (TestKey::p256("k"), Algorithm::ES256),
        (TestKey::p384("k"), Algorithm::ES384),
        (TestKey::ed25519("k"), Algorithm::EdDSA),
    ]
}

/// Flips bits of, cuts or lengthens these bytes.
fn spoiled(mut bytes: Vec<u8>, flips: &[(usize, u8)], length: i8) -> Vec<u8> {
    let size = bytes.len();
    for (at, bits) in flips {
        bytes[at % size] ^= bits;
    }
    let length = size.saturating_add_signed(isize::from(length));
    bytes.resize(length, 0x5A);
    bytes
}

proptest! {
    /// T-36, T-39
    #[test]
    fn genuine_keys_and_signatures_with_any_damage_neither_hold_nor_panic(
        at in 0..5_usize,
        of_key in any::<bool>(),
        name in prop::sample::select(&["n", "e", "x", "y"][..]),
        flips in prop::collection::vec((any::<usize>(), 1..=255_u8), 0..3),
        length in prop_oneof![Just(0_i8), any::<i8>()],
    ) {
        let (key, algorithm) = genuine().swap_remove(at);
        let header = json!({ "alg": algorithm.name(), "kid": "k" }).to_string();
        let token = key.sign(algorithm, &header, "{}");
        let (input, signature) = token.rsplit_once('.').unwrap();
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
        let mut entry = key.jwk();
        let mut changed = signature.clone();
        if !of_key {
            changed = spoiled(changed, &flips, length);
        } else if let Some(text) = entry[name].as_str() {
            let number = BASE64URL_NOPAD.decode(text.as_bytes()).unwrap();
            entry[name] = BASE64URL_NOPAD.encode(&spoiled(number, &flips, length)).into();
        }
        let is_whole = entry == key.jwk() && changed == signature;
        let set = KeySet::from_jwks(&jwks(&[entry]), &Admission::default()).unwrap();
        prop_assume!(!changed.is_empty());
        let token = format!("{input}.{}", BASE64URL_NOPAD.encode(&changed));
        prop_assert_eq!(verify_jws(&token, &set, &Algorithm::ALL).is_ok(), is_whole);
    }
}
