//! Conditions on a job, and blocks of them. Not: how they are written, which policies there are.

use super::pattern::{Pattern, Seen};
use crate::provider::{Fact, Facts};
use crate::text::is_printable;
use crate::token::json::Value;
use crate::yaml::diagnostic::Place;

/// What a condition looks at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A fact of the common vocabulary.
    Fact(Fact),
    /// A raw claim by JSON pointer (RFC 6901).
    Claim(String),
    /// The issuer's name; in requirements only.
    Issuer,
}

impl Subject {
    /// The name of it in answers: a fact's name, a pointer, or `issuer`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Fact(fact) => fact.name(),
            Self::Claim(pointer) => pointer,
            Self::Issuer => "issuer",
        }
    }

    /// What the job says of it.
    #[must_use]
    pub fn seen<'a>(&self, facts: &'a Facts) -> Seen<'a> {
        match self {
            Self::Fact(fact) => facts.get(*fact).into(),
            Self::Issuer => Seen::Text(facts.issuer()),
            Self::Claim(pointer) => match facts.claims().pointer(pointer) {
                None | Some(Value::Null) => Seen::Absent,
                // T-47: an empty text says nothing, nor does an empty list.
                Some(Value::Text(text)) if text.is_empty() => Seen::Absent,
                Some(Value::List(items)) if items.is_empty() => Seen::Absent,
                Some(Value::Text(text)) if is_printable(text) => Seen::Text(text),
                Some(Value::Text(_)) => Seen::Foreign,
                Some(Value::Bool(value)) => Seen::Bool(*value),
                Some(Value::Number(_) | Value::List(_) | Value::Object(_)) => Seen::Other,
            },
        }
    }
}

/// One line: what must be how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub subject: Subject,
    pub pattern: Pattern,
}

impl Condition {
    /// Whether the job satisfies it.
    #[must_use]
    pub fn holds(&self, facts: &Facts) -> bool {
        self.pattern.fits(self.subject.seen(facts))
    }
}

/// Conditions that must all hold. Never empty (T-76).
#[derive(Clone, Debug)]
pub struct Block {
    /// The lines, in the order of the file.
    pub conditions: Vec<Condition>,
    pub places: Vec<Place>,
}

/// Where a block stands is no part of what it says.
impl PartialEq for Block {
    fn eq(&self, other: &Self) -> bool {
        self.conditions == other.conditions
    }
}

impl Eq for Block {}

impl Block {
    /// Whether the job satisfies every line.
    #[must_use]
    pub fn holds(&self, facts: &Facts) -> bool {
        self.conditions
            .iter()
            .all(|condition| condition.holds(facts))
    }

    /// What it asks of that fact.
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

    /// The exact texts it asks of that fact, if it asks nothing wider.
    #[must_use]
    pub fn exact(&self, fact: Fact) -> Option<Vec<&str>> {
        self.pattern(fact)?.exact_texts()
    }

    /// Where the line on that fact stands.
    #[must_use]
    pub fn place(&self, fact: Fact) -> Option<&Place> {
        let wanted = Subject::Fact(fact);
        let mut lines = self.conditions.iter().zip(&self.places);
        lines
            .find(|(condition, _)| condition.subject == wanted)
            .map(|(_, place)| place)
    }
}
