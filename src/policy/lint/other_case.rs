//! Finds names that differ from another name of the same issuer only in upper and lower case.

use std::collections::HashMap;

use super::{LintFinding, LintInput, Rule};
use crate::policy::Subject;
use crate::provider::Fact;
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "other-case",
    summary: "name that another policy or tenant spells in other case",
    why: "Names are compared byte for byte, so at most one of the two spellings is the provider's. The policy with the other one never matches.",
    incident: "PyPI: publishers that differ from the repository in upper and lower case",
    severity: Severity::Warning,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let mut findings = Vec::new();
    // The first spelling of each name, by issuer and fact.
    let mut known: HashMap<(&str, Fact, String), &str> = HashMap::new();
    let issuers = checked.set.issuers.iter();
    let of_tenants = issuers.flat_map(|issuer| {
        let blocks = issuer.tenants.iter().flatten();
        blocks.map(|block| (issuer.reader.issuer.name.as_str(), block))
    });
    let policies = checked.set.policies.iter();
    let of_policies = policies.flat_map(|policy| {
        let blocks = policy.when.iter();
        blocks.map(|block| (policy.issuer.as_str(), block))
    });
    for (issuer, block) in of_tenants.chain(of_policies) {
        for (condition, place) in block.conditions.iter().zip(&block.places) {
            let Subject::Fact(fact) = &condition.subject else {
                continue;
            };
            if !NAMES.contains(fact) {
                continue;
            }
            for text in condition.pattern.exact_texts().unwrap_or_default() {
                let key = (issuer, *fact, text.to_ascii_lowercase());
                let first = *known.entry(key).or_insert(text);
                if first != text {
                    findings.push(LintFinding::at(
                        place,
                        format!("`{fact}` is `{text}` here and `{first}` elsewhere"),
                        "write both as the provider spells the name",
                    ));
                }
            }
        }
    }
    findings
}

/// Facts whose values are names at the provider. A CI may tell two environments or refs apart by case.
const NAMES: [Fact; 3] = [Fact::Owner, Fact::Repository, Fact::Project];
