//! The signature of a request: a JWT for one URL, one body and one minute.
//!
//! Its `typ` is of its own, so that no other token of ours passes for a request, and no request for another
//! token (T-453). Nothing in it comes from a job.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde::Serialize;

use crate::clock::Timestamp;
use crate::credential::jwt::Keys;
use crate::secret::Secret;

/// The `typ` of a signed request.
pub const TYPE: &str = "hallpass-webhook+jwt";

/// The claims of a request.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    /// `target/` and its name.
    pub(super) sub: String,
    /// The URL of the request.
    pub(super) aud: String,
    pub(super) iat: i64,
    pub(super) exp: i64,
    pub(super) jti: String,
    /// In lower-case hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) body_sha256: Option<String>,
}

impl Claims {
    pub(super) fn new(
        keys: &Keys,
        subject: &str,
        url: &str,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Self, String> {
        let mut id = [0; 16];
        rand::fill(&mut id).map_err(|_| "the random source failed".to_owned())?;
        Ok(Self {
            iss: keys.roots().issuer().to_owned(),
            sub: subject.to_owned(),
            aud: url.to_owned(),
            iat: now.unix(),
            exp: now.plus(LIFE).unix(),
            jti: BASE64URL_NOPAD.encode(&id),
            body_sha256: Some(body_hash(body)),
        })
    }

    /// The token, with this `typ`.
    pub(super) fn sign(
        &self,
        keys: &Keys,
        token_type: &str,
        now: Timestamp,
    ) -> Result<Secret<String>, String> {
        let claims = serde_json::to_vec(self).map_err(|error| error.to_string())?;
        let signed = keys.sign_as(token_type, &claims, now);
        signed.map_err(|error| error.to_string())
    }
}

pub(super) fn body_hash(body: &[u8]) -> String {
    HEXLOWER.encode(digest(&SHA256, body).as_ref())
}

/// Seconds.
pub(super) const LIFE: i64 = 60;
