//! The TLS client configuration: one provider, one list of public authorities.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// TLS to a server in the settings. Trusts only the CA certificates of a PEM file, or without a
/// file the public ones.
///
/// # Errors
/// The file cannot be read, or is not a list of CA certificates.
pub(crate) fn to_server(ca: Option<&Path>) -> Result<ClientConfig, String> {
    let roots = ca.map_or_else(|| Ok(public_authorities()), authorities)?;
    trusting(roots).map_err(|error| format!("TLS cannot be set up: {error}"))
}

/// TLS 1.2 or later that trusts these authorities. Names and certificates are always checked, and
/// no key log is written (T-57).
///
/// # Errors
/// The cryptographic library supports no TLS version.
pub(crate) fn trusting(authorities: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authorities)
        .with_no_client_auth();
    Ok(config)
}

/// A built-in list, so trust does not depend on the machine.
pub(crate) fn public_authorities() -> RootCertStore {
    RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    }
}

fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let wrong = |problem: String| format!("`{}` {problem}", path.display());
    let pem = fs::read(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| wrong(format!("is not PEM: {error}")))?;
        roots
            .add(certificate)
            .map_err(|error| wrong(format!("holds a certificate that cannot be used: {error}")))?;
    }
    if roots.is_empty() {
        return Err(wrong(
            "holds no certificate; expected PEM, `-----BEGIN CERTIFICATE-----`".to_owned(),
        ));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T-57
    #[test]
    fn a_ca_file_that_adds_nothing_is_refused_and_not_replaced_by_the_public_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let problem = || {
            let problem = to_server(Some(&path)).unwrap_err();
            problem.replace(&path.display().to_string(), "ca.pem")
        };
        insta::assert_snapshot!(problem(), @"`ca.pem` cannot be read: No such file or directory (os error 2)");
        fs::write(&path, "no certificate").unwrap();
        insta::assert_snapshot!(problem(), @"`ca.pem` holds no certificate; expected PEM, `-----BEGIN CERTIFICATE-----`");
        let odd = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        fs::write(&path, odd).unwrap();
        assert!(problem().contains("holds a certificate that cannot be used"));
        assert!(to_server(None).is_ok());
    }
}
