//! Make what was permitted; undo it. trait Mint; Credential; the list of kinds.
//!
//! A Recorded is taken by value: used once.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::audit::Recorded;
use crate::clock::Timestamp;
use crate::policy::{CredentialDefinition, Kind};
use crate::secret::Secret;

pub mod database;
pub mod jwt;
pub mod ssh;

/// Makes credentials of one kind.
#[async_trait]
pub trait Mint: Send + Sync + fmt::Debug {
    /// Makes what was recorded. A repeat (see [`Reserved::is_repeat`](crate::replay::Reserved::is_repeat))
    /// gives the same credential again, and never a longer life.
    async fn mint(&self, recorded: Recorded) -> Result<Credential, MintError>;
}

/// The list of kinds: who makes which.
#[derive(Clone, Debug)]
pub struct Mints {
    jwt: Arc<jwt::JwtMint>,
    databases: Option<Arc<dyn Mint>>,
}

impl Mints {
    /// Signed tokens, and databases where targets are configured.
    #[must_use]
    pub const fn new(jwt: Arc<jwt::JwtMint>, databases: Option<Arc<dyn Mint>>) -> Self {
        Self { jwt, databases }
    }
}

#[async_trait]
impl Mint for Mints {
    async fn mint(&self, recorded: Recorded) -> Result<Credential, MintError> {
        let kind = &recorded.reserved().permit().credential().kind;
        match (kind, &self.databases) {
            (Kind::Jwt { .. }, _) => self.jwt.mint(recorded).await,
            (Kind::Postgres { .. }, Some(databases)) => databases.mint(recorded).await,
            (Kind::Postgres { target, .. }, None) => Err(MintError {
                message: format!("target `{target}` is not in the settings"),
                reason: "target.unknown",
                nothing_made: true,
                ours: true,
            }),
        }
    }
}

/// What was minted, on its way to the job.
#[derive(Debug)]
pub struct Credential {
    /// What it is.
    pub definition: Arc<CredentialDefinition>,
    /// The secret part and what belongs to it.
    pub material: Material,
    /// When it ends.
    pub expires_at: Timestamp,
    /// For what can be revoked: the sealed handle, `hpl_…`.
    pub lease: Option<Secret<String>>,
    /// For the audit event: the login's name or the token's `jti`.
    pub public_id: String,
}

/// The parts of a credential that only the job may see.
#[derive(Debug)]
pub enum Material {
    /// A signed JWT.
    Jwt {
        /// Its compact serialisation.
        token: Secret<String>,
        /// Its scopes.
        scopes: Vec<String>,
    },
    /// A PostgreSQL login.
    Postgres(PostgresLogin),
}

/// All that a PostgreSQL client needs to log in.
#[derive(Debug)]
pub struct PostgresLogin {
    /// The role.
    pub username: String,
    /// Its password.
    pub password: Secret<String>,
    /// The server's host name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The database.
    pub database: String,
    /// libpq's `sslmode`, e.g. `verify-full`.
    pub sslmode: &'static str,
    /// PEM certificates that the server's certificate is checked against.
    pub ca: Option<String>,
    /// libpq's `options`, e.g. `-c role=shop_owner`.
    pub options: Option<String>,
}

/// Why nothing was minted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct MintError {
    /// A finished sentence without secrets.
    pub message: String,
    /// A short code for logs and metrics, e.g. `database.unreachable`.
    pub reason: &'static str,
    /// It is known that nothing was made: the token's use may be given back.
    pub nothing_made: bool,
    /// The caller can do nothing but wait (503), else the request itself is refused (400).
    pub ours: bool,
}

impl MintError {
    /// Trying again does not help until an operator changes the target or the settings.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        self.ours && LASTING.contains(&self.reason)
    }
}

/// Reasons that time does not remove.
const LASTING: [&str; 5] = [
    "database.ceiling",
    "database.group",
    "database.not_installed",
    "database.outdated",
    "target.unknown",
];

/// What came of a revocation (RFC 7009).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// The login is gone, now or before.
    Gone,
    /// The login is closed and its code disarmed; objects it left keep its name for now.
    Closed,
    /// The login is not closed or its code not disarmed yet; the sweep tries again.
    Pending,
}
