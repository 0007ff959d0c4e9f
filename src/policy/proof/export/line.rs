//! Conditions as terms: the value of a subject fits a pattern.

use std::collections::BTreeMap;

use super::address;
use super::claims::{Claims, Kind, is_one_of};
use super::facts::{Seen, seen};
use super::language::{EVERYTHING, of_file, of_operator, of_pattern, of_workflow};
use super::term::{all, any, apply, equal, not, text, within};
use crate::policy::pattern::{Operator, Pattern};
use crate::policy::{Block, Condition, Subject};
use crate::provider::{Cut, Fact, ORDINARY_TRIGGERS, Reader, TRIGGERS};

/// A job, as constants, and what conditions say of it.
#[derive(Default)]
pub(super) struct Job {
    pub(super) claims: Claims,
    /// Some condition is on the source address.
    pub(super) has_address: bool,
    /// Conditions that are no terms, each with a constant that may be true or false.
    pub(super) unsaid: BTreeMap<String, String>,
}

impl Job {
    /// Every condition of the block holds.
    pub(super) fn block(&mut self, block: &Block, reader: &Reader) -> String {
        let lines = block.conditions.iter();
        let lines: Vec<_> = lines.map(|line| self.line(line, reader)).collect();
        all(&lines)
    }

    pub(super) fn line(&mut self, line: &Condition, reader: &Reader) -> String {
        let seen = seen(&mut self.claims, &line.subject, reader);
        let fits = self.fits(&seen, &line.pattern);
        fits.unwrap_or_else(|| {
            let mut shown = format!("{}: {}", line.subject.name(), line.pattern);
            if let Pattern::Time(window) = &line.pattern {
                shown.push(' ');
                shown.push_str(window.zone.iana_name().unwrap_or_default());
            }
            self.left_open(&shown, reader)
        })
    }

    /// The trigger is ordinary, or the block names it.
    pub(super) fn trigger(&mut self, block: &Block, reader: &Reader) -> String {
        let named = block.pattern(Fact::Trigger);
        let is_named = |word: &str| named.is_some_and(|pattern| pattern.names(word));
        let words = TRIGGERS.into_iter();
        let words = words.filter(|word| ORDINARY_TRIGGERS.contains(word) || is_named(word));
        let words: Vec<&str> = words.collect();
        let seen = seen(&mut self.claims, &Subject::Fact(Fact::Trigger), reader);
        match seen.text(&self.claims) {
            Some((present, value)) if reader.has_events() => {
                all(&[present, is_one_of(&value, &words)])
            }
            Some((present, value)) => any(&[not(&present), is_one_of(&value, &words)]),
            None => self.left_open(&format!("trigger: [{}]", words.join(", ")), reader),
        }
    }

    /// A constant in place of a condition: the same one for the same condition.
    fn left_open(&mut self, shown: &str, reader: &Reader) -> String {
        let key = format!("{shown} (issuer {})", reader.issuer.name);
        let number = self.unsaid.len();
        let constant = self.unsaid.entry(key);
        let constant = constant.or_insert_with(|| format!("|not said {number}|"));
        constant.clone()
    }

    /// `None`: there is no term for it.
    fn fits(&mut self, seen: &Seen, pattern: &Pattern) -> Option<String> {
        if matches!(seen, Seen::Unsaid) {
            return None;
        }
        let term = match pattern {
            Pattern::Present(true) => Some(self.present(seen)),
            Pattern::Present(false) => Some(self.absent(seen)),
            Pattern::Any(patterns) => {
                let fit = patterns.iter().map(|pattern| self.fits(seen, pattern));
                Some(any(&fit.collect::<Option<Vec<_>>>()?))
            }
            Pattern::All(operators) => {
                let fit = operators.iter();
                let fit = fit.map(|operator| self.operator(seen, operator));
                Some(all(&fit.collect::<Option<Vec<_>>>()?))
            }
            Pattern::Exact(wanted) => match (seen, seen.text(&self.claims)) {
                (_, Some((present, value))) => Some(all(&[present, equal(&value, &text(wanted))])),
                (Seen::File { number, cut }, _) => {
                    Some(self.file(*number, *cut, &of_pattern(pattern)))
                }
                _ => None,
            },
            Pattern::Is(wanted) => seen.truth(&self.claims).map(|(present, value)| {
                let value = if *wanted { value } else { not(&value) };
                all(&[present, value])
            }),
            Pattern::Workflow { path, r#ref } => seen.workflow(&self.claims).map(|(is, text)| {
                let fitting = of_workflow(path.as_deref(), r#ref.as_deref());
                all(&[is, within(&text, &fitting)])
            }),
            Pattern::Network(network) => matches!(seen, Seen::Address).then(|| {
                self.has_address = true;
                address::within(network)
            }),
            Pattern::Age(most) => seen.age().map(|(present, seconds)| {
                let most = most.as_secs().to_string();
                all(&[present, apply("<=", &[seconds, most])])
            }),
            Pattern::Time(_) => return None,
        };
        // A value of another type never fits.
        Some(term.unwrap_or_else(|| NEVER.to_owned()))
    }

    fn present(&mut self, seen: &Seen) -> String {
        match seen {
            Seen::Never | Seen::Unsaid => NEVER.to_owned(),
            Seen::Text { present, .. }
            | Seen::Truth { present, .. }
            | Seen::Age { present, .. } => present.clone(),
            Seen::Workflow(number) => self.claims.kind_is(*number, Kind::Text),
            Seen::List(number) => self.claims.listed(*number),
            Seen::File { number, cut } => self.file(*number, *cut, EVERYTHING),
            Seen::Address => {
                self.has_address = true;
                address::IS_KNOWN.to_owned()
            }
            Seen::Raw(number) => {
                let others = [Kind::Absent, Kind::Foreign];
                all(&others.map(|kind| not(&self.claims.kind_is(*number, kind))))
            }
        }
    }

    /// A foreign claim is neither present nor absent.
    fn absent(&mut self, seen: &Seen) -> String {
        if let Seen::Raw(number) = seen {
            return self.claims.kind_is(*number, Kind::Absent);
        }
        not(&self.present(seen))
    }

    /// Operators fit texts, lists and addresses only.
    fn operator(&mut self, seen: &Seen, operator: &Operator) -> Option<String> {
        if let Seen::File { number, cut } = seen {
            return Some(self.file(*number, *cut, &of_operator(operator)));
        }
        let value = seen.text(&self.claims);
        if value.is_none() && !matches!(seen, Seen::List(_) | Seen::Address) {
            return Some(NEVER.to_owned());
        }
        Some(match (operator, value, seen) {
            (Operator::Not(pattern), value, _) => {
                let present = match value {
                    Some((present, _)) => present,
                    None => self.present(seen),
                };
                all(&[present, not(&self.fits(seen, pattern)?)])
            }
            (Operator::Member(entry), _, Seen::List(number)) => {
                // Declared, since an entry makes it true.
                self.claims.listed(*number);
                self.claims.entry(*number, entry)
            }
            (Operator::Glob(_) | Operator::Under(_), Some((present, value)), _) => {
                all(&[present, within(&value, &of_operator(operator))])
            }
            (Operator::Glob(_) | Operator::Under(_) | Operator::Member(_), _, _) => {
                NEVER.to_owned()
            }
        })
    }

    /// The claim is a workflow with such a file.
    fn file(&self, number: usize, cut: Cut, files: &str) -> String {
        all(&[
            self.claims.kind_is(number, Kind::Text),
            within(&self.claims.text(number), &of_file(cut, files)),
        ])
    }
}

const NEVER: &str = "false";
