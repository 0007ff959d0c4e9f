//! Connections to a PostgreSQL server: TLS, time-outs, and a few kept open.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Client, NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::settings::{TargetSettings, Tls};
use crate::credential::database::DatabaseError;
use crate::secret::SecretSource;
use crate::tls;

impl From<tokio_postgres::Error> for DatabaseError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            // The server is going down or ended the session: the transaction may have come through.
            Some(database) if is_ending(database.code()) => {
                Self::Unknown(database.message().to_owned())
            }
            Some(database) => Self::Refused {
                code: database.code().code().to_owned(),
                message: database.message().to_owned(),
            },
            None => Self::Unknown(text(&error)),
        }
    }
}

/// A column of an answer. Functions that were installed by somebody else may answer otherwise.
pub(super) fn column<'a, T: FromSql<'a>>(row: &'a Row, index: usize) -> Result<T, DatabaseError> {
    row.try_get(index).map_err(|error| DatabaseError::Refused {
        code: "HP008".to_owned(),
        message: format!("the functions answer otherwise than they should: {error}"),
    })
}

fn is_ending(code: &SqlState) -> bool {
    [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
    ]
    .contains(code)
}

/// An error with what it is about, which the outer text leaves out.
fn text(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// One login to one database, with a few connections kept open.
#[derive(Debug)]
pub(super) struct Connections {
    host: String,
    port: u16,
    database: String,
    user: String,
    password: SecretSource,
    tls: Option<MakeTls>,
    idle: Mutex<Vec<Client>>,
    places: Semaphore,
    broken: Mutex<Option<Broken>>,
}

/// A server that could not be reached.
#[derive(Debug)]
struct Broken {
    until: tokio::time::Instant,
    pause: Duration,
    problem: String,
}

#[derive(Clone)]
struct MakeTls(MakeRustlsConnect);

impl std::fmt::Debug for MakeTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MakeTls")
    }
}

impl Connections {
    /// At most `most` connections as that user.
    ///
    /// # Errors
    /// The CA file of the target cannot be read, or TLS cannot be set up.
    pub(super) fn new(
        settings: &TargetSettings,
        database: &str,
        (user, password): (&str, &SecretSource),
        most: usize,
    ) -> Result<Self, String> {
        Ok(Self {
            host: settings.host.clone(),
            port: settings.port,
            database: database.to_owned(),
            user: user.to_owned(),
            password: password.clone(),
            tls: match settings.tls {
                Tls::VerifyFull => {
                    let config = tls::to_server(settings.ca.as_deref())?;
                    Some(MakeTls(MakeRustlsConnect::new(config)))
                }
                Tls::Disable => None,
            },
            idle: Mutex::new(Vec::new()),
            places: Semaphore::new(most),
            broken: Mutex::new(None),
        })
    }

    /// The same login on another server, e.g. a standby.
    pub(super) fn at(mut self, host: &str, port: u16) -> Self {
        host.clone_into(&mut self.host);
        self.port = port;
        self
    }

    /// Runs `statements` on a connection of its own, within [`CALL_TIME`]. One that fails, other than
    /// by an answer of the server, is not used again.
    pub(super) async fn run<T, E, F>(
        &self,
        statements: impl FnOnce(Arc<Client>) -> F,
    ) -> Result<T, DatabaseError>
    where
        E: Into<DatabaseError>,
        F: Future<Output = Result<T, E>>,
    {
        let unreachable = |problem: &str| DatabaseError::Unreachable(problem.to_owned());
        let place = tokio::time::timeout(CALL_TIME, self.places.acquire()).await;
        let _place = place
            .map_err(|_| unreachable("every connection is in use"))?
            .map_err(|_| unreachable("it is closed"))?;
        let client = match self.take_idle() {
            Some(client) => client,
            None => self.connect().await?,
        };
        let client = Arc::new(client);
        let done = tokio::time::timeout(CALL_TIME, statements(Arc::clone(&client))).await;
        let result = match done {
            Ok(result) => result.map_err(Into::into),
            // Dropping the client closes the connection, and the server gives up with it.
            Err(_) => Err(DatabaseError::Unknown(format!(
                "no answer in {} s",
                CALL_TIME.as_secs()
            ))),
        };
        let is_sound = !matches!(
            result,
            Err(DatabaseError::Unknown(_) | DatabaseError::Unreachable(_))
        );
        if let (true, Some(client)) = (is_sound, Arc::into_inner(client)) {
            self.idle().push(client);
        }
        result
    }

