//! The RSA keys that sign tokens for relying parties that accept only RS256, read from private
//! files.
//!
//! One key signs. The next key is published beside it and never signs, so a relying party that
//! caches the key set has a key before its first signature (T-171). Files change roles only by the
//! settings or by their content.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::signature::RsaKeyPair;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::jwk::AlgorithmParameters;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use zeroize::Zeroize as _;

use super::keys::KeysError;
use super::signing_key::SigningKey;
use crate::secret::file::{self, PrivateFileError};
use crate::secret::{Secret, Wipe};
use crate::token::Algorithm;
use crate::token::keys::{Admission, KeySet, Rule};

/// Where the keys are: an entry of `signing.also` in the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rs256Files {
    pub key: PathBuf,
    /// The key that is only published.
    pub next: Option<PathBuf>,
}

/// The key that signs with RS256, and the one that is published before it does.
#[derive(Debug)]
pub struct Rs256Keys {
    signer: Arc<SigningKey>,
    next: Option<Arc<SigningKey>>,
}

impl Rs256Keys {
    /// Reads unencrypted PEM, PKCS#8 or PKCS#1, from files that others cannot read.
    ///
    /// # Errors
    /// A file cannot be read, is readable by others, or holds no usable RSA key of 2048 to 8192
    /// bits; or both files hold the same key.
    pub fn read(files: &Rs256Files) -> Result<Self, Rs256Error> {
        let signer = read(&files.key)?;
        let next = files.next.as_deref().map(read).transpose()?;
        if let (Some(next), Some(path)) = (&next, &files.next)
            && next.kid() == signer.kid()
        {
            let problem = Rs256KeyProblem::Same(files.key.clone());
            return Err(Rs256Error::new(path, problem));
        }
        Ok(Self {
            signer: Arc::new(signer),
            next: next.map(Arc::new),
        })
    }

    pub(super) const fn signer(&self) -> &Arc<SigningKey> {
        &self.signer
    }

    /// Those in the key set.
    pub(super) fn published(&self) -> impl Iterator<Item = &SigningKey> {
        std::iter::once(&self.signer)
            .chain(&self.next)
            .map(Arc::as_ref)
    }

    /// The id of the key that signs, unless it was published before.
    #[must_use]
    pub fn unpublished<'a>(&'a self, before: &Self) -> Option<&'a str> {
        let kid = self.signer.kid();
        let is_known = before.published().any(|key| key.kid() == kid);
        (!is_known).then_some(kid)
    }

    fn kids(&self) -> (&str, Option<&str>) {
        let next = self.next.as_ref();
        (self.signer.kid(), next.map(|next| next.kid()))
    }
}

/// The same keys in the same roles.
impl PartialEq for Rs256Keys {
    fn eq(&self, other: &Self) -> bool {
        self.kids() == other.kids()
    }
}

fn read(path: &Path) -> Result<SigningKey, Rs256Error> {
    let text = file::read_private(path, LARGEST_FILE);
    let text = text.map_err(|error| Rs256Error::new(path, error.into()))?;
    parse(text.expose()).map_err(|problem| Rs256Error::new(path, problem))
}

fn parse(text: &str) -> Result<SigningKey, Rs256KeyProblem> {
    let key = SigningKey::rs256(pkcs1(text)?)?;
    check_strength(&key)?;
    Ok(key)
}

impl Wipe for PrivateKeyDer<'static> {
    fn wipe(&mut self) {
        self.zeroize();
    }
}

