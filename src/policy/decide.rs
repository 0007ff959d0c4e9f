//! Job, ask and policies to Permit or Denial. The only maker of Permit.
//!
//! The rule: a tenant of the issuer fits; a policy that grants the credential is not past its
//! `until` and one of its blocks holds; one grant of it covers the whole ask; every requirement on
//! the credential holds. Anything else is denied. [`PolicySet::explain`] shows the same walk line by
//! line; its verdict is this one.

use std::sync::Arc;
use std::time::Duration;

use super::compile::Issuer;
use super::{Ask, Block, CredentialDefinition, Grant, Permit, Policy, PolicySet};
use crate::clock::Timestamp;
use crate::provider::{Fact, Facts, Job, ORDINARY_TRIGGERS};

mod denial;
mod outcome;

pub use denial::{Answer, Denial, Disclosure, FailedCondition, OAuthError, STRANGER, when_block};
pub use outcome::{
    BlockOutcome, Cause, ConditionOutcome, Decision, GrantOutcome, PolicyOutcome,
    RequirementOutcome, Verdict,
};

/// A job that was refused, given back, and why.
#[derive(Debug)]
pub struct Refused {
    /// Who asked.
    pub job: Job,
    /// Why not.
    pub denial: Denial,
}

/// A credential a job may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Available {
    /// What.
    pub credential: Arc<CredentialDefinition>,
    /// By which policy.
    pub policy: String,
    /// How long at most.
    pub ttl: Duration,
    /// With which scopes at most.
    pub scopes: Vec<String>,
}

impl PolicySet {
    /// Whether this job may have what it asks for.
    ///
    /// # Errors
    /// The job, given back, with every condition that failed.
    pub fn decide(&self, job: Job, ask: &Ask, now: Timestamp) -> Result<Permit, Box<Refused>> {
        let Some(chosen) = self.choose(job.facts(), ask, now) else {
            let decision = self.explain(job.facts(), ask, now);
            let denial = Denial::new(decision, job.facts());
            return Err(Box::new(Refused { job, denial }));
        };
        Ok(Permit {
            job,
            credential: Arc::clone(&chosen.grant.credential),
            scopes: chosen.scopes(ask),
            ttl: chosen.ttl,
            policy: chosen.policy.name.clone(),
            revision: self.revision().to_owned(),
        })
    }

    /// The same decision with every policy considered and every condition's outcome. Nothing can be
    /// minted from it, so it may be asked about facts nobody verified.
    #[must_use]
    pub fn explain(&self, facts: &Facts, ask: &Ask, now: Timestamp) -> Decision {
        Decision::trace(self, facts, ask, now)
    }

    /// What a job with these facts may have, asking for no less than it can get; by name.
    #[must_use]
    pub fn available(&self, facts: &Facts, now: Timestamp) -> Vec<Available> {
        let grants = self
            .index
            .candidates(facts)
            .filter_map(|number| self.policies.get(number));
        let mut names: Vec<_> = grants
            .flat_map(|policy| &policy.grants)
            .map(|grant| grant.credential.name.as_str())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
            .into_iter()
            .filter_map(|name| {
                let ask = Ask {
                    credential: name.to_owned(),
                    scopes: None,
                    ttl: None,
                };
                let chosen = self.choose(facts, &ask, now)?;
                Some(Available {
                    credential: Arc::clone(&chosen.grant.credential),
                    policy: chosen.policy.name.clone(),
                    ttl: chosen.ttl,
                    scopes: chosen.grant.scopes.clone(),
                })
            })
            .collect()
    }

    fn choose(&self, facts: &Facts, ask: &Ask, now: Timestamp) -> Option<Chosen<'_>> {
        let issuer = self.issuer_of(facts)?;
        if !issuer.serves(facts) {
            return None;
        }
        let credential = self.credentials.get(&ask.credential)?;
        let mut best: Option<Chosen<'_>> = None;
        for number in self.index.candidates(facts) {
            let Some(policy) = self.policies.get(number) else {
                continue;
            };
            let mut holds = None;
            for grant in policy.grants_of(credential) {
                let Some(ttl) = covered(grant, ask) else {
                    continue;
                };
                let holds = *holds.get_or_insert_with(|| {
                    !policy.is_past(now) && policy.fits(facts, issuer.tells_events)
                });
                let chosen = Chosen { policy, grant, ttl };
                if holds && best.as_ref().is_none_or(|best| chosen.precedes(best)) {
                    best = Some(chosen);
                }
            }
        }
        let best = best?;
        let mut requirements = self.requirements.iter();
        requirements
            .all(|requirement| !requirement.of.selects(credential) || requirement.holds(facts))
            .then_some(best)
    }

    fn issuer_of(&self, facts: &Facts) -> Option<&Issuer> {
        self.issuers
            .iter()
            .find(|issuer| issuer.reader.issuer.name == facts.issuer())
    }
}

