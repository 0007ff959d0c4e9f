//! Conditions as constraints on variables: when one holds, and when it fails.

use std::sync::Arc;

use super::value::ValueSet;

/// One constraint.
#[derive(Clone, Debug)]
pub(super) enum Atom {
    /// The claim's value is in the set.
    In(usize, Arc<ValueSet>),
    /// The values of the pair of claims are equal, or differ.
    Equal(bool),
}

/// Constraints that must all hold. Without any it always holds.
pub(super) type Term = Vec<Atom>;

/// Terms of which one must hold.
pub(super) type Clause = Vec<Term>;

/// A condition: when it holds, and when it fails.
#[derive(Clone, Debug)]
pub(super) struct Constraints {
    pub(super) holds: Clause,
    pub(super) fails: Clause,
}

impl Constraints {
    pub(super) fn constant(holds: bool) -> Self {
        let (always, never) = (vec![Vec::new()], Vec::new());
        if holds {
            Self {
                holds: always,
                fails: never,
            }
        } else {
            Self {
                holds: never,
                fails: always,
            }
        }
    }

    /// A condition that is too long for the proof. It may hold and it may fail, whatever the job is: so a
    /// proof is sound, and a witness must be checked.
    pub(super) fn unknown() -> Self {
        Self {
            holds: vec![Vec::new()],
            fails: vec![Vec::new()],
        }
    }

    pub(super) fn is_known(&self) -> bool {
        let can = |clause: &Clause| clause.iter().any(Vec::is_empty);
        !can(&self.holds) || !can(&self.fails)
    }

    pub(super) fn single(variable: usize, set: ValueSet) -> Self {
        let atom = |set: ValueSet| vec![vec![Atom::In(variable, Arc::new(set))]];
        Self {
            holds: atom(set.clone()),
            fails: atom(set.inverted()),
        }
    }

    /// The condition that it does not hold.
    pub(super) fn inverted(self) -> Self {
        Self {
            holds: self.fails,
            fails: self.holds,
        }
    }

    /// Both hold. `None`: that is too long.
    pub(super) fn and(self, other: Self) -> Option<Self> {
        let mut holds = Vec::new();
        let length = self.holds.len().saturating_mul(other.holds.len());
        if length > MOST_TERMS {
            return None;
        }
        for one in &self.holds {
            holds.extend(other.holds.iter().map(|other| [&one[..], other].concat()));
        }
        let fails = [self.fails, other.fails].concat();
        Some(Self { holds, fails })
    }

    /// One of them holds. `None`: that is too long.
    pub(super) fn or(self, other: Self) -> Option<Self> {
        let neither = self.inverted().and(other.inverted())?;
        Some(neither.inverted())
    }

    /// The claim and its texts, if it is one of a few.
    pub(super) fn exact(&self) -> Option<(usize, Vec<&str>)> {
        let [term] = self.holds.as_slice() else {
            return None;
        };
        match term.as_slice() {
            [Atom::In(variable, set)] => Some((*variable, set.exact()?)),
            _ => None,
        }
    }
}

/// The value of the variable is in the set.
pub(super) fn within(number: usize, set: ValueSet) -> Atom {
    Atom::In(number, Arc::new(set))
}

/// Terms of one condition.
const MOST_TERMS: usize = 4_096;
