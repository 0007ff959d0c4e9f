//! Finds environments that are spelled as in a subject.

use super::{LintFinding, LintInput, Rule, place_of};
use crate::provider::Fact;
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "encoded-environment",
    summary: "environment is spelled as in `sub`, with `%3A`",
    why: "GitHub writes `:` as `%3A` in `sub` only. The fact `environment` has the name itself, so the condition never holds.",
    incident: "GitHub's documentation of subjects; a frequent mistake when policies are carried over",
    severity: Severity::Warning,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let mut findings = Vec::new();
    for (policy, _, block) in checked.blocks() {
        let names = block.exact(Fact::Environment).unwrap_or_default();
        let encoded = names
            .into_iter()
            .find(|name| name.to_ascii_lowercase().contains("%3a"));
        if let Some(name) = encoded {
            let plain = name.replace("%3A", ":").replace("%3a", ":");
            findings.push(LintFinding::at(
                place_of(block, Fact::Environment, policy),
                format!("policy `{}` names the environment `{name}`", policy.name),
                &format!("write \"{plain}\""),
            ));
        }
    }
    findings
}
