//! The job that `dev token` and `dev claims` describe: options, and the claims of its token.

use clap::ValueEnum;
use serde_json::{Map, Value};

use crate::cli::Failure;
use crate::clock::{Clock as _, SystemClock};
use crate::dev::issuer::{GithubJob, GitlabJob};
use crate::provider::{self, Fact, FactType, FactValue, Reader, Workflow};
use crate::text::escape;

/// Without options it is a push to `main` of acme/shop, without an environment.
#[derive(Debug, clap::Args)]
pub(super) struct JobArgs {
    /// The CI provider to simulate
    #[arg(long, value_enum, default_value_t = Provider::Github)]
    pub(super) provider: Provider,
    /// The repository, or the project on GitLab; acme/shop, or acme-group/reports on GitLab
    #[arg(long, value_name = "OWNER/NAME")]
    repository: Option<String>,
    /// The repository's ID; default: the one in the demo's policies
    #[arg(long, value_name = "ID")]
    repository_id: Option<String>,
    /// The owner's ID, or the namespace's on GitLab; default: the one in the demo's policies
    #[arg(long, value_name = "ID")]
    owner_id: Option<String>,
    /// The full git ref
    #[arg(long = "ref", value_name = "REF", default_value = "refs/heads/main")]
    r#ref: String,
    /// The ref is not protected
    #[arg(long)]
    unprotected: bool,
    /// The deployment environment
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// The event that started the run, in the provider's spelling
    #[arg(long, value_name = "EVENT", default_value = "push")]
    event: String,
    /// Another fact of the job, e.g. `actor=ann` or `runner=self-hosted`; may be repeated
    #[arg(long = "fact", value_name = "NAME=VALUE")]
    facts: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Provider {
    /// GitHub Actions
    Github,
    /// GitLab CI
    Gitlab,
}

impl Provider {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Gitlab => "gitlab",
        }
    }
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
        let (mut facts, mut others) = match self.provider {
            Provider::Github => {
                let job = self.github(issuer, audience);
                (job.facts(), job.other_claims())
            }
            Provider::Gitlab => {
                let job = self.gitlab(issuer, audience)?;
                (job.facts(), job.other_claims())
            }
        };
        for text in &self.facts {
            let (fact, value) = read_fact(text)?;
            facts.insert(fact, value);
        }
        let provider = provider::find(self.provider.name());
        let provider = provider.ok_or_else(|| {
            Failure::Local(format!("there is no provider `{}`", self.provider.name()))
        })?;
        let claims = Reader::usual(provider, issuer).claims(&facts);
        let mut claims = claims.map_err(|error| Failure::Usage(error.to_string()))?;
        claims.append(&mut others);
        Ok(claims)
    }

    fn github(&self, issuer: &str, audience: &str) -> GithubJob {
        let mut job = GithubJob::new(issuer, audience, SystemClock::new().now());
        job.repository = or(self.repository.as_deref(), "acme/shop");
        job.repository_id = or(self.repository_id.as_deref(), "702114500");
        job.owner_id = or(self.owner_id.as_deref(), "65923871");
        self.r#ref.clone_into(&mut job.r#ref);
        job.ref_protected = !self.unprotected;
        job.environment.clone_from(&self.environment);
        self.event.clone_into(&mut job.event);
        job
    }

    fn gitlab(&self, issuer: &str, audience: &str) -> Result<GitlabJob, Failure> {
        let mut job = GitlabJob::new(issuer, audience, SystemClock::new().now());
        job.project = or(self.repository.as_deref(), "acme-group/reports");
        job.project_id = or(self.repository_id.as_deref(), "61840277");
        job.namespace_id = or(self.owner_id.as_deref(), "9133570");
        let branch = self.r#ref.strip_prefix("refs/heads/");
        let tag = || self.r#ref.strip_prefix("refs/tags/");
        let named = branch.map(|name| ("branch", name));
        let named = named.or_else(|| Some(("tag", tag()?)));
        let (ref_type, name) = named.ok_or_else(|| {
            Failure::Usage(format!(
                "--ref is `{}`, expected refs/heads/… or refs/tags/…",
                escape(&self.r#ref)
            ))
        })?;
        ref_type.clone_into(&mut job.ref_type);
        name.clone_into(&mut job.r#ref);
        job.ref_protected = !self.unprotected;
        job.environment.clone_from(&self.environment);
        self.event.clone_into(&mut job.source);
        Ok(job)
    }
}

fn or(given: Option<&str>, usual: &str) -> String {
    given.unwrap_or(usual).to_owned()
}

/// `NAME=VALUE`, with the value in the type of the fact.
fn read_fact(text: &str) -> Result<(Fact, FactValue), Failure> {
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
        let near = crate::yaml::diagnostic::nearest(name, names);
        match near {
            Some(near) => wrong(&format!("did you mean `{near}`?")),
            None => wrong("docs/policies/conditions.md lists the facts"),
        }
    })?;
    let own = OPTIONS.iter().find(|(listed, _)| *listed == fact);
    if let Some((_, option)) = own {
        return Err(wrong(&format!("use `{option}` for `{fact}`")));
    }
    let value = match fact.fact_type() {
        FactType::Text => FactValue::Text(value.to_owned()),
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
