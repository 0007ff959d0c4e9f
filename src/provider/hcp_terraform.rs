//! HCP Terraform and Terraform Enterprise.
//!
//! A plan runs code of a pull request, so a policy names `phase: apply`.

use super::address::Customers::Everyone;
use super::address::at;
use super::claims::ClaimType::{FreeText, Text};
use super::table::{Claim, context, id, name, sent};
use super::{Fact, Guide, Provider, Rules};

pub(super) const PROVIDER: Provider = Provider {
    name: "hcp-terraform",
    title: "HCP Terraform and Terraform Enterprise",
    usual_issuer: Some("https://app.terraform.io"),
    issuers: &[at("app.terraform.io", Everyone)],
    claims: CLAIMS,
    agreements: &[],
    tenant_ids: &[Fact::TenantId, Fact::OwnerId, Fact::ProjectId],
    rules: Rules {
        max_lifetime: 86_400,
        ..Rules::USUAL
    },
    property_claims: None,
    owner_in: None,
    guide: GUIDE,
};

const CLAIMS: &[Claim] = &[
    name("terraform_organization_name", Text, &[sent(Fact::Owner)]),
    id(
        "terraform_organization_id",
        Text,
        &[sent(Fact::TenantId), sent(Fact::OwnerId)],
    ),
    name("terraform_project_name", FreeText, &[]),
    id("terraform_project_id", Text, &[]),
    name("terraform_workspace_name", Text, &[sent(Fact::Project)]),
    id("terraform_workspace_id", Text, &[sent(Fact::ProjectId)]),
    name("terraform_full_workspace", FreeText, &[]),
    context("terraform_run_id", Text, &[sent(Fact::RunId)]),
    context("terraform_run_phase", Text, &[sent(Fact::Phase)]),
];

const GUIDE: Guide = Guide {
    token: r"# A variable of the workspace: TFC_WORKLOAD_IDENTITY_AUDIENCE=https://hallpass.example
# In the run, the token is in TFC_WORKLOAD_IDENTITY_TOKEN.",
    issuer: "tenants: [ { owner: acme, owner_id: org-7kQnV2bLxZ9pRd4T } ]",
    when: r"project: network-prod
project_id: ws-Zp4DyE9uVnA6jFq1
phase: apply",
    limits: &[
        "A plan runs code of a pull request: name `phase: apply`.",
        "A token lives as long as the phase may take.",
    ],
};
