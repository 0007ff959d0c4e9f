//! Conditions on a job, and blocks of them.

use super::decide::shown;
use super::pattern::{Observed, Pattern};
use crate::provider::{Fact, FactValue, Facts, PropertyName};
use crate::text::is_printable;
use crate::token::json::Value;
use crate::yaml::diagnostic::Place;

/// The subject of a condition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A fact.
    Fact(Fact),
    /// A raw claim by JSON pointer (RFC 6901).
    Claim(String),
    /// A repository property that the issuer declares.
    Property(PropertyName),
    /// The issuer's name; in requirements only.
    Issuer,
}

impl Subject {
    /// Its name in responses: the fact's name, the pointer, `property.NAME`, or `issuer`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Fact(fact) => fact.name(),
            Self::Claim(pointer) => pointer,
            Self::Property(name) => name.dotted(),
            Self::Issuer => "issuer",
        }
    }

    /// The job's value.
    #[must_use]
    pub fn seen<'a>(&self, facts: &'a Facts) -> Observed<'a> {
        match self {
            Self::Fact(Fact::Time) => facts.decided_at().map_or(Observed::Absent, Observed::Time),
            Self::Fact(fact @ Fact::SignedIn) => match (facts.get(*fact), facts.decided_at()) {
                // A time ahead of the clock by more than the leeway is a wrong one.
                (Some(FactValue::Time(at)), Some(now)) if *at <= now.plus(facts.leeway()) => {
                    Observed::Age(now.since(*at))
                }
                _ => Observed::Absent,
            },
            Self::Fact(fact) => facts.get(*fact).into(),
            Self::Property(name) => facts.property(name).into(),
            Self::Issuer => Observed::Text(facts.issuer()),
            Self::Claim(pointer) => match facts.claims().pointer(pointer) {
                None | Some(Value::Null) => Observed::Absent,
                // T-47: an empty text counts as absent, and so does an empty list.
                Some(Value::Text(text)) if text.is_empty() => Observed::Absent,
                Some(Value::List(items)) if items.is_empty() => Observed::Absent,
                Some(Value::Text(text)) if is_printable(text) => Observed::Text(text),
                Some(Value::Text(_)) => Observed::Foreign,
                Some(Value::Bool(value)) => Observed::Bool(*value),
                Some(Value::Number(_) | Value::List(_) | Value::Object(_)) => Observed::Other,
            },
        }
    }
}

/// One line of a block: a subject and the pattern that it must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub subject: Subject,
    pub pattern: Pattern,
}

impl Condition {
    /// Whether the job meets it.
    #[must_use]
    pub fn holds(&self, facts: &Facts) -> bool {
        self.pattern.fits(self.subject.seen(facts))
    }

    /// The job's value as text, in the terms of the pattern.
    #[must_use]
    pub fn shown(&self, facts: &Facts) -> Option<String> {
        match (&self.pattern, self.subject.seen(facts)) {
            (Pattern::Time(window), Observed::Time(at)) => Some(window.shown(at)),
            (_, seen) => shown(seen),
        }
    }
}

/// Conditions that must all hold. Never empty (T-76).
#[derive(Clone, Debug)]
pub struct Block {
    /// The conditions, in the order of the file.
    pub conditions: Vec<Condition>,
    pub places: Vec<Place>,
}

/// Compares without the places in the file.
impl PartialEq for Block {
    fn eq(&self, other: &Self) -> bool {
        self.conditions == other.conditions
    }
}

impl Eq for Block {}

impl Block {
    /// Whether the job meets every condition.
    #[must_use]
    pub fn holds(&self, facts: &Facts) -> bool {
        self.conditions
            .iter()
            .all(|condition| condition.holds(facts))
    }

    /// The pattern of the condition on that fact.
    #[must_use]
    pub fn pattern(&self, fact: Fact) -> Option<&Pattern> {
        let wanted = Subject::Fact(fact);
        let condition = self
            .conditions
            .iter()
            .find(|condition| condition.subject == wanted)?;
        Some(&condition.pattern)
    }

    #[must_use]
    pub fn has(&self, fact: Fact) -> bool {
        self.pattern(fact).is_some()
    }

    /// Whether it limits the values of that fact.
    pub(super) fn narrows(&self, fact: Fact) -> bool {
        self.pattern(fact).is_some_and(Pattern::narrows)
    }

    /// The exact texts that it accepts for that fact, if it accepts nothing else.
    #[must_use]
    pub fn exact(&self, fact: Fact) -> Option<Vec<&str>> {
        self.pattern(fact)?.exact_texts()
    }

    /// The place of the condition on that fact.
    #[must_use]
    pub fn place(&self, fact: Fact) -> Option<&Place> {
        let wanted = Subject::Fact(fact);
        let mut lines = self.conditions.iter().zip(&self.places);
        lines
            .find(|(condition, _)| condition.subject == wanted)
            .map(|(_, place)| place)
    }
}
