//! Finds conditions that only say what a fact must not be.

use super::{LintFinding, LintInput, Rule};
use crate::policy::pattern::Pattern;
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "negative-alone",
    summary: "condition says only what a fact must not be",
    why: "The policy then allows every value that is not listed. Say what the fact must be, and \
        use `not` to exclude values.",
    incident: "AWS: `ForAllValues` passes when the claim is absent",
    severity: Severity::Warning,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let mut findings = Vec::new();
    for block in checked.all_blocks() {
        for (condition, place) in block.conditions.iter().zip(&block.places) {
            if only_negative(&condition.pattern) {
                findings.push(LintFinding::at(
                    place,
                    format!(
                        "`{}` may have any value that is not listed",
                        condition.subject.name()
                    ),
                    "add `glob` or `under` beside `not`, or list the allowed values",
                ));
            }
        }
    }
    findings
}

fn only_negative(pattern: &Pattern) -> bool {
    pattern.negates() && !pattern.narrows()
}
