//! SSH user certificates: a job's public key, signed for a few minutes by a CA that hosts trust.
//!
//! A certificate says what its credential's definition says. The request brings the public key and
//! nothing else (T-145). Not: HTTP, policies' conditions, hosts.

use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use ssh_key::certificate::{Builder, CertType};

use super::{Credential, Members, Mint, MintError};
use crate::audit::Recorded;
use crate::clock::{Clock, Timestamp};
use crate::parts;
use crate::provider::Fact;
use crate::reason::Reason;
use crate::rootkey::{Label, RootKeys};
use crate::secret::Secret;

mod ca;
mod definition;
pub mod install;
mod job_key;
mod kind;
mod target;

pub use ca::{CaKey, CaKeyError};
pub use definition::{
    DefinitionError, Extension, ForceCommand, Principals, SourceAddress, SshDefinition,
};
pub use job_key::{JobKey, JobKeyError};
pub use kind::{KIND, PUBLIC_KEY};
pub use target::{SshCaSettings, TARGET};

/// Signs certificates with the key of one CA.
#[derive(Debug)]
pub struct SshCa {
    key: Arc<CaKey>,
    clock: Arc<dyn Clock>,
    serials: hmac::Key,
}

/// What is signed into one certificate.
#[derive(Debug)]
pub struct CertificateRequest<'a> {
    pub credential: &'a str,
    /// What the credential's definition says.
    pub definition: &'a SshDefinition,
    /// The key that the job sent.
    pub key: &'a JobKey,
    /// The policy that allowed it.
    pub policy: &'a str,
    /// The job's repository, where its CI names one.
    pub repository: Option<&'a str>,
    /// The job's run, where its CI names one.
    pub run: Option<&'a str>,
    /// The `iss` claim of the job's token.
    pub issuer: &'a str,
    /// What tells the job's token from all others of its issuer.
    pub token: &'a str,
    /// When the credential was first minted.
    pub minted_at: Timestamp,
    /// The last second that the permit allows.
    pub expires_at: Timestamp,
}

#[derive(Debug)]
pub struct Certificate {
    /// The line of a `-cert.pub` file.
    pub line: String,
    /// The serial number, which hosts log and revoke by.
    pub serial: u64,
    pub expires_at: Timestamp,
}

impl SshCa {
    /// A CA whose serial numbers are derived from the root key, so that every replica gives a repeat
    /// the same one.
    #[must_use]
    pub fn new(key: impl Into<Arc<CaKey>>, roots: &RootKeys, clock: Arc<dyn Clock>) -> Self {
        let serials = roots.derive(Label::CredentialId, &[b"ssh"]);
        Self {
            key: key.into(),
            clock,
            serials: hmac::Key::new(hmac::HMAC_SHA256, serials.expose()),
        }
    }

    /// The key that hosts trust.
    #[must_use]
    pub const fn key(&self) -> &Arc<CaKey> {
        &self.key
    }

    /// Signs a certificate. The same request gives the same certificate; with an ECDSA key the
    /// signature alone differs.
    ///
    /// # Errors
    /// It would have expired, the job's key is the CA's, or the names of the job are too long for a
    /// key id.
    pub fn sign(&self, request: &CertificateRequest<'_>) -> Result<Certificate, MintError> {
        if request.key.data() == self.key.public() {
            return Err(MintError::new(
                Reason::RequestInput,
                "`public_key` is the key of the CA; make a new pair for the job".to_owned(),
            ));
        }
        let now = self.clock.now();
        let expires_at = request.expires_at;
        if expires_at <= now || expires_at <= request.minted_at {
            return Err(MintError::new(
                Reason::CredentialExpired,
                "the certificate would have expired already".to_owned(),
            ));
        }
        let key_id = key_id(request)?;
        let (serial, nonce) = self.serial_and_nonce(request);
        let line = self.build(request, serial, nonce, key_id).map_err(broken)?;
        Ok(Certificate {
            line,
            serial,
            expires_at,
        })
    }

