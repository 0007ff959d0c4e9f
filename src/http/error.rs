//! From errors of the exchange to refusals: what the caller may read of each.

use super::answer::Refusal;
use crate::exchange::{ExchangeError, RevokeError};
use crate::policy::{Denial, Disclosure};
use crate::reason::{Class, Reason};
use crate::replay::ReplayError;

/// The refusal of an exchange that handed out nothing.
pub(super) fn refusal(error: &ExchangeError, disclosure: Disclosure) -> Refusal {
    let mut refusal = Refusal::new(error.reason(), error.to_string());
    match error {
        ExchangeError::Decide(denial) => return denied(denial, disclosure),
        ExchangeError::Bug => return Refusal::bug(Reason::BugPanic),
        // At least a second, so that nobody asks in a loop.
        ExchangeError::Rate { retry_after } => refusal.retry_after = Some((*retry_after).max(1)),
        ExchangeError::Paused(paused) => refusal.retry_after = Some(paused.retry_after),
        // Which sink, and why, is for the log.
        ExchangeError::Record(_) => {
            let text = "the audit log does not take the event; nothing is handed out".to_owned();
            refusal.verdict.detail = Some(std::mem::replace(&mut refusal.text, text));
        }
        ExchangeError::Reserve(ReplayError::Replayed {
            credential,
            first_request_id,
        }) => {
            refusal.verdict.credential = Some(credential.clone());
            refusal.verdict.detail = Some(format!("first used by request {first_request_id}"));
        }
        ExchangeError::Busy
        | ExchangeError::Clock(_)
        | ExchangeError::Verify(_)
        | ExchangeError::Identify(_)
        | ExchangeError::Kind { .. }
        | ExchangeError::Resource { .. }
        | ExchangeError::Input(_)
        | ExchangeError::Reserve(_)
        | ExchangeError::Mint(_) => {}
    }
    refusal
}

/// The refusal of a revocation that ended nothing (RFC 7009 section 2.2.1).
pub(super) fn revocation(error: &RevokeError) -> Refusal {
    let reason = error.reason();
    if reason.class() == Class::Bug {
        return Refusal::bug(reason);
    }
    Refusal::new(reason, error.to_string())
}

/// What the job may read of a denial; the log line has the true reason.
pub(super) fn denied(denial: &Denial, disclosure: Disclosure) -> Refusal {
    let answer = denial.answer(disclosure);
    let mut refusal = Refusal::new(answer.reason, answer.description);
    refusal.failed_conditions = answer.failed_conditions;
    refusal.when = answer.when;
    refusal.verdict.reason = denial.reason();
    refusal.verdict.credential = Some(denial.decision().credential.clone());
    refusal
}
