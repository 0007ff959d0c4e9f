//! The job that `dev token` and `dev claims` describe: options, and the claims of its token.

use std::collections::BTreeMap;

use clap::builder::PossibleValuesParser;
use serde_json::{Map, Value};

use crate::cli::Failure;
use crate::clock::{Clock as _, SystemClock};
use crate::dev::issuer::{GithubJob, GitlabJob, sample_claims, sampled};
use crate::provider::{self, Fact, FactType, FactValue, Provider, Reader, Workflow};
use crate::text::escape;
use crate::yaml::diagnostic::nearest;

#[derive(Debug, clap::Args)]
pub(super) struct JobArgs {
    /// The CI provider to simulate
    #[arg(long, value_parser = provider_names(), default_value = "github")]
    pub(super) provider: String,
    /// The repository, or the project on GitLab; default: acme/shop, or acme-group/reports on GitLab, or
    /// the sample's
    #[arg(long, value_name = "OWNER/NAME")]
    repository: Option<String>,
    /// The repository's ID; default: the one in the demo's policies, or the sample's
    #[arg(long, value_name = "ID")]
    repository_id: Option<String>,
    /// The owner's ID, or the namespace's on GitLab; default: the one in the demo's policies, or the sample's
    #[arg(long, value_name = "ID")]
    owner_id: Option<String>,
    /// The full git ref; default: refs/heads/main
    #[arg(long = "ref", value_name = "REF")]
    r#ref: Option<String>,
    /// The ref is not protected
    #[arg(long)]
    unprotected: bool,
    /// The deployment environment
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// The event that started the run, in the provider's spelling; default: push, or the sample's
    #[arg(long, value_name = "EVENT")]
    event: Option<String>,
    /// Another fact of the job, e.g. `actor=ann` or `runner=self-hosted`; may be repeated
    #[arg(long = "fact", value_name = "NAME=VALUE")]
    facts: Vec<String>,
}

/// The name of a provider that `hallpass dev` can sign for.
fn provider_names() -> PossibleValuesParser {
    let names = ["github", "gitlab"].into_iter().chain(sampled());
    PossibleValuesParser::new(names.collect::<Vec<_>>())
}

impl JobArgs {
    /// The claims of the job's token.
    ///
    /// # Errors
    /// No token of the provider describes such a job.
    pub(super) fn claims(
        &self,
        issuer: &str,
        audience: &str,
    ) -> Result<Map<String, Value>, Failure> {
        let name = self.provider.as_str();
        let provider = provider::find(name);
        let provider =
            provider.ok_or_else(|| Failure::Local(format!("there is no provider `{name}`")))?;
        let now = SystemClock::new().now();
        let given = self.given(provider)?;
        if let Some(claims) = sample_claims(provider, issuer, audience, now, &given) {
            return claims.map_err(|error| Failure::Usage(error.to_string()));
        }
        self.check()?;
        let (mut facts, mut others) = if name == "gitlab" {
            let job = self.gitlab(issuer, audience);
            (job.facts(), job.other_claims())
        } else {
            let job = self.github(issuer, audience);
            (job.facts(), job.other_claims())
        };
        for text in &self.facts {
            let (fact, value) = read_fact(text, provider)?;
            facts.insert(fact, value);
        }
        let claims = Reader::usual(provider, issuer).claims(&facts);
        let mut claims = claims.map_err(|error| Failure::Usage(error.to_string()))?;
        claims.append(&mut others);
        Ok(claims)
    }

