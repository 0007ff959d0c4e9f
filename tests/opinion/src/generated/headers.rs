//! Headers, each validly signed.

use aws_lc_rs::hmac;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use hallpass::token::Algorithm;
use serde_json::{Value, json};

use super::{KEYS, case, encoded, good_claims, good_header, good_token, parts, signed};
use crate::case::Case;

pub(super) fn cases() -> Vec<Case> {
    [members(), texts(), algorithms()].concat()
}

/// A member more, or another value of one.
fn members() -> Vec<Case> {
    let own = KEYS[1].jwk();
    let more = |name: &str, value: Value| {
        let mut header = good_header(Algorithm::ES256);
        header[name] = value;
        header
    };
    [
        (
            "crit of an unknown extension",
            false,
            more("crit", json!(["x"])),
        ),
        (
            "crit of a registered member",
            false,
            more("crit", json!(["exp"])),
        ),
        ("an empty crit", false, more("crit", json!([]))),
        ("crit is null", false, more("crit", json!(null))),
        ("crit is a string", false, more("crit", json!("exp"))),
        ("crit of numbers", false, more("crit", json!([1]))),
        ("b64 without crit", false, more("b64", json!(false))),
        ("b64 without crit", false, more("b64", json!(true))),
        ("the key is in the header", false, more("jwk", own)),
        (
            "an address of keys",
            false,
            more("jku", json!("https://evil.example/jwks")),
        ),
        (
            "an address of keys",
            false,
            more("x5u", json!("https://evil.example/x5u")),
        ),
        ("certificates", false, more("x5c", json!(["MIIB"]))),
        (
            "members of encryption",
            false,
            more("enc", json!("A128GCM")),
        ),
        ("members of encryption", false, more("zip", json!("DEF"))),
        (
            "members of encryption",
            false,
            more("p2c", json!(2_147_483_647)),
        ),
        ("members of encryption", false, more("epk", json!({}))),
        ("another type", false, more("typ", json!("at+jwt"))),
        (
            "another type",
            false,
            more("typ", json!("application/logout+jwt")),
        ),
        ("another type", false, more("typ", json!("dpop+jwt"))),
        ("the type JOSE", false, more("typ", json!("JOSE"))),
        ("a type that is no string", false, more("typ", json!(1))),
        ("a type that is null", false, more("typ", json!(null))),
        (
            "a type in other case",
            true,
            more("typ", json!("Application/jWt")),
        ),
        ("a content type", false, more("cty", json!("JWT"))),
        ("an unknown key", false, more("kid", json!("p257"))),
        (
            "a key id with another of its kind",
            false,
            more("kid", json!("p384")),
        ),
        ("a key id in other case", false, more("kid", json!("P256"))),
        (
            "a key id that is a path",
            false,
            more("kid", json!("../p256")),
        ),
        ("an empty key id", false, more("kid", json!(""))),
        ("a key id that is null", false, more("kid", json!(null))),
        ("a key id that is no string", false, more("kid", json!(256))),
        (
            "a key id that is no string",
            false,
            more("kid", json!(["p256"])),
        ),
        ("a long key id", false, more("kid", json!("p".repeat(300)))),
        ("no key id", false, json!({ "alg": "ES256" })),
        (
            "a key id that only looks like one",
            false,
            json!({ "alg": "ES256", "KID": "p256" }),
        ),
        (
            "members that nobody knows",
            true,
            more("nonsense", json!({ "a": [1] })),
        ),
        (
            "a thumbprint of a certificate",
            true,
            more("x5t", json!("x")),
        ),
        (
            "a long header",
            false,
            more("pad", json!("x".repeat(5_000))),
        ),
        ("a header of 17 levels", false, more("pad", deep(17))),
        ("a header of 200 levels", false, more("pad", deep(200))),
    ]
    .into_iter()
    .map(|(class, genuine, header)| {
        let payload = good_claims().to_string();
        let token = signed(Algorithm::ES256, &header.to_string(), &payload);
        case(class, genuine, token)
    })
    .collect()
}

/// So many lists in each other.
pub(super) fn deep(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!([inner]))
}

