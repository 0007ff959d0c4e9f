//! Limits what a job learns of a decision, per block and per entry of a list (T-139).

use std::borrow::Cow;

use serde::Serialize;

use super::cause::Cause;
use super::examine::Relation;
use super::outcome::{
    BlockOutcome, ConditionOutcome, Decision, GrantOutcome, PolicyOutcome, RequirementOutcome,
    Verdict,
};
use crate::policy::Subject;
use crate::policy::pattern::{Observed, Operator, Pattern, is_under};
use crate::provider::{Fact, FactType, Facts};

/// Which jobs learn why they are refused: the setting `disclose`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Disclosure {
    Never,
    /// Jobs whose repository is named exactly by a policy (T-82).
    #[default]
    Repository,
    /// Every job with a verified token.
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

/// What a refused job learns.
#[derive(Debug)]
pub(super) enum Learned<'a> {
    /// Nothing but the fixed sentence.
    Hidden,
    /// Its own trigger, and nothing about any policy.
    Trigger(&'a str),
    /// The cause for its repository.
    Cause(Cow<'a, Cause>),
}

impl Decision {
    /// What the job learns of a denial for this cause.
    pub(super) fn learned<'a>(&'a self, cause: &'a Cause, disclosure: Disclosure) -> Learned<'a> {
        match disclosure {
            Disclosure::Never => Learned::Hidden,
            Disclosure::Always => Learned::Cause(Cow::Borrowed(cause)),
            Disclosure::Repository => self.learned_by_repository(cause),
        }
    }

    fn learned_by_repository<'a>(&'a self, cause: &'a Cause) -> Learned<'a> {
        // It could get the credential by requesting less, so it learns nothing new.
        let asks_too_much = matches!(cause, Cause::Scopes { .. } | Cause::Ttl { .. });
        match (self.relation, &self.trigger) {
            _ if asks_too_much => Learned::Cause(Cow::Borrowed(cause)),
            (Relation::Unrelated, _) | (Relation::OtherTrigger, None) => Learned::Hidden,
            (Relation::OtherTrigger, Some(trigger)) => Learned::Trigger(trigger),
            // Only policies for other repositories grant it.
            (Relation::Named, _) if *cause == Cause::Conditions && !self.is_granted_to_named() => {
                Learned::Cause(Cow::Owned(Cause::NotGranted {
                    granted: self.granted.clone(),
                }))
            }
            (Relation::Named, _) => Learned::Cause(Cow::Borrowed(cause)),
        }
    }

    fn is_granted_to_named(&self) -> bool {
        let mut policies = self.policies.iter();
        policies.any(|policy| policy.names_repository && policy.grant != GrantOutcome::None)
    }

    /// The part of the decision that the job may see; `None` if it may see no line. It never
    /// includes places in files or exemptions.
    #[must_use]
    pub fn disclosed(&self, disclosure: Disclosure) -> Option<Disclosed<'_>> {
        let verdict = match &self.verdict {
            Verdict::Permitted { .. } => Cow::Borrowed(&self.verdict),
            Verdict::Denied(cause) => match self.learned(cause, disclosure) {
                Learned::Hidden | Learned::Trigger(_) => return None,
                Learned::Cause(cause) => Cow::Owned(Verdict::Denied(cause.into_owned())),
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
    /// The expected value, as far as the audience may see it.
    pub(super) fn expected_for(&self, audience: Audience) -> &str {
        match (audience, &self.disclosed) {
            (Audience::Repository, Some(disclosed)) => disclosed,
            (Audience::Repository, None) | (Audience::Everybody, _) => &self.expected,
        }
    }
}

/// The reader of a disclosed decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// A job of a repository that a block names.
    Repository,
    /// Any job with a verified token, and the audit log.
    Everybody,
}

/// The part of a decision that a job may see.
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
    /// The policy without blocks for other repositories; `None` if none remain.
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

/// Writes the expected value of a condition as YAML in one line, with at most `most` entries of a
/// list.
///
/// For a fact that can name a repository, a job sees only what matches its own value and, outside
/// lists and `not`, text that begins with its own repository. The rest is [`LEFT_OUT`], or
/// [`NOT_SHOWN`] if nothing remains. Other facts are shown in full, because they are what the job
/// has to change.
pub(super) struct Writer<'a> {
    most: usize,
    audience: Audience,
    /// The fact can name a repository.
    names_repository: bool,
    own: Option<&'a str>,
}

/// The position of a part within a pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Position {
    Alone,
    /// In a list or in `not`.
    OneOf,
}

impl<'a> Writer<'a> {
    /// For a line on this subject.
    pub(super) fn new(
        subject: &Subject,
        facts: &'a Facts,
        audience: Audience,
        most: usize,
    ) -> Self {
        Self {
            most,
            audience,
            names_repository: may_name_repository(subject),
            own: facts.text(Fact::Repository),
        }
    }

    pub(super) fn expected(&self, pattern: &Pattern, seen: Observed<'_>) -> String {
        let shown = self.pattern(pattern, seen, Position::Alone);
        shown.unwrap_or_else(|| NOT_SHOWN.to_owned())
    }

