//! The job that a first broker's policies let in: its names, and when it runs.

use crate::cli::Failure;
use crate::cli::job::is_of_dev;
use crate::provider::{Fact, FactValue, Facts, ORDINARY_TRIGGERS};
use crate::text::escape;
use crate::yaml::scalar::{quoted, scalar};

#[derive(Clone, Copy)]
pub(super) enum Ci {
    GitHub,
    GitLab,
}

/// The repository as options or answers name it.
pub(super) struct JobNames {
    ci: Ci,
    owner: String,
    repository: String,
}

/// The repository whose jobs get the credential.
pub(super) struct Job {
    pub(super) ci: Ci,
    /// The address of its issuer, if it is not the usual one.
    pub(super) issuer_url: Option<String>,
    /// The CA of that issuer, as PEM.
    pub(super) ci_ca: Option<String>,
    pub(super) owner: String,
    pub(super) owner_id: String,
    pub(super) repository: String,
    repository_id: String,
    pub(super) git_ref: GitRef,
    /// Whether only a protected ref is let in.
    is_protected: bool,
    /// The deployment environment that the policy names.
    pub(super) environment: Option<String>,
    /// What starts it, beside a push and a person.
    trigger: Option<String>,
}

/// The branch or tag of the job.
pub(super) enum GitRef {
    Branch(String),
    Tag(String),
}

impl Ci {
    /// The name of issuer and provider.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
        }
    }
}

impl JobNames {
    pub(super) fn new(ci: Ci, repository: &str) -> Result<Self, Failure> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
        let names = repository.rsplit_once('/').filter(|(owner, name)| {
            !owner.is_empty() && !name.is_empty() && repository.bytes().all(is_plain)
        });
        let Some((owner, _)) = names else {
            return Err(Failure::Usage(format!(
                "the repository is `{}`, expected its full name, e.g. `acme/shop`",
                escape(repository)
            )));
        };
        Ok(Self {
            ci,
            owner: owner.to_owned(),
            repository: repository.to_owned(),
        })
    }

    /// `github:acme/shop` or `gitlab:acme/shop`.
    pub(super) fn of_answer(answer: &str) -> Result<Self, Failure> {
        match answer.split_once(':') {
            Some(("github", repository)) => Self::new(Ci::GitHub, repository),
            Some(("gitlab", project)) => Self::new(Ci::GitLab, project),
            Some(_) | None => Err(Failure::Usage(format!(
                "the repository is `{}`, expected e.g. `github:acme/shop` or `gitlab:acme/shop`",
                escape(answer)
            ))),
        }
    }

    /// Checks the ID of the owner or of the repository.
    pub(super) fn id(&self, flag: &str, id: &str) -> Result<String, Failure> {
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Failure::Usage(format!(
                "`{flag}` is `{}`, expected digits; {}",
                escape(id),
                self.how_to_get()
            )));
        }
        Ok(id.to_owned())
    }

    pub(super) fn how_to_get(&self) -> String {
        match self.ci {
            Ci::GitHub => format!(
                "`gh api repos/{} --jq '.owner.id, .id'` prints the owner's and the repository's",
                self.repository
            ),
            Ci::GitLab => "a job has them as CI_PROJECT_NAMESPACE_ID and CI_PROJECT_ID".to_owned(),
        }
    }
}

impl Job {
    pub(super) fn new(names: JobNames, owner_id: String, repository_id: String) -> Self {
        Self {
            ci: names.ci,
            issuer_url: None,
            ci_ca: None,
            owner: names.owner,
            owner_id,
            repository: names.repository,
            repository_id,
            git_ref: GitRef::Branch("main".to_owned()),
            // Everyone who can push can make an unprotected branch at GitLab, of any name.
            is_protected: matches!(names.ci, Ci::GitLab),
            environment: None,
            trigger: None,
        }
    }

