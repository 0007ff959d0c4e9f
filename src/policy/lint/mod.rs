//! Lint rules for policies, and the list of rules.
//!
//! A rule finds policies that are valid but allow more than they seem to (T-83). Policies with a
//! finding of severity error are not served.

use std::collections::BTreeSet;

use super::compile::PolicyIssuer;
use super::{Block, CredentialClass, LoadOptions, Policy, PolicySet, Requirement};
use crate::clock::Timestamp;
use crate::provider::Fact;
use crate::yaml::Node;
use crate::yaml::diagnostic::{Diagnostic, Place, Severity, Span, nearest};
use crate::yaml::reader::{MAX_TEXT, NodeReader};
use crate::yaml::scalar::{quoted, scalar};

mod any_repository;
mod bare_wildcard;
mod covered_grant;
mod critical_without_gate;
mod default_audience;
mod default_cluster_issuer;
mod encoded_environment;
mod ended_policy;
mod environment_without_ref;
mod extraordinary_trigger;
mod forks_let_in;
mod issuer_is_broker;
mod issuer_without_ids;
mod life_above_ceiling;
mod literal_star;
mod misleading_claim;
mod missing_condition;
mod name_without_id;
mod negative_alone;
mod never_matches;
mod open_environment;
mod other_case;
mod placeholder;
mod public_self_hosted;
mod requirement_selects_nothing;
mod second_audience;
mod sub_claim;
mod tenant_without_id;
mod unknown_target;
mod unprotected_ref;
mod unused_credential;
mod user_controlled;
mod waive;
mod wildcard_owner;
mod workflow_without_ref;

pub(in crate::policy) use waive::Waiver;

/// Every rule. A new rule is its file, a line here, and two examples.
pub const RULES: &[&Rule] = &[
    &any_repository::RULE,
    &bare_wildcard::RULE,
    &covered_grant::RULE,
    &critical_without_gate::RULE,
    &default_audience::RULE,
    &default_cluster_issuer::RULE,
    &encoded_environment::RULE,
    &ended_policy::RULE,
    &environment_without_ref::RULE,
    &extraordinary_trigger::RULE,
    &forks_let_in::RULE,
    &issuer_is_broker::RULE,
    &issuer_without_ids::RULE,
    &life_above_ceiling::RULE,
    &literal_star::RULE,
    &misleading_claim::RULE,
    &missing_condition::RULE,
    &name_without_id::RULE,
    &negative_alone::RULE,
    &never_matches::RULE,
    &open_environment::RULE,
    &other_case::RULE,
    &placeholder::RULE,
    &public_self_hosted::RULE,
    &requirement_selects_nothing::RULE,
    &second_audience::RULE,
    &sub_claim::RULE,
    &tenant_without_id::RULE,
    &unknown_target::RULE,
    &unprotected_ref::RULE,
    &unused_credential::RULE,
    &user_controlled::RULE,
    &wildcard_owner::RULE,
    &workflow_without_ref::RULE,
];

/// The rule of that id.
#[must_use]
pub fn find(id: &str) -> Option<&'static Rule> {
    RULES.iter().copied().find(|rule| rule.id == id)
}

/// The rule that a policy file names. One that does not exist is reported.
pub(super) fn rule_named(yaml: &NodeReader<'_>, node: &Node, what: &str) -> Option<&'static Rule> {
    let id = yaml.ascii(node, what, MAX_TEXT)?;
    let known = find(id);
    if known.is_none() {
        let help = match nearest(id, RULES.iter().map(|rule| rule.id)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "only findings of lint rules can be waived".to_owned(),
        };
        yaml.error_help(
            "unknown-rule",
            node.span,
            format!("no rule `{id}`"),
            Some(help),
        );
    }
    known
}

/// A lint rule.
#[derive(Debug)]
pub struct Rule {
    /// Its ID in findings.
    pub id: &'static str,
    /// What it finds, in one line.
    pub summary: &'static str,
    /// Why it matters, and what to do.
    pub why: &'static str,
    /// What it comes from.
    pub incident: &'static str,
    /// The severity, unless a finding has its own.
    pub severity: Severity,
    check: fn(&LintInput<'_>) -> Vec<LintFinding>,
}

#[derive(Debug)]
struct LintFinding {
    place: Place,
    message: String,
    help: String,
    severity: Option<Severity>,
    fix: Option<Fix>,
}

/// A change of a policy file that removes a finding. A fix never lets in more jobs and never grants more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix {
    /// The text that is replaced, perhaps empty.
    pub place: Place,
    pub text: String,
}

impl Fix {
    /// Replaces the whole place.
    fn instead_of(place: &Place, text: String) -> Self {
        Self {
            place: place.clone(),
            text,
        }
    }

    /// Adds a line to the mapping before the entry at that place, in the style of the mapping.
    fn line_before(entry: &Place, line: &str) -> Self {
        let start = entry.span().start;
        let (_, column) = entry.position();
        let before = entry.line().unwrap_or_default();
        let indent: String = before.chars().take(column.saturating_sub(1)).collect();
        let is_own_line = indent.chars().all(|letter| matches!(letter, ' ' | '-'));
        let text = if is_own_line {
            format!("{line}\n{}", " ".repeat(indent.len()))
        } else {
            format!("{line}, ")
        };
        let span = Span { start, end: start };
        Self {
            place: Place::new(entry.shared_source(), span),
            text,
        }
    }
}

/// The change that corrects a misspelt name, if only one name can be meant. It is for people to
/// review: policies that do not load grant nothing, and corrected ones may.
#[must_use]
pub fn correction(problem: &Diagnostic) -> Option<Fix> {
    let instead = problem.instead.as_deref()?;
    // What a row of a roster says is not in the file.
    if problem.place.row().is_some() {
        return None;
    }
    let Span { start, end } = problem.place.span();
    let written = problem.place.source().text().get(start..end)?;
    let text = if written.starts_with(['"', '\'']) {
        quoted(instead)
    } else {
        scalar(instead)
    };
    Some(Fix::instead_of(&problem.place, text))
}

impl LintFinding {
    fn at(place: &Place, message: String, help: &str) -> Self {
        Self {
            place: place.clone(),
            message,
            help: help.to_owned(),
            severity: None,
            fix: None,
        }
    }
}

#[derive(Debug)]
struct LintInput<'a> {
    set: &'a PolicySet,
    /// The broker's own issuer URL, if known.
    broker: Option<&'a str>,
    /// The time, if dates are to be compared.
    now: Option<Timestamp>,
    /// The targets in the settings, if known.
    targets: Option<&'a BTreeSet<String>>,
}

