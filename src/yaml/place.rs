//! Source texts and positions in them.
//!
//! The lines of a text are found once, so that a million positions in it cost no more than a
//! million small look-ups. Not: how a position is printed.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// A text that policies were read from.
pub struct Source {
    name: String,
    shown: String,
    text: String,
    lines: OnceLock<Lines>,
    scanned: AtomicU64,
}

impl Source {
    /// `name` is the path within the folder; `shown` is what a reader can open.
    #[must_use]
    pub fn new(name: &str, shown: &str, text: String) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            shown: shown.to_owned(),
            text,
            lines: OnceLock::new(),
            scanned: AtomicU64::new(0),
        })
    }

    /// The path within the folder, e.g. `shop.yaml`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How many bytes were read so far to find lines and columns: what positions cost (T-132).
    #[must_use]
    pub fn scanned(&self) -> u64 {
        self.scanned.load(Ordering::Relaxed)
    }

    /// Line and column of a byte, both from 0; columns are characters.
    fn position(&self, at: usize) -> (usize, usize) {
        let lines = self.lines();
        let line = lines.number(at);
        let start = lines.start(line);
        let column = self
            .characters_before(at)
            .saturating_sub(self.characters_before(start));
        (line, column)
    }

    /// Where the line that holds a byte begins, and its text without the line end.
    fn line_at(&self, at: usize) -> Option<(usize, &str)> {
        let lines = self.lines();
        let number = lines.number(at);
        let start = lines.start(number);
        if start == self.text.len() {
            return None;
        }
        let next = number.saturating_add(1);
        let end = lines.starts.get(next).copied().unwrap_or(self.text.len());
        let line = self.text.get(start..end)?;
        let line = line.strip_suffix('\n').unwrap_or(line);
        Some((start, line.strip_suffix('\r').unwrap_or(line)))
    }

    fn lines(&self) -> &Lines {
        self.lines.get_or_init(|| {
            self.has_scanned(self.text.len());
            Lines::of(&self.text)
        })
    }

    fn characters_before(&self, at: usize) -> usize {
        let chunk = at.checked_div(CHUNK).unwrap_or_default();
        let start = chunk.saturating_mul(CHUNK);
        let rest = self.text.as_bytes().get(start..at).unwrap_or_default();
        self.has_scanned(rest.len());
        let before = self.lines().characters.get(chunk).copied();
        before.unwrap_or_default().saturating_add(characters(rest))
    }

    fn has_scanned(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.scanned.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// By its name: each place in it would repeat a text of megabytes.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(&self.shown).finish()
    }
}

/// What was looked up in a text is no part of it.
impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.shown, &self.text) == (&other.name, &other.shown, &other.text)
    }
}

impl Eq for Source {}

/// Where the lines of a text begin.
#[derive(Debug)]
struct Lines {
    /// The first byte of each line.
    starts: Vec<usize>,
    /// The number of characters before each chunk, so that a column in a line of a megabyte is
    /// found without counting its characters.
    characters: Vec<usize>,
}

impl Lines {
    fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = ends.map(|(at, _)| at.saturating_add(1));
        let mut before: usize = 0;
        let mut counts = vec![before];
        for chunk in text.as_bytes().chunks(CHUNK) {
            before = before.saturating_add(characters(chunk));
            counts.push(before);
        }
        Self {
            starts: std::iter::once(0).chain(starts).collect(),
            characters: counts,
        }
    }

    /// The line that holds a byte, from 0.
    fn number(&self, at: usize) -> usize {
        let begun = self.starts.partition_point(|start| *start <= at);
        begun.saturating_sub(1)
    }

    fn start(&self, line: usize) -> usize {
        self.starts.get(line).copied().unwrap_or_default()
    }
}

/// How many characters begin in these bytes of UTF-8.
fn characters(bytes: &[u8]) -> usize {
    let begins = |byte: &&u8| !matches!(byte, 0x80..=0xbf);
    bytes.iter().filter(begins).count()
}

/// Bytes from `start` up to, not including, `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// A span of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    source: Arc<Source>,
    span: Span,
    /// The row that filled in the entry, if it is made from a roster.
    row: Option<Arc<Row>>,
}

/// A row of a roster, from which an entry of a policy file is made.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    source: Arc<Source>,
    span: Span,
}

impl Row {
    #[must_use]
    pub const fn new(source: Arc<Source>, span: Span) -> Self {
        Self { source, span }
    }

    /// The position of the row itself.
    #[must_use]
    pub fn place(&self) -> Place {
        Place::new(Arc::clone(&self.source), self.span)
    }
}

impl Place {
    /// The span of that source.
    #[must_use]
    pub const fn new(source: Arc<Source>, span: Span) -> Self {
        Self {
            source,
            span,
            row: None,
        }
    }

    /// The same position, in an entry that is made from this row.
    #[must_use]
    pub(crate) fn in_row(mut self, row: Option<&Arc<Row>>) -> Self {
        self.row = row.cloned();
        self
    }

    /// The row that the entry is made from.
    #[must_use]
    pub fn row(&self) -> Option<&Row> {
        self.row.as_deref()
    }

