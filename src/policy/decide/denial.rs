//! A denial, and the response that the job gets. HTTP statuses follow from its reason.

use serde::Serialize;

use super::cause::Cause;
use super::disclosure::{Audience, Disclosure, Learned};
use super::outcome::{ConditionOutcome, Decision, GrantOutcome, Verdict};
use crate::policy::pattern::{Observed, Pattern};
use crate::policy::{Condition, Subject};
use crate::provider::{Fact, FactValue, Facts};
use crate::reason::Reason;
use crate::yaml::duration;

#[derive(Clone, Debug)]
pub struct Denial {
    decision: Decision,
    when: String,
}

/// The response to the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DenialAnswer {
    /// The reason. `policy.denied` for unrelated callers.
    pub reason: Reason,
    pub description: String,
    /// The conditions that failed, nearest policy first.
    pub failed_conditions: Vec<FailedCondition>,
    /// The job's own facts as a `when:` block to paste into a policy, if a policy could help.
    /// Discloses nothing about the policies.
    pub when: Option<String>,
}

/// A condition that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailedCondition {
    /// The policy, or the requirement.
    pub policy: String,
    /// The fact.
    pub fact: String,
    pub expected: String,
    /// The job's value; `None` if it has none.
    pub actual: Option<String>,
    /// What almost matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Denial {
    /// Makes a denial of a decision and the facts that it was made on.
    pub(crate) fn new(decision: Decision, facts: &Facts) -> Self {
        Self {
            decision,
            when: when_block(facts),
        }
    }

    /// The whole decision, for the audit event. Never for the job.
    #[must_use]
    pub const fn decision(&self) -> &Decision {
        &self.decision
    }

    /// The true reason, for logs and events.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match &self.decision.verdict {
            Verdict::Denied(cause) => reason(cause),
            // Only a refused decision becomes a denial.
            Verdict::Permitted { .. } => Reason::PolicyDenied,
        }
    }

    /// The response to the job. Unrelated callers get the same bytes whatever they ask for (T-82).
    #[must_use]
    pub fn answer(&self, disclosure: Disclosure) -> DenialAnswer {
        let audience = match disclosure {
            Disclosure::Always => Audience::Everybody,
            Disclosure::Never | Disclosure::Repository => Audience::Repository,
        };
        let Verdict::Denied(cause) = &self.decision.verdict else {
            return self.fixed(Reason::PolicyDenied, ACCESS_DENIED.to_owned());
        };
        match self.decision.learned(cause, disclosure) {
            Learned::Hidden => self.fixed(Reason::PolicyDenied, ACCESS_DENIED.to_owned()),
            Learned::Trigger(trigger) => {
                self.fixed(Reason::PolicyTrigger, trigger_sentence(trigger))
            }
            Learned::Cause(cause) => self.explained(&cause, audience),
        }
    }

    /// A response that depends only on the job.
    fn fixed(&self, reason: Reason, description: String) -> DenialAnswer {
        DenialAnswer {
            reason,
            description,
            failed_conditions: Vec::new(),
            when: Some(self.when.clone()),
        }
    }

    fn explained(&self, cause: &Cause, audience: Audience) -> DenialAnswer {
        let failed_conditions = self.failed_conditions(cause, audience);
        DenialAnswer {
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
            Cause::UnrelatedJob
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
            Cause::UnrelatedJob => ACCESS_DENIED.to_owned(),
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
            Cause::Ttl { shortest, allowed } => {
                let [least, most] = [*shortest, *allowed].map(duration::print);
                format!("`{credential}` can be issued for {least} to {most}")
            }
            Cause::Conditions | Cause::Requirement => failed_sentence(cause, failed),
        }
    }
}

/// What a run is told if no policy for its repository names its trigger.
fn trigger_sentence(trigger: &str) -> String {
    format!(
        "fact `trigger` is `{trigger}`: a run with this trigger is refused unless a policy names the trigger"
    )
}

/// Whether a new block could permit the request. It could not if the job requests too much or an
/// unknown credential, or if a requirement forbids it.
const fn a_policy_could_help(cause: &Cause) -> bool {
    match cause {
        Cause::Tenant | Cause::UnrelatedJob | Cause::NotGranted { .. } | Cause::Conditions => true,
        Cause::Credential { .. }
        | Cause::Scopes { .. }
        | Cause::Ttl { .. }
        | Cause::Requirement => false,
    }
}

fn failed_sentence(cause: &Cause, failed: &[FailedCondition]) -> String {
    let Some(first) = failed.first() else {
        return ACCESS_DENIED.to_owned();
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
        Cause::UnrelatedJob => Reason::PolicyUnrelated,
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

/// The facts that a policy for this job would name, ready to paste.
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
        // A list equals nothing; a policy can only name its entries.
        FactValue::List(_) => None,
        // Where a request comes from is no property of the job.
        FactValue::Address(_) => None,
        FactValue::Workflow(workflow) => Some(Pattern::Workflow {
            path: exact(&workflow.path).map(Box::new),
            r#ref: workflow.r#ref.as_deref().and_then(exact).map(Box::new),
        })
        .filter(|pattern| pattern.fits(Observed::Workflow(workflow))),
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

/// The response to unrelated callers. Discloses nothing about policies and credentials.
pub const ACCESS_DENIED: &str = "access denied: no policy matches this job; policy administrators can look up the reason by this request ID";

/// The most conditions that a response lists.
const MAX_LINES: usize = 32;
