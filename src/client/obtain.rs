//! A credential, with what this side makes for it where its kind certifies that.

use super::answer::Received;
use super::connection::{Deadline, Request};
use super::error::ClientError;
use super::format::Format;
use super::kept::Slot;
use super::maker::{self, MAKERS, Made, Maker, Reports, Served};
use super::token::IdToken;
use super::{Ask, BROKER, Client, Sharing, parse_json, success};
use crate::credential::kind::{KINDS, Kind};
use crate::reason::Reason;
use crate::secret::Secret;
use crate::wire::Offers;

/// A credential, with what was made for it.
#[derive(Debug)]
pub struct Obtained {
    pub received: Received,
    /// What was made, where the kind has a maker: it never left this process.
    made: Option<(&'static dyn Maker, Box<dyn Made>)>,
}

impl Client {
    /// [`get`](Self::get), with a new input where the kind takes one that this side makes, and after
    /// a look whether `format` can hold the credential: both before the token is used.
    ///
    /// # Errors
    /// As [`get`](Self::get), the format does not fit, or there is no randomness for an input.
    pub async fn obtain(
        &self,
        ask: &Ask,
        sharing: Sharing,
        format: Option<&Format>,
    ) -> Result<Obtained, ClientError> {
        let deadline = self.connection.deadline(self.patience);
        if is_clear(ask, format) {
            let received = self.get_until(ask, sharing, None, deadline).await?;
            return Ok(Obtained {
                received,
                made: None,
            });
        }
        let (token, kept) = match self.kept_token(ask, sharing)? {
            Some(token) => (token, true),
            None => (self.token_until(deadline).await?, false),
        };
        let kind = self.kind_of(&ask.credential, &token, deadline).await?;
        let maker = kind.and_then(|kind| maker::find(kind, ask));
        if let (Some(format), Some(kind)) = (format, kind) {
            format.check(&ask.credential, kind, maker)?;
        }
        let token = (!kept).then_some(token);
        let Some(maker) = maker else {
            let received = self.get_until(ask, sharing, token, deadline).await?;
            return Ok(Obtained {
                received,
                made: None,
            });
        };
        let made = maker.make()?;
        let mut ask = ask.clone();
        ask.inputs.insert(maker.input().to_owned(), made.input()?);
        // No other step has what was made, so none can use the credential.
        let received = self.get_until(&ask, Sharing::Nobody, token, deadline).await;
        let received = received.map_err(|error| spent(error, maker))?;
        Ok(Obtained {
            received,
            made: Some((maker, made)),
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
        let url = self.broker.route("/api/explain");
        let request = Request::post(BROKER, url, "application/json", body)
            .secret_header("authorization", &format!("Bearer {}", token.expose()))?;
        parse_json(&success(self.connection.send(&request, deadline).await?)?)
    }

    /// The token that an earlier step used for the same ask, where the CI makes a new one each time.
    fn kept_token(&self, ask: &Ask, sharing: Sharing) -> Result<Option<IdToken>, ClientError> {
        let source = self.source()?;
        if sharing == Sharing::Nobody || !source.makes_new_tokens() {
            return Ok(None);
        }
        let slot = Slot::of(&self.broker, ask, &source.job(&self.environment));
        let kept = self.kept.find(&slot, self.clock().now());
        let token = kept.and_then(|pair| pair.token);
        Ok(token.filter(|token| token.is_for(&self.broker)))
    }
}

impl Obtained {
    /// The credential with what was made among its members, for a file or another program.
    ///
    /// # Errors
    /// It cannot be encoded.
    pub fn into_members(mut self) -> Result<Received, ClientError> {
        if let Some((maker, made)) = &self.made {
            let member = maker.member().name;
            self.received.members.hold(member, made.member()?);
        }
        Ok(self.received)
    }

    /// The credential, and what a command uses while it runs.
    ///
    /// # Errors
    /// The credential was not made for it, or this machine has no place for it.
    pub fn serve(
        self,
        client: &Client,
        reports: Reports,
    ) -> Result<(Received, Option<Box<dyn Served>>), ClientError> {
        let served = self.made.map(|(_, made)| {
            let environment = client.environment();
            made.serve(&self.received, environment, reports)
        });
        Ok((self.received, served.transpose()?))
    }
}

/// Whatever kind the credential is of, the format holds it, and nothing has to be made for it.
fn is_clear(ask: &Ask, format: Option<&Format>) -> bool {
    let brings_all = MAKERS
        .iter()
        .all(|maker| ask.inputs.contains_key(maker.input()));
    let holds =
        |kind: &Kind| format.is_none_or(|format| format.check(&ask.credential, kind, None).is_ok());
    brings_all && KINDS.iter().all(|kind| holds(kind))
}

/// A token that was used before: what was made for that use is gone.
fn spent(error: ClientError, maker: &dyn Maker) -> ClientError {
    if let ClientError::Denied(refusal) = &error
        && refusal.is(Reason::TokenReplayed)
    {
        let refusal = refusal.clone();
        let way_out = maker.way_out();
        return ClientError::Spent { refusal, way_out };
    }
    error
}
