//! Finds policies that do not say which repository they trust.

use super::{LintFinding, LintInput, Rule};
use crate::policy::{Block, Policy};
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
    for (policy, issuer, block) in checked.blocks() {
        if issuer.reader.provider.is_of_people() {
            findings.extend(any_person(policy, block));
            continue;
        }
        let provider = issuer.reader.provider;
        let others = [Fact::Repository, Fact::Project];
        let has_no_other = others.iter().all(|fact| !provider.provides(*fact));
        let is_named = IDENTITY.iter().any(|fact| block.narrows(*fact));
        if is_named || (has_no_other && block.narrows(Fact::Workflow)) {
            continue;
        }
        let owner = OWNERS.iter().any(|fact| block.narrows(*fact));
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

/// Finds a block for everyone who can sign in.
fn any_person(policy: &Policy, block: &Block) -> Option<LintFinding> {
    let is_named = PEOPLE.iter().any(|fact| block.narrows(*fact));
    (!is_named).then(|| {
        LintFinding::at(
            block.places.first().unwrap_or(&policy.place),
            format!(
                "policy `{}` does not say which people it trusts",
                policy.name
            ),
            "name `groups` or `user_id`",
        )
    })
}

/// Facts that say who signed in.
const PEOPLE: [Fact; 3] = [Fact::UserId, Fact::Email, Fact::Groups];
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
