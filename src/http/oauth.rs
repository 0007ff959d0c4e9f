//! The body of a refusal: an OAuth 2.0 error (RFC 6749 section 5.2) with members of ours. Not: why it is
//! refused, its status or its headers.

use std::borrow::Cow;

use super::answer::{Refusal, RequestId};
use crate::policy::decide::FailedCondition;
use crate::reason::{Class, Part};
use crate::wire;

/// The body; without an id where it is part of an answer that has one.
pub(super) fn body(refusal: &Refusal, id: Option<&RequestId>) -> wire::Refusal {
    let conditions = refusal.failed_conditions.iter().map(condition);
    wire::Refusal {
        error: error(refusal.class).to_owned(),
        error_description: Some(describe(&refusal.text)),
        reason: Some(refusal.reason.code().to_owned()),
        request_id: id.map(|id| id.as_str().to_owned()),
        retryable: refusal.retry_after.is_some(),
        failed_conditions: conditions.collect(),
        when: refusal.when.clone(),
    }
}

/// The error code (RFC 6749 section 5.2, RFC 8693 section 2.2.2, RFC 7009 section 2.2.1). RFC 8693
/// has `invalid_request` also for a token that is invalid or that a policy refuses.
const fn error(class: Class) -> &'static str {
    match class {
        Class::Refused(Part::Target) => "invalid_target",
        Class::Refused(Part::Scope) => "invalid_scope",
        Class::Refused(Part::Grant) => "unsupported_grant_type",
        Class::Refused(Part::TokenType) => "unsupported_token_type",
        // Borrowed from RFC 6749 section 4.1.2.1.
        Class::RateLimited | Class::Unavailable { .. } | Class::Broken => "temporarily_unavailable",
        Class::Bug | Class::Unanswered => "server_error",
        Class::Refused(Part::Request)
        | Class::NotFound
        | Class::MethodNotAllowed
        | Class::Slow
        | Class::TooLarge
        | Class::HeadersTooLarge
        | Class::UnsupportedMedia
        | Class::Gone
        | Class::Success => "invalid_request",
    }
}

fn condition(failed: &FailedCondition) -> wire::FailedCondition {
    wire::FailedCondition {
        policy: failed.policy.clone(),
        fact: failed.fact.clone(),
        expected: failed.expected.as_str().into(),
        actual: failed.actual.as_deref().into(),
        hint: failed.hint.clone(),
    }
}

/// Text as an `error_description` may hold it: printable ASCII without `"` and `\`, at most 200
/// bytes (RFC 6749 section 5.2). The one place where outside text is made fit for an answer.
fn describe(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(DESCRIPTION_LIMIT));
    for letter in text.chars() {
        let piece: Cow<'_, str> = match letter {
            '"' => "'".into(),
            '\\' => "/".into(),
            ' '..='~' => letter.to_string().into(),
            _ => format!("<U+{:04X}>", u32::from(letter)).into(),
        };
        if out.len().saturating_add(piece.len()) > DESCRIPTION_LIMIT.saturating_sub(CUT.len()) {
            out.push_str(CUT);
            break;
        }
        out.push_str(&piece);
    }
    out
}

const DESCRIPTION_LIMIT: usize = 200;
const CUT: &str = "...";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_description_has_no_quotes_backslashes_or_foreign_letters() {
        assert_eq!(
            describe("claim `ref` is \"a\\b\u{202e}\n\""),
            "claim `ref` is 'a/b<U+202E><U+000A>'"
        );
    }

    proptest! {
        /// T-91
        #[test]
        fn any_text_becomes_a_description_of_rfc_6749(text in any::<String>()) {
            let description = describe(&text);
            prop_assert!(description.len() <= 200);
            let fits = |byte| matches!(byte, b' '..=b'!' | b'#'..=b'[' | b']'..=b'~');
            prop_assert!(description.bytes().all(fits));
        }
    }
}
