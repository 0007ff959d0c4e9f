//! Reads a verified token's claims into the facts of a [`Job`]. The list of providers.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use url::Url;

use crate::clock::Timestamp;
use crate::text::escape;
use crate::token::json::{Limits, Object, parse_object};
use crate::token::{Algorithm, Reuse, TokenId, TrustedIssuer, Verified};

pub mod address;
mod aws;
mod azure_devops;
mod bitbucket;
mod bitrise;
mod buddy;
mod buildkite;
mod circleci;
mod claims;
mod codefresh;
mod describe;
mod fact;
mod fly;
mod forgejo;
mod from_event;
mod generic;
mod github;
mod gitlab;
mod google;
mod hcp_terraform;
mod inverse;
mod jenkins;
mod kubernetes;
mod need;
mod people;
mod property;
mod read;
mod semaphore;
mod source;
mod spacelift;
mod spiffe;
mod table;
mod vercel;
mod write;

use address::IssuerAddress;
pub use claims::ClaimType;
pub use describe::Description;
pub use fact::{Fact, FactType, ORDINARY_TRIGGERS, TRIGGERS};
pub use from_event::RecordedJob;
pub(crate) use from_event::unrecorded;
pub use need::{Misleading, Need, Wanted};
pub use people::SecondFactor;
pub use property::{Properties, PropertyName, PropertyType};
pub(crate) use property::{is_dotted as is_property, is_name as is_property_name};
pub use source::Source;
pub use table::{
    Agreement, Claim, Cut, How, Kind, Piece, REF_TYPES, Reading, Shape, Take, Way, When, pointer,
};

/// Every provider. A new provider is its file and a line here.
pub const PROVIDERS: &[&Provider] = &[
    &github::PROVIDER,
    &gitlab::PROVIDER,
    &forgejo::PROVIDER,
    &jenkins::PROVIDER,
    &circleci::PROVIDER,
    &buildkite::PROVIDER,
    &azure_devops::PROVIDER,
    &bitbucket::PROVIDER,
    &kubernetes::PROVIDER,
    &google::PROVIDER,
    &aws::PROVIDER,
    &spiffe::PROVIDER,
    &hcp_terraform::PROVIDER,
    &spacelift::PROVIDER,
    &semaphore::PROVIDER,
    &codefresh::PROVIDER,
    &bitrise::PROVIDER,
    &vercel::PROVIDER,
    &fly::PROVIDER,
    &buddy::PROVIDER,
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

/// A CI provider: its issuers, and how its tokens are verified and read.
#[derive(Debug)]
pub struct Provider {
    /// Its name in `issuers:`.
    pub name: &'static str,
    /// What it is, for people.
    pub title: &'static str,
    /// The shared issuer of its customers, if any.
    pub usual_issuer: Option<&'static str>,
    /// The addresses of its issuers, as far as they are known.
    pub issuers: &'static [IssuerAddress],
    /// The claims its tokens can hold, and the facts they become. `generic` has none of its own: the
    /// map of its issuer names them.
    pub claims: &'static [Claim],
    /// Claims that say the same.
    pub agreements: &'static [Agreement],
    /// The facts that pin a tenant to an ID that cannot be registered again (T-50).
    pub tenant_ids: &'static [Fact],
    /// How its tokens are verified, unless the issuer in the policies says otherwise.
    pub rules: Rules,
    /// What the names of claims with repository properties begin with, if it has such claims.
    pub property_claims: Option<&'static str>,
    /// Where the path of a repository has its owner, if the provider has it there.
    pub owner_in: Option<OwnerIn>,
    /// Conditions that its tokens make necessary.
    pub needs: &'static [Need],
    /// Claims that no policy should compare.
    pub misleading: &'static [Misleading],
    /// What `hallpass provider show` says beside the table.
    pub guide: Guide,
}

/// How a job gets a token and a policy, for people.
#[derive(Clone, Copy, Debug)]
pub struct Guide {
    /// How a job gets a token, to copy.
    pub token: &'static str,
    /// The keys of an issuer in the policies beside `provider`, as in a flow mapping.
    pub issuer: &'static str,
    /// The conditions of a policy to start from, one in each line.
    pub when: &'static str,
    /// What its tokens do not say, or not reliably.
    pub limits: &'static [&'static str],
}

/// How the tokens of a provider are verified, unless an issuer in the policies says otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The limit of `exp - iat`, in seconds.
    pub max_lifetime: i64,
    /// The limit of `now - iat`, in seconds.
    pub max_age: i64,
    pub algorithms: &'static [Algorithm],
    /// Values of the header `typ`.
    pub token_types: &'static [&'static str],
    pub audience: Audience,
    /// Whether a token has an ID of its own, `jti`. If not, its hash is remembered.
    pub has_jti: bool,
    /// Whether a token says when it was issued.
    pub iat_required: bool,
    /// A value of a key's `use` beside `sig`.
    pub key_use: Option<&'static str>,
    /// Whether RSA numbers have a zero byte in front.
    pub strip_leading_zero: bool,
}

