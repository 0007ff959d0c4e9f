//! A decision that refuses, and how much of it the job may hear. Not: HTTP statuses.

use serde::Serialize;

use super::outcome::{BlockOutcome, Cause, ConditionOutcome, Decision, GrantOutcome, Verdict};
use crate::policy::pattern::{Pattern, Seen};
use crate::policy::{Condition, Subject, duration};
use crate::provider::{Fact, FactValue, Facts};

/// A decision that refuses.
#[derive(Clone, Debug)]
pub struct Denial {
    decision: Decision,
    when: String,
}

/// Who may hear why: the setting `disclose`.
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

/// The error codes of RFC 6749 section 5.2 and RFC 8693 section 2.2.2 that a denial can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OAuthError {
    /// The token is not good enough for this.
    InvalidRequest,
    /// There is no such credential.
    InvalidTarget,
    /// Some scope is more than may be had.
    InvalidScope,
}

impl OAuthError {
    /// The code.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidScope => "invalid_scope",
        }
    }
}

/// What the job hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The code.
    pub error: OAuthError,
    /// Short code for it, the same for whoever hears the same: `policy.denied` for strangers.
    pub reason: &'static str,
    /// One sentence.
    pub description: String,
    /// The lines to put right, nearest policy first.
    pub failed_conditions: Vec<FailedCondition>,
    /// The job's own facts as a `when:` block to paste into a policy. Says nothing of the policies.
    pub when: String,
}

/// A line to put right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailedCondition {
    /// The policy, or the requirement.
    pub policy: String,
    /// The fact it looks at.
    pub fact: String,
    /// What that must be.
    pub expected: String,
    /// What the job says; `None` when it does not.
    pub actual: Option<String>,
    /// What is nearly right about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Denial {
    pub(super) fn new(decision: Decision, facts: &Facts) -> Self {
        Self {
            decision,
            when: when_block(facts),
        }
    }

    /// Everything, for the audit event: never for the job.
    #[must_use]
    pub const fn decision(&self) -> &Decision {
        &self.decision
    }

    /// Short code of the true reason, for logs and events.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match &self.decision.verdict {
            Verdict::Denied(cause) => reason(cause),
            // A denial is only made of a refusal.
            Verdict::Permitted { .. } => "policy.denied",
        }
    }

    /// What the job may hear. Strangers hear the same bytes whatever they ask for (T-82).
    #[must_use]
    pub fn answer(&self, disclosure: Disclosure) -> Answer {
        match &self.decision.verdict {
            Verdict::Denied(cause) if self.may_hear(cause, disclosure) => self.told(cause),
            Verdict::Denied(_) | Verdict::Permitted { .. } => Answer {
                error: OAuthError::InvalidRequest,
                reason: "policy.denied",
                description: STRANGER.to_owned(),
                failed_conditions: Vec::new(),
                when: self.when.clone(),
            },
        }
    }

    /// One that could have the credential by asking for less is told so, however its repository is
    /// named: it learns nothing it could not have.
    fn may_hear(&self, cause: &Cause, disclosure: Disclosure) -> bool {
        match disclosure {
            Disclosure::Never => false,
            Disclosure::Always => true,
            Disclosure::Repository => {
                self.decision.names_repository
                    || matches!(cause, Cause::Scopes { .. } | Cause::Ttl { .. })
            }
        }
    }

    fn told(&self, cause: &Cause) -> Answer {
        let failed_conditions = self.failed_conditions(cause);
        Answer {
            error: error(cause),
            reason: reason(cause),
            description: self.describe(cause, &failed_conditions),
            failed_conditions,
            when: self.when.clone(),
        }
    }

    fn failed_conditions(&self, cause: &Cause) -> Vec<FailedCondition> {
        let decision = &self.decision;
        let lines: Vec<FailedCondition> = match cause {
            Cause::Tenant => of_blocks("tenants", &decision.tenants),
            Cause::Conditions => decision
                .policies
                .iter()
                .filter(|policy| policy.grant != GrantOutcome::None)
                .filter(|policy| policy.names_repository || !decision.names_repository)
                .flat_map(|policy| of_lines(&policy.policy, &policy.failed()))
                .collect(),
            Cause::Requirement => decision
                .requirements
                .iter()
                .filter(|requirement| !requirement.holds)
                .flat_map(|requirement| {
                    of_lines(&requirement.requirement, &requirement.jobs.failed())
                })
                .collect(),
            Cause::Stranger
            | Cause::Credential { .. }
            | Cause::NotGranted { .. }
            | Cause::Scopes { .. }
            | Cause::Ttl { .. } => Vec::new(),
        };
        lines.into_iter().take(MAX_LINES).collect()
    }

    fn describe(&self, cause: &Cause, failed: &[FailedCondition]) -> String {
        let credential = &self.decision.credential;
        match cause {
            Cause::Tenant => format!(
                "the job belongs to no tenant of issuer `{}`",
                self.decision.issuer
            ),
            Cause::Stranger => STRANGER.to_owned(),
            Cause::Credential {
                suggestion: Some(meant),
            } => {
                format!("no credential `{credential}`; did you mean `{meant}`?")
            }
            Cause::Credential { suggestion: None } => format!("no credential `{credential}`"),
            Cause::NotGranted { granted } => {
                format!(
                    "no policy on this repository grants `{credential}`; they grant {}",
                    listed(granted)
                )
            }
            Cause::Scopes { allowed } => {
                format!(
                    "the scopes asked of `{credential}` are more than one grant has: {}",
                    listed(allowed)
                )
            }
            Cause::Ttl { allowed } => {
                format!(
                    "`{credential}` may be had for 1s to {}",
                    duration::print(*allowed)
                )
            }
            Cause::Conditions | Cause::Requirement => failed_sentence(cause, failed),
        }
    }
}

