//! What CI tokens say becomes the right facts, or a refusal that names the claim.
#![cfg(test)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use hallpass::provider::{
    ClaimMap, ClaimType, Fact, FactValue, Facts, MappedClaim, PROVIDERS, Reader, find,
};
use hallpass::token::TrustedIssuer;
use hallpass::token::json::{self, Object};
use serde_json::{Value, json};

mod derived;
mod events;
mod hostile;
mod needs;
mod strangers;
mod written;

pub(crate) fn object(value: &Value) -> Object {
    json::parse_object(value.to_string().as_bytes(), &json::Limits::default()).unwrap()
}

pub(crate) fn reader(provider: &str, url: &str) -> Reader {
    Reader {
        issuer: Arc::new(TrustedIssuer::new(provider, url)),
        provider: find(provider).unwrap(),
        second_factor: hallpass::provider::SecondFactor::default(),
        claim_map: ClaimMap::new(),
        pointers: Arc::default(),
        properties: hallpass::provider::Properties::new(),
    }
}

fn vectors() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/ci-tokens")
}

pub(crate) fn vector(name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(vectors().join(name)).unwrap()).unwrap()
}

/// The provider whose token the vector is.
pub(crate) fn provider_of(vector: &str) -> &str {
    let stem = vector.split('.').next().unwrap();
    match stem {
        "github-actions" => "github",
        "gitlab-ci" => "gitlab",
        "forgejo-actions" => "forgejo",
        "jenkins-oidc-provider" => "jenkins",
        "bitbucket-pipelines" => "bitbucket",
        "kubernetes-serviceaccount" => "kubernetes",
        "google-compute-identity" => "google",
        "aws-iam-outbound" => "aws",
        "spiffe-jwt-svid" => "spiffe",
        "fly-io" => "fly",
        name => name,
    }
}

fn facts(name: &str) -> Facts {
    let claims = vector(name);
    let url = claims["iss"].as_str().unwrap_or_default().to_owned();
    let reader = reader(provider_of(name), &url);
    reader.facts(object(&claims)).unwrap()
}

