//! Where a job's ID token comes from. The list of sources; with config the only reader of the environment.

use std::fmt;

use async_trait::async_trait;

use super::address::BrokerAddress;
use super::connection::{Connection, Deadline};
use super::error::ClientError;
use super::file::FileError;
use super::token::IdToken;
use crate::text::escape;

mod environment;
mod github;
mod gitlab;
mod snapshot;

pub use snapshot::Environment;

/// Every source there is, in the order they are looked for: what somebody set on purpose comes
/// before what a CI offers. A new one is its file and a line here.
pub const SOURCES: &[&dyn Source] = &[
    &environment::FromEnvironment,
    &github::GitHub,
    &gitlab::GitLab,
];

/// The source of that name, or the first that is here.
///
/// # Errors
/// No source has that name, or none is here.
pub fn find(
    environment: &Environment,
    forced: Option<&str>,
) -> Result<&'static dyn Source, SourceError> {
    let known = || {
        let names: Vec<&str> = SOURCES.iter().map(|source| source.name()).collect();
        names.join(", ")
    };
    match forced {
        Some(name) => SOURCES
            .iter()
            .copied()
            .find(|source| source.name() == name)
            .ok_or_else(|| SourceError::Unknown {
                name: escape(name),
                known: known(),
            }),
        None => SOURCES
            .iter()
            .copied()
            .find(|source| source.is_here(environment))
            .ok_or_else(|| SourceError::Missing {
                fix: "no CI was found here: neither GITHUB_ACTIONS nor GITLAB_CI is `true`; on another CI, set HALLPASS_ID_TOKEN or HALLPASS_ID_TOKEN_FILE to an ID token for the broker; people cannot sign in yet: to try hallpass on this machine, run `hallpass dev`".to_owned(),
            }),
    }
}

/// One CI's way to give a job its ID token.
#[async_trait]
pub trait Source: Send + Sync + fmt::Debug {
    /// The word for it in `--source`.
    fn name(&self) -> &'static str;

    /// The provider whose claims its tokens hold, where that is known.
    fn provider(&self) -> Option<&'static str>;

    /// We seem to run in it.
    fn is_here(&self, environment: &Environment) -> bool;

    /// Each request gives another token; else the job has one, whose use for a credential counts.
    fn makes_new_tokens(&self) -> bool;

    /// What tells this job from every other, where [`makes_new_tokens`](Self::makes_new_tokens): what
    /// an earlier job kept on the same runner is not for this one (T-136).
    fn job<'a>(&self, _environment: &'a Environment) -> Vec<&'a str> {
        Vec::new()
    }

    /// The variables that a token can be had with.
    fn variables(&self, environment: &Environment) -> Vec<String>;

    /// Gets the token. It may be for another audience, where the job cannot choose: see
    /// [`wrong_audience`](Self::wrong_audience).
    async fn fetch(&self, fetch: &Fetch<'_>) -> Result<IdToken, SourceError>;

    /// What to do about a token that is not for the broker.
    fn wrong_audience(&self, audience: &str) -> String;
}

/// What a source may use.
#[derive(Debug)]
pub struct Fetch<'a> {
    pub environment: &'a Environment,
    /// The way to the CI's own services.
    pub connection: &'a Connection,
    /// For whom: the configured broker, and never a name that came over the network (T-108).
    pub audience: &'a BrokerAddress,
    pub deadline: Deadline,
}

/// Why the job has no token. Each text ends in the likely fix.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// `--source` names none.
    #[error("no source `{name}`; there are: {known}")]
    Unknown { name: String, known: String },
    /// There is nothing to get a token with.
    #[error("{fix}")]
    Missing { fix: String },
    #[error("{who} gave no token: {fix}")]
    Refused {
        who: &'static str,
        /// What it answered, and what to do.
        fix: String,
    },
    /// The CI's service could not be asked.
    #[error(transparent)]
    Request(Box<ClientError>),
    /// A token file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// What was found is not a token.
    #[error("what {origin} holds is not a JWT (three parts with dots between them)")]
    NotAToken { origin: String },
    /// The token is for somebody else and was not sent.
    #[error(
        "the job's ID token is for {found}, not for the broker `{broker}` alone, and was not sent: {fix}"
    )]
    Audience {
        found: String,
        broker: String,
        fix: String,
    },
}

impl SourceError {
    pub(super) fn request(error: ClientError) -> Self {
        Self::Request(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Option<&'static str> {
        let environment: Environment = variables.iter().copied().collect();
        find(&environment, None).ok().map(Source::name)
    }

    #[test]
    fn the_ci_is_found_by_what_it_sets() {
        assert_eq!(found(&[]), None);
        assert_eq!(found(&[("GITHUB_ACTIONS", "true")]), Some("github"));
        assert_eq!(found(&[("GITLAB_CI", "true")]), Some("gitlab"));
        assert_eq!(found(&[("HALLPASS_ID_TOKEN", "x")]), Some("environment"));
    }

    #[test]
    fn what_was_set_on_purpose_comes_first() {
        assert_eq!(
            found(&[("GITHUB_ACTIONS", "true"), ("HALLPASS_ID_TOKEN", "x")]),
            Some("environment")
        );
    }

    #[test]
    fn on_gitlab_the_usual_variable_is_gitlabs() {
        assert_eq!(
            found(&[("GITLAB_CI", "true"), ("HALLPASS_ID_TOKEN", "x")]),
            Some("gitlab")
        );
        assert_eq!(
            found(&[("GITLAB_CI", "true"), ("HALLPASS_ID_TOKEN_FILE", "x")]),
            Some("environment")
        );
    }

    #[test]
    fn a_source_can_be_forced_and_misspelt() {
        let environment = Environment::default();
        assert_eq!(find(&environment, Some("gitlab")).unwrap().name(), "gitlab");
        insta::assert_snapshot!(find(&environment, Some("gihub")).unwrap_err(), @"no source `gihub`; there are: environment, github, gitlab");
    }
}
