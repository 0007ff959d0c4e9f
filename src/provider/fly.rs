//! Fly.io machines. A token is of a machine, not of a build.

use super::address::Customers::One;
use super::address::at;
use super::claims::ClaimType::Text;
use super::table::{Claim, context, id, name, sent};
use super::{Fact, Guide, Provider, Rules};

pub(super) const PROVIDER: Provider = Provider {
    name: "fly",
    title: "Fly.io",
    usual_issuer: None,
    issuers: &[at("oidc.fly.io", One)],
    claims: CLAIMS,
    agreements: &[],
    tenant_ids: &[Fact::TenantId, Fact::OwnerId, Fact::ProjectId],
    rules: Rules {
        max_age: 600,
        ..Rules::USUAL
    },
    property_claims: None,
    owner_in: None,
    needs: &[],
    misleading: &[],
    guide: GUIDE,
};

const CLAIMS: &[Claim] = &[
    name("org_name", Text, &[sent(Fact::Owner)]),
    id("org_id", Text, &[sent(Fact::TenantId), sent(Fact::OwnerId)]),
    name("app_name", Text, &[sent(Fact::Project)]),
    id("app_id", Text, &[sent(Fact::ProjectId)]),
    id("machine_id", Text, &[sent(Fact::JobId)]),
    name("machine_name", Text, &[]),
    context("machine_version", Text, &[]),
    name("image", Text, &[]),
    id("image_digest", Text, &[]),
    context("region", Text, &[]),
];

const GUIDE: Guide = Guide {
    token: "hallpass exec deploy-api -- ./deploy.sh",
    issuer: "url: https://oidc.fly.io/acme",
    when: r#"owner_id: "30418822"
project: shop-runner
project_id: "40517733""#,
    limits: &[
        "A token is of a machine, not of a build.",
        "The organisation in the URL is a name: pin its ID.",
    ],
};
