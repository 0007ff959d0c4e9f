//! Keys from disk, for closed networks and for tests.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Admission, KeyError, KeySet, KeySource};
use crate::token::TrustedIssuer;

/// Key sets that were read once: from files, or from documents in memory.
#[derive(Debug, Default)]
pub struct FileKeys {
    sets: HashMap<String, Arc<KeySet>>,
}

impl FileKeys {
    /// Without any keys.
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

    /// Adds an issuer's key set from a file.
    ///
    /// # Errors
    /// The file cannot be read or is not a key set.
    pub fn with_file(self, issuer: &TrustedIssuer, path: &Path) -> Result<Self, KeyError> {
        let named = |problem: String| KeyError::Document(format!("{}: {problem}", path.display()));
        let document = std::fs::read(path).map_err(|error| named(error.to_string()))?;
        self.with_document(issuer, &document)
            .map_err(|error| named(error.to_string()))
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
                cause: "no key file was given for it".to_owned(),
            })
    }
}
