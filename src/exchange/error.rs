//! Why nothing is handed out: one variant per stage.

use super::ClockError;
use crate::audit::SinkError;
use crate::credential::MintError;
use crate::lease::LeaseError;
use crate::policy::{Denial, InputError};
use crate::provider::ClaimError;
use crate::reason::Reason;
use crate::replay::ReplayError;
use crate::token::VerifyError;

/// Why nothing is handed out: one variant per stage.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// As many exchanges as we take on are under way.
    #[error("the broker is busy; try again in a second")]
    Busy,
    /// The clock cannot be trusted.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// The token is not genuine, or its issuer's keys cannot be had.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// A claim is not what its provider sends.
    #[error(transparent)]
    Identify(#[from] ClaimError),
    /// The job's repository asked too often.
    #[error("this repository asked too often; try again in {retry_after} seconds")]
    Rate {
        /// Seconds until it may ask again.
        retry_after: u64,
    },
    /// No policy lets the job have it.
    #[error("no policy lets the job have credential `{}`", .0.decision().credential)]
    Decide(Box<Denial>),
    /// The credential is of another kind than the caller can use.
    #[error(
        "credential `{credential}` is of kind `{kind}`, which `requested_token_type` does not name"
    )]
    Kind {
        credential: String,
        kind: &'static str,
    },
    /// The caller named the credential and a URI that is not the credential's.
    #[error(
        "`audience` names credential `{credential}`, which does not declare the URI in `resource`; send one of the two"
    )]
    Resource { credential: String },
    /// The caller brought other inputs than the credential takes.
    #[error(transparent)]
    Input(InputError),
    #[error(transparent)]
    Reserve(#[from] ReplayError),
    /// It could not be recorded.
    #[error(transparent)]
    Record(SinkError),
    /// It could not be made.
    #[error(transparent)]
    Mint(#[from] MintError),
    #[error("something went wrong inside the broker")]
    Bug,
}

impl Error {
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
            Self::Reserve(error) => error.reason(),
            Self::Record(_) => Reason::SinkFailed,
            Self::Mint(error) => error.reason,
            Self::Bug => Reason::BugPanic,
        }
    }
}

/// Why a handle revokes nothing.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// As many revocations as we take on are under way.
    #[error("the broker is busy; try again in a second")]
    Busy,
    /// None of our keys opens it.
    #[error(transparent)]
    Handle(#[from] LeaseError),
    /// The target is not one of ours, or refused.
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
