//! Trait `KeySource`: issuer and key id to key. Not: claims.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::json::{self, Object, Value};
use super::{Algorithm, TrustedIssuer};
use crate::reason::Reason;

mod admission;
pub mod file;
mod material;
pub mod remote;
mod roca;
#[cfg(test)]
mod wycheproof;

pub use admission::{Admission, Rejected, Rule};
pub use file::FileKeys;
pub use remote::RemoteKeys;

pub(in crate::token) use material::PublicKey;

/// Where an issuer's keys come from.
///
/// Keys are reached only through the issuer, so one issuer's key never checks another's token, also
/// when both publish the same key id (T-30). A source never waits longer than one fetch may take.
#[async_trait]
pub trait KeySource: Send + Sync + fmt::Debug {
    /// The issuer's current keys. The `kid` is what a token asks for, unverified: where the set does
    /// not know it, the source may look for newer keys first.
    ///
    /// # Errors
    /// There are no keys that may be used. A set without the key is no error.
    async fn keys(
        &self,
        issuer: &Arc<TrustedIssuer>,
        kid: Option<&str>,
    ) -> Result<Arc<KeySet>, KeyError>;
}

/// An issuer's public keys that were admitted, each ready to check signatures.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
    ambiguous: BTreeSet<String>,
    rejected: Vec<Rejected>,
    published: BTreeSet<String>,
    kids: BTreeSet<String>,
}

impl KeySet {
    /// Reads a JWKS (RFC 7517 section 5). Each entry stands alone (T-38): one that is not admitted
    /// is left out and remembered as [`rejected`](Self::rejected), and so are all that share a `kid`.
    ///
    /// # Errors
    /// [`KeyError::Document`]: not one strict JSON object, no list `keys`, or more than 64 entries.
    pub fn from_jwks(document: &[u8], admission: &Admission) -> Result<Self, KeyError> {
        let object = json::parse_object(document, &json::Limits::for_bytes(LONGEST_DOCUMENT))
            .map_err(|error| {
                KeyError::Document(format!("the key set is not strict JSON: {error}"))
            })?;
        let entries = match object.get("keys") {
            Some(Value::List(entries)) if entries.len() <= MOST_KEYS => entries,
            Some(Value::List(entries)) => {
                let count = entries.len();
                return Err(KeyError::Document(format!(
                    "the key set has {count} entries, expected at most {MOST_KEYS}"
                )));
            }
            Some(_) | None => {
                return Err(KeyError::Document(
                    "the key set has no list `keys`".to_owned(),
                ));
            }
        };
        Ok(Self::of_entries(entries, admission))
    }

    /// How many keys were admitted.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no key was admitted.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The entries that were not admitted, in the order of the document.
    #[must_use]
    pub fn rejected(&self) -> &[Rejected] {
        &self.rejected
    }

    /// Whether a token naming this key gets an answer without newer keys.
    #[must_use]
    pub fn knows(&self, kid: &str) -> bool {
        self.ambiguous.contains(kid) || self.keys.iter().any(|key| key.has_kid(kid))
    }

    /// The RFC 7638 thumbprints of every entry that is a public key, admitted or not: an issuer that
    /// publishes a key of ours under another `alg` or `use` still publishes it (T-109).
    pub fn published(&self) -> impl Iterator<Item = &str> {
        self.published.iter().map(String::as_str)
    }

    /// The `kid` of every entry that has one, admitted or not.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.kids.iter().map(String::as_str)
    }

    /// The one key a token means: exactly the `kid` it names or, without one, the only key of the
    /// algorithm. Keys are never tried one after another (T-27). A blocked key is never it: a token
    /// that leaves its `kid` out gains nothing by that (T-64).
    pub(super) fn choose(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        is_blocked: impl Fn(&str) -> bool,
    ) -> Choice<'_> {
        let Some(kid) = kid else {
            let (blocked, fitting): (Vec<&Key>, Vec<&Key>) = self
                .keys
                .iter()
                .filter(|key| key.public.fits(algorithm))
                .partition(|key| key.kid.as_deref().is_some_and(&is_blocked));
            return match fitting.as_slice() {
                [] if blocked.is_empty() => Choice::Unknown,
                [] => Choice::Blocked,
                [key] => Choice::Key(&key.public),
                [_, _, ..] => Choice::Ambiguous,
            };
        };
        if is_blocked(kid) {
            return Choice::Blocked;
        }
        if self.ambiguous.contains(kid) {
            return Choice::Ambiguous;
        }
        match self.keys.iter().find(|key| key.has_kid(kid)) {
            None => Choice::Unknown,
            Some(key) if key.public.fits(algorithm) => Choice::Key(&key.public),
            Some(_) => Choice::OtherAlgorithm,
        }
    }

    fn of_entries(entries: &[Value], admission: &Admission) -> Self {
        let mut set = Self {
            ambiguous: shared_kids(entries, admission),
            published: entries.iter().filter_map(admission::thumbprint).collect(),
            kids: entries
                .iter()
                .filter_map(kid_of)
                .map(str::to_owned)
                .collect(),
            ..Self::default()
        };
        for (index, entry) in entries.iter().enumerate() {
            let is_shared = admission.is_for_signatures(entry)
                && kid_of(entry).is_some_and(|kid| set.ambiguous.contains(kid));
            let admitted = match admission.admit(entry) {
                // A leaked key is one whatever else is wrong with it (T-32).
                Err(Rule::PrivateMember) => Err(Rule::PrivateMember),
                Ok(_) | Err(_) if is_shared => Err(Rule::SharedKid),
                admitted => admitted,
            };
            match admitted {
                Ok(key) => set.keys.push(key),
                Err(rule) => set.rejected.push(Rejected { index, rule }),
            }
        }
        set
    }
}

