//! A credential for which the job's side makes a key pair, where its kind certifies one.

use super::answer::{Received, Refusal};
use super::error::ClientError;
use super::ssh::{Agent, AgentError, RunKey};
use super::{Ask, Client, Sharing};
use crate::credential::ssh::PUBLIC_KEY;
use crate::reason::Reason;

/// A credential, with the key pair that was made for it.
#[derive(Debug)]
pub struct Obtained {
    /// The credential.
    pub received: Received,
    /// The pair, where one was made: its private half never left this process.
    pub key: Option<RunKey>,
}

impl Client {
    /// [`get`](Self::get), and once more with a new public key if the credential is of a kind that
    /// signs one and the ask brings none. The broker tells so only to a job that may have it, and the
    /// refusal leaves the token's use free.
    ///
    /// # Errors
    /// As [`get`](Self::get), or there is no randomness for a key pair.
    pub async fn obtain(&self, ask: &Ask, sharing: Sharing) -> Result<Obtained, ClientError> {
        let refusal = match self.get(ask, sharing).await {
            Err(ClientError::Denied(refusal)) if lacks_key(ask, &refusal) => refusal,
            got => {
                return got.map(|received| Obtained {
                    received,
                    key: None,
                });
            }
        };
        let key = RunKey::generate()?;
        let mut ask = ask.clone();
        ask.inputs.insert(PUBLIC_KEY.to_owned(), key.public_line()?);
        match self.get(&ask, sharing).await {
            // It was another input that did not fit.
            Err(ClientError::Denied(again)) if is_about_inputs(&again) => {
                Err(ClientError::Denied(refusal))
            }
            got => got.map(|received| Obtained {
                received,
                key: Some(key),
            }),
        }
    }
}

impl Obtained {
    /// The credential with the private key among its members, for a file or another program.
    ///
    /// # Errors
    /// The key cannot be encoded, which never happens to one that was made.
    pub fn with_private_key(mut self) -> Result<Received, ClientError> {
        if let Some(key) = &self.key {
            self.received
                .members
                .hold("private_key", key.private_text()?);
        }
        Ok(self.received)
    }

    /// The credential, and an agent that signs with the key where one was made.
    ///
    /// # Errors
    /// The certificate is not for the key, or no socket can be made.
    pub fn with_agent(self, client: &Client) -> Result<(Received, Option<Agent>), AgentError> {
        let Some(key) = self.key else {
            return Ok((self.received, None));
        };
        let certificate = self.received.members.secret();
        let agent = Agent::start(key, certificate.expose(), client.environment())?;
        Ok((self.received, Some(agent)))
    }
}

fn lacks_key(ask: &Ask, refusal: &Refusal) -> bool {
    is_about_inputs(refusal) && !ask.inputs.contains_key(PUBLIC_KEY)
}

fn is_about_inputs(refusal: &Refusal) -> bool {
    refusal.is(Reason::RequestInput)
}
