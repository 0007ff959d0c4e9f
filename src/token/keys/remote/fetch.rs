//! One fetch: discovery document, then key set, over HTTPS.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use reqwest::{Client, Response, Url};
use rustls::ClientConfig;

use super::{KeyError, address};
use crate::outgoing::{self, Reach, ReadError, SystemLookup};
use crate::tls;
use crate::token::TrustedIssuer;
use crate::token::json::{self, Value};
use crate::token::keys::LONGEST_DOCUMENT;

pub use crate::outgoing::Lookup;

/// Brings an issuer's key set. Replaced in tests by one that needs no network.
#[async_trait]
pub trait Fetch: Send + Sync + fmt::Debug {
    /// The bytes of the issuer's JWKS as it is now. Must return within five seconds.
    ///
    /// # Errors
    /// The issuer cannot be reached, or does not answer as it must.
    async fn key_set(&self, issuer: &TrustedIssuer) -> Result<Vec<u8>, KeyError>;
}

/// Fetches over HTTPS: nothing but the issuer's own addresses, no redirects, no proxy, no
/// decompression, and no more time and bytes than the limits.
#[derive(Debug)]
pub struct HttpsFetch {
    lookup: Arc<dyn Lookup>,
}

impl HttpsFetch {
    /// With the system's name service.
    #[must_use]
    pub fn new() -> Self {
        Self::with_lookup(Arc::new(SystemLookup))
    }

    #[must_use]
    pub fn with_lookup(lookup: Arc<dyn Lookup>) -> Self {
        Self { lookup }
    }

    async fn fetch(&self, issuer: &TrustedIssuer) -> Result<Vec<u8>, KeyError> {
        let client = self.client(issuer)?;
        let url = discovery_url(issuer)?;
        let discovery = get(&client, url, Document::Discovery).await?;
        let key_set = key_set_url(&discovery, issuer)?;
        get(&client, key_set, Document::KeySet).await
    }

    /// Made for each fetch: two requests in five minutes need no pool, and roots and networks are
    /// always the issuer's own (T-57).
    fn client(&self, issuer: &TrustedIssuer) -> Result<Client, KeyError> {
        let reach = Reach {
            tls: tls(issuer.ca.as_deref())?,
            lookup: Arc::clone(&self.lookup),
            networks: issuer.networks.clone(),
            no_address: NO_PERMITTED_ADDRESS,
            keeps_connections: true,
            connect_time: CONNECT,
            whole_time: WHOLE,
        };
        reach
            .client()
            .map_err(|_| KeyError::Fetch("the HTTPS client could not be set up".to_owned()))
    }
}

impl Default for HttpsFetch {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Fetch for HttpsFetch {
    async fn key_set(&self, issuer: &TrustedIssuer) -> Result<Vec<u8>, KeyError> {
        tokio::time::timeout(WHOLE, self.fetch(issuer))
            .await
            .unwrap_or_else(|_| {
                Err(KeyError::Fetch(format!(
                    "the issuer took longer than {} s to answer",
                    WHOLE.as_secs()
                )))
            })
    }
}

/// The two documents an issuer publishes.
#[derive(Clone, Copy)]
enum Document {
    Discovery,
    KeySet,
}

impl Document {
    const fn name(self) -> &'static str {
        match self {
            Self::Discovery => "discovery document",
            Self::KeySet => "key set",
        }
    }

    const fn most_bytes(self) -> usize {
        match self {
            Self::Discovery => LONGEST_DISCOVERY,
            Self::KeySet => LONGEST_DOCUMENT,
        }
    }
}

