//! Finds policies that do not say which repository they trust.

use super::{LintFinding, LintInput, Rule};
use crate::provider::Fact;
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "any-repository",
    summary: "policy does not say which repository it trusts",
    why: "Anyone who can create a repository in the tenant gets the credential, from any \
        workflow. Name `repository` and `repository_id`. For a policy that trusts a whole owner \
        on purpose, this is a warning.",
    incident: "Datadog (2023): AWS roles that any workflow on GitHub could assume",
    severity: Severity::Error,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let mut findings = Vec::new();
    for (policy, _, block) in checked.blocks() {
        if IDENTITY.iter().any(|fact| block.has(*fact)) {
            continue;
        }
        let owner = OWNERS.iter().any(|fact| block.has(*fact));
        let mut finding = LintFinding::at(
            block.places.first().unwrap_or(&policy.place),
            if owner {
                format!(
                    "policy `{}` trusts every repository of an owner",
                    policy.name
                )
            } else {
                format!(
                    "policy `{}` does not say which repository it trusts",
                    policy.name
                )
            },
            "name `repository` and `repository_id`",
        );
        finding.severity = owner.then_some(Severity::Warning);
        findings.push(finding);
    }
    findings
}

/// Facts that say whose code runs.
const IDENTITY: [Fact; 6] = [
    Fact::Repository,
    Fact::RepositoryId,
    Fact::Project,
    Fact::ProjectId,
    Fact::DefinitionId,
    Fact::ServiceConnection,
];
/// Facts that say whose it is.
const OWNERS: [Fact; 3] = [Fact::Owner, Fact::OwnerId, Fact::TenantId];
