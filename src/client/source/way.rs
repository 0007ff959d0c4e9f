//! The ways in which a job gets its token: a variable, a file, a request or a command.

use std::fmt;
use std::path::{Path, PathBuf};

use super::command::Helper;
use super::service::{self, Service};
use super::{Environment, Fetch, SOURCES, Source, SourceError};
use crate::client::file::read_bounded;
use crate::client::token::IdToken;
use crate::secret::Secret;
use crate::text::escape;

/// How the token is obtained.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// The file that `HALLPASS_ID_TOKEN_FILE` names, else `HALLPASS_ID_TOKEN`.
    Ours,
    /// `HALLPASS_ID_TOKEN`, or the variable that `HALLPASS_ID_TOKEN_VARIABLE` names: the job's
    /// configuration chooses the name.
    Named,
    /// The first of these variables that is set.
    Variables(&'static [&'static str]),
    /// The file that `HALLPASS_ID_TOKEN_FILE` names, else this one.
    File(&'static str),
    /// A service of the CI.
    Service(Service),
    /// A program of the CI in PATH.
    Helper(Helper),
    /// Google's metadata server.
    GoogleMetadata,
    /// Fly.io's API on a Unix socket.
    FlySocket,
    /// A token for another audience, which Vercel exchanges for one for the broker.
    VercelExchange,
}

impl Way {
    /// Whether our own variables hold a token, and no CI uses them as its own.
    pub(super) fn is_set_on_purpose(environment: &Environment) -> bool {
        if environment.path(FILE).is_some() {
            return true;
        }
        let mut others = SOURCES.iter();
        environment.get(TEXT).is_some()
            && !others
                .any(|source| matches!(source.way, Self::Named) && source.is_here(environment))
    }

    /// What is missing to get a token at all.
    pub(super) fn missing(&self, environment: &Environment) -> Option<String> {
        let unset = |name: &str| {
            let is_unset = environment.get(name).is_none();
            is_unset.then(|| format!("{} is not set", escape(name)))
        };
        match self {
            Self::Ours => (environment.path(FILE).is_none() && environment.get(TEXT).is_none())
                .then(|| format!("neither {TEXT} nor {FILE} is set")),
            Self::Named => unset(named(environment)),
            Self::Variables(names) => {
                let is_set = |name: &&str| environment.get(name).is_some();
                (!names.iter().any(is_set)).then(|| match names {
                    [one] => format!("{one} is not set"),
                    several => format!("none of {} is set", several.join(", ")),
                })
            }
            Self::File(usual) => {
                let path = file(environment, usual);
                let is_there = path.exists();
                (!is_there).then(|| format!("file {} does not exist", shown(&path)))
            }
            Self::Service(service) => unset(service.url).or_else(|| unset(service.bearer)),
            Self::Helper(helper) => helper.find(environment).is_none().then(|| {
                format!(
                    "command `{}` is not in an absolute folder of PATH",
                    helper.program
                )
            }),
            Self::GoogleMetadata => None,
            Self::FlySocket => {
                let path = service::fly_socket(environment);
                (!path.exists()).then(|| format!("socket {} does not exist", shown(&path)))
            }
            Self::VercelExchange => unset(service::VERCEL_TOKEN),
        }
    }

    /// The variables that give access to a token and to nothing else.
    pub(super) fn variables(&self, environment: &Environment) -> Vec<String> {
        let names: &[&str] = match self {
            Self::Ours | Self::File(_) => &[TEXT, FILE],
            Self::Named => &[named(environment)],
            Self::Variables(names) => names,
            Self::Service(service) => return service.variables(),
            Self::VercelExchange => &[service::VERCEL_TOKEN],
            Self::Helper(_) | Self::GoogleMetadata | Self::FlySocket => &[],
        };
        names.iter().copied().map(str::to_owned).collect()
    }

    /// Gets the token; [`missing`](Self::missing) found nothing.
    pub(super) async fn fetch(
        &self,
        source: &Source,
        fetch: &Fetch<'_>,
    ) -> Result<IdToken, SourceError> {
        let environment = fetch.environment;
        match self {
            Self::Ours => match environment.path(FILE) {
                Some(path) => read(path, fetch).await,
                None => variable(environment, TEXT),
            },
            Self::Named => variable(environment, named(environment)),
            Self::Variables(names) => {
                let mut names = names.iter();
                let set = names.find(|name| environment.get(name).is_some());
                variable(environment, set.copied().unwrap_or_default())
            }
            Self::File(usual) => read(file(environment, usual), fetch).await,
            Self::Service(service) => service.fetch(source, fetch).await,
            Self::Helper(helper) => helper.fetch(source, fetch).await,
            Self::GoogleMetadata => service::google(source, fetch).await,
            Self::FlySocket => service::fly(source, fetch).await,
            Self::VercelExchange => service::vercel(source, fetch).await,
        }
    }
}

/// For the documentation and `hallpass doctor`.
impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours => write!(f, "the file that `{FILE}` names, else `{TEXT}`"),
            Self::Named => write!(f, "`{TEXT}`; `{NAMED_BY}` names another variable"),
            Self::Variables(names) => {
                let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
                f.write_str(&names.join(", else "))
            }
            Self::File(usual) => write!(f, "the file `{usual}`; `{FILE}` names another"),
            Self::Service(service) => write!(f, "{service}"),
            Self::Helper(helper) => f.write_str(helper.shown),
            Self::GoogleMetadata => {
                f.write_str("the metadata server; `GCE_METADATA_HOST` names another host")
            }
            Self::FlySocket => {
                f.write_str("the socket `/.fly/api`; `HALLPASS_FLY_SOCKET` names another")
            }
            Self::VercelExchange => {
                f.write_str("`VERCEL_OIDC_TOKEN`, exchanged at `https://oidc.vercel.com/~token`")
            }
        }
    }
}

fn variable(environment: &Environment, name: &str) -> Result<IdToken, SourceError> {
    let text = environment.get(name).unwrap_or_default();
    IdToken::parse(
        Secret::new(text.trim().to_owned()),
        &format!("variable `{}`", escape(name)),
    )
}

/// Reads the file again at each use: it may be renewed (Kubernetes, spiffe-helper).
async fn read(path: PathBuf, fetch: &Fetch<'_>) -> Result<IdToken, SourceError> {
    let origin = format!("file {}", shown(&path));
    let patience = fetch.connection.left(fetch.deadline);
    // It may be a pipe without a writer, while signals must still be handled.
    let reading = tokio::task::spawn_blocking(move || read_bounded(&path, MAX_FILE, patience));
    let not_a_token = || SourceError::NotAToken {
        origin: origin.clone(),
    };
    let bytes = Secret::new(reading.await.map_err(|_| not_a_token())??);
    let text = std::str::from_utf8(bytes.expose()).map_err(|_| not_a_token())?;
    IdToken::parse(Secret::new(text.trim().to_owned()), &origin)
}

fn file(environment: &Environment, usual: &str) -> PathBuf {
    environment
        .path(FILE)
        .unwrap_or_else(|| Path::new(usual).to_owned())
}

fn shown(path: &Path) -> String {
    format!("`{}`", escape(&path.to_string_lossy()))
}

/// The variable that the job's configuration put the token into.
pub(super) fn named(environment: &Environment) -> &str {
    environment.get(NAMED_BY).unwrap_or(TEXT)
}

const TEXT: &str = "HALLPASS_ID_TOKEN";
const FILE: &str = "HALLPASS_ID_TOKEN_FILE";
const NAMED_BY: &str = "HALLPASS_ID_TOKEN_VARIABLE";
const MAX_FILE: u64 = 64 * 1024;
