//! One question as a file of SMT-LIB 2.6.

use std::time::Duration;

use super::address;
use super::claims::Kind;
use super::line::Job;
use super::term::{all, any, apply, assert, comment, declare, integer, name, not};
use super::{Direction, Status};
use crate::clock::Timestamp;
use crate::policy::compile::PolicyIssuer;
use crate::policy::{
    Block, CredentialClass, CredentialDefinition, Grant, Policy, PolicySet, Requirement,
};
use crate::provider::{Fact, Reader};
use crate::yaml::duration;

/// A set, and what it calls the credential.
#[derive(Clone, Copy)]
pub(super) struct Half<'a> {
    pub(super) set: &'a PolicySet,
    /// `None`: it has no such credential.
    pub(super) credential: Option<&'a std::sync::Arc<CredentialDefinition>>,
}

/// Can some job get by this block and grant what the other set refuses?
pub(super) struct Asked<'a> {
    pub(super) direction: Direction,
    pub(super) granting: Half<'a>,
    pub(super) other: Half<'a>,
    pub(super) issuer: &'a PolicyIssuer,
    pub(super) policy: &'a Policy,
    /// The position of the block in the policy.
    pub(super) position: usize,
    pub(super) block: &'a Block,
    pub(super) grant: &'a Grant,
    pub(super) at: Timestamp,
}

/// The text of a question.
pub(super) struct Written {
    pub(super) text: String,
    /// The conditions that it leaves open.
    pub(super) unsaid: Vec<String>,
}

