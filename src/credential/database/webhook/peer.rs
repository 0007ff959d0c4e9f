//! One signed request to the other side, and its answer.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::Client;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::contract::{Refusal, SHORT, code};
use super::settings::WebhookSettings;
use super::token::{Claims, TYPE};
use super::{refused, settings};
use crate::clock::Clock;
use crate::credential::database::{DatabaseError, RefusalKind};
use crate::credential::jwt::Keys;
use crate::outgoing::{self, Lookup, Reach, ReadError};
use crate::secret::Secret;
use crate::text::escape_up_to;

/// The other side, as it is reached.
#[derive(Debug)]
pub(super) struct Peer {
    url: String,
    /// The `sub` of requests.
    pub(super) subject: String,
    client: Client,
    time: Duration,
    keys: ArcSwap<Keys>,
    clock: Arc<dyn Clock>,
}

/// An answer, not looked at.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    retry_after: Option<String>,
    pub(super) body: Secret<Vec<u8>>,
}

impl Peer {
    pub(super) fn new(
        settings: &WebhookSettings,
        (name, keys): (&str, Arc<Keys>),
        clock: Arc<dyn Clock>,
        lookup: Arc<dyn Lookup>,
    ) -> Result<Self, String> {
        let reach = Reach {
            tls: settings::tls(settings)?,
            lookup,
            networks: settings.networks.clone(),
            no_address: NO_ADDRESS,
            keeps_connections: false,
            // What does not connect in half the time has sent nothing, and the answer can say so.
            connect_time: settings.timeout / 2,
            whole_time: settings.timeout,
        };
        let client = reach.client();
        Ok(Self {
            url: settings.url.clone(),
            subject: format!("target/{name}"),
            client: client.map_err(|_| "the HTTPS client cannot be set up".to_owned())?,
            time: settings.timeout,
            keys: ArcSwap::new(keys),
            clock,
        })
    }

    pub(super) fn sign_with(&self, keys: Arc<Keys>) {
        self.keys.store(keys);
    }

    pub(super) fn keys(&self) -> Arc<Keys> {
        self.keys.load_full()
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// The claims of a request with this body.
    pub(super) fn claims(&self, path: &str, body: &[u8]) -> Result<Claims, DatabaseError> {
        let (keys, url) = (self.keys(), self.url(path));
        let claims = Claims::new(&keys, &self.subject, &url, body, self.clock.now());
        claims.map_err(|problem| unsigned(&problem))
    }

    /// Asks, and reads the answer.
    pub(super) async fn ask<A: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        most_bytes: usize,
    ) -> Result<A, DatabaseError> {
        self.ask_with(path, body, most_bytes, None).await
    }

    /// The same, with a secret that must be in no error (T-461).
    pub(super) async fn ask_with<A: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        most_bytes: usize,
        secret: Option<&str>,
    ) -> Result<A, DatabaseError> {
        let body = serde_json::to_vec(body).map_err(|error| unsigned(&error.to_string()))?;
        let claims = self.claims(path, &body)?;
        let signed = claims.sign(&self.keys(), TYPE, self.clock.now());
        let token = signed.map_err(|problem| unsigned(&problem))?;
        let answer = self.send(path, body, Some(&token), most_bytes).await?;
        let secrets = secret.into_iter().chain([token.expose().as_str()]);
        answer.read(&secrets.collect::<Vec<_>>())
    }

    /// Sends a request with this token, whatever it is.
    pub(super) async fn send(
        &self,
        path: &str,
        body: Vec<u8>,
        token: Option<&Secret<String>>,
        most_bytes: usize,
    ) -> Result<Answer, DatabaseError> {
        let mut request = self.client.post(self.url(path));
        if let Some(token) = token {
            let bearer = Secret::new(format!("Bearer {}", token.expose()));
            let value = HeaderValue::from_str(bearer.expose());
            let mut value = value.map_err(|error| unsigned(&error.to_string()))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let request = request.header(CONTENT_TYPE, "application/json").body(body);
        let response = request.send().await.map_err(|error| self.failed(&error))?;
        if outgoing::is_encoded(response.headers()) {
            let problem = "the answer is compressed although that was not asked for";
            return Err(DatabaseError::Unknown(problem.to_owned()));
        }
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok());
        let retry_after = retry_after.map(str::to_owned);
        let status = response.status().as_u16();
        let body = outgoing::read(response, most_bytes).await;
        let body = body.map_err(|error| match error {
            ReadError::TooLong => {
                DatabaseError::Unknown(format!("the answer is longer than {most_bytes} bytes"))
            }
            ReadError::Broken(error) => self.failed(&error),
        })?;
        Ok(Answer {
            status,
            retry_after,
            body: Secret::new(body),
        })
    }

    fn failed(&self, error: &reqwest::Error) -> DatabaseError {
        if error.is_connect() {
            return DatabaseError::Unreachable(outgoing::cause(error));
        }
        if error.is_timeout() {
            return self.late();
        }
        DatabaseError::Unknown(outgoing::cause(error))
    }

    fn late(&self) -> DatabaseError {
        DatabaseError::Unknown(format!(
            "the answer took longer than {} ms",
            self.time.as_millis()
        ))
    }
}

