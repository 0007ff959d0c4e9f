//! Whether one block or selector says at least as much as another, by its text. Sound, not complete: what
//! is not seen to follow counts as not following.

use std::slice::from_ref;

use crate::policy::pattern::{Operator, Pattern};
use crate::policy::proof::some_text_is_new;
use crate::policy::{Block, Selector};

impl Block {
    /// Whether every job that meets it meets the other.
    pub(super) fn implies(&self, other: &Self) -> bool {
        other.conditions.iter().all(|wanted| {
            let same = self.conditions.iter();
            let mut same = same.filter(|one| one.subject == wanted.subject);
            same.any(|one| one.pattern.implies(&wanted.pattern))
        })
    }
}

impl Pattern {
    /// Whether every value that fits it fits the other.
    fn implies(&self, other: &Self) -> bool {
        match (self, other) {
            (one, other) if one == other => true,
            (Self::Present(false), _) | (_, Self::Present(false)) => false,
            (_, Self::Present(true)) => true,
            (one, other) if one.is_of_text() && other.is_of_text() => !some_text_is_new(other, one),
            (Self::Workflow { path, r#ref }, Self::Workflow { path: p, r#ref: r }) => {
                part_implies(path.as_deref(), p.as_deref())
                    && part_implies(r#ref.as_deref(), r.as_deref())
            }
            (Self::Age(one), Self::Age(other)) => one <= other,
            (Self::Network(one), Self::Network(other)) => other.contains(one),
            // Each member of the one is within a member of the other.
            (one, other) => {
                let (one, other) = (one.members(), other.members());
                (one.len(), other.len()) != (1, 1)
                    && one
                        .iter()
                        .all(|one| other.iter().any(|other| one.implies(other)))
            }
        }
    }

    fn members(&self) -> &[Self] {
        if let Self::Any(members) = self {
            members
        } else {
            from_ref(self)
        }
    }

    fn is_of_text(&self) -> bool {
        match self {
            Self::Exact(_) => true,
            Self::Any(members) => members.iter().all(Self::is_of_text),
            Self::All(operators) => operators.iter().all(|operator| match operator {
                Operator::Glob(_) | Operator::Under(_) => true,
                Operator::Member(_) => false,
                Operator::Not(pattern) => pattern.is_of_text(),
            }),
            Self::Is(_)
            | Self::Present(_)
            | Self::Workflow { .. }
            | Self::Network(_)
            | Self::Time(_)
            | Self::Age(_) => false,
        }
    }
}

fn part_implies(one: Option<&Pattern>, other: Option<&Pattern>) -> bool {
    match (one, other) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(one), Some(other)) => one.implies(other),
    }
}

impl Selector {
    /// Whether it selects every credential that there may be and that the other selects. Names that are
    /// all that the other gives are not looked at: what they select is known.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let parts = [
            (&self.owner, &other.owner),
            (&self.target, &other.target),
            (&self.class, &other.class),
            (&self.kind, &other.kind),
        ];
        let is_only_named =
            other.names().is_some() && parts.iter().all(|(_, theirs)| theirs.is_none());
        let names = (&self.credential, &other.credential);
        let names = Some(names).filter(|_| !is_only_named);
        let mut parts = parts.into_iter().chain(names);
        parts.all(|(mine, theirs)| match (mine, theirs) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(mine), Some(theirs)) => theirs.implies(mine),
        })
    }

    /// The names that it lists, if it does: it selects no other credential.
    pub(super) fn names(&self) -> Option<Vec<&str>> {
        self.credential.as_ref()?.exact_texts()
    }
}
