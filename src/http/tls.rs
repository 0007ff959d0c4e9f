//! TLS of the public listener: a certificate chain and its key become what takes handshakes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use tokio_rustls::TlsAcceptor;

use crate::config::TlsFiles;
use crate::file::{open_regular, read_up_to};
use crate::secret::Secret;
use crate::tls;

/// Reads the files that the settings name.
///
/// # Errors
/// One cannot be read or is not PEM, or they do not go together.
pub(crate) fn read(files: &TlsFiles) -> Result<Tls, TlsError> {
    let refused = |path: &Path, problem: String| TlsError {
        path: path.to_owned(),
        problem,
    };
    let read = |path: &Path| {
        let bytes = open_regular(path).and_then(|file| read_up_to(file, LARGEST_FILE));
        let bytes = bytes.map(Secret::new);
        bytes.map_err(|error| refused(path, format!("cannot be read: {error}")))
    };
    let (cert, key) = (read(&files.cert)?, read(&files.key)?);
    let chain =
        tls::certificates(cert.expose()).map_err(|problem| refused(&files.cert, problem))?;
    let private = PrivateKeyDer::from_pem_slice(key.expose())
        .map_err(|_| refused(&files.key, "holds no private key in PEM".to_owned()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(&files.cert, error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| refused(&files.cert, format!("does not go with the key: {error}")))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut files = digest::Context::new(&digest::SHA256);
    files.update(digest::digest(&digest::SHA256, cert.expose()).as_ref());
    files.update(digest::digest(&digest::SHA256, key.expose()).as_ref());
    Ok(Tls {
        acceptor: TlsAcceptor::from(Arc::new(config)),
        files: files.finish().as_ref().to_vec(),
    })
}

/// Why the certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("`{path}` {problem}; see `listen.tls` in the settings", path = .path.display())]
pub struct TlsError {
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

/// What takes handshakes, and the hash of the files it was made of. Two are equal that were made of
/// the same.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    files: Vec<u8>,
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// Bytes of a certificate chain, or of a key.
const LARGEST_FILE: u64 = 1024 * 1024;
