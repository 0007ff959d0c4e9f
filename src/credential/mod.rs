//! Make what was permitted; undo it. trait Mint; Credential; the makers of credentials.
//!
//! A Recorded is taken by value: used once.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::audit::Recorded;
use crate::clock::Timestamp;
use crate::policy::CredentialDefinition;
use crate::secret::Secret;

pub mod database;
pub mod jwt;
pub mod kind;
mod member;
pub mod ssh;
pub mod target;

pub use database::postgres::PostgresLogin;
pub use member::Members;

/// Makes credentials of one kind.
#[async_trait]
pub trait Mint: Send + Sync + fmt::Debug {
    /// Makes what was recorded. A repeat (see [`Reserved::is_repeat`](crate::replay::Reserved::is_repeat))
    /// gives the same credential again, and never a longer life.
    async fn mint(&self, recorded: Recorded) -> Result<Credential, MintError>;
}

/// Who makes credentials: by their target, and by their kind where a kind has no targets.
#[derive(Clone, Debug, Default)]
pub struct Mints {
    kinds: BTreeMap<&'static str, Arc<dyn Mint>>,
    targets: Arc<target::Targets>,
}

impl Mints {
    /// What targets make.
    #[must_use]
    pub const fn new(targets: Arc<target::Targets>) -> Self {
        Self {
            kinds: BTreeMap::new(),
            targets,
        }
    }

    /// Adds the maker of a kind that has no targets.
    #[must_use]
    pub fn with_kind(mut self, kind: &'static kind::Kind, mint: Arc<dyn Mint>) -> Self {
        self.kinds.insert(kind.name, mint);
        self
    }
}

#[async_trait]
impl Mint for Mints {
    async fn mint(&self, recorded: Recorded) -> Result<Credential, MintError> {
        let definition = Arc::clone(recorded.reserved().permit().credential());
        if let Some(target) = definition.target() {
            return self.targets.mint(target, recorded).await;
        }
        let kind = definition.kind.name;
        let mint = self.kinds.get(kind).ok_or_else(|| {
            let message = format!("nothing makes credentials of kind `{kind}`");
            MintError::failed("target.unknown", message)
        })?;
        mint.mint(recorded).await
    }
}

/// What was minted, on its way to the job.
#[derive(Debug)]
pub struct Credential {
    /// What it is.
    pub definition: Arc<CredentialDefinition>,
    /// What it consists of, the secret among it.
    pub members: Members,
    /// When it ends.
    pub expires_at: Timestamp,
    /// For what can be revoked: the sealed handle, `hpl_…`.
    pub lease: Option<Secret<String>>,
    /// For the audit event: the login's name or the token's `jti`.
    pub public_id: String,
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
    /// The request itself is refused, and nothing was made.
    pub(crate) const fn refused(reason: &'static str, message: String) -> Self {
        Self {
            message,
            reason,
            nothing_made: true,
            ours: false,
        }
    }

    /// Nothing was made, through no fault of the request.
    pub(crate) const fn failed(reason: &'static str, message: String) -> Self {
        Self {
            message,
            reason,
            nothing_made: true,
            ours: true,
        }
    }

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