    /// The facts that options give.
    fn given(&self, provider: &Provider) -> Result<BTreeMap<Fact, FactValue>, Failure> {
        let texts = [
            (Fact::Repository, &self.repository),
            (Fact::RepositoryId, &self.repository_id),
            (Fact::OwnerId, &self.owner_id),
            (Fact::Ref, &self.r#ref),
            (Fact::Environment, &self.environment),
            (Fact::Event, &self.event),
        ];
        let texts = texts.into_iter().filter_map(|(fact, text)| {
            let text = text.as_ref()?;
            Some((fact, FactValue::Text(text.clone())))
        });
        let mut given: BTreeMap<_, _> = texts.collect();
        let owner = self.repository.as_deref();
        let owner = owner.and_then(|repository| provider.owner_of(repository));
        given.extend(owner.map(|owner| (Fact::Owner, FactValue::Text(owner.to_owned()))));
        if self.unprotected {
            given.insert(Fact::RefProtected, FactValue::Bool(false));
        }
        for text in &self.facts {
            let (fact, value) = read_fact(text, provider)?;
            given.insert(fact, value);
        }
        Ok(given)
    }

    fn full_ref(&self) -> &str {
        self.r#ref.as_deref().unwrap_or("refs/heads/main")
    }

    fn event(&self) -> &str {
        self.event.as_deref().unwrap_or("push")
    }

    /// Checks the values that no CI would send.
    fn check(&self) -> Result<(), Failure> {
        let wrong = |option: &str, value: &str, expected: &str| {
            Failure::Usage(format!(
                "`{option}` is `{}`, expected {expected}",
                escape(value)
            ))
        };
        let (refs, expected) = match self.provider.as_str() {
            "gitlab" => (
                &["refs/heads/", "refs/tags/"][..],
                "the full ref of a branch or tag, such as `refs/heads/main`",
            ),
            _ => (
                &["refs/heads/", "refs/tags/", "refs/pull/"][..],
                "a full ref, such as `refs/heads/main`",
            ),
        };
        let name = refs
            .iter()
            .find_map(|kind| self.full_ref().strip_prefix(kind));
        if name.is_none_or(str::is_empty) {
            return Err(wrong("--ref", self.full_ref(), expected));
        }
        if let Some(repository) = &self.repository {
            let mut parts = repository.split('/');
            let has_parts = parts.clone().count() > 1 && !parts.any(str::is_empty);
            let (fits, expected) = match self.provider.as_str() {
                "gitlab" => (true, "the full path, such as `acme-group/reports`"),
                _ => (
                    repository.matches('/').count() == 1,
                    "owner and name, such as `acme/shop`",
                ),
            };
            if !(has_parts && fits) {
                return Err(wrong("--repository", repository, expected));
            }
        }
        for (option, id) in [
            ("--repository-id", &self.repository_id),
            ("--owner-id", &self.owner_id),
        ] {
            let Some(id) = id else { continue };
            if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(wrong(option, id, "digits"));
            }
        }
        let (events, of): (&[&str], _) = match self.provider.as_str() {
            "gitlab" => (&GITLAB_SOURCES, "a pipeline source of GitLab"),
            _ => (&GITHUB_EVENTS, "an event of GitHub Actions"),
        };
        if !events.contains(&self.event()) {
            let near = nearest(self.event(), events.iter().copied());
            let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            let expected = format!("{of}, such as `push`{near}");
            return Err(wrong("--event", self.event(), &expected));
        }
        Ok(())
    }

