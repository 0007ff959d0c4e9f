//! `exchange::Error` to OAuth code, status and text: one match, no wildcard.

use http::StatusCode;
use serde_json::Value;

use super::answer::{Answer, UNAVAILABLE, Verdict};
use crate::exchange::{Error, RevokeError};
use crate::lease::LeaseError;
use crate::policy::{Denial, Disclosure};
use crate::reason::Reason;
use crate::replay::ReplayError;
use crate::token::VerifyError;

/// The answer to an exchange that handed out nothing.
pub(super) fn answer(error: &Error, disclosure: Disclosure) -> Answer {
    match error {
        Error::Busy | Error::Verify(VerifyError::Busy) => busy(Reason::LimitBusy, error, 1),
        Error::Clock(_) => busy(Reason::ClockJump, error, 10),
        Error::Verify(refused) if refused.reason().is_lasting() => broken(refused.reason(), error),
        Error::Verify(refused) if refused.reason().is_ours() => busy(refused.reason(), error, 5),
        Error::Verify(refused) => {
            let mut answer = theirs(INVALID, refused.reason(), error);
            if matches!(refused, VerifyError::Size { .. }) {
                answer.status = StatusCode::PAYLOAD_TOO_LARGE;
            }
            answer
        }
        Error::Identify(_) => theirs(INVALID, Reason::TokenClaim, error),
        Error::Rate { retry_after } => {
            let mut answer = theirs(UNAVAILABLE, Reason::LimitRate, error).retryable(*retry_after);
            answer.status = StatusCode::TOO_MANY_REQUESTS;
            answer
        }
        Error::Decide(denial) => denied(denial, disclosure),
        Error::Kind { .. } => theirs(INVALID, Reason::RequestTokenType, error),
        Error::Resource { .. } => theirs("invalid_target", Reason::RequestTarget, error),
        Error::Input(_) => theirs(INVALID, Reason::RequestInput, error),
        Error::Reserve(refused) => not_reserved(refused, error),
        Error::Record(_) => {
            // Which sink, and why, is for the log.
            let mut answer = Answer::unavailable(
                Reason::SinkFailed,
                "the audit log does not take the event; nothing is handed out",
                5,
            );
            answer.verdict.detail = Some(error.to_string());
            answer
        }
        Error::Mint(refused) if refused.reason.is_lasting() => broken(refused.reason, error),
        Error::Mint(refused) if refused.reason.is_ours() => busy(refused.reason, error, 5),
        Error::Mint(refused) => theirs(INVALID, refused.reason, error),
        Error::Bug => Answer::bug(Reason::BugPanic),
    }
}

/// The answer to a revocation that ended nothing (RFC 7009 section 2.2.1).
pub(super) fn revocation(error: &RevokeError) -> Answer {
    match error {
        RevokeError::Busy => Answer::unavailable(Reason::LimitBusy, &error.to_string(), 1),
        RevokeError::Handle(LeaseError::Crypto) => Answer::bug(Reason::BugLease),
        RevokeError::Handle(
            LeaseError::Name(_)
            | LeaseError::NotAHandle
            | LeaseError::UnknownKey
            | LeaseError::Changed
            | LeaseError::TooLong,
        ) => refused(INVALID, Reason::RequestLease, &error.to_string()),
        RevokeError::Target(target) if target.reason.is_lasting() => {
            Answer::broken(target.reason, &error.to_string())
        }
        RevokeError::Target(target) if target.reason.is_ours() => {
            Answer::unavailable(target.reason, &error.to_string(), 5)
        }
        RevokeError::Target(target) => refused(INVALID, target.reason, &error.to_string()),
    }
}

/// What the job may hear of a denial; the log line has the true reason.
pub(super) fn denied(denial: &Denial, disclosure: Disclosure) -> Answer {
    let told = denial.answer(disclosure);
    let mut answer = refused(told.error.name(), told.reason, &told.description);
    if !told.failed_conditions.is_empty() {
        let lines = serde_json::to_value(&told.failed_conditions).unwrap_or(Value::Null);
        answer.body.insert("failed_conditions".to_owned(), lines);
    }
    if let Some(when) = told.when {
        answer.body.insert("when".to_owned(), when.into());
    }
    answer.verdict.reason = denial.reason();
    answer.verdict.credential = Some(denial.decision().credential.clone());
    answer
}

fn not_reserved(refused_by: &ReplayError, error: &Error) -> Answer {
    match refused_by {
        ReplayError::Replayed {
            credential,
            first_request_id,
        } => {
            let mut answer = refused(INVALID, Reason::TokenReplayed, &error.to_string());
            answer.verdict.credential = Some(credential.clone());
            answer.verdict.detail = Some(format!("first used by request {first_request_id}"));
            answer
        }
        ReplayError::KeyReused => theirs(INVALID, Reason::RequestIdempotencyKey, error),
        ReplayError::IssuedBeforeStart { .. } | ReplayError::IssuedBeforeStore => {
            theirs(INVALID, Reason::TokenBeforeStart, error)
        }
        ReplayError::Unavailable { .. } => busy(Reason::LimitReplay, error, 5),
    }
}

fn theirs(code: &'static str, reason: Reason, error: &Error) -> Answer {
    refused(code, reason, &error.to_string())
}

fn refused(code: &'static str, reason: Reason, text: &str) -> Answer {
    Answer::error(StatusCode::BAD_REQUEST, code, text, Verdict::new(reason))
}

fn busy(reason: Reason, error: &Error, retry_after: u64) -> Answer {
    Answer::unavailable(reason, &error.to_string(), retry_after)
}

fn broken(reason: Reason, error: &Error) -> Answer {
    Answer::broken(reason, &error.to_string())
}

/// RFC 8693 section 2.2.2: also for a token that is invalid or that a policy refuses.
const INVALID: &str = "invalid_request";
