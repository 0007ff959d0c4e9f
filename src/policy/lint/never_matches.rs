//! Finds blocks of conditions that no job of any tenant, or of the policy's team, can meet.

use std::collections::BTreeSet;

use super::{LintFinding, LintInput, Rule};
use crate::policy::compile::PolicyIssuer;
use crate::policy::pattern::{Observed, Operator, Pattern};
use crate::policy::proof::is_closed;
use crate::policy::{Block, Condition, Grant, Policy, PolicySet, Subject};
use crate::provider::Fact;
use crate::yaml::diagnostic::Severity;

pub(super) const RULE: Rule = Rule {
    id: "never-matches",
    summary: "conditions that no job can satisfy, or none of a tenant, of the team or under the requirements",
    why: "Every job belongs to a tenant of its issuer, so a policy for another owner never \
        matches. Nor does a policy of a team for jobs outside the team's `jobs`. Names are compared byte for byte, so an owner that differs only in upper and \
        lower case never matches either. Conditions that contradict each other, or a requirement \
        that no such job meets, are found by a proof.",
    incident: "PyPI: publishers that differ from the repository in upper and lower case",
    severity: Severity::Warning,
    check,
};

fn check(checked: &LintInput<'_>) -> Vec<LintFinding> {
    let mut findings = Vec::new();
    // Rows of a roster share a template, and mostly what is wrong with it.
    let mut proven = BTreeSet::new();
    for (policy, issuer, block) in checked.blocks() {
        if let Some(found) = by_lines(policy, issuer, block) {
            findings.push(found);
            continue;
        }
        let place = block.places.first().unwrap_or(&policy.place);
        let template = (place.source().name().to_owned(), place.span());
        if proven.len() < MOST_PROVEN && proven.insert(template) {
            findings.extend(by_proof(checked.set, policy, block));
        }
    }
    findings
}

/// What the proof finds within its budget: a block that no job meets, or a credential that no job that
/// meets it gets.
fn by_proof(set: &PolicySet, policy: &Policy, block: &Block) -> Option<LintFinding> {
    let is_closed = |grant: &&Grant| {
        let ways = set.ways_through(policy, block, &[grant]);
        ways.iter().all(|way| is_closed(set, way, STEPS))
    };
    let closed: Vec<&Grant> = policy.grants.iter().filter(is_closed).collect();
    let first = closed.first()?;
    let place = block.places.first().unwrap_or(&policy.place);
    let (name, credential) = (&policy.name, &first.credential.name);
    let what = if closed.len() == policy.grants.len() {
        format!("policy `{name}` gives nothing to any job that fits these conditions")
    } else {
        format!("policy `{name}` never gives `{credential}` to a job that fits these conditions")
    };
    let message = format!(
        "{what}: no token meets them together with a tenant, the team's `jobs`, the rule of triggers and the requirements on `{credential}`"
    );
    let help = "correct the conditions, or remove what is never given";
    Some(LintFinding::at(place, message, help))
}

fn by_lines(policy: &Policy, issuer: &PolicyIssuer, block: &Block) -> Option<LintFinding> {
    let within = policy.within.as_deref();
    if let Some(found) = within.and_then(|within| clash(issuer, within, block)) {
        return Some(found.finding(
            policy,
            block,
            |wanted, jobs| {
                format!("requires `{wanted}`, which no job of its team has: the team's `jobs` have `{jobs}`")
            },
            "correct the policy, or let the team's `jobs` include this job",
        ));
    }
    let tenants = issuer.tenants.as_deref().unwrap_or_default();
    let clashes = tenants.iter().map(|tenant| clash(issuer, tenant, block));
    // One tenant that fits is enough.
    let clashes: Option<Vec<_>> = clashes.collect();
    Some(clashes?.first()?.finding(
        policy,
        block,
        |wanted, tenant| {
            format!("requires `{wanted}`, which no job of a tenant has: a tenant is `{tenant}`")
        },
        "add the tenant to the issuer, or correct the policy",
    ))
}

