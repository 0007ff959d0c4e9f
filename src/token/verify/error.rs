//! The errors of token verification.

use crate::clock::Timestamp;
use crate::reason::Reason;
use crate::text::escape_up_to;
use crate::token::json::JsonError;
use crate::token::keys::KeyError;

/// The rule a subject token breaks.
///
/// The variants down to [`Signature`](Self::Signature), [`Busy`](Self::Busy) and
/// [`Keys`](Self::Keys) occur before the signature is verified, so their texts quote nothing from
/// the token. The others may name a claim and its value, escaped and truncated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Longer than any real token.
    #[error("the subject token is longer than {most} bytes")]
    Size { most: usize },
    /// Not a compact JWS.
    #[error("the subject token is not a signed token in three parts (a compact JWS)")]
    Shape,
    /// Not canonical base64url.
    #[error("the subject token is not canonical base64url; send it exactly as the CI issued it")]
    Encoding,
    /// Header or payload is not one strict JSON object.
    #[error("the subject token's {part} is not one strict JSON object: {problem}")]
    Json {
        part: TokenPart,
        /// The rule and the place.
        problem: JsonError,
    },
    /// A header member that must not be there.
    #[error("the subject token's header has `{member}`, which no CI token needs")]
    Header {
        /// The member, from our own list.
        member: &'static str,
    },
    /// `alg` is missing, unknown, not the issuer's or not the key's.
    #[error("the subject token's algorithm is not one its issuer and its key may use")]
    Algorithm,
    /// `kid` is missing or malformed.
    #[error("the subject token does not name its key by a `kid` of 1 to 256 bytes")]
    Key,
    /// The key was blocked in the settings.
    #[error("the subject token's key is blocked")]
    KeyBlocked,
    /// The issuer has no such key.
    #[error("the subject token's key is not in its issuer's key set")]
    KeyUnknown,
    /// The issuer has several such keys.
    #[error(
        "the subject token's key is ambiguous: its issuer publishes several keys with this `kid`"
    )]
    KeyAmbiguous,
    /// `typ` or `cty` is that of another kind of token.
    #[error("the subject token is not of its issuer's ID token type")]
    Type,
    /// `iss` is not exactly a configured issuer.
    #[error("the subject token's issuer is not trusted by this broker")]
    Issuer,
    /// The issuer was blocked in the settings.
    #[error("the subject token's issuer is blocked")]
    IssuerBlocked,
    /// A claim every token needs is missing or malformed.
    #[error("claim `{name}` of the subject token {problem}")]
    Form {
        /// The claim, from our own list.
        name: &'static str,
        /// What is wrong with it, without its value.
        problem: &'static str,
    },
    /// `aud` is missing or malformed.
    #[error("claim `aud` of the subject token {0}")]
    AudienceForm(&'static str),
    /// Past `exp`.
    #[error("the subject token has expired; ask the CI for a new one")]
    Expired,
    /// The signature is invalid, for any reason.
    #[error("the subject token's signature is invalid")]
    Signature,
    /// Not issued for this broker.
    #[error(
        "claim `aud` is {found}, expected `{expected}`; ask the CI for a token with that audience"
    )]
    Audience {
        /// The audiences it names, quoted.
        found: String,
        expected: String,
    },
    /// Of another client of the identity provider.
    #[error("claim `azp` is {found}, expected `{expected}`")]
    Client {
        found: String,
        /// The issuer's `client_id`.
        expected: String,
    },
    /// Before `nbf`, `iat` or `auth_time`.
    #[error("claim `{name}` is {at}, {ahead} s ahead of this broker's clock")]
    NotYet {
        /// `nbf`, `iat` or `auth_time`.
        name: &'static str,
        at: Timestamp,
        /// Seconds from now to it.
        ahead: i64,
    },
    /// `exp - iat` is above the issuer's limit.
    #[error(
        "the subject token lives for {found} s, expected 1 to {most} s; `max_lifetime` of its issuer in the policies is the limit"
    )]
    Lifetime {
        /// `exp - iat`, seconds.
        found: i64,
        /// The issuer's `max_lifetime`.
        most: i64,
    },
    #[error(
        "the subject token was issued {found} s ago, expected at most {most} s (`max_age` of its issuer in the policies); ask the CI for a new one"
    )]
    Age {
        /// `now - iat`, seconds.
        found: i64,
        /// The issuer's `max_age`.
        most: i64,
    },
    /// `sub` is not in the issuer's trust domain.
    #[error("claim `sub` is {found}, expected `spiffe://{expected}/` and a path")]
    TrustDomain { found: String, expected: String },
    /// `sub` is missing or malformed.
    #[error("claim `sub` is not a string of 1 to 1024 bytes without control characters")]
    Subject,
    /// The queue for signature checks is full (T-96).
    #[error("the broker is busy; try again in a second")]
    Busy,
    /// The issuer's keys are unavailable.
    #[error(transparent)]
    Keys(#[from] KeyError),
}

impl VerifyError {
    /// The reason for logs, metrics and the response.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Size { .. } => Reason::RequestSize,
            Self::Shape => Reason::TokenShape,
            Self::Encoding => Reason::TokenEncoding,
            Self::Json { .. } => Reason::TokenJson,
            Self::Header { .. } => Reason::TokenHeader,
            Self::Algorithm => Reason::TokenAlgorithm,
            Self::Key | Self::KeyBlocked => Reason::TokenKey,
            Self::KeyUnknown => Reason::TokenKeyUnknown,
            Self::KeyAmbiguous => Reason::TokenKeyAmbiguous,
            Self::Type => Reason::TokenType,
            Self::Issuer | Self::IssuerBlocked => Reason::TokenIssuer,
            Self::Form { .. } => Reason::TokenClaim,
            Self::Expired => Reason::TokenExpired,
            Self::Signature => Reason::TokenSignature,
            Self::AudienceForm(_) | Self::Audience { .. } | Self::Client { .. } => {
                Reason::TokenAudience
            }
            Self::NotYet { .. } => Reason::TokenNotYet,
            Self::Lifetime { .. } => Reason::TokenLifetime,
            Self::Age { .. } => Reason::TokenAge,
            Self::Subject | Self::TrustDomain { .. } => Reason::TokenSubject,
            Self::Busy => Reason::LimitBusy,
            Self::Keys(error) => error.reason(),
        }
    }
}

/// The parts of a token that are JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenPart {
    #[error("header")]
    Header,
    #[error("payload")]
    Payload,
}

/// The job's own value for an error text: escaped, truncated, in backticks.
pub(super) fn quoted(text: &str) -> String {
    format!("`{}`", escape_up_to(text, LONGEST_VALUE))
}

/// Characters of a claim's value in an error text: an answer has 200 bytes in all.
const LONGEST_VALUE: usize = 80;
