//! Services of a CI or platform that give ID tokens: one HTTP request each, with the retries of [`Connection`].
//!
//! [`Connection`]: crate::client::connection::Connection

use std::fmt;
use std::path::PathBuf;

use reqwest::Method;
use serde_json::{Value, json};
use url::Url;

use super::{Environment, Fetch, Source, SourceError};
use crate::client::address::is_this_machine;
use crate::client::answer::parse_json;
use crate::client::connection::{Answer, Connection, Request};
use crate::client::token::IdToken;
use crate::secret::Secret;

/// A service whose address and bearer token are variables of the job.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// For error texts.
    pub(super) who: &'static str,
    /// The variable with the address.
    pub(super) url: &'static str,
    /// What comes after the address.
    pub(super) path: &'static str,
    pub(super) query: &'static [(&'static str, &'static str)],
    /// The variable with the token that authenticates the job.
    pub(super) bearer: &'static str,
    /// The header for it, and what comes before it there.
    pub(super) header: (&'static str, &'static str),
    pub(super) asks: Asks,
    /// The member of the answer that is the token.
    pub(super) member: &'static str,
    /// The token authenticates the job for nothing else, so that a command need not have it.
    pub(super) is_for_tokens_only: bool,
}

/// How the audience is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// GET with this parameter.
    Query(&'static str),
    /// POST of a JSON object with this member.
    Json(&'static str),
    /// POST without a body: the service lets nobody choose.
    Nothing,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (url, path, bearer) = (self.url, self.path, self.bearer);
        write!(f, "a request to `${url}{path}` with `{bearer}`")
    }
}

impl Service {
    pub(super) fn variables(&self) -> Vec<String> {
        let names = [self.url, self.bearer];
        let count = if self.is_for_tokens_only { 2 } else { 0 };
        names.into_iter().take(count).map(str::to_owned).collect()
    }

    pub(super) async fn fetch(
        &self,
        source: &Source,
        fetch: &Fetch<'_>,
    ) -> Result<IdToken, SourceError> {
        let value = |name| fetch.environment.get(name).unwrap_or_default();
        let url = self.address(value(self.url), fetch.audience.as_str())?;
        let mut request = match self.asks {
            Asks::Query(_) => Request::get(self.who, url),
            Asks::Json(member) => {
                let body = json!({ member: fetch.audience.as_str() }).to_string();
                Request::post(self.who, url, JSON, Secret::new(body))
            }
            Asks::Nothing => {
                let mut request = Request::post(self.who, url, JSON, Secret::new(String::new()));
                // Without it Azure DevOps answers a bad token with a redirect to a sign-in page.
                let suppress = reqwest::header::HeaderValue::from_static("Suppress");
                request.headers.insert("x-tfs-fedauthredirect", suppress);
                request
            }
        };
        let (header, scheme) = self.header;
        request = request
            .secret_header(header, &format!("{scheme}{}", value(self.bearer)))
            .map_err(SourceError::request)?;
        let answer = send(fetch.connection, &request, source, fetch).await?;
        IdToken::parse(member(&answer, self.member)?, self.who)
    }

    /// The audience goes in as a parameter of its own, whatever characters it holds. The bearer token
    /// goes to no plain http address of another machine (T-381).
    fn address(&self, text: &str, audience: &str) -> Result<String, SourceError> {
        let wrong = || SourceError::Refused {
            who: self.who,
            fix: format!(
                "{} is not an https address; does the runner set it?",
                self.url
            ),
        };
        let mut url = Url::parse(text).map_err(|_| wrong())?;
        let is_http = url.scheme() == "http" && is_this_machine(&url);
        if !(url.scheme() == "https" || is_http) || !url.has_host() {
            return Err(wrong());
        }
        if !self.path.is_empty() {
            let path = format!("{}{}", url.path().trim_end_matches('/'), self.path);
            url.set_path(&path);
        }
        for (name, value) in self.query {
            url.query_pairs_mut().append_pair(name, value);
        }
        if let Asks::Query(name) = self.asks {
            url.query_pairs_mut().append_pair(name, audience);
        }
        Ok(url.into())
    }
}

