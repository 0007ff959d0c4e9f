//! Parts, base64url, and one changed character.

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL_NOPAD};
use hallpass::token::Algorithm;

use super::{case, encoded, good_claims, good_header, good_token, parts, signed};
use crate::case::Case;

pub(super) fn cases() -> Vec<Case> {
    [changed(), spelled(), divided()].concat()
}

/// Each character of a part replaced, where another one stands for other bytes.
fn changed() -> Vec<Case> {
    let mut cases = Vec::new();
    for (algorithm, step) in [
        (Algorithm::EdDSA, 1),
        (Algorithm::ES256, 5),
        (Algorithm::RS256, 23),
    ] {
        let token = good_token(algorithm);
        let ends: Vec<usize> = parts(&token)
            .iter()
            .scan(0, |end, part| {
                *end += part.len() + 1;
                Some(*end - 2)
            })
            .collect();
        for place in (0..token.len()).step_by(step) {
            // A part's last character is `spelled`'s.
            if token[place..].starts_with('.') || ends.contains(&place) {
                continue;
            }
            let part = ["header", "payload", "signature"]
                [token[..place].bytes().filter(|byte| *byte == b'.').count()];
            for other in ["A", "_", "7"] {
                let text = format!("{}{other}{}", &token[..place], &token[place + 1..]);
                if text != token {
                    cases.push(case(&format!("a character of the {part}"), false, text));
                }
            }
        }
    }
    cases
}

/// The same bytes, written in another way.
fn spelled() -> Vec<Case> {
    let mut cases = Vec::new();
    for algorithm in [Algorithm::EdDSA, Algorithm::ES256, Algorithm::RS256] {
        let token = standard_differs(algorithm);
        let [header, payload, signature] = parts(&token);
        let bytes = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
        let mut odd = |class: &str, text: String| cases.push(case(class, false, text));
        odd(
            "padding after the signature",
            format!("{header}.{payload}.{signature}{}", padding(signature)),
        );
        let padded = BASE64.encode(&BASE64URL_NOPAD.decode(header.as_bytes()).unwrap());
        if padded.ends_with('=') {
            odd(
                "padding after the header",
                format!("{padded}.{payload}.{signature}"),
            );
        }
        odd(
            "the standard alphabet",
            format!("{header}.{payload}.{}", BASE64_NOPAD.encode(&bytes)),
        );
        odd("unused bits are set", unused_bit_set(&token));
        odd("a space in front", format!(" {token}"));
        odd("a line's end after it", format!("{token}\n"));
        odd(
            "a line's end in the signature",
            format!(
                "{header}.{payload}.{}\n{}",
                &signature[..40],
                &signature[40..]
            ),
        );
        odd("Bearer in front", format!("Bearer {token}"));
        odd("a NUL after it", format!("{token}\0"));
        odd(
            "a signature cut by one character",
            format!("{header}.{payload}.{}", &signature[..signature.len() - 1]),
        );
        odd(
            "a signature cut by a byte",
            format!(
                "{header}.{payload}.{}",
                BASE64URL_NOPAD.encode(&bytes[..bytes.len() - 1])
            ),
        );
        odd(
            "a signature with a byte more",
            format!(
                "{header}.{payload}.{}",
                BASE64URL_NOPAD.encode(&[bytes.as_slice(), &[0]].concat())
            ),
        );
    }
    cases
}

/// More or fewer parts, and the serialisations that are not compact.
fn divided() -> Vec<Case> {
    let token = good_token(Algorithm::ES256);
    let [header, payload, signature] = parts(&token);
    let jwe = encoded(r#"{"alg":"dir","enc":"A128GCM"}"#);
    let direct = encoded(r#"{"alg":"RSA-OAEP","enc":"A256GCM","zip":"DEF"}"#);
    let slow = encoded(
        r#"{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":2147483647,"p2s":"AAAAAAAAAAA"}"#,
    );
    [
        ("nothing", String::new()),
        ("one part", header.to_owned()),
        ("two parts", format!("{header}.{payload}")),
        ("no signature", format!("{header}.{payload}.")),
        ("no payload", format!("{header}..{signature}")),
        ("no header", format!(".{payload}.{signature}")),
        ("a point after it", format!("{token}.")),
        ("four parts", format!("{token}.{signature}")),
        ("two tokens", format!("{token}.{token}")),
        ("encrypted", format!("{jwe}..AAAA.AAAA.AAAA")),
        ("encrypted", format!("{direct}.AAAA.AAAA.AAAA.AAAA")),
        ("encrypted", format!("{slow}.AAAA.AAAA.AAAA.AAAA")),
        ("encrypted in three parts", format!("{jwe}.{payload}.{signature}")),
        (
            "flattened JSON",
            format!(r#"{{"protected":"{header}","payload":"{payload}","signature":"{signature}"}}"#),
        ),
        (
            "general JSON",
            format!(
                r#"{{"payload":"{payload}","signatures":[{{"protected":"{header}","signature":"{signature}"}}]}}"#
            ),
        ),
    ]
    .into_iter()
    .map(|(class, text)| case(class, false, text))
    .collect()
}

/// A token whose signature looks different in the standard alphabet.
fn standard_differs(algorithm: Algorithm) -> String {
    (0..100)
        .map(|number| {
            let mut claims = good_claims();
            claims["jti"] = i32::to_string(&number).into();
            let header = good_header(algorithm).to_string();
            signed(algorithm, &header, &claims.to_string())
        })
        .find(|token| parts(token)[2].contains(['-', '_']))
        .unwrap()
}

fn padding(part: &str) -> &'static str {
    match part.len() % 4 {
        2 => "==",
        3 => "=",
        _ => "",
    }
}

/// The last character carries bits that stand for nothing.
fn unused_bit_set(token: &str) -> String {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (rest, last) = token.split_at(token.len() - 1);
    let next = ALPHABET.find(last).unwrap() + 1;
    format!("{rest}{}", &ALPHABET[next..=next])
}
