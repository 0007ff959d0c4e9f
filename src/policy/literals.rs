//! Blocks of conditions as literals, each about one variable: the form that a proof about policies
//! reads. Not: the search for a job that fits them.

use std::collections::HashMap;

use super::condition::{Block, Condition, Subject};
use super::pattern::{Observed, Operator, Pattern};
use super::{CredentialClass, Grant, Policy, PolicySet};
use crate::provider::{Fact, Facts, ORDINARY_TRIGGERS, PropertyName, Reader};
use crate::yaml::Place;

/// What one literal is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variable<'a> {
    /// The issuer's name; in requirements and limits of teams only.
    Issuer,
    Fact(Fact),
    /// The path of a workflow.
    Path(Fact),
    /// The ref of a workflow.
    Ref(Fact),
    /// A raw claim, by JSON pointer.
    Claim(&'a str),
    /// A repository property.
    Property(&'a PropertyName),
}

/// A grant, and its policy.
pub(super) type Granted<'a> = (&'a Policy, &'a Grant);

/// What a literal says of its variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Constraint<'a> {
    Pattern(&'a Pattern),
    /// One operator of a mapping, all of which must match.
    Operator(&'a Operator),
    /// One of these words: the rule of ordinary triggers.
    Words(Vec<&'a str>),
    /// One of these words, or absent: that rule where a CI tells the trigger of some runs only.
    WordsOrAbsent(Vec<&'a str>),
}

/// One constraint on one variable, and where it is written. Several literals may be about the same
/// variable.
#[derive(Clone, Debug)]
pub struct Literal<'a> {
    pub variable: Variable<'a>,
    pub constraint: Constraint<'a>,
    pub place: &'a Place,
}

/// One way to get a credential: a job gets it if it satisfies every literal, and the requirements on
/// the credential.
#[derive(Clone, Debug)]
pub struct Way<'a> {
    pub policy: &'a Policy,
    pub grant: &'a Grant,
    /// The issuer of its jobs.
    pub reader: &'a Reader,
    /// Those of a tenant, of a block, of the team and of the trigger rule.
    pub literals: Vec<Literal<'a>>,
}

impl Literal<'_> {
    /// Whether the job satisfies it.
    #[must_use]
    pub fn holds(&self, facts: &Facts) -> bool {
        let seen = match &self.variable {
            Variable::Issuer => Subject::Issuer.seen(facts),
            Variable::Fact(fact) => Subject::Fact(*fact).seen(facts),
            Variable::Property(name) => facts.property(name).into(),
            Variable::Path(fact) | Variable::Ref(fact) => {
                let Observed::Workflow(workflow) = facts.get(*fact).into() else {
                    return false;
                };
                let r#ref = workflow.r#ref.as_deref();
                if matches!(self.variable, Variable::Path(_)) {
                    Observed::Text(&workflow.path)
                } else {
                    r#ref.map_or(Observed::Absent, Observed::Text)
                }
            }
            Variable::Claim(pointer) => return Self::claim_holds(pointer, &self.constraint, facts),
        };
        self.constraint.fits(seen)
    }

    fn claim_holds(pointer: &str, constraint: &Constraint<'_>, facts: &Facts) -> bool {
        constraint.fits(Subject::Claim(pointer.to_owned()).seen(facts))
    }
}

impl Constraint<'_> {
    pub(super) fn fits(&self, seen: Observed<'_>) -> bool {
        match self {
            Self::Pattern(pattern) => pattern.fits(seen),
            Self::Operator(operator) => operator.fits(seen),
            Self::Words(words) => matches!(seen, Observed::Text(text) if words.contains(&text)),
            Self::WordsOrAbsent(words) => {
                matches!(seen, Observed::Absent)
                    || matches!(seen, Observed::Text(text) if words.contains(&text))
            }
        }
    }
}

impl Block {
    /// Its conditions as literals. Operators of one mapping, and the parts of a workflow, are
    /// literals of their own.
    #[must_use]
    pub fn literals(&self) -> Vec<Literal<'_>> {
        let lines = self.conditions.iter().zip(&self.places);
        lines
            .flat_map(|(line, place)| of_line(line, place))
            .collect()
    }
}

