//! An answer of ours: JSON, never cached, with the request's id; and what the log says of it.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use super::request::RequestError;
use crate::exchange::Seen;
use crate::reason::Reason;
use crate::text::ascii_json;

/// What tells one request from all others: in the answer's header and body, in the log line and in
/// every event.
#[derive(Clone, Debug)]
pub(super) struct RequestId(Arc<str>);

impl RequestId {
    /// A new one: 100 random bits, never taken from a caller.
    pub(super) fn new() -> Self {
        let mut bytes = [0_u8; 15];
        // Without randomness no credential can be minted either; an id that repeats is the lesser
        // harm, and the mint says so.
        if aws_lc_rs::rand::fill(&mut bytes).is_err() {
            bytes = [0; 15];
        }
        let text = data_encoding::BASE32HEX_NOPAD
            .encode(&bytes)
            .to_ascii_lowercase();
        Self(format!("req_{text}").into())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// What one log line says beside the request itself.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) reason: Reason,
    /// For the log only: more than the caller may hear.
    pub(super) detail: Option<String>,
    pub(super) credential: Option<String>,
    pub(super) policy: Option<String>,
    pub(super) lease: Option<String>,
}

impl Verdict {
    pub(super) const fn new(reason: Reason) -> Self {
        Self {
            reason,
            detail: None,
            credential: None,
            policy: None,
            lease: None,
        }
    }
}

/// What goes back: a status, a JSON object and how the connection goes on.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Map<String, Value>,
    pub(super) retry_after: Option<u64>,
    pub(super) cache: &'static str,
    pub(super) closes: bool,
    pub(super) allow: Option<&'static str>,
    pub(super) verdict: Verdict,
}

impl Answer {
    /// 200, not to be cached.
    pub(super) fn ok(body: Map<String, Value>) -> Self {
        Self::with_status(StatusCode::OK, body)
    }

    /// A success of another status.
    pub(super) const fn with_status(status: StatusCode, body: Map<String, Value>) -> Self {
        Self {
            status,
            body,
            retry_after: None,
            cache: "no-store",
            closes: false,
            allow: None,
            verdict: Verdict::new(Reason::Success),
        }
    }

    /// An OAuth error (RFC 6749 section 5.2).
    pub(super) fn error(
        status: StatusCode,
        code: &'static str,
        description: &str,
        verdict: Verdict,
    ) -> Self {
        let mut body = Map::new();
        body.insert("error".to_owned(), code.into());
        body.insert("error_description".to_owned(), describe(description).into());
        body.insert("reason".to_owned(), verdict.reason.code().into());
        body.insert(RETRYABLE.to_owned(), false.into());
        Self {
            status,
            body,
            retry_after: None,
            cache: "no-store",
            closes: false,
            allow: None,
            verdict,
        }
    }

    /// 503: the caller can do nothing but try again.
    pub(super) fn unavailable(reason: Reason, text: &str, retry_after: u64) -> Self {
        Self::broken(reason, text).retryable(retry_after)
    }

    /// 503 until an operator acts: trying again does not help.
    pub(super) fn broken(reason: Reason, text: &str) -> Self {
        let verdict = Verdict::new(reason);
        Self::error(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, text, verdict)
    }

    /// The same request may succeed in so many seconds: at least one, so that nobody asks in a loop.
    pub(super) fn retryable(mut self, retry_after: u64) -> Self {
        self.body.insert(RETRYABLE.to_owned(), true.into());
        self.retry_after = Some(retry_after.max(1));
        self
    }

    /// The answer to a bug: nothing of what happened is in it.
    pub(super) fn bug(reason: Reason) -> Self {
        let mut answer = Self::error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "server_error",
            "something went wrong inside the broker; its log has this request id",
            Verdict::new(reason),
        );
        answer.closes = true;
        answer
    }

    /// The response, with the request's id in header and body. A body of a standard's own form
    /// (key set, metadata) keeps that form: its id is in the header only.
    pub(super) fn into_response(mut self, id: &RequestId) -> Response {
        if self.cache == "no-store" {
            self.body
                .insert("request_id".to_owned(), id.as_str().into());
        }
        let json = Value::Object(self.body).to_string();
        // Jobs show answers in their logs.
        let bytes = ascii_json(&json).into_owned();
        let mut response = (self.status, Body::from(bytes)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(self.cache));
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        seal(headers, id, self.closes);
        response.extensions_mut().insert(self.verdict);
        response
    }
}

impl From<RequestError> for Answer {
    fn from(error: RequestError) -> Self {
        let mut answer = Self::error(
            error.status(),
            error.code(),
            &error.to_string(),
            Verdict::new(error.reason()),
        );
        answer.closes = error.closes();
        if let RequestError::Method { allowed } = error {
            answer.allow = Some(allowed);
        }
        // The delay may be ours: a repeat finds what was made meanwhile (RFC 9110 section 15.5.9).
        if let RequestError::Slow { .. } = error {
            return answer.retryable(1);
        }
        answer
    }
}

/// What a request carries through its handler: its id, and what is known of its caller so far.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) id: RequestId,
    pub(super) seen: Arc<Seen>,
}

/// The headers that every answer has.
pub(super) fn seal(headers: &mut http::HeaderMap, id: &RequestId, closes: bool) {
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        headers.insert(REQUEST_ID, value);
    }
    if closes {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Text as an `error_description` may hold it: printable ASCII without `"` and `\`, at most 200
/// bytes (RFC 6749 section 5.2). The one place where outside text is made fit for an answer.
pub(super) fn describe(text: &str) -> String {
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

/// A JSON object from `json!({…})`.
pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::from_iter([("value".to_owned(), json!(value))])
        }
    }
}

/// The member of every refusal that says whether the same request may succeed later.
pub(super) const RETRYABLE: &str = "retryable";
/// Borrowed from RFC 6749 section 4.1.2.1.
pub(super) const UNAVAILABLE: &str = "temporarily_unavailable";
const DESCRIPTION_LIMIT: usize = 200;
const CUT: &str = "...";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

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

    #[test]
    fn request_ids_differ_and_have_one_form() {
        let (one, two) = (RequestId::new(), RequestId::new());
        assert_ne!(one.as_str(), two.as_str());
        assert_eq!(one.as_str().len(), 28);
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
