//! Bitrise. `branch` is a short name, also of a pull request, whose target is `branch_dest`.

use super::address::Customers::Everyone;
use super::address::at;
use super::claims::ClaimType::{FreeText, Text};
use super::need::{Need, Wanted, always};
use super::table::{
    Claim, Take, Way, When, below, chosen, context, id, name, sent, take, take_when, ways,
};
use super::{Fact, Guide, OwnerIn, Provider, Rules};
use crate::yaml::diagnostic::Severity;

pub(super) const PROVIDER: Provider = Provider {
    name: "bitrise",
    title: "Bitrise",
    usual_issuer: Some("https://token.builds.bitrise.io"),
    issuers: &[at("token.builds.bitrise.io", Everyone)],
    claims: CLAIMS,
    agreements: &[],
    tenant_ids: &[Fact::TenantId, Fact::ProjectId],
    rules: Rules {
        max_age: 600,
        ..Rules::USUAL
    },
    property_claims: None,
    owner_in: Some(OwnerIn::First),
    needs: NEEDS,
    misleading: &[],
    guide: GUIDE,
};

const CLAIMS: &[Claim] = &[
    name("repository_owner", Text, &[sent(Fact::Owner)]),
    name(
        "repository_slug",
        Text,
        &[below(Fact::Repository, "repository_owner")],
    ),
    name("repository_url", Text, &[]),
    id("app_slug", Text, &[sent(Fact::ProjectId)]),
    id("workspace_slug", Text, &[sent(Fact::TenantId)]),
    context("build_number", Text, &[sent(Fact::RunId)]),
    chosen("workflow", FreeText, &[sent(Fact::Workflow)]),
    name("trigger_by", FreeText, &[sent(Fact::Actor)]),
    chosen("sha", Text, &[sent(Fact::Sha)]),
    chosen(
        "branch_dest",
        Text,
        &[sent(Fact::BaseRef), ways(Fact::Trigger, TRIGGER)],
    ),
    chosen(
        "branch",
        FreeText,
        &[ways(Fact::Ref, REF), ways(Fact::RefType, REF_TYPE)],
    ),
    chosen("tag", FreeText, &[]),
];

/// No ref is guessed where the build may be of a branch or of a tag, nor of a pull request.
const REF: &[Way] = &[
    take_when(
        "branch",
        Take::Prefixed("refs/heads/"),
        &[When::Absent("tag"), When::Absent("branch_dest")],
    ),
    take_when(
        "tag",
        Take::Prefixed("refs/tags/"),
        &[When::Absent("branch"), When::Absent("branch_dest")],
    ),
];

const REF_TYPE: &[Way] = &[
    take("branch_dest", Take::Word("pull")),
    take_when("branch", Take::Word("branch"), &[When::Absent("tag")]),
    take_when("tag", Take::Word("tag"), &[When::Absent("branch")]),
];

/// Of what starts a run, only a pull request is told.
const TRIGGER: &[Way] = &[take("branch_dest", Take::Word("pull_request"))];

const NEEDS: &[Need] = &[
    always(
        &[Wanted::Exact(Fact::ProjectId)],
        Severity::Warning,
        "names no app by its slug: the repository has no ID",
        "add `project_id`, the slug of the app",
    ),
    always(
        &[Wanted::Named(Fact::Ref)],
        Severity::Warning,
        "names no `ref`: builds of pull requests and of every branch have the rest",
        "add `ref`, for example ref: refs/heads/main",
    ),
];

const GUIDE: Guide = Guide {
    token: r"# In a script step, which has BITRISE_BUILD_URL and BITRISE_BUILD_API_TOKEN.
hallpass exec deploy-api -- ./deploy.sh",
    issuer: "tenants: [ { tenant_id: 2a4c6e8b0d1f3a5c } ]",
    when: r"project_id: 8f1c2d3e4a5b6c7d
ref: refs/heads/main
workflow: deploy",
    limits: &[
        "There is no ID of the repository; the app has one.",
        "A build of a pull request has no `ref`.",
        "A branch can define a workflow of any name.",
    ],
};
