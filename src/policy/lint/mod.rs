//! Rule, Finding, the list of rules.
//!
//! Rules are about policies that are legal and wider than they read (T-83). A finding of severity
//! error keeps a set from being served.

use super::compile::Issuer;
use super::{Block, Class, Policy, PolicySet};
use crate::provider::Fact;
use crate::yaml::diagnostic::{Diagnostic, Place, Severity};

mod any_repository;
mod bare_wildcard;
mod environment_without_ref;
mod extraordinary_trigger;
mod issuer_is_broker;
mod life_above_ceiling;
mod literal_star;
mod name_without_id;
mod negative_alone;
mod never_matches;
mod open_environment;
mod requirement_selects_nothing;
mod tenant_without_id;
mod unused_credential;
mod wildcard_owner;
mod workflow_without_ref;

/// Every rule there is. A new one is its file, a line here, and its two examples.
pub const RULES: &[&Rule] = &[
    &any_repository::RULE,
    &bare_wildcard::RULE,
    &environment_without_ref::RULE,
    &extraordinary_trigger::RULE,
    &issuer_is_broker::RULE,
    &life_above_ceiling::RULE,
    &literal_star::RULE,
    &name_without_id::RULE,
    &negative_alone::RULE,
    &never_matches::RULE,
    &open_environment::RULE,
    &requirement_selects_nothing::RULE,
    &tenant_without_id::RULE,
    &unused_credential::RULE,
    &wildcard_owner::RULE,
    &workflow_without_ref::RULE,
];

/// The rule of that id.
#[must_use]
pub fn find(id: &str) -> Option<&'static Rule> {
    RULES.iter().copied().find(|rule| rule.id == id)
}

/// One thing that is looked for in every set of policies.
#[derive(Debug)]
pub struct Rule {
    /// Its name, as it stands in findings.
    pub id: &'static str,
    /// What it finds, in one line.
    pub summary: &'static str,
    /// What goes wrong otherwise, and what to do.
    pub why: &'static str,
    /// How much a finding matters, unless the finding says otherwise.
    pub severity: Severity,
    check: fn(&Checked<'_>) -> Vec<Finding>,
}

#[derive(Debug)]
struct Finding {
    place: Place,
    message: String,
    help: String,
    severity: Option<Severity>,
}

impl Finding {
    fn at(place: &Place, message: String, help: &str) -> Self {
        Self {
            place: place.clone(),
            message,
            help: help.to_owned(),
            severity: None,
        }
    }
}

#[derive(Debug)]
struct Checked<'a> {
    set: &'a PolicySet,
    /// Our own issuer name, where it is known.
    broker: Option<&'a str>,
}

impl<'a> Checked<'a> {
    /// Every block of every policy, with its issuer.
    fn blocks(&self) -> impl Iterator<Item = (&'a Policy, &'a Issuer, &'a Block)> {
        let set = self.set;
        set.policies.iter().flat_map(move |policy| {
            let mut issuers = set.issuers.iter();
            let issuer = issuers.find(|issuer| issuer.reader.issuer.name == policy.issuer);
            issuer.into_iter().flat_map(move |issuer| {
                policy.when.iter().map(move |block| (policy, issuer, block))
            })
        })
    }

    /// Every block of conditions there is, of tenants and requirements too.
    fn all_blocks(&self) -> impl Iterator<Item = &'a Block> {
        let set = self.set;
        let tenants = set
            .issuers
            .iter()
            .flat_map(|issuer| issuer.tenants.iter().flatten());
        let requirements = set
            .requirements
            .iter()
            .flat_map(|requirement| std::iter::once(&requirement.jobs).chain(&requirement.unless));
        let policies = set.policies.iter().flat_map(|policy| &policy.when);
        tenants.chain(requirements).chain(policies)
    }
}

/// The most harmful class that a policy grants.
fn class_of(policy: &Policy) -> Class {
    let classes = policy.grants.iter().map(|grant| grant.credential.class);
    classes.max().unwrap_or(Class::Low)
}

/// Every tenant of the issuer is held to an id that nobody else can register.
fn tenants_pin_an_id(issuer: &Issuer) -> bool {
    let ids = issuer.reader.provider.tenant_ids;
    let pinned = |tenant: &Block| ids.iter().any(|id| tenant.exact(*id).is_some());
    issuer
        .tenants
        .as_ref()
        .is_some_and(|tenants| tenants.iter().all(pinned))
}

/// Where the line on a fact stands, or else the policy.
fn place_of<'a>(block: &'a Block, fact: Fact, policy: &'a Policy) -> &'a Place {
    block.place(fact).unwrap_or(&policy.place)
}

/// Every finding of every rule.
pub(super) fn check(set: &PolicySet, broker: Option<&str>) -> Vec<Diagnostic> {
    let checked = Checked { set, broker };
    let of_rule = |rule: &&'static Rule| {
        let findings = (rule.check)(&checked).into_iter();
        let (id, severity) = (rule.id, rule.severity);
        findings.map(move |finding| Diagnostic {
            severity: finding.severity.unwrap_or(severity),
            rule: id,
            place: finding.place,
            message: finding.message,
            help: Some(finding.help),
        })
    };
    RULES.iter().flat_map(of_rule).collect()
}
