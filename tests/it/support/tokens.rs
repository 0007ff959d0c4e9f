//! Tokens of every kind, good and hostile, signed with keys the tests hold.
#![cfg(test)]

use std::sync::{Arc, LazyLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
    RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use data_encoding::BASE64URL_NOPAD;
use hallpass::clock::{FixedClock, Timestamp};
use hallpass::token::keys::FileKeys;
use hallpass::token::{Algorithm, SubjectToken, TrustedIssuer, Verified, Verifier, VerifyError};
use serde_json::{Value, json};

use super::leaks;

/// The time every test of tokens stands at: the `iat` of the examples.
pub(crate) const NOW: i64 = 1_790_000_000;
/// The broker's own name.
pub(crate) const AUDIENCE: &str = "https://hallpass.example";
/// The issuer most tests use.
pub(crate) const ISSUER: &str = "https://ci.example";

/// A key pair under a key id.
pub(crate) struct TestKey {
    pub(crate) kid: String,
    pair: Arc<Pair>,
}

enum Pair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// Making RSA keys is slow, so all tests share two.
static RSA: LazyLock<[Arc<Pair>; 2]> = LazyLock::new(|| {
    [(); 2].map(|()| Arc::new(Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())))
});

impl TestKey {
    pub(crate) fn rsa(kid: &str) -> Self {
        Self::of(kid, Arc::clone(&RSA[0]))
    }

    pub(crate) fn other_rsa(kid: &str) -> Self {
        Self::of(kid, Arc::clone(&RSA[1]))
    }

    pub(crate) fn p256(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self::of(kid, Arc::new(Pair::P256(pair)))
    }

    pub(crate) fn p384(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
        Self::of(kid, Arc::new(Pair::P384(pair)))
    }

    pub(crate) fn ed25519(kid: &str) -> Self {
        Self::of(
            kid,
            Arc::new(Pair::Ed25519(Ed25519KeyPair::generate().unwrap())),
        )
    }

    fn of(kid: &str, pair: Arc<Pair>) -> Self {
        Self {
            kid: kid.to_owned(),
            pair,
        }
    }

    /// The public half, without `use` and `alg`.
    pub(crate) fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        match &*self.pair {
            Pair::Rsa(pair) => {
                let public = pair.public_key();
                json!({
                    "kty": "RSA", "kid": self.kid,
                    "n": text(public.modulus().big_endian_without_leading_zero()),
                    "e": text(public.exponent().big_endian_without_leading_zero()),
                })
            }
            Pair::P256(pair) | Pair::P384(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..]
                    .split_at((pair.public_key().as_ref().len() - 1) / 2);
                let curve = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({ "kty": "EC", "kid": self.kid, "crv": curve, "x": text(x), "y": text(y) })
            }
            Pair::Ed25519(pair) => {
                json!({ "kty": "OKP", "kid": self.kid, "crv": "Ed25519", "x": text(pair.public_key().as_ref()) })
            }
        }
    }

    /// A signature over exactly these bytes.
    pub(crate) fn signature(&self, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &*self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(rsa_encoding(algorithm), &random, message, &mut signature)
                    .unwrap();
                signature
            }
            Pair::P256(pair) | Pair::P384(pair) => {
                pair.sign(&random, message).unwrap().as_ref().to_vec()
            }
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// A token of exactly these bytes, validly signed whatever they are.
    pub(crate) fn sign(&self, algorithm: Algorithm, header: &str, payload: &str) -> String {
        let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
        let signing_input = format!("{}.{}", part(header), part(payload));
        let signature = self.signature(algorithm, signing_input.as_bytes());
        let token = format!("{signing_input}.{}", BASE64URL_NOPAD.encode(&signature));
        leaks::token(&token);
        token
    }

    /// An RS256 token with the usual header.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.token_with_header(&self.header(), claims)
    }

    /// An RS256 token with any header.
    pub(crate) fn token_with_header(&self, header: &Value, claims: &Value) -> String {
        self.sign(Algorithm::RS256, &header.to_string(), &claims.to_string())
    }

    /// The usual header.
    pub(crate) fn header(&self) -> Value {
        json!({ "typ": "JWT", "alg": "RS256", "kid": self.kid })
    }
}

fn rsa_encoding(algorithm: Algorithm) -> &'static dyn RsaEncoding {
    match algorithm {
        Algorithm::RS256 | Algorithm::ES256 | Algorithm::ES384 | Algorithm::EdDSA => {
            &RSA_PKCS1_SHA256
        }
        Algorithm::RS384 => &RSA_PKCS1_SHA384,
        Algorithm::RS512 => &RSA_PKCS1_SHA512,
        Algorithm::PS256 => &RSA_PSS_SHA256,
        Algorithm::PS384 => &RSA_PSS_SHA384,
        Algorithm::PS512 => &RSA_PSS_SHA512,
    }
}

/// A JWKS of these entries.
pub(crate) fn jwks(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

/// Claims of which every rule holds at [`NOW`].
pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "repo:acme/shop", "jti": "b7c0e3a4",
        "iat": NOW, "nbf": NOW - 600, "exp": NOW + 300,
    })
}

/// [`claims`] with one changed, or removed by `None`.
pub(crate) fn claims_with(name: &str, value: Option<Value>) -> Value {
    let mut claims = claims();
    let members = claims.as_object_mut().unwrap();
    match value {
        Some(value) => members.insert(name.to_owned(), value),
        None => members.remove(name),
    };
    claims
}

/// A verifier of one issuer with fixed keys, at a fixed time.
pub(crate) struct Broker {
    pub(crate) verifier: Verifier,
    pub(crate) clock: Arc<FixedClock>,
}

impl Broker {
    /// Trusts [`ISSUER`] with the key `k1`, RS256.
    pub(crate) fn new() -> (Self, TestKey) {
        let key = TestKey::rsa("k1");
        let broker = Self::trusting(TrustedIssuer::new("ci", ISSUER), &jwks(&[key.jwk()]));
        (broker, key)
    }

    /// Trusts one issuer with these keys.
    pub(crate) fn trusting(issuer: TrustedIssuer, jwks: &[u8]) -> Self {
        let keys = FileKeys::new().with_document(&issuer, jwks).unwrap();
        let clock = Arc::new(FixedClock::at(Timestamp::from_unix(NOW)));
        let verifier = Verifier::new(
            AUDIENCE.to_owned(),
            vec![Arc::new(issuer)],
            Arc::new(keys),
            Arc::clone(&clock) as Arc<_>,
        );
        Self { verifier, clock }
    }

    /// Verifies; keys are at hand, so nothing is waited for.
    pub(crate) fn verify(&self, token: &str) -> Result<Verified, VerifyError> {
        let token = SubjectToken::new(token.to_owned());
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(self.verifier.verify(&token))
    }

    /// The code a token is refused with, or `ok`.
    pub(crate) fn reason(&self, token: &str) -> &'static str {
        match self.verify(token) {
            Ok(_) => "ok",
            Err(error) => error.reason().code(),
        }
    }
}
