//! Opens a sealed message with the recipient's private key. What it says is worth nothing before its
//! signature is verified, since anybody can encrypt to a public key.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsBigEndian as _, Curve25519SeedBin, EcPrivateKeyBin};
use data_encoding::BASE64URL_NOPAD;

use super::LONGEST;
use super::recipient::{Curve, RecipientKey, RecipientKeyError};
use crate::secret::Secret;
use crate::token::json::{self, JsonError, Object, Value};

/// The private key of a recipient.
pub struct RecipientPrivateKey {
    public: RecipientKey,
    private: PrivateKey,
}

impl RecipientPrivateKey {
    /// A new key on P-256, which every JOSE library knows.
    ///
    /// # Errors
    /// The cryptographic library has no randomness.
    pub fn generate() -> Result<Self, RecipientPrivateKeyError> {
        let curve = Curve::P256;
        let private = PrivateKey::generate(curve.algorithm())
            .map_err(|_| RecipientPrivateKeyError::Crypto)?;
        let public = public_of(curve, &private)?;
        Ok(Self { public, private })
    }

    /// Reads a JWK with its private member `d`.
    ///
    /// # Errors
    /// It is not such a key, or its halves do not belong together. The error quotes nothing.
    pub fn parse(text: &[u8]) -> Result<Self, RecipientPrivateKeyError> {
        let entry = json::parse_object(text, &json::Limits::for_bytes(LONGEST_KEY))
            .map_err(RecipientPrivateKeyError::Json)?;
        let decoded = entry.get("d").and_then(Value::as_text);
        let decoded = decoded.and_then(|text| BASE64URL_NOPAD.decode(text.as_bytes()).ok());
        let d = Secret::new(decoded.ok_or(RecipientPrivateKeyError::NoPrivateMember)?);
        let public = public_members(&entry);
        let public = RecipientKey::parse(public.as_bytes())?;
        let private = PrivateKey::from_private_key(public.curve.algorithm(), d.expose())
            .map_err(|_| RecipientPrivateKeyError::Mismatch)?;
        if public_of(public.curve, &private)? != public {
            return Err(RecipientPrivateKeyError::Mismatch);
        }
        Ok(Self { public, private })
    }

    /// Its public half.
    #[must_use]
    pub const fn public(&self) -> &RecipientKey {
        &self.public
    }

    /// The key as a JWK with its private member, for a private file.
    ///
    /// # Errors
    /// The cryptographic library does not give the key out.
    pub fn to_jwk(&self) -> Result<Secret<String>, RecipientPrivateKeyError> {
        let refused = |_| RecipientPrivateKeyError::Crypto;
        let d = match self.public.curve {
            Curve::P256 => {
                let bytes: EcPrivateKeyBin<'_> = self.private.as_be_bytes().map_err(refused)?;
                Secret::new(BASE64URL_NOPAD.encode(bytes.as_ref()))
            }
            Curve::X25519 => {
                let bytes: Curve25519SeedBin<'_> = self.private.as_be_bytes().map_err(refused)?;
                Secret::new(BASE64URL_NOPAD.encode(bytes.as_ref()))
            }
        };
        let public = self.public.to_jwk();
        let members = public.trim_start_matches('{');
        Ok(Secret::new(format!(r#"{{"d":"{}",{members}"#, d.expose())))
    }

    /// Opens a compact JWE (RFC 7516) that is exactly of our form, and returns what was signed.
    ///
    /// # Errors
    /// One error for everything that is wrong, so that it says nothing about the key or the content.
    pub fn open(&self, message: &str) -> Result<Secret<String>, CannotOpen> {
        self.try_open(message).ok_or(CannotOpen)
    }

    fn try_open(&self, message: &str) -> Option<Secret<String>> {
        let mut parts = Parts::split(message)?;
        let epk = parts.ephemeral_key(&self.public)?;
        let key = self.agree(&epk)?;
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.expose()).ok()?);
        // The additional data is the header as it was sent, so nothing in it can be changed.
        let aad = Aad::from(parts.header_text.as_bytes());
        let nonce = Nonce::assume_unique_for_key(parts.iv);
        key.open_in_place_separate_tag(nonce, aad, &parts.tag, &mut parts.content)
            .ok()?;
        String::from_utf8(parts.content).ok().map(Secret::new)
    }

    /// The content key: ECDH, then the Concat KDF (RFC 7518 section 4.6) for 256 bits, which is one
    /// round of SHA-256.
    fn agree(&self, epk: &RecipientKey) -> Option<Secret<[u8; 32]>> {
        let theirs = UnparsedPublicKey::new(epk.curve.algorithm(), epk.point());
        agreement::agree(&self.private, theirs, (), |shared| {
            Ok(derive(shared, CONTENT_ENCRYPTION))
        })
        .ok()
    }
}

impl fmt::Debug for RecipientPrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecipientPrivateKey")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

/// The thumbprint of the key that a message says it is for. Nothing of it is verified.
#[must_use]
pub fn addressee(message: &str) -> Option<String> {
    let parts = Parts::split(message)?;
    let kid = parts.header.get("kid").and_then(Value::as_text)?;
    Some(kid.to_owned())
}

/// The parts of a compact JWE, whose header is one of ours in every member.
struct Parts<'a> {
    header_text: &'a str,
    header: Object,
    iv: [u8; 12],
    content: Vec<u8>,
    tag: [u8; 16],
}

