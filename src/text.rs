//! One escaper for outside text: what a stranger wrote becomes harmless before a log or a terminal shows it.

use std::fmt::Write as _;

/// `text` as one line of printable ASCII, of at most [`LONGEST`] bytes and a mark when it was cut.
///
/// Printable ASCII stays as it is; everything else becomes `\u{…}`. A terminal then has nothing to
/// obey (ESC, CR, U+202E) and a log no second line to begin (LF, U+2028): T-91.
#[must_use]
pub fn escape(text: &str) -> String {
    escape_up_to(text, LONGEST)
}

/// [`escape`] with another limit, for texts that have one of their own.
#[must_use]
pub fn escape_up_to(text: &str, longest: usize) -> String {
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

fn push_escaped(escaped: &mut String, character: char) {
    if matches!(character, ' '..='~') {
        escaped.push(character);
    } else if write!(escaped, "\\u{{{:x}}}", u32::from(character)).is_err() {
        // Writing to a String cannot fail.
    }
}

/// Bytes of escaped text that are shown before the mark.
pub const LONGEST: usize = 256;

/// Stands where text was cut off.
pub const CUT_MARK: &str = "[cut]";

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

    proptest! {
        /// T-91
        #[test]
        fn any_text_becomes_one_bounded_line_of_printable_ascii(text in any::<String>()) {
            let escaped = escape(&text);
            prop_assert!(escaped.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            prop_assert!(escaped.len() <= LONGEST + CUT_MARK.len());
        }
    }
}
