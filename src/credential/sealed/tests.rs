use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use super::RecipientKeyError as E;
use super::*;
use crate::credential::kind::KINDS;

const X: &str = "weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ";
const Y: &str = "e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck";
/// Bob's key of RFC 7748 section 6.1.
const X25519: &str = "3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08";

fn p256() -> Value {
    json!({ "kty": "EC", "crv": "P-256", "x": X, "y": Y })
}

fn x25519(x: &str) -> Value {
    json!({ "kty": "OKP", "crv": "X25519", "x": x })
}

fn parse(key: &Value) -> Result<RecipientKey, RecipientKeyError> {
    RecipientKey::parse(key.to_string().as_bytes())
}

fn with(mut key: Value, name: &str, value: &str) -> Value {
    key[name] = value.into();
    key
}

/// T-220
#[test]
fn a_recipients_key_is_one_valid_public_key_on_a_known_curve() {
    let key = parse(&p256()).unwrap();
    assert_eq!(
        key.to_jwk(),
        format!(r#"{{"crv":"P-256","kty":"EC","x":"{X}","y":"{Y}"}}"#)
    );
    let labelled = with(
        with(with(p256(), "kid", "k"), "use", "enc"),
        "alg",
        "ECDH-ES",
    );
    assert_eq!(parse(&labelled).unwrap(), key);
    assert_eq!(parse(&x25519(X25519)).unwrap().thumbprint().len(), 43);
    let long = with(p256(), "kid", &"k".repeat(1_024));
    assert_eq!(parse(&long), Err(E::Size));
    assert!(matches!(RecipientKey::parse(b"[]"), Err(E::Json(_))));
    let twice = format!(r#"{{"kty":"EC","kty":"EC","crv":"P-256","x":"{X}","y":"{Y}"}}"#);
    assert!(matches!(
        RecipientKey::parse(twice.as_bytes()),
        Err(E::Json(_))
    ));
    for (name, value, error) in [
        ("use", "sig", E::Use),
        ("alg", "ECDH-ES+A256KW", E::Algorithm),
        ("alg", "RSA-OAEP", E::Algorithm),
        ("crv", "P-384", E::Curve),
        ("crv", "secp256k1", E::Curve),
        ("crv", "X25519", E::Curve),
        ("kty", "RSA", E::Curve),
        ("kty", "oct", E::Curve),
        ("x", "", E::Coordinate { member: "x" }),
        ("x", X.get(..42).unwrap(), E::Coordinate { member: "x" }),
        ("x", &format!("{X}="), E::Coordinate { member: "x" }),
        ("y", &format!("{Y}AA"), E::Coordinate { member: "y" }),
        // Not on the curve: the other coordinate, and the origin.
        ("y", X, E::Point),
        ("y", &BASE64URL_NOPAD.encode(&[0; 32]), E::Point),
        ("d", X, E::Private { member: "d" }),
        ("k", X, E::Private { member: "k" }),
    ] {
        assert_eq!(
            parse(&with(p256(), name, value)),
            Err(error),
            "{name} {value}"
        );
    }
    let origin = BASE64URL_NOPAD.encode(&[0; 32]);
    let at_origin = json!({ "kty": "EC", "crv": "P-256", "x": origin, "y": origin });
    assert_eq!(parse(&at_origin), Err(E::Point));
}

/// The points of order 1, 2, 4 and 8 in every encoding that X25519 reads (RFC 7748 section 7).
///
/// T-220
#[test]
fn a_point_of_low_order_is_no_recipients_key() {
    for point in [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ] {
        for high_bit in [0, 0x80] {
            let mut bytes = data_encoding::HEXLOWER.decode(point.as_bytes()).unwrap();
            bytes[31] |= high_bit;
            let key = x25519(&BASE64URL_NOPAD.encode(&bytes));
            assert_eq!(parse(&key), Err(RecipientKeyError::Point), "{point}");
        }
    }
}

/// RFC 7638 has an example for RSA only; this is the hash of its text as other tools compute it.
#[test]
fn a_thumbprint_is_the_hash_of_the_required_members() {
    let key = parse(&with(p256(), "kid", "other")).unwrap();
    let text = format!(r#"{{"crv":"P-256","kty":"EC","x":"{X}","y":"{Y}"}}"#);
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    assert_eq!(key.thumbprint(), BASE64URL_NOPAD.encode(hash.as_ref()));
}

#[test]
fn a_private_key_is_read_back_and_its_halves_belong_together() {
    let key = RecipientPrivateKey::generate().unwrap();
    let text = key.to_jwk().unwrap();
    let again = RecipientPrivateKey::parse(text.expose().as_bytes()).unwrap();
    assert_eq!(again.public(), key.public());
    // Bob's private key of RFC 7748 section 6.1.
    let bob = "XasIfmJKikt54X-Lg4AO5m87sSkmGLb9HC-LJ_-I4Os";
    let bob = RecipientPrivateKey::parse(with(x25519(X25519), "d", bob).to_string().as_bytes());
    let text = bob.unwrap().to_jwk().unwrap();
    assert!(RecipientPrivateKey::parse(text.expose().as_bytes()).is_ok());
    let parse = |key: &Value| RecipientPrivateKey::parse(key.to_string().as_bytes()).unwrap_err();
    let refused = [
        parse(&p256()).to_string(),
        parse(&with(p256(), "d", Y)).to_string(),
        parse(&with(p256(), "d", "AAAA")).to_string(),
        parse(&with(with(p256(), "d", Y), "crv", "P-384")).to_string(),
    ];
    insta::assert_snapshot!(refused.join("\n"), @r"
    has no `d` in base64url, so it is not a private key as a JWK
    has a `d` that does not belong to its public members
    has a `d` that does not belong to its public members
    has a public half that cannot be used: it must have `kty` EC with `crv` P-256, or `kty` OKP with `crv` X25519
    ");
    assert!(refused.iter().all(|text| !text.contains(Y)));
    let shown = format!("{key:?}");
    assert!(!shown.contains("private"), "{shown}");
}

/// T-221
#[test]
fn every_kind_hides_the_members_that_its_list_does_not_call_public() {
    for kind in KINDS {
        let mut members = ExposedMembers::default();
        for member in kind.members {
            members.insert(member.name, "canary");
        }
        members.insert("unlisted", "canary");
        replace_secrets(kind, &mut members, "message");
        let shown = serde_json::to_value(&members).unwrap();
        assert_eq!(shown[MEMBER], "message");
        assert!(shown.get("unlisted").is_none());
        for member in kind.members {
            assert_eq!(
                shown.get(member.name).is_some(),
                member.is_public(),
                "{}",
                member.name
            );
        }
    }
}
