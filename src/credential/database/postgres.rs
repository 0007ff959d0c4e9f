//! PostgreSQL 15 to 18 in definer mode: a reviewed file of functions is all that the broker can call.
//!
//! Each call is one statement with bound values, so there is no text to quote. Clocks, ceilings and
//! who inherits are the functions' business; see `install/`.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use aws_lc_rs::rand;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

pub mod certificate;
mod check;
mod clean;
mod connection;
pub mod install;
mod installed;
mod kind;
mod lease;
mod limits;
mod reach;
mod read;
mod rotate;
mod scram;
mod settings;
mod surroundings;
pub mod url;

pub use kind::{KIND, PostgresDefinition, PostgresLogin};
pub use read::TARGET;
pub use settings::{
    CONNECTIONS, ChannelBinding, Cleaner, GroupCeiling, HELD, MAX_LIVE, PORT, PostgresSettings,
    SHORTEST_LIFE, Tls,
};

use super::{Cleaned, Database, DatabaseError, Found, Given, Login, NewLogin, RefusalKind, Wanted};
use crate::clock::Timestamp;
use crate::credential::Members;
use crate::credential::target::{ConnectionStatus, LeaseRow, Leftover};
use crate::policy::CredentialDefinition;
use crate::reason::Reason;
use crate::secret::Secret;
use crate::tls;
use clean::Work;
use connection::{Connections, column};
use reach::Reaches;

#[derive(Debug)]
pub struct Postgres {
    settings: PostgresSettings,
    ca: Option<String>,
    mint: Connections,
    /// Of its own, and held open: when leases fill the server, they can still be ended (P-8).
    disable: Connections,
    /// Another: `disable` may have to wait until `terminate` came through (P-2).
    terminate: Connections,
    /// One turn at a time; the lock that stands for it is the connection's.
    turn: Connections,
    /// By database; all share how many connections the cleaner may have.
    cleaners: Vec<(String, Connections)>,
    cleaner: Connections,
    standbys: Vec<Connections>,
    /// The installed functions were seen to be of this broker's version.
    is_current: AtomicBool,
    /// What was found about groups.
    reaches: Reaches,
}

impl Postgres {
    /// Talks to nobody yet.
    ///
    /// # Errors
    /// The CA file cannot be used.
    pub fn new(settings: PostgresSettings) -> Result<Self, String> {
        let broker = (settings.user.as_str(), &settings.password);
        let control = &settings.control_database;
        let of_broker = |most| Connections::new(&settings, control, broker, most);
        let held = || Connections::held(&settings, control, broker);
        let cleaner = (settings.cleaner.user.as_str(), &settings.cleaner.password);
        let most = usize::from(settings.cleaner_connections);
        let cleaner = Connections::new(&settings, control, cleaner, most)?;
        let databases = settings.databases.iter();
        let cleaners = databases.map(|database| (database.clone(), cleaner.to(database)));
        let cleaners = cleaners.collect();
        let one = of_broker(1)?;
        let standbys = settings
            .standbys
            .iter()
            .map(|(host, port)| one.at(host, *port))
            .collect();
        let mints = settings.broker_connections.saturating_sub(HELD).max(1);
        let ca = settings.ca.as_deref().map(tls::read_ca).transpose();
        Ok(Self {
            ca: ca.map_err(|error| format!("the CA file cannot be read: {error}"))?,
            mint: of_broker(usize::from(mints))?,
            disable: held()?,
            terminate: held()?,
            turn: held()?,
            is_current: AtomicBool::new(false),
            reaches: reach::reaches(),
            cleaners,
            cleaner,
            standbys,
            settings,
        })
    }

    /// The functions that are installed are the ones that this broker knows. Asked once, and again after
    /// they turned out to be others.
    async fn require_contract(&self) -> Result<(), DatabaseError> {
        if self.is_current.load(Ordering::Relaxed) {
            return Ok(());
        }
        let rows = self
            .terminate
            .query("SELECT hallpass.version()", &[])
            .await?;
        let found = rows
            .first()
            .map_or(Ok(String::new()), |row| column(row, 0))?;
        if found == install::CONTRACT {
            self.is_current.store(true, Ordering::Relaxed);
            return Ok(());
        }
        Err(DatabaseError::Refused {
            kind: RefusalKind::Outdated,
            code: OUTDATED.to_owned(),
            message: format!(
                "the installed functions are version {}, expected {}: logins are ended and none are made; run the file that `hallpass target install` prints",
                crate::text::escape(&found),
                install::CONTRACT
            ),
        })
    }