/// Two lines that exclude each other.
struct Clash {
    /// The block's line, by its place in it.
    line: usize,
    wanted: String,
    /// What the other block has instead.
    other: String,
    is_case: bool,
}

impl Clash {
    fn finding(
        &self,
        policy: &Policy,
        block: &Block,
        say: impl Fn(&str, &str) -> String,
        help: &str,
    ) -> LintFinding {
        let place = block.places.get(self.line).unwrap_or(&policy.place);
        let message = format!(
            "policy `{}` {}",
            policy.name,
            say(&self.wanted, &self.other)
        );
        let help = if self.is_case {
            "they differ in upper and lower case only; write it as the provider spells it"
        } else {
            help
        };
        LintFinding::at(place, message, help)
    }
}

/// `limits` are conditions that every job meets: of a tenant, or of a team.
fn clash(issuer: &PolicyIssuer, limits: &Block, block: &Block) -> Option<Clash> {
    let lines = block.conditions.iter().enumerate();
    lines
        .flat_map(|line| limits.conditions.iter().map(move |other| (line, other)))
        .find_map(|((line, condition), other)| {
            let (wanted, other, is_case) = excludes(issuer, condition, other)?;
            Some(Clash {
                line,
                wanted,
                other,
                is_case,
            })
        })
}

/// What is wanted and what the tenant is, where both cannot be.
fn excludes(
    issuer: &PolicyIssuer,
    wanted: &Condition,
    tenant: &Condition,
) -> Option<(String, String, bool)> {
    let is_repository = wanted.subject == Subject::Fact(Fact::Repository);
    if is_repository && tenant.subject == Subject::Fact(Fact::Owner) {
        let Some(repositories) = wanted.pattern.exact_texts() else {
            return other_owner(&wanted.pattern, &tenant.pattern);
        };
        let owners: Option<Vec<&str>> = repositories
            .iter()
            .map(|repository| issuer.reader.provider.owner_of(repository))
            .collect();
        return disjoint(&owners?, &wanted.pattern, &tenant.pattern);
    }
    if wanted.subject != tenant.subject {
        return None;
    }
    if let Some(texts) = wanted.pattern.exact_texts() {
        return disjoint(&texts, &wanted.pattern, &tenant.pattern);
    }
    let texts = tenant.pattern.exact_texts()?;
    let fits = texts
        .iter()
        .any(|text| wanted.pattern.fits(Observed::Text(text)));
    (!fits).then(|| {
        (
            wanted.pattern.to_string(),
            tenant.pattern.to_string(),
            false,
        )
    })
}

/// A glob or a path for repositories, and an owner whose repositories all begin otherwise.
fn other_owner(repository: &Pattern, owner: &Pattern) -> Option<(String, String, bool)> {
    let Pattern::All(operators) = repository else {
        return None;
    };
    let owners = owner.exact_texts()?;
    let excludes = |operator: &Operator, owner: &str| match operator {
        Operator::Glob(glob) => !glob.allows_start(&format!("{owner}/")),
        Operator::Under(top) => {
            let below = |path: &str, top: &str| {
                path.strip_prefix(top)
                    .is_some_and(|rest| rest.starts_with('/'))
            };
            top != owner && !below(top, owner) && !below(owner, top)
        }
        Operator::Member(_) | Operator::Not(_) => false,
    };
    let fits_none = owners
        .iter()
        .all(|owner| operators.iter().any(|operator| excludes(operator, owner)));
    fits_none.then(|| (repository.to_string(), owner.to_string(), false))
}

fn disjoint(texts: &[&str], wanted: &Pattern, tenant: &Pattern) -> Option<(String, String, bool)> {
    if texts.iter().any(|text| tenant.fits(Observed::Text(text))) {
        return None;
    }
    let named = tenant.exact_texts().unwrap_or_default();
    let is_case = texts
        .iter()
        .any(|text| named.iter().any(|name| name.eq_ignore_ascii_case(text)));
    Some((wanted.to_string(), tenant.to_string(), is_case))
}

/// Blocks that the proof is asked about.
const MOST_PROVEN: usize = 500;
/// Steps of the proof for each way.
const STEPS: u64 = 20_000;
