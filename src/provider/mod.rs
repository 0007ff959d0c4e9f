//! Reads a verified token's claims into the facts of a [`Job`]. The list of providers.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::text::escape;
use crate::token::json::{Limits, Object, parse_object};
use crate::token::{Reuse, TokenId, TrustedIssuer, Verified};

pub mod address;
mod claims;
mod fact;
mod from_event;
mod generic;
mod github;
mod gitlab;
mod inverse;
mod people;
mod property;
mod source;

pub use claims::{Claim, ClaimType};
pub use fact::{Fact, FactType, ORDINARY_TRIGGERS, TRIGGERS};
pub use from_event::RecordedJob;
pub(crate) use from_event::unrecorded;
pub use people::SecondFactor;
pub use property::{Properties, PropertyName, PropertyType};
pub(crate) use property::{is_dotted as is_property, is_name as is_property_name};
pub use source::{Cut, Derivation, Source};

/// Every provider. A new provider is its file and a line here.
pub const PROVIDERS: &[&Provider] = &[
    &github::PROVIDER,
    &gitlab::PROVIDER,
    &people::PROVIDER,
    &generic::PROVIDER,
];

/// The provider of that name, e.g. `github`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Provider> {
    PROVIDERS
        .iter()
        .copied()
        .find(|provider| provider.name == name)
}

/// A CI provider: its default issuer, and how its claims become facts.
#[derive(Debug)]
pub struct Provider {
    /// Its name in `issuers:`.
    pub name: &'static str,
    /// The shared issuer of its customers, if any.
    pub usual_issuer: Option<&'static str>,
    /// The claims its tokens can hold, with their types: one type each (T-46). `generic` has none of
    /// its own: the map of its issuer names them.
    pub claims: &'static [Claim],
    /// The facts that no single claim holds.
    pub derived: &'static [Fact],
    /// The facts that pin a tenant to an ID that cannot be registered again (T-50).
    pub tenant_ids: &'static [Fact],
    /// Whether its tokens say what started the run. If not, the rule of ordinary triggers does not
    /// apply.
    pub has_events: bool,
    /// The default limit of `exp - iat`, in seconds.
    pub max_lifetime: i64,
    /// The default limit of `now - iat`, in seconds.
    pub max_age: i64,
    /// Converts claims to facts. The claim map is empty except for the `generic` provider.
    pub identify: Identify,
    /// The inverse of `identify`, as far as there is one: see [`Reader::claims`].
    pub write: Write,
    /// What the names of claims with repository properties begin with, if it has such claims.
    pub property_claims: Option<&'static str>,
    /// The events of each trigger that the CI has, the usual one first.
    events: &'static [(&'static str, &'static str)],
    /// How the facts that are no claim as sent are computed.
    pub sources: &'static [(Fact, Derivation)],
    /// Splits the path of a repository after its owner, if the provider has the owner there.
    split_owner: fn(&str) -> Option<(&str, &str)>,
}

pub type Write = fn(&BTreeMap<Fact, FactValue>, &ClaimMap) -> Map<String, Value>;

pub type Identify = fn(&Object, &ClaimMap) -> Result<BTreeMap<Fact, FactValue>, ClaimError>;

impl Provider {
    /// Whether it can provide this fact.
    #[must_use]
    pub fn provides(&self, fact: Fact) -> bool {
        let is_claimed = || self.claims.iter().any(|claim| claim.fact == Some(fact));
        fact.is_of_request()
            || self.claims.is_empty()
            || self.derived.contains(&fact)
            || is_claimed()
    }

    /// Whether its tokens are of people, and not of jobs.
    #[must_use]
    pub fn is_of_people(&self) -> bool {
        self.name == people::PROVIDER.name
    }

    /// The owner in the path of a repository: at GitHub its first part, at GitLab all but the last.
    #[must_use]
    pub fn owner_of<'a>(&self, repository: &'a str) -> Option<&'a str> {
        let (owner, _) = (self.split_owner)(repository)?;
        Some(owner)
    }

    /// The fact that its claim of that name becomes.
    #[must_use]
    pub fn fact_of_claim(&self, claim: &str) -> Option<Fact> {
        let line = self.claims.iter().find(|line| line.name == claim)?;
        line.fact
    }
}

