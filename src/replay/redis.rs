//! Used tokens on a Redis or Valkey server that replicas share: refuses when it cannot be sure.
//!
//! One server, or a managed one that looks like one; a cluster is not supported. What a use is and
//! what comes of the next one is told by the module above: here is only how it gets there. A server
//! that is down, slow, full, read-only, evicting or in the middle of loading mints nothing.
//!
//! Uses are kept until the token could no longer be accepted, and ten minutes more: the server ends
//! them by its own clock, and neither clock may open a token by a step. A server that restarted, was
//! emptied, or took another's place may have lost uses. The run it was in stands in a record of its
//! own, with the time of the first look at that run: tokens from before it are refused, whatever
//! they are for, since nobody knows whether they were used.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{
    IdempotencyKey, Reach, ReplayError, Reserved, Slot, StoreStatus, Taken, Use, UsedTokens,
};
use crate::clock::Clock;
use crate::policy::Permit;
use crate::secret::SecretSource;

mod connection;
mod entry;
mod link;
mod server;

use entry::{Answer, Names};
use link::{Failure, Link};

/// Where the server is and how to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisSettings {
    pub host: String,
    pub port: u16,
    /// The number of the database on it.
    pub database: u32,
    /// TLS, by the name of the host; without it everything goes in the clear, which the settings allow
    /// for a server on this machine only.
    pub tls: bool,
    /// CA certificates to trust instead of the public ones; PEM.
    pub ca: Option<PathBuf>,
    /// The user to log in as, where it is not `default`.
    pub user: Option<String>,
    /// The password, where the server wants one.
    pub password: Option<SecretSource>,
    /// What the names of our keys begin with.
    pub prefix: String,
}

impl RedisSettings {
    /// Whether files that the settings name can be read.
    ///
    /// # Errors
    /// What cannot be read, and why.
    pub fn check(&self) -> Result<(), String> {
        if self.tls {
            connection::tls(self.ca.as_deref())?;
        }
        connection::password(self).map(drop)
    }
}

/// The store. Dropped, it closes its connection.
#[derive(Debug)]
pub struct RedisTokens {
    clock: Arc<dyn Clock>,
    names: Names,
    link: Link,
}

impl RedisTokens {
    /// A store on that server. It is reached in the background: until then nothing is taken.
    ///
    /// # Errors
    /// The CA file cannot be used.
    pub fn start(settings: RedisSettings, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let names = Names::new(&settings.prefix);
        Ok(Self {
            link: Link::start(settings, names.clone(), Arc::clone(&clock))?,
            names,
            clock,
        })
    }

    /// Takes the use within [`CALL_TIME`]. An answer that is lost is asked for once more: the mark
    /// tells a use of ours from another's.
    async fn take(&self, wanted: &Use) -> Result<Taken, ReplayError> {
        let deadline = deadline();
        let mut answer = self.ask(wanted, deadline).await;
        if let Err(Failure::Lost(_)) = &answer {
            answer = match self.ask(wanted, deadline).await {
                // It was not even asked: what became of the first is as unknown as before.
                Err(Failure::Unreachable(problem)) => Err(Failure::Lost(problem)),
                answered => answered,
            };
        }
        let unsure = |problem| {
            // It may be taken, and nothing will be minted: it is given back when the server answers.
            self.link.owe(entry::GiveBack::of(&self.names, wanted));
            ReplayError::Unavailable { problem }
        };
        match answer {
            Ok(Answer::Taken) => Ok(wanted.taken()),
            Ok(Answer::Held(first)) => first.meet(wanted),
            Ok(Answer::Early) => Err(ReplayError::IssuedBeforeStore),
            Ok(Answer::Foreign) => Err(ReplayError::unavailable(FOREIGN)),
            Err(Failure::Lost(problem)) => Err(unsure(problem)),
            Err(Failure::Unreachable(problem) | Failure::Refused(problem)) => {
                Err(ReplayError::Unavailable { problem })
            }
        }
    }

    async fn ask(&self, wanted: &Use, deadline: Instant) -> Result<Answer, Failure> {
        let live = self.link.live(deadline).await?;
        let script = entry::take(&self.names, live.run(), wanted);
        let answer = self.link.call(&live, &script, deadline).await?;
        Ok(entry::answer(&answer, wanted))
    }
}

#[async_trait]
impl UsedTokens for RedisTokens {
    async fn reserve(
        &self,
        permit: Permit,
        key: Option<IdempotencyKey>,
        request_id: &str,
    ) -> Result<Reserved, ReplayError> {
        let wanted = Use::of(&permit, key.as_ref(), request_id, self.clock.now())?;
        let taken = self.take(&wanted).await?;
        Ok(Reserved {
            permit,
            key,
            taken,
            reach: self.reach(),
        })
    }

    async fn release(&self, slot: &Slot) {
        let Some(give_back) = entry::GiveBack::of_slot(&self.names, slot) else {
            return;
        };
        let deadline = deadline();
        let given = match self.link.live(deadline).await {
            Ok(live) => {
                let script = give_back.script(live.run());
                self.link.call(&live, &script, deadline).await.map(drop)
            }
            Err(failure) => Err(failure),
        };
        if given.is_err() {
            self.link.owe(give_back);
        }
    }

    fn reach(&self) -> Reach {
        Reach::Shared
    }

    fn status(&self) -> StoreStatus {
        StoreStatus {
            problem: self.link.problem(),
            ..StoreStatus::default()
        }
    }
}

fn deadline() -> Instant {
    let now = Instant::now();
    now.checked_add(CALL_TIME).unwrap_or(now)
}

/// For one reservation, waiting for a connection included.
const CALL_TIME: Duration = Duration::from_secs(1);

const FOREIGN: &str =
    "holds something under our keys that we did not write; see what else uses `replay.prefix`";
