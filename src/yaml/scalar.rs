//! The spelling of scalars: which text needs quotes, and how it is quoted.

use std::fmt::Write as _;

/// A list of texts in one line.
pub(crate) fn list<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    let texts: Vec<_> = texts.into_iter().map(scalar).collect();
    format!("[{}]", texts.join(", "))
}

/// What an unquoted scalar could be taken for by some reader of YAML 1.1 or 1.2; `None` if it can
/// only be text.
pub(crate) fn mistaken_for(text: &str) -> Option<&'static str> {
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "" | "~" | "null" => return Some("nothing (null)"),
        "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n" => return Some("true or false"),
        ".inf" | "+.inf" | "-.inf" | ".nan" => return Some("a number"),
        _ => {}
    }
    let unsigned = lower.strip_prefix(['+', '-']).unwrap_or(&lower);
    let digit = |byte: u8| byte.is_ascii_digit() || byte == b'_';
    if !unsigned.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let radix = ["0x", "0o", "0b"]
        .iter()
        .find_map(|prefix| unsigned.strip_prefix(prefix));
    if radix.is_some_and(|rest| {
        rest.bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'_')
    }) {
        return Some("a number");
    }
    if is_date(&lower) {
        return Some("a date");
    }
    let mantissa = unsigned
        .split_once('e')
        .map_or(unsigned, |(mantissa, exponent)| {
            let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if exponent.is_empty() || !exponent.bytes().all(digit) {
                ""
            } else {
                mantissa
            }
        });
    let number = !mantissa.is_empty()
        && mantissa
            .bytes()
            .all(|byte| digit(byte) || byte == b'.' || byte == b':');
    // `1.2.3.4` is no number, `10:30` is one in YAML 1.1.
    let dots = mantissa.bytes().filter(|byte| *byte == b'.').count();
    (number && dots <= 1).then_some("a number")
}

/// `2027-01-31` or anything that begins so.
fn is_date(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let digits = |part: Option<&str>, lengths: std::ops::RangeInclusive<usize>| {
        part.is_some_and(|part| {
            lengths.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    digits(parts.next(), 4..=4)
        && digits(parts.next(), 1..=2)
        && parts.next().is_some_and(|day| {
            let digits = day.bytes().take_while(u8::is_ascii_digit).count();
            let after = day.as_bytes().get(digits);
            (1..=2).contains(&digits) && matches!(after, None | Some(b't' | b' '))
        })
}

/// Text as one YAML scalar: bare where no reader could take it for anything else, else in double
/// quotes.
pub(crate) fn scalar(text: &str) -> String {
    let bare = text
        .starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '/'))
        && text.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'/' | b'-' | b'@')
        })
        && mistaken_for(text).is_none();
    if bare { text.to_owned() } else { quoted(text) }
}

/// Text in double quotes, with what YAML and terminals would act on escaped.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len().saturating_add(2));
    out.push('"');
    for character in text.chars() {
        let written = match character {
            '"' => out.write_str("\\\""),
            '\\' => out.write_str("\\\\"),
            ' '..='~' => out.write_char(character),
            other => write!(out, "\\U{:08X}", u32::from(other)),
        };
        if written.is_err() {
            // Writing to a String does not fail.
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_that_readers_of_yaml_disagree_about_are_known() {
        for text in [
            "702114500",
            "1e3",
            "0x1F",
            "true",
            "No",
            "on",
            "y",
            "null",
            "~",
            "",
            "1.5",
            ".inf",
            "2027-01-31",
            "2027-01-31T18:00:00Z",
            "1_000",
            "+1",
            "10:30",
            "12345e67",
            "0o17",
        ] {
            assert!(mistaken_for(text).is_some(), "{text}");
        }
        for text in [
            "acme",
            "v1",
            "refs/heads/main",
            "15m",
            "1.2.3.4",
            "5f0c1d",
            "2027-release",
            "-",
        ] {
            assert_eq!(mistaken_for(text), None, "{text}");
        }
    }
}