impl Asked<'_> {
    /// The issuer in the other set, if it has it.
    fn other_issuer(&self) -> Option<&PolicyIssuer> {
        let url = &self.issuer.reader.issuer.url;
        let issuers = &mut self.other.set.issuers.iter();
        issuers.find(|issuer| issuer.reader.issuer.url == *url)
    }

    /// Whether both sets read the issuer's tokens by the same rules.
    pub(super) fn reads_alike(&self) -> bool {
        let other = self.other_issuer();
        other.is_none_or(|other| self.issuer.reader.reads_like(&other.reader))
    }

    /// The file, with the answer of the search.
    pub(super) fn write(&self, status: &Status) -> Written {
        let mut job = Job::default();
        let granted = self.granted(&mut job);
        let refused = self.refused(&mut job);
        let reader = &self.issuer.reader;
        let mut text = self.head(status, &job);
        text.push_str("(set-info :smt-lib-version 2.6)\n(set-option :produce-models true)\n");
        text.push_str("(set-logic ALL)\n");
        // With conditions that are left open, another solver may find more.
        let expected = match status {
            Status::Unsat if !job.unsaid.is_empty() => "unknown",
            Status::Sat | Status::Unsat | Status::Unknown(_) => status.name(),
        };
        text.extend(["(set-info :status ", expected, ")\n"]);
        text.push_str(&self.request());
        section(&mut text, "The claims of the token");
        text.push_str(&Kind::declaration());
        text.push_str(&job.claims.declarations());
        text.push_str(&job.claims.definitions());
        let laws = job.claims.laws();
        text.extend(laws.iter().map(|law| assert(law)));
        let provider = reader.provider.name;
        section(
            &mut text,
            &format!("The reader of provider `{provider}` accepts them"),
        );
        let accepted = job.claims.accepted(reader).into_iter();
        let accepted = accepted.filter(|term| term != "true");
        text.extend(accepted.map(|term| assert(&term)));
        if job.has_address {
            section(&mut text, "The source address of the request");
            text.push_str(address::DECLARATIONS);
        }
        if !job.unsaid.is_empty() {
            section(
                &mut text,
                "Conditions that are left open: they may hold or fail",
            );
            for (shown, constant) in &job.unsaid {
                text.push_str(&comment(shown));
                text.push_str(&declare(constant, "Bool"));
            }
        }
        text.push_str(&granted);
        text.push_str(&refused);
        text.push_str("\n(check-sat)\n");
        if matches!(status, Status::Sat) {
            text.push_str("(get-model)\n");
        }
        Written {
            text,
            unsaid: job.unsaid.into_keys().collect(),
        }
    }

    fn head(&self, status: &Status, job: &Job) -> String {
        let (granting, other) = self.direction.sets();
        let credential = &self.grant.credential.name;
        let reader = &self.issuer.reader;
        let mut head = format!(
            "A question of `hallpass policy diff` about the credential `{credential}`.\n\n\
             Is there a job of the issuer `{}` ({}) and a request from {} on that policy `{}` ({}, \
             {} of `when`, {}) of the {granting} policies permits, and that the {other} policies refuse?\n\n\
             sat: there is, and the model is one. unsat: there is none.\n\
             hallpass answers {}",
            reader.issuer.name,
            reader.issuer.url,
            self.at,
            self.policy.name,
            self.policy.place,
            ordinal("block", self.position),
            self.shown_grant(),
            status.name(),
        );
        match status {
            Status::Sat | Status::Unsat => head.push('.'),
            Status::Unknown(reason) => head.extend([": ", reason, "."]),
        }
        if !job.unsaid.is_empty() {
            head.push_str(
                "\nSome conditions are left open below: unsat is still an answer, sat is none.",
            );
        }
        head.push_str(
            "\n\nNot part of the question: inputs of the request, signature, audience and times of the \
             token, and where targets lead.",
        );
        let mut lines = comment(&head);
        lines.push('\n');
        lines
    }

    fn shown_grant(&self) -> String {
        let scopes = &self.grant.scopes;
        let scopes = if scopes.is_empty() {
            String::new()
        } else {
            format!(" with the scopes {}", scopes.join(", "))
        };
        format!("at most {}{scopes}", duration::print(self.grant.longest()))
    }

    /// The constants of the request, and what the grant allows of it.
    fn request(&self) -> String {
        let mut text = String::new();
        section(
            &mut text,
            "The request: its time in seconds since 1970, its life in seconds, its scopes",
        );
        text.push_str(&declare(TIME, "Int"));
        text.push_str(&declare(LIFE, "Int"));
        for (number, scope) in self.grant.scopes.iter().enumerate() {
            text.push_str(&comment(&format!("scope {number}: {scope}")));
            text.push_str(&declare(&self.scope(number), "Bool"));
        }
        let at = integer(self.at.unix());
        text.push_str(&assert(&apply(">=", &[TIME, &at])));
        text
    }

    /// The constant of a scope that the grant has.
    fn scope(&self, number: usize) -> String {
        let scope = self.grant.scopes.get(number);
        let named = scope.and_then(|scope| name(&format!("scope {scope}")));
        named.unwrap_or_else(|| format!("|scope number {number}|"))
    }

    /// That the grant covers the request. Its scopes are some of those of [`Self::grant`].
    fn covers(&self, grant: &Grant) -> String {
        let seconds = |life: Duration| life.as_secs().to_string();
        let mut terms = vec![
            apply(">=", &[LIFE, &seconds(grant.credential.kind.shortest())]),
            apply("<=", &[LIFE, &seconds(grant.ttl)]),
            apply("<=", &[LIFE, &seconds(grant.credential.max_ttl)]),
        ];
        for (number, scope) in self.grant.scopes.iter().enumerate() {
            if !grant.scopes.contains(scope) {
                terms.push(not(&self.scope(number)));
            }
        }
        all(&terms)
    }

    /// The granting set permits it by the block and the grant.
    fn granted(&self, job: &mut Job) -> String {
        let (reader, mut text) = (&self.issuer.reader, String::new());
        let (granting, _) = self.direction.sets();
        section(&mut text, &format!("The {granting} policies permit it"));
        text.push_str(&assert(&self.covers(self.grant)));
        text.extend(in_force(self.policy).map(|term| assert(&term)));
        if let Some(tenants) = &self.issuer.tenants {
            text.push_str(&comment("tenants"));
            let tenants = tenants.iter().map(|tenant| job.block(tenant, reader));
            text.push_str(&assert(&any(&tenants.collect::<Vec<_>>())));
        }
        let blocks = self.policy.within.iter().map(|within| &**within);
        for block in blocks.chain([self.block]) {
            for (line, place) in block.conditions.iter().zip(&block.places) {
                let (subject, pattern) = (line.subject.name(), &line.pattern);
                text.push_str(&comment(&format!("{subject}: {pattern} ({place})")));
                text.push_str(&assert(&job.line(line, reader)));
            }
        }
        if has_rule(self.issuer) {
            text.push_str(&comment("the trigger is ordinary or named"));
            text.push_str(&assert(&job.trigger(self.block, reader)));
        }
        for one in requirements(self.granting) {
            text.push_str(&comment(&format!(
                "requirement {} ({})",
                one.name, one.place
            )));
            text.push_str(&assert(&met(job, one, reader)));
        }
        text
    }

    /// The other set refuses it.
    fn refused(&self, job: &mut Job) -> String {
        let (_, other) = self.direction.sets();
        let mut text = String::new();
        section(&mut text, &format!("The {other} policies refuse it"));
        let (Some(issuer), Some(credential)) = (self.other_issuer(), self.other.credential) else {
            text.push_str(&comment("they have no such issuer or credential"));
            return text;
        };
        let reader = &issuer.reader;
        let mut define = |constant: String, shown: &str, term: &str| {
            text.push_str(&comment(shown));
            text.extend(["(define-fun ", &constant, " () Bool ", term, ")\n"]);
            constant
        };
        let mut permits = Vec::new();
        let mut tenants = Vec::new();
        for tenant in issuer.tenants.iter().flatten() {
            tenants.push(job.block(tenant, reader));
        }
        if issuer.tenants.is_some() {
            let constant = format!("|{other} tenants|");
            permits.push(define(constant, "tenants", &any(&tenants)));
        }
        let policies = self.other.set.policies().iter();
        let own = |policy: &&Policy| policy.issuer == reader.issuer.name;
        let mut by_policy = Vec::new();
        for policy in policies.filter(own) {
            let grants = policy.grants.iter();
            let grants = grants.filter(|grant| grant.credential.name == credential.name);
            let covers: Vec<_> = grants.map(|grant| self.covers(grant)).collect();
            if covers.is_empty() || policy.shadow_until.is_some() {
                continue;
            }
            let term = permitted(job, policy, issuer, credential, any(&covers));
            let constant = format!("|{other} policy {}|", by_policy.len());
            let shown = format!("policy {} ({})", policy.name, policy.place);
            by_policy.push(define(constant, &shown, &term));
        }
        permits.push(any(&by_policy));
        for (number, one) in requirements(self.other).enumerate() {
            let constant = format!("|{other} requirement {number}|");
            let shown = format!("requirement {} ({})", one.name, one.place);
            permits.push(define(constant, &shown, &met(job, one, reader)));
        }
        if !self.reads_alike() {
            let accepted = all(&job.claims.accepted(reader));
            let constant = format!("|{other} reader|");
            permits.push(define(constant, "its reader accepts the claims", &accepted));
        }
        text.push_str(&assert(&not(&all(&permits))));
        text
    }
}

