//! What starts a run: every word that a CI documents.

use hallpass::provider::{Fact, ORDINARY_TRIGGERS, PROVIDERS, TRIGGERS};
use serde_json::json;

use super::{object, reader, with_claim};

type Events = &'static [(&'static str, Option<&'static str>)];

/// T-52, T-114: every event that a CI documents, with its trigger; `None`: one that is not ordinary.
const EVENTS: &[(&str, Events)] = &[
    (
        "github",
        &[
            ("push", Some("push")),
            ("merge_group", Some("merge_queue")),
            ("schedule", Some("schedule")),
            ("workflow_dispatch", Some("manual")),
            ("repository_dispatch", Some("api")),
            ("release", Some("release")),
            ("branch_protection_rule", None),
            ("check_run", None),
            ("check_suite", None),
            ("commit_comment", None),
            ("create", None),
            ("delete", None),
            ("deployment", None),
            ("deployment_status", None),
            ("discussion", None),
            ("discussion_comment", None),
            ("dynamic", None),
            ("fork", None),
            ("gollum", None),
            ("image_version", None),
            ("issue_comment", None),
            ("issues", None),
            ("label", None),
            ("milestone", None),
            ("page_build", None),
            ("project", None),
            ("project_card", None),
            ("project_column", None),
            ("public", None),
            ("pull_request", None),
            ("pull_request_review", None),
            ("pull_request_review_comment", None),
            ("pull_request_target", None),
            ("registry_package", None),
            ("status", None),
            ("watch", None),
            ("workflow_call", None),
            ("workflow_run", None),
        ],
    ),
    (
        "gitlab",
        &[
            ("push", Some("push")),
            ("web", Some("manual")),
            ("schedule", Some("schedule")),
            ("api", Some("api")),
            ("trigger", Some("api")),
            ("chat", None),
            ("container_registry_push", None),
            ("duo_workflow", None),
            ("external", None),
            ("external_pull_request_event", None),
            ("merge_request_event", None),
            ("ondemand_dast_scan", None),
            ("ondemand_dast_validation", None),
            ("parent_pipeline", None),
            ("pipeline", None),
            ("pipeline_execution_policy", None),
            ("security_orchestration_policy", None),
            ("unknown", None),
            ("webide", None),
        ],
    ),
    (
        "forgejo",
        &[
            ("push", Some("push")),
            ("schedule", Some("schedule")),
            ("workflow_dispatch", Some("manual")),
            ("release", Some("release")),
            ("pull_request", None),
            ("pull_request_target", None),
            ("pull_request_review", None),
            ("issue_comment", None),
            ("issues", None),
            ("create", None),
            ("delete", None),
            ("fork", None),
            ("workflow_run", None),
        ],
    ),
    (
        "buildkite",
        &[
            ("ui", Some("manual")),
            ("api", Some("api")),
            ("schedule", Some("schedule")),
            ("webhook", None),
            ("trigger_job", None),
        ],
    ),
    (
        "spacelift",
        &[
            ("TRACKED", Some("push")),
            ("TASK", Some("manual")),
            ("DESTROY", Some("manual")),
            ("PROPOSED", None),
            ("TESTING", None),
        ],
    ),
    (
        "semaphore",
        &[
            ("h:f-i:f", Some("push")),
            ("h:", Some("push")),
            ("h:t-u:t", Some("push")),
            ("s:f-i:f", Some("schedule")),
            ("s:", Some("schedule")),
            ("s:t-i:f", Some("schedule")),
            ("m:f-i:f", Some("manual")),
            ("m:", Some("manual")),
            ("m:f-n:f", Some("manual")),
            ("a:f-i:f", Some("api")),
            ("a:", Some("api")),
            ("a:f-u:t", Some("api")),
        ],
    ),
    ("buddy", &[("MANUAL", Some("manual"))]),
];

/// T-52, T-114
#[test]
fn events_that_outsiders_can_start_are_never_ordinary() {
    for provider in PROVIDERS {
        let Some((line, _)) = provider.reading(Fact::Event) else {
            continue;
        };
        let name = provider.name;
        let known = EVENTS.iter().find(|(known, _)| *known == name);
        let (_, events) = known.unwrap_or_else(|| panic!("no events of {name}"));
        let reader = reader(name, "https://ci.example");
        let trigger = |event: &str| {
            let claims = with_claim(line.name, &json!(event));
            let facts = reader.facts(object(&claims)).unwrap();
            facts.text(Fact::Trigger).map(str::to_owned)
        };
        for (event, expected) in *events {
            let found = trigger(event).unwrap_or_else(|| panic!("{name}: {event}"));
            assert!(TRIGGERS.contains(&found.as_str()), "{name}: {event}");
            let ordinary = ORDINARY_TRIGGERS.contains(&found.as_str());
            match expected {
                Some(expected) => assert_eq!(found, *expected, "{name}: {event}"),
                None => assert!(!ordinary, "{name}: {event} is {found}"),
            }
        }
        for event in ["Push", "push ", "", "no-such-event"] {
            assert_eq!(trigger(event).as_deref(), Some("other"), "{name}: {event}");
        }
        for (word, event) in provider.events() {
            let known = events.iter().any(|(known, _)| *known == event);
            assert!(known, "{name}: {event} of {word} is in no documentation");
        }
    }
}
