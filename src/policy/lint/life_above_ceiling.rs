//! Finds grants with a longer `ttl` than their credential allows.

use super::{Fix, LintFinding, LintInput, Rule};
use crate::yaml::diagnostic::Severity;
use crate::yaml::duration::print;

pub(super) const RULE: Rule = Rule {
    id: "life-above-ceiling",
    summary: "grant has a longer `ttl` than its credential's `max_ttl`",
    why: "`max_ttl` wins, so the grant allows less than it says. Raising `max_ttl` later would \
        silently widen it.",
    incident: "CVE-2025-30066 (tj-actions): credentials that were alive when a log was read",
    severity: Severity::Warning,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let mut findings = Vec::new();
    for policy in checked.set.policies() {
        for grant in &policy.grants {
            let (credential, ttl) = (&grant.credential, grant.ttl);
            if ttl > credential.max_ttl {
                let ceiling = print(credential.max_ttl);
                let mut finding = LintFinding::at(
                    &grant.place,
                    format!(
                        "policy `{}` grants `{}` for {}, but its `max_ttl` is {ceiling}",
                        policy.name,
                        credential.name,
                        print(ttl)
                    ),
                    &format!("write ttl: {ceiling}, or less"),
                );
                finding.fix = Some(Fix::instead_of(&grant.place, ceiling));
                findings.push(finding);
            }
        }
    }
    findings
}
