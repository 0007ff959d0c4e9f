//! Runs that strangers can start, and jobs of strangers at an issuer that signs for everyone.

use hallpass::clock::Timestamp;
use hallpass::policy::{Ask, PolicySet};
use hallpass::provider::{ORDINARY_TRIGGERS, PROVIDERS, Provider, TRIGGERS};
use serde_json::{Value, json};

use super::object;

/// What started a run, in each provider's words and ours.
const EVENTS: &[(&str, &str, &str)] = &[
    ("github", "push", "push"),
    ("github", "pull_request", "pull_request"),
    ("github", "pull_request_target", "pull_request_target"),
    ("github", "merge_group", "merge_queue"),
    ("github", "schedule", "schedule"),
    ("github", "workflow_dispatch", "manual"),
    ("github", "repository_dispatch", "api"),
    ("github", "workflow_run", "chained"),
    ("github", "issue_comment", "comment"),
    ("github", "discussion_comment", "comment"),
    ("github", "commit_comment", "comment"),
    ("github", "pull_request_review_comment", "comment"),
    ("github", "release", "release"),
    ("github", "issues", "other"),
    ("github", "fork", "other"),
    ("github", "watch", "other"),
    ("github", "gollum", "other"),
    ("github", "pull_request_review", "other"),
    ("github", "check_run", "other"),
    ("github", "deployment_status", "other"),
    ("github", "made_up", "other"),
    ("github", "", "other"),
    ("gitlab", "push", "push"),
    ("gitlab", "web", "manual"),
    ("gitlab", "schedule", "schedule"),
    ("gitlab", "api", "api"),
    ("gitlab", "trigger", "api"),
    ("gitlab", "merge_request_event", "pull_request"),
    ("gitlab", "external_pull_request_event", "pull_request"),
    ("gitlab", "pipeline", "chained"),
    ("gitlab", "parent_pipeline", "chained"),
    ("gitlab", "chat", "other"),
    ("gitlab", "webide", "other"),
    ("gitlab", "external", "other"),
    ("gitlab", "ondemand_dast_scan", "other"),
    ("gitlab", "security_orchestration_policy", "other"),
    ("gitlab", "made_up", "other"),
    ("gitlab", "", "other"),
    ("generic", "push", "push"),
    ("generic", "pull_request", "pull_request"),
    ("generic", "pull_request_target", "pull_request_target"),
    ("generic", "merge_queue", "merge_queue"),
    ("generic", "schedule", "schedule"),
    ("generic", "manual", "manual"),
    ("generic", "api", "api"),
    ("generic", "chained", "chained"),
    ("generic", "comment", "comment"),
    ("generic", "release", "release"),
    ("generic", "other", "other"),
    ("generic", "Push", "other"),
    ("generic", "made_up", "other"),
    ("generic", "", "other"),
];

/// A job of each provider that fits a policy in everything but what started it.
fn started_by(provider: &str, event: Option<&str>) -> Value {
    match provider {
        "github" => json!({
            "repository_owner": "acme", "repository_owner_id": "1", "repository": "acme/a",
            "repository_id": "10", "event_name": event,
        }),
        "gitlab" => json!({
            "namespace_path": "acme", "namespace_id": "1", "project_path": "acme/a",
            "project_id": "10", "pipeline_source": event,
        }),
        _ => json!({ "repository": "acme/a", "event": event }),
    }
}

fn permitted(set: &PolicySet, issuer: &str, claims: &Value) -> bool {
    let mut readers = set.readers().iter();
    let reader = readers.find(|reader| reader.issuer.name == issuer).unwrap();
    let ask = Ask {
        credential: "a".to_owned(),
        ..Ask::default()
    };
    let facts = reader.facts(object(claims)).unwrap();
    set.explain(&facts, &ask, Timestamp::from_unix(1_790_000_000))
        .is_permitted()
}

/// Providers that tell every event and the repository.
fn of_jobs() -> impl Iterator<Item = &'static Provider> {
    let providers = PROVIDERS.iter().copied();
    providers.filter(|provider| ["github", "gitlab", "generic"].contains(&provider.name))
}

/// Each provider's issuer, with one policy that also wants what `trigger` says.
fn policies(trigger: &str) -> PolicySet {
    let policies: Vec<String> = of_jobs()
        .map(|provider| {
            let name = provider.name;
            format!(
                "  - {{ name: {name}-a, issuer: {name}, when: {{ repository: acme/a{trigger} }}, grant: [ {{ credential: a, ttl: 5m }} ] }}\n"
            )
        })
        .collect();
    let text = format!("{ISSUERS}policies:\n{}", policies.concat());
    let loaded = PolicySet::from_texts(&[("root.yaml", &text)]);
    loaded.unwrap_or_else(|errors| panic!("{errors}")).set
}

