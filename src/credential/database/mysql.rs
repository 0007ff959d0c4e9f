//! MySQL 8 and 9, and MariaDB from 10.11 on, in definer mode: a reviewed file of procedures is all that the
//! broker can call.
//!
//! Each call is one statement with bound values, so there is no text to quote. Clocks and ceilings are the
//! procedures' business; see `install/`. The two servers differ in how accounts are made and kept: a target finds
//! out which one it is from the server's version.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use mysql_async::{Row, Value};

mod check;
mod connection;
mod counts;
mod flavor;
mod hash;
pub mod install;
mod kind;
mod read;
mod rotate;
mod settings;
pub mod url;

pub use flavor::Flavor;
pub use hash::password_hash;
pub use kind::{KIND, MysqlDefinition, MysqlLogin};
pub use read::TARGET;
pub use settings::{CONNECTIONS, Ceiling, HELD, MAX_LIVE, MysqlSettings, PORT, SHORTEST_LIFE, Tls};

use super::{Database, DatabaseError, Found, Given, Login, NewLogin, RefusalKind, Wanted};
use crate::clock::Timestamp;
use crate::credential::Members;
use crate::credential::target::{ConnectionStatus, LeaseRow, LeaseState};
use crate::policy::CredentialDefinition;
use crate::reason::Reason;
use crate::tls;
use connection::{Connections, column};

#[derive(Debug)]
pub struct Mysql {
    settings: MysqlSettings,
    ca: Option<String>,
    mint: Connections,
    /// Of its own, and held open: when leases fill the server, they can still be ended.
    disable: Connections,
    /// Another: both are called at once.
    terminate: Connections,
    nodes: Vec<Connections>,
    /// Which server it is, once its procedures were seen to be of this broker's version.
    flavor: Mutex<Option<Flavor>>,
}

impl Mysql {
    /// Does not connect yet.
    ///
    /// # Errors
    /// The CA file cannot be used.
    pub fn new(settings: MysqlSettings) -> Result<Self, String> {
        let mints = settings.broker_connections.saturating_sub(HELD).max(1);
        let mint = Connections::new(&settings, usize::from(mints))?;
        let ca = settings.ca.as_deref().map(tls::read_ca).transpose();
        let nodes = settings.nodes.iter();
        let nodes = nodes.map(|(host, port)| mint.at(host, *port, 1)).collect();
        Ok(Self {
            ca: ca.map_err(|error| format!("the CA file cannot be read: {error}"))?,
            disable: mint.held(),
            terminate: mint.held(),
            mint,
            nodes,
            flavor: Mutex::new(None),
            settings,
        })
    }

    /// Which server it is. Its procedures are the ones that this broker knows: asked once, and again after
    /// they turned out to be others.
    async fn flavor(&self) -> Result<Flavor, DatabaseError> {
        if let Some(flavor) = *self.known_flavor() {
            return Ok(flavor);
        }
        let facts = self.facts().await?;
        if facts.contract != install::CONTRACT {
            return Err(DatabaseError::Refused {
                kind: RefusalKind::Outdated,
                code: "HP013".to_owned(),
                message: format!(
                    "the installed procedures are version {}, expected {}: logins are ended and none are made; run the file that `hallpass target install` prints",
                    crate::text::escape(&facts.contract),
                    install::CONTRACT
                ),
            });
        }
        let flavor = Flavor::of_version(&facts.version);
        *self.known_flavor() = Some(flavor);
        Ok(flavor)
    }

    fn known_flavor(&self) -> MutexGuard<'_, Option<Flavor>> {
        self.flavor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn facts(&self) -> Result<Facts, DatabaseError> {
        let rows = self
            .mint
            .call("CALL hallpass.version()", Vec::new())
            .await?;
        let row = rows.first().ok_or_else(no_answer)?;
        Ok(Facts {
            contract: column(row, 0)?,
            version: column(row, 1)?,
            scheduler: column(row, 2)?,
            connections: column(row, 3)?,
            dead_man: column(row, 4)?,
            now: column(row, 5)?,
        })
    }

