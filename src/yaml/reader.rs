//! Reads typed values from YAML nodes. An error is reported with its position and reading continues,
//! so that all errors of a file are reported together. Not: what the values mean.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::diagnostic::{Diagnostic, Place, Problems, Row, Source, Span, meant};
use super::scalar::{mistaken_for, quoted};
use super::{Entry, Node, Scalar, duration, time, unknown_keys, value_of};
use crate::clock::Timestamp;
use crate::text::is_printable;

/// Reads one file and collects its errors.
pub(crate) struct NodeReader<'a> {
    source: &'a Arc<Source>,
    problems: &'a Problems,
    /// The row that the entry is made from.
    row: Option<&'a Arc<Row>>,
}

/// A mapping whose keys were checked.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'n> {
    span: Span,
    entries: &'n [Entry],
    known: &'n [&'n str],
}

impl<'n> Fields<'n> {
    pub(crate) fn get(&self, name: &str) -> Option<&'n Node> {
        value_of(self.entries, name)
    }

    pub(crate) const fn span(&self) -> Span {
        self.span
    }

    /// Whether a key that was reported as unknown probably means this one, which then is not
    /// missing.
    pub(crate) fn is_misspelt(&self, name: &str) -> bool {
        let mut unknown = unknown_keys(self.entries, self.known);
        unknown.any(|(_, meant)| meant == Some(name))
    }
}

impl<'a> NodeReader<'a> {
    pub(crate) const fn new(source: &'a Arc<Source>, problems: &'a Problems) -> Self {
        Self {
            source,
            problems,
            row: None,
        }
    }

    /// The same reader, for an entry that is made from this row.
    pub(crate) const fn in_row(self, row: Option<&'a Arc<Row>>) -> Self {
        Self { row, ..self }
    }