    /// One statement with bound values, in one round trip.
    pub(super) async fn query(
        &self,
        sql: &str,
        values: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, DatabaseError> {
        self.run(|client| async move { client.query_typed(sql, values).await })
            .await
    }

    /// Opens a connection now, so that one is there when the server has none left (databases.md P-8).
    pub(super) async fn hold(&self) -> Result<(), DatabaseError> {
        self.run(|client| async move { client.simple_query("SELECT 1").await.map(drop) })
            .await
    }

    fn take_idle(&self) -> Option<Client> {
        let mut idle = self.idle();
        while let Some(client) = idle.pop() {
            if !client.is_closed() {
                return Some(client);
            }
        }
        None
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Client>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A server that did not answer is left alone for a while, so that nobody queues behind it.
    async fn connect(&self) -> Result<Client, DatabaseError> {
        let now = tokio::time::Instant::now();
        if let Some(broken) = self.broken().as_ref().filter(|broken| broken.until > now) {
            return Err(DatabaseError::Unreachable(broken.problem.clone()));
        }
        let connected = self.connect_now().await;
        let mut broken = self.broken();
        let before = broken.take();
        if let Err(DatabaseError::Unreachable(problem)) = &connected {
            let pause = before.map_or(FIRST_PAUSE, |before| before.pause.saturating_mul(2));
            let pause = pause.min(LONGEST_PAUSE);
            *broken = Some(Broken {
                until: now.checked_add(pause).unwrap_or(now),
                pause,
                problem: problem.clone(),
            });
        }
        drop(broken);
        connected
    }

    fn broken(&self) -> MutexGuard<'_, Option<Broken>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect_now(&self) -> Result<Client, DatabaseError> {
        let unreachable = |problem: String| DatabaseError::Unreachable(problem);
        let password = self.password.read().map_err(|error| {
            unreachable(format!(
                "the password of `{}` cannot be read: {error}",
                self.user
            ))
        })?;
        let mut config = tokio_postgres::Config::new();
        config
            .host(&self.host)
            .port(self.port)
            .dbname(&self.database)
            .user(&self.user)
            .password(password.expose())
            .application_name("hallpass")
            .options(OPTIONS)
            .connect_timeout(CONNECT_TIME);
        let connecting = async {
            if let Some(MakeTls(tls)) = &self.tls {
                config.ssl_mode(SslMode::Require);
                let (client, connection) = config.connect(tls.clone()).await?;
                tokio::spawn(connection);
                return Ok(client);
            }
            config.ssl_mode(SslMode::Disable);
            let (client, connection) = config.connect(NoTls).await?;
            tokio::spawn(connection);
            Ok(client)
        };
        match tokio::time::timeout(CONNECT_TIME, connecting).await {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(error)) => Err(unreachable(self.said(&error))),
            Err(_) => Err(unreachable(format!(
                "no connection in {} s",
                CONNECT_TIME.as_secs()
            ))),
        }
    }

    fn said(&self, error: &tokio_postgres::Error) -> String {
        match error.as_db_error() {
            Some(database) => format!("login `{}` was refused: {}", self.user, database.message()),
            None => text(error),
        }
    }
}

/// Whoever owns a database, or holds the broker's password, can change what its sessions begin with
/// (`ALTER DATABASE … SET`, `ALTER ROLE … SET`): what matters to us is said by us.
const OPTIONS: &str = "-c search_path=pg_catalog,pg_temp -c client_min_messages=warning \
    -c statement_timeout=15s -c lock_timeout=5s -c idle_in_transaction_session_timeout=15s \
    -c idle_session_timeout=0 -c default_transaction_isolation=read\\ committed \
    -c default_transaction_read_only=off -c default_transaction_deferrable=off -c synchronous_commit=on";
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const CONNECT_TIME: Duration = Duration::from_secs(3);
/// For one call; the functions themselves wait two seconds for a lock.
const CALL_TIME: Duration = Duration::from_secs(6);
