//! Reads claims with their types. No value is converted, and an absent claim stays absent.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::{ClaimError, Fact, FactValue};
use crate::text::is_printable;
use crate::token::json::{Value, unescape_step};

/// The type of a claim. Another JSON type is a [`ClaimError`] (T-46); `null` is absent (T-47).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimType {
    /// Text that may become a fact: printable ASCII (T-48).
    Text,
    /// Text that anyone can choose, e.g. a display name. Any characters are accepted; only printable
    /// ASCII becomes a fact, if any does.
    FreeText,
    /// The texts `"true"` and `"false"`.
    FlagText,
    /// A JSON boolean.
    Boolean,
    /// A JSON number. As a fact, its decimal digits.
    Number,
    /// A JSON list. As a fact: its texts, or one text cut at commas.
    List,
    /// A JSON object.
    Object,
}

impl ClaimType {
    const fn expected(self) -> &'static str {
        match self {
            Self::Text | Self::FreeText => "text",
            Self::FlagText => "the text `true` or `false`",
            Self::Boolean => "true or false",
            Self::Number => "a number",
            Self::List => "a list",
            Self::Object => "an object",
        }
    }
}

/// Converts a claim to a fact's value; `None` if it is absent, empty or cannot be a fact.
pub(super) fn fact_value(
    name: &str,
    value: &Value,
    claim_type: ClaimType,
) -> Result<Option<FactValue>, ClaimError> {
    let value = checked(name, value, claim_type)?;
    Ok(value.map(|value| match value {
        Checked::Text(text) => FactValue::Text(text.to_owned()),
        Checked::Bool(value) => FactValue::Bool(value),
    }))
}

/// A claim that has its type, without a copy of it.
pub(super) enum Checked<'a> {
    Text(&'a str),
    Bool(bool),
}

/// Checks a claim's type; `None` if it is absent, empty or cannot be a fact.
pub(super) fn checked<'a>(
    name: &str,
    value: &'a Value,
    claim_type: ClaimType,
) -> Result<Option<Checked<'a>>, ClaimError> {
    match (claim_type, value) {
        (ClaimType::Text, Value::Text(text)) if text.is_empty() => Ok(None),
        (_, Value::Null)
        | (ClaimType::FreeText, Value::Text(_))
        | (ClaimType::List, Value::List(_))
        | (ClaimType::Object, Value::Object(_)) => Ok(None),
        (ClaimType::Text, Value::Text(text)) => {
            printable(name, text).map(|text| Some(Checked::Text(text)))
        }
        (ClaimType::FlagText, Value::Text(text)) => match text.as_str() {
            "true" => Ok(Some(Checked::Bool(true))),
            "false" => Ok(Some(Checked::Bool(false))),
            _ => Err(problem(
                name,
                "is text other than `true` and `false`".to_owned(),
            )),
        },
        (ClaimType::Boolean, Value::Bool(value)) => Ok(Some(Checked::Bool(*value))),
        (ClaimType::Number, Value::Number(number)) => {
            decimal(name, number.literal()).map(|digits| Some(Checked::Text(digits)))
        }
        (
            ClaimType::Text
            | ClaimType::FreeText
            | ClaimType::FlagText
            | ClaimType::Boolean
            | ClaimType::Number
            | ClaimType::List
            | ClaimType::Object,
            Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) | Value::Object(_),
        ) => Err(wrong_type(name, value, claim_type)),
    }
}

/// A claim of type [`ClaimType::List`] as a fact's value: a JSON list of texts, or one text cut at
/// commas. Entries outside printable ASCII (T-48) and empty entries are dropped.
pub(super) fn list(name: &str, value: &Value) -> Result<Option<FactValue>, ClaimError> {
    let entries: Vec<&str> = match value {
        Value::Null => Vec::new(),
        Value::Text(text) => text.split(',').collect(),
        Value::List(items) => {
            let texts = items.iter().map(Value::as_text);
            texts
                .collect::<Option<_>>()
                .ok_or_else(|| problem(name, "has an entry that is not text".to_owned()))?
        }
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            return Err(wrong_type(name, value, ClaimType::List));
        }
    };
    let kept: Vec<String> = entries
        .into_iter()
        .filter(|entry| !entry.is_empty() && is_printable(entry))
        .map(str::to_owned)
        .collect();
    Ok((!kept.is_empty()).then_some(FactValue::List(kept)))
}

/// Checks that text is printable ASCII, so that no look-alike passes (T-48).
pub(super) fn printable<'a>(name: &str, text: &'a str) -> Result<&'a str, ClaimError> {
    if is_printable(text) {
        Ok(text)
    } else {
        Err(problem(
            name,
            "has characters outside printable ASCII, which conditions cannot match".to_owned(),
        ))
    }
}

/// Sets the member that a JSON pointer names, with the objects around it. `None`: the pointer is not
/// well-formed, or what is around the member is there and no object.
pub(crate) fn set(claims: &mut Map<String, Json>, pointer: &str, value: Json) -> Option<()> {
    let names = pointer.split('/').skip(1).map(unescape_step);
    let mut names: Vec<String> = names.collect::<Option<_>>()?;
    let last = names.pop()?;
    let mut members = claims;
    for name in names {
        let inner = members.entry(name).or_insert_with(|| Map::new().into());
        members = inner.as_object_mut()?;
    }
    members.insert(last, value);
    Some(())
}

/// A fact's value as a claim of that type.
pub(super) fn to_json(value: &FactValue, claim_type: ClaimType) -> Json {
    match (value, claim_type) {
        (FactValue::Bool(value), ClaimType::FlagText) => value.to_string().into(),
        (FactValue::Bool(value), _) => (*value).into(),
        (FactValue::List(entries), _) => entries.clone().into(),
        (FactValue::Text(text), ClaimType::Number) => text
            .parse::<i64>()
            .map_or_else(|_| text.as_str().into(), Json::from),
        (FactValue::Text(text), _) => text.as_str().into(),
        (FactValue::Address(address), _) => address.to_string().into(),
        (FactValue::Time(time), _) => time.unix().into(),
        (FactValue::Workflow(workflow), _) => match &workflow.r#ref {
            Some(r#ref) => format!("{}@{}", workflow.path, r#ref).into(),
            None => workflow.path.as_str().into(),
        },
    }
}

/// The text of a text fact.
pub(super) fn text_of(facts: &BTreeMap<Fact, FactValue>, fact: Fact) -> Option<&str> {
    match facts.get(&fact)? {
        FactValue::Text(text) => Some(text),
        FactValue::Bool(_)
        | FactValue::List(_)
        | FactValue::Workflow(_)
        | FactValue::Address(_)
        | FactValue::Time(_) => None,
    }
}

/// Digits as written: `1e3` and `1.5` are not IDs.
fn decimal<'a>(name: &str, literal: &'a str) -> Result<&'a str, ClaimError> {
    let digits = literal.strip_prefix('-').unwrap_or(literal);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(literal);
    }
    Err(problem(name, "is not a whole number".to_owned()))
}

fn wrong_type(name: &str, value: &Value, expected: ClaimType) -> ClaimError {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::Text(_) => "text",
        Value::List(_) => "a list",
        Value::Object(_) => "an object",
    };
    problem(
        name,
        format!("is {found}, expected {}", expected.expected()),
    )
}

fn problem(claim: &str, problem: String) -> ClaimError {
    ClaimError {
        claim: claim.to_owned(),
        problem,
    }
}
