//! Which policies, conditions and requirements no test exercises.

use std::collections::BTreeSet;

use super::{Because, Found, Outcome};
use crate::policy::PolicySet;
use crate::text::escape;
use crate::yaml::diagnostic::Place;

/// What the tests of a folder exercise.
#[derive(Clone, Debug)]
pub struct Coverage {
    /// Policies, and how many of them some test gets a credential from.
    pub policies: Share,
    /// Conditions, and how many of them some test is refused by.
    pub conditions: Share,
    /// Requirements, and how many of them some test is refused by.
    pub requirements: Share,
    /// The others.
    pub uncovered: Vec<Uncovered>,
}

/// A part of a number of entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    pub covered: usize,
    pub of: usize,
}

/// An entry that no test exercises.
#[derive(Clone, Debug)]
pub struct Uncovered {
    /// E.g. ``policy `shop-migrate`: no test gets a credential from it``.
    pub message: String,
    pub place: Place,
    pub(super) entry: Entry,
}

/// What [`Uncovered`] is about, by numbers in the set.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entry {
    Policy(usize),
    Condition {
        policy: usize,
        block: usize,
        line: usize,
    },
    Requirement(usize),
}

impl Coverage {
    /// The coverage of the tests that were run.
    #[must_use]
    pub fn of(set: &PolicySet, outcomes: &[Outcome<'_>]) -> Self {
        let mut gets = BTreeSet::new();
        let mut unmet = BTreeSet::new();
        let mut lines = BTreeSet::new();
        for outcome in outcomes {
            match &outcome.found {
                Found::Gets { policy, .. } => {
                    gets.insert((policy.as_str(), outcome.example.job.issuer()));
                }
                Found::Refused { because, .. } => {
                    unmet.extend(because.iter().filter_map(|one| match one {
                        Because::Requirement(name) => Some(name.as_str()),
                        Because::Line(_)
                        | Because::Tenant
                        | Because::Credential
                        | Because::Ttl
                        | Because::Scopes
                        | Because::Inputs => None,
                    }));
                }
            }
            if let Some(nearest) = &outcome.nearest {
                let (name, issuer) = &nearest.policy;
                let failed = nearest.lines.iter();
                lines.extend(
                    failed.map(|line| (name.as_str(), issuer.as_str(), nearest.block, *line)),
                );
            }
        }
        let mut coverage = Self {
            policies: Share::default(),
            conditions: Share::default(),
            requirements: Share::default(),
            uncovered: Vec::new(),
        };
        // Entries with `shadow_until` have no effect that a test could show.
        let policies = set.policies.iter().enumerate();
        for (number, policy) in policies.filter(|(_, one)| one.shadow_until.is_none()) {
            let key = (policy.name.as_str(), policy.issuer.as_str());
            let what = format!("policy `{}`", policy.name);
            let missing = || {
                (
                    format!("{what}: no test gets a credential from it"),
                    policy.place.clone(),
                    Entry::Policy(number),
                )
            };
            if !coverage.policies.add(gets.contains(&key)) {
                coverage.misses(missing());
            }
            for (block, lines_of) in policy.when.iter().enumerate() {
                let conditions = lines_of.conditions.iter().zip(&lines_of.places).enumerate();
                for (line, (condition, place)) in conditions {
                    let is_covered = lines.contains(&(key.0, key.1, block, line));
                    if !coverage.conditions.add(is_covered) {
                        let name = escape(condition.subject.name());
                        let message = format!("{what}: no test is refused by `{name}`");
                        let entry = Entry::Condition {
                            policy: number,
                            block,
                            line,
                        };
                        coverage.misses((message, place.clone(), entry));
                    }
                }
            }
        }
        let requirements = set.requirements.iter().enumerate();
        for (number, requirement) in requirements.filter(|(_, one)| one.shadow_until.is_none()) {
            if !coverage
                .requirements
                .add(unmet.contains(requirement.name.as_str()))
            {
                let message = format!(
                    "requirement `{}`: no test is refused by it",
                    requirement.name
                );
                coverage.misses((
                    message,
                    requirement.place.clone(),
                    Entry::Requirement(number),
                ));
            }
        }
        coverage
    }

    fn misses(&mut self, (message, place, entry): (String, Place, Entry)) {
        self.uncovered.push(Uncovered {
            message,
            place,
            entry,
        });
    }

    /// The covered part of all entries, in percent, rounded down; 100 of nothing.
    #[must_use]
    pub fn percent(&self) -> usize {
        let shares = [self.policies, self.conditions, self.requirements];
        let sum = |part: fn(&Share) -> usize| shares.iter().map(part).sum::<usize>();
        let (covered, of) = (sum(|share| share.covered), sum(|share| share.of));
        covered.saturating_mul(100).checked_div(of).unwrap_or(100)
    }
}

impl Share {
    fn add(&mut self, is_covered: bool) -> bool {
        self.of = self.of.saturating_add(1);
        self.covered = self.covered.saturating_add(usize::from(is_covered));
        is_covered
    }
}
