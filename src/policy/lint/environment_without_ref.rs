//! Finds conditions on an environment that any branch can name.

use super::{LintFinding, LintInput, Rule, place_of};
use crate::policy::Block;
use crate::provider::{Fact, Kind};
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "environment-without-ref",
    summary: "condition on `environment` without `ref`, `ref_protected` or `environment_protected`",
    why: "Anyone who can change a workflow on any branch can name an environment. GitHub \
        creates a missing environment without protection rules. Say which ref may deploy to it.",
    incident: "GitHub creates an environment that does not exist, without protection rules",
    severity: Severity::Warning,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let mut findings = Vec::new();
    for (policy, issuer, block) in checked.blocks() {
        // Elsewhere those who edit a job do not make its environment.
        let provider = issuer.reader.provider;
        let given = provider.reading(Fact::Environment);
        let is_given = given.is_some_and(|(line, _)| line.kind != Kind::Chosen);
        let has = |block: &Block| LIMITS.iter().any(|fact| block.narrows(*fact));
        let is_limited = checked.ensures((policy, issuer, block), &has);
        if !is_given && block.has(Fact::Environment) && !is_limited {
            let place = place_of(block, Fact::Environment, policy);
            findings.push(LintFinding::at(
                place,
                format!(
                    "policy `{}` trusts an environment on every ref",
                    policy.name
                ),
                "add `ref`, for example ref: refs/heads/main",
            ));
        }
    }
    findings
}

const LIMITS: [Fact; 3] = [Fact::Ref, Fact::RefProtected, Fact::EnvironmentProtected];
