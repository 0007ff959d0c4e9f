//! Nodes of a file to typed values. What does not fit is said with its place, and reading goes on,
//! so that all errors come together. Not: what the values are for.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use super::print::quoted;
use crate::clock::Timestamp;
use crate::yaml::diagnostic::{Diagnostic, Place, Source, Span};
use crate::yaml::duration;
use crate::yaml::{Entry, Node, Scalar, mistaken_for, unknown_keys, value_of};

/// A file being read, and what was wrong with it so far.
pub(super) struct Sheet<'a> {
    pub(super) source: &'a Arc<Source>,
    pub(super) problems: &'a mut Vec<Diagnostic>,
}

/// The lines of a mapping whose keys are known.
#[derive(Clone, Copy)]
pub(super) struct Fields<'n> {
    span: Span,
    entries: &'n [Entry],
}

impl<'n> Fields<'n> {
    pub(super) fn get(&self, name: &str) -> Option<&'n Node> {
        value_of(self.entries, name)
    }

    pub(super) const fn span(&self) -> Span {
        self.span
    }
}

impl Sheet<'_> {
    pub(super) fn place(&self, span: Span) -> Place {
        Place::new(Arc::clone(self.source), span)
    }

    /// Reports an error; more can be said through what comes back.
    pub(super) fn error(&mut self, rule: &'static str, span: Span, message: impl Into<String>) {
        let place = self.place(span);
        self.problems
            .push(Diagnostic::error(rule, place, message.into()));
    }

    /// The same with what to do about it.
    pub(super) fn error_help(
        &mut self,
        rule: &'static str,
        span: Span,
        message: impl Into<String>,
        help: Option<impl Into<String>>,
    ) {
        let place = self.place(span);
        let mut problem = Diagnostic::error(rule, place, message.into());
        problem.help = help.map(Into::into);
        self.problems.push(problem);
    }

    /// The lines of a mapping.
    pub(super) fn entries<'n>(
        &mut self,
        node: &'n Node,
        what: impl Display,
    ) -> Option<&'n [Entry]> {
        let entries = node.entries();
        if entries.is_none() {
            self.wrong_kind(node, what, "a mapping");
        }
        entries
    }

    /// The items of a list that is not empty.
    pub(super) fn items<'n>(&mut self, node: &'n Node, what: impl Display) -> Option<&'n [Node]> {
        match node.items() {
            Some([]) => {
                self.error("empty", node.span, format!("{what} is empty"));
                None
            }
            None => {
                self.wrong_kind(node, what, "a list");
                None
            }
            items => items,
        }
    }

    /// The lines of a mapping whose keys are all of `known`.
    pub(super) fn fields<'n>(
        &mut self,
        node: &'n Node,
        what: impl Display,
        known: &[&str],
    ) -> Option<Fields<'n>> {
        let entries = self.entries(node, &what)?;
        for (entry, meant) in unknown_keys(entries, known) {
            let name = entry.key.text.as_str();
            if NOT_YET.contains(&name) {
                self.error(
                    "not-supported",
                    entry.span,
                    format!("`{name}` is not supported yet"),
                );
                continue;
            }
            let help = match meant {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("it may have {}", listed(known)),
            };
            self.error_help(
                "unknown-key",
                entry.span,
                format!("unknown key `{name}` in {what}"),
                Some(help),
            );
        }
        Some(Fields {
            span: node.span,
            entries,
        })
    }

    /// A line that must be there.
    pub(super) fn required<'n>(
        &mut self,
        fields: &Fields<'n>,
        name: &str,
        what: impl Display,
        at: Span,
    ) -> Option<&'n Node> {
        let found = fields.get(name);
        if found.is_none() {
            let message = format!("key `{name}` is missing from {what}");
            self.error_help("missing-key", at, message, example(name));
        }
        found
    }

    /// Text that no reader of YAML could take for anything else.
    pub(super) fn text<'n>(&mut self, node: &'n Node, what: impl Display) -> Option<&'n str> {
        let Some(scalar) = node.scalar() else {
            self.wrong_kind(node, what, "text");
            return None;
        };
        self.scalar(scalar, node.span, what)
    }

    /// The same for a key.
    pub(super) fn scalar<'n>(
        &mut self,
        scalar: &'n Scalar,
        span: Span,
        what: impl Display,
    ) -> Option<&'n str> {
        if scalar.plain
            && let Some(other) = mistaken_for(&scalar.text)
        {
            let help = format!("quote it: {}", quoted(&scalar.text));
            let message = if scalar.text.is_empty() {
                format!("{what} is empty")
            } else {
                format!(
                    "{what} is text, but `{}` without quotes reads as {other}",
                    scalar.text
                )
            };
            let help = (!scalar.text.is_empty()).then_some(help);
            self.error_help("unquoted", span, message, help);
            return None;
        }
        if scalar.text.trim().is_empty() {
            self.error("empty", span, format!("{what} is empty"));
            return None;
        }
        Some(&scalar.text)
    }

    /// Text of at most `limit` bytes of printable ASCII.
    pub(super) fn ascii<'n>(
        &mut self,
        node: &'n Node,
        what: impl Display,
        limit: usize,
    ) -> Option<&'n str> {
        let text = self.text(node, &what)?;
        if text.len() > limit {
            self.error(
                "too-long",
                node.span,
                format!(
                    "{what} has {} bytes, at most {limit} are allowed",
                    text.len()
                ),
            );
            return None;
        }
        if !crate::provider::is_printable(text) {
            self.error(
                "not-ascii",
                node.span,
                format!("{what} holds characters outside printable ASCII"),
            );
            return None;
        }
        Some(text)
    }

    /// A list of different texts, or one text.
    pub(super) fn texts(&mut self, node: &Node, what: impl Display) -> Option<Vec<String>> {
        let items = match node.scalar() {
            Some(_) => std::slice::from_ref(node),
            None => self.items(node, &what)?,
        };
        let mut texts: Vec<String> = Vec::new();
        for item in items {
            let text = self.ascii(item, format!("an entry of {what}"), MAX_TEXT)?;
            if texts.iter().any(|known| known == text) {
                self.error(
                    "duplicate",
                    item.span,
                    format!("`{text}` is given twice in {what}"),
                );
                return None;
            }
            texts.push(text.to_owned());
        }
        Some(texts)
    }

    /// `true` or `false`, without quotes.
    pub(super) fn boolean(&mut self, node: &Node, what: impl Display) -> Option<bool> {
        let truth = node.truth();
        if truth.is_none() {
            self.error_help(
                "wrong-type",
                node.span,
                format!("{what} is `true` or `false`"),
                Some("write it without quotes"),
            );
        }
        truth
    }

    /// A duration such as `15m`.
    pub(super) fn duration(&mut self, node: &Node, what: impl Display) -> Option<Duration> {
        let Some(scalar) = node.scalar() else {
            self.wrong_kind(node, what, "a duration such as `15m`");
            return None;
        };
        match duration::parse(&scalar.text) {
            Ok(duration) => Some(duration),
            Err(problem) => {
                self.error("duration", node.span, format!("{what}: {problem}"));
                None
            }
        }
    }

    /// A time with a zone (RFC 3339), without quotes.
    pub(super) fn time(&mut self, node: &Node, what: impl Display) -> Option<Timestamp> {
        let Some(text) = node.plain().filter(|text| is_time(text)) else {
            let message = format!("{what} is a time with a zone (RFC 3339)");
            let help = Some("for example 2027-01-31T18:00:00Z, without quotes");
            self.error_help("time", node.span, message, help);
            return None;
        };
        if let Ok(time) = text.parse::<jiff::Timestamp>() {
            return Some(Timestamp::from_unix(time.as_second()));
        }
        let message = format!("{what} is `{text}`, which is no time of the years 0 to 9998");
        let help = Some("leave the line out if there is no end");
        self.error_help("time", node.span, message, help);
        None
    }

    /// Reports that a node is something else than was expected.
    pub(super) fn wrong_kind(&mut self, node: &Node, what: impl Display, expected: &str) {
        if node.is_nothing() {
            self.error(
                "empty",
                node.span,
                format!("{what} is empty, expected {expected}"),
            );
            return;
        }
        let found = node.is_a();
        self.error(
            "wrong-type",
            node.span,
            format!("{what} is {found}, expected {expected}"),
        );
    }
}

