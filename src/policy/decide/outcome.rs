//! A decision line by line, for the audit log, the offline explanation and the job.

use std::cmp::Reverse;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::cause::Cause;
use super::examine::Relation;
use super::{covered, has_scopes};
use crate::policy::{Ask, Policy};
use crate::yaml::diagnostic::Place;
use crate::yaml::duration;

/// A decision, and everything that led to it.
#[derive(Clone, Debug, Serialize)]
pub struct Decision {
    /// The issuer's name in the policies.
    pub issuer: String,
    pub credential: String,
    /// The hash of the policies.
    pub revision: String,
    pub verdict: Verdict,
    /// The issuer's tenants; empty where it serves all.
    pub tenants: Vec<BlockOutcome>,
    /// Every policy that may match, nearest first.
    pub policies: Vec<PolicyOutcome>,
    /// The requirements on the credential.
    pub requirements: Vec<RequirementOutcome>,
    /// What would be different if the entries with `shadow_until` were in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowOutcome>,
    /// Whether a policy names the job's repository, so the job may learn why it is refused.
    pub names_repository: bool,
    /// How the job's repository relates to the policies.
    #[serde(skip)]
    pub(super) relation: Relation,
    /// The credentials that the policies for the job's repository grant.
    #[serde(skip)]
    pub(super) granted: Vec<String>,
    /// The run's trigger, if it is not ordinary (T-52).
    #[serde(skip)]
    pub(super) trigger: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Permitted {
        /// The policy that grants it.
        policy: String,
        #[serde(serialize_with = "seconds")]
        ttl: Duration,
        scopes: Vec<String>,
    },
    Denied(Cause),
}

/// How a decision would differ if the entries with `shadow_until` were in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ShadowOutcome {
    /// A policy would grant it, or grant more.
    WouldGrant { policy: String },
    /// A requirement would refuse it.
    WouldRefuse { requirement: String },
}

impl ShadowOutcome {
    /// The entry's name.
    #[must_use]
    pub fn entry(&self) -> &str {
        match self {
            Self::WouldGrant { policy } => policy,
            Self::WouldRefuse { requirement } => requirement,
        }
    }
}

impl fmt::Display for ShadowOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WouldGrant { policy } => write!(f, "would have been granted by policy {policy}"),
            Self::WouldRefuse { requirement } => {
                write!(f, "would have been refused by requirement {requirement}")
            }
        }
    }
}

/// A policy that was considered.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyOutcome {
    pub policy: String,
    /// `file:line:column`.
    #[serde(serialize_with = "position")]
    pub place: Place,
    /// Whether it names the job's repository exactly.
    pub names_repository: bool,
    /// Its blocks, of which one must match.
    pub blocks: Vec<BlockOutcome>,
    /// Its `until`, if it has one.
    pub until: Option<ConditionOutcome>,
    /// Its `shadow_until`, if it has one: then it has no effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow_until: Option<String>,
    /// What it grants to the request.
    pub grant: GrantOutcome,
}

/// What a policy grants to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantOutcome {
    /// It does not grant the credential.
    None,
    /// One grant covers the entire request.
    Covers,
    /// None of its grants has all the scopes.
    Scopes,
    /// No grant allows the requested lifetime.
    Ttl,
}

/// Conditions that must all be met.
#[derive(Clone, Debug, Serialize)]
pub struct BlockOutcome {
    /// The conditions. The rule of ordinary triggers is one of them if it fails.
    pub conditions: Vec<ConditionOutcome>,
    #[serde(skip)]
    pub(super) relation: Relation,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConditionOutcome {
    pub fact: String,
    /// The expected value, as the policy writes it.
    pub expected: String,
    /// The job's value; `None` if it has none.
    pub actual: Option<String>,
    pub holds: bool,
    /// What almost matched.
    pub hint: Option<String>,
    /// `expected` as a job of the repository may see it, if that is less.
    #[serde(skip)]
    pub(super) disclosed: Option<String>,
}

/// A requirement on the credential.
#[derive(Clone, Debug, Serialize)]
pub struct RequirementOutcome {
    pub requirement: String,
    /// `file:line:column`.
    #[serde(serialize_with = "position")]
    pub place: Place,
    pub because: String,
    /// Its `shadow_until`, if it has one: then it has no effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow_until: Option<String>,
    /// Whether the job meets it or is exempt.
    pub holds: bool,
    pub jobs: BlockOutcome,
    /// The blocks of its exemption.
    pub unless: Option<BlockOutcome>,
}

impl Decision {
    #[must_use]
    pub const fn is_permitted(&self) -> bool {
        matches!(self.verdict, Verdict::Permitted { .. })
    }
}

impl PolicyOutcome {
    /// Whether its conditions are met, whatever it grants.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.until.as_ref().is_none_or(|until| until.holds)
            && self.blocks.iter().any(BlockOutcome::holds)
    }

    /// The failed conditions of the nearest block.
    #[must_use]
    pub fn failed(&self) -> Vec<&ConditionOutcome> {
        self.failed_of(|_| true)
    }

    /// The failed conditions of the nearest block that names the job's repository.
    pub(super) fn failed_of_named(&self) -> Vec<&ConditionOutcome> {
        self.failed_of(|block| block.relation == Relation::Named)
    }

    fn failed_of(&self, counts: impl Fn(&BlockOutcome) -> bool) -> Vec<&ConditionOutcome> {
        let until = self.until.iter().filter(|until| !until.holds);
        let blocks = self.blocks.iter().filter(|block| counts(block));
        let nearest = blocks
            .map(|block| (Reverse(block.relation), block.failed()))
            .min_by_key(|(relation, failed)| (*relation, failed.len()));
        let nearest = nearest.map(|(_, failed)| failed).unwrap_or_default();
        nearest.into_iter().chain(until).collect()
    }
}

impl GrantOutcome {
    pub(super) fn of(policy: &Policy, ask: &Ask) -> Self {
        let mut outcome = Self::None;
        let grants = policy.grants.iter();
        for grant in grants.filter(|grant| grant.credential.name == ask.credential) {
            if covered(grant, ask).is_some() {
                return Self::Covers;
            }
            if has_scopes(grant, ask) {
                outcome = Self::Ttl;
            } else if outcome == Self::None {
                outcome = Self::Scopes;
            }
        }
        outcome
    }
}

impl BlockOutcome {
    #[must_use]
    pub fn holds(&self) -> bool {
        self.conditions.iter().all(|condition| condition.holds)
    }

    /// The lines that do not.
    #[must_use]
    pub fn failed(&self) -> Vec<&ConditionOutcome> {
        self.conditions
            .iter()
            .filter(|condition| !condition.holds)
            .collect()
    }
}

pub(super) fn seconds<S: serde::Serializer>(
    ttl: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&duration::print(*ttl))
}

fn position<S: serde::Serializer>(place: &Place, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(place)
}
