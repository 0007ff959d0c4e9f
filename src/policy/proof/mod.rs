//! Proves what no job can get, or finds a job that can.
//!
//! The questions are about all jobs whose tokens the readers of the issuers accept, not about examples.
//! The claims of a token are the variables, and each condition is a constraint on one or two of them, so
//! a set of texts or a few other values. The search holds one candidate job and branches over the
//! conditions that it must fail. A found job is written as a token, read by its provider, and put
//! through the decision before it is an answer. What takes too many steps or is too long makes the answer
//! [`Answer::NotDecided`].

use std::time::Duration;

use crate::clock::Timestamp;
use crate::policy::literals::{Constraint, Way};
use crate::policy::pattern::Pattern;
use crate::policy::{Ask, Block, Inputs, PolicySet};
use crate::provider::{Fact, FactValue};
use crate::yaml::duration;

mod constraints;
mod derived;
mod domain;
mod entries;
pub mod export;
mod fitting;
mod gain;
mod joined;
mod lang;
mod moments;
mod network;
mod part;
mod plausible;
mod points;
mod render;
mod search;
mod shortest;
mod space;
mod value;
mod ways;
mod workflow;

pub use fitting::{Fit, fit, is_closed};
pub use gain::{Gain, Side, gains};
pub use render::Witness;

use constraints::Clause;
use points::Points;
use search::Search;
use shortest::Budget;
use space::Space;
use value::ValueSet;
use ways::{Rule, of_block};

/// The answer to a question about all jobs.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A job that does, and the request that is granted.
    Found(Box<Found>),
    /// No job does.
    Proven,
    /// Neither was found within the limits: the reason.
    NotDecided(String),
}

/// A job that gets a credential.
#[derive(Clone, Debug)]
pub struct Found {
    pub witness: Witness,
    pub ask: Ask,
    pub at: Timestamp,
}

impl Found {
    /// The job's facts for a reader: times also as what they were before the request.
    pub fn facts(&self) -> impl Iterator<Item = (Fact, String)> {
        self.witness.facts.iter().map(|(fact, value)| {
            let FactValue::Time(time) = value else {
                return (fact, value.to_string());
            };
            let age = u64::try_from(self.at.since(*time)).unwrap_or_default();
            let age = duration::print(Duration::from_secs(age));
            (fact, format!("{value}, {age} before"))
        })
    }
}

/// Can any job get a credential?
#[derive(Clone, Debug)]
pub struct Question<'a> {
    pub set: &'a PolicySet,
    pub credential: &'a str,
    /// Blocks that the job meets.
    pub fits: Vec<&'a Block>,
    /// A block that the job does not meet.
    pub unfit: Option<&'a Block>,
    /// Scopes that the job gets at least.
    pub scopes: &'a [String],
    /// The job gets a life that is longer.
    pub longer_than: Option<Duration>,
    /// The first time of the request.
    pub at: Timestamp,
}

impl<'a> Question<'a> {
    /// Whether any job at all can get the credential from that time on.
    #[must_use]
    pub const fn any_job(set: &'a PolicySet, credential: &'a str, at: Timestamp) -> Self {
        Self {
            set,
            credential,
            fits: Vec::new(),
            unfit: None,
            scopes: &[],
            longer_than: None,
            at,
        }
    }

    /// Searches the ways to the credential one by one, and ends with the first that lets a job in.
    #[must_use]
    pub fn answer(&self) -> Answer {
        let mut undecided = None;
        for way in self.set.ways(self.credential) {
            match self.through(&way) {
                Answer::Proven => {}
                Answer::NotDecided(reason) => undecided = Some(reason),
                found @ Answer::Found(_) => return found,
            }
        }
        undecided.map_or(Answer::Proven, Answer::NotDecided)
    }

