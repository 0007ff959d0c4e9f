//! The client's errors, each with the fix for the job's author.

use crate::text::escape;
use crate::wire::Refusal;

use super::address::AddressError;
use super::file::FileError;
use super::format::FormatError;
use super::source::SourceError;
use super::ssh::{AgentError, RunKeyError};

/// Why there is no credential.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The broker's address cannot be one.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A setting of ours is missing or wrong.
    #[error("{0}")]
    Setting(String),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// No key pair could be made.
    #[error(transparent)]
    Key(#[from] RunKeyError),
    /// The command cannot have an SSH agent.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The output format cannot hold the credential.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The CI gave no token.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The server at the broker's address calls itself something else (T-108).
    #[error(
        "the server at `{expected}` calls itself `{}`, so no token was asked for; if that is the broker's real name, set it as the broker's address",
        escape(.found)
    )]
    FalseIssuer {
        /// The `issuer` of its metadata.
        found: String,
        expected: String,
    },
    #[error(transparent)]
    Denied(Box<Refusal>),
    /// The job's token was used for an SSH certificate before, and no repeat can help.
    #[error("{0}")]
    Spent(Box<Refusal>),
    /// Somebody answered "not now" until the time was up, or "not until an operator acts".
    #[error("{who} answers {status}: {refusal}")]
    NotNow {
        /// Whom we called, e.g. `the broker`.
        who: &'static str,
        status: u16,
        refusal: Box<Refusal>,
    },
    /// The time was up before there was an answer; what was asked for may have happened.
    #[error("{who} could not be reached{via}: it did not answer in time")]
    Silent {
        /// Whom we called, e.g. `the broker`.
        who: &'static str,
        /// The proxy that was in between, if any: ` through proxy ...`.
        via: String,
    },
    /// Nobody answered, or a proxy without its broker until the time was up.
    #[error("{who} could not be reached{via}: {problem}")]
    Unreachable {
        /// Whom we called, e.g. `the broker`.
        who: &'static str,
        /// The proxy that was in between, if any: ` through proxy ...`.
        via: String,
        /// What happened at the last attempt.
        problem: String,
    },
    /// A sealed answer was requested, and this is not it, or none was and this is one.
    #[error(
        "the answer is not sealed as requested, so it is not used{}: the broker is too old for sealed delivery, or something in between changed the request",
        if *.revoked { "; its credential is revoked".to_owned() } else { format!("; its credential expires at {expires_at}") }
    )]
    NotSealedAsAsked {
        /// Its credential was revoked.
        revoked: bool,
        expires_at: String,
    },
    /// Somebody answered what no broker says.
    #[error("{who} returned an unexpected response: {problem}")]
    Answer {
        who: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

impl ClientError {
    pub(super) const fn unreachable(who: &'static str, problem: String) -> Self {
        let via = String::new();
        Self::Unreachable { who, via, problem }
    }

    pub(super) const fn silent(who: &'static str) -> Self {
        let via = String::new();
        Self::Silent { who, via }
    }
}
