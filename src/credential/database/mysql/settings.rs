//! How a MySQL or MariaDB target is reached, and how far its logins may go.

use std::path::PathBuf;
use std::time::Duration;

pub use crate::credential::database::fields::Tls;
use crate::credential::database::fields::usual_spelling;
use crate::secret::SecretSource;

/// A server and how we log in to it: `targets:` of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MysqlSettings {
    pub host: String,
    pub port: u16,
    /// The databases a lease may use. Where there are several, each credential names one.
    pub databases: Vec<String>,
    /// The broker's login, which can call the installed procedures and nothing else.
    pub user: String,
    pub password: SecretSource,
    /// How the connection is protected.
    pub tls: Tls,
    /// PEM certificates, one or several, that the server's certificate is checked against; public
    /// ones without.
    pub ca: Option<PathBuf>,
    /// What lease names begin with, `_` included; at most five bytes.
    pub prefix: String,
    /// How often ended leases are looked for.
    pub sweep: Duration,
    /// Connections that one leased login may hold at once.
    pub connections: u16,
    /// Other servers with the same accounts, such as read replicas: sessions are ended there too, since
    /// `KILL` is not replicated. Host and port.
    pub nodes: Vec<(String, u16)>,
    /// How many brokers share the target.
    pub brokers: u16,
    /// Connections that one broker opens to each server, the [`HELD`] ones included.
    pub broker_connections: u16,
    /// Leases that one repository may hold at once.
    pub places_per_repository: u32,
}

impl MysqlSettings {
    /// A target with the default of every setting that may be left out.
    #[must_use]
    pub fn new(
        host: String,
        databases: Vec<String>,
        (user, password): (String, SecretSource),
    ) -> Self {
        Self {
            host,
            port: PORT,
            databases,
            user,
            password,
            tls: Tls::VerifyFull,
            ca: None,
            prefix: "hp_".to_owned(),
            sweep: Duration::from_secs(20),
            connections: CONNECTIONS,
            nodes: Vec::new(),
            brokers: 2,
            broker_connections: 6,
            places_per_repository: MAX_LIVE / 2,
        }
    }

    /// The server, the same for every spelling of its host: in other letters, with a dot at its end,
    /// or as an IPv4 address inside IPv6.
    #[must_use]
    pub fn server(&self) -> (String, u16) {
        (usual_spelling(&self.host), self.port)
    }

    /// The `MAX_USER_CONNECTIONS` of the broker's login: what all brokers open together.
    #[must_use]
    pub fn broker_connection_limit(&self) -> u32 {
        u32::from(self.brokers).saturating_mul(u32::from(self.broker_connections))
    }
}

/// How far the logins of one group, or the use of one account, may go: written into the database by
/// `target install`, so that a stolen broker password goes no further (T-411).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ceiling {
    /// The role, or the account that is checked out.
    pub group: String,
    pub is_checkout: bool,
    /// The longest life of a login, in seconds.
    pub longest_life: u32,
    /// The most connections of a login.
    pub connections: u16,
}

/// The shortest life of a login, in seconds.
pub const SHORTEST_LIFE: u32 = 5;
/// Live logins on one target: MySQL's `DROP USER` takes longer with each.
pub const MAX_LIVE: u32 = 500;
/// The default of [`MysqlSettings::connections`].
pub const CONNECTIONS: u16 = 5;
/// Where a server listens unless something else is said.
pub const PORT: u16 = 3_306;
/// Of a broker's connections those that stay open, so that leases can be ended when no other login gets a
/// connection any more.
pub const HELD: u16 = 2;