    /// The job that a token describes.
    pub(super) fn of_facts(facts: &Facts, ci_ca: Option<String>) -> Result<Self, Failure> {
        let ci = match facts.provider().name {
            "github" => Ci::GitHub,
            "gitlab" => Ci::GitLab,
            other => {
                return Err(Failure::Usage(format!(
                    "the token is of provider `{other}`, expected `github` or `gitlab`; write the policies by hand"
                )));
            }
        };
        let text = |fact: Fact| {
            let text = facts.text(fact).map(str::to_owned);
            text.ok_or_else(|| Failure::Usage(format!("the token does not say its `{fact}`")))
        };
        let url = facts.issuer_url();
        let is_usual = facts.provider().usual_issuer == Some(url) || is_of_dev(url);
        if is_usual && ci_ca.is_some() {
            return Err(Failure::Usage(format!(
                "`--ci-ca` is for a CI of your own, and the token is of `{}`; leave it out",
                escape(url)
            )));
        }
        let trigger = facts.text(Fact::Trigger).filter(|trigger| {
            ORDINARY_TRIGGERS.contains(trigger) && !TRIGGERS_OF_THE_JOB.contains(trigger)
        });
        let environment = facts.text(Fact::Environment);
        Ok(Self {
            ci,
            issuer_url: (!is_usual).then(|| url.to_owned()),
            ci_ca,
            owner: text(Fact::Owner)?,
            owner_id: text(Fact::OwnerId)?,
            repository: text(Fact::Repository)?,
            repository_id: text(Fact::RepositoryId)?,
            git_ref: GitRef::of(&text(Fact::Ref)?)?,
            is_protected: facts.get(Fact::RefProtected) == Some(&FactValue::Bool(true)),
            environment: environment
                .filter(|name| !name.is_empty())
                .map(str::to_owned),
            trigger: trigger.map(str::to_owned),
        })
    }

    /// The policy's conditions. They hold for the job that is written: so its workflow is not among them.
    pub(super) fn when(&self) -> String {
        let mut when = format!(
            "when:\n  repository: {}\n  repository_id: {}\n  ref: {}\n",
            scalar(&self.repository),
            quoted(&self.repository_id),
            scalar(&self.git_ref.full())
        );
        if self.is_protected {
            when.push_str("  ref_protected: true\n");
        }
        if let Some(environment) = &self.environment {
            when.extend(["  environment: ", &scalar(environment), "\n"]);
        }
        let own = self.trigger.as_deref();
        let triggers: Vec<&str> = TRIGGERS_OF_THE_JOB.into_iter().chain(own).collect();
        when.extend(["  trigger: [", &triggers.join(", "), "]\n"]);
        when
    }
}

impl GitRef {
    fn of(full: &str) -> Result<Self, Failure> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/+@#=".contains(&byte);
        let name = |prefix: &str| {
            let name = full.strip_prefix(prefix)?;
            (!name.is_empty() && name.bytes().all(is_plain)).then(|| name.to_owned())
        };
        let branch = name("refs/heads/").map(Self::Branch);
        branch
            .or_else(|| name("refs/tags/").map(Self::Tag))
            .ok_or_else(|| {
                Failure::Usage(format!(
                    "the token's ref is `{}`, expected a branch or tag with a name of letters, digits and any of ._-/+@#=; take the token of a push",
                    escape(full)
                ))
            })
    }

    fn full(&self) -> String {
        match self {
            Self::Branch(name) => format!("refs/heads/{name}"),
            Self::Tag(name) => format!("refs/tags/{name}"),
        }
    }

    /// The filter of the event `push` on GitHub, where `+` repeats the character before it.
    pub(super) fn github(&self) -> String {
        let (filter, name) = match self {
            Self::Branch(name) => ("branches", name),
            Self::Tag(name) => ("tags", name),
        };
        format!("{filter}: [{}]", scalar(&name.replace('+', "\\+")))
    }

    /// The rule of the job on GitLab: only pipelines that the policy lets in.
    pub(super) fn gitlab(&self) -> String {
        let (variable, name) = match self {
            Self::Branch(name) => ("$CI_COMMIT_BRANCH", name),
            Self::Tag(name) => ("$CI_COMMIT_TAG", name),
        };
        format!("{variable} == '{name}' && $CI_PIPELINE_SOURCE =~ /^(push|web)$/")
    }
}

/// A push, and a person who starts the job.
const TRIGGERS_OF_THE_JOB: [&str; 2] = ["push", "manual"];
