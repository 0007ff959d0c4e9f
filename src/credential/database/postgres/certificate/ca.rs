//! The key of the authority, read from a file.

use std::fmt;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData as _, date_time_ymd,
};

use crate::secret::file;

/// The key that signs client certificates.
pub struct CertificateAuthority(KeyPair);

impl CertificateAuthority {
    /// Reads the key in a file that others cannot read, as `openssl genpkey -algorithm EC -pkeyopt
    /// ec_paramgen_curve:P-256` makes it.
    ///
    /// # Errors
    /// The file cannot be read, may be read by others, or holds no unencrypted P-256 key in PEM.
    pub fn read(path: &Path) -> Result<Self, String> {
        let wrong =
            |problem: &dyn fmt::Display| format!("CA key file `{}` {problem}", path.display());
        let text = file::read_private(path, LARGEST_FILE).map_err(|error| wrong(&error))?;
        Self::parse(text.expose()).map_err(|problem| wrong(&problem))
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        if text.contains("ENCRYPTED") {
            return Err("is encrypted; hallpass cannot be asked for a passphrase");
        }
        let pair = KeyPair::from_pem(text).map_err(|_| WRONG_KEY)?;
        if !pair.is_compatible(&PKCS_ECDSA_P256_SHA256) {
            return Err(WRONG_KEY);
        }
        Ok(Self(pair))
    }

    pub(super) const fn pair(&self) -> &KeyPair {
        &self.0
    }

    /// The SHA-256 of its public half.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let hash = digest(&SHA256, &self.0.subject_public_key_info());
        format!("SHA256:{}", HEXLOWER.encode(hash.as_ref()))
    }

    /// Its own certificate, for the server's `ssl_ca_file`; PEM.
    ///
    /// # Errors
    /// The key cannot sign.
    pub fn certificate(&self, target: &str) -> Result<String, String> {
        let signed = params(target).self_signed(&self.0);
        signed
            .map(|certificate| certificate.pem())
            .map_err(|error| format!("the CA certificate could not be made: {error}"))
    }
}

/// What its own certificate says. Only the key counts: each time it is printed it is another
/// certificate of the same authority.
pub(super) fn params(target: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let name = format!("hallpass {target}");
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2046, 1, 1);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CertificateAuthority")
            .field(&self.fingerprint())
            .finish()
    }
}

const LARGEST_FILE: u64 = 16 * 1024;
const WRONG_KEY: &str = "holds no P-256 key in PEM (`-----BEGIN PRIVATE KEY-----`); make one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`";

#[cfg(test)]
mod tests {
    use super::*;

    /// T-450
    #[test]
    fn only_an_unencrypted_p256_key_is_taken() {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let authority = CertificateAuthority::parse(&key.serialize_pem()).unwrap();
        assert!(format!("{authority:?}").contains("SHA256:"));
        for other in [&rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P384_SHA384] {
            let key = KeyPair::generate_for(other).unwrap();
            assert!(CertificateAuthority::parse(&key.serialize_pem()).is_err());
        }
        for text in [
            "",
            "x",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        ] {
            assert!(CertificateAuthority::parse(text).is_err(), "{text}");
        }
    }
}
