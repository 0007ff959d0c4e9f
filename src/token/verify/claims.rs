//! The registered claims (RFC 7519 section 4.1) of a payload, before and after signature
//! verification.

use std::sync::Arc;

use super::error::{TokenPart, VerifyError, quoted};
use super::{jws, short};
use crate::clock::Timestamp;
use crate::token::json::{self, Object, Value};
use crate::token::{TokenId, TrustedIssuer, Verified, spiffe};

/// Unverified claims. Used only for their form, for `iss` to choose the issuer, and for `exp` to
/// reject an expired token before its signature is checked.
pub(super) struct Unverified(Object);

impl Unverified {
    pub(super) fn parse(unverified_payload: &[u8]) -> Result<Self, VerifyError> {
        json::parse_object(
            unverified_payload,
            &json::Limits::for_bytes(jws::LONGEST_TOKEN),
        )
        .map(Self)
        .map_err(|problem| VerifyError::Json {
            part: TokenPart::Payload,
            problem,
        })
    }

    /// `iss`, if it is text.
    pub(super) fn unverified_issuer(&self) -> Option<&str> {
        self.0.get("iss").and_then(Value::as_text)
    }

    /// The trust domain that the claims are about, if they name no issuer.
    pub(super) fn unverified_trust_domain(&self) -> Option<&str> {
        spiffe::domain_without_issuer(&self.0)
    }

    /// Checks what needs no key: the form of times and audience, and expiry.
    pub(super) fn check_forms(
        &self,
        issuer: &TrustedIssuer,
        now: Timestamp,
    ) -> Result<(), VerifyError> {
        let expires_at = required_seconds(&self.0, "exp")?;
        seconds(&self.0, "nbf")?;
        if issuer.iat_required {
            required_seconds(&self.0, "iat")?;
        } else {
            seconds(&self.0, "iat")?;
        }
        audiences(&self.0)?;
        if now >= expires_at.plus(issuer.leeway) {
            return Err(VerifyError::Expired);
        }
        Ok(())
    }

    /// The same claims, once their signature was checked.
    pub(super) fn signature_holds(self) -> Signed {
        Signed(self.0)
    }
}

/// Claims with a valid signature; audience and times are not checked yet.
pub(super) struct Signed(Object);

impl Signed {
    /// T-41 to T-45, by the current time: fetching keys may have taken a while.
    pub(super) fn check(
        self,
        issuer: &TrustedIssuer,
        audience: &str,
        now: Timestamp,
    ) -> Result<CheckedClaims, VerifyError> {
        let other = issuer.client_id.as_deref();
        let other = other.or(issuer.shared_audience.as_deref());
        let audience = other.unwrap_or(audience);
        check_audience(&audiences(&self.0)?, issuer, audience)?;
        if let Some(client) = &issuer.client_id {
            check_client(&self.0, client)?;
            if let Some(signed_in) = seconds(&self.0, "auth_time")? {
                check_not_ahead("auth_time", signed_in, issuer, now)?;
            }
        }
        let expires_at = required_seconds(&self.0, "exp")?;
        if now >= expires_at.plus(issuer.leeway) {
            return Err(VerifyError::Expired);
        }
        if let Some(not_before) = seconds(&self.0, "nbf")? {
            check_not_ahead("nbf", not_before, issuer, now)?;
        }
        let said = seconds(&self.0, "iat")?;
        if said.is_none() && issuer.iat_required {
            return Err(MISSING_IAT);
        }
        check_not_ahead("iat", said.unwrap_or(now), issuer, now)?;
        check_lifetime(said, expires_at, issuer, now)?;
        // The earliest possible `iat`. The time of verification would be newer than any record of
        // used tokens, so a lost record would accept the token again (T-72).
        let earliest = expires_at.plus(issuer.max_lifetime.saturating_neg());
        let issued_at = said.unwrap_or(earliest.min(now));
        let subject = subject(&self.0)?;
        check_trust_domain(&subject, issuer)?;
        Ok(CheckedClaims {
            claims: self.0,
            subject,
            issued_at,
            expires_at,
        })
    }
}

/// Claims that passed every check.
pub(super) struct CheckedClaims {
    claims: Object,
    subject: String,
    issued_at: Timestamp,
    expires_at: Timestamp,
}

impl CheckedClaims {
    /// The evidence. `hash` is the SHA-256 of the signing input, in hex.
    pub(super) fn into_verified(self, issuer: &Arc<TrustedIssuer>, hash: &str) -> Verified {
        let digest = short(hash).to_owned();
        let id = TokenId {
            issuer: issuer.url.clone(),
            id: token_id(&self.claims, hash),
            digest,
        };
        Verified {
            issuer: Arc::clone(issuer),
            claims: self.claims,
            id,
            subject: self.subject,
            issued_at: self.issued_at,
            expires_at: self.expires_at,
        }
    }
}

/// T-71: `jti`, or the hash. A `jti` that looks like such a hash is not taken for one.
fn token_id(claims: &Object, hash: &str) -> String {
    match claims.get("jti") {
        Some(Value::Text(jti))
            if (1..=LONGEST_JTI).contains(&jti.len()) && !jti.starts_with(HASH_PREFIX) =>
        {
            jti.clone()
        }
        Some(_) | None => format!("{HASH_PREFIX}{hash}"),
    }
}

