//! Verifies a token: issuer, algorithm, key, signature, audience and times. The only maker of
//! [`Verified`].
//!
//! The order is by cost: size, shape, header, issuer, the form of the claims and expiry, then the
//! key, then exactly one signature check, then everything else (T-96). No text from a token appears
//! in a response before its signature is verified.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;

use super::keys::{Choice, KeyError, KeySet, KeySource, OwnKeys, PublicKey};
use super::{Algorithm, SubjectToken, TrustedIssuer, Verified, issuer};
use crate::clock::Clock;
use crate::text::escape_up_to;

mod blocked;
mod claims;
mod error;
mod jws;
mod limiter;

pub use blocked::Blocked;
pub use error::{TokenPart, VerifyError};

use jws::UnverifiedToken;
use limiter::SignatureLimiter;

/// Checks one compact JWS (RFC 7515) and returns its payload, whatever the payload is.
///
/// It checks no issuer, claims or time. A token without `kid` uses the only key of its algorithm;
/// [`Verifier`] is stricter.
///
/// # Errors
/// The first rule that the token breaks, of T-01 and T-13 to T-39.
pub fn verify_jws(
    text: &str,
    keys: &KeySet,
    algorithms: &[Algorithm],
) -> Result<Vec<u8>, VerifyError> {
    let token = UnverifiedToken::parse(text)?;
    check_algorithm(&token, algorithms)?;
    let key = choose_key(&token, keys, |_| false)?;
    check_signature(&token, key)?;
    Ok(token.unverified_payload)
}

/// Checks a compact JWS like [`verify_jws`], of at most `longest` bytes, whose `typ` must be exactly
/// `token_type`.
///
/// # Errors
/// The first rule that the token breaks.
pub fn verify_typed_jws(
    text: &str,
    longest: usize,
    token_type: &str,
    keys: &KeySet,
    algorithms: &[Algorithm],
) -> Result<Vec<u8>, VerifyError> {
    let token = UnverifiedToken::parse_up_to(text, longest)?;
    check_algorithm(&token, algorithms)?;
    if !token.has_type(token_type) {
        return Err(VerifyError::Type);
    }
    check_signature(&token, choose_key(&token, keys, |_| false)?)?;
    Ok(token.unverified_payload)
}

/// An additional rule for the key sets of issuers.
pub trait KeyRule: Send + Sync + fmt::Debug {
    /// Checks the key set of an issuer.
    ///
    /// # Errors
    /// No token may be verified with this key set.
    fn check(&self, issuer: &TrustedIssuer, keys: &KeySet) -> Result<(), KeyError>;
}

/// Verifies subject tokens of the issuers it was made with. The only maker of [`Verified`].
#[derive(Debug)]
pub struct Verifier {
    audience: String,
    issuers: HashMap<String, Arc<TrustedIssuer>>,
    /// Those whose tokens may have no `iss`, by trust domain.
    trust_domains: HashMap<String, Arc<TrustedIssuer>>,
    keys: Arc<dyn KeySource>,
    clock: Arc<dyn Clock>,
    own_keys: Option<Arc<dyn OwnKeys>>,
    blocked: Blocked,
    rules: Vec<Arc<dyn KeyRule>>,
    limiter: SignatureLimiter,
}

impl Verifier {
    /// Accepts tokens issued for `audience`. An issuer with that URL would be this broker and is
    /// ignored, so a minted token is never a subject token (T-84).
    #[must_use]
    pub fn new(
        audience: String,
        issuers: Vec<Arc<TrustedIssuer>>,
        keys: Arc<dyn KeySource>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let issuers: HashMap<_, _> = issuers
            .into_iter()
            .filter(|issuer| !issuer::is_same_but_for_spelling(&issuer.url, &audience))
            .map(|issuer| (issuer.url.clone(), issuer))
            .collect();
        let domains = issuers.values();
        let domains =
            domains.filter_map(|issuer| Some((issuer.trust_domain.clone()?, Arc::clone(issuer))));
        Self {
            audience,
            trust_domains: domains.collect(),
            issuers,
            keys,
            clock,
            own_keys: None,
            blocked: Blocked::new(),
            rules: Vec::new(),
            limiter: SignatureLimiter::of_this_machine(),
        }
    }

    /// Rejects every issuer whose key set breaks this rule.
    #[must_use]
    pub fn with_rule(mut self, rule: Arc<dyn KeyRule>) -> Self {
        self.rules.push(rule);
        self
    }

