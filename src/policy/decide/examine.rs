//! Selects the policies that explain a decision best.
//!
//! Policies are compared with the job within fixed limits, and only the nearest are written out
//! (T-132).

use std::cmp::Reverse;

use super::outcome::GrantOutcome;
use crate::clock::Timestamp;
use crate::policy::{Ask, Block, Policy, PolicySet};
use crate::provider::Facts;

/// The limits of an explanation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// Blocks that are compared with the job.
    pub(super) examined: usize,
    /// Blocks that are written out. The same limit applies to tenants and to requirements.
    pub(super) written: usize,
    /// Lines that are written of one block.
    pub(super) lines: usize,
    /// Entries that are written of one list.
    pub(super) entries: usize,
    /// Also list requirements that do not apply to the job.
    pub(super) all_requirements: bool,
    /// Also list policies and requirements with `shadow_until`.
    pub(super) shadowed: bool,
}

impl Extent {
    /// For a request.
    pub(super) const REQUEST: Self = Self {
        examined: 1_024,
        written: 32,
        lines: 64,
        entries: 16,
        all_requirements: false,
        shadowed: false,
    };

    /// For an offline explanation.
    pub(super) const EVERYTHING: Self = Self {
        examined: usize::MAX,
        written: usize::MAX,
        lines: usize::MAX,
        entries: usize::MAX,
        all_requirements: true,
        shadowed: true,
    };
}

/// How a block, or the nearest block of a policy, relates to the job's repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Relation {
    /// It does not name the repository, or not with the job's IDs.
    #[default]
    Unrelated,
    /// It names the repository, but does not allow the run's trigger (T-52).
    OtherTrigger,
    /// It names the repository, so the job may see its conditions (T-82).
    Named,
}

impl Relation {
    pub(super) fn of(block: &Block, facts: &Facts, has_events: bool) -> Self {
        match block.names_repository(facts) {
            false => Self::Unrelated,
            true if block.lets_run(facts, has_events) => Self::Named,
            true => Self::OtherTrigger,
        }
    }
}

/// A policy and how near the job is to it.
#[derive(Debug)]
pub(super) struct Examined<'a> {
    pub(super) policy: &'a Policy,
    pub(super) grant: GrantOutcome,
    pub(super) relation: Relation,
    /// Failed conditions of the nearest block.
    failed: usize,
}

impl Examined<'_> {
    /// Whether it grants the credential or names the job's repository. Other policies explain
    /// nothing.
    pub(super) fn matters(&self) -> bool {
        self.grant != GrantOutcome::None || self.relation != Relation::Unrelated
    }

    /// Those that grant the credential first, then those that name the repository, then the nearest.
    fn rank(&self) -> (bool, Reverse<Relation>, usize, &str) {
        (
            self.grant == GrantOutcome::None,
            Reverse(self.relation),
            self.failed,
            &self.policy.name,
        )
    }
}

/// The policies that were examined, nearest first.
#[derive(Debug, Default)]
pub(super) struct Examination<'a> {
    pub(super) policies: Vec<Examined<'a>>,
    /// Whether any policy that may match the job grants the credential, even if not examined.
    pub(super) is_granted: bool,
    pub(super) blocks: usize,
}

impl<'a> Examination<'a> {
    /// Examines policies that may match the job. The job determines which, and the requested
    /// credential only their order, so the cost does not depend on what exists (T-82).
    pub(super) fn of(
        set: &'a PolicySet,
        facts: &Facts,
        ask: &Ask,
        now: Timestamp,
        has_events: bool,
        extent: Extent,
    ) -> Self {
        let credential = set.credentials.get(&ask.credential);
        let grants = |policy: &&Policy| policy.grants_of(credential).next().is_some();
        let about = set.index.about(facts);
        let counts = |policy: &&Policy| extent.shadowed || policy.shadow_until.is_none();
        let policy = |number: &usize| set.policies.get(*number).filter(counts);
        let own = about.own.iter().filter_map(policy);
        let (own, own_others): (Vec<_>, Vec<_>) = own.partition(grants);
        let wide = about.wide.iter().filter_map(policy);
        let (wide, wide_others): (Vec<_>, Vec<_>) = wide.partition(grants);
        let mut granting = own.iter().chain(&wide);
        let is_granted = granting.any(|policy| policy.shadow_until.is_none());
        let mut left = extent.examined;
        let mut policies = Vec::new();
        let lists = [own, own_others, wide, wide_others];
        for policy in lists.into_iter().flatten() {
            if left == 0 {
                break;
            }
            let blocks = policy.when.iter().take(left);
            left = left.saturating_sub(policy.when.len());
            let nearness = blocks.map(|block| Nearness::of(block, facts, has_events));
            let nearest = nearness.min().unwrap_or_default();
            let within = policy.within.iter();
            let outside: usize = within.map(|within| within.failed(facts)).sum();
            let is_past = usize::from(policy.is_past(now)).saturating_add(outside);
            policies.push(Examined {
                policy,
                grant: GrantOutcome::of(policy, ask),
                relation: nearest.relation.0,
                failed: nearest.failed.saturating_add(is_past),
            });
        }
        policies.sort_by(|a, b| a.rank().cmp(&b.rank()));
        Self {
            policies,
            is_granted,
            blocks: extent.examined.saturating_sub(left),
        }
    }

    /// How the job's repository relates to the policies.
    pub(super) fn relation(&self) -> Relation {
        let relations = self.policies.iter().map(|examined| examined.relation);
        relations.max().unwrap_or_default()
    }
}

/// How near a job is to a block, the nearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Nearness {
    relation: Reverse<Relation>,
    failed: usize,
}

impl Nearness {
    pub(super) fn of(block: &Block, facts: &Facts, has_events: bool) -> Self {
        let failed = block.failed(facts);
        let is_locked = usize::from(!block.lets_run(facts, has_events));
        Self {
            relation: Reverse(Relation::of(block, facts, has_events)),
            failed: failed.saturating_add(is_locked),
        }
    }
}

impl Block {
    /// How many conditions fail.
    fn failed(&self, facts: &Facts) -> usize {
        let lines = self.conditions.iter();
        lines.filter(|line| !line.holds(facts)).count()
    }
}

impl Default for Nearness {
    fn default() -> Self {
        Self {
            relation: Reverse(Relation::Unrelated),
            failed: 0,
        }
    }
}