    /// The file as a reader can open it.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.source.shown
    }

    /// The text that it is a position in.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The text, to make other positions in it.
    pub(crate) fn shared_source(&self) -> Arc<Source> {
        Arc::clone(&self.source)
    }

    /// The bytes it covers.
    #[must_use]
    pub const fn span(&self) -> Span {
        self.span
    }

    /// Line and column, both from 1; columns are characters.
    #[must_use]
    pub fn position(&self) -> (usize, usize) {
        let (line, column) = self.source.position(self.span.start);
        (line.saturating_add(1), column.saturating_add(1))
    }

    /// Line and column one past its last character, both from 1.
    #[must_use]
    pub fn end(&self) -> (usize, usize) {
        let end = self.span.end.max(self.span.start.saturating_add(1));
        let (line, column) = self.source.position(end.min(self.source.text.len()));
        (line.saturating_add(1), column.saturating_add(1))
    }

    /// The whole text of its first line; `None` when the span is not of the text.
    #[must_use]
    pub fn line(&self) -> Option<&str> {
        self.source.line_at(self.span.start).map(|(_, line)| line)
    }

    /// The part of its first line that is worth showing; `None` when the span is not of the text.
    pub(super) fn excerpt(&self) -> Option<Excerpt<'_>> {
        let (start, line) = self.source.line_at(self.span.start)?;
        let before = self.span.start.saturating_sub(start);
        let mut first = match before {
            0..=LONGEST_LEAD => 0,
            _ => before.saturating_sub(SHORTENED_LEAD).min(line.len()),
        };
        while !line.is_char_boundary(first) {
            first = first.saturating_add(1);
        }
        let mut last = first.saturating_add(LONGEST_EXCERPT).min(line.len());
        while !line.is_char_boundary(last) {
            last = last.saturating_sub(1);
        }
        let indent = line.get(first..before)?.chars().count();
        let length = self.span.end.saturating_sub(self.span.start);
        let covered = line
            .get(before..last)?
            .char_indices()
            .take_while(|(at, _)| *at < length);
        Some(Excerpt {
            text: line.get(first..last)?,
            indent,
            covered: covered.count().max(1),
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.source.text.is_empty() {
            return f.write_str(self.file());
        }
        let (line, column) = self.position();
        write!(f, "{}:{line}:{column}", self.file())?;
        match &self.row {
            Some(row) => write!(f, " (row {})", row.place()),
            None => Ok(()),
        }
    }
}

/// A part of a line, with what to underline in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Excerpt<'a> {
    pub(super) text: &'a str,
    /// Characters of it before the span.
    pub(super) indent: usize,
    /// Characters of it that the span covers; at least one.
    pub(super) covered: usize,
}

/// Bytes that are counted at most to find a column.
const CHUNK: usize = 256;
/// Bytes of a line before a span that are shown in full.
const LONGEST_LEAD: usize = 512;
/// Bytes before the span that are shown where there are more.
const SHORTENED_LEAD: usize = 128;
const LONGEST_EXCERPT: usize = 1_024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(text: &str, start: usize, end: usize) -> Place {
        Place::new(
            Source::new("a.yaml", "a.yaml", text.to_owned()),
            Span { start, end },
        )
    }

    proptest! {
        #[test]
        fn a_position_is_what_counting_from_the_start_gives(
            text in "[a\u{e9}\u{4e2d}\r\n]{0,1200}", at in 0_usize..1_200,
        ) {
            let at = text.char_indices().map(|(at, _)| at).nth(at).unwrap_or(text.len());
            let before = text.get(..at).unwrap();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
            prop_assert_eq!(place(&text, at, at + 1).position(), (line, column));
        }
    }

    /// T-132
    #[test]
    fn a_position_costs_the_same_wherever_it_is() {
        let one_line = "x".repeat(1 << 20);
        let many_lines = "x\n".repeat(1 << 19);
        for text in [one_line, many_lines] {
            let length = u64::try_from(text.len()).unwrap();
            let source = Source::new("a.yaml", "a.yaml", text);
            let asked: u64 = 1_000;
            for number in 0..asked {
                let start = usize::try_from(number * 1_000).unwrap();
                let span = Span {
                    start,
                    end: start + 1,
                };
                let _ = Place::new(Arc::clone(&source), span).position();
            }
            let chunk = u64::try_from(CHUNK).unwrap();
            assert!(source.scanned() <= length + asked * 2 * chunk);
        }
    }

    #[test]
    fn a_long_line_is_shown_around_the_span() {
        let text = format!("{}HERE{}\r\n", "a".repeat(5_000), "b".repeat(5_000));
        let found = place(&text, 5_000, 5_004);
        let excerpt = found.excerpt().unwrap();
        assert_eq!((excerpt.indent, excerpt.covered), (SHORTENED_LEAD, 4));
        assert_eq!(excerpt.text.len(), LONGEST_EXCERPT);
        let shown = excerpt.text.get(SHORTENED_LEAD..).unwrap();
        assert!(shown.starts_with("HEREb"), "{shown}");
        assert_eq!(place("ab\r\n", 1, 9).excerpt().unwrap().covered, 1);
        assert_eq!(place("ab\n", 3, 4).excerpt(), None);
        assert_eq!(place("ab", 7, 8).excerpt(), None);
    }
}
