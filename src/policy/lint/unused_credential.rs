//! Finds credentials that no policy grants.

use std::collections::HashSet;

use super::{LintFinding, LintInput, Rule};
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "unused-credential",
    summary: "no policy grants the credential",
    why: "It is left over, or a policy names another by mistake.",
    incident: "housekeeping: unused entries escape review",
    severity: Severity::Warning,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let set = checked.set;
    let grants = set.policies.iter().flat_map(|policy| &policy.grants);
    let granted: HashSet<_> = grants.map(|grant| grant.credential.name.as_str()).collect();
    let unused = set
        .credential_places
        .iter()
        .filter(|(name, _)| !granted.contains(name.as_str()));
    unused
        .map(|(name, place)| {
            LintFinding::at(
                place,
                format!("no policy grants credential `{name}`"),
                "grant it, or remove it",
            )
        })
        .collect()
}
