//! SPIFFE JWT-SVIDs. They need not have `iss` or `iat`: the trust domain is in `sub`.

use super::claims::ClaimType::Text;
use super::need::{Need, Wanted, always};
use super::table::{Claim, Shape, Take, Way, name, sent, take, ways};
use super::{Fact, Guide, Provider, Rules};
use crate::token::Algorithm;
use crate::yaml::diagnostic::Severity;

pub(super) const PROVIDER: Provider = Provider {
    name: "spiffe",
    title: "SPIFFE JWT-SVID",
    usual_issuer: None,
    issuers: &[],
    claims: CLAIMS,
    agreements: &[],
    tenant_ids: &[Fact::TenantId],
    rules: Rules {
        algorithms: &[
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
            Algorithm::ES256,
            Algorithm::ES384,
        ],
        has_jti: false,
        iat_required: false,
        key_use: Some("jwt-svid"),
        token_types: &["JWT", "JOSE"],
        ..Rules::USUAL
    },
    property_claims: None,
    owner_in: None,
    needs: NEEDS,
    misleading: &[],
    guide: GUIDE,
};

const CLAIMS: &[Claim] = &[name(
    "sub",
    Text,
    &[sent(Fact::Project), ways(Fact::TenantId, TRUST_DOMAIN)],
)];

const TRUST_DOMAIN: &[Way] = &[
    take("sub", Take::Part(Shape("spiffe://<>"))),
    take("sub", Take::Part(Shape("spiffe://<>/**"))),
];

const NEEDS: &[Need] = &[always(
    &[Wanted::Exact(Fact::Project)],
    Severity::Warning,
    "does not name its workload exactly: every entry that is registered below lets a workload in",
    "add `project`, a whole SPIFFE ID",
)];

const GUIDE: Guide = Guide {
    token: r"# The workload has SPIFFE_ENDPOINT_SOCKET and the program spire-agent.
hallpass exec deploy-api -- ./deploy.sh",
    issuer: "url: https://oidc.prod.acme.example, trust_domain: prod.acme.example",
    when: r"tenant_id: prod.acme.example
project: spiffe://prod.acme.example/ns/ci/sa/release-runner",
    limits: &[
        "A registration entry can be given to another workload: there is no ID.",
        "Tokens have no `iss`: `trust_domain` says whose they are, and `url` where the keys are.",
    ],
};
