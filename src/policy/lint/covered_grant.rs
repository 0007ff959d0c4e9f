//! Finds grants that another policy makes pointless, or that look as if they added up with another.

use std::collections::HashMap;

use super::{LintFinding, LintInput, Rule};
use crate::policy::{Block, Grant, Policy};
use crate::provider::{Fact, ORDINARY_TRIGGERS};
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "covered-grant",
    summary: "grant that another policy covers, or does not add to",
    why: "A request gets one grant of one policy. A grant is pointless if another policy lets in the \
        same jobs and gives at least as much: tightening it has no effect. Two grants of \
        different scopes to the same jobs do not add up: a request for all of them is refused.",
    incident: "Buildkite and PyPI: the first or most specific rule that matches wins, and readers expect the sum",
    severity: Severity::Note,
    check,
};

/// One block of a policy with one of its grants.
#[derive(Clone, Copy)]
struct Offer<'a> {
    policy: &'a Policy,
    block: &'a Block,
    grant: &'a Grant,
}

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    // Offers for the same repository, or for no exact one, can let in the same jobs.
    let mut groups: HashMap<(&str, &str, Option<&str>), Vec<Offer<'_>>> = HashMap::new();
    for (policy, issuer, block) in checked.blocks() {
        let in_force = policy.shadow_until.is_none();
        let is_offered = |grant: &&Grant| in_force && block.opens(grant, &issuer.reader);
        for grant in policy.grants.iter().filter(is_offered) {
            let repositories = block.exact(Fact::Repository);
            let repository = repositories.and_then(|texts| texts.first().copied());
            let key = (
                policy.issuer.as_str(),
                grant.credential.name.as_str(),
                repository,
            );
            let offer = Offer {
                policy,
                block,
                grant,
            };
            groups.entry(key).or_default().push(offer);
        }
    }
    let mut findings = Vec::new();
    for ((issuer, credential, repository), own) in &groups {
        let open = repository.and_then(|_| groups.get(&(*issuer, *credential, None)));
        let others = own.iter().chain(open.into_iter().flatten());
        let others: Vec<_> = others.take(MOST_COMPARED).copied().collect();
        findings.extend(own.iter().filter_map(|offer| finding(*offer, &others)));
    }
    findings.sort_by_key(|finding| (finding.place.file().to_owned(), finding.place.span()));
    findings
}

fn finding(offer: Offer<'_>, others: &[Offer<'_>]) -> Option<LintFinding> {
    let (name, credential) = (&offer.policy.name, &offer.grant.credential.name);
    for other in others {
        if std::ptr::eq(offer.policy, other.policy) || !other.lets_in_all_of(&offer) {
            continue;
        }
        let by = &other.policy.name;
        let is_same = offer.lets_in_all_of(other);
        if other.gives_all_of(&offer) {
            // Of two equal grants, the later one is pointless.
            let is_equal = is_same && offer.gives_all_of(other);
            if is_equal && offer.grant.place.span() < other.grant.place.span() {
                continue;
            }
            let message = format!(
                "policy `{name}` grants `{credential}` to jobs that policy `{by}` grants as much"
            );
            return Some(LintFinding::at(
                &offer.grant.place,
                message,
                "remove the grant, or tighten the other policy if that lets in too much",
            ));
        }
        if is_same && !offer.gives_all_of(other) && name < by {
            let message = format!(
                "policies `{name}` and `{by}` grant `{credential}` to the same jobs, and their grants do not add up"
            );
            return Some(LintFinding::at(
                &offer.grant.place,
                message,
                "write one grant with all of the scopes and the longer lifetime, if a job needs both",
            ));
        }
    }
    None
}

impl Offer<'_> {
    /// Every job of the other gets in here too: each of our lines is one of its lines.
    fn lets_in_all_of(&self, other: &Self) -> bool {
        let lines = &other.block.conditions;
        let is_wider = self
            .block
            .conditions
            .iter()
            .all(|line| lines.contains(line));
        let within = self.policy.within.is_none() || self.policy.within == other.policy.within;
        let until = match (self.policy.until, other.policy.until) {
            (None, _) => true,
            (Some(ours), Some(theirs)) => ours >= theirs,
            (Some(_), None) => false,
        };
        is_wider && within && until && (self.block.has(Fact::Trigger) || other.is_ordinary())
    }

    /// The block names no trigger that others must name to let it in.
    fn is_ordinary(&self) -> bool {
        let named = self.block.exact(Fact::Trigger).unwrap_or_default();
        named.iter().all(|word| ORDINARY_TRIGGERS.contains(word))
    }

    fn gives_all_of(&self, other: &Self) -> bool {
        let scopes = &self.grant.scopes;
        self.grant.longest() >= other.grant.longest()
            && other
                .grant
                .scopes
                .iter()
                .all(|scope| scopes.contains(scope))
    }
}

/// Grants of one credential with which each is compared.
const MOST_COMPARED: usize = 64;
