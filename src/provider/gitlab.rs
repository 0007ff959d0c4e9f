//! GitLab CI: gitlab.com, self-managed and Dedicated.
//!
//! In a merge request pipeline of a fork that runs in the parent project, `project_*` names the
//! fork, whose code runs. `job_project_*` names the parent.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::claims::ClaimType::{self, FlagText, FreeText, List, Number, Text};
use super::claims::{self, Claim, claim};
use super::{
    ClaimError, ClaimMap, Cut, Derivation, Fact, FactType, FactValue, Provider, ref_type, set_text,
};
use crate::token::json::Object;

pub(super) const PROVIDER: Provider = Provider {
    name: "gitlab",
    usual_issuer: Some("https://gitlab.com"),
    claims: CLAIMS,
    derived: &[Fact::FromFork, Fact::Trigger, Fact::Workflow],
    tenant_ids: &[Fact::OwnerId, Fact::RepositoryId],
    has_events: true,
    // A token is issued at the start of the job and lives as long as the job's timeout, which is
    // less than a month.
    max_lifetime: LONGEST_JOB,
    max_age: 3_600,
    identify,
    write,
    property_claims: None,
    events: &SOURCES,
    sources: &[
        (
            Fact::Trigger,
            Derivation::Words {
                claim: "pipeline_source",
                words: &SOURCES,
                other: Some("other"),
            },
        ),
        (
            Fact::RefType,
            Derivation::RefType {
                full: "ref_path",
                word: "ref_type",
            },
        ),
        (
            Fact::Ref,
            Derivation::Ref {
                full: "ref_path",
                name: "ref",
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
            Fact::FromFork,
            Derivation::Differ("job_project_id", "project_id"),
        ),
        (
            Fact::Workflow,
            Derivation::File {
                claim: "ci_config_ref_uri",
                cut: Cut::DoubleSlash,
            },
        ),
    ],
    split_owner: |path| path.rsplit_once('/'),
};

fn identify(token: &Object, _: &ClaimMap) -> Result<BTreeMap<Fact, FactValue>, ClaimError> {
    claims::check(token, CLAIMS)?;
    let mut facts = BTreeMap::new();
    for line in CLAIMS {
        if let (Some(fact), Some(value)) = (line.fact, claims::text(token, line.name))
            && fact.fact_type() == FactType::Text
            && fact != Fact::Runner
            && fact != Fact::RefType
            && fact != Fact::Ref
        {
            set_text(&mut facts, fact, value);
        }
    }
    for (fact, name) in [
        (Fact::RefProtected, "ref_protected"),
        (Fact::EnvironmentProtected, "environment_protected"),
    ] {
        if let Some(value) = claims::flag(token, name) {
            facts.insert(fact, FactValue::Bool(value));
        }
    }
    set_ref(&mut facts, token);
    if let Some(runner) = claims::text(token, "runner_environment").and_then(runner) {
        set_text(&mut facts, Fact::Runner, runner);
    }
    // An empty text is absent (T-47).
    let id = |name| claims::text(token, name).filter(|id| !id.is_empty());
    if let (Some(runs_in), Some(source)) = (id("job_project_id"), id("project_id")) {
        facts.insert(Fact::FromFork, FactValue::Bool(runs_in != source));
    }
    if let Some(entry) = claims::workflow(token, "ci_config_ref_uri") {
        if let FactValue::Workflow(workflow) = &entry
            && let Some(path) = Cut::DoubleSlash.rest(&workflow.path)
        {
            set_text(&mut facts, Fact::Workflow, path);
        }
        facts.insert(Fact::EntryWorkflow, entry);
    }
    let trigger = trigger(claims::text(token, "pipeline_source").unwrap_or_default());
    set_text(&mut facts, Fact::Trigger, trigger);
    Ok(facts)
}

fn write(facts: &BTreeMap<Fact, FactValue>, _: &ClaimMap) -> Map<String, Value> {
    let skip = [Fact::Runner, Fact::RefType, Fact::Ref];
    let mut claims = claims::write(facts, CLAIMS, &skip);
    claims::write_shared(facts, "gitlab-hosted", &mut claims);
    if let Some(full) = claims::text_of(facts, Fact::Ref) {
        let mut prefixes = ["refs/heads/", "refs/tags/"].into_iter();
        let short = prefixes.find_map(|prefix| full.strip_prefix(prefix));
        claims.insert("ref".to_owned(), short.unwrap_or(full).into());
        claims.insert("ref_path".to_owned(), full.into());
    }
    if let (Some(FactValue::Bool(is_fork)), Some(id), None) = (
        facts.get(&Fact::FromFork),
        claims::text_of(facts, Fact::RepositoryId),
        facts.get(&Fact::RunRepositoryId),
    ) {
        // Any other id is that of another project.
        let parent = if *is_fork {
            format!("{id}0")
        } else {
            id.to_owned()
        };
        claims.insert("job_project_id".to_owned(), parent.into());
    }
    claims
}

/// The trigger of each pipeline source that is known, the usual source of a trigger first. Every other
/// source is `other`.
const SOURCES: [(&str, &str); 10] = [
    ("push", "push"),
    ("manual", "web"),
    ("schedule", "schedule"),
    ("api", "api"),
    ("api", "trigger"),
    ("pull_request", "merge_request_event"),
    ("pull_request", "external_pull_request_event"),
    ("chained", "pipeline"),
    ("chained", "parent_pipeline"),
    ("other", "chat"),
];

const RUNNERS: [(&str, &str); 2] = [("hosted", "gitlab-hosted"), ("self-hosted", "self-hosted")];

/// The full ref: `ref_path`, or built from the short name for versions that do not send it.
fn set_ref(facts: &mut BTreeMap<Fact, FactValue>, token: &Object) {
    // T-47: an empty text counts as absent.
    let sent = |name| claims::text(token, name).filter(|text| !text.is_empty());
    let kind = sent("ref_type");
    let built = match (sent("ref"), kind) {
        (Some(name), Some("branch")) => Some(format!("refs/heads/{name}")),
        (Some(name), Some("tag")) => Some(format!("refs/tags/{name}")),
        (Some(_) | None, Some(_) | None) => None,
    };
    let full = sent("ref_path").map(str::to_owned).or(built);
    if let Some(kind) = ref_type(full.as_deref(), kind) {
        set_text(facts, Fact::RefType, kind);
    }
    if let Some(full) = full {
        set_text(facts, Fact::Ref, &full);
    }
}

fn trigger(source: &str) -> &'static str {
    Provider::word(&SOURCES, source).unwrap_or("other")
}

