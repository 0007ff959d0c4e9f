//! What a job may learn of a decision: decided per block and per entry of a list (T-139).

use std::borrow::Cow;

use serde::Serialize;

use super::cause::Cause;
use super::examine::Relation;
use super::outcome::{
    BlockOutcome, ConditionOutcome, Decision, GrantOutcome, PolicyOutcome, RequirementOutcome,
    Verdict,
};
use crate::policy::Subject;
use crate::policy::pattern::{Operator, Pattern, Seen};
use crate::provider::{Fact, FactType};

/// Who may learn why a job is refused: the setting `disclose`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Disclosure {
    /// Nobody.
    Never,
    /// A job whose repository some policy names exactly (T-82).
    #[default]
    Repository,
    /// Every job with a genuine token.
    Always,
}

impl Disclosure {
    /// The setting of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "never" => Some(Self::Never),
            "repository" => Some(Self::Repository),
            "always" => Some(Self::Always),
            _ => None,
        }
    }
}

/// What a refused job may learn.
#[derive(Debug)]
pub(super) enum Reason<'a> {
    /// Nothing: it gets the fixed sentence.
    Hidden,
    /// Its own trigger, and nothing of any policy.
    Trigger(&'a str),
    /// This cause, as it is for the job's repository.
    Cause(Cow<'a, Cause>),
}

impl Decision {
    /// What the job may learn of a refusal for this cause.
    pub(super) fn reason_for<'a>(&'a self, cause: &'a Cause, disclosure: Disclosure) -> Reason<'a> {
        match disclosure {
            Disclosure::Never => Reason::Hidden,
            Disclosure::Always => Reason::Cause(Cow::Borrowed(cause)),
            Disclosure::Repository => self.reason_for_repository(cause),
        }
    }

    fn reason_for_repository<'a>(&'a self, cause: &'a Cause) -> Reason<'a> {
        // It could have the credential by asking for less: it learns nothing it could not have.
        let asks_too_much = matches!(cause, Cause::Scopes { .. } | Cause::Ttl { .. });
        match (self.relation, &self.trigger) {
            _ if asks_too_much => Reason::Cause(Cow::Borrowed(cause)),
            (Relation::Unrelated, _) | (Relation::OtherTrigger, None) => Reason::Hidden,
            (Relation::OtherTrigger, Some(trigger)) => Reason::Trigger(trigger),
            // Only policies that are not about this repository grant it.
            (Relation::Named, _) if *cause == Cause::Conditions && !self.is_granted_to_named() => {
                Reason::Cause(Cow::Owned(Cause::NotGranted {
                    granted: self.granted.clone(),
                }))
            }
            (Relation::Named, _) => Reason::Cause(Cow::Borrowed(cause)),
        }
    }

    fn is_granted_to_named(&self) -> bool {
        let mut policies = self.policies.iter();
        policies.any(|policy| policy.names_repository && policy.grant != GrantOutcome::None)
    }

    /// The part of the decision that the job may learn; `None` where it may learn no line of it.
    /// Positions in files and exemptions are never part of it.
    #[must_use]
    pub fn disclosed(&self, disclosure: Disclosure) -> Option<Disclosed<'_>> {
        let verdict = match &self.verdict {
            Verdict::Permitted { .. } => Cow::Borrowed(&self.verdict),
            Verdict::Denied(cause) => match self.reason_for(cause, disclosure) {
                Reason::Hidden | Reason::Trigger(_) => return None,
                Reason::Cause(cause) => Cow::Owned(Verdict::Denied(cause.into_owned())),
            },
        };
        let mut disclosed = Disclosed {
            issuer: &self.issuer,
            credential: &self.credential,
            revision: &self.revision,
            verdict,
            tenants: Vec::new(),
            policies: Vec::new(),
            requirements: Vec::new(),
        };
        let audience = match disclosure {
            Disclosure::Never => return Some(disclosed),
            Disclosure::Repository => Audience::Repository,
            Disclosure::Always => Audience::Everybody,
        };
        let tenants = self.tenants.iter();
        disclosed.tenants = tenants
            .filter(|tenant| audience == Audience::Everybody || tenant.holds())
            .map(|tenant| DisclosedBlock::of(tenant, audience))
            .collect();
        let policies = self.policies.iter();
        disclosed.policies = policies
            .filter_map(|policy| DisclosedPolicy::of(policy, audience))
            .collect();
        let requirements = self.requirements.iter();
        disclosed.requirements = requirements
            .map(|requirement| DisclosedRequirement::of(requirement, audience))
            .collect();
        Some(disclosed)
    }
}

