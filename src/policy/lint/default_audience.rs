//! Finds issuers whose tokens for everyone are accepted.

use super::{LintFinding, LintInput, Rule};
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "default-audience",
    summary: "audience that every relying party of the CI accepts",
    why: "A token with the CI's default audience was made for no broker in particular. Any service that receives it can use it here. Let the job ask for a token with this broker's own audience.",
    incident: "AWS roles for gitlab.com (2023) and Azure DevOps: the default audience proves nothing",
    severity: Severity::Error,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let mut findings = Vec::new();
    for issuer in &checked.set.issuers {
        let audiences = &issuer.reader.issuer.tolerated_audiences;
        if let Some(audience) = audiences.iter().find(|audience| is_default(audience)) {
            let name = &issuer.reader.issuer.name;
            findings.push(LintFinding::at(
                &issuer.place,
                format!("issuer `{name}` accepts tokens that also name `{audience}`"),
                "remove it from `audiences`; jobs ask for a token of this broker's audience",
            ));
        }
    }
    findings
}

fn is_default(audience: &str) -> bool {
    let hosts = [
        "https://github.com/",
        "https://buildkite.com/",
        "https://vercel.com/",
    ];
    EXACT.contains(&audience) || hosts.iter().any(|host| audience.starts_with(host))
}

const EXACT: [&str; 4] = [
    "https://gitlab.com",
    "sts.amazonaws.com",
    "api://AzureADTokenExchange",
    "https://kubernetes.default.svc",
];