fn failed_sentence(cause: &Cause, failed: &[FailedCondition]) -> String {
    let Some(first) = failed.first() else {
        return STRANGER.to_owned();
    };
    let what = if *cause == Cause::Requirement {
        "requirement"
    } else {
        "policy"
    };
    let actual = match &first.actual {
        Some(actual) => format!("is `{actual}`"),
        None => "is not told".to_owned(),
    };
    let mut text = format!(
        "fact `{}` {actual}, {what} `{}` wants `{}`",
        first.fact, first.policy, first.expected
    );
    if let Some(hint) = &first.hint {
        text.extend([" (", hint, ")"]);
    }
    match failed.len().saturating_sub(1) {
        0 => {}
        1 => text.push_str("; and one more"),
        more => text.extend(["; and ", &more.to_string(), " more"]),
    }
    text
}

const fn error(cause: &Cause) -> OAuthError {
    match cause {
        Cause::Credential { .. } => OAuthError::InvalidTarget,
        Cause::Scopes { .. } => OAuthError::InvalidScope,
        Cause::Tenant
        | Cause::Stranger
        | Cause::NotGranted { .. }
        | Cause::Conditions
        | Cause::Ttl { .. }
        | Cause::Requirement => OAuthError::InvalidRequest,
    }
}

const fn reason(cause: &Cause) -> &'static str {
    match cause {
        Cause::Tenant => "policy.tenant",
        Cause::Stranger => "policy.stranger",
        Cause::Credential { .. } => "policy.credential",
        Cause::NotGranted { .. } => "policy.not_granted",
        Cause::Conditions => "policy.conditions",
        Cause::Scopes { .. } => "policy.scope",
        Cause::Ttl { .. } => "policy.ttl",
        Cause::Requirement => "policy.requirement",
    }
}

fn of_blocks(name: &str, blocks: &[BlockOutcome]) -> Vec<FailedCondition> {
    blocks
        .iter()
        .flat_map(|block| of_lines(name, &block.failed()))
        .collect()
}

fn of_lines(name: &str, lines: &[&ConditionOutcome]) -> Vec<FailedCondition> {
    lines
        .iter()
        .map(|line| FailedCondition {
            policy: name.to_owned(),
            fact: line.fact.clone(),
            expected: line.expected.clone(),
            actual: line.actual.clone(),
            hint: line.hint.clone(),
        })
        .collect()
}

fn listed(words: &[String]) -> String {
    if words.is_empty() {
        return "none".to_owned();
    }
    let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    words.join(", ")
}

/// The facts a policy on this job would name, ready to paste.
#[must_use]
pub fn when_block(facts: &Facts) -> String {
    let mut text = "when:\n".to_owned();
    for fact in PASTED {
        if let Some(pattern) = facts.get(fact).and_then(exactly) {
            let condition = Condition {
                subject: Subject::Fact(fact),
                pattern,
            };
            text.extend(["  ", &condition.to_yaml(), "\n"]);
        }
    }
    text
}

fn exactly(value: &FactValue) -> Option<Pattern> {
    let exact = |text: &str| (!text.is_empty()).then(|| Pattern::Exact(text.to_owned()));
    match value {
        FactValue::Text(text) => exact(text),
        FactValue::Bool(value) => Some(Pattern::Is(*value)),
        // A list is never equal to anything: only its entries can be named.
        FactValue::List(_) => None,
        FactValue::Workflow(workflow) => Some(Pattern::Workflow {
            path: exact(&workflow.path).map(Box::new),
            r#ref: workflow.r#ref.as_deref().and_then(exact).map(Box::new),
        })
        .filter(|pattern| pattern.fits(Seen::Workflow(workflow))),
    }
}

const PASTED: [Fact; 10] = [
    Fact::Repository,
    Fact::RepositoryId,
    Fact::Project,
    Fact::ProjectId,
    Fact::Ref,
    Fact::RefProtected,
    Fact::Environment,
    Fact::Trigger,
    Fact::FromFork,
    Fact::JobWorkflow,
];

/// What a stranger hears: nothing about which policies or credentials there are.
pub const STRANGER: &str = "no policy lets this job have what it asks for; whoever keeps the policies finds the reason under this request id";

/// The most lines an answer lists.
const MAX_LINES: usize = 32;
