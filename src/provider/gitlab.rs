//! GitLab CI: gitlab.com, self-managed and Dedicated.
//!
//! In a merge request pipeline of a fork that runs in the parent project, `project_*` names the
//! fork, whose code runs. `job_project_*` names the parent.

use super::address::Customers::Everyone;
use super::address::at;
use super::claims::ClaimType::{FlagText, FreeText, List, Number, Object, Text};
use super::table::{
    Claim, Cut, GIT_REF_TYPES, Take, Way, When, chosen, context, differs, id, name, ref_types,
    sent, take, take_when, triggers, ways,
};
use super::{Fact, Guide, OwnerIn, Provider, Rules};

pub(super) const PROVIDER: Provider = Provider {
    name: "gitlab",
    title: "GitLab CI",
    usual_issuer: Some("https://gitlab.com"),
    issuers: &[at("gitlab.com", Everyone)],
    claims: CLAIMS,
    agreements: &[],
    tenant_ids: &[Fact::OwnerId, Fact::RepositoryId],
    rules: Rules {
        // A token is issued at the start of the job and lives as long as the job's timeout, which is
        // less than a month.
        max_lifetime: LONGEST_JOB,
        max_age: 3_600,
        ..Rules::USUAL
    },
    property_claims: None,
    owner_in: Some(OwnerIn::AllButLast),
    needs: &[],
    misleading: &[],
    guide: GUIDE,
};

const CLAIMS: &[Claim] = &[
    id("project_id", Text, &[sent(Fact::RepositoryId)]),
    name("project_path", Text, &[sent(Fact::Repository)]),
    id("namespace_id", Text, &[sent(Fact::OwnerId)]),
    name("namespace_path", Text, &[sent(Fact::Owner)]),
    id(
        "job_project_id",
        Text,
        &[
            sent(Fact::RunRepositoryId),
            differs(Fact::FromFork, "project_id"),
        ],
    ),
    name("job_project_path", Text, &[]),
    id("job_namespace_id", Text, &[]),
    name("job_namespace_path", Text, &[]),
    id("user_id", Text, &[sent(Fact::ActorId)]),
    name("user_login", Text, &[sent(Fact::Actor)]),
    name("user_email", FreeText, &[]),
    context("user_access_level", Text, &[]),
    chosen("user_identities", List, &[]),
    context("groups_direct", List, &[]),
    context("pipeline_id", Text, &[sent(Fact::RunId)]),
    context("job_id", Text, &[sent(Fact::JobId)]),
    context(
        "pipeline_source",
        Text,
        &[sent(Fact::Event), ways(Fact::Trigger, TRIGGER)],
    ),
    context("job_source", Text, &[]),
    context("job_config", Object, &[]),
    chosen(
        "ref_path",
        Text,
        &[ways(Fact::Ref, REF), ways(Fact::RefType, REF_TYPE)],
    ),
    chosen("ref", Text, &[]),
    context("ref_type", Text, &[]),
    context("ref_protected", FlagText, &[sent(Fact::RefProtected)]),
    chosen("environment", Text, &[sent(Fact::Environment)]),
    context(
        "environment_protected",
        FlagText,
        &[sent(Fact::EnvironmentProtected)],
    ),
    chosen("deployment_tier", Text, &[]),
    chosen("environment_action", Text, &[]),
    // The only number apart from the times.
    context("runner_id", Number, &[]),
    context("runner_environment", Text, &[ways(Fact::Runner, RUNNER)]),
    chosen("sha", Text, &[sent(Fact::Sha)]),
    context("project_visibility", Text, &[sent(Fact::Visibility)]),
    context(
        "ci_config_ref_uri",
        Text,
        &[sent(Fact::EntryWorkflow), ways(Fact::Workflow, FILE)],
    ),
    context("ci_config_sha", Text, &[]),
    context("target_audience", Text, &[]),
];

/// The trigger of each pipeline source that is known. Every other source is `other`.
const TRIGGER: &[Way] = &triggers(
    "pipeline_source",
    &[
        ("push", "push"),
        ("manual", "web"),
        ("schedule", "schedule"),
        ("api", "api"),
        ("api", "trigger"),
        ("pull_request", "merge_request_event"),
        ("pull_request", "external_pull_request_event"),
        ("chained", "pipeline"),
        ("chained", "parent_pipeline"),
        ("other", "chat"),
    ],
);

/// `ref_path`; for versions that do not send it, built from the short name and its type.
const REF: &[Way] = &[
    take("ref_path", Take::Sent),
    take_when(
        "ref",
        Take::Prefixed("refs/heads/"),
        &[When::Is("ref_type", "branch")],
    ),
    take_when(
        "ref",
        Take::Prefixed("refs/tags/"),
        &[When::Is("ref_type", "tag")],
    ),
];

const REF_TYPE: &[Way] = &ref_types("ref_path", "ref_type", &GIT_REF_TYPES);

const FILE: &[Way] = &[take("ci_config_ref_uri", Take::File(Cut::DoubleSlash))];

const RUNNER: &[Way] = &[take(
    "runner_environment",
    Take::Words {
        words: &[("hosted", "gitlab-hosted"), ("self-hosted", "self-hosted")],
        other: None,
    },
)];

/// Seconds of 31 days.
const LONGEST_JOB: i64 = 31 * 86_400;

const GUIDE: Guide = Guide {
    token: r"deploy:
  id_tokens:
    HALLPASS_ID_TOKEN: { aud: https://hallpass.example }
  script: [ hallpass exec deploy-api -- ./deploy.sh ]",
    issuer: r#"tenants: [ { owner: acme-group, owner_id: "9133570" } ]"#,
    when: r#"repository: acme-group/shop
repository_id: "61840277"
ref: refs/heads/main
ref_protected: true
from_fork: false
trigger: [push, manual, schedule]"#,
    limits: &[
        "A token lives as long as the timeout of its job.",
        "`environment_protected` is always false without Premium or Ultimate.",
    ],
};
