//! Finds plain text with a `*`, which was meant as a glob.

use super::{LintFinding, LintInput, Rule};
use crate::policy::pattern::Pattern;
use crate::yaml::diagnostic::{Place, Severity};

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
                let help = if is_of_a_roster(place) {
                    "values of a roster are no patterns; for a pattern, write the `glob` in the template".to_owned()
                } else {
                    format!("for a pattern, write {{ glob: \"{text}\" }}")
                };
                findings.push(LintFinding::at(
                    place,
                    format!("`{text}` is compared literally, including the `*`"),
                    &help,
                ));
            }
        }
    }
    findings
}

/// Whether the `*` comes from a row: the template does not have it.
fn is_of_a_roster(place: &Place) -> bool {
    let span = place.span();
    let written = place.source().text().get(span.start..span.end);
    place.row().is_some() && written.is_some_and(|text| !text.contains('*'))
}

fn starred(pattern: &Pattern) -> Option<&str> {
    match pattern {
        Pattern::Exact(text) => text.contains('*').then_some(text),
        Pattern::Any(patterns) => patterns.iter().find_map(starred),
        Pattern::Workflow { path, r#ref } => [path, r#ref]
            .into_iter()
            .flatten()
            .find_map(|pattern| starred(pattern)),
        Pattern::All(_)
        | Pattern::Is(_)
        | Pattern::Present(_)
        | Pattern::Network(_)
        | Pattern::Time(_) => None,
    }
}
