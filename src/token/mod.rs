//! Verifies the tokens of jobs.
//!
//! [`SubjectToken`] is opaque, untrusted text. [`Verified`] is evidence that a trusted issuer
//! signed it, and that its audience and times are right.

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use crate::clock::Timestamp;
use crate::secret::Secret;

pub mod issuer;
pub mod json;
pub mod keys;
pub(crate) mod spiffe;
pub mod verify;

pub use keys::{Admission, KeyError, KeySet, KeySource};
pub use verify::{Blocked, KeyRule, Verifier, VerifyError, verify_jws, verify_typed_jws};

/// A subject token as the caller sent it: unverified text.
///
/// It is a secret, because anyone who has it can use it until it expires.
#[derive(Clone, Debug)]
pub struct SubjectToken(Secret<String>);

impl SubjectToken {
    /// Takes the text unchanged.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(Secret::new(text))
    }

    /// The text of the token. Never log it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

/// The signature algorithms a subject token may use (T-20): a closed list, with no HMAC (T-24).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RS384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RS512,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// RSASSA-PSS with SHA-384.
    PS384,
    /// RSASSA-PSS with SHA-512.
    PS512,
    /// ECDSA over P-256 with SHA-256.
    ES256,
    /// ECDSA over P-384 with SHA-384.
    ES384,
    /// Ed25519 (RFC 8037).
    EdDSA,
}

impl Algorithm {
    /// Every algorithm there is.
    pub const ALL: [Self; 9] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];

    /// The name in a token's `alg` (RFC 7518 section 3.1).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    /// The algorithm with exactly that name, case-sensitive.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A trusted issuer, and its settings.
///
/// Made from the policies' `issuers:`, over the provider's defaults; immutable afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedIssuer {
    /// The name policies use, e.g. `github`.
    pub name: String,
    /// The exact text of the `iss` claim: https, no query, fragment or user info.
    pub url: String,
    /// Signature algorithms it may use. Never taken from its discovery document (T-25).
    pub algorithms: Vec<Algorithm>,
    /// Audiences accepted in `aud` beside the broker's own (T-41).
    pub tolerated_audiences: Vec<String>,
    /// The audience in place of the broker's, for people: the client that they signed in to.
    pub client_id: Option<String>,
    /// Media types its `typ` header may name, e.g. `JWT`; an absent `typ` always passes (T-22).
    pub token_types: Vec<String>,
    /// Seconds its clock and ours may differ: at most 60 (T-42). The record of used tokens uses the
    /// same value, because it must last as long as the token could be accepted.
    pub leeway: i64,
    /// Longest `exp - iat` in seconds (T-44).
    pub max_lifetime: i64,
    /// Longest `now - iat` in seconds (T-44).
    pub max_age: i64,
    /// A token must name its key, unless this is off and the set has exactly one (T-27).
    pub kid_required: bool,
    /// A token must carry `iat` (T-43).
    pub iat_required: bool,
    /// Accept RSA numbers with a zero byte in front, as Jenkins sends them (T-33).
    pub strip_leading_zero: bool,
    /// A value of a key's `use` accepted beside `sig`, e.g. `jwt-svid` (T-31).
    pub key_use: Option<String>,
    /// PEM certificates of the authorities that may sign this issuer's TLS certificate, beside the
    /// public ones. For this issuer only (T-57).
    pub ca: Option<String>,
    /// Private networks that the issuer may be in (T-56).
    pub networks: Vec<IpNet>,
    /// Hosts beside the issuer's own that may serve its key set (T-54).
    pub key_hosts: Vec<String>,
    /// Key IDs that are rejected (T-64).
    pub blocked_kids: Vec<String>,
    /// The issuer's key set, if it is pinned: then none is ever fetched.
    pub pinned_keys: Option<String>,
    /// The SPIFFE trust domain whose tokens have no `iss`: they are this issuer's, and each `sub` of
    /// this issuer must be in the domain.
    pub trust_domain: Option<String>,
    pub reuse: Reuse,
}

/// Which tokens get one login.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reuse {
    /// Each its own.
    #[default]
    None,
    /// Those of one subject, for a while (`reuse: subject`).
    Subject,
}

impl TrustedIssuer {
    /// An issuer with the default checks: RS256, one audience, 30 s of leeway.
    #[must_use]
    pub fn new(name: &str, url: &str) -> Self {
        Self {
            name: name.to_owned(),
            url: url.to_owned(),
            algorithms: vec![Algorithm::RS256],
            tolerated_audiences: Vec::new(),
            client_id: None,
            token_types: vec!["JWT".to_owned()],
            leeway: DEFAULT_LEEWAY,
            max_lifetime: 3_600,
            max_age: 3_600,
            kid_required: true,
            iat_required: true,
            strip_leading_zero: false,
            key_use: None,
            ca: None,
            networks: Vec::new(),
            key_hosts: Vec::new(),
            blocked_kids: Vec::new(),
            pinned_keys: None,
            trust_domain: None,
            reuse: Reuse::None,
        }
    }
}

/// Seconds an issuer's clock and ours may differ unless its settings say otherwise.
pub const DEFAULT_LEEWAY: i64 = 30;

/// The identity of a token (T-71): the issuer, with `jti` or else the SHA-256 of the signing input.
/// Never a hash of the whole text, because its signature can be rewritten.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenId {
    /// The `iss` claim.
    pub issuer: String,
    /// The `jti` claim, or `sha256:` and 64 hex digits of the signing input's hash.
    pub id: String,
    /// `subject_token_id` of the logs: 16 hex digits of SHA-256 over the signing input.
    pub digest: String,
}

/// Evidence of a genuine token: issuer, key, signature, audience and times were checked.
///
/// Only [`Verifier::verify`] makes one.
#[derive(Debug)]
pub struct Verified {
    issuer: Arc<TrustedIssuer>,
    claims: json::Object,
    id: TokenId,
    subject: String,
    issued_at: Timestamp,
    expires_at: Timestamp,
}

impl Verified {
    #[must_use]
    pub const fn issuer(&self) -> &Arc<TrustedIssuer> {
        &self.issuer
    }

    #[must_use]
    pub const fn claims(&self) -> &json::Object {
        &self.claims
    }

    /// Its identity.
    #[must_use]
    pub const fn id(&self) -> &TokenId {
        &self.id
    }

    /// The `sub` claim.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The `iat` claim. For issuers without one, the earliest possible value by `exp` and the
    /// issuer's `max_lifetime`.
    #[must_use]
    pub const fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    /// The claims, the identity and the `sub` claim.
    #[must_use]
    pub(crate) fn into_parts(self) -> (json::Object, TokenId, String) {
        (self.claims, self.id, self.subject)
    }

    /// The last second the token could be accepted: `exp` and the issuer's leeway.
    #[must_use]
    pub fn usable_until(&self) -> Timestamp {
        self.expires_at.plus(self.issuer.leeway)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T-20, T-24
    #[test]
    fn the_algorithms_are_a_closed_list_compared_exactly() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
        }
        for other in [
            "none", "None", "", "rs256", "RS256 ", " RS256", "HS256", "HS512", "ES512", "ES256K",
            "Ed25519", "RSA-OAEP", "RS256\0",
        ] {
            assert_eq!(Algorithm::from_name(other), None, "{other:?}");
        }
    }

    /// T-37, T-92
    #[test]
    fn a_subject_token_shows_nothing_of_itself() {
        let token = SubjectToken::new("canary.canary.canary".to_owned());
        assert_eq!(format!("{token:?}"), "SubjectToken([secret])");
    }
}