    /// `None` if nothing of it may be shown.
    fn pattern(&self, pattern: &Pattern, seen: Observed<'_>, position: Position) -> Option<String> {
        match pattern {
            // They name nothing.
            Pattern::Is(_) | Pattern::Present(_) | Pattern::Network(_) | Pattern::Time(_) => {
                Some(pattern.to_string())
            }
            Pattern::Exact(text) => self
                .shows(text, pattern.fits(seen), seen, position)
                .then(|| pattern.to_string()),
            Pattern::Any(entries) => {
                let entry = |entry: &Pattern| self.pattern(entry, seen, Position::OneOf);
                let shown = entries.iter().filter_map(entry).take(self.most);
                let mut shown: Vec<_> = shown.collect();
                match shown.len() {
                    0 => return None,
                    all if all == entries.len() => {}
                    _ => shown.push(LEFT_OUT.to_owned()),
                }
                Some(format!("[{}]", shown.join(", ")))
            }
            Pattern::All(operators) => {
                if position == Position::OneOf && !self.is_whole() && !pattern.fits(seen) {
                    return None;
                }
                let operators = operators.iter();
                let shown = operators.map(|operator| self.operator(operator, seen, position));
                let shown: Vec<_> = shown.collect();
                Some(format!("{{ {} }}", shown.join(", ")))
            }
            Pattern::Workflow { path, r#ref } => {
                let (seen_path, seen_ref) = parts(seen);
                let path = path.as_ref().map(|path| self.expected(path, seen_path));
                // A ref names no repository.
                let of_ref = Self {
                    names_repository: false,
                    ..*self
                };
                let r#ref = r#ref.as_ref();
                let r#ref = r#ref.map(|pattern| of_ref.expected(pattern, seen_ref));
                let parts = [("path", path), ("ref", r#ref)].into_iter();
                let parts: Vec<_> = parts
                    .filter_map(|(key, part)| part.map(|part| format!("{key}: {part}")))
                    .collect();
                Some(format!("{{ {} }}", parts.join(", ")))
            }
        }
    }

    fn operator(&self, operator: &Operator, seen: Observed<'_>, position: Position) -> String {
        let (key, text) = match operator {
            Operator::Not(pattern) => {
                let shown = self.pattern(pattern, seen, Position::OneOf);
                return format!("not: {}", shown.as_deref().unwrap_or(LEFT_OUT));
            }
            Operator::Glob(glob) => ("glob", glob.text()),
            Operator::Under(top) => ("under", top.as_str()),
            Operator::Member(member) => ("member", member.as_str()),
        };
        if self.shows(text, operator.fits(seen), seen, position) {
            operator.to_string()
        } else {
            format!("{key}: {LEFT_OUT}")
        }
    }

    fn shows(&self, text: &str, fits: bool, seen: Observed<'_>, position: Position) -> bool {
        self.is_whole() || fits || (position == Position::Alone && self.is_own(text, seen))
    }

    fn is_whole(&self) -> bool {
        self.audience == Audience::Everybody || !self.names_repository
    }

    /// Whether it is the job's repository or something in it. GitLab workflow paths begin with a
    /// host, which must equal that of the job's own value.
    fn is_own(&self, text: &str, seen: Observed<'_>) -> bool {
        let Some(own) = self.own else {
            return false;
        };
        let seen = match seen {
            Observed::Text(seen) => seen.split_once('/'),
            Observed::Absent
            | Observed::Bool(_)
            | Observed::List(_)
            | Observed::Workflow(_)
            | Observed::Address(_)
            | Observed::Time(_)
            | Observed::Other
            | Observed::Foreign => None,
        };
        is_under(own, text)
            || matches!(
                (text.split_once('/'), seen),
                (Some((host, path)), Some((own_host, own_path)))
                    if host == own_host && is_under(own, path) && is_under(own, own_path)
            )
    }
}

/// The path and the ref of a workflow.
fn parts(seen: Observed<'_>) -> (Observed<'_>, Observed<'_>) {
    match seen {
        Observed::Workflow(workflow) => (
            Observed::Text(&workflow.path),
            workflow
                .r#ref
                .as_deref()
                .map_or(Observed::Absent, Observed::Text),
        ),
        Observed::Absent
        | Observed::Text(_)
        | Observed::Bool(_)
        | Observed::List(_)
        | Observed::Address(_)
        | Observed::Time(_)
        | Observed::Other
        | Observed::Foreign => (Observed::Absent, Observed::Absent),
    }
}

/// The facts that identify a repository or its owner do, and so may a workflow's path and any raw
/// claim.
fn may_name_repository(subject: &Subject) -> bool {
    match subject {
        Subject::Fact(fact) => IDENTITY.contains(fact) || fact.fact_type() == FactType::Workflow,
        Subject::Claim(_) => true,
        Subject::Property(_) | Subject::Issuer => false,
    }
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
/// Replaces the whole expected value.
const NOT_SHOWN: &str = "a value that is not shown";
/// Replaces entries of a list, and the value of an operator.
const LEFT_OUT: &str = "...";
