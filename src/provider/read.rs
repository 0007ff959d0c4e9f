//! Reads a token's claims by a provider's table.

use std::collections::BTreeMap;

use super::claims::{self, ClaimType};
use super::table::{Agreement, Claim, How, Reading, Take, Way, When};
use super::{ClaimError, Fact, FactType, FactValue, Provider, Workflow};
use crate::clock::Timestamp;
use crate::text::is_printable;
use crate::token::json::{Object, Value};

/// The facts of a token.
pub(super) fn facts(
    token: &Object,
    provider: &Provider,
) -> Result<BTreeMap<Fact, FactValue>, ClaimError> {
    let sent = provider.claims.iter().map(|line| at(token, line.name));
    // Looked up once: a token has some thirty claims, and a fact may ask for its own twice.
    let sent: Vec<Option<&Value>> = sent.collect();
    let lines = || provider.claims.iter().zip(sent.iter().copied());
    for (line, value) in lines() {
        if let Some(value) = value {
            if line.is_list_of_texts() {
                claims::list(line.name, value)?;
            } else {
                claims::checked(line.name, value, line.claim_type)?;
            }
        }
    }
    for agreement in provider.agreements {
        agreement.check(token)?;
    }
    let mut facts = BTreeMap::new();
    for (line, own) in lines() {
        for reading in line.facts {
            if let Some(value) = with_claim(token, line, own, reading)? {
                facts.insert(reading.fact, value);
            }
        }
    }
    Ok(facts)
}

/// The claim of that name or pointer.
pub(super) fn at<'a>(token: &'a Object, name: &str) -> Option<&'a Value> {
    if name.starts_with('/') {
        token.pointer(name)
    } else {
        token.get(name)
    }
}

/// The claim's text. An empty one is absent (T-47), and so is one that conditions cannot match
/// (T-48).
pub(super) fn text<'a>(token: &'a Object, name: &str) -> Option<&'a str> {
    text_of(at(token, name)?)
}

fn text_of(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) => Some(text).filter(|text| !text.is_empty() && is_printable(text)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::List(_) | Value::Object(_) => None,
    }
    .map(String::as_str)
}

/// A fact of a token, by a line of the table.
pub(super) fn fact(
    token: &Object,
    line: &Claim,
    reading: &Reading,
) -> Result<Option<FactValue>, ClaimError> {
    with_claim(token, line, at(token, line.name), reading)
}

/// The same, where the line's claim is already found.
fn with_claim(
    token: &Object,
    line: &Claim,
    sent: Option<&Value>,
    reading: &Reading,
) -> Result<Option<FactValue>, ClaimError> {
    let own = || sent.and_then(text_of);
    let value = match reading.how {
        How::Sent => return as_sent(line, sent, reading.fact),
        How::Ways(ways) => ways
            .iter()
            .find_map(|way| way.text(token))
            .and_then(|text| word(reading.fact, text)),
        How::Differs(other) => match (own(), text(token, other)) {
            (Some(one), Some(other)) => Some(FactValue::Bool(one != other)),
            (Some(_) | None, Some(_) | None) => None,
        },
        How::Below(top) => match (text(token, top), own()) {
            (Some(top), Some(name)) => Some(FactValue::Text(format!("{top}/{name}"))),
            (Some(_) | None, Some(_) | None) => None,
        },
    };
    Ok(value)
}

fn as_sent(
    line: &Claim,
    sent: Option<&Value>,
    fact: Fact,
) -> Result<Option<FactValue>, ClaimError> {
    let Some(value) = sent else {
        return Ok(None);
    };
    let value = match line.claim_type {
        ClaimType::List => claims::list(line.name, value)?,
        ClaimType::FreeText => text_of(value).map(|text| FactValue::Text(text.to_owned())),
        ClaimType::Text
        | ClaimType::FlagText
        | ClaimType::Boolean
        | ClaimType::Number
        | ClaimType::Object => claims::fact_value(line.name, value, line.claim_type)?,
    };
    match (fact.fact_type(), value) {
        (FactType::Workflow, Some(FactValue::Text(text))) => {
            Ok(Some(FactValue::Workflow(Workflow::parse(&text))))
        }
        (FactType::Age, Some(FactValue::Text(digits))) => match digits.parse() {
            Ok(seconds) => Ok(Some(FactValue::Time(Timestamp::from_unix(seconds)))),
            Err(_) => Err(ClaimError {
                claim: line.name.to_owned(),
                problem: "is not a time in seconds".to_owned(),
            }),
        },
        (_, value) => Ok(value),
    }
}

/// A word as the value of a fact: of a boolean one, `true` or `false`.
fn word(fact: Fact, text: String) -> Option<FactValue> {
    match (fact.fact_type(), text.as_str()) {
        (FactType::Bool, "true") => Some(FactValue::Bool(true)),
        (FactType::Bool, "false") => Some(FactValue::Bool(false)),
        (FactType::Bool, _) => None,
        (_, _) => Some(FactValue::Text(text)),
    }
}

impl Way {
    /// What it makes of the token; `None` if it does not apply.
    pub(super) fn text(&self, token: &Object) -> Option<String> {
        if !self.when.iter().all(|when| when.holds(token)) {
            return None;
        }
        if let Take::Always(word) = self.take {
            return Some(word.to_owned());
        }
        self.take.of(text(token, self.claim)?)
    }
}

impl Take {
    /// What it makes of a text.
    fn of(self, text: &str) -> Option<String> {
        let made = match self {
            Self::Sent => text,
            Self::Prefixed(prefix) => return Some(format!("{prefix}{text}")),
            Self::Starting(start) => Some(text).filter(|text| text.starts_with(start))?,
            Self::Part(shape) => shape.part(text)?,
            Self::File(cut) => {
                let path = Workflow::parse(text).path;
                let file = cut.rest(&path).filter(|file| !file.is_empty());
                return file.map(str::to_owned);
            }
            Self::Words { words, other } => {
                let mut known = words.iter();
                let known = known.find(|(_, known)| *known == text);
                known.map(|(word, _)| *word).or(other)?
            }
            Self::Starts(words) => {
                let mut known = words.iter();
                known.find(|(start, _)| text.starts_with(start))?.1
            }
            Self::Word(word) | Self::Always(word) => word,
        };
        Some(made.to_owned())
    }
}

impl When {
    fn holds(&self, token: &Object) -> bool {
        match self {
            Self::Is(claim, wanted) => text(token, claim) == Some(wanted),
            Self::True(claim) => matches!(at(token, claim), Some(Value::Bool(true))),
            Self::Absent(claim) => match at(token, claim) {
                None | Some(Value::Null) => true,
                Some(Value::Text(text)) => text.is_empty(),
                Some(Value::Bool(_) | Value::Number(_) | Value::List(_) | Value::Object(_)) => {
                    false
                }
            },
        }
    }
}

impl Agreement {
    fn check(&self, token: &Object) -> Result<(), ClaimError> {
        let part = text(token, self.with).and_then(|text| self.shape.part(text));
        match (text(token, self.claim), part) {
            (Some(own), Some(part)) if own != part => Err(ClaimError {
                claim: self.claim.to_owned(),
                problem: format!("is not the one in `{}`", self.with),
            }),
            (Some(_) | None, Some(_) | None) => Ok(()),
        }
    }
}
