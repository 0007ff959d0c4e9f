//! Finds policies for pull requests that also let in those of forks.

use super::{Fix, LintFinding, LintInput, Rule, place_of};
use crate::provider::Fact;
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "forks-let-in",
    summary: "policy for pull requests also lets in forks",
    why: "A pull request of a fork runs code of anyone, and a block that names `trigger: pull_request` without `from_fork: false` lets it in.",
    incident: "GitLab (2025): tokens in pipelines of fork code had the claims of the parent project",
    severity: Severity::Warning,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let mut findings = Vec::new();
    for (policy, issuer, block) in checked.blocks() {
        let names = |word| {
            let pattern = block.pattern(Fact::Trigger);
            pattern.is_some_and(|pattern| pattern.names(word))
        };
        let tells = issuer.reader.provider.reading(Fact::FromFork).is_some()
            || issuer.reader.claim_map.contains_key(&Fact::FromFork);
        if !tells || !names("pull_request") || block.narrows(Fact::FromFork) {
            continue;
        }
        let place = place_of(block, Fact::Trigger, policy);
        let mut finding = LintFinding::at(
            place,
            format!(
                "policy `{}` also lets in pull requests of forks",
                policy.name
            ),
            "add from_fork: false",
        );
        finding.fix = Some(Fix::line_before(place, "from_fork: false"));
        findings.push(finding);
    }
    findings
}
