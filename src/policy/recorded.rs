//! The raw claims that decisions depend on. Audit events record them, and a decision that is made
//! again from an event is checked for those that it lacks.

use std::collections::{BTreeMap, BTreeSet};

use super::compile::PolicyIssuer;
use super::{Block, Policy, PolicySet, Requirement, Subject};
use crate::clock::Timestamp;
use crate::provider::Facts;

/// The pointers that policies read, by the name of the issuer.
pub(super) fn pointers(
    issuers: &[PolicyIssuer],
    policies: &[Policy],
    requirements: &[Requirement],
) -> BTreeMap<String, BTreeSet<String>> {
    let required = requirements.iter();
    let required = required.flat_map(|one| std::iter::once(&one.jobs).chain(&one.unless));
    let required: BTreeSet<_> = required.flat_map(of_block).cloned().collect();
    let of_issuer = |issuer: &PolicyIssuer| {
        let mapped = issuer.reader.claim_map.values();
        let mapped = mapped.map(|mapped| mapped.pointer.clone());
        let tenants = issuer.tenants.iter().flatten().flat_map(of_block).cloned();
        let read = mapped.chain(tenants).chain(required.iter().cloned());
        (issuer.reader.issuer.name.clone(), read.collect())
    };
    let mut read: BTreeMap<String, BTreeSet<String>> = issuers.iter().map(of_issuer).collect();
    for policy in policies {
        let blocks = policy.when.iter().chain(policy.within.as_deref());
        for pointer in blocks.flat_map(of_block) {
            if let Some(read) = read.get_mut(&policy.issuer) {
                read.insert(pointer.clone());
            }
        }
    }
    read
}

fn of_block(block: &Block) -> impl Iterator<Item = &String> {
    let subjects = block.conditions.iter().map(|condition| &condition.subject);
    subjects.filter_map(|subject| match subject {
        Subject::Claim(pointer) => Some(pointer),
        Subject::Fact(_) | Subject::Issuer => None,
    })
}

impl PolicySet {
    /// Whether a decision about the credential depends on the inputs of a request.
    #[must_use]
    pub fn bounds_inputs(&self, credential: &str) -> bool {
        let credential = self.credentials.get(credential);
        credential.is_some_and(|one| !one.inputs.is_empty())
    }

    /// The pointer of a claim that may decide about the request and is not known: it is in a block
    /// whose other conditions hold.
    #[must_use]
    pub fn undecided_by(
        &self,
        facts: &Facts,
        credential: &str,
        now: Timestamp,
        known: &BTreeSet<String>,
    ) -> Option<String> {
        if facts.pointers().is_subset(known) {
            return None;
        }
        let missing = |blocks: &[&'_ Block]| -> Option<String> {
            let conditions = || blocks.iter().flat_map(|block| &block.conditions);
            let unknown = |subject: &Subject| match subject {
                Subject::Claim(pointer) => !known.contains(pointer),
                Subject::Fact(_) | Subject::Issuer => false,
            };
            let may_hold = conditions().all(|one| unknown(&one.subject) || one.holds(facts));
            let first = conditions().find(|one| unknown(&one.subject))?;
            may_hold.then(|| first.subject.name().to_owned())
        };
        let issuers = self.issuers.iter();
        let issuer = issuers.filter(|one| one.reader.issuer.name == facts.issuer());
        let tenants = issuer.flat_map(|one| one.tenants.iter().flatten());
        let mut tenants = tenants.map(|tenant| missing(&[tenant]));
        let definition = self.credentials.get(credential);
        let policies = self.grants_of(credential).map(|(policy, _)| policy);
        let policies = policies
            .filter(|one| one.issuer == facts.issuer() && one.until.is_none_or(|end| now < end));
        let mut policies = policies.flat_map(|policy| {
            let within = policy.within.as_deref();
            let blocks = policy.when.iter();
            blocks.map(move |block| {
                let limits: Vec<_> = std::iter::once(block).chain(within).collect();
                missing(&limits)
            })
        });
        let required = definition
            .into_iter()
            .flat_map(|one| self.requirements_on(one));
        let mut required = required
            .flat_map(|one| std::iter::once(&one.jobs).chain(&one.unless))
            .map(|block| missing(&[block]));
        tenants
            .find_map(|one| one)
            .or_else(|| policies.find_map(|one| one))
            .or_else(|| required.find_map(|one| one))
    }
}
