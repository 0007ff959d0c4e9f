//! Semaphore. Of a pull request `branch` is the target, so it is no fact but `base_ref`.

use super::address::Customers::One;
use super::address::between;
use super::claims::ClaimType::{FreeText, Object, Text};
use super::need::{Misleading, Need, Wanted, above_low, always};
use super::table::{
    Claim, Take, Way, When, chosen, context, id, name, ref_types, sent, take, take_when, ways,
};
use super::{Audience, Fact, Guide, Provider, Rules};
use crate::yaml::diagnostic::Severity;

pub(super) const PROVIDER: Provider = Provider {
    name: "semaphore",
    title: "Semaphore",
    usual_issuer: None,
    issuers: &[between("", ".semaphoreci.com", One)],
    claims: CLAIMS,
    agreements: &[],
    tenant_ids: &[Fact::TenantId, Fact::OwnerId, Fact::ProjectId],
    rules: Rules {
        max_lifetime: 86_400,
        audience: Audience::Issuer,
        ..Rules::USUAL
    },
    property_claims: None,
    owner_in: None,
    needs: NEEDS,
    misleading: MISLEADING,
    guide: GUIDE,
};

const CLAIMS: &[Claim] = &[
    name("org", Text, &[sent(Fact::Owner)]),
    id("org_id", Text, &[sent(Fact::TenantId), sent(Fact::OwnerId)]),
    name("prj", Text, &[sent(Fact::Project)]),
    id("prj_id", Text, &[sent(Fact::ProjectId)]),
    name("repo", Text, &[]),
    name("repo_slug", Text, &[sent(Fact::Repository)]),
    context("wf_id", Text, &[sent(Fact::RunId)]),
    context("ppl_id", Text, &[]),
    context("job_id", Text, &[sent(Fact::JobId)]),
    context("job_type", Text, &[ways(Fact::DebugSession, DEBUG)]),
    id("actor", Text, &[sent(Fact::Actor)]),
    chosen(
        "ref",
        Text,
        &[sent(Fact::Ref), ways(Fact::RefType, REF_TYPE)],
    ),
    context("ref_type", Text, &[]),
    chosen("branch", Text, &[ways(Fact::BaseRef, BASE)]),
    chosen("tag", Text, &[]),
    context("pr", Text, &[]),
    chosen("pr_branch", FreeText, &[]),
    context(
        "trg",
        Text,
        &[sent(Fact::Event), ways(Fact::Trigger, TRIGGER)],
    ),
    // Cut off, so that two refs can have one.
    chosen("sub127", FreeText, &[]),
    chosen("https://aws.amazon.com/tags", Object, &[]),
];

/// Every job but one of a pipeline is for debugging, with a shell.
const DEBUG: &[Way] = &[take(
    "job_type",
    Take::Words {
        words: &[
            ("false", "pipeline_job"),
            ("true", "debug_job"),
            ("true", "project_debug_job"),
        ],
        other: Some("true"),
    },
)];

const REF_TYPE: &[Way] = &ref_types(
    "ref",
    "ref_type",
    &[
        ("branch", "branch"),
        ("tag", "tag"),
        ("pull", "pull-request"),
    ],
);

const BASE: &[Way] = &[take_when(
    "branch",
    Take::Sent,
    &[When::Is("ref_type", "pull-request")],
)];

/// A hook is a push or a pull request, which the type of the ref tells apart. What follows the first
/// colon says whether it is run again.
const TRIGGER: &[Way] = &[
    take(
        "ref_type",
        Take::Words {
            words: &[("pull_request", "pull-request")],
            other: None,
        },
    ),
    take(
        "trg",
        Take::Starts(&[
            ("h:f-i:f", "push"),
            ("h:", "push"),
            ("s:f-i:f", "schedule"),
            ("s:", "schedule"),
            ("m:f-i:f", "manual"),
            ("m:", "manual"),
            ("a:f-i:f", "api"),
            ("a:", "api"),
        ]),
    ),
    take("trg", Take::Always("other")),
];

const NEEDS: &[Need] = &[
    always(
        &[Wanted::Is(Fact::DebugSession, false)],
        Severity::Warning,
        "also lets in a job with a person in its shell",
        "add debug_session: false",
    ),
    above_low(
        &[Wanted::Named(Fact::Ref)],
        Severity::Warning,
        "lets in jobs of every branch",
        "add `ref`, for example ref: refs/heads/main",
    ),
];

const MISLEADING: &[Misleading] = &[
    Misleading {
        claim: "/branch",
        why: "is the target of a pull request, so that each one for the branch has it",
        instead: "name `ref` and `ref_type`",
    },
    Misleading {
        claim: "/sub127",
        why: "is cut, so that several refs have the same",
        instead: "name `project_id` and `ref`",
    },
];

const GUIDE: Guide = Guide {
    token: r"# Services that accept this audience could use the token too.
export HALLPASS_ALLOW_AUDIENCE=https://acme.semaphoreci.com
hallpass exec deploy-api -- ./deploy.sh",
    issuer: "url: https://acme.semaphoreci.com, shared_audience: accepted",
    when: r"owner_id: d7dd33ad-9317-498c-9cc6-51c250749be7
project_id: 1e1fcfb5-09c0-487e-b051-2d0b5514c42a
ref: refs/heads/main
ref_type: branch
debug_session: false
trigger: [push, manual]",
    limits: &[
        "The audience is the address of the organisation for every service.",
        "An organisation can switch claims off: a fact that is missing fits nothing.",
        "The claim `branch` of a pull request is its target.",
    ],
};
