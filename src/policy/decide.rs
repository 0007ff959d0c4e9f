//! Job, ask and policies to Permit or Denial. The only maker of Permit.
//!
//! The rule: a tenant of the issuer fits; a policy that grants the credential is not past its
//! `until` and one of its blocks holds; one grant of it covers the whole ask; every requirement on
//! the credential holds. Anything else is denied. [`PolicySet::explain`] shows the same walk line by
//! line; its verdict is this one.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::compile::Issuer;
use super::pattern::Pattern;
use super::{Ask, Block, CredentialDefinition, Grant, Permit, Policy, PolicySet};
use crate::clock::Timestamp;
use crate::provider::{Fact, Facts, Job, ORDINARY_TRIGGERS};

mod cause;
mod denial;
mod disclosure;
mod examine;
mod outcome;
mod trace;
mod work;

pub use cause::Cause;
pub use denial::{Answer, Denial, FailedCondition, STRANGER, when_block};
pub use disclosure::{Disclosed, Disclosure};
pub use outcome::{
    BlockOutcome, ConditionOutcome, Decision, GrantOutcome, PolicyOutcome, RequirementOutcome,
    Verdict,
};
pub(super) use work::Work;
pub use work::WorkDone;

use examine::Extent;

/// A job that was refused, given back, and why.
#[derive(Debug)]
pub struct Refused {
    pub job: Job,
    pub denial: Denial,
}

/// A credential a job may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Available {
    pub credential: Arc<CredentialDefinition>,
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
    /// The job, given back, with the conditions that failed.
    pub fn decide(&self, job: Job, ask: &Ask, now: Timestamp) -> Result<Permit, Box<Refused>> {
        let ask = &*ask.distinct();
        let survey = self.survey(job.facts(), ask, now);
        let Some(chosen) = survey.permitted() else {
            let (facts, extent) = (job.facts(), Extent::REQUEST);
            let decision = Decision::trace(self, &survey, facts, ask, now, extent);
            let denial = Denial::new(decision, facts);
            return Err(Box::new(Refused { job, denial }));
        };
        Ok(Permit {
            credential: Arc::clone(&chosen.grant.credential),
            scopes: chosen.scopes(ask),
            ttl: chosen.ttl,
            inputs: ask.inputs.clone(),
            policy: chosen.policy.name.clone(),
            revision: self.revision().to_owned(),
            job,
        })
    }

    /// The same decision with every policy considered and every condition's outcome, for operators:
    /// it takes as long as there are policies. Nothing can be minted from it, so it may be asked about
    /// facts nobody verified.
    #[must_use]
    pub fn explain(&self, facts: &Facts, ask: &Ask, now: Timestamp) -> Decision {
        let ask = &*ask.distinct();
        let survey = self.survey(facts, ask, now);
        Decision::trace(self, &survey, facts, ask, now, Extent::EVERYTHING)
    }

    /// The same decision with the nearest policies only, for a request: what it costs is bounded, and
    /// the same for an unrelated caller whatever exists (T-119, T-132).
    #[must_use]
    pub fn explain_nearest(&self, facts: &Facts, ask: &Ask, now: Timestamp) -> Decision {
        let ask = &*ask.distinct();
        let survey = self.survey(facts, ask, now);
        Decision::trace(self, &survey, facts, ask, now, Extent::REQUEST)
    }

    /// What a job with these facts may have, asking for no less than it can get; by name.
    #[must_use]
    pub fn available(&self, facts: &Facts, now: Timestamp) -> Vec<Available> {
        let Some(issuer) = self.issuer_of(facts).filter(|issuer| issuer.serves(facts)) else {
            return Vec::new();
        };
        let mut best: BTreeMap<&str, Chosen<'_>> = BTreeMap::new();
        let compared = Cell::new(0);
        for policy in self.holding(issuer, facts, now, &compared) {
            for grant in &policy.grants {
                let ttl = grant.longest();
                let chosen = Chosen { policy, grant, ttl };
                let name = grant.credential.name.as_str();
                if !ttl.is_zero() && best.get(name).is_none_or(|best| chosen.precedes(best)) {
                    best.insert(name, chosen);
                }
            }
        }
        self.work.decided(compared.get());
        let requirements = self.requirements.iter();
        let broken: Vec<_> = requirements.filter(|one| !one.holds(facts)).collect();
        let is_free = |credential: &CredentialDefinition| {
            !broken.iter().any(|one| one.of.selects(credential))
        };
        let best = best.into_values();
        best.filter(|chosen| is_free(&chosen.grant.credential))
            .map(|chosen| Available {
                credential: Arc::clone(&chosen.grant.credential),
                policy: chosen.policy.name.clone(),
                ttl: chosen.ttl,
                scopes: chosen.grant.scopes.clone(),
            })
            .collect()
    }

    /// What the decisions of this set have cost so far.
    #[must_use]
    pub fn work(&self) -> WorkDone {
        self.work.done()
    }

    /// Compares the job with every policy that could be about it. The conditions come before the
    /// grants, so that the same are compared whatever is asked for (T-82).
    fn survey(&self, facts: &Facts, ask: &Ask, now: Timestamp) -> Survey<'_> {
        let mut survey = Survey {
            issuer: self.issuer_of(facts).filter(|issuer| issuer.serves(facts)),
            best: None,
            short: None,
            is_forbidden: false,
        };
        let Some(issuer) = survey.issuer else {
            return survey;
        };
        let credential = self.credentials.get(&ask.credential);
        let compared = Cell::new(0);
        for policy in self.holding(issuer, facts, now, &compared) {
            let mut covers = false;
            for grant in policy.grants_of(credential) {
                let Some(ttl) = covered(grant, ask) else {
                    continue;
                };
                covers = true;
                let chosen = Chosen { policy, grant, ttl };
                if survey
                    .best
                    .as_ref()
                    .is_none_or(|best| chosen.precedes(best))
                {
                    survey.best = Some(chosen);
                }
            }
            if !covers {
                survey.falls_short(policy, GrantOutcome::of(policy, ask));
            }
        }
        self.work.decided(compared.get());
        let mut requirements = self.requirements.iter();
        survey.is_forbidden = survey.best.is_some()
            && requirements.any(|one| {
                credential.is_some_and(|credential| one.of.selects(credential)) && !one.holds(facts)
            });
        survey
    }

    /// The policies that hold for the job, some perhaps twice; `compared` counts those that do not
    /// too.
    fn holding<'set>(
        &'set self,
        issuer: &Issuer,
        facts: &Facts,
        now: Timestamp,
        compared: &Cell<usize>,
    ) -> impl Iterator<Item = &'set Policy> {
        let candidates = self.index.candidates(facts);
        let policies = candidates.filter_map(|number| self.policies.get(number));
        policies.filter(move |policy| {
            compared.set(compared.get().saturating_add(1));
            !policy.is_past(now) && policy.fits(facts, issuer.tells_events)
        })
    }

    fn issuer_of(&self, facts: &Facts) -> Option<&Issuer> {
        self.issuers
            .iter()
            .find(|issuer| issuer.reader.issuer.name == facts.issuer())
    }
}

