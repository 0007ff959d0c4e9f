//! Finds a job's ID token: recognises the CI by its variables and requests the token as that CI documents.
//!
//! [`SOURCES`] is the whole list. With `config`, this module is the only reader of the environment.

use std::fmt;

use super::address::BrokerAddress;
use super::connection::{Connection, Deadline};
use super::error::ClientError;
use super::file::FileError;
use super::token::IdToken;
use crate::text::escape;

mod command;
mod service;
mod snapshot;
mod table;
mod way;

pub use snapshot::Environment;
pub use table::SOURCES;
pub use way::Way;

/// One CI's or platform's way to give a job its ID token: a row of [`SOURCES`].
#[derive(Debug)]
pub struct Source {
    /// The word for it in `--source`.
    pub name: &'static str,
    /// What its users call it.
    pub title: &'static str,
    /// The provider whose claims its tokens hold, where that is known.
    pub provider: Option<&'static str>,
    pub level: Level,
    /// How it is recognised: any of them. Without one, only `--source` chooses it.
    pub marks: &'static [Mark],
    pub way: Way,
    pub audience: Audience,
    /// Each request gives another token; else the job has one, whose use for a credential counts.
    pub makes_new_tokens: bool,
    /// The variables that together tell this job from every other; none where the CI documents none, and
    /// for a platform, whose jobs a CI tells apart: see [`job`](Self::job).
    pub job: &'static [&'static str],
    /// The likely fix in the CI's own words. `{audience}` is the broker, `{variable}` the token's variable.
    pub setup: &'static str,
}

/// Which sources come first: a job of a CI may run on a platform that has tokens too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Our own variables.
    Ours,
    Ci,
    /// The platform that the program runs on.
    Platform,
}

/// A variable that the CI sets in every job.
#[derive(Clone, Copy, Debug)]
pub enum Mark {
    Set(&'static str),
    Is(&'static str, &'static str),
}

impl Mark {
    fn is_here(self, environment: &Environment) -> bool {
        match self {
            Self::Set(name) => environment.get_os(name).is_some(),
            Self::Is(name, value) => environment.get(name) == Some(value),
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(name) => f.write_str(name),
            Self::Is(name, value) => write!(f, "{name}={value}"),
        }
    }
}

/// Who chooses the audience of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// hallpass requests a token for the broker.
    Requested,
    /// The job's configuration.
    Job,
    /// The CI: it is the same for every job of an account, and other services take it too.
    Fixed,
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requested => "requested by hallpass",
            Self::Job => "chosen by the job's configuration",
            Self::Fixed => "fixed: needs `--allow-audience`",
        })
    }
}

impl Source {
    /// Whether hallpass seems to run in it.
    #[must_use]
    pub fn is_here(&self, environment: &Environment) -> bool {
        let is_marked = self.marks.iter().any(|mark| mark.is_here(environment));
        is_marked || (matches!(self.way, Way::Ours) && Way::is_set_on_purpose(environment))
    }

    /// What tells this job from every other: what an earlier job kept on the same runner is not for this
    /// one (T-136). `None` if nothing does, so that nothing may be kept (T-392). On a platform, the CI
    /// that runs there says which job it is.
    #[must_use]
    pub fn job<'a>(&self, environment: &'a Environment) -> Option<Vec<&'a str>> {
        let own = self.values_of_job(environment);
        if own.is_some() || self.level != Level::Platform {
            return own;
        }
        let is_ci = |source: &&Self| source.level == Level::Ci && source.is_here(environment);
        let mut here = SOURCES.iter().filter(is_ci);
        here.find_map(|source| source.values_of_job(environment))
    }

    fn values_of_job<'a>(&self, environment: &'a Environment) -> Option<Vec<&'a str>> {
        let values = self.job.iter().map(|name| environment.get(name));
        let values: Vec<&str> = values.collect::<Option<_>>()?;
        (!values.is_empty()).then_some(values)
    }

    /// The variables that give access to a token and to nothing else.
    #[must_use]
    pub fn variables(&self, environment: &Environment) -> Vec<String> {
        self.way.variables(environment)
    }

    /// Gets the token. It may be for another audience, where the job cannot choose: see
    /// [`wrong_audience`](Self::wrong_audience).
    ///
    /// # Errors
    /// The CI gives no token; the text ends in the likely fix.
    pub(super) async fn fetch(&self, fetch: &Fetch<'_>) -> Result<IdToken, SourceError> {
        if let Some(what) = self.way.missing(fetch.environment) {
            let fix = self.fix(fetch.environment, fetch.audience.as_str());
            return Err(SourceError::Missing { what, fix });
        }
        self.way.fetch(self, fetch).await
    }

    /// What to do about a token that is not for the broker.
    pub(super) fn wrong_audience(&self, environment: &Environment, audience: &str) -> String {
        match self.audience {
            Audience::Requested => {
                format!(
                    "{} gave a token for another audience than requested",
                    self.title
                )
            }
            Audience::Job | Audience::Fixed => self.fix(environment, audience),
        }
    }

    pub(super) fn fix(&self, environment: &Environment, audience: &str) -> String {
        let variable = escape(way::named(environment));
        self.setup
            .replace("{audience}", audience)
            .replace("{variable}", &variable)
    }
}