/// What a policy gives to an ask.
struct Chosen<'a> {
    policy: &'a Policy,
    grant: &'a Grant,
    ttl: Duration,
}

impl Chosen<'_> {
    /// The longer life first, then more scopes, then the name, so that the order of files never
    /// matters.
    fn precedes(&self, other: &Self) -> bool {
        let rank = |chosen: &Self| (chosen.ttl, chosen.grant.scopes.len());
        rank(self)
            .cmp(&rank(other))
            .then_with(|| other.policy.name.cmp(&self.policy.name))
            .then_with(|| other.grant.scopes.cmp(&self.grant.scopes))
            .is_gt()
    }

    /// What was asked, each scope once and in the grant's order, so that the order of an ask makes no
    /// difference.
    fn scopes(&self, ask: &Ask) -> Vec<String> {
        let mut scopes = self.grant.scopes.clone();
        if let Some(asked) = &ask.scopes {
            scopes.retain(|scope| asked.contains(scope));
        }
        scopes
    }
}

impl Issuer {
    /// The job belongs to one of the customers we serve (T-49).
    fn serves(&self, facts: &Facts) -> bool {
        match &self.tenants {
            None => true,
            Some(tenants) => tenants.iter().any(|tenant| tenant.holds(facts)),
        }
    }
}

impl Policy {
    fn grants_of<'a>(
        &'a self,
        credential: &Arc<CredentialDefinition>,
    ) -> impl Iterator<Item = &'a Grant> {
        self.grants
            .iter()
            .filter(move |grant| Arc::ptr_eq(&grant.credential, credential))
    }

    fn is_past(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now >= until)
    }

    fn fits(&self, facts: &Facts, tells_events: bool) -> bool {
        let mut blocks = self.when.iter();
        blocks.any(|block| block.holds(facts) && block.lets_run(facts, tells_events))
    }
}

impl Block {
    /// What started the run is ordinary, or this block names it by exact text (T-52). A pattern
    /// never unlocks a trigger, nor does another fact.
    fn lets_run(&self, facts: &Facts, tells_events: bool) -> bool {
        if !tells_events {
            return true;
        }
        facts.text(Fact::Trigger).is_some_and(|trigger| {
            ORDINARY_TRIGGERS.contains(&trigger)
                || self
                    .pattern(Fact::Trigger)
                    .is_some_and(|pattern| pattern.names(trigger))
        })
    }

    /// The job proved to belong to a repository this block names exactly: by its id where the block
    /// gives one, since a name can be taken over, and with every other id the block gives (T-50).
    fn names_repository(&self, facts: &Facts) -> bool {
        let is = |fact: Fact| {
            let texts = self.exact(fact)?;
            Some(facts.text(fact).is_some_and(|text| texts.contains(&text)))
        };
        let named = is(Fact::RepositoryId)
            .or_else(|| is(Fact::Repository))
            .unwrap_or(false);
        named
            && [Fact::OwnerId, Fact::TenantId]
                .into_iter()
                .all(|id| is(id).unwrap_or(true))
    }
}

impl super::Requirement {
    fn holds(&self, facts: &Facts) -> bool {
        self.jobs.holds(facts)
            || self
                .unless
                .as_ref()
                .is_some_and(|unless| unless.holds(facts))
    }
}

/// The life the grant gives to the ask, if it covers all of it: nothing is trimmed (T-80).
fn covered(grant: &Grant, ask: &Ask) -> Option<Duration> {
    let scopes = ask.scopes.iter().flatten();
    for scope in scopes {
        if !grant.scopes.contains(scope) {
            return None;
        }
    }
    let ttl = ask.ttl.unwrap_or_else(|| grant.longest());
    (!ttl.is_zero() && ttl <= grant.longest()).then_some(ttl)
}

#[cfg(test)]
mod tests;
