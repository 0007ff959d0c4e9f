//! What a handler returns: a reply or a refusal as data, which becomes JSON with the request's id.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

use super::gate::ClientAddress;
use super::oauth;
use super::request::RequestError;
use crate::exchange::CallerInfo;
use crate::policy::decide::FailedCondition;
use crate::reason::{Class, Part, Reason};
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
    /// More than the caller may learn.
    pub(super) detail: Option<String>,
    pub(super) credential: Option<String>,
    pub(super) policy: Option<String>,
    /// The public ID of the credential: the login's name, the token's `jti` or the certificate's serial
    /// number.
    pub(super) lease: Option<String>,
    /// The thumbprint of the key that the answer is sealed to.
    pub(super) sealed_to: Option<String>,
}

impl Verdict {
    pub(super) const fn new(reason: Reason) -> Self {
        Self {
            reason,
            detail: None,
            credential: None,
            policy: None,
            lease: None,
            sealed_to: None,
        }
    }
}

/// A JSON object that was asked for. It may hold a credential.
#[derive(Clone)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    /// The text of the object.
    pub(super) body: String,
    /// `Cache-Control`. A body that may be cached keeps the form that its standard gives it: the
    /// request's id is in the header only.
    pub(super) cache: &'static str,
    pub(super) verdict: Verdict,
}

impl Reply {
    /// 200, not to be cached.
    pub(super) fn ok(body: &impl Serialize) -> Self {
        Self {
            status: StatusCode::OK,
            body: to_json(body),
            cache: NO_STORE,
            verdict: Verdict::new(Reason::Success),
        }
    }
}

/// A refusal.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    /// The kind of answer: that of the reason, but for a few.
    pub(super) class: Class,
    pub(super) reason: Reason,
    pub(super) text: String,
    /// The same request may succeed in so many seconds.
    pub(super) retry_after: Option<u64>,
    pub(super) failed_conditions: Vec<FailedCondition>,
    /// The job as a `when:` block.
    pub(super) when: Option<String>,
    /// The methods that the endpoint takes.
    pub(super) allow: Option<&'static str>,
    /// Whatever follows on the connection is not read.
    pub(super) closes: bool,
    /// What the log reads, the true reason among it.
    pub(super) verdict: Verdict,
}

impl Refusal {
    /// A refusal for this reason, in these words.
    pub(super) fn new(reason: Reason, text: impl Into<String>) -> Self {
        Self {
            class: reason.class(),
            reason,
            text: text.into(),
            retry_after: reason.class().retry_after(),
            failed_conditions: Vec::new(),
            when: None,
            allow: None,
            closes: false,
            verdict: Verdict::new(reason),
        }
    }

    /// The answer to a bug: nothing of what happened is in it.
    pub(super) fn bug(reason: Reason) -> Self {
        Self {
            closes: true,
            ..Self::new(
                reason,
                "internal error in the broker; its log has this request id",
            )
        }
    }
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        let mut refusal = Self::new(error.reason(), error.to_string());
        refusal.closes = error.closes();
        if let RequestError::Method { allowed } = error {
            refusal.allow = Some(allowed);
        }
        if let RequestError::LeaseType = error {
            refusal.class = Class::Refused(Part::TokenType);
        }
        refusal
    }
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(refusal)
    }
}

impl From<RequestError> for Answer {
    fn from(error: RequestError) -> Self {
        Self::Refusal(error.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        Answer::Refusal(self).into_response()
    }
}

impl IntoResponse for RequestError {
    fn into_response(self) -> Response {
        Refusal::from(self).into_response()
    }
}

/// What a handler returns. As a response it is a placeholder: [`write`] makes the body once the
/// request's id is known.
#[derive(Clone)]
pub(super) enum Answer {
    Reply(Reply),
    Refusal(Refusal),
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes the answer that is in `response`, and returns what the log says of it. A response without
/// one, such as metrics, stays as it is.
pub(super) fn write(mut response: Response, id: &RequestId) -> (Response, Verdict) {
    let (mut written, closes, verdict) = match response.extensions_mut().remove() {
        Some(Answer::Reply(reply)) => {
            let mut body = reply.body;
            if reply.cache == NO_STORE {
                add_member(&mut body, "request_id", id.as_str());
            }
            let written = json(reply.status, reply.cache, body);
            (written, false, reply.verdict)
        }
        Some(Answer::Refusal(refusal)) => {
            let written = refused(&refusal, to_json(&oauth::body(&refusal, Some(id))));
            (written, refusal.closes, refusal.verdict)
        }
        None => (response, false, Verdict::new(Reason::Success)),
    };
    seal(written.headers_mut(), id, closes);
    (written, verdict)
}

/// Adds a member to the text of an object. `value` has no character that JSON escapes.
fn add_member(object: &mut String, name: &str, value: &str) {
    if object.pop() == Some('}') {
        let comma = if object.ends_with('{') { "" } else { "," };
        object.extend([comma, "\"", name, "\":\"", value, "\"}"]);
    }
}

fn refused(refusal: &Refusal, body: String) -> Response {
    let status = StatusCode::from_u16(refusal.class.status());
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(status, NO_STORE, body);
    let headers = response.headers_mut();
    if let Some(allow) = refusal.allow {
        headers.insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    if let Some(seconds) = refusal.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn json(status: StatusCode, cache: &'static str, body: String) -> Response {
    // Jobs show answers in their logs.
    let text = if let Cow::Owned(escaped) = ascii_json(&body) {
        escaped
    } else {
        body
    };
    let mut response = (status, Body::from(text)).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    response
}

/// What a request carries through its handler: its id, and what is known of its caller so far.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) id: RequestId,
    pub(super) caller: Arc<CallerInfo>,
    /// Where the request came from, for the log and for the share of downloads.
    pub(super) client: ClientAddress,
}

impl Context {
    /// Of a request that has just come.
    pub(super) fn new(client: ClientAddress) -> Self {
        Self {
            id: RequestId::new(),
            caller: Arc::new(CallerInfo::at(client.known())),
            client,
        }
    }
}

/// The context that [`super::layers`] gave the request.
impl<S: Sync> FromRequestParts<S> for Context {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let context = parts.extensions.get::<Self>().cloned();
        Ok(context.unwrap_or_else(|| Self::new(ClientAddress::default())))
    }
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

/// The text of a body. Types of text, lists and numbers always have one.
pub(super) fn to_json(body: &impl Serialize) -> String {
    serde_json::to_string(body).unwrap_or_else(|_| "{}".to_owned())
}

const NO_STORE: &str = "no-store";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_differ_and_have_one_form() {
        let (one, two) = (RequestId::new(), RequestId::new());
        assert_ne!(one.as_str(), two.as_str());
        assert_eq!(one.as_str().len(), 28);
    }

    #[test]
    fn a_member_is_added_to_any_object() {
        for (before, after) in [
            ("{}", r#"{"a":"b"}"#),
            (r#"{"c":{}}"#, r#"{"c":{},"a":"b"}"#),
        ] {
            let mut object = before.to_owned();
            add_member(&mut object, "a", "b");
            assert_eq!(object, after);
        }
    }
}