fn runner(environment: &str) -> Option<&'static str> {
    Provider::word(&RUNNERS, environment)
}

const CLAIMS: &[Claim] = &[
    claim("project_id", Text, Some(Fact::RepositoryId)),
    claim("project_path", Text, Some(Fact::Repository)),
    claim("namespace_id", Text, Some(Fact::OwnerId)),
    claim("namespace_path", Text, Some(Fact::Owner)),
    claim("job_project_id", Text, Some(Fact::RunRepositoryId)),
    claim("job_project_path", Text, None),
    claim("job_namespace_id", Text, None),
    claim("job_namespace_path", Text, None),
    claim("user_id", Text, Some(Fact::ActorId)),
    claim("user_login", Text, Some(Fact::Actor)),
    claim("user_email", FreeText, None),
    claim("user_access_level", Text, None),
    claim("user_identities", List, None),
    claim("groups_direct", List, None),
    claim("pipeline_id", Text, Some(Fact::RunId)),
    claim("job_id", Text, Some(Fact::JobId)),
    claim("pipeline_source", Text, Some(Fact::Event)),
    claim("job_source", Text, None),
    claim("job_config", ClaimType::Object, None),
    claim("ref", Text, Some(Fact::Ref)),
    claim("ref_type", Text, Some(Fact::RefType)),
    claim("ref_path", Text, Some(Fact::Ref)),
    claim("ref_protected", FlagText, Some(Fact::RefProtected)),
    claim("environment", Text, Some(Fact::Environment)),
    claim(
        "environment_protected",
        FlagText,
        Some(Fact::EnvironmentProtected),
    ),
    claim("deployment_tier", Text, None),
    claim("environment_action", Text, None),
    // The only number apart from the times.
    claim("runner_id", Number, None),
    claim("runner_environment", Text, Some(Fact::Runner)),
    claim("sha", Text, Some(Fact::Sha)),
    claim("project_visibility", Text, Some(Fact::Visibility)),
    claim("ci_config_ref_uri", Text, Some(Fact::EntryWorkflow)),
    claim("ci_config_sha", Text, None),
    claim("target_audience", Text, None),
];

/// Seconds of 31 days.
const LONGEST_JOB: i64 = 31 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::ORDINARY_TRIGGERS;

    /// T-52, T-114: every pipeline source GitLab documents.
    #[test]
    fn sources_that_are_not_known_to_be_harmless_are_never_ordinary() {
        let sources = [
            "chat",
            "external",
            "external_pull_request_event",
            "merge_request_event",
            "ondemand_dast_scan",
            "ondemand_dast_validation",
            "parent_pipeline",
            "pipeline",
            "security_orchestration_policy",
            "pipeline_execution_policy",
            "webide",
            "container_registry_push",
            "duo_workflow",
            "unknown",
            "",
        ];
        for source in sources {
            assert!(!ORDINARY_TRIGGERS.contains(&trigger(source)), "{source}");
        }
        for (source, expected) in [
            ("push", "push"),
            ("web", "manual"),
            ("schedule", "schedule"),
            ("api", "api"),
            ("trigger", "api"),
        ] {
            assert_eq!(trigger(source), expected);
        }
    }
}
