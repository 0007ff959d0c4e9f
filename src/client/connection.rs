//! Sends HTTPS requests to the broker, with size limits and retries.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use rustls::pki_types::CertificateDer;
use rustls::{InvalidMessage, RootCertStore};
use serde::Deserialize;
use url::Url;

use crate::clock::Clock;
use crate::secret::Secret;
use crate::text::escape;
use crate::tls;
use crate::wire::Refusal;

use super::BROKER;
use super::error::ClientError;
use super::file::read_bounded;
use super::no_proxy::NoProxy;

/// Whom to trust and which way to go.
#[derive(Clone, Debug, Default)]
pub struct TransportSettings {
    /// PEM certificates of authorities that count beside the public ones.
    pub ca: Option<PathBuf>,
    /// A proxy, only if asked for: one named by the environment would see addresses and choose
    /// answers without anybody having decided so.
    pub proxy: Option<Proxy>,
    /// The value of `NO_PROXY`. This machine is always asked without the proxy.
    pub no_proxy: Option<String>,
}

/// A proxy that was asked for.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// It may hold a password.
    pub url: Secret<String>,
    /// The option or variable that names it.
    pub origin: &'static str,
}

impl Proxy {
    /// What errors call it: its address without user and password, and who named it.
    fn shown(&self) -> String {
        let text = self.url.expose();
        let url = Url::parse(text).ok().filter(Url::has_host);
        let url = url.or_else(|| Url::parse(&format!("http://{text}")).ok());
        let address = url.and_then(|url| {
            let (host, port) = (url.host_str()?, url.port_or_known_default()?);
            Some(format!(" `{}://{host}:{port}`", url.scheme()))
        });
        format!(
            " through proxy{} ({})",
            address.unwrap_or_default(),
            self.origin
        )
    }
}

/// Makes requests: https with our own list of authorities, no redirects, no cookies, bounded answers.
#[derive(Clone)]
pub struct Connection {
    http: reqwest::Client,
    own_authorities: Vec<CertificateDer<'static>>,
    /// What errors call the proxy, and the hosts that are asked without it.
    proxy: Option<(String, NoProxy)>,
    clock: Arc<dyn Clock>,
}