fn of_line<'a>(line: &'a Condition, place: &'a Place) -> Vec<Literal<'a>> {
    let literal = |variable, constraint| Literal {
        variable,
        constraint,
        place,
    };
    match (&line.subject, &line.pattern) {
        (Subject::Fact(fact), Pattern::Workflow { path, r#ref }) => {
            let parts = [(Variable::Path(*fact), path), (Variable::Ref(*fact), r#ref)];
            let parts = parts.into_iter().filter_map(|(variable, pattern)| {
                let pattern = pattern.as_deref()?;
                Some(
                    split(pattern)
                        .into_iter()
                        .map(move |part| (variable.clone(), part)),
                )
            });
            parts
                .flatten()
                .map(|(variable, part)| literal(variable, part))
                .collect()
        }
        (subject, pattern) => {
            let variable = match subject {
                Subject::Issuer => Variable::Issuer,
                Subject::Fact(fact) => Variable::Fact(*fact),
                Subject::Claim(pointer) => Variable::Claim(pointer),
                Subject::Property(name) => Variable::Property(name),
            };
            let parts = split(pattern).into_iter();
            parts.map(|part| literal(variable.clone(), part)).collect()
        }
    }
}

fn split(pattern: &Pattern) -> Vec<Constraint<'_>> {
    match pattern {
        Pattern::All(operators) => operators.iter().map(Constraint::Operator).collect(),
        Pattern::Exact(_)
        | Pattern::Any(_)
        | Pattern::Is(_)
        | Pattern::Present(_)
        | Pattern::Network(_)
        | Pattern::Time(_)
        | Pattern::Age(_)
        | Pattern::Workflow { .. } => vec![Constraint::Pattern(pattern)],
    }
}

impl Block {
    /// Whether jobs that meet it may have the grant: a person gets what is critical only by a block that
    /// names how they signed in (T-298).
    pub(super) fn opens(&self, grant: &Grant, reader: &Reader) -> bool {
        !reader.provider.is_of_people()
            || grant.credential.class != CredentialClass::Critical
            || self.sign_in_lacks().next().is_none()
    }
}

impl PolicySet {
    /// Every way to get the credential, also by policies that are past their `until` or have
    /// `shadow_until`.
    #[must_use]
    pub fn ways(&self, credential: &str) -> Vec<Way<'_>> {
        let policies = self.policies.iter();
        let granted =
            policies.flat_map(|policy| policy.grants.iter().map(move |one| (policy, one)));
        let granted = granted.filter(|(_, grant)| grant.credential.name == credential);
        self.ways_of(&granted.collect::<Vec<_>>())
    }

    /// The grants of each credential, by its name, in the order of the policies.
    pub(super) fn granted(&self) -> HashMap<&str, Vec<Granted<'_>>> {
        let mut granted: HashMap<&str, Vec<Granted<'_>>> = HashMap::new();
        for policy in &self.policies {
            for grant in &policy.grants {
                let name = grant.credential.name.as_str();
                granted.entry(name).or_default().push((policy, grant));
            }
        }
        granted
    }

    /// The ways by which these grants are had.
    pub(super) fn ways_of<'a>(&'a self, granted: &[Granted<'a>]) -> Vec<Way<'a>> {
        let each = granted.iter().copied().flat_map(|(policy, grant)| {
            let blocks = policy.when.iter();
            blocks.flat_map(move |block| self.ways_through(policy, block, &[grant]))
        });
        each.collect()
    }

    /// The ways through one block of a policy: for each tenant those to each of the grants.
    pub(super) fn ways_through<'a>(
        &'a self,
        policy: &'a Policy,
        block: &'a Block,
        grants: &[&'a Grant],
    ) -> Vec<Way<'a>> {
        let Some(issuer) = self.issuer_named(&policy.issuer) else {
            return Vec::new();
        };
        let tenants: Vec<Vec<Literal<'_>>> = match &issuer.tenants {
            None => vec![Vec::new()],
            Some(tenants) => tenants.iter().map(Block::literals).collect(),
        };
        let mut own = block.literals();
        own.extend(policy.within.iter().flat_map(|within| within.literals()));
        if issuer.has_events || issuer.reader.provider.reading(Fact::Trigger).is_some() {
            own.push(trigger_rule(policy, block, issuer.has_events));
        }
        let opened = |grant: &&&Grant| block.opens(grant, &issuer.reader);
        let opened: Vec<_> = grants.iter().filter(opened).collect();
        let mut ways = Vec::new();
        for tenant in &tenants {
            let literals: Vec<_> = tenant.iter().chain(&own).cloned().collect();
            ways.extend(opened.iter().map(|grant| Way {
                policy,
                grant,
                reader: &issuer.reader,
                literals: literals.clone(),
            }));
        }
        ways
    }
}

/// T-52: ordinary triggers, and those that the block names by exact text.
fn trigger_rule<'a>(policy: &'a Policy, block: &'a Block, has_events: bool) -> Literal<'a> {
    let mut words = ORDINARY_TRIGGERS.to_vec();
    words.extend(block.exact(Fact::Trigger).into_iter().flatten());
    Literal {
        variable: Variable::Fact(Fact::Trigger),
        constraint: if has_events {
            Constraint::Words(words)
        } else {
            Constraint::WordsOrAbsent(words)
        },
        place: block.place(Fact::Trigger).unwrap_or(&policy.place),
    }
}
