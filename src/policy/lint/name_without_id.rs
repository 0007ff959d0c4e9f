//! Finds repositories and projects named without the ID that cannot be taken over.

use super::{LintFinding, LintInput, Rule, class_of, place_of, provides, tenants_pin_an_id};
use crate::policy::CredentialClass;
use crate::provider::Fact;
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "name-without-id",
    summary: "repository or project is named without its ID",
    why: "After a rename or deletion, anyone can register the old name and get the credential. \
        IDs are never reused. For credentials of class critical this is an error.",
    incident: "PyPI and GitHub (2026): names that were freed and registered by others",
    severity: Severity::Warning,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let mut findings = Vec::new();
    for (policy, issuer, block) in checked.blocks() {
        let critical = class_of(policy) == CredentialClass::Critical;
        let owner_pinned = tenants_pin_an_id(issuer) || block.exact(Fact::OwnerId).is_some();
        for (name, id, what) in NAMED {
            if !provides(issuer, id) || !block.has(name) || block.exact(id).is_some() {
                continue;
            }
            // A repository with its ID is enough.
            let is_settled = id == Fact::ProjectId && block.exact(Fact::RepositoryId).is_some();
            if is_settled || (owner_pinned && !critical) {
                continue;
            }
            let mut finding = LintFinding::at(
                place_of(block, name, policy),
                format!("policy `{}` names a {what} without its ID", policy.name),
                &format!("add `{id}`; `hallpass doctor`, run in a job there, prints it"),
            );
            finding.severity = critical.then_some(Severity::Error);
            findings.push(finding);
        }
    }
    findings
}

/// Names, and the ID of each.
const NAMED: [(Fact, Fact, &str); 2] = [
    (Fact::Repository, Fact::RepositoryId, "repository"),
    (Fact::Project, Fact::ProjectId, "project"),
];
