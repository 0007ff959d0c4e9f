//! Notices claims that a provider's tokens did not have when its table was written.
//!
//! Such a claim refuses no job, and conditions can read it under `claim:`. It is reported once per
//! issuer, so that its meaning is looked up. Only names are kept, and a bounded number of them: some
//! providers let jobs choose names of claims.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use crate::provider::{Provider, Reader};
use crate::text::escape_up_to;
use crate::token::json::Object;

/// The new claims of each issuer, by the issuer's name.
#[derive(Debug, Default)]
pub(super) struct NewClaims(Mutex<BTreeMap<String, BTreeSet<String>>>);

impl NewClaims {
    /// The claims that were not reported before for this issuer, escaped.
    pub(super) fn notice(&self, reader: &Reader, claims: &Object) -> Vec<String> {
        let provider = reader.provider;
        if provider.claims.is_empty() || provider.is_of_people() {
            return Vec::new();
        }
        let mut new = claims
            .iter()
            .map(|(name, _)| name)
            .filter(|name| !is_known(provider, name))
            .peekable();
        if new.peek().is_none() {
            return Vec::new();
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = all.entry(reader.issuer.name.clone()).or_default();
        let mut reported = Vec::new();
        for name in new.map(|name| escape_up_to(name, LONGEST_NAME)) {
            if seen.len() < MOST_NAMES && seen.insert(name.clone()) {
                reported.push(name);
            }
        }
        reported
    }

    /// How many there are of each issuer.
    pub(super) fn counts(&self) -> Vec<(String, usize)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .map(|(issuer, names)| (issuer.clone(), names.len()))
            .collect()
    }
}

fn is_known(provider: &Provider, name: &str) -> bool {
    let mut claims = provider.claims.iter();
    REGISTERED.contains(&name)
        || provider
            .property_claims
            .is_some_and(|prefix| name.starts_with(prefix))
        || claims.any(|claim| claim.name == name)
}

/// RFC 7519 section 4.1.
const REGISTERED: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];
/// For each issuer.
const MOST_NAMES: usize = 32;
/// Characters.
const LONGEST_NAME: usize = 64;
