//! Whether conditions can be met at all: by any job of a tenant, and by any job through one way.

use super::constraints::Clause;
use super::points::Points;
use super::search::{Search, Values};
use super::shortest::{Budget, Spent};
use super::space::Space;
use super::ways::of_block;
use super::{SPENT, STEPS, UNREAD, blocks_on, entered, render};
use crate::clock::Timestamp;
use crate::policy::literals::Way;
use crate::policy::{Block, PolicySet};

/// Whether a block can be met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Some job of some tenant meets it.
    Possible,
    /// No job does.
    Impossible,
    /// Neither is proven: the reason.
    NotDecided(String),
}

/// Whether any job of a tenant of any issuer meets the block, at any time from `at` on.
#[must_use]
pub fn fit(set: &PolicySet, block: &Block, at: Timestamp) -> Fit {
    let mut undecided = None;
    for issuer in &set.issuers {
        let reader = &issuer.reader;
        let tenants = issuer.tenants.as_ref();
        let tenants = tenants.map_or_else(|| vec![None], |all| all.iter().map(Some).collect());
        for tenant in tenants {
            let blocks: Vec<&Block> = tenant.into_iter().chain([block]).collect();
            let points = Points::of([].iter(), &blocks, [].into_iter(), at);
            let mut space = Space::new(reader, points);
            let mut clauses: Vec<Clause> = Vec::new();
            for block in blocks {
                let conditions = of_block(&mut space, block, reader);
                clauses.extend(conditions.into_iter().map(|one| one.holds));
            }
            let reason = match any(&space, clauses, STEPS) {
                Ok(None) => continue,
                Err(Spent) => SPENT.to_owned(),
                Ok(Some(values)) => match render::witness(&space, &values, reader, at) {
                    Ok(witness) if block.holds(&witness.facts) => return Fit::Possible,
                    Ok(_) => UNREAD.to_owned(),
                    Err(reason) => reason,
                },
            };
            undecided = Some(reason);
        }
    }
    undecided.map_or(Fit::Impossible, Fit::NotDecided)
}

/// Whether it is proven, in at most so many steps, that no job gets anything this way, the requirements
/// on the credential included, at any time. `until`, `shadow_until` and lifetimes are not looked at.
#[must_use]
pub fn is_closed(set: &PolicySet, way: &Way<'_>, steps: u64) -> bool {
    let blocks = blocks_on(set, &way.grant.credential.name);
    let ends = way.policy.until.into_iter();
    let first = Timestamp::from_unix(0);
    let points = Points::of(way.literals.iter(), &blocks, ends, first);
    let mut space = Space::new(way.reader, points);
    let clauses = entered(&mut space, set, way);
    matches!(any(&space, clauses, steps), Ok(None))
}

/// The values of any job that the reader accepts and that satisfies the clauses.
fn any(space: &Space<'_>, mut clauses: Vec<Clause>, steps: u64) -> Result<Option<Values>, Spent> {
    clauses.extend(space.laws());
    let mut search = Search {
        space,
        clauses,
        admitted: &|_, _| None,
        budget: &mut Budget::new(steps),
    };
    search.run()
}
