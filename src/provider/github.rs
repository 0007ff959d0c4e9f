//! GitHub Actions: github.com, enterprise issuers, ghe.com and GitHub Enterprise Server.
//!
//! Conditions read separate claims, never `sub`. Its form differs between repositories created
//! before and after July 2026, and the repository's administrator can change it (T-51).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::claims::ClaimType::{FlagText, FreeText, Text};
use super::claims::{self, Claim, claim};
use super::{
    ClaimError, ClaimMap, Cut, Derivation, Fact, FactType, FactValue, Provider, ref_type, set_text,
};
use crate::token::json::Object;

pub(super) const PROVIDER: Provider = Provider {
    name: "github",
    usual_issuer: Some("https://token.actions.githubusercontent.com"),
    claims: CLAIMS,
    derived: &[Fact::Trigger, Fact::Workflow],
    tenant_ids: &[Fact::OwnerId, Fact::TenantId, Fact::RepositoryId],
    has_events: true,
    max_lifetime: 600,
    max_age: 600,
    identify,
    write,
    property_claims: Some("repo_property_"),
    events: &EVENTS,
    sources: &[
        (
            Fact::Trigger,
            Derivation::Words {
                claim: "event_name",
                words: &EVENTS,
                other: Some("other"),
            },
        ),
        (
            Fact::RefType,
            Derivation::RefType {
                full: "ref",
                word: "ref_type",
            },
        ),
        (
            Fact::Runner,
            Derivation::Words {
                claim: "runner_environment",
                words: &RUNNERS,
                other: None,
            },
        ),
        (
            Fact::Workflow,
            Derivation::File {
                claim: "workflow_ref",
                cut: Cut::SecondSlash,
            },
        ),
    ],
    split_owner: |path| path.split_once('/'),
};

fn identify(token: &Object, _: &ClaimMap) -> Result<BTreeMap<Fact, FactValue>, ClaimError> {
    claims::check(token, CLAIMS)?;
    let mut facts = BTreeMap::new();
    for line in CLAIMS {
        if let (Some(fact), Some(value)) = (line.fact, claims::text(token, line.name))
            && fact.fact_type() == FactType::Text
            && fact != Fact::Runner
            && fact != Fact::RefType
        {
            set_text(&mut facts, fact, value);
        }
    }
    if let Some(protected) = claims::flag(token, "ref_protected") {
        facts.insert(Fact::RefProtected, FactValue::Bool(protected));
    }
    if let Some(kind) = ref_type(claims::text(token, "ref"), claims::text(token, "ref_type")) {
        set_text(&mut facts, Fact::RefType, kind);
    }
    if let Some(runner) = claims::text(token, "runner_environment").and_then(runner) {
        set_text(&mut facts, Fact::Runner, runner);
    }
    if let Some(entry) = claims::workflow(token, "workflow_ref") {
        if let FactValue::Workflow(workflow) = &entry
            && let Some(path) = Cut::SecondSlash.rest(&workflow.path)
        {
            set_text(&mut facts, Fact::Workflow, path);
        }
        facts.insert(Fact::EntryWorkflow, entry);
    }
    if let Some(job) = claims::workflow(token, "job_workflow_ref") {
        facts.insert(Fact::JobWorkflow, job);
    }
    let trigger = trigger(claims::text(token, "event_name").unwrap_or_default());
    set_text(&mut facts, Fact::Trigger, trigger);
    Ok(facts)
}

fn write(facts: &BTreeMap<Fact, FactValue>, _: &ClaimMap) -> Map<String, Value> {
    let mut claims = claims::write(facts, CLAIMS, &[Fact::Runner, Fact::RefType]);
    claims::write_shared(facts, "github-hosted", &mut claims);
    claims
}