impl Answer {
    /// What was answered. Only what the contract knows is an answer: anything else, from a proxy or a
    /// crash, may have come after the request was done (T-457).
    fn read<A: DeserializeOwned>(&self, secrets: &[&str]) -> Result<A, DatabaseError> {
        if self.status == 200 {
            // Only the place: the text of the error may quote a secret.
            return serde_json::from_slice(self.body.expose()).map_err(|error| {
                DatabaseError::Unknown(format!(
                    "the answer is not of the contract (line {}, column {})",
                    error.line(),
                    error.column()
                ))
            });
        }
        Err(match self.refusal() {
            Some(refusal) => self.refused(&refusal, secrets),
            None => DatabaseError::Unknown(format!(
                "status {} without an `error` of the contract",
                self.status
            )),
        })
    }

    /// The refusal, if the answer is one of the contract.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        let may_refuse =
            matches!(self.status, 400..=499 | 503) && self.body.expose().len() <= SHORT;
        let refusal = may_refuse.then(|| serde_json::from_slice(self.body.expose()).ok());
        refusal.flatten()
    }

    fn refused(&self, refusal: &Refusal, secrets: &[&str]) -> DatabaseError {
        // Looked at whole: what is cut could end within the secret.
        let shown = |text: &str, longest| {
            if secrets.iter().any(|secret| text.contains(secret)) {
                return WITHHELD.to_owned();
            }
            escape_up_to(text, longest)
        };
        let message = shown(&refusal.message, LONGEST_MESSAGE);
        let kind = match refusal.error.as_str() {
            // One holder is asked to wait, and others are served.
            code::BUSY if self.status == 429 => RefusalKind::Passing,
            code::BUSY => {
                let when = self.retry_after.as_deref();
                let when = when.map(|when| shown(when, LONGEST_RETRY));
                let when = when.map_or(String::new(), |when| format!(", Retry-After: {when}"));
                return DatabaseError::Unreachable(format!("it is busy{when}"));
            }
            code::GROUP => RefusalKind::GroupUnfit,
            code::CEILING => RefusalKind::Ceiling,
            code::ENDED => RefusalKind::Gone,
            code::FULL => RefusalKind::Full,
            code::REPOSITORY_FULL => RefusalKind::RepositoryFull,
            _ => RefusalKind::Other,
        };
        let code = format!(
            "status {}, {}",
            self.status,
            shown(&refusal.error, LONGEST_CODE)
        );
        refused(kind, &code, message)
    }
}

/// Nothing was sent.
fn unsigned(problem: &str) -> DatabaseError {
    DatabaseError::Unreachable(format!("the request could not be signed: {problem}"))
}

const NO_ADDRESS: &str =
    "the host has no address that is globally routable or in the target's `networks`";
const WITHHELD: &str = "(words with a secret, withheld)";
/// Characters.
const LONGEST_RETRY: usize = 40;
const LONGEST_MESSAGE: usize = 200;
const LONGEST_CODE: usize = 40;
