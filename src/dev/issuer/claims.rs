//! Claims shaped like the real ones: every member, with its type, from a few parameters. What is a fact
//! is written by the provider itself, which also reads it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::fresh_id;
use crate::clock::Timestamp;
use crate::provider::{self, Fact, FactValue, Workflow};

/// A job on GitHub Actions.
#[derive(Clone, Debug)]
pub struct GithubJob {
    /// The `iss` claim.
    pub issuer: String,
    /// The `aud` claim.
    pub audience: String,
    /// `owner/name`.
    pub repository: String,
    pub repository_id: String,
    pub owner_id: String,
    /// The full git ref, e.g. `refs/heads/main`.
    pub r#ref: String,
    /// Whether that ref is protected.
    pub ref_protected: bool,
    /// What started the run, e.g. `push`.
    pub event: String,
    /// The deployment environment, if the job has one.
    pub environment: Option<String>,
    /// `public`, `private` or `internal`.
    pub visibility: String,
    pub actor: String,
    /// Path of the workflow file that started, within the repository.
    pub workflow: String,
    /// The workflow that defines the job, with its ref, where that is another (a reusable one).
    pub job_workflow_ref: Option<String>,
    /// When the token is issued. It lives five minutes and is valid from ten minutes before.
    pub issued_at: Timestamp,
}

impl GithubJob {
    /// A push to the protected `main` of `acme/shop`, without an environment.
    #[must_use]
    pub fn new(issuer: &str, audience: &str, issued_at: Timestamp) -> Self {
        Self {
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            repository: "acme/shop".to_owned(),
            repository_id: "702114589".to_owned(),
            owner_id: "48213377".to_owned(),
            r#ref: "refs/heads/main".to_owned(),
            ref_protected: true,
            event: "push".to_owned(),
            environment: None,
            visibility: "private".to_owned(),
            actor: "r-okafor".to_owned(),
            workflow: ".github/workflows/deploy.yml".to_owned(),
            job_workflow_ref: None,
            issued_at,
        }
    }

    fn owner(&self) -> &str {
        self.repository.split('/').next().unwrap_or_default()
    }

    fn name(&self) -> &str {
        self.repository.split('/').nth(1).unwrap_or_default()
    }

    fn is_pull_request(&self) -> bool {
        self.event.starts_with("pull_request")
    }

