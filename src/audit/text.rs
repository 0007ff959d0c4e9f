//! Outside text in an event: escaped and bounded by its type (T-91).

use std::fmt;

use serde::Serialize;

use crate::text::escape;

/// Text from outside, as one bounded line of printable ASCII. There is no other way for it into an
/// event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Text(String);

impl Text {
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(escape(text))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<&String> for Text {
    fn from(text: &String) -> Self {
        Self::new(text)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
