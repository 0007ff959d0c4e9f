//! Finds globs that match everything.

use super::{LintFinding, LintInput, Rule};
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "bare-wildcard",
    summary: "glob matches everything",
    why: "A condition that every job meets looks like a limit but is not one. Leave it out, or \
        write `{ present: true }` if the fact only has to be present.",
    incident: "Checkov CKV_AWS_358: trust policies with a bare `*`",
    severity: Severity::Error,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let mut findings = Vec::new();
    for block in checked.all_blocks() {
        for (condition, place) in block.conditions.iter().zip(&block.places) {
            let mut globs = condition.pattern.globs().into_iter();
            if let Some(glob) = globs.find(|glob| glob.text().bytes().all(|byte| byte == b'*')) {
                let (fact, text) = (condition.subject.name(), glob.text());
                findings.push(LintFinding::at(
                    place,
                    format!("`{fact}` may be anything: the glob is `{text}`"),
                    "leave the line out, or write { present: true }",
                ));
            }
        }
    }
    findings
}
