//! Diagnostics: what is wrong in a file, where, and how to fix it. Not: the rules.

use std::cell::RefCell;
use std::fmt::{self, Write as _};

use anstyle::{AnsiColor, Style};
use serde_json::json;

pub use super::place::{Place, Row, Source, Span};
use crate::text::escape_up_to;

/// How much a diagnostic matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Note,
    Warning,
    /// Policies or settings with an error are not served.
    Error,
}

impl Severity {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    const fn style(self) -> Style {
        let colour = match self {
            Self::Note => AnsiColor::Cyan,
            Self::Warning => AnsiColor::Yellow,
            Self::Error => AnsiColor::Red,
        };
        colour.on_default().bold()
    }
}

/// One error, warning or note about a place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// The kind of error, e.g. `unknown-key`, or the ID of a lint rule.
    pub rule: &'static str,
    pub place: Place,
    pub message: String,
    /// The likely fix, if it is known.
    pub help: Option<String>,
    /// The one name that was meant instead of the text at the place.
    pub instead: Option<String>,
}

impl Diagnostic {
    /// An error at a place.
    #[must_use]
    pub const fn error(rule: &'static str, place: Place, message: String) -> Self {
        Self {
            severity: Severity::Error,
            rule,
            place,
            message,
            help: None,
            instead: None,
        }
    }

    /// Adds the likely fix.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    fn order(&self) -> (&str, Span, &'static str, Option<Span>, &str) {
        (
            self.place.file(),
            self.place.span(),
            self.rule,
            self.place.row().map(|row| row.place().span()),
            &self.message,
        )
    }

    /// Whether both are the same problem of one template, in different rows.
    fn is_of_same_template(&self, other: &Self) -> bool {
        let key = |one: &Self| (one.severity, one.rule, one.place.span());
        self.place.row().is_some()
            && other.place.row().is_some()
            && self.place.file() == other.place.file()
            && key(self) == key(other)
    }

    fn render(&self, colour: bool, out: &mut String) -> fmt::Result {
        let (mark, frame) = if colour {
            (self.severity.style(), AnsiColor::Blue.on_default().bold())
        } else {
            (Style::new(), Style::new())
        };
        let (severity, rule) = (self.severity.name(), self.rule);
        let message = escaped(&self.message);
        writeln!(out, "{mark}{severity}[{rule}]{mark:#}: {message}")?;
        let (line, _) = self.place.position();
        let margin = " ".repeat(line.to_string().len());
        let place = escaped(&self.place.to_string());
        writeln!(out, "{margin}{frame}-->{frame:#} {place}")?;
        if let Some(excerpt) = self.place.excerpt() {
            let text = snippet(excerpt.text);
            let indent = " ".repeat(excerpt.indent);
            let carets = "^".repeat(excerpt.covered);
            writeln!(out, "{margin} {frame}|{frame:#}")?;
            writeln!(out, "{frame}{line} |{frame:#} {text}")?;
            writeln!(
                out,
                "{margin} {frame}|{frame:#} {indent}{mark}{carets}{mark:#}"
            )?;
        }
        let mut help = self.help.iter().flat_map(|help| help.lines());
        if let Some(first) = help.next() {
            writeln!(out, "{margin} {frame}={frame:#} help: {}", escaped(first))?;
        }
        for more in help {
            writeln!(out, "{margin}         {}", escaped(more))?;
        }
        Ok(())
    }

    fn to_json(&self) -> serde_json::Value {
        let (line, column) = self.place.position();
        let mut json = json!({
            "severity": self.severity.name(),
            "rule": self.rule,
            "file": self.place.file(),
            "line": line,
            "column": column,
            "message": self.message,
            "help": self.help,
        });
        if let (Some(row), Some(members)) = (self.place.row(), json.as_object_mut()) {
            members.insert("row".to_owned(), row.place().to_string().into());
        }
        json
    }
}

/// Diagnostics that are collected while reading goes on.
#[derive(Default)]
pub(crate) struct Problems(RefCell<Vec<Diagnostic>>);

impl Problems {
    pub(crate) fn push(&self, problem: Diagnostic) {
        self.0.borrow_mut().push(problem);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.borrow().len()
    }
}

impl From<Vec<Diagnostic>> for Problems {
    fn from(list: Vec<Diagnostic>) -> Self {
        Self(RefCell::new(list))
    }
}

impl From<Problems> for Diagnostics {
    fn from(problems: Problems) -> Self {
        Self::new(problems.0.into_inner())
    }
}

