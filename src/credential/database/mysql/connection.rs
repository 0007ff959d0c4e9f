//! Connections to one server: procedure calls within a time, and a pause after a failure.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, OptsBuilder, Row, SslOpts, Value};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::counts::{Counts, Shortage};
use super::settings::{MysqlSettings, Tls};
use crate::credential::database::broker_login::{BrokerLogin, is_current};
use crate::credential::database::{DatabaseError, RefusalKind};
use crate::credential::target::ConnectionStatus;
use crate::secret::{SecretSource, SecretStamp};
use crate::tls;

/// One login to one server, and at most `most` connections of it.
#[derive(Debug)]
pub(super) struct Connections {
    login: Arc<Login>,
    host: String,
    port: u16,
    most: usize,
    /// They stay open, for when the server has none left.
    is_held: bool,
    counts: Arc<Counts>,
    places: Semaphore,
    idle: Mutex<Vec<Idle>>,
    broken: Mutex<Option<Broken>>,
}

#[derive(Debug)]
struct Login {
    user: String,
    password: SecretSource,
    ssl: Option<SslOpts>,
}

#[derive(Debug)]
struct Idle {
    session: Session,
    since: Instant,
}

/// A connection, and the stamp of the password that it was opened with.
#[derive(Debug)]
struct Session {
    connection: Conn,
    stamp: Option<SecretStamp>,
}

/// A server that could not be reached.
#[derive(Debug)]
struct Broken {
    until: Instant,
    pause: Duration,
    problem: String,
}

impl Connections {
    /// Does not connect yet.
    ///
    /// # Errors
    /// The CA file of the target cannot be read, or holds no certificate.
    pub(super) fn new(settings: &MysqlSettings, most: usize) -> Result<Self, String> {
        let login = (settings.user.as_str(), &settings.password);
        Self::of_login(settings, login, most)
    }

    /// One connection that stays open once it is.
    pub(super) fn held(&self) -> Self {
        Self {
            is_held: true,
            ..self.at(&self.host, self.port, 1)
        }
    }

