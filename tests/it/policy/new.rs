//! `hallpass policy new`, by the real binary: what it prints is a policy that lets the job in.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::repository;
use crate::client::fake::{hallpass, stderr, stdout, told};
use crate::support::leaks::Observed as _;

/// The claims of a vector, of a repository that the policies serve.
fn claims(vector: &str, change: &[(&str, &str)]) -> Value {
    let path = repository().join(format!("tests/vectors/ci-tokens/{vector}.json"));
    let mut claims: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    for (name, value) in change {
        claims[*name] = json!(value);
    }
    claims
}

fn github(change: &[(&str, &str)]) -> Value {
    let ours = [
        ("repository", "acme/web"),
        ("repository_owner", "acme"),
        ("repository_owner_id", "65923871"),
        ("repository_id", "4711"),
        ("sub", "repo:acme/web:environment:production"),
    ];
    let mut claims = claims("github-actions", &ours);
    for (name, value) in change {
        claims[*name] = json!(value);
    }
    claims
}

/// The repository's policies, and a file with claims.
fn folder(claims: &Value) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let policies = folder.path().join("policies");
    fs::create_dir(&policies).unwrap();
    for file in ["root.yaml", "shop.yaml"] {
        fs::copy(
            repository().join("policies").join(file),
            policies.join(file),
        )
        .unwrap();
    }
    fs::write(folder.path().join("claims.json"), claims.to_string()).unwrap();
    folder
}

fn arguments<'a>(folder: &'a Path, more: &[&'a str]) -> Vec<String> {
    let path = |name: &str| folder.join(name).display().to_string();
    let mut arguments = vec!["policy".to_owned()];
    arguments.extend(more.iter().map(|&text| match text {
        "claims.json" | "policies" => path(text),
        text => text.to_owned(),
    }));
    arguments
}

fn new(folder: &Path, more: &[&str]) -> std::process::Output {
    let mut all = vec![
        "new",
        "--policies",
        "policies",
        "--from-claims",
        "claims.json",
    ];
    all.extend(more);
    let arguments = arguments(folder, &all);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    hallpass(&arguments).observed()
}

#[test]
fn what_is_printed_lets_in_the_job_and_no_other_repository() {
    let folder = folder(&github(&[]));
    let output = new(folder.path(), &["deploy-api"]);
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(stderr(&output), "");
    insta::assert_snapshot!(stdout(&output), @r#"
    policies:
      - name: deploy-api
        issuer: github
        when:
          repository: acme/web
          repository_id: "4711"
          ref: refs/heads/main
          ref_protected: true
          environment: production
          trigger: push
          job_workflow: { path: acme-corp/ci-shared/.github/workflows/release.yml, ref: refs/tags/v4 }
        grant:
          - { credential: deploy-api, ttl: 10m, scopes: ["deploy:staging", "deploy:production"] }
    "#);
    fs::write(folder.path().join("policies/new.yaml"), stdout(&output)).unwrap();
    let explain = |claims: &Value| {
        fs::write(folder.path().join("claims.json"), claims.to_string()).unwrap();
        let explain = [
            "explain",
            "--policies",
            "policies",
            "--claims",
            "claims.json",
        ];
        let mut arguments = arguments(folder.path(), &explain);
        arguments.push("deploy-api".to_owned());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        hallpass(&arguments).observed().status.code()
    };
    assert_eq!(explain(&github(&[])), Some(0));
    assert_eq!(explain(&github(&[("repository_id", "4712")])), Some(1));
    assert_eq!(explain(&github(&[("ref", "refs/heads/other")])), Some(1));
    // The second one has another name, so that both can be kept.
    let again = new(folder.path(), &["deploy-api"]);
    assert!(
        stdout(&again).contains("name: deploy-api-2"),
        "{}",
        told(&again)
    );
}

/// A policy for a job that no policy can let in is printed with the reason.
#[test]
fn a_job_that_would_still_be_refused_is_said_to_be() {
    let foreign = folder(&claims("github-actions", &[]));
    let output = new(foreign.path(), &["deploy-api"]);
    assert!(output.status.success(), "{}", told(&output));
    let said = stderr(&output);
    assert!(said.contains("warning[never-matches]"), "{said}");
    assert!(
        said.contains("the job would still be refused: the job belongs to no tenant of its issuer"),
        "{said}"
    );
    let own_runner = folder(&github(&[("runner_environment", "self-hosted")]));
    let output = new(own_runner.path(), &["shop-db/migrate"]);
    assert!(stdout(&output).contains("ttl: 15m"), "{}", told(&output));
    let said = stderr(&output);
    assert!(said.contains("a requirement is not met"), "{said}");
}

/// T-114: a policy made from a pull request's token opens the credential to every pull request.
#[test]
fn a_trigger_that_outsiders_can_cause_is_a_warning() {
    let folder = folder(&github(&[("event_name", "pull_request")]));
    let output = new(folder.path(), &["deploy-api"]);
    let said = stderr(&output);
    assert!(said.contains("warning[extraordinary-trigger]"), "{said}");
}

#[test]
fn unknown_credentials_names_and_lives_are_refused() {
    let folder = folder(&github(&[]));
    let unknown = new(folder.path(), &["deploy-apy"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        stderr(&unknown).contains("define no credential `deploy-apy`; did you mean `deploy-api`?"),
        "{}",
        told(&unknown)
    );
    let long = new(folder.path(), &["--ttl", "2h", "deploy-api"]);
    assert_eq!(long.status.code(), Some(2), "{}", told(&long));
    assert!(
        stderr(&long).contains("`--ttl 2h` is more than the `max_ttl` of `deploy-api`, 10m"),
        "{}",
        told(&long)
    );
    let name = new(folder.path(), &["--name", "a: b", "deploy-api"]);
    assert_eq!(name.status.code(), Some(4), "{}", told(&name));
    assert_eq!(stdout(&name), "");
    assert!(
        stderr(&name).contains("the new policy:2"),
        "{}",
        told(&name)
    );
    let both = new(folder.path(), &["--from-token", "x", "deploy-api"]);
    assert_eq!(both.status.code(), Some(2), "{}", told(&both));
}

#[test]
fn a_job_that_is_not_described_can_be_in_two_ways() {
    for command in ["new", "explain"] {
        let output = hallpass(&["policy", command, "deploy-api"]).observed();
        assert_eq!(output.status.code(), Some(2), "{}", told(&output));
        let said = stderr(&output);
        assert!(
            said.starts_with("hallpass: which job? Give a file with its "),
            "{said}"
        );
        assert!(said.contains("claims by `--claims FILE`, or with its token by `--token FILE`; `-` reads standard input"), "{said}");
        let both = [
            "policy",
            command,
            "deploy-api",
            "--claims",
            "a",
            "--token",
            "b",
        ];
        let output = hallpass(&both).observed();
        assert_eq!(output.status.code(), Some(2), "{}", told(&output));
        assert!(
            stderr(&output).contains("cannot be used with"),
            "{}",
            told(&output)
        );
    }
}
