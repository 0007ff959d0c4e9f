//! Mints and revokes credentials.
//!
//! A [`Recorded`] is taken by value, so an intent is used once. Each kind of credential has its own
//! module.

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
pub mod sealed;
pub mod ssh;
pub mod target;

pub use database::postgres::PostgresLogin;
pub use member::{ExposedMembers, Members, NamedSecrets};

/// Mints credentials of one kind.
#[async_trait]
pub trait Mint: Send + Sync + fmt::Debug {
    /// Mints the recorded credential. A repeat (see
    /// [`Reserved::is_repeat`](crate::replay::Reserved::is_repeat)) returns the same credential
    /// again, and never with a longer lifetime.
    async fn mint(&self, recorded: Recorded) -> Result<Credential, MintError>;
}

/// Dispatches to the mint of a target, or of a kind without targets.
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

    /// Adds the mint of a kind without targets.
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
            let message = format!("no mint issues credentials of kind `{kind}`");
            MintError::new(Reason::TargetUnknown, message)
        })?;
        mint.mint(recorded).await
    }
}

/// A minted credential.
#[derive(Debug)]
pub struct Credential {
    pub definition: Arc<CredentialDefinition>,
    /// Its members, including the secret.
    pub members: Members,
    pub expires_at: Timestamp,
    /// The sealed lease handle (`hpl_…`), if it can be revoked.
    pub lease: Option<Secret<String>>,
    /// Its public ID, for logs and events: the login's name, the token's `jti` or the certificate's
    /// serial number.
    pub public_id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct MintError {
    /// The error message, without secrets.
    pub message: String,
    /// The reason, which determines who is at fault and whether a retry can help.
    pub reason: Reason,
    /// Whether it is known that nothing was made, so the use of the token may be given back.
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

/// The result of a revocation (RFC 7009).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// The login is gone.
    Gone,
    /// The login is closed and its code disarmed; objects it left keep its name for now.
    Closed,
    /// The login is not closed or its code not disarmed yet; the sweep tries again.
    Pending,
}
