//! Repository properties: claims whose names and types the policies declare, since an organisation
//! chooses them.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::claims::{self, ClaimType};
use super::{ClaimError, FactType, FactValue, Facts, Reader};
use crate::token::json::{Object, Value, pointer_to};

/// The type of a declared property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PropertyType {
    Text,
    /// The texts `true` and `false`.
    Boolean,
    /// Entries in one text, with commas between them.
    List,
}

/// The properties that an issuer declares, by name.
pub type Properties = BTreeMap<String, PropertyType>;

/// The name of a property. It is compared and shown as `property.NAME`, which is no fact's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PropertyName(String);

impl PropertyType {
    pub const ALL: [Self; 3] = [Self::Text, Self::Boolean, Self::List];

    /// The word in a policy file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Boolean => "boolean",
            Self::List => "list",
        }
    }

    /// What patterns on it compare.
    #[must_use]
    pub const fn fact_type(self) -> FactType {
        match self {
            Self::Text => FactType::Text,
            Self::Boolean => FactType::Bool,
            Self::List => FactType::List,
        }
    }
}

impl PropertyName {
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(format!("{PREFIX}{name}"))
    }

    /// Its name at the CI.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.strip_prefix(PREFIX).unwrap_or_default()
    }

    /// `property.NAME`.
    #[must_use]
    pub fn dotted(&self) -> &str {
        &self.0
    }
}

/// Whether it has the form `property.NAME`.
pub(crate) fn is_dotted(text: &str) -> bool {
    text.strip_prefix(PREFIX).is_some_and(is_name)
}

/// Whether a CI can have a property of that name.
pub(crate) fn is_name(name: &str) -> bool {
    let marks = |byte| matches!(byte, b'_' | b'-' | b'$' | b'#');
    (1..=LONGEST_NAME).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || marks(byte))
}

impl Reader {
    /// The type of a property that the issuer declares.
    #[must_use]
    pub fn property_type(&self, name: &PropertyName) -> Option<PropertyType> {
        self.properties.get(name.name()).copied()
    }

    /// The declared property that the claim holds.
    #[must_use]
    pub fn property_of_claim<'a>(&self, claim: &'a str) -> Option<&'a str> {
        let name = claim.strip_prefix(self.provider.property_claims?)?;
        self.properties.contains_key(name).then_some(name)
    }

    /// The claim of a property.
    fn claim_of(&self, name: &str) -> Option<String> {
        let prefix = self.provider.property_claims?;
        Some(format!("{prefix}{name}"))
    }

    /// The pointer to the claim of a property.
    #[must_use]
    pub fn property_pointer(&self, name: &PropertyName) -> Option<String> {
        self.claim_of(name.name()).map(|claim| pointer_to(&claim))
    }

    /// A property as a claim of a token: its name and value.
    #[must_use]
    pub fn property_claim(&self, name: &PropertyName, value: &FactValue) -> Option<(String, Json)> {
        let claim = self.claim_of(name.name())?;
        // A CI sends no other type.
        let text = match value {
            FactValue::Text(text) => text.clone(),
            FactValue::Bool(value) => value.to_string(),
            FactValue::List(entries) => entries.join(","),
            FactValue::Workflow(_) | FactValue::Address(_) | FactValue::Time(_) => return None,
        };
        Some((claim, text.into()))
    }

    /// The declared properties in a token. Others are not read.
    ///
    /// # Errors
    /// A declared property has another type (T-46).
    pub(super) fn read_properties(
        &self,
        token: &Object,
    ) -> Result<BTreeMap<PropertyName, FactValue>, ClaimError> {
        let mut read = BTreeMap::new();
        for (name, declared) in &self.properties {
            let Some(claim) = self.claim_of(name) else {
                continue;
            };
            let value = match token.get(&claim) {
                // T-47: an empty text counts as absent.
                None => continue,
                Some(Value::Text(text)) if text.is_empty() => continue,
                Some(value) => value,
            };
            let value = match declared {
                PropertyType::Text => claims::fact_value(&claim, value, ClaimType::Text)?,
                PropertyType::Boolean => claims::fact_value(&claim, value, ClaimType::FlagText)?,
                PropertyType::List => claims::list(&claim, value)?,
            };
            if let Some(value) = value {
                read.insert(PropertyName::new(name), value);
            }
        }
        Ok(read)
    }
}

impl Facts {
    /// The value of a declared property; `None` if it is absent (T-47).
    #[must_use]
    pub fn property(&self, name: &PropertyName) -> Option<&FactValue> {
        self.properties.get(name)
    }

    /// All declared properties that the token has.
    pub fn properties(&self) -> impl Iterator<Item = (&PropertyName, &FactValue)> {
        self.properties.iter()
    }
}

const PREFIX: &str = "property.";
/// The longest name of a custom property at GitHub, in bytes.
const LONGEST_NAME: usize = 75;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_a_ci_can_have_and_shown_with_its_prefix() {
        for name in ["tier", "data_class", "Team-1", "$x#", &"a".repeat(75)] {
            assert!(is_name(name), "{name}");
            assert_eq!(PropertyName::new(name).name(), name);
        }
        for name in ["", "a b", "a.b", "a/b", "ü", &"a".repeat(76)] {
            assert!(!is_name(name), "{name}");
        }
        assert_eq!(PropertyName::new("tier").dotted(), "property.tier");
        assert!(is_dotted("property.tier"));
        assert!(!is_dotted("property."));
        assert!(!is_dotted("tier"));
    }
}
