//! Validates a request before its subject token is read; defines `RequestError`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, header};

use crate::credential::kind::Input;
use crate::credential::sealed::{self, PARAMETER, RecipientKey, RecipientKeyError};
use crate::policy::Inputs;
use crate::reason::{Class, Reason};
use crate::replay::IdempotencyKey;
use crate::yaml::duration;

/// What is wrong with a request as such, before its subject token is looked at.
///
/// No text holds anything the caller sent, but for names of parameters from our own list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("nothing is served at this path; the token endpoint is POST /token")]
    Path,
    #[error("this path does not allow this method; it allows {allowed}")]
    Method { allowed: &'static str },
    #[error("the request needs exactly one Host header that fits its address, {found}")]
    Host { found: &'static str },
    #[error("a request of this method has no body")]
    Body,
    #[error("the only supported transfer coding is chunked")]
    TransferCoding,
    #[error("the request has more than {limit} header fields or its headers are too long")]
    Headers { limit: usize },
    #[error("the request was not complete, or not answered, within {seconds} seconds")]
    Slow { seconds: u64 },
    #[error("the body is larger than {limit} bytes")]
    BodySize { limit: usize },
    #[error("the body could not be read to its end")]
    BodyBroken,
    #[error("the subject token is larger than {limit} bytes")]
    TokenSize { limit: usize },
    #[error("the media type must be {expected}, in UTF-8")]
    MediaType { expected: &'static str },
    #[error("Content-Encoding is not accepted; send the body as it is")]
    ContentEncoding,
    #[error("parameters belong in the body: a query string ends up in access logs")]
    Query,
    #[error("{}", encoding_text(*.parameter))]
    Encoding { parameter: Option<&'static str> },
    #[error("parameter `{parameter}` was sent more than once")]
    Repeated { parameter: &'static str },
    #[error("the body has too many parameters")]
    Parameters,
    #[error("parameter `{parameter}` is missing")]
    Missing { parameter: &'static str },
    #[error(
        "`grant_type` must be urn:ietf:params:oauth:grant-type:token-exchange, the only grant there is"
    )]
    Grant,
    #[error("`{parameter}` {problem}")]
    TokenType {
        parameter: &'static str,
        problem: &'static str,
    },
    #[error("{0}")]
    Target(&'static str),
    #[error(
        "an input is longer than {MAX_INPUT} bytes, its name is longer than {MAX_INPUT_NAME}, or there are more than {MAX_INPUTS} inputs"
    )]
    Inputs,
    #[error("member `inputs` must be an object of texts in printable ASCII")]
    InputText,
    #[error("input `{name}` must be one line of printable ASCII without a line end: {summary}")]
    InputLine {
        name: &'static str,
        summary: &'static str,
    },
    #[error("`{PARAMETER}` {0}")]
    Recipient(#[from] RecipientKeyError),
    #[error(
        "this broker is built without sealed delivery, so it refuses `{PARAMETER}` instead of answering unsealed; see docs/sealed.md"
    )]
    Sealed,
    #[error("`scope` has a character that is not allowed in a scope (RFC 6749 section 3.3)")]
    Scope,
    #[error(
        "`{parameter}` names no scope; name at least one, or leave `{parameter}` out to ask for all that the policy grants"
    )]
    NoScope { parameter: &'static str },
    #[error("`ttl` must be a number with s, m or h, such as 600s or 10m")]
    Ttl,
    #[error("`ttl` is longer than 24h, the longest that a request may ask for")]
    TtlLong,
    #[error("`ttl` is {0} without a unit; write {0}s for seconds or {0}m for minutes")]
    TtlUnit(u64),
    #[error("{0}")]
    Key(String),
    #[error("the Authorization header must be sent once, as Bearer and the subject token")]
    Authorization,
    #[error("the body is not the JSON object this path takes: {0}")]
    Json(String),
    #[error("`token` is a JWT: it expires and cannot be revoked")]
    LeaseType,
    #[error("`token` is not a lease handle that this broker can open")]
    Lease,
}

fn encoding_text(parameter: Option<&'static str>) -> String {
    match parameter {
        Some(name) => format!("parameter `{name}` has characters that are not printable ASCII"),
        None => "the body is not a form in UTF-8 with complete percent-escapes".to_owned(),
    }
}

