//! Policy, Condition, Grant, Permit, Denial. Pure: no I/O; the time is an argument.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::provider::{Fact, Job};

pub mod compile;
pub mod decide;
pub mod lint;
pub mod parse;
pub mod pattern;

pub use compile::PolicySet;
pub use decide::{Decision, Denial};

/// What a caller asks for: one credential, exactly named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The credential's name, e.g. `shop-db/migrate`.
    pub credential: String,
    /// The scopes wanted; `None` asks for all of the grant's.
    pub scopes: Option<Vec<String>>,
    /// The life wanted; `None` asks for the grant's.
    pub ttl: Option<Duration>,
}

/// What is minted under a name: `credentials:` of the policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialDefinition {
    /// E.g. `shop-db/migrate`.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The longest life any grant may give it.
    pub max_ttl: Duration,
    /// Who answers for it.
    pub owner: String,
    /// What it is for.
    pub purpose: String,
    /// How much harm it can do.
    pub class: Class,
}

/// The kinds of credentials, with what each needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A signed JWT.
    Jwt {
        /// Who it is for: the `aud` claim.
        audience: String,
        /// Every scope there is.
        scopes: Vec<String>,
        /// The facts copied into its `job` object.
        claims: Vec<Fact>,
    },
    /// A PostgreSQL login.
    Postgres {
        /// The target in the settings.
        target: String,
        /// The NOLOGIN role it is a member of.
        group: String,
        /// What the job makes belongs to the group.
        act_as_group: bool,
    },
}

impl Kind {
    /// The word for it in a policy file.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Jwt { .. } => "jwt",
            Self::Postgres { .. } => "postgres",
        }
    }

    /// Every scope there is; empty for kinds without scopes.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        match self {
            Self::Jwt { scopes, .. } => scopes,
            Self::Postgres { .. } => &[],
        }
    }
}

/// How much harm a credential can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Little.
    Low,
    /// Some.
    Moderate,
    /// Much: stricter rules apply.
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
    policy: String,
    revision: String,
}

impl Permit {
    /// Whom it is for.
    #[must_use]
    pub const fn job(&self) -> &Job {
        &self.job
    }

    /// What may be minted.
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
