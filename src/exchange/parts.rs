//! What an exchange is made of.

use std::sync::Arc;

use crate::audit::AuditLog;
use crate::clock::Clock;
use crate::credential::{Mint, MintError, Revoked};
use crate::lease::LeaseContents;
use crate::policy::PolicySet;
use crate::replay::UsedTokens;
use crate::rootkey::RootKeys;
use crate::token::Verifier;

/// What an exchange is made of.
#[derive(Debug)]
pub struct Parts {
    /// Is the token genuine?
    pub verifier: Verifier,
    /// May the job have this?
    pub policies: Arc<PolicySet>,
    /// Was the token used?
    pub used_tokens: Arc<dyn UsedTokens>,
    /// What happened?
    pub audit: Arc<AuditLog>,
    /// Makes credentials, of every kind.
    pub mints: Arc<dyn Mint>,
    /// Ends leases, in every target.
    pub leases: Arc<dyn Leases>,
    /// Opens handles.
    pub root_keys: RootKeys,
    /// What time is it?
    pub clock: Arc<dyn Clock>,
    /// Exchanges at once.
    pub places: usize,
    /// Exchanges and explanations per repository and minute.
    pub per_repository: u32,
}

/// Ends leases by what their handles say, whatever the target.
#[async_trait::async_trait]
pub trait Leases: Send + Sync + std::fmt::Debug {
    /// Ends the lease; one that is gone already is gone.
    ///
    /// # Errors
    /// The lease names a target that is not in the settings.
    async fn revoke(&self, lease: &LeaseContents) -> Result<Revoked, MintError>;
}
