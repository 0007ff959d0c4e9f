//! The issuers and single keys that an operator has blocked.
//!
//! Used when a key or a whole issuer is compromised and still answers (T-64). Unlike `blocked_kids`
//! of an issuer, this needs no change of the policies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::token::{TrustedIssuer, keys};

/// Issuers and key IDs whose tokens are rejected, even with valid signatures.
///
/// Issuers are named as in the policies, or by their URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocked {
    issuers: BTreeSet<String>,
    kids: BTreeMap<String, BTreeSet<String>>,
}

impl Blocked {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Blocks every token of an issuer.
    #[must_use]
    pub fn with_issuer(mut self, issuer: &str) -> Self {
        self.issuers.insert(issuer.to_owned());
        self
    }

    /// Blocks the tokens of one key of an issuer.
    #[must_use]
    pub fn with_kid(mut self, issuer: &str, kid: &str) -> Self {
        let kids = self.kids.entry(issuer.to_owned()).or_default();
        kids.insert(kid.to_owned());
        self
    }

    /// Checks for names that would block nothing.
    ///
    /// # Errors
    /// Every unknown issuer and every invalid key ID, one sentence each.
    pub fn check(&self, issuers: &[Arc<TrustedIssuer>]) -> Result<(), Vec<String>> {
        let is_issuer = |name: &str| issuers.iter().any(|issuer| is_named(issuer, name));
        let unknown = self
            .issuers
            .iter()
            .chain(self.kids.keys())
            .filter(|name| !is_issuer(name))
            .map(|name| {
                format!(
                    "blocked issuer `{name}` is not the name or URL of an issuer in the policies"
                )
            });
        let odd = self
            .kids
            .iter()
            .filter(|(_, kids)| kids.iter().any(|kid| !keys::is_kid(kid)))
            .map(|(name, _)| {
                format!("a blocked key id of issuer `{name}` is not 1 to 256 bytes long")
            });
        let problems: Vec<String> = unknown.chain(odd).collect();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems)
        }
    }

    /// Whether every token of the issuer is rejected. Its keys need not be fetched either.
    #[must_use]
    pub(super) fn has_issuer(&self, issuer: &TrustedIssuer) -> bool {
        self.issuers.iter().any(|name| is_named(issuer, name))
    }

    /// Whether the tokens of this key of the issuer are rejected.
    #[must_use]
    pub(super) fn has_kid(&self, issuer: &TrustedIssuer, kid: &str) -> bool {
        self.kids
            .iter()
            .any(|(name, kids)| is_named(issuer, name) && kids.contains(kid))
    }
}

fn is_named(issuer: &TrustedIssuer, name: &str) -> bool {
    issuer.name == name || issuer.url == name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuers() -> Vec<Arc<TrustedIssuer>> {
        vec![
            Arc::new(TrustedIssuer::new("ci", "https://ci.example")),
            Arc::new(TrustedIssuer::new("other", "https://other.example")),
        ]
    }

    /// T-64
    #[test]
    fn an_issuer_is_blocked_by_its_name_or_its_url_and_no_other_with_it() {
        let issuers = issuers();
        for name in ["ci", "https://ci.example"] {
            let blocked = Blocked::new().with_issuer(name).with_kid(name, "k1");
            assert_eq!(blocked.check(&issuers), Ok(()));
            assert!(blocked.has_issuer(&issuers[0]) && !blocked.has_issuer(&issuers[1]));
            assert!(blocked.has_kid(&issuers[0], "k1"));
            assert!(!blocked.has_kid(&issuers[0], "K1"));
            assert!(!blocked.has_kid(&issuers[1], "k1"));
        }
    }

    /// T-64, T-76
    #[test]
    fn what_would_block_nothing_is_named() {
        let problems = Blocked::new()
            .with_issuer("https://ci.example/")
            .with_issuer("ci")
            .with_kid("cii", "k1")
            .with_kid("ci", "")
            .check(&issuers())
            .unwrap_err();
        insta::assert_snapshot!(problems.join("\n"), @r"
        blocked issuer `https://ci.example/` is not the name or URL of an issuer in the policies
        blocked issuer `cii` is not the name or URL of an issuer in the policies
        a blocked key id of issuer `ci` is not 1 to 256 bytes long
        ");
    }
}