impl RequestError {
    /// The short code of the log and of the answer's `reason`.
    pub(crate) const fn reason(&self) -> Reason {
        match self {
            Self::Path => Reason::RequestPath,
            Self::Method { .. } => Reason::RequestMethod,
            Self::Host { .. } => Reason::RequestHost,
            Self::Body | Self::BodyBroken => Reason::RequestBody,
            Self::TransferCoding => Reason::RequestTransferCoding,
            Self::Headers { .. } => Reason::RequestHeaders,
            Self::Slow { .. } => Reason::RequestSlow,
            Self::BodySize { .. } | Self::TokenSize { .. } => Reason::RequestSize,
            Self::MediaType { .. } => Reason::RequestMediaType,
            Self::ContentEncoding => Reason::RequestContentEncoding,
            Self::Query => Reason::RequestQuery,
            Self::Encoding { .. } => Reason::RequestEncoding,
            Self::Repeated { .. } => Reason::RequestRepeated,
            Self::Parameters => Reason::RequestParameters,
            Self::Missing { .. } => Reason::RequestMissing,
            Self::Grant => Reason::RequestGrant,
            Self::TokenType { .. } => Reason::RequestTokenType,
            Self::Target(_) => Reason::RequestTarget,
            Self::Inputs | Self::InputText | Self::InputLine { .. } => Reason::RequestInput,
            Self::Recipient(_) => Reason::RequestEncryptionJwk,
            Self::Sealed => Reason::RequestSealed,
            Self::Scope | Self::NoScope { .. } => Reason::RequestScope,
            Self::Ttl | Self::TtlLong | Self::TtlUnit(_) => Reason::RequestTtl,
            Self::Key(_) => Reason::RequestIdempotencyKey,
            Self::Authorization => Reason::RequestAuthorization,
            Self::Json(_) => Reason::RequestJson,
            Self::LeaseType | Self::Lease => Reason::RequestLease,
        }
    }

    /// The connection cannot be used for another request: what follows on it may be anything.
    pub(crate) const fn closes(&self) -> bool {
        matches!(
            self.reason().class(),
            Class::Slow | Class::TooLarge | Class::HeadersTooLarge | Class::UnsupportedMedia
        ) || matches!(
            self,
            Self::Host { .. } | Self::Body | Self::BodyBroken | Self::TransferCoding
        )
    }
}

/// Parameters are in the body only.
pub(super) fn no_query(parts: &Parts) -> Result<(), RequestError> {
    match parts.uri.query() {
        Some(_) => Err(RequestError::Query),
        None => Ok(()),
    }
}

/// The media type is `expected`, with no charset or UTF-8 (T-06).
pub(super) fn media_type(headers: &HeaderMap, expected: &'static str) -> Result<(), RequestError> {
    let refused = RequestError::MediaType { expected };
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(refused);
    };
    let text = value.to_str().map_err(|_| refused.clone())?;
    let mut parts = text.split(';').map(str::trim);
    if !parts
        .next()
        .is_some_and(|essence| essence.eq_ignore_ascii_case(expected))
    {
        return Err(refused);
    }
    for parameter in parts {
        let charset_is_utf_8 = parameter.split_once('=').is_some_and(|(name, value)| {
            name.trim().eq_ignore_ascii_case("charset")
                && value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        });
        if !charset_is_utf_8 {
            return Err(refused);
        }
    }
    Ok(())
}

/// The `Idempotency-Key` of a request, if it was sent.
pub(super) struct Repeatable(pub(super) Option<IdempotencyKey>);

impl<S: Sync> FromRequestParts<S> for Repeatable {
    type Rejection = RequestError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, RequestError> {
        idempotency_key(&parts.headers).map(Self)
    }
}

/// The `Idempotency-Key` header, if it was sent (T-110).
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, RequestError> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(RequestError::Key(
            "`Idempotency-Key` was sent more than once".to_owned(),
        ));
    }
    let text = value
        .to_str()
        .map_err(|_| RequestError::Key("`Idempotency-Key` is not printable ASCII".to_owned()))?;
    IdempotencyKey::parse(text)
        .map(Some)
        .map_err(RequestError::Key)
}

