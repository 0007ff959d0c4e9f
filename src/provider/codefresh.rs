//! Codefresh. A branch and a tag of one name cannot be told apart: `ref` is the short name, and there is
//! no `ref_type`.

use super::address::Customers::Everyone;
use super::address::at;
use super::claims::ClaimType::Text;
use super::need::{Need, Wanted, above_low, always};
use super::table::{Claim, Take, Way, chosen, context, id, name, sent, take, ways};
use super::{Fact, Guide, Provider, Rules};
use crate::yaml::diagnostic::Severity;

pub(super) const PROVIDER: Provider = Provider {
    name: "codefresh",
    title: "Codefresh",
    usual_issuer: Some("https://oidc.codefresh.io"),
    issuers: &[at("oidc.codefresh.io", Everyone)],
    claims: CLAIMS,
    agreements: &[],
    tenant_ids: &[Fact::TenantId, Fact::OwnerId, Fact::ProjectId],
    rules: Rules {
        max_lifetime: 600,
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
    name("account_name", Text, &[sent(Fact::Owner)]),
    id(
        "account_id",
        Text,
        &[sent(Fact::TenantId), sent(Fact::OwnerId)],
    ),
    name("pipeline_name", Text, &[sent(Fact::Workflow)]),
    id("pipeline_id", Text, &[sent(Fact::ProjectId)]),
    context("workflow_id", Text, &[sent(Fact::RunId)]),
    name("initiator", Text, &[]),
    name("scm_user_name", Text, &[ways(Fact::Actor, ACTOR)]),
    name("scm_repo_url", Text, &[sent(Fact::Repository)]),
    chosen("scm_ref", Text, &[sent(Fact::Ref)]),
    chosen(
        "scm_pull_request_target_branch",
        Text,
        &[sent(Fact::BaseRef), ways(Fact::Trigger, TRIGGER)],
    ),
    name("platform_url", Text, &[]),
    context("runner_environment", Text, &[]),
];

const ACTOR: &[Way] = &[
    take("scm_user_name", Take::Sent),
    take("initiator", Take::Sent),
];

/// Of what starts a run, only a pull request is told.
const TRIGGER: &[Way] = &[take(
    "scm_pull_request_target_branch",
    Take::Word("pull_request"),
)];

const NEEDS: &[Need] = &[
    always(
        &[Wanted::Exact(Fact::ProjectId)],
        Severity::Warning,
        "names no pipeline by its ID",
        "add `project_id`, the ID of the pipeline",
    ),
    above_low(
        &[Wanted::Named(Fact::Repository)],
        Severity::Warning,
        "names no `repository`: a run by hand or by a schedule says nothing of its code",
        "add `repository` and `ref`",
    ),
];

const GUIDE: Guide = Guide {
    token: r"steps:
  deploy:
    image: ghcr.io/acme/deploy
    commands: [ hallpass exec deploy-api -- ./deploy.sh ]",
    issuer: "tenants: [ { owner: acme, owner_id: 5f30ebd303aa7213ae7f0148 } ]",
    when: r"project_id: 64f0c40800aafd14555669be
repository: https://github.com/acme/shop
ref: main",
    limits: &[
        "`ref` is a short name: a branch and a tag of one name are the same.",
        "A run by hand or by a schedule has no repository.",
    ],
};
