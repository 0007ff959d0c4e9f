//! A target by contract: logins of any system, made and ended by a service of its owner, which the broker
//! asks over HTTPS with signed requests.
//!
//! What is sent and answered is in `contract`, and for those who implement it in `docs/databases/webhook.md`.
//! All state is on the other side. Its answers are untrusted: what is not of the
//! contract, or is about another lease, counts as no answer, and what may have been made is ended.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value};

mod check;
mod conformance;
mod contract;
mod create;
mod forged;
mod kind;
mod listing;
mod memory;
mod peer;
mod read;
mod settings;
mod token;

pub use contract::VERSION;
pub use kind::{KIND, WebhookDefinition};
pub use read::TARGET;
pub use settings::{MAX_LIVE, SHORTEST_LIFE, WebhookSettings};
pub use token::TYPE;

use super::{Database, DatabaseError, Found, Login, NewLogin, RefusalKind, Wanted};
use crate::clock::Clock;
use crate::credential::Members;
use crate::credential::jwt::Keys;
use crate::credential::target::{LeaseRow, With};
use crate::lease::LeaseName;
use crate::outgoing::Lookup;
use crate::policy::CredentialDefinition;
use contract::{END, End, Ended, SHORT};
use memory::Memory;
use peer::Peer;
use settings::Files;

#[derive(Debug)]
pub struct Webhook {
    settings: WebhookSettings,
    files: Files,
    peer: Peer,
    memory: Memory,
    /// Held by the request that lists for all.
    listing: tokio::sync::Mutex<()>,
    clock: Arc<dyn Clock>,
}

impl Webhook {
    /// Connects to nothing yet. `name` is that of the target.
    ///
    /// # Errors
    /// A file of the settings cannot be used.
    pub fn new(
        settings: WebhookSettings,
        name: &str,
        keys: Arc<Keys>,
        clock: Arc<dyn Clock>,
        lookup: Arc<dyn Lookup>,
    ) -> Result<Self, String> {
        let files = Files::read(&settings)?;
        let peer = Peer::new(&settings, (name, keys), Arc::clone(&clock), lookup)?;
        Ok(Self {
            settings,
            files,
            peer,
            memory: Memory::default(),
            listing: tokio::sync::Mutex::default(),
            clock,
        })
    }

    /// The name, if it is that of a lease of this target.
    fn ours(&self, name: &str) -> Option<LeaseName> {
        let parsed = LeaseName::parse(name).ok()?;
        let prefix = &self.settings.prefix;
        let again = LeaseName::new(prefix, parsed.expires_at(), parsed.rand13()).ok()?;
        (again.to_string() == name).then_some(parsed)
    }

    /// Asks once for the end of a lease.
    async fn end(&self, name: &str) -> Result<Ended, DatabaseError> {
        if self.ours(name).is_none() {
            let message = "it is not the name of a lease".to_owned();
            return Err(refused(RefusalKind::Other, "NAME", message));
        }
        let ended: Ended = self.peer.ask(END, &End { name }, SHORT).await?;
        if ended.ended {
            self.memory.forget(name);
        } else {
            let reason = ended.reason.as_deref().unwrap_or("it gave no reason");
            self.memory.note_reason(name, reason);
        }
        Ok(ended)
    }
}

#[async_trait]
impl Database for Webhook {
    async fn create(&self, login: &NewLogin<'_>) -> Result<Option<Found>, DatabaseError> {
        self.make(login).await
    }

    /// Ends the lease whole, sessions included: what that takes only the other side knows.
    async fn disable(&self, login: &str) -> Result<(), DatabaseError> {
        if self.end(login).await?.ended {
            return Ok(());
        }
        // The caller asks again.
        tokio::time::sleep(PAUSE).await;
        Err(refused(
            RefusalKind::Passing,
            "ENDING",
            "the other side has not ended it yet".to_owned(),
        ))
    }

    /// The other side ends sessions with the lease.
    async fn terminate(&self, _login: &str) -> Result<u32, DatabaseError> {
        Ok(0)
    }

    /// It went with [`disable`](Self::disable).
    async fn drop_login(&self, _login: &str) -> Result<(), DatabaseError> {
        Ok(())
    }

    async fn reasons(&self, login: &str) -> Result<Vec<String>, DatabaseError> {
        Ok(self.memory.reason(login).into_iter().collect())
    }

    async fn ended(&self, after: &str, most: u32) -> Result<Vec<String>, DatabaseError> {
        self.list_ended(after, most).await
    }

    async fn leases(&self) -> Result<Vec<LeaseRow>, DatabaseError> {
        self.list_leases().await
    }

    fn has_same_files(&self) -> bool {
        Files::read(&self.settings).is_ok_and(|files| files == self.files)
    }

    fn follow(&self, with: &With<'_>) {
        if let Some(keys) = with.signing {
            self.peer.sign_with(Arc::clone(keys));
        }
    }

    fn databases(&self) -> &[String] {
        &[]
    }

    fn wanted(&self, credential: &CredentialDefinition) -> Option<Wanted> {
        let definition: &WebhookDefinition = credential.of()?;
        Some(Wanted {
            database: None,
            group: definition.group.clone(),
            act_as_group: false,
        })
    }

    fn members(&self, login: Login) -> Members {
        let given = login.given;
        let chosen: Map<String, Value> = given
            .members
            .into_iter()
            .map(|(name, text)| (name, text.into()))
            .collect();
        let chosen = if chosen.is_empty() {
            Value::Null
        } else {
            Value::Object(chosen)
        };
        Members::new("password", given.password.unwrap_or(login.password))
            .public("username", given.username.unwrap_or(login.username))
            .public("members", chosen)
            .secrets("secrets", given.secrets)
    }
}

fn refused(kind: RefusalKind, code: &str, message: String) -> DatabaseError {
    DatabaseError::Refused {
        kind,
        code: code.to_owned(),
        message,
    }
}

/// Between two requests to end a lease that takes its time.
const PAUSE: Duration = Duration::from_millis(200);
