//! The TLS client configuration: one provider, one list of public authorities.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::file::read_text;

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

/// The same with a certificate of ours, for servers that ask who connects.
///
/// # Errors
/// The cryptographic library supports no TLS version, or key and certificate do not go together.
pub(crate) fn trusting_as(
    authorities: RootCertStore,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authorities)
        .with_client_auth_cert(chain, key)
}

/// A built-in list, so trust does not depend on the machine.
pub(crate) fn public_authorities() -> RootCertStore {
    RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    }
}

pub(crate) fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let wrong = |problem: String| format!("`{}` {problem}", path.display());
    let pem = read_ca(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let mut roots = RootCertStore::empty();
    add(&mut roots, pem.as_bytes()).map_err(wrong)?;
    Ok(roots)
}

/// The text of a file of CA certificates.
///
/// # Errors
/// It cannot be read, or is no text of a possible length.
pub(crate) fn read_ca(path: &Path) -> io::Result<String> {
    read_text(path, LARGEST_CA)
}

/// The certificates of a PEM text, at least one.
///
/// # Errors
/// How it goes on after the name of the text.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| format!("is not PEM: {error}"))?;
    if found.is_empty() {
        return Err("holds no certificate; expected PEM, `-----BEGIN CERTIFICATE-----`".to_owned());
    }
    Ok(found)
}

/// Adds the CA certificates of a PEM text, and returns them.
///
/// # Errors
/// As [`certificates`], or one cannot be an authority's.
pub(crate) fn add(
    roots: &mut RootCertStore,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = certificates(pem)?;
    for certificate in &found {
        roots
            .add(certificate.clone())
            .map_err(|error| format!("holds a certificate that cannot be used: {error}"))?;
    }
    Ok(found)
}

/// Bytes: a machine's whole list has about a quarter of a million.
pub(crate) const LARGEST_CA: u64 = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::fs;

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