/// Maps facts to claims, for issuers of the `generic` provider.
pub type ClaimMap = BTreeMap<Fact, MappedClaim>;

/// The claim of a fact of a `generic` issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedClaim {
    /// JSON pointer into the claims (RFC 6901).
    pub pointer: String,
    pub claim_type: ClaimType,
}

impl MappedClaim {
    /// A claim of the fact's default type: text, or a JSON boolean.
    #[must_use]
    pub fn usual(fact: Fact, pointer: &str) -> Self {
        Self {
            pointer: pointer.to_owned(),
            claim_type: generic::usual_type(fact.fact_type()),
        }
    }
}

/// An issuer, and how its claims are read.
#[derive(Clone, Debug)]
pub struct Reader {
    pub issuer: Arc<TrustedIssuer>,
    /// How its claims are read.
    pub provider: &'static Provider,
    /// For `generic`: where the facts are.
    pub claim_map: ClaimMap,
    /// For `people`: what says that there was a second factor.
    pub second_factor: SecondFactor,
    /// The raw claims that its policies read, by JSON pointer.
    pub pointers: Arc<BTreeSet<String>>,
    /// The repository properties that are read.
    pub properties: Properties,
}

impl Reader {
    /// Reads the claims of an issuer that no policy describes, by the rules of its provider.
    #[must_use]
    pub fn usual(provider: &'static Provider, issuer: &str) -> Self {
        Self {
            issuer: Arc::new(TrustedIssuer::new(provider.name, issuer)),
            provider,
            claim_map: ClaimMap::default(),
            second_factor: SecondFactor::default(),
            pointers: Arc::default(),
            properties: Properties::default(),
        }
    }

    /// Whether both make the same facts of the same claims.
    #[must_use]
    pub fn reads_like(&self, other: &Self) -> bool {
        self.provider.name == other.provider.name
            && self.claim_map == other.claim_map
            && self.properties == other.properties
            && self.second_factor == other.second_factor
    }

    /// The type of a fact in its tokens.
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

    /// Whether its tokens say what started the run, so the rule of ordinary triggers applies
    /// (T-52).
    #[must_use]
    pub fn has_events(&self) -> bool {
        self.provider.has_events || generic::has_events(&self.claim_map)
    }

    /// Reads the verified claims of a job.
    ///
    /// # Errors
    /// A claim does not have its documented type, or has text outside printable ASCII where a fact
    /// needs it (T-46, T-48).
    pub fn identify(&self, token: Verified) -> Result<Job, ClaimError> {
        let (issued_at, usable_until) = (token.issued_at(), token.usable_until());
        let reuses_by_subject = token.issuer().reuse == Reuse::Subject;
        let (claims, token, subject) = token.into_parts();
        Ok(Job {
            facts: self.facts(claims)?,
            token,
            subject,
            issued_at,
            usable_until,
            reuses_by_subject,
        })
    }

    /// Reads unverified claims, for explanations only. Returns no [`Job`], so no credential can
    /// follow.
    ///
    /// # Errors
    /// As [`identify`](Self::identify).
    pub fn facts(&self, claims: Object) -> Result<Facts, ClaimError> {
        let values = self.values(&claims)?;
        let properties = self.read_properties(&claims)?;
        Ok(Facts {
            issuer: Arc::clone(&self.issuer),
            provider: self.provider,
            values,
            properties,
            claims,
            pointers: Arc::clone(&self.pointers),
            decided_at: None,
        })
    }

    fn values(&self, claims: &Object) -> Result<BTreeMap<Fact, FactValue>, ClaimError> {
        let mut values = (self.provider.identify)(claims, &self.claim_map)?;
        if self.provider.is_of_people()
            && let Some(mfa) = self.second_factor.shown_by(claims)
        {
            values.insert(Fact::Mfa, FactValue::Bool(mfa));
        }
        Ok(values)
    }

