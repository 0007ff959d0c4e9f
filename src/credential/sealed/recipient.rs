//! The public key of a recipient: a JWK (RFC 7517) that passed every rule for what we encrypt to.

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::digest;
use data_encoding::BASE64URL_NOPAD;

use crate::token::json::{self, JsonError, Object, Value};

/// A public key on P-256 or X25519 that answers can be encrypted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipientKey {
    pub(super) curve: Curve,
    /// The coordinates in order, in base64url as they were sent.
    coordinates: Vec<String>,
    thumbprint: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    X25519,
}

impl Curve {
    fn of(entry: &Object) -> Result<Self, RecipientKeyError> {
        let text = |name| entry.get(name).and_then(Value::as_text);
        match (text("kty"), text("crv")) {
            (Some("EC"), Some("P-256")) => Ok(Self::P256),
            (Some("OKP"), Some("X25519")) => Ok(Self::X25519),
            _ => Err(RecipientKeyError::Curve),
        }
    }

    pub(super) const fn key_type(self) -> &'static str {
        match self {
            Self::P256 => "EC",
            Self::X25519 => "OKP",
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::X25519 => "X25519",
        }
    }

    pub(super) const fn algorithm(self) -> &'static agreement::Algorithm {
        match self {
            Self::P256 => &agreement::ECDH_P256,
            Self::X25519 => &agreement::X25519,
        }
    }

    /// The members that are coordinates of a point.
    pub(super) const fn coordinates(self) -> &'static [&'static str] {
        match self {
            Self::P256 => &["x", "y"],
            Self::X25519 => &["x"],
        }
    }
}

impl RecipientKey {
    /// Reads a JWK of at most [`Self::LONGEST`] bytes.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn parse(text: &[u8]) -> Result<Self, RecipientKeyError> {
        if text.len() > Self::LONGEST {
            return Err(RecipientKeyError::Size);
        }
        Self::of(&json::parse_object(text, &LIMITS).map_err(RecipientKeyError::Json)?)
    }

    /// Reads a JWK that is a member of a larger object, which bounds it.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn of(entry: &Object) -> Result<Self, RecipientKeyError> {
        // First, since a private key in the wrong place is the worst mistake, and the others are
        // less urgent.
        if let Some(member) = PRIVATE_MEMBERS
            .into_iter()
            .find(|member| entry.get(member).is_some())
        {
            return Err(RecipientKeyError::Private { member });
        }
        let curve = Curve::of(entry)?;
        let is = |name, wanted| {
            entry
                .get(name)
                .is_none_or(|value| value.as_text() == wanted)
        };
        if !is("use", Some("enc")) {
            return Err(RecipientKeyError::Use);
        }
        if !is("alg", Some("ECDH-ES")) {
            return Err(RecipientKeyError::Algorithm);
        }
        let coordinates = curve.coordinates().iter().map(|name| {
            let text = entry.get(name).and_then(Value::as_text);
            text.filter(|text| decoded(text).is_some())
                .map(str::to_owned)
                .ok_or(RecipientKeyError::Coordinate { member: name })
        });
        let mut key = Self {
            curve,
            coordinates: coordinates.collect::<Result<_, _>>()?,
            thumbprint: String::new(),
        };
        if !key.can_agree() {
            return Err(RecipientKeyError::Point);
        }
        let hash = digest::digest(&digest::SHA256, key.to_jwk().as_bytes());
        key.thumbprint = BASE64URL_NOPAD.encode(hash.as_ref());
        Ok(key)
    }

    /// Its thumbprint (RFC 7638, SHA-256).
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// The key as a JWK with the required members alone, in the order of RFC 7638.
    #[must_use]
    pub fn to_jwk(&self) -> String {
        let mut members: Vec<(&str, String)> = self.members().collect();
        members.sort_unstable();
        let members = members.iter();
        let members: Vec<String> = members
            .map(|(name, value)| format!(r#""{name}":"{value}""#))
            .collect();
        format!("{{{}}}", members.join(","))
    }

    /// The required members.
    pub(super) fn members(&self) -> impl Iterator<Item = (&'static str, String)> {
        let names = self.curve.coordinates().iter().copied();
        let coordinates = names.zip(self.coordinates.iter().cloned());
        let (key_type, curve) = (self.curve.key_type(), self.curve.name());
        [("kty", key_type.to_owned()), ("crv", curve.to_owned())]
            .into_iter()
            .chain(coordinates)
    }

    /// The point as the cryptographic library reads it.
    pub(super) fn point(&self) -> Vec<u8> {
        let prefix: &[u8] = match self.curve {
            // SEC 1 section 2.3.3: uncompressed.
            Curve::P256 => &[4],
            Curve::X25519 => &[],
        };
        let coordinates = self.coordinates.iter().filter_map(|text| decoded(text));
        prefix
            .iter()
            .copied()
            .chain(coordinates.flatten())
            .collect()
    }

    /// An agreement with it succeeds: the point is on the curve, and the result is not the same for
    /// every key, as with a point of low order (RFC 7748 section 6.1).
    fn can_agree(&self) -> bool {
        let algorithm = self.curve.algorithm();
        let ours = PrivateKey::generate(algorithm);
        ours.is_ok_and(|ours| {
            let theirs = UnparsedPublicKey::new(algorithm, self.point());
            agreement::agree(&ours, theirs, (), |_| Ok(())).is_ok()
        })
    }

    /// Bytes of a JWK at most.
    pub const LONGEST: usize = 1_024;
}

/// A coordinate: 32 bytes in base64url, written in the one way there is.
fn decoded(text: &str) -> Option<[u8; 32]> {
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
    bytes.try_into().ok()
}

/// Why a key is not one that answers are encrypted to. No text quotes the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecipientKeyError {
    #[error(
        "is longer than {} bytes, expected one public key as a JWK",
        RecipientKey::LONGEST
    )]
    Size,
    #[error("is not a JWK, expected one JSON object: {0}")]
    Json(JsonError),
    #[error("is not a JWK, expected a JSON object")]
    NotAnObject,
    #[error(
        "has the private member `{member}`: send the public key alone, and use a new key, since this one was sent"
    )]
    Private { member: &'static str },
    #[error("must have `kty` EC with `crv` P-256, or `kty` OKP with `crv` X25519")]
    Curve,
    #[error("has a `use` other than `enc`")]
    Use,
    #[error("has an `alg` other than `ECDH-ES`")]
    Algorithm,
    #[error("has no `{member}` of 32 bytes in base64url without padding")]
    Coordinate { member: &'static str },
    #[error("is no point that can be encrypted to: it is not on the curve, or of low order")]
    Point,
}

/// RFC 7518 sections 6.2.2, 6.3.2 and 6.4, RFC 8037 section 2.
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A flat object, but for `key_ops` and `x5c`.
const LIMITS: json::Limits = json::Limits {
    depth: 3,
    values: 64,
    ..json::Limits::for_bytes(RecipientKey::LONGEST)
};
