//! Connections to a PostgreSQL server: statements within a time, and a pause after a failure.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Client, Row};

use super::settings::PostgresSettings;
use crate::credential::database::{DatabaseError, RefusalKind};
use crate::credential::target::ConnectionStatus;
use crate::secret::SecretSource;

mod counts;
mod login;
mod pool;

pub(super) use login::WITHOUT_TLS;
use login::{Login, Session};
use pool::Pool;

impl From<tokio_postgres::Error> for DatabaseError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            // The server is going down or ended the session: the transaction may have come through.
            Some(database) if is_ending(database.code()) => {
                Self::Unknown(database.message().to_owned())
            }
            Some(database) => Self::Refused {
                kind: kind_of(database.code().code()),
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
        kind: RefusalKind::Other,
        code: "HP008".to_owned(),
        message: format!("the functions answer otherwise than they should: {error}"),
    })
}

/// What a SQLSTATE means; those of the installed functions begin with `HP`. `XX000` is a catalogue row
/// that changed at the same time.
pub(super) fn kind_of(code: &str) -> RefusalKind {
    match code {
        "XX000" | "40001" | "40P01" | "23505" | "42710" | "HP006" | "HP007" => RefusalKind::Passing,
        "55P03" => RefusalKind::Locked,
        "42704" => RefusalKind::Gone,
        "2BP01" => RefusalKind::StillReferenced,
        "HP001" => RefusalKind::GroupUnfit,
        "HP002" => RefusalKind::Full,
        "HP010" => RefusalKind::RepositoryFull,
        "HP003" => RefusalKind::Ceiling,
        "HP013" => RefusalKind::Outdated,
        "3F000" | "42883" | "42501" => RefusalKind::NotInstalled,
        _ => RefusalKind::Other,
    }
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

/// Connections of one login to one database.
#[derive(Debug)]
pub(super) struct Connections {
    pool: Arc<Pool>,
    database: String,
    broken: Mutex<Option<Broken>>,
}

/// A database that could not be reached.
#[derive(Debug)]
struct Broken {
    until: tokio::time::Instant,
    pause: Duration,
    problem: String,
}

impl Connections {
    /// At most `most` connections as that user, which close when nobody needs them.
    ///
    /// # Errors
    /// The CA file of the target cannot be read, or TLS cannot be set up.
    pub(super) fn new(
        settings: &PostgresSettings,
        database: &str,
        login: (&str, &SecretSource),
        most: usize,
    ) -> Result<Self, String> {
        let pool = Pool::new(Login::new(settings, login)?, most, Some(IDLE_TIME));
        Ok(Self::of(Arc::new(pool), database))
    }

    /// One connection that stays open once it is (T-107).
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(super) fn held(
        settings: &PostgresSettings,
        database: &str,
        login: (&str, &SecretSource),
    ) -> Result<Self, String> {
        let pool = Pool::new(Login::new(settings, login)?, 1, None);
        Ok(Self::of(Arc::new(pool), database))
    }

    fn of(pool: Arc<Pool>, database: &str) -> Self {
        Self {
            pool,
            database: database.to_owned(),
            broken: Mutex::new(None),
        }
    }

    /// The same login on another server, e.g. a standby.
    pub(super) fn at(&self, host: &str, port: u16) -> Self {
        let login = self.pool.login.at(host, port);
        let pool = Pool::new(login, self.pool.most, Some(IDLE_TIME));
        Self::of(Arc::new(pool), &self.database)
    }

    /// The same login to another database. Both share how many connections there may be.
    pub(super) fn to(&self, database: &str) -> Self {
        Self::of(Arc::clone(&self.pool), database)
    }

    /// How its connections are, as part of what `login` has.
    pub(super) fn add_to(&self, status: &mut ConnectionStatus) {
        let counts = &self.pool.counts;
        status.open = status.open.saturating_add(counts.how_many_open());
        status.most = status.most.saturating_add(self.pool.most);
        status.problem = status.problem.take().or_else(|| counts.problem());
        for (reason, count) in counts.refused() {
            let sum = status.refused.entry(reason).or_default();
            *sum = sum.saturating_add(count);
        }
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
        let place = tokio::time::timeout(CALL_TIME, self.pool.place()).await;
        let _place = place
            .map_err(|_| {
                let most = self.pool.most;
                unreachable(&format!("all {most} connections of this broker are in use"))
            })?
            .map_err(|_| unreachable("it is closed"))?;
        let Session {
            client,
            task,
            stamp,
        } = self.session().await?;
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
            self.pool.counts.serve();
            let session = Session {
                client,
                task,
                stamp,
            };
            self.pool.put_back(&self.database, session);
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

    /// Opens a connection now, so that one is there when the server has none left (T-107).
    pub(super) async fn hold(&self) -> Result<(), DatabaseError> {
        self.run(|client| async move { client.simple_query("SELECT 1").await.map(drop) })
            .await
    }

    /// A server that did not answer is left alone for a while, so that nobody queues behind it.
    async fn session(&self) -> Result<Session, DatabaseError> {
        if let Some(session) = self.pool.take_idle(&self.database) {
            return Ok(self.renewed(session).await);
        }
        let now = tokio::time::Instant::now();
        if let Some(broken) = self.broken().as_ref().filter(|broken| broken.until > now) {
            return Err(DatabaseError::Unreachable(broken.problem.clone()));
        }
        let session = self.pool.open(&self.database).await;
        let mut broken = self.broken();
        let before = broken.take();
        session.map_err(|refused| {
            let problem = refused.into_text();
            let pause = before.map_or(FIRST_PAUSE, |before| before.pause.saturating_mul(2));
            let pause = pause.min(LONGEST_PAUSE);
            *broken = Some(Broken {
                until: now.checked_add(pause).unwrap_or(now),
                pause,
                problem: problem.clone(),
            });
            DatabaseError::Unreachable(problem)
        })
    }

    /// A session of the login and password of now. The old one goes when there is a new one.
    async fn renewed(&self, session: Session) -> Session {
        let login = &self.pool.login;
        if login.is_current(&session) {
            return session;
        }
        match login.open(&self.database, &self.pool.counts).await {
            Ok(renewed) => {
                self.close_old();
                renewed
            }
            Err(_) => login.keep(session),
        }
    }

    /// Closes idle connections of an earlier login or password.
    pub(super) fn close_old(&self) {
        self.pool.close_old();
    }

    fn broken(&self) -> MutexGuard<'_, Option<Broken>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// For one call; the functions themselves wait two seconds for a lock.
const CALL_TIME: Duration = Duration::from_secs(6);
/// How long a connection stays open that nobody uses.
const IDLE_TIME: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
