//! GitHub Actions: a service of the runner makes a new token for each request, for any audience.

use async_trait::async_trait;
use serde::Deserialize;
use url::Url;

use super::{Environment, Fetch, Source, SourceError};
use crate::client::address::is_this_machine;
use crate::client::answer::parse_json;
use crate::client::connection::{Answer, Request};
use crate::client::token::IdToken;
use crate::secret::Secret;

/// github.com, ghe.com and GitHub Enterprise Server; Forgejo speaks the same.
#[derive(Debug)]
pub(super) struct GitHub;

#[async_trait]
impl Source for GitHub {
    fn name(&self) -> &'static str {
        "github"
    }

    fn provider(&self) -> Option<&'static str> {
        Some("github")
    }

    fn is_here(&self, environment: &Environment) -> bool {
        environment.is_github()
    }

    fn makes_new_tokens(&self) -> bool {
        true
    }

    /// The request token is the runner's, and another for each job, also for two of one matrix, which
    /// share all ids. The ids are for runners that would not keep to that.
    fn job<'a>(&self, environment: &'a Environment) -> Vec<&'a str> {
        [TOKEN, "GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT", "GITHUB_JOB"]
            .map(|name| environment.get(name).unwrap_or_default())
            .to_vec()
    }

    fn variables(&self, _: &Environment) -> Vec<String> {
        vec![URL.to_owned(), TOKEN.to_owned()]
    }

    async fn fetch(&self, fetch: &Fetch<'_>) -> Result<IdToken, SourceError> {
        let (Some(url), Some(bearer)) = (fetch.environment.get(URL), fetch.environment.get(TOKEN))
        else {
            return Err(SourceError::Missing {
                fix: MISSING_PERMISSION.to_owned(),
            });
        };
        let url = with_audience(url, fetch.audience.as_str())?;
        let request = Request::get(WHO, url)
            .secret_header("authorization", &format!("bearer {bearer}"))
            .map_err(SourceError::request)?;
        let answer = fetch
            .connection
            .send(&request, fetch.deadline)
            .await
            .map_err(SourceError::request)?;
        let value = read(&answer)?;
        IdToken::parse(value, WHO)
    }

    fn wrong_audience(&self, _: &str) -> String {
        "the runner gave a token for another audience than it was asked for".to_owned()
    }
}

/// The audience goes in as a parameter of its own, whatever characters it holds.
fn with_audience(url: &str, audience: &str) -> Result<String, SourceError> {
    let wrong = || SourceError::Refused {
        who: WHO,
        fix: format!("{URL} is not an https address; does the runner set it?"),
    };
    let mut url = Url::parse(url).map_err(|_| wrong())?;
    if url.scheme() != "https" && !(url.scheme() == "http" && is_this_machine(&url)) {
        return Err(wrong());
    }
    url.query_pairs_mut().append_pair("audience", audience);
    Ok(url.into())
}

fn read(answer: &Answer) -> Result<Secret<String>, SourceError> {
    if answer.status == 200 {
        let raw: RawAnswer = parse_json(answer).map_err(SourceError::request)?;
        return Ok(Secret::new(raw.value));
    }
    Err(SourceError::Refused {
        who: WHO,
        fix: format!("it answers {}; {MISSING_PERMISSION}", answer.status),
    })
}

#[derive(Deserialize)]
struct RawAnswer {
    value: String,
}

const URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
const TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";
const WHO: &str = "GitHub's token service";
const MISSING_PERMISSION: &str = "is `id-token: write` missing? Add to the job:\n\n  permissions:\n    id-token: write\n    contents: read\n\n(a pull request from a fork gets no token at all)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_audience_is_one_parameter_whatever_it_holds() {
        assert_eq!(
            with_audience(
                "https://runner.example/idtoken?api-version=2.0",
                "https://hallpass.example/a&b"
            )
            .unwrap(),
            "https://runner.example/idtoken?api-version=2.0&audience=https%3A%2F%2Fhallpass.example%2Fa%26b"
        );
    }

    #[test]
    fn the_request_token_goes_to_no_plain_http_address() {
        assert!(with_audience("http://runner.example/", "a").is_err());
        assert!(with_audience("http://127.0.0.1:1/", "a").is_ok());
    }
}
