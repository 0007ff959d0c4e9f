//! Payloads, each validly signed.

use hallpass::token::Algorithm;
use serde_json::{Value, json};

use super::headers::deep;
use super::{case, good_claims, good_header, signed};
use crate::case::Case;
use crate::tokens::{AUDIENCE, ISSUER};

pub(super) fn cases() -> Vec<Case> {
    [audiences(), issuers_and_subjects(), times(), texts()]
        .concat()
        .into_iter()
        .map(|(class, genuine, payload)| {
            let header = good_header(Algorithm::EdDSA).to_string();
            case(&class, genuine, signed(Algorithm::EdDSA, &header, &payload))
        })
        .collect()
}

type Payload = (String, bool, String);

/// Good claims with one that is another.
fn with(name: &str, value: Value) -> String {
    let mut claims = good_claims();
    claims[name] = value;
    claims.to_string()
}

fn without(name: &str) -> String {
    let mut claims = good_claims();
    claims.as_object_mut().unwrap().remove(name);
    claims.to_string()
}

fn named<const N: usize>(payloads: [(&str, bool, String); N]) -> Vec<Payload> {
    payloads
        .into_iter()
        .map(|(class, genuine, payload)| (class.to_owned(), genuine, payload))
        .collect()
}

fn audiences() -> Vec<Payload> {
    let other = "https://other.example";
    named([
        ("aud as a list of one", true, with("aud", json!([AUDIENCE]))),
        ("aud of somebody else", false, with("aud", json!(other))),
        ("aud of somebody else", false, with("aud", json!([other]))),
        (
            "aud that begins like ours",
            false,
            with("aud", json!(format!("{AUDIENCE}.evil.example"))),
        ),
        (
            "aud with a slash more",
            false,
            with("aud", json!(format!("{AUDIENCE}/"))),
        ),
        ("aud of two", false, with("aud", json!([AUDIENCE, other]))),
        (
            "aud of ours twice",
            false,
            with("aud", json!([AUDIENCE, AUDIENCE])),
        ),
        ("an empty aud list", false, with("aud", json!([]))),
        ("an empty aud", false, with("aud", json!(""))),
        ("aud is null", false, with("aud", json!(null))),
        ("no aud", false, without("aud")),
        ("aud is no string", false, with("aud", json!(1))),
        (
            "aud is no string",
            false,
            with("aud", json!({ "x": AUDIENCE })),
        ),
        (
            "aud with a number beside ours",
            false,
            with("aud", json!([AUDIENCE, 1])),
        ),
    ])
}

fn issuers_and_subjects() -> Vec<Payload> {
    named([
        (
            "another issuer",
            false,
            with("iss", json!("https://other.example")),
        ),
        (
            "an issuer with a slash more",
            false,
            with("iss", json!(format!("{ISSUER}/"))),
        ),
        (
            "an issuer in other case",
            false,
            with("iss", json!(ISSUER.to_uppercase())),
        ),
        (
            "an issuer with its port",
            false,
            with("iss", json!(format!("{ISSUER}:443"))),
        ),
        ("an issuer in a list", false, with("iss", json!([ISSUER]))),
        ("an issuer that is null", false, with("iss", json!(null))),
        ("no issuer", false, without("iss")),
        ("no sub", false, without("sub")),
        ("sub is null", false, with("sub", json!(null))),
        ("sub is no string", false, with("sub", json!(1))),
        ("sub is no string", false, with("sub", json!(["x"]))),
        ("an empty sub", false, with("sub", json!(""))),
        ("sub of spaces", false, with("sub", json!("  "))),
        (
            "sub with a control character",
            false,
            with("sub", json!("a\nb")),
        ),
        (
            "a very long sub",
            false,
            with("sub", json!("x".repeat(2_000))),
        ),
    ])
}

