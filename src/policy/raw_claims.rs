//! The raw claims that decisions depend on. Audit events record them, and a decision that is made
//! again from an event is checked for those that it lacks.

use std::collections::{BTreeMap, BTreeSet};

use super::compile::PolicyIssuer;
use super::{Block, Condition, Policy, PolicySet, Requirement, Subject};
use crate::clock::Timestamp;
use crate::provider::{Fact, PropertyName, RecordedJob, unrecorded};

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
        let properties = issuer.reader.properties.keys();
        let properties =
            properties.filter_map(|name| issuer.reader.property_pointer(&PropertyName::new(name)));
        let read = mapped.chain(tenants).chain(required.iter().cloned());
        let read = read.chain(properties);
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
        Subject::Fact(_) | Subject::Property(_) | Subject::Issuer => None,
    })
}

impl PolicySet {
    /// Whether a decision about the credential depends on the inputs of a request.
    #[must_use]
    pub fn bounds_inputs(&self, credential: &str) -> bool {
        let credential = self.credentials.get(credential);
        credential.is_some_and(|one| !one.inputs.is_empty())
    }

    /// What the event does not say of a claim, property, address or list that may decide about the
    /// request, in a sentence: the condition is in a block whose other conditions hold.
    #[must_use]
    pub fn undecided_by(
        &self,
        job: &RecordedJob,
        credential: &str,
        now: Timestamp,
    ) -> Option<String> {
        let known = &job.known;
        let facts = &*job.facts.at(now);
        let issuer = self.issuer_of(facts)?;
        let is_known = |one: &Condition| match &one.subject {
            Subject::Claim(pointer) => known.contains(pointer),
            Subject::Property(name) => {
                let pointer = issuer.reader.property_pointer(name);
                pointer.is_none_or(|pointer| known.contains(&pointer))
            }
            Subject::Fact(Fact::SourceIp) => facts.get(Fact::SourceIp).is_some(),
            Subject::Fact(fact) => !job.joined.contains(fact) || !one.pattern.names_comma(),
            Subject::Issuer => true,
        };
        let missing = |block: &Block, within: Option<&Block>| -> Option<String> {
            let lines = || {
                block
                    .conditions
                    .iter()
                    .chain(within.iter().flat_map(|one| &one.conditions))
            };
            let first = lines().find(|one| !is_known(one))?;
            let may_hold = lines().all(|one| !is_known(one) || one.holds(facts));
            may_hold.then(|| match &first.subject {
                Subject::Fact(fact) if job.joined.contains(fact) => format!(
                    "a policy names a member of `{fact}` with a comma, and the event has the list as one text"
                ),
                subject @ (Subject::Fact(_)
                | Subject::Claim(_)
                | Subject::Property(_)
                | Subject::Issuer) => unrecorded(subject.name()),
            })
        };
        let definition = self.credentials.get(credential);
        let of_tenant = issuer.tenants.iter().flatten().map(|tenant| (tenant, None));
        let policies = self.grants_of(credential).map(|(policy, _)| policy);
        let of_policy = policies
            .filter(|one| one.issuer == facts.issuer() && one.until.is_none_or(|end| now < end))
            .flat_map(|policy| {
                let within = policy.within.as_deref();
                policy.when.iter().map(move |block| (block, within))
            });
        let required = definition
            .into_iter()
            .flat_map(|one| self.requirements_on(one));
        let of_requirement = required
            .flat_map(|one| std::iter::once(&one.jobs).chain(&one.unless))
            .map(|block| (block, None));
        let mut blocks = of_tenant.chain(of_policy).chain(of_requirement);
        blocks.find_map(|(block, within)| missing(block, within))
    }
}
