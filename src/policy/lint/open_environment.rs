//! Finds globs on environments or events.

use super::{LintFinding, LintInput, Rule, place_of};
use crate::provider::Fact;
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "open-environment",
    summary: "glob on `environment` or `event`",
    why: "Both are open lists: anyone who can change a workflow can name an environment, and \
        GitHub creates it without protection rules. A glob also matches names that do not exist yet.",
    incident: "GitHub creates an environment that does not exist, without protection rules",
    severity: Severity::Error,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let mut findings = Vec::new();
    for (policy, _, block) in checked.blocks() {
        for fact in [Fact::Environment, Fact::Event] {
            if block
                .pattern(fact)
                .is_some_and(|pattern| !pattern.globs().is_empty())
            {
                findings.push(LintFinding::at(
                    place_of(block, fact, policy),
                    format!("policy `{}` has a glob on `{fact}`", policy.name),
                    "list the names",
                ));
            }
        }
    }
    findings
}