    /// A reader of the same file, for an entry that is made from this row.
    pub(crate) const fn again_in_row<'b>(&self, row: &'b Arc<Row>) -> NodeReader<'b>
    where
        'a: 'b,
    {
        NodeReader {
            source: self.source,
            problems: self.problems,
            row: Some(row),
        }
    }

    pub(crate) fn place(&self, span: Span) -> Place {
        Place::new(Arc::clone(self.source), span).in_row(self.row)
    }

    /// Reports an error.
    pub(crate) fn error(&self, rule: &'static str, span: Span, message: impl Into<String>) {
        self.error_help(rule, span, message, None::<String>);
    }

    /// Reports an error with its likely fix.
    pub(crate) fn error_help(
        &self,
        rule: &'static str,
        span: Span,
        message: impl Into<String>,
        help: Option<impl Into<String>>,
    ) {
        let mut problem = Diagnostic::error(rule, self.place(span), message.into());
        problem.help = help.map(Into::into);
        self.report(problem);
    }

    /// Reports an unknown name, with the one that was meant if that is clear.
    pub(crate) fn error_instead<'k>(
        &self,
        rule: &'static str,
        span: Span,
        (message, help): (String, String),
        word: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) {
        let mut problem = Diagnostic::error(rule, self.place(span), message).help(help);
        problem.instead = meant(word, known).map(str::to_owned);
        self.report(problem);
    }

    /// Reports what is wrong with a value that may hold a secret. The snippet of a diagnostic would
    /// show it, so this one points at nothing.
    pub(super) fn error_unseen(&self, rule: &'static str, node: &Node, what: &str, help: &str) {
        let place = self.place(node.span);
        let (line, column) = place.position();
        let masked = Source::new(place.file(), place.file(), String::new());
        let message = format!("line {line}, column {column}: {what}");
        let place = Place::new(masked, Span::default());
        self.report(Diagnostic::error(rule, place, message).help(help));
    }

    pub(crate) fn report(&self, problem: Diagnostic) {
        self.problems.push(problem);
    }

    /// The entries of a mapping.
    pub(crate) fn entries<'n>(&self, node: &'n Node, what: impl Display) -> Option<&'n [Entry]> {
        let entries = node.entries();
        if entries.is_none() {
            self.wrong_kind(node, what, "a mapping");
        }
        entries
    }

    /// The items of a list.
    pub(super) fn list<'n>(&self, node: &'n Node, what: impl Display) -> Option<&'n [Node]> {
        let items = node.items();
        if items.is_none() {
            self.wrong_kind(node, what, "a list");
        }
        items
    }

    /// The items of a list that is not empty.
    pub(crate) fn items<'n>(&self, node: &'n Node, what: impl Display) -> Option<&'n [Node]> {
        let items = self.list(node, &what)?;
        if items.is_empty() {
            self.error("empty", node.span, format!("{what} is empty"));
            return None;
        }
        Some(items)
    }

    /// The entries of a mapping; keys that are not in `known` are reported.
    pub(crate) fn fields<'n>(
        &self,
        node: &'n Node,
        what: impl Display,
        known: &'n [&'n str],
    ) -> Option<Fields<'n>> {
        let entries = self.entries(node, &what)?;
        self.unknown(entries, &what, known);
        Some(Fields {
            span: node.span,
            entries,
            known,
        })
    }

    /// Reports the keys that are not in `known`.
    pub(super) fn unknown(&self, entries: &[Entry], what: impl Display, known: &[&str]) {
        for (entry, meant) in unknown_keys(entries, known) {
            let name = entry.key.text.as_str();
            if PLANNED.contains(&name) {
                self.planned(name, entry.span, None);
                continue;
            }
            let help = match meant {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("known keys: {}", listed(known)),
            };
            let message = format!("unknown key `{name}` in {what}");
            self.error_help("unknown-key", entry.span, message, Some(help));
        }
    }

    /// Refuses a key of a later version: ignoring it could drop a limit silently.
    pub(super) fn planned(&self, name: &str, span: Span, help: Option<&str>) {
        let message = format!("`{name}` is not supported yet");
        self.error_help("not-supported", span, message, help);
    }

    /// The value of a required key.
    pub(crate) fn required<'n>(
        &self,
        fields: &Fields<'n>,
        name: &str,
        what: impl Display,
        at: Span,
    ) -> Option<&'n Node> {
        let found = fields.get(name);
        if found.is_none() && !fields.is_misspelt(name) {
            self.missing(name, what, at);
        }
        found
    }

    /// Reports that a required key is missing.
    pub(super) fn missing(&self, name: &str, what: impl Display, at: Span) {
        let message = format!("key `{name}` is missing from {what}");
        let help = example(name).map_or_else(
            || format!("add a line `{name}: ...`"),
            |example| format!("add e.g. `{example}`"),
        );
        self.error_help("missing-key", at, message, Some(help));
    }

    /// Text that every YAML reader reads as text.
    pub(crate) fn text<'n>(&self, node: &'n Node, what: impl Display) -> Option<&'n str> {
        let scalar = self.any_scalar(node, &what, "text")?;
        self.scalar(scalar, node.span, what)
    }

    /// Any scalar as text, for values that are checked by a grammar of their own.
    pub(super) fn any_text<'n>(&self, node: &'n Node, what: impl Display) -> Option<&'n str> {
        let scalar = self.any_scalar(node, &what, "text")?;
        self.not_empty(&scalar.text, node.span, what)
    }

    fn not_empty<'n>(&self, text: &'n str, span: Span, what: impl Display) -> Option<&'n str> {
        if text.trim().is_empty() {
            self.error("empty", span, format!("{what} is empty"));
            return None;
        }
        Some(text)
    }

    /// [`Self::text`] for a key.
    pub(crate) fn scalar<'n>(
        &self,
        scalar: &'n Scalar,
        span: Span,
        what: impl Display,
    ) -> Option<&'n str> {
        let text = self.not_empty(&scalar.text, span, &what)?;
        if scalar.plain
            && let Some(other) = mistaken_for(text)
        {
            let message = format!("{what} is text, but `{text}` without quotes reads as {other}");
            let help = format!("quote it: {}", quoted(text));
            self.error_help("unquoted", span, message, Some(help));
            return None;
        }
        Some(text)
    }

    /// A scalar that is not null.
    fn any_scalar<'n>(
        &self,
        node: &'n Node,
        what: impl Display,
        expected: &str,
    ) -> Option<&'n Scalar> {
        let scalar = node.scalar().filter(|_| !node.is_nothing());
        if scalar.is_none() {
            self.wrong_kind(node, what, expected);
        }
        scalar
    }

    /// Text of at most `limit` bytes of printable ASCII.
    pub(crate) fn ascii<'n>(
        &self,
        node: &'n Node,
        what: impl Display,
        limit: usize,
    ) -> Option<&'n str> {
        let text = self.text(node, &what)?;
        if text.len() > limit {
            let length = text.len();
            let message = format!("{what} has {length} bytes, at most {limit} are allowed");
            self.error("too-long", node.span, message);
            return None;
        }
        if !is_printable(text) {
            let message = format!("{what} holds characters outside printable ASCII");
            self.error("not-ascii", node.span, message);
            return None;
        }
        Some(text)
    }

    /// A list of different texts, or one text.
    pub(crate) fn texts(&self, node: &Node, what: impl Display) -> Option<Vec<String>> {
        let items = match node.scalar() {
            Some(_) => std::slice::from_ref(node),
            None => self.items(node, &what)?,
        };
        let mut texts: Vec<String> = Vec::new();
        for item in items {
            let text = self.ascii(item, format!("an entry of {what}"), MAX_TEXT)?;
            if texts.iter().any(|known| known == text) {
                let message = format!("`{text}` is given twice in {what}");
                self.error("duplicate", item.span, message);
                return None;
            }
            texts.push(text.to_owned());
        }
        Some(texts)
    }

    /// `true` or `false`, without quotes.
    pub(crate) fn boolean(&self, node: &Node, what: impl Display) -> Option<bool> {
        let scalar = self.any_scalar(node, &what, "`true` or `false`")?;
        let truth = node.truth();
        if truth.is_none() {
            let message = format!("{what} must be `true` or `false`, found `{}`", scalar.text);
            let help = Some("write one of them, without quotes");
            self.error_help("wrong-type", node.span, message, help);
        }
        truth
    }

    /// A number in plain digits, without quotes.
    pub(super) fn number(
        &self,
        node: &Node,
        what: impl Display,
        range: &RangeInclusive<u64>,
    ) -> Option<u64> {
        let (least, most) = (range.start(), range.end());
        let expected = format!("a number from {least} to {most}");
        let Scalar { text, plain } = self.any_scalar(node, &what, &expected)?;
        let number = plain_number(text);
        if !plain && number.is_some() {
            let message = format!("{what} must be a number, found the text \"{text}\"");
            let help = Some(format!("write it without quotes: {text}"));
            self.error_help("wrong-type", node.span, message, help);
            return None;
        }
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let message = format!("{what} must be {expected}, found `{text}`");
            let help = Some("write plain digits, without a zero or a sign in front");
            self.error_help("number", node.span, message, help);
        }
        number
    }

    /// A duration of whole seconds, such as `15m`.
    pub(crate) fn duration(&self, node: &Node, what: impl Display) -> Option<Duration> {
        self.duration_by(node, what, duration::parse)
    }

    /// A duration that may have milliseconds, such as `500ms`.
    pub(super) fn duration_within(
        &self,
        node: &Node,
        what: impl Display,
        range: &RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let duration = self.duration_by(node, &what, duration::read)?;
        if range.contains(&duration) {
            return Some(duration);
        }
        let [least, most, found] = [*range.start(), *range.end(), duration].map(duration::print);
        let message = format!("{what} must be from {least} to {most}, found `{found}`");
        self.error("duration", node.span, message);
        None
    }

    fn duration_by(
        &self,
        node: &Node,
        what: impl Display,
        read: fn(&str) -> Result<Duration, String>,
    ) -> Option<Duration> {
        let scalar = self.any_scalar(node, &what, "a duration such as `15m`")?;
        let read = read(&scalar.text);
        if let Err(problem) = &read {
            self.error("duration", node.span, format!("{what}: {problem}"));
        }
        read.ok()
    }

    /// A time with a zone (RFC 3339), without quotes.
    pub(crate) fn time(&self, node: &Node, what: impl Display) -> Option<Timestamp> {
        let Some(text) = node.plain().filter(|text| time::is_rfc3339(text)) else {
            let message = format!("{what} is a time with a zone (RFC 3339)");
            let help = Some("for example 2027-01-31T18:00:00Z, without quotes");
            self.error_help("time", node.span, message, help);
            return None;
        };
        if let Ok(time) = text.parse::<jiff::Timestamp>() {
            return Some(Timestamp::from_unix(time.as_second()));
        }
        let message = format!("{what} is `{text}`, expected a year from 0 to 9998");
        let help = Some("leave the line out if there is no end");
        self.error_help("time", node.span, message, help);
        None
    }

    /// Reports that a node is of another kind than expected.
    pub(crate) fn wrong_kind(&self, node: &Node, what: impl Display, expected: &str) {
        if node.is_nothing() {
            let message = format!("{what} has no value, expected {expected}");
            let help = Some("write one, or leave the line out");
            self.error_help("empty", node.span, message, help);
            return;
        }
        let message = format!("{what} must be {expected}, found {}", node.is_a());
        self.error("wrong-type", node.span, message);
    }
}

/// An example for keys whose names do not explain their values.
pub(crate) fn example(key: &str) -> Option<&'static str> {
    Some(match key {
        "when" => {
            "when: { repository: acme/shop, repository_id: \"702114500\", ref: refs/heads/main }"
        }
        "grant" => "grant: [ { credential: deploy-api, ttl: 5m, scopes: [\"deploy:staging\"] } ]",
        "jobs" => "jobs: { runner: hosted }",
        "of" => "of: { class: critical }",
        _ => return None,
    })
}

/// `a, b and c`, each in backticks.
pub(crate) fn listed(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => "none".to_owned(),
    }
}

/// Digits that every YAML reader reads alike: `010` is eight for some, and `+10` is text for others.
fn plain_number(text: &str) -> Option<u64> {
    let is_plain =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    is_plain.then(|| text.parse().ok()).flatten()
}

/// Keys of later versions of the policy language. Each is a limit, so they are refused, not ignored.
const PLANNED: [&str; 1] = ["tests"];

/// The longest text of a key or value that is not free text, in bytes.
pub(crate) const MAX_TEXT: usize = 256;