/// RFC 7519 section 4.1.3: text, or a list of text. Both are read alike (T-41).
fn audiences(claims: &Object) -> Result<Vec<&str>, VerifyError> {
    let wrong = |problem| Err(VerifyError::AudienceForm(problem));
    let found: Option<Vec<&str>> = match claims.get("aud") {
        None | Some(Value::Null) => return wrong(MISSING),
        Some(Value::Text(audience)) => Some(vec![audience]),
        Some(Value::List(items)) if items.len() <= MOST_AUDIENCES => {
            items.iter().map(Value::as_text).collect()
        }
        Some(Value::List(_)) => return wrong("has more than 16 entries"),
        Some(Value::Bool(_) | Value::Number(_) | Value::Object(_)) => None,
    };
    let Some(found) = found else {
        return wrong("is not a string or a list of strings");
    };
    if found
        .iter()
        .any(|audience| audience.len() > LONGEST_AUDIENCE)
    {
        return wrong("has an entry of more than 512 bytes");
    }
    Ok(found)
}

/// The broker's audience must be present once, and beside it only audiences that the issuer's
/// settings tolerate.
fn check_audience(
    found: &[&str],
    issuer: &TrustedIssuer,
    audience: &str,
) -> Result<(), VerifyError> {
    let ours = found.iter().filter(|entry| **entry == audience).count();
    let tolerated = |entry: &&str| {
        *entry == audience
            || issuer
                .tolerated_audiences
                .iter()
                .any(|other| other == entry)
    };
    if ours == 1 && found.iter().all(tolerated) {
        return Ok(());
    }
    Err(VerifyError::Audience {
        found: audience_text(found),
        expected: audience.to_owned(),
    })
}

/// The client that the token was issued to, by OpenID Connect Core 1.0 section 3.1.3.7: it must be
/// named where there are several audiences, and is ours where it is named.
fn check_client(claims: &Object, client: &str) -> Result<(), VerifyError> {
    let found = match claims.get("azp") {
        None | Some(Value::Null) if audiences(claims)?.len() == 1 => return Ok(()),
        Some(Value::Text(found)) if found == client => return Ok(()),
        Some(Value::Text(found)) => quoted(found),
        None | Some(Value::Null) => "missing beside several audiences".to_owned(),
        Some(Value::Bool(_) | Value::Number(_) | Value::List(_) | Value::Object(_)) => {
            "not text".to_owned()
        }
    };
    Err(VerifyError::Client {
        found,
        expected: client.to_owned(),
    })
}

fn audience_text(found: &[&str]) -> String {
    match found {
        [] => "an empty list".to_owned(),
        [one] => quoted(one),
        several => {
            let all: Vec<String> = several.iter().map(|entry| quoted(entry)).collect();
            format!("a list of {}", all.join(", "))
        }
    }
}

fn check_not_ahead(
    name: &'static str,
    at: Timestamp,
    issuer: &TrustedIssuer,
    now: Timestamp,
) -> Result<(), VerifyError> {
    if at > now.plus(issuer.leeway) {
        return Err(VerifyError::NotYet {
            name,
            at,
            ahead: at.since(now),
        });
    }
    Ok(())
}

/// T-44. Both differences saturate, so nothing overflows (T-74).
fn check_lifetime(
    said: Option<Timestamp>,
    expires_at: Timestamp,
    issuer: &TrustedIssuer,
    now: Timestamp,
) -> Result<(), VerifyError> {
    // A token without `iat` gets the time of verification, which may lie within the leeway past `exp`.
    let issued_at = said.unwrap_or(now);
    let lifetime = expires_at.since(issued_at);
    let ends_before_it_begins = lifetime <= 0 && said.is_some();
    if ends_before_it_begins || lifetime > issuer.max_lifetime {
        return Err(VerifyError::Lifetime {
            found: lifetime,
            most: issuer.max_lifetime,
        });
    }
    let age = now.since(issued_at);
    if age > issuer.max_age {
        return Err(VerifyError::Age {
            found: age,
            most: issuer.max_age,
        });
    }
    Ok(())
}

/// The keys of a trust domain prove nothing about another one.
fn check_trust_domain(subject: &str, issuer: &TrustedIssuer) -> Result<(), VerifyError> {
    let Some(expected) = &issuer.trust_domain else {
        return Ok(());
    };
    if spiffe::domain_of(subject) == Some(expected) {
        return Ok(());
    }
    Err(VerifyError::TrustDomain {
        found: quoted(subject),
        expected: expected.clone(),
    })
}

/// T-45.
fn subject(claims: &Object) -> Result<String, VerifyError> {
    claims
        .get("sub")
        .and_then(Value::as_text)
        .filter(|subject| (1..=LONGEST_SUBJECT).contains(&subject.len()))
        .filter(|subject| !subject.chars().any(char::is_control))
        .filter(|subject| !subject.chars().all(char::is_whitespace))
        .map(str::to_owned)
        .ok_or(VerifyError::Subject)
}

fn required_seconds(claims: &Object, name: &'static str) -> Result<Timestamp, VerifyError> {
    seconds(claims, name)?.ok_or(VerifyError::Form {
        name,
        problem: MISSING,
    })
}

/// RFC 7519's `NumericDate`: `null` counts as absent (T-47), any other form is rejected (T-42).
fn seconds(claims: &Object, name: &'static str) -> Result<Option<Timestamp>, VerifyError> {
    let found = match claims.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number.as_seconds(),
        Some(Value::Bool(_) | Value::Text(_) | Value::List(_) | Value::Object(_)) => None,
    };
    found
        .map(|found| Some(Timestamp::from_unix(found)))
        .ok_or(VerifyError::Form {
            name,
            problem: "is not a number of seconds from 0 to 2^53",
        })
}

const MISSING: &str = "is missing";
const MISSING_IAT: VerifyError = VerifyError::Form {
    name: "iat",
    problem: MISSING,
};
const HASH_PREFIX: &str = "sha256:";
/// Bytes.
const LONGEST_JTI: usize = 256;
/// Bytes.
const LONGEST_AUDIENCE: usize = 512;
const MOST_AUDIENCES: usize = 16;
/// Bytes.
const LONGEST_SUBJECT: usize = 1_024;
