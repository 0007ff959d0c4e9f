//! One login to one server: how a connection is opened, and what a new one is checked for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_lc_rs::rand;
use data_encoding::HEXLOWER;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio_postgres::config::{ChannelBinding as Binding, SslMode};
use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::{Client, Config, Connection, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::counts::{Counts, Open, Shortage};
use super::text;
use crate::credential::database::broker_login::{BrokerLogin, is_current};
use crate::credential::database::postgres::settings::{ChannelBinding, PostgresSettings, Tls};
use crate::secret::{SecretSource, SecretStamp};
use crate::tls;

#[derive(Debug)]
pub(super) struct Login {
    host: String,
    port: u16,
    user: String,
    password: SecretSource,
    tls: Option<MakeTls>,
    channel_binding: Binding,
    /// The server was 17 or later when it last answered.
    has_transaction_timeout: AtomicBool,
}

#[derive(Clone)]
struct MakeTls(MakeRustlsConnect);

impl std::fmt::Debug for MakeTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MakeTls")
    }
}

/// A connection, and the task that serves it until it is closed.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) task: JoinHandle<()>,
    /// Of the password that it was opened with.
    pub(super) stamp: Option<SecretStamp>,
}

impl Session {
    /// Closes it, and waits until the server was told.
    pub(super) async fn close(self) {
        drop(self.client);
        // A server that does not take the farewell is left alone.
        let _ = tokio::time::timeout(CLOSE_TIME, self.task).await;
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Refused {
    /// The server has none left for this login.
    Full(Shortage, String),
    /// It does not know a setting that we begin sessions with.
    UnknownSetting(String),
    Other(String),
}

impl Refused {
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Full(_, text) | Self::UnknownSetting(text) | Self::Other(text) => text,
        }
    }
}

impl Login {
    /// # Errors
    /// The CA file of the target cannot be read, or TLS cannot be set up.
    pub(super) fn new(
        settings: &PostgresSettings,
        (user, password): (&str, &SecretSource),
    ) -> Result<Self, String> {
        Ok(Self {
            host: settings.host.clone(),
            port: settings.port,
            user: user.to_owned(),
            password: password.clone(),
            tls: match settings.tls {
                Tls::VerifyFull => {
                    let config = tls::to_server(settings.ca.as_deref())?;
                    Some(MakeTls(MakeRustlsConnect::new(config)))
                }
                Tls::Disable => None,
            },
            channel_binding: match settings.channel_binding {
                ChannelBinding::Prefer => Binding::Prefer,
                ChannelBinding::Require => Binding::Require,
                ChannelBinding::Disable => Binding::Disable,
            },
            has_transaction_timeout: AtomicBool::new(false),
        })
    }

    /// The same login on another server.
    pub(super) fn at(&self, host: &str, port: u16) -> Self {
        Self {
            host: host.to_owned(),
            port,
            user: self.user.clone(),
            password: self.password.clone(),
            tls: self.tls.clone(),
            channel_binding: self.channel_binding,
            has_transaction_timeout: AtomicBool::new(false),
        }
    }

    /// Whether the session was opened with the login and password that are there now.
    pub(super) fn is_current(&self, session: &Session) -> bool {
        is_current(&self.password, session.stamp)
    }

    /// Keeps a session, since another with the login and password of now cannot be had.
    pub(super) fn keep(&self, session: Session) -> Session {
        Session {
            stamp: self.password.stamp(),
            ..session
        }
    }

    /// A connection. Where the password file was replaced since it was read, the new one is tried.
    pub(super) async fn open(&self, database: &str, counts: &Counts) -> Result<Session, Refused> {
        let source = &self.password;
        let stamp = source.stamp();
        let opened = self.open_once(database, counts).await;
        if opened.is_err() && source.stamp() != stamp {
            return self.open_once(database, counts).await;
        }
        opened
    }

    /// A connection whose session begins with our settings.
    ///
    /// `transaction_timeout` exists from 17 on, and a server before that refuses a session that begins
    /// with it. Which one it is shows with the first connection, and that is opened again, since
    /// whoever set it to a millisecond would stop any statement that sets it back.
    async fn open_once(&self, database: &str, counts: &Counts) -> Result<Session, Refused> {
        let expected = self.has_transaction_timeout.load(Ordering::Relaxed);
        let mut dialled = self.dial(database, expected, counts).await;
        if expected && matches!(dialled, Err(Refused::UnknownSetting(_))) {
            dialled = self.dial(database, false, counts).await;
        }
        let (session, found) = dialled?;
        self.has_transaction_timeout.store(found, Ordering::Relaxed);
        let session = if found && !expected {
            session.close().await;
            self.dial(database, true, counts).await?.0
        } else {
            session
        };
        Ok(session)
    }

    /// A connection, and whether its server knows `transaction_timeout`.
    async fn dial(
        &self,
        database: &str,
        has_transaction_timeout: bool,
        counts: &Counts,
    ) -> Result<(Session, bool), Refused> {
        let stamp = self.password.stamp();
        let login = BrokerLogin::read(&self.user, &self.password).map_err(Refused::Other)?;
        let mark = mark()?;
        let newer = if has_transaction_timeout {
            " -c transaction_timeout=0"
        } else {
            ""
        };
        let mut config = Config::new();
        config
            .host(&self.host)
            .port(self.port)
            .dbname(database)
            .user(&login.user)
            .password(login.password.expose())
            .application_name("hallpass")
            .options(format!("{OPTIONS} -c {MARK}={mark}{newer}"))
            .channel_binding(self.channel_binding)
            .connect_timeout(CONNECT_TIME);
        let connecting = async {
            let (session, version) = self.connect(&login.user, &mut config, counts).await?;
            let session = Session { stamp, ..session };
            let found = version >= FIRST_WITH_TRANSACTION_TIMEOUT;
            // Else it is only closed again, and a millisecond may be too short to ask it anything.
            if has_transaction_timeout || !found {
                self.check_mark(&login.user, &session.client, &mark).await?;
            }
            Ok((session, found))
        };
        let connected = tokio::time::timeout(CONNECT_TIME, connecting).await;
        connected.unwrap_or_else(|_| {
            Err(Refused::Other(format!(
                "no connection in {} s",
                CONNECT_TIME.as_secs()
            )))
        })
    }

