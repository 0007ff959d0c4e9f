//! Escapes outside text, so that it is harmless in a log or a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;

/// `text` as one line of printable ASCII, of at most [`LONGEST`] bytes and a mark when it was cut.
///
/// Printable ASCII stays as it is; everything else becomes `\u{…}`. So no text can control a
/// terminal (ESC, CR, U+202E) or begin a second log line (LF, U+2028): T-91.
#[must_use]
pub fn escape(text: &str) -> String {
    escaped(text).into_owned()
}

/// [`escape`] without a copy of the text that needs none.
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    if text.len() <= LONGEST && is_printable(text) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(escape_up_to(text, LONGEST))
    }
}

/// [`escape`] with another limit, for texts that have one of their own.
#[must_use]
pub fn escape_up_to(text: &str, longest: usize) -> String {
    if text.len() <= longest && is_printable(text) {
        return text.to_owned();
    }
    let mut escaped = String::with_capacity(text.len().min(longest));
    for character in text.chars() {
        let before = escaped.len();
        push_escaped(&mut escaped, character);
        if escaped.len() > longest {
            escaped.truncate(before);
            escaped.push_str(CUT_MARK);
            break;
        }
    }
    escaped
}

/// Escapes a JSON text to printable ASCII and line ends. The document stays the same.
///
/// JSON allows U+2028, U+202E, DEL and the C1 controls, which control a terminal. The second of two
/// `#` is escaped too, because some CI runners interpret `##[` anywhere in a line as a command.
#[must_use]
pub fn ascii_json(json: &str) -> Cow<'_, str> {
    let is_plain = |byte| matches!(byte, b' '..=b'~' | b'\n');
    if all_bytes(json.as_bytes(), is_plain) && !json.contains("##") {
        return Cow::Borrowed(json);
    }
    let mut text = String::with_capacity(json.len());
    let mut before = ' ';
    for character in json.chars() {
        let doubled = character == '#' && before == '#';
        if matches!(character, ' '..='~' | '\n') && !doubled {
            text.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                if write!(text, "\\u{unit:04x}").is_err() {
                    // Writing to a String cannot fail.
                }
            }
        }
        before = if doubled { ' ' } else { character };
    }
    Cow::Owned(text)
}

fn push_escaped(escaped: &mut String, character: char) {
    if matches!(character, ' '..='~') {
        escaped.push(character);
    } else if write!(escaped, "\\u{{{:x}}}", u32::from(character)).is_err() {
        // Writing to a String cannot fail.
    }
}

/// Bytes of escaped text that are shown before the mark.
pub const LONGEST: usize = 256;

/// Marks truncated text.
pub const CUT_MARK: &str = "[cut]";

/// Only bytes from space to `~`.
#[must_use]
pub fn is_printable(text: &str) -> bool {
    all_bytes(text.as_bytes(), |byte| matches!(byte, b' '..=b'~'))
}

/// Whether every byte is fit. It looks at all of them, so that the compiler compares many at a time.
#[inline]
pub(crate) fn all_bytes(bytes: &[u8], is_fit: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(true, |all, byte| all & is_fit(*byte))
}

/// The SHA-256 of a text, as `sha256:…`.
pub(crate) fn sha256(text: &str) -> String {
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    format!("sha256:{}", HEXLOWER.encode(hash.as_ref()))
}

/// A number with its noun: `1 lease`, `2 leases`, `2 fixes`.
#[must_use]
pub fn count(number: impl TryInto<u64>, noun: &str) -> String {
    match number.try_into().unwrap_or(u64::MAX) {
        1 => format!("1 {noun}"),
        number if noun.ends_with('x') => format!("{number} {noun}es"),
        number => format!("{number} {noun}s"),
    }
}

/// A path in a URL: everything but unreserved characters and `/` as percent escapes (RFC 3986
/// section 2.1).
pub(crate) fn url_path(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push_str(&data_encoding::HEXUPPER.encode(&[byte]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// T-91
    #[test]
    fn what_a_terminal_would_obey_is_spelled_out() {
        assert_eq!(escape("\u{1b}[31mred"), "\\u{1b}[31mred");
        assert_eq!(escape("a\r\nb"), "a\\u{d}\\u{a}b");
        assert_eq!(escape("\u{2028}\u{202e}"), "\\u{2028}\\u{202e}");
        assert_eq!(
            escape("plain `text`, \"quoted\""),
            "plain `text`, \"quoted\""
        );
    }

    /// T-91
    #[test]
    fn long_text_is_cut_with_a_mark_and_never_inside_an_escape() {
        assert_eq!(escape(&"a".repeat(256)), "a".repeat(256));
        assert_eq!(
            escape(&"a".repeat(257)),
            format!("{}{CUT_MARK}", "a".repeat(256))
        );
        assert_eq!(escape_up_to("aaa\u{1b}b", 5), format!("aaa{CUT_MARK}"));
    }

    /// T-91
    #[test]
    fn json_is_spelled_out_without_becoming_another_document() {
        let json =
            "{\"a\":\"\u{202e}\u{2028}\u{7f}\u{9b}\u{1f600} \u{e9}\",\n\"b\":\"x ###[set-env]\"}";
        insta::assert_snapshot!(ascii_json(json), @r##"
        {"a":"\u202e\u2028\u007f\u009b\ud83d\ude00 \u00e9",
        "b":"x #\u0023#[set-env]"}
        "##);
    }

    proptest! {
        /// T-91
        #[test]
        fn any_document_stays_the_same_in_printable_ascii(text in any::<String>(), name in any::<String>()) {
            let document = serde_json::json!({ name: [text] });
            let json = document.to_string();
            let ascii = ascii_json(&json);
            prop_assert!(ascii.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            prop_assert!(!ascii.contains("##"));
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&ascii).unwrap(), document);
        }

        /// T-91
        #[test]
        fn any_text_becomes_one_bounded_line_of_printable_ascii(text in any::<String>()) {
            let escaped = escape(&text);
            prop_assert!(escaped.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            prop_assert!(escaped.len() <= LONGEST + CUT_MARK.len());
        }
    }
}
