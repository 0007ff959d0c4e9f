//! Sealed delivery: a signed answer, encrypted to a key of the request (`docs/sealed.md`).
//!
//! The broker signs the whole answer and encrypts the result to the recipient's public key. Only
//! [`seal`] encrypts, and only in builds with the feature `sealed`. The client opens a message with
//! the cryptographic library that everything else uses, in every build.

use serde::Serialize;

use super::ExposedMembers;
use super::jwt::{Keys, KeysError};
use super::kind::Kind;
use crate::clock::Timestamp;

#[cfg(feature = "sealed")]
mod encrypt;
mod open;
mod recipient;

pub use open::{CannotOpen, RecipientPrivateKey, RecipientPrivateKeyError, addressee};
pub use recipient::{RecipientKey, RecipientKeyError};

/// Whether this build can seal.
pub const IS_BUILT_IN: bool = cfg!(feature = "sealed");

/// The parameter of a request that names the recipient's key.
pub const PARAMETER: &str = "response_encryption_jwk";

/// The member of a credential that replaces its secret members.
pub const MEMBER: &str = "sealed";

/// The `issued_token_type` of a sealed answer.
pub const URN: &str = "urn:hallpass:sealed";

/// The `token_type` of a sealed answer: nothing accepts it as a token.
pub const TOKEN_TYPE: &str = "N_A";

/// The `typ` of the signed content, which no access token has.
pub const SIGNED_TYPE: &str = "hallpass-sealed+jwt";

/// The longest message that is opened, in bytes: as long as the longest answer that a client reads.
pub const LONGEST: usize = 256 * 1024;

/// The claims of the signed content. `A` is the answer that is sealed.
#[derive(Serialize)]
struct Claims<'a, A> {
    iss: &'a str,
    aud: String,
    iat: i64,
    exp: i64,
    hallpass: &'a A,
}

/// The `aud` of what is sealed to a key: its thumbprint as a URI (RFC 9278).
#[must_use]
pub fn audience(thumbprint: &str) -> String {
    format!("urn:ietf:params:oauth:jwk-thumbprint:sha-256:{thumbprint}")
}

/// Signs `answer` and encrypts it to the recipient: a compact JWE.
///
/// # Errors
/// There is no signing key, this build cannot seal, or the cryptographic library failed.
pub fn seal<A: Serialize>(
    answer: &A,
    recipient: &RecipientKey,
    keys: &Keys,
    expires_at: Timestamp,
    now: Timestamp,
) -> Result<String, SealError> {
    let claims = Claims {
        iss: keys.roots().issuer(),
        aud: audience(recipient.thumbprint()),
        iat: now.unix(),
        exp: expires_at.unix(),
        hallpass: answer,
    };
    let claims = serde_json::to_vec(&claims).map_err(|_| SealError::Encrypt)?;
    let claims = crate::secret::Secret::new(claims);
    let signed = keys.sign_as(SIGNED_TYPE, claims.expose(), now)?;
    encrypt(signed.expose().as_bytes(), recipient)
}

#[cfg(feature = "sealed")]
fn encrypt(content: &[u8], recipient: &RecipientKey) -> Result<String, SealError> {
    encrypt::compact(content, recipient).ok_or(SealError::Encrypt)
}

#[cfg(not(feature = "sealed"))]
const fn encrypt(_: &[u8], _: &RecipientKey) -> Result<String, SealError> {
    Err(SealError::NotBuiltIn)
}

/// The members of a credential that may be shown, by the list of its kind, with the message in place
/// of the others.
pub fn replace_secrets<'a>(kind: &Kind, members: &mut ExposedMembers<'a>, message: &'a str) {
    members.retain(|name| {
        let mut known = kind.members.iter();
        known.any(|member| member.name == name && member.is_public())
    });
    members.insert(MEMBER, message);
}

/// Why an answer could not be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Requests for it are refused earlier.
    #[error("this broker is built without sealed delivery")]
    NotBuiltIn,
    #[error("the cryptographic library could not encrypt the answer")]
    Encrypt,
}

#[cfg(test)]
mod tests;
