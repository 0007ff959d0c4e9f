//! Finds issuers whose tokens may name a second audience without need.

use super::{LintFinding, LintInput, Rule};
use crate::provider::Audience;
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "second-audience",
    summary: "second audience is accepted, but the CI can issue tokens with a single audience",
    why: "The second party holds a token that the broker accepts. The CI makes a token for exactly the audience that a job asks for, so `audiences` is not needed.",
    incident: "PyPI accepts only tokens with a single audience, and so does SPIFFE (section 7.2)",
    severity: Severity::Warning,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let issuers = checked.set.issuers.iter().filter(|issuer| {
        let provider = issuer.reader.provider;
        let can_be_single = provider.rules.audience == Audience::Own
            && !provider.claims.is_empty()
            && !provider.is_of_people();
        can_be_single && !issuer.reader.issuer.tolerated_audiences.is_empty()
    });
    issuers
        .map(|issuer| {
            let name = &issuer.reader.issuer.name;
            LintFinding::at(
                &issuer.place,
                format!("issuer `{name}` accepts tokens that name a second audience"),
                "remove `audiences`; jobs ask for a token of this broker's audience alone",
            )
        })
        .collect()
}
