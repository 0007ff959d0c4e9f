//! A credential, with the key pair that this side makes for it where it is an SSH certificate.

use super::answer::Received;
use super::connection::{Answer, Deadline, Request};
use super::error::ClientError;
use super::format::Format;
use super::kept::StateFile;
use super::ssh::agent::Reports;
use super::ssh::{Agent, PRIVATE_KEY, RunKey, makes_key_for};
use super::token::IdToken;
use super::{Ask, BROKER, Client, Sharing, parse_json, success};
use crate::credential::kind::{KINDS, Kind};
use crate::credential::ssh::PUBLIC_KEY;
use crate::reason::Reason;
use crate::secret::Secret;
use crate::wire::Offers;

/// A credential, with the key pair that was made for it.
#[derive(Debug)]
pub struct Obtained {
    pub received: Received,
    key: Option<RunKey>,
}

impl Client {
    /// Exchanges the job's ID token for a credential, with a new key pair where the kind certifies one, and after a look whether
    /// all `formats` can hold the credential: both before the token is used.
    ///
    /// # Errors
    /// No token, no broker or a refusal, a format does not fit, or there is no randomness for a key.
    pub async fn obtain(
        &self,
        ask: &Ask,
        sharing: Sharing,
        formats: &[&Format],
    ) -> Result<Obtained, ClientError> {
        let deadline = self.connection.deadline(self.patience);
        if is_clear(ask, formats) {
            let received = self.get_until(ask, sharing, None, deadline).await?;
            return Ok(Obtained {
                received,
                key: None,
            });
        }
        let (token, kept) = match self.kept_token(ask, sharing)? {
            Some(token) => (token, true),
            None => (self.token_until(deadline).await?, false),
        };
        let kind = self.kind_of(&ask.credential, &token, deadline).await?;
        let makes_key = kind.is_some_and(|kind| makes_key_for(kind, ask));
        if let Some(kind) = kind {
            let own = makes_key.then_some(PRIVATE_KEY);
            let check = |format: &&Format| format.check(&ask.credential, kind, own);
            formats.iter().try_for_each(check)?;
        }
        let token = (!kept).then_some(token);
        if !makes_key {
            let received = self.get_until(ask, sharing, token, deadline).await?;
            return Ok(Obtained {
                received,
                key: None,
            });
        }
        if ask.seal_to.is_some() {
            return Err(ClientError::Setting(format!(
                "`{}` is a certificate for a key pair, and the recipient must make that pair: pass its public half with `--input {PUBLIC_KEY}=@FILE`",
                ask.credential
            )));
        }
        let key = RunKey::generate()?;
        let mut ask = ask.clone();
        ask.inputs.insert(PUBLIC_KEY.to_owned(), key.public_line()?);
        // No other step has the key, so none can use the credential.
        let received = self.get_until(&ask, Sharing::None, token, deadline).await;
        Ok(Obtained {
            received: received.map_err(spent)?,
            key: Some(key),
        })
    }

    /// The kind of a credential that the job may have; `None` also where the broker does not say, since
    /// its answer to the exchange says more.
    async fn kind_of(
        &self,
        credential: &str,
        token: &IdToken,
        deadline: Deadline,
    ) -> Result<Option<&'static Kind>, ClientError> {
        let offers = match self.offers(token, deadline).await {
            Ok(offers) => offers,
            Err(ClientError::Denied(_) | ClientError::Answer { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut offers = offers.credentials.iter();
        let offer = offers.find(|offer| offer.credential == credential);
        Ok(offer.and_then(|offer| crate::credential::kind::find(&offer.kind)))
    }

    /// What the job may have, as the broker lists it. The token stays unused.
    pub(super) async fn offers(
        &self,
        token: &IdToken,
        deadline: Deadline,
    ) -> Result<Offers, ClientError> {
        let body = Secret::new("{}".to_owned());
        parse_json(&self.post_explain(body, token, deadline).await?)
    }

    pub(super) async fn post_explain(
        &self,
        body: Secret<String>,
        token: &IdToken,
        deadline: Deadline,
    ) -> Result<Answer, ClientError> {
        let url = self.broker.route("/api/explain");
        let request = Request::post(BROKER, url, "application/json", body)
            .secret_header("authorization", &format!("Bearer {}", token.expose()))?;
        success(self.connection.send(&request, deadline).await?)
    }

    /// The token that an earlier step used for the same ask, where the CI makes a new one each time.
    fn kept_token(&self, ask: &Ask, sharing: Sharing) -> Result<Option<IdToken>, ClientError> {
        let source = self.source()?;
        if sharing == Sharing::None || !source.makes_new_tokens {
            return Ok(None);
        }
        let Some(job) = source.job(&self.environment) else {
            return Ok(None);
        };
        let slot = StateFile::of(&self.broker, ask, &job);
        let kept = self.kept.find(&slot, self.clock().now());
        let token = kept.and_then(|pair| pair.token);
        Ok(token.filter(|token| self.may_send(token)))
    }
}

impl Obtained {
    /// The credential with the private key among its members, for a file or another program.
    ///
    /// # Errors
    /// The key cannot be encoded.
    pub fn into_members(mut self) -> Result<Received, ClientError> {
        self.hold_key()?;
        Ok(self.received)
    }

    /// Adds the private key to the members, for a file beside the agent.
    ///
    /// # Errors
    /// The key cannot be encoded.
    pub fn hold_key(&mut self) -> Result<(), ClientError> {
        if let Some(key) = &self.key {
            let text = key.private_text()?;
            self.received.members.hold(PRIVATE_KEY.name, text);
        }
        Ok(())
    }

    /// The credential, and the agent that a command uses while it runs. Must be called within a runtime.
    ///
    /// # Errors
    /// The certificate is not for the key, or this machine has no place for the agent's socket.
    pub fn serve(
        self,
        client: &Client,
        reports: Reports,
    ) -> Result<(Received, Option<Agent>), ClientError> {
        let Self { received, key } = self;
        let certificate = received.members.secret();
        let start = |key| Agent::start(key, certificate.expose(), client.environment(), reports);
        let agent = key.map(start).transpose()?;
        Ok((received, agent))
    }
}

/// Whether the formats fit every kind and no kind needs a key pair.
fn is_clear(ask: &Ask, formats: &[&Format]) -> bool {
    let fits = |kind: &Kind| {
        let mut formats = formats.iter();
        let holds = formats.all(|format| format.check(&ask.credential, kind, None).is_ok());
        holds && !makes_key_for(kind, ask)
    };
    KINDS.iter().all(|kind| fits(kind))
}

/// Turns `token.replayed` into [`ClientError::Spent`]: the key pair of the first use is lost.
fn spent(error: ClientError) -> ClientError {
    if let ClientError::Denied(refusal) = &error
        && refusal.is(Reason::TokenReplayed)
    {
        return ClientError::Spent(refusal.clone());
    }
    error
}
