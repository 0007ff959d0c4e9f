//! Why a job is refused, in one word. Not: the lines that failed.

use std::cmp::Reverse;
use std::time::Duration;

use serde::Serialize;

use super::Survey;
use super::examine::{Examination, Examined, Relation};
use super::has_scopes;
use super::outcome::{GrantOutcome, seconds};
use crate::policy::{Ask, Grant, Policy, PolicySet};
use crate::yaml::diagnostic::nearest;
use crate::yaml::duration;

/// Why not: the first step of the rule that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The job is of no tenant of its issuer.
    Tenant,
    /// No policy is about a job like this.
    Stranger,
    /// There is no such credential.
    Credential {
        /// The one that may have been meant, of those the job's repository may have.
        suggestion: Option<String>,
    },
    /// No policy on the job's repository grants it.
    NotGranted { granted: Vec<String> },
    /// A policy that grants it does not hold.
    Conditions,
    /// The conditions hold, but no one grant has all the scopes.
    Scopes { allowed: Vec<String> },
    /// The conditions hold, but not for so long.
    Ttl {
        /// How long one may have it.
        #[serde(serialize_with = "seconds")]
        allowed: Duration,
    },
    /// A requirement does not hold.
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
                    allowed: longest(policy, ask),
                },
            };
        }
        if !examination.policies.iter().any(Examined::matters) {
            return Self::Stranger;
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

    /// The cause in a sentence, for those who may see the policies.
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
            Self::Stranger => "no policy is about a job like this".to_owned(),
            Self::Credential {
                suggestion: Some(meant),
            } => {
                format!("there is no such credential; `{meant}` is one")
            }
            Self::Credential { suggestion: None } => "there is no such credential".to_owned(),
            Self::NotGranted { granted } => format!(
                "no policy that could be about this job grants it; its repository may have {}",
                listed(granted)
            ),
            Self::Conditions => "no policy that grants it holds".to_owned(),
            Self::Scopes { allowed } => {
                format!("more scopes than one grant has: {}", listed(allowed))
            }
            Self::Ttl { allowed } => {
                format!("not for so long: 1s to {}", duration::print(*allowed))
            }
            Self::Requirement => "a requirement does not hold".to_owned(),
        }
    }
}

/// What the policies that name the job's repository grant: the first names of too many.
pub(super) fn granted(examination: &Examination<'_>) -> Vec<String> {
    let policies = examination.policies.iter();
    let grants = policies
        .filter(|examined| examined.relation == Relation::Named)
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

fn scopes(policy: &Policy, ask: &Ask) -> Vec<String> {
    grants_of(policy, ask)
        // Of equally many the first by name, so that the order of entries never matters.
        .max_by_key(|grant| (grant.scopes.len(), Reverse(&grant.scopes)))
        .map(|grant| grant.scopes.clone())
        .unwrap_or_default()
}

/// Grants that are looked through for the names in a sentence.
const MOST_GRANTS: usize = 256;
