//! `hallpass doctor`: the first step that fails is named, and the ids a policy wants are printed.

use serde_json::{Value, json};

use crate::client::fake::{Fake, PASSWORD, Reply, stderr, stdout, told};
use crate::support::leaks::Observed as _;

#[test]
fn a_healthy_job_sees_its_ids_and_a_block_to_paste() {
    let fake = Fake::start();
    let output = fake.on_github(&["doctor"]).observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let text = stdout(&output);
    // How long the token still lives differs from run to run.
    let text: Vec<&str> = text
        .lines()
        .filter(|line| !line.contains("clock"))
        .collect();
    insta::assert_snapshot!(text.join("\n").replace(&fake.url(), "http://broker"), @r#"
    ok    broker address  `http://broker`
    ok    broker          answers, and calls itself by its address
    ok    CI              GitHub Actions (`github`): a request to `$ACTIONS_ID_TOKEN_REQUEST_URL` with `ACTIONS_ID_TOKEN_REQUEST_TOKEN`
    ok    ID token        for `http://broker`
    ok    policies        this job may have shop-db/migrate

    The IDs, which stay when a repository or its owner is renamed:

      owner_id           "48213377"
      repository_id      "702114589"

    This job, as a policy would name it (leave out what may differ):

      when:
        repository: acme/shop
        repository_id: "702114589"
        ref: refs/heads/main
        trigger: push
        job_workflow: { path: acme/shop/.github/workflows/deploy.yml, ref: refs/heads/main }
    "#);
    assert!(fake.asked("/token").is_empty());
}

/// T-92
#[test]
fn the_token_itself_is_never_printed() {
    let fake = Fake::start();
    for more in [vec![], vec!["--output", "json"]] {
        let mut arguments = vec!["doctor"];
        arguments.extend(more);
        let output = fake.on_github(&arguments).observed();
        let text = told(&output);
        assert!(!text.contains("eyJ") && !text.contains(PASSWORD), "{text}");
        assert!(!text.contains("canary"), "{text}");
    }
}

/// T-108
#[test]
fn a_false_broker_is_found_before_a_token_is_fetched() {
    let fake = Fake::start();
    fake.next(
        "/.well-known/openid-configuration",
        Reply::json(200, &json!({ "issuer": "sts.amazonaws.com" })),
    );
    let output = fake.on_github(&["doctor"]).observed();
    assert_eq!(output.status.code(), Some(4), "{}", told(&output));
    assert!(stdout(&output).contains("FAIL  broker          the server at"));
    assert!(fake.asked("/idtoken").is_empty());
}

#[test]
fn the_step_that_fails_says_what_to_do() {
    let fake = Fake::start();
    let output = fake
        .hallpass(&["doctor"])
        .env("GITHUB_ACTIONS", "true")
        .observed();
    assert_eq!(output.status.code(), Some(4), "{}", told(&output));
    let expected = "FAIL  ID token        ACTIONS_ID_TOKEN_REQUEST_URL is not set; is `id-token: write` missing?";
    assert!(stdout(&output).contains(expected), "{}", told(&output));
}

#[test]
fn each_check_that_fails_is_named_in_the_last_line() {
    let fake = Fake::start();
    let refused = json!({
        "permitted": false, "error": "access_denied", "reason": "policy.denied",
        "error_description": "access denied: no policy matches this job", "request_id": "req_1",
    });
    fake.next(
        "/api/explain",
        Reply::json(200, &json!({ "credentials": [] })),
    );
    fake.next("/api/explain", Reply::json(200, &refused));
    let output = fake.on_github(&["doctor", "shop-db/read"]).observed();
    assert_eq!(output.status.code(), Some(4), "{}", told(&output));
    let text = stderr(&output);
    assert_eq!(
        text.trim(),
        "hallpass: 2 checks failed: policies, credential"
    );
    assert!(
        !stdout(&output).contains("access denied"),
        "{}",
        told(&output)
    );
}

#[test]
fn a_job_without_grants_is_a_finding_with_its_block() {
    let fake = Fake::start();
    fake.next(
        "/api/explain",
        Reply::json(200, &json!({ "credentials": [] })),
    );
    let output = fake.on_github(&["doctor", "--output", "json"]).observed();
    assert_eq!(output.status.code(), Some(4), "{}", told(&output));
    let document: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(document["ids"]["repository_id"], "702114589");
    assert!(document["when"].as_str().unwrap().starts_with("when:\n"));
    let checks = document["checks"].as_array().unwrap();
    assert_eq!(checks.last().unwrap()["passed"], false);
}

/// The token is looked at, and not used.
#[test]
fn a_credential_that_the_job_may_not_have_shows_the_conditions_that_fail() {
    let explanation = json!({
        "permitted": false, "error": "access_denied", "reason": "policy.conditions",
        "error_description": "fact `ref` is `refs/heads/main`", "request_id": "req_1",
        "failed_conditions": [{
            "policy": "shop-read", "fact": "ref",
            "expected": "refs/heads/prod", "actual": "refs/heads/main",
        }],
    });
    let offers = json!({ "credentials": [{
        "credential": "shop-db/migrate", "kind": "postgres", "policy": "shop-migrate", "ttl": 900,
    }] });
    let fake = Fake::start();
    let doctor = |arguments: &[&str]| {
        fake.next("/api/explain", Reply::json(200, &offers));
        fake.next("/api/explain", Reply::json(200, &explanation));
        fake.on_github(&[&["doctor", "shop-db/read"], arguments].concat())
            .observed()
    };
    let output = doctor(&[]);
    assert_eq!(output.status.code(), Some(4), "{}", told(&output));
    let text = stdout(&output);
    let from = text.find("FAIL").unwrap();
    let to = text.find("\nThe IDs").unwrap();
    insta::assert_snapshot!(text.get(from..to).unwrap(), @"
    FAIL  credential      this job may not have `shop-db/read`: fact `ref` is `refs/heads/main` (policy.conditions, request req_1)

    The conditions that fail:

      policy     fact  expected         actual
      shop-read  ref   refs/heads/prod  refs/heads/main
    ");
    let json: Value = serde_json::from_str(&stdout(&doctor(&["--output", "json"]))).unwrap();
    assert_eq!(json["refusal"]["failed_conditions"][0]["fact"], "ref");
    let mut names: Vec<&String> = json["ids"].as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(names, ["owner_id", "repository_id"]);
    assert!(fake.asked("/token").is_empty());
}

#[test]
fn a_credential_that_the_job_may_have_is_named_with_its_policy_and_life() {
    let fake = Fake::start();
    let offers = json!({ "credentials": [{
        "credential": "shop-db/migrate", "kind": "postgres", "policy": "shop-migrate", "ttl": 900,
    }] });
    fake.next("/api/explain", Reply::json(200, &offers));
    fake.next(
        "/api/explain",
        Reply::json(200, &json!({ "permitted": true })),
    );
    let output = fake.on_github(&["doctor", "shop-db/migrate"]).observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let said =
        "ok    credential      this job may have `shop-db/migrate` for 15m, by policy shop-migrate";
    assert!(stdout(&output).contains(said), "{}", told(&output));
}
