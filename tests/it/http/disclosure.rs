//! What a refused job hears of policies that are about more than its own repository.

use serde_json::{Value, json};

use crate::support::TestBroker;
use crate::support::client::Answer;

const ROOT: &str = r#"
issuers:
  github: { provider: github, tenants: [ { owner: [acme, partner-of-acme], owner_id: ["48213377", "31337000"] } ] }
credentials:
  api: { kind: jwt, audience: "https://api.test", scopes: [read, write], max_ttl: 10m, owner: o, purpose: p, class: low }
  other: { kind: jwt, audience: "https://other.test", max_ttl: 10m, owner: o, purpose: p, class: low }
  guarded: { kind: jwt, audience: "https://guarded.test", max_ttl: 10m, owner: o, purpose: p, class: moderate }
require:
  - name: hosted
    of: { class: moderate }
    jobs: { issuer: github, runner: self-hosted, repository_id: ["702114589", "999000111"] }
    unless: { issuer: github, repository_id: "999000222", environment: break-glass }
    because: the network is closed
policies:
"#;

/// A policy of two blocks: the second has fewer lines, and is about another repository.
const BLOCKS: &str = r#"
  - name: two-blocks
    issuer: github
    when:
      - { repository: acme/shop, repository_id: "702114589", ref: refs/heads/release, environment: production, runner: self-hosted }
      - { repository: acme/topsecret, repository_id: "999000111" }
    grant: [ { credential: api, ttl: 5m, scopes: [read] } ]
"#;

/// One block about several repositories.
const LISTS: &str = r#"
  - name: one-block
    issuer: github
    when:
      repository: [acme/topsecret, acme/shop]
      repository_id: ["999000111", "702114589"]
      owner: [acme, partner-of-acme]
      ref: [refs/heads/release, refs/heads/next]
      job_workflow: { path: [acme/topsecret/.github/workflows/a.yml, acme/shop/.github/workflows/b.yml] }
      claim: { "/workflow": [topsecret-release, Release], "/repository": { not: acme/topsecret } }
    grant: [ { credential: api, ttl: 5m, scopes: [read] } ]
"#;

const GUARDED: &str = r#"
  - name: guarded
    issuer: github
    when: { repository: acme/shop, repository_id: "702114589" }
    grant: [ { credential: guarded, ttl: 5m }, { credential: api, ttl: 5m, scopes: [read] } ]
"#;

async fn broker(policies: &[&str]) -> TestBroker {
    let text = format!("{ROOT}{}", policies.concat());
    TestBroker::builder().policies(&text).start().await
}

/// The answers of every route that decides, to a job that may not have the credential.
async fn answers(broker: &TestBroker, token: &str, credential: &str) -> [Answer; 3] {
    let body = json!({ "credential": credential });
    [
        broker.exchange(token, credential).await,
        broker.credentials(token, credential).await,
        broker.ask("/api/explain", token, &body).await,
    ]
}

/// Nothing of a repository that is not the job's.
#[track_caller]
fn names_no_other(answer: &Answer) {
    for word in ["topsecret", "999000", "partner", "break-glass"] {
        assert!(!answer.body.contains(word), "{word}: {}", answer.body);
    }
}

#[track_caller]
fn facts(answer: &Answer) -> Vec<String> {
    let json = answer.json();
    let lines = json["failed_conditions"].as_array().unwrap().iter();
    lines
        .map(|line| line["fact"].as_str().unwrap().to_owned())
        .collect()
}

/// The line of the explanation on a fact, of the first block of the first policy.
#[track_caller]
fn line(answer: &Answer, fact: &str) -> Value {
    let json = answer.json();
    let lines = json["decision"]["policies"][0]["blocks"][0]["conditions"]
        .as_array()
        .unwrap_or_else(|| panic!("{}", answer.body))
        .clone();
    let line = lines.into_iter().find(|line| line["fact"] == fact);
    line.unwrap_or_else(|| panic!("{fact}: {}", answer.body))
}

/// T-139, T-82
#[tokio::test]
async fn a_block_about_another_repository_is_told_to_nobody_else() {
    let broker = broker(&[BLOCKS]).await;
    let token = broker.github(|_| {});
    for answer in answers(&broker, &token, "api").await {
        names_no_other(&answer);
        assert_eq!(facts(&answer), ["ref", "environment", "runner"]);
    }
    let record = &broker.events("denial").await[0];
    assert_eq!(record["reason"], "policy.conditions");
}