/// An admitted key under the name its issuer gave it.
#[derive(Debug)]
pub(super) struct Key {
    kid: Option<String>,
    public: PublicKey,
}

impl Key {
    fn has_kid(&self, kid: &str) -> bool {
        self.kid.as_deref() == Some(kid)
    }
}

/// What a token's `kid` and `alg` lead to.
pub(super) enum Choice<'a> {
    /// One key, of the token's algorithm.
    Key(&'a PublicKey),
    /// A key that must not be used any more.
    Blocked,
    /// No key of that name, or none of that algorithm.
    Unknown,
    Ambiguous,
    /// The key of that name is of another algorithm.
    OtherAlgorithm,
}

/// Why there are no keys to check a token with. Always ours: nothing a caller sent is at fault.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// The issuer's discovery document or key set is not what it must be (T-59).
    #[error("{0}")]
    Document(String),
    /// The key set is at an address that is not the issuer's (T-54, T-56).
    #[error("{0}")]
    Address(String),
    /// The issuer did not answer as it should, or not in time.
    #[error("{0}")]
    Fetch(String),
    /// There is no usable set yet.
    #[error("keys of issuer `{issuer}` could not be loaded")]
    Unavailable {
        issuer: String,
        /// What went wrong last, for the log.
        cause: String,
    },
    /// The last good set is too old (T-65).
    #[error(
        "keys of issuer `{issuer}` are too old: the issuer has not answered for {minutes} minutes"
    )]
    Stale {
        issuer: String,
        /// Age of the last good set.
        minutes: u64,
        /// What went wrong last, for the log.
        cause: String,
    },
    /// The set holds a key that we sign with ourselves (T-84, T-109).
    #[error("issuer `{issuer}` publishes a key of this broker and is refused")]
    OwnKey { issuer: String },
    /// The set holds a key of the embedded issuer of `hallpass dev` (T-117).
    #[error("issuer `{issuer}` publishes a key of `hallpass dev` and is refused")]
    DevKey { issuer: String },
    /// The reverse, in a broker of `hallpass dev` (T-251).
    #[error(
        "issuer `{issuer}` is not one of this `hallpass dev` and is refused; start it again after adding an issuer to the policies"
    )]
    NotDevKey { issuer: String },
}

impl KeyError {
    /// The code for logs and metrics.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Document(_) => Reason::KeysDocument,
            Self::Address(_) => Reason::KeysAddress,
            Self::Fetch(_) => Reason::KeysFetch,
            Self::Unavailable { .. } => Reason::KeysUnavailable,
            Self::Stale { .. } => Reason::KeysStale,
            Self::OwnKey { .. } => Reason::KeysOwn,
            Self::DevKey { .. } | Self::NotDevKey { .. } => Reason::KeysDev,
        }
    }
}

/// The thumbprints (RFC 7638) of the keys this broker signs with. What we mint must never come back
/// as a subject token, also not by way of an issuer that publishes our key.
pub trait OwnKeys: Send + Sync + fmt::Debug {
    /// Whether a key of that thumbprint is ours, now or in the neighbouring epochs.
    fn is_own(&self, thumbprint: &str) -> bool;
}

impl OwnKeys for BTreeSet<String> {
    fn is_own(&self, thumbprint: &str) -> bool {
        self.contains(thumbprint)
    }
}

/// Whether text can be a `kid`: 1 to 256 bytes.
pub(in crate::token) fn is_kid(text: &str) -> bool {
    (1..=admission::LONGEST_KID).contains(&text.len())
}

/// The `kid`s of more than one entry that could check signatures, of whatever kind those are (T-29).
/// An entry for encryption is never used, so it makes nothing ambiguous.
fn shared_kids(entries: &[Value], admission: &Admission) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    entries
        .iter()
        .filter(|entry| admission.is_for_signatures(entry))
        .filter_map(kid_of)
        .filter(|kid| !seen.insert(*kid))
        .map(str::to_owned)
        .collect()
}

fn kid_of(entry: &Value) -> Option<&str> {
    member(entry, "kid").and_then(Value::as_text)
}

fn member<'a>(entry: &'a Value, name: &str) -> Option<&'a Value> {
    match entry {
        Value::Object(object) => Object::get(object, name),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => None,
    }
}

/// The longest key set that is read, in bytes (T-58).
pub(super) const LONGEST_DOCUMENT: usize = 256 * 1_024;
/// The most entries a key set may have.
const MOST_KEYS: usize = 64;