/// Everything that decides, found in one walk.
struct Survey<'a> {
    /// The job's issuer, unless the job is of no tenant of it.
    issuer: Option<&'a Issuer>,
    best: Option<Chosen<'a>>,
    /// A policy that holds and grants the credential, but less than is asked.
    short: Option<(GrantOutcome, &'a Policy)>,
    /// Some requirement takes what the policies give.
    is_forbidden: bool,
}

impl<'a> Survey<'a> {
    fn permitted(&self) -> Option<&Chosen<'a>> {
        self.best.as_ref().filter(|_| !self.is_forbidden)
    }

    /// Keeps the policy that is nearest to the ask, by name among equals.
    fn falls_short(&mut self, policy: &'a Policy, grant: GrantOutcome) {
        let rank = |grant: GrantOutcome| match grant {
            GrantOutcome::Covers | GrantOutcome::Ttl => 0,
            GrantOutcome::Scopes => 1,
            GrantOutcome::None => 2,
        };
        let is_nearer = |(known, other): &(GrantOutcome, &Policy)| {
            (rank(grant), &policy.name) < (rank(*known), &other.name)
        };
        if grant != GrantOutcome::None && self.short.as_ref().is_none_or(is_nearer) {
            self.short = Some((grant, policy));
        }
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
        let Some(asked) = &ask.scopes else {
            return self.grant.scopes.clone();
        };
        let asked: HashSet<&String> = asked.iter().collect();
        let granted = self.grant.scopes.iter();
        granted
            .filter(|scope| asked.contains(scope))
            .cloned()
            .collect()
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
        credential: Option<&'a Arc<CredentialDefinition>>,
    ) -> impl Iterator<Item = &'a Grant> {
        self.grants.iter().filter(move |grant| {
            credential.is_some_and(|credential| Arc::ptr_eq(&grant.credential, credential))
        })
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
        let is = |fact: Fact| self.pattern(fact)?.is_exactly(facts.text(fact));
        let named = is(Fact::RepositoryId)
            .or_else(|| is(Fact::Repository))
            .unwrap_or(false);
        named
            && [Fact::OwnerId, Fact::TenantId]
                .into_iter()
                .all(|id| is(id).unwrap_or(true))
    }
}

impl Pattern {
    /// Whether it accepts this text, if it accepts nothing but a list of exact ones.
    fn is_exactly(&self, text: Option<&str>) -> Option<bool> {
        match self {
            Self::Exact(exact) => Some(text == Some(exact)),
            Self::Any(patterns) => patterns.iter().try_fold(false, |found, pattern| {
                Some(pattern.is_exactly(text)? || found)
            }),
            Self::All(_) | Self::Is(_) | Self::Present(_) | Self::Workflow { .. } => None,
        }
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
    if !has_scopes(grant, ask) {
        return None;
    }
    let ttl = ask.ttl.unwrap_or_else(|| grant.longest());
    (!ttl.is_zero() && ttl <= grant.longest()).then_some(ttl)
}

fn has_scopes(grant: &Grant, ask: &Ask) -> bool {
    let asked = ask.scopes.as_deref().unwrap_or_default();
    asked.len() <= grant.scopes.len() && asked.iter().all(|scope| grant.scopes.contains(scope))
}

#[cfg(test)]
mod tests;
