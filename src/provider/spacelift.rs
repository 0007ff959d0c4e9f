//! Spacelift. A space may have the slug of another one elsewhere in the tree.

use super::address::Customers::One;
use super::address::between;
use super::claims::ClaimType::Text;
use super::need::{Need, Wanted, above_low, always};
use super::table::{Claim, Way, context, name, sent, triggers, ways};
use super::{Audience, Fact, Guide, Provider, Rules};
use crate::yaml::diagnostic::Severity;

pub(super) const PROVIDER: Provider = Provider {
    name: "spacelift",
    title: "Spacelift",
    usual_issuer: None,
    issuers: &[between("", ".app.spacelift.io", One)],
    claims: CLAIMS,
    agreements: &[],
    tenant_ids: &[],
    rules: Rules {
        audience: Audience::IssuerHost,
        ..Rules::USUAL
    },
    property_claims: None,
    owner_in: None,
    needs: NEEDS,
    misleading: &[],
    guide: GUIDE,
};

const CLAIMS: &[Claim] = &[
    name("iss", Text, &[sent(Fact::TenantId), sent(Fact::Owner)]),
    name("spaceId", Text, &[sent(Fact::Environment)]),
    name("spacePath", Text, &[]),
    context("callerType", Text, &[]),
    name("callerId", Text, &[sent(Fact::Project)]),
    context(
        "runType",
        Text,
        &[sent(Fact::Event), ways(Fact::Trigger, TRIGGER)],
    ),
    context("runId", Text, &[sent(Fact::RunId)]),
    context("scope", Text, &[sent(Fact::Phase)]),
];

/// The trigger of each type of run. Proposed runs and tests of modules run code of pull requests.
const TRIGGER: &[Way] = &triggers(
    "runType",
    &[
        ("push", "TRACKED"),
        ("pull_request", "PROPOSED"),
        ("pull_request", "TESTING"),
        ("manual", "TASK"),
        ("manual", "DESTROY"),
    ],
);

const NEEDS: &[Need] = &[
    always(
        &[Wanted::Exact(Fact::Environment)],
        Severity::Warning,
        "names no space: stacks of two spaces can have one slug",
        "add `environment`, the ID of the space",
    ),
    above_low(
        &[Wanted::Except(Fact::Phase, &["read"])],
        Severity::Warning,
        "lets in runs that may only read",
        "add phase: write",
    ),
];

const GUIDE: Guide = Guide {
    token: r"# Services that accept this audience could use the token too.
export HALLPASS_ALLOW_AUDIENCE=acme.app.spacelift.io
hallpass exec deploy-api -- ./deploy.sh",
    issuer: "url: https://acme.app.spacelift.io, shared_audience: accepted",
    when: r"environment: production-01KJMM56VS4W3AL9YZWVCXBX8D
project: network-prod
phase: write
trigger: push",
    limits: &[
        "The audience is the host of the account for every service.",
        "Stacks and spaces are named by slugs; two spaces can have one slug.",
        "Proposed runs and tests of modules are of pull requests.",
    ],
};
