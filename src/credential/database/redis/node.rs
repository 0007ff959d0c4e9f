//! One server: its connection, what it is, and what its errors mean.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, RedisConnectionInfo, RedisError,
    TlsCertificates, Value, cmd,
};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::settings::RedisServers;
use super::url::in_url;
use super::user::{acl, items, text};
use crate::credential::database::broker_login::{BrokerLogin, is_current};
use crate::credential::database::{DatabaseError, RefusalKind};
use crate::secret::{SecretSource, SecretStamp};
use crate::text::escape_up_to;
use crate::tls;

/// A server, and the connection that is held to it: when leases have taken all others, it can still end
/// them (T-107).
#[derive(Debug)]
pub(super) struct Node {
    /// `host:port`, for people.
    pub(super) name: String,
    server: ConnectionInfo,
    user: String,
    password: SecretSource,
    link: Mutex<Link>,
    role: AtomicU8,
    is_connected: AtomicBool,
}

#[derive(Debug)]
enum Link {
    None,
    Open(Session),
    /// It could not be reached a moment ago: who waited for the same attempt does not make another.
    Failed(Instant, String),
}

#[derive(Clone, Debug)]
struct Session {
    connection: MultiplexedConnection,
    about: About,
    /// Of the password that it was opened with.
    stamp: Option<SecretStamp>,
}

/// What a server says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct About {
    pub(super) is_valkey: bool,
    /// Major and minor version, of Redis or Valkey.
    pub(super) version: (u32, u32),
    pub(super) is_cluster: bool,
    pub(super) is_sentinel: bool,
}

/// What a server does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Unknown,
    Master,
    Replica,
}

impl Node {
    pub(super) fn new(
        settings: &RedisServers,
        (host, port): &(String, u16),
        ca: Option<&str>,
    ) -> Result<Self, String> {
        let name = format!("{}:{port}", in_url(host));
        let client = if settings.tls {
            tls::to_server(settings.ca.as_deref())?;
            let trusted = TlsCertificates {
                client_tls: None,
                root_cert: ca.map(|pem| pem.as_bytes().to_vec()),
            };
            Client::build_with_tls(format!("rediss://{name}"), trusted)
        } else {
            Client::open(format!("redis://{name}"))
        };
        let client = client.map_err(|error| format!("`{name}` cannot be used: {error}"))?;
        Ok(Self {
            name,
            server: client.get_connection_info().clone(),
            user: settings.user.clone(),
            password: settings.password.clone(),
            link: Mutex::new(Link::None),
            role: AtomicU8::new(0),
            is_connected: AtomicBool::new(false),
        })
    }

    /// What it answers. A connection that broke is made once more: every command of ours can be repeated.
    pub(super) async fn ask(&self, command: &Cmd) -> Result<Value, DatabaseError> {
        let answer = self.ask_once(command).await;
        match answer {
            Err(Failure::Lost(_)) => self.ask_once(command).await,
            answer => answer,
        }
        .map_err(|failure| self.error(failure))
    }

    pub(super) async fn about(&self) -> Result<About, DatabaseError> {
        let session = self.session().await;
        session
            .map(|session| session.about)
            .map_err(|failure| self.error(failure))
    }

    async fn ask_once(&self, command: &Cmd) -> Result<Value, Failure> {
        let mut session = self.session().await?;
        let said = session.connection.send_packed_command(command).await;
        match said.and_then(Value::extract_error) {
            Ok(answer) => Ok(answer),
            Err(error) => {
                let failure = Failure::of(&error);
                if !matches!(failure, Failure::Refused { .. }) {
                    *self.link.lock().await = Link::None;
                    self.is_connected.store(false, Ordering::Relaxed);
                }
                Err(failure)
            }
        }
    }

    async fn session(&self) -> Result<Session, Failure> {
        let mut link = self.link.lock().await;
        match &mut *link {
            Link::Open(session) if is_current(&self.password, session.stamp) => {
                return Ok(session.clone());
            }
            Link::Open(session) => {
                // The old one goes when there is a new one.
                match self.open().await {
                    Ok(renewed) => *session = renewed,
                    Err(_) => session.stamp = self.password.stamp(),
                }
                return Ok(session.clone());
            }
            Link::Failed(at, problem) if at.elapsed() < PAUSE => {
                return Err(Failure::Unreachable(problem.clone()));
            }
            Link::Failed(..) | Link::None => {}
        }
        let session = match self.open().await {
            Ok(session) => session,
            Err(failure) => {
                if let Failure::Unreachable(problem) = &failure {
                    *link = Link::Failed(Instant::now(), problem.clone());
                }
                return Err(failure);
            }
        };
        *link = Link::Open(session.clone());
        self.is_connected.store(true, Ordering::Relaxed);
        Ok(session)
    }

