//! What jobs gain from a change of policies: for each way of the new set a job that the old set refuses.

use std::collections::HashMap;
use std::time::Duration;

use super::constraints::Clause;
use super::points::Points;
use super::search::{Search, Values};
use super::shortest::Budget;
use super::space::Space;
use super::ways::{Rule, Ways};
use super::{Answer, Found, STEPS, blocks_on, entered, finish, is_served};
use crate::clock::Timestamp;
use crate::policy::literals::{Constraint, Literal, Variable, Way};
use crate::policy::{Ask, PolicySet};
use crate::provider::{Fact, FactType, FactValue};

/// A way by which some job gets more than before, or may.
#[derive(Debug)]
pub struct Gain<'a> {
    pub way: &'a Way<'a>,
    /// Never [`Answer::Proven`].
    pub answer: Answer,
}

/// One of two sets, and its ways to the credential.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    pub set: &'a PolicySet,
    /// The credential's name in the set.
    pub credential: &'a str,
    pub ways: &'a [Way<'a>],
}

impl Side<'_> {
    /// Whether the set refuses the job what was found to be granted by the other set.
    #[must_use]
    pub fn refuses(&self, found: &Found) -> bool {
        let facts = &found.witness.facts;
        let ask = Ask {
            credential: self.credential.to_owned(),
            ..found.ask.clone()
        };
        let reader = self.set.reader_by_url(facts.issuer_url());
        match reader.map(|reader| reader.facts(facts.claims().clone())) {
            Some(Ok(read)) => {
                let address = match facts.get(Fact::SourceIp) {
                    Some(FactValue::Address(address)) => Some(*address),
                    Some(_) | None => None,
                };
                let read = read.from_address(address);
                !self.set.permits(&read, &ask, found.at)
            }
            // It accepts no such token.
            Some(Err(_)) | None => true,
        }
    }
}

/// The ways of `new` by which some job gets, from `at` on, what it does not get in `old`. Ends after
/// `most` of them.
///
/// The issuers are paired by `url`. What their tokens must be like to be accepted is not compared, nor is
/// what the credential is.
#[must_use]
pub fn gains<'a>(old: Side<'_>, new: Side<'a>, at: Timestamp, most: usize) -> Vec<Gain<'a>> {
    let mut gains = Vec::new();
    let mut issuers: Vec<&str> = new
        .ways
        .iter()
        .map(|way| way.reader.issuer.url.as_str())
        .collect();
    issuers.sort_unstable();
    issuers.dedup();
    for url in issuers {
        let of_issuer = |way: &&Way<'_>| way.reader.issuer.url == url;
        let own = new.ways.iter().filter(of_issuer);
        let Some(first) = own.clone().next() else {
            continue;
        };
        let blocks = [old, new].map(|side| blocks_on(side.set, side.credential));
        let ways = old.ways.iter().chain(new.ways).filter(of_issuer);
        let ends = ways.clone().filter_map(|way| way.policy.until);
        let literals = ways.clone().flat_map(|way| &way.literals);
        let points = Points::of(literals, &blocks.concat(), ends, at);
        let mut space = Space::new(first.reader, points);
        let broken = lifted(&mut space, old, new, url);
        let mut by_policy: HashMap<&str, Vec<&Way<'_>>> = HashMap::new();
        for way in old.ways.iter().filter(of_issuer) {
            by_policy.entry(&way.policy.name).or_default().push(way);
        }
        // Most ways of a set are as before.
        let asked = own
            .filter(|way| is_served(way, at) && !(broken.is_empty() && is_kept(&by_policy, way)));
        let asked: Vec<_> = asked.collect();
        let relevant = old
            .ways
            .iter()
            .filter(of_issuer)
            .filter(|old| asked.len() > FEW || asked.iter().any(|asked| may_meet(old, asked)));
        let known = Ways::new(&mut space, relevant);
        let asked: Vec<_> = asked
            .into_iter()
            .map(|way| (way, entered(&mut space, new.set, way)))
            .collect();
        let comparison = Comparison {
            old,
            new,
            space: &space,
            known: &known,
            lifted: &broken,
        };
        for (way, clauses) in asked {
            match comparison.through(way, &clauses, at) {
                Answer::Proven => {}
                answer @ (Answer::Found(_) | Answer::NotDecided(_)) => {
                    gains.push(Gain { way, answer });
                }
            }
            if gains.len() >= most {
                return gains;
            }
        }
    }
    gains
}

