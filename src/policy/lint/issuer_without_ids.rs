//! Finds issuers whose jobs differ by names alone.

use super::{LintFinding, LintInput, Rule};
use crate::provider::{Fact, Kind};
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "issuer-without-ids",
    summary: "issuer provides names and no IDs",
    why: "Where tokens have no ID, or none that `facts` maps, a policy can only name a repository. \
        Those who register the name after a rename or deletion get the credential. \
        For a CI whose tokens have no ID at all this is a note, since no policy can name one.",
    incident: "Forgejo, Bitrise and Codefresh: tokens without an ID of the repository",
    severity: Severity::Warning,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let mut findings = Vec::new();
    for issuer in &checked.set.issuers {
        let (map, provider) = (&issuer.reader.claim_map, issuer.reader.provider);
        let has = |facts: &[Fact]| facts.iter().any(|fact| map.contains_key(fact));
        let name = &issuer.reader.issuer.name;
        let mut policies = checked.set.policies.iter();
        if !policies.any(|policy| policy.issuer == *name) || provider.is_of_people() {
            continue;
        }
        if !provider.claims.is_empty() {
            let mut ids = IDS.iter().filter_map(|fact| provider.reading(*fact));
            // That of the issuer itself says nothing of its jobs.
            if !ids.any(|(line, _)| line.kind == Kind::Id && line.name != "iss") {
                let mut finding = LintFinding::at(
                    &issuer.place,
                    format!("tokens of issuer `{name}` have names and no ID"),
                    "watch for names that are deleted or renamed, and remove their policies",
                );
                finding.severity = Some(Severity::Note);
                findings.push(finding);
            }
        } else if has(&NAMES) && !has(&IDS) {
            findings.push(LintFinding::at(
                &issuer.place,
                format!("`facts` of issuer `{name}` have names and no ID"),
                "map an ID that its tokens have, such as `repository_id`; if they have none, waive this finding and watch for renamed repositories",
            ));
        }
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