impl Connection {
    /// Reads the CA certificates within `patience`; opens no connection.
    ///
    /// # Errors
    /// The CA file cannot be read or holds no certificate; the proxy's address is none.
    pub fn new(
        route: &TransportSettings,
        patience: Duration,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ClientError> {
        let mut roots = tls::public_authorities();
        let own_authorities = match &route.ca {
            Some(path) => add_authorities(&mut roots, path, patience)?,
            None => Vec::new(),
        };
        let mut builder = builder(roots)?;
        let direct = NoProxy::new(route.no_proxy.as_deref());
        let named = route
            .proxy
            .as_ref()
            .map(|proxy| (proxy.shown(), direct.clone()));
        if let Some(proxy) = &route.proxy {
            reqwest::Proxy::all(proxy.url.expose()).map_err(|_| {
                ClientError::Setting(format!(
                    "{} names no proxy; expected an address like `http://proxy.example:3128`",
                    proxy.origin
                ))
            })?;
            let proxy = proxy.url.expose().clone();
            builder = builder.proxy(reqwest::Proxy::custom(move |url| {
                (!direct.covers(url)).then(|| proxy.clone())
            }));
        }
        Ok(Self {
            http: build(builder)?,
            own_authorities,
            proxy: named,
            clock,
        })
    }

    /// One to a service of this machine's platform: without the proxy, without TLS, and over a Unix
    /// socket if one is named.
    pub(super) fn local(&self, socket: Option<&Path>) -> Result<Self, ClientError> {
        let mut builder = builder(RootCertStore::empty())?;
        if let Some(path) = socket {
            builder = builder.unix_socket(path);
        }
        Ok(Self {
            http: build(builder)?,
            own_authorities: Vec::new(),
            proxy: None,
            clock: Arc::clone(&self.clock),
        })
    }

    /// The certificates of the CA file.
    pub(super) fn own_authorities(&self) -> &[CertificateDer<'static>] {
        &self.own_authorities
    }

    /// When to give up, if we begin now and wait for `patience`.
    #[must_use]
    pub fn deadline(&self, patience: Duration) -> Deadline {
        Deadline(self.clock.monotonic().saturating_add(patience))
    }

    /// The clock that deadlines are measured by.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Sends until there is an answer that is not "later", or no time is left.
    ///
    /// A request may arrive twice, so only ones that can be repeated go through here: an exchange
    /// with its idempotency key, or one that changes nothing.
    pub(super) async fn send(
        &self,
        request: &Request,
        deadline: Deadline,
    ) -> Result<Answer, ClientError> {
        let attempt = || async {
            let attempt = self.attempt(request);
            let in_time = tokio::time::timeout(self.left(deadline), attempt).await;
            in_time.unwrap_or_else(|_| Err(Failed::again(ClientError::silent(request.who))))
        };
        // Jitter adds up to as much again, so that a thousand jobs do not come back in the same moment.
        let waits = ExponentialBuilder::new()
            .with_min_delay(SHORTEST_WAIT)
            .with_max_delay(LONGEST_WAIT)
            .with_jitter()
            .without_max_times();
        attempt
            .retry(waits)
            .sleep(tokio::time::sleep)
            .when(|failed| failed.may_succeed_after.is_some())
            // What the broker names may be nothing at all: it only ever makes the wait longer.
            .adjust(|failed, wait| {
                let wait = wait.max(failed.may_succeed_after)?;
                (wait < self.left(deadline)).then_some(wait)
            })
            .await
            .map_err(|failed| self.name_proxy(failed.error, &request.url))
    }

    /// Sends once: for what must not arrive twice.
    pub(super) async fn send_once(&self, request: &Request) -> Result<Answer, ClientError> {
        let attempt = self.attempt(request).await;
        attempt.map_err(|failed| self.name_proxy(failed.error, &request.url))
    }

    /// Says which proxy was in between where there is no answer: it may be what is broken.
    fn name_proxy(&self, mut error: ClientError, url: &str) -> ClientError {
        if let ClientError::Unreachable { via, .. } | ClientError::Silent { via, .. } = &mut error
            && let Some((shown, direct)) = &self.proxy
            && Url::parse(url).is_ok_and(|url| !direct.covers(&url))
        {
            via.clone_from(shown);
        }
        error
    }

    /// The time until `deadline`.
    pub(super) fn left(&self, deadline: Deadline) -> Duration {
        deadline.0.saturating_sub(self.clock.monotonic())
    }

    /// Sends once. An answer that is "later" is a failure.
    async fn attempt(&self, request: &Request) -> Result<Answer, Failed> {
        let mut outgoing = self
            .http
            .request(request.method.clone(), &request.url)
            .headers(request.headers.clone());
        if let Some(body) = &request.body {
            outgoing = outgoing.body(body.expose().clone());
        }
        let response = outgoing
            .send()
            .await
            .map_err(|error| failure(request.who, &error))?;
        let answer = read(request, response).await?;
        if answer.is_later() {
            return Err(Failed {
                error: answer.later_error(),
                may_succeed_after: Some(answer.retry_after.unwrap_or_default()),
            });
        }
        Ok(answer)
    }
}

/// Certificates are public, and headers are not stored here.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// A point in monotonic time.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Duration);

/// What is sent. Its headers and body are secrets.
pub(super) struct Request {
    /// Whom, for error texts: `the broker`.
    pub who: &'static str,
    pub method: Method,
    pub url: String,
    pub headers: HeaderMap,
    pub body: Option<Secret<String>>,
    /// The most bytes of the answer.
    pub longest: usize,
}

impl Request {
    pub(super) fn get(who: &'static str, url: String) -> Self {
        Self {
            who,
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            body: None,
            longest: MAX_ANSWER,
        }
    }

