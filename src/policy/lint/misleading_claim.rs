//! Finds conditions on claims that do not say what their names suggest.

use super::{LintFinding, LintInput, Rule, is_at_or_below};
use crate::policy::{Block, Subject};
use crate::provider::{Misleading, Provider};
use crate::yaml::diagnostic::{Place, Severity};

pub(super) const RULE: Rule = Rule {
    id: "misleading-claim",
    summary: "condition on a raw claim that does not say what its name suggests",
    why: "Some claims are chosen by the caller, are cut to a length, or name the target of a pull request in place of its branch. A policy that compares them lets in other jobs than it reads.",
    incident: "Semaphore and AWS document these claims; a rule on one of them lets in pull requests, other refs or other callers",
    severity: Severity::Error,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let mut findings = Vec::new();
    for (_, issuer, block) in checked.blocks() {
        findings.extend(of_block(block, issuer.reader.provider));
    }
    findings
}

fn of_block(block: &Block, provider: &Provider) -> Vec<LintFinding> {
    let conditions = block.conditions.iter().zip(&block.places);
    let compared = conditions.filter_map(|(condition, place)| match &condition.subject {
        Subject::Claim(pointer) => Some((pointer.as_str(), place)),
        Subject::Fact(_) | Subject::Property(_) | Subject::Issuer => None,
    });
    compared
        .filter_map(|(pointer, place)| finding(pointer, place, provider))
        .collect()
}

fn finding(pointer: &str, place: &Place, provider: &Provider) -> Option<LintFinding> {
    let is_in = |one: &&Misleading| is_at_or_below(pointer, one.claim);
    let misleading = provider.misleading.iter().find(is_in)?;
    Some(LintFinding::at(
        place,
        format!("claim `{}` {}", misleading.claim, misleading.why),
        misleading.instead,
    ))
}
