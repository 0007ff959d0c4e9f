//! GitLab CI: the token is made at job start and waits in a variable that the job's `id_tokens:` names.

use async_trait::async_trait;

use super::{Environment, Fetch, Source, SourceError};
use crate::client::token::IdToken;
use crate::secret::Secret;
use crate::text::escape;

#[derive(Debug)]
pub(super) struct GitLab;

#[async_trait]
impl Source for GitLab {
    fn name(&self) -> &'static str {
        "gitlab"
    }

    fn provider(&self) -> Option<&'static str> {
        Some("gitlab")
    }

    fn is_here(&self, environment: &Environment) -> bool {
        environment.is_gitlab()
    }

    /// The job has one token from its start to its end.
    fn makes_new_tokens(&self) -> bool {
        false
    }

    fn variables(&self, environment: &Environment) -> Vec<String> {
        vec![variable(environment).to_owned()]
    }

    async fn fetch(&self, fetch: &Fetch<'_>) -> Result<IdToken, SourceError> {
        let name = variable(fetch.environment);
        match fetch.environment.get(name) {
            Some(text) => IdToken::parse(
                Secret::new(text.trim().to_owned()),
                &format!("variable `{}`", escape(name)),
            ),
            None => Err(SourceError::Missing {
                fix: format!(
                    "the job has no ID token in `{}`; {}",
                    escape(name),
                    block(name, fetch.audience.as_str())
                ),
            }),
        }
    }

    fn wrong_audience(&self, audience: &str) -> String {
        block("HALLPASS_ID_TOKEN", audience)
    }
}

/// The name is the job's choice; ours is the one that the examples use.
fn variable(environment: &Environment) -> &str {
    environment.get(NAMED_BY).unwrap_or("HALLPASS_ID_TOKEN")
}

fn block(name: &str, audience: &str) -> String {
    format!(
        "add to the job in .gitlab-ci.yml:\n\n  id_tokens:\n    {}:\n      aud: {audience}\n\n(another name: set {NAMED_BY} to it)",
        escape(name)
    )
}

const NAMED_BY: &str = "HALLPASS_ID_TOKEN_VARIABLE";
