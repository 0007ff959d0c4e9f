//! Decides whether a job gets what it asks for. The only maker of [`Permit`].
//!
//! A request is permitted if all of these hold: the job belongs to a tenant of its issuer; a policy
//! that grants the credential is not past its `until`, and one of its blocks matches; one of its
//! grants covers the whole request; the job meets every requirement on the credential. Otherwise it
//! is denied. Policies and requirements with `shadow_until` have no effect: what they would change is
//! only recorded, as a [`ShadowOutcome`]. [`PolicySet::explain`] shows the same evaluation line by line and has the same
//! verdict.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::compile::PolicyIssuer;
use super::pattern::Pattern;
use super::{
    Ask, Block, CredentialClass, CredentialDefinition, Grant, Permit, Policy, PolicySet,
    Requirement,
};
use crate::clock::Timestamp;
use crate::provider::{Fact, Facts, Job, ORDINARY_TRIGGERS};

mod cause;
mod denial;
mod disclosure;
mod examine;
mod nearest;
mod outcome;
mod trace;
mod work;

pub use cause::Cause;
pub use denial::{ACCESS_DENIED, Denial, DenialAnswer, FailedCondition, when_block};
pub use disclosure::{Disclosed, Disclosure};
pub use nearest::{FailedLine, Nearest};
pub use outcome::{
    BlockOutcome, ConditionOutcome, Decision, GrantOutcome, PolicyOutcome, RequirementOutcome,
    ShadowOutcome, Verdict,
};
pub(super) use trace::shown;
pub(super) use work::Work;
pub use work::WorkDone;

use examine::Extent;

/// A refused job, returned with its denial.
#[derive(Debug)]
pub struct RefusedJob {
    pub job: Job,
    pub denial: Denial,
}

/// A credential that a job can get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Available {
    pub credential: Arc<CredentialDefinition>,
    pub policy: String,
    /// The link to the policy at its commit.
    pub policy_url: Option<String>,
    /// The maximum lifetime.
    pub ttl: Duration,
    /// The scopes that one grant allows.
    pub scopes: Vec<String>,
}

impl PolicySet {
    /// Decides whether the job gets what it requests.
    ///
    /// # Errors
    /// The job and the conditions that failed.
    pub fn decide(&self, job: Job, ask: &Ask, now: Timestamp) -> Result<Permit, Box<RefusedJob>> {
        let (job, ask) = (job.at(now), &*ask.distinct());
        let survey = self.survey(job.facts(), ask, now);
        let shadow = survey.shadow();
        let Some(chosen) = survey.permitted() else {
            let (facts, extent) = (job.facts(), Extent::REQUEST);
            let decision = Decision::trace(self, &survey, facts, ask, now, extent);
            let denial = Denial::new(decision, facts);
            return Err(Box::new(RefusedJob { job, denial }));
        };
        Ok(Permit {
            credential: Arc::clone(&chosen.grant.credential),
            scopes: chosen.scopes(ask),
            ttl: chosen.ttl,
            ask: ask.clone(),
            policy: chosen.policy.name.clone(),
            policy_url: self.policy_url(chosen.policy),
            revision: self.revision().to_owned(),
            shadow,
            job,
        })
    }

    /// Whether a job with these facts gets what it requests. Nothing can be minted from the answer, so
    /// the facts may be unverified.
    #[must_use]
    pub fn permits(&self, facts: &Facts, ask: &Ask, now: Timestamp) -> bool {
        let (facts, ask) = (&*facts.at(now), &*ask.distinct());
        self.survey(facts, ask, now).permitted().is_some()
    }

    /// Explains the decision with every policy and every condition, for operators. The time grows
    /// with the number of policies. Nothing can be minted from an explanation, so the facts may be
    /// unverified.
    #[must_use]
    pub fn explain(&self, facts: &Facts, ask: &Ask, now: Timestamp) -> Decision {
        let (facts, ask) = (&*facts.at(now), &*ask.distinct());
        let survey = self.survey(facts, ask, now);
        Decision::trace(self, &survey, facts, ask, now, Extent::EVERYTHING)
    }