/// The facts as the vectors write them.
fn written(facts: &Facts) -> BTreeMap<String, Value> {
    let value = |value: &FactValue| match value {
        FactValue::Text(text) => json!(text),
        FactValue::Bool(value) => json!(value),
        FactValue::Address(address) => json!(address),
        FactValue::Time(time) => json!(time.to_string()),
        FactValue::List(entries) => json!(entries),
        FactValue::Workflow(workflow) => json!({ "path": workflow.path, "ref": workflow.r#ref }),
    };
    facts
        .iter()
        .map(|(fact, found)| (fact.name().to_owned(), value(found)))
        .collect()
}

/// T-51, T-115: every sample token gives exactly the facts it should, no more and no fewer.
#[test]
fn sample_tokens_give_exactly_the_expected_facts() {
    let Value::Object(expected) = vector("expected.json") else {
        panic!("expected.json is an object");
    };
    assert_eq!(expected.len(), 33);
    let mut seen = std::collections::BTreeSet::from(["people", "generic"]);
    for (name, _) in &expected {
        seen.insert(provider_of(name));
    }
    assert_eq!(seen, PROVIDERS.iter().map(|one| one.name).collect());
    for (name, expected) in expected {
        let found = facts(&name);
        let has_events = found.provider().has_events();
        let mut found = written(&found);
        let trigger = found.remove("trigger").is_some();
        assert!(trigger || !has_events, "{name}: trigger is always told");
        let expected: BTreeMap<String, Value> = serde_json::from_value(expected).unwrap();
        assert_eq!(found, expected, "{name}");
    }
}

/// T-52
#[test]
fn sample_tokens_tell_the_trigger_in_our_words() {
    for (name, trigger) in [
        ("github-actions.json", "push"),
        ("github-actions.pull-request.json", "pull_request"),
        ("gitlab-ci.json", "push"),
        ("gitlab-ci.fork-merge-request.json", "pull_request"),
        ("forgejo-actions.json", "push"),
        ("buildkite.json", "pull_request"),
        ("semaphore.json", "push"),
        ("semaphore.pull-request.json", "pull_request"),
        ("spacelift.json", "push"),
        ("buddy.json", "manual"),
    ] {
        assert_eq!(facts(name).text(Fact::Trigger), Some(trigger), "{name}");
    }
}

/// T-51: whatever form `sub` has, and whatever stands in it.
#[test]
fn facts_do_not_depend_on_sub() {
    for (provider, name) in [
        ("github", "github-actions.json"),
        ("gitlab", "gitlab-ci.json"),
    ] {
        let claims = vector(name);
        let reader = reader(provider, claims["iss"].as_str().unwrap());
        let expected = written(&reader.facts(object(&claims)).unwrap());
        for sub in [
            "repo:acme-corp/widget-api:ref:refs/heads/main",
            "repo:acme-corp@48213377/widget-api@702114589:environment:production",
            "repo:a-123/x:environment:prod:ref:refs/heads/x:environment:prod",
            "",
        ] {
            let mut claims = claims.clone();
            claims["sub"] = json!(sub);
            assert_eq!(
                written(&reader.facts(object(&claims)).unwrap()),
                expected,
                "{sub}"
            );
        }
    }
}

/// T-51: a branch, a workflow or an owner that is written like a piece of `sub` is only that.
#[test]
fn text_that_the_attacker_chooses_stays_in_its_own_fact() {
    for (provider, name, branch) in [
        (
            "github",
            "github-actions.json",
            "refs/heads/x:environment:prod",
        ),
        ("gitlab", "gitlab-ci.json", "refs/heads/x:environment:prod"),
    ] {
        let mut claims = vector(name);
        let reader = reader(provider, claims["iss"].as_str().unwrap());
        let before = written(&reader.facts(object(&claims)).unwrap());
        claims["sub"] = json!("repo:acme-corp/widget-api:ref:refs/heads/x:environment:prod");
        claims["environment"] = Value::Null;
        claims["ref"] = json!(branch);
        if provider == "gitlab" {
            claims["ref"] = json!("x:environment:prod");
            claims["ref_path"] = json!(branch);
        }
        let mut expected = before;
        expected.remove("environment");
        expected.insert("ref".to_owned(), json!(branch));
        expected.insert("ref_type".to_owned(), json!("branch"));
        assert_eq!(written(&reader.facts(object(&claims)).unwrap()), expected);
    }
    // `a-123` is a name, `a@123` a name with an id in the new form of `sub`: neither is the other.
    let reader = reader("github", "https://token.actions.githubusercontent.com");
    for (owner, id) in [("a-123", "9"), ("a", "123")] {
        for sub in [
            "repo:a@123/x@7:ref:refs/heads/main",
            "repo:a-123/x:ref:refs/heads/main",
        ] {
            let claims = json!({
                "sub": sub, "repository_owner": owner, "repository_owner_id": id,
                "repository": format!("{owner}/x"), "repository_id": "7",
            });
            let facts = reader.facts(object(&claims)).unwrap();
            assert_eq!(facts.text(Fact::Owner), Some(owner));
            assert_eq!(facts.text(Fact::OwnerId), Some(id));
            assert_eq!(
                facts.text(Fact::Repository),
                Some(format!("{owner}/x").as_str())
            );
        }
    }
}

/// A token with one claim, given by name or pointer.
fn with_claim(name: &str, value: &Value) -> Value {
    let mut steps: Vec<_> = hallpass::provider::pointer(name)
        .split('/')
        .skip(1)
        .map(|step| step.replace("~1", "/").replace("~0", "~"))
        .collect();
    let last = steps.pop().unwrap();
    let mut claim = json!({ last: value });
    for step in steps.into_iter().rev() {
        claim = json!({ step: claim });
    }
    claim
}

fn of_type(claim_type: ClaimType) -> Value {
    match claim_type {
        ClaimType::Text | ClaimType::FreeText => json!("text"),
        ClaimType::FlagText => json!("true"),
        ClaimType::Boolean => json!(true),
        ClaimType::Number => json!(12),
        ClaimType::List => json!(["x"]),
        ClaimType::Object => json!({ "x": "y" }),
    }
}

/// T-46: each claim a provider names, with every JSON type.
#[test]
fn a_claim_of_another_type_is_refused_by_name() {
    let values = [
        json!(true),
        json!("text"),
        json!("true"),
        json!(1),
        json!(["x"]),
        json!({"x": 1}),
    ];
    let mut checked = 0;
    for provider in PROVIDERS {
        let reader = reader(provider.name, "https://ci.example");
        for claim in provider.claims {
            let right = of_type(claim.claim_type);
            assert!(
                reader
                    .facts(object(&with_claim(claim.name, &right)))
                    .is_ok(),
                "{}",
                claim.name
            );
            for value in &values {
                let same = std::mem::discriminant(value) == std::mem::discriminant(&right);
                let flag = claim.claim_type == ClaimType::FlagText;
                let is_joined = claim.is_list_of_texts() && value.is_string();
                let fits = is_joined || (same && (!flag || *value == json!("true")));
                let read = reader.facts(object(&with_claim(claim.name, value)));
                match read {
                    Ok(_) => assert!(fits, "{} took {value}", claim.name),
                    Err(error) => {
                        assert!(!fits, "{} refused {value}", claim.name);
                        assert_eq!(error.claim, claim.name);
                    }
                }
                checked += 1;
            }
        }
    }
    assert!(checked > 300, "{checked}");
}

#[test]
fn a_claim_error_says_what_was_found_and_expected() {
    let reader = reader("github", "https://ci.example");
    let text = |claims: Value| reader.facts(object(&claims)).unwrap_err().to_string();
    insta::assert_snapshot!(text(json!({ "repository_id": 702_114_589 })), @"claim `repository_id` is a number, expected text");
    insta::assert_snapshot!(text(json!({ "ref_protected": true })), @"claim `ref_protected` is a boolean, expected the text `true` or `false`");
    insta::assert_snapshot!(text(json!({ "ref_protected": "yes" })), @"claim `ref_protected` is text other than `true` and `false`");
    insta::assert_snapshot!(text(json!({ "environment": "pr\u{43e}d" })), @"claim `environment` \
        has characters outside printable ASCII, which conditions cannot match");
}

/// T-46: where the policies name the claims, each type of claim with every JSON type, for each fact.
#[test]
fn a_mapped_claim_of_another_type_is_refused_by_name() {
    let types = [
        ClaimType::Text,
        ClaimType::FlagText,
        ClaimType::Boolean,
        ClaimType::Number,
        ClaimType::List,
        ClaimType::Object,
    ];
    let values = [
        json!(true),
        json!("text"),
        json!("true"),
        json!(1),
        json!(1.5),
        json!([]),
        json!(["x"]),
        json!({}),
        json!({ "x": "y" }),
    ];
    for claim_type in types {
        for fact in Fact::ALL.iter().copied() {
            let mut reader = reader("generic", "https://ci.example");
            let mapped = MappedClaim {
                pointer: "/a/b".to_owned(),
                claim_type,
            };
            reader.claim_map.insert(fact, mapped);
            for value in &values {
                let fits = match claim_type {
                    ClaimType::Text | ClaimType::FreeText => value.is_string(),
                    ClaimType::FlagText => *value == json!("true"),
                    ClaimType::Boolean => value.is_boolean(),
                    ClaimType::Number => value.is_u64(),
                    ClaimType::List => value.is_array() || value.is_string(),
                    ClaimType::Object => value.is_object(),
                };
                match reader.facts(object(&json!({ "a": { "b": value } }))) {
                    Ok(_) => assert!(fits, "{fact} took {value} as {claim_type:?}"),
                    Err(error) => {
                        assert!(!fits, "{fact} refused {value} as {claim_type:?}");
                        assert_eq!(error.claim, "/a/b");
                    }
                }
            }
            // T-47: null and absent are the same, wherever the pointer ends.
            for absent in [
                json!({ "a": { "b": null } }),
                json!({ "a": {} }),
                json!({ "a": null }),
                json!({}),
            ] {
                let facts = reader.facts(object(&absent)).unwrap();
                let told = facts.get(fact).is_some();
                assert_eq!(told, fact == Fact::Trigger, "{fact} of {absent}");
            }
        }
    }
}

/// T-26: a claim that only looks like a provider's is none, and fills no missing one.
#[test]
fn look_alike_claims_are_no_claims_of_the_provider() {
    for provider in PROVIDERS {
        let reader = reader(provider.name, "https://ci.example");
        let nothing = written(&reader.facts(object(&json!({}))).unwrap());
        for claim in provider.claims {
            let upper = claim.name.to_uppercase();
            let (first, rest) = claim.name.split_at(1);
            let capital = first.to_uppercase() + rest;
            for look_alike in [
                upper,
                capital,
                format!("{} ", claim.name),
                format!("\u{200b}{}", claim.name),
                claim.name.replace('_', "-"),
                claim.name.replace('e', "\u{435}"),
            ] {
                if look_alike == claim.name {
                    continue;
                }
                // Not even its type is looked at.
                for value in [of_type(claim.claim_type), json!([1])] {
                    let claims = object(&json!({ look_alike.as_str(): value }));
                    assert_eq!(
                        written(&reader.facts(claims).unwrap()),
                        nothing,
                        "{look_alike}"
                    );
                }
            }
        }
    }
}

/// T-47: nothing is told by null, nor by an empty text.
#[test]
fn null_and_empty_text_are_absent() {
    for provider in PROVIDERS {
        let reader = reader(provider.name, "https://ci.example");
        let without = written(&reader.facts(object(&json!({}))).unwrap());
        for claim in reader.provider.claims {
            let with_null = with_claim(claim.name, &Value::Null);
            let with_null = written(&reader.facts(object(&with_null)).unwrap());
            assert_eq!(with_null, without, "{}", claim.name);
            let is_text = [ClaimType::Text, ClaimType::FreeText].contains(&claim.claim_type);
            if is_text || claim.is_list_of_texts() {
                let empty = with_claim(claim.name, &json!(""));
                let empty = written(&reader.facts(object(&empty)).unwrap());
                assert_eq!(empty, without, "{}", claim.name);
            }
        }
    }
}

/// T-48: text that facts are made of is printable ASCII; what anyone may write is no fact.
#[test]
fn look_alikes_are_refused_in_facts_and_never_reach_them_from_free_text() {
    for provider in PROVIDERS {
        let reader = reader(provider.name, "https://ci.example");
        let nothing = written(&reader.facts(object(&json!({}))).unwrap());
        for claim in provider.claims {
            for odd in [
                "\u{430}cme",
                "acme\u{ff0f}x",
                "x\u{202e}y",
                "\u{212a}",
                "a\nb",
                "a\u{0}",
            ] {
                let read = reader.facts(object(&with_claim(claim.name, &json!(odd))));
                if claim.claim_type == ClaimType::FreeText {
                    let facts = read.unwrap();
                    let odd = FactValue::Text(odd.to_owned());
                    assert!(facts.iter().all(|(_, value)| *value != odd));
                } else if claim.is_list_of_texts() {
                    // An entry of a list is dropped.
                    assert_eq!(written(&read.unwrap()), nothing, "{}", claim.name);
                } else {
                    assert!(read.is_err(), "{} took {odd:?}", claim.name);
                }
            }
        }
    }
}

/// T-115
#[test]
fn a_ref_hidden_in_a_workflow_path_stays_in_the_ref() {
    let reader = reader("github", "https://ci.example");
    for (text, path, r#ref) in [
        (
            "a/b/deploy.yml@refs/heads/x@refs/tags/v4",
            "a/b/deploy.yml",
            Some("refs/heads/x@refs/tags/v4"),
        ),
        (
            "a/b/x@y.yml@refs/heads/main",
            "a/b/x@y.yml",
            Some("refs/heads/main"),
        ),
        (
            "a/b/x@y.yml@a91b3c7d2e4f60518293a4b5c6d7e8f901234567",
            "a/b/x@y.yml",
            Some("a91b3c7d2e4f60518293a4b5c6d7e8f901234567"),
        ),
        ("a/b/x.yml@main", "a/b/x.yml@main", None),
    ] {
        let facts = reader
            .facts(object(&json!({ "job_workflow_ref": text })))
            .unwrap();
        let Some(FactValue::Workflow(workflow)) = facts.get(Fact::JobWorkflow) else {
            panic!("{text}");
        };
        assert_eq!(
            (workflow.path.as_str(), workflow.r#ref.as_deref()),
            (path, r#ref),
            "{text}"
        );
    }
}

#[test]
fn a_gitlab_without_full_refs_gets_them_built() {
    let reader = reader("gitlab", "https://gitlab.acme.dev");
    for (claims, expected) in [
        (
            json!({ "ref": "main", "ref_type": "branch" }),
            Some("refs/heads/main"),
        ),
        (
            json!({ "ref": "main", "ref_type": "tag" }),
            Some("refs/tags/main"),
        ),
        (json!({ "ref": "main" }), None),
        (
            json!({ "ref": "main", "ref_type": "tag", "ref_path": "refs/heads/main" }),
            Some("refs/heads/main"),
        ),
    ] {
        let facts = reader.facts(object(&claims)).unwrap();
        assert_eq!(facts.text(Fact::Ref), expected, "{claims}");
    }
}

#[test]
fn a_fork_is_told_only_where_gitlab_tells_both_projects() {
    let reader = reader("gitlab", "https://gitlab.com");
    let fork = |claims: Value| {
        reader
            .facts(object(&claims))
            .unwrap()
            .get(Fact::FromFork)
            .cloned()
    };
    assert_eq!(fork(json!({ "project_id": "1" })), None);
    assert_eq!(
        fork(json!({ "project_id": "1", "job_project_id": "1" })),
        Some(FactValue::Bool(false))
    );
    assert_eq!(
        fork(json!({ "project_id": "2", "job_project_id": "1" })),
        Some(FactValue::Bool(true))
    );
}

#[test]
fn a_generic_issuer_is_read_by_its_claim_map() {
    let mut reader = reader("generic", "https://ci.example");
    let map = &mut reader.claim_map;
    map.insert(
        Fact::Repository,
        MappedClaim::usual(Fact::Repository, "/repo/name"),
    );
    map.insert(
        Fact::DebugSession,
        MappedClaim::usual(Fact::DebugSession, "/ssh"),
    );
    map.insert(
        Fact::RepositoryId,
        MappedClaim {
            pointer: "/repo/id".to_owned(),
            claim_type: ClaimType::Number,
        },
    );
    map.insert(
        Fact::RefProtected,
        MappedClaim {
            pointer: "/protected".to_owned(),
            claim_type: ClaimType::FlagText,
        },
    );
    let claims =
        json!({ "repo": { "name": "acme/shop", "id": 42 }, "ssh": false, "protected": "true" });
    let found = written(&reader.facts(object(&claims)).unwrap());
    let expected = json!({ "repository": "acme/shop", "repository_id": "42", "debug_session": false, "ref_protected": true });
    assert_eq!(serde_json::to_value(found).unwrap(), expected);
    for wrong in [
        json!({ "repo": { "id": "42" } }),
        json!({ "ssh": "false" }),
        json!({ "protected": true }),
        json!({ "repo": { "id": 1.5 } }),
    ] {
        assert!(reader.facts(object(&wrong)).is_err(), "{wrong}");
    }
    assert!(!reader.has_events());
}

/// T-52: a generic issuer that tells events is held to the same words.
#[test]
fn a_generic_event_outside_our_words_is_other() {
    let mut reader = reader("generic", "https://ci.example");
    reader
        .claim_map
        .insert(Fact::Event, MappedClaim::usual(Fact::Event, "/event"));
    assert!(reader.has_events());
    for (claims, trigger) in [
        (json!({ "event": "push" }), "push"),
        (json!({ "event": "fork" }), "other"),
        (json!({}), "other"),
    ] {
        assert_eq!(
            reader.facts(object(&claims)).unwrap().text(Fact::Trigger),
            Some(trigger)
        );
    }
}