/// The source of that name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Source> {
    SOURCES.iter().find(|source| source.name == name)
}

/// The source that is recognised here.
///
/// # Errors
/// None is, or several are.
pub fn find(environment: &Environment) -> Result<&'static Source, SourceError> {
    let mut here: Vec<&Source> = SOURCES
        .iter()
        .filter(|source| source.is_here(environment))
        .collect();
    // Forgejo's runner calls itself GitHub's too.
    if here.iter().any(|source| source.name == "forgejo") {
        here.retain(|source| source.name != "github");
    }
    let Some(first) = here.iter().map(|source| source.level).min() else {
        return Err(SourceError::None);
    };
    let here: Vec<&Source> = here
        .into_iter()
        .filter(|source| source.level == first)
        .collect();
    if let [one] = here.as_slice() {
        return Ok(one);
    }
    let is_ready = |source: &&&Source| source.way.missing(environment).is_none();
    let ready: Vec<&&Source> = here.iter().filter(is_ready).collect();
    match ready.as_slice() {
        [one] => Ok(one),
        _ => Err(SourceError::Several {
            found: here
                .iter()
                .map(|source| {
                    let mut marks = source.marks.iter();
                    let mark = marks.find(|mark| mark.is_here(environment));
                    let mark = mark.map(ToString::to_string).unwrap_or_default();
                    format!("`{}` ({mark})", source.name)
                })
                .collect::<Vec<_>>()
                .join(", "),
        }),
    }
}