    /// An answer that says the server or its procedures are others than they were: they are looked at again.
    fn noticed<T>(&self, answered: Result<T, DatabaseError>) -> Result<T, DatabaseError> {
        if answered.is_err() {
            *self.known_flavor() = None;
        }
        answered
    }

    async fn call_with_login(
        &self,
        connections: &Connections,
        sql: &str,
        login: &str,
    ) -> Result<Vec<Row>, DatabaseError> {
        connections.call(sql, vec![login.into()]).await
    }
}

/// What a server says about itself.
struct Facts {
    contract: String,
    version: String,
    scheduler: String,
    connections: i64,
    dead_man: String,
    /// Seconds since 1970.
    now: i64,
}

#[async_trait]
impl Database for Mysql {
    async fn create(&self, login: &NewLogin<'_>) -> Result<Option<Found>, DatabaseError> {
        let flavor = self.flavor().await?;
        let values: Vec<Value> = vec![
            login.random.into(),
            password_hash(flavor, login.password)?.into(),
            login.life.min(i32::MAX.unsigned_abs()).into(),
            login.group.into(),
            login.act_as_group.into(),
            self.settings.connections.into(),
            login.record.into(),
            login.used_until.unix().into(),
            login.holder.into(),
            login.may_create.into(),
        ];
        // Only the caller can tell what it means when the same login is asked for again.
        let (called, _) = self.mint.call_once(MINT, values).await;
        match self.noticed(called)?.as_slice() {
            [] => Ok(None),
            [row] => found(row).map(Some),
            // One token has two logins, and neither is known to be the right one.
            [_, ..] => Err(DatabaseError::Refused {
                kind: RefusalKind::Other,
                code: "HP009".to_owned(),
                message: "several logins have the same random part".to_owned(),
            }),
        }
    }

    async fn disable(&self, login: &str) -> Result<(), DatabaseError> {
        let sql = "CALL hallpass.disable(?)";
        let called = self.call_with_login(&self.disable, sql, login).await;
        called.map(drop)
    }

    async fn terminate(&self, login: &str) -> Result<u32, DatabaseError> {
        let sql = "CALL hallpass.terminate(?)";
        let here = self.call_with_login(&self.terminate, sql, login).await?;
        let mut ended = count(&here)?;
        for node in &self.nodes {
            // A node that is down has no sessions; one that lags is swept again.
            match self.call_with_login(node, sql, login).await {
                Ok(there) => ended = ended.saturating_add(count(&there)?),
                Err(error) => warn_of_node(node, &error),
            }
        }
        Ok(ended)
    }

    async fn reasons(&self, login: &str) -> Result<Vec<String>, DatabaseError> {
        let leases = self.leases().await?;
        let lease = leases.iter().find(|lease| lease.login == login);
        let sessions = lease
            .map(|lease| lease.sessions.as_slice())
            .unwrap_or_default();
        if sessions.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<String> = sessions.iter().map(i32::to_string).collect();
        Ok(vec![format!(
            "its sessions do not end: look at session {} with `SHOW PROCESSLIST` on {}; one that rolls back ends when that is done, any other ends when the server is restarted",
            ids.join(", "),
            self.terminate.address()
        )])
    }

    async fn drop_login(&self, login: &str) -> Result<(), DatabaseError> {
        let sql = "CALL hallpass.drop_login(?)";
        let called = self.call_with_login(&self.disable, sql, login).await;
        called.map(drop)
    }

    async fn ended(&self, after: &str, most: u32) -> Result<Vec<String>, DatabaseError> {
        let sql = "CALL hallpass.ended(?, ?)";
        let values = vec![after.into(), most.into()];
        let rows = self.terminate.call(sql, values).await?;
        rows.iter().map(|row| column(row, 0)).collect()
    }

    async fn ghosts(&self) -> Result<u32, DatabaseError> {
        let sql = "CALL hallpass.ghosts()";
        let mut ended = count(&self.terminate.call(sql, Vec::new()).await?)?;
        for node in &self.nodes {
            match node.call(sql, Vec::new()).await {
                Ok(there) => ended = ended.saturating_add(count(&there)?),
                Err(error) => warn_of_node(node, &error),
            }
        }
        self.terminate
            .call("CALL hallpass.prune()", Vec::new())
            .await?;
        Ok(ended)
    }

