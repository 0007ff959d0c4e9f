//! How a PostgreSQL target is reached, and how far its logins may go.

use std::path::PathBuf;
use std::time::Duration;

use crate::secret::SecretSource;

/// A PostgreSQL server and how we log in to it: `targets:` of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetSettings {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The databases a lease may use; the first is the one it is sent to. They are cleaned after it.
    pub databases: Vec<String>,
    /// The login that mints, disables and drops.
    pub user: String,
    /// Its password.
    pub password: SecretSource,
    /// The login that cleans up in the databases, and can do nothing else.
    pub cleaner: Cleaner,
    /// How the connection is protected.
    pub tls: Tls,
    /// PEM certificates that the server's certificate is checked against; public ones without.
    pub ca: Option<PathBuf>,
    /// What lease names begin with, `_` included; at most five bytes (databases.md P-10).
    pub prefix: String,
    /// How often ended leases are looked for.
    pub sweep: Duration,
    /// Connections that one login may hold at once.
    pub connections: u16,
    /// Predefined roles (`pg_…`) that a group may be inside of (databases.md P-5).
    pub allowed_roles: Vec<String>,
    /// Standbys where sessions of ended leases are terminated too: host and port.
    pub replicas: Vec<(String, u16)>,
}

/// The login that cleans up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleaner {
    /// The role.
    pub user: String,
    /// Its password.
    pub password: SecretSource,
}

/// How a connection to a database is protected; libpq's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// TLS, with certificate and name checked.
    VerifyFull,
    /// None. For a server on the same machine only.
    Disable,
}

impl Tls {
    /// The word that libpq's `sslmode` takes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::VerifyFull => "verify-full",
            Self::Disable => "disable",
        }
    }
}

/// How far the logins of one group may go: written into the database by `install-sql`, so that a
/// stolen broker password goes no further (databases.md P-4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupCeiling {
    /// The NOLOGIN role.
    pub group: String,
    /// The longest life of a login, in seconds.
    pub longest_life: u32,
    /// The most connections of a login.
    pub connections: u16,
    /// What a login makes belongs to the group.
    pub act_as_group: bool,
}

/// The database of the broker's functions and locks, which no lease can enter.
pub const CONTROL_DATABASE: &str = "hallpass";
/// The shortest life of a login, in seconds.
pub const SHORTEST_LIFE: u32 = 5;
/// Live logins on one target: from 16 on each costs every mint some microseconds (databases.md 1.9).
pub const MAX_LIVE: u32 = 500;
/// The default of [`TargetSettings::connections`].
pub const CONNECTIONS: u16 = 5;
