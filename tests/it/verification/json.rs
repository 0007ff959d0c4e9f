//! Strict JSON wherever others' documents are read: header, payload, discovery document, key set.

use data_encoding::BASE64URL_NOPAD;
use hallpass::token::keys::remote::key_set_url;
use hallpass::token::keys::{KeyError, Rule};
use hallpass::token::{Admission, Algorithm, KeySet, TrustedIssuer};
use serde_json::{Value, json};

use crate::support::tokens::{Broker, ISSUER, TestKey, claims, jwks};

type Outcome = Box<dyn Fn(&[u8]) -> &'static str>;

/// One place where a document is read: a good one, and what comes of others.
struct Reader {
    name: &'static str,
    good: String,
    /// `ok`, `json`, or the code of another rule.
    outcome: Outcome,
}

fn readers() -> [Reader; 4] {
    let (broker, key) = Broker::new();
    let header = key.header().to_string();
    let token = |outcome: &'static str| {
        if outcome == "token.json" {
            "json"
        } else {
            outcome
        }
    };
    let payload = Reader {
        name: "payload",
        good: claims().to_string(),
        outcome: Box::new({
            let header = header.clone();
            move |text| token(broker.reason(&signed(&key, header.as_bytes(), text)))
        }),
    };
    let (broker, key) = Broker::new();
    let header = Reader {
        name: "header",
        good: header,
        outcome: Box::new(move |text| {
            token(broker.reason(&signed(&key, text, claims().to_string().as_bytes())))
        }),
    };
    let fetched = |outcome: Result<(), KeyError>| match outcome {
        Ok(()) => "ok",
        Err(KeyError::Document(text)) if text.contains("strict JSON") => "json",
        Err(error) => error.reason().code(),
    };
    let discovery = Reader {
        name: "discovery document",
        good: json!({ "issuer": ISSUER, "jwks_uri": format!("{ISSUER}/jwks") }).to_string(),
        outcome: Box::new(move |text| {
            fetched(key_set_url(text, &TrustedIssuer::new("ci", ISSUER)).map(|_| ()))
        }),
    };
    let key_set = Reader {
        name: "key set",
        good: r#"{"keys":[]}"#.to_owned(),
        outcome: Box::new(move |text| {
            fetched(KeySet::from_jwks(text, &Admission::default()).map(|_| ()))
        }),
    };
    [header, payload, discovery, key_set]
}

/// A token of exactly these bytes.
fn signed(key: &TestKey, header: &[u8], payload: &[u8]) -> String {
    let input = format!(
        "{}.{}",
        BASE64URL_NOPAD.encode(header),
        BASE64URL_NOPAD.encode(payload)
    );
    let signature = key.signature(Algorithm::RS256, input.as_bytes());
    format!("{input}.{}", BASE64URL_NOPAD.encode(&signature))
}

impl Reader {
    /// The good document with these members at its end.
    fn with(&self, members: &[u8]) -> Vec<u8> {
        let open = self.good.strip_suffix('}').unwrap();
        [open.as_bytes(), b",", members, b"}"].concat()
    }

    fn refuses(&self, text: &[u8]) {
        let shown = String::from_utf8_lossy(&text[..text.len().min(300)]).into_owned();
        assert_eq!((self.outcome)(text), "json", "{}: {shown}", self.name);
    }

    fn takes(&self, text: &[u8]) {
        let shown = String::from_utf8_lossy(&text[..text.len().min(300)]).into_owned();
        assert_eq!((self.outcome)(text), "ok", "{}: {shown}", self.name);
    }

    /// How many values the good document has, itself included.
    fn values(&self) -> usize {
        fn count(value: &Value) -> usize {
            match value {
                Value::Array(items) => 1 + items.iter().map(count).sum::<usize>(),
                Value::Object(members) => 1 + members.values().map(count).sum::<usize>(),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
            }
        }
        count(&serde_json::from_str(&self.good).unwrap())
    }
}