    pub(super) fn post(
        who: &'static str,
        url: String,
        media_type: &'static str,
        body: Secret<String>,
    ) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(
            reqwest::header::CONTENT_TYPE,
            HeaderValue::from_static(media_type),
        );
        Self {
            who,
            method: Method::POST,
            url,
            headers,
            body: Some(body),
            longest: MAX_ANSWER,
        }
    }

    /// Adds a header whose value no log may show.
    pub(super) fn secret_header(
        mut self,
        name: &'static str,
        value: &str,
    ) -> Result<Self, ClientError> {
        let mut value = HeaderValue::from_str(value).map_err(|_| {
            ClientError::Setting(format!(
                "header `{name}` cannot be sent: its value has characters that are not allowed in a header"
            ))
        })?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(self)
    }
}

#[derive(Debug)]
pub(super) struct Answer {
    pub who: &'static str,
    pub status: u16,
    pub body: Secret<Vec<u8>>,
    retry_after: Option<Duration>,
}

impl Answer {
    /// Whether the broker sent it: what another party says is not read as a refusal (T-383).
    pub(super) fn is_of_broker(&self) -> bool {
        self.who == BROKER
    }

    /// Whether the same request may succeed later: what the broker's refusal says, or else too many
    /// requests, busy, or a proxy that lost its broker.
    fn is_later(&self) -> bool {
        if self.status < 400 {
            return false;
        }
        let refusal = || serde_json::from_slice::<RawRetry>(self.body.expose()).ok();
        match self.is_of_broker().then(refusal).flatten() {
            Some(refusal) => refusal.retryable,
            None => matches!(self.status, 429 | 502 | 503 | 504),
        }
    }

    /// What the last answer of a busy broker said, for the error when time is up.
    fn later_error(&self) -> ClientError {
        let (who, status) = (self.who, self.status);
        Refusal::parse(self).map_or_else(
            || ClientError::unreachable(who, format!("it answers {status}")),
            |refusal| ClientError::NotNow {
                who,
                status,
                refusal: Box::new(refusal),
            },
        )
    }
}

/// Whether the same request may succeed later, in a refusal that says.
#[derive(Deserialize)]
struct RawRetry {
    retryable: bool,
}

/// Why an attempt failed.
struct Failed {
    error: ClientError,
    /// The least time after which the same request may succeed; `None` if it never will.
    may_succeed_after: Option<Duration>,
}

impl Failed {
    const fn again(error: ClientError) -> Self {
        Self {
            error,
            may_succeed_after: Some(Duration::ZERO),
        }
    }
}

impl From<ClientError> for Failed {
    fn from(error: ClientError) -> Self {
        Self {
            error,
            may_succeed_after: None,
        }
    }
}

fn builder(roots: RootCertStore) -> Result<reqwest::ClientBuilder, ClientError> {
    let tls = tls::trusting(roots)
        .map_err(|error| ClientError::Setting(format!("TLS cannot be set up: {error}")))?;
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(ATTEMPT_TIMEOUT)
        .user_agent(concat!("hallpass/", env!("CARGO_PKG_VERSION"))))
}

fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, ClientError> {
    let built = builder.build();
    built.map_err(|error| ClientError::Setting(format!("cannot set up TLS: {error}")))
}

/// Adds the authorities of a file, and returns them.
fn add_authorities(
    roots: &mut RootCertStore,
    path: &Path,
    patience: Duration,
) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let pem = read_bounded(path, tls::LARGEST_CA, patience)?;
    tls::add(roots, &pem).map_err(|problem| {
        let path = escape(&path.to_string_lossy());
        ClientError::Setting(format!("CA file `{path}` {problem}"))
    })
}

