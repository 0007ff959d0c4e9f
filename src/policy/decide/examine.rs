//! Which policies explain a decision best. They are compared with the job, within fixed limits, and
//! nothing is written out before the nearest are known (T-132).

use std::cmp::Reverse;

use super::outcome::GrantOutcome;
use crate::clock::Timestamp;
use crate::policy::{Ask, Block, Policy, PolicySet};
use crate::provider::Facts;

/// How much an explanation may look at and write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// Blocks that are compared with the job.
    pub(super) examined: usize,
    /// Blocks that are written out; so many tenants and requirements too.
    pub(super) written: usize,
    /// Lines that are written of one block.
    pub(super) lines: usize,
    /// Entries that are written of one list.
    pub(super) entries: usize,
    /// Requirements are listed for jobs that they do not concern too.
    pub(super) all_requirements: bool,
}

impl Extent {
    /// For a request: its caller chooses neither how many policies there are nor what they cost.
    pub(super) const REQUEST: Self = Self {
        examined: 1_024,
        written: 32,
        lines: 64,
        entries: 16,
        all_requirements: false,
    };

    /// For an operator who asks offline.
    pub(super) const EVERYTHING: Self = Self {
        examined: usize::MAX,
        written: usize::MAX,
        lines: usize::MAX,
        entries: usize::MAX,
        all_requirements: true,
    };
}

/// What a block, or a policy by its closest block, is to the job's repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Relation {
    /// It does not name it, or not with the job's ids.
    #[default]
    Unrelated,
    /// It names it, but does not let a run with this trigger in (T-52).
    OtherTrigger,
    /// It names it: the job may learn what it wants (T-82).
    Named,
}

impl Relation {
    pub(super) fn of(block: &Block, facts: &Facts, tells_events: bool) -> Self {
        match block.names_repository(facts) {
            false => Self::Unrelated,
            true if block.lets_run(facts, tells_events) => Self::Named,
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
    /// Lines that fail of the nearest block.
    failed: usize,
}

impl Examined<'_> {
    /// It grants the credential or names the job's repository; wide policies on other credentials
    /// explain nothing.
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
    /// Some policy that could be about the job grants the credential, examined or not.
    pub(super) is_granted: bool,
    pub(super) blocks: usize,
}

impl<'a> Examination<'a> {
    /// Examines policies that could be about the job. Which they are follows from the job; what it
    /// asks for changes only their order, so that it costs the same whatever exists (T-82).
    pub(super) fn of(
        set: &'a PolicySet,
        facts: &Facts,
        ask: &Ask,
        now: Timestamp,
        tells_events: bool,
        extent: Extent,
    ) -> Self {
        let credential = set.credentials.get(&ask.credential);
        let grants = |policy: &&Policy| policy.grants_of(credential).next().is_some();
        let about = set.index.about(facts);
        let policy = |number: &usize| set.policies.get(*number);
        let own = about.own.iter().filter_map(policy);
        let (own, own_others): (Vec<_>, Vec<_>) = own.partition(grants);
        let wide = about.wide.iter().filter_map(policy);
        let (wide, wide_others): (Vec<_>, Vec<_>) = wide.partition(grants);
        let is_granted = !own.is_empty() || !wide.is_empty();
        let mut left = extent.examined;
        let mut policies = Vec::new();
        let lists = [own, own_others, wide, wide_others];
        for policy in lists.into_iter().flatten() {
            if left == 0 {
                break;
            }
            let blocks = policy.when.iter().take(left);
            left = left.saturating_sub(policy.when.len());
            let nearness = blocks.map(|block| Nearness::of(block, facts, tells_events));
            let nearest = nearness.min().unwrap_or_default();
            let is_past = usize::from(policy.is_past(now));
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

    /// What the job is to the policies.
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
    pub(super) fn of(block: &Block, facts: &Facts, tells_events: bool) -> Self {
        let failed = block.conditions.iter().filter(|line| !line.holds(facts));
        let is_locked = usize::from(!block.lets_run(facts, tells_events));
        Self {
            relation: Reverse(Relation::of(block, facts, tells_events)),
            failed: failed.count().saturating_add(is_locked),
        }
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
