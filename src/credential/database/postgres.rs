//! PostgreSQL 15 to 18 in definer mode: a reviewed file of functions is all that the broker can call.
//!
//! Each call is one statement with bound values, so there is no text to quote. Clocks, ceilings and
//! who inherits are the functions' business; see `install/`.

use std::fs;

use async_trait::async_trait;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

mod check;
mod connection;
pub mod install;
mod limits;
mod settings;
mod surroundings;

pub use check::{Finding, Severity};
pub use settings::{
    CONNECTIONS, ChannelBinding, Cleaner, GroupCeiling, HELD, MAX_LIVE, PORT, SHORTEST_LIFE,
    TargetSettings, Tls,
};

use super::{
    Address, ConnectionStatus, Database, DatabaseError, Found, LeaseRow, Leftover, NewLogin,
};
use crate::clock::Timestamp;
use connection::{Connections, column};

/// One PostgreSQL server.
#[derive(Debug)]
pub struct Postgres {
    settings: TargetSettings,
    ca: Option<String>,
    mint: Connections,
    /// Of its own, and held open: when leases fill the server, they can still be ended (P-8).
    disable: Connections,
    /// Another: `disable` may have to wait until `terminate` came through (P-2).
    terminate: Connections,
    /// By database; all share how many connections the cleaner may have.
    cleaners: Vec<(String, Connections)>,
    cleaner: Connections,
    standbys: Vec<Connections>,
}

impl Postgres {
    /// Talks to nobody yet.
    ///
    /// # Errors
    /// The CA file cannot be used.
    pub fn new(settings: TargetSettings) -> Result<Self, String> {
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
        let ca = settings.ca.as_deref().map(fs::read_to_string).transpose();
        Ok(Self {
            ca: ca.map_err(|error| format!("the CA file cannot be read: {error}"))?,
            mint: of_broker(usize::from(mints))?,
            disable: held()?,
            terminate: held()?,
            cleaners,
            cleaner,
            standbys,
            settings,
        })
    }

    /// How it is reached.
    #[must_use]
    pub const fn settings(&self) -> &TargetSettings {
        &self.settings
    }

    /// The cleaner calls a function in a database that jobs write to. Whatever waits there under that
    /// name, only the one that was installed is called (databases.md P-1).
    async fn check_cleaner(&self, cleaner: &Connections) -> Result<(), DatabaseError> {
        let rows = cleaner.query(CLEANER_FUNCTION, &[]).await?;
        let not_ours = |what: &str| DatabaseError::Refused {
            code: "HP008".to_owned(),
            message: format!(
                "function hallpass.clean_here {what}; run the file that `hallpass target install-sql` prints"
            ),
        };
        let [row] = rows.as_slice() else {
            return Err(not_ours("is not there, or there are several"));
        };
        let version = u32::try_from(column::<i32>(row, 0)? / 10_000).unwrap_or(0);
        // Whoever owned the schema could put another function there after this look.
        if !column::<bool>(row, 1)? {
            return Err(not_ours("or its schema belongs to somebody else"));
        }
        if !column::<bool>(row, 2)?
            || column::<Option<Vec<String>>>(row, 3)? != Some(install::function_config(version))
        {
            return Err(not_ours("runs with other settings or another's rights"));
        }
        if column::<String>(row, 4)? != install::clean_body(&self.settings, version) {
            return Err(not_ours("is not the one that this broker would install"));
        }
        Ok(())
    }
}

#[async_trait]
impl Database for Postgres {
    async fn create(&self, login: &NewLogin<'_>) -> Result<Option<Found>, DatabaseError> {
        let life = i32::try_from(login.life).unwrap_or(i32::MAX);
        let connections = i32::from(self.settings.connections);
        let rows = self
            .mint
            .query(
                CREATE,
                &[
                    (&login.random, Type::TEXT),
                    (&login.verifier, Type::TEXT),
                    (&life, Type::INT4),
                    (&login.group, Type::TEXT),
                    (&login.act_as_group, Type::BOOL),
                    (&connections, Type::INT4),
                    (&login.record, Type::TEXT),
                    (&login.may_create, Type::BOOL),
                ],
            )
            .await?;
        match rows.as_slice() {
            [] => Ok(None),
            [row] => found(row).map(Some),
            // One token has two logins: nobody can say which is the right one.
            [_, ..] => Err(DatabaseError::Refused {
                code: "HP009".to_owned(),
                message: "several logins have the same random part".to_owned(),
            }),
        }
    }

    async fn disable(&self, login: &str) -> Result<(), DatabaseError> {
        let sql = "SELECT hallpass.disable($1)";
        self.disable
            .query(sql, &[(&login, Type::TEXT)])
            .await
            .map(drop)
            .or_else(gone_is_done)
    }

    async fn terminate(&self, login: &str) -> Result<u32, DatabaseError> {
        let sql = "SELECT hallpass.terminate($1)";
        let ended = self.terminate.query(sql, &[(&login, Type::TEXT)]).await?;
        for standby in &self.standbys {
            // A standby that is down has no sessions; one that lags is swept again.
            let told = standby.query(sql, &[(&login, Type::TEXT)]).await;
            if let Err(error) = told {
                tracing::warn!(reason = "database.replica", problem = %crate::text::escape(&error.to_string()), "sessions on a standby could not be ended");
            }
        }
        count(&ended)
    }

