//! Strict, bounded JSON parser: one object without duplicate names. The only reader of foreign
//! JSON.
//!
//! Two parsers that read one text differently can disagree about a job's identity. So ambiguous
//! text is rejected: duplicate names (also as `\u0061`), lone surrogates, a byte order mark, and
//! anything after the end. Numbers keep their original text, so nothing is rounded.

mod number;
mod parser;

pub use number::Number;

/// Reads one JSON object (RFC 8259) within the limits.
///
/// # Errors
/// The text is not exactly one object, or exceeds a limit (T-16 to T-18). The error names the
/// position and the rule, and quotes nothing.
pub fn parse_object(text: &[u8], limits: &Limits) -> Result<Object, JsonError> {
    parser::parse(text, limits)
}

/// The limits of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest text, in bytes.
    pub bytes: usize,
    /// Deepest nesting of objects and lists, the outermost object included.
    pub depth: usize,
    /// Most values, counting objects and lists and everything in them.
    pub values: usize,
    /// Longest number, in bytes.
    pub number: usize,
}

impl Limits {
    /// The default limits, with this maximum length.
    #[must_use]
    pub const fn for_bytes(bytes: usize) -> Self {
        Self {
            bytes,
            depth: 16,
            values: 4_096,
            number: 64,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::for_bytes(256 * 1_024)
    }
}

/// An object: members in the order of the text, each name once.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Object(Vec<(String, Value)>);

impl Object {
    /// The member of exactly that name; names compare as bytes (T-26).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.iter()
            .find_map(|(member, value)| (member == name).then_some(value))
    }

    /// How many members it has.
    #[must_use]
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The members in the order of the text.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The value at a non-empty JSON pointer (RFC 6901).
    #[must_use]
    pub fn pointer(&self, pointer: &str) -> Option<&Value> {
        let mut steps = pointer.strip_prefix('/')?.split('/');
        let member = self.get(&unescape_step(steps.next()?)?)?;
        steps.try_fold(member, Value::step)
    }

    /// The same object for output. A number no `f64` can hold becomes its text.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Map<String, serde_json::Value> {
        self.iter()
            .map(|(name, value)| (name.to_owned(), value.to_json()))
            .collect()
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    Number(Number),
    /// Text, with its escapes resolved.
    Text(String),
    List(Vec<Self>),
    Object(Object),
}

impl Value {
    /// The text, if it is text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::List(_) | Self::Object(_) => None,
        }
    }

    /// The same value for output. A number no `f64` can hold becomes its text.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(value) => serde_json::Value::Bool(*value),
            Self::Number(number) => number.to_json(),
            Self::Text(text) => serde_json::Value::String(text.clone()),
            Self::List(items) => {
                serde_json::Value::Array(items.iter().map(Self::to_json).collect())
            }
            Self::Object(object) => serde_json::Value::Object(object.to_json()),
        }
    }

    fn step(&self, step: &str) -> Option<&Self> {
        match self {
            Self::Object(object) => object.get(&unescape_step(step)?),
            Self::List(items) => items.get(list_index(step)?),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) => None,
        }
    }
}

/// The JSON pointer to the member of that name (RFC 6901).
pub(crate) fn pointer_to(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// A step of a JSON pointer as the name of a member; `None` if `~` begins no escape.
pub(crate) fn unescape_step(step: &str) -> Option<String> {
    let mut plain = String::with_capacity(step.len());
    let mut characters = step.chars();
    while let Some(character) = characters.next() {
        plain.push(match character {
            '~' => match characters.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            },
            other => other,
        });
    }
    Some(plain)
}

/// RFC 6901 section 4: digits without a leading zero.
pub(crate) fn list_index(step: &str) -> Option<usize> {
    let canonical = step == "0" || !step.starts_with('0');
    (canonical && step.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| step.parse().ok())
        .flatten()
}

/// Where a text breaks the rules of strict JSON. It quotes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {offset}")]
pub struct JsonError {
    /// Bytes before the place.
    pub offset: usize,
    /// The broken rule.
    pub problem: JsonProblem,
}

/// The rules a text can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonProblem {
    #[error("text too long")]
    TooLong,
    #[error("text not UTF-8")]
    NotUtf8,
    #[error("expected an object")]
    NotAnObject,
    #[error("malformed JSON")]
    Malformed,
    #[error("unpaired surrogate")]
    LoneSurrogate,
    #[error("number too long")]
    NumberTooLong,
    #[error("duplicate member in the object that ends")]
    DuplicateName,
    #[error("nesting too deep")]
    TooDeep,
    #[error("too many values")]
    TooManyValues,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Object {
        parse_object(text.as_bytes(), &Limits::default()).expect("strict JSON")
    }

    #[test]
    fn a_pointer_finds_what_rfc_6901_says() {
        let found = object(
            r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8,"deep":{"er":{"still":true}}}"#,
        );
        let text = |pointer: &str| {
            found
                .pointer(pointer)
                .map(|value| value.to_json().to_string())
        };
        assert_eq!(text("/foo/0").as_deref(), Some("\"bar\""));
        assert_eq!(text("/").as_deref(), Some("0"));
        assert_eq!(text("/a~1b").as_deref(), Some("1"));
        assert_eq!(text("/m~0n").as_deref(), Some("8"));
        assert_eq!(text("/deep/er/still").as_deref(), Some("true"));
        for nothing in [
            "",
            "foo",
            "/foo/01",
            "/foo/2",
            "/foo/-",
            "/foo/+1",
            "/m~n",
            "/m~2n",
            "/foo/0/x",
            "/foo/99999999999999999999999",
        ] {
            assert_eq!(text(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn output_keeps_types_and_does_not_round_what_fits() {
        let json =
            object(r#"{"a":9007199254740993,"b":1.5,"c":1e400,"d":[null,false,"x"],"e":-3}"#);
        assert_eq!(
            serde_json::Value::Object(json.to_json()),
            serde_json::json!({"a": 9_007_199_254_740_993_u64, "b": 1.5, "c": "1e400", "d": [null, false, "x"], "e": -3})
        );
    }

    #[test]
    fn an_error_names_place_and_rule_and_quotes_nothing() {
        let error = parse_object(br#"{"canary":1,"canary":2}"#, &Limits::default()).unwrap_err();
        insta::assert_snapshot!(error, @"duplicate member in the object that ends at byte 23");
    }
}