    /// A connection. Where the password file was replaced since it was read, the new one is tried.
    async fn open(&self) -> Result<Session, Failure> {
        let stamp = self.password.stamp();
        let opened = self.open_once(stamp).await;
        let now = self.password.stamp();
        if opened.is_err() && now != stamp {
            return self.open_once(now).await;
        }
        opened
    }

    async fn open_once(&self, stamp: Option<SecretStamp>) -> Result<Session, Failure> {
        let opened = open(&self.server, &self.user, &self.password).await;
        let mut connection = opened.map_err(Failure::Unreachable)?;
        // An administrator without INFO is told of by the check; the role shows the rest.
        let info = connection.send_packed_command(&cmd("INFO")).await;
        let about = match info.and_then(Value::extract_error) {
            Ok(info) => About::read(text(&info).unwrap_or_default()),
            Err(error) => return Err(Failure::of(&error)),
        };
        Ok(Session {
            connection,
            about,
            stamp,
        })
    }

    /// The seconds of its clock, and what it is now.
    pub(super) async fn look(&self) -> Result<(i64, Role), DatabaseError> {
        let about = self.about().await?;
        if about.is_sentinel {
            return Err(DatabaseError::Unreachable(format!(
                "{} is a Sentinel; list the servers that it watches",
                self.name
            )));
        }
        let time = self.ask(&cmd("TIME")).await?;
        let seconds = items(&time).first().and_then(text);
        let seconds = seconds.and_then(|text| text.parse().ok());
        let role = self.ask(&cmd("ROLE")).await?;
        let role = match items(&role).first().and_then(text) {
            Some("master") => Role::Master,
            Some(_) | None => Role::Replica,
        };
        let number = if role == Role::Master { 1 } else { 2 };
        self.role.store(number, Ordering::Relaxed);
        match seconds {
            Some(seconds) => Ok((seconds, role)),
            None => Err(DatabaseError::Unknown(format!(
                "{} says no time",
                self.name
            ))),
        }
    }

    /// What it was when it last answered.
    pub(super) fn last_role(&self) -> Role {
        match self.role.load(Ordering::Relaxed) {
            1 => Role::Master,
            2 => Role::Replica,
            _ => Role::Unknown,
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Relaxed)
    }

    /// The names of all users. Not `ACL LIST`, which can take seconds in which the server does nothing
    /// else.
    pub(super) async fn users(&self) -> Result<Vec<String>, DatabaseError> {
        let users = self.ask(&acl("USERS", &[])).await?;
        let names = items(&users).iter().filter_map(text);
        Ok(names.map(str::to_owned).collect())
    }

    /// Logs in as another user, and closes the connection again.
    pub(super) async fn try_login(
        &self,
        user: &str,
        password: &SecretSource,
    ) -> Result<MultiplexedConnection, String> {
        open(&self.server, user, password).await
    }

    fn error(&self, failure: Failure) -> DatabaseError {
        let name = &self.name;
        match failure {
            Failure::Unreachable(problem) => {
                DatabaseError::Unreachable(format!("{name}: {problem}"))
            }
            Failure::Lost(problem) | Failure::Slow(problem) => {
                DatabaseError::Unknown(format!("{name}: {problem}"))
            }
            Failure::Refused {
                kind,
                code,
                message,
            } => DatabaseError::Refused {
                kind,
                code,
                message: format!("{name}: {message}"),
            },
        }
    }
}

async fn open(
    server: &ConnectionInfo,
    user: &str,
    password: &SecretSource,
) -> Result<MultiplexedConnection, String> {
    let login = BrokerLogin::read(user, password)?;
    let login = RedisConnectionInfo::default()
        .set_username(&login.user)
        .set_password(login.password.expose())
        .set_skip_set_lib_name();
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIME))
        .set_response_timeout(Some(ANSWER_TIME));
    let server = server.clone().set_redis_settings(login);
    let client = Client::open(server).map_err(|error| said(&error))?;
    let opened = tokio::time::timeout(
        CONNECT_TIME,
        client.get_multiplexed_async_connection_with_config(&config),
    );
    match opened.await {
        Ok(opened) => opened.map_err(|error| said(&error)),
        Err(_) => Err(SLOW.to_owned()),
    }
}

