//! Finds a broker that trusts its own tokens.

use super::{LintFinding, LintInput, Rule};
use crate::token::issuer::is_same_but_for_spelling;
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "issuer-is-broker",
    summary: "issuer of subject tokens is this broker itself",
    why: "A token from this broker could be exchanged for another one, again and again, so \
        access would never expire.",
    incident: "hackingthe.cloud: a rogue issuer in a trust list as persistence",
    severity: Severity::Error,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let Some(broker) = checked.broker else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for issuer in &checked.set.issuers {
        if is_same_but_for_spelling(&issuer.reader.issuer.url, broker) {
            findings.push(LintFinding::at(
                &issuer.url_place,
                format!(
                    "issuer `{}` is this broker itself",
                    issuer.reader.issuer.name
                ),
                "subject tokens come from a CI; remove the issuer",
            ));
        }
    }
    findings
}