/// T-139
#[tokio::test]
async fn of_a_list_a_job_hears_its_own_entries() {
    let broker = broker(&[LISTS]).await;
    let token = broker.github(|_| {});
    let all = answers(&broker, &token, "api").await;
    for answer in &all {
        names_no_other(answer);
        let facts = facts(answer);
        assert_eq!(
            facts,
            ["ref", "job_workflow", "/workflow"],
            "{}",
            answer.body
        );
    }
    let explained = &all[2];
    let expected = |fact: &str| line(explained, fact)["expected"].clone();
    assert_eq!(expected("repository"), "[acme/shop, ...]");
    assert_eq!(expected("repository_id"), r#"["702114589", ...]"#);
    assert_eq!(expected("owner"), "[acme, ...]");
    assert_eq!(expected("ref"), "[refs/heads/release, refs/heads/next]");
    assert_eq!(expected("job_workflow"), "a value that is not shown");
    assert_eq!(expected("/workflow"), "a value that is not shown");
    assert_eq!(expected("/repository"), "{ not: ... }");
    // Renamed: which of the names was its own nobody can say.
    let renamed = broker.github(|job| job.repository = "acme/store".to_owned());
    for answer in answers(&broker, &renamed, "api").await {
        names_no_other(&answer);
        let line = &answer.json()["failed_conditions"][0];
        assert_eq!(line["fact"], "repository");
        assert_eq!(line["expected"], "a value that is not shown");
        assert_eq!(line["hint"], "the id fits: it was renamed or moved");
    }
    // The record is for those who keep the policies.
    let denials = broker.events("denial").await;
    assert!(denials[0].to_string().contains("topsecret"), "{denials:?}");
}

/// T-139: its own policies would explain nothing without what they want.
#[tokio::test]
async fn of_a_block_about_its_repository_alone_a_job_hears_every_line() {
    let own = r#"
  - name: own-block
    issuer: github
    when:
      repository: acme/shop
      repository_id: ["702114589", "999000111"]
      ref: { glob: "refs/heads/*", not: [refs/heads/main, refs/heads/next] }
      trigger: [manual, schedule]
      job_workflow: { path: acme/ci/.github/workflows/release.yml }
    grant: [ { credential: api, ttl: 5m, scopes: [read] } ]
"#;
    let broker = broker(&[own]).await;
    let token = broker.github(|_| {});
    for answer in answers(&broker, &token, "api").await {
        names_no_other(&answer);
        let json = answer.json();
        let lines = json["failed_conditions"].as_array().unwrap().iter();
        let lines: Vec<_> = lines
            .map(|line| (&line["fact"], &line["expected"]))
            .collect();
        let wanted = [
            (
                "ref",
                "{ glob: \"refs/heads/*\", not: [refs/heads/main, refs/heads/next] }",
            ),
            ("trigger", "[manual, schedule]"),
            (
                "job_workflow",
                "{ path: acme/ci/.github/workflows/release.yml }",
            ),
        ];
        assert_eq!(json!(lines), json!(wanted), "{}", answer.body);
    }
}

/// T-139
#[tokio::test]
async fn an_explanation_of_a_permit_names_no_other_repository_either() {
    let several = LISTS
        .replace("refs/heads/release", "refs/heads/main")
        .replace("workflows/b.yml", "workflows/deploy.yml")
        .replace("Release]", "Deploy]");
    let broker = broker(&[several.as_str()]).await;
    let body = json!({ "credential": "api" });
    let token = broker.github(|_| {});
    let answer = broker.ask("/api/explain", &token, &body).await;
    assert_eq!(answer.json()["permitted"], true, "{}", answer.body);
    names_no_other(&answer);
    assert_eq!(line(&answer, "/workflow")["expected"], "[Deploy, ...]");
}

/// T-119, T-139: whoever hears why hears no positions in files and no exemptions.
#[tokio::test]
async fn an_explanation_shows_no_paths_and_no_exemptions_whatever_the_setting() {
    for setting in ["repository", "always"] {
        let text = format!("{ROOT}{GUARDED}{BLOCKS}");
        let broker = TestBroker::builder()
            .policies(&text)
            .setting(&format!("disclose: {setting}"))
            .start()
            .await;
        let folder = broker.file("policies");
        let token = broker.github(|_| {});
        for credential in ["guarded", "api", "other"] {
            for answer in answers(&broker, &token, credential).await {
                for word in ["root.yaml", "place", "unless", "999000222", "break-glass"] {
                    assert!(!answer.body.contains(word), "{word}: {}", answer.body);
                }
                assert!(!answer.body.contains(folder.to_str().unwrap()));
            }
        }
        let body = json!({ "credential": "guarded" });
        let answer = broker.ask("/api/explain", &token, &body).await;
        let requirement = &answer.json()["decision"]["requirements"][0];
        assert_eq!(requirement["requirement"], "hosted", "{}", answer.body);
        assert_eq!(requirement["because"], "the network is closed");
        assert_eq!(requirement["holds"], false);
    }
}

/// T-82, T-52: the trigger alone keeps it from hearing more, so that is what it hears.
#[tokio::test]
async fn a_pull_request_hears_its_trigger_and_nothing_of_any_policy() {
    let broker = broker(&[BLOCKS, LISTS]).await;
    let token = broker.github(|job| job.event = "pull_request".to_owned());
    let first = broker.exchange(&token, "api").await;
    assert_eq!(first.reason(), "policy.trigger");
    insta::assert_snapshot!(
        first.text("/error_description"),
        @"fact `trigger` is `pull_request`: a run with this trigger is refused unless a policy names the trigger"
    );
    for credential in ["other", "guarded", "invented", "ap"] {
        let answer = broker.exchange(&token, credential).await;
        assert_eq!(answer.without_id(), first.without_id(), "{credential}");
        for answer in answers(&broker, &token, credential).await {
            let json = answer.json();
            assert_eq!(json["reason"], "policy.trigger");
            assert_eq!(
                (json.get("failed_conditions"), json.get("decision")),
                (None, None)
            );
            for word in ["one-block", "two-blocks", "production"] {
                assert!(!answer.body.contains(word), "{word}: {}", answer.body);
            }
        }
    }
    // Of another repository, it is an unrelated caller like any other.
    let elsewhere = broker.github(|job| {
        job.event = "pull_request".to_owned();
        job.repository = "acme/elsewhere".to_owned();
        job.repository_id = "5".to_owned();
    });
    let answer = broker.exchange(&elsewhere, "api").await;
    assert_eq!(answer.reason(), "policy.denied");
}

/// T-82: one policy lets it hear more, and others that do not name its trigger stay unknown to it.
#[tokio::test]
async fn a_run_that_one_policy_names_hears_nothing_of_the_others() {
    let reviews = r#"
  - name: reviews
    issuer: github
    when: { repository: acme/shop, repository_id: "702114589", trigger: pull_request }
    grant: [ { credential: other, ttl: 5m } ]
"#;
    let broker = broker(&[BLOCKS, reviews]).await;
    let token = broker.github(|job| job.event = "pull_request".to_owned());
    let granted_to_pushes = broker.exchange(&token, "api").await;
    let granted_to_nobody = broker.exchange(&token, "guarded").await;
    insta::assert_snapshot!(
        granted_to_pushes.text("/error_description"),
        @"no policy for this repository grants `api` to a run with trigger `pull_request`; its policies grant `other`"
    );
    assert_eq!(granted_to_nobody.reason(), granted_to_pushes.reason());
    assert_eq!(
        granted_to_nobody.text("/error_description"),
        granted_to_pushes
            .text("/error_description")
            .replace("`api`", "`guarded`"),
    );
    for answer in answers(&broker, &token, "api").await {
        assert!(!answer.body.contains("two-blocks"), "{}", answer.body);
    }
}

/// A block to paste stands only where a policy could help.
#[tokio::test]
async fn a_refusal_that_no_policy_mends_shows_no_block_to_paste() {
    let broker = broker(&[GUARDED]).await;
    let token = broker.github(|_| {});
    let when = |answer: &Answer| answer.json().get("when").is_some();
    for (more, credential, reason) in [
        (&[("ttl", "1h")][..], "api", "policy.ttl"),
        (&[("scope", "read write")], "api", "policy.scope"),
        (&[], "apj", "policy.credential"),
        (&[], "guarded", "policy.requirement"),
    ] {
        let answer = broker.exchange_with(&token, credential, more, &[]).await;
        assert_eq!(answer.reason(), reason, "{}", answer.body);
        assert!(!when(&answer), "{}", answer.body);
    }
    let not_granted = broker.exchange(&token, "other").await;
    assert_eq!(not_granted.reason(), "policy.not_granted");
    assert!(when(&not_granted));
}
