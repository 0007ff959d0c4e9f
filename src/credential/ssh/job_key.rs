//! Checks the public key that a job sends, before it is signed.
//!
//! Its strength is checked by the rules for the keys of issuers (T-33, T-34).

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use ssh_key::public::{EcdsaPublicKey, Ed25519PublicKey, KeyData, RsaPublicKey};
use ssh_key::{EcdsaCurve, PublicKey};

use crate::token::{Admission, KeySet};

/// A public key that a certificate may be made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobKey(KeyData);

impl JobKey {
    /// Parses a line of a `.pub` file as `ssh-keygen` writes it: type, base64, and a comment that
    /// is dropped.
    ///
    /// # Errors
    /// The text is not such a line, or the key is of another type, malformed or weak.
    pub fn parse(text: &str) -> Result<Self, JobKeyError> {
        if text.len() > LONGEST {
            return Err(JobKeyError::Length { length: text.len() });
        }
        if PRIVATE_MARKS.iter().any(|mark| text.contains(mark)) {
            return Err(JobKeyError::Private);
        }
        let line = text.strip_suffix('\n').unwrap_or(text);
        if line.chars().any(char::is_control) {
            return Err(JobKeyError::Line);
        }
        let mut words = line.splitn(3, ' ');
        let (Some(name), Some(encoded)) = (words.next(), words.next()) else {
            return Err(JobKeyError::Line);
        };
        // Checks the type's name first: the text may also be options of `authorized_keys`.
        if !TYPES.contains(&name) {
            return Err(JobKeyError::Type);
        }
        let key = PublicKey::from_openssh(&format!("{name} {encoded}"))
            .map_err(|_| JobKeyError::Encoding)?;
        let data = KeyData::from(key);
        check_strength(&data)?;
        Ok(Self(data))
    }

    pub(super) const fn data(&self) -> &KeyData {
        &self.0
    }

    /// Its SHA-256 fingerprint, as `ssh-keygen -l` prints it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(ssh_key::HashAlg::Sha256).to_string()
    }
}

fn check_strength(key: &KeyData) -> Result<(), JobKeyError> {
    let jwk = match key {
        KeyData::Ed25519(key) => ed25519(key),
        KeyData::SkEd25519(key) => {
            check_application(key.application())?;
            ed25519(key.public_key())
        }
        KeyData::Ecdsa(key) => ecdsa(key)?,
        KeyData::SkEcdsaSha2NistP256(key) => {
            check_application(key.application())?;
            ecdsa(&EcdsaPublicKey::NistP256(*key.ec_point()))?
        }
        KeyData::Rsa(key) => rsa(key)?,
        KeyData::Dsa(_) | KeyData::Certificate(_) | KeyData::Other(_) | _ => {
            return Err(JobKeyError::Type);
        }
    };
    let document = json!({ "keys": [jwk] }).to_string();
    let set = KeySet::from_jwks(document.as_bytes(), &Admission::default())
        .map_err(|_| JobKeyError::Encoding)?;
    match set.rejected().first() {
        Some(rejected) => Err(JobKeyError::Weak(rejected.rule.to_string())),
        None if set.is_empty() => Err(JobKeyError::Encoding),
        None => Ok(()),
    }
}

fn ed25519(key: &Ed25519PublicKey) -> Value {
    json!({ "kty": "OKP", "crv": "Ed25519", "x": BASE64URL_NOPAD.encode(key.as_ref()) })
}

fn ecdsa(key: &EcdsaPublicKey) -> Result<Value, JobKeyError> {
    let curve = match key.curve() {
        EcdsaCurve::NistP256 => "P-256",
        EcdsaCurve::NistP384 => "P-384",
        EcdsaCurve::NistP521 => return Err(JobKeyError::Type),
    };
    // SEC 1 section 2.3.3: OpenSSH takes uncompressed points only.
    let Some((&UNCOMPRESSED, coordinates)) = key.as_sec1_bytes().split_first() else {
        return Err(JobKeyError::Encoding);
    };
    let half = coordinates.len().checked_div(2).unwrap_or_default();
    let (x, y) = coordinates.split_at_checked(half).unwrap_or_default();
    Ok(json!({
        "kty": "EC",
        "crv": curve,
        "x": BASE64URL_NOPAD.encode(x),
        "y": BASE64URL_NOPAD.encode(y),
    }))
}

fn rsa(key: &RsaPublicKey) -> Result<Value, JobKeyError> {
    let numbers = [key.n(), key.e()].map(|number| number.as_positive_bytes());
    let [Some(n), Some(e)] = numbers else {
        return Err(JobKeyError::Encoding);
    };
    let unused = n.first().map_or(0, |byte| byte.leading_zeros());
    let bits = n
        .len()
        .saturating_mul(8)
        .saturating_sub(usize::try_from(unused).unwrap_or_default());
    if bits < SMALLEST_MODULUS {
        return Err(JobKeyError::Weak(format!(
            "its modulus has {bits} bits, expected 3072 to 8192"
        )));
    }
    let text = |number| BASE64URL_NOPAD.encode(number);
    Ok(json!({ "kty": "RSA", "n": text(n), "e": text(e) }))
}

/// The text that a security key signs with, which goes into the certificate as it is.
fn check_application(application: &str) -> Result<(), JobKeyError> {
    let is_plain = application.bytes().all(|byte| byte.is_ascii_graphic());
    if application.starts_with("ssh:") && application.len() <= LONGEST_APPLICATION && is_plain {
        Ok(())
    } else {
        Err(JobKeyError::Encoding)
    }
}

/// Why a key is rejected. The text completes a sentence that begins with the input's name. No
/// message quotes the input: it may be a private key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobKeyError {
    #[error("has {length} bytes, expected one line of at most 4096")]
    Length { length: usize },
    #[error(
        "is a private key, which never leaves the job; make a new pair and send the `.pub` file"
    )]
    Private,
    /// Not a line of a `.pub` file.
    #[error("must be one line `<type> <base64>`, as in the `.pub` file of ssh-keygen")]
    Line,
    /// A certificate, options of `authorized_keys`, or a type that is not signed.
    #[error(
        "must begin with `ssh-ed25519`, `ecdsa-sha2-nistp256`, `ecdsa-sha2-nistp384`, `ssh-rsa`, `sk-ssh-ed25519@openssh.com` or `sk-ecdsa-sha2-nistp256@openssh.com`; certificates and options are not accepted"
    )]
    Type,
    /// Not encoded as its type requires.
    #[error("is not encoded as its type requires; was it truncated when it was copied?")]
    Encoding,
    /// A weak key.
    #[error("is too weak: {0}; make one with `ssh-keygen -t ed25519`")]
    Weak(String),
}

/// The accepted types. DSA is broken, and P-521 adds nothing to the others.
const TYPES: [&str; 6] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];
const PRIVATE_MARKS: [&str; 2] = ["PRIVATE KEY", "b3BlbnNzaC1rZXktdjE"];
/// An RSA key of 8192 bits has 1,400 characters.
pub(super) const LONGEST: usize = 4_096;
const LONGEST_APPLICATION: usize = 64;
/// Bits.
const SMALLEST_MODULUS: usize = 3_072;
/// SEC 1 section 2.3.3: the prefix of both coordinates.
const UNCOMPRESSED: u8 = 4;