    async fn connect(
        &self,
        user: &str,
        config: &mut Config,
        counts: &Counts,
    ) -> Result<(Session, u32), Refused> {
        if let Some(MakeTls(tls)) = &self.tls {
            config.ssl_mode(SslMode::Require);
            let connected = config.connect(tls.clone()).await;
            let (client, connection) = connected.map_err(|error| self.refused(user, &error))?;
            return Ok(serve(client, connection, counts.open()));
        }
        config.ssl_mode(SslMode::Disable);
        let connected = config.connect(NoTls).await;
        let (client, connection) = connected.map_err(|error| self.refused(user, &error))?;
        Ok(serve(client, connection, counts.open()))
    }

    /// A pooler gives statements of one session to different sessions of the server, where locks and
    /// settings of the one are not there in the other. One that lets our settings through at all does
    /// not carry them to the server, or brings those of another connection of ours.
    async fn check_mark(&self, user: &str, client: &Client, mark: &str) -> Result<(), Refused> {
        let sql = "SELECT pg_catalog.current_setting('hallpass.connection', true)";
        let rows = client.query_typed(sql, &[]).await;
        let rows = rows.map_err(|error| self.refused(user, &error))?;
        let found = rows
            .first()
            .and_then(|row| row.try_get::<_, Option<String>>(0).ok().flatten());
        if found.as_deref() == Some(mark) {
            Ok(())
        } else {
            Err(Refused::Other(self.pooler(
                "the session does not have the settings it was begun with",
            )))
        }
    }

    fn pooler(&self, why: &str) -> String {
        format!(
            "{}:{} is a connection pooler ({why}), which loses locks and settings of a session; name the server itself, or a port that leads to it without the pooler",
            self.host, self.port
        )
    }

    fn refused(&self, user: &str, error: &tokio_postgres::Error) -> Refused {
        let Some(database) = error.as_db_error() else {
            let text = text(error);
            // The driver has no kind of error for it.
            let is_without_tls = text.contains("server does not support TLS");
            return Refused::Other(if is_without_tls {
                WITHOUT_TLS.to_owned()
            } else {
                text
            });
        };
        let message = database.message();
        if let Some(shortage) = Shortage::of(database) {
            let text = match shortage {
                Shortage::Login => {
                    format!("login `{user}` has all the connections it may have: {message}")
                }
                Shortage::Database | Shortage::Server => {
                    format!("the server has no connection left: {message}")
                }
            };
            return Refused::Full(shortage, text);
        }
        if is_of_a_pooler(database) {
            return Refused::Other(self.pooler(message));
        }
        let text = format!("login `{user}` was refused: {message}");
        if *database.code() == SqlState::UNDEFINED_OBJECT {
            Refused::UnknownSetting(text)
        } else {
            Refused::Other(text)
        }
    }
}

/// Servers take settings with the start of a session. `PgBouncer` does not unless it is told to ignore
/// them, nor does RDS Proxy.
fn is_of_a_pooler(error: &DbError) -> bool {
    let message = error.message();
    [
        SqlState::PROTOCOL_VIOLATION,
        SqlState::FEATURE_NOT_SUPPORTED,
    ]
    .contains(error.code())
        && (message.contains("startup parameter") || message.contains("command-line options"))
}

/// Starts serving a connection; with it the major version of the server.
fn serve<S, T>(client: Client, connection: Connection<S, T>, open: Open) -> (Session, u32)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let version = connection.parameter("server_version").unwrap_or_default();
    let major = version
        .split(|letter: char| !letter.is_ascii_digit())
        .next();
    let major = major.and_then(|digits| digits.parse().ok()).unwrap_or(0);
    let task = tokio::spawn(async move {
        // What goes wrong is told to whoever waits for an answer.
        let _ = connection.await;
        drop(open);
    });
    let session = Session {
        client,
        task,
        stamp: None,
    };
    (session, major)
}

/// Tells one connection from all others.
fn mark() -> Result<String, Refused> {
    let mut bytes = [0; 8];
    rand::fill(&mut bytes).map_err(|_| Refused::Other("the random source failed".to_owned()))?;
    Ok(HEXLOWER.encode(&bytes))
}

/// Whoever owns a database, or holds the broker's password, can change what its sessions begin with
/// (`ALTER DATABASE … SET`, `ALTER ROLE … SET`): what matters to us is said by us (T-104).
const OPTIONS: &str = "-c search_path=pg_catalog,pg_temp -c client_min_messages=warning \
    -c statement_timeout=5s -c lock_timeout=5s -c idle_in_transaction_session_timeout=15s \
    -c idle_session_timeout=0 -c default_transaction_isolation=read\\ committed \
    -c default_transaction_read_only=off -c default_transaction_deferrable=off -c synchronous_commit=on \
    -c standard_conforming_strings=on";
/// A setting of our own, which no server has.
const MARK: &str = "hallpass.connection";
const FIRST_WITH_TRANSACTION_TIMEOUT: u32 = 17;
const CONNECT_TIME: Duration = Duration::from_secs(3);
const CLOSE_TIME: Duration = Duration::from_secs(1);
/// An answer of a server, so the target is not unreachable; `target check` says what to do.
pub(in super::super) const WITHOUT_TLS: &str = "it answered, but without TLS";