    /// The claims that [`values`](Self::values) reads, as far as there are some.
    fn written(&self, facts: &BTreeMap<Fact, FactValue>) -> Map<String, Value> {
        let mut claims = (self.provider.write)(facts, &self.claim_map);
        if let Some(FactValue::Bool(mfa)) = facts.get(&Fact::Mfa)
            && self.provider.is_of_people()
        {
            self.second_factor.write(*mfa, &mut claims);
        }
        claims
    }

    /// The claims of a job with these facts. [`identify`](Self::identify) reads back what was given, and
    /// what follows from it, such as `ref_type` from `ref`. Claims that are no fact are left out, such as
    /// `iss`, `aud` and times.
    ///
    /// # Errors
    /// No token of this issuer has these facts; the error names one.
    pub fn claims(
        &self,
        facts: &BTreeMap<Fact, FactValue>,
    ) -> Result<Map<String, Value>, UnfitFact> {
        let claims = self.written(facts);
        let unfit = |problem: String| UnfitFact {
            provider: self.provider.name,
            problem,
        };
        let text = Value::Object(claims.clone()).to_string();
        let object = parse_object(text.as_bytes(), &Limits::default())
            .map_err(|error| unfit(error.to_string()))?;
        let read = self
            .values(&object)
            .map_err(|error| unfit(error.to_string()))?;
        match facts
            .iter()
            .find(|(fact, value)| read.get(fact) != Some(value))
        {
            None => Ok(claims),
            Some((fact, value)) => Err(unfit(match read.get(fact) {
                Some(read) => {
                    format!("`{fact}` is `{value}`, but the other facts make it `{read}`")
                }
                None => format!("`{fact}` is `{value}`, which its tokens cannot say"),
            })),
        }
    }
}

/// A fact that no token of the provider has, at least not with the others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no token of provider `{provider}` describes this job: {problem}")]
pub struct UnfitFact {
    provider: &'static str,
    problem: String,
}

/// The facts in a token's claims. They are not evidence: see [`Job`].
#[derive(Clone, Debug)]
pub struct Facts {
    issuer: Arc<TrustedIssuer>,
    provider: &'static Provider,
    values: BTreeMap<Fact, FactValue>,
    properties: BTreeMap<PropertyName, FactValue>,
    claims: Object,
    pointers: Arc<BTreeSet<String>>,
    /// When a decision is made about them.
    decided_at: Option<Timestamp>,
}

impl Facts {
    /// The raw claims that policies of the issuer read, by JSON pointer.
    #[must_use]
    pub fn pointers(&self) -> &BTreeSet<String> {
        &self.pointers
    }

    /// The issuer's name in the policies.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer.name
    }

    /// Seconds between two clocks that are no error.
    #[must_use]
    pub fn leeway(&self) -> i64 {
        self.issuer.leeway
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

    /// The value of a fact; `None` if it is absent (T-47).
    #[must_use]
    pub fn get(&self, fact: Fact) -> Option<&FactValue> {
        self.values.get(&fact)
    }

    /// The value of a text fact.
    #[must_use]
    pub fn text(&self, fact: Fact) -> Option<&str> {
        match self.values.get(&fact)? {
            FactValue::Text(text) => Some(text),
            FactValue::Bool(_)
            | FactValue::List(_)
            | FactValue::Workflow(_)
            | FactValue::Address(_)
            | FactValue::Time(_) => None,
        }
    }

    /// The same facts, of a request from this address. Where it is `None`, `source_ip` is absent.
    #[must_use]
    pub fn from_address(mut self, address: Option<IpAddr>) -> Self {
        match address {
            // An IPv4 address has one spelling, whatever the socket.
            Some(address) => {
                let address = FactValue::Address(address.to_canonical());
                self.values.insert(Fact::SourceIp, address)
            }
            None => self.values.remove(&Fact::SourceIp),
        };
        self
    }

    /// The same facts, for a decision at this time: what conditions on `time` read.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Cow<'_, Self> {
        if self.decided_at == Some(now) {
            return Cow::Borrowed(self);
        }
        Cow::Owned(Self {
            decided_at: Some(now),
            ..self.clone()
        })
    }

    /// The time of the decision; `None` outside decisions.
    #[must_use]
    pub const fn decided_at(&self) -> Option<Timestamp> {
        self.decided_at
    }

    /// All facts, in the order of [`Fact`].
    pub fn iter(&self) -> impl Iterator<Item = (Fact, &FactValue)> {
        self.values.iter().map(|(fact, value)| (*fact, value))
    }

    /// The original claims, for conditions on raw claims.
    #[must_use]
    pub const fn claims(&self) -> &Object {
        &self.claims
    }
}

