//! The components of an [`Exchange`](super::Exchange).

use std::sync::Arc;

use crate::audit::AuditLog;
use crate::clock::Clock;
use crate::credential::Mint;
use crate::credential::target::Targets;
use crate::policy::PolicySet;
use crate::replay::UsedTokens;
use crate::rootkey::RootKeys;
use crate::token::Verifier;

/// The components of an exchange.
#[derive(Debug)]
pub struct Components {
    pub verifier: Verifier,
    /// Decide whether a job gets a credential.
    pub policies: Arc<PolicySet>,
    pub used_tokens: Arc<dyn UsedTokens>,
    pub audit: Arc<AuditLog>,
    /// Issue credentials of every kind.
    pub mints: Arc<dyn Mint>,
    pub targets: Arc<Targets>,
    pub root_keys: RootKeys,
    pub clock: Arc<dyn Clock>,
    pub max_concurrent: usize,
    /// Exchanges and explanations per repository and minute.
    pub per_repository: u32,
}
