//! Finds policies without a condition that the CI's tokens make necessary.

use std::collections::BTreeSet;

use super::{LintFinding, LintInput, Rule, class_of};
use crate::policy::pattern::Pattern;
use crate::policy::{Block, CredentialClass};
use crate::provider::Wanted;
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "missing-condition",
    summary: "policy leaves out a condition that the tokens of its CI make necessary",
    why: "What a token proves differs between CIs: the project of a CircleCI build is also that of builds of forks, a plan of Terraform runs code of pull requests, and Google's issuer signs for people too. `hallpass provider show NAME` lists the limits of each CI, and a policy to start from.",
    incident: "hackingthe.cloud (2023): roles for Terraform that any plan could take; CircleCI: secrets in builds of forks",
    severity: Severity::Error,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let mut findings = Vec::new();
    for (policy, issuer, block) in checked.blocks() {
        let is_low = class_of(policy) == CredentialClass::Low;
        let mut reported = BTreeSet::new();
        for need in issuer.reader.provider.needs {
            let has = |block: &Block| need.any_of.iter().any(|wanted| meets(block, *wanted));
            if checked.ensures((policy, issuer, block), &has) || (is_low && !need.for_low) {
                continue;
            }
            let facts = need.any_of.iter().map(|wanted| wanted.fact());
            if facts.clone().all(|fact| reported.contains(&fact)) {
                continue;
            }
            reported.extend(facts.clone());
            let mut named = facts.map(|fact| block.place(fact));
            let place = named.find_map(|place| place).or(block.places.first());
            let message = format!("policy `{}` {}", policy.name, need.without);
            let mut finding = LintFinding::at(place.unwrap_or(&policy.place), message, need.help);
            finding.severity = Some(need.severity);
            findings.push(finding);
        }
    }
    findings
}

fn meets(block: &Block, wanted: Wanted) -> bool {
    match wanted {
        Wanted::Named(fact) => block.narrows(fact),
        Wanted::Exact(fact) => block.exact(fact).is_some(),
        Wanted::Except(fact, words) => {
            let texts = block.exact(fact);
            texts.is_some_and(|texts| !texts.iter().any(|text| words.contains(text)))
        }
        Wanted::Is(fact, value) => block.pattern(fact) == Some(&Pattern::Is(value)),
    }
}