/// Why there is no answer.
enum Failure {
    Unreachable(String),
    /// The connection broke: it may have come through.
    Lost(String),
    /// No answer in time.
    Slow(String),
    Refused {
        kind: RefusalKind,
        code: String,
        message: String,
    },
}

impl Failure {
    fn of(error: &RedisError) -> Self {
        if error.is_timeout() {
            return Self::Slow(SLOW.to_owned());
        }
        let is_refusal = matches!(
            error.kind(),
            ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::AuthenticationFailed
        );
        if !is_refusal {
            return Self::Lost(said(error));
        }
        let code = error.code().unwrap_or("ERR");
        let detail = error.detail().unwrap_or_default();
        let is_unknown = detail.contains("unknown command")
            || detail.contains("unknown subcommand")
            || detail.contains("Unknown subcommand");
        let kind = match code {
            // The server is busy with a script, or is not ready yet.
            "BUSY" | "LOADING" => RefusalKind::Passing,
            "NOPERM" => RefusalKind::NotInstalled,
            _ if is_unknown => RefusalKind::NotInstalled,
            _ => RefusalKind::Other,
        };
        let code: String = code
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take(32)
            .collect();
        Self::Refused {
            message: if kind == RefusalKind::NotInstalled {
                NO_ACL.to_owned()
            } else if kind == RefusalKind::Passing {
                format!("the server is {}", code.to_ascii_lowercase())
            } else {
                escape_up_to(detail, 200)
            },
            kind,
            code,
        }
    }
}

/// Why a login came to nothing, without the words of the server where there are better ones.
fn said(error: &RedisError) -> String {
    if error.is_timeout() {
        return SLOW.to_owned();
    }
    let kind = error.kind();
    if kind == ErrorKind::AuthenticationFailed {
        return REFUSED.to_owned();
    }
    if matches!(kind, ErrorKind::Server(_) | ErrorKind::Extension) {
        return match error.code() {
            Some("WRONGPASS" | "NOAUTH") => REFUSED.to_owned(),
            code => format!("refused with {}", escape_up_to(code.unwrap_or("ERR"), 32)),
        };
    }
    let problem = error.to_string();
    format!("cannot be reached: {}", escape_up_to(&problem, 200))
}

impl About {
    /// Reads the answer to `INFO`.
    fn read(info: &str) -> Self {
        let field = |name: &str| {
            info.lines()
                .filter_map(|line| line.trim_end().split_once(':'))
                .find_map(|(key, value)| (key == name).then_some(value))
        };
        let valkey = field("valkey_version");
        let version = valkey
            .or_else(|| field("redis_version"))
            .unwrap_or_default();
        let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
        Self {
            is_valkey: valkey.is_some(),
            version: (parts.next().unwrap_or(0), parts.next().unwrap_or(0)),
            is_cluster: field("cluster_enabled") == Some("1"),
            is_sentinel: field("redis_mode") == Some("sentinel"),
        }
    }

    /// Selectors, and rules for one subcommand, came with Redis 7.0; Valkey began after that.
    pub(super) const fn is_supported(&self) -> bool {
        self.version.0 >= 7
    }

    pub(super) fn words(&self) -> String {
        let name = if self.is_valkey { "Valkey" } else { "Redis" };
        format!("{name} {}.{}", self.version.0, self.version.1)
    }
}

const REFUSED: &str =
    "refused the login of the administrator; see `user` and `password` of the target";
pub(super) const NO_ACL: &str = "the login may not manage users with `ACL`. A server of your own: run what `hallpass target install` prints. \
    ElastiCache and MemoryDB do not have `ACL SETUSER`: their users are made with the API of AWS, which hallpass does not use";
const SLOW: &str = "did not answer in time";
const CONNECT_TIME: Duration = Duration::from_secs(2);
const ANSWER_TIME: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_what_it_is() {
        let valkey = "redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.0.1\r\nredis_mode:standalone\r\ncluster_enabled:0\r\n";
        assert_eq!(About::read(valkey).words(), "Valkey 8.0");
        let redis = About::read("redis_version:6.2.5\r\ncluster_enabled:1\r\n");
        assert!(redis.is_cluster && !redis.is_supported());
        assert!(About::read("redis_mode:sentinel\r\n").is_sentinel);
        assert!(!About::read("").is_supported());
    }
}
