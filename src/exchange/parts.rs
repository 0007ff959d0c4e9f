//! What an exchange is made of.

use std::sync::Arc;

use crate::audit::AuditLog;
use crate::clock::Clock;
use crate::credential::Mint;
use crate::credential::target::Targets;
use crate::policy::PolicySet;
use crate::replay::UsedTokens;
use crate::rootkey::RootKeys;
use crate::token::Verifier;

/// What an exchange is made of.
#[derive(Debug)]
pub struct Parts {
    pub verifier: Verifier,
    /// May the job have this?
    pub policies: Arc<PolicySet>,
    pub used_tokens: Arc<dyn UsedTokens>,
    pub audit: Arc<AuditLog>,
    /// Makes credentials, of every kind.
    pub mints: Arc<dyn Mint>,
    pub targets: Arc<Targets>,
    pub root_keys: RootKeys,
    pub clock: Arc<dyn Clock>,
    pub places: usize,
    /// Exchanges and explanations per repository and minute.
    pub per_repository: u32,
}
