//! Finds policies whose `until` is past.

use super::{LintFinding, LintInput, Rule};
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "ended-policy",
    summary: "policy has ended",
    why: "It no longer grants anything. Remove it before someone extends it by mistake.",
    incident: "house-keeping: access that was granted for a time tends to come back",
    severity: Severity::Warning,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let Some(now) = checked.now else {
        return Vec::new();
    };
    let policies = checked.set.policies().iter();
    let ended =
        policies.filter_map(|policy| Some((policy, policy.until.filter(|until| now >= *until)?)));
    ended
        .map(|(policy, until)| {
            LintFinding::at(
                &policy.place,
                format!("policy `{}` ended at {until}", policy.name),
                "remove it, or set a later `until`",
            )
        })
        .collect()
}
