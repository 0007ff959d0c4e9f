//! Forgejo Actions. Gitea has no job tokens.
//!
//! There are no IDs: who deletes an owner and registers the name again has its trust, so the instance must
//! not give names twice.

use super::claims::ClaimType::{FlagText, FreeText, Text};
use super::table::{
    Claim, Cut, GIT_REF_TYPES, Take, Way, chosen, context, name, ref_types, sent, take, triggers,
    ways,
};
use super::{Fact, Guide, OwnerIn, Provider, Rules};

pub(super) const PROVIDER: Provider = Provider {
    name: "forgejo",
    title: "Forgejo Actions",
    usual_issuer: None,
    issuers: &[],
    claims: CLAIMS,
    agreements: &[],
    tenant_ids: &[],
    rules: Rules {
        max_age: 600,
        has_jti: false,
        ..Rules::USUAL
    },
    property_claims: None,
    owner_in: Some(OwnerIn::First),
    needs: &[],
    misleading: &[],
    guide: GUIDE,
};

const CLAIMS: &[Claim] = &[
    name("repository", Text, &[sent(Fact::Repository)]),
    name("repository_owner", Text, &[sent(Fact::Owner)]),
    name("actor", Text, &[sent(Fact::Actor)]),
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
    chosen("base_ref", FreeText, &[]),
    chosen("head_ref", FreeText, &[]),
    chosen("sha", Text, &[sent(Fact::Sha)]),
    chosen("workflow", FreeText, &[]),
    chosen(
        "workflow_ref",
        Text,
        &[sent(Fact::EntryWorkflow), ways(Fact::Workflow, FILE)],
    ),
    context("run_id", Text, &[sent(Fact::RunId)]),
    context("run_number", Text, &[]),
    context("run_attempt", Text, &[sent(Fact::RunAttempt)]),
];

/// The trigger of each event that is known. Every other event is `other`.
const TRIGGER: &[Way] = &triggers(
    "event_name",
    &[
        ("push", "push"),
        ("pull_request", "pull_request"),
        ("pull_request_target", "pull_request_target"),
        ("schedule", "schedule"),
        ("manual", "workflow_dispatch"),
        ("chained", "workflow_run"),
        ("release", "release"),
        ("comment", "issue_comment"),
        ("other", "issues"),
    ],
);

const REF_TYPE: &[Way] = &ref_types("ref", "ref_type", &GIT_REF_TYPES);

const FILE: &[Way] = &[take("workflow_ref", Take::File(Cut::SecondSlash))];

const GUIDE: Guide = Guide {
    token: r"enable-openid-connect: true
on: [push]
jobs:
  deploy:
    runs-on: docker
    steps:
      - run: hallpass exec deploy-api -- ./deploy.sh",
    issuer: "url: https://forge.example/api/actions",
    when: r"repository: platform/shop
ref: refs/heads/main
ref_protected: true
entry_workflow: { path: platform/shop/.forgejo/workflows/deploy.yml, ref: refs/heads/main }
trigger: [push, manual]",
    limits: &[
        "There are no IDs: an owner or a repository that is deleted and registered again has the old trust.",
        "There is no environment and no `jti`.",
        "Gitea has no job tokens.",
    ],
};
