//! Claims shaped like the real ones: every member, with its type, from a few parameters.

use serde_json::{Value, json};

use super::fresh_id;
use crate::clock::Timestamp;

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
}

/// The claims of a GitHub Actions ID token, with a fresh `jti`.
#[must_use]
pub fn github_claims(job: &GithubJob) -> Value {
    let workflow_ref = format!("{}/{}@{}", job.repository, job.workflow, job.r#ref);
    let job_workflow_ref = job.job_workflow_ref.as_ref().unwrap_or(&workflow_ref);
    let ref_type = if job.r#ref.starts_with("refs/tags/") {
        "tag"
    } else {
        "branch"
    };
    let (head_ref, base_ref) = if job.is_pull_request() {
        ("feature/cache", "main")
    } else {
        ("", "")
    };
    let issued_at = job.issued_at;
    let mut claims = json!({
        "jti": fresh_id(),
        "sub": job.subject(),
        "aud": job.audience,
        "ref": job.r#ref,
        "sha": COMMIT,
        "repository": job.repository,
        "repository_owner": job.owner(),
        "repository_owner_id": job.owner_id,
        "run_id": "18244017713",
        "run_number": "412",
        "run_attempt": "1",
        "repository_visibility": job.visibility,
        "repository_id": job.repository_id,
        "actor_id": "9911204",
        "actor": job.actor,
        "workflow": "Deploy",
        "head_ref": head_ref,
        "base_ref": base_ref,
        "event_name": job.event,
        "ref_protected": job.ref_protected.to_string(),
        "ref_type": ref_type,
        "workflow_ref": workflow_ref,
        "workflow_sha": COMMIT,
        "job_workflow_ref": job_workflow_ref,
        "job_workflow_sha": COMMIT,
        "runner_environment": "github-hosted",
        "check_run_id": "51877120934",
        "iss": job.issuer,
        "nbf": issued_at.plus(-600).unix(),
        "exp": issued_at.plus(300).unix(),
        "iat": issued_at.unix(),
    });
    if let (Some(environment), Value::Object(members)) = (&job.environment, &mut claims) {
        members.insert("environment".to_owned(), environment.as_str().into());
        members.insert(
            "environment_node_id".to_owned(),
            "EN_kwDOKdl-ZM8AAAABB1c9Tw".into(),
        );
    }
    claims
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
}

/// The claims of a GitLab CI ID token, with a fresh `jti`.
#[must_use]
pub fn gitlab_claims(job: &GitlabJob) -> Value {
    let ref_path = job.ref_path();
    let issued_at = job.issued_at;
    let mut claims = json!({
        "project_id": job.project_id,
        "project_path": job.project,
        "namespace_id": job.namespace_id,
        "namespace_path": job.namespace(),
        "user_id": "1402233",
        "user_login": job.user,
        "user_email": format!("{}@acme.example", job.user),
        "user_access_level": "maintainer",
        "job_project_id": job.project_id,
        "job_project_path": job.project,
        "job_namespace_id": job.namespace_id,
        "job_namespace_path": job.namespace(),
        "pipeline_id": "2204417820",
        "pipeline_source": job.source,
        "job_id": "13880214477",
        "ref": job.r#ref,
        "ref_type": job.ref_type,
        "ref_path": ref_path,
        "ref_protected": job.ref_protected.to_string(),
        "runner_id": 12_270_840,
        "runner_environment": "gitlab-hosted",
        "sha": COMMIT,
        "project_visibility": job.visibility,
        "job_source": job.source,
        "ci_config_ref_uri": format!("{}/{}//.gitlab-ci.yml@{ref_path}", job.host(), job.project),
        "ci_config_sha": COMMIT,
        "jti": fresh_id(),
        "iat": issued_at.unix(),
        "nbf": issued_at.plus(-5).unix(),
        "exp": issued_at.plus(3_600).unix(),
        "iss": job.issuer,
        "sub": format!("project_path:{}:ref_type:{}:ref:{}", job.project, job.ref_type, job.r#ref),
        "aud": job.audience,
    });
    if let (Some(environment), Value::Object(members)) = (&job.environment, &mut claims) {
        let protected = job.environment_protected.to_string();
        members.insert("environment".to_owned(), environment.as_str().into());
        members.insert("environment_protected".to_owned(), protected.into());
        members.insert("deployment_tier".to_owned(), environment.as_str().into());
        members.insert("environment_action".to_owned(), "start".into());
    }
    claims
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