    /// Whether the file of the first release is installed, which knows other functions.
    async fn is_first_contract(&self) -> Result<bool, DatabaseError> {
        match self.require_contract().await {
            Ok(()) => Ok(false),
            Err(error) if error.kind() == Some(RefusalKind::Outdated) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// An answer that says the functions are others than they were: they are looked at again.
    fn noticed<T>(&self, answered: Result<T, DatabaseError>) -> Result<T, DatabaseError> {
        if answered
            .as_ref()
            .is_err_and(|error| error.code() == Some(UNDEFINED_FUNCTION))
        {
            self.is_current.store(false, Ordering::Relaxed);
        }
        answered
    }

    fn cleaner_of(&self, database: &str) -> Result<&Connections, DatabaseError> {
        let found = self.cleaners.iter().find(|(name, _)| name == database);
        found.map(|(_, cleaner)| cleaner).ok_or_else(|| {
            DatabaseError::Unreachable(format!("database `{database}` is not listed"))
        })
    }
}

#[async_trait]
impl Database for Postgres {
    async fn create(&self, login: &NewLogin<'_>) -> Result<Option<Found>, DatabaseError> {
        self.require_contract().await?;
        self.require_reach(login.group, login.act_as_group).await?;
        let verifier = verifier(login.password)?;
        let life = i32::try_from(login.life).unwrap_or(i32::MAX);
        let used_until = login.used_until.unix();
        let connections = i32::from(self.settings.connections);
        let rows = self
            .mint
            .query(
                CREATE,
                &[
                    (&login.random, Type::TEXT),
                    (&verifier, Type::TEXT),
                    (&life, Type::INT4),
                    (&login.group, Type::TEXT),
                    (&login.act_as_group, Type::BOOL),
                    (&connections, Type::INT4),
                    (&login.record, Type::TEXT),
                    (&used_until, Type::INT8),
                    (&login.holder, Type::TEXT),
                    (&login.may_create, Type::BOOL),
                ],
            )
            .await;
        match self.noticed(rows)?.as_slice() {
            [] => Ok(None),
            [row] => found(row).map(Some),
            // One token has two logins: nobody can say which is the right one.
            [_, ..] => Err(DatabaseError::Refused {
                kind: RefusalKind::Other,
                code: "HP009".to_owned(),
                message: "several logins have the same random part".to_owned(),
            }),
        }
    }

    async fn cut(&self, login: &str) -> Result<(), DatabaseError> {
        // The first release takes memberships from closed logins only.
        if self.is_first_contract().await? {
            return Ok(());
        }
        // On the connection that never waits for a lock of a lease.
        let cut = self
            .terminate
            .query("SELECT hallpass.cut($1)", &[(&login, Type::TEXT)])
            .await;
        self.noticed(cut).map(drop).or_else(gone_is_done)
    }

    async fn disable(&self, login: &str) -> Result<(), DatabaseError> {
        let is_first = self.is_first_contract().await?;
        let disabled = self
            .disable
            .run(|client| async move {
                client
                    .query_typed("SELECT hallpass.disable($1)", &[(&login, Type::TEXT)])
                    .await?;
                if is_first {
                    client
                        .query_typed("SELECT hallpass.strip($1)", &[(&login, Type::TEXT)])
                        .await?;
                }
                Ok::<_, tokio_postgres::Error>(())
            })
            .await;
        disabled.or_else(gone_is_done)
    }

    async fn terminate(&self, login: &str) -> Result<u32, DatabaseError> {
        let sql = "SELECT hallpass.terminate($1)";
        let ended = self.terminate.query(sql, &[(&login, Type::TEXT)]).await?;
        for standby in &self.standbys {
            // A standby that is down has no sessions; one that lags is swept again.
            if let Err(error) = standby.query(sql, &[(&login, Type::TEXT)]).await {
                warn_of_standby(&error);
            }
        }
        count(&ended)
    }

    async fn leftovers(&self, login: &str) -> Result<Vec<Leftover>, DatabaseError> {
        // The first release does not count code, so whatever is left may be some.
        let sql = if self.is_first_contract().await? {
            "SELECT database, kind, objects, objects FROM hallpass.deps($1)"
        } else {
            "SELECT database, kind, objects, routines FROM hallpass.deps($1)"
        };
        let rows = self.terminate.query(sql, &[(&login, Type::TEXT)]).await;
        let leftover = |row: &Row| {
            Ok(Leftover {
                database: column(row, 0)?,
                owned: column::<String>(row, 1)? == "o",
                objects: column(row, 2)?,
                routines: column(row, 3)?,
            })
        };
        self.noticed(rows)?.iter().map(leftover).collect()
    }

    async fn disarm(&self, login: &str, database: &str) -> Result<Cleaned, DatabaseError> {
        self.turn(login, database, Work::Disarm).await
    }

    async fn clean(&self, login: &str, database: &str) -> Result<Cleaned, DatabaseError> {
        self.turn(login, database, Work::Clean).await
    }

    async fn reasons(&self, login: &str) -> Result<Vec<String>, DatabaseError> {
        let rows = self
            .terminate
            .query(SESSIONS, &[(&login, Type::TEXT)])
            .await?;
        let pids = rows.iter().map(|row| column::<i32>(row, 0));
        let pids: Vec<String> = pids
            .map(|pid| pid.map(|pid| pid.to_string()))
            .collect::<Result<_, _>>()?;
        let mut reasons = Vec::new();
        if !pids.is_empty() {
            reasons.push(format!(
                "its sessions do not end: end server process {} with `kill -9`, which restarts the server, or restart it",
                pids.join(", ")
            ));
        }
        if self.is_first_contract().await? {
            return Ok(reasons);
        }
        let sql = "SELECT * FROM hallpass.foreign_memberships($1)";
        for row in self.terminate.query(sql, &[(&login, Type::TEXT)]).await? {
            let statement: String = column(&row, 0)?;
            reasons.push(format!(
                "somebody else made it a member of a role; run `{statement}`"
            ));
        }
        reasons.extend(self.code_in_use(login).await?);
        Ok(reasons)
    }

    async fn recover(&self) -> Result<(), DatabaseError> {
        if self.is_first_contract().await? {
            return Ok(());
        }
        let stalled = STALLED.replace("{{turn}}", install::TURN);
        self.terminate.query(&stalled, &[]).await?;
        let lent = self.terminate.query("SELECT hallpass.recover()", &[]).await;
        for row in self.noticed(lent)? {
            let lent: Vec<String> = column(&row, 0)?;
            if !lent.is_empty() {
                tracing::warn!(reason = Reason::DatabaseRecovered.code(), roles = %crate::text::escape(&lent.join(", ")), "a clean-up was interrupted; what was lent for it is taken back");
            }
        }
        Ok(())
    }

    async fn drop_login(&self, login: &str) -> Result<(), DatabaseError> {
        let dropped = self
            .disable
            .run(|client| async move {
                client
                    .query_typed("SELECT hallpass.drop_login($1)", &[(&login, Type::TEXT)])
                    .await?;
                // A session that was let in just before the login was disabled shows only now.
                client.query_typed("SELECT hallpass.ghosts()", &[]).await
            })
            .await;
        dropped.map(drop).or_else(gone_is_done)
    }

    async fn ended(&self, after: &str, most: u32) -> Result<Vec<String>, DatabaseError> {
        let sql = "SELECT * FROM hallpass.ended($1, $2)";
        let most = i32::try_from(most).unwrap_or(i32::MAX);
        let rows = self
            .terminate
            .query(sql, &[(&after, Type::TEXT), (&most, Type::INT4)])
            .await?;
        rows.iter().map(|row| column(row, 0)).collect()
    }

    async fn ghosts(&self) -> Result<u32, DatabaseError> {
        let here = self
            .terminate
            .query("SELECT hallpass.ghosts()", &[])
            .await?;
        for standby in &self.standbys {
            if let Err(error) = self.sweep_standby(standby).await {
                warn_of_standby(&error);
            }
        }
        if !self.is_first_contract().await? {
            self.terminate.query("SELECT hallpass.prune()", &[]).await?;
        }
        count(&here)
    }

    async fn quarantined(&self) -> Result<Vec<Leftover>, DatabaseError> {
        // What the file granted it is no leftover.
        let mut left = self.leftovers(QUARANTINE).await?;
        left.retain(|leftover| leftover.owned);
        Ok(left)
    }

    async fn leases(&self) -> Result<Vec<LeaseRow>, DatabaseError> {
        self.list_leases().await
    }

    async fn hold(&self) -> Result<(), DatabaseError> {
        self.mint.close_old();
        self.disable.hold().await?;
        self.terminate.hold().await?;
        self.turn.hold().await
    }

    async fn misfit(&self) -> Result<Option<String>, DatabaseError> {
        let sql = "SELECT ARRAY(SELECT datname::text FROM pg_catalog.pg_database WHERE datallowconn ORDER BY 1)";
        let rows = self.terminate.query(sql, &[]).await?;
        match rows.first() {
            Some(row) => Ok(self.missing_databases(&column::<Vec<String>>(row, 0)?)),
            None => Ok(None),
        }
    }

    fn has_same_files(&self) -> bool {
        let ca = self.settings.ca.as_deref().map(tls::read_ca);
        ca.transpose().is_ok_and(|ca| ca == self.ca)
    }

    fn databases(&self) -> &[String] {
        &self.settings.databases
    }

    fn wanted(&self, credential: &CredentialDefinition) -> Option<Wanted> {
        let definition: &PostgresDefinition = credential.of()?;
        Some(Wanted {
            database: definition.database.clone(),
            group: definition.group.clone(),
            act_as_group: definition.act_as_group,
        })
    }

    fn members(&self, login: Login) -> Members {
        let Wanted {
            database,
            group,
            act_as_group,
        } = login.wanted;
        let first = || self.databases().first().cloned().unwrap_or_default();
        PostgresLogin {
            username: login.username,
            password: login.password,
            host: self.settings.host.clone(),
            port: self.settings.port,
            database: database.unwrap_or_else(first),
            sslmode: self.settings.tls.name(),
            ca: self.ca.clone(),
            options: act_as_group.then(|| format!("-c role={}", as_option(&group))),
        }
        .into_members()
    }

    fn connections(&self) -> Vec<ConnectionStatus> {
        let of = |login, pools: &[&Connections]| {
            let mut status = ConnectionStatus {
                login,
                ..ConnectionStatus::default()
            };
            for pool in pools {
                pool.add_to(&mut status);
            }
            status
        };
        vec![
            of(
                "broker",
                &[&self.mint, &self.disable, &self.terminate, &self.turn],
            ),
            of("cleaner", &[&self.cleaner]),
        ]
    }
}

/// As the server reads `options`: blanks divide them, but for one behind a backslash.
fn as_option(group: &str) -> String {
    group.replace('\\', r"\\").replace(' ', r"\ ")
}

/// What the server gets in place of a password, so that no log of its own has it (T-92).
///
/// # Errors
/// The random source gives nothing.
pub fn verifier(password: &Secret<String>) -> Result<String, DatabaseError> {
    let mut salt = [0; SALT_BYTES];
    rand::fill(&mut salt)
        .map_err(|_| DatabaseError::Unreachable("the system gives no random numbers".to_owned()))?;
    Ok(scram::verifier(password.expose(), &salt))
}

fn found(row: &Row) -> Result<Found, DatabaseError> {
    Ok(Found {
        created: column(row, 0)?,
        login: column(row, 1)?,
        expires_at: Timestamp::from_unix(column(row, 2)?),
        is_usable: column(row, 3)?,
        groups: column(row, 4)?,
        acts_as_group: column(row, 5)?,
        record: column(row, 6)?,
        given: Given::default(),
    })
}

fn warn_of_standby(error: &DatabaseError) {
    tracing::warn!(reason = Reason::DatabaseStandby.code(), problem = %crate::text::escape(&error.to_string()), "sessions on a standby could not be ended");
}

/// The number that a function answers with; none is no answer.
fn count(rows: &[Row]) -> Result<u32, DatabaseError> {
    let number = rows.first().map_or(Ok(0), |row| column::<i32>(row, 0))?;
    Ok(u32::try_from(number).unwrap_or(0))
}

fn gone_is_done(error: DatabaseError) -> Result<(), DatabaseError> {
    if error.kind() == Some(RefusalKind::Gone) {
        Ok(())
    } else {
        Err(error)
    }
}

/// As many as PostgreSQL takes itself.
const SALT_BYTES: usize = 16;
const QUARANTINE: &str = "hallpass_quarantine";
const CREATE: &str = "SELECT created, login, ends, can_login AND NOT ended, groups, acts, record FROM hallpass.mint($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
const SESSIONS: &str =
    "SELECT pid FROM pg_catalog.pg_stat_activity WHERE usename = $1::name ORDER BY 1";
/// Sessions in the broker's name that keep a transaction or a turn open and do nothing: no broker does.
const STALLED: &str = "
    SELECT pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a
    WHERE a.usename = current_user AND a.pid <> pg_backend_pid() AND a.state_change < clock_timestamp() - interval '15 s'
      AND (a.state ~ '^idle in transaction' OR (a.state = 'idle' AND EXISTS (
          SELECT FROM pg_catalog.pg_locks l WHERE l.pid = a.pid AND l.locktype = 'advisory' AND (l.classid, l.objid, l.objsubid) = ({{turn}}, 2))))";
/// Ours: the functions are of another version.
const OUTDATED: &str = "HP013";
const UNDEFINED_FUNCTION: &str = "42883";
