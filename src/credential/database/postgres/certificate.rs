//! `mode: certificate`: a client certificate of some minutes for a role that is there for good.
//!
//! Nothing is written to the server, so there is nothing to sweep and nothing to revoke: the server's
//! `pg_hba.conf` and `pg_ident.conf` say which names of certificates log in as which role. A session
//! outlives its certificate; `target install` prints the statement that ends those.

use std::sync::Arc;

use async_trait::async_trait;
use data_encoding::{BASE64, HEXLOWER};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber, date_time_ymd,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::Value;

use crate::audit::Recorded;
use crate::clock::{Clock, Timestamp};
use crate::credential::{Credential, Members, Mint, MintError};
use crate::lease;
use crate::reason::Reason;
use crate::replay::IdempotencyKey;
use crate::rootkey::{Label, RootKeys};
use crate::secret::Secret;

mod ca;
mod install;
mod kind;
mod target;

pub use ca::CertificateAuthority;
pub use kind::{CertificateDefinition, KIND};
pub use target::PostgresCaSettings;
pub(super) use target::{is_meant, read};

/// What a certificate is made of. The serving path makes it from a [`Recorded`] only.
#[derive(Debug)]
pub struct CertificateRequest<'a> {
    pub target: &'a str,
    pub credential: &'a str,
    /// The role that it logs in as.
    pub role: &'a str,
    /// The `iss` claim of the job's token.
    pub issuer: &'a str,
    /// The identity of the job's token within its issuer.
    pub token: &'a str,
    /// The key that it was asked for with.
    pub key: Option<&'a IdempotencyKey>,
    pub minted_at: Timestamp,
    pub expires_at: Timestamp,
}

/// A certificate with its key.
#[derive(Debug)]
pub struct IssuedCertificate {
    /// PEM.
    pub certificate: String,
    /// The private key: PKCS #8, base64.
    pub key: Secret<String>,
    /// In hexadecimal digits, as the server shows it.
    pub serial: String,
    /// `CN=` of its subject.
    pub name: String,
}

impl CertificateAuthority {
    /// Signs a certificate. The same request with an idempotency key gives the same key, name, number
    /// and times; the signature alone differs.
    ///
    /// # Errors
    /// It would have expired already, or the random source gives nothing.
    pub fn sign(
        &self,
        roots: &RootKeys,
        request: &CertificateRequest<'_>,
        now: Timestamp,
    ) -> Result<IssuedCertificate, MintError> {
        if request.expires_at <= now || request.expires_at <= request.minted_at {
            return Err(MintError::new(
                Reason::CredentialExpired,
                "the certificate would have expired already".to_owned(),
            ));
        }
        let parts = [
            "postgres certificate",
            request.target,
            request.credential,
            request.issuer,
            request.token,
        ];
        let context = parts.map(str::as_bytes);
        let random = lease::rand13(roots.derive(Label::LeaseName, &context).expose());
        let name = lease::LeaseName::new("hp_", request.expires_at, &random)
            .map_err(|error| broken(&error.to_string()))?;
        // The end is in the name, so that sessions can be ended by it.
        let (_, end_and_random) = name_parts(&name.to_string());
        let name = format!("hp.{}.{end_and_random}", request.role);
        let number = roots.derive(Label::CredentialId, &context);
        let mut number = number
            .expose()
            .iter()
            .take(16)
            .copied()
            .collect::<Vec<u8>>();
        if let Some(first) = number.first_mut() {
            // Positive, and of one length.
            *first = *first & 0x3f | 0x40;
        }
        let key = key_pair(roots, &context, request.key)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, name.as_str());
        set_times(
            &mut params,
            request.minted_at.plus(-SKEW),
            request.expires_at,
        )?;
        params.serial_number = Some(SerialNumber::from_slice(&number));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let authority = ca::params(request.target);
        let issuer = Issuer::from_params(&authority, self.pair());
        let signed = params
            .signed_by(&key, &issuer)
            .map_err(|error| broken(&error.to_string()))?;
        Ok(IssuedCertificate {
            certificate: signed.pem(),
            key: Secret::new(BASE64.encode(Secret::new(key.serialize_der()).expose())),
            serial: HEXLOWER.encode(&number),
            name,
        })
    }
}

