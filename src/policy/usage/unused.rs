//! A part of a policy that was not used, and what is said of it.

use crate::clock::Timestamp;
use crate::policy::pattern::Pattern;
use crate::policy::{Condition, Grant, Policy};
use crate::yaml::diagnostic::Place;
use crate::yaml::duration;

/// A part of a policy that was not used.
#[derive(Debug)]
pub struct Unused<'set> {
    pub part: Part<'set>,
    pub policy: &'set Policy,
    pub place: &'set Place,
    /// The use before the period, if there was one.
    pub last: Option<Timestamp>,
}

/// A part of a policy.
#[derive(Clone, Copy, Debug)]
pub enum Part<'set> {
    Policy,
    Grant(&'set Grant),
    Scope(&'set Grant, &'set str),
    Block,
    Member(&'set Condition, &'set Pattern),
}

impl Part<'_> {
    /// Its word in JSON.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Grant(_) => "grant",
            Self::Scope(..) => "scope",
            Self::Block => "block",
            Self::Member(..) => "condition",
        }
    }
}

impl Unused<'_> {
    /// What was not used, in words.
    #[must_use]
    pub fn message(&self) -> String {
        let policy = format!(
            "policy `{}` of issuer `{}`",
            self.policy.name, self.policy.issuer
        );
        let text = match self.part {
            Part::Policy => format!("{policy} issued nothing"),
            Part::Grant(grant) => format!(
                "{policy} issued no `{}` of at most {}",
                grant.credential.name,
                duration::print(grant.longest())
            ),
            Part::Scope(grant, scope) => format!(
                "{policy} issued no `{}` with scope `{scope}`",
                grant.credential.name
            ),
            Part::Block => format!("no job that {policy} served fits this block"),
            Part::Member(condition, member) => format!(
                "no job that {policy} served has `{}: {member}`",
                condition.subject.name()
            ),
        };
        match self.last {
            None => text,
            Some(last) => format!("{text}; last use {last}"),
        }
    }
}
