//! Policy, Condition, Grant, Permit, Denial. Pure: no I/O; the time is an argument.

use std::any::Any;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::credential::kind::{Definition, Kind};
use crate::provider::Job;
use crate::yaml::Place;

pub mod compile;
pub mod condition;
pub mod decide;
mod files;
mod index;
mod inputs;
pub mod lint;
pub mod parse;
pub mod pattern;
mod print;
mod scan;

pub use compile::{DefinitionReader, IssuerOverride, LoadOptions, Loaded, PolicySet};
pub use condition::{Block, Condition, Subject};
pub use decide::{Available, Decision, Denial, Disclosure, Refused};
pub use inputs::InputError;
pub(crate) use scan::Scan;

/// What a caller asks for: one credential, exactly named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// The credential's name, e.g. `shop-db/migrate`.
    pub credential: String,
    /// The scopes wanted; `None` asks for all of the grant's.
    pub scopes: Option<Vec<String>>,
    /// The life wanted; `None` asks for the grant's.
    pub ttl: Option<Duration>,
    /// What the request brings for the credential's kind.
    pub inputs: Inputs,
}

/// The inputs of a request, by name.
pub type Inputs = BTreeMap<String, String>;

impl Ask {
    /// The same ask with each scope once, in order: a request may repeat one ten thousand times, and
    /// every grant is compared with all of them.
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

/// Who may have what: `policies:`. One per issuer, where the file names several.
#[derive(Clone, Debug)]
pub struct Policy {
    /// E.g. `shop-migrate`.
    pub name: String,
    /// The issuer whose jobs it is about.
    pub issuer: String,
    /// Blocks of conditions; a job must satisfy one of them. Never empty.
    pub when: Vec<Block>,
    /// From then on it grants nothing.
    pub until: Option<Timestamp>,
    /// What it grants. Never empty.
    pub grants: Vec<Grant>,
    pub place: Place,
}

/// Where a policy stands is no part of what it says.
impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        (
            &self.name,
            &self.issuer,
            &self.when,
            self.until,
            &self.grants,
        ) == (
            &other.name,
            &other.issuer,
            &other.when,
            other.until,
            &other.grants,
        )
    }
}

impl Eq for Policy {}

/// One thing a policy grants.
#[derive(Clone, Debug)]
pub struct Grant {
    pub credential: Arc<CredentialDefinition>,
    /// The longest life, as written; the credential's own ceiling counts too.
    pub ttl: Duration,
    /// The scopes; empty for credentials that have none.
    pub scopes: Vec<String>,
    /// Where `ttl` stands.
    pub place: Place,
}

/// Where a grant stands is no part of what it says.
impl PartialEq for Grant {
    fn eq(&self, other: &Self) -> bool {
        (&self.credential, self.ttl, &self.scopes) == (&other.credential, other.ttl, &other.scopes)
    }
}

impl Eq for Grant {}

impl Grant {
    /// The longest life it gives: its own, and never above the credential's.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.ttl.min(self.credential.max_ttl)
    }
}

/// What no policy may relax: `require:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// E.g. `hosted-runners`.
    pub name: String,
    /// Which credentials it is about.
    pub of: Selector,
    /// What must hold of a job.
    pub jobs: Block,
    /// The jobs it does not bind.
    pub unless: Option<Block>,
    /// Why, for whoever is refused.
    pub because: String,
    pub place: Place,
    /// Where `of` stands.
    pub of_place: Place,
}

/// Which credentials a requirement is about. Each part that is given must fit; none given: all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    pub credential: Option<pattern::Pattern>,
    pub class: Option<pattern::Pattern>,
    pub kind: Option<pattern::Pattern>,
    pub owner: Option<pattern::Pattern>,
    pub target: Option<pattern::Pattern>,
}

impl Selector {
    /// Whether the credential is one of them.
    #[must_use]
    pub fn selects(&self, credential: &CredentialDefinition) -> bool {
        use pattern::{Pattern, Seen};
        let fits = |wanted: &Option<Pattern>, seen| {
            wanted.as_ref().is_none_or(|pattern| pattern.fits(seen))
        };
        let target = credential.target().map_or(Seen::Absent, Seen::Text);
        fits(&self.credential, Seen::Text(&credential.name))
            && fits(&self.class, Seen::Text(credential.class.name()))
            && fits(&self.kind, Seen::Text(credential.kind.name))
            && fits(&self.owner, Seen::Text(&credential.owner))
            && fits(&self.target, target)
    }
}

/// What is minted under a name: `credentials:` of the policies.
#[derive(Clone, Debug)]
pub struct CredentialDefinition {
    /// E.g. `shop-db/migrate`.
    pub name: String,
    pub kind: &'static Kind,
    /// What the kind read from the keys of its own.
    pub specific: Arc<dyn Definition>,
    /// The inputs that it bounds; such an input must be sent.
    pub inputs: BTreeMap<String, pattern::Pattern>,
    /// The longest life any grant may give it.
    pub max_ttl: Duration,
    pub owner: String,
    pub purpose: String,
    /// How much harm it can do.
    pub class: Class,
    /// The URI by which a request may ask for it too (RFC 8693 `resource`). No other credential of the
    /// set has it, and no decision depends on it.
    pub resource: Option<String>,
}

impl CredentialDefinition {
    /// The target in the settings that it is made in; `None` for kinds without one.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        self.specific.target()
    }

    /// Every scope there is; empty for kinds without scopes.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        self.specific.scopes()
    }

    /// What its kind read, where it is of that kind.
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
        } = self;
        specific.is_same(&*other.specific)
            && (name, kind, inputs) == (&other.name, &other.kind, &other.inputs)
            && (max_ttl, owner, purpose) == (&other.max_ttl, &other.owner, &other.purpose)
            && (class, resource) == (&other.class, &other.resource)
    }
}

impl Eq for CredentialDefinition {}

/// How much harm a credential can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    Low,
    Moderate,
    Critical,
}

impl Class {
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

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Evidence of a decision that allows: this job may have this credential, so long, with these
/// scopes. Only [`PolicySet::decide`] makes one, and it is used up by what comes next.
#[derive(Debug)]
pub struct Permit {
    job: Job,
    credential: Arc<CredentialDefinition>,
    scopes: Vec<String>,
    ttl: Duration,
    inputs: Inputs,
    policy: String,
    revision: String,
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

    /// With which scopes: what was asked, or all of the grant's.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        &self.scopes
    }

    /// How long it may live.
    #[must_use]
    pub const fn ttl(&self) -> Duration {
        self.ttl
    }

    /// What the request brought, by name. Not checked yet: see
    /// [`CredentialDefinition::check_inputs`].
    #[must_use]
    pub const fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// The policy that allows it.
    #[must_use]
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// The hash of the policies that were asked, `sha256:…`.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }
}
