//! Finds conditions on the raw claim `sub`.

use super::{LintFinding, LintInput, Rule};
use crate::policy::Subject;
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "sub-claim",
    summary: "condition on the raw claim `sub`",
    why: "The form of `sub` differs between repositories, changed in 2026, and can be customised by an administrator of the repository. Name the facts that it is made of, such as `repository_id` and `ref`.",
    incident: "Unit 42 (2024) and GitHub's immutable subjects (2026): trust in a text that others can shape",
    severity: Severity::Warning,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let mut findings = Vec::new();
    for block in checked.all_blocks() {
        for (condition, place) in block.conditions.iter().zip(&block.places) {
            if condition.subject == Subject::Claim("/sub".to_owned()) {
                findings.push(LintFinding::at(
                    place,
                    "the raw claim `sub` is compared".to_owned(),
                    "name facts instead, for example `repository_id` and `ref`",
                ));
            }
        }
    }
    findings
}