    /// Explains the decision with the nearest policies only, for a request. The cost is bounded,
    /// and for an unrelated caller it does not depend on what exists (T-119, T-132).
    #[must_use]
    pub fn explain_nearest(&self, facts: &Facts, ask: &Ask, now: Timestamp) -> Decision {
        let (facts, ask) = (&*facts.at(now), &*ask.distinct());
        let survey = self.survey(facts, ask, now);
        Decision::trace(self, &survey, facts, ask, now, Extent::REQUEST)
    }

    /// Every credential that a job with these facts can get, by name, with its widest grant.
    #[must_use]
    pub fn available(&self, facts: &Facts, now: Timestamp) -> Vec<Available> {
        let facts = &*facts.at(now);
        let Some(issuer) = self.issuer_of(facts).filter(|issuer| issuer.serves(facts)) else {
            return Vec::new();
        };
        let mut best: BTreeMap<&str, Chosen<'_>> = BTreeMap::new();
        let compared = Cell::new(0);
        let holding = self.holding(issuer, facts, now, &compared);
        for policy in holding.filter(|policy| policy.shadow_until.is_none()) {
            for grant in &policy.grants {
                if needs_sign_in(facts, Some(&grant.credential))
                    && !policy.fits_by_sign_in(facts, issuer.has_events)
                {
                    continue;
                }
                let ttl = grant.longest();
                let chosen = Chosen { policy, grant, ttl };
                let name = grant.credential.name.as_str();
                let is_long_enough = ttl >= grant.credential.kind.shortest();
                if is_long_enough && best.get(name).is_none_or(|best| chosen.precedes(best)) {
                    best.insert(name, chosen);
                }
            }
        }
        self.work.decided(compared.get());
        let requirements = self.requirements.iter();
        let in_force = requirements.filter(|one| one.shadow_until.is_none());
        let broken: Vec<_> = in_force.filter(|one| !one.holds(facts)).collect();
        let is_free = |credential: &CredentialDefinition| {
            !broken.iter().any(|one| one.of.selects(credential))
        };
        let best = best.into_values();
        best.filter(|chosen| is_free(&chosen.grant.credential))
            .map(|chosen| Available {
                credential: Arc::clone(&chosen.grant.credential),
                policy: chosen.policy.name.clone(),
                policy_url: self.policy_url(chosen.policy),
                ttl: chosen.ttl,
                scopes: chosen.grant.scopes.clone(),
            })
            .collect()
    }

    /// The cost of all decisions of this set so far.
    #[must_use]
    pub fn work(&self) -> WorkDone {
        self.work.done()
    }

