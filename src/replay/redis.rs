//! Used tokens on a Redis or Valkey server that replicas share.
//!
//! The server is one, or a managed service that looks like one; clusters are not supported. If it is
//! unreachable, slow, full, read-only, evicting or loading, no use can be taken and nothing is minted.
//! The module above defines what a use is and what a second one gets.
//!
//! A use is kept until its token expires and ten minutes more, because the server ends entries by its
//! own clock, and a step of either clock must not open a token. A restart, flush or replacement of the
//! server may lose uses. Each script therefore compares the server's `run_id` with a record that also
//! holds the time at which that run was first seen; tokens issued before that time are rejected.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::redis::{Client, ConnectionInfo, TlsCertificates};
use async_trait::async_trait;
use tokio::time::Instant;

use super::{
    IdempotencyKey, Reach, ReplayError, Reserved, StoreStatus, Take, Taken, Use, UseKey,
    UsedTokens, reserve,
};
use crate::clock::Clock;
use crate::policy::Permit;
use crate::secret::{Secret, SecretSource};
use crate::tls;

mod entry;
mod link;
mod server;

use entry::{Names, ScriptResult};
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
        self.server()?;
        self.password().map(drop)
    }

    /// Its address, and the certificates to trust.
    fn server(&self) -> Result<ConnectionInfo, String> {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        let client = if self.tls {
            tls::to_server(self.ca.as_deref())?;
            let ca = self.ca.as_deref().map(tls::read_ca).transpose();
            let ca = ca.map_err(|error| format!("`replay.ca` cannot be read: {error}"))?;
            let trusted = TlsCertificates {
                client_tls: None,
                root_cert: ca.map(String::into_bytes),
            };
            Client::build_with_tls(format!("rediss://{host}:{}", self.port), trusted)
        } else {
            Client::open(format!("redis://{host}:{}", self.port))
        };
        match client {
            Ok(client) => Ok(client.get_connection_info().clone()),
            Err(error) => Err(format!("cannot be used: {}", server::said(&error))),
        }
    }

    /// The password as it is now.
    fn password(&self) -> Result<Option<Secret<String>>, String> {
        let read = self.password.as_ref().map(SecretSource::read).transpose();
        read.map_err(|error| format!("`replay.password` cannot be read: {error}"))
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
}

#[async_trait]
impl Take for RedisTokens {
    /// Takes the use within [`CALL_TIME`]. If the answer is lost, the script runs once more: the mark
    /// identifies our own use.
    async fn take(&self, wanted: &Use) -> Result<Taken, ReplayError> {
        let script = entry::take(&self.names, wanted);
        let deadline = deadline();
        let mut said = self.link.run(&script, deadline).await;
        if matches!(said, Err(Failure::Lost(_))) {
            let again = self.link.run(&script, deadline).await;
            // Also if this one is refused, the first may have taken the use.
            said = again.map_err(|failure| Failure::Lost(failure.problem()));
        }
        match said.map(|said| entry::answer(&said, wanted)) {
            Ok(ScriptResult::Taken) => Ok(wanted.taken()),
            Ok(ScriptResult::Held(first)) => first.meet(wanted),
            Ok(ScriptResult::Closed) => Err(wanted.replayed()),
            Ok(ScriptResult::Early) => Err(ReplayError::IssuedBeforeStore),
            Ok(ScriptResult::Foreign) => Err(ReplayError::unavailable(FOREIGN)),
            Err(failure) => {
                if matches!(failure, Failure::Lost(_)) {
                    // Nothing will be minted, so the use is given back when the server answers.
                    self.link.owe(entry::GiveBack::of(&self.names, wanted));
                }
                let problem = failure.problem();
                Err(ReplayError::Unavailable { problem })
            }
        }
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
        reserve(self, permit, key, request_id, self.clock.now()).await
    }

    async fn release(&self, slot: &UseKey) {
        let Some(give_back) = entry::GiveBack::of_slot(&self.names, slot) else {
            return;
        };
        let given = self.link.run(&give_back.script(), deadline()).await;
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
    "has an unexpected value under `replay.prefix`; check what else writes keys with this prefix";
