//! Finds own runners that are trusted in repositories that may be public.

use super::{LintFinding, LintInput, Rule, class_of, place_of};
use crate::policy::{Block, CredentialClass};
use crate::provider::Fact;
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "public-self-hosted",
    summary: "self-hosted runner is trusted, whatever the visibility of the repository",
    why: "In a public repository anyone can open a pull request whose code runs on the same machine, and leave something there for the next job. Name `visibility: private`, or use hosted runners.",
    incident: "PyTorch (2023) and others: pull requests that took over self-hosted runners",
    severity: Severity::Warning,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let mut findings = Vec::new();
    for (policy, issuer, block) in checked.blocks() {
        let runner = block.pattern(Fact::Runner);
        let is_own = runner.is_some_and(|pattern| pattern.names("self-hosted"));
        let has = |block: &Block| block.narrows(Fact::Visibility);
        let is_known = checked.ensures((policy, issuer, block), &has)
            || !issuer.reader.provider.provides(Fact::Visibility);
        if is_own && !is_known && class_of(policy) != CredentialClass::Low {
            findings.push(LintFinding::at(
                place_of(block, Fact::Runner, policy),
                format!(
                    "policy `{}` trusts self-hosted runners, also in a public repository",
                    policy.name
                ),
                "add visibility: private, or write runner: hosted",
            ));
        }
    }
    findings
}
