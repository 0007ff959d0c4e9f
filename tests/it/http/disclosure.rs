//! What a refused job hears of policies that are about more than its own repository.

use std::collections::BTreeSet;

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
    assert_eq!(
        expected("job_workflow"),
        "{ path: a value that is not shown }"
    );
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

/// A line of a policy about the job's own repository, and what the job hears of it.
const OPERATORS: [(&str, &str, &str); 18] = [
    // One value that would do: what it has to change, unless the fact can name a repository.
    ("environment", "production", "production"),
    ("sha", r#"{ glob: "abc*" }"#, r#"{ glob: "abc*" }"#),
    ("actor", "{ under: ops }", "{ under: ops }"),
    ("ref_protected", "false", "false"),
    ("visibility", "{ present: false }", "{ present: false }"),
    (
        "job_workflow",
        "{ path: acme/topsecret/.github/workflows/a.yml, ref: refs/heads/release }",
        "{ path: a value that is not shown, ref: refs/heads/release }",
    ),
    (
        "entry_workflow",
        "{ path: acme/shop/.github/workflows/release.yml }",
        "{ path: acme/shop/.github/workflows/release.yml }",
    ),
    ("/repository", "acme/topsecret", "a value that is not shown"),
    (
        "/workflow_ref",
        r#"{ glob: "acme/topsecret/**" }"#,
        "{ glob: ... }",
    ),
    (
        "/job_workflow_ref",
        r#"{ glob: "acme/shop/**/release.yml*" }"#,
        r#"{ glob: "acme/shop/**/release.yml*" }"#,
    ),
    (
        "/repository_owner",
        "{ under: acme/topsecret }",
        "{ under: ... }",
    ),
    // Lists and `not`: whole, unless the fact can name a repository.
    (
        "ref",
        "{ not: [refs/heads/next, refs/heads/main] }",
        "{ not: [refs/heads/next, refs/heads/main] }",
    ),
    ("ref_type", "[tag, branch]", "[tag, branch]"),
    ("trigger", "[manual, schedule]", "[manual, schedule]"),
    (
        "run_id",
        r#"[{ glob: "next-*" }, { under: next }]"#,
        r#"[{ glob: "next-*" }, { under: next }]"#,
    ),
    (
        "run_attempt",
        r#"[{ glob: "1*", not: next }, next]"#,
        r#"[{ glob: "1*", not: next }, next]"#,
    ),
    (
        "workflow",
        r#"{ not: { glob: "next*" } }"#,
        r#"{ not: { glob: "next*" } }"#,
    ),
    (
        "/sha",
        "[topsecret, { not: topsecret }]",
        "[{ not: ... }, ...]",
    ),
];

/// T-139: one rule, whatever the operator, also for a block about the job's repository only. Its
/// policies would explain nothing without the lines that the job has to change.
#[tokio::test]
async fn whatever_the_operator_a_job_hears_what_it_fits_or_must_change() {
    let lines = |is_claim: bool| {
        let lines = OPERATORS.iter();
        let lines = lines.filter(|(fact, ..)| fact.starts_with('/') == is_claim);
        let lines = lines.map(|(fact, wanted, _)| format!("\"{fact}\": {wanted}"));
        lines.collect::<Vec<_>>().join(", ")
    };
    let policy = format!(
        r#"
  - name: own
    issuer: github
    when: {{ repository: acme/shop, repository_id: "702114589", {}, claim: {{ {} }} }}
    grant: [ {{ credential: api, ttl: 5m, scopes: [read] }} ]
"#,
        lines(false),
        lines(true)
    );
    let broker = broker(&[&policy]).await;
    let token = broker.github(|_| {});
    let all = answers(&broker, &token, "api").await;
    for answer in &all {
        assert_eq!(answer.reason(), "policy.conditions", "{}", answer.body);
        names_no_other(answer);
        let facts = facts(answer);
        assert!(facts.contains(&"ref".to_owned()), "{facts:?}");
    }
    for (fact, _, expected) in OPERATORS {
        assert_eq!(line(&all[2], fact)["expected"], expected, "{fact}");
    }
    // The event has all of it.
    let denials = broker.events("denial").await;
    assert!(denials[0].to_string().contains("acme/topsecret/.github"));
    // Everybody may learn it where the settings say so.
    let text = format!("{ROOT}{policy}");
    let broker = TestBroker::builder().policies(&text);
    let broker = broker.setting("disclose: always").start().await;
    let token = broker.github(|_| {});
    for answer in answers(&broker, &token, "api").await {
        assert!(answer.body.contains("acme/topsecret/.github"));
    }
}

/// T-139, T-50: the id is the job's, and the name beside it may be another's.
#[tokio::test]
async fn a_job_whose_id_alone_fits_hears_no_name() {
    let policy = r#"
  - name: moved
    issuer: github
    when: { repository: acme/topsecret, repository_id: "702114589", owner: partner-of-acme }
    grant: [ { credential: api, ttl: 5m, scopes: [read] } ]
"#;
    let broker = broker(&[policy]).await;
    let token = broker.github(|_| {});
    for answer in answers(&broker, &token, "api").await {
        names_no_other(&answer);
        let json = answer.json();
        insta::allow_duplicates! {
            insta::assert_snapshot!(json["error_description"].as_str().unwrap(), @"fact `repository` is `acme/shop`, policy `moved` wants `a value that is not shown` (the id fits: it was renamed or moved); and one more");
        }
        assert_eq!(facts(&answer), ["repository", "owner"]);
    }
}

/// T-139: what a requirement wants of all jobs names no repository either.
#[tokio::test]
async fn a_requirement_names_no_other_repository() {
    let required = r#"
    jobs: { issuer: github, environment: [release], job_workflow: { path: acme/topsecret/.github/workflows/a.yml }, claim: { "/repository": acme/topsecret }, runner: self-hosted }
"#;
    let line = "    jobs: { issuer: github, runner: self-hosted, repository_id: [\"702114589\", \"999000111\"] }\n";
    let root = ROOT.replace(line, required.trim_start_matches('\n'));
    assert_ne!(root, ROOT);
    let text = format!("{root}{GUARDED}");
    let broker = TestBroker::builder().policies(&text).start().await;
    let token = broker.github(|_| {});
    for answer in answers(&broker, &token, "guarded").await {
        assert_eq!(answer.reason(), "policy.requirement", "{}", answer.body);
        names_no_other(&answer);
        assert!(answer.body.contains("self-hosted"), "{}", answer.body);
    }
}

/// T-82: the setting decides for each route, and never for the record.
#[tokio::test]
async fn with_disclosure_off_every_route_says_the_same_to_every_refused_job() {
    let text = format!("{ROOT}{GUARDED}{BLOCKS}");
    let broker = TestBroker::builder().policies(&text);
    let broker = broker.setting("disclose: never").start().await;
    let own = broker.github(|_| {});
    let review = broker.github(|job| job.event = "pull_request".to_owned());
    let other = broker.github(|job| {
        job.repository = "acme/elsewhere".to_owned();
        job.repository_id = "5".to_owned();
    });
    let mut said = Vec::new();
    for token in [&own, &review, &other] {
        for (credential, more) in [
            ("guarded", &[][..]),
            ("apj", &[]),
            ("other", &[]),
            ("api", &[("ttl", "1h")]),
            ("api", &[("scope", "read write")]),
        ] {
            let answer = broker.exchange_with(token, credential, more, &[]).await;
            let json = answer.json();
            assert_eq!(json["reason"], "policy.denied", "{}", answer.body);
            assert!(json.get("failed_conditions").is_none(), "{}", answer.body);
            said.push(json["error_description"].clone());
        }
        for answer in answers(&broker, token, "guarded").await {
            let json = answer.json();
            assert_eq!(json["reason"], "policy.denied", "{}", answer.body);
            assert!(json.get("decision").is_none(), "{}", answer.body);
            said.push(json["error_description"].clone());
        }
    }
    said.dedup();
    assert_eq!(said.len(), 1, "{said:?}");
    let reasons: Vec<_> = broker.events("denial").await;
    let reasons: BTreeSet<_> = reasons
        .iter()
        .map(|one| one["reason"].to_string())
        .collect();
    for reason in ["requirement", "credential", "not_granted", "ttl", "scope"] {
        let reason = format!("\"policy.{reason}\"");
        assert!(reasons.contains(&reason), "{reason}: {reasons:?}");
    }
}

/// The setting `always` tells every job with a genuine token what the policies want.
#[tokio::test]
async fn with_full_disclosure_an_unrelated_job_hears_what_failed() {
    let teams = r#"
  - name: teams
    issuer: github
    when: { repository: { glob: "acme/team-*" }, ref: [refs/heads/next] }
    grant: [ { credential: guarded, ttl: 5m } ]
"#;
    let text = format!("{ROOT}{teams}");
    let broker = TestBroker::builder().policies(&text);
    let broker = broker.setting("disclose: always").start().await;
    let other = broker.github(|job| {
        job.repository = "acme/elsewhere".to_owned();
        job.repository_id = "5".to_owned();
    });
    for answer in answers(&broker, &other, "guarded").await {
        assert_eq!(answer.reason(), "policy.conditions", "{}", answer.body);
        assert_eq!(facts(&answer), ["repository", "ref"]);
        let expected =
            |number: usize| answer.text(&format!("/failed_conditions/{number}/expected"));
        assert_eq!(expected(0), r#"{ glob: "acme/team-*" }"#);
        assert_eq!(expected(1), "[refs/heads/next]");
    }
    // One of no tenant hears the tenants.
    let foreign = broker.github(|job| {
        job.repository = "evil/shop".to_owned();
        job.owner_id = "666".to_owned();
    });
    let answer = broker.exchange(&foreign, "guarded").await;
    assert_eq!(answer.reason(), "policy.tenant", "{}", answer.body);
    assert!(answer.body.contains("partner-of-acme"), "{}", answer.body);
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
