//! TLS of the public listener: a certificate chain and its key become what takes handshakes.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::assemble::StartError;
use crate::config::TlsFiles;

/// Reads the files that the settings name.
///
/// # Errors
/// One cannot be read or is not PEM, or they do not go together.
pub(super) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, StartError> {
    let refused = |path: &Path, problem: String| StartError::Tls {
        path: path.to_owned(),
        problem,
    };
    let read = |path: &Path| {
        fs::read(path).map_err(|error| refused(path, format!("cannot be read: {error}")))
    };
    let chain = CertificateDer::pem_slice_iter(&read(&files.cert)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| refused(&files.cert, "is not PEM".to_owned()))?;
    if chain.is_empty() {
        return Err(refused(&files.cert, "holds no certificate".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?)
        .map_err(|_| refused(&files.key, "holds no private key in PEM".to_owned()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(&files.cert, error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| refused(&files.cert, format!("does not go with the key: {error}")))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
