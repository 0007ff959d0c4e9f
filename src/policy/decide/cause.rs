//! The cause of a denial, as one value.

use std::cmp::Reverse;
use std::time::Duration;

use serde::Serialize;

use super::Survey;
use super::examine::{Examination, Relation};
use super::has_scopes;
use super::outcome::{GrantOutcome, seconds};
use crate::policy::{Ask, Grant, Policy, PolicySet};
use crate::yaml::diagnostic::nearest;
use crate::yaml::duration;

/// Why a job is denied: the first step that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The job belongs to no tenant of its issuer.
    Tenant,
    /// No policy is for the job's repository.
    UnrelatedJob,
    /// The credential does not exist.
    Credential {
        /// The credential that was probably meant, of those that the job's repository can get.
        suggestion: Option<String>,
    },
    /// No policy for the job's repository grants it.
    NotGranted { granted: Vec<String> },
    /// The job does not match any policy that grants it.
    Conditions,
    /// The job matches, but no single grant has all scopes.
    Scopes { allowed: Vec<String> },
    /// The job matches, but the requested lifetime is too long or too short.
    Ttl {
        /// The minimum lifetime of the credential's kind.
        #[serde(serialize_with = "seconds")]
        shortest: Duration,
        /// The maximum lifetime.
        #[serde(serialize_with = "seconds")]
        allowed: Duration,
    },
    /// A requirement is not met.
    Requirement,
}

impl Cause {
    /// The first step that failed.
    pub(super) fn of(
        set: &PolicySet,
        survey: &Survey<'_>,
        examination: &Examination<'_>,
        ask: &Ask,
    ) -> Self {
        if survey.issuer.is_none() {
            return Self::Tenant;
        }
        if survey.best.is_some() {
            return Self::Requirement;
        }
        if let Some((grant, policy)) = &survey.short {
            return match grant {
                GrantOutcome::Scopes | GrantOutcome::None => Self::Scopes {
                    allowed: scopes(policy, ask),
                },
                GrantOutcome::Ttl | GrantOutcome::Covers => Self::Ttl {
                    shortest: shortest(policy, ask),
                    allowed: longest(policy, ask),
                },
            };
        }
        let mut in_force = examination.policies.iter();
        if !in_force.any(|one| one.matters() && one.policy.shadow_until.is_none()) {
            return Self::UnrelatedJob;
        }
        if !set.credentials.contains_key(&ask.credential) {
            let granted = granted(examination);
            let suggestion = nearest(&ask.credential, granted.iter().map(String::as_str));
            return Self::Credential {
                suggestion: suggestion.map(str::to_owned),
            };
        }
        if examination.is_granted {
            return Self::Conditions;
        }
        Self::NotGranted {
            granted: granted(examination),
        }
    }

    /// The cause in a sentence, for readers who may see the policies.
    #[must_use]
    pub fn sentence(&self) -> String {
        let listed = |words: &[String]| {
            if words.is_empty() {
                "nothing".to_owned()
            } else {
                words.join(", ")
            }
        };
        match self {
            Self::Tenant => "the job belongs to no tenant of its issuer".to_owned(),
            Self::UnrelatedJob => "no policy is for this job's repository".to_owned(),
            Self::Credential {
                suggestion: Some(meant),
            } => {
                format!("no such credential; did you mean `{meant}`?")
            }
            Self::Credential { suggestion: None } => "no such credential".to_owned(),
            Self::NotGranted { granted } => format!(
                "no policy for this job grants it; the policies for its repository grant {}",
                listed(granted)
            ),
            Self::Conditions => "the conditions of every policy that grants it fail".to_owned(),
            Self::Scopes { allowed } => {
                format!(
                    "no single grant has all scopes; allowed: {}",
                    listed(allowed)
                )
            }
            Self::Ttl { shortest, allowed } => {
                let [least, most] = [*shortest, *allowed].map(duration::print);
                format!("the requested lifetime is not allowed, expected {least} to {most}")
            }
            Self::Requirement => "a requirement is not met".to_owned(),
        }
    }
}

/// The credentials that the policies for the job's repository grant, up to a limit.
pub(super) fn granted(examination: &Examination<'_>) -> Vec<String> {
    let policies = examination.policies.iter();
    let grants = policies
        .filter(|examined| examined.relation == Relation::Named)
        .filter(|examined| examined.policy.shadow_until.is_none())
        .flat_map(|examined| &examined.policy.grants);
    let mut names: Vec<_> = grants
        .take(MOST_GRANTS)
        .map(|grant| grant.credential.name.clone())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn grants_of<'a>(policy: &'a Policy, ask: &'a Ask) -> impl Iterator<Item = &'a Grant> {
    let grants = policy.grants.iter();
    grants.filter(|grant| grant.credential.name == ask.credential)
}

fn longest(policy: &Policy, ask: &Ask) -> Duration {
    let lives = grants_of(policy, ask).filter(|grant| has_scopes(grant, ask));
    lives.map(Grant::longest).max().unwrap_or_default()
}

fn shortest(policy: &Policy, ask: &Ask) -> Duration {
    let lives = grants_of(policy, ask).map(|grant| grant.credential.kind.shortest());
    lives.min().unwrap_or_default()
}

fn scopes(policy: &Policy, ask: &Ask) -> Vec<String> {
    grants_of(policy, ask)
        // Among equals the first by name, so the order of entries never matters.
        .max_by_key(|grant| (grant.scopes.len(), Reverse(&grant.scopes)))
        .map(|grant| grant.scopes.clone())
        .unwrap_or_default()
}

/// The most grants examined for the names in a sentence.
const MOST_GRANTS: usize = 256;