/// The grammar of RFC 3339 section 5.6: date, time of day with seconds, and an offset in numbers. A
/// leap second is refused, since clocks disagree about which second it is; so are zone names.
fn is_time(text: &str) -> bool {
    let Some((date, rest)) = text.split_once(['T', 't']) else {
        return false;
    };
    let (time, offset) = match rest.strip_suffix(['Z', 'z']) {
        Some(time) => (time, None),
        None => match rest
            .rfind(['+', '-'])
            .and_then(|at| rest.split_at_checked(at))
        {
            Some((time, offset)) => (time, offset.get(1..)),
            None => return false,
        },
    };
    let (clock, fraction) = match time.split_once('.') {
        Some((clock, fraction)) => (clock, Some(fraction)),
        None => (time, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    numbers(date, '-', &[(4, 9_999), (2, 12), (2, 31)])
        && numbers(clock, ':', &[(2, 23), (2, 59), (2, 59)])
        && fraction.is_none_or(digits)
        && offset.is_none_or(|offset| numbers(offset, ':', &[(2, 23), (2, 59)]))
}

/// Numbers of exactly so many digits, each at most so large.
fn numbers(text: &str, separator: char, parts: &[(usize, u16)]) -> bool {
    let found: Vec<&str> = text.split(separator).collect();
    found.len() == parts.len()
        && found.iter().zip(parts).all(|(found, (digits, most))| {
            found.len() == *digits
                && found.bytes().all(|byte| byte.is_ascii_digit())
                && found.parse::<u16>().is_ok_and(|number| number <= *most)
        })
}

/// What the value of a key looks like, where its name does not say it.
pub(super) fn example(key: &str) -> Option<&'static str> {
    Some(match key {
        "when" => {
            "when: { repository: acme/shop, repository_id: \"702114500\", ref: refs/heads/main }"
        }
        "grant" => "grant: [ { credential: deploy-api, ttl: 5m, scopes: [\"deploy:staging\"] } ]",
        "jobs" => "jobs: { runner: hosted }",
        "of" => "of: { class: critical }, or of: all",
        _ => return None,
    })
}

/// `a, b and c`, each in backticks.
pub(super) fn listed(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => "none".to_owned(),
    }
}

