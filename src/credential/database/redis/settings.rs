//! How a target's Redis servers are reached, and what its groups may do.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::rules::Group;
use crate::secret::SecretSource;

/// The servers of one target, and how we log in to them: `targets:` of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisServers {
    /// Every server that users are made on: masters and replicas, sorted, so that all brokers choose the
    /// same one to decide.
    pub nodes: Vec<(String, u16)>,
    /// How many of them are masters; a cluster reports it.
    pub masters: usize,
    /// The administrator's login.
    pub user: String,
    pub password: SecretSource,
    /// Whether connections are encrypted, with certificate and name checked.
    pub tls: bool,
    /// PEM certificates that the server's certificate is checked against; public ones without.
    pub ca: Option<PathBuf>,
    /// What lease names begin with, `_` included; at most five bytes.
    pub prefix: String,
    /// How often ended leases are looked for. Redis has no expiry for users.
    pub sweep: Duration,
    /// What a lease may do, by the name that credentials use.
    pub groups: BTreeMap<String, Group>,
    /// Leases that one repository may hold at once (T-130).
    pub places_per_repository: u32,
}

impl RedisServers {
    /// A target with the default of every setting that may be left out.
    #[must_use]
    pub fn new(mut nodes: Vec<(String, u16)>, (user, password): (String, SecretSource)) -> Self {
        nodes.sort();
        Self {
            nodes,
            masters: 1,
            user,
            password,
            tls: true,
            ca: None,
            prefix: "hp_".to_owned(),
            sweep: Duration::from_secs(5),
            groups: BTreeMap::new(),
            places_per_repository: MAX_LIVE / 2,
        }
    }

    /// The word for `tls` in settings and credentials.
    #[must_use]
    pub const fn tls_word(&self) -> &'static str {
        if self.tls { VERIFY } else { DISABLE }
    }
}

/// Live leases on one target.
pub const MAX_LIVE: u32 = 500;
/// Where a Redis server listens unless something else is said.
pub const PORT: u16 = 6_379;
/// The shortest life of a lease, in seconds.
pub const SHORTEST_LIFE: u32 = 5;
pub(super) const VERIFY: &str = "verify-full";
pub(super) const DISABLE: &str = "disable";
