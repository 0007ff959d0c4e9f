//! The folder of policies changes: whole, half, wrongly, or altogether.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::Duration;

use super::{OFTEN, broker, changed_from, no_problem, problem, problems, revision, write_policies};
use crate::support::TestBroker;
use crate::support::broker::POLICIES;
use crate::support::client::get;
use crate::support::wait::until;

/// Policies under which the job may deploy to staging alone.
fn narrower() -> String {
    POLICIES.replace(
        r#"ttl: 5m, scopes: ["deploy:staging", "deploy:production"]"#,
        r#"ttl: 4m, scopes: ["deploy:staging"]"#,
    )
}

async fn scopes(broker: &TestBroker) -> serde_json::Value {
    let answer = broker
        .credentials(&broker.github(|_| {}), "deploy-api")
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["credential"]["scopes"].clone()
}

/// T-77
#[tokio::test]
async fn changed_policies_serve_without_a_restart_and_are_on_record() {
    let broker = broker().start().await;
    let before = revision(&broker);
    assert_eq!(scopes(&broker).await.as_array().unwrap().len(), 2);
    write_policies(&broker, &narrower());
    changed_from(&broker, &before).await;
    assert_eq!(scopes(&broker).await.as_array().unwrap().len(), 1);
    let after = revision(&broker);
    let events = broker.events("policies").await;
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(events[1]["revision"], after.as_str());
    assert_eq!(events[1]["previous"], before.as_str());
    let intents = broker.events("intent").await;
    let revisions: Vec<_> = intents.iter().map(|one| &one["revision"]).collect();
    assert_eq!(revisions, [before.as_str(), after.as_str()]);
    let ready = get(broker.operator(), "/readyz").await.json();
    assert_eq!(ready["policies"]["revision"], after.as_str());
    let metrics = get(broker.operator(), "/metrics").await.body;
    assert!(
        metrics.contains(r#"hallpass_reloads_total{outcome="loaded"} 1"#),
        "{metrics}"
    );
}

/// T-77
#[tokio::test]
async fn a_bad_file_keeps_the_version_before_is_told_once_and_is_forgotten_when_mended() {
    let broker = broker().start().await;
    let before = revision(&broker);
    write_policies(
        &broker,
        &narrower().replace("repository: acme/shop", "repositry: acme/shop"),
    );
    let (reason, text) = problem(&broker).await;
    insta::assert_snapshot!(format!("{reason}: {text}"), @"policy.reload_failed: the folder `policies` has errors (2); the first: policies/root.yaml:27:7: unknown fact `repositry` [unknown-fact]; did you mean `repository`?");
    assert_eq!(revision(&broker), before);
    assert_eq!(scopes(&broker).await.as_array().unwrap().len(), 2);
    // Many looks later it was still told once.
    tokio::time::sleep(OFTEN * 6).await;
    let alerts = broker.events("alert").await;
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!(alerts[0]["reason"], "policy.reload_failed");
    let metrics = get(broker.operator(), "/metrics").await.body;
    assert!(
        metrics.contains(r#"hallpass_reloads_total{outcome="failed"} 1"#),
        "{metrics}"
    );
    write_policies(&broker, &narrower());
    changed_from(&broker, &before).await;
    no_problem(&broker).await;
    assert_eq!(scopes(&broker).await.as_array().unwrap().len(), 1);
}

/// T-77
#[tokio::test]
async fn what_is_put_back_as_it_was_is_no_problem_any_more() {
    let broker = broker().start().await;
    let before = revision(&broker);
    write_policies(&broker, "policies: [");
    problem(&broker).await;
    write_policies(&broker, POLICIES);
    no_problem(&broker).await;
    assert_eq!(revision(&broker), before);
    assert_eq!(broker.events("policies").await.len(), 1);
}

/// T-77
#[tokio::test]
async fn a_folder_that_is_gone_or_empty_is_a_failed_load_and_not_no_policies() {
    let broker = broker().start().await;
    let before = revision(&broker);
    let (folder, aside) = (broker.file("policies"), broker.file("aside"));
    fs::rename(&folder, &aside).unwrap();
    let (reason, text) = problem(&broker).await;
    insta::assert_snapshot!(format!("{reason}: {text}"), @"policy.reload_failed: the folder `policies` has errors (1); the first: policies: `policies` cannot be read: No such file or directory (os error 2) [folder]");
    fs::create_dir(&folder).unwrap();
    until("the empty folder shows", async || {
        problems(&broker)
            .await
            .iter()
            .any(|(_, text)| text.contains("has no policies left"))
    })
    .await;
    let (reason, text) = problem(&broker).await;
    insta::assert_snapshot!(format!("{reason}: {text}"), @"policy.reload_failed: `policies` has \
        no policies left; to remove all of them, keep a file that has only `issuers:`");
    assert_eq!(revision(&broker), before);
    assert_eq!(scopes(&broker).await.as_array().unwrap().len(), 2);
    fs::remove_dir(&folder).unwrap();
    fs::rename(&aside, &folder).unwrap();
    no_problem(&broker).await;
    assert_eq!(revision(&broker), before);
}

/// T-77, T-78
#[tokio::test]
async fn files_that_are_not_what_was_reviewed_keep_the_version_before() {
    let broker = broker().start().await;
    let before = revision(&broker);
    let file = broker.file("policies/root.yaml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let (_, text) = problem(&broker).await;
    assert!(text.contains("writable by every user"), "{text}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    no_problem(&broker).await;
    fs::write(broker.file("elsewhere.yaml"), narrower()).unwrap();
    fs::remove_file(&file).unwrap();
    symlink(broker.file("elsewhere.yaml"), &file).unwrap();
    let (_, text) = problem(&broker).await;
    assert!(
        text.contains("is a symbolic link that leads out of the folder"),
        "{text}"
    );
    assert_eq!(revision(&broker), before);
}

/// T-77
#[tokio::test]
async fn a_checkout_that_is_under_way_is_not_loaded_whatever_it_looks_like() {
    let broker = broker().start().await;
    let before = revision(&broker);
    // Each state is right in itself, and none is there at two looks.
    for step in 0..250 {
        write_policies(&broker, &format!("{}# {step}\n", narrower()));
        tokio::time::sleep(OFTEN / 8).await;
        assert_eq!(revision(&broker), before, "step {step}");
    }
    let (reason, text) = problem(&broker).await;
    insta::assert_snapshot!(format!("{reason}: {text}"), @"policy.reload_failed: the files kept \
        changing while they were read");
    write_policies(&broker, &narrower());
    changed_from(&broker, &before).await;
    no_problem(&broker).await;
    assert_eq!(broker.events("policies").await.len(), 2);
}

/// A folder as Kubernetes mounts a `ConfigMap`: links through `..data` to a folder of its own for
/// each version.
fn mount(broker: &TestBroker, version: &str, text: &str) {
    let folder = broker.file("policies");
    fs::create_dir(folder.join(version)).unwrap();
    fs::write(folder.join(version).join("root.yaml"), text).unwrap();
    symlink(version, folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
}

/// T-77, T-78
#[tokio::test]
async fn a_kubernetes_mount_is_followed_when_its_data_link_is_swapped() {
    let broker = broker().start().await;
    let before = revision(&broker);
    let folder = broker.file("policies");
    mount(&broker, "..2026_01_01", &narrower());
    fs::remove_file(folder.join("root.yaml")).unwrap();
    symlink("..data/root.yaml", folder.join("root.yaml")).unwrap();
    changed_from(&broker, &before).await;
    let first = revision(&broker);
    let second = narrower().replace("ttl: 4m", "ttl: 3m");
    mount(&broker, "..2026_01_02", &second);
    fs::remove_dir_all(folder.join("..2026_01_01")).unwrap();
    changed_from(&broker, &first).await;
    let answer = broker
        .credentials(&broker.github(|_| {}), "deploy-api")
        .await;
    assert_eq!(answer.json()["policies_revision"], revision(&broker));
    no_problem(&broker).await;
}

/// T-77
#[tokio::test]
async fn told_to_reload_it_does_so_at_once_and_still_waits_for_rest() {
    let broker = TestBroker::builder()
        .reloading(Duration::from_secs(600))
        .start()
        .await;
    let before = revision(&broker);
    write_policies(&broker, &narrower());
    assert_eq!(revision(&broker), before);
    broker.reload();
    changed_from(&broker, &before).await;
    assert_eq!(scopes(&broker).await.as_array().unwrap().len(), 1);
}

/// T-77, T-76
#[tokio::test]
async fn an_issuer_that_is_added_is_known_and_one_that_is_removed_is_not() {
    let broker = broker().start().await;
    let before = revision(&broker);
    let (github, gitlab) = POLICIES.split_once("  - name: shop-deploy-gitlab").unwrap();
    let without = github.replace(
        "  gitlab: { provider: gitlab, tenants: [ { owner: acme, owner_id: \"9133570\" } ] }\n",
        "",
    );
    assert!(gitlab.contains("issuer: gitlab") && !without.contains("gitlab"));
    write_policies(&broker, &without);
    changed_from(&broker, &before).await;
    let refused = broker
        .credentials(&broker.gitlab(|_| {}), "deploy-api")
        .await;
    assert_eq!(refused.reason(), "token.issuer", "{}", refused.body);
    let between = revision(&broker);
    write_policies(&broker, POLICIES);
    changed_from(&broker, &between).await;
    assert_eq!(revision(&broker), before);
    let answer = broker
        .credentials(&broker.gitlab(|_| {}), "deploy-api")
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}
