//! A key pair that signs tokens, with its public key and its JOSE header.
//!
//! Header and public key have the types of `jsonwebtoken`, which also makes RS256 signatures.
//! Derived keys sign with aws-lc-rs, because `jsonwebtoken` parses its key for each signature.

use std::fmt;

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, EllipticCurveKeyParameters,
    EllipticCurveKeyType, Jwk, OctetKeyPairParameters, OctetKeyPairType, PublicKeyUse,
    ThumbprintHash,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};

use super::keys::{KeysError, SigningAlgorithm};
use crate::rootkey::{Label, RingKey};
use crate::secret::Secret;

/// A key pair ready to sign.
pub(super) struct SigningKey {
    kid: String,
    algorithm: Algorithm,
    /// Its public half, with exactly the public members (T-87).
    public: Jwk,
    /// The encoded JOSE header of access tokens and a dot: `alg` and `kid` are the key's, never a
    /// caller's.
    header: String,
    pair: JwtKeyPair,
}

impl SigningKey {
    /// The key of one epoch of that length.
    pub(super) fn derive(
        root: &RingKey,
        algorithm: SigningAlgorithm,
        length: i64,
        epoch: i64,
    ) -> Result<Self, KeysError> {
        let context = [epoch.to_be_bytes(), length.to_be_bytes()];
        let pair = match algorithm {
            SigningAlgorithm::Es256 => JwtKeyPair::es256(root, &context)?,
            SigningAlgorithm::EdDsa => JwtKeyPair::ed_dsa(root, &context)?,
        };
        Self::new(pair, algorithm.jose())
    }

    /// An RSA key, which signs with RS256 and nothing else.
    pub(super) fn rs256(key: EncodingKey) -> Result<Self, KeysError> {
        Self::new(JwtKeyPair::Rs256(key), Algorithm::RS256)
    }

    fn new(pair: JwtKeyPair, algorithm: Algorithm) -> Result<Self, KeysError> {
        let mut public = Jwk {
            common: CommonParameters::default(),
            algorithm: pair.public()?,
        };
        let kid = public
            .thumbprint(ThumbprintHash::SHA256)
            .map_err(|_| KeysError::Crypto)?;
        public.common = CommonParameters {
            public_key_use: Some(PublicKeyUse::Signature),
            key_algorithm: Some(algorithm.into()),
            key_id: Some(kid.clone()),
            ..CommonParameters::default()
        };
        Ok(Self {
            header: header(algorithm, &kid, "at+jwt")?,
            kid,
            algorithm,
            public,
            pair,
        })
    }

    /// Its RFC 7638 thumbprint.
    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    /// What is published of it.
    pub(super) const fn public(&self) -> &Jwk {
        &self.public
    }

    /// Whether a signature takes a millisecond of CPU time or more.
    pub(super) const fn is_slow(&self) -> bool {
        matches!(self.pair, JwtKeyPair::Rs256(_))
    }

    /// The compact serialisation (RFC 7515 section 3.1) of an access token with these claims.
    pub(super) fn sign(&self, claims: &[u8]) -> Result<Secret<String>, KeysError> {
        self.sign_under(&self.header, claims)
    }

    /// The same with another `typ`, so that it cannot pass for an access token.
    pub(super) fn sign_as(
        &self,
        token_type: &str,
        claims: &[u8],
    ) -> Result<Secret<String>, KeysError> {
        self.sign_under(&header(self.algorithm, &self.kid, token_type)?, claims)
    }

    fn sign_under(&self, header: &str, claims: &[u8]) -> Result<Secret<String>, KeysError> {
        // Room for both encodings and an ECDSA or Ed25519 signature, so that nothing moves.
        let room = header.len().saturating_add(claims.len().saturating_mul(2));
        let mut token = String::with_capacity(room.saturating_add(128));
        token.push_str(header);
        BASE64URL_NOPAD.encode_append(claims, &mut token);
        let signature = self.pair.sign(token.as_bytes())?;
        token.push('.');
        token.push_str(&signature);
        Ok(Secret::new(token))
    }
}

