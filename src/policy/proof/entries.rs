//! Lists: one variable for each entry that conditions name, and one that says whether the list has any
//! entry at all, so also further ones.

use super::constraints::{Constraints, within};
use super::lang::Lang;
use super::space::{Space, is_set};
use super::value::ValueSet;
use crate::policy::literals::Constraint;
use crate::policy::pattern::{Operator, Pattern};

/// The entries of the list satisfy the constraint. `None`: the condition is too long.
pub(super) fn read(
    space: &mut Space<'_>,
    list: usize,
    constraint: &Constraint<'_>,
) -> Option<Constraints> {
    match constraint {
        Constraint::Pattern(pattern) => of_pattern(space, list, pattern),
        Constraint::Operator(operator) => of_operator(space, list, operator),
        // A list is no text.
        Constraint::Words(_) | Constraint::WordsOrAbsent(_) => Some(Constraints::constant(false)),
    }
}

fn of_pattern(space: &mut Space<'_>, list: usize, pattern: &Pattern) -> Option<Constraints> {
    match pattern {
        Pattern::Any(patterns) => {
            let mut all = Constraints::constant(false);
            for pattern in patterns {
                all = all.or(of_pattern(space, list, pattern)?)?;
            }
            Some(all)
        }
        Pattern::All(operators) => {
            let mut all = Constraints::constant(true);
            for operator in operators {
                all = all.and(of_operator(space, list, operator)?)?;
            }
            Some(all)
        }
        Pattern::Present(true) => Some(any(space, list)),
        Pattern::Present(false) => Some(any(space, list).inverted()),
        Pattern::Exact(_)
        | Pattern::Is(_)
        | Pattern::Workflow { .. }
        | Pattern::Network(_)
        | Pattern::Time(_)
        | Pattern::Age(_) => Some(Constraints::constant(false)),
    }
}

fn of_operator(space: &mut Space<'_>, list: usize, operator: &Operator) -> Option<Constraints> {
    match operator {
        Operator::Member(entry) => Some(has(space, list, entry)),
        Operator::Not(pattern) => {
            let inner = of_pattern(space, list, pattern)?;
            any(space, list).and(inner.inverted())
        }
        Operator::Glob(_) | Operator::Under(_) => Some(Constraints::constant(false)),
    }
}

/// It has an entry.
fn any(space: &mut Space<'_>, list: usize) -> Constraints {
    let kept = space.any_entry(list);
    either(kept, list, Lang::Listed(None))
}

/// It has this entry.
pub(super) fn has(space: &mut Space<'_>, list: usize, entry: &str) -> Constraints {
    let named = space.entry(list, entry);
    either(named, list, Lang::Listed(Some(entry.into())))
}

/// By the variable, or by the list as one text. The laws of the space say that the variable is set for
/// no text.
fn either(variable: usize, list: usize, texts: Lang) -> Constraints {
    let texts = ValueSet::texts(texts);
    let fails = vec![
        within(variable, is_set().inverted()),
        within(list, texts.clone().inverted()),
    ];
    Constraints {
        holds: vec![vec![within(variable, is_set())], vec![within(list, texts)]],
        fails: vec![fails],
    }
}