/// The metadata server has no TLS: it is reached over the machine's own link, never through the proxy.
pub(super) async fn google(source: &Source, fetch: &Fetch<'_>) -> Result<IdToken, SourceError> {
    let who = "Google's metadata server";
    let host = fetch.environment.get(METADATA_HOST);
    let host = host.unwrap_or("metadata.google.internal");
    let wrong = || SourceError::Refused {
        who,
        fix: format!("{METADATA_HOST} is not a host name, or one with a port"),
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    if !host.bytes().all(is_host) {
        return Err(wrong());
    }
    let base = format!("http://{host}{METADATA_PATH}");
    let mut url = Url::parse(&base).map_err(|_| wrong())?;
    url.query_pairs_mut()
        .append_pair("audience", fetch.audience.as_str())
        .append_pair("format", "full");
    let mut request = Request::get(who, url.into());
    let google = reqwest::header::HeaderValue::from_static("Google");
    request.headers.insert("metadata-flavor", google);
    let connection = fetch.connection.local(None).map_err(SourceError::request)?;
    let answer = send(&connection, &request, source, fetch).await?;
    IdToken::parse(text(&answer), who)
}

pub(super) async fn fly(source: &Source, fetch: &Fetch<'_>) -> Result<IdToken, SourceError> {
    let who = "Fly.io's API";
    let body = json!({ "aud": fetch.audience.as_str() }).to_string();
    let url = "http://localhost/v1/tokens/oidc".to_owned();
    let request = Request::post(who, url, JSON, Secret::new(body));
    let socket = fly_socket(fetch.environment);
    let connection = fetch.connection.local(Some(&socket));
    let connection = connection.map_err(SourceError::request)?;
    let answer = send(&connection, &request, source, fetch).await?;
    IdToken::parse(text(&answer), who)
}

pub(super) fn fly_socket(environment: &Environment) -> PathBuf {
    let usual = || PathBuf::from("/.fly/api");
    environment.path(FLY_SOCKET).unwrap_or_else(usual)
}

/// Sends Vercel its own token, and takes one for the broker for it.
pub(super) async fn vercel(source: &Source, fetch: &Fetch<'_>) -> Result<IdToken, SourceError> {
    let who = "Vercel's token service";
    let own = fetch.environment.get(VERCEL_TOKEN).unwrap_or_default();
    let body = json!({ "token": own.trim(), "aud": fetch.audience.as_str() }).to_string();
    let url = "https://oidc.vercel.com/~token".to_owned();
    let request = Request::post(who, url, JSON, Secret::new(body));
    let answer = send(fetch.connection, &request, source, fetch).await?;
    IdToken::parse(member(&answer, "token")?, who)
}

/// An answer with a token, or else what the status means for the job.
async fn send(
    connection: &Connection,
    request: &Request,
    source: &Source,
    fetch: &Fetch<'_>,
) -> Result<Answer, SourceError> {
    let answer = connection.send(request, fetch.deadline).await;
    let answer = answer.map_err(SourceError::request)?;
    let is_made = answer.status == 201 && request.method == Method::POST;
    if answer.status == 200 || is_made {
        return Ok(answer);
    }
    let fix = if answer.status >= 500 {
        format!(
            "it answers {}; run the job again, and see the status page of {} if that does not help",
            answer.status, source.title
        )
    } else {
        format!(
            "it answers {}; {}",
            answer.status,
            source.fix(fetch.environment, fetch.audience.as_str())
        )
    };
    Err(SourceError::Refused {
        who: request.who,
        fix,
    })
}

/// The text of a member, without the rest of the answer.
fn member(answer: &Answer, name: &str) -> Result<Secret<String>, SourceError> {
    let mut object: serde_json::Map<String, Value> =
        parse_json(answer).map_err(SourceError::request)?;
    match object.remove(name) {
        Some(Value::String(token)) => Ok(Secret::new(token)),
        _ => Err(SourceError::NotAToken {
            origin: format!("member `{name}` of the answer of {}", answer.who),
        }),
    }
}

fn text(answer: &Answer) -> Secret<String> {
    let text = std::str::from_utf8(answer.body.expose()).unwrap_or_default();
    Secret::new(text.trim().to_owned())
}

const JSON: &str = "application/json";
const METADATA_HOST: &str = "GCE_METADATA_HOST";
const METADATA_PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/identity";
const FLY_SOCKET: &str = "HALLPASS_FLY_SOCKET";
pub(super) const VERCEL_TOKEN: &str = "VERCEL_OIDC_TOKEN";

#[cfg(test)]
mod tests {
    use super::super::{SOURCES, Way};
    use super::*;

    fn services() -> impl Iterator<Item = Service> {
        SOURCES.iter().filter_map(|source| {
            let Way::Service(service) = source.way else {
                return None;
            };
            Some(service)
        })
    }

    #[test]
    fn the_audience_is_one_parameter_whatever_it_holds() {
        let github = services().next().unwrap();
        assert_eq!(
            github
                .address(
                    "https://runner.example/idtoken?api-version=2.0",
                    "https://hallpass.example/a&b"
                )
                .unwrap(),
            "https://runner.example/idtoken?api-version=2.0&audience=https%3A%2F%2Fhallpass.example%2Fa%26b"
        );
    }

    /// T-381
    #[test]
    fn a_request_token_goes_to_no_plain_http_address() {
        for service in services() {
            for address in ["http://runner.example/", "file:///etc/passwd", "x", ""] {
                assert!(service.address(address, "a").is_err(), "{address}");
            }
            assert!(service.address("http://127.0.0.1:1/", "a").is_ok());
        }
    }
}