    fn through(&self, way: &Way<'_>) -> Answer {
        let has_scopes = self.scopes.iter().all(|one| way.grant.scopes.contains(one));
        let longest = way.grant.longest();
        let is_long = self.longer_than.is_none_or(|limit| longest > limit);
        if !is_served(way, self.at) || !has_scopes || !is_long {
            return Answer::Proven;
        }
        let mut blocks = blocks_on(self.set, self.credential);
        blocks.extend(&self.fits);
        blocks.extend(self.unfit);
        let ends = way.policy.until.into_iter();
        let points = Points::of(way.literals.iter(), &blocks, ends, self.at);
        let mut space = Space::new(way.reader, points);
        let mut clauses = entered(&mut space, self.set, way);
        for block in &self.fits {
            let conditions = of_block(&mut space, block, way.reader);
            clauses.extend(conditions.into_iter().map(|one| one.holds));
        }
        if let Some(block) = self.unfit {
            let conditions = of_block(&mut space, block, way.reader).into_iter();
            clauses.push(conditions.flat_map(|one| one.fails).collect());
        }
        let fits = |witness: &Witness| {
            self.fits.iter().all(|block| block.holds(&witness.facts))
                && self.unfit.is_none_or(|block| !block.holds(&witness.facts))
        };
        let mut budget = Budget::new(STEPS);
        let search = Search {
            space: &space,
            clauses,
            admitted: &|_, _| None,
            budget: &mut budget,
        };
        finish(search, way, self.at, |found| {
            let facts = &found.witness.facts;
            fits(&found.witness) && self.set.permits(facts, &found.ask, found.at)
        })
    }
}

/// The blocks of the requirements on the credential.
fn blocks_on<'s>(set: &'s PolicySet, credential: &str) -> Vec<&'s Block> {
    let Some(credential) = set.credential(credential) else {
        return Vec::new();
    };
    let requirements = set.requirements_on(credential);
    requirements
        .flat_map(|one| [&one.jobs].into_iter().chain(&one.unless))
        .collect()
}

/// Whether some request from that time on is granted this way, whatever the job.
fn is_served(way: &Way<'_>, at: Timestamp) -> bool {
    way.policy.shadow_until.is_none()
        && way.policy.until.is_none_or(|until| at < until)
        && way.grant.longest() >= way.grant.credential.kind.shortest()
}

/// What must hold of a job that gets the credential that way.
fn entered(space: &mut Space<'_>, set: &PolicySet, way: &Way<'_>) -> Vec<Clause> {
    let literals = way.literals.iter();
    let literals = literals.map(|one| space.constraints(one, way.reader).holds);
    let mut clauses: Vec<_> = literals.collect();
    clauses.extend(way.policy.until.map(|until| space.before(until).holds));
    for rule in Rule::all(space, set, &way.grant.credential, way.reader) {
        clauses.extend(rule.met());
    }
    clauses
}

/// Runs the search for requests from `at` on, and checks what it found.
fn finish(
    mut search: Search<'_>,
    way: &Way<'_>,
    at: Timestamp,
    is_true: impl Fn(&Found) -> bool,
) -> Answer {
    let laws = search.space.laws();
    search.clauses.extend(laws);
    let values = match search.run() {
        Ok(Some(values)) => values,
        Ok(None) => return Answer::Proven,
        Err(shortest::Spent) => {
            return Answer::NotDecided(SPENT.to_owned());
        }
    };
    let witness = match render::witness(search.space, &values, way.reader, at) {
        Ok(witness) => witness,
        Err(reason) => return Answer::NotDecided(reason),
    };
    let ask = most(way);
    let at = witness.facts.decided_at().unwrap_or(at);
    let found = Found { witness, ask, at };
    if is_true(&found) {
        Answer::Found(Box::new(found))
    } else {
        Answer::NotDecided(UNREAD.to_owned())
    }
}

/// The largest request that the grant covers. A grant that covers it covers every other one.
fn most(way: &Way<'_>) -> Ask {
    Ask {
        credential: way.grant.credential.name.clone(),
        scopes: Some(way.grant.scopes.clone()),
        ttl: Some(way.grant.longest()),
        inputs: Inputs::new(),
        seal_to: None,
    }
}

/// Whether some text fits `now` and not `was`, or that is not known.
pub(super) fn some_text_is_new(was: &Pattern, now: &Pattern) -> bool {
    let of = |pattern| ValueSet::of(&Constraint::Pattern(pattern)).text;
    let sets = [of(now), of(was).inverted()];
    let found = shortest::text(&sets.each_ref(), &[], &mut Budget::new(STEPS));
    !matches!(found, Ok(None))
}

/// Why an answer is not decided.
const SPENT: &str = "the search took too many steps";
const UNREAD: &str = "a condition is too long for the proof";
/// Steps of the search for one way.
const STEPS: u64 = 2_000_000;

#[cfg(test)]
mod tests;
