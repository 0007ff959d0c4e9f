//! Keeps one comment up to date at a pull request of GitHub or a merge request of GitLab.
//!
//! A comment is ours if its author is the owner of the token and its text begins with our marker: others
//! may write the marker too, and can change their own comments later (T-348).

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::json;

use super::address::BrokerAddress;
use super::connection::{Answer, Connection, Request, TransportSettings};
use super::error::ClientError;
use super::source::Environment;
use crate::clock::Clock;
use crate::secret::Secret;
use crate::text::escape;

/// Where comments are, and who writes them.
pub struct Forge {
    connection: Connection,
    who: &'static str,
    /// The list of comments.
    comments: String,
    /// One comment, without its ID.
    comment: String,
    update: Method,
    header: &'static str,
    token: Secret<String>,
    author: Author,
}

/// How our own comments are known.
enum Author {
    /// By the login name.
    Login(String),
    /// By the ID that this address tells about the token.
    Of(String),
}

/// What became of the comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posted {
    Created,
    Updated,
    /// The token may not write comments: a pull request from a fork.
    NotAllowed,
}

impl Forge {
    /// The pull request that a job of GitHub Actions is about.
    ///
    /// # Errors
    /// A variable is missing or is not what GitHub sets, or `event` names no pull request.
    pub fn github(
        environment: &Environment,
        event: &str,
        author: &str,
        route: &TransportSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ClientError> {
        let api = address(environment, "GITHUB_API_URL")?;
        let repository = required(environment, "GITHUB_REPOSITORY")?;
        let is_name = |part: &str| {
            let mut bytes = part.bytes();
            !part.trim_matches('.').is_empty()
                && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        if !repository
            .split_once('/')
            .is_some_and(|(owner, name)| is_name(owner) && is_name(name))
        {
            return Err(wrong("GITHUB_REPOSITORY", repository, "`owner/name`"));
        }
        let event: Event = serde_json::from_str(event).map_err(|_| {
            ClientError::Setting(
                "the event in GITHUB_EVENT_PATH has no pull request; run on `pull_request`"
                    .to_owned(),
            )
        })?;
        let (number, api) = (event.pull_request.number, api.as_str());
        Ok(Self {
            connection: Connection::new(route, PATIENCE, clock)?,
            who: "GitHub",
            comments: format!("{api}/repos/{repository}/issues/{number}/comments"),
            comment: format!("{api}/repos/{repository}/issues/comments"),
            update: Method::PATCH,
            header: "authorization",
            token: Secret::new(format!("Bearer {}", required(environment, "GITHUB_TOKEN")?)),
            author: Author::Login(author.to_owned()),
        })
    }

    /// The merge request that a job of GitLab is about.
    ///
    /// # Errors
    /// A variable is missing or is not what GitLab sets.
    pub fn gitlab(
        environment: &Environment,
        route: &TransportSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ClientError> {
        let api = address(environment, "CI_API_V4_URL")?;
        let project = number(environment, "CI_MERGE_REQUEST_PROJECT_ID")?;
        let request = number(environment, "CI_MERGE_REQUEST_IID")?;
        let notes = format!(
            "{}/projects/{project}/merge_requests/{request}/notes",
            api.as_str()
        );
        Ok(Self {
            connection: Connection::new(route, PATIENCE, clock)?,
            who: "GitLab",
            comments: notes.clone(),
            comment: notes,
            update: Method::PUT,
            header: "private-token",
            token: Secret::new(required(environment, "HALLPASS_REVIEW_TOKEN")?.to_owned()),
            author: Author::Of(api.route("/user")),
        })
    }

    /// Writes the comment, or updates the one that begins with the marker.
    ///
    /// # Errors
    /// The server cannot be reached, or its answer is not understood.
    pub async fn post(&self, marker: &str, text: &str) -> Result<Posted, ClientError> {
        let body = json!({ "body": text }).to_string();
        let found = match self.own(marker).await? {
            Ok(found) => found,
            Err(NotAllowed) => return Ok(Posted::NotAllowed),
        };
        let (method, url, done) = match found {
            Some(id) => (
                self.update.clone(),
                format!("{}/{id}", self.comment),
                Posted::Updated,
            ),
            None => (Method::POST, self.comments.clone(), Posted::Created),
        };
        let mut request = self.request(method, url)?;
        request
            .headers
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.body = Some(Secret::new(body));
        // A repeated POST would be a second comment.
        let answer = self.connection.send_once(&request).await?;
        Ok(match self.allowed(&answer)? {
            Ok(()) => done,
            Err(NotAllowed) => Posted::NotAllowed,
        })
    }

    /// The ID of our comment.
    async fn own(&self, marker: &str) -> Result<Result<Option<u64>, NotAllowed>, ClientError> {
        let own = match &self.author {
            Author::Login(login) => User {
                id: None,
                login: Some(login.clone()),
            },
            Author::Of(url) => match self.get(url.clone()).await? {
                Ok(answer) => self.parse::<User>(&answer)?,
                Err(refused) => return Ok(Err(refused)),
            },
        };
        for page in 1..=MOST_PAGES {
            let url = format!("{}?per_page={PER_PAGE}&page={page}", self.comments);
            let answer = match self.get(url).await? {
                Ok(answer) => answer,
                Err(refused) => return Ok(Err(refused)),
            };
            let comments: Vec<Comment> = self.parse(&answer)?;
            let is_own = |one: &&Comment| {
                let author = one.user.as_ref().or(one.author.as_ref());
                let text = one.body.as_deref().unwrap_or_default();
                author.is_some_and(|author| author.is(&own)) && text.starts_with(marker)
            };
            if let Some(found) = comments.iter().find(is_own) {
                return Ok(Ok(Some(found.id)));
            }
            if comments.len() < PER_PAGE {
                return Ok(Ok(None));
            }
        }
        Err(self.answer(format!(
            "more than {} comments: delete some",
            MOST_PAGES.saturating_mul(PER_PAGE)
        )))
    }

    async fn get(&self, url: String) -> Result<Result<Answer, NotAllowed>, ClientError> {
        let request = self.request(Method::GET, url)?;
        let deadline = self.connection.deadline(PATIENCE);
        let answer = self.connection.send(&request, deadline).await?;
        Ok(self.allowed(&answer)?.map(|()| answer))
    }

    fn request(&self, method: Method, url: String) -> Result<Request, ClientError> {
        let mut request = Request::get(self.who, url);
        request.method = method;
        request.longest = LONGEST_PAGE;
        request
            .headers
            .insert(ACCEPT, HeaderValue::from_static("application/json"));
        request.headers.insert(
            HeaderName::from_static("x-github-api-version"),
            HeaderValue::from_static("2022-11-28"),
        );
        request.secret_header(self.header, self.token.expose())
    }

    fn allowed(&self, answer: &Answer) -> Result<Result<(), NotAllowed>, ClientError> {
        match answer.status {
            200 | 201 => Ok(Ok(())),
            // GitHub says 404 for what a token may not see.
            401 | 403 | 404 => Ok(Err(NotAllowed)),
            status => Err(self.answer(format!("status {status}"))),
        }
    }

    fn parse<'a, T: Deserialize<'a>>(&self, answer: &'a Answer) -> Result<T, ClientError> {
        serde_json::from_slice(answer.body.expose())
            .map_err(|_| self.answer("an answer that is not the expected JSON".to_owned()))
    }

    const fn answer(&self, problem: String) -> ClientError {
        ClientError::Answer {
            who: self.who,
            problem,
        }
    }
}

struct NotAllowed;

/// The part of GitHub's event that is read.
#[derive(Deserialize)]
struct Event {
    pull_request: PullRequest,
}

#[derive(Deserialize)]
struct PullRequest {
    number: u64,
}

/// A comment of GitHub, or a note of GitLab.
#[derive(Deserialize)]
struct Comment {
    id: u64,
    body: Option<String>,
    user: Option<User>,
    author: Option<User>,
}

#[derive(Deserialize)]
struct User {
    id: Option<u64>,
    /// GitHub only.
    login: Option<String>,
}

impl User {
    fn is(&self, other: &Self) -> bool {
        match other.login {
            Some(_) => self.login == other.login,
            None => other.id.is_some() && self.id == other.id,
        }
    }
}

fn required<'e>(environment: &'e Environment, name: &str) -> Result<&'e str, ClientError> {
    environment.get(name).ok_or_else(|| {
        ClientError::Setting(format!("variable {name} is not set; the comment needs it"))
    })
}

fn number(environment: &Environment, name: &str) -> Result<u64, ClientError> {
    let text = required(environment, name)?;
    text.parse().map_err(|_| wrong(name, text, "a number"))
}

fn address(environment: &Environment, name: &str) -> Result<BrokerAddress, ClientError> {
    let text = required(environment, name)?;
    BrokerAddress::parse(text).map_err(|_| wrong(name, text, "an https address"))
}

fn wrong(name: &str, found: &str, expected: &str) -> ClientError {
    ClientError::Setting(format!(
        "variable {name} is `{}`; expected {expected}",
        escape(found)
    ))
}

/// For each answer that only reads.
const PATIENCE: Duration = Duration::from_secs(30);
/// Comments of one page.
const PER_PAGE: usize = 30;
const MOST_PAGES: usize = 100;
/// Bytes of a page: each comment may have 64 KiB, and JSON escapes them.
const LONGEST_PAGE: usize = 8 * 1024 * 1024;
