//! Links to policies change with the policies and their commit.

use std::fs;

use serde_json::{Value, json};

use super::{broker, changed_from, no_problem, problem, problems, revision, write_policies};
use crate::support::TestBroker;
use crate::support::broker::POLICIES;
use crate::support::wait::until;

fn link(commit: &str, line: usize) -> String {
    format!("https://git.acme.dev/acme/policies/blob/{commit}/hallpass/root.yaml#L{line}")
}

/// The `policy_url` in the answers of the JSON endpoint, the OAuth endpoint and the list.
async fn links(broker: &TestBroker) -> [Value; 3] {
    let token = || broker.github(|_| {});
    let json = broker.credentials(&token(), "deploy-api").await.json();
    let form = broker.exchange(&token(), "deploy-api").await.json();
    let offers = broker.ask("/api/explain", &token(), &json!({})).await;
    [
        json["policy_url"].clone(),
        form["hallpass"]["policy_url"].clone(),
        offers.json()["credentials"][0]["policy_url"].clone(),
    ]
}

/// T-234
#[tokio::test]
async fn a_policy_and_its_commit_change_together() {
    let (one, two) = ("1".repeat(40), "2".repeat(64));
    let broker = broker().linked(&format!("{one}\n")).start().await;
    let line = |text: &str| {
        let (before, _) = text.split_once("name: shop-deploy").unwrap();
        before.matches('\n').count() + 1
    };
    assert_eq!(
        links(&broker).await,
        [(); 3].map(|()| Value::from(link(&one, line(POLICIES))))
    );
    // The commit alone: other policies of the repository changed, or none.
    fs::write(broker.file("policies.commit"), &two).unwrap();
    until("the other commit serves", async || {
        links(&broker).await[0] == link(&two, line(POLICIES))
    })
    .await;
    let moved = format!("# moved\n\n{POLICIES}");
    let before = revision(&broker);
    write_policies(&broker, &moved);
    fs::write(broker.file("policies.commit"), &one).unwrap();
    changed_from(&broker, &before).await;
    assert_eq!(
        links(&broker).await,
        [(); 3].map(|()| Value::from(link(&one, line(&moved))))
    );
    let commits: Vec<_> = broker.events("policies").await;
    let commits: Vec<_> = commits
        .iter()
        .map(|event| event["commit"].clone())
        .collect();
    assert_eq!(commits, [one.as_str(), &two, &one]);
}

/// T-233, T-234
#[tokio::test]
async fn a_bad_commit_file_keeps_the_version_before_and_is_not_shown() {
    let commit = "1".repeat(40);
    let broker = broker().linked(&commit).start().await;
    let before = revision(&broker);
    let was = links(&broker).await;
    fs::write(broker.file("policies.commit"), "hunter2").unwrap();
    write_policies(&broker, &format!("# other\n{POLICIES}"));
    let (reason, text) = problem(&broker).await;
    assert_eq!(reason, "policy.reload_failed");
    assert!(
        text.contains("`policies.commit` does not hold a commit"),
        "{text}"
    );
    assert!(!text.contains("hunter2"), "{text}");
    assert_eq!(revision(&broker), before);
    assert_eq!(links(&broker).await, was);
    fs::remove_file(broker.file("policies.commit")).unwrap();
    until("the missing file shows", async || {
        problems(&broker)
            .await
            .iter()
            .any(|(_, text)| text.contains("cannot be read"))
    })
    .await;
    assert_eq!(links(&broker).await, was);
    fs::write(broker.file("policies.commit"), &commit).unwrap();
    changed_from(&broker, &before).await;
    no_problem(&broker).await;
}

/// T-235
#[tokio::test]
async fn a_refused_job_gets_no_link() {
    let broker = broker().linked(&"1".repeat(40)).start().await;
    let token = || broker.github(|job| job.r#ref = "refs/heads/x".to_owned());
    let asked = json!({ "credential": "deploy-api" });
    for answer in [
        broker.exchange(&token(), "deploy-api").await,
        broker.credentials(&token(), "deploy-api").await,
        broker.ask("/api/explain", &token(), &asked).await,
        broker.ask("/api/explain", &token(), &json!({})).await,
    ] {
        assert!(!answer.body.contains("git.acme.dev"), "{}", answer.body);
    }
}
