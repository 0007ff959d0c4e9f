//! Policies, and the decisions made by them. Does no I/O, and takes the time as an argument.

use std::any::Any;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::credential::kind::{Definition, Kind, Repeat};
use crate::credential::sealed::RecipientKey;
use crate::provider::Job;
use crate::yaml::Place;

pub mod compile;
pub mod condition;
mod csv;
pub mod decide;
pub mod diff;
pub mod examples;
mod files;
mod index;
mod inputs;
pub mod link;
pub mod lint;
pub mod literals;
pub mod parse;
pub mod pattern;
mod print;
pub mod proof;
mod raw_claims;
mod scan;
pub mod schema;
pub mod time_window;
pub mod usage;

pub use compile::{DefinitionReader, IssuerOverride, LoadOptions, Loaded, PolicySet};
pub use condition::{Block, Condition, Subject};
pub use decide::{Available, Decision, Denial, Disclosure, RefusedJob, ShadowOutcome};
pub use inputs::InputError;
pub(crate) use print::grant_to_yaml;
pub(crate) use scan::Scan;

/// A request for one credential, by its exact name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// The credential's name, e.g. `shop-db/migrate`.
    pub credential: String,
    /// The requested scopes. `None` requests all scopes of the grant.
    pub scopes: Option<Vec<String>>,
    /// The requested lifetime. `None` requests that of the grant.
    pub ttl: Option<Duration>,
    /// The inputs for the credential's kind.
    pub inputs: Inputs,
    /// The key that the answer is sealed to. It decides nothing.
    pub seal_to: Option<Arc<RecipientKey>>,
}

/// The inputs of a request, by name.
pub type Inputs = BTreeMap<String, String>;

impl Ask {
    /// The same request with each scope once, in order. A request may repeat a scope ten thousand
    /// times, and every grant is compared with all of them.
    fn distinct(&self) -> Cow<'_, Self> {
        let mut seen = HashSet::new();
        let mut scopes = self.scopes.iter().flatten();
        if scopes.all(|scope| seen.insert(scope)) {
            return Cow::Borrowed(self);
        }
        seen.clear();
        let scopes = self.scopes.iter().flatten();
        let scopes = scopes.filter(|scope| seen.insert(scope)).cloned();
        Cow::Owned(Self {
            scopes: Some(scopes.collect()),
            ..self.clone()
        })
    }
}

/// An entry of `policies:`. An entry with several issuers makes one policy per issuer.
#[derive(Clone, Debug)]
pub struct Policy {
    /// E.g. `shop-migrate`.
    pub name: String,
    /// The issuer of its jobs.
    pub issuer: String,
    /// Blocks of conditions; a job must satisfy one of them. Never empty.
    pub when: Vec<Block>,
    /// What its team's jobs must meet in addition, if it is a team's. Never unlocks a trigger.
    pub within: Option<Arc<Block>>,
    /// When it expires.
    pub until: Option<Timestamp>,
    /// It has no effect, neither before nor after this time: its decisions are only recorded.
    pub shadow_until: Option<Timestamp>,
    /// What it grants. Never empty.
    pub grants: Vec<Grant>,
    pub place: Place,
}

/// Compares without the place in the file.
impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        (
            &self.name,
            &self.issuer,
            &self.when,
            &self.within,
            (self.until, self.shadow_until),
            &self.grants,
        ) == (
            &other.name,
            &other.issuer,
            &other.when,
            &other.within,
            (other.until, other.shadow_until),
            &other.grants,
        )
    }
}

impl Eq for Policy {}

/// One thing a policy grants.
#[derive(Clone, Debug)]
pub struct Grant {
    pub credential: Arc<CredentialDefinition>,
    /// The maximum lifetime, as written. The credential's `max_ttl` applies too.
    pub ttl: Duration,
    /// The scopes; empty for credentials that have none.
    pub scopes: Vec<String>,
    /// The place of `ttl`.
    pub place: Place,
}

/// Compares without the place in the file.
impl PartialEq for Grant {
    fn eq(&self, other: &Self) -> bool {
        (&self.credential, self.ttl, &self.scopes) == (&other.credential, other.ttl, &other.scopes)
    }
}

impl Eq for Grant {}

impl Grant {
    /// The maximum lifetime that it grants, limited by the credential's `max_ttl`.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.ttl.min(self.credential.max_ttl)
    }
}

/// What `policy import` writes where a person has to fill in a value.
pub(crate) const PLACEHOLDER: &str = "CHANGE_ME";

/// An entry of `require:`, which no policy can relax.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// E.g. `hosted-runners`.
    pub name: String,
    /// The credentials that it applies to.
    pub of: Selector,
    /// The conditions that a job must meet.
    pub jobs: Block,
    /// The jobs that are exempt.
    pub unless: Option<Block>,
    /// The explanation for refused jobs.
    pub because: String,
    /// It has no effect, neither before nor after this time: what it would refuse is only recorded.
    pub shadow_until: Option<Timestamp>,
    pub place: Place,
    /// The place of `of`.
    pub of_place: Place,
}

/// Selects the credentials that a requirement applies to. Every given part must match; without
/// parts, all credentials match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    pub credential: Option<pattern::Pattern>,
    pub class: Option<pattern::Pattern>,
    pub kind: Option<pattern::Pattern>,
    pub owner: Option<pattern::Pattern>,
    pub target: Option<pattern::Pattern>,
}