    async fn leftovers(&self, login: &str) -> Result<Vec<Leftover>, DatabaseError> {
        let sql = "SELECT database, kind, objects FROM hallpass.deps($1)";
        let rows = self.terminate.query(sql, &[(&login, Type::TEXT)]).await?;
        let leftover = |row: &Row| {
            Ok(Leftover {
                database: column(row, 0)?,
                owned: column::<String>(row, 1)? == "o",
                objects: column(row, 2)?,
            })
        };
        rows.iter().map(leftover).collect()
    }

    async fn clean(&self, login: &str, database: &str) -> Result<(), DatabaseError> {
        let cleaner = self.cleaners.iter().find(|(name, _)| name == database);
        let Some((_, cleaner)) = cleaner else {
            return Err(DatabaseError::Unreachable(format!(
                "database `{database}` is not listed"
            )));
        };
        self.check_cleaner(cleaner).await?;
        let sql = "SELECT hallpass.clean_here($1)";
        cleaner.query(sql, &[(&login, Type::TEXT)]).await.map(drop)
    }

    async fn strip(&self, login: &str) -> Result<(), DatabaseError> {
        let sql = "SELECT hallpass.strip($1)";
        self.disable
            .query(sql, &[(&login, Type::TEXT)])
            .await
            .map(drop)
            .or_else(gone_is_done)
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
        let sql = "SELECT hallpass.ghosts()";
        let here = self.terminate.query(sql, &[]).await?;
        for standby in &self.standbys {
            let sql = "SELECT hallpass.ghosts() + hallpass.terminate_ended()";
            let told = standby.query(sql, &[]).await;
            if let Err(error) = told {
                tracing::warn!(reason = "database.replica", problem = %crate::text::escape(&error.to_string()), "a standby could not be swept");
            }
        }
        count(&here)
    }

    async fn quarantined(&self) -> Result<Vec<Leftover>, DatabaseError> {
        self.leftovers(QUARANTINE).await
    }

    async fn leases(&self) -> Result<Vec<LeaseRow>, DatabaseError> {
        let rows = self.terminate.query(LEASES, &[]).await?;
        rows.iter().map(lease).collect()
    }

    async fn hold(&self) -> Result<(), DatabaseError> {
        self.disable.hold().await?;
        self.terminate.hold().await
    }

    fn is_listed(&self, database: &str) -> bool {
        self.settings.databases.iter().any(|name| name == database)
    }

    fn address(&self) -> Address {
        Address {
            host: self.settings.host.clone(),
            port: self.settings.port,
            database: self.settings.databases.first().cloned().unwrap_or_default(),
            sslmode: self.settings.tls.name(),
            ca: self.ca.clone(),
        }
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
            of("broker", &[&self.mint, &self.disable, &self.terminate]),
            of("cleaner", &[&self.cleaner]),
        ]
    }
}

fn found(row: &Row) -> Result<Found, DatabaseError> {
    Ok(Found {
        created: column(row, 0)?,
        login: column(row, 1)?,
        expires_at: Timestamp::from_unix(column(row, 2)?),
        can_login: column(row, 3)?,
        ended: column(row, 4)?,
        groups: column(row, 5)?,
        record: column(row, 6)?,
    })
}

fn lease(row: &Row) -> Result<LeaseRow, DatabaseError> {
    Ok(LeaseRow {
        login: column(row, 0)?,
        expires_at: Timestamp::from_unix(column(row, 1)?),
        ended: column(row, 2)?,
        can_login: column(row, 3)?,
        groups: column(row, 4)?,
        sessions: column(row, 5)?,
        leftovers: column(row, 6)?,
        record: column(row, 7)?,
    })
}

/// The number that a function answers with; none is no answer.
fn count(rows: &[Row]) -> Result<u32, DatabaseError> {
    let number = rows.first().map_or(Ok(0), |row| column::<i32>(row, 0))?;
    Ok(u32::try_from(number).unwrap_or(0))
}

/// Another replica came first.
fn gone_is_done(error: DatabaseError) -> Result<(), DatabaseError> {
    if error.code() == Some("42704") {
        Ok(())
    } else {
        Err(error)
    }
}

const QUARANTINE: &str = "hallpass_quarantine";
const CREATE: &str = "SELECT created, login, ends, can_login, ended, groups, record FROM hallpass.mint($1, $2, $3, $4, $5, $6, $7, $8)";
const LEASES: &str = "SELECT login, extract(epoch FROM ends)::bigint, ended, can_login, groups, sessions, leftovers, record FROM hallpass.leases()";
const CLEANER_FUNCTION: &str = "
    SELECT current_setting('server_version_num')::int4,
        pg_get_userbyid(p.proowner) = 'hallpass_definer' AND pg_get_userbyid(n.nspowner) = 'hallpass_definer'
            AND NOT EXISTS (SELECT FROM aclexplode(n.nspacl) a WHERE a.privilege_type = 'CREATE' AND a.grantee <> n.nspowner),
        p.prosecdef, p.proconfig, p.prosrc
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname = 'hallpass' AND p.proname = 'clean_here'";
