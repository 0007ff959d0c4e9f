//! The shape of a subject token: parts, base64url, JSON.

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL_NOPAD};
use hallpass::clock::{Clock as _, SystemClock};
use hallpass::token::{Admission, Algorithm, KeySet, SubjectToken, verify_jws};
use proptest::prelude::*;
use serde_json::json;

use crate::support::tokens::{Broker, TestKey, claims, jwks};

/// T-13, T-15
#[test]
fn anything_but_three_parts_is_refused_by_its_shape() {
    let (broker, key) = Broker::new();
    let token = key.token(&claims());
    let [header, payload, signature] = parts(&token);
    for text in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        header.to_owned(),
        format!("{header}.{payload}"),
        format!("{header}..{signature}"),
        format!(".{payload}.{signature}"),
        format!("{header}.{payload}."),
        format!("{token}."),
        format!(".{token}"),
        format!("{token}.{signature}"),
        format!("{token}.{payload}.{signature}"),
        format!(r#"{{"payload":"{payload}","protected":"{header}","signature":"{signature}"}}"#),
        format!(
            r#"{{"payload":"{payload}","signatures":[{{"protected":"{header}","signature":"{signature}"}}]}}"#
        ),
        format!(r#"{{"a":"{token}"}}"#),
        format!("[{token}]"),
        format!("\"{token}\""),
        format!("{token}\0"),
        format!("{token}é"),
        "é".repeat(10),
        ".".repeat(16_000),
    ] {
        assert_eq!(broker.reason(&text), "token.shape", "{text}");
    }
}

/// T-15: each kind of encrypted token, with what makes a decrypter work hard or inflate.
#[test]
fn encrypted_tokens_are_refused_unread_by_their_shape() {
    let (broker, _) = Broker::new();
    let clock = SystemClock::new();
    let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    let bomb = "A".repeat(9_000);
    for header in [
        json!({ "alg": "RSA-OAEP-256", "enc": "A256GCM" }),
        json!({ "alg": "RSA1_5", "enc": "A128CBC-HS256" }),
        json!({ "alg": "dir", "enc": "A256GCM", "zip": "DEF" }),
        json!({ "alg": "PBES2-HS512+A256KW", "enc": "A256GCM", "p2s": "AAAA", "p2c": 2_147_483_647 }),
        json!({ "alg": "ECDH-ES", "enc": "A256GCM", "epk": { "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA" } }),
        json!({ "alg": "A128KW", "enc": "A128GCM", "cty": "JWT" }),
        json!({ "alg": "RS256", "kid": "k1" }),
    ] {
        let header = part(&header.to_string());
        let begun = clock.monotonic();
        for text in [
            format!("{header}.AAAA.AAAA.{bomb}.AAAA"),
            format!("{header}..AAAA.{bomb}.AAAA"),
            format!("{header}....AAAA"),
            format!("{header}.AAAA.AAAA.AAAA"),
            format!(
                r#"{{"protected":"{header}","encrypted_key":"AAAA","iv":"AAAA","ciphertext":"{bomb}","tag":"AAAA"}}"#
            ),
            format!(
                r#"{{"protected":"{header}","recipients":[{{"encrypted_key":"AAAA"}}],"ciphertext":"{bomb}"}}"#
            ),
        ] {
            assert_eq!(broker.reason(&text), "token.shape", "{header}");
        }
        // Two million rounds of PBKDF2 take a second.
        assert!(
            clock.monotonic().saturating_sub(begun).as_millis() < 500,
            "{header}"
        );
    }
}

/// T-15: what a caller sends is decrypted and inflated nowhere.
#[test]
fn no_code_knows_how_to_decrypt_or_inflate_a_token() {
    let mut folders = vec![std::path::PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src"
    ))];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            // Sealing our own answers is for one module, and it does not open any.
            let may_seal = path.ends_with("credential/sealed/encrypt.rs");
            for word in [
                "josekit",
                "jsonwebkey",
                "flate2",
                "libdeflate",
                "decrypt",
                "PBES2",
            ] {
                assert!(
                    !text.contains(word) || (may_seal && word == "josekit"),
                    "{} names {word}",
                    path.display()
                );
            }
            files += 1;
        }
    }
    assert!(files > 100);
}

