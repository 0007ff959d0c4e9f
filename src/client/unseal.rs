//! Opens a sealed answer as its recipient, and checks who sealed it, for whom and when.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::answer::{Received, Value};
use super::{BrokerAddress, ClientError};
use crate::clock::Timestamp;
use crate::credential::sealed::{self, CannotOpen, RecipientPrivateKey};
use crate::secret::Secret;
use crate::text::escape;
use crate::token::{Admission, Algorithm, KeyError, KeySet, VerifyError, verify_typed_jws};
use crate::wire::CredentialAnswer;

/// The credential `asked` in a sealed message, after every check of `docs/sealed.md`. `keys` is the
/// JWKS of the broker.
///
/// # Errors
/// The message does not open, or what is inside is not a fresh answer of this broker for this key and
/// credential.
pub fn unseal(
    message: &str,
    key: &RecipientPrivateKey,
    broker: &BrokerAddress,
    keys: &[u8],
    asked: &str,
    now: Timestamp,
) -> Result<Received, UnsealError> {
    let signed = key.open(message)?;
    let keys = KeySet::from_jwks(keys, &Admission::new(&ALGORITHMS))?;
    let payload = verify_typed_jws(
        signed.expose(),
        sealed::LONGEST,
        sealed::SIGNED_TYPE,
        &keys,
        &ALGORITHMS,
    )?;
    let payload = Secret::new(payload);
    let claims: Claims =
        serde_json::from_slice(payload.expose()).map_err(|_| UnsealError::Claims)?;
    if claims.iss != broker.as_str() {
        return Err(UnsealError::Issuer {
            found: claims.iss,
            expected: broker.as_str().to_owned(),
        });
    }
    if claims.aud != sealed::audience(key.public().thumbprint()) {
        return Err(UnsealError::OtherKey);
    }
    let (issued_at, expires_at) = (
        Timestamp::from_unix(claims.iat),
        Timestamp::from_unix(claims.exp),
    );
    if expires_at.since(now) <= 0 {
        return Err(UnsealError::Expired {
            at: expires_at.to_string(),
        });
    }
    if issued_at.since(now) > LEEWAY {
        return Err(UnsealError::Early {
            at: issued_at.to_string(),
        });
    }
    Received::read_unsealed(claims.hallpass, asked).map_err(UnsealError::Answer)
}

/// Not those of RS256: sealed answers are signed by derived keys.
const ALGORITHMS: [Algorithm; 2] = [Algorithm::ES256, Algorithm::EdDSA];
/// Seconds that the recipient's clock may be behind the broker's.
const LEEWAY: i64 = 60;

/// The claims of the signed content.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    iat: i64,
    exp: i64,
    hallpass: CredentialAnswer<Secret<String>, BTreeMap<String, Value>>,
}

/// Why there is no credential in a sealed message.
#[derive(Debug, thiserror::Error)]
pub enum UnsealError {
    #[error(transparent)]
    Open(#[from] CannotOpen),
    #[error("the broker's keys cannot be used: {0}")]
    Keys(#[from] KeyError),
    #[error(
        "the message is not signed as a sealed answer with a key of this broker; its content is rejected"
    )]
    Signature(#[from] VerifyError),
    #[error("the message does not have the claims of a sealed answer")]
    Claims,
    #[error(
        "the message was sealed by `{}`, expected `{}`; nothing in it is used",
        escape(.found),
        escape(.expected)
    )]
    Issuer { found: String, expected: String },
    #[error("the message was sealed to another key and encrypted again; nothing in it is used")]
    OtherKey,
    #[error("the credential in the message expired at {at}; request a new one")]
    Expired { at: String },
    #[error("the message was sealed at {at}, which is in the future; check the clock")]
    Early { at: String },
    #[error("the message does not hold the expected credential: {0}")]
    Answer(String),
    #[error(transparent)]
    Client(#[from] ClientError),
}