    /// Compares the job with every policy that may match it. Conditions are compared before grants,
    /// so the work does not depend on the requested credential (T-82).
    fn survey(&self, facts: &Facts, ask: &Ask, now: Timestamp) -> Survey<'_> {
        let mut survey = Survey {
            issuer: self.issuer_of(facts).filter(|issuer| issuer.serves(facts)),
            best: None,
            shadowed: None,
            short: None,
            is_forbidden: false,
            shadow_requirement: None,
        };
        let Some(issuer) = survey.issuer else {
            return survey;
        };
        let credential = self.credentials.get(&ask.credential);
        let compared = Cell::new(0);
        let is_sign_in_needed = needs_sign_in(facts, credential);
        for policy in self.holding(issuer, facts, now, &compared) {
            if is_sign_in_needed && !policy.fits_by_sign_in(facts, issuer.has_events) {
                continue;
            }
            let mut covers = false;
            for grant in policy.grants_of(credential) {
                let Some(ttl) = covered(grant, ask) else {
                    continue;
                };
                covers = true;
                let chosen = Chosen { policy, grant, ttl };
                let best = match policy.shadow_until {
                    None => &mut survey.best,
                    Some(_) => &mut survey.shadowed,
                };
                if best.as_ref().is_none_or(|best| chosen.precedes(best)) {
                    *best = Some(chosen);
                }
            }
            if !covers && policy.shadow_until.is_none() {
                survey.falls_short(policy, GrantOutcome::of(policy, ask));
            }
        }
        self.work.decided(compared.get());
        if survey.best.is_none() && survey.shadowed.is_none() {
            return survey;
        }
        let requirements = self.requirements.iter().filter(|one| {
            credential.is_some_and(|credential| one.of.selects(credential)) && !one.holds(facts)
        });
        for broken in requirements {
            if broken.shadow_until.is_none() {
                survey.is_forbidden = true;
            } else if survey
                .shadow_requirement
                .is_none_or(|known| broken.name < known.name)
            {
                survey.shadow_requirement = Some(broken);
            }
        }
        survey
    }

    /// The policies that match the job, some perhaps twice. `compared` counts every policy
    /// compared.
    fn holding<'set>(
        &'set self,
        issuer: &PolicyIssuer,
        facts: &Facts,
        now: Timestamp,
        compared: &Cell<usize>,
    ) -> impl Iterator<Item = &'set Policy> {
        let candidates = self.index.candidates(facts);
        let policies = candidates.filter_map(|number| self.policies.get(number));
        policies.filter(move |policy| {
            compared.set(compared.get().saturating_add(1));
            !policy.is_past(now) && policy.fits(facts, issuer.has_events)
        })
    }

    pub(super) fn issuer_of(&self, facts: &Facts) -> Option<&PolicyIssuer> {
        self.issuer_named(facts.issuer())
    }
}

/// Whether it is critical and a person asks, who needs a block that names how they signed in
/// (T-298).
fn needs_sign_in(facts: &Facts, credential: Option<&Arc<CredentialDefinition>>) -> bool {
    facts.provider().is_of_people()
        && credential.is_some_and(|one| one.class == CredentialClass::Critical)
}

/// Everything that the decision depends on, found in one pass.
struct Survey<'a> {
    /// The job's issuer, if the job belongs to one of its tenants.
    issuer: Option<&'a PolicyIssuer>,
    best: Option<Chosen<'a>>,
    /// The best of the policies with `shadow_until`.
    shadowed: Option<Chosen<'a>>,
    /// A policy that matches and grants the credential, but less than requested.
    short: Option<(GrantOutcome, &'a Policy)>,
    /// The job fails a requirement.
    is_forbidden: bool,
    /// The first by name of the requirements with `shadow_until` that the job fails.
    shadow_requirement: Option<&'a Requirement>,
}

impl<'a> Survey<'a> {
    fn permitted(&self) -> Option<&Chosen<'a>> {
        self.best.as_ref().filter(|_| !self.is_forbidden)
    }

    /// How the decision would differ if the entries with `shadow_until` were in force.
    fn shadow(&self) -> Option<ShadowOutcome> {
        if self.is_forbidden {
            return None;
        }
        match (&self.best, self.shadow_requirement, &self.shadowed) {
            (Some(_), Some(requirement), _) => Some(ShadowOutcome::WouldRefuse {
                requirement: requirement.name.clone(),
            }),
            (best, None, Some(shadowed)) => {
                let is_more = best
                    .as_ref()
                    .is_none_or(|best| shadowed.extent() > best.extent());
                is_more.then(|| ShadowOutcome::WouldGrant {
                    policy: shadowed.policy.name.clone(),
                })
            }
            _ => None,
        }
    }

    /// Keeps the policy that is nearest to the request; among equals the first by name.
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

/// What a policy grants to a request.
struct Chosen<'a> {
    policy: &'a Policy,
    grant: &'a Grant,
    ttl: Duration,
}