    fn build(
        &self,
        request: &CertificateRequest<'_>,
        serial: u64,
        nonce: Vec<u8>,
        key_id: String,
    ) -> ssh_key::Result<String> {
        // A negative time would become one far ahead; there is none of either (T-146).
        let seconds =
            |time: Timestamp| u64::try_from(time.unix()).map_err(|_| ssh_key::Error::Time);
        let mut builder = Builder::new(
            nonce,
            request.key.data().clone(),
            seconds(request.minted_at.plus(-SKEW))?,
            seconds(request.expires_at)?,
        )?;
        builder.serial(serial)?;
        builder.cert_type(CertType::User)?;
        builder.key_id(key_id)?;
        builder.comment(request.credential)?;
        let definition = request.definition;
        for principal in definition.principals.as_slice() {
            builder.valid_principal(principal)?;
        }
        if let Some(command) = &definition.force_command {
            builder.critical_option("force-command", command.as_str())?;
        }
        if let Some(networks) = &definition.source_address {
            builder.critical_option("source-address", networks.as_str())?;
        }
        for extension in &definition.extensions {
            builder.extension(extension.name(), "")?;
        }
        builder.sign(self.key.as_ref())?.to_openssh()
    }

    /// Both from one MAC over what makes the request this one. The nonce cannot be known before the
    /// key is sent, which is what it is for.
    fn serial_and_nonce(&self, request: &CertificateRequest<'_>) -> (u64, Vec<u8>) {
        let mut context = hmac::Context::with_key(&self.serials);
        let target = request.definition.target.as_str();
        let fingerprint = request.key.fingerprint();
        let parts = [
            target,
            request.credential,
            request.issuer,
            request.token,
            &fingerprint,
        ];
        parts::update_with(parts, |bytes| context.update(bytes));
        let tag = context.sign();
        let (front, rest) = tag.as_ref().split_first_chunk().unwrap_or((&[0; 8], &[]));
        // Zero says that there is no number.
        (u64::from_be_bytes(*front).max(1), rest.to_vec())
    }
}

#[async_trait]
impl Mint for SshCa {
    async fn mint(&self, recorded: Recorded) -> Result<Credential, MintError> {
        let reserved = recorded.reserved();
        let permit = reserved.permit();
        let credential = permit.credential();
        let Some(definition) = credential.of::<SshDefinition>() else {
            return Err(MintError::new(
                Reason::CredentialKind,
                format!("credential `{}` is no SSH certificate", credential.name),
            ));
        };
        let key = permit.inputs().get(PUBLIC_KEY);
        let key = JobKey::parse(key.map_or("", String::as_str)).map_err(|error| {
            MintError::new(Reason::RequestInput, format!("`public_key` {error}"))
        })?;
        let job = permit.job();
        let signed = self.sign(&CertificateRequest {
            credential: &credential.name,
            definition,
            key: &key,
            policy: permit.policy(),
            repository: job.facts().text(Fact::Repository),
            run: job.facts().text(Fact::RunId),
            issuer: &job.token().issuer,
            token: &job.token().id,
            minted_at: reserved.minted_at(),
            expires_at: reserved.expires_at(),
        })?;
        Ok(Credential {
            definition: Arc::clone(credential),
            members: Members::new("certificate", Secret::new(signed.line))
                .public("serial", signed.serial.to_string())
                .public("principals", definition.principals.as_slice()),
            expires_at: signed.expires_at,
            lease: None,
            public_id: signed.serial.to_string(),
        })
    }
}

/// What the log of sshd says of a login, beside the serial number: who allowed it, to whom.
///
/// Values keep to an alphabet, so that none can pass for another (T-150), and go in whole or not at
/// all: cut short they would be somebody else's name.
fn key_id(request: &CertificateRequest<'_>) -> Result<String, MintError> {
    let members = [
        ("credential", Some(request.credential)),
        ("policy", Some(request.policy)),
        ("repository", request.repository),
        ("run", request.run),
    ];
    let members = members
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", encoded(value?))));
    let words: Vec<String> = std::iter::once("hallpass".to_owned())
        .chain(members)
        .collect();
    let key_id = words.join(" ");
    if key_id.len() > LONGEST_KEY_ID {
        let length = key_id.len();
        return Err(MintError::new(
            Reason::ClaimsTooLong,
            format!(
                "the names of credential, policy, repository and run have {length} bytes, a key id holds at most {LONGEST_KEY_ID}"
            ),
        ));
    }
    Ok(key_id)
}

/// Percent-encoded but for `A-Z a-z 0-9 . _ : / @ + -`.
fn encoded(value: &str) -> String {
    value
        .bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"._:/@+-".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

fn broken(_: ssh_key::Error) -> MintError {
    let message = "the certificate could not be signed".to_owned();
    MintError::new(Reason::SigningFailed, message)
}

/// Seconds that the clock of a host may be behind ours.
const SKEW: i64 = 60;
/// Bytes: sshd logs a line of 1,024 with the key's fingerprint and the CA's in it.
const LONGEST_KEY_ID: usize = 640;