/// The prefix of a lease name, and the rest with a dot for the second `_`.
fn name_parts(name: &str) -> (String, String) {
    let mut parts = name.splitn(2, '_');
    let prefix = parts.next().unwrap_or_default().to_owned();
    (prefix, parts.next().unwrap_or_default().replace('_', "."))
}

/// A P-256 key: derived where the job may ask again, else of its own.
fn key_pair(
    roots: &RootKeys,
    context: &[&[u8]],
    key: Option<&IdempotencyKey>,
) -> Result<KeyPair, MintError> {
    let Some(key) = key else {
        let made = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
        return made.map_err(|error| broken(&error.to_string()));
    };
    let context: Vec<&[u8]> = context
        .iter()
        .copied()
        .chain([key.expose().as_bytes()])
        .collect();
    let derived = roots.derive(Label::Password, &context);
    let der = Secret::new([PKCS8_P256, derived.expose()].concat());
    let der = PrivatePkcs8KeyDer::from(der.expose().as_slice());
    // One of four thousand million derived numbers is no key.
    KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256)
        .map_err(|error| broken(&error.to_string()))
}

/// Sets the time in which it is valid.
fn set_times(
    params: &mut CertificateParams,
    from: Timestamp,
    to: Timestamp,
) -> Result<(), MintError> {
    let since = |time: Timestamp| {
        let seconds = u64::try_from(time.unix()).map_err(|_| broken("a time before 1970"))?;
        Ok::<_, MintError>(std::time::Duration::from_secs(seconds))
    };
    params.not_before = date_time_ymd(1970, 1, 1) + since(from)?;
    params.not_after = date_time_ymd(1970, 1, 1) + since(to)?;
    Ok(())
}

fn broken(problem: &str) -> MintError {
    tracing::error!(
        reason = Reason::SigningFailed.code(),
        problem = %crate::text::escape(problem),
        "a client certificate could not be made"
    );
    let message = "the certificate could not be signed".to_owned();
    MintError::new(Reason::SigningFailed, message)
}

/// Signs the certificates of one target.
#[derive(Debug)]
pub(super) struct Signer {
    authority: Arc<CertificateAuthority>,
    settings: PostgresCaSettings,
    /// PEM certificates that the server's certificate is checked against.
    server_ca: Option<String>,
    name: String,
    roots: RootKeys,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Mint for Signer {
    async fn mint(&self, recorded: Recorded) -> Result<Credential, MintError> {
        let reserved = recorded.reserved();
        let permit = reserved.permit();
        let credential = permit.credential();
        let Some(definition) = credential.of::<CertificateDefinition>() else {
            return Err(MintError::new(
                Reason::CredentialKind,
                format!("credential `{}` is no client certificate", credential.name),
            ));
        };
        let token = permit.job().token();
        let signed = self.authority.sign(
            &self.roots,
            &CertificateRequest {
                target: &self.name,
                credential: &credential.name,
                role: &definition.role,
                issuer: &token.issuer,
                token: &token.id,
                key: reserved.key(),
                minted_at: reserved.minted_at(),
                expires_at: reserved.expires_at(),
            },
            self.clock.now(),
        )?;
        let database = definition.database.as_ref();
        let database = database.or(self.settings.databases.first());
        let ca = self.server_ca.clone();
        Ok(Credential {
            definition: Arc::clone(credential),
            members: Members::new("key", signed.key)
                .public("certificate", signed.certificate)
                .public("serial", signed.serial.as_str())
                .public("username", definition.role.as_str())
                .public("host", self.settings.host.as_str())
                .public("port", self.settings.port)
                .public("database", database.map_or("", String::as_str))
                .public("sslmode", "verify-full")
                .public("ca", ca.map_or(Value::Null, Value::String)),
            expires_at: reserved.expires_at(),
            lease: None,
            public_id: signed.serial,
        })
    }
}

/// Seconds that the server's clock may be behind the broker's.
const SKEW: i64 = 60;

/// The front of a P-256 key in PKCS #8 (RFC 5208, RFC 5915) without the public half, which is computed.
const PKCS8_P256: &[u8] = &[
    0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x27, 0x30, 0x25, 0x02, 0x01,
    0x01, 0x04, 0x20,
];
