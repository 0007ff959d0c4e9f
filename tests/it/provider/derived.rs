//! What each fact that is made of other text can be made to say by those who choose that text.

use std::collections::BTreeMap;

use hallpass::policy::PolicySet;
use hallpass::provider::{Fact, FactValue, How, PROVIDERS, Provider, Take};
use serde_json::{Value, json};

use super::{object, reader, vector, with_claim};

/// Claims by name or pointer, of tables that have no objects in common.
fn claims(parts: &[(&str, Value)]) -> Value {
    let mut all = json!({});
    for (name, value) in parts {
        let one = with_claim(name, value);
        all.as_object_mut()
            .unwrap()
            .extend(one.as_object().unwrap().clone());
    }
    all
}

fn fact(provider: &Provider, fact: Fact, claims: &Value) -> Option<FactValue> {
    let reader = reader(provider.name, "https://ci.example");
    reader.facts(object(claims)).unwrap().get(fact).cloned()
}

/// T-435: code of a fork is never read as code of no fork, also where a claim is missing.
#[test]
fn from_fork_is_false_only_where_both_projects_are_named_and_equal() {
    let mut checked = Vec::new();
    for provider in PROVIDERS {
        let Some((line, reading)) = provider.reading(Fact::FromFork) else {
            continue;
        };
        let How::Differs(other) = reading.how else {
            panic!("{} reads it another way", provider.name);
        };
        checked.push(provider.name);
        for (one, two, expected) in [
            (Some("1"), Some("1"), Some(false)),
            (Some("1"), Some("2"), Some(true)),
            (Some("1"), Some("01"), Some(true)),
            (Some("1"), Some("1 "), Some(true)),
            (Some("1"), None, None),
            (None, Some("1"), None),
            (Some(""), Some(""), None),
            (Some(""), Some("1"), None),
            (None, None, None),
        ] {
            let mut parts = Vec::new();
            parts.extend(one.map(|text| (line.name, json!(text))));
            parts.extend(two.map(|text| (other, json!(text))));
            let found = fact(provider, Fact::FromFork, &claims(&parts));
            assert_eq!(found, expected.map(FactValue::Bool), "{one:?} {two:?}");
        }
    }
    assert_eq!(checked, ["gitlab"]);
}

/// T-436: a runner that is not known to be the CI's own is none of the CI's own.
#[test]
fn a_runner_is_hosted_only_by_the_word_of_its_ci() {
    let mut checked = 0;
    for provider in PROVIDERS {
        let Some((line, reading)) = provider.reading(Fact::Runner) else {
            continue;
        };
        let How::Ways(ways) = reading.how else {
            panic!("{} reads it another way", provider.name);
        };
        let Take::Words { words, other: None } = ways[0].take else {
            panic!("{} has a word for every text", provider.name);
        };
        let hosted = words.iter().find(|(word, _)| *word == "hosted").unwrap().1;
        checked += 1;
        let runner = |text: &str| {
            let found = fact(provider, Fact::Runner, &claims(&[(line.name, json!(text))]));
            found.map(|value| value.to_string())
        };
        assert_eq!(runner(hosted).as_deref(), Some("hosted"));
        assert_eq!(runner("self-hosted").as_deref(), Some("self-hosted"));
        for text in [
            "hosted",
            "Hosted",
            &hosted.to_uppercase(),
            &format!("{hosted} "),
            &format!("x{hosted}"),
            &format!("{hosted},self-hosted"),
            "self-hosted-hosted",
            "",
        ] {
            assert_eq!(runner(text), None, "{}: {text:?}", provider.name);
        }
    }
    assert!(checked > 3, "{checked}");
}

/// T-437: names of branches and tags that look like another sort of ref stay what they are, and a ref that
/// is built of a short name stays below its own prefix.
#[test]
fn a_name_of_a_branch_is_never_read_as_another_sort_of_ref() {
    let names = [
        "refs/tags/v1",
        "tags/v1",
        "refs/heads/main",
        "heads/main",
        "../tags/v1",
        "pull/7/merge",
        "refs/pull/7/merge",
        "v1",
    ];
    let mut built = 0;
    for (name, branch, tag, more) in [
        ("buildkite", "build_branch", Some("build_tag"), json!({})),
        ("bitbucket", "branchName", None, json!({})),
        ("bitrise", "branch", Some("tag"), json!({})),
        ("gitlab", "ref", None, json!({ "ref_type": "branch" })),
    ] {
        let provider = hallpass::provider::find(name).unwrap();
        for text in names {
            for (claim, prefix, sort) in [
                (Some(branch), "refs/heads/", "branch"),
                (tag, "refs/tags/", "tag"),
            ] {
                let Some(claim) = claim else { continue };
                let mut claims = more.clone();
                claims[claim] = json!(text);
                let of =
                    |fact_of: Fact| fact(provider, fact_of, &claims).map(|one| one.to_string());
                assert_eq!(of(Fact::Ref), Some(format!("{prefix}{text}")), "{name}");
                assert_eq!(of(Fact::RefType).as_deref(), Some(sort), "{name}: {text}");
                built += 1;
            }
        }
    }
    assert!(built > 40, "{built}");
    // A full ref is of the sort that it begins with, whatever the CI's own word is.
    for (name, claim) in [
        ("github", "ref"),
        ("forgejo", "ref"),
        ("gitlab", "ref_path"),
        ("semaphore", "ref"),
        ("azure-devops", "rpo_ref"),
        ("circleci", "oidc.circleci.com/vcs-ref"),
    ] {
        let provider = hallpass::provider::find(name).unwrap();
        for (text, sort) in [
            ("refs/heads/refs/tags/v1", "branch"),
            ("refs/heads/pull/7/merge", "branch"),
            ("refs/tags/refs/heads/main", "tag"),
            ("refs/pull/7/merge", "pull"),
            ("refs/notes/x", "other"),
        ] {
            for word in ["branch", "tag", "pull-request"] {
                let all = json!({ claim: text, "ref_type": word });
                let found = fact(provider, Fact::RefType, &all).map(|one| one.to_string());
                assert_eq!(found.as_deref(), Some(sort), "{name}: {text}");
            }
        }
    }
}