/// Inputs within the bounds that hold for every kind; what a kind allows is less.
pub(super) fn check_inputs(inputs: &Inputs) -> Result<(), RequestError> {
    let is_long =
        |(name, value): (&String, &String)| name.len() > MAX_INPUT_NAME || value.len() > MAX_INPUT;
    if inputs.len() > MAX_INPUTS || inputs.iter().any(is_long) {
        Err(RequestError::Inputs)
    } else {
        Ok(())
    }
}

/// The key to seal to. A build that cannot seal refuses the request, whatever the key.
pub(super) fn recipient(
    key: Result<RecipientKey, RecipientKeyError>,
) -> Result<Arc<RecipientKey>, RequestError> {
    if sealed::IS_BUILT_IN {
        Ok(Arc::new(key?))
    } else {
        Err(RequestError::Sealed)
    }
}

/// An input with a line end or with bytes of another alphabet, such as a whole key file that was pasted.
pub(super) const fn input_line(input: &Input) -> RequestError {
    RequestError::InputLine {
        name: input.name,
        summary: input.summary,
    }
}

const MAX_INPUTS: usize = 16;
const MAX_INPUT: usize = 16 << 10;
const MAX_INPUT_NAME: usize = 64;

/// The bearer token of the one `Authorization` header (RFC 6750 section 2.1).
pub(super) fn bearer(headers: &HeaderMap) -> Result<&str, RequestError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(RequestError::Authorization);
    };
    let text = value.to_str().map_err(|_| RequestError::Authorization)?;
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() => {
            Ok(token)
        }
        Some(_) | None => Err(RequestError::Authorization),
    }
}

/// A life as a caller writes it, in the grammar of policies. A bare number is refused, since one
/// reader means seconds and another minutes. So are zero and negative lives (T-86); anything over a
/// day is as wrong as a typing error.
pub(super) fn ttl(text: &str) -> Result<Duration, RequestError> {
    if let Some(number) = bare_number(text) {
        return Err(RequestError::TtlUnit(number));
    }
    match duration::parse(text) {
        Ok(life) if life.as_secs() <= MAX_TTL => Ok(life),
        Ok(_) => Err(RequestError::TtlLong),
        Err(_) => Err(RequestError::Ttl),
    }
}

/// Digits alone, few enough to be repeated in an answer.
fn bare_number(text: &str) -> Option<u64> {
    let is_short = (1..=6).contains(&text.len());
    let is_bare = is_short && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_bare.then(|| text.parse().ok()).flatten();
    number.filter(|number| *number > 0)
}

/// The scopes of a space-delimited list (RFC 6749 section 3.3).
pub(super) fn scopes(text: &str) -> Result<Vec<String>, RequestError> {
    let scopes = text.split(' ').filter(|scope| !scope.is_empty()).map(scope);
    some_scopes("scope", scopes)
}

/// Scopes that were asked for by name: a list that names none asks for nothing that could be minted.
pub(super) fn some_scopes(
    parameter: &'static str,
    scopes: impl Iterator<Item = Result<String, RequestError>>,
) -> Result<Vec<String>, RequestError> {
    let scopes: Vec<String> = scopes.collect::<Result<_, _>>()?;
    if scopes.is_empty() {
        return Err(RequestError::NoScope { parameter });
    }
    Ok(scopes)
}

/// One scope of that list's alphabet.
pub(super) fn scope(text: &str) -> Result<String, RequestError> {
    let fits = !text.is_empty()
        && text
            .bytes()
            .all(|byte| matches!(byte, b'!' | b'#'..=b'[' | b']'..=b'~'));
    if fits {
        Ok(text.to_owned())
    } else {
        Err(RequestError::Scope)
    }
}

