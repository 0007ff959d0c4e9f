//! `exchange::Error` to OAuth code, status and text: one match, no wildcard.

use http::StatusCode;
use serde_json::Value;

use super::answer::{Answer, Fault, UNAVAILABLE, Verdict};
use crate::exchange::{CLAIM, Error, RevokeError};
use crate::lease::LeaseError;
use crate::policy::{Denial, Disclosure};
use crate::replay::ReplayError;
use crate::token::VerifyError;

/// The answer to an exchange that handed out nothing.
pub(super) fn answer(error: &Error, disclosure: Disclosure) -> Answer {
    match error {
        Error::Busy | Error::Verify(VerifyError::Busy) => busy("limit.busy", error, 1),
        Error::Clock(_) => busy("clock.jump", error, 10),
        Error::Verify(refused) if refused.is_lasting() => broken(refused.reason(), error),
        Error::Verify(refused) if refused.is_ours() => busy(refused.reason(), error, 5),
        Error::Verify(refused) => {
            let mut answer = theirs(INVALID, refused.reason(), error);
            if matches!(refused, VerifyError::Size { .. }) {
                answer.status = StatusCode::PAYLOAD_TOO_LARGE;
            }
            answer
        }
        Error::Identify(_) => theirs(INVALID, CLAIM, error),
        Error::Rate { retry_after } => {
            let mut answer = theirs(UNAVAILABLE, "limit.rate", error).retryable(*retry_after);
            answer.status = StatusCode::TOO_MANY_REQUESTS;
            answer
        }
        Error::Decide(denial) => denied(denial, disclosure),
        Error::Kind { .. } => theirs(INVALID, "request.token_type", error),
        Error::Resource { .. } => theirs("invalid_target", "request.target", error),
        Error::Input(_) => theirs(INVALID, "request.input", error),
        Error::Reserve(refused) => not_reserved(refused, error),
        Error::Record(_) => {
            // Which sink, and why, is for the log.
            let mut answer = Answer::unavailable(
                "sink.failed",
                "the audit log does not take the event; nothing is handed out",
                5,
            );
            answer.verdict.detail = Some(error.to_string());
            answer
        }
        Error::Mint(refused) if refused.is_lasting() => broken(refused.reason, error),
        Error::Mint(refused) if refused.ours => busy(refused.reason, error, 5),
        Error::Mint(refused) => theirs(INVALID, refused.reason, error),
        Error::Bug => Answer::bug("bug.panic"),
    }
}

/// The answer to a revocation that ended nothing (RFC 7009 section 2.2.1).
pub(super) fn revocation(error: &RevokeError) -> Answer {
    match error {
        RevokeError::Busy => Answer::unavailable("limit.busy", &error.to_string(), 1),
        RevokeError::Handle(LeaseError::Crypto) => Answer::bug("bug.lease"),
        RevokeError::Handle(
            LeaseError::Name(_)
            | LeaseError::NotAHandle
            | LeaseError::UnknownKey
            | LeaseError::Changed
            | LeaseError::TooLong,
        ) => refused(INVALID, "request.lease", &error.to_string(), Fault::Theirs),
        RevokeError::Target(target) if target.is_lasting() => {
            Answer::broken(target.reason, &error.to_string())
        }
        RevokeError::Target(target) if target.ours => {
            Answer::unavailable(target.reason, &error.to_string(), 5)
        }
        RevokeError::Target(target) => {
            refused(INVALID, target.reason, &error.to_string(), Fault::Theirs)
        }
    }
}

/// What the job may hear of a denial; the log line has the true reason.
pub(super) fn denied(denial: &Denial, disclosure: Disclosure) -> Answer {
    let told = denial.answer(disclosure);
    let mut answer = refused(
        told.error.name(),
        told.reason,
        &told.description,
        Fault::Theirs,
    );
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
            let mut answer = refused(
                INVALID,
                "token.replayed",
                &error.to_string(),
                Fault::Suspicious,
            );
            answer.verdict.credential = Some(credential.clone());
            answer.verdict.detail = Some(format!("first used by request {first_request_id}"));
            answer
        }
        ReplayError::KeyReused => theirs(INVALID, "request.idempotency_key", error),
        ReplayError::IssuedBeforeStart { .. } | ReplayError::IssuedBeforeStore => {
            theirs(INVALID, "token.before_start", error)
        }
        ReplayError::Unavailable { .. } => busy("limit.replay", error, 5),
    }
}

fn theirs(code: &'static str, reason: &'static str, error: &Error) -> Answer {
    refused(code, reason, &error.to_string(), Fault::Theirs)
}

fn refused(code: &'static str, reason: &'static str, text: &str, fault: Fault) -> Answer {
    Answer::error(
        StatusCode::BAD_REQUEST,
        code,
        text,
        Verdict::new(reason, fault),
    )
}

fn busy(reason: &'static str, error: &Error, retry_after: u64) -> Answer {
    Answer::unavailable(reason, &error.to_string(), retry_after)
}

fn broken(reason: &'static str, error: &Error) -> Answer {
    Answer::broken(reason, &error.to_string())
}

/// RFC 8693 section 2.2.2: also for a token that is invalid or that a policy refuses.
const INVALID: &str = "invalid_request";
