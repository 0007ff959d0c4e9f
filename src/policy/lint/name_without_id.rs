//! Finds repositories named without the ID that cannot be taken over.

use super::{LintFinding, LintInput, Rule, class_of, place_of, tenants_pin_an_id};
use crate::policy::CredentialClass;
use crate::provider::Fact;
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "name-without-id",
    summary: "repository is named without its id",
    why: "After a rename or deletion, anyone can register the old name and get the credential. \
        IDs are never reused. For credentials of class critical this is an error.",
    incident: "PyPI and GitHub (2026): names that were freed and registered by others",
    severity: Severity::Warning,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let mut findings = Vec::new();
    for (policy, issuer, block) in checked.blocks() {
        let offered = issuer.reader.provider.provides(Fact::RepositoryId)
            && (!issuer.reader.provider.claims.is_empty()
                || issuer.reader.claim_map.contains_key(&Fact::RepositoryId));
        if !offered || !block.has(Fact::Repository) || block.exact(Fact::RepositoryId).is_some() {
            continue;
        }
        let critical = class_of(policy) == CredentialClass::Critical;
        let owner_pinned = tenants_pin_an_id(issuer) || block.exact(Fact::OwnerId).is_some();
        if owner_pinned && !critical {
            continue;
        }
        let mut finding = LintFinding::at(
            place_of(block, Fact::Repository, policy),
            format!("policy `{}` names a repository without its id", policy.name),
            "add `repository_id`; `hallpass doctor`, run in a job there, prints it",
        );
        finding.severity = critical.then_some(Severity::Error);
        findings.push(finding);
    }
    findings
}