impl<'a> Parts<'a> {
    /// Bounded before anything is split, decoded or copied.
    fn split(message: &'a str) -> Option<Self> {
        if message.len() > LONGEST {
            return None;
        }
        let mut parts = message.splitn(6, '.');
        let (header_text, key, iv, content, tag) = (
            parts.next()?,
            parts.next()?,
            parts.next()?,
            parts.next()?,
            parts.next()?,
        );
        // With direct agreement there is no encrypted key.
        if parts.next().is_some() || !key.is_empty() || header_text.len() > LONGEST_HEADER {
            return None;
        }
        let header = json::parse_object(&decode(header_text)?, &HEADER_LIMITS).ok()?;
        let is = |name, wanted| header.get(name).and_then(Value::as_text) == Some(wanted);
        // Exactly these members: so no `crit`, `zip`, `apu`, `p2c` or key to look up elsewhere.
        let is_ours = header.count() == HEADER_MEMBERS
            && is("alg", ALGORITHM)
            && is("enc", CONTENT_ENCRYPTION)
            && is("cty", CONTENT_TYPE)
            && header.get("kid").is_some()
            && header.get("epk").is_some();
        Some(Self {
            header_text,
            header: is_ours.then_some(header)?,
            iv: decode(iv)?.try_into().ok()?,
            content: decode(content)?,
            tag: decode(tag)?.try_into().ok()?,
        })
    }

    /// The broker's key for this message: valid, on our curve, and with no further member.
    fn ephemeral_key(&self, ours: &RecipientKey) -> Option<RecipientKey> {
        if self.header.get("kid").and_then(Value::as_text) != Some(ours.thumbprint()) {
            return None;
        }
        let Some(Value::Object(epk)) = self.header.get("epk") else {
            return None;
        };
        let key = RecipientKey::of(epk).ok()?;
        (key.curve == ours.curve && epk.count() == key.members().count()).then_some(key)
    }
}

fn decode(part: &str) -> Option<Vec<u8>> {
    BASE64URL_NOPAD.decode(part.as_bytes()).ok()
}

/// Concat KDF (NIST SP 800-56A, RFC 7518 section 4.6.2) without names of the parties.
fn derive(shared: &[u8], algorithm: &str) -> Secret<[u8; 32]> {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(&1_u32.to_be_bytes());
    hash.update(shared);
    let length = u32::try_from(algorithm.len()).unwrap_or(u32::MAX);
    hash.update(&length.to_be_bytes());
    hash.update(algorithm.as_bytes());
    // Neither `apu` nor `apv`.
    hash.update(&0_u32.to_be_bytes());
    hash.update(&0_u32.to_be_bytes());
    hash.update(&KEY_BITS.to_be_bytes());
    let mut key = [0; 32];
    for (to, from) in key.iter_mut().zip(hash.finish().as_ref()) {
        *to = *from;
    }
    Secret::new(key)
}

