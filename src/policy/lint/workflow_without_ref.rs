//! Finds workflows that are trusted on every branch of their repository.

use super::{LintFinding, LintInput, Rule, place_of};
use crate::policy::pattern::Pattern;
use crate::provider::Fact;
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "workflow-without-ref",
    summary: "workflow is named without the ref it comes from",
    why: "Anyone who can push a branch to the workflow's repository can change the file there \
        and call that version. Say which ref is trusted.",
    incident: "PyPI: a workflow file is trusted together with its ref",
    severity: Severity::Warning,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let mut findings = Vec::new();
    for (policy, _, block) in checked.blocks() {
        for fact in [Fact::EntryWorkflow, Fact::JobWorkflow] {
            if matches!(
                block.pattern(fact),
                Some(Pattern::Workflow { r#ref: None, .. })
            ) {
                findings.push(LintFinding::at(
                    place_of(block, fact, policy),
                    format!("policy `{}` trusts a workflow on every ref", policy.name),
                    "add `ref` beside `path`, for example ref: refs/heads/main",
                ));
            }
        }
    }
    findings
}
