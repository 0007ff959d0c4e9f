//! Job: the facts every policy may name. Provider. The list of providers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::text::escape;
use crate::token::json::Object;
use crate::token::{TokenId, TrustedIssuer, Verified};

pub mod address;
mod claims;
mod fact;
mod generic;
mod github;
mod gitlab;

pub use claims::{Claim, ClaimType};
pub use fact::{Fact, FactType, ORDINARY_TRIGGERS, TRIGGERS};

/// Every provider there is. A new one is its file and a line here.
pub const PROVIDERS: &[&Provider] = &[&github::PROVIDER, &gitlab::PROVIDER, &generic::PROVIDER];

/// The provider of that name, e.g. `github`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Provider> {
    PROVIDERS
        .iter()
        .copied()
        .find(|provider| provider.name == name)
}

/// A kind of CI: which issuer it usually is, and how its claims become facts.
#[derive(Debug)]
pub struct Provider {
    /// The word for it in `issuers:`.
    pub name: &'static str,
    /// The issuer that all its customers share, if there is one.
    pub usual_issuer: Option<&'static str>,
    /// The claims its tokens can hold, with their types: one type each (T-46). `generic` has none of
    /// its own: the map of its issuer names them.
    pub claims: &'static [Claim],
    /// The facts that no single claim holds.
    pub derived: &'static [Fact],
    /// The facts that pin a tenant to something that cannot be registered again (T-50).
    pub tenant_ids: &'static [Fact],
    /// It tells what started the run. Where not, the rule of ordinary triggers does not apply.
    pub has_events: bool,
    /// Longest `exp - iat` its tokens have by default, in seconds.
    pub max_lifetime: i64,
    /// Longest `now - iat` accepted by default, in seconds.
    pub max_age: i64,
    /// Claims as sent to facts. The map of an issuer of the `generic` provider is empty for others.
    pub identify: Identify,
}

pub type Identify = fn(&Object, &ClaimMap) -> Result<BTreeMap<Fact, FactValue>, ClaimError>;

impl Provider {
    /// It can tell this fact.
    #[must_use]
    pub fn tells(&self, fact: Fact) -> bool {
        let is_claimed = || self.claims.iter().any(|claim| claim.fact == Some(fact));
        self.claims.is_empty() || self.derived.contains(&fact) || is_claimed()
    }

    /// The fact that holds what its claim of that name says.
    #[must_use]
    pub fn fact_of_claim(&self, claim: &str) -> Option<Fact> {
        let line = self.claims.iter().find(|line| line.name == claim)?;
        line.fact
    }
}

/// Which claim holds which fact, for issuers of the `generic` provider.
pub type ClaimMap = BTreeMap<Fact, MappedClaim>;

/// Where a fact of a `generic` issuer is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedClaim {
    /// JSON pointer into the claims (RFC 6901).
    pub pointer: String,
    pub claim_type: ClaimType,
}

impl MappedClaim {
    /// A claim that is sent as the fact's type suggests: text, or a JSON boolean.
    #[must_use]
    pub fn usual(fact: Fact, pointer: &str) -> Self {
        Self {
            pointer: pointer.to_owned(),
            claim_type: generic::usual_type(fact.fact_type()),
        }
    }
}

/// An issuer together with the reading of its claims.
#[derive(Clone, Debug)]
pub struct Reader {
    pub issuer: Arc<TrustedIssuer>,
    /// How its claims are read.
    pub provider: &'static Provider,
    /// For `generic`: where the facts are.
    pub claim_map: ClaimMap,
}

impl Reader {
    /// What the values of a fact are in its tokens.
    #[must_use]
    pub fn fact_type(&self, fact: Fact) -> FactType {
        let mapped = self.claim_map.get(&fact);
        match mapped.map(|mapped| mapped.claim_type) {
            Some(ClaimType::List) => FactType::List,
            Some(
                ClaimType::Text
                | ClaimType::FreeText
                | ClaimType::FlagText
                | ClaimType::Boolean
                | ClaimType::Number
                | ClaimType::Object,
            )
            | None => fact.fact_type(),
        }
    }

    /// Its tokens tell what started the run, so the rule of ordinary triggers applies (T-52).
    #[must_use]
    pub fn tells_events(&self) -> bool {
        self.provider.has_events || generic::tells_events(&self.claim_map)
    }

    /// What verified claims say about the job.
    ///
    /// # Errors
    /// A claim the provider names has another type than the provider gives it, or text where only
    /// printable ASCII may stand (T-46, T-48).
    pub fn identify(&self, token: &Verified) -> Result<Job, ClaimError> {
        Ok(Job {
            facts: self.facts(token.claims().clone())?,
            token: token.id().clone(),
            subject: token.subject().to_owned(),
            issued_at: token.issued_at(),
            usable_until: token.usable_until(),
        })
    }

    /// The same reading for claims nobody verified: for explanations only, since no [`Job`] and so
    /// no credential comes of it.
    ///
    /// # Errors
    /// As [`identify`](Self::identify).
    pub fn facts(&self, claims: Object) -> Result<Facts, ClaimError> {
        let values = (self.provider.identify)(&claims, &self.claim_map)?;
        Ok(Facts {
            issuer: Arc::clone(&self.issuer),
            provider: self.provider,
            values,
            claims,
        })
    }
}

/// What a token's claims say, under our names. No evidence of anything: see [`Job`].
#[derive(Clone, Debug)]
pub struct Facts {
    issuer: Arc<TrustedIssuer>,
    provider: &'static Provider,
    values: BTreeMap<Fact, FactValue>,
    claims: Object,
}

