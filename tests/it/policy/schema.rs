//! The JSON Schema of policy files, by an independent validator and an independent reader of YAML.

use granit_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, json};

use super::check::conforms;
use super::*;

/// A document as an editor's YAML reader sees it.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what has no value is skipped"
)]
fn yaml(text: &str) -> Value {
    enum Open {
        List(Vec<Value>),
        Map(Map<String, Value>, Option<String>),
    }
    let mut stack: Vec<Open> = Vec::new();
    let mut root = Value::Null;
    for event in Parser::new_from_str(text) {
        let (event, _) = event.unwrap_or_else(|error| panic!("{error}: {text}"));
        let value = match event {
            Event::Scalar(text, style, ..) => match text.as_ref() {
                text if style != ScalarStyle::Plain => json!(text),
                "true" => json!(true),
                "false" => json!(false),
                "" | "~" | "null" => Value::Null,
                text => text
                    .parse::<i64>()
                    .map_or_else(|_| json!(text), |number| json!(number)),
            },
            Event::SequenceStart(..) => {
                stack.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                stack.push(Open::Map(Map::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match stack.pop().unwrap() {
                Open::List(items) => Value::Array(items),
                Open::Map(members, _) => Value::Object(members),
            },
            _ => continue,
        };
        match stack.last_mut() {
            None => root = value,
            Some(Open::List(items)) => items.push(value),
            Some(Open::Map(members, key)) => match key.take() {
                None => {
                    *key = Some(
                        value
                            .as_str()
                            .map_or_else(|| value.to_string(), str::to_owned),
                    );
                }
                Some(key) => {
                    members.insert(key, value);
                }
            },
        }
    }
    root
}

fn printed() -> Value {
    let output = hallpass(&["policy", "schema"], &repository());
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_schema_is_one_and_takes_every_policy_file_of_the_repository() {
    let schema = printed();
    let meta = json!({ "$ref": "https://json-schema.org/draft/2020-12/schema" });
    conforms(&meta, &schema).unwrap();
    let mut count = 0;
    let mut folders = vec![
        repository().join("policies"),
        repository().join("tests/lint"),
    ];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.display().to_string();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "yaml")
                && !name.ends_with(".test.yaml")
            {
                let text = fs::read_to_string(&path).unwrap();
                conforms(&schema, &yaml(&text))
                    .unwrap_or_else(|problem| panic!("{name}: {problem}"));
                count += 1;
            }
        }
    }
    assert!(count > 50, "{count}");
    conforms(&schema, &yaml(ROOT)).unwrap();
    conforms(&schema, &yaml(APP)).unwrap();
}

#[test]
fn the_schema_of_test_files_takes_what_the_reader_takes() {
    let output = hallpass(&["policy", "schema", "--tests"], &repository());
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    let meta = json!({ "$ref": "https://json-schema.org/draft/2020-12/schema" });
    conforms(&meta, &schema).unwrap();
    for name in ["root.test.yaml", "teams/pay/pay.test.yaml"] {
        let text = fs::read_to_string(repository().join("policies").join(name)).unwrap();
        conforms(&schema, &yaml(&text)).unwrap_or_else(|problem| panic!("{name}: {problem}"));
    }
    let test = "tests:\n  - { name: a, job: { like: github-push, facts_unset: [runner], claim: { /a: b } }, asks: { credential: app, ttl: 5m, scopes: [x] }, refused: { because: [tenant, { requirement: x }] }, at: 2027-01-31T18:00:00Z }\n";
    let line =
        "never:\n  - { name: a, of: all, jobs: { issuer: github }, longer_than: 5m, because: x }\n";
    conforms(&schema, &yaml(test)).unwrap();
    conforms(&schema, &yaml(line)).unwrap();
    for (text, from, to) in [
        (test, "refused:", "gets: { policy: x }, refused:"),
        (test, "like: github-push", "like: github"),
        (test, "asks", "ask"),
        (test, "ttl: 5m", "ttl: 5"),
        (line, "of: all", "of: any"),
        (line, ", because: x", ""),
        (line, "issuer", "isuer"),
        (line, "never", "nevr"),
        (line, "longer_than: 5m", "unless: { runner: hosted }"),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        assert!(conforms(&schema, &yaml(&changed)).is_err(), "{changed}");
    }
}

#[test]
fn what_the_reader_refuses_of_one_file_the_schema_refuses_too() {
    let schema = printed();
    let credential = ROOT.split_once("credentials:").unwrap().1;
    let credentials = format!("credentials:{credential}");
    let issuers = "issuers:\n  a: { provider: gitlab, url: https://gitlab.acme.dev }\n";
    let require = "require:\n  - { name: a, of: all, jobs: { runner: hosted }, because: x }\n";
    let github = "issuers:\n  a: { provider: github, url: https://ghes.acme.dev, properties: { tier: text } }\n";
    let waive = "waive:\n  - { rule: literal-star, because: x, until: 2099-01-31T18:00:00Z }\n";
    let changes: &[(&str, &str, &str)] = &[
        (APP, "policies:", "policy:"),
        (APP, "name: app\n    ", ""),
        (APP, "issuer: github", "issuer: []"),
        (APP, "issuer: github", "issuer: 1"),
        (APP, "    issuer: github\n", ""),
        (APP, "\"702114500\"", "702114500"),
        (APP, "acme/app", "\"\""),
        (APP, "acme/app", "[]"),
        (APP, "acme/app", "{}"),
        (APP, "acme/app", "[[acme/app]]"),
        (APP, "acme/app", "{ glob: \"acme/a?p\" }"),
        (APP, "acme/app", "{ glob: \"acme/[ab]\" }"),
        (APP, "acme/app", "{ under: acme/ }"),
        (APP, "acme/app", "{ globs: \"acme/*\" }"),
        (APP, "acme/app", "{ present: true, glob: \"acme/*\" }"),
        (APP, "acme/app", "{ not: { not: x } }"),
        (APP, "acme/app", "{ not: { present: true } }"),
        (APP, "acme/app", "[ { present: true } ]"),
        (APP, "repository:", "repositry:"),
        (APP, "repository: acme/app", "trigger: pushed"),
        (APP, "repository: acme/app", "trigger: { glob: \"p*\" }"),
        (APP, "repository: acme/app", "runner: { not: hosted }"),
        (APP, "repository: acme/app", "ref_protected: \"true\""),
        (APP, "repository: acme/app", "ref_protected: [true]"),
        (APP, "repository: acme/app", "job_workflow: a/b.yml"),
        (APP, "repository: acme/app", "job_workflow: {}"),
        (
            APP,
            "repository: acme/app",
            "job_workflow: { path: a, present: true }",
        ),
        (APP, "repository: acme/app", "source_ip: 10.0.0.0/0"),
        (APP, "repository: acme/app", "source_ip: 10.0.0.1"),
        (APP, "repository: acme/app", "source_ip: { present: true }"),
        (
            APP,
            "repository: acme/app",
            "source_ip: { not: { not: 10.0.0.0/8 } }",
        ),
        (
            issuers,
            "dev }",
            "dev, tenants: [ { owner: acme, source_ip: 10.0.0.0/8 } ] }",
        ),
        (APP, "repository: acme/app", "claim: { enterprise: x }"),
        (APP, "repository: acme/app", "claim: {}"),
        (APP, "repository: acme/app", "issuer: github"),
        (APP, "ttl: 5m", "ttl: 5"),
        (APP, "ttl: 5m", "ttl: 5 m"),
        (APP, ", ttl: 5m", ""),
        (APP, "ttl: 5m", "ttl: 5m, scope: x"),
        (APP, "credential: app", "credential: app/"),
        (&credentials, "class: low", "class: lowest"),
        (&credentials, "class: low", "class: low, colour: red"),
        (&credentials, "class: low", "class: low, group: x"),
        (&credentials, "class: low", "class: low, inputs: {}"),
        (&credentials, "kind: jwt", "kind: jwks"),
        (&credentials, "owner: team-app, ", ""),
        (&credentials, "max_ttl: 10m", "max_ttl: ten"),
        (issuers, "provider: gitlab", "provider: gitlabs"),
        (issuers, "https:", "http:"),
        (issuers, "dev }", "dev, properties: { tier: text } }"),
        (issuers, "dev }", "dev, jwks: keys.json }"),
        (
            issuers,
            "dev }",
            "dev, jwks: { file: x }, networks: [10.0.0.0/8] }",
        ),
        (github, "tier: text", "tier: number"),
        (github, "tier: text", "a b: text"),
        (github, "{ tier: text }", "{}"),
        (APP, "repository: acme/app", "property: {}"),
        (APP, "repository: acme/app", "property: { \"a b\": x }"),
        (&credentials, "class: low", "class: low, labels: {}"),
        (
            &credentials,
            "class: low",
            "class: low, labels: { Service: x }",
        ),
        (issuers, "dev }", "dev, facts: { repository: \"/r\" } }"),
        (issuers, "dev }", "dev, kid_required: \"no\" }"),
        (issuers, "provider: gitlab", "provider: generic"),
        (require, "of: all", "of: every"),
        (require, "of: all", "of: {}"),
        (require, "of: all", "of: { class: high }"),
        (require, ", because: x", ""),
        (
            require,
            "jobs: { runner: hosted }",
            "jobs: [ { runner: hosted } ]",
        ),
        (waive, "literal-star", "literal-stars"),
        (waive, ", because: x", ""),
        (waive, "2099-01-31T18:00:00Z", "2099-01-31"),
    ];
    for text in [APP, &credentials, issuers, github, require, waive] {
        conforms(&schema, &yaml(text)).unwrap_or_else(|problem| panic!("{text}: {problem}"));
    }
    for line in [
        "source_ip: 10.0.0.0/8",
        "source_ip: [10.0.0.0/8, \"2001:db8::/32\"]",
        "source_ip: { not: [10.0.0.0/8] }",
    ] {
        let text = APP.replacen("repository: acme/app", line, 1);
        conforms(&schema, &yaml(&text)).unwrap_or_else(|problem| panic!("{text}: {problem}"));
    }
    for (text, from, to) in changes {
        assert!(text.contains(from), "{from}");
        let other = text.replacen(from, to, 1);
        let refused = conforms(&schema, &yaml(&other)).is_err();
        assert!(refused, "the schema takes {other}");
        let others = if *text == APP {
            vec![("root.yaml", ROOT)]
        } else {
            Vec::new()
        };
        let files = [others, vec![("x.yaml", other.as_str())]].concat();
        assert!(
            PolicySet::from_texts(&files).is_err(),
            "the reader takes {other}"
        );
    }
}
