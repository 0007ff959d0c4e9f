//! A form body: what is accepted has one reading, which a lenient reader shares.

use hallpass::http::form::Form;
use url::form_urlencoded;

pub(crate) fn holds(input: &[u8]) {
    let form = match Form::parse(input) {
        Ok(form) => form,
        Err(error) => {
            assert!(!is_plain_form(input), "{error}");
            return says_nothing_of_it(&error.to_string());
        }
    };
    assert!(input.iter().all(|byte| matches!(byte, b'!'..=b'~')));
    let lenient: Vec<(String, String)> = form_urlencoded::parse(input).into_owned().collect();
    assert!(lenient.len() <= 64);
    // The lenient reader replaces what is no UTF-8, which must not have been there.
    let pieces = input.split(|byte| b"&=".contains(byte));
    for piece in pieces {
        let decoded = percent_decode(piece);
        assert!(
            decoded.is_some_and(|bytes| String::from_utf8(bytes).is_ok()),
            "{piece:?}"
        );
    }
    let unknown = lenient
        .iter()
        .filter(|(name, _)| !KNOWN.contains(&name.as_str()));
    assert_eq!(form.unknown(), unknown.count());
    for name in KNOWN {
        let values = lenient.iter().filter(|(known, _)| known == name);
        let values: Vec<&str> = values.map(|(_, value)| value.as_str()).collect();
        check(&form, name, &values);
    }
}

fn check(form: &Form, name: &'static str, values: &[&str]) {
    match form.all(name) {
        Ok(found) => {
            let sent = values.iter().copied().filter(|value| !value.is_empty());
            assert_eq!(found, sent.collect::<Vec<_>>(), "{name}");
            assert!(
                values.iter().all(|value| is_printable(value)),
                "{name}: {values:?}"
            );
        }
        Err(error) => {
            assert!(
                values.iter().any(|value| !is_printable(value)),
                "{name}: {values:?}"
            );
            says_nothing_of_it(&error.to_string());
        }
    }
    match form.one(name) {
        Ok(None) => assert!(matches!(values, [] | [""]), "{name}: {values:?}"),
        Ok(Some(value)) => {
            assert_eq!(values, [value], "{name}");
            survives(name, value);
        }
        Err(error) => {
            assert!(values.len() > 1 || !is_printable(values[0]), "{error}");
            says_nothing_of_it(&error.to_string());
        }
    }
}

/// Written again by another writer, it is read as the same.
fn survives(name: &'static str, value: &str) {
    let mut writer = form_urlencoded::Serializer::new(String::new());
    let written = writer.append_pair(name, value).finish();
    let again = Form::parse(written.as_bytes()).expect("what a writer wrote");
    assert_eq!(again.one(name).ok().flatten(), Some(value));
}

/// Complete escapes only.
fn percent_decode(mut text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while let [first, rest @ ..] = text {
        text = rest;
        bytes.push(*first);
        if *first == b'%' {
            let [high, low, rest @ ..] = text else {
                return None;
            };
            let digit = |byte: &u8| char::from(*byte).to_digit(16);
            let value = digit(high)? * 16 + digit(low)?;
            text = rest;
            bytes.pop();
            bytes.push(u8::try_from(value).ok()?);
        }
    }
    Some(bytes)
}

/// A form nobody could refuse: letters, and few parameters.
fn is_plain_form(input: &[u8]) -> bool {
    input.len() < 64
        && input
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"&=+".contains(byte))
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Errors are fixed sentences: no text of a stranger gets into an answer.
fn says_nothing_of_it(error: &str) {
    let fixed = [
        "the body is not a form in UTF-8 with complete percent-escapes",
        "the body has too many parameters",
    ];
    let of_parameter = KNOWN.iter().any(|name| {
        error == format!("parameter `{name}` was sent more than once")
            || error == format!("parameter `{name}` has characters that are not printable ASCII")
    });
    assert!(fixed.contains(&error) || of_parameter, "{error}");
}

const KNOWN: &[&str] = &[
    "grant_type",
    "subject_token",
    "subject_token_type",
    "requested_token_type",
    "actor_token",
    "actor_token_type",
    "audience",
    "resource",
    "scope",
    "ttl",
    "token",
    "token_type_hint",
    "client_id",
];
