//! Buddy. Of its triggers only `MANUAL` is documented; every other one is `other`.

use super::address::Customers::Everyone;
use super::address::at;
use super::claims::ClaimType::{FreeText, Number, Text};
use super::table::{Claim, Take, Way, chosen, context, id, name, sent, take, triggers, ways};
use super::{Fact, Guide, Provider, Rules};

pub(super) const PROVIDER: Provider = Provider {
    name: "buddy",
    title: "Buddy",
    usual_issuer: None,
    issuers: &[
        at("oidc.buddyusercontent.com", Everyone),
        at("eu-oidc.buddyusercontent.com", Everyone),
        at("asia-oidc.buddyusercontent.com", Everyone),
    ],
    claims: CLAIMS,
    agreements: &[],
    tenant_ids: &[Fact::ProjectId],
    rules: Rules {
        max_age: 600,
        has_jti: false,
        ..Rules::USUAL
    },
    property_claims: None,
    owner_in: None,
    needs: &[],
    misleading: &[],
    guide: GUIDE,
};

const CLAIMS: &[Claim] = &[
    name("workspace_domain", Text, &[sent(Fact::Owner)]),
    name("project_name", Text, &[sent(Fact::Project)]),
    id("pipeline_id", Number, &[sent(Fact::ProjectId)]),
    name("pipeline_name", FreeText, &[sent(Fact::Workflow)]),
    context("execution_id", Text, &[sent(Fact::RunId)]),
    context(
        "triggered_on",
        Text,
        &[sent(Fact::Event), ways(Fact::Trigger, TRIGGER)],
    ),
    context("runner_environment", Text, &[ways(Fact::Runner, RUNNER)]),
    context("base_url", Text, &[]),
    chosen("revision", FreeText, &[]),
    chosen("ref", FreeText, &[]),
];

const TRIGGER: &[Way] = &triggers("triggered_on", &[("manual", "MANUAL")]);

const RUNNER: &[Way] = &[take(
    "runner_environment",
    Take::Words {
        words: &[
            ("hosted", "platform-hosted"),
            ("self-hosted", "self-hosted"),
        ],
        other: None,
    },
)];

const GUIDE: Guide = Guide {
    token: r"# Put an ID token of the pipeline for the audience https://hallpass.example into HALLPASS_ID_TOKEN.
hallpass exec deploy-api -- ./deploy.sh",
    issuer: r#"tenants: [ { project_id: "45289" } ], url: https://eu-oidc.buddyusercontent.com"#,
    when: r#"project: shop
project_id: "45289"
trigger: manual"#,
    limits: &[
        "Of its triggers only `MANUAL` is documented; every other one is `other`.",
        "The form of `ref` is not documented, so it is no fact.",
    ],
};