/// The same header as other text.
fn texts() -> Vec<Case> {
    let good = good_header(Algorithm::ES256).to_string();
    let inside = |extra: &str| format!("{},{extra}}}", good.strip_suffix('}').unwrap());
    [
        (
            "a header with spaces",
            true,
            r#" { "alg" : "ES256",	"kid" : "p256" } "#.to_owned(),
        ),
        (
            "a header with escapes",
            true,
            r#"{"\u0061lg":"ES\u0032\u00356","kid":"p256"}"#.to_owned(),
        ),
        ("a header's member twice", false, inside(r#""alg":"ES256""#)),
        (
            "a header's member twice, the last is another",
            false,
            inside(r#""alg":"none""#),
        ),
        (
            "a header's member twice, one escaped",
            false,
            inside(r#""\u0061lg":"ES256""#),
        ),
        ("a header's key id twice", false, inside(r#""kid":"p256""#)),
        (
            "a header's unknown member twice",
            false,
            inside(r#""x":1,"x":2"#),
        ),
        (
            "a header's nested member twice",
            false,
            inside(r#""x":{"y":1,"y":1}"#),
        ),
        (
            "a header as a list",
            false,
            r#"["ES256","p256"]"#.to_owned(),
        ),
        (
            "a header as a list in the order of a library",
            false,
            r#"["ES256",null,null,"p256",null]"#.to_owned(),
        ),
        (
            "a header as a list",
            false,
            r#"["JWT","ES256",null,null,null,"p256"]"#.to_owned(),
        ),
        ("a header that is null", false, "null".to_owned()),
        ("a header in a string", false, json!(good).to_string()),
        (
            "a byte order mark before the header",
            false,
            format!("\u{feff}{good}"),
        ),
        ("text after the header", false, format!("{good}x")),
        ("a NUL after the header", false, format!("{good}\0")),
        ("two headers", false, format!("{good}{good}")),
        ("a comment in the header", false, format!("{good}/**/")),
        (
            "a comma at the header's end",
            false,
            good.replace('}', ",}"),
        ),
        (
            "half a surrogate pair in the header",
            false,
            inside(r#""x":"\ud800""#),
        ),
        (
            "a control character in the header",
            false,
            inside("\"x\":\"\u{1}\""),
        ),
        (
            "a number no f64 can hold in the header",
            true,
            inside(r#""x":1e999"#),
        ),
        (
            "a number of 100 digits in the header",
            false,
            inside(&format!(r#""x":{}"#, "1".repeat(100))),
        ),
        ("NaN in the header", false, inside(r#""x":NaN"#)),
    ]
    .into_iter()
    .map(|(class, genuine, header)| {
        let token = signed(Algorithm::ES256, &header, &good_claims().to_string());
        case(class, genuine, token)
    })
    .collect()
}

/// `alg` and what the key can do.
fn algorithms() -> Vec<Case> {
    let payload = good_claims().to_string();
    let named = |name: Value| json!({ "alg": name, "kid": "rsa" }).to_string();
    let mut cases = Vec::new();
    for name in [
        json!("none"),
        json!("None"),
        json!("nOnE"),
        json!(""),
        json!(null),
        json!(["RS256"]),
        json!(0),
        json!("rs256"),
        json!("RS256 "),
        json!("RS256\0"),
        json!("ES512"),
        json!("ES256K"),
        json!("RSA-OAEP"),
        json!("dir"),
    ] {
        let token = signed(Algorithm::RS256, &named(name), &payload);
        cases.push(case(
            "an algorithm that is none of ours",
            false,
            token.clone(),
        ));
        let [header, payload, _] = parts(&token);
        cases.push(case("no signature", false, format!("{header}.{payload}.")));
    }
    for header in [
        json!({ "kid": "rsa" }),
        json!({ "ALG": "RS256", "kid": "rsa" }),
    ] {
        let token = signed(Algorithm::RS256, &header.to_string(), &payload);
        cases.push(case("no algorithm", false, token));
    }
    for (signs, says) in [
        (Algorithm::RS256, "RS384"),
        (Algorithm::RS512, "RS256"),
        (Algorithm::PS256, "RS256"),
        (Algorithm::RS256, "PS256"),
        (Algorithm::RS256, "ES256"),
        (Algorithm::RS256, "EdDSA"),
    ] {
        let token = signed(signs, &named(json!(says)), &payload);
        cases.push(case("an algorithm that did not sign", false, token));
    }
    for algorithm in [Algorithm::RS384, Algorithm::PS256, Algorithm::ES256] {
        let mut not_allowed = case("an algorithm of no issuer", false, good_token(algorithm));
        not_allowed.algorithms = vec![Algorithm::RS256];
        cases.push(not_allowed);
    }
    cases.extend(hmacs(&payload));
    cases
}

/// HMAC under every text of the public key.
fn hmacs(payload: &str) -> Vec<Case> {
    let jwk = KEYS[0].jwk();
    let n = jwk["n"].as_str().unwrap();
    let modulus = BASE64URL_NOPAD.decode(n.as_bytes()).unwrap();
    let secrets = [
        jwk.to_string().into_bytes(),
        n.as_bytes().to_vec(),
        HEXLOWER.encode(&modulus).into_bytes(),
        modulus,
        Vec::new(),
    ];
    secrets
        .iter()
        .map(|secret| {
            let header = r#"{"alg":"HS256","kid":"rsa"}"#;
            let input = format!("{}.{}", encoded(header), encoded(payload));
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
            let token = format!("{input}.{}", BASE64URL_NOPAD.encode(tag.as_ref()));
            case("the public key as a secret", false, token)
        })
        .collect()
}
