//! One connection to the server: TCP or TLS, the login, and a first look at whom we found.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, RedisConnectionInfo, RedisError, Value};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::RedisSettings;
use super::server::{self, About};
use crate::secret::Secret;
use crate::tls;

/// An open connection, logged in.
#[derive(Debug)]
pub(super) struct Connection {
    commands: MultiplexedConnection,
    /// Moves the bytes; ends with the connection.
    driver: JoinHandle<()>,
    pub(super) about: About,
    /// The server's time at the first look.
    pub(super) time: Duration,
}

impl Connection {
    /// Connects, logs in and looks at the server; the caller limits the time.
    pub(super) async fn open(
        settings: &RedisSettings,
        tls: Option<&TlsConnector>,
    ) -> Result<Self, String> {
        let stream = TcpStream::connect((settings.host.as_str(), settings.port))
            .await
            .map_err(|error| unreachable(&error))?;
        stream
            .set_nodelay(true)
            .map_err(|error| unreachable(&error))?;
        let (commands, driver) = match tls {
            None => start(stream).await?,
            Some(tls) => {
                let name = ServerName::try_from(settings.host.clone())
                    .map_err(|_| "has a name that no certificate can have")?;
                let stream = tls.connect(name, stream).await;
                start(stream.map_err(|error| format!("cannot be trusted: {error}"))?).await?
            }
        };
        let mut connection = Self {
            commands,
            driver,
            about: About {
                run: String::new(),
                says_policy: true,
            },
            time: Duration::ZERO,
        };
        connection.log_in(settings).await?;
        connection.look_first().await?;
        Ok(connection)
    }

    /// One command and its answer.
    pub(super) async fn ask(&self, command: &Cmd) -> Result<Value, RedisError> {
        let mut commands = self.commands.clone();
        commands.send_packed_command(command).await?.extract_error()
    }

    /// `TIME` and a command in one go, in this order.
    pub(super) async fn ask_with_time(&self, command: &Cmd) -> Result<(Value, Value), RedisError> {
        let mut both = redis::pipe();
        both.cmd("TIME").add_command(command.clone());
        let mut commands = self.commands.clone();
        let answers = commands.send_packed_commands(&both, 0, 2).await?;
        let mut answers = answers.into_iter().map(Value::extract_error);
        let mut next = || answers.next().unwrap_or(Ok(Value::Nil));
        Ok((next()?, next()?))
    }

    pub(super) fn is_over(&self) -> bool {
        self.driver.is_finished()
    }

    async fn log_in(&self, settings: &RedisSettings) -> Result<(), String> {
        if let Some(password) = password(settings)? {
            let mut login = redis::cmd("AUTH");
            if let Some(user) = &settings.user {
                login.arg(user);
            }
            login.arg(password.expose());
            self.say(&login).await?;
        }
        if settings.database != 0 {
            self.say(redis::cmd("SELECT").arg(settings.database))
                .await?;
        }
        Ok(())
    }

    async fn look_first(&mut self) -> Result<(), String> {
        self.about = server::about(&self.say(&redis::cmd("INFO")).await?)?;
        let time = self.say(&redis::cmd("TIME")).await?;
        self.time = server::time(&time).ok_or("does not tell the time")?;
        Ok(())
    }

    async fn say(&self, command: &Cmd) -> Result<Value, String> {
        self.ask(command).await.map_err(|error| failed(&error))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// The text of any error of a command.
pub(super) fn failed(error: &RedisError) -> String {
    if error.is_io_error() {
        "closed the connection".to_owned()
    } else {
        server::said(error)
    }
}

/// The password as it is now.
pub(super) fn password(settings: &RedisSettings) -> Result<Option<Secret<String>>, String> {
    let Some(source) = &settings.password else {
        return Ok(None);
    };
    match source.read() {
        Ok(password) => Ok(Some(password)),
        Err(error) => Err(format!("`replay.password` cannot be read: {error}")),
    }
}

/// TLS that trusts the given CA certificates, or the public ones.
pub(super) fn tls(ca: Option<&Path>) -> Result<TlsConnector, String> {
    Ok(TlsConnector::from(Arc::new(tls::to_server(ca)?)))
}

async fn start<S>(stream: S) -> Result<(MultiplexedConnection, JoinHandle<()>), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // We log in ourselves and limit the time of each call ourselves.
    let about = RedisConnectionInfo::default().set_skip_set_lib_name();
    let config = AsyncConnectionConfig::new()
        .set_response_timeout(None)
        .set_connection_timeout(None);
    let (commands, driver) = MultiplexedConnection::new_with_config(&about, stream, config)
        .await
        .map_err(|error| failed(&error))?;
    Ok((commands, tokio::spawn(driver)))
}

fn unreachable(error: &std::io::Error) -> String {
    format!("cannot be reached: {error}")
}
