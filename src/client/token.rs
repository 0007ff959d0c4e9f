//! What the client reads in the job's own ID token: for whom it is, and until when. Nothing it trusts.

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

use crate::clock::Timestamp;
use crate::secret::Secret;

use super::address::BrokerAddress;
use super::source::SourceError;
use crate::text::escape;

/// The job's ID token, as its CI gave it.
///
/// The broker verifies it; here it is read only to keep it from going to the wrong place.
#[derive(Clone, Debug)]
pub struct IdToken {
    text: Secret<String>,
    audiences: Vec<String>,
    issued_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
}

impl IdToken {
    /// Reads audience and times. `origin` says in an error where the text comes from.
    ///
    /// # Errors
    /// The text is not a JWT (RFC 7519) with a JSON object inside.
    pub fn parse(text: Secret<String>, origin: &str) -> Result<Self, SourceError> {
        let claims: Option<RawClaims> = payload(text.expose())
            .and_then(|payload| serde_json::from_slice(payload.expose()).ok());
        let Some(claims) = claims else {
            return Err(SourceError::NotAToken {
                origin: origin.to_owned(),
            });
        };
        Ok(Self {
            text,
            audiences: match claims.aud {
                None => Vec::new(),
                Some(RawAudience::One(audience)) => vec![audience],
                Some(RawAudience::Several(audiences)) => audiences,
            },
            issued_at: claims.iat.map(Timestamp::from_unix),
            expires_at: claims.exp.map(Timestamp::from_unix),
        })
    }

    /// The text, for whom it is meant: the broker. Never log it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.text.expose()
    }

    /// Whether it may be sent to that broker. A token that names another party as well would let the
    /// broker, or a thief of the token, log in there (T-108), so the job must have `allowed` that
    /// audience (T-432).
    #[must_use]
    pub fn is_for(&self, broker: &BrokerAddress, allowed: Option<&str>) -> bool {
        let is_expected = |audience: &str| audience == broker.as_str() || Some(audience) == allowed;
        !self.audiences.is_empty() && self.audiences.iter().all(|audience| is_expected(audience))
    }

    /// Its audiences, escaped, for a message.
    #[must_use]
    pub fn audiences(&self) -> String {
        if self.audiences.is_empty() {
            return "no audience".to_owned();
        }
        let escaped: Vec<String> = self
            .audiences
            .iter()
            .map(|audience| format!("`{}`", escape(audience)))
            .collect();
        escaped.join(", ")
    }

    /// Its `iat`.
    #[must_use]
    pub const fn issued_at(&self) -> Option<Timestamp> {
        self.issued_at
    }

    /// Its `exp`.
    #[must_use]
    pub const fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// The JSON inside, unverified: for the job's own eyes.
    #[must_use]
    pub fn unverified_payload(&self) -> Option<Secret<Vec<u8>>> {
        payload(self.text.expose())
    }
}

fn payload(token: &str) -> Option<Secret<Vec<u8>>> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || token.len() > MAX_TOKEN {
        return None;
    }
    BASE64URL_NOPAD
        .decode(payload.as_bytes())
        .ok()
        .map(Secret::new)
}

#[derive(Deserialize)]
struct RawClaims {
    aud: Option<RawAudience>,
    iat: Option<i64>,
    exp: Option<i64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawAudience {
    One(String),
    Several(Vec<String>),
}

const MAX_TOKEN: usize = 64 * 1024;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A token with these claims and a signature that is none.
    pub(in crate::client) fn unsigned(claims: &serde_json::Value) -> String {
        let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
        format!(
            "{}.{}.{}",
            part(r#"{"alg":"RS256"}"#),
            part(&claims.to_string()),
            part("signature")
        )
    }

    /// T-108
    #[test]
    fn a_token_is_for_the_broker_only_if_it_names_no_other() {
        let broker = BrokerAddress::parse("https://hallpass.example").unwrap();
        let is_for = |audience: serde_json::Value| {
            let token = unsigned(&serde_json::json!({ "aud": audience }));
            let token = IdToken::parse(token.into(), "the test").unwrap();
            // What was allowed is allowed beside, and replaces nothing else.
            assert!(!token.is_for(&broker, None) || token.is_for(&broker, Some("x")));
            token.is_for(&broker, None)
        };
        assert!(is_for("https://hallpass.example".into()));
        assert!(is_for(vec!["https://hallpass.example"].into()));
        assert!(!is_for(vec!["x", "https://hallpass.example"].into()));
        assert!(!is_for(vec!["https://hallpass.example", "x"].into()));
        assert!(!is_for(Vec::<String>::new().into()));
        assert!(!is_for("https://hallpass.example.evil".into()));
        assert!(!is_for("sts.amazonaws.com".into()));
        assert!(!is_for(serde_json::Value::Null));
    }

    /// T-432
    #[test]
    fn another_audience_counts_only_if_it_was_allowed_by_name() {
        let broker = BrokerAddress::parse("https://hallpass.example").unwrap();
        let is_for = |audience: serde_json::Value, allowed: &str| {
            let token = unsigned(&serde_json::json!({ "aud": audience }));
            let token = IdToken::parse(token.into(), "the test").unwrap();
            token.is_for(&broker, Some(allowed))
        };
        let fixed = "api://AzureADTokenExchange";
        assert!(is_for(fixed.into(), fixed));
        assert!(is_for(
            vec![fixed, "https://hallpass.example"].into(),
            fixed
        ));
        assert!(!is_for(vec![fixed, "https://other.example"].into(), fixed));
        assert!(!is_for(fixed.into(), "api://azureadtokenexchange"));
        assert!(!is_for(fixed.into(), "api://"));
        assert!(!is_for(fixed.into(), "*"));
        assert!(!is_for(serde_json::Value::Null, fixed));
        assert!(!is_for("".into(), fixed));
    }

    /// T-92
    #[test]
    fn text_that_is_no_token_is_not_repeated() {
        for text in ["canary", "a.canary.c", "a.e30.c.canary", "..", ""] {
            let error = IdToken::parse(text.to_owned().into(), "variable `X`").unwrap_err();
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }
}
