//! CircleCI: the issuer of an organisation, and the root issuer, which all share.
//!
//! A build of a fork has the project of the upstream repository: only `repository` and `ref` differ. There
//! is no event.

use super::address::Customers::EveryoneAtRoot;
use super::address::at;
use super::claims::ClaimType::{Boolean, List, Text};
use super::need::{Need, Wanted, always};
use super::table::{
    Agreement, Claim, REF_TYPES, Shape, Take, Way, chosen, context, id, name, sent, take, ways,
};
use super::{Fact, Guide, OwnerIn, Provider, Rules};
use crate::yaml::diagnostic::Severity;

pub(super) const PROVIDER: Provider = Provider {
    name: "circleci",
    title: "CircleCI",
    usual_issuer: Some("https://oidc.circleci.com"),
    issuers: &[at("oidc.circleci.com", EveryoneAtRoot)],
    claims: CLAIMS,
    agreements: &[Agreement {
        claim: "oidc.circleci.com/org-id",
        with: "iss",
        shape: Shape("https://oidc.circleci.com/org/<>"),
    }],
    tenant_ids: &[Fact::TenantId, Fact::ProjectId],
    rules: Rules {
        has_jti: false,
        ..Rules::USUAL
    },
    property_claims: None,
    owner_in: Some(OwnerIn::First),
    needs: NEEDS,
    misleading: &[],
    guide: GUIDE,
};

const CLAIMS: &[Claim] = &[
    chosen("sub", Text, &[ways(Fact::ActorId, USER)]),
    id("oidc.circleci.com/org-id", Text, &[sent(Fact::TenantId)]),
    id(
        "oidc.circleci.com/project-id",
        Text,
        &[sent(Fact::ProjectId)],
    ),
    id(
        "oidc.circleci.com/pipeline-definition-id",
        Text,
        &[sent(Fact::Workflow)],
    ),
    context("oidc.circleci.com/pipeline-id", Text, &[]),
    context("oidc.circleci.com/workflow-id", Text, &[sent(Fact::RunId)]),
    context("oidc.circleci.com/job-id", Text, &[sent(Fact::JobId)]),
    context("oidc.circleci.com/context-ids", List, &[]),
    context(
        "oidc.circleci.com/ssh-rerun",
        Boolean,
        &[sent(Fact::DebugSession)],
    ),
    name(
        "oidc.circleci.com/vcs-origin",
        Text,
        &[
            ways(Fact::RepositoryHost, HOST),
            ways(Fact::Owner, OWNER),
            ways(Fact::Repository, REPOSITORY),
        ],
    ),
    chosen(
        "oidc.circleci.com/vcs-ref",
        Text,
        &[sent(Fact::Ref), ways(Fact::RefType, REF_TYPE)],
    ),
];

const ORIGIN: &str = "oidc.circleci.com/vcs-origin";

const HOST: &[Way] = &[take(ORIGIN, Take::Part(Shape("<>/**")))];

const OWNER: &[Way] = &[take(ORIGIN, Take::Part(Shape("*/<>/**")))];

const REPOSITORY: &[Way] = &[take(ORIGIN, Take::Part(Shape("*/<**>")))];

const REF_TYPE: &[Way] = &[take("oidc.circleci.com/vcs-ref", Take::Starts(&REF_TYPES))];

/// The person who started the run is in `sub` alone, in its first and second form.
const USER: &[Way] = &[
    take("sub", Take::Part(Shape("org/*/project/*/user/<>"))),
    take("sub", Take::Part(Shape("org/*/project/*/user/<>/**"))),
];

const NEEDS: &[Need] = &[
    always(
        &[Wanted::Named(Fact::Repository)],
        Severity::Error,
        "names no `repository`: a build of a fork has the project of the upstream repository",
        "add `repository`, and `repository_host`",
    ),
    always(
        &[Wanted::Is(Fact::DebugSession, false)],
        Severity::Warning,
        "also lets in a build with a person in its shell (SSH rerun)",
        "add debug_session: false",
    ),
];

const GUIDE: Guide = Guide {
    token: r"jobs:
  deploy:
    docker: [ { image: cimg/base:current } ]
    steps:
      - run: hallpass exec deploy-api -- ./deploy.sh",
    issuer: "url: https://oidc.circleci.com/org/7c2b9d10-41ef-4f5a-9b0e-6d8a1c3f2e77",
    when: r"tenant_id: 7c2b9d10-41ef-4f5a-9b0e-6d8a1c3f2e77
project_id: e1a4c6d8-0b2f-4d19-8c37-5f9e7a6b4d21
repository: acme/shop
repository_host: github.com
ref: refs/heads/main
debug_session: false",
    limits: &[
        "A build of a fork has the project of the upstream repository: name `repository` too.",
        "A token says nothing of what started the run, nor of an environment.",
        "There is no ID of the repository.",
    ],
};