/// T-14
#[test]
fn a_second_spelling_is_refused_by_its_encoding() {
    let (broker, key) = Broker::new();
    let token = key.token(&claims());
    let [header, payload, signature] = parts(&token);
    let standard = BASE64_NOPAD.encode(&BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap());
    let padded = BASE64.encode(&BASE64URL_NOPAD.decode(header.as_bytes()).unwrap());
    let mut spellings = vec![
        format!("{token}="),
        format!("{token}=="),
        format!("{header}=.{payload}.{signature}"),
        format!("{padded}=.{payload}.{signature}"),
        format!(" {token}"),
        format!("{token} "),
        format!("{token}\n"),
        format!("{token}\r\n"),
        format!("\t{token}"),
        format!("Bearer {token}"),
        format!("bearer {token}"),
        format!(
            "{header}.{payload}.{}",
            spliced(signature, signature.len() - 1, 1, "")
        ),
        format!("{header}.{payload}.A"),
    ];
    if standard != signature {
        spellings.push(format!("{header}.{payload}.{standard}"));
    }
    for text in spellings {
        assert_eq!(broker.reason(&text), "token.encoding", "{text}");
    }
    // The last character of 256 bytes carries four bits that stand for nothing.
    let last = signature.chars().last().unwrap();
    let next = ALPHABET
        .chars()
        .nth(ALPHABET.find(last).unwrap() + 1)
        .unwrap();
    let dangling = format!(
        "{header}.{payload}.{}{next}",
        spliced(signature, signature.len() - 1, 1, "")
    );
    assert_eq!(broker.reason(&dangling), "token.encoding");
}

