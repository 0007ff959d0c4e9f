//! Finds requirements that apply to no credential.

use super::{LintFinding, LintInput, Rule};
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "requirement-selects-nothing",
    summary: "requirement applies to no credential",
    why: "It protects nothing, most likely because of a mistake in `of`.",
    incident: "octo-sts: a policy that could not be read allowed everything",
    severity: Severity::Warning,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let set = checked.set;
    let idle = set.requirements.iter().filter(|requirement| {
        !set.credentials()
            .any(|credential| requirement.of.selects(credential))
    });
    idle.map(|requirement| {
        LintFinding::at(
            &requirement.of_place,
            format!("requirement `{}` selects no credential", requirement.name),
            "compare `of` with the credentials",
        )
    })
    .collect()
}