impl ConditionOutcome {
    /// What the line wants, as far as the audience may know it.
    pub(super) fn expected_for(&self, audience: Audience) -> &str {
        match (audience, &self.disclosed) {
            (Audience::Repository, Some(disclosed)) => disclosed,
            (Audience::Repository, None) | (Audience::Everybody, _) => &self.expected,
        }
    }
}

/// Who gets more than the fixed sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// Jobs of the repository that a block names.
    Repository,
    /// Whoever has a genuine token, and the audit event.
    Everybody,
}

/// The part of a decision that a job may learn.
#[derive(Debug, Serialize)]
pub struct Disclosed<'a> {
    issuer: &'a str,
    credential: &'a str,
    revision: &'a str,
    verdict: Cow<'a, Verdict>,
    tenants: Vec<DisclosedBlock<'a>>,
    policies: Vec<DisclosedPolicy<'a>>,
    requirements: Vec<DisclosedRequirement<'a>>,
}

#[derive(Debug, Serialize)]
struct DisclosedPolicy<'a> {
    policy: &'a str,
    grant: GrantOutcome,
    blocks: Vec<DisclosedBlock<'a>>,
    until: Option<DisclosedCondition<'a>>,
}

impl<'a> DisclosedPolicy<'a> {
    /// Without the blocks that are about other repositories; `None` when all are.
    fn of(policy: &'a PolicyOutcome, audience: Audience) -> Option<Self> {
        let is_disclosed = |block: &&BlockOutcome| {
            audience == Audience::Everybody || block.relation == Relation::Named || block.holds()
        };
        let blocks = policy.blocks.iter().filter(is_disclosed);
        let blocks: Vec<_> = blocks
            .map(|block| DisclosedBlock::of(block, audience))
            .collect();
        let until = policy.until.as_ref();
        (!blocks.is_empty()).then(|| Self {
            policy: &policy.policy,
            grant: policy.grant,
            blocks,
            until: until.map(|until| DisclosedCondition::of(until, audience)),
        })
    }
}

#[derive(Debug, Serialize)]
struct DisclosedBlock<'a> {
    conditions: Vec<DisclosedCondition<'a>>,
}

impl<'a> DisclosedBlock<'a> {
    fn of(block: &'a BlockOutcome, audience: Audience) -> Self {
        let conditions = block.conditions.iter();
        Self {
            conditions: conditions
                .map(|condition| DisclosedCondition::of(condition, audience))
                .collect(),
        }
    }
}

#[derive(Debug, Serialize)]
struct DisclosedCondition<'a> {
    fact: &'a str,
    expected: &'a str,
    actual: Option<&'a str>,
    holds: bool,
    hint: Option<&'a str>,
}

impl<'a> DisclosedCondition<'a> {
    fn of(condition: &'a ConditionOutcome, audience: Audience) -> Self {
        Self {
            fact: &condition.fact,
            expected: condition.expected_for(audience),
            actual: condition.actual.as_deref(),
            holds: condition.holds,
            hint: condition.hint.as_deref(),
        }
    }
}

#[derive(Debug, Serialize)]
struct DisclosedRequirement<'a> {
    requirement: &'a str,
    because: &'a str,
    holds: bool,
    jobs: DisclosedBlock<'a>,
}

impl<'a> DisclosedRequirement<'a> {
    fn of(requirement: &'a RequirementOutcome, audience: Audience) -> Self {
        Self {
            requirement: &requirement.requirement,
            because: &requirement.because,
            holds: requirement.holds,
            jobs: DisclosedBlock::of(&requirement.jobs, audience),
        }
    }
}