fn times() -> Vec<Payload> {
    let good = good_claims();
    let at = |name: &str, seconds: i64| json!(good[name].as_i64().unwrap() + seconds);
    let mut old = good_claims();
    old["iat"] = at("iat", -5_000);
    old["nbf"] = at("nbf", -5_000);
    let mut long = good_claims();
    long["exp"] = at("exp", 30 * 86_400);
    let mut backwards = good_claims();
    backwards["iat"] = at("exp", 10);
    named([
        ("expired", false, with("exp", at("exp", -1_800))),
        ("exp is 0", false, with("exp", json!(0))),
        ("a negative exp", false, with("exp", json!(-1))),
        (
            "exp with a fraction",
            true,
            with("exp", json!(good["exp"].as_f64().unwrap() + 0.5)),
        ),
        (
            "exp in milliseconds",
            false,
            with("exp", json!(good["exp"].as_i64().unwrap() * 1_000)),
        ),
        (
            "exp is a string",
            false,
            with("exp", json!(good["exp"].to_string())),
        ),
        ("exp is null", false, with("exp", json!(null))),
        ("no exp", false, without("exp")),
        ("exp is a boolean", false, with("exp", json!(true))),
        ("exp in a list", false, with("exp", json!([good["exp"]]))),
        (
            "exp of 2^63",
            false,
            with("exp", json!(9_223_372_036_854_775_808_u64)),
        ),
        ("exp of 1e30", false, with("exp", json!(1e30))),
        ("nbf in the future", false, with("nbf", at("nbf", 600))),
        ("nbf is a string", false, with("nbf", json!("0"))),
        ("no nbf", true, without("nbf")),
        ("nbf is null", true, with("nbf", json!(null))),
        ("iat in the future", false, with("iat", at("iat", 600))),
        ("iat is a string", false, with("iat", json!("0"))),
        ("no iat", false, without("iat")),
        ("iat after exp", false, backwards.to_string()),
        ("an old token", false, old.to_string()),
        ("a token for a month", false, long.to_string()),
    ])
}

fn texts() -> Vec<Payload> {
    let good = good_claims().to_string();
    let inside = |extra: &str| format!("{},{extra}}}", good.strip_suffix('}').unwrap());
    named([
        ("claims with spaces around", true, format!(" {good}\n")),
        ("a claim of nobody", true, inside(r#""x":[1,{"y":null}]"#)),
        (
            "a claim twice",
            false,
            inside(&format!(r#""aud":"{AUDIENCE}""#)),
        ),
        (
            "a claim twice, the last is another",
            false,
            inside(r#""iss":"https://other.example""#),
        ),
        (
            "a claim twice, one escaped",
            false,
            inside(&format!(r#""\u0061ud":"{AUDIENCE}""#)),
        ),
        ("an unknown claim twice", false, inside(r#""x":1,"x":2"#)),
        (
            "a nested claim twice",
            false,
            inside(r#""x":{"y":[{"z":1,"z":1}]}"#),
        ),
        (
            "a byte order mark before the claims",
            false,
            format!("\u{feff}{good}"),
        ),
        ("text after the claims", false, format!("{good}x")),
        ("claims twice", false, format!("{good}{good}")),
        ("a comment in the claims", false, format!("{good}/**/")),
        ("a comma at the claims' end", false, good.replace('}', ",}")),
        ("claims in a list", false, format!("[{good}]")),
        ("claims that are null", false, "null".to_owned()),
        ("claims that are a string", false, json!(good).to_string()),
        ("NaN in the claims", false, inside(r#""x":NaN"#)),
        (
            "half a surrogate pair in the claims",
            false,
            inside(r#""x":"\ud800""#),
        ),
        (
            "half a surrogate pair in a name",
            false,
            inside(r#""\udfaa":1"#),
        ),
        (
            "a control character in the claims",
            false,
            inside("\"x\":\"\t\""),
        ),
        (
            "a number no f64 can hold in the claims",
            true,
            inside(r#""x":1e999"#),
        ),
        (
            "a number of 100 digits in the claims",
            false,
            inside(&format!(r#""x":{}"#, "1".repeat(100))),
        ),
        (
            "claims of 17 levels",
            false,
            inside(&format!(r#""x":{}"#, deep(17))),
        ),
        (
            "claims of 200 levels",
            false,
            inside(&format!(r#""x":{}"#, deep(200))),
        ),
        (
            "claims of 5000 values",
            false,
            inside(&format!(r#""x":[{}]"#, vec!["1"; 5_000].join(","))),
        ),
        (
            "a token of 17 KiB",
            false,
            inside(&format!(r#""x":"{}""#, "y".repeat(13_000))),
        ),
        (
            "iss in other letters",
            false,
            inside(r#""ISS":"x""#).replace("\"iss\"", "\"Iss\""),
        ),
    ])
}