impl<'a> LintInput<'a> {
    /// Every block of every policy, with its issuer.
    fn blocks(&self) -> impl Iterator<Item = (&'a Policy, &'a PolicyIssuer, &'a Block)> {
        let set = self.set;
        set.policies.iter().flat_map(move |policy| {
            let issuer = set.issuer_named(&policy.issuer);
            issuer.into_iter().flat_map(move |issuer| {
                policy.when.iter().map(move |block| (policy, issuer, block))
            })
        })
    }

    /// Whether every job of this block of the policy meets such a condition: the block has it, or the
    /// policy's team, every tenant of the issuer, or a requirement on all that the policy grants.
    fn ensures(
        &self,
        (policy, issuer, block): (&Policy, &PolicyIssuer, &Block),
        has: &dyn Fn(&Block) -> bool,
    ) -> bool {
        let by_tenants = issuer
            .tenants
            .as_ref()
            .is_some_and(|tenants| tenants.iter().all(has));
        let mut requirements = self.set.requirements.iter();
        let by_requirement = |one: &Requirement| {
            let mut grants = policy.grants.iter();
            one.shadow_until.is_none()
                && grants.all(|grant| one.of.selects(&grant.credential))
                && has(&one.jobs)
                && one.unless.as_ref().is_none_or(has)
        };
        has(block)
            || policy.within.as_deref().is_some_and(has)
            || by_tenants
            || requirements.any(by_requirement)
    }

    /// Every block of conditions, including those of tenants and requirements.
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

/// The highest class that a policy grants.
fn class_of(policy: &Policy) -> CredentialClass {
    let classes = policy.grants.iter().map(|grant| grant.credential.class);
    classes.max().unwrap_or(CredentialClass::Low)
}

/// Whether every tenant of the issuer is pinned to an ID that cannot be registered again.
fn tenants_pin_an_id(issuer: &PolicyIssuer) -> bool {
    let ids = issuer.reader.provider.tenant_ids;
    let pinned = |tenant: &Block| ids.iter().any(|id| tenant.exact(*id).is_some());
    issuer
        .tenants
        .as_ref()
        .is_some_and(|tenants| tenants.iter().all(pinned))
}

/// Whether the issuer's tokens have the fact.
fn provides(issuer: &PolicyIssuer, fact: Fact) -> bool {
    let provider = issuer.reader.provider;
    let is_mapped = issuer.reader.claim_map.contains_key(&fact);
    is_mapped || (!provider.claims.is_empty() && provider.provides(fact))
}

/// Whether the pointer is that of the claim, or of a member of it.
fn is_at_or_below(pointer: &str, claim: &str) -> bool {
    let rest = pointer.strip_prefix(claim);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The place of the condition on a fact, or else of the policy.
fn place_of<'a>(block: &'a Block, fact: Fact, policy: &'a Policy) -> &'a Place {
    block.place(fact).unwrap_or(&policy.place)
}

/// What the rules found.
pub(super) struct Found {
    pub(super) findings: Vec<Diagnostic>,
    /// The fixes of findings that are not waived.
    pub(super) fixes: Vec<Fix>,
}

/// Every finding of every rule, after the waivers.
pub(super) fn check(set: &PolicySet, options: &LoadOptions) -> Found {
    let checked = LintInput {
        set,
        broker: options.broker.as_deref(),
        now: options.now,
        targets: options.targets.as_ref(),
    };
    let of_rule = |rule: &&'static Rule| {
        let findings = (rule.check)(&checked).into_iter();
        let (id, severity) = (rule.id, rule.severity);
        findings.map(move |finding| {
            let diagnostic = Diagnostic {
                severity: finding.severity.unwrap_or(severity),
                rule: id,
                place: finding.place,
                message: finding.message,
                help: Some(finding.help),
                instead: None,
            };
            (diagnostic, finding.fix)
        })
    };
    let all = RULES.iter().flat_map(of_rule).collect();
    waive::apply(&set.waivers, all, options.now)
}
