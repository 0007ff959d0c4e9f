//! Characters that two readers of one text read differently: some take them for a line end, others
//! show nothing for them, or what follows in another order (T-134). Not: what the text means.
//!
//! The properties are those of the Unicode Character Database, as the `icu_properties` crate has
//! them; its version decides the Unicode version.

use icu_properties::CodePointSetData;
use icu_properties::props::{BidiControl, DefaultIgnorableCodePoint};

/// A character that may stand nowhere in a file, comments included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hidden {
    /// Its first byte in the text.
    pub(super) at: usize,
    pub(super) character: char,
}

/// Every such character: controls other than tab and line ends (LF, CRLF), the separators U+2028
/// and U+2029, bidirectional controls, and what is not shown by default.
pub(super) fn hidden(text: &str) -> impl Iterator<Item = Hidden> {
    let bidi = CodePointSetData::new::<BidiControl>();
    let ignorable = CodePointSetData::new::<DefaultIgnorableCodePoint>();
    let is_hidden = move |character: char| match character {
        '\t' | '\n' | ' '..='~' => false,
        '\u{2028}' | '\u{2029}' => true,
        other => other.is_control() || bidi.contains(other) || ignorable.contains(other),
    };
    let mut characters = text.char_indices().peekable();
    std::iter::from_fn(move || {
        while let Some((at, character)) = characters.next() {
            let ends_line =
                character == '\r' && characters.peek().is_some_and(|next| next.1 == '\n');
            if !ends_line && is_hidden(character) {
                return Some(Hidden { at, character });
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(text: &str) -> Vec<u32> {
        hidden(text)
            .map(|hidden| u32::from(hidden.character))
            .collect()
    }

    /// T-134
    #[test]
    fn only_tab_and_line_ends_may_control_and_nothing_may_hide() {
        assert_eq!(codes("a:\tb\nc: d\r\n# \u{e4}\u{4e2d}\u{1f600}\n"), [0; 0]);
        assert_eq!(codes("# a\r- b\n"), [0x0d]);
        assert_eq!(codes("# a\r\r\n"), [0x0d]);
        assert_eq!(codes("# a\r"), [0x0d]);
        for character in [
            '\0',
            '\u{1}',
            '\u{8}',
            '\u{b}',
            '\u{c}',
            '\u{1b}',
            '\u{7f}',
            '\u{80}',
            '\u{85}',
            '\u{9b}',
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{180e}',
            '\u{200b}',
            '\u{200d}',
            '\u{200e}',
            '\u{200f}',
            '\u{2028}',
            '\u{2029}',
            '\u{202a}',
            '\u{202e}',
            '\u{2060}',
            '\u{2066}',
            '\u{2069}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{ffa0}',
            '\u{e0001}',
            '\u{e0041}',
            '\u{e0100}',
        ] {
            let text = format!("ä{character}b");
            let found: Vec<_> = hidden(&text).collect();
            assert_eq!(found, [Hidden { at: 2, character }], "{character:?}");
        }
    }
}
