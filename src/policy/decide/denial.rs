//! A decision that refuses, and the answer that the job gets. Not: HTTP statuses.

use serde::Serialize;

use super::cause::Cause;
use super::disclosure::{Audience, Disclosure, Learned};
use super::outcome::{ConditionOutcome, Decision, GrantOutcome, Verdict};
use crate::policy::pattern::{Pattern, Seen};
use crate::policy::{Condition, Subject};
use crate::provider::{Fact, FactValue, Facts};
use crate::reason::Reason;
use crate::yaml::duration;

#[derive(Clone, Debug)]
pub struct Denial {
    decision: Decision,
    when: String,
}

/// The answer to the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Why: `policy.denied` for unrelated callers.
    pub reason: Reason,
    pub description: String,
    /// The lines to put right, nearest policy first.
    pub failed_conditions: Vec<FailedCondition>,
    /// The job's own facts as a `when:` block to paste into a policy, where a policy could help. Says
    /// nothing of the policies.
    pub when: Option<String>,
}

/// A line to put right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailedCondition {
    /// The policy, or the requirement.
    pub policy: String,
    /// The fact it looks at.
    pub fact: String,
    pub expected: String,
    /// What the job says; `None` when it does not.
    pub actual: Option<String>,
    /// What is nearly right about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Denial {
    /// The denial that a decision is; the facts are those it is about.
    pub(crate) fn new(decision: Decision, facts: &Facts) -> Self {
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
    pub const fn reason(&self) -> Reason {
        match &self.decision.verdict {
            Verdict::Denied(cause) => reason(cause),
            // A denial is only made of a refusal.
            Verdict::Permitted { .. } => Reason::PolicyDenied,
        }
    }

    /// The answer to the job. Unrelated callers get the same bytes whatever they ask for (T-82).
    #[must_use]
    pub fn answer(&self, disclosure: Disclosure) -> Answer {
        let audience = match disclosure {
            Disclosure::Always => Audience::Everybody,
            Disclosure::Never | Disclosure::Repository => Audience::Repository,
        };
        let Verdict::Denied(cause) = &self.decision.verdict else {
            return self.fixed(Reason::PolicyDenied, STRANGER.to_owned());
        };
        match self.decision.learned(cause, disclosure) {
            Learned::Hidden => self.fixed(Reason::PolicyDenied, STRANGER.to_owned()),
            Learned::Trigger(trigger) => {
                self.fixed(Reason::PolicyTrigger, trigger_sentence(trigger))
            }
            Learned::Cause(cause) => self.explained(&cause, audience),
        }
    }

    /// An answer that follows from the job alone.
    fn fixed(&self, reason: Reason, description: String) -> Answer {
        Answer {
            reason,
            description,
            failed_conditions: Vec::new(),
            when: Some(self.when.clone()),
        }
    }

    fn explained(&self, cause: &Cause, audience: Audience) -> Answer {
        let failed_conditions = self.failed_conditions(cause, audience);
        Answer {
            reason: reason(cause),
            description: self.describe(cause, &failed_conditions),
            failed_conditions,
            when: a_policy_could_help(cause).then(|| self.when.clone()),
        }
    }

    fn failed_conditions(&self, cause: &Cause, audience: Audience) -> Vec<FailedCondition> {
        let decision = &self.decision;
        let mut lines = Vec::new();
        match cause {
            Cause::Tenant => {
                for tenant in &decision.tenants {
                    lines.extend(of_lines("tenants", tenant.failed(), audience));
                }
            }
            Cause::Conditions => {
                for policy in &decision.policies {
                    let is_disclosed = policy.names_repository || !decision.names_repository;
                    if policy.grant == GrantOutcome::None || !is_disclosed {
                        continue;
                    }
                    let failed = match audience {
                        Audience::Repository => policy.failed_of_named(),
                        Audience::Everybody => policy.failed(),
                    };
                    lines.extend(of_lines(&policy.policy, failed, audience));
                }
            }
            Cause::Requirement => {
                for one in decision.requirements.iter().filter(|one| !one.holds) {
                    lines.extend(of_lines(&one.requirement, one.jobs.failed(), audience));
                }
            }
            Cause::Stranger
            | Cause::Credential { .. }
            | Cause::NotGranted { .. }
            | Cause::Scopes { .. }
            | Cause::Ttl { .. } => {}
        }
        lines.truncate(MAX_LINES);
        lines
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
                let to_whom = match &self.decision.trigger {
                    Some(trigger) => format!(" to a run with trigger `{trigger}`"),
                    None => String::new(),
                };
                format!(
                    "no policy for this repository grants `{credential}`{to_whom}; its policies grant {}",
                    listed(granted)
                )
            }
            Cause::Scopes { allowed } => {
                format!(
                    "the requested scopes of `{credential}` exceed every grant; one grant allows {}",
                    listed(allowed)
                )
            }
            Cause::Ttl { allowed } => {
                format!(
                    "`{credential}` can be issued for 1s to {}",
                    duration::print(*allowed)
                )
            }
            Cause::Conditions | Cause::Requirement => failed_sentence(cause, failed),
        }
    }
}

/// All that a run learns whose trigger no policy on its repository names.
fn trigger_sentence(trigger: &str) -> String {
    format!(
        "fact `trigger` is `{trigger}`: a run with this trigger is refused unless a policy names the trigger"
    )
}

/// Whether another block could permit the request. It could not where the job asks for too much, or
/// for a credential that does not exist, nor where a requirement forbids it.
const fn a_policy_could_help(cause: &Cause) -> bool {
    match cause {
        Cause::Tenant | Cause::Stranger | Cause::NotGranted { .. } | Cause::Conditions => true,
        Cause::Credential { .. }
        | Cause::Scopes { .. }
        | Cause::Ttl { .. }
        | Cause::Requirement => false,
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
        None => "is missing".to_owned(),
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

const fn reason(cause: &Cause) -> Reason {
    match cause {
        Cause::Tenant => Reason::PolicyTenant,
        Cause::Stranger => Reason::PolicyStranger,
        Cause::Credential { .. } => Reason::PolicyCredential,
        Cause::NotGranted { .. } => Reason::PolicyNotGranted,
        Cause::Conditions => Reason::PolicyConditions,
        Cause::Scopes { .. } => Reason::PolicyScope,
        Cause::Ttl { .. } => Reason::PolicyTtl,
        Cause::Requirement => Reason::PolicyRequirement,
    }
}

fn of_lines(
    name: &str,
    lines: Vec<&ConditionOutcome>,
    audience: Audience,
) -> impl Iterator<Item = FailedCondition> {
    lines.into_iter().map(move |line| FailedCondition {
        policy: name.to_owned(),
        fact: line.fact.clone(),
        expected: line.expected_for(audience).to_owned(),
        actual: line.actual.clone(),
        hint: line.hint.clone(),
    })
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

/// The answer to unrelated callers: nothing about which policies or credentials there are.
pub const STRANGER: &str = "access denied: no policy matches this job; policy administrators can look up the reason by this request ID";

/// The most lines an answer lists.
const MAX_LINES: usize = 32;
