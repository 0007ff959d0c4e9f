//! Finds policies that allow runs which outsiders can start.

use super::{LintFinding, LintInput, Rule, class_of, place_of};
use crate::policy::CredentialClass;
use crate::policy::compile::PolicyIssuer;
use crate::provider::{Fact, ORDINARY_TRIGGERS, TRIGGERS};
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "extraordinary-trigger",
    summary: "policy allows runs that outsiders can start or influence",
    why: "Pull requests, comments and chained runs can execute code or input from people \
        without write access, with the claims of the attacked repository. Grant such jobs no \
        credential, or a dedicated one with minimal rights.",
    incident: "CVE-2026-45321 (TanStack): a fork's pull request took the token of `pull_request_target`",
    severity: Severity::Warning,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let mut findings = Vec::new();
    // Of people there is no other trigger.
    let of_jobs = |issuer: &PolicyIssuer| !issuer.reader.provider.is_of_people();
    let blocks = checked.blocks().filter(|(_, issuer, _)| of_jobs(issuer));
    for (policy, _, block) in blocks {
        let Some(pattern) = block.pattern(Fact::Trigger) else {
            continue;
        };
        let unlocked = TRIGGERS
            .iter()
            .filter(|trigger| !ORDINARY_TRIGGERS.contains(trigger) && pattern.names(trigger));
        for trigger in unlocked {
            let mut finding = LintFinding::at(
                place_of(block, Fact::Trigger, policy),
                format!(
                    "policy `{}` allows runs started by `{trigger}`",
                    policy.name
                ),
                "leave the trigger out, or give these jobs a dedicated credential",
            );
            let grave = *trigger == "other" || class_of(policy) == CredentialClass::Critical;
            finding.severity = grave.then_some(Severity::Error);
            findings.push(finding);
        }
    }
    findings
}