/// T-438: who calls a reusable workflow is no one that the workflow vouches for.
#[test]
fn a_reusable_workflow_alone_lets_no_caller_in() {
    let policies = |when: &str| {
        format!(
            "issuers:\n  github: {{ provider: github, tenants: [ {{ owner: acme, owner_id: \"65923871\" }} ] }}\n\
             credentials:\n  app: {{ kind: jwt, audience: https://app.acme.dev, max_ttl: 10m, owner: o, purpose: p, class: low }}\n\
             policies:\n  - name: app\n    issuer: github\n    when: {{ {when} }}\n    grant: [ {{ credential: app, ttl: 5m }} ]\n"
        )
    };
    let file = "path: acme/ci/.github/workflows/release.yml, ref: refs/tags/v4";
    for fact in ["job_workflow", "entry_workflow"] {
        let text = policies(&format!("{fact}: {{ {file} }}"));
        let loaded = PolicySet::from_texts(&[("root.yaml", &text)]).unwrap();
        let found: Vec<_> = loaded.findings.iter().map(|one| one.rule).collect();
        assert!(found.contains(&"any-repository"), "{fact}: {found:?}");
        assert!(loaded.servable().is_err(), "{fact}");
    }
    let text = policies(&format!(
        "repository: acme/app, repository_id: \"7\", job_workflow: {{ {file} }}"
    ));
    assert!(
        PolicySet::from_texts(&[("root.yaml", &text)])
            .unwrap()
            .servable()
            .is_ok()
    );
    // The file that the event started and the file that defines the job are two facts.
    let mut token = vector("github-actions.json");
    token["workflow_ref"] = json!("evil/app/.github/workflows/x.yml@refs/heads/main");
    token["job_workflow_ref"] = json!("acme/ci/.github/workflows/release.yml@refs/tags/v4");
    let github = hallpass::provider::find("github").unwrap();
    let path = |of: Fact| match fact(github, of, &token) {
        Some(FactValue::Workflow(workflow)) => workflow.path,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        path(Fact::EntryWorkflow),
        "evil/app/.github/workflows/x.yml"
    );
    assert_eq!(
        path(Fact::JobWorkflow),
        "acme/ci/.github/workflows/release.yml"
    );
}

/// T-439: an entry of a JSON list is one entry, also with a comma in it; only one text is cut.
#[test]
fn a_group_with_a_comma_in_its_name_is_no_two_groups() {
    let people = hallpass::provider::find("people").unwrap();
    let groups = |value: Value| match fact(people, Fact::Groups, &json!({ "groups": value })) {
        Some(FactValue::List(entries)) => entries,
        None => Vec::new(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        groups(json!(["guests,admins", "x"])),
        ["guests,admins", "x"]
    );
    assert_eq!(groups(json!("guests,admins")), ["guests", "admins"]);
    assert_eq!(
        groups(json!(["admins\u{200b}", " admins", ""])),
        [" admins"]
    );
    assert_eq!(groups(json!([])), [""; 0]);
}

/// T-440: a pipeline is never taken for a service connection, nor the other way round.
#[test]
fn a_subject_of_azure_is_of_a_pipeline_or_of_a_connection() {
    let azure = hallpass::provider::find("azure-devops").unwrap();
    for (sub, connection, project) in [
        (
            "sc://acme/Payments/prod",
            Some("sc://acme/Payments/prod"),
            None,
        ),
        ("p://acme/Payments/sc:", None, Some("Payments")),
        ("p://acme/sc:/prod", None, Some("sc:")),
        ("p://sc://acme/Payments/prod", None, None),
        ("x sc://acme/Payments/prod", None, None),
        ("SC://acme/Payments/prod", None, None),
    ] {
        let found: BTreeMap<_, _> = [Fact::ServiceConnection, Fact::Project]
            .map(|of| {
                (
                    of,
                    fact(azure, of, &json!({ "sub": sub })).map(|one| one.to_string()),
                )
            })
            .into();
        assert_eq!(
            found[&Fact::ServiceConnection].as_deref(),
            connection,
            "{sub}"
        );
        assert_eq!(found[&Fact::Project].as_deref(), project, "{sub}");
    }
}