fn public_of(curve: Curve, private: &PrivateKey) -> Result<RecipientKey, RecipientPrivateKeyError> {
    let refused = |_| RecipientPrivateKeyError::Crypto;
    let point = private.compute_public_key().map_err(refused)?;
    let point = point.as_ref();
    let coordinates = match curve {
        // SEC 1 section 2.3.3: 4, then both coordinates.
        Curve::P256 => point.strip_prefix(&[4]).unwrap_or_default(),
        Curve::X25519 => point,
    };
    let names = curve.coordinates().iter().zip(coordinates.chunks(32));
    let coordinates = names.map(|(name, bytes)| {
        let text = BASE64URL_NOPAD.encode(bytes);
        format!(r#","{name}":"{text}""#)
    });
    let members: String = coordinates.collect();
    let (key_type, name) = (curve.key_type(), curve.name());
    let jwk = format!(r#"{{"kty":"{key_type}","crv":"{name}"{members}}}"#);
    Ok(RecipientKey::parse(jwk.as_bytes())?)
}

/// The public members of a private JWK, as another JWK.
fn public_members(entry: &Object) -> String {
    let mut members = entry.to_json();
    members.retain(|name, _| ["kty", "crv", "x", "y", "use", "alg"].contains(&name.as_str()));
    serde_json::Value::Object(members).to_string()
}

/// The message is not opened; why is not said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the sealed message cannot be opened with this key: it is damaged, for another key, or not a sealed answer of hallpass"
)]
pub struct CannotOpen;

/// Why a file is not the private key of a recipient. No text quotes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecipientPrivateKeyError {
    #[error("is not a private key as a JWK, expected one JSON object: {0}")]
    Json(JsonError),
    #[error("has no `d` in base64url, so it is not a private key as a JWK")]
    NoPrivateMember,
    #[error("has a public half that cannot be used: it {0}")]
    Public(#[from] RecipientKeyError),
    #[error("has a `d` that does not belong to its public members")]
    Mismatch,
    #[error("could not be handled by the cryptographic library")]
    Crypto,
}

const ALGORITHM: &str = "ECDH-ES";
/// The `enc` of what we seal.
pub(super) const CONTENT_ENCRYPTION: &str = "A256GCM";
/// The `cty` of what we seal: a nested JWT (RFC 7519 section 5.2).
pub(super) const CONTENT_TYPE: &str = "JWT";
const KEY_BITS: u32 = 256;
/// `alg`, `enc`, `cty`, `kid` and `epk`.
const HEADER_MEMBERS: usize = 5;
/// Characters.
const LONGEST_HEADER: usize = 1_024;
const HEADER_LIMITS: json::Limits = json::Limits {
    depth: 2,
    values: 16,
    ..json::Limits::for_bytes(LONGEST_HEADER)
};
/// Bytes of a file with a private key.
const LONGEST_KEY: usize = 4 * 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    /// The derived key of RFC 7518 appendix C is for another `enc`, with names of the parties; this is
    /// the same input for ours, as Python's hashlib computes it.
    #[test]
    fn the_content_key_is_that_of_the_concat_kdf() {
        let shared = [
            158, 86, 217, 29, 129, 113, 53, 211, 114, 131, 66, 131, 191, 132, 38, 156, 251, 49,
            110, 163, 218, 128, 106, 72, 246, 218, 167, 121, 140, 254, 144, 196,
        ];
        let key = derive(&shared, CONTENT_ENCRYPTION);
        assert_eq!(
            BASE64URL_NOPAD.encode(key.expose()),
            "sn4a5FuGA19w_9WEuHo1U71fFW7At1TNTQ909lYtNTU"
        );
    }
}
