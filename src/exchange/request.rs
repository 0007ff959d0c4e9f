//! What a door asks for, what comes back, and what is known of the caller meanwhile.

use std::sync::{Arc, OnceLock};

use super::Error;
use crate::credential::Credential;
use crate::policy::{Ask, Available, Decision, Denial};
use crate::provider::{Fact, Job};
use crate::replay::IdempotencyKey;
use crate::token::{SubjectToken, Verified, Verifier};

/// What a door asks for.
#[derive(Debug)]
pub struct Request {
    /// Our id of the request.
    pub id: String,
    pub subject_token: SubjectToken,
    pub ask: Ask,
    /// The kind of credential the caller can use, when it says (`requested_token_type`).
    pub kind: Option<&'static str>,
    /// The URI that the credential must declare, when the caller names one beside it
    /// (RFC 8693 `resource`).
    pub resource: Option<String>,
    pub key: Option<IdempotencyKey>,
    /// Where to leave what is known of the caller, for the log.
    pub seen: Arc<Seen>,
}

#[derive(Debug)]
pub struct Granted {
    pub credential: Credential,
    /// Seconds it lives from now.
    pub expires_in: i64,
    /// The policy that allowed it.
    pub policy: String,
    /// The policies that were asked, `sha256:…`.
    pub revision: String,
    /// The decision in one sentence.
    pub decision: String,
    /// The same was given before, under the same key.
    pub is_repeat: bool,
}

#[derive(Debug)]
pub enum Explained {
    /// The job may have it.
    Permitted(Box<Decision>),
    Denied(Box<Denial>),
    /// The job may have it, but not with what else it asks for.
    Unfit(Box<Decision>, Error),
    /// Everything this job may have, where it asked for nothing in particular.
    Available(Vec<Available>),
}

/// What is known of a caller so far, for the one log line: filled in as the exchange goes, and
/// readable also when it never ends.
#[derive(Debug, Default)]
pub struct Seen {
    issuer: OnceLock<String>,
    foreign_issuer: OnceLock<String>,
    kid: OnceLock<String>,
    token: OnceLock<String>,
    repository: OnceLock<String>,
}

impl Seen {
    /// The configured name of the token's issuer.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.get().map(String::as_str)
    }

    /// The `iss` of a refused token of an issuer that is not configured: unverified, escaped and cut.
    #[must_use]
    pub fn foreign_issuer(&self) -> Option<&str> {
        self.foreign_issuer.get().map(String::as_str)
    }

    /// The key a refused token named: escaped, from its unverified header.
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

    pub(super) fn identified(&self, job: &Job) {
        if let Some(repository) = job.facts().text(Fact::Repository) {
            keep(&self.repository, repository.to_owned());
        }
    }
}

fn keep(cell: &OnceLock<String>, text: String) {
    // The first value stays: a token has one issuer and one id.
    cell.get_or_init(|| text);
}
