//! How a PostgreSQL target is reached, and how far its logins may go.

use std::path::PathBuf;
use std::time::Duration;

pub use crate::credential::database::fields::Tls;
use crate::credential::database::fields::usual_spelling;
use crate::secret::SecretSource;

/// A PostgreSQL server and how we log in to it: `targets:` of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresSettings {
    pub host: String,
    pub port: u16,
    /// The databases a lease may use; they are cleaned after it. Where there are several, each
    /// credential names one.
    pub databases: Vec<String>,
    /// The login that mints, disables and drops.
    pub user: String,
    pub password: SecretSource,
    /// The login that cleans up in the databases, and can do nothing else.
    pub cleaner: Cleaner,
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
    /// Predefined roles (`pg_…`) that a group may be inside of (T-105).
    pub allowed_roles: Vec<String>,
    /// Standbys where sessions of ended leases are terminated too: host and port.
    pub standbys: Vec<(String, u16)>,
    /// How many brokers share the target.
    pub brokers: u16,
    /// Connections that one broker opens as [`user`](Self::user), the [`HELD`] ones included.
    pub broker_connections: u16,
    /// Connections that one broker opens as the cleaner, over all databases.
    pub cleaner_connections: u16,
    /// Leases that one repository may hold at once (T-130).
    pub places_per_repository: u32,
    /// Event triggers of the platform that clean-up may fire (T-122).
    pub event_triggers: Vec<String>,
    /// Databases that cannot be closed to leased logins, as on managed servers: a warning of
    /// `target check`, and no error.
    pub open_databases: Vec<String>,
    /// The database of the broker's functions and locks, which no lease can enter.
    pub control_database: String,
    /// Whether a login is bound to the TLS connection it is made on.
    pub channel_binding: ChannelBinding,
}

impl PostgresSettings {
    /// A target with the default of every setting that may be left out.
    #[must_use]
    pub fn new(
        host: String,
        databases: Vec<String>,
        (user, password): (String, SecretSource),
        cleaner: Cleaner,
    ) -> Self {
        Self {
            host,
            port: PORT,
            databases,
            user,
            password,
            cleaner,
            tls: Tls::VerifyFull,
            ca: None,
            prefix: "hp_".to_owned(),
            sweep: Duration::from_secs(20),
            connections: CONNECTIONS,
            allowed_roles: Vec::new(),
            standbys: Vec::new(),
            brokers: 2,
            broker_connections: 6,
            cleaner_connections: 2,
            places_per_repository: MAX_LIVE / 2,
            event_triggers: Vec::new(),
            open_databases: Vec::new(),
            control_database: "hallpass".to_owned(),
            channel_binding: ChannelBinding::Prefer,
        }
    }

    /// The server, the same for every spelling of its host: in other letters, with a dot at its end,
    /// or as an IPv4 address inside IPv6.
    #[must_use]
    pub fn server(&self) -> (String, u16) {
        // A path has only one spelling.
        let host = match self.host.strip_suffix('.').unwrap_or(&self.host) {
            path if path.starts_with('/') => path.to_owned(),
            host => usual_spelling(host),
        };
        (host, self.port)
    }

    /// The `CONNECTION LIMIT` of the broker's login: what all brokers open together.
    #[must_use]
    pub fn broker_connection_limit(&self) -> u32 {
        u32::from(self.brokers).saturating_mul(u32::from(self.broker_connections))
    }

    /// The `CONNECTION LIMIT` of the cleaner's login.
    #[must_use]
    pub fn cleaner_connection_limit(&self) -> u32 {
        u32::from(self.brokers).saturating_mul(u32::from(self.cleaner_connections))
    }
}

/// The login that cleans up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleaner {
    pub user: String,
    pub password: SecretSource,
}

/// Whether a login is bound to the TLS connection it is made on (SCRAM-SHA-256-PLUS), so that nobody in
/// between can use it; libpq's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Where the server offers it.
    #[default]
    Prefer,
    /// A server that does not offer it is refused.
    Require,
    /// Never: for a proxy in between that ends TLS.
    Disable,
}

impl ChannelBinding {
    /// The one of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "prefer" => Some(Self::Prefer),
            "require" => Some(Self::Require),
            "disable" => Some(Self::Disable),
            _ => None,
        }
    }
}

/// How far the logins of one group may go: written into the database by `target install`, so that a
/// stolen broker password goes no further (T-104).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupCeiling {
    pub group: String,
    /// The longest life of a login, in seconds.
    pub longest_life: u32,
    /// The most connections of a login.
    pub connections: u16,
    /// What a login makes belongs to the group.
    pub act_as_group: bool,
    /// Some credential uses the group without acting as it: what such a login makes is its own.
    pub without_acting: bool,
}

/// The shortest life of a login, in seconds.
pub const SHORTEST_LIFE: u32 = 5;
/// Live logins on one target: from 16 on each costs every mint some microseconds.
pub const MAX_LIVE: u32 = 500;
/// The default of [`PostgresSettings::connections`].
pub const CONNECTIONS: u16 = 5;
/// Where a PostgreSQL server listens unless something else is said.
pub const PORT: u16 = 5_432;
/// Of a broker's connections those that stay open, so that leases can be ended when nobody else gets a
/// connection any more (T-107).
pub const HELD: u16 = 3;