/// The policy is in force and the job meets one of its blocks.
fn permitted(
    job: &mut Job,
    policy: &Policy,
    issuer: &PolicyIssuer,
    credential: &CredentialDefinition,
    covers: String,
) -> String {
    let reader = &issuer.reader;
    let mut terms: Vec<String> = in_force(policy).collect();
    terms.push(covers);
    terms.extend(policy.within.iter().map(|within| job.block(within, reader)));
    let blocks = policy.when.iter();
    let blocks = blocks.filter(|block| is_open(block, reader, credential));
    let blocks = blocks.map(|block| {
        let mut lines = vec![job.block(block, reader)];
        if has_rule(issuer) {
            lines.push(job.trigger(block, reader));
        }
        all(&lines)
    });
    let blocks = any(&blocks.collect::<Vec<_>>());
    terms.push(blocks);
    all(&terms)
}

/// Whether the rule of ordinary triggers applies to some of its runs.
fn has_rule(issuer: &PolicyIssuer) -> bool {
    issuer.has_events || issuer.reader.provider.reading(Fact::Trigger).is_some()
}

fn in_force(policy: &Policy) -> impl Iterator<Item = String> {
    let until = policy.until.map(|until| integer(until.unix()));
    until.into_iter().map(|until| apply("<", &[TIME, &until]))
}

/// A person gets what is critical only by a block that names how they signed in.
pub(super) fn is_open(block: &Block, reader: &Reader, credential: &CredentialDefinition) -> bool {
    !reader.provider.is_of_people()
        || credential.class != CredentialClass::Critical
        || block.sign_in_lacks().next().is_none()
}

/// The requirements on the credential that are in force.
pub(super) fn requirements(half: Half<'_>) -> impl Iterator<Item = &Requirement> {
    let in_force = half.set.requirements.iter();
    let in_force = in_force.filter(|one| one.shadow_until.is_none());
    in_force.filter(move |one| half.credential.is_some_and(|it| one.of.selects(it)))
}

fn met(job: &mut Job, requirement: &Requirement, reader: &Reader) -> String {
    let blocks = [&requirement.jobs].into_iter().chain(&requirement.unless);
    any(&blocks
        .map(|block| job.block(block, reader))
        .collect::<Vec<_>>())
}

fn section(text: &mut String, title: &str) {
    text.push('\n');
    text.push_str(&comment(&format!("{title}.")));
}

fn ordinal(noun: &str, position: usize) -> String {
    format!("{noun} {}", position.saturating_add(1))
}

const TIME: &str = "time";
const LIFE: &str = "life";