/// The trigger of each event that is known to be harmless or to come from outsiders: the usual event of
/// a trigger first. Every other event is `other` (T-52, T-114): outsiders can open issues, star and
/// fork.
const EVENTS: [(&str, &str); 14] = [
    ("push", "push"),
    ("pull_request", "pull_request"),
    ("pull_request_target", "pull_request_target"),
    ("merge_queue", "merge_group"),
    ("schedule", "schedule"),
    ("manual", "workflow_dispatch"),
    ("api", "repository_dispatch"),
    ("chained", "workflow_run"),
    ("release", "release"),
    ("comment", "issue_comment"),
    ("comment", "discussion_comment"),
    ("comment", "commit_comment"),
    ("comment", "pull_request_review_comment"),
    ("other", "issues"),
];

const RUNNERS: [(&str, &str); 2] = [("hosted", "github-hosted"), ("self-hosted", "self-hosted")];

fn trigger(event: &str) -> &'static str {
    Provider::word(&EVENTS, event).unwrap_or("other")
}

fn runner(environment: &str) -> Option<&'static str> {
    Provider::word(&RUNNERS, environment)
}

/// The claims in GitHub's documentation, and others observed in its tokens.
const CLAIMS: &[Claim] = &[
    claim("repository", Text, Some(Fact::Repository)),
    claim("repository_id", Text, Some(Fact::RepositoryId)),
    claim("repository_owner", Text, Some(Fact::Owner)),
    claim("repository_owner_id", Text, Some(Fact::OwnerId)),
    claim("repository_visibility", Text, Some(Fact::Visibility)),
    claim("enterprise", Text, None),
    claim("enterprise_id", Text, Some(Fact::TenantId)),
    claim("actor", Text, Some(Fact::Actor)),
    claim("actor_id", Text, Some(Fact::ActorId)),
    claim("event_name", Text, Some(Fact::Event)),
    claim("ref", Text, Some(Fact::Ref)),
    claim("ref_type", Text, Some(Fact::RefType)),
    claim("ref_protected", FlagText, Some(Fact::RefProtected)),
    claim("sha", Text, Some(Fact::Sha)),
    claim("head_ref", FreeText, None),
    claim("base_ref", FreeText, None),
    // The display name. Anyone who can push can choose it, so it is not a fact (T-48).
    claim("workflow", FreeText, None),
    claim("workflow_ref", Text, Some(Fact::EntryWorkflow)),
    claim("workflow_sha", Text, None),
    claim("job_workflow_ref", Text, Some(Fact::JobWorkflow)),
    claim("job_workflow_sha", Text, None),
    claim("environment", Text, Some(Fact::Environment)),
    claim("environment_node_id", Text, None),
    claim("run_id", Text, Some(Fact::RunId)),
    claim("run_number", Text, None),
    claim("run_attempt", Text, Some(Fact::RunAttempt)),
    claim("check_run_id", Text, Some(Fact::JobId)),
    claim("runner_environment", Text, Some(Fact::Runner)),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{ORDINARY_TRIGGERS, TRIGGERS};

    /// T-52, T-114: every event GitHub documents.
    #[test]
    fn events_that_strangers_start_are_never_ordinary() {
        let strangers = [
            "branch_protection_rule",
            "check_run",
            "check_suite",
            "create",
            "delete",
            "deployment",
            "deployment_status",
            "discussion",
            "discussion_comment",
            "fork",
            "gollum",
            "image_version",
            "issue_comment",
            "issues",
            "label",
            "milestone",
            "page_build",
            "project",
            "project_card",
            "project_column",
            "public",
            "pull_request",
            "pull_request_review",
            "pull_request_review_comment",
            "pull_request_target",
            "registry_package",
            "status",
            "watch",
            "workflow_call",
            "workflow_run",
            "commit_comment",
            "dynamic",
            "Push",
            "push ",
            "",
        ];
        for event in strangers {
            let trigger = trigger(event);
            assert!(TRIGGERS.contains(&trigger), "{event}");
            assert!(
                !ORDINARY_TRIGGERS.contains(&trigger),
                "{event} is {trigger}"
            );
        }
        let ours = [
            ("push", "push"),
            ("merge_group", "merge_queue"),
            ("schedule", "schedule"),
            ("workflow_dispatch", "manual"),
            ("repository_dispatch", "api"),
            ("release", "release"),
        ];
        for (event, expected) in ours {
            assert_eq!(trigger(event), expected);
        }
    }
}