/// What must hold of a job that breaks an old requirement, for each that the new set does not have.
fn lifted(space: &mut Space<'_>, old: Side<'_>, new: Side<'_>, url: &str) -> Vec<Vec<Clause>> {
    let credential = |side: Side<'_>| side.set.credential(side.credential).cloned();
    let (Some(before), Some(after)) = (credential(old), credential(new)) else {
        return Vec::new();
    };
    let Some(reader) = old.set.reader_by_url(url) else {
        return Vec::new();
    };
    // Under another name the issuer meets other requirements, so each is compared.
    let name = |set: &PolicySet| set.reader_by_url(url).map(|one| one.issuer.name.clone());
    let is_renamed = name(old.set) != name(new.set);
    let kept = new.set.requirements_on(&after).filter(|_| !is_renamed);
    let kept: Vec<_> = kept.collect();
    let is_lifted = |one: &&super::super::Requirement| {
        !kept
            .iter()
            .any(|kept| (&kept.jobs, &kept.unless) == (&one.jobs, &one.unless))
    };
    let lifted = old.set.requirements_on(&before).filter(is_lifted);
    let rules = lifted.map(|one| Rule::of(space, one, reader));
    rules.map(|rule| rule.broken()).collect()
}

struct Comparison<'a> {
    old: Side<'a>,
    new: Side<'a>,
    space: &'a Space<'a>,
    known: &'a Ways<'a>,
    lifted: &'a [Vec<Clause>],
}

impl Comparison<'_> {
    fn through(&self, way: &Way<'_>, clauses: &[Clause], at: Timestamp) -> Answer {
        let longest = way.grant.longest();
        let mut budget = Budget::new(STEPS);
        let admitted = |space: &Space<'_>, values: &Values| {
            let covers = |old: &Way<'_>| covers(old, way, longest);
            let known = self.known.admitting(space, values, covers)?;
            Some(known.failing())
        };
        let refused_before = self.search(way, clauses, at, &admitted, &mut budget);
        if !matches!(refused_before, Answer::Proven) {
            return refused_before;
        }
        for broken in self.lifted {
            let all = [clauses, broken].concat();
            let answer = self.search(way, &all, at, &|_, _| None, &mut budget);
            if !matches!(answer, Answer::Proven) {
                return answer;
            }
        }
        Answer::Proven
    }

    fn search(
        &self,
        way: &Way<'_>,
        clauses: &[Clause],
        at: Timestamp,
        admitted: &dyn Fn(&Space<'_>, &Values) -> Option<Clause>,
        budget: &mut Budget,
    ) -> Answer {
        let search = Search {
            space: self.space,
            clauses: clauses.to_vec(),
            admitted,
            budget,
        };
        finish(search, way, at, |found| {
            let facts = &found.witness.facts;
            self.old.refuses(found) && self.new.set.permits(facts, &found.ask, found.at)
        })
    }
}

/// Whether one of the old ways, by the names of their policies, is written alike and grants as much for
/// as long.
fn is_kept(by_policy: &HashMap<&str, Vec<&Way<'_>>>, way: &Way<'_>) -> bool {
    let named = by_policy.get(way.policy.name.as_str());
    named.into_iter().flatten().any(|old| {
        let lasts = match (old.policy.until, way.policy.until) {
            (None, _) => true,
            (Some(old), Some(new)) => old >= new,
            (Some(_), None) => false,
        };
        lasts
            && old.policy.shadow_until.is_none()
            && covers(old, way, way.grant.longest())
            && old.admits_same(way)
    })
}

/// False where the two ways ask for different texts of one fact, so that no job comes by both.
fn may_meet(one: &Way<'_>, other: &Way<'_>) -> bool {
    if !one.reader.reads_like(other.reader) {
        return true;
    }
    let others: Vec<_> = other
        .literals
        .iter()
        .filter_map(|l| texts(other, l))
        .collect();
    let mut own = one
        .literals
        .iter()
        .filter_map(|literal| texts(one, literal));
    !own.any(|(fact, texts)| {
        let mut same = others.iter().filter(|(other, _)| *other == fact);
        same.any(|(_, others)| !texts.iter().any(|text| others.contains(text)))
    })
}

/// The fact of which a literal admits these texts only, where it is one text and no list.
fn texts<'a>(way: &Way<'_>, literal: &'a Literal<'_>) -> Option<(Fact, Vec<&'a str>)> {
    let (Variable::Fact(fact), Constraint::Pattern(pattern)) =
        (&literal.variable, &literal.constraint)
    else {
        return None;
    };
    if way.reader.fact_type(*fact) != FactType::Text {
        return None;
    }
    Some((*fact, pattern.exact_texts()?))
}

fn covers(old: &Way<'_>, new: &Way<'_>, longest: Duration) -> bool {
    let scopes = &new.grant.scopes;
    old.grant.longest() >= longest && scopes.iter().all(|scope| old.grant.scopes.contains(scope))
}

/// So many changed ways are compared with each old one before the search.
const FEW: usize = 8;
