//! HCP Terraform and Terraform Enterprise.
//!
//! A plan runs code of a pull request, so a policy names `phase: apply`.

use super::address::Customers::Everyone;
use super::address::at;
use super::claims::ClaimType::{FreeText, Text};
use super::need::{Need, Wanted, above_low, always};
use super::table::{Claim, context, id, name, sent};
use super::{Fact, Guide, Provider, Rules};
use crate::yaml::diagnostic::Severity;

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
    needs: NEEDS,
    misleading: &[],
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

const NEEDS: &[Need] = &[
    always(
        &[Wanted::Exact(Fact::Phase)],
        Severity::Error,
        "names no `phase`: a plan runs code of pull requests",
        "add phase: apply",
    ),
    above_low(
        &[Wanted::Except(Fact::Phase, &["plan"])],
        Severity::Error,
        "lets in plans, which run code of pull requests",
        "write phase: apply, and give plans a credential of class low",
    ),
];

const GUIDE: Guide = Guide {
    token: r"# An environment variable of the workspace: TFC_WORKLOAD_IDENTITY_AUDIENCE_HALLPASS=https://hallpass.example
hallpass exec deploy-api -- ./deploy.sh",
    issuer: "tenants: [ { owner: acme, owner_id: org-7kQnV2bLxZ9pRd4T } ]",
    when: r"project: network-prod
project_id: ws-Zp4DyE9uVnA6jFq1
phase: apply",
    limits: &[
        "A plan runs code of a pull request: name `phase: apply`.",
        "A token lives as long as the phase may take.",
    ],
};
