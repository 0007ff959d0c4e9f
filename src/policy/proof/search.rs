//! Searches for a job that satisfies some clauses and that no way of another set admits.
//!
//! One candidate job is held at a time. If it breaks a clause, or a way of the other set admits it, one
//! of the terms of that clause, or one failing condition of that way, must hold: the search branches
//! over them. Without a branch left there is no such job.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::constraints::{Atom, Clause, Term};
use super::lang::Lang;
use super::shortest::{self, Budget, Spent};
use super::space::{Claim, Key, Space};
use super::value::{Value, ValueSet};

/// The values of a job's claims, in the order of the space.
pub(super) type Values = Vec<Value>;

/// What is demanded of the job so far, and a job that meets it.
#[derive(Clone, Debug)]
struct Candidate {
    demands: BTreeMap<usize, Vec<Arc<ValueSet>>>,
    equal: Option<bool>,
    values: Values,
}

/// A search in one space.
pub(super) struct Search<'a> {
    pub(super) space: &'a Space<'a>,
    /// Of each, one term must hold.
    pub(super) clauses: Vec<Clause>,
    /// Of a job, a clause that it breaks because the other set admits it.
    pub(super) admitted: &'a dyn Fn(&Space<'_>, &Values) -> Option<Clause>,
    pub(super) budget: &'a mut Budget,
}

/// Whether the atom holds of the job.
pub(super) fn holds(space: &Space<'_>, atom: &Atom, values: &Values) -> bool {
    match atom {
        Atom::In(number, set) => values.get(*number).is_some_and(|value| set.has(value)),
        Atom::Equal(equal) => space
            .pair
            .is_some_and(|(one, other)| (values.get(one) == values.get(other)) == *equal),
    }
}

/// Whether one term holds of the job.
pub(super) fn satisfies(space: &Space<'_>, clause: &[Term], values: &Values) -> bool {
    clause
        .iter()
        .any(|term| term.iter().all(|atom| holds(space, atom, values)))
}

impl Search<'_> {
    /// The job's values; `None`: there is no such job.
    pub(super) fn run(&mut self) -> Result<Option<Values>, Spent> {
        let Some(first) = self.first()? else {
            return Ok(None);
        };
        let mut open = vec![first];
        while let Some(mut candidate) = open.pop() {
            self.budget.spend(1)?;
            let values = &candidate.values;
            let mut clauses = self.clauses.iter();
            let broken = clauses.find(|clause| !satisfies(self.space, clause, values));
            let broken = broken.cloned();
            let Some(clause) = broken.or_else(|| (self.admitted)(self.space, values)) else {
                return Ok(Some(candidate.values));
            };
            let mut branches = Vec::new();
            for term in clause {
                let mut branch = candidate.clone();
                if self.demand(&mut branch, &term)? {
                    branches.push(branch);
                }
                // The other branches are about jobs of which this term does not hold.
                if let [Atom::In(number, set)] = term.as_slice() {
                    let inverted = Arc::new(ValueSet::clone(set).inverted());
                    if !self.demand(&mut candidate, &vec![Atom::In(*number, inverted)])? {
                        break;
                    }
                }
            }
            open.extend(branches.into_iter().rev());
        }
        Ok(None)
    }

    /// A job of which nothing is demanded but that the reader accepts it.
    fn first(&mut self) -> Result<Option<Candidate>, Spent> {
        let mut candidate = Candidate {
            demands: BTreeMap::new(),
            equal: None,
            values: vec![Value::Absent; self.space.claims.len()],
        };
        for number in 0..self.space.claims.len() {
            let Some(value) = self.value(&candidate, &[number], None)? else {
                return Ok(None);
            };
            set(&mut candidate.values, number, value);
        }
        Ok(Some(candidate))
    }

    /// Demands the term too. False if no job is left.
    fn demand(&mut self, candidate: &mut Candidate, term: &Term) -> Result<bool, Spent> {
        for atom in term {
            match atom {
                Atom::In(number, set_of) => {
                    let demands = candidate.demands.entry(*number).or_default();
                    if !demands.contains(set_of) {
                        demands.push(Arc::clone(set_of));
                    }
                    if holds(self.space, atom, &candidate.values) {
                        continue;
                    }
                    let Some(value) = self.value(candidate, &[*number], None)? else {
                        return Ok(false);
                    };
                    set(&mut candidate.values, *number, value);
                }
                Atom::Equal(equal) => {
                    if candidate.equal.is_some_and(|known| known != *equal) {
                        return Ok(false);
                    }
                    candidate.equal = Some(*equal);
                }
            }
            if !self.compare(candidate)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Lets the pair of claims be equal, or differ, as demanded.
    fn compare(&mut self, candidate: &mut Candidate) -> Result<bool, Spent> {
        let (Some((one, other)), Some(equal)) = (self.space.pair, candidate.equal) else {
            return Ok(true);
        };
        if holds(self.space, &Atom::Equal(equal), &candidate.values) {
            return Ok(true);
        }
        if equal {
            let value = self.value(candidate, &[one, other], None)?;
            for number in [one, other] {
                let Some(value) = value.clone() else {
                    return Ok(false);
                };
                set(&mut candidate.values, number, value);
            }
            return Ok(true);
        }
        for (kept, changed) in [(one, other), (other, one)] {
            let value = candidate.values.get(kept).cloned();
            if let Some(value) = self.value(candidate, &[changed], value.as_ref())? {
                set(&mut candidate.values, changed, value);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A value that meets what is demanded of all of these claims, other than `not`.
    fn value(
        &mut self,
        candidate: &Candidate,
        numbers: &[usize],
        not: Option<&Value>,
    ) -> Result<Option<Value>, Spent> {
        let claims = numbers
            .iter()
            .filter_map(|number| self.space.claims.get(*number));
        let claims: Vec<_> = claims.collect();
        let demands = numbers
            .iter()
            .filter_map(|number| candidate.demands.get(number));
        let demands = demands.flatten().map(|set| &**set);
        let sets: Vec<&ValueSet> = claims
            .iter()
            .map(|claim| &*claim.domain)
            .chain(demands)
            .collect();
        let takes = |value: &Value| not != Some(value) && sets.iter().all(|set| set.has(value));
        // A request has an address, where nothing says otherwise.
        let is_usual = |claim: &&Claim| claim.key == Key::Address;
        if !claims.iter().any(is_usual) && takes(&Value::Absent) {
            return Ok(Some(Value::Absent));
        }
        let excluded = match not {
            Some(Value::Text(text)) => Some(Lang::word(text).inverted()),
            Some(Value::Absent | Value::Bool(_) | Value::Other | Value::Foreign) | None => None,
        };
        let texts: Vec<&Lang> = sets.iter().map(|set| &set.text).chain(&excluded).collect();
        let known = claims.first().map(|claim| claim.known.as_slice());
        let known = known.unwrap_or_default();
        if let Some(text) = shortest::text(&texts, known, self.budget)? {
            return Ok(Some(Value::Text(text)));
        }
        let others = [
            Value::Absent,
            Value::Bool(true),
            Value::Bool(false),
            Value::Other,
            Value::Foreign,
        ];
        Ok(others.into_iter().find(takes))
    }
}

fn set(values: &mut Values, number: usize, value: Value) {
    if let Some(slot) = values.get_mut(number) {
        *slot = value;
    }
}
