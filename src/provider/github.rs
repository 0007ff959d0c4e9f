//! GitHub Actions: github.com, enterprise issuers, ghe.com and GitHub Enterprise Server.
//!
//! Conditions read separate claims, never `sub`. Its form differs between repositories created
//! before and after July 2026, and the repository's administrator can change it (T-51).

use super::address::Customers::{Everyone, One};
use super::address::{at, between};
use super::claims::ClaimType::{FlagText, FreeText, Text};
use super::table::{
    Claim, Cut, GIT_REF_TYPES, Take, Way, chosen, context, id, name, ref_types, sent, take,
    triggers, ways,
};
use super::{Fact, Guide, OwnerIn, Provider, Rules};

pub(super) const PROVIDER: Provider = Provider {
    name: "github",
    title: "GitHub Actions",
    usual_issuer: Some("https://token.actions.githubusercontent.com"),
    issuers: &[
        at("token.actions.githubusercontent.com", Everyone),
        between("token.actions.", ".ghe.com", One),
    ],
    claims: CLAIMS,
    agreements: &[],
    tenant_ids: &[Fact::OwnerId, Fact::TenantId, Fact::RepositoryId],
    rules: Rules {
        max_lifetime: 600,
        max_age: 600,
        ..Rules::USUAL
    },
    property_claims: Some("repo_property_"),
    owner_in: Some(OwnerIn::First),
    needs: &[],
    misleading: &[],
    guide: GUIDE,
};

/// The claims in GitHub's documentation, and others observed in its tokens.
const CLAIMS: &[Claim] = &[
    name("repository", Text, &[sent(Fact::Repository)]),
    id("repository_id", Text, &[sent(Fact::RepositoryId)]),
    name("repository_owner", Text, &[sent(Fact::Owner)]),
    id("repository_owner_id", Text, &[sent(Fact::OwnerId)]),
    context("repository_visibility", Text, &[sent(Fact::Visibility)]),
    name("enterprise", Text, &[]),
    id("enterprise_id", Text, &[sent(Fact::TenantId)]),
    name("actor", Text, &[sent(Fact::Actor)]),
    id("actor_id", Text, &[sent(Fact::ActorId)]),
    context(
        "event_name",
        Text,
        &[sent(Fact::Event), ways(Fact::Trigger, TRIGGER)],
    ),
    chosen(
        "ref",
        Text,
        &[sent(Fact::Ref), ways(Fact::RefType, REF_TYPE)],
    ),
    context("ref_type", Text, &[]),
    context("ref_protected", FlagText, &[sent(Fact::RefProtected)]),
    chosen("sha", Text, &[sent(Fact::Sha)]),
    chosen("head_ref", FreeText, &[]),
    chosen("base_ref", FreeText, &[]),
    // The display name. Anyone who can push can choose it, so it is not a fact (T-48).
    chosen("workflow", FreeText, &[]),
    chosen(
        "workflow_ref",
        Text,
        &[sent(Fact::EntryWorkflow), ways(Fact::Workflow, FILE)],
    ),
    chosen("workflow_sha", Text, &[]),
    context("job_workflow_ref", Text, &[sent(Fact::JobWorkflow)]),
    context("job_workflow_sha", Text, &[]),
    // Whoever edits a workflow can name a new one, which has no protection.
    chosen("environment", Text, &[sent(Fact::Environment)]),
    context("environment_node_id", Text, &[]),
    context("run_id", Text, &[sent(Fact::RunId)]),
    context("run_number", Text, &[]),
    context("run_attempt", Text, &[sent(Fact::RunAttempt)]),
    context("check_run_id", Text, &[sent(Fact::JobId)]),
    context("runner_environment", Text, &[ways(Fact::Runner, RUNNER)]),
];

/// The trigger of each event that is known to be harmless or to come from outsiders. Every other event
/// is `other` (T-52, T-114): outsiders can open issues, star and fork.
const TRIGGER: &[Way] = &triggers(
    "event_name",
    &[
        ("push", "push"),
        ("pull_request", "pull_request"),
        ("pull_request_target", "pull_request_target"),
        ("merge_queue", "merge_group"),
        ("schedule", "schedule"),
        ("manual", "workflow_dispatch"),
        ("api", "repository_dispatch"),
        ("chained", "workflow_run"),
        ("release", "release"),
        ("comment", "issue_comment"),
        ("comment", "discussion_comment"),
        ("comment", "commit_comment"),
        ("comment", "pull_request_review_comment"),
        ("other", "issues"),
    ],
);

const REF_TYPE: &[Way] = &ref_types("ref", "ref_type", &GIT_REF_TYPES);

const FILE: &[Way] = &[take("workflow_ref", Take::File(Cut::SecondSlash))];

const RUNNER: &[Way] = &[take(
    "runner_environment",
    Take::Words {
        words: &[("hosted", "github-hosted"), ("self-hosted", "self-hosted")],
        other: None,
    },
)];

const GUIDE: Guide = Guide {
    token: r"permissions:
  id-token: write
jobs:
  deploy:
    runs-on: ubuntu-latest
    steps:
      - run: hallpass exec deploy-api -- ./deploy.sh",
    issuer: r#"tenants: [ { owner: acme, owner_id: "65923871" } ]"#,
    when: r#"repository: acme/shop
repository_id: "702114500"
ref: refs/heads/main
ref_protected: true
trigger: [push, manual]"#,
    limits: &[
        "Any step of a job with `id-token: write` can ask for a token with any audience.",
        "An environment that a workflow names is created, unprotected, if it does not exist.",
    ],
};
