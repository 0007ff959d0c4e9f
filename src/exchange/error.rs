//! The errors of an exchange and of a revocation.

use super::{ClockError, Paused};
use crate::audit::SinkError;
use crate::credential::MintError;
use crate::lease::LeaseError;
use crate::policy::{Denial, InputError};
use crate::provider::ClaimError;
use crate::reason::Reason;
use crate::replay::ReplayError;
use crate::token::VerifyError;

/// Why an exchange failed: one variant per stage.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The limit of concurrent exchanges is reached.
    #[error("the broker is busy; try again in a second")]
    Busy,
    /// The clock cannot be trusted.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// The token is not genuine, or its issuer's keys are unavailable.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// A claim is not what its provider sends.
    #[error(transparent)]
    Identify(#[from] ClaimError),
    /// The repository exceeded its rate limit.
    #[error("rate limit exceeded for this repository; try again in {retry_after} seconds")]
    Rate {
        /// Seconds until the next request is accepted.
        retry_after: u64,
    },
    /// No policy grants it to the job.
    #[error("no policy grants this job credential `{}`", .0.decision().credential)]
    Decide(Box<Denial>),
    /// The credential is not of the kind that the caller named.
    #[error(
        "credential `{credential}` is of kind `{kind}`, which `requested_token_type` does not name"
    )]
    Kind {
        credential: String,
        kind: &'static str,
    },
    /// The caller named the credential, and a URI that the credential does not declare.
    #[error(
        "`audience` names credential `{credential}`, which does not declare the URI in `resource`; send one of the two"
    )]
    Resource { credential: String },
    /// The inputs of the request do not fit the credential.
    #[error(transparent)]
    Input(InputError),
    /// The target failed several times in a row, and is not asked.
    #[error(transparent)]
    Paused(Paused),
    #[error(transparent)]
    Reserve(#[from] ReplayError),
    /// It could not be recorded.
    #[error(transparent)]
    Record(SinkError),
    /// The credential could not be issued.
    #[error(transparent)]
    Mint(#[from] MintError),
    #[error("internal error in the broker")]
    Bug,
}

impl ExchangeError {
    /// The reason for logs, metrics and events.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Busy => Reason::LimitBusy,
            Self::Clock(_) => Reason::ClockJump,
            Self::Verify(error) => error.reason(),
            Self::Identify(_) => Reason::TokenClaim,
            Self::Rate { .. } => Reason::LimitRate,
            Self::Decide(denial) => denial.reason(),
            Self::Kind { .. } => Reason::RequestTokenType,
            Self::Resource { .. } => Reason::RequestTarget,
            Self::Input(_) => Reason::RequestInput,
            Self::Paused(_) => Reason::TargetPaused,
            Self::Reserve(error) => error.reason(),
            Self::Record(_) => Reason::SinkFailed,
            Self::Mint(error) => error.reason,
            Self::Bug => Reason::BugPanic,
        }
    }
}

/// Why a revocation failed.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// The limit of concurrent revocations is reached.
    #[error("the broker is busy; try again in a second")]
    Busy,
    /// No key of this broker opens the handle.
    #[error(transparent)]
    Handle(#[from] LeaseError),
    /// The target is not in the settings, or refused.
    #[error(transparent)]
    Target(#[from] MintError),
}

impl RevokeError {
    /// The reason for logs and metrics.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Busy => Reason::LimitBusy,
            Self::Handle(LeaseError::Crypto) => Reason::BugLease,
            Self::Handle(
                LeaseError::Name(_)
                | LeaseError::NotAHandle
                | LeaseError::UnknownKey
                | LeaseError::Changed
                | LeaseError::TooLong,
            ) => Reason::RequestLease,
            Self::Target(error) => error.reason,
        }
    }
}
