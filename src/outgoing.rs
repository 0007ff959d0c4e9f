//! HTTPS requests of the broker to hosts of its settings and policies: no redirects, no proxy, no
//! decompression, addresses that were checked, and no more time and bytes than the limits (T-55 to T-58).

use std::error::Error as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use async_trait::async_trait;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Response, redirect, retry};
use rustls::ClientConfig;

use crate::text::escape_up_to;
use crate::token::keys::remote::address;

/// Brings a name's addresses. Which of them may be connected to is decided by its caller.
#[async_trait]
pub trait Lookup: Send + Sync + fmt::Debug {
    /// The addresses of a host.
    ///
    /// # Errors
    /// The name cannot be looked up.
    async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// How one host is reached.
#[derive(Debug)]
pub(crate) struct Reach {
    pub(crate) tls: ClientConfig,
    pub(crate) lookup: Arc<dyn Lookup>,
    /// The networks that are permitted beside what is globally routable.
    pub(crate) networks: Vec<IpNet>,
    /// The error for a host without a permitted address.
    pub(crate) no_address: &'static str,
    /// Whether connections are used again. A request on one that the server has closed meanwhile fails as
    /// if it may have been done.
    pub(crate) keeps_connections: bool,
    pub(crate) connect_time: Duration,
    /// From the first byte of a request to the last of its answer.
    pub(crate) whole_time: Duration,
}

impl Reach {
    /// # Errors
    /// The client cannot be set up.
    pub(crate) fn client(self) -> Result<Client, reqwest::Error> {
        let resolver = CheckedResolver {
            lookup: self.lookup,
            networks: self.networks,
            no_address: self.no_address,
        };
        let idle = if self.keeps_connections {
            usize::MAX
        } else {
            0
        };
        Client::builder()
            .tls_backend_preconfigured(self.tls)
            .https_only(true)
            .http1_only()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .no_proxy()
            .pool_max_idle_per_host(idle)
            .connect_timeout(self.connect_time)
            .timeout(self.whole_time)
            .dns_resolver(resolver)
            .user_agent(concat!("hallpass/", env!("CARGO_PKG_VERSION")))
            .build()
    }
}

/// Whether a body is in any other coding than none at all, which some servers spell `identity`.
pub(crate) fn is_encoded(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CONTENT_ENCODING).iter();
    let mut codings = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings.any(|coding| !coding.trim_ascii().eq_ignore_ascii_case(b"identity"))
}

/// Why there is no body.
#[derive(Debug)]
pub(crate) enum ReadError {
    TooLong,
    Broken(reqwest::Error),
}

/// The body. Stops as soon as there is more than there may be, whatever the answer's length says (T-58).
///
/// # Errors
/// It is longer, or the connection failed.
pub(crate) async fn read(mut response: Response, most_bytes: usize) -> Result<Vec<u8>, ReadError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(ReadError::Broken)? {
        if body.len().saturating_add(chunk.len()) > most_bytes {
            return Err(ReadError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The innermost cause, without the address it came from: that is where the certificate, the name or
/// the socket is named.
pub(crate) fn cause(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut text = String::new();
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    escape_up_to(&text, LONGEST_CAUSE)
}

/// Looks a name up once and gives only addresses that were checked, so that a name cannot point
/// outward when looked at and inward when connected to (T-56).
struct CheckedResolver {
    lookup: Arc<dyn Lookup>,
    networks: Vec<IpNet>,
    no_address: &'static str,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (lookup, networks) = (Arc::clone(&self.lookup), self.networks.clone());
        let no_address = self.no_address;
        Box::pin(async move {
            let found = lookup.addresses(name.as_str()).await?;
            let permitted: Vec<SocketAddr> = found
                .into_iter()
                .filter(|ip| address::is_permitted(*ip, &networks))
                .map(|ip| SocketAddr::new(ip, 0))
                .collect();
            if permitted.is_empty() {
                return Err(no_address.into());
            }
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

/// The system's name service.
#[derive(Debug)]
pub(crate) struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((host, 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }
}

/// Characters of a library's error text.
const LONGEST_CAUSE: usize = 200;
