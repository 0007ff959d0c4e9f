//! Finds wildcards in the owner of a repository.

use super::{LintFinding, LintInput, Rule, place_of};
use crate::policy::pattern::Glob;
use crate::provider::Fact;
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "wildcard-owner",
    summary: "wildcard in the owner of a repository",
    why: "On a shared CI anyone can register an owner that matches: `acme*` matches \
        `acme-evil`. Spell out the owner, and use wildcards only after the first `/`.",
    incident: "hackingthe.cloud (2023): `organization:hackingthe*` matched other organisations",
    severity: Severity::Error,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let mut findings = Vec::new();
    for (policy, _, block) in checked.blocks() {
        for fact in [
            Fact::Repository,
            Fact::Owner,
            Fact::OwnerId,
            Fact::RepositoryId,
        ] {
            let Some(pattern) = block.pattern(fact) else {
                continue;
            };
            if let Some(glob) = pattern.globs().into_iter().find(|glob| opens_owner(glob)) {
                findings.push(LintFinding::at(
                    place_of(block, fact, policy),
                    format!(
                        "policy `{}`: `{}` leaves the owner open",
                        policy.name,
                        glob.text()
                    ),
                    "spell out the owner: wildcards only after the first `/`",
                ));
            }
        }
    }
    findings
}

/// The first segment has a star in it.
fn opens_owner(glob: &Glob) -> bool {
    glob.text()
        .split('/')
        .next()
        .is_some_and(|owner| owner.contains('*'))
}
