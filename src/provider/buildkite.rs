//! Buildkite. IDs are in a token only where the job asks for them: `--claim
//! organization_id,pipeline_id`.
//!
//! A build of a pull request, also of a fork where the pipeline builds those, has the source `webhook` like
//! a push.

use super::address::Customers::Everyone;
use super::address::at;
use super::claims::ClaimType::{FreeText, Number, Object, Text};
use super::need::{Need, Wanted, above_low};
use super::table::{Claim, Take, Way, chosen, context, id, name, sent, take, triggers, ways};
use super::{Fact, Guide, Provider, Rules};
use crate::yaml::diagnostic::Severity;

pub(super) const PROVIDER: Provider = Provider {
    name: "buildkite",
    title: "Buildkite",
    usual_issuer: Some("https://agent.buildkite.com"),
    issuers: &[at("agent.buildkite.com", Everyone)],
    claims: CLAIMS,
    agreements: &[],
    tenant_ids: &[Fact::TenantId, Fact::OwnerId, Fact::ProjectId],
    rules: Rules {
        max_lifetime: 7_200,
        max_age: 600,
        has_jti: false,
        ..Rules::USUAL
    },
    property_claims: None,
    owner_in: None,
    needs: NEEDS,
    misleading: &[],
    guide: GUIDE,
};

const CLAIMS: &[Claim] = &[
    name("organization_slug", Text, &[sent(Fact::Owner)]),
    id(
        "organization_id",
        Text,
        &[sent(Fact::TenantId), sent(Fact::OwnerId)],
    ),
    name("pipeline_slug", Text, &[sent(Fact::Project)]),
    id("pipeline_id", Text, &[sent(Fact::ProjectId)]),
    context("build_number", Number, &[sent(Fact::RunId)]),
    context("build_id", Text, &[]),
    chosen(
        "build_tag",
        Text,
        &[ways(Fact::Ref, REF), ways(Fact::RefType, REF_TYPE)],
    ),
    chosen("build_branch", Text, &[]),
    chosen("build_commit", Text, &[sent(Fact::Sha)]),
    context(
        "build_source",
        Text,
        &[sent(Fact::Event), ways(Fact::Trigger, TRIGGER)],
    ),
    chosen("step_key", Text, &[sent(Fact::Workflow)]),
    context("job_id", Text, &[sent(Fact::JobId)]),
    context("agent_id", Text, &[]),
    context("runner_environment", Text, &[ways(Fact::Runner, RUNNER)]),
    id("cluster_id", Text, &[]),
    name("cluster_name", FreeText, &[]),
    id("queue_id", Text, &[]),
    name("queue_key", Text, &[]),
    chosen("https://aws.amazon.com/tags", Object, &[]),
];

const REF: &[Way] = &[
    take("build_tag", Take::Prefixed("refs/tags/")),
    take("build_branch", Take::Prefixed("refs/heads/")),
];

const REF_TYPE: &[Way] = &[
    take("build_tag", Take::Word("tag")),
    take("build_branch", Take::Word("branch")),
];

/// The trigger of each source that is known. Every other source is `other`.
const TRIGGER: &[Way] = &triggers(
    "build_source",
    &[
        ("pull_request", "webhook"),
        ("manual", "ui"),
        ("api", "api"),
        ("schedule", "schedule"),
        ("chained", "trigger_job"),
    ],
);

const RUNNER: &[Way] = &[take(
    "runner_environment",
    Take::Words {
        words: &[
            ("hosted", "buildkite-hosted"),
            ("self-hosted", "self-hosted"),
        ],
        other: None,
    },
)];

const NEEDS: &[Need] = &[above_low(
    &[Wanted::Named(Fact::Ref)],
    Severity::Warning,
    "lets in builds of every branch, which those who create builds choose",
    "add `ref`, for example ref: refs/heads/main",
)];

const GUIDE: Guide = Guide {
    token: r"steps:
  - command: hallpass exec deploy-api -- ./deploy.sh",
    issuer: "tenants: [ { owner: acme, owner_id: f892efa9-103e-4d28-97a1-3b8616a0994d } ]",
    when: r"project: shop
project_id: 0184990a-4782-42b5-afc1-16715b10b1b0
ref: refs/heads/main
trigger: [manual, schedule, api]",
    limits: &[
        "`organization_id` and `pipeline_id` are in a token only where the job asks for them, as `hallpass` does.",
        "A build of a push and one of a pull request, also of a fork, both have the source `webhook`: their trigger is `pull_request`.",
    ],
};
