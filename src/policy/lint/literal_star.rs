//! Finds plain text with a `*`, which was meant as a glob.

use super::{LintFinding, LintInput, Rule};
use crate::policy::pattern::Pattern;
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "literal-star",
    summary: "text with `*` is compared literally",
    why: "`*` is a wildcard only in a glob. As plain text it matches only a value that contains \
        `*`, so the policy never matches.",
    incident: "policies carried over from systems where every text is a pattern",
    severity: Severity::Warning,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let mut findings = Vec::new();
    for block in checked.all_blocks() {
        for (condition, place) in block.conditions.iter().zip(&block.places) {
            if let Some(text) = starred(&condition.pattern) {
                findings.push(LintFinding::at(
                    place,
                    format!("`{text}` is compared literally, including the `*`"),
                    &format!("for a pattern, write {{ glob: \"{text}\" }}"),
                ));
            }
        }
    }
    findings
}

fn starred(pattern: &Pattern) -> Option<&str> {
    match pattern {
        Pattern::Exact(text) => text.contains('*').then_some(text),
        Pattern::Any(patterns) => patterns.iter().find_map(starred),
        Pattern::Workflow { path, r#ref } => [path, r#ref]
            .into_iter()
            .flatten()
            .find_map(|pattern| starred(pattern)),
        Pattern::All(_) | Pattern::Is(_) | Pattern::Present(_) => None,
    }
}
