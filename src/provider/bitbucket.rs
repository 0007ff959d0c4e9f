//! Bitbucket Pipelines. UUIDs have their braces.
//!
//! A token that asks for our audience has the default one beside it.

use super::address::Customers::One;
use super::address::at;
use super::claims::ClaimType::{FreeText, Text};
use super::need::{Need, Wanted, above_low};
use super::table::{Claim, Shape, Take, Way, chosen, context, id, name, sent, take, ways};
use super::{Audience, Fact, Guide, Provider, Rules};
use crate::yaml::diagnostic::Severity;

pub(super) const PROVIDER: Provider = Provider {
    name: "bitbucket",
    title: "Bitbucket Pipelines",
    usual_issuer: None,
    issuers: &[at("api.bitbucket.org", One)],
    claims: CLAIMS,
    agreements: &[],
    tenant_ids: &[Fact::TenantId, Fact::OwnerId, Fact::RepositoryId],
    rules: Rules {
        audience: Audience::Beside,
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
    name("iss", Text, &[ways(Fact::Owner, WORKSPACE)]),
    id(
        "workspaceUuid",
        Text,
        &[sent(Fact::TenantId), sent(Fact::OwnerId)],
    ),
    id("repositoryUuid", Text, &[sent(Fact::RepositoryId)]),
    id(
        "deploymentEnvironmentUuid",
        Text,
        &[sent(Fact::Environment)],
    ),
    context("pipelineUuid", Text, &[sent(Fact::RunId)]),
    context("pipelineRunUuid", Text, &[]),
    context("stepUuid", Text, &[sent(Fact::JobId)]),
    id("accountUuid", Text, &[]),
    chosen(
        "branchName",
        FreeText,
        &[ways(Fact::Ref, REF), ways(Fact::RefType, REF_TYPE)],
    ),
];

const WORKSPACE: &[Way] = &[take(
    "iss",
    Take::Part(Shape(
        "https://api.bitbucket.org/2.0/workspaces/<>/pipelines-config/identity/oidc",
    )),
)];

const REF: &[Way] = &[take("branchName", Take::Prefixed("refs/heads/"))];

const REF_TYPE: &[Way] = &[take("branchName", Take::Word("branch"))];

const NEEDS: &[Need] = &[above_low(
    &[Wanted::Exact(Fact::Environment)],
    Severity::Warning,
    "names no `environment`: a token does not say what started the pipeline, and anyone who can push a branch can ask for one",
    "add `environment`, the UUID of a deployment environment that is restricted to a branch",
)];

const GUIDE: Guide = Guide {
    token: r"pipelines:
  branches:
    main:
      - step:
          oidc: { audiences: [ https://hallpass.example ] }
          deployment: production
          script:
            - hallpass exec deploy-api -- ./deploy.sh",
    issuer: r#"url: https://api.bitbucket.org/2.0/workspaces/acme/pipelines-config/identity/oidc, audiences: [ "ari:cloud:bitbucket::workspace/7baee083-4f25-4a97-8a9a-0fde1b623b45" ]"#,
    when: r#"owner_id: "{7baee083-4f25-4a97-8a9a-0fde1b623b45}"
repository_id: "{2e9e429c-7b8b-404f-8648-8c40c27c9ebd}"
ref: refs/heads/main
environment: "{51c3d7e9-0a2b-4c4d-8e6f-1a3b5c7d9e0f}""#,
    limits: &[
        "The default audience may stay beside the one that a step asks for: name it in `audiences`, and in HALLPASS_ALLOW_AUDIENCE where the client refuses the token for it.",
        "The workspace in the URL is a name: pin its UUID.",
        "A token says nothing of what started the run.",
    ],
};
