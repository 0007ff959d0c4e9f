//! Vercel: the issuer of a team, and the global issuer. `preview` is any branch or pull request.

use super::address::Customers::EveryoneAtRoot;
use super::address::at;
use super::claims::ClaimType::{FreeText, Text};
use super::need::{Need, Wanted, above_low, always};
use super::table::{Claim, context, id, name, sent};
use super::{Fact, Guide, Provider, Rules};
use crate::yaml::diagnostic::Severity;

pub(super) const PROVIDER: Provider = Provider {
    name: "vercel",
    title: "Vercel",
    usual_issuer: None,
    issuers: &[at("oidc.vercel.com", EveryoneAtRoot)],
    claims: CLAIMS,
    agreements: &[],
    tenant_ids: &[Fact::TenantId, Fact::OwnerId, Fact::ProjectId],
    rules: Rules {
        has_jti: false,
        max_lifetime: 7_200,
        ..Rules::USUAL
    },
    property_claims: None,
    owner_in: None,
    needs: NEEDS,
    misleading: &[],
    guide: GUIDE,
};

const CLAIMS: &[Claim] = &[
    name("owner", Text, &[sent(Fact::Owner)]),
    id(
        "owner_id",
        Text,
        &[sent(Fact::TenantId), sent(Fact::OwnerId)],
    ),
    name("project", Text, &[sent(Fact::Project)]),
    id("project_id", Text, &[sent(Fact::ProjectId)]),
    context("environment", Text, &[sent(Fact::Environment)]),
    context("external_sub", FreeText, &[]),
    context("plan", Text, &[]),
    id("user_id", Text, &[]),
];

const NEEDS: &[Need] = &[
    always(
        &[Wanted::Exact(Fact::Environment)],
        Severity::Error,
        "names no `environment`: `preview` is any branch or pull request",
        "add environment: production",
    ),
    above_low(
        &[Wanted::Except(
            Fact::Environment,
            &["preview", "development"],
        )],
        Severity::Error,
        "lets in builds of any branch or pull request, or developers' machines",
        "write environment: production",
    ),
];

const GUIDE: Guide = Guide {
    token: "hallpass exec deploy-api -- ./deploy.sh",
    issuer: "url: https://oidc.vercel.com/acme",
    when: r"owner_id: team_4Gw7ZMzpQA8h90F832KGp7nw
project: storefront
project_id: prj_9Hx5ZMBpQA8h9GF832KGp7nw
environment: production",
    limits: &[
        "The token of a build has the audience of the team: `hallpass` exchanges it for one for the broker.",
        "`preview` is any branch or pull request.",
        "The team in the URL is a name: pin its ID.",
    ],
};
