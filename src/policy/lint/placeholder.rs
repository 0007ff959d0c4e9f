//! Finds credentials with a placeholder that `policy import` wrote.

use super::{LintFinding, LintInput, Rule};
use crate::policy::{CredentialDefinition, PLACEHOLDER};
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "placeholder",
    summary: "credential has a `CHANGE_ME` of `policy import`",
    why: "`hallpass policy import` writes `CHANGE_ME` where the other system has no value, such as \
        an owner or a group. Until it is replaced, no team is responsible for the credential, or it names \
        a group that does not exist.",
    incident: "default passwords: what was to be replaced before use and was not",
    severity: Severity::Error,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let mut findings = Vec::new();
    for (name, place) in &checked.set.credential_places {
        let credential = checked.set.credentials.get(name);
        let Some(value) = credential.and_then(|credential| left_over(credential)) else {
            continue;
        };
        findings.push(LintFinding::at(
            place,
            format!("credential `{name}` has the placeholder `{value}`"),
            "replace it by the value that you mean",
        ));
    }
    findings
}

/// The first value with a placeholder in it.
fn left_over(credential: &CredentialDefinition) -> Option<String> {
    let specific = credential.specific.decisive().into_iter();
    let specific = specific.map(String::from_utf8_lossy);
    let common = [&credential.owner, &credential.purpose]
        .into_iter()
        .chain(&credential.dependents)
        .chain(credential.labels.values())
        .map(|text| text.as_str().into());
    let mut values = common.chain(specific);
    let found = values.find(|value| value.contains(PLACEHOLDER))?;
    Some(found.into_owned())
}
