//! How the other side of a webhook is reached, and which groups it has.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use ipnet::IpNet;
use rustls::ClientConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;

use crate::file::read_text;
use crate::secret::Secret;
use crate::tls;

/// The other side of one target: `targets:` of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookSettings {
    /// What `/create` and the others are put after: https, without a slash at its end.
    pub url: String,
    /// PEM certificates that the server's certificate is checked against; public ones without.
    pub ca: Option<PathBuf>,
    /// The broker's certificate and its key, for mutual TLS.
    pub client: Option<(PathBuf, PathBuf)>,
    /// Networks that it may be in beside what is globally routable.
    pub networks: Vec<IpNet>,
    /// For one request.
    pub timeout: Duration,
    /// The groups that credentials may name.
    pub groups: Vec<String>,
    /// What lease names begin with, `_` included; at most five bytes.
    pub prefix: String,
    /// How often ended leases are looked for.
    pub sweep: Duration,
    /// Leases that one repository may hold at once (T-130).
    pub places_per_repository: u32,
}

impl WebhookSettings {
    /// A target with the default of every setting that may be left out.
    #[must_use]
    pub fn new(url: String, groups: Vec<String>) -> Self {
        Self {
            url,
            ca: None,
            client: None,
            networks: Vec::new(),
            timeout: Duration::from_secs(3),
            groups,
            prefix: "hp_".to_owned(),
            sweep: Duration::from_secs(10),
            places_per_repository: MAX_LIVE / 2,
        }
    }
}

/// Hashes of the files that the settings name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Files(Vec<Vec<u8>>);

impl Files {
    pub(super) fn read(settings: &WebhookSettings) -> Result<Self, String> {
        let client = settings.client.iter().flat_map(|(cert, key)| [cert, key]);
        let hash = |path: &PathBuf| {
            let text = read(path)?;
            Ok(digest(&SHA256, text.expose().as_bytes()).as_ref().to_vec())
        };
        let hashes = settings.ca.iter().chain(client).map(hash);
        hashes.collect::<Result<_, String>>().map(Self)
    }
}

/// TLS as the settings say.
pub(super) fn tls(settings: &WebhookSettings) -> Result<ClientConfig, String> {
    let Some((cert, key)) = &settings.client else {
        return tls::to_server(settings.ca.as_deref());
    };
    let ca = settings.ca.as_deref();
    let roots = ca.map_or_else(|| Ok(tls::public_authorities()), tls::authorities)?;
    let chain = tls::certificates(read(cert)?.expose().as_bytes());
    let chain = chain.map_err(|problem| format!("`{}` {problem}", cert.display()))?;
    // The error of the library may hold what it could not read.
    let key_der = PrivateKeyDer::from_pem_slice(read(key)?.expose().as_bytes())
        .map_err(|_| format!("`{}` holds no private key in PEM", key.display()))?;
    tls::trusting_as(roots, chain, key_der).map_err(|error| {
        format!(
            "`{}` does not go with the key in `{}`: {error}",
            cert.display(),
            key.display()
        )
    })
}

fn read(path: &Path) -> Result<Secret<String>, String> {
    let text = read_text(path, tls::LARGEST_CA).map(Secret::new);
    text.map_err(|error| format!("`{}` cannot be read: {error}", path.display()))
}

/// Live leases on one target.
pub const MAX_LIVE: u32 = 500;
/// The shortest life of a lease, in seconds.
pub const SHORTEST_LIFE: u32 = 5;