impl Rules {
    /// An hour, RS256, and an audience that the job chooses.
    pub const USUAL: Self = Self {
        max_lifetime: 3_600,
        max_age: 3_600,
        algorithms: &[Algorithm::RS256],
        token_types: &["JWT"],
        audience: Audience::Own,
        has_jti: true,
        iat_required: true,
        key_use: None,
        strip_leading_zero: false,
    };
}

/// The audience of a provider's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// What the job asks for, alone.
    Own,
    /// What the job asks for, beside the provider's own.
    Beside,
    /// This one, for every service that takes such tokens.
    Fixed(&'static str),
    /// The URL of the issuer, for every service that takes such tokens.
    Issuer,
    /// The host of the issuer, for every service that takes such tokens.
    IssuerHost,
}

impl Audience {
    /// The audience that a job cannot choose, in tokens of the issuer.
    #[must_use]
    pub fn fixed(self, issuer: &str) -> Option<String> {
        match self {
            Self::Own | Self::Beside => None,
            Self::Fixed(audience) => Some(audience.to_owned()),
            Self::Issuer => Some(issuer.to_owned()),
            Self::IssuerHost => {
                let url = Url::parse(issuer).ok()?;
                url.host_str().map(str::to_owned)
            }
        }
    }
}

/// Where the path of a repository has its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerIn {
    /// In front of the first `/`.
    First,
    /// In front of the last `/`.
    AllButLast,
}

impl Provider {
    /// Whether it can provide this fact.
    #[must_use]
    pub fn provides(&self, fact: Fact) -> bool {
        fact.is_of_request()
            || self.claims.is_empty()
            || self.reading(fact).is_some()
            || (fact == Fact::Mfa && self.is_of_people())
    }

    /// Policies to start from: the issuer of the guide, a credential and its policy.
    #[must_use]
    pub fn policies(&self) -> String {
        let (name, guide) = (self.name, &self.guide);
        let mut conditions = String::new();
        for line in guide.when.lines() {
            conditions.push_str("      ");
            conditions.push_str(line);
            conditions.push('\n');
        }
        format!(
            "issuers:
  {name}: {{ provider: {name}, {} }}
credentials:
  deploy-api:
    kind: jwt
    audience: https://deploy.example
    scopes: [\"deploy:production\"]
    max_ttl: 10m
    owner: team-platform
    purpose: calls to the deploy service
    class: moderate
policies:
  - name: {name}-deploy
    issuer: {name}
    when:
{conditions}    grant:
      - {{ credential: deploy-api, ttl: 5m, scopes: [\"deploy:production\"] }}
",
            guide.issuer
        )
    }

    /// Whether its tokens are of people, and not of jobs.
    #[must_use]
    pub fn is_of_people(&self) -> bool {
        self.name == people::PROVIDER.name
    }

    /// The owner in the path of a repository: at GitHub its first part, at GitLab all but the last.
    #[must_use]
    pub fn owner_of<'a>(&self, repository: &'a str) -> Option<&'a str> {
        let (owner, _) = match self.owner_in? {
            OwnerIn::First => repository.split_once('/'),
            OwnerIn::AllButLast => repository.rsplit_once('/'),
        }?;
        Some(owner)
    }

    /// The fact that its claim of that name becomes.
    #[must_use]
    pub fn fact_of_claim(&self, claim: &str) -> Option<Fact> {
        self.facts_of_claim(claim).into_iter().next()
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
        self.provider.has_events() || generic::has_events(&self.claim_map)
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
        if self.provider.claims.is_empty() {
            return generic::facts(claims, &self.claim_map);
        }
        let mut values = read::facts(claims, self.provider)?;
        if self.provider.is_of_people()
            && let Some(mfa) = self.second_factor.shown_by(claims)
        {
            values.insert(Fact::Mfa, FactValue::Bool(mfa));
        }
        Ok(values)
    }

    /// The claims that [`values`](Self::values) reads, as far as there are some.
    fn written(&self, facts: &BTreeMap<Fact, FactValue>) -> Map<String, Value> {
        if self.provider.claims.is_empty() {
            return generic::write(facts, &self.claim_map);
        }
        let mut claims = self.provider.write(facts, &self.issuer.url);
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
        let mut whole = claims.clone();
        whole.insert("iss".to_owned(), self.issuer.url.as_str().into());
        let text = Value::Object(whole).to_string();
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
