//! The ways to get one credential from jobs of one issuer, as constraints on claims.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::constraints::{Clause, Constraints};
use super::search::{Values, satisfies};
use super::space::Space;
use super::value::Value;
use crate::policy::literals::Way;
use crate::policy::{Block, CredentialDefinition, PolicySet, Requirement};
use crate::provider::Reader;

/// A way, and its conditions.
pub(super) struct Prepared<'a> {
    pub(super) way: &'a Way<'a>,
    pub(super) conditions: Vec<Constraints>,
}

impl Prepared<'_> {
    /// What must hold of a job that fails it.
    pub(super) fn failing(&self) -> Clause {
        let conditions = self.conditions.iter();
        conditions
            .flat_map(|one| one.fails.iter().cloned())
            .collect()
    }
}

/// The conditions of a block.
pub(super) fn of_block(space: &mut Space<'_>, block: &Block, reader: &Reader) -> Vec<Constraints> {
    let literals = block.literals();
    let read = literals
        .iter()
        .map(|literal| space.constraints(literal, reader));
    read.collect()
}

/// The ways of one set, with an index by the text that fewest of them share.
pub(super) struct Ways<'a> {
    list: Vec<Prepared<'a>>,
    by_text: HashMap<(usize, String), Vec<usize>>,
    indexed: BTreeSet<usize>,
    rest: Vec<usize>,
}

impl<'a> Ways<'a> {
    /// Those that are in force before their `until`, and whose conditions are not too long for the
    /// proof. Without the others fewer jobs are admitted, so a proof stays sound and a witness must be
    /// checked.
    pub(super) fn new(space: &mut Space<'_>, ways: impl Iterator<Item = &'a Way<'a>>) -> Self {
        let mut list = Vec::new();
        for way in ways.filter(|way| way.policy.shadow_until.is_none()) {
            let literals = way.literals.iter();
            let conditions = literals.map(|one| space.constraints(one, way.reader));
            let mut conditions: Vec<Constraints> = conditions.collect();
            conditions.extend(way.policy.until.map(|until| space.before(until)));
            if conditions.iter().all(Constraints::is_known) {
                list.push(Prepared { way, conditions });
            }
        }
        let (mut by_text, mut indexed, mut rest) = (HashMap::new(), BTreeSet::new(), Vec::new());
        {
            let mut sharing: HashMap<(usize, &str), usize> = HashMap::new();
            for (number, text) in list.iter().flat_map(exact) {
                let count = sharing.entry((number, text)).or_default();
                *count = count.saturating_add(1);
            }
            let share = |number: usize, texts: &[&str]| {
                let shares = texts
                    .iter()
                    .filter_map(|text| sharing.get(&(number, *text)));
                shares.copied().max().unwrap_or_default()
            };
            for (position, prepared) in list.iter().enumerate() {
                let exact = prepared.conditions.iter().filter_map(Constraints::exact);
                let rarest = exact.min_by_key(|(number, texts)| share(*number, texts));
                let Some((number, texts)) = rarest else {
                    rest.push(position);
                    continue;
                };
                indexed.insert(number);
                for text in texts {
                    let key = (number, text.to_owned());
                    by_text.entry(key).or_insert_with(Vec::new).push(position);
                }
            }
        }
        Self {
            list,
            by_text,
            indexed,
            rest,
        }
    }

    /// The first way that admits the job, of those that are wanted.
    pub(super) fn admitting(
        &self,
        space: &Space<'_>,
        values: &Values,
        is_wanted: impl Fn(&Way<'_>) -> bool,
    ) -> Option<&Prepared<'a>> {
        let by_text = self.indexed.iter().filter_map(|number| {
            let Some(Value::Text(text)) = values.get(*number) else {
                return None;
            };
            self.by_text.get(&(*number, text.clone()))
        });
        let positions = by_text.flatten().chain(&self.rest);
        let mut candidates = positions.filter_map(|position| self.list.get(*position));
        candidates.find(|prepared| {
            let mut conditions = prepared.conditions.iter();
            is_wanted(prepared.way) && conditions.all(|one| satisfies(space, &one.holds, values))
        })
    }
}

fn exact<'p>(prepared: &'p Prepared<'_>) -> Vec<(usize, &'p str)> {
    let conditions = prepared.conditions.iter().filter_map(Constraints::exact);
    conditions
        .flat_map(|(number, texts)| texts.into_iter().map(move |text| (number, text)))
        .collect()
}

/// A requirement, as constraints.
pub(super) struct Rule {
    jobs: Vec<Constraints>,
    unless: Option<Vec<Constraints>>,
}

impl Rule {
    /// The requirements on the credential that are in force.
    pub(super) fn all(
        space: &mut Space<'_>,
        set: &PolicySet,
        credential: &Arc<CredentialDefinition>,
        reader: &Reader,
    ) -> Vec<Self> {
        let requirements = set.requirements_on(credential);
        let rules = requirements.map(|one| Self::of(space, one, reader));
        rules.collect()
    }

    pub(super) fn of(space: &mut Space<'_>, one: &Requirement, reader: &Reader) -> Self {
        let unless = one.unless.as_ref();
        Self {
            jobs: of_block(space, &one.jobs, reader),
            unless: unless.map(|unless| of_block(space, unless, reader)),
        }
    }

    /// What must hold of a job that meets it.
    pub(super) fn met(&self) -> Vec<Clause> {
        let jobs = self.jobs.iter().map(|one| &one.holds);
        let Some(unless) = &self.unless else {
            return jobs.cloned().collect();
        };
        let exempt = || unless.iter().map(|one| &one.holds);
        let either =
            |(job, exempt): (&Clause, &Clause)| job.iter().chain(exempt).cloned().collect();
        jobs.flat_map(|job| exempt().map(move |exempt| (job, exempt)))
            .map(either)
            .collect()
    }

    /// What must hold of a job that breaks it.
    pub(super) fn broken(&self) -> Vec<Clause> {
        let blocks = [&self.jobs].into_iter().chain(&self.unless);
        let fails = |block: &Vec<Constraints>| {
            let conditions = block.iter();
            conditions
                .flat_map(|one| one.fails.iter().cloned())
                .collect()
        };
        blocks.map(fails).collect()
    }
}