/// The one RSA key of a PEM text, as `jsonwebtoken` takes it.
fn pkcs1(text: &str) -> Result<EncodingKey, Rs256KeyProblem> {
    if ENCRYPTED.iter().any(|mark| text.contains(mark)) {
        return Err(Rs256KeyProblem::Encrypted);
    }
    let mut keys = PrivateKeyDer::pem_slice_iter(text.as_bytes());
    let key = match keys.next() {
        Some(Ok(key)) => Secret::new(key),
        Some(Err(_)) => return Err(Rs256KeyProblem::Damaged),
        None => return Err(Rs256KeyProblem::Format),
    };
    if keys.next().is_some() {
        return Err(Rs256KeyProblem::Several);
    }
    let pair = match key.expose() {
        PrivateKeyDer::Pkcs8(key) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
        PrivateKeyDer::Sec1(_) | _ => return Err(Rs256KeyProblem::OtherType),
    };
    let pair = pair.map_err(|error| match error.to_string().as_str() {
        "TooSmall" | "TooLarge" => Rs256KeyProblem::Weak(Rule::ModulusSize),
        "WrongAlgorithm" => Rs256KeyProblem::OtherType,
        _ => Rs256KeyProblem::Damaged,
    })?;
    // Re-encoded by the library, so the PKCS#1 key follows a header of fixed length: each length
    // takes three bytes for keys of 2048 to 8192 bits.
    let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| Rs256KeyProblem::Damaged)?;
    let pkcs1 = pkcs8.as_ref().get(PKCS8_HEADER..);
    Ok(EncodingKey::from_rsa_der(
        pkcs1.ok_or(Rs256KeyProblem::Damaged)?,
    ))
}

/// The published key must pass the rules for issuers' keys.
fn check_strength(key: &SigningKey) -> Result<(), Rs256KeyProblem> {
    let set = json!({ "keys": [key.public()] }).to_string();
    let admission = Admission::new(&[Algorithm::RS256]);
    let set = KeySet::from_jwks(set.as_bytes(), &admission).map_err(|_| KeysError::Crypto)?;
    if let Some(rejected) = set.rejected().first() {
        return Err(Rs256KeyProblem::Weak(rejected.rule));
    }
    let numbers = &key.public().algorithm;
    if matches!(numbers, AlgorithmParameters::RSA(numbers) if numbers.e == EXPONENT) {
        Ok(())
    } else {
        Err(Rs256KeyProblem::Exponent)
    }
}

/// Why RS256 keys are rejected.
#[derive(Debug, thiserror::Error)]
#[error("RS256 key file `{path}` {problem}; see `signing.also` in the settings", path = .path.display())]
pub struct Rs256Error {
    path: PathBuf,
    problem: Rs256KeyProblem,
}

impl Rs256Error {
    fn new(path: &Path, problem: Rs256KeyProblem) -> Self {
        Self {
            path: path.to_owned(),
            problem,
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Rs256KeyProblem {
    #[error(transparent)]
    File(#[from] PrivateFileError),
    #[error("holds no private key in PEM; make one with {MAKE}")]
    Format,
    #[error("holds more than one private key, expected one")]
    Several,
    #[error("is encrypted, expected a key without a passphrase; remove it with `openssl pkey`")]
    Encrypted,
    #[error("is not a complete private key; was it truncated or changed when it was copied?")]
    Damaged,
    #[error("holds a key of another type, expected RSA; make one with {MAKE}")]
    OtherType,
    #[error("holds a key that must not sign: {0}; make one with {MAKE}")]
    Weak(Rule),
    #[error("holds a key whose public exponent is not 65537; make one with {MAKE}")]
    Exponent,
    #[error("holds the same key as `{path}`; `next` must hold another one", path = .0.display())]
    Same(PathBuf),
    #[error("cannot be used: {0}")]
    Keys(#[from] KeysError),
}

const MAKE: &str = "`openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072`";
/// What encrypted keys in PKCS#8 and PKCS#1 have in their first lines.
const ENCRYPTED: [&str; 2] = ["BEGIN ENCRYPTED PRIVATE KEY", "Proc-Type: 4,ENCRYPTED"];
/// A sequence, the version, the name of RSA, and the head of an octet string (RFC 5208 section 5).
const PKCS8_HEADER: usize = 4 + 3 + 15 + 4;
/// 65537 in base64url.
const EXPONENT: &str = "AQAB";
/// Twice the size of a key of 8192 bits.
const LARGEST_FILE: u64 = 16_384;