/// No credential lives longer than the global ceiling of an hour, so a day is generous.
const MAX_TTL: u64 = 86_400;

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    /// T-86
    #[test]
    fn a_life_is_positive_and_plainly_written() {
        assert_eq!(ttl("90s").unwrap(), Duration::from_secs(90));
        insta::assert_snapshot!(ttl("90").unwrap_err(), @"`ttl` is 90 without a unit; write 90s for seconds or 90m for minutes");
        assert_eq!(ttl("10m").unwrap(), Duration::from_secs(600));
        assert_eq!(ttl("1h").unwrap(), Duration::from_secs(3_600));
        for text in [
            "",
            "0",
            "0m",
            "-5",
            "+5",
            "1.5",
            "1e3",
            "m",
            "10 m",
            "10M",
            "1h1d",
            "500ms",
            "9999999",
            "99999999999999999999",
            "１",
        ] {
            assert_eq!(ttl(text), Err(RequestError::Ttl), "{text}");
        }
        for text in ["2d", "25h", "24h1s", "86401s", "99999999999d"] {
            assert_eq!(ttl(text), Err(RequestError::TtlLong), "{text}");
        }
    }

    proptest! {
        /// T-74
        #[test]
        fn no_number_makes_a_life_beyond_a_day(number in any::<u64>(), unit in "[smh]?") {
            let factor = match unit.as_str() {
                "m" => 60,
                "h" => 3_600,
                _ => 1,
            };
            let exact = u128::from(number) * factor;
            match ttl(&format!("{number}{unit}")) {
                Ok(life) => {
                    prop_assert_eq!(u128::from(life.as_secs()), exact);
                    prop_assert!((1..=86_400).contains(&exact));
                }
                Err(_) => prop_assert!(number > 999_999 || !(1..=86_400).contains(&exact)),
            }
        }
    }

    /// T-06
    #[test]
    fn only_the_expected_media_type_in_utf_8_is_taken() {
        let form = "application/x-www-form-urlencoded";
        let verdict = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
            media_type(&headers, form).is_ok()
        };
        assert!(verdict(form));
        assert!(verdict("Application/X-WWW-Form-Urlencoded; charset=UTF-8"));
        assert!(verdict(
            "application/x-www-form-urlencoded;charset=\"utf-8\""
        ));
        for refused in [
            "application/json",
            "multipart/form-data; boundary=x",
            "application/x-www-form-urlencoded; charset=utf-16",
            "application/x-www-form-urlencoded; charset=utf-8; charset=utf-16",
            "application/x-www-form-urlencoded, application/json",
            "",
        ] {
            assert!(!verdict(refused), "{refused}");
        }
        assert!(media_type(&HeaderMap::new(), form).is_err());
    }

    #[test]
    fn a_bearer_token_is_sent_once() {
        let mut headers = HeaderMap::new();
        assert!(bearer(&headers).is_err());
        headers.append(
            header::AUTHORIZATION,
            HeaderValue::from_static("bearer abc"),
        );
        assert_eq!(bearer(&headers), Ok("abc"));
        headers.append(
            header::AUTHORIZATION,
            HeaderValue::from_static("Bearer abc"),
        );
        assert!(bearer(&headers).is_err());
        for wrong in ["Basic abc", "Bearer", "Bearer ", ""] {
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(wrong));
            assert!(bearer(&headers).is_err(), "{wrong}");
        }
    }

    /// T-110
    #[test]
    fn a_short_or_doubled_idempotency_key_is_refused() {
        let mut headers = HeaderMap::new();
        assert!(matches!(idempotency_key(&headers), Ok(None)));
        headers.append("idempotency-key", HeaderValue::from_static("short"));
        insta::assert_snapshot!(
            idempotency_key(&headers).unwrap_err(),
            @"`Idempotency-Key` has 5 characters, expected 22 to 64 (at least 128 random bits)"
        );
        headers.append("idempotency-key", HeaderValue::from_static("short"));
        assert!(idempotency_key(&headers).is_err());
    }

    #[test]
    fn scopes_are_split_at_spaces() {
        assert_eq!(scopes("a:b  c").unwrap(), ["a:b", "c"]);
        assert_eq!(scopes("a\"b"), Err(RequestError::Scope));
        assert_eq!(scopes("a\\b"), Err(RequestError::Scope));
        for none in [" ", "   "] {
            let parameter = "scope";
            assert_eq!(scopes(none), Err(RequestError::NoScope { parameter }));
        }
    }
}
