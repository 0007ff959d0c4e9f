//! The job's side of an SSH certificate: a key pair for one run, and an agent that signs with it.

use std::fmt;

use aws_lc_rs::encoding::AsBigEndian as _;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData};
use ssh_key::public::{Ed25519PublicKey, KeyData};
use ssh_key::{Algorithm, LineEnding, PrivateKey, PublicKey, Signature};

use super::Ask;
use crate::credential::kind::{Form, Kind, Member};
use crate::credential::ssh::{KIND, PUBLIC_KEY};
use crate::secret::Secret;

pub mod agent;

pub use agent::{Agent, AgentError};

/// Whether the client makes a key pair for the request: the job brings no key of its own.
pub(super) fn makes_key_for(kind: &Kind, ask: &Ask) -> bool {
    *kind == KIND && !ask.inputs.contains_key(PUBLIC_KEY)
}

/// The member that formats find the private key under. It never leaves this process otherwise.
pub(super) const PRIVATE_KEY: Member = Member {
    form: Form::Lines,
    ..Member::secret("private_key")
};

/// What a job does whose token was used for a certificate before: the key of that one is gone, so no
/// repeat helps.
pub const WAY_OUT: &str = "This job's token was already used for this credential, and the key that was signed then ended with its\ncommand. Run everything that needs it in one `hallpass exec`, or write the key once with\n`hallpass get NAME --format ssh --out FILE` and use FILE in later steps. Another ID token can be used once more.";

/// An Ed25519 key pair that is made for one run, and is wiped from memory with it.
pub struct RunKey {
    pair: Ed25519KeyPair,
    public: Ed25519PublicKey,
}

impl RunKey {
    /// A new pair from the system's randomness.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn generate() -> Result<Self, RunKeyError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| RunKeyError)?;
        let public = pair.public_key().as_ref();
        let public = Ed25519PublicKey::try_from(public).map_err(|_| RunKeyError)?;
        Ok(Self { pair, public })
    }

    /// The line of a `.pub` file, which the broker signs.
    ///
    /// # Errors
    /// The key cannot be encoded, which never happens to one that was made.
    pub fn public_line(&self) -> Result<String, RunKeyError> {
        let key = PublicKey::from(KeyData::Ed25519(self.public));
        key.to_openssh().map_err(|_| RunKeyError)
    }

    /// The text of a private key file of OpenSSH, without a passphrase.
    ///
    /// # Errors
    /// As [`public_line`](Self::public_line).
    pub fn private_text(&self) -> Result<Secret<String>, RunKeyError> {
        let seed = self.pair.seed().map_err(|_| RunKeyError)?;
        let seed = seed.as_be_bytes().map_err(|_| RunKeyError)?;
        let pair = Ed25519Keypair {
            public: self.public,
            private: Ed25519PrivateKey::try_from(seed.as_ref()).map_err(|_| RunKeyError)?,
        };
        let text = PrivateKey::new(KeypairData::Ed25519(pair), "")
            .and_then(|key| key.to_openssh(LineEnding::LF))
            .map_err(|_| RunKeyError)?;
        Ok(Secret::new(text.as_str().to_owned()))
    }

    fn public(&self) -> KeyData {
        KeyData::Ed25519(self.public)
    }

    fn sign(&self, message: &[u8]) -> ssh_key::Result<Signature> {
        let signed = self
            .pair
            .try_sign(message)
            .map_err(|_| ssh_key::Error::Crypto)?;
        Signature::new(Algorithm::Ed25519, signed.as_ref())
    }
}

impl fmt::Debug for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunKey").finish_non_exhaustive()
    }
}

/// No key pair was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no SSH key pair could be made: the system gave no random bytes")]
pub struct RunKeyError;
