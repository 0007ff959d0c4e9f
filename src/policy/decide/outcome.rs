//! A decision line by line: for the audit event, the offline explanation and the job itself.
//! Not: how it is found, who may learn what.

use std::cmp::Reverse;
use std::time::Duration;

use serde::Serialize;

use super::cause::Cause;
use super::examine::Relation;
use super::{covered, has_scopes};
use crate::policy::{Ask, Policy};
use crate::yaml::diagnostic::Place;
use crate::yaml::duration;

/// What was decided, and everything that led to it.
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
    /// Every policy that could have held, nearest first.
    pub policies: Vec<PolicyOutcome>,
    /// The requirements on the credential.
    pub requirements: Vec<RequirementOutcome>,
    /// Some policy names the job's repository, so it may learn why it is refused.
    pub names_repository: bool,
    /// What the job's repository is to the policies.
    #[serde(skip)]
    pub(super) relation: Relation,
    /// What the policies that name the job's repository grant.
    #[serde(skip)]
    pub(super) granted: Vec<String>,
    /// What started the run, where that is not ordinary (T-52).
    #[serde(skip)]
    pub(super) trigger: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Permitted {
        /// The policy that allows it.
        policy: String,
        #[serde(serialize_with = "seconds")]
        ttl: Duration,
        scopes: Vec<String>,
    },
    Denied(Cause),
}

/// A policy that was considered.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyOutcome {
    pub policy: String,
    /// `file:line:column`.
    #[serde(serialize_with = "position")]
    pub place: Place,
    /// It names the job's repository exactly.
    pub names_repository: bool,
    /// Its blocks; one must hold.
    pub blocks: Vec<BlockOutcome>,
    /// The end of its time, where it has one.
    pub until: Option<ConditionOutcome>,
    /// What it gives to the ask.
    pub grant: GrantOutcome,
}

/// What a policy gives to the ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantOutcome {
    /// It does not grant the credential.
    None,
    /// One grant covers the whole ask.
    Covers,
    /// None of its grants has all the scopes.
    Scopes,
    /// None of its grants is for so long.
    Ttl,
}

/// Lines that must all hold.
#[derive(Clone, Debug, Serialize)]
pub struct BlockOutcome {
    /// One line each; the rule of ordinary triggers is one when it fails.
    pub conditions: Vec<ConditionOutcome>,
    #[serde(skip)]
    pub(super) relation: Relation,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConditionOutcome {
    pub fact: String,
    /// What that must be, as the policy spells it.
    pub expected: String,
    /// What the job says; `None` when it does not.
    pub actual: Option<String>,
    pub holds: bool,
    /// What is nearly right about it.
    pub hint: Option<String>,
    /// `expected` as far as a job of the repository may learn it, where that is less.
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
    /// It holds, or its exemption does.
    pub holds: bool,
    pub jobs: BlockOutcome,
    /// The lines of its exemption.
    pub unless: Option<BlockOutcome>,
}

impl Decision {
    #[must_use]
    pub const fn is_permitted(&self) -> bool {
        matches!(self.verdict, Verdict::Permitted { .. })
    }
}

impl PolicyOutcome {
    /// Its conditions hold, whatever it grants.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.until.as_ref().is_none_or(|until| until.holds)
            && self.blocks.iter().any(BlockOutcome::holds)
    }

    /// The lines to put right: those of the block that is nearest.
    #[must_use]
    pub fn failed(&self) -> Vec<&ConditionOutcome> {
        self.failed_of(|_| true)
    }

    /// The same of the blocks that name the job's repository.
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
