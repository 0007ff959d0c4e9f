//! Finds conditions on values that the person who starts a run can choose.

use super::{LintFinding, LintInput, Rule};
use crate::policy::{Block, Subject};
use crate::provider::{Fact, Kind, Provider};
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "user-controlled",
    summary: "condition on a value that the starter of a run can choose",
    why: "The actor, the base branch and the path of the workflow are chosen by the person who starts the run or writes the branch. They narrow a policy that already names a ref or an environment, but decide nothing alone.",
    incident: "Unit 42 `Oh-My-DC` (2024): policies that relied on claims under the control of the attacker",
    severity: Severity::Warning,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let mut findings = Vec::new();
    for (policy, issuer, block) in checked.blocks() {
        let provider = issuer.reader.provider;
        if LIMITS.iter().any(|fact| block.has(*fact)) {
            continue;
        }
        for (condition, place) in block.conditions.iter().zip(&block.places) {
            if !is_chosen(&condition.subject, provider) {
                continue;
            }
            let name = condition.subject.name();
            let mut finding = LintFinding::at(
                place,
                format!(
                    "policy `{}` relies on `{name}`, which the starter of a run can choose",
                    policy.name
                ),
                "add `ref`, or an `environment` with protection rules",
            );
            finding.severity = has_no_other(block, provider).then_some(Severity::Error);
            findings.push(finding);
        }
    }
    findings
}

/// Whether every line is of this kind.
fn has_no_other(block: &Block, provider: &Provider) -> bool {
    let mut conditions = block.conditions.iter();
    conditions.all(|condition| is_chosen(&condition.subject, provider))
}

fn is_chosen(subject: &Subject, provider: &Provider) -> bool {
    match subject {
        // Of some CIs it is the pipeline, which a job cannot choose.
        Subject::Fact(Fact::Workflow)
            if provider
                .reading(Fact::Workflow)
                .is_some_and(|(line, _)| matches!(line.kind, Kind::Id | Kind::Name)) =>
        {
            false
        }
        Subject::Fact(fact) => CHOSEN.contains(fact),
        Subject::Claim(pointer) => {
            let mut chosen = provider
                .claims
                .iter()
                .filter(|line| line.kind == Kind::Chosen);
            CLAIMS.contains(&pointer.as_str()) || chosen.any(|line| line.pointer() == *pointer)
        }
        Subject::Property(_) | Subject::Issuer => false,
    }
}

const CHOSEN: [Fact; 4] = [Fact::Actor, Fact::ActorId, Fact::BaseRef, Fact::Workflow];
const CLAIMS: [&str; 6] = [
    "/workflow",
    "/head_ref",
    "/base_ref",
    "/actor",
    "/user_login",
    "/user_email",
];
/// Facts that say which version of the code runs.
const LIMITS: [Fact; 5] = [
    Fact::Ref,
    Fact::RefProtected,
    Fact::Environment,
    Fact::EntryWorkflow,
    Fact::JobWorkflow,
];
