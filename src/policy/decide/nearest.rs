//! The policy that comes nearest to a request, and the lines of it that fail.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::policy::{Block, CredentialDefinition, Grant, Policy, PolicySet, Requirement};
use crate::provider::{Fact, Facts};
use crate::yaml::Place;

/// A block of a policy that grants a credential, as a job meets it.
#[derive(Clone, Debug)]
pub struct Nearest<'a> {
    pub policy: &'a Policy,
    pub block: &'a Block,
    /// The lines that fail, in order.
    pub failed: Vec<FailedLine>,
}

/// A line that fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedLine {
    /// The fact, the pointer of a claim, or `until`.
    pub name: String,
    /// Its number in the block; `None` for the limits of a team, the rule of ordinary triggers and
    /// `until`.
    pub condition: Option<usize>,
}

impl PolicySet {
    /// The policies of the job's issuer that grant the credential, each with its nearest block: the
    /// one with the fewest failing lines, then by name. Unlike a decision it also compares policies
    /// for other repositories, so its cost grows with their number.
    #[must_use]
    pub fn nearest(&self, facts: &Facts, credential: &str, now: Timestamp) -> Vec<Nearest<'_>> {
        let Some(credential) = self.credentials.get(credential) else {
            return Vec::new();
        };
        let facts = &*facts.at(now);
        let has_events = self.issuer_of(facts).is_none_or(|issuer| issuer.has_events);
        let grants = |policy: &&Policy| {
            policy.issuer == facts.issuer()
                && policy.shadow_until.is_none()
                && policy.grants_of(Some(credential)).next().is_some()
        };
        let policies = self.policies.iter().filter(grants);
        let mut nearest: Vec<_> = policies
            .filter_map(|policy| {
                let blocks = policy.when.iter();
                let compared = blocks.map(|block| Nearest {
                    policy,
                    block,
                    failed: failed(policy, block, facts, has_events, now),
                });
                compared.min_by_key(|nearest| nearest.failed.len())
            })
            .collect();
        nearest.sort_by(|a, b| {
            let key = |one: &Nearest<'_>| (one.failed.len(), one.policy.name.clone());
            key(a).cmp(&key(b))
        });
        nearest
    }

    /// The requirements on a credential that the job does not meet.
    #[must_use]
    pub fn unmet(&self, facts: &Facts, credential: &str, now: Timestamp) -> Vec<&Requirement> {
        let facts = &*facts.at(now);
        let Some(credential) = self.credentials.get(credential) else {
            return Vec::new();
        };
        self.requirements_on(credential)
            .filter(|one| !one.holds(facts))
            .collect()
    }

    /// Whether a requirement in force on the credential names the time.
    pub(in crate::policy) fn requires_time(&self, credential: &str) -> bool {
        let credential = self.credentials.get(credential);
        let requirements = credential
            .into_iter()
            .flat_map(|one| self.requirements_on(one));
        let mut blocks = requirements.flat_map(|one| std::iter::once(&one.jobs).chain(&one.unless));
        blocks.any(|block| block.has(Fact::Time))
    }

    /// Every grant of a credential by a policy in force, with its policy.
    pub fn grants_of(&self, credential: &str) -> impl Iterator<Item = (&Policy, &Grant)> {
        let credential = self.credentials.get(credential);
        let policies = self.policies.iter();
        let in_force = policies.filter(|policy| policy.shadow_until.is_none());
        in_force.flat_map(move |policy| {
            policy
                .grants_of(credential)
                .map(move |grant| (policy, grant))
        })
    }

    /// The position of a credential's definition.
    #[must_use]
    pub fn place_of(&self, credential: &str) -> Option<&Place> {
        self.credential_places.get(credential)
    }

    /// The requirements in force that select a credential.
    pub fn requirements_on(
        &self,
        credential: &Arc<CredentialDefinition>,
    ) -> impl Iterator<Item = &Requirement> {
        let all = self.requirements.iter();
        all.filter(move |one| one.shadow_until.is_none() && one.of.selects(credential))
    }
}

fn failed(
    policy: &Policy,
    block: &Block,
    facts: &Facts,
    has_events: bool,
    now: Timestamp,
) -> Vec<FailedLine> {
    let lines = block.conditions.iter().enumerate();
    let lines = lines.filter(|(_, condition)| !condition.holds(facts));
    let mut failed: Vec<_> = lines
        .map(|(number, condition)| FailedLine {
            name: condition.subject.name().to_owned(),
            condition: Some(number),
        })
        .collect();
    let more = |name: &str| FailedLine {
        name: name.to_owned(),
        condition: None,
    };
    let limits = policy.within.iter().flat_map(|block| &block.conditions);
    for condition in limits.filter(|condition| !condition.holds(facts)) {
        failed.push(more(condition.subject.name()));
    }
    let trigger = Fact::Trigger.name();
    let is_named = failed.iter().any(|line| line.name == trigger);
    if !block.lets_run(facts, has_events) && !is_named {
        failed.push(more(trigger));
    }
    if policy.is_past(now) {
        failed.push(more("until"));
    }
    failed
}
