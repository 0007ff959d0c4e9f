//! Google service accounts: Compute Engine, Cloud Build, Cloud Run.
//!
//! The issuer signs for people too, so an issuer and an audience alone let in any Google account.

use super::address::Customers::Everyone;
use super::address::at;
use super::claims::ClaimType::{Boolean, FreeText, List, Number, Object, Text};
use super::need::{Need, Wanted, always};
use super::table::{Claim, Take, Way, When, context, id, name, sent, take_when, ways};
use super::{Fact, Guide, Provider, Rules};
use crate::yaml::diagnostic::Severity;

pub(super) const PROVIDER: Provider = Provider {
    name: "google",
    title: "Google service accounts",
    usual_issuer: Some("https://accounts.google.com"),
    issuers: &[at("accounts.google.com", Everyone)],
    claims: CLAIMS,
    agreements: &[],
    tenant_ids: &[Fact::ProjectId, Fact::OwnerId],
    rules: Rules {
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
    id("sub", Text, &[sent(Fact::ProjectId)]),
    id("azp", Text, &[]),
    name("email", FreeText, &[ways(Fact::Project, EMAIL)]),
    context("email_verified", Boolean, &[]),
    context("google", Object, &[]),
    context("/google/compute_engine", Object, &[]),
    name(
        "/google/compute_engine/project_id",
        Text,
        &[sent(Fact::Owner)],
    ),
    id(
        "/google/compute_engine/project_number",
        Number,
        &[sent(Fact::OwnerId)],
    ),
    context("/google/compute_engine/zone", Text, &[]),
    id(
        "/google/compute_engine/instance_id",
        Text,
        &[sent(Fact::JobId)],
    ),
    name("/google/compute_engine/instance_name", Text, &[]),
    context(
        "/google/compute_engine/instance_creation_timestamp",
        Number,
        &[],
    ),
    context(
        "/google/compute_engine/instance_confidentiality",
        Number,
        &[],
    ),
    context("/google/compute_engine/license_id", List, &[]),
];

/// The address of the account: of a deleted one it can be given again.
const EMAIL: &[Way] = &[take_when(
    "email",
    Take::Sent,
    &[When::True("email_verified")],
)];

const NEEDS: &[Need] = &[always(
    &[Wanted::Exact(Fact::ProjectId)],
    Severity::Error,
    "does not name the account by its number: the same issuer signs for people, and an address can be given again",
    "add `project_id`, the unique ID of the service account",
)];

const GUIDE: Guide = Guide {
    token: r"# In Cloud Run; elsewhere on Google Cloud add `--source google`. The metadata server makes the token.
hallpass exec deploy-api -- ./deploy.sh",
    issuer: r#"tenants: [ { project_id: "110987294251917851298" } ]"#,
    when: r#"project_id: "110987294251917851298"
project: release-runner@acme-build-4411.iam.gserviceaccount.com"#,
    limits: &[
        "The same issuer signs for people: a policy names the number of the service account, `project_id`.",
        "There is no repository or branch: who can run a build as the account has its identity.",
    ],
};
