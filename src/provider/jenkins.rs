//! Jenkins with the plugin `oidc-provider`.
//!
//! The job is named by its URL in `sub`. Claims of templates are read as raw claims.

use super::claims::ClaimType::{FreeText, Number, Text};
use super::need::{Need, Wanted, always};
use super::table::{Claim, context, id, name, sent};
use super::{Fact, Guide, Provider, Rules};
use crate::yaml::diagnostic::Severity;

pub(super) const PROVIDER: Provider = Provider {
    name: "jenkins",
    title: "Jenkins (oidc-provider plugin)",
    usual_issuer: None,
    issuers: &[],
    claims: CLAIMS,
    agreements: &[],
    tenant_ids: &[],
    rules: Rules {
        has_jti: false,
        strip_leading_zero: true,
        ..Rules::USUAL
    },
    property_claims: None,
    owner_in: None,
    needs: NEEDS,
    misleading: &[],
    guide: GUIDE,
};

const CLAIMS: &[Claim] = &[
    id("iss", Text, &[sent(Fact::TenantId)]),
    name("sub", FreeText, &[sent(Fact::Workflow)]),
    context("build_number", Number, &[sent(Fact::RunId)]),
];

const NEEDS: &[Need] = &[always(
    &[Wanted::Exact(Fact::Workflow)],
    Severity::Warning,
    "names no single job: a folder has a job for each branch, and those who push choose the branch",
    "write the whole URL of the job in `workflow`",
)];

const GUIDE: Guide = Guide {
    token: r"withCredentials([string(credentialsId: 'hallpass-token', variable: 'HALLPASS_ID_TOKEN')]) {
  sh 'hallpass exec deploy-api -- ./deploy.sh'
}",
    issuer: "url: https://jenkins.example/oidc",
    when: "workflow: https://jenkins.example/job/payments/job/shop/job/main/",
    limits: &[
        "The job is its URL in `sub`; folder and branch names are percent-encoded in it.",
        "A template that puts a branch into `sub` lets those who push choose it.",
        "Plugin versions before 111.v29fd614b_3617 let a build pose as another one (CVE-2025-47884).",
    ],
};
