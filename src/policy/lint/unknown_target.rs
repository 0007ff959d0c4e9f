//! Finds credentials whose target the settings do not have.

use super::{LintFinding, LintInput, Rule};
use crate::yaml::diagnostic::{Severity, nearest};

pub(super) const RULE: Rule = Rule {
    id: "unknown-target",
    summary: "target is not in the settings",
    why: "The broker refuses every request for the credential. The rule compares only if `policy check` gets the settings by `--settings`.",
    incident: "house-keeping: a typing mistake that shows only when a job fails",
    severity: Severity::Error,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let Some(targets) = checked.targets else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for credential in checked.set.credentials.values() {
        let Some(target) = credential
            .target()
            .filter(|target| !targets.contains(*target))
        else {
            continue;
        };
        let Some(place) = checked.set.credential_places.get(&credential.name) else {
            continue;
        };
        let help = match nearest(target, targets.iter().map(String::as_str)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "add it under `targets` of the settings".to_owned(),
        };
        let message = format!(
            "credential `{}` is for target `{target}`, which the settings do not have",
            credential.name
        );
        findings.push(LintFinding::at(place, message, &help));
    }
    findings
}