/// What a source may use.
#[derive(Debug)]
pub(super) struct Fetch<'a> {
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
    /// Nothing here is recognised.
    #[error(
        "no CI was recognised by its variables; set HALLPASS_ID_TOKEN or HALLPASS_ID_TOKEN_FILE to an ID token for the broker, or choose a source by `--source` (`hallpass get --help` lists them); people cannot sign in yet: to try hallpass on this machine, run `hallpass dev`"
    )]
    None,
    /// It is not clear which of them the job's token comes from.
    #[error("several sources of an ID token were recognised: {found}; choose one by `--source`")]
    Several { found: String },
    /// There is nothing to get a token with.
    #[error("{what}; {fix}")]
    Missing { what: String, fix: String },
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
    #[error("{origin} has no ID token: expected a JWT, three parts with dots between them")]
    NotAToken { origin: String },
    /// The token is for another party and was not sent.
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

    fn found(variables: &[(&str, &str)]) -> Result<&'static str, String> {
        let environment: Environment = variables.iter().copied().collect();
        find(&environment)
            .map(|source| source.name)
            .map_err(|error| error.to_string())
    }

    /// T-380
    #[test]
    fn each_ci_is_recognised_by_each_of_its_marks() {
        for source in SOURCES {
            for mark in source.marks {
                let (name, value) = match *mark {
                    Mark::Set(name) => (name, "x"),
                    Mark::Is(name, value) => (name, value),
                };
                assert_eq!(found(&[(name, value)]), Ok(source.name), "{mark}");
                assert!(found(&[(name, "")]).is_err(), "{mark}");
            }
        }
        assert_eq!(found(&[("GITHUB_ACTIONS", "false")]).ok(), None);
        assert_eq!(found(&[("HALLPASS_ID_TOKEN", "x")]), Ok("environment"));
    }

    /// T-380
    #[test]
    fn what_was_set_on_purpose_comes_first_then_the_ci_then_the_platform() {
        let platform = ("KUBERNETES_SERVICE_HOST", "10.0.0.1");
        let ci = ("CIRCLECI", "true");
        assert_eq!(found(&[platform]), Ok("kubernetes"));
        assert_eq!(found(&[platform, ci]), Ok("circleci"));
        let ours = ("HALLPASS_ID_TOKEN_FILE", "/x");
        assert_eq!(found(&[platform, ci, ours]), Ok("environment"));
    }

    /// T-380
    #[test]
    fn of_several_the_one_that_has_a_token_is_used_and_else_none() {
        let both = [("GITHUB_ACTIONS", "true"), ("SEMAPHORE", "true")];
        insta::assert_snapshot!(found(&both).unwrap_err(), @"several sources of an ID token were recognised: `github` (GITHUB_ACTIONS=true), `semaphore` (SEMAPHORE=true); choose one by `--source`");
        let ready = [&both[..], &[("SEMAPHORE_OIDC_TOKEN", "x")]].concat();
        assert_eq!(found(&ready), Ok("semaphore"));
        let github = [
            ("ACTIONS_ID_TOKEN_REQUEST_URL", "https://x.example"),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "x"),
        ];
        assert!(found(&[&ready[..], &github].concat()).is_err());
    }

    /// T-392
    #[test]
    fn a_job_is_known_by_all_of_its_variables_and_on_a_platform_by_those_of_the_ci() {
        let job = |name: &str, variables: &[(&str, &str)]| {
            let environment: Environment = variables.iter().copied().collect();
            let job = named(name).unwrap().job(&environment);
            job.map(|values| values.join(" "))
        };
        for source in SOURCES.iter().filter(|source| !source.job.is_empty()) {
            let all: Vec<_> = source.job.iter().map(|name| (*name, "x")).collect();
            assert!(job(source.name, &all).is_some(), "{}", source.name);
            for missing in source.job {
                let rest = all.iter().filter(|(name, _)| name != missing).copied();
                let empty: Vec<_> = rest.chain([(*missing, "")]).collect();
                assert_eq!(job(source.name, &empty), None, "{missing}");
            }
        }
        let spiffe = ("SPIFFE_ENDPOINT_SOCKET", "unix:///run/spire.sock");
        let fly = [("FLY_MACHINE_ID", "1"), ("FLY_MACHINE_VERSION", "2")];
        for (name, variables) in [("spiffe", &[spiffe][..]), ("fly", &fly), ("aws", &[])] {
            assert_eq!(job(name, variables), None, "{name}");
            let jenkins = [
                ("JENKINS_URL", "https://j.example"),
                ("BUILD_TAG", "jenkins-shop-7"),
            ];
            let in_jenkins = [variables, &jenkins].concat();
            let told = job(name, &in_jenkins);
            assert_eq!(
                told.as_deref(),
                Some("https://j.example jenkins-shop-7"),
                "{name}"
            );
        }
        assert_eq!(
            job("aws", &[("CODEBUILD_BUILD_ID", "shop:1")]).as_deref(),
            Some("shop:1")
        );
        // Job IDs of Azure Pipelines are the same in each build of a pipeline.
        let azure = [
            ("TF_BUILD", "True"),
            ("SYSTEM_JOBID", "5"),
            ("SYSTEM_JOBATTEMPT", "1"),
        ];
        assert_eq!(job("azure-devops", &azure), None);
    }

    #[test]
    fn forgejo_calls_itself_github_too() {
        let both = [("GITHUB_ACTIONS", "true"), ("FORGEJO_ACTIONS", "true")];
        assert_eq!(found(&both), Ok("forgejo"));
    }

    #[test]
    fn where_a_ci_has_no_variable_of_its_own_the_usual_one_is_the_cis() {
        for (mark, name) in [("GITLAB_CI", "gitlab"), ("BUDDY", "buddy")] {
            let token = ("HALLPASS_ID_TOKEN", "x");
            assert_eq!(found(&[(mark, "true"), token]), Ok(name));
            let file = ("HALLPASS_ID_TOKEN_FILE", "x");
            assert_eq!(found(&[(mark, "true"), token, file]), Ok("environment"));
        }
    }
}
