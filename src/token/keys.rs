//! keys
use super::TrustedIssuer;
use async_trait::async_trait;
use std::sync::Arc;
/// Rules.
#[derive(Clone, Debug)]
pub struct Admission;
/// Keys.
#[derive(Debug, Default)]
pub struct KeySet;
/// Error.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("keys")]
pub struct KeyError;
/// Issuer and key id to key.
#[async_trait]
pub trait KeySource: Send + Sync + std::fmt::Debug {
    /// The issuer's current set.
    async fn keys(
        &self,
        issuer: &Arc<TrustedIssuer>,
        kid: Option<&str>,
    ) -> Result<Arc<KeySet>, KeyError>;
}