/// T-17: what the suites for JSON readers name as no JSON, as a member that nobody reads.
#[test]
fn a_value_that_is_no_json_spoils_every_document() {
    for reader in readers() {
        for value in BAD_VALUES {
            reader.refuses(&reader.with(&[b"\"x\":", *value].concat()));
        }
        for members in BAD_MEMBERS {
            reader.refuses(&reader.with(members));
        }
        for value in GOOD_VALUES {
            reader.takes(&reader.with(format!("\"x\":{value}").as_bytes()));
        }
    }
}

/// T-17: the document as a whole: one object, and nothing about it.
#[test]
fn a_document_is_one_object_and_nothing_else() {
    for reader in readers() {
        let good = reader.good.as_bytes();
        for (before, after) in [
            (&b"["[..], &b"]"[..]),
            (b"[1,", b"]"),
            (b"\xef\xbb\xbf", b""),
            (b"\xef\xbb", b""),
            (b"\xff\xfe", b""),
            (b"/**/", b""),
            (b"\x0c", b""),
            (b"\xc2\xa0", b""),
            (b"\xe2\x81\xa0", b""),
            (b"\0", b""),
            (b"", b"\0"),
            (b"", b"x"),
            (b"", b"}"),
            (b"", b"]"),
            (b"", b","),
            (b"", b"#"),
            (b"", b"//"),
            (b"", b"/**/"),
            (b"", b"/*"),
            (b"", b"{}"),
            (b"", b"\xe2\x81\xa0"),
            (b"", b"\xe5"),
            (b"\"", b"\""),
            (b"{\"x\":", b""),
        ] {
            reader.refuses(&[before, good, after].concat());
        }
        reader.refuses(&[good, b" ", good].concat());
        reader.refuses(&good[..good.len() - 1]);
        for whole in [
            &b" "[..],
            b"null",
            b"true",
            b"1",
            b"\"x\"",
            b"[]",
            b"[\"RS256\",\"k1\"]",
            b"{",
            b"*",
            b"<html>",
            b"{\"x\":1",
            b"{\"x\"",
            b"{\"x\":",
            b"{\"x\":1,",
            b"{]",
            b"{[",
            b"{\"",
            b"{,",
            b"\xe9",
        ] {
            reader.refuses(whole);
        }
        let utf16: Vec<u8> = reader.good.bytes().flat_map(|byte| [byte, 0]).collect();
        reader.refuses(&utf16[..utf16.len().min(3_000)]);
        reader.takes(&[b" \t\r\n", good, b"\n"].concat());
    }
}

