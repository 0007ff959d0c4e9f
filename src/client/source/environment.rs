//! A token that somebody put into the environment: `HALLPASS_ID_TOKEN`, or a file it names.

use async_trait::async_trait;

use super::{Environment, Fetch, Source, SourceError};
use crate::client::file::read_bounded;
use crate::client::token::IdToken;
use crate::secret::Secret;
use crate::text::escape;

/// For every CI without a source of its own, and for trying things out.
#[derive(Debug)]
pub(super) struct FromEnvironment;

#[async_trait]
impl Source for FromEnvironment {
    fn name(&self) -> &'static str {
        "environment"
    }

    fn provider(&self) -> Option<&'static str> {
        None
    }

    fn is_here(&self, environment: &Environment) -> bool {
        environment.path(FILE).is_some()
            || (environment.get(TEXT).is_some() && !environment.is_gitlab())
    }

    /// A file is read again at each use (Kubernetes renews it), but may hold the same token.
    fn makes_new_tokens(&self) -> bool {
        false
    }

    fn variables(&self, _: &Environment) -> Vec<String> {
        vec![TEXT.to_owned(), FILE.to_owned()]
    }

    async fn fetch(&self, fetch: &Fetch<'_>) -> Result<IdToken, SourceError> {
        if let Some(path) = fetch.environment.path(FILE) {
            let origin = format!("file `{}` of {FILE}", escape(&path.to_string_lossy()));
            let patience = fetch.connection.left(fetch.deadline);
            // It may be a pipe that nobody writes to, while signals must still be seen.
            let reading =
                tokio::task::spawn_blocking(move || read_bounded(&path, MAX_FILE, patience));
            let bytes = match reading.await {
                Ok(read) => read?,
                Err(_) => return Err(SourceError::NotAToken { origin }),
            };
            let text = String::from_utf8(bytes).map_err(|_| SourceError::NotAToken {
                origin: origin.clone(),
            })?;
            let text = Secret::new(text);
            return IdToken::parse(Secret::new(text.expose().trim().to_owned()), &origin);
        }
        match fetch.environment.get(TEXT) {
            Some(text) => IdToken::parse(
                Secret::new(text.trim().to_owned()),
                "variable `HALLPASS_ID_TOKEN`",
            ),
            None => Err(SourceError::Missing {
                fix: format!("set {TEXT} or {FILE} to an ID token for the broker"),
            }),
        }
    }

    fn wrong_audience(&self, audience: &str) -> String {
        format!("ask your CI for a token whose audience is `{audience}`")
    }
}

const TEXT: &str = "HALLPASS_ID_TOKEN";
const FILE: &str = "HALLPASS_ID_TOKEN_FILE";
const MAX_FILE: u64 = 64 * 1024;