impl Facts {
    /// The issuer's name in the policies.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer.name
    }

    /// The `iss` claim.
    #[must_use]
    pub fn issuer_url(&self) -> &str {
        &self.issuer.url
    }

    #[must_use]
    pub const fn provider(&self) -> &'static Provider {
        self.provider
    }

    /// One fact; `None` when the token does not say (T-47).
    #[must_use]
    pub fn get(&self, fact: Fact) -> Option<&FactValue> {
        self.values.get(&fact)
    }

    /// A fact that is text.
    #[must_use]
    pub fn text(&self, fact: Fact) -> Option<&str> {
        match self.values.get(&fact)? {
            FactValue::Text(text) => Some(text),
            FactValue::Bool(_) | FactValue::List(_) | FactValue::Workflow(_) => None,
        }
    }

    /// All facts in the order of the vocabulary.
    pub fn iter(&self) -> impl Iterator<Item = (Fact, &FactValue)> {
        self.values.iter().map(|(fact, value)| (*fact, value))
    }

    /// The claims as sent, for conditions on raw claims.
    #[must_use]
    pub const fn claims(&self) -> &Object {
        &self.claims
    }
}

/// Evidence of a run: facts read from a [`Verified`] token.
#[derive(Clone, Debug)]
pub struct Job {
    facts: Facts,
    token: TokenId,
    subject: String,
    issued_at: Timestamp,
    usable_until: Timestamp,
}

impl Job {
    /// What the token says about the run.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    #[must_use]
    pub const fn token(&self) -> &TokenId {
        &self.token
    }

    /// The token's `sub`.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// When the token was issued.
    #[must_use]
    pub const fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    /// The last second the token could be accepted: how long its use must be remembered.
    #[must_use]
    pub const fn usable_until(&self) -> Timestamp {
        self.usable_until
    }
}

#[cfg(test)]
impl Job {
    /// A job without a token, for the unit tests of what decides about jobs.
    pub(crate) fn of_facts(facts: Facts) -> Self {
        Self {
            token: TokenId {
                issuer: facts.issuer_url().to_owned(),
                id: "test".to_owned(),
                digest: "0".repeat(16),
            },
            facts,
            subject: "test".to_owned(),
            issued_at: Timestamp::from_unix(0),
            usable_until: Timestamp::from_unix(0),
        }
    }
}

/// A fact's value. Types never mix: text is not a boolean (T-46).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FactValue {
    /// Text, compared byte for byte.
    Text(String),
    Bool(bool),
    /// Entries, as sent; never none.
    List(Vec<String>),
    Workflow(Workflow),
}

/// In one line: the text, `true` or `false`, the entries with commas, or `path@ref`; control
/// characters escaped.
impl fmt::Display for FactValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{}", escape(text)),
            Self::Bool(value) => write!(f, "{value}"),
            Self::List(entries) => write!(f, "{}", escape(&entries.join(","))),
            Self::Workflow(Workflow { path, r#ref: None }) => write!(f, "{}", escape(path)),
            Self::Workflow(Workflow {
                path,
                r#ref: Some(r#ref),
            }) => {
                write!(f, "{}@{}", escape(path), escape(r#ref))
            }
        }
    }
}

/// A workflow file: its path and the git ref it was taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workflow {
    /// E.g. `acme/ci/.github/workflows/deploy.yml`.
    pub path: String,
    /// E.g. `refs/heads/main`, or a full commit id; `None` when the claim has none.
    pub r#ref: Option<String>,
}

/// An empty text is absent (T-47).
fn set_text(facts: &mut BTreeMap<Fact, FactValue>, fact: Fact, value: &str) {
    if !value.is_empty() {
        facts.insert(fact, FactValue::Text(value.to_owned()));
    }
}

/// `branch`, `tag`, `pull` or `other`: by the full ref first, by the provider's own word where that
/// says nothing.
fn ref_type(full: Option<&str>, word: Option<&str>) -> Option<&'static str> {
    let full = full.unwrap_or_default();
    let by_prefix = [
        ("refs/heads/", "branch"),
        ("refs/tags/", "tag"),
        ("refs/pull/", "pull"),
        ("refs/merge-requests/", "pull"),
        ("refs/", "other"),
    ];
    if let Some((_, kind)) = by_prefix
        .iter()
        .find(|(prefix, _)| full.starts_with(prefix))
    {
        return Some(kind);
    }
    match word? {
        "branch" => Some("branch"),
        "tag" => Some("tag"),
        _ => Some("other"),
    }
}

impl Workflow {
    /// Cuts at the first `@refs/`, or at the last `@` before a full commit id (T-115), so that a
    /// ref hidden in the path stays in the ref.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if let Some((path, _)) = text.split_once("@refs/") {
            let r#ref = text.get(path.len().saturating_add(1)..).map(str::to_owned);
            return Self {
                path: path.to_owned(),
                r#ref,
            };
        }
        match text.rsplit_once('@') {
            Some((path, commit)) if is_commit_id(commit) => Self {
                path: path.to_owned(),
                r#ref: Some(commit.to_owned()),
            },
            Some(_) | None => Self {
                path: text.to_owned(),
                r#ref: None,
            },
        }
    }
}

/// A full commit id, of SHA-1 or SHA-256.
pub(crate) fn is_commit_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A claim that is not what its provider sends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("claim `{claim}` {problem}")]
pub struct ClaimError {
    pub claim: String,
    /// What is wrong with it, e.g. `is a number, expected text`.
    pub problem: String,
}
