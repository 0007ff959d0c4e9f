//! Redis 7 and Valkey: a user with the rules of a group, on every server, until its end.
//!
//! Redis has no expiry for users and no transactions over users, so the order of the commands is what
//! makes this safe; `user`, `create` and `listing` say how. The broker's login can make any user there is:
//! its password is the power over the whole server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::future::join_all;

mod check;
mod create;
mod install;
mod kind;
mod listing;
mod node;
mod read;
mod rotate;
mod rules;
mod settings;
pub mod url;
mod user;
mod view;

pub use kind::{KIND, RedisDefinition};
pub use read::TARGET;
pub use rules::{DENIED, Group};
pub use settings::{MAX_LIVE, PORT, RedisServers, SHORTEST_LIFE};

use super::{Database, DatabaseError, Found, Login, NewLogin, RefusalKind, Wanted};
use crate::clock::Clock;
use crate::credential::Members;
use crate::credential::target::{ConnectionStatus, LeaseRow};
use crate::policy::CredentialDefinition;
use crate::tls;
use kind::RedisLogin;
use listing::Known;
use node::{Node, Role};
use user::{Names, User};

#[derive(Debug)]
pub struct Redis {
    settings: RedisServers,
    ca: Option<String>,
    names: Names,
    nodes: Vec<Node>,
    known: Known,
    clock: Arc<dyn Clock>,
    /// The server that jobs are sent to: the master when it was last looked at.
    master: AtomicUsize,
}

impl Redis {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// The CA file cannot be used.
    pub fn new(settings: RedisServers, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let ca = settings.ca.as_deref().map(tls::read_ca).transpose();
        let ca = ca.map_err(|error| format!("the CA file cannot be read: {error}"))?;
        let nodes = settings.nodes.iter();
        let nodes = nodes.map(|node| Node::new(&settings, node, ca.as_deref()));
        Ok(Self {
            nodes: nodes.collect::<Result<_, _>>()?,
            names: Names::new(&settings.prefix),
            known: Known::default(),
            master: AtomicUsize::new(0),
            clock,
            ca,
            settings,
        })
    }

    fn remember_master(&self, master: &Node) {
        let mut nodes = self.nodes.iter();
        if let Some(at) = nodes.position(|node| node.name == master.name) {
            self.master.store(at, Ordering::Relaxed);
        }
    }

    /// Deletes a login on every server, which ends its connections. A replica that is away is swept when
    /// it is back.
    async fn delete(&self, login: &str) -> Result<(), DatabaseError> {
        if self.names.end(login).is_none() {
            return Err(create::refused(
                RefusalKind::Other,
                "NAME",
                "it is not the name of a lease".to_owned(),
            ));
        }
        let command = user::delete_users(&[login]);
        let deleted = join_all(self.nodes.iter().map(|node| node.ask(&command))).await;
        for (node, deleted) in self.nodes.iter().zip(deleted) {
            match deleted {
                Ok(_) => {}
                Err(error @ (DatabaseError::Unreachable(_) | DatabaseError::Unknown(_)))
                    if node.last_role() == Role::Replica =>
                {
                    create::warn_of_replica(&error);
                }
                Err(error) => return Err(error),
            }
        }
        self.known.forget(login);
        Ok(())
    }
}

#[async_trait]
impl Database for Redis {
    async fn create(&self, login: &NewLogin<'_>) -> Result<Option<Found>, DatabaseError> {
        self.make(login).await
    }

    /// Deletes the login: nothing begins a session as it, and what it has is closed.
    async fn disable(&self, login: &str) -> Result<(), DatabaseError> {
        self.delete(login).await
    }

    /// The server closes a user's connections when it is deleted.
    async fn terminate(&self, _login: &str) -> Result<u32, DatabaseError> {
        Ok(0)
    }

    /// It went with [`disable`](Self::disable).
    async fn drop_login(&self, _login: &str) -> Result<(), DatabaseError> {
        Ok(())
    }

    async fn reasons(&self, _login: &str) -> Result<Vec<String>, DatabaseError> {
        let view = self.look().await;
        let busy = view
            .missing
            .iter()
            .filter(|(_, error)| error.code() == Some("BUSY"));
        let words = busy.map(|(node, _)| {
            format!(
                "{} runs a script that does not end: run `SCRIPT KILL` or `FUNCTION KILL` there, and where it has written already `SHUTDOWN NOSAVE`",
                node.name
            )
        });
        Ok(words.collect())
    }

    async fn ended(&self, after: &str, most: u32) -> Result<Vec<String>, DatabaseError> {
        self.list_ended(after, most).await
    }

    async fn ghosts(&self) -> Result<u32, DatabaseError> {
        self.delete_strays().await
    }

    async fn leases(&self) -> Result<Vec<LeaseRow>, DatabaseError> {
        self.list_leases().await
    }

    async fn hold(&self) -> Result<(), DatabaseError> {
        let view = self.look().await;
        match view.missing.into_iter().next() {
            Some((_, error)) if view.masters.is_empty() && view.replicas.is_empty() => Err(error),
            Some(_) | None => Ok(()),
        }
    }

    async fn misfit(&self) -> Result<Option<String>, DatabaseError> {
        let view = self.look().await;
        let missing = view.missing.iter().map(|(_, error)| error.to_string());
        let missing: Vec<String> = missing.collect();
        Ok(match self.complete(view).await {
            Err(error) => Some(error.to_string()),
            Ok(_) if missing.is_empty() => None,
            Ok(_) => Some(missing.join("; ")),
        })
    }

    fn has_same_files(&self) -> bool {
        let ca = self.settings.ca.as_deref().map(tls::read_ca);
        ca.transpose().is_ok_and(|ca| ca == self.ca)
    }

    fn databases(&self) -> &[String] {
        &[]
    }

    fn wanted(&self, credential: &CredentialDefinition) -> Option<Wanted> {
        let definition: &RedisDefinition = credential.of()?;
        Some(Wanted {
            database: None,
            group: definition.group.clone(),
            act_as_group: false,
        })
    }

    fn members(&self, login: Login) -> Members {
        let master = self.settings.nodes.get(self.master.load(Ordering::Relaxed));
        let (host, port) = master
            .or(self.settings.nodes.first())
            .cloned()
            .unwrap_or_default();
        RedisLogin {
            username: login.username,
            password: login.password,
            host,
            port,
            tls: self.settings.tls_word(),
            ca: self.ca.clone(),
        }
        .into_members()
    }

    fn connections(&self) -> Vec<ConnectionStatus> {
        let open = self.nodes.iter().filter(|node| node.is_connected());
        vec![ConnectionStatus {
            login: "broker",
            open: open.count(),
            most: self.nodes.len(),
            ..ConnectionStatus::default()
        }]
    }
}
