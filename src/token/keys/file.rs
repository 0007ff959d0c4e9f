//! Key sets from documents in memory, for tests and tools.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Admission, KeyError, KeySet, KeySource};
use crate::token::TrustedIssuer;

/// Key sets that were read once, from documents in memory.
#[derive(Debug, Default)]
pub struct FileKeys {
    sets: HashMap<String, Arc<KeySet>>,
}

impl FileKeys {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an issuer's key set from its JWKS document.
    ///
    /// # Errors
    /// The document is not a key set.
    pub fn with_document(
        mut self,
        issuer: &TrustedIssuer,
        document: &[u8],
    ) -> Result<Self, KeyError> {
        let set = KeySet::from_jwks(document, &Admission::for_issuer(issuer))?;
        self.sets.insert(issuer.url.clone(), Arc::new(set));
        Ok(self)
    }
}

#[async_trait]
impl KeySource for FileKeys {
    async fn keys(
        &self,
        issuer: &Arc<TrustedIssuer>,
        _kid: Option<&str>,
    ) -> Result<Arc<KeySet>, KeyError> {
        self.sets
            .get(&issuer.url)
            .map(Arc::clone)
            .ok_or_else(|| KeyError::Unavailable {
                issuer: issuer.url.clone(),
                cause: "no key set was given for it".to_owned(),
            })
    }
}
