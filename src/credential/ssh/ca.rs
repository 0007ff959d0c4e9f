//! The key of an SSH certificate authority: read from a file, and used for signing only.
//!
//! Signatures are made by the one cryptographic backend (T-99); `ssh-key` reads and writes the formats.

use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use signature::Signer;
use ssh_key::encoding::{Encode as _, Mpint};
use ssh_key::private::{EcdsaKeypair, KeypairData, PrivateKey};
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, EcdsaCurve, HashAlg, PublicKey, Signature};

use crate::secret::file::{self, PrivateFileError};

/// The key that signs certificates. Cheap to use: it is parsed once.
pub struct CaKey {
    pair: Pair,
    public: KeyData,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
}

impl CaKey {
    /// Reads the key in a file that others cannot read, as `ssh-keygen -t ed25519 -N ''` makes it.
    ///
    /// # Errors
    /// The file cannot be read, may be read by others, is no regular file, or holds no unencrypted
    /// Ed25519 or P-256 key in the format of OpenSSH.
    pub fn read(path: &Path) -> Result<Self, CaKeyError> {
        let wrong = |problem| CaKeyError {
            path: path.to_owned(),
            problem,
        };
        let text = file::read_private(path, LARGEST_FILE);
        let text = text.map_err(|error| wrong(error.into()))?;
        Self::parse(text.expose()).map_err(wrong)
    }

    fn parse(text: &str) -> Result<Self, Problem> {
        if !text.trim_start().starts_with(FIRST_LINE) {
            return Err(Problem::Format);
        }
        let key = PrivateKey::from_openssh(text.trim_start()).map_err(|_| Problem::Damaged)?;
        let pair = match key.key_data() {
            KeypairData::Ed25519(pair) => Ed25519KeyPair::from_seed_and_public_key(
                pair.private.as_ref(),
                pair.public.as_ref(),
            )
            .map(Pair::Ed25519)
            .map_err(|_| Problem::Damaged)?,
            KeypairData::Ecdsa(EcdsaKeypair::NistP256 { public, private }) => {
                EcdsaKeyPair::from_private_key_and_public_key(
                    &ECDSA_P256_SHA256_FIXED_SIGNING,
                    private.as_slice(),
                    public.as_bytes(),
                )
                .map(Pair::P256)
                .map_err(|_| Problem::Damaged)?
            }
            KeypairData::Encrypted(_) => return Err(Problem::Encrypted),
            KeypairData::Dsa(_)
            | KeypairData::Ecdsa(_)
            | KeypairData::Rsa(_)
            | KeypairData::SkEcdsaSha2NistP256(_)
            | KeypairData::SkEd25519(_)
            | KeypairData::Other(_)
            | _ => return Err(Problem::Type(key.algorithm().to_string())),
        };
        Ok(Self {
            pair,
            public: key.public_key().key_data().clone(),
        })
    }

    /// The line that hosts are given in the file of `TrustedUserCAKeys`.
    #[must_use]
    pub fn public_line(&self, comment: &str) -> String {
        // Fails only for keys that cannot be encoded, and this one was decoded.
        PublicKey::new(self.public.clone(), comment)
            .to_openssh()
            .unwrap_or_default()
    }

    /// Its SHA-256 fingerprint, as `ssh-keygen -l` and the log of sshd print it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.public.fingerprint(HashAlg::Sha256).to_string()
    }

    pub(super) const fn public(&self) -> &KeyData {
        &self.public
    }
}

impl Signer<Signature> for CaKey {
    fn try_sign(&self, message: &[u8]) -> Result<Signature, signature::Error> {
        let failed = |_| signature::Error::new();
        match &self.pair {
            Pair::Ed25519(pair) => {
                let signed = pair.try_sign(message).map_err(failed)?;
                Signature::new(Algorithm::Ed25519, signed.as_ref())
            }
            Pair::P256(pair) => {
                let signed = pair.sign(&SystemRandom::new(), message).map_err(failed)?;
                ecdsa_signature(signed.as_ref())
            }
        }
        .map_err(|_| signature::Error::new())
    }
}

/// RFC 5656 section 3.1.2: both halves as numbers.
fn ecdsa_signature(fixed: &[u8]) -> ssh_key::Result<Signature> {
    let (r, s) = fixed
        .split_at_checked(P256_BYTES)
        .ok_or(ssh_key::Error::Crypto)?;
    let mut data = Vec::new();
    Mpint::from_positive_bytes(r).encode(&mut data)?;
    Mpint::from_positive_bytes(s).encode(&mut data)?;
    let curve = EcdsaCurve::NistP256;
    Signature::new(Algorithm::Ecdsa { curve }, data)
}

impl From<&CaKey> for KeyData {
    fn from(key: &CaKey) -> Self {
        key.public.clone()
    }
}

impl fmt::Debug for CaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CaKey").field(&self.fingerprint()).finish()
    }
}

/// Why there is no CA key.
#[derive(Debug, thiserror::Error)]
#[error("SSH CA key file `{path}` {problem}", path = .path.display())]
pub struct CaKeyError {
    path: PathBuf,
    problem: Problem,
}

impl CaKeyError {
    /// What to do about it, for `hallpass target check`: a key that others could not read is kept.
    #[must_use]
    pub const fn fix(&self) -> &'static str {
        match self.problem {
            Problem::File(PrivateFileError::Unreadable(_) | PrivateFileError::NotAFile(_)) => {
                "name the file of the key in the settings, readable for the broker's user"
            }
            Problem::File(PrivateFileError::Mode(_)) => {
                "run `chmod 0400 FILE`; if others could read the key, replace it (`docs/ssh.md`, \"Replace the CA's key\")"
            }
            Problem::File(PrivateFileError::Owner(_)) => {
                "give the file to the broker's user; if another user made the key, replace it (`docs/ssh.md`, \"Replace the CA's key\")"
            }
            Problem::Encrypted => "remove the passphrase with `ssh-keygen -p -N '' -f FILE`",
            Problem::Format | Problem::Damaged | Problem::Type(_) => {
                "make the key with `ssh-keygen -t ed25519 -N '' -f FILE`, owned by the broker's user with mode 0400"
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    File(#[from] PrivateFileError),
    #[error(
        "does not begin with `{FIRST_LINE}`; expected a private key in the format of OpenSSH, made by `ssh-keygen -t ed25519 -N ''`"
    )]
    Format,
    #[error("is not a whole private key; was it cut or changed when it was copied?")]
    Damaged,
    #[error(
        "is encrypted, expected a key without a passphrase; remove it with `ssh-keygen -p -N ''`"
    )]
    Encrypted,
    #[error(
        "holds a key of type `{0}`, expected `ssh-ed25519` or `ecdsa-sha2-nistp256`; make one with `ssh-keygen -t ed25519 -N ''`"
    )]
    Type(String),
}

const FIRST_LINE: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
/// Ten times what either key needs.
const LARGEST_FILE: u64 = 8_192;
/// Half of a signature.
const P256_BYTES: usize = 32;
