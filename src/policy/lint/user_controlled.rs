//! Finds conditions on values that the person who starts a run can choose.

use super::{LintFinding, LintInput, Rule, is_at_or_below, provides};
use crate::policy::compile::PolicyIssuer;
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
        let has = |block: &Block| LIMITS.iter().any(|fact| block.narrows(*fact));
        if checked.ensures((policy, issuer, block), &has) {
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
                help(issuer, block),
            );
            finding.severity = has_no_other(block, provider).then_some(Severity::Error);
            findings.push(finding);
        }
    }
    findings
}

/// Names only facts that the issuer's tokens have.
fn help(issuer: &PolicyIssuer, block: &Block) -> &'static str {
    let can = |fact| provides(issuer, fact);
    match (can(Fact::Ref), can(Fact::Environment)) {
        (true, true) => "add `ref`, or an `environment` with protection rules",
        (true, false) => "add `ref`",
        (false, true) => "add an `environment` with protection rules",
        (false, false) if can(Fact::ProjectId) && !block.narrows(Fact::ProjectId) => {
            "remove it, or name `project_id`"
        }
        (false, false) => "remove it",
    }
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
            let lines = provider.claims.iter();
            let mut chosen = lines.filter(|line| line.kind == Kind::Chosen);
            chosen.any(|line| is_at_or_below(pointer, &line.pointer()))
                || CLAIMS.iter().any(|claim| is_at_or_below(pointer, claim))
                || pointer.starts_with(AGENT_TAGS)
        }
        Subject::Property(_) | Subject::Issuer => false,
    }
}

const CHOSEN: [Fact; 4] = [Fact::Actor, Fact::ActorId, Fact::BaseRef, Fact::Workflow];
const CLAIMS: [&str; 7] = [
    "/workflow",
    "/head_ref",
    "/base_ref",
    "/actor",
    "/user_login",
    "/user_email",
    "/trigger_by",
];
/// Tags of Buildkite's agents, which those who start an agent choose.
const AGENT_TAGS: &str = "/agent_tag:";
/// Facts that say which version of the code runs.
const LIMITS: [Fact; 5] = [
    Fact::Ref,
    Fact::RefProtected,
    Fact::Environment,
    Fact::EntryWorkflow,
    Fact::JobWorkflow,
];
