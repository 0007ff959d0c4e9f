//! Finds GitLab policies that do not want a protected ref.

use super::{LintFinding, LintInput, Rule, class_of, place_of};
use crate::policy::CredentialClass;
use crate::policy::pattern::Pattern;
use crate::provider::Fact;
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "unprotected-ref",
    summary: "policy for GitLab or Forgejo does not require a protected ref or environment",
    why: "Everyone with push access can create an unprotected branch or tag of any name, but cannot protect it. Name `ref_protected: true`, or `environment_protected: true`.",
    incident: "hackingthe.cloud (2023): roles for GitLab that any branch could take",
    severity: Severity::Warning,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let mut findings = Vec::new();
    for (policy, issuer, block) in checked.blocks() {
        // At GitHub an environment or the workflow does as much.
        let protects = issuer.reader.provider.reading(Fact::RefProtected).is_some()
            && issuer.reader.provider.reading(Fact::JobWorkflow).is_none();
        if !protects || class_of(policy) == CredentialClass::Low {
            continue;
        }
        let is_protected = |fact| block.pattern(fact) == Some(&Pattern::Is(true));
        if is_protected(Fact::RefProtected) || is_protected(Fact::EnvironmentProtected) {
            continue;
        }
        findings.push(LintFinding::at(
            place_of(block, Fact::Ref, policy),
            format!(
                "policy `{}` trusts refs that anyone with push access can create",
                policy.name
            ),
            "add ref_protected: true",
        ));
    }
    findings
}