    /// Rejects every issuer whose key set contains one of these keys (T-84, T-109).
    #[must_use]
    pub fn refusing(mut self, own_keys: Arc<dyn OwnKeys>) -> Self {
        self.own_keys = Some(own_keys);
        self
    }

    /// Rejects tokens of these issuers and keys (T-64).
    #[must_use]
    pub fn blocking(mut self, blocked: Blocked) -> Self {
        self.blocked = blocked;
        self
    }

    /// Verifies a token: that it is genuine, for this broker, and valid now.
    ///
    /// # Errors
    /// The first rule that the token breaks. The class of its [reason](VerifyError::reason) says
    /// whether the caller can fix it.
    pub async fn verify(&self, token: &SubjectToken) -> Result<Verified, VerifyError> {
        let token = UnverifiedToken::parse(token.expose())?;
        let unverified = claims::Unverified::parse(&token.unverified_payload)?;
        let issuer = self.issuer(&unverified)?;
        if self.blocked.has_issuer(issuer) {
            return Err(VerifyError::IssuerBlocked);
        }
        let is_blocked = |kid: &str| self.is_blocked(issuer, kid);
        check_header(&token, issuer, is_blocked)?;
        unverified.check_forms(issuer, self.clock.now())?;
        let keys = self.keys(issuer, token.unverified_kid.as_deref()).await?;
        let key = choose_key(&token, &keys, is_blocked)?;
        self.limiter
            .within(key.is_slow(), || check_signature(&token, key))
            .await??;
        let signed = unverified.signature_holds();
        let checked = signed.check(issuer, &self.audience, self.clock.now())?;
        Ok(checked.into_verified(issuer, &signing_input_hash(token.unverified_signing_input)))
    }

    /// Why every token of this issuer is rejected, if its key set is this one.
    #[must_use]
    pub fn refusal(&self, issuer: &str, keys: Option<&KeySet>) -> Option<String> {
        let Some(issuer) = self.issuers.get(issuer) else {
            return Some("the issuer is not trusted by this broker".to_owned());
        };
        if self.blocked.has_issuer(issuer) {
            return Some("the issuer is blocked in the settings".to_owned());
        }
        let checked = keys.map(|keys| self.check_keys(issuer, keys));
        checked?.err().map(|error| error.to_string())
    }

    /// The fields of a log line about a rejected token, from its unverified parts.
    #[must_use]
    pub fn unverified_labels(&self, token: &SubjectToken) -> UnverifiedLabels {
        let text = token.expose();
        let parsed = UnverifiedToken::parse(text).ok();
        let claims = parsed
            .as_ref()
            .and_then(|token| claims::Unverified::parse(&token.unverified_payload).ok());
        let issuer = claims
            .as_ref()
            .and_then(|claims| self.issuer(claims).ok().map(|issuer| issuer.name.clone()));
        let foreign_issuer = claims
            .as_ref()
            .filter(|_| issuer.is_none())
            .and_then(|claims| {
                let iss = claims.unverified_issuer();
                iss.or_else(|| claims.unverified_trust_domain())
            })
            .map(|iss| escape_up_to(iss, LONGEST_ISSUER_IN_LOG));
        UnverifiedLabels {
            issuer,
            foreign_issuer,
            kid: parsed
                .and_then(|token| token.unverified_kid)
                .map(|kid| escape_up_to(&kid, LONGEST_KID_IN_LOG)),
            subject_token_id: subject_token_digest(text),
        }
    }

    /// Only configured issuers are used: a token never causes a fetch from an issuer that it names
    /// (T-40, T-53). A trust domain chooses only where there is no `iss` at all.
    fn issuer(&self, claims: &claims::Unverified) -> Result<&Arc<TrustedIssuer>, VerifyError> {
        let by_url = claims
            .unverified_issuer()
            .and_then(|url| self.issuers.get(url));
        let by_domain = || self.trust_domains.get(claims.unverified_trust_domain()?);
        by_url.or_else(by_domain).ok_or(VerifyError::Issuer)
    }

    /// By the issuer's settings or by the operator's `blocked`.
    fn is_blocked(&self, issuer: &TrustedIssuer, kid: &str) -> bool {
        issuer.blocked_kids.iter().any(|blocked| blocked == kid)
            || self.blocked.has_kid(issuer, kid)
    }

