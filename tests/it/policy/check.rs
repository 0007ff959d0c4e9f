//! `policy check`: what it prints for other programs, and its exit codes.

use std::collections::BTreeSet;

use boon::{Compiler, Draft, Schemas};

use super::*;

/// A policy file with a finding in it, in names that would end a property or a line elsewhere.
const FOUND: &str = "policies:
  - name: wide
    issuer: github
    when: { owner_id: \"65923871\", ref: refs/heads/main }
    grant: [ { credential: app, ttl: 5m } ]
";

fn checked(dir: &Path, output: &str, code: i32) -> String {
    let result = hallpass(&["policy", "check", "--output", output, "policies"], dir);
    assert_eq!(result.status.code(), Some(code), "{result:?}");
    text(&result.stdout)
}

fn json(dir: &Path, output: &str, code: i32) -> Value {
    serde_json::from_str(&checked(dir, output, code)).unwrap()
}

/// What an independent validator says of a document.
pub(crate) fn conforms(schema: &Value, document: &Value) -> Result<(), String> {
    let mut schemas = Schemas::new();
    let mut compiler = Compiler::new();
    compiler.set_default_draft(Draft::V2020_12);
    compiler
        .add_resource("https://schema.test/x", schema.clone())
        .unwrap();
    let index = compiler
        .compile("https://schema.test/x", &mut schemas)
        .unwrap();
    schemas
        .validate(document, index)
        .map_err(|error| format!("{error:#}"))
}

/// What SARIF 2.1.0 requires of a log. `deploy/dev/lint-ci.sh` compares logs with its schema.
fn is_sarif(log: &Value) {
    assert_eq!(log["version"], "2.1.0");
    let [run] = log["runs"].as_array().unwrap().as_slice() else {
        panic!("{log}")
    };
    let driver = &run["tool"]["driver"];
    assert_eq!(driver["name"], "hallpass");
    let rules = driver["rules"].as_array().unwrap();
    let ids: BTreeSet<_> = rules.iter().map(|rule| rule["id"].as_str()).collect();
    assert_eq!(ids.len(), rules.len(), "each rule once");
    let levels = ["error", "warning", "note"];
    for rule in rules {
        assert_ne!(rule["id"].as_str().unwrap(), "");
        assert_ne!(rule["shortDescription"]["text"].as_str().unwrap(), "");
        assert!(levels.contains(&rule["defaultConfiguration"]["level"].as_str().unwrap()));
    }
    for result in run["results"].as_array().unwrap() {
        // Each result points at its rule.
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(
            levels.contains(&result["level"].as_str().unwrap()),
            "{result}"
        );
        assert_ne!(result["message"]["text"].as_str().unwrap(), "");
        let fingerprints = result["partialFingerprints"].as_object().unwrap();
        assert!(fingerprints.values().all(Value::is_string) && !fingerprints.is_empty());
        let [location] = result["locations"].as_array().unwrap().as_slice() else {
            panic!("{result}")
        };
        let place = &location["physicalLocation"];
        let uri = place["artifactLocation"]["uri"].as_str().unwrap();
        assert!(!uri.is_empty() && !uri.contains([' ', '\\']), "{uri}");
        for (_, number) in place["region"].as_object().into_iter().flatten() {
            assert!(number.as_u64().unwrap() >= 1, "{result}");
        }
    }
}

#[test]
fn a_sarif_log_has_what_2_1_0_requires() {
    let dir = folder(&[
        ("policies/root.yaml", ROOT),
        ("policies/wide app.yaml", FOUND),
        (
            "policies/unused.yaml",
            "credentials:\n  x: { kind: jwt, audience: https://x.dev, max_ttl: 1m, owner: a, purpose: b, class: low }\n",
        ),
    ]);
    let log = json(dir.path(), "sarif", 0);
    is_sarif(&log);
    let results = log["runs"][0]["results"].as_array().unwrap();
    let found: Vec<_> = results
        .iter()
        .map(|one| {
            let place = &one["locations"][0]["physicalLocation"];
            (
                one["ruleId"].as_str().unwrap(),
                place["artifactLocation"]["uri"].as_str().unwrap(),
                place["region"]["startLine"].as_u64(),
            )
        })
        .collect();
    assert!(
        found.contains(&("any-repository", "policies/wide%20app.yaml", Some(4))),
        "{found:?}"
    );
    // What does not load is reported alike, and a place without a text has no region.
    let dir = folder(&[("policies/root.yaml", ROOT), ("policies/more.yml", APP)]);
    write(dir.path(), "policies/bad.yaml", "policies: [\n");
    is_sarif(&json(dir.path(), "sarif", 4));
    let nothing = folder(&[("policies/root.yaml", ROOT), ("policies/app.yaml", APP)]);
    is_sarif(&json(nothing.path(), "sarif", 0));
}

#[test]
fn the_rule_that_was_meant_is_named() {
    let dir = folder(&[]);
    for (id, expected) in [
        ("name-without-i", "did you mean `name-without-id`?"),
        ("xyz", "the rules are any-repository, "),
    ] {
        let output = hallpass(&["policy", "check", "--explain", id], dir.path());
        assert_eq!(output.status.code(), Some(2));
        let said = text(&output.stderr);
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn annotations_of_github_have_file_line_and_rule() {
    let dir = folder(&[("policies/root.yaml", ROOT), ("policies/app.yaml", FOUND)]);
    let printed = checked(dir.path(), "github", 0);
    let first = printed.lines().next().unwrap();
    assert!(
        first.starts_with(
            "::warning file=policies/app.yaml,line=4,endLine=4,col=13,endColumn=33,title=any-repository::policy `wide`"
        ),
        "{printed}"
    );
    assert!(first.contains("%0Ahelp: "), "{first}");
    assert!(
        printed.ends_with("policies: 1 policy, 1 credential, 0 requirements; 1 warning\n"),
        "{printed}"
    );
}

/// T-271
#[test]
fn a_name_of_a_file_or_a_word_in_it_begins_no_annotation_of_its_own() {
    let name = "policies/a,line=1::b%0A::error file=x::y\n::error ::z.yaml";
    let dir = folder(&[
        ("policies/root.yaml", ROOT),
        (
            name,
            "policies: [ { name: \"\\n::error ::pwned %0A::error ::x\", issuer: github } ]\n",
        ),
    ]);
    let printed = checked(dir.path(), "github", 4);
    let commands: Vec<_> = printed
        .lines()
        .filter(|line| line.trim_start().starts_with("::"))
        .collect();
    assert!(!commands.is_empty(), "{printed}");
    for command in commands {
        let (head, _) = command.trim_start_matches(':').split_once("::").unwrap();
        assert!(
            head.starts_with("error file=policies/a%2Cline=1%3A%3Ab%250A%3A%3Aerror file=x%3A%3Ay"),
            "{command}"
        );
        assert_eq!(head.matches(',').count(), 5, "{command}");
    }
    assert!(printed.is_ascii(), "{printed}");
}

#[test]
fn fingerprints_differ_and_stay_when_a_line_is_added_above() {
    let unused = |name: &str| {
        format!(
            "  {name}: {{ kind: jwt, audience: https://x.dev, max_ttl: 1m, owner: a, purpose: b, class: low }}\n"
        )
    };
    let body = format!("credentials:\n{}{}", unused("one"), unused("two"));
    let dir = folder(&[
        ("policies/root.yaml", ROOT),
        ("policies/app.yaml", FOUND),
        ("policies/more.yaml", &body),
    ]);
    let entries = |report: &Value| -> Vec<(String, String, u64)> {
        let list = report.as_array().unwrap().iter();
        list.map(|one| {
            (
                one["check_name"].as_str().unwrap().to_owned(),
                one["fingerprint"].as_str().unwrap().to_owned(),
                one["location"]["lines"]["begin"].as_u64().unwrap(),
            )
        })
        .collect()
    };
    let first = json(dir.path(), "gitlab", 0);
    for one in first.as_array().unwrap() {
        // What GitLab requires of an entry.
        assert!(!one["description"].as_str().unwrap().is_empty());
        assert!(
            ["info", "minor", "major", "critical", "blocker"]
                .contains(&one["severity"].as_str().unwrap())
        );
        assert!(
            one["location"]["path"]
                .as_str()
                .unwrap()
                .starts_with("policies/")
        );
    }
    let before = entries(&first);
    let distinct: BTreeSet<_> = before.iter().map(|one| &one.1).collect();
    assert!(before.len() >= 3);
    assert_eq!(distinct.len(), before.len(), "{before:?}");
    for (name, text) in [
        ("policies/app.yaml", FOUND),
        ("policies/more.yaml", body.as_str()),
    ] {
        write(dir.path(), name, &format!("# a new line\n\n{text}"));
    }
    let after = entries(&json(dir.path(), "gitlab", 0));
    let moved: Vec<_> = before
        .into_iter()
        .map(|(rule, print, line)| (rule, print, line + 2))
        .collect();
    assert_eq!(after, moved);
}

#[test]
fn exit_codes_tell_a_finding_from_a_folder_that_is_not_there() {
    let dir = folder(&[("policies/root.yaml", ROOT), ("policies/app.yaml", FOUND)]);
    for output in ["text", "json", "sarif", "github", "gitlab"] {
        checked(dir.path(), output, 0);
        let missing = hallpass(
            &["policy", "check", "--output", output, "nowhere"],
            dir.path(),
        );
        assert_eq!(missing.status.code(), Some(5), "{missing:?}");
    }
    write(dir.path(), "policies/bad.yaml", "policies: 1\n");
    for output in ["text", "json", "sarif", "github", "gitlab"] {
        checked(dir.path(), output, 4);
    }
    let wrong = hallpass(&["policy", "check", "--output", "xml"], dir.path());
    assert_eq!(wrong.status.code(), Some(2));
    let explain = hallpass(
        &[
            "policy",
            "explain",
            "--claims",
            "x",
            "--policies",
            "nowhere",
            "app",
        ],
        dir.path(),
    );
    assert_eq!(explain.status.code(), Some(5), "{explain:?}");
}