impl Selector {
    /// Whether it selects the credential.
    #[must_use]
    pub fn selects(&self, credential: &CredentialDefinition) -> bool {
        use pattern::{Observed, Pattern};
        let fits = |wanted: &Option<Pattern>, seen| {
            wanted.as_ref().is_none_or(|pattern| pattern.fits(seen))
        };
        let target = credential.target().map_or(Observed::Absent, Observed::Text);
        fits(&self.credential, Observed::Text(&credential.name))
            && fits(&self.class, Observed::Text(credential.class.name()))
            && fits(&self.kind, Observed::Text(credential.kind.name))
            && fits(&self.owner, Observed::Text(&credential.owner))
            && fits(&self.target, target)
    }
}

/// The most `labels` of a credential.
pub(crate) const MOST_LABELS: usize = 16;

/// An entry of `credentials:`.
#[derive(Clone, Debug)]
pub struct CredentialDefinition {
    /// E.g. `shop-db/migrate`.
    pub name: String,
    pub kind: &'static Kind,
    /// The definition that the kind read from its own keys.
    pub specific: Arc<dyn Definition>,
    /// The inputs that it restricts. A request must send each of them.
    pub inputs: BTreeMap<String, pattern::Pattern>,
    /// The maximum lifetime of any grant.
    pub max_ttl: Duration,
    pub owner: String,
    pub purpose: String,
    /// How much damage it can do.
    pub class: CredentialClass,
    /// The URI by which a request can also name it (RFC 8693 `resource`). Unique in the set. No
    /// decision depends on it.
    pub resource: Option<String>,
    /// What else uses what it gives, for the inventory and the order of a rotation.
    pub dependents: Vec<String>,
    /// How often its value must change, if it has one that lasts.
    pub rotate: Option<Rotation>,
    /// Words of the company, copied into audit events and metrics. No decision depends on them.
    pub labels: BTreeMap<String, String>,
}

/// `rotate:` of a credential. How it is rotated is in the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The longest time that a value stays.
    pub every: Duration,
    /// How long the old value stays valid after a change.
    pub grace: Option<Duration>,
}

impl CredentialDefinition {
    /// The target that it is issued in; `None` for kinds without targets.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        self.specific.target()
    }

    /// Every scope; empty for kinds without scopes.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        self.specific.scopes()
    }

    /// The definition that its kind read, if it is of that kind.
    #[must_use]
    pub fn of<T: Definition>(&self) -> Option<&T> {
        let specific: &dyn Any = &*self.specific;
        specific.downcast_ref()
    }
}

impl PartialEq for CredentialDefinition {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            name,
            kind,
            specific,
            inputs,
            max_ttl,
            owner,
            purpose,
            class,
            resource,
            dependents,
            rotate,
            labels,
        } = self;
        specific.is_same(&*other.specific)
            && (name, kind, inputs) == (&other.name, &other.kind, &other.inputs)
            && (max_ttl, owner, purpose) == (&other.max_ttl, &other.owner, &other.purpose)
            && (class, resource) == (&other.class, &other.resource)
            && (dependents, rotate) == (&other.dependents, &other.rotate)
            && labels == &other.labels
    }
}

impl Eq for CredentialDefinition {}

/// How much damage a credential can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CredentialClass {
    Low,
    Moderate,
    Critical,
}

impl CredentialClass {
    /// The word in a policy file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Moderate => "moderate",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for CredentialClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Evidence that this job may get this credential, with this lifetime and these scopes. Only
/// [`PolicySet::decide`] makes one, and the next step consumes it.
#[derive(Debug)]
pub struct Permit {
    job: Job,
    credential: Arc<CredentialDefinition>,
    scopes: Vec<String>,
    ttl: Duration,
    ask: Ask,
    policy: String,
    policy_url: Option<String>,
    revision: String,
    shadow: Option<ShadowOutcome>,
}

impl Permit {
    #[must_use]
    pub const fn job(&self) -> &Job {
        &self.job
    }

    #[must_use]
    pub const fn credential(&self) -> &Arc<CredentialDefinition> {
        &self.credential
    }

    /// The scopes: those requested, or all scopes of the grant.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        &self.scopes
    }

    /// The lifetime.
    #[must_use]
    pub const fn ttl(&self) -> Duration {
        self.ttl
    }

    /// What was requested.
    #[must_use]
    pub const fn ask(&self) -> &Ask {
        &self.ask
    }

    /// All tokens of the subject get one login while its window lasts: the issuer says so, and the
    /// credential is one that can be revoked and is not critical.
    #[must_use]
    pub fn shares_login(&self) -> bool {
        let credential = &self.credential;
        self.job.reuses_by_subject()
            && credential.class != CredentialClass::Critical
            && credential.kind.revocable
            && credential.kind.repeat == Repeat::Same
    }

    /// The inputs of the request, by name. Not checked yet: see
    /// [`CredentialDefinition::check_inputs`].
    #[must_use]
    pub const fn inputs(&self) -> &Inputs {
        &self.ask.inputs
    }

    /// The key that the answer is sealed to.
    #[must_use]
    pub fn seal_to(&self) -> Option<&RecipientKey> {
        self.ask.seal_to.as_deref()
    }

    /// The policy that grants it.
    #[must_use]
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// The link to the policy at its commit, if the settings say how to make it.
    #[must_use]
    pub fn policy_url(&self) -> Option<&str> {
        self.policy_url.as_deref()
    }

    /// The hash of the policies that decided, `sha256:…`.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// What would be different if the entries with `shadow_until` were in force.
    #[must_use]
    pub const fn shadow(&self) -> Option<&ShadowOutcome> {
        self.shadow.as_ref()
    }
}