/// OpenID Connect Discovery 1.0 section 4: the issuer without a slash at its end, then the path.
fn discovery_url(issuer: &TrustedIssuer) -> Result<Url, KeyError> {
    let base = issuer.url.strip_suffix('/').unwrap_or(&issuer.url);
    let url = Url::parse(&format!("{base}/.well-known/openid-configuration"))
        .map_err(|_| KeyError::Address("the issuer is not a URL".to_owned()))?;
    // A host that is an address never passes through the resolver, so it is checked here.
    match crate::token::issuer::literal(&url) {
        Some(ip) if !address::is_within(ip, &issuer.networks) => Err(KeyError::Address(
            "the issuer's host is an IP address that none of its `networks` holds".to_owned(),
        )),
        Some(_) | None => Ok(url),
    }
}

/// The address of an issuer's key set, from its discovery document. OpenID Connect Discovery 1.0
/// section 4.3: the document must be the issuer's own.
///
/// # Errors
/// It is not strict JSON, of another issuer, or names no address that the issuer's keys may have.
pub fn key_set_url(discovery: &[u8], issuer: &TrustedIssuer) -> Result<Url, KeyError> {
    let wrong = |problem: String| KeyError::Document(format!("the discovery document {problem}"));
    let document = json::parse_object(discovery, &json::Limits::for_bytes(LONGEST_DISCOVERY))
        .map_err(|error| wrong(format!("is not strict JSON: {error}")))?;
    if document.get("issuer").and_then(Value::as_text) != Some(&issuer.url) {
        return Err(wrong(format!("has another `issuer` than `{}`", issuer.url)));
    }
    let text = document
        .get("jwks_uri")
        .and_then(Value::as_text)
        .ok_or_else(|| wrong("has no `jwks_uri`".to_owned()))?;
    address::key_set_url(text, issuer)
}

async fn get(client: &Client, url: Url, document: Document) -> Result<Vec<u8>, KeyError> {
    let name = document.name();
    let response = client
        .get(url)
        .send()
        .await
        .map_err(|error| failed(name, &error))?;
    if response.status() != StatusCode::OK {
        return Err(KeyError::Document(format!(
            "the request for the {name} was answered with status {}, expected 200",
            response.status().as_u16()
        )));
    }
    if outgoing::is_encoded(response.headers()) {
        return Err(KeyError::Document(format!(
            "the {name} is compressed although that was not asked for"
        )));
    }
    read(response, document).await
}

async fn read(response: Response, document: Document) -> Result<Vec<u8>, KeyError> {
    let body = outgoing::read(response, document.most_bytes()).await;
    body.map_err(|error| match error {
        ReadError::TooLong => KeyError::Document(format!(
            "the {} is longer than {} bytes",
            document.name(),
            document.most_bytes()
        )),
        ReadError::Broken(error) => failed(document.name(), &error),
    })
}

fn failed(name: &str, error: &reqwest::Error) -> KeyError {
    if error.is_timeout() && error.is_connect() {
        return KeyError::Fetch(format!(
            "connecting for the {name} timed out after {} s",
            CONNECT.as_secs()
        ));
    }
    if error.is_timeout() {
        return KeyError::Fetch(format!("fetching the {name} timed out"));
    }
    KeyError::Fetch(format!(
        "the {name} could not be fetched: {}",
        outgoing::cause(error)
    ))
}

/// TLS that trusts the public authorities and the issuer's own.
fn tls(ca: Option<&str>) -> Result<ClientConfig, KeyError> {
    let mut roots = tls::public_authorities();
    if let Some(ca) = ca {
        tls::add(&mut roots, ca.as_bytes())
            .map_err(|problem| KeyError::Fetch(format!("the issuer's `ca` {problem}")))?;
    }
    tls::trusting(roots).map_err(|_| KeyError::Fetch("TLS could not be set up".to_owned()))
}

const NO_PERMITTED_ADDRESS: &str =
    "the host has no address that is globally routable or in the issuer's `networks`";
/// Connect timeout.
const CONNECT: Duration = Duration::from_secs(3);
/// For both documents together, bodies included.
const WHOLE: Duration = Duration::from_secs(5);
/// Bytes.
const LONGEST_DISCOVERY: usize = 64 * 1_024;
