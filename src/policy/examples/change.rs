//! The smallest change of a job or its request that would be let in.

use std::collections::BTreeMap;

use serde_json::Map;

use super::value_for;
use crate::clock::Timestamp;
use crate::policy::decide::{Cause, Nearest, Verdict};
use crate::policy::{Ask, PolicySet, Subject};
use crate::provider::{Fact, FactValue, Facts};
use crate::yaml::duration;

/// What would have to be different, in lines such as `ref: refs/heads/main`. It is tried before it is
/// returned; `None` if no such change is found.
#[must_use]
pub fn smallest_change(
    set: &PolicySet,
    facts: &Facts,
    ask: &Ask,
    now: Timestamp,
) -> Option<Vec<String>> {
    match set.explain(facts, ask, now).verdict {
        Verdict::Denied(Cause::Ttl { shortest, allowed }) => {
            let ask = Ask {
                ttl: Some(allowed),
                ..ask.clone()
            };
            let [least, most] = [shortest, allowed].map(duration::print);
            let line = vec![format!("ttl: {least} to {most}")];
            set.explain(facts, &ask, now).is_permitted().then_some(line)
        }
        Verdict::Denied(Cause::Scopes { allowed }) => {
            let line = vec![format!("scopes: some of [{}]", allowed.join(", "))];
            let ask = Ask {
                scopes: Some(allowed),
                ..ask.clone()
            };
            set.explain(facts, &ask, now).is_permitted().then_some(line)
        }
        Verdict::Denied(
            Cause::Conditions | Cause::UnrelatedJob | Cause::NotGranted { .. } | Cause::Requirement,
        ) => {
            let nearest = set.nearest(facts, &ask.credential, now);
            let changes = nearest
                .iter()
                .take(MOST_TRIED)
                .filter_map(|one| changed(set, facts, one, ask, now));
            changes.min_by_key(Vec::len)
        }
        Verdict::Denied(Cause::Tenant | Cause::Credential { .. }) | Verdict::Permitted { .. } => {
            None
        }
    }
}

/// The facts that differ for the job to meet the block and the requirements.
fn changed(
    set: &PolicySet,
    facts: &Facts,
    nearest: &Nearest<'_>,
    ask: &Ask,
    now: Timestamp,
) -> Option<Vec<String>> {
    let facts = &*facts.at(now);
    let reader = set.reader_by_url(facts.issuer_url())?;
    let credential = set.credential(&ask.credential)?;
    let required = set.requirements_on(credential).map(|one| &one.jobs);
    let mut given: BTreeMap<Fact, FactValue> = facts
        .iter()
        .map(|(fact, value)| (fact, value.clone()))
        .collect();
    let is_fact = |name: &str| {
        let claims = reader.provider.claims.iter();
        claims.into_iter().any(|claim| claim.name == name)
            || reader.provider.claims.is_empty()
            || name == "iss"
    };
    let raw = facts.claims().to_json().into_iter();
    let mut raw: Map<_, _> = raw.filter(|(name, _)| !is_fact(name)).collect();
    let mut lines = Vec::new();
    for condition in std::iter::once(nearest.block)
        .chain(nearest.policy.within.as_deref())
        .chain(required)
        .flat_map(|block| &block.conditions)
    {
        if condition.holds(facts) {
            continue;
        }
        let fact = match &condition.subject {
            Subject::Fact(fact) => fact,
            Subject::Property(name) => {
                let declared = reader.property_type(name)?;
                let value = value_for(&condition.pattern, declared.fact_type())?;
                lines.push(format!("{}: {value}", name.dotted()));
                let (claim, value) = reader.property_claim(name, &value)?;
                raw.insert(claim, value);
                continue;
            }
            Subject::Claim(_) | Subject::Issuer => return None,
        };
        let value = value_for(&condition.pattern, reader.fact_type(*fact))?;
        lines.push(format!("{fact}: {value}"));
        given.insert(*fact, value);
    }
    // What follows from the changed facts is read again.
    let changes = |fact: Fact| {
        lines
            .iter()
            .any(|line| line.starts_with(&format!("{fact}: ")))
    };
    if changes(Fact::Trigger) {
        given.remove(&Fact::Event);
    }
    if changes(Fact::Ref) && !changes(Fact::RefType) {
        given.remove(&Fact::RefType);
    }
    if changes(Fact::EntryWorkflow) {
        given.remove(&Fact::Workflow);
    }
    let other = reader.facts_of(&given, &raw).ok()?;
    set.explain(&other, ask, now)
        .is_permitted()
        .then_some(lines)
}

/// Policies that are tried.
const MOST_TRIED: usize = 8;