/// T-14: every character of the alphabet and those of other spellings, at every position, changed,
/// inserted and left out.
#[test]
fn every_token_with_one_character_changed_inserted_or_left_out_is_refused() {
    let keys = [
        (TestKey::rsa("k1"), Algorithm::RS256),
        (TestKey::p256("k1"), Algorithm::ES256),
        (TestKey::ed25519("k1"), Algorithm::EdDSA),
    ];
    for (key, algorithm) in keys {
        let set = KeySet::from_jwks(&jwks(&[key.jwk()]), &Admission::default()).unwrap();
        let header = json!({ "alg": algorithm.name(), "kid": "k1" }).to_string();
        let token = key.sign(algorithm, &header, r#"{"iss":"https://ci.example"}"#);
        let refused = |text: &str| verify_jws(text, &set, &Algorithm::ALL).is_err();
        assert!(!refused(&token));
        for position in 0..=token.len() {
            for replacement in ALPHABET.chars().chain("=+/. \n\0".chars()) {
                let replacement = replacement.to_string();
                let inserted = spliced(&token, position, 0, &replacement);
                assert!(refused(&inserted), "{algorithm} {position} {replacement:?}");
                if position < token.len() {
                    let changed = spliced(&token, position, 1, &replacement);
                    assert!(
                        changed == token || refused(&changed),
                        "{algorithm} {position} {replacement:?}"
                    );
                }
            }
            if position < token.len() {
                let removed = spliced(&token, position, 1, "");
                assert!(refused(&removed), "{algorithm} {position}");
            }
        }
    }
}

/// T-14: the parts that a change could leave as they were are compared as text.
#[test]
fn bits_that_stand_for_nothing_are_refused_in_every_part() {
    let (broker, key) = Broker::new();
    for length in [1, 2] {
        // A payload of such a length ends in characters with unused bits.
        let mut claims = claims();
        let payload = (0..3)
            .map(|pad| {
                claims["pad"] = "x".repeat(pad).into();
                claims.to_string()
            })
            .find(|text| text.len() % 3 == length)
            .unwrap();
        let header = format!("{{\"alg\":\"RS256\",\"kid\":\"k1\"{}}}", " ".repeat(length));
        let token = key.sign(Algorithm::RS256, &header, &payload);
        assert_eq!(broker.reason(&token), "ok");
        for (index, part) in parts(&token).into_iter().enumerate() {
            let whole = part.len() % 4;
            if whole == 0 {
                continue;
            }
            let last = ALPHABET.find(part.chars().last().unwrap()).unwrap();
            let next = ALPHABET.chars().nth(last + 1).unwrap().to_string();
            let mut changed = parts(&token).map(str::to_owned);
            changed[index] = spliced(part, part.len() - 1, 1, &next);
            assert_eq!(
                broker.reason(&changed.join(".")),
                "token.encoding",
                "part {index}"
            );
        }
    }
}

/// T-01
#[test]
fn a_token_is_at_most_16_kib() {
    let (broker, key) = Broker::new();
    assert_eq!(broker.reason(&"a".repeat(16 * 1_024)), "token.shape");
    assert_eq!(broker.reason(&"a".repeat(16 * 1_024 + 1)), "request.size");
    let mut long = claims();
    long["pad"] = "x".repeat(11_000).into();
    assert_eq!(broker.reason(&key.token(&long)), "ok");
    long["pad"] = "x".repeat(16_000).into();
    assert_eq!(broker.reason(&key.token(&long)), "request.size");
}

/// T-16, T-17, T-18
#[test]
fn header_and_payload_are_strict_json_objects() {
    let (broker, key) = Broker::new();
    let good = claims().to_string();
    let header = key.header().to_string();
    let inside = |extra: &str| format!("{},{extra}}}", good.strip_suffix('}').unwrap());
    for payload in [
        "[]".to_owned(),
        "null".to_owned(),
        "\"x\"".to_owned(),
        format!("[{good}]"),
        format!("\u{feff}{good}"),
        format!("{good}x"),
        format!("{good}{good}"),
        format!("{good}/* */"),
        inside(r#""a":NaN"#),
        inside(r#""a":"\ud800""#),
        inside(r#""aud":"x""#),
        inside(r#""\u0061ud":"x""#),
        inside(r#""x":{"y":[{"z":1,"z":1}]}"#),
        inside(&format!(r#""x":{}{}"#, "[".repeat(16), "]".repeat(16))),
        inside(&format!(r#""x":[{}]"#, vec!["1"; 4_096].join(","))),
        inside(&format!(r#""x":{}"#, "1".repeat(65))),
    ] {
        let token = key.sign(Algorithm::RS256, &header, &payload);
        assert_eq!(broker.reason(&token), "token.json", "{payload}");
    }
    assert_eq!(
        broker.reason(&key.sign(Algorithm::RS256, &header, &inside(r#""x":[1]"#))),
        "ok"
    );
    for odd in [
        r#"["RS256","k1"]"#.to_owned(),
        "null".to_owned(),
        format!("{header} {header}"),
        format!("\u{feff}{header}"),
        r#"{"alg":"RS256","alg":"RS256","kid":"k1"}"#.to_owned(),
        r#"{"alg":"RS256","\u0061lg":"none","kid":"k1"}"#.to_owned(),
        r#"{"alg":"RS256","kid":"k1","x":{"y":1,"y":1}}"#.to_owned(),
        format!(
            r#"{{"alg":"RS256","kid":"k1","x":"{}"}}"#,
            "y".repeat(4_096)
        ),
    ] {
        let token = key.sign(Algorithm::RS256, &odd, &good);
        assert_eq!(broker.reason(&token), "token.json", "{odd}");
    }
    let spaced = r#" { "kid" : "k1" ,	"alg":"RS256" } "#;
    assert_eq!(
        broker.reason(&key.sign(Algorithm::RS256, spaced, &good)),
        "ok"
    );
}

/// T-28, T-91
#[test]
fn what_a_log_line_says_of_a_refused_token_is_short_plain_ascii() {
    let (broker, key) = Broker::new();
    let header = json!({ "alg": "RS256", "kid": format!("a\n\u{1b}\u{2028}{}", "x".repeat(200)) });
    let token = key.token_with_header(&header, &claims());
    let labels = broker.verifier.unverified_labels(&SubjectToken::new(token));
    let kid = labels.kid.unwrap();
    assert_eq!(labels.issuer.as_deref(), Some("ci"));
    assert!(kid.starts_with("a\\u{a}\\u{1b}\\u{2028}xxx"), "{kid}");
    assert!(
        kid.len() <= 64 + 5 && kid.bytes().all(|byte| matches!(byte, b' '..=b'~')),
        "{kid}"
    );
    assert_eq!(labels.subject_token_id.len(), 16);
    let nonsense = broker
        .verifier
        .unverified_labels(&SubjectToken::new("x".to_owned()));
    assert_eq!((nonsense.issuer, nonsense.kid), (None, None));
}

/// Before the signature holds nothing of the token is repeated, whatever the step.
#[test]
fn refusals_before_the_signature_name_the_step_only() {
    let (broker, key) = Broker::new();
    let other = TestKey::other_rsa("k1");
    let mut elsewhere = claims();
    elsewhere["iss"] = "https://canary.example".into();
    let mut expired = claims();
    expired["exp"] = 5.into();
    let mut odd = claims();
    odd["exp"] = "canary".into();
    let texts: Vec<String> = [
        "canary".to_owned(),
        "canary.canary.canary=".to_owned(),
        key.sign(Algorithm::RS256, "{\"canary\":1,\"canary\":2}", "{}"),
        key.token_with_header(&json!({ "alg": "canary" }), &claims()),
        key.token_with_header(&json!({ "alg": "RS256", "jku": "canary" }), &claims()),
        key.token_with_header(&json!({ "alg": "RS256", "kid": 1 }), &claims()),
        key.token_with_header(&json!({ "alg": "RS256", "kid": "canary" }), &claims()),
        key.token_with_header(
            &json!({ "alg": "RS256", "kid": "k1", "typ": "canary" }),
            &claims(),
        ),
        key.token(&elsewhere),
        key.token(&expired),
        key.token(&odd),
        other.token(&claims()),
    ]
    .iter()
    .map(|token| broker.verify(token).unwrap_err().to_string())
    .collect();
    insta::assert_snapshot!(texts.join("\n"), @r"
    the subject token is not a signed token in three parts (a compact JWS)
    the subject token is not canonical base64url; send it exactly as the CI issued it
    the subject token's header is not one strict JSON object: duplicate member in the object that ends at byte 23
    the subject token's algorithm is not one its issuer and its key may use
    the subject token's header has `jku`, which no CI token needs
    the subject token does not name its key by a `kid` of 1 to 256 bytes
    the subject token's key is not in its issuer's key set
    the subject token is not of its issuer's ID token type
    the subject token's issuer is not trusted by this broker
    the subject token has expired; ask the CI for a new one
    claim `exp` of the subject token is not a number of seconds from 0 to 2^53
    the subject token's signature is invalid
    ");
}

/// Of base64url, in the order of its values.
const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The text with some of its bytes, from a position on, replaced.
fn spliced(text: &str, position: usize, count: usize, replacement: &str) -> String {
    let mut text = text.to_owned();
    text.replace_range(position..position + count, replacement);
    text
}

fn parts(token: &str) -> [&str; 3] {
    let parts: Vec<&str> = token.split('.').collect();
    parts.try_into().unwrap()
}

proptest! {
    /// T-39, T-94
    #[test]
    fn no_text_makes_the_verifier_panic(text in r"(\.|[A-Za-z0-9_=-]{0,12}|\PC){0,12}") {
        let keys = KeySet::default();
        prop_assert!(verify_jws(&text, &keys, &Algorithm::ALL).is_err());
    }

    /// T-39, T-94
    #[test]
    fn no_bytes_in_the_parts_make_the_verifier_panic(
        header in prop::collection::vec(any::<u8>(), 1..60),
        payload in prop::collection::vec(any::<u8>(), 1..60),
        signature in prop::collection::vec(any::<u8>(), 1..300),
    ) {
        let part = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let token = format!("{}.{}.{}", part(&header), part(&payload), part(&signature));
        let (broker, _) = Broker::new();
        prop_assert_ne!(broker.reason(&token), "ok");
    }

    /// T-36, T-39
    #[test]
    fn no_signature_of_any_length_holds_or_panics(
        signature in prop::collection::vec(any::<u8>(), 1..300),
        algorithm in prop::sample::select(&Algorithm::ALL[..]),
    ) {
        let keys = [TestKey::rsa("rsa"), TestKey::p256("p256"), TestKey::p384("p384"), TestKey::ed25519("ed")];
        let set = KeySet::from_jwks(&jwks(&keys.map(|key| key.jwk())), &Admission::default()).unwrap();
        let header = json!({ "alg": algorithm.name() }).to_string();
        let part = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let token = format!("{}.e30.{}", part(header.as_bytes()), part(&signature));
        prop_assert_eq!(verify_jws(&token, &set, &Algorithm::ALL).unwrap_err().reason().code(), "token.signature");
    }
}
