//! The request and the result of an exchange, and what is known of its caller.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use super::ExchangeError;
use crate::credential::Credential;
use crate::policy::{Ask, Available, CredentialDefinition, Decision, Denial, ShadowOutcome};
use crate::provider::{Fact, Job};
use crate::replay::IdempotencyKey;
use crate::token::{SubjectToken, Verified, Verifier};

/// A request for a credential.
#[derive(Debug)]
pub struct Request {
    /// The request ID.
    pub id: String,
    pub subject_token: SubjectToken,
    pub ask: Ask,
    /// The kind of credential that the caller accepts (`requested_token_type`).
    pub kind: Option<&'static str>,
    /// The URI that the credential must declare (RFC 8693 `resource`).
    pub resource: Option<String>,
    pub key: Option<IdempotencyKey>,
    /// Filled in as the caller becomes known, for the log.
    pub caller: Arc<CallerInfo>,
}

#[derive(Debug)]
pub struct Granted {
    pub credential: Credential,
    /// Seconds until it expires.
    pub expires_in: i64,
    /// The policy that granted it.
    pub policy: String,
    /// The link to the policy at its commit.
    pub policy_url: Option<String>,
    /// The hash of the policies that decided, `sha256:…`.
    pub revision: String,
    /// The decision in one sentence.
    pub decision: String,
    /// It was issued before, under the same idempotency key or to another token of the subject.
    pub is_repeat: bool,
    /// Other tokens of the subject get it too.
    pub is_shared: bool,
}

#[derive(Debug)]
pub enum Explained {
    /// The job would get it.
    Permitted(Box<Decision>),
    Denied(Box<Denial>),
    /// The job may have it, but not with what else it asks for.
    Unfit(Box<Decision>, ExchangeError),
    /// All credentials that the job can get, if it named none.
    Available(Vec<Available>),
}

/// What is known of the caller: where the request came from, for the decision, and the rest for the
/// request's log line. Filled in during the exchange, and readable even if the exchange never
/// finishes.
#[derive(Debug, Default)]
pub struct CallerInfo {
    address: Option<IpAddr>,
    issuer: OnceLock<String>,
    foreign_issuer: OnceLock<String>,
    kid: OnceLock<String>,
    token: OnceLock<String>,
    repository: OnceLock<String>,
    shadow: OnceLock<ShadowOutcome>,
    permitted: OnceLock<Arc<CredentialDefinition>>,
}

impl CallerInfo {
    /// A caller at this address; `None` if it is not known.
    #[must_use]
    pub fn at(address: Option<IpAddr>) -> Self {
        Self {
            address,
            ..Self::default()
        }
    }

    pub(super) const fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// What would be different if the entries with `shadow_until` were in force.
    #[must_use]
    pub fn shadow(&self) -> Option<&ShadowOutcome> {
        self.shadow.get()
    }

    /// The credential that the policies let the job have.
    #[must_use]
    pub fn permitted(&self) -> Option<&CredentialDefinition> {
        self.permitted.get().map(AsRef::as_ref)
    }

    /// The configured name of the token's issuer.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.get().map(String::as_str)
    }

    /// The unverified `iss` of a refused token of an unknown issuer, escaped and truncated.
    #[must_use]
    pub fn foreign_issuer(&self) -> Option<&str> {
        self.foreign_issuer.get().map(String::as_str)
    }

    /// The unverified `kid` of a refused token, escaped.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.get().map(String::as_str)
    }

    /// The `subject_token_id` of logs and events.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.get().map(String::as_str)
    }

    #[must_use]
    pub fn repository(&self) -> Option<&str> {
        self.repository.get().map(String::as_str)
    }

    pub(super) fn refused(&self, verifier: &Verifier, token: &SubjectToken) {
        let labels = verifier.unverified_labels(token);
        if let Some(issuer) = labels.issuer {
            keep(&self.issuer, issuer);
        }
        if let Some(issuer) = labels.foreign_issuer {
            keep(&self.foreign_issuer, issuer);
        }
        if let Some(kid) = labels.kid {
            keep(&self.kid, kid);
        }
        keep(&self.token, labels.subject_token_id);
    }

    pub(super) fn verified(&self, token: &Verified) {
        keep(&self.issuer, token.issuer().name.clone());
        keep(&self.token, token.id().digest.clone());
    }

    pub(super) fn shadowed(&self, outcome: Option<&ShadowOutcome>) {
        if let Some(outcome) = outcome {
            self.shadow.get_or_init(|| outcome.clone());
        }
    }

    pub(super) fn may_have(&self, credential: &Arc<CredentialDefinition>) {
        self.permitted.get_or_init(|| Arc::clone(credential));
    }

    pub(super) fn identified(&self, job: &Job) {
        if let Some(repository) = job.facts().text(Fact::Repository) {
            keep(&self.repository, repository.to_owned());
        }
    }
}

fn keep(cell: &OnceLock<String>, text: String) {
    // The first value wins: a token has one issuer and one ID.
    cell.get_or_init(|| text);
}
