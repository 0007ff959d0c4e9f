//! Fetches a credential for a job: finds the ID token, exchanges it with retries, and shares the
//! idempotency key between steps. It knows neither clap nor the terminal.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::OnceCell;
use url::form_urlencoded;

use crate::clock::Clock;
use crate::credential::sealed::{self, RecipientKey};
use crate::secret::Secret;
use crate::text::escape;
use crate::wire::{Explanation, LONGEST_NAME, LeaseState, Offers, RevokeAnswer};

mod address;
mod answer;
mod ca;
mod connection;
mod error;
mod file;
mod folder;
mod forge;
pub mod format;
mod kept;
mod no_proxy;
mod obtain;
mod run_file;
pub mod source;
pub mod ssh;
mod token;
mod unseal;

pub use address::{AddressError, BrokerAddress};
pub use answer::{Members, Received, Value};
pub use ca::ca_file;
pub use connection::{Connection, Deadline, Proxy, TransportSettings};
pub use error::ClientError;
pub use file::{
    FileError, check_target, read_bounded, read_own, read_private, write_private, write_private_new,
};
pub use forge::{Forge, Posted};
pub use obtain::Obtained;
pub use run_file::{RunFile, closed_folder};
pub use source::{Environment, Source, SourceError};
pub use token::IdToken;
pub use unseal::{UnsealError, unseal};

use answer::{parse_json, success};
use connection::{Answer, Request};
use kept::{Kept, Pair, StateFile};
use source::Fetch;

/// A job's view of one broker.
#[derive(Debug)]
pub struct Client {
    broker: BrokerAddress,
    environment: Environment,
    source: Option<&'static Source>,
    allowed_audience: Option<String>,
    patience: Duration,
    connection: Connection,
    kept: Kept,
    /// The broker calls itself by its address: asked once, before the first token (T-108).
    is_itself: OnceCell<()>,
}

/// What a client is made of.
#[derive(Debug)]
pub struct Settings {
    pub broker: BrokerAddress,
    pub route: TransportSettings,
    /// Total time for all retries.
    pub patience: Duration,
    /// The source, where the job does not want the one that is found.
    pub source: Option<&'static Source>,
    /// An audience beside the broker that a token may name: the job knows that other services take it too.
    pub allowed_audience: Option<String>,
    /// The variables of the job.
    pub environment: Environment,
}

/// Whether steps of a job share a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// A later step with the same request gets the same login.
    Job,
    /// The login is for one caller, which may revoke it.
    None,
}

/// What a job asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub credential: String,
    /// The scopes; none asks for all that is granted.
    pub scopes: Vec<String>,
    /// The requested lifetime with its unit, e.g. `10m`; default: the grant's.
    pub ttl: Option<String>,
    /// What the credential's kind takes from a request, by name.
    pub inputs: BTreeMap<String, String>,
    /// The recipient that the answer is sealed to.
    pub seal_to: Option<RecipientKey>,
}

impl Ask {
    /// Asks for a credential as it is granted.
    ///
    /// # Errors
    /// No credential can have that name.
    pub fn new(credential: &str) -> Result<Self, ClientError> {
        let is_name = (1..=LONGEST_NAME).contains(&credential.len())
            && credential.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_name {
            return Err(ClientError::Setting(format!(
                "`{}` is no name of a credential; expected one like `shop-db/migrate`",
                escape(credential)
            )));
        }
        Ok(Self {
            credential: credential.to_owned(),
            scopes: Vec::new(),
            ttl: None,
            inputs: BTreeMap::new(),
            seal_to: None,
        })
    }
}

impl Client {
    /// Reads the CA file; opens no connection.
    ///
    /// # Errors
    /// The CA file or the proxy's address cannot be used.
    pub fn new(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, ClientError> {
        Ok(Self {
            connection: Connection::new(&settings.route, settings.patience, clock)?,
            kept: Kept::of(&settings.environment),
            broker: settings.broker,
            environment: settings.environment,
            source: settings.source,
            allowed_audience: settings.allowed_audience,
            patience: settings.patience,
            is_itself: OnceCell::new(),
        })
    }

    #[must_use]
    pub const fn broker(&self) -> &BrokerAddress {
        &self.broker
    }

    #[must_use]
    pub const fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The time as this machine has it.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        self.connection.clock()
    }

    /// The folder that this job's steps share, if one is known.
    #[must_use]
    pub fn shared_folder(&self) -> Option<&Path> {
        self.kept.folder()
    }

    /// The authorities that a database is checked with whose login names none, in PEM: those of this
    /// machine, else the public ones, and those of `--ca`.
    #[must_use]
    pub fn roots(&self) -> String {
        ca::roots(self.connection.own_authorities())
    }