    async fn leases(&self) -> Result<Vec<LeaseRow>, DatabaseError> {
        let rows = self
            .terminate
            .call("CALL hallpass.list()", Vec::new())
            .await?;
        rows.iter().map(lease).collect()
    }

    async fn hold(&self) -> Result<(), DatabaseError> {
        self.mint.close_old();
        self.disable.hold().await?;
        self.terminate.hold().await
    }

    fn has_same_files(&self) -> bool {
        let ca = self.settings.ca.as_deref().map(tls::read_ca);
        ca.transpose().is_ok_and(|ca| ca == self.ca)
    }

    fn databases(&self) -> &[String] {
        &self.settings.databases
    }

    fn wanted(&self, credential: &CredentialDefinition) -> Option<Wanted> {
        let definition: &MysqlDefinition = credential.of()?;
        Some(Wanted {
            database: definition.database.clone(),
            group: definition.group.clone(),
            act_as_group: definition.is_checkout,
        })
    }

    fn members(&self, login: Login) -> Members {
        let Wanted {
            database,
            group,
            act_as_group,
        } = login.wanted;
        let first = || self.databases().first().cloned().unwrap_or_default();
        MysqlLogin {
            // A checkout's lease has a name of its own, and the job logs in with the account.
            username: if act_as_group { group } else { login.username },
            password: login.password,
            host: self.settings.host.clone(),
            port: self.settings.port,
            database: database.unwrap_or_else(first),
            ssl_mode: kind::ssl_mode(self.settings.tls),
            ca: self.ca.clone(),
        }
        .into_members()
    }

    fn connections(&self) -> Vec<ConnectionStatus> {
        let mut status = ConnectionStatus {
            login: "broker",
            ..ConnectionStatus::default()
        };
        for connections in [&self.mint, &self.disable, &self.terminate] {
            connections.add_to(&mut status);
        }
        for node in &self.nodes {
            node.add_to(&mut status);
        }
        vec![status]
    }
}

fn found(row: &Row) -> Result<Found, DatabaseError> {
    Ok(Found {
        created: column(row, 0)?,
        login: column(row, 1)?,
        expires_at: Timestamp::from_unix(column(row, 2)?),
        is_usable: column(row, 3)?,
        groups: column::<Option<String>>(row, 4)?.into_iter().collect(),
        acts_as_group: column(row, 5)?,
        record: column(row, 6)?,
        given: Given::default(),
    })
}

fn lease(row: &Row) -> Result<LeaseRow, DatabaseError> {
    let (ended, can_login, is_live) = (column(row, 2)?, column(row, 3)?, column::<bool>(row, 6)?);
    let sessions: String = column(row, 7)?;
    let sessions: Vec<i32> = sessions
        .split(',')
        .filter_map(|id| id.parse().ok())
        .collect();
    Ok(LeaseRow {
        login: column(row, 0)?,
        expires_at: Timestamp::from_unix(column(row, 1)?),
        ended,
        can_login,
        groups: column::<Option<String>>(row, 4)?.into_iter().collect(),
        state: match (
            ended,
            can_login && is_live,
            can_login || !sessions.is_empty(),
        ) {
            (false, true, _) => LeaseState::Live,
            (_, _, true) => LeaseState::Closing,
            (_, _, false) => LeaseState::Disarmed,
        },
        sessions,
        leftovers: Vec::new(),
        record: column(row, 5)?,
    })
}

fn warn_of_node(node: &Connections, error: &DatabaseError) {
    tracing::warn!(reason = Reason::DatabaseStandby.code(), node = node.address(), problem = %crate::text::escape(&error.to_string()), "sessions on a node could not be ended");
}

/// The number that a procedure answers with.
fn count(rows: &[Row]) -> Result<u32, DatabaseError> {
    let number = rows.first().map_or(Ok(0), |row| column::<i64>(row, 0))?;
    Ok(u32::try_from(number).unwrap_or(0))
}

fn no_answer() -> DatabaseError {
    DatabaseError::Refused {
        kind: RefusalKind::Other,
        code: "HP008".to_owned(),
        message: "a procedure answered with nothing".to_owned(),
    }
}

const MINT: &str = "CALL hallpass.mint(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
