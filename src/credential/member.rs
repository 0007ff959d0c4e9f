//! The members that a minted credential consists of.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::secret::Secret;

/// The named members of a credential, each public or secret. The constructor takes the secret, so
/// there is always exactly one.
#[derive(Debug)]
pub struct Members {
    name: &'static str,
    secret: Secret<String>,
    others: Vec<(&'static str, Other)>,
}

#[derive(Debug)]
enum Other {
    Public(Value),
    HoldsSecret(Secret<String>),
    Secrets(NamedSecrets),
}

/// Further secrets, by their names.
#[derive(Clone, Debug, Default)]
pub struct NamedSecrets(pub BTreeMap<String, Secret<String>>);

impl PartialEq for NamedSecrets {
    fn eq(&self, other: &Self) -> bool {
        let mut pairs = self.0.iter().zip(&other.0);
        self.0.len() == other.0.len()
            && pairs.all(|((name, text), (other, other_text))| {
                name == other && text.is_same(other_text)
            })
    }
}

impl Members {
    /// The secret and its name.
    #[must_use]
    pub const fn new(name: &'static str, secret: Secret<String>) -> Self {
        Self {
            name,
            secret,
            others: Vec::new(),
        }
    }

    /// Adds a public member. `Value::Null` means no value.
    #[must_use]
    pub fn public(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.others.push((name, Other::Public(value.into())));
        self
    }

    /// Adds a text that contains the secret.
    #[must_use]
    pub fn holding_secret(mut self, name: &'static str, text: Secret<String>) -> Self {
        self.others.push((name, Other::HoldsSecret(text)));
        self
    }

    /// Adds secrets by names that the target chose, if there are any.
    #[must_use]
    pub fn secrets(mut self, name: &'static str, secrets: NamedSecrets) -> Self {
        if !secrets.0.is_empty() {
            self.others.push((name, Other::Secrets(secrets)));
        }
        self
    }

    #[must_use]
    pub const fn secret(&self) -> &Secret<String> {
        &self.secret
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.others.iter().find_map(|(known, other)| match other {
            Other::Public(value) if *known == name => Some(value),
            Other::Public(_) | Other::HoldsSecret(_) | Other::Secrets(_) => None,
        })
    }

    /// All members, including secrets. Only for the response to the job.
    #[must_use]
    pub fn expose(&self) -> ExposedMembers<'_> {
        let others = self.others.iter().map(|(name, other)| {
            let value = match other {
                Other::Public(value) => Exposed::Value(value),
                Other::HoldsSecret(text) => Exposed::Text(text.expose()),
                Other::Secrets(secrets) => Exposed::Named(secrets),
            };
            (*name, value)
        });
        let secret = Exposed::Text(self.secret.expose());
        ExposedMembers(others.chain([(self.name, secret)]).collect())
    }
}

/// Members as a JSON object, secrets among them. No `Debug`, as for every text that may be secret.
#[derive(Clone, Default, PartialEq)]
pub struct ExposedMembers<'a>(Vec<(&'static str, Exposed<'a>)>);

#[derive(Clone, Copy, PartialEq)]
enum Exposed<'a> {
    Value(&'a Value),
    Text(&'a str),
    Named(&'a NamedSecrets),
}

impl Serialize for Exposed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Value(value) => value.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Named(secrets) => {
                let texts = secrets.0.iter();
                serializer.collect_map(texts.map(|(name, text)| (name, text.expose())))
            }
        }
    }
}

impl<'a> ExposedMembers<'a> {
    /// Adds a text.
    pub fn insert(&mut self, name: &'static str, text: &'a str) {
        self.0.push((name, Exposed::Text(text)));
    }

    /// Removes the members with other names.
    pub fn retain(&mut self, is_kept: impl Fn(&str) -> bool) {
        self.0.retain(|(name, _)| is_kept(name));
    }
}

impl Serialize for ExposedMembers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T-92
    #[test]
    fn debug_shows_public_members_only() {
        let members = Members::new("password", Secret::new("canary-1".to_owned()))
            .public("host", "db.acme.dev")
            .holding_secret("url", Secret::new("canary-2".to_owned()))
            .secrets(
                "secrets",
                NamedSecrets([("uri".to_owned(), Secret::new("canary-3".to_owned()))].into()),
            );
        let shown = format!("{members:?}");
        assert!(
            shown.contains("db.acme.dev") && !shown.contains("canary"),
            "{shown}"
        );
        assert_eq!(members.get("url"), None);
        let exposed = serde_json::to_string(&members.expose()).unwrap();
        insta::assert_snapshot!(exposed, @r#"{"host":"db.acme.dev","url":"canary-2","secrets":{"uri":"canary-3"},"password":"canary-1"}"#);
    }
}