/// Evidence of a job: facts read from a [`Verified`] token.
#[derive(Clone, Debug)]
pub struct Job {
    facts: Facts,
    token: TokenId,
    subject: String,
    issued_at: Timestamp,
    usable_until: Timestamp,
    reuses_by_subject: bool,
}

impl Job {
    /// The facts.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The same job, in a request from this address.
    #[must_use]
    pub fn from_address(mut self, address: Option<IpAddr>) -> Self {
        self.facts = self.facts.from_address(address);
        self
    }

    /// The same job, for a decision at this time.
    #[must_use]
    pub const fn at(mut self, now: Timestamp) -> Self {
        self.facts.decided_at = Some(now);
        self
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

    /// The last second at which the token could be accepted. Its use must be remembered until then.
    #[must_use]
    pub const fn usable_until(&self) -> Timestamp {
        self.usable_until
    }

    /// Its issuer has `reuse: subject`.
    #[must_use]
    pub const fn reuses_by_subject(&self) -> bool {
        self.reuses_by_subject
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
            reuses_by_subject: false,
        }
    }
}

/// A fact's value. Types never mix: text is not a boolean (T-46).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum FactValue {
    /// Text, compared byte for byte.
    Text(String),
    Bool(bool),
    /// Entries, as sent; never none.
    List(Vec<String>),
    Workflow(Workflow),
    /// IPv4 addresses that are mapped to IPv6 are IPv4 here.
    Address(IpAddr),
    Time(#[serde(serialize_with = "as_text")] Timestamp),
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn as_text<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

/// In one line: the text, `true` or `false`, the entries with commas, or `path@ref`; control
/// characters escaped.
impl fmt::Display for FactValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{}", escape(text)),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Address(address) => write!(f, "{address}"),
            Self::Time(time) => write!(f, "{time}"),
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Workflow {
    /// E.g. `acme/ci/.github/workflows/deploy.yml`.
    pub path: String,
    /// E.g. `refs/heads/main`, or a full commit id; `None` when the claim has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#ref: Option<String>,
}

/// An empty text is absent (T-47).
fn set_text(facts: &mut BTreeMap<Fact, FactValue>, fact: Fact, value: &str) {
    if !value.is_empty() {
        facts.insert(fact, FactValue::Text(value.to_owned()));
    }
}

/// The types of full refs by prefix, the first that fits.
pub const REF_TYPES: [(&str, &str); 5] = [
    ("refs/heads/", "branch"),
    ("refs/tags/", "tag"),
    ("refs/pull/", "pull"),
    ("refs/merge-requests/", "pull"),
    ("refs/", "other"),
];

/// `branch`, `tag`, `pull` or `other`: by the full ref first, by the provider's own word where that
/// says nothing.
fn ref_type(full: Option<&str>, word: Option<&str>) -> Option<&'static str> {
    let full = full.unwrap_or_default();
    let mut prefixes = REF_TYPES.iter();
    if let Some((_, kind)) = prefixes.find(|(prefix, _)| full.starts_with(prefix)) {
        return Some(kind);
    }
    // T-47: an empty text counts as absent.
    match word.filter(|word| !word.is_empty())? {
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
