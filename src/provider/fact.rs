//! The facts that policies can name, and their types. The same for every provider.

use std::fmt;

/// The type of a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactType {
    Text,
    Bool,
    /// A list of texts. A fact of another type may be one where an issuer of the `generic` provider
    /// declares it.
    List,
    Workflow,
    /// The address that the request came from.
    Network,
    /// The time of the decision.
    Clock,
}

macro_rules! facts {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A fact about a job. Its name is the same for every provider.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Fact { $($(#[$doc])* $variant,)* }

        impl Fact {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in a policy.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

facts! {
    /// A customer id of the CI that cannot be renamed.
    TenantId = "tenant_id",
    /// The account that owns the repository.
    Owner = "owner",
    OwnerId = "owner_id",
    /// The repository of the code that runs.
    Repository = "repository",
    RepositoryId = "repository_id",
    RepositoryHost = "repository_host",
    /// The id of the repository whose CI runs the job.
    RunRepositoryId = "run_repository_id",
    /// The code comes from a fork of that repository.
    FromFork = "from_fork",
    /// The CI's own project, where it is not the repository.
    Project = "project",
    ProjectId = "project_id",
    /// The full git ref, `refs/…`.
    Ref = "ref",
    /// `branch`, `tag`, `pull` or `other`.
    RefType = "ref_type",
    RefProtected = "ref_protected",
    Environment = "environment",
    EnvironmentProtected = "environment_protected",
    /// The event that started the run, as the provider names it.
    Event = "event",
    /// What started the run: one of [`TRIGGERS`].
    Trigger = "trigger",
    Actor = "actor",
    ActorId = "actor_id",
    /// The path of the file the run started from, or the pipeline's name.
    Workflow = "workflow",
    /// The file the run started from.
    EntryWorkflow = "entry_workflow",
    /// The file that defines the job.
    JobWorkflow = "job_workflow",
    Sha = "sha",
    RunId = "run_id",
    /// Which attempt of the run.
    RunAttempt = "run_attempt",
    JobId = "job_id",
    /// `hosted` or `self-hosted`.
    Runner = "runner",
    /// Who can see the repository.
    Visibility = "visibility",
    /// The phase of a run that has phases.
    Phase = "phase",
    /// Whether the job is interactive.
    DebugSession = "debug_session",
    /// The branch a pull request goes to.
    BaseRef = "base_ref",
    DefinitionId = "definition_id",
    ServiceConnection = "service_connection",
    /// The address that the request came from: no claim of the token.
    SourceIp = "source_ip",
    /// The time of the decision: no claim of the token.
    Time = "time",
    /// The groups of the identity that runs the job.
    Groups = "groups",
}

impl Fact {
    /// The fact of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|fact| fact.name() == name)
    }

    /// Its type, which is the same for every provider.
    #[must_use]
    pub const fn fact_type(self) -> FactType {
        match self {
            Self::FromFork
            | Self::RefProtected
            | Self::EnvironmentProtected
            | Self::DebugSession => FactType::Bool,
            Self::EntryWorkflow | Self::JobWorkflow => FactType::Workflow,
            Self::SourceIp => FactType::Network,
            Self::Time => FactType::Clock,
            Self::Groups => FactType::List,
            Self::TenantId
            | Self::Owner
            | Self::OwnerId
            | Self::Repository
            | Self::RepositoryId
            | Self::RepositoryHost
            | Self::RunRepositoryId
            | Self::Project
            | Self::ProjectId
            | Self::Ref
            | Self::RefType
            | Self::Environment
            | Self::Event
            | Self::Trigger
            | Self::Actor
            | Self::ActorId
            | Self::Workflow
            | Self::Sha
            | Self::RunId
            | Self::RunAttempt
            | Self::JobId
            | Self::Runner
            | Self::Visibility
            | Self::Phase
            | Self::BaseRef
            | Self::DefinitionId
            | Self::ServiceConnection => FactType::Text,
        }
    }

    /// Whether it is of the request, and not of the token: read again for each decision.
    #[must_use]
    pub const fn is_of_request(self) -> bool {
        matches!(self, Self::SourceIp | Self::Time)
    }

    /// Whether it is an ID that cannot be registered again.
    #[must_use]
    pub fn is_id(self) -> bool {
        self.name().ends_with("_id")
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The values of `trigger`: a closed list.
pub const TRIGGERS: [&str; 11] = [
    "push",
    "pull_request",
    "pull_request_target",
    "merge_queue",
    "schedule",
    "manual",
    "api",
    "chained",
    "comment",
    "release",
    "other",
];

/// Triggers that a policy need not name. All others can run code or input of outsiders (T-52,
/// T-114).
pub const ORDINARY_TRIGGERS: [&str; 6] = [
    "push",
    "manual",
    "schedule",
    "api",
    "merge_queue",
    "release",
];
