//! What a request asked for, and the raw claims that some policy reads. With the facts of the job
//! they are what a decision was made from, so that `hallpass policy replay` can make it again.

use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};

use super::event::{Bounded, LONGEST_LIST, LONGEST_LISTED};
use super::text::Text;
use crate::policy::{Ask, CredentialDefinition};
use crate::provider::Facts;
use crate::text::is_printable;
use crate::token::json::Value;
use crate::yaml::duration;

/// The part of a request that it may leave open.
///
/// Scopes that the credential does not have are counted and not recorded: a request may have a token in
/// the wrong place (T-92).
#[derive(Clone, Debug, Serialize)]
pub struct AskedRecord {
    #[serde(skip_serializing_if = "Option::is_none")]
    scopes: Option<Bounded<Text>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<String>,
}

impl AskedRecord {
    #[must_use]
    pub fn of(ask: &Ask, credential: Option<&CredentialDefinition>) -> Self {
        let has = |scope: &&String| credential.is_some_and(|one| one.scopes().contains(scope));
        let scopes = ask.scopes.as_ref();
        Self {
            scopes: scopes.map(|scopes| {
                Bounded::of_longer(scopes.iter().filter(has).map(Text::from), scopes.len())
            }),
            ttl: ask.ttl.map(duration::print),
        }
    }
}

/// The claims that a policy of the job's issuer reads, by JSON pointer, and no other (T-321).
///
/// A value is recorded exactly or not at all: text that would be escaped or cut, and whatever is too
/// large, is recorded as its type. A missing claim is `null`.
#[derive(Clone, Debug, Default)]
pub struct ClaimRecord(Vec<(Text, ClaimValue)>);

impl ClaimRecord {
    #[must_use]
    pub fn of(facts: &Facts) -> Self {
        let pointers = facts.pointers().iter().take(MOST_CLAIMS);
        let claims = pointers.map(|pointer| {
            let value = facts.claims().pointer(pointer);
            (Text::new(pointer), ClaimValue::of(value))
        });
        Self(claims.collect())
    }

    /// Whether no policy reads a claim.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for ClaimRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (pointer, value) in &self.0 {
            map.serialize_entry(pointer, value)?;
        }
        map.end()
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum ClaimValue {
    /// There is none, or it is `null`.
    Absent,
    Bool(bool),
    Number(i64),
    Text(Text),
    List(Vec<Text>),
    /// A value that is not recorded.
    Type {
        r#type: &'static str,
    },
}

impl ClaimValue {
    fn of(value: Option<&Value>) -> Self {
        let only = |r#type| Self::Type { r#type };
        match value {
            None | Some(Value::Null) => Self::Absent,
            Some(Value::Bool(value)) => Self::Bool(*value),
            Some(Value::Number(number)) => match number.literal().parse::<i64>() {
                Ok(whole) if whole.to_string() == number.literal() => Self::Number(whole),
                Ok(_) | Err(_) => only("number"),
            },
            Some(Value::Text(text)) if !is_printable(text) => only("foreign"),
            Some(Value::Text(text)) => exact(text).map_or(only("text"), Self::Text),
            Some(Value::List(items)) => list(items).map_or(only("list"), Self::List),
            Some(Value::Object(_)) => only("object"),
        }
    }
}

/// The text, if an event keeps it as it is.
fn exact(text: &str) -> Option<Text> {
    let kept = Text::new(text);
    (kept.as_str() == text).then_some(kept)
}

fn list(items: &[Value]) -> Option<Vec<Text>> {
    let texts: Vec<&str> = items.iter().map(Value::as_text).collect::<Option<_>>()?;
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    if texts.len() > LONGEST_LIST || bytes > LONGEST_LISTED {
        return None;
    }
    texts.into_iter().map(exact).collect()
}

/// Claims of an event.
const MOST_CLAIMS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::json::{Limits, parse_object};

    /// T-322
    #[test]
    fn a_claim_is_recorded_exactly_or_as_its_type() {
        let long = "x".repeat(300);
        let text = format!(
            r#"{{"a":"42","b":true,"c":null,"d":-7,"e":1.50,"f":"{long}","g":"a\u001b[2J","h":["x","y"],"i":[1],"j":{{}},"k":[]}}"#
        );
        let claims = parse_object(text.as_bytes(), &Limits::default()).unwrap();
        let recorded =
            |name: &str| serde_json::to_string(&ClaimValue::of(claims.get(name))).unwrap();
        for (name, expected) in [
            ("a", r#""42""#),
            ("b", "true"),
            ("c", "null"),
            ("missing", "null"),
            ("d", "-7"),
            ("e", r#"{"type":"number"}"#),
            ("f", r#"{"type":"text"}"#),
            ("g", r#"{"type":"foreign"}"#),
            ("h", r#"["x","y"]"#),
            ("i", r#"{"type":"list"}"#),
            ("j", r#"{"type":"object"}"#),
            ("k", "[]"),
        ] {
            assert_eq!(recorded(name), expected, "{name}");
        }
    }
}
