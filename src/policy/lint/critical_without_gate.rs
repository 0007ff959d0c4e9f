//! Finds critical credentials for jobs of any workflow file and environment.

use super::{LintFinding, LintInput, Rule, class_of};
use crate::policy::compile::PolicyIssuer;
use crate::policy::pattern::Pattern;
use crate::policy::{Block, CredentialClass};
use crate::provider::Fact;
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "critical-without-gate",
    summary: "critical credential without a pinned workflow or a protected environment",
    why: "Anyone who can push to the ref can then write a job that takes the credential. Pin `entry_workflow` with its ref, or name an environment with protection rules.",
    incident: "tj-actions (2025) and TanStack (2026): stolen code ran with legitimate claims of the repository",
    severity: Severity::Warning,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let mut findings = Vec::new();
    for (policy, issuer, block) in checked.blocks() {
        let is_critical = class_of(policy) == CredentialClass::Critical;
        // For people the decision itself wants more: see `docs/providers.md`.
        let is_of_jobs = !issuer.reader.provider.is_of_people();
        if is_of_jobs && is_critical && !has_workflow(block) && !has_environment(issuer, block) {
            findings.push(LintFinding::at(
                block.places.first().unwrap_or(&policy.place),
                format!(
                    "policy `{}` grants a critical credential to every workflow of the repository",
                    policy.name
                ),
                "add `entry_workflow` with `path` and `ref`, or a protected `environment`",
            ));
        }
    }
    findings
}

fn has_workflow(block: &Block) -> bool {
    [Fact::EntryWorkflow, Fact::JobWorkflow].iter().any(|fact| {
        matches!(
            block.pattern(*fact),
            Some(Pattern::Workflow {
                path: Some(_),
                r#ref: Some(_)
            })
        )
    })
}

/// A protected environment; where tokens do not tell that, an environment by its name.
fn has_environment(issuer: &PolicyIssuer, block: &Block) -> bool {
    let fact = Fact::EnvironmentProtected;
    let reader = &issuer.reader;
    let tells = reader.provider.reading(fact).is_some() || reader.claim_map.contains_key(&fact);
    if tells {
        return block.pattern(fact) == Some(&Pattern::Is(true));
    }
    block.exact(Fact::Environment).is_some()
}
