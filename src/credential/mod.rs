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
use crate::reason::Reason;
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
            MintError::new(Reason::TargetUnknown, message)
        })?;
        mint.mint(recorded).await
    }
}

/// What was minted, on its way to the job.
#[derive(Debug)]
pub struct Credential {
    pub definition: Arc<CredentialDefinition>,
    /// What it consists of, the secret among it.
    pub members: Members,
    pub expires_at: Timestamp,
    /// For what can be revoked: the sealed handle, `hpl_…`.
    pub lease: Option<Secret<String>>,
    /// For the audit event: the login's name or the token's `jti`.
    pub public_id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct MintError {
    /// A finished sentence without secrets.
    pub message: String,
    /// Why, and with it whose fault it is and whether trying again helps.
    pub reason: Reason,
    /// It is known that nothing was made: the token's use may be given back.
    pub nothing_made: bool,
}

impl MintError {
    pub(crate) const fn new(reason: Reason, message: String) -> Self {
        Self {
            message,
            reason,
            nothing_made: true,
        }
    }
}

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
