//! `inputs:` of a credential: what the checks say of it, and how an explanation decides.

use std::path::Path;

use hallpass::policy::PolicySet;
use serde_json::Value;
use tempfile::TempDir;

use super::{folder, hallpass, text};

/// A public key, and the kind of key it is.
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea";
const JOB: &str = r#"{"iss":"https://token.actions.githubusercontent.com","repository":"acme/shop","repository_id":"7","repository_owner":"acme","repository_owner_id":"1","ref":"refs/heads/main","event_name":"push"}"#;

fn policies(inputs: &str) -> String {
    format!(
        "issuers:
  github: {{ provider: github, tenants: [ {{ owner: acme, owner_id: \"1\" }} ] }}
credentials:
  host: {{ kind: ssh, target: hosts, principals: [deploy], max_ttl: 10m, owner: o, purpose: p, class: low{inputs} }}
policies:
  - {{ name: p, issuer: github, when: {{ repository: acme/shop, repository_id: \"7\", ref: refs/heads/main }}, grant: [ {{ credential: host, ttl: 5m }} ] }}
"
    )
}

fn job(inputs: &str, claims: &str) -> TempDir {
    folder(&[
        ("policies/root.yaml", &policies(inputs)),
        ("job.json", claims),
    ])
}

fn explain(dir: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let mut args = vec!["policy", "explain", "--claims", "job.json", "host"];
    args.extend(more);
    let output = hallpass(&args, dir);
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// T-160
#[test]
fn an_explanation_decides_on_inputs_as_the_broker_does() {
    let sent = format!("public_key={KEY}");
    let with = ["--input", sent.as_str()];
    let bounded = r#", inputs: { public_key: { glob: "ssh-ed25519 **" } }"#;
    let other = r#", inputs: { public_key: { glob: "ecdsa-**" } }"#;
    for (inputs, more, expected) in [
        ("", &with[..], "PERMITTED by policy p for 5m"),
        (bounded, &with, "PERMITTED by policy p for 5m"),
        (
            "",
            &[],
            "DENIED: credential `host` is of kind `ssh`, which needs input `public_key`",
        ),
        (
            bounded,
            &[],
            "DENIED: credential `host` is of kind `ssh`, which needs input `public_key`",
        ),
        (
            other,
            &with,
            "DENIED: input `public_key` is not one that credential `host` allows under `inputs`",
        ),
    ] {
        let dir = job(inputs, JOB);
        let (code, said, _) = explain(dir.path(), more);
        let is_permitted = expected.starts_with("PERMITTED");
        assert_eq!(code, Some(i32::from(!is_permitted)), "{said}");
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(expected), "{expected}: {said}");
        assert!(is_permitted || !said.contains("PERMITTED"), "{said}");
        let json = [more, &["--output", "json"]].concat();
        let (_, answer, _) = explain(dir.path(), &json);
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["permitted"], is_permitted);
        assert_eq!(answer["inputs"].is_string(), !is_permitted);
    }
    // A job that may not have the credential is refused for that.
    let dir = job(other, &JOB.replace("heads/main", "heads/x"));
    let (code, said, _) = explain(dir.path(), &with);
    assert_eq!(code, Some(1));
    assert!(!said.contains("public_key"), "{said}");
}

/// T-160
#[test]
fn an_input_of_no_kind_or_of_no_use_is_a_slip_in_an_explanation_too() {
    let dir = job("", JOB);
    for (input, expected) in [
        ("colour=red", "no kind of credential takes input `colour`"),
        (
            "public_key=ssh-ed25519",
            "input `public_key` must be one line",
        ),
        ("public_key", "has no `=`"),
    ] {
        let (code, _, said) = explain(dir.path(), &["--input", input]);
        assert_eq!(code, Some(2), "{said}");
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(expected), "{said}");
    }
}

/// T-160: what no request can fit, of a list each such entry.
#[test]
fn a_bound_that_no_request_can_fit_does_not_load() {
    let said = |inputs: &str| {
        let text = policies(&format!(", inputs: {inputs}"));
        let Err(errors) = PolicySet::from_texts(&[("root.yaml", &text)]) else {
            return String::new();
        };
        let errors = errors.iter().map(|error| error.message.clone());
        errors.collect::<Vec<_>>().join("\n")
    };
    for fine in [
        format!("{{ public_key: \"{KEY}\" }}"),
        format!("{{ public_key: [\"{KEY}\", {{ glob: \"ecdsa-**\" }}] }}"),
        "{ public_key: { glob: \"ssh-ed25519 **\", not: x } }".to_owned(),
    ] {
        assert_eq!(said(&fine), "", "{fine}");
    }
    let all = [
        said("{ public_key: deploy }"),
        said(&format!("{{ public_key: [\"{KEY}\", deploy] }}")),
        said("{ public_key: { glob: deploy } }"),
        said(&format!(
            "{{ public_key: {{ glob: \"{KEY}\", not: \"{KEY}\" }} }}"
        )),
        said("{ public_key: { present: false } }"),
        said("{ public_key: { present: true } }"),
        said("{ pubic_key: x }"),
        said("{}"),
    ];
    insta::assert_snapshot!(all.join("\n"), @r"
    `public_key` in `inputs` of credential `host` never matches: a value must be one line `<type> <base64>`, as in the `.pub` file of ssh-keygen
    `public_key` in `inputs` of credential `host` never matches: a value must be one line `<type> <base64>`, as in the `.pub` file of ssh-keygen
    `public_key` in `inputs` of credential `host` never matches: a value must be one line `<type> <base64>`, as in the `.pub` file of ssh-keygen
    `public_key` in `inputs` of credential `host` never matches: its operators exclude each other
    `public_key` in `inputs` of credential `host` has `present`, but what is bounded must be sent
    `public_key` in `inputs` of credential `host` has `present`, but what is bounded must be sent
    unknown key `pubic_key` in `inputs` of credential `host`
    `inputs` of credential `host` is empty
    ");
}
