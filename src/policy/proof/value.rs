//! Values of a claim, and sets of them.

use std::sync::Arc;

use super::lang::{GlobText, Lang};
use crate::policy::literals::Constraint;
use crate::policy::pattern::{Operator, Pattern};

/// A claim's value as far as conditions tell values apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Value {
    #[default]
    Absent,
    /// Printable ASCII, not empty; of a claim that must be a number, its digits.
    Text(String),
    Bool(bool),
    /// A list, an object, or a number of a claim that need not be one.
    Other,
    /// Text outside printable ASCII.
    Foreign,
}

/// A set of values.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one per value that is no text"
)]
pub(super) struct ValueSet {
    pub(super) absent: bool,
    pub(super) yes: bool,
    pub(super) no: bool,
    pub(super) other: bool,
    pub(super) foreign: bool,
    pub(super) text: Lang,
}

impl ValueSet {
    pub(super) fn none() -> Self {
        Self::texts(Lang::none())
    }

    pub(super) fn all() -> Self {
        Self::none().inverted()
    }

    /// These texts and no other value.
    pub(super) const fn texts(text: Lang) -> Self {
        Self {
            absent: false,
            yes: false,
            no: false,
            other: false,
            foreign: false,
            text,
        }
    }

    /// An absent claim and these texts.
    pub(super) const fn optional(text: Lang) -> Self {
        let mut set = Self::texts(text);
        set.absent = true;
        set
    }

    pub(super) fn inverted(self) -> Self {
        Self {
            absent: !self.absent,
            yes: !self.yes,
            no: !self.no,
            other: !self.other,
            foreign: !self.foreign,
            text: self.text.inverted(),
        }
    }

    pub(super) fn and(self, set: Self) -> Self {
        Self {
            absent: self.absent && set.absent,
            yes: self.yes && set.yes,
            no: self.no && set.no,
            other: self.other && set.other,
            foreign: self.foreign && set.foreign,
            text: self.text.and(set.text),
        }
    }

    pub(super) fn or(self, set: Self) -> Self {
        Self {
            absent: self.absent || set.absent,
            yes: self.yes || set.yes,
            no: self.no || set.no,
            other: self.other || set.other,
            foreign: self.foreign || set.foreign,
            text: self.text.or(set.text),
        }
    }

    pub(super) fn has(&self, value: &Value) -> bool {
        match value {
            Value::Absent => self.absent,
            Value::Text(text) => self.text.has(text),
            Value::Bool(true) => self.yes,
            Value::Bool(false) => self.no,
            Value::Other => self.other,
            Value::Foreign => self.foreign,
        }
    }

    /// The texts, if it has a few and no other value.
    pub(super) fn exact(&self) -> Option<Vec<&str>> {
        let others = [self.absent, self.yes, self.no, self.other, self.foreign];
        let texts = self.text.finite()?;
        (!others.contains(&true)).then_some(texts)
    }

    /// The values that satisfy the constraint, of a fact that is no workflow.
    pub(super) fn of(constraint: &Constraint<'_>) -> Self {
        match constraint {
            Constraint::Pattern(pattern) => of_pattern(pattern),
            Constraint::Operator(operator) => Self::texts(of_operator(operator)),
            Constraint::Words(words) => {
                Self::texts(Lang::words(words.iter().map(|word| (*word).to_owned())))
            }
            Constraint::WordsOrAbsent(words) => {
                Self::optional(Lang::words(words.iter().map(|word| (*word).to_owned())))
            }
        }
    }

    /// The claims of a workflow that satisfy the constraint.
    pub(super) fn of_workflow(constraint: &Constraint<'_>) -> Self {
        match constraint {
            Constraint::Pattern(pattern) => of_workflow(pattern),
            // Operators and words are of texts.
            Constraint::Operator(_) | Constraint::Words(_) | Constraint::WordsOrAbsent(_) => {
                Self::none()
            }
        }
    }
}

fn of_pattern(pattern: &Pattern) -> ValueSet {
    match pattern {
        Pattern::Exact(text) => ValueSet::texts(Lang::word(text)),
        Pattern::Any(patterns) => match pattern.exact_texts() {
            Some(texts) => ValueSet::texts(Lang::words(texts.into_iter().map(str::to_owned))),
            None => any(patterns.iter().map(of_pattern)),
        },
        Pattern::All(operators) => ValueSet::texts(match operators.as_slice() {
            [operator] => of_operator(operator),
            operators => {
                let parts = operators.iter().map(|one| Arc::new(of_operator(one)));
                Lang::And(parts.collect())
            }
        }),
        Pattern::Is(true) => ValueSet {
            yes: true,
            ..ValueSet::none()
        },
        Pattern::Is(false) => ValueSet {
            no: true,
            ..ValueSet::none()
        },
        Pattern::Present(true) => present(),
        Pattern::Present(false) => ValueSet::optional(Lang::none()),
        // An address is no claim's value.
        Pattern::Workflow { .. } | Pattern::Network(_) | Pattern::Time(_) | Pattern::Age(_) => {
            ValueSet::none()
        }
    }
}

/// Every value but an absent and a foreign one.
fn present() -> ValueSet {
    ValueSet {
        absent: false,
        foreign: false,
        ..ValueSet::all()
    }
}

fn any(sets: impl Iterator<Item = ValueSet>) -> ValueSet {
    sets.fold(ValueSet::none(), ValueSet::or)
}

fn of_operator(operator: &Operator) -> Lang {
    match operator {
        Operator::Glob(glob) => Lang::Glob(Arc::new(GlobText(glob.clone()))),
        Operator::Under(top) => Lang::Under(top.as_str().into()),
        // No text has entries.
        Operator::Member(_) => Lang::none(),
        Operator::Not(pattern) => of_pattern(pattern).text.inverted(),
    }
}

fn of_workflow(pattern: &Pattern) -> ValueSet {
    match pattern {
        Pattern::Any(patterns) => any(patterns.iter().map(of_workflow)),
        Pattern::Present(true) => ValueSet::texts(Lang::All),
        Pattern::Present(false) => ValueSet::optional(Lang::none()),
        Pattern::Workflow { path, r#ref } => {
            let path = path.as_deref().map(|pattern| path_of(&of_pattern(pattern)));
            let r#ref = r#ref.as_deref().map(|pattern| ref_of(&of_pattern(pattern)));
            let parts = path.into_iter().chain(r#ref);
            ValueSet::texts(Lang::And(parts.map(Arc::new).collect()))
        }
        Pattern::Exact(_)
        | Pattern::All(_)
        | Pattern::Is(_)
        | Pattern::Network(_)
        | Pattern::Time(_)
        | Pattern::Age(_) => ValueSet::none(),
    }
}

/// The workflow claims with a path in the set.
pub(super) fn path_of(set: &ValueSet) -> Lang {
    Lang::Path(Arc::new(set.text.clone()))
}

/// The workflow claims with a ref in the set.
pub(super) fn ref_of(set: &ValueSet) -> Lang {
    Lang::Ref {
        texts: Arc::new(set.text.clone()),
        absent: set.absent,
    }
}
