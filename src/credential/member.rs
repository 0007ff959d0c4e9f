//! Members: what a minted credential consists of.

use serde_json::{Map, Value};

use crate::secret::Secret;

/// The named members of a credential, each public or secret. One of them is the secret itself: the
/// constructor takes it, so there is always exactly one.
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

    /// Adds a public member; `Value::Null` says that it has no value.
    #[must_use]
    pub fn public(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.others.push((name, Other::Public(value.into())));
        self
    }

    /// Adds a text that the secret is part of.
    #[must_use]
    pub fn holding_secret(mut self, name: &'static str, text: Secret<String>) -> Self {
        self.others.push((name, Other::HoldsSecret(text)));
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
            Other::Public(_) | Other::HoldsSecret(_) => None,
        })
    }

    /// All members as JSON, secrets included: for the answer to the job only.
    #[must_use]
    pub fn expose(&self) -> Map<String, Value> {
        let others = self.others.iter().map(|(name, other)| {
            let value = match other {
                Other::Public(value) => value.clone(),
                Other::HoldsSecret(text) => text.expose().as_str().into(),
            };
            ((*name).to_owned(), value)
        });
        let secret = self.secret.expose().as_str().into();
        others.chain([(self.name.to_owned(), secret)]).collect()
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
            .holding_secret("url", Secret::new("canary-2".to_owned()));
        let shown = format!("{members:?}");
        assert!(
            shown.contains("db.acme.dev") && !shown.contains("canary"),
            "{shown}"
        );
        assert_eq!(members.get("url"), None);
        assert_eq!(members.expose().len(), 3);
    }
}