    /// The same for another login, such as that of a lease.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(super) fn of_login(
        settings: &MysqlSettings,
        (user, password): (&str, &SecretSource),
        most: usize,
    ) -> Result<Self, String> {
        let login = Login {
            user: user.to_owned(),
            password: password.clone(),
            ssl: match settings.tls {
                Tls::VerifyFull => Some(ssl(settings.ca.as_deref())?),
                Tls::Disable => None,
            },
        };
        Ok(Self::to(
            Arc::new(login),
            &settings.host,
            settings.port,
            most,
        ))
    }

    /// The same login on another server.
    pub(super) fn at(&self, host: &str, port: u16, most: usize) -> Self {
        Self::to(Arc::clone(&self.login), host, port, most)
    }

    fn to(login: Arc<Login>, host: &str, port: u16, most: usize) -> Self {
        Self {
            login,
            host: host.to_owned(),
            port,
            most,
            is_held: false,
            counts: Arc::default(),
            places: Semaphore::new(most),
            idle: Mutex::default(),
            broken: Mutex::new(None),
        }
    }

    pub(super) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// How its connections are, as part of what the login has.
    pub(super) fn add_to(&self, status: &mut ConnectionStatus) {
        let in_use = self.most.saturating_sub(self.places.available_permits());
        let open = in_use.saturating_add(locked(&self.idle).len());
        status.open = status.open.saturating_add(open);
        status.most = status.most.saturating_add(self.most);
        self.counts.add_to(status);
    }

    /// Calls a procedure that may be called twice; the rows of its first result. When a connection that was
    /// idle turns out to be gone, it is called again on a new one.
    pub(super) async fn call(
        &self,
        sql: &str,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, DatabaseError> {
        match self.call_once(sql, values.clone()).await {
            (Err(DatabaseError::Unknown(_)), true) => self.call_once(sql, values).await.0,
            (answered, _) => answered,
        }
    }

    /// Calls a procedure once, and says whether the connection had been idle.
    pub(super) async fn call_once(
        &self,
        sql: &str,
        values: Vec<Value>,
    ) -> (Result<Vec<Row>, DatabaseError>, bool) {
        let place = tokio::time::timeout(CALL_TIME, self.places.acquire()).await;
        let Ok(Ok(_place)) = place else {
            let most = self.most;
            let problem = format!("all {most} connections of this broker are in use");
            return (Err(DatabaseError::Unreachable(problem)), false);
        };
        match self.connection(None).await {
            Ok((session, was_idle)) => {
                let called = self.call_on(session, sql, values).await;
                if was_idle && matches!(called, Err(DatabaseError::Unknown(_))) {
                    // The others are as old.
                    let idle = std::mem::take(&mut *locked(&self.idle));
                    drop(idle);
                }
                (called, was_idle)
            }
            Err(error) => (Err(error), false),
        }
    }

    async fn call_on(
        &self,
        mut session: Session,
        sql: &str,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, DatabaseError> {
        let connection = &mut session.connection;
        let called = async {
            if values.is_empty() {
                connection.query(sql).await
            } else {
                connection.exec(sql, values).await
            }
        };
        let called: Result<Vec<Row>, DatabaseError> =
            match tokio::time::timeout(CALL_TIME, called).await {
                Ok(answered) => answered.map_err(|error| read_error(&error)),
                Err(_) => Err(DatabaseError::Unknown(format!(
                    "no answer in {} s",
                    CALL_TIME.as_secs()
                ))),
            };
        if !matches!(
            called,
            Err(DatabaseError::Unknown(_) | DatabaseError::Unreachable(_))
        ) {
            self.counts.serve();
            locked(&self.idle).push(Idle {
                session,
                since: Instant::now(),
            });
        }
        called
    }

    /// Opens a connection now, so that one is there when the server has none left.
    pub(super) async fn hold(&self) -> Result<(), DatabaseError> {
        self.call("DO 0", Vec::new()).await.map(drop)
    }

    /// Logs in to a database, as the job does; the role that is active there.
    pub(super) async fn enter(&self, database: &str) -> Result<String, DatabaseError> {
        let (session, _) = self.connection(Some(database)).await?;
        let mut connection = session.connection;
        let role: Result<Option<Option<String>>, _> =
            connection.query_first("SELECT CURRENT_ROLE()").await;
        let role = role.map_err(|error| read_error(&error));
        // A server that does not take the farewell is left alone.
        let _ = tokio::time::timeout(CLOSE_TIME, connection.disconnect()).await;
        Ok(role?.flatten().unwrap_or_default())
    }

    /// An idle connection, or a new one. A server that did not answer is left alone for a while, so that
    /// no request queues behind it.
    async fn connection(&self, database: Option<&str>) -> Result<(Session, bool), DatabaseError> {
        if database.is_none()
            && let Some(session) = self.take_idle()
        {
            return Ok(self.renewed(session).await);
        }
        let now = Instant::now();
        if let Some(broken) = locked(&self.broken)
            .as_ref()
            .filter(|broken| broken.until > now)
        {
            return Err(unreachable(&broken.problem));
        }
        let opened = self.open(database).await;
        let mut broken = locked(&self.broken);
        let before = broken.take();
        opened.map(|session| (session, false)).map_err(|problem| {
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
    async fn renewed(&self, session: Session) -> (Session, bool) {
        let source = &self.login.password;
        if is_current(source, session.stamp) {
            return (session, true);
        }
        if let Ok(renewed) = self.open(None).await {
            self.close_old();
            (renewed, false)
        } else {
            let stamp = source.stamp();
            (Session { stamp, ..session }, true)
        }
    }

    /// Closes idle connections of an earlier login or password.
    pub(super) fn close_old(&self) {
        locked(&self.idle).retain(|idle| is_current(&self.login.password, idle.session.stamp));
    }

    /// A connection. Where the password file was replaced since it was read, the new one is tried.
    async fn open(&self, database: Option<&str>) -> Result<Session, String> {
        let source = &self.login.password;
        let stamp = source.stamp();
        let opened = self.open_once(database).await;
        let connection = match opened {
            Err(_) if source.stamp() != stamp => {
                return self.open_again(database).await;
            }
            opened => opened?,
        };
        Ok(Session { connection, stamp })
    }

    async fn open_again(&self, database: Option<&str>) -> Result<Session, String> {
        let stamp = self.login.password.stamp();
        let connection = self.open_once(database).await?;
        Ok(Session { connection, stamp })
    }

    /// When the server has no connection left for us, another may be given back soon.
    async fn open_once(&self, database: Option<&str>) -> Result<Conn, String> {
        let mut pause = SHORTEST_WAIT;
        loop {
            let opened =
                tokio::time::timeout(CONNECT_TIME, Conn::new(self.options(database)?)).await;
            let error = match opened {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => error,
                Err(_) => return Err(format!("no connection in {} s", CONNECT_TIME.as_secs())),
            };
            let problem = text(&error);
            let Some(shortage) = Shortage::of(&error) else {
                return Err(problem);
            };
            self.counts.refuse(shortage, &problem);
            if pause > LONGEST_WAIT {
                return Err(problem);
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2);
        }
    }

    fn options(&self, database: Option<&str>) -> Result<Opts, String> {
        let Login {
            user,
            password,
            ssl,
        } = self.login.as_ref();
        let login = BrokerLogin::read(user, password)?;
        Ok(OptsBuilder::default()
            .ip_or_hostname(self.host.as_str())
            .tcp_port(self.port)
            .prefer_socket(false)
            .user(Some(login.user.as_str()))
            .pass(Some(login.password.expose().as_str()))
            .db_name(database)
            .ssl_opts(ssl.clone())
            // Known beforehand, so that a new connection does not ask.
            .max_allowed_packet(Some(LARGEST_PACKET))
            .wait_timeout(Some(IDLE_SECONDS))
            .into())
    }

    fn take_idle(&self) -> Option<Session> {
        let mut idle = locked(&self.idle);
        if !self.is_held {
            idle.retain(|idle| idle.since.elapsed() < LONGEST_IDLE);
        }
        idle.pop().map(|idle| idle.session)
    }
}

fn ssl(ca: Option<&Path>) -> Result<SslOpts, String> {
    // The driver reads the file itself, and takes one without certificates; this does not.
    tls::to_server(ca)?;
    let options = SslOpts::default();
    let Some(path) = ca else {
        return Ok(options);
    };
    let pem = tls::read_ca(path).map_err(|error| format!("the CA file cannot be read: {error}"))?;
    Ok(options
        .with_root_certs(vec![pem.into_bytes().into()])
        .with_disable_built_in_roots(true))
}

fn unreachable(problem: &str) -> DatabaseError {
    DatabaseError::Unreachable(problem.to_owned())
}

/// A column of an answer. Procedures that are not ours may answer otherwise.
pub(super) fn column<T: mysql_async::prelude::FromValue>(
    row: &Row,
    index: usize,
) -> Result<T, DatabaseError> {
    row.get_opt(index)
        .and_then(Result::ok)
        .ok_or_else(|| DatabaseError::Refused {
            kind: RefusalKind::Other,
            code: "HP008".to_owned(),
            message: format!("column {index} of a procedure's answer is not what it should be"),
        })
}

fn read_error(error: &mysql_async::Error) -> DatabaseError {
    match error {
        // The server is going down or ended the session or statement: it may have come through.
        mysql_async::Error::Server(server) if ENDING.contains(&server.code) => {
            DatabaseError::Unknown(server.message.clone())
        }
        mysql_async::Error::Server(server) => DatabaseError::Refused {
            kind: kind_of(server.code, &server.state),
            code: if server.code == SIGNAL {
                server.state.clone()
            } else {
                server.code.to_string()
            },
            message: server.message.clone(),
        },
        mysql_async::Error::Driver(_)
        | mysql_async::Error::Io(_)
        | mysql_async::Error::Other(_)
        | mysql_async::Error::Url(_) => DatabaseError::Unknown(text(error)),
    }
}

/// What an error means; those of the installed procedures have a state that begins with `HP`.
fn kind_of(code: u16, state: &str) -> RefusalKind {
    match (code, state) {
        // A deadlock, a row that another wrote, an account that another made or dropped at the same time.
        (1_213 | 1_062 | 1_396, _) | (_, "HP006" | "HP007" | "HP012") => RefusalKind::Passing,
        (1_205, _) | (_, "HP011") => RefusalKind::Locked,
        (4_006, _) => RefusalKind::StillReferenced,
        (_, "HP001") => RefusalKind::GroupUnfit,
        (_, "HP002") => RefusalKind::Full,
        (_, "HP010") => RefusalKind::RepositoryFull,
        (_, "HP003") => RefusalKind::Ceiling,
        // No such database, procedure or table, or no right to it.
        (1_044 | 1_049 | 1_142 | 1_146 | 1_305 | 1_370, _) => RefusalKind::NotInstalled,
        _ => RefusalKind::Other,
    }
}

/// An error with what it is about, which the outer text leaves out.
fn text(error: &mysql_async::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) if !error.to_string().contains(&source.to_string()) => {
            format!("{error}: {source}")
        }
        Some(_) | None => error.to_string(),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `SIGNAL` of a procedure.
const SIGNAL: u16 = 1_644;
/// Shutdown; query, session or connection killed.
const ENDING: [u16; 5] = [1_053, 1_317, 1_927, 1_969, 3_169];
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const SHORTEST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_millis(800);
/// For one call; the procedures themselves wait two seconds for a lock.
const CALL_TIME: Duration = Duration::from_secs(6);
const CONNECT_TIME: Duration = Duration::from_secs(5);
const CLOSE_TIME: Duration = Duration::from_secs(1);
/// Less than the least `wait_timeout` that anybody sets.
const LONGEST_IDLE: Duration = Duration::from_secs(50);
const IDLE_SECONDS: usize = 28_800;
const LARGEST_PACKET: usize = 16 * 1024 * 1024;