/// T-52, T-114: every trigger of every provider: ordinary ones pass, others only by their exact name.
#[test]
fn what_started_a_run_unlocks_it_only_where_it_is_ordinary_or_named() {
    let plain = policies("");
    let glob = policies(r#", event: { glob: "**" }"#);
    let negative = policies(", event: { not: push }");
    let told = policies(", trigger: { present: true }");
    for (provider, event, trigger) in EVENTS {
        let claims = started_by(provider, Some(event));
        let ordinary = ORDINARY_TRIGGERS.contains(trigger);
        let case = format!("{provider} {event}");
        assert_eq!(permitted(&plain, provider, &claims), ordinary, "{case}");
        assert_eq!(permitted(&glob, provider, &claims), ordinary, "{case}");
        assert_eq!(permitted(&told, provider, &claims), ordinary, "{case}");
        let another = ordinary && *trigger != "push";
        assert_eq!(permitted(&negative, provider, &claims), another, "{case}");
    }
    for named in TRIGGERS {
        for pattern in [
            format!(", trigger: {named}"),
            format!(", trigger: [{named}]"),
        ] {
            let exact = policies(&pattern);
            for (provider, event, trigger) in EVENTS {
                let claims = started_by(provider, Some(event));
                let expected = *trigger == named;
                assert_eq!(
                    permitted(&exact, provider, &claims),
                    expected,
                    "{provider} {event} {named}"
                );
            }
        }
    }
    for provider in of_jobs() {
        let silent = started_by(provider.name, None);
        assert!(
            !permitted(&plain, provider.name, &silent),
            "{}",
            provider.name
        );
    }
}

/// T-52: a merge request stays one, whether or not the token tells that it is of a fork.
#[test]
fn a_merge_request_is_never_ordinary_whatever_is_known_of_its_fork() {
    let (plain, named) = (policies(""), policies(", trigger: pull_request"));
    for runs_in in [None, Some("10"), Some("11")] {
        let mut claims = started_by("gitlab", Some("merge_request_event"));
        claims["job_project_id"] = json!(runs_in);
        assert!(!permitted(&plain, "gitlab", &claims), "{runs_in:?}");
        assert!(permitted(&named, "gitlab", &claims), "{runs_in:?}");
    }
}

/// T-49: an issuer that signs for everyone needs tenants, and whoever is none of them is a stranger.
#[test]
fn a_shared_issuer_serves_its_tenants_only() {
    let mut shared = 0;
    for provider in PROVIDERS
        .iter()
        .filter(|provider| provider.usual_issuer.is_some())
    {
        let name = provider.name;
        let usual = provider.usual_issuer.unwrap();
        let below = format!("{usual}/acme");
        let known = hallpass::provider::address::known(&below);
        let below = known.is_some_and(|known| known.is_shared).then_some(below);
        let urls = [String::new(), format!(", url: {usual}")].into_iter();
        let accepted = if provider.rules.audience.fixed(usual).is_some() {
            ", shared_audience: accepted"
        } else {
            ""
        };
        for url in urls.chain(below.map(|below| format!(", url: {below}"))) {
            let text = format!("issuers:\n  a: {{ provider: {name}{url}{accepted} }}\n");
            let errors = PolicySet::from_texts(&[("root.yaml", &text)]).unwrap_err();
            let rules: Vec<_> = errors.iter().map(|error| error.rule).collect();
            assert_eq!(rules, ["shared-issuer"], "{text}");
        }
        shared += 1;
        if !["github", "gitlab"].contains(&name) {
            continue;
        }
        let set = policies("");
        let mut job = started_by(name, Some("push"));
        assert!(permitted(&set, name, &job));
        for claim in [
            "repository_owner",
            "repository_owner_id",
            "namespace_path",
            "namespace_id",
        ] {
            let Some(right) = job.get(claim).cloned() else {
                continue;
            };
            for wrong in [json!("evil"), json!(""), json!("ACME"), Value::Null] {
                job[claim] = wrong;
                assert!(!permitted(&set, name, &job), "{name}: {job}");
            }
            job[claim] = right;
        }
    }
    assert_eq!(shared, 8);
}

/// T-46, T-47, T-48: a raw claim is compared as what it is, and text outside printable ASCII fits
/// nothing, negative conditions and those on absence included.
#[test]
fn a_raw_claim_fits_only_what_compares_like_with_like() {
    let told = [
        ("absent", None),
        ("null", Some(Value::Null)),
        ("text", Some(json!("1"))),
        ("empty text", Some(json!(""))),
        ("truth", Some(json!(true))),
        ("truth as text", Some(json!("true"))),
        ("number", Some(json!(1))),
        ("list", Some(json!(["1"]))),
        ("object", Some(json!({ "1": "1" }))),
        ("look-alike", Some(json!("\u{ff11}"))),
        ("control", Some(json!("1\n"))),
    ];
    for (pattern, fitting) in [
        (r#""1""#, &["text"][..]),
        (r#"["1", x]"#, &["text"]),
        ("true", &["truth"]),
        (r#""true""#, &["truth as text"]),
        (r#"{ glob: "**" }"#, &["text", "truth as text"]),
        (r#"{ not: "1" }"#, &["truth as text"]),
        ("{ not: x }", &["text", "truth as text"]),
        (
            "{ present: true }",
            &["text", "truth", "truth as text", "number", "list", "object"],
        ),
        ("{ present: false }", &["absent", "null", "empty text"]),
    ] {
        let set = policies(&format!(r#", claim: {{ "/team": {pattern} }}"#));
        for provider in of_jobs() {
            for (name, value) in &told {
                let mut claims = started_by(provider.name, Some("push"));
                if let Some(value) = value {
                    claims["team"] = value.clone();
                }
                assert_eq!(
                    permitted(&set, provider.name, &claims),
                    fitting.contains(name),
                    "{}: {pattern} and {name}",
                    provider.name
                );
            }
        }
    }
}

const ISSUERS: &str = r#"
issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "1" } ] }
  gitlab: { provider: gitlab, url: https://gitlab.com, tenants: [ { owner: acme, owner_id: "1" } ] }
  generic: { provider: generic, url: https://ci.acme.dev, facts: { repository: "/repository", event: "/event" } }
credentials:
  a: { kind: jwt, audience: https://a.acme.dev, max_ttl: 10m, owner: o, purpose: p, class: low }
"#;
