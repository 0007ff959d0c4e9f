//! Finds issuers whose jobs differ by names alone.

use super::{LintFinding, LintInput, Rule};
use crate::provider::Fact;
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "issuer-without-ids",
    summary: "issuer provides names and no ids",
    why: "Where tokens have no ID, or none that `facts` maps, a policy can only name a repository. \
        Whoever registers the name after a rename or deletion gets the credential.",
    incident: "Forgejo, Bitrise and Codefresh: tokens without an ID of the repository",
    severity: Severity::Warning,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let mut findings = Vec::new();
    for issuer in &checked.set.issuers {
        let map = &issuer.reader.claim_map;
        let has = |facts: &[Fact]| facts.iter().any(|fact| map.contains_key(fact));
        let name = &issuer.reader.issuer.name;
        let mut policies = checked.set.policies.iter();
        let is_used = policies.any(|policy| policy.issuer == *name);
        // Other providers have IDs.
        if !is_used || !has(&NAMES) || has(&IDS) {
            continue;
        }
        findings.push(LintFinding::at(
            &issuer.place,
            format!("`facts` of issuer `{name}` have names and no ID"),
            "map an ID that its tokens have, such as `repository_id`; if they have none, waive this finding and watch for renamed repositories",
        ));
    }
    findings
}

const NAMES: [Fact; 3] = [Fact::Owner, Fact::Repository, Fact::Project];
const IDS: [Fact; 4] = [
    Fact::TenantId,
    Fact::OwnerId,
    Fact::RepositoryId,
    Fact::ProjectId,
];