    async fn keys(
        &self,
        issuer: &Arc<TrustedIssuer>,
        kid: Option<&str>,
    ) -> Result<Arc<KeySet>, VerifyError> {
        let keys = self.keys.keys(issuer, kid).await?;
        self.check_keys(issuer, &keys)?;
        Ok(keys)
    }

    /// Whether tokens may be verified with this key set. Rejects a set that contains a key of this
    /// broker, admitted or not (T-84, T-109), or breaks a rule.
    fn check_keys(&self, issuer: &TrustedIssuer, keys: &KeySet) -> Result<(), KeyError> {
        for rule in &self.rules {
            rule.check(issuer, keys)?;
        }
        let is_own = |thumbprint| {
            self.own_keys
                .as_ref()
                .is_some_and(|own| own.is_own(thumbprint))
        };
        if keys.published().any(is_own) {
            return Err(KeyError::OwnKey {
                issuer: issuer.url.clone(),
            });
        }
        Ok(())
    }
}

/// Fields of a log line about an unverified token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnverifiedLabels {
    /// The configured name of the issuer it names, if it is configured.
    pub issuer: Option<String>,
    /// Its `iss`, or its trust domain where it has none, if that is not configured; escaped and truncated
    /// to 128 characters.
    pub foreign_issuer: Option<String>,
    /// Its `kid`, escaped and truncated to 64 characters.
    pub kid: Option<String>,
    /// [`subject_token_digest`].
    pub subject_token_id: String,
}

/// Identifies a token in logs and events: the first 16 hex digits of SHA-256 over its signing
/// input. The signature is omitted because it can be rewritten (T-71), and so that no digest of a
/// usable token is stored.
#[must_use]
pub fn subject_token_digest(text: &str) -> String {
    let signing_input = text.rsplit_once('.').map_or(text, |(input, _)| input);
    short(&signing_input_hash(signing_input)).to_owned()
}

fn signing_input_hash(signing_input: &str) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA256, signing_input.as_bytes()).as_ref())
}

fn short(hash: &str) -> &str {
    hash.get(..16).unwrap_or(hash)
}

/// The header rules that depend on the issuer (T-22, T-25, T-27, T-64).
fn check_header(
    token: &UnverifiedToken<'_>,
    issuer: &TrustedIssuer,
    is_blocked: impl Fn(&str) -> bool,
) -> Result<(), VerifyError> {
    check_algorithm(token, &issuer.algorithms)?;
    token.check_type(&issuer.token_types)?;
    match &token.unverified_kid {
        None if issuer.kid_required => Err(VerifyError::Key),
        Some(kid) if is_blocked(kid) => Err(VerifyError::KeyBlocked),
        Some(_) | None => Ok(()),
    }
}

fn check_algorithm(
    token: &UnverifiedToken<'_>,
    algorithms: &[Algorithm],
) -> Result<(), VerifyError> {
    algorithms
        .contains(&token.unverified_algorithm)
        .then_some(())
        .ok_or(VerifyError::Algorithm)
}

/// The one key that verifies the token (T-27).
fn choose_key<'a>(
    token: &UnverifiedToken<'_>,
    keys: &'a KeySet,
    is_blocked: impl Fn(&str) -> bool,
) -> Result<&'a PublicKey, VerifyError> {
    let (kid, algorithm) = (&token.unverified_kid, token.unverified_algorithm);
    match keys.choose(kid.as_deref(), algorithm, is_blocked) {
        Choice::Key(key) => Ok(key),
        Choice::Blocked => Err(VerifyError::KeyBlocked),
        Choice::Unknown => Err(VerifyError::KeyUnknown),
        Choice::Ambiguous => Err(VerifyError::KeyAmbiguous),
        Choice::OtherAlgorithm => Err(VerifyError::Algorithm),
    }
}

/// One key, one call into the crypto backend, and one error for every failure there (T-36).
fn check_signature(token: &UnverifiedToken<'_>, key: &PublicKey) -> Result<(), VerifyError> {
    key.verifies(
        token.unverified_algorithm,
        token.unverified_signing_input.as_bytes(),
        &token.unverified_signature,
    )
    .then_some(())
    .ok_or(VerifyError::Signature)
}

/// Characters.
const LONGEST_KID_IN_LOG: usize = 64;
/// Characters.
const LONGEST_ISSUER_IN_LOG: usize = 128;

#[cfg(test)]
mod tests;
