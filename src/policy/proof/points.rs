//! Values that are of the request and not of its token: where it comes from, when it is made, and how
//! long ago a person signed in. Conditions tell a few of them apart.

use std::collections::BTreeSet;

use super::lang::Lang;
use super::moments::Moments;
use super::network::Addresses;
use super::value::ValueSet;
use crate::clock::Timestamp;
use crate::policy::Block;
use crate::policy::literals::{Constraint, Literal, Variable};
use crate::policy::pattern::{Observed, Operator, Pattern};
use crate::policy::time_window::TimeWindow;

/// One value of each kind that some conditions tell apart.
#[derive(Clone, Debug)]
pub(super) struct Points {
    pub(super) addresses: Addresses,
    pub(super) moments: Moments,
    pub(super) ages: Ages,
    /// Raw claims that are named, by JSON pointer.
    claims: BTreeSet<String>,
}

impl Points {
    /// Of literals and blocks, and of policies that end at those times. Requests are made from `at` on.
    pub(super) fn of<'l>(
        literals: impl Iterator<Item = &'l Literal<'l>>,
        blocks: &[&Block],
        ends: impl Iterator<Item = Timestamp>,
        at: Timestamp,
    ) -> Self {
        let mut addresses = Addresses::default();
        let mut windows: Vec<TimeWindow> = Vec::new();
        let mut ages = Ages(BTreeSet::from([0]));
        let mut named = |pattern: &Pattern| match pattern {
            Pattern::Network(network) => addresses.name(*network),
            Pattern::Time(window) if !windows.contains(window) => windows.push(window.clone()),
            Pattern::Age(most) => {
                // The first age that is too old.
                let older = most.as_secs().saturating_add(1);
                ages.0.extend(i64::try_from(older));
            }
            Pattern::Time(_)
            | Pattern::Exact(_)
            | Pattern::Any(_)
            | Pattern::All(_)
            | Pattern::Is(_)
            | Pattern::Present(_)
            | Pattern::Workflow { .. } => {}
        };
        let mut claims = BTreeSet::new();
        let mut read = |literal: &Literal<'_>| {
            within(&literal.constraint, &mut named);
            if let Variable::Claim(pointer) = literal.variable {
                claims.insert(pointer.to_owned());
            }
        };
        literals.for_each(&mut read);
        for block in blocks {
            block.literals().iter().for_each(&mut read);
        }
        Self {
            claims,
            moments: Moments::new(at, ends, &windows),
            addresses,
            ages,
        }
    }

    /// Whether some condition is about the claim, by its pointer.
    pub(super) fn names(&self, claim: &str) -> bool {
        self.claims.contains(claim)
    }
}

fn within(constraint: &Constraint<'_>, named: &mut impl FnMut(&Pattern)) {
    match constraint {
        Constraint::Pattern(pattern) => within_pattern(pattern, named),
        Constraint::Operator(operator) => within_operator(operator, named),
        Constraint::Words(_) | Constraint::WordsOrAbsent(_) => {}
    }
}

fn within_pattern(pattern: &Pattern, named: &mut impl FnMut(&Pattern)) {
    match pattern {
        Pattern::Any(patterns) => patterns.iter().for_each(|one| within_pattern(one, named)),
        Pattern::All(operators) => operators.iter().for_each(|one| within_operator(one, named)),
        Pattern::Exact(_)
        | Pattern::Is(_)
        | Pattern::Present(_)
        | Pattern::Workflow { .. }
        | Pattern::Network(_)
        | Pattern::Time(_)
        | Pattern::Age(_) => named(pattern),
    }
}

fn within_operator(operator: &Operator, named: &mut impl FnMut(&Pattern)) {
    match operator {
        Operator::Not(pattern) => within_pattern(pattern, named),
        Operator::Glob(_) | Operator::Under(_) | Operator::Member(_) => {}
    }
}

/// Seconds since a person signed in: none, and the first that is too long for each condition.
#[derive(Clone, Debug)]
pub(super) struct Ages(BTreeSet<i64>);

impl Ages {
    /// All of them, and a token that does not say it.
    pub(super) fn domain(&self) -> ValueSet {
        ValueSet::optional(Lang::words(self.0.iter().map(i64::to_string)))
    }

    /// Those that satisfy the constraint.
    pub(super) fn fitting(&self, constraint: &Constraint<'_>) -> ValueSet {
        let fits = |age: &&i64| constraint.fits(Observed::Age(**age));
        let words = self.0.iter().filter(fits).map(i64::to_string);
        let mut set = ValueSet::texts(Lang::words(words));
        set.absent = constraint.fits(Observed::Absent);
        set
    }
}