/// Parts of the language that come later: refused rather than ignored, as each one limits something.
const NOT_YET: [&str; 5] = ["rosters", "teams", "tests", "each", "waive"];

/// The longest text of a key or value that is not free text, in bytes.
pub(super) const MAX_TEXT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_of_rfc_3339_and_nothing_near_it() {
        for text in [
            "2027-01-31T18:00:00Z",
            "2027-01-31t18:00:00z",
            "2027-01-31T18:00:00.5Z",
            "2027-01-31T18:00:00+02:00",
            "2027-01-31T18:00:00-23:59",
            "9999-12-31T23:59:59Z",
        ] {
            assert!(is_time(text), "{text}");
        }
        for text in [
            "2027-01-31",
            "2027-01-31T18:00Z",
            "2027-01-31T18:00:60Z",
            "2027-01-31T24:00:00Z",
            "2027-01-31T18:00:00",
            "2027-01-31T18:00:00[Europe/Berlin]",
            "2027-01-31T18:00:00Z[Europe/Berlin]",
            "2027-01-31T18:00:00+02",
            "2027-01-31T18:00:00+0200",
            "2027-01-31T18:00:00.Z",
            "2027-01-31 18:00:00Z",
            "2027-1-31T18:00:00Z",
            "+02027-01-31T18:00:00Z",
            "-2027-01-31T18:00:00Z",
            "2027-13-31T18:00:00Z",
            "",
            "T",
        ] {
            assert!(!is_time(text), "{text}");
        }
    }
}