    /// The immutable form: ids beside names, then what the run is about.
    fn subject(&self) -> String {
        let about = match &self.environment {
            Some(environment) => format!("environment:{environment}"),
            None if self.is_pull_request() => "pull_request".to_owned(),
            None => format!("ref:{}", self.r#ref),
        };
        format!(
            "repo:{}@{}/{}@{}:{about}",
            self.owner(),
            self.owner_id,
            self.name(),
            self.repository_id
        )
    }

    /// What policies can say of it.
    #[must_use]
    pub fn facts(&self) -> BTreeMap<Fact, FactValue> {
        let entry = format!("{}/{}@{}", self.repository, self.workflow, self.r#ref);
        let job = self.job_workflow_ref.as_ref().unwrap_or(&entry);
        let mut facts = texts(&[
            (Fact::Ref, &self.r#ref),
            (Fact::Sha, COMMIT),
            (Fact::Repository, &self.repository),
            (Fact::RepositoryId, &self.repository_id),
            (Fact::Owner, self.owner()),
            (Fact::OwnerId, &self.owner_id),
            (Fact::Visibility, &self.visibility),
            (Fact::Actor, &self.actor),
            (Fact::ActorId, "9911204"),
            (Fact::Event, &self.event),
            (Fact::RunId, "18244017713"),
            (Fact::RunAttempt, "1"),
            (Fact::JobId, "51877120934"),
            (Fact::Runner, "hosted"),
        ]);
        let workflow = |text: &str| FactValue::Workflow(Workflow::parse(text));
        facts.insert(Fact::EntryWorkflow, workflow(&entry));
        facts.insert(Fact::JobWorkflow, workflow(job));
        facts.insert(Fact::RefProtected, FactValue::Bool(self.ref_protected));
        facts.extend(text(Fact::Environment, self.environment.as_deref()));
        facts
    }

    /// The claims that are no facts.
    #[must_use]
    pub fn other_claims(&self) -> Map<String, Value> {
        let (head_ref, base_ref) = if self.is_pull_request() {
            ("feature/cache", "main")
        } else {
            ("", "")
        };
        let claims = json!({
            "jti": fresh_id(),
            "sub": self.subject(),
            "aud": self.audience,
            "run_number": "412",
            "workflow": "Deploy",
            "head_ref": head_ref,
            "base_ref": base_ref,
            "workflow_sha": COMMIT,
            "job_workflow_sha": COMMIT,
            "iss": self.issuer,
            "nbf": self.issued_at.plus(-600).unix(),
            "exp": self.issued_at.plus(300).unix(),
            "iat": self.issued_at.unix(),
        });
        let mut claims = members(claims);
        if self.environment.is_some() {
            let id = "EN_kwDOKdl-ZM8AAAABB1c9Tw";
            claims.insert("environment_node_id".to_owned(), id.into());
        }
        claims
    }
}

/// The claims of a GitHub Actions ID token, with a fresh `jti`.
#[must_use]
pub fn github_claims(job: &GithubJob) -> Value {
    let mut claims = unchecked("github", &job.issuer, &job.facts());
    claims.append(&mut job.other_claims());
    claims.into()
}
/// A job on GitLab CI.
#[derive(Clone, Debug)]
pub struct GitlabJob {
    /// The `iss` claim.
    pub issuer: String,
    /// The `aud` claim.
    pub audience: String,
    /// `group/…/name`.
    pub project: String,
    pub project_id: String,
    pub namespace_id: String,
    /// The short git ref, e.g. `main`.
    pub r#ref: String,
    /// `branch` or `tag`.
    pub ref_type: String,
    /// Whether that ref is protected.
    pub ref_protected: bool,
    /// What started the pipeline, e.g. `push` or `merge_request_event`.
    pub source: String,
    /// The deployment environment, if the job has one.
    pub environment: Option<String>,
    /// Whether that environment is protected.
    pub environment_protected: bool,
    /// `public`, `internal` or `private`.
    pub visibility: String,
    pub user: String,
    /// When the token is issued. It lives one hour and is valid from five seconds before.
    pub issued_at: Timestamp,
}

impl GitlabJob {
    /// A push to the protected `main` of `acme/shop`, without an environment.
    #[must_use]
    pub fn new(issuer: &str, audience: &str, issued_at: Timestamp) -> Self {
        Self {
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            project: "acme/shop".to_owned(),
            project_id: "61840277".to_owned(),
            namespace_id: "9133570".to_owned(),
            r#ref: "main".to_owned(),
            ref_type: "branch".to_owned(),
            ref_protected: true,
            source: "push".to_owned(),
            environment: None,
            environment_protected: true,
            visibility: "private".to_owned(),
            user: "r.okafor".to_owned(),
            issued_at,
        }
    }

    fn namespace(&self) -> &str {
        self.project
            .rsplit_once('/')
            .map_or("", |(namespace, _)| namespace)
    }

    fn ref_path(&self) -> String {
        let folder = if self.ref_type == "tag" {
            "tags"
        } else {
            "heads"
        };
        format!("refs/{folder}/{}", self.r#ref)
    }

    /// The host the configuration file is named by.
    fn host(&self) -> &str {
        self.issuer.strip_prefix("https://").unwrap_or(&self.issuer)
    }

    /// What policies can say of it.
    #[must_use]
    pub fn facts(&self) -> BTreeMap<Fact, FactValue> {
        let ref_path = self.ref_path();
        let mut facts = texts(&[
            (Fact::RepositoryId, &self.project_id),
            (Fact::Repository, &self.project),
            (Fact::OwnerId, &self.namespace_id),
            (Fact::Owner, self.namespace()),
            (Fact::RunRepositoryId, &self.project_id),
            (Fact::ActorId, "1402233"),
            (Fact::Actor, &self.user),
            (Fact::RunId, "2204417820"),
            (Fact::JobId, "13880214477"),
            (Fact::Event, &self.source),
            (Fact::Ref, &ref_path),
            (Fact::Runner, "hosted"),
            (Fact::Sha, COMMIT),
            (Fact::Visibility, &self.visibility),
        ]);
        let file = format!(
            "{}/{}//.gitlab-ci.yml@{ref_path}",
            self.host(),
            self.project
        );
        let file = FactValue::Workflow(Workflow::parse(&file));
        facts.insert(Fact::EntryWorkflow, file);
        facts.insert(Fact::RefProtected, FactValue::Bool(self.ref_protected));
        if let Some(environment) = text(Fact::Environment, self.environment.as_deref()) {
            let protected = FactValue::Bool(self.environment_protected);
            facts.extend([environment, (Fact::EnvironmentProtected, protected)]);
        }
        facts
    }

    /// The claims that are no facts.
    #[must_use]
    pub fn other_claims(&self) -> Map<String, Value> {
        let claims = json!({
            "user_email": format!("{}@acme.example", self.user),
            "user_access_level": "maintainer",
            "job_project_path": self.project,
            "job_namespace_id": self.namespace_id,
            "job_namespace_path": self.namespace(),
            "runner_id": 12_270_840,
            "job_source": self.source,
            "ci_config_sha": COMMIT,
            "jti": fresh_id(),
            "iat": self.issued_at.unix(),
            "nbf": self.issued_at.plus(-5).unix(),
            "exp": self.issued_at.plus(3_600).unix(),
            "iss": self.issuer,
            "sub": format!("project_path:{}:ref_type:{}:ref:{}", self.project, self.ref_type, self.r#ref),
            "aud": self.audience,
        });
        let mut claims = members(claims);
        if let Some(environment) = &self.environment {
            claims.insert("deployment_tier".to_owned(), environment.as_str().into());
            claims.insert("environment_action".to_owned(), "start".into());
        }
        claims
    }
}

/// The claims of a GitLab CI ID token, with a fresh `jti`.
#[must_use]
pub fn gitlab_claims(job: &GitlabJob) -> Value {
    let mut claims = unchecked("gitlab", &job.issuer, &job.facts());
    claims.append(&mut job.other_claims());
    claims.into()
}

/// The provider's own writer. Tests also describe jobs that no CI has.
fn unchecked(
    provider: &str,
    issuer: &str,
    facts: &BTreeMap<Fact, FactValue>,
) -> Map<String, Value> {
    let provider = provider::find(provider);
    provider.map_or_else(Map::new, |provider| provider.write(facts, issuer))
}

fn texts(facts: &[(Fact, &str)]) -> BTreeMap<Fact, FactValue> {
    let facts = facts.iter();
    facts
        .filter_map(|(fact, value)| text(*fact, Some(value)))
        .collect()
}

fn text(fact: Fact, value: Option<&str>) -> Option<(Fact, FactValue)> {
    value.map(|value| (fact, FactValue::Text(value.to_owned())))
}

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    }
}

const COMMIT: &str = "5f0c1d9e7a2b48c36d41f8e90ab7c2d35e6f1a04";

#[cfg(test)]
mod tests {
    use super::*;

    /// Names and JSON types, as the claims of the real tokens have them.
    fn shape(claims: &Value) -> Vec<String> {
        let members = claims.as_object().expect("an object");
        let mut shape: Vec<String> = members
            .iter()
            .map(|(name, value)| match value {
                Value::String(_) => format!("{name}: text"),
                Value::Number(_) => format!("{name}: number"),
                Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                    format!("{name}: other")
                }
            })
            .collect();
        shape.sort();
        shape
    }

    #[test]
    fn github_claims_have_the_shape_of_real_ones() {
        let mut job = GithubJob::new(
            "https://localhost:1",
            "https://hallpass.example",
            Timestamp::from_unix(1_790_000_000),
        );
        job.environment = Some("production".to_owned());
        let claims = github_claims(&job);
        insta::assert_snapshot!(shape(&claims).join(", "), @"actor: text, actor_id: text, aud: text, base_ref: text, check_run_id: text, environment: text, environment_node_id: text, event_name: text, exp: number, head_ref: text, iat: number, iss: text, job_workflow_ref: text, job_workflow_sha: text, jti: text, nbf: number, ref: text, ref_protected: text, ref_type: text, repository: text, repository_id: text, repository_owner: text, repository_owner_id: text, repository_visibility: text, run_attempt: text, run_id: text, run_number: text, runner_environment: text, sha: text, sub: text, workflow: text, workflow_ref: text, workflow_sha: text");
        insta::assert_snapshot!(claims["sub"].as_str().unwrap(), @"repo:acme@48213377/shop@702114589:environment:production");
        assert_eq!(claims["exp"], 1_790_000_300);
        assert_eq!(claims["nbf"], 1_789_999_400);
        assert_ne!(claims["jti"], github_claims(&job)["jti"]);
    }

    #[test]
    fn github_pull_requests_say_so() {
        let mut job = GithubJob::new("https://localhost:1", "x", Timestamp::from_unix(0));
        job.event = "pull_request".to_owned();
        job.r#ref = "refs/pull/318/merge".to_owned();
        let claims = github_claims(&job);
        assert_eq!(
            claims["sub"],
            "repo:acme@48213377/shop@702114589:pull_request"
        );
        assert_eq!(claims["base_ref"], "main");
        assert_eq!(claims.get("environment"), None);
    }

    #[test]
    fn gitlab_claims_have_the_shape_of_real_ones() {
        let mut job = GitlabJob::new(
            "https://localhost:1",
            "https://hallpass.example",
            Timestamp::from_unix(1_790_000_000),
        );
        job.environment = Some("production".to_owned());
        let claims = gitlab_claims(&job);
        insta::assert_snapshot!(shape(&claims).join(", "), @"aud: text, ci_config_ref_uri: text, ci_config_sha: text, deployment_tier: text, environment: text, environment_action: text, environment_protected: text, exp: number, iat: number, iss: text, job_id: text, job_namespace_id: text, job_namespace_path: text, job_project_id: text, job_project_path: text, job_source: text, jti: text, namespace_id: text, namespace_path: text, nbf: number, pipeline_id: text, pipeline_source: text, project_id: text, project_path: text, project_visibility: text, ref: text, ref_path: text, ref_protected: text, ref_type: text, runner_environment: text, runner_id: number, sha: text, sub: text, user_access_level: text, user_email: text, user_id: text, user_login: text");
        insta::assert_snapshot!(claims["ci_config_ref_uri"].as_str().unwrap(), @"localhost:1/acme/shop//.gitlab-ci.yml@refs/heads/main");
        assert_eq!(claims["namespace_path"], "acme");
        assert_eq!(claims["exp"], 1_790_003_600);
    }
}
