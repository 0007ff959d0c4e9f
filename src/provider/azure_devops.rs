//! Azure DevOps: tokens of pipelines (`p://`) and of service connections (`sc://`).
//!
//! All organisations share one key, so the organisation in `iss` must be the one in `org_id`. Names are in
//! `sub` alone.

use super::address::Customers::One;
use super::address::at;
use super::claims::ClaimType::{FreeText, Text};
use super::need::{Need, Wanted, above_low, always};
use super::table::{
    Agreement, Claim, REF_TYPES, Shape, Take, Way, chosen, context, id, name, sent, take, ways,
};
use super::{Audience, Fact, Guide, Provider, Rules};
use crate::yaml::diagnostic::Severity;

pub(super) const PROVIDER: Provider = Provider {
    name: "azure-devops",
    title: "Azure DevOps",
    usual_issuer: None,
    issuers: &[at("vstoken.dev.azure.com", One)],
    claims: CLAIMS,
    agreements: &[Agreement {
        claim: "org_id",
        with: "iss",
        shape: ORGANISATION,
    }],
    tenant_ids: &[Fact::TenantId, Fact::OwnerId],
    rules: Rules {
        max_lifetime: 600,
        max_age: 600,
        audience: Audience::Fixed("api://AzureADTokenExchange"),
        ..Rules::USUAL
    },
    property_claims: None,
    owner_in: None,
    needs: NEEDS,
    misleading: &[],
    guide: GUIDE,
};

const CLAIMS: &[Claim] = &[
    id("iss", Text, &[ways(Fact::TenantId, TENANT)]),
    name(
        "sub",
        FreeText,
        &[
            ways(Fact::ServiceConnection, CONNECTION),
            ways(Fact::Owner, OWNER),
            ways(Fact::Project, PROJECT),
            ways(Fact::Workflow, PIPELINE),
        ],
    ),
    id("org_id", Text, &[sent(Fact::OwnerId)]),
    id("prj_id", Text, &[sent(Fact::ProjectId)]),
    id("def_id", Text, &[sent(Fact::DefinitionId)]),
    name("rpo_id", FreeText, &[sent(Fact::Repository)]),
    name("rpo_uri", FreeText, &[]),
    chosen("rpo_ver", Text, &[sent(Fact::Sha)]),
    chosen(
        "rpo_ref",
        FreeText,
        &[
            sent(Fact::Ref),
            ways(Fact::RefType, REF_TYPE),
            ways(Fact::Trigger, TRIGGER),
        ],
    ),
    context("run_id", Text, &[sent(Fact::RunId)]),
];

const ORGANISATION: Shape = Shape("https://vstoken.dev.azure.com/<>");

const TENANT: &[Way] = &[take("iss", Take::Part(ORGANISATION))];

const CONNECTION: &[Way] = &[take("sub", Take::Starting("sc://"))];

const OWNER: &[Way] = &[
    take("sub", Take::Part(Shape("p://<>/*/*"))),
    take("sub", Take::Part(Shape("sc://<>/*/*"))),
];

const PROJECT: &[Way] = &[take("sub", Take::Part(Shape("p://*/<>/*")))];

const PIPELINE: &[Way] = &[take("sub", Take::Part(Shape("p://*/*/<>")))];

const REF_TYPE: &[Way] = &[take("rpo_ref", Take::Starts(&REF_TYPES))];

/// Of what starts a run, only the validation of a pull request is told.
const TRIGGER: &[Way] = &[take(
    "rpo_ref",
    Take::Starts(&[("refs/pull/", "pull_request")]),
)];

const NEEDS: &[Need] = &[
    always(
        &[
            Wanted::Exact(Fact::DefinitionId),
            Wanted::Exact(Fact::ServiceConnection),
        ],
        Severity::Warning,
        "lets in every pipeline of the project",
        "add `definition_id`, or `service_connection`",
    ),
    always(
        &[
            Wanted::Exact(Fact::ProjectId),
            Wanted::Exact(Fact::ServiceConnection),
        ],
        Severity::Warning,
        "names no project by its ID: the IDs of pipelines are counted in each project",
        "add `project_id`, or `service_connection`",
    ),
    above_low(
        &[
            Wanted::Named(Fact::Ref),
            Wanted::Named(Fact::ServiceConnection),
        ],
        Severity::Warning,
        "lets in the pipeline on every branch, with the steps that the branch has",
        "add `ref`, for example ref: refs/heads/main",
    ),
];

const GUIDE: Guide = Guide {
    token: r"steps:
  - script: hallpass exec deploy-api -- ./deploy.sh
    env:
      SYSTEM_ACCESSTOKEN: $(System.AccessToken)
      # Services that accept this audience could use the token too.
      HALLPASS_ALLOW_AUDIENCE: api://AzureADTokenExchange",
    issuer: "url: https://vstoken.dev.azure.com/4d2f8b61-9c3e-4a7d-b150-6e8f0a2c4d93, shared_audience: accepted",
    when: r#"tenant_id: 4d2f8b61-9c3e-4a7d-b150-6e8f0a2c4d93
project_id: b86a1d3f-5e70-4c92-8a4b-2d6f9e1c7b05
definition_id: "37"
repository: acme/shop
ref: refs/heads/main"#,
    limits: &[
        "Every service has the same audience: a service that receives such a token can use it at this broker, and the broker can use it at that service. A token of a service connection can be for the broker alone (docs/ci/azure.md).",
        "All organisations share one key: the issuer of one organisation is compared exactly.",
        "A token of a service connection (`sc://`) says nothing of pipeline, repository or run.",
    ],
};