/// Diagnostics of all files, sorted by file and position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// Sorts them and removes duplicates. A problem of a template is reported for the first rows
    /// that have it.
    #[must_use]
    pub fn new(mut list: Vec<Diagnostic>) -> Self {
        list.sort_by(|a, b| a.order().cmp(&b.order()));
        list.dedup();
        let mut kept: Vec<Diagnostic> = Vec::with_capacity(list.len());
        let (mut alike, mut left_out): (usize, usize) = (1, 0);
        for one in list {
            let is_alike = kept
                .last()
                .is_some_and(|last| last.is_of_same_template(&one));
            if is_alike && alike == MOST_ROWS {
                left_out = left_out.saturating_add(1);
                continue;
            }
            note_left_out(kept.last_mut(), left_out);
            left_out = 0;
            alike = if is_alike { alike.saturating_add(1) } else { 1 };
            kept.push(one);
        }
        note_left_out(kept.last_mut(), left_out);
        Self(kept)
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of diagnostics of a severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.iter().filter(|one| one.severity == severity).count()
    }

    /// At least one is an error, so that the files cannot be served.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.iter()
    }

    /// Text for people: position, underlined snippet, fix. Without colour the text is stable.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let mut out = String::new();
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                out.push('\n');
            }
            if diagnostic.render(colour, &mut out).is_err() {
                // Writing to a String does not fail.
            }
        }
        out
    }

    /// The same for programs: `severity`, `rule`, `file`, `line`, `column`, `message`, `help`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::Value::Array(self.iter().map(Diagnostic::to_json).collect())
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for Diagnostics {}

/// A sentence of ours with words of the file in it. Letters that look like others are spelled out,
/// which shows what they are (T-91).
fn escaped(text: &str) -> String {
    escape_up_to(text, LONGEST_SENTENCE)
}

/// A line of the file itself: what is not printable ASCII becomes `?`. One character stays one, so
/// that underlines fit.
fn snippet(text: &str) -> String {
    let shown = |character| match character {
        ' '..='~' => character,
        '\t' => ' ',
        _ => '?',
    };
    text.chars().map(shown).collect()
}

/// The known word that was probably meant.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= LIKE_ENOUGH)
        .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)))
        .map(|(_, candidate)| candidate)
}

/// The only one of the known names that a slip of the hand could have made into the word.
#[must_use]
pub fn meant<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = |candidate: &&str| strsim::osa_distance(word, candidate) <= MOST_SLIPS;
    let mut near = known.into_iter().filter(near);
    let only = near.next()?;
    near.all(|other| other == only).then_some(only)
}

/// Says how many further rows have the problem.
fn note_left_out(last: Option<&mut Diagnostic>, count: usize) {
    let Some(last) = last.filter(|_| count > 0) else {
        return;
    };
    let rows = if count == 1 { "row has" } else { "rows have" };
    let more = format!("{count} more {rows} the same problem");
    last.help = Some(match last.help.take() {
        Some(help) => format!("{help}\n{more}"),
        None => more,
    });
}

/// The rows of a roster for which one problem of a template is reported.
const MOST_ROWS: usize = 3;
const LIKE_ENOUGH: f64 = 0.85;
/// Letters that are missing, added, wrong, or swapped with the next.
const MOST_SLIPS: usize = 2;
/// Sentences may list every name there is.
const LONGEST_SENTENCE: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(text: &str, start: usize, end: usize) -> Diagnostics {
        let source = Source::new("a.yaml", "policies/a.yaml", text.to_owned());
        let place = Place::new(source, Span { start, end });
        Diagnostics::new(vec![
            Diagnostic::error("unknown-key", place, "unknown key `b`".to_owned()).help("write `a`"),
        ])
    }

    #[test]
    fn a_diagnostic_shows_the_line_and_underlines_the_place() {
        insta::assert_snapshot!(sample("a: 1\nb: 2\n", 5, 6), @r"
        error[unknown-key]: unknown key `b`
         --> policies/a.yaml:2:1
          |
        2 | b: 2
          | ^
          = help: write `a`
        ");
    }

    /// T-91
    #[test]
    fn text_of_a_file_cannot_steer_the_terminal() {
        let hostile = "a: \u{1b}[2J\u{202e}\u{2028}\u{9b}\u{7f}\u{430}x";
        let source = Source::new("a.yaml", "policies/a.yaml", format!("{hostile}\n"));
        let place = Place::new(source, Span { start: 3, end: 4 });
        let shown = Diagnostics::new(vec![
            Diagnostic::error("unknown-key", place, hostile.to_owned()).help(hostile),
        ]);
        insta::assert_snapshot!(shown, @r"
        error[unknown-key]: a: \u{1b}[2J\u{202e}\u{2028}\u{9b}\u{7f}\u{430}x
         --> policies/a.yaml:1:4
          |
        1 | a: ?[2J?????x
          |    ^
          = help: a: \u{1b}[2J\u{202e}\u{2028}\u{9b}\u{7f}\u{430}x
        ");
    }

    #[test]
    fn a_near_miss_is_found_and_a_far_one_is_not() {
        assert_eq!(
            nearest("enviroment", ["environment", "event"]),
            Some("environment")
        );
        assert_eq!(nearest("zebra", ["environment", "event"]), None);
    }
}
