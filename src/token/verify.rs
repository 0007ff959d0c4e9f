//! Issuer, algorithm, key, signature, audience, times. The only maker of Verified.
//! Not: any provider's claims, any policy.
//!
//! The order is by cost: size, shape, header rules, issuer, the form of the claims that need no key
//! and expiry, then the key, then exactly one signature check, then everything else (T-96). Nothing
//! a token says is repeated in an answer before its signature holds.

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
mod places;

pub use blocked::Blocked;
pub use error::{Part, VerifyError};

use jws::UnverifiedToken;
use places::Places;

/// Checks one compact JWS (RFC 7515) and returns its payload, whatever the payload is.
///
/// This is the inner seam: no issuer, no claims, no time. A token without `kid` means the only key
/// of its algorithm; [`Verifier`] is stricter.
///
/// # Errors
/// Every rule that does not hold, by T-01 and T-13 to T-39.
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

/// A rule for the key sets of issuers that a broker adds to those of every verifier.
pub trait KeyRule: Send + Sync + fmt::Debug {
    /// Checks the key set of an issuer.
    ///
    /// # Errors
    /// No token may be verified with it.
    fn check(&self, issuer: &TrustedIssuer, keys: &KeySet) -> Result<(), KeyError>;
}

/// Verifies subject tokens of the issuers it was made with. The only maker of [`Verified`].
pub struct Verifier {
    audience: String,
    issuers: HashMap<String, Arc<TrustedIssuer>>,
    keys: Arc<dyn KeySource>,
    clock: Arc<dyn Clock>,
    own_keys: Option<Arc<dyn OwnKeys>>,
    blocked: Blocked,
    rules: Vec<Arc<dyn KeyRule>>,
    places: Places,
}

impl Verifier {
    /// Takes tokens made for `audience`. An issuer of that very name would be ourselves, and is
    /// left out: what we mint never comes back as a subject token (T-84).
    #[must_use]
    pub fn new(
        audience: String,
        issuers: Vec<Arc<TrustedIssuer>>,
        keys: Arc<dyn KeySource>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let issuers = issuers
            .into_iter()
            .filter(|issuer| !issuer::is_same_but_for_spelling(&issuer.url, &audience))
            .map(|issuer| (issuer.url.clone(), issuer))
            .collect();
        Self {
            audience,
            issuers,
            keys,
            clock,
            own_keys: None,
            blocked: Blocked::new(),
            rules: Vec::new(),
            places: Places::of_this_machine(),
        }
    }

    /// Refuses every issuer whose key set breaks this rule.
    #[must_use]
    pub fn with_rule(mut self, rule: Arc<dyn KeyRule>) -> Self {
        self.rules.push(rule);
        self
    }

    /// Refuses every issuer whose key set holds one of these (T-84, T-109).
    #[must_use]
    pub fn refusing(mut self, own_keys: Arc<dyn OwnKeys>) -> Self {
        self.own_keys = Some(own_keys);
        self
    }

    /// Refuses the tokens of these issuers and keys (T-64).
    #[must_use]
    pub fn blocking(mut self, blocked: Blocked) -> Self {
        self.blocked = blocked;
        self
    }

    /// Whether a token is genuine, for us, and of now.
    ///
    /// # Errors
    /// The first rule that does not hold. The class of its [reason](VerifyError::reason) says whether
    /// the caller can do anything about it.
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
        self.places
            .within(key.is_dear(), || check_signature(&token, key))
            .await??;
        let signed = unverified.signature_holds();
        let checked = signed.check(issuer, &self.audience, self.clock.now())?;
        Ok(checked.into_verified(issuer, &signing_input_hash(token.unverified_signing_input)))
    }

    /// Why no token of the issuer with this URL is taken, whatever it says, where its keys are these.
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

    /// What a log line may say of a token that was refused, from its unverified parts.
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
            .and_then(claims::Unverified::unverified_issuer)
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

    /// Only a configured issuer is ever looked at further: nothing is fetched because a token names
    /// it (T-40, T-53).
    fn issuer(&self, claims: &claims::Unverified) -> Result<&Arc<TrustedIssuer>, VerifyError> {
        claims
            .unverified_issuer()
            .and_then(|url| self.issuers.get(url))
            .ok_or(VerifyError::Issuer)
    }

    /// By the issuer's own settings or by the operator's.
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

    /// Whether tokens may be verified with this key set of that issuer: not if it holds a key of our
    /// own, admitted or not (T-84, T-109), and not if it breaks a rule.
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

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("audience", &self.audience)
            .field("issuers", &self.issuers.keys())
            .field("blocked", &self.blocked)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

/// Fields of a log line about a token that may be anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnverifiedLabels {
    /// The configured name of the issuer it names, if that is one of ours.
    pub issuer: Option<String>,
    /// Its `iss` if it is none of ours, escaped and cut to 128 characters.
    pub foreign_issuer: Option<String>,
    /// Its `kid`, escaped and cut to 64 characters.
    pub kid: Option<String>,
    /// [`subject_token_digest`].
    pub subject_token_id: String,
}

/// What stands for a token in logs and events: the first 16 hex digits of SHA-256 over its signing
/// input. The signature is left out, since it can be rewritten (T-71), and so that no digest of a
/// usable token lies about.
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

/// The one key that the token means (T-27).
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

/// One key, one call into the crypto backend, one text for whatever fails there (T-36).
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