    /// Where this job's token comes from.
    ///
    /// # Errors
    /// No CI is found, or several are.
    pub fn source(&self) -> Result<&'static Source, ClientError> {
        match self.source {
            Some(source) => Ok(source),
            None => Ok(source::find(&self.environment)?),
        }
    }

    /// Exchanges the job's ID token for a credential (RFC 8693): `token` if it was fetched already.
    ///
    /// # Errors
    /// No token, no broker, or a refusal.
    async fn get_until(
        &self,
        ask: &Ask,
        sharing: Sharing,
        token: Option<IdToken>,
        deadline: Deadline,
    ) -> Result<Received, ClientError> {
        let source = self.source()?;
        let job = source.job(&self.environment);
        match (sharing, source.makes_new_tokens, job) {
            (Sharing::None, _, _) | (Sharing::Job, true, None) => {
                let token = self.token_or(token, deadline).await?;
                let pair = Pair::new(None)?;
                self.exchange(ask, &token, &pair, deadline).await
            }
            (Sharing::Job, true, Some(job)) => {
                let slot = StateFile::of(&self.broker, ask, &job);
                self.get_with_kept_token(ask, &slot, token, deadline).await
            }
            (Sharing::Job, false, _) => {
                let token = self.token_or(token, deadline).await?;
                let slot = StateFile::of(&self.broker, ask, &[token.expose()]);
                let now = self.clock().now();
                let (pair, is_repeat) = match self.kept.find(&slot, now) {
                    Some(pair) => (pair, true),
                    None => (self.kept.keep(&slot, Pair::new(None)?, now), false),
                };
                let received = self.exchange(ask, &token, &pair, deadline).await?;
                Ok(Received {
                    is_repeat,
                    ..received
                })
            }
        }
    }

    /// What this job may have, as the broker explains it.
    ///
    /// # Errors
    /// As [`obtain`](Self::obtain).
    pub async fn available(&self) -> Result<Offers, ClientError> {
        let deadline = self.connection.deadline(self.patience);
        let token = self.token_until(deadline).await?;
        self.offers(&token, deadline).await
    }

    /// Whether the job may have a credential, and why not, as the broker explains it. No token is used.
    ///
    /// # Errors
    /// As [`obtain`](Self::obtain), but for a denial, which is an explanation.
    pub async fn explain(&self, credential: &str) -> Result<Explanation, ClientError> {
        let deadline = self.connection.deadline(self.patience);
        let token = self.token_until(deadline).await?;
        let body = Secret::new(serde_json::json!({ "credential": credential }).to_string());
        parse_json(&self.post_explain(body, &token, deadline).await?)
    }

    /// Ends a lease before its time (RFC 7009).
    ///
    /// # Errors
    /// The broker cannot be reached, or does not know the handle.
    pub async fn revoke(&self, lease: &Secret<String>) -> Result<LeaseState, ClientError> {
        let body = form(&[("token", lease.expose())]);
        let request = Request::post(BROKER, self.broker.route("/revoke"), FORM, body);
        let deadline = self.connection.deadline(self.patience);
        let answer = success(self.connection.send(&request, deadline).await?)?;
        if answer.status == ACCEPTED {
            return Ok(LeaseState::Pending);
        }
        // A broker that says nothing more is one whose leases are gone or pending.
        let state = serde_json::from_slice::<RevokeAnswer>(answer.body.expose());
        Ok(state.map_or(LeaseState::Gone, |state| state.lease))
    }

    /// Asks the server at the broker's address what it calls itself.
    ///
    /// # Errors
    /// It cannot be reached, or its name is not the configured address (T-108).
    pub async fn check_issuer(&self) -> Result<(), ClientError> {
        self.check_issuer_until(self.connection.deadline(self.patience))
            .await
    }

    /// The job's ID token for the broker, after [`check_issuer`](Self::check_issuer).
    ///
    /// # Errors
    /// The CI gives no token, or one for another audience, which is not sent.
    pub async fn token(&self) -> Result<IdToken, ClientError> {
        self.token_until(self.connection.deadline(self.patience))
            .await
    }

    async fn check_issuer_until(&self, deadline: Deadline) -> Result<(), ClientError> {
        self.is_itself
            .get_or_try_init(|| async {
                let url = self.broker.route("/.well-known/openid-configuration");
                let request = Request::get(BROKER, url);
                let answer = success(self.connection.send(&request, deadline).await?)?;
                let metadata: RawMetadata = parse_json(&answer)?;
                if metadata.issuer == self.broker.as_str() {
                    Ok(())
                } else {
                    Err(ClientError::FalseIssuer {
                        found: metadata.issuer,
                        expected: self.broker.as_str().to_owned(),
                    })
                }
            })
            .await
            .copied()
    }

    async fn token_or(
        &self,
        token: Option<IdToken>,
        deadline: Deadline,
    ) -> Result<IdToken, ClientError> {
        match token {
            Some(token) => Ok(token),
            None => self.token_until(deadline).await,
        }
    }

    async fn token_until(&self, deadline: Deadline) -> Result<IdToken, ClientError> {
        let source = self.source()?;
        self.check_issuer_until(deadline).await?;
        let token = source
            .fetch(&Fetch {
                environment: &self.environment,
                connection: &self.connection,
                audience: &self.broker,
                deadline,
            })
            .await?;
        if self.may_send(&token) {
            return Ok(token);
        }
        Err(SourceError::Audience {
            found: token.audiences(),
            broker: self.broker.as_str().to_owned(),
            fix: source.wrong_audience(&self.environment, self.broker.as_str()),
        }
        .into())
    }

    fn may_send(&self, token: &IdToken) -> bool {
        token.is_for(&self.broker, self.allowed_audience.as_deref())
    }

    /// A kept token that is refused (used up, lease revoked) is forgotten and replaced by a new one.
    async fn get_with_kept_token(
        &self,
        ask: &Ask,
        slot: &StateFile,
        token: Option<IdToken>,
        deadline: Deadline,
    ) -> Result<Received, ClientError> {
        if let Some(pair) = self.kept.find(slot, self.clock().now())
            && let Some(token) = &pair.token
            && self.may_send(token)
        {
            self.check_issuer_until(deadline).await?;
            match self.exchange(ask, token, &pair, deadline).await {
                Err(ClientError::Denied(_)) => self.kept.forget(slot),
                other => {
                    return other.map(|received| Received {
                        is_repeat: true,
                        ..received
                    });
                }
            }
        }
        let token = self.token_or(token, deadline).await?;
        let new = Pair::new(Some(token.clone()))?;
        let pair = self.kept.keep(slot, new, self.clock().now());
        let token = pair.token.as_ref().unwrap_or(&token);
        let result = self.exchange(ask, token, &pair, deadline).await;
        if matches!(result, Err(ClientError::Denied(_))) {
            self.kept.forget(slot);
        }
        result
    }

    async fn exchange(
        &self,
        ask: &Ask,
        token: &IdToken,
        pair: &Pair,
        deadline: Deadline,
    ) -> Result<Received, ClientError> {
        let scope = ask.scopes.join(" ");
        let mut parameters = vec![
            (
                "grant_type",
                "urn:ietf:params:oauth:grant-type:token-exchange",
            ),
            ("subject_token", token.expose()),
            (
                "subject_token_type",
                "urn:ietf:params:oauth:token-type:id_token",
            ),
            ("audience", &ask.credential),
        ];
        if !scope.is_empty() {
            parameters.push(("scope", &scope));
        }
        if let Some(ttl) = &ask.ttl {
            parameters.push(("ttl", ttl));
        }
        let recipient = ask.seal_to.as_ref().map(RecipientKey::to_jwk);
        if let Some(recipient) = &recipient {
            parameters.push((sealed::PARAMETER, recipient));
        }
        let inputs = ask.inputs.iter();
        parameters.extend(inputs.map(|(name, value)| (name.as_str(), value.as_str())));
        let request = Request::post(BROKER, self.broker.route("/token"), FORM, form(&parameters))
            .secret_header("idempotency-key", pair.key.expose())?;
        let answer: Answer = success(self.connection.send(&request, deadline).await?)?;
        let received = Received::parse(&answer, &ask.credential)?;
        if received.is_sealed_as(ask) {
            return Ok(received);
        }
        // Something in between removed the parameter or replaced the answer.
        let revoked = match &received.lease {
            Some(lease) => self.revoke(lease).await.is_ok(),
            None => false,
        };
        Err(ClientError::NotSealedAsAsked {
            revoked,
            expires_at: received.expires_at.to_string(),
        })
    }

    /// The keys that the broker signs with, as it publishes them: a JWKS.
    ///
    /// # Errors
    /// The broker cannot be reached, or names itself otherwise (T-108).
    pub async fn published_keys(&self) -> Result<Vec<u8>, ClientError> {
        let deadline = self.connection.deadline(self.patience);
        self.check_issuer_until(deadline).await?;
        let request = Request::get(BROKER, self.broker.route("/.well-known/jwks.json"));
        let answer = success(self.connection.send(&request, deadline).await?)?;
        Ok(answer.body.expose().clone())
    }
}

#[derive(Deserialize)]
struct RawMetadata {
    issuer: String,
}

fn form(parameters: &[(&str, &str)]) -> Secret<String> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(parameters);
    Secret::new(form.finish())
}

const BROKER: &str = "the broker";
const FORM: &str = "application/x-www-form-urlencoded";
const ACCEPTED: u16 = 202;