impl Chosen<'_> {
    /// The longer lifetime first, then more scopes, then the name, so the order of files never
    /// matters.
    fn precedes(&self, other: &Self) -> bool {
        self.extent()
            .cmp(&other.extent())
            .then_with(|| other.policy.name.cmp(&self.policy.name))
            .then_with(|| other.grant.scopes.cmp(&self.grant.scopes))
            .is_gt()
    }

    /// How much it is: the lifetime, and the number of scopes.
    fn extent(&self) -> (Duration, usize) {
        (self.ttl, self.grant.scopes.len())
    }

    /// The requested scopes, each once and in the grant's order, so the order of a request never
    /// matters.
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

impl PolicyIssuer {
    /// Whether the job belongs to a tenant of the issuer (T-49).
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

    fn fits(&self, facts: &Facts, has_events: bool) -> bool {
        let mut blocks = self.when.iter();
        self.within
            .as_ref()
            .is_none_or(|within| within.holds(facts))
            && blocks.any(|block| block.holds(facts) && block.lets_run(facts, has_events))
    }
}

impl Policy {
    /// Whether a block that names how the person signed in matches.
    fn fits_by_sign_in(&self, facts: &Facts, has_events: bool) -> bool {
        self.when.iter().any(|block| {
            block.sign_in_lacks().next().is_none()
                && block.holds(facts)
                && block.lets_run(facts, has_events)
        })
    }
}

impl Block {
    /// What a block for people and critical credentials must name, and does not.
    pub(super) fn sign_in_lacks(&self) -> impl Iterator<Item = Fact> {
        let mfa = matches!(self.pattern(Fact::Mfa), Some(Pattern::Is(true)));
        let age = matches!(self.pattern(Fact::SignedIn), Some(Pattern::Age(_)));
        [(Fact::Mfa, mfa), (Fact::SignedIn, age)]
            .into_iter()
            .filter_map(|(fact, is_named)| (!is_named).then_some(fact))
    }

    /// Whether the run's trigger is ordinary, or the block names it as exact text (T-52). Of a CI that
    /// tells it of some runs only, the others pass. A pattern
    /// or another fact never allows a trigger.
    fn lets_run(&self, facts: &Facts, has_events: bool) -> bool {
        let Some(trigger) = facts.text(Fact::Trigger) else {
            return !has_events;
        };
        ORDINARY_TRIGGERS.contains(&trigger)
            || self
                .pattern(Fact::Trigger)
                .is_some_and(|pattern| pattern.names(trigger))
    }

    /// Whether the block names the job's repository exactly. If the block gives IDs, they must
    /// match too, because a name can be taken over (T-50).
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
    /// Whether it accepts this text, if it is a list of exact texts.
    fn is_exactly(&self, text: Option<&str>) -> Option<bool> {
        match self {
            Self::Exact(exact) => Some(text == Some(exact)),
            Self::Any(patterns) => patterns.iter().try_fold(false, |found, pattern| {
                Some(pattern.is_exactly(text)? || found)
            }),
            Self::All(_)
            | Self::Is(_)
            | Self::Present(_)
            | Self::Workflow { .. }
            | Self::Network(_)
            | Self::Time(_)
            | Self::Age(_) => None,
        }
    }
}

impl Requirement {
    fn holds(&self, facts: &Facts) -> bool {
        self.jobs.holds(facts)
            || self
                .unless
                .as_ref()
                .is_some_and(|unless| unless.holds(facts))
    }
}

/// The lifetime that the grant gives to the request, if it covers the entire request. A request is
/// never trimmed (T-80).
fn covered(grant: &Grant, ask: &Ask) -> Option<Duration> {
    if !has_scopes(grant, ask) {
        return None;
    }
    let ttl = ask.ttl.unwrap_or_else(|| grant.longest());
    let shortest = grant.credential.kind.shortest();
    (shortest <= ttl && ttl <= grant.longest()).then_some(ttl)
}

fn has_scopes(grant: &Grant, ask: &Ask) -> bool {
    let asked = ask.scopes.as_deref().unwrap_or_default();
    asked.len() <= grant.scopes.len() && asked.iter().all(|scope| grant.scopes.contains(scope))
}

#[cfg(test)]
mod tests;