/// T-18: members that are read and members that are not, plain, escaped, and below others.
#[test]
fn a_member_that_stands_twice_spoils_every_document() {
    let own = [
        ("header", r#""alg":"RS256","kid":"k1""#),
        (
            "payload",
            r#""aud":"https://hallpass.example","exp":1790000300"#,
        ),
        (
            "discovery document",
            r#""issuer":"https://ci.example","jwks_uri":"https://ci.example/jwks""#,
        ),
        ("key set", r#""keys":[]"#),
    ];
    for reader in readers() {
        let (_, read) = own.iter().find(|(name, _)| *name == reader.name).unwrap();
        for member in read
            .split(",\"")
            .map(|member| member.trim_start_matches('"'))
        {
            // The same value again is no better than another.
            reader.refuses(&reader.with(format!("\"{member}").as_bytes()));
            let (name, value) = member.split_once("\":").unwrap();
            let escaped: Vec<String> = name
                .chars()
                .map(|letter| format!("\\u{:04x}", u32::from(letter)))
                .collect();
            let escaped = escaped.concat();
            reader.refuses(&reader.with(format!("\"{escaped}\":{value}").as_bytes()));
            reader.refuses(&reader.with(format!("\"{escaped}\":null").as_bytes()));
        }
        for members in [
            r#""x":1,"x":1"#,
            r#""x":1,"y":2,"x":3"#,
            r#""x":1,"\u0078":1"#,
            r#""x":{"y":1,"y":1}"#,
            r#""x":[{"y":[{"z":1,"\u007a":2}]}]"#,
            r#""":1,"":2"#,
            r#""\ud83d\ude00":1,"😀":2"#,
            r#""x\u0000":1,"x\u0000":2"#,
        ] {
            reader.refuses(&reader.with(members.as_bytes()));
        }
        reader.takes(&reader.with(br#""x":{"x":{"x":1}},"X":[{"x":1},{"x":1}],"x ":1"#));
    }
}

/// T-16: each limit, in each document, at its edge and one past it.
#[test]
fn every_document_has_the_same_limits() {
    let nested = |depth: usize| format!("\"x\":{}{}", "[".repeat(depth), "]".repeat(depth));
    for reader in readers() {
        // The document itself is a level.
        reader.takes(&reader.with(nested(15).as_bytes()));
        reader.refuses(&reader.with(nested(16).as_bytes()));
        reader.refuses(&reader.with(format!("\"x\":{}", "[".repeat(3_000)).as_bytes()));
        reader.refuses(&reader.with(format!("\"x\":{}", "{\"x\":".repeat(500)).as_bytes()));
        let number = |digits: usize| format!("\"x\":{}", "1".repeat(digits));
        reader.takes(&reader.with(number(64).as_bytes()));
        reader.refuses(&reader.with(number(65).as_bytes()));
        reader.refuses(&reader.with(format!("\"x\":0.{}", "0".repeat(63)).as_bytes()));
        // A header of 4 KiB has no place for as many.
        if reader.name != "header" {
            let list = |count: usize| format!("\"x\":[{}]", vec!["0"; count].join(","));
            let most = 4_096 - reader.values() - 1;
            reader.takes(&reader.with(list(most).as_bytes()));
            reader.refuses(&reader.with(list(most + 1).as_bytes()));
        }
        let most = match reader.name {
            "header" => 4 * 1_024,
            "discovery document" => 64 * 1_024,
            "key set" => 256 * 1_024,
            // As long as the token around it lets it be: T-01.
            _ => continue,
        };
        let spaces = most - reader.good.len();
        reader.takes(format!("{}{}", reader.good, " ".repeat(spaces)).as_bytes());
        reader.refuses(format!("{}{}", reader.good, " ".repeat(spaces + 1)).as_bytes());
    }
}

/// T-26: names compare as bytes in fetched documents too.
#[test]
fn look_alike_members_of_fetched_documents_are_other_members() {
    let issuer = TrustedIssuer::new("ci", ISSUER);
    let uri = format!("{ISSUER}/jwks");
    for document in [
        json!({ "Issuer": ISSUER, "jwks_uri": uri }),
        json!({ "issuer": ISSUER, "JWKS_URI": uri }),
        json!({ "issuer": ISSUER, "jwks\u{ff3f}uri": uri }),
        json!({ "issuer ": ISSUER, "jwks_uri": uri }),
    ] {
        assert!(
            key_set_url(document.to_string().as_bytes(), &issuer).is_err(),
            "{document}"
        );
    }
    let admission = Admission::default();
    let entry = TestKey::ed25519("k1").jwk();
    for name in ["Keys", "KEYS", "key\u{455}", "keys "] {
        let document = json!({ name: [entry] }).to_string();
        assert!(
            KeySet::from_jwks(document.as_bytes(), &admission).is_err(),
            "{name}"
        );
    }
    for (name, odd, rule) in [
        ("kty", "Kty", Rule::KeyType),
        ("crv", "CRV", Rule::Curve),
        ("x", "\u{445}", Rule::Encoding),
    ] {
        let mut entry = entry.clone();
        let value = entry.as_object_mut().unwrap().remove(name).unwrap();
        entry[odd] = value;
        let set = KeySet::from_jwks(&jwks(&[entry]), &admission).unwrap();
        assert_eq!(set.rejected()[0].rule, rule, "{odd}");
    }
    let mut entry = entry;
    let kid = entry.as_object_mut().unwrap().remove("kid").unwrap();
    entry["KID"] = kid;
    let set = KeySet::from_jwks(&jwks(&[entry]), &admission).unwrap();
    assert!(set.len() == 1 && !set.knows("k1"));
}

/// Texts that stand where a value should.
const BAD_VALUES: &[&[u8]] = &[
    // Numbers.
    b"+1",
    b"++1234",
    b"+Inf",
    b"-",
    b"-01",
    b"-1.0.",
    b"-2.",
    b"-NaN",
    b"-Infinity",
    b"-foo",
    b"- 1",
    b"-012",
    b"-.123",
    b"-1x",
    b"--1",
    b".",
    b".-1",
    b".2e-3",
    b".1",
    b"0.1.2",
    b"0.3e",
    b"0.3e+",
    b"0.e1",
    b"0E",
    b"0E+",
    b"0e",
    b"0x1",
    b"0x42",
    b"1 000",
    b"1.",
    b"1.0e",
    b"1.0e+",
    b"1.0e-",
    b"1e",
    b"1e+",
    b"1eE2",
    b"1+2",
    b"1_000",
    b"1a",
    b"2.e+3",
    b"2.e-3",
    b"2.e3",
    b"9.e+",
    b"01",
    b"00",
    b"1.2a-3",
    b"1.8011670033376514H-308",
    b"Inf",
    b"Infinity",
    b"NaN",
    b"nan",
    b"1e1.5",
    b"123.456.789",
    b"0b1",
    b"1e\xe5",
    b"\xef\xbc\x91",
    b"1\xe5",
    // Words.
    b"True",
    b"TRUE",
    b"tru",
    b"truee",
    b"False",
    b"fals",
    b"Null",
    b"nul",
    b"nulll",
    b"undefined",
    b"None",
    b"truth",
    b"a\xc3\xa5",
    // Text.
    b"'x'",
    b"\"x",
    b"x\"",
    b"\"",
    b"\"\\\"",
    b"\"\\\\\\\"",
    b"\"\\x00\"",
    b"\"\\a\"",
    b"\"\\0\"",
    b"\"\\'\"",
    b"\"\\u\"",
    b"\"\\u0\"",
    b"\"\\u00A\"",
    b"\"\\u00G0\"",
    b"\"\\u+123\"",
    b"\"\\U0041\"",
    b"\"\\ \"",
    b"\"\\\xf0\x9f\x8c\x80\"",
    b"\"\\\xe5\"",
    b"\"\\uD800\\\"",
    b"\"\\uD800\\u\"",
    b"\"\\uD800\\u1\"",
    b"\"\\uD800\\u1x\"",
    b"\"\\uD834\\Dd\"",
    b"\"\\ud800\"",
    b"\"\\udc00\"",
    b"\"\\ud800x\"",
    b"\"\\ud800\\n\"",
    b"\"\\ud800\\ud800\"",
    b"\"\\udc00\\ud800\"",
    b"\"\\udbff\\ue000\"",
    b"\"a\x00a\"",
    b"\"new\nline\"",
    b"\"\t\"",
    b"\"\x1f\"",
    b"\"\xff\"",
    b"\"\xc3\x28\"",
    b"\"\xe0\xff\"",
    b"\"\xc0\xaf\"",
    b"\"\xed\xa0\x80\"",
    b"\"\xf4\xbf\xbf\xbf\"",
    b"\"\xfc\x83\xbf\xbf\xbf\xbf\"",
    b"\\u0020\"x\"",
    b"\\n",
    b"\xc3\xa9",
    b"\"x\"\"y\"",
    b"\"x\" y",
    // Lists.
    b"[",
    b"]",
    b"[1",
    b"[1,]",
    b"[1,,]",
    b"[1,,2]",
    b"[,1]",
    b"[,]",
    b"[,",
    b"[1 true]",
    b"[1 2]",
    b"[\"x\"]]",
    b"[x",
    b"[\"x\"",
    b"[\"\": 1]",
    b"[3[4]]",
    b"[1:2]",
    b"[*]",
    b"[}",
    b"[\"a\",\n4\n,1,",
    b"[\x0b\"a\"]",
    b"['x']",
    b"[nul]",
    b"[[]",
    b"[1]x",
    b"[1],[",
    b"[\"x\", truth]",
    // Objects.
    b"{",
    b"}",
    b"{]",
    b"{[",
    b"{\"a\"}",
    b"{\"a\":}",
    b"{\"a\"",
    b"{\"a\":1",
    b"{\"a\" b}",
    b"{\"a\" \"b\":1}",
    b"{:\"b\"}",
    b"{\"a\":1,}",
    b"{\"a\":1,,}",
    b"{\"a\":1,,\"b\":2}",
    b"{,\"a\":1}",
    b"{\"a\"::1}",
    b"{\"a\",1}",
    b"{\"a\":1 \"b\":2}",
    b"{'a':1}",
    b"{a:1}",
    b"{1:1}",
    b"{9999E9999:1}",
    b"{null:null,null:null}",
    b"{[\"x\"]:1}",
    b"{\"x\", null}",
    b"{\"a\":\"a\" 123}",
    b"{\"a\":1/*x*/}",
    b"{\"a\":1}/**/",
    b"{\"a\":1}#",
    b"{\"a\":1}//",
    b"{\xf0\x9f\x87\xa8}",
    b"{\"\xb9\":\"0\",}",
    b"{\"a\":1]",
    b"{ \"a\" : \"b\" } x",
    b"{\"a\":/**/1}",
    // Nothing, and things of other languages.
    b"",
    b" ",
    b",",
    b":",
    b"*",
    b"@",
    b"&x",
    b"<null>",
    b"$x",
    b"(1)",
    b"`x`",
    b"\x00",
    b"1\x00",
    b"\xc2\xa01",
    b"\x0c1",
    b"\xe2\x80\x891",
    b"1;",
    b"1 /* x */",
    b"1 // x\n",
];

/// Texts that stand where members should.
const BAD_MEMBERS: &[&[u8]] = &[
    b"",
    b",",
    b"\"x\"",
    b"\"x\":",
    b"\"x\":1,",
    b",\"x\":1",
    b"\"x\"=1",
    b"x:1",
    b"'x':1",
    b"\"x\":1;\"y\":2",
    b"\"x\":1 \"y\":2",
    b"1:1",
    b"null:1",
    b"\"x\" : : 1",
    b"\"x\":1}",
    b"\"x\":1,\"y\"",
    b"\"\\x\":1",
    b"\"\\ud800\":1",
    b"\"\xff\":1",
    b"\"x\":1/**/",
    b"//\n\"x\":1",
    b"\"\x01\":1",
    b"\"x\ny\":1",
    b"[\"x\",1]",
    b"{\"x\":1}",
];

/// What looks odd and is JSON.
const GOOD_VALUES: &[&str] = &[
    "0",
    "-0",
    "0e1",
    "0e+1",
    "1E22",
    "1e-2",
    "123.456e78",
    "20e1",
    "-1",
    "1.5",
    "1e400",
    "true",
    "false",
    "null",
    "\"\"",
    "[]",
    "[[]   ]",
    "[null, 1]",
    "{}",
    "{\"\":0}",
    "\"\\u0060\\u012a\\u12AB\"",
    "\"\\ud801\\udc37\"",
    "\"\\uDBFF\\uDFFF\"",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
    "\"\\u0000\"",
    "\"\\uFFFF\"",
    "\"\u{7f}\u{2028}\u{1f600}\"",
    "\"a/*b*/c//\"",
    "\"\\\\u0000\"",
    " \t\r\n1 \t\r\n",
];