/// Whose a block is, which decides how much of its lines a job of the repository may learn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// It can hold for the job's repository only.
    Repository,
    /// It is about several repositories, one of them perhaps the job's.
    Several,
    /// A tenant or a requirement: it is about all jobs.
    Everybody,
}

/// How much of a line is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// All of it.
    Everything,
    /// Of lists the entries that the job fits, and nothing under `not`.
    OwnEntries,
    /// The same, and nothing at all if the job does not fit.
    OnlyWhatFits,
}

impl Owner {
    /// How much of a line on this subject is shown. A repository is named by the facts that identify
    /// one, and may be named by a workflow's path and by any raw claim.
    pub(super) fn shows(self, subject: &Subject) -> Shown {
        let identifies = matches!(subject, Subject::Fact(fact) if IDENTITY.contains(fact));
        let may_name = match subject {
            Subject::Fact(fact) => fact.fact_type() == FactType::Workflow,
            Subject::Claim(_) => true,
            Subject::Issuer => false,
        };
        match self {
            Self::Repository if identifies => Shown::OwnEntries,
            Self::Several if identifies || may_name => Shown::OnlyWhatFits,
            Self::Everybody if identifies => Shown::OnlyWhatFits,
            Self::Repository | Self::Several | Self::Everybody => Shown::Everything,
        }
    }
}

/// A pattern as YAML in one line, as far as it is shown, with at most so many entries of a list.
pub(super) fn expected(pattern: &Pattern, seen: Seen<'_>, shown: Shown, most: usize) -> String {
    let part = |part: &Pattern, seen| expected(part, seen, shown, most);
    if let Pattern::Any(entries) = pattern {
        let is_shown = |entry: &&Pattern| shown == Shown::Everything || entry.fits(seen);
        let kept = entries.iter().filter(is_shown).take(most);
        let kept: Vec<_> = kept.map(|entry| part(entry, seen)).collect();
        return match kept.len() {
            0 => NOT_SHOWN.to_owned(),
            all if all == entries.len() => format!("[{}]", kept.join(", ")),
            _ => format!("[{}, {LEFT_OUT}]", kept.join(", ")),
        };
    }
    if shown == Shown::OnlyWhatFits && !pattern.fits(seen) {
        return NOT_SHOWN.to_owned();
    }
    if let Pattern::All(operators) = pattern {
        let operator = |operator: &Operator| match (operator, shown) {
            (Operator::Not(pattern), Shown::Everything) => format!("not: {}", part(pattern, seen)),
            (Operator::Not(_), _) => format!("not: {LEFT_OUT}"),
            (operator, _) => operator.to_string(),
        };
        let operators: Vec<_> = operators.iter().map(operator).collect();
        return format!("{{ {} }}", operators.join(", "));
    }
    if let Pattern::Workflow { path, r#ref } = pattern {
        let (seen_path, seen_ref) = match seen {
            Seen::Workflow(workflow) => (
                Seen::Text(&workflow.path),
                workflow.r#ref.as_deref().map_or(Seen::Absent, Seen::Text),
            ),
            Seen::Absent
            | Seen::Text(_)
            | Seen::Bool(_)
            | Seen::List(_)
            | Seen::Other
            | Seen::Foreign => (Seen::Absent, Seen::Absent),
        };
        let path = path.as_ref().map(|path| part(path, seen_path));
        let r#ref = r#ref.as_ref().map(|pattern| part(pattern, seen_ref));
        let parts = [("path", path), ("ref", r#ref)].into_iter();
        let parts: Vec<_> = parts
            .filter_map(|(key, part)| part.map(|part| format!("{key}: {part}")))
            .collect();
        return format!("{{ {} }}", parts.join(", "));
    }
    pattern.to_string()
}

/// The facts that say whose a job is.
const IDENTITY: [Fact; 9] = [
    Fact::TenantId,
    Fact::Owner,
    Fact::OwnerId,
    Fact::Repository,
    Fact::RepositoryId,
    Fact::RepositoryHost,
    Fact::RunRepositoryId,
    Fact::Project,
    Fact::ProjectId,
];
/// Stands for all that a line wants.
const NOT_SHOWN: &str = "a value that is not shown";
/// Stands for entries of a list, and for what is under `not`.
const LEFT_OUT: &str = "...";
