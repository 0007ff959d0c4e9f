//! Prose for a terminal, broken between words. A terminal breaks long lines where they reach its edge,
//! in the middle of a word.

use std::io;
use std::os::fd::AsFd;

use terminal_size::{Width, terminal_size_of};

use super::Terminal;
use super::table::table;

impl Terminal {
    /// A line of prose. What is to be copied, and what stands in columns, is a [`line`](Self::line).
    pub fn prose(&mut self, text: &str) {
        self.prose_under(text, indent_of(text).saturating_add(2));
    }

    /// A line of prose whose further lines begin after `hang` columns.
    pub(super) fn prose_under(&mut self, text: &str, hang: usize) {
        match columns(io::stdout()) {
            Some(width) => self.line(&wrap(text, width, hang)),
            None => self.line(text),
        }
    }

    /// A table, as wide as the terminal at most.
    pub(super) fn table(&mut self, rows: &[Vec<String>]) {
        self.line(&table(rows, columns(io::stdout())));
    }

    /// Prose with blocks in it, such as findings.
    pub(super) fn report(&mut self, text: &str) {
        match columns(io::stdout()) {
            Some(width) => self.line(&wrap_prose(text, width)),
            None => self.line(text),
        }
    }

    /// The same about the answer.
    pub(super) fn error_report(&mut self, text: &str) {
        match columns(io::stderr()) {
            Some(width) => self.error(&wrap_prose(text, width)),
            None => self.error(text),
        }
    }
}

/// The sentences of a text. Other lines are tables, snippets with their marks, and blocks to copy: they
/// stay as they are.
fn wrap_prose(text: &str, width: usize) -> String {
    let lines = text.split('\n').map(|line| {
        let indent = indent_of(line);
        let is_help = line.trim_start_matches(' ').starts_with("= ");
        if is_help || indent == 0 && !line.contains(" | ") {
            wrap(line, width, indent.saturating_add(2))
        } else {
            line.to_owned()
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The width of the stream, if it is a terminal.
pub(super) fn columns(stream: impl AsFd) -> Option<usize> {
    terminal_size_of(stream).map(|(Width(columns), _)| usize::from(columns))
}

fn indent_of(text: &str) -> usize {
    text.bytes().take_while(|byte| *byte == b' ').count()
}

/// One line in as many as it needs, the further ones under `hang` spaces.
pub(super) fn wrap(line: &str, width: usize, hang: usize) -> String {
    let mut out = String::new();
    let mut column = 0_usize;
    for piece in pieces(line) {
        let word = piece.trim_start_matches(' ');
        if column > hang && column.saturating_add(columns_of(&piece)) > width {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', hang));
            out.push_str(word);
            column = hang.saturating_add(columns_of(word));
        } else {
            out.push_str(&piece);
            column = column.saturating_add(columns_of(&piece));
        }
    }
    out
}

/// A line in words, each with the spaces before it. What stands in backticks is one word: it may be a
/// command to copy.
fn pieces(line: &str) -> Vec<String> {
    let mut ticks_left = line.matches('`').count();
    let (mut pieces, mut piece, mut is_quoted) = (Vec::new(), String::new(), false);
    for letter in line.chars() {
        if letter == '`' {
            ticks_left = ticks_left.saturating_sub(1);
            is_quoted = !is_quoted && ticks_left > 0;
        }
        let begins_next = letter == ' ' && !is_quoted && !piece.trim_end().is_empty();
        if begins_next && !piece.ends_with(' ') {
            pieces.push(std::mem::take(&mut piece));
        }
        piece.push(letter);
    }
    pieces.push(piece);
    pieces
}

/// The columns a text takes, without the colours in it.
fn columns_of(text: &str) -> usize {
    let mut is_colour = false;
    let shown = text.chars().filter(|letter| {
        is_colour |= *letter == '\u{1b}';
        let is_shown = !is_colour;
        is_colour &= *letter != 'm';
        is_shown
    });
    shown.count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_break_between_words_and_never_inside_what_is_to_be_copied() {
        assert_eq!(
            wrap("  * the user did not exist a second ago", 24, 4),
            "  * the user did not\n    exist a second ago"
        );
        assert_eq!(
            wrap("see what `hallpass target check db` finds", 20, 2),
            "see what\n  `hallpass target check db`\n  finds"
        );
        assert_eq!(wrap("a `b c", 4, 0), "a `b\nc");
        assert_eq!(
            wrap("\u{1b}[32mok  \u{1b}[0m  broker  answers well", 24, 8),
            "\u{1b}[32mok  \u{1b}[0m  broker  answers\n        well"
        );
        assert_eq!(wrap("fits", 80, 2), "fits");
        assert_eq!(wrap("", 80, 2), "");
    }

    #[test]
    fn tables_snippets_and_blocks_to_copy_stay_as_they_are() {
        let text = "error[x]: one two three
 --> a/long/name/of/a/file.yaml:1:1
  |
1 | a long line of a file
  | ^^^^^^
  = help: one two three

  ref: refs/heads/main and more";
        let wrapped = "error[x]: one two
  three
 --> a/long/name/of/a/file.yaml:1:1
  |
1 | a long line of a file
  | ^^^^^^
  = help: one two
    three

  ref: refs/heads/main and more";
        assert_eq!(wrap_prose(text, 18), wrapped);
    }

    proptest! {
        #[test]
        fn no_word_is_lost_or_broken(line in "[a-z` ]{0,80}", width in 1_usize..40, hang in 0_usize..8) {
            let wrapped = wrap(&line, width, hang);
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            prop_assert_eq!(words(&wrapped), words(&line));
            for line in wrapped.lines().filter(|line| columns_of(line) > width) {
                // Only what cannot be broken is wider.
                let body = line.trim_start_matches(' ');
                prop_assert!(pieces(body.trim_end()).len() == 1 || hang > 0, "{line:?}");
            }
        }
    }
}