/// An encoded JOSE header and a dot.
fn header(algorithm: Algorithm, kid: &str, token_type: &str) -> Result<String, KeysError> {
    let mut header = Header::new(algorithm);
    header.typ = Some(token_type.to_owned());
    header.kid = Some(kid.to_owned());
    let header = serde_json::to_vec(&header).map_err(|_| KeysError::Crypto)?;
    Ok(BASE64URL_NOPAD.encode(&header) + ".")
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

enum JwtKeyPair {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(EncodingKey),
}

impl JwtKeyPair {
    /// FIPS 186-5 A.2.2: derives candidates until one is at most n − 2. The key is that candidate
    /// plus one.
    fn es256(root: &RingKey, context: &[[u8; 8]; 2]) -> Result<Self, KeysError> {
        let [epoch, length] = context;
        for counter in 0..CANDIDATES {
            let parts: [&[u8]; 3] = [epoch, length, &counter.to_be_bytes()];
            let candidate = root.derive(Label::TokenSigningEs256, &parts);
            let Some(scalar) = accept_candidate(&candidate) else {
                continue;
            };
            let refused = |_| KeysError::Crypto;
            let point = PrivateKey::from_private_key(&ECDH_P256, scalar.expose())
                .map_err(refused)?
                .compute_public_key()
                .map_err(|_| KeysError::Crypto)?;
            let pair = EcdsaKeyPair::from_private_key_and_public_key(
                &ECDSA_P256_SHA256_FIXED_SIGNING,
                scalar.expose(),
                point.as_ref(),
            );
            return pair.map(Self::Es256).map_err(refused);
        }
        Err(KeysError::Crypto)
    }

    fn ed_dsa(root: &RingKey, context: &[[u8; 8]; 2]) -> Result<Self, KeysError> {
        let [epoch, length] = context;
        let seed = root.derive(Label::TokenSigningEdDsa, &[epoch, length]);
        Ed25519KeyPair::from_seed_unchecked(seed.expose())
            .map(Self::EdDsa)
            .map_err(|_| KeysError::Crypto)
    }

    /// The signature in base64url.
    fn sign(&self, message: &[u8]) -> Result<String, KeysError> {
        let signature = match self {
            Self::Es256(pair) => pair
                .sign(&SystemRandom::new(), message)
                .map_err(|_| KeysError::Crypto)?,
            Self::EdDsa(pair) => pair.try_sign(message).map_err(|_| KeysError::Crypto)?,
            Self::Rs256(key) => {
                return jsonwebtoken::crypto::sign(message, key, Algorithm::RS256)
                    .map_err(|_| KeysError::Crypto);
            }
        };
        Ok(BASE64URL_NOPAD.encode(signature.as_ref()))
    }

    /// The members that make up the public key.
    fn public(&self) -> Result<AlgorithmParameters, KeysError> {
        match self {
            Self::Es256(pair) => {
                // SEC 1 section 2.3.3: 4, then both coordinates.
                let point = pair.public_key().as_ref();
                let coordinates = point.strip_prefix(&[4]).ok_or(KeysError::Crypto)?;
                let (x, y) = coordinates.split_at_checked(32).ok_or(KeysError::Crypto)?;
                let parameters = EllipticCurveKeyParameters {
                    key_type: EllipticCurveKeyType::EC,
                    curve: EllipticCurve::P256,
                    x: BASE64URL_NOPAD.encode(x),
                    y: BASE64URL_NOPAD.encode(y),
                };
                Ok(AlgorithmParameters::EllipticCurve(parameters))
            }
            Self::EdDsa(pair) => {
                let parameters = OctetKeyPairParameters {
                    key_type: OctetKeyPairType::OctetKeyPair,
                    curve: EllipticCurve::Ed25519,
                    x: BASE64URL_NOPAD.encode(pair.public_key().as_ref()),
                };
                Ok(AlgorithmParameters::OctetKeyPair(parameters))
            }
            Self::Rs256(key) => Jwk::from_encoding_key(key, Algorithm::RS256)
                .map(|public| public.algorithm)
                .map_err(|_| KeysError::Crypto),
        }
    }
}

/// The private key that a candidate makes: `candidate + 1`, unless that were n or more.
fn accept_candidate(candidate: &Secret<[u8; 32]>) -> Option<Secret<[u8; 32]>> {
    if *candidate.expose() > ORDER_LESS_2 {
        return None;
    }
    let mut scalar = *candidate.expose();
    for byte in scalar.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            break;
        }
    }
    Some(Secret::new(scalar))
}

/// n − 2 for the order n of P-256 (SP 800-186 section 3.2.1.3), big-endian like the candidates.
const ORDER_LESS_2: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x4f,
];
/// A candidate is rejected once in 2^32 times.
const CANDIDATES: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_beyond_the_order_are_refused() {
        let order_less_1 = {
            let mut bytes = ORDER_LESS_2;
            bytes[31] += 1;
            bytes
        };
        assert!(accept_candidate(&Secret::new(order_less_1)).is_none());
        assert!(accept_candidate(&Secret::new([0xff; 32])).is_none());
        let largest = accept_candidate(&Secret::new(ORDER_LESS_2)).unwrap();
        assert_eq!(largest.expose(), &order_less_1);
        PrivateKey::from_private_key(&ECDH_P256, largest.expose()).unwrap();
        let smallest = accept_candidate(&Secret::new([0; 32])).unwrap();
        assert_eq!(smallest.expose()[31], 1);
        let mut carry = [0; 32];
        carry[31] = 0xff;
        assert_eq!(
            accept_candidate(&Secret::new(carry)).unwrap().expose()[30..],
            [1, 0]
        );
    }
}