    fn github(&self, issuer: &str, audience: &str) -> GithubJob {
        let mut job = GithubJob::new(issuer, audience, SystemClock::new().now());
        job.repository = or(self.repository.as_deref(), "acme/shop");
        job.repository_id = or(self.repository_id.as_deref(), "702114500");
        job.owner_id = or(self.owner_id.as_deref(), "65923871");
        self.full_ref().clone_into(&mut job.r#ref);
        job.ref_protected = !self.unprotected;
        job.environment.clone_from(&self.environment);
        self.event().clone_into(&mut job.event);
        job
    }

    fn gitlab(&self, issuer: &str, audience: &str) -> GitlabJob {
        let mut job = GitlabJob::new(issuer, audience, SystemClock::new().now());
        job.project = or(self.repository.as_deref(), "acme-group/reports");
        job.project_id = or(self.repository_id.as_deref(), "61840277");
        job.namespace_id = or(self.owner_id.as_deref(), "9133570");
        let tag = self.full_ref().strip_prefix("refs/tags/");
        let branch = self.full_ref().strip_prefix("refs/heads/");
        let ref_type = if tag.is_some() { "tag" } else { "branch" };
        ref_type.clone_into(&mut job.ref_type);
        tag.or(branch)
            .unwrap_or(self.full_ref())
            .clone_into(&mut job.r#ref);
        job.ref_protected = !self.unprotected;
        job.environment.clone_from(&self.environment);
        self.event().clone_into(&mut job.source);
        job
    }
}

fn or(given: Option<&str>, usual: &str) -> String {
    given.unwrap_or(usual).to_owned()
}

/// `NAME=VALUE`, with the value in the type of the fact.
fn read_fact(text: &str, provider: &Provider) -> Result<(Fact, FactValue), Failure> {
    let wrong = |problem: &str| {
        Failure::Usage(format!(
            "`--fact` is `{}`, expected e.g. `actor=ann`; {problem}",
            escape(text)
        ))
    };
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| wrong("there is no `=`"))?;
    let fact = Fact::from_name(name).ok_or_else(|| {
        let names = Fact::ALL.iter().map(|fact| fact.name());
        match nearest(name, names) {
            Some(near) => wrong(&format!("did you mean `{near}`?")),
            None => wrong("docs/policies/conditions.md lists the facts"),
        }
    })?;
    if fact.is_of_request() {
        let problem = format!("`{fact}` is read at each decision, so no token has it");
        return Err(wrong(&problem));
    }
    // Where no repository has it, the owner is a fact like any other.
    let is_own = fact == Fact::Owner && provider.owner_in.is_none();
    let own = OPTIONS
        .iter()
        .find(|(listed, _)| *listed == fact && !is_own);
    if let Some((_, option)) = own {
        return Err(wrong(&format!("use `{option}` for `{fact}`")));
    }
    let value = match fact.fact_type() {
        FactType::Text | FactType::Network | FactType::Clock | FactType::Age => {
            FactValue::Text(value.to_owned())
        }
        FactType::Workflow => FactValue::Workflow(Workflow::parse(value)),
        FactType::List => FactValue::List(value.split(',').map(str::to_owned).collect()),
        FactType::Bool => match value {
            "true" => FactValue::Bool(true),
            "false" => FactValue::Bool(false),
            _ => return Err(wrong(&format!("`{fact}` is `true` or `false`"))),
        },
    };
    Ok((fact, value))
}

/// Facts that options of their own set, since other claims depend on them.
const OPTIONS: [(Fact, &str); 8] = [
    (Fact::Repository, "--repository"),
    (Fact::RepositoryId, "--repository-id"),
    (Fact::Owner, "--repository"),
    (Fact::OwnerId, "--owner-id"),
    (Fact::Ref, "--ref"),
    (Fact::RefProtected, "--unprotected"),
    (Fact::Environment, "--environment"),
    (Fact::Event, "--event"),
];

/// Every event that starts a workflow on GitHub.
const GITHUB_EVENTS: [&str; 34] = [
    "branch_protection_rule",
    "check_run",
    "check_suite",
    "commit_comment",
    "create",
    "delete",
    "deployment",
    "deployment_status",
    "discussion",
    "discussion_comment",
    "fork",
    "gollum",
    "image_version",
    "issue_comment",
    "issues",
    "label",
    "merge_group",
    "milestone",
    "page_build",
    "public",
    "pull_request",
    "pull_request_review",
    "pull_request_review_comment",
    "pull_request_target",
    "push",
    "registry_package",
    "release",
    "repository_dispatch",
    "schedule",
    "status",
    "watch",
    "workflow_call",
    "workflow_dispatch",
    "workflow_run",
];

/// Every source of a pipeline on GitLab.
const GITLAB_SOURCES: [&str; 18] = [
    "api",
    "chat",
    "container_registry_push",
    "duo_workflow",
    "external",
    "external_pull_request_event",
    "merge_request_event",
    "ondemand_dast_scan",
    "ondemand_dast_validation",
    "parent_pipeline",
    "pipeline",
    "pipeline_execution_policy",
    "push",
    "schedule",
    "security_orchestration_policy",
    "trigger",
    "web",
    "webide",
];