async fn read(request: &Request, mut response: reqwest::Response) -> Result<Answer, Failed> {
    let (who, longest) = (request.who, request.longest);
    let status = response.status().as_u16();
    if (300..400).contains(&status) {
        let fix = if who == BROKER {
            "; set the address it leads to"
        } else {
            ""
        };
        let problem = format!("status {status} is a redirect, which hallpass does not follow{fix}");
        return Err(ClientError::Answer { who, problem }.into());
    }
    let retry_after = retry_after(response.headers());
    let mut body = Secret::new(Vec::new());
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| failure(who, &error))?
    {
        let length = body.expose().len().saturating_add(chunk.len());
        if length > longest {
            let problem = format!("it is longer than {longest} bytes");
            return Err(ClientError::Answer { who, problem }.into());
        }
        let mut longer = Vec::with_capacity(length);
        longer.extend_from_slice(body.expose());
        longer.extend_from_slice(&chunk);
        body = Secret::new(longer);
    }
    Ok(Answer {
        who,
        status,
        body,
        retry_after,
    })
}

/// Accepts seconds only: a date would depend on this machine's clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Library errors become our texts: theirs may quote addresses and what a server sent (T-91, T-92).
fn failure(who: &'static str, error: &reqwest::Error) -> Failed {
    let again = |problem: &str| Failed::again(ClientError::unreachable(who, problem.to_owned()));
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(tls) = tls_error(inner) {
            return ClientError::unreachable(who, tls_problem(tls)).into();
        }
        if let Some(io) = inner.downcast_ref::<io::Error>()
            && let Some(problem) = io_problem(io.kind())
        {
            return again(problem);
        }
        if inner.to_string().ends_with("proxy authorization required") {
            let problem =
                "the proxy rejected the user and password in its address, or requires them";
            return ClientError::unreachable(who, problem.to_owned()).into();
        }
        cause = inner.source();
    }
    if error.is_timeout() {
        return again("it did not answer in time");
    }
    if error.is_connect() {
        return again(
            "cannot connect; check that its host name is right and resolves on this machine",
        );
    }
    if error.is_builder() {
        return ClientError::Setting(format!("the address of {who} is not a valid URL")).into();
    }
    again("the connection broke off")
}

/// I/O errors wrap each other without showing it in `source()`, so each layer is taken off.
fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let mut error = error;
    while let Some(inner) = error.downcast_ref::<io::Error>() {
        error = inner.get_ref()?;
    }
    error.downcast_ref::<rustls::Error>()
}

fn tls_problem(error: &rustls::Error) -> String {
    if let rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) = error {
        return "its answer is not TLS; does the broker speak plain http?".to_owned();
    }
    if let rustls::Error::InvalidCertificate(problem) = error {
        format!(
            "its certificate was rejected ({}); if a private CA issued it, set `--ca` or HALLPASS_CA",
            escape(&format!("{problem:?}"))
        )
    } else {
        format!("TLS failed ({})", escape(&error.to_string()))
    }
}

fn io_problem(kind: io::ErrorKind) -> Option<&'static str> {
    if kind == io::ErrorKind::ConnectionRefused {
        Some("connection refused; is it running, and is the port right?")
    } else if kind == io::ErrorKind::ConnectionReset {
        Some("connection reset")
    } else if kind == io::ErrorKind::NetworkUnreachable || kind == io::ErrorKind::HostUnreachable {
        Some("no route to its host")
    } else {
        None
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);
/// Before jitter.
const SHORTEST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(4);
/// Bytes of an answer: many times the largest credential.
const MAX_ANSWER: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_counts_in_seconds_only() {
        let header = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
            retry_after(&headers)
        };
        assert_eq!(header("7"), Some(Duration::from_secs(7)));
        assert_eq!(header("-7"), None);
        assert_eq!(header("Tue, 24 Nov 2026 20:00:00 GMT"), None);
    }

    #[test]
    fn a_ca_file_without_certificates_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = add_authorities(
            &mut RootCertStore::empty(),
            file.path(),
            Duration::from_secs(1),
        )
        .unwrap_err();
        let error = error.to_string();
        assert!(
            error.ends_with("holds no certificate; expected PEM, `-----BEGIN CERTIFICATE-----`"),
            "{error}"
        );
    }
}
