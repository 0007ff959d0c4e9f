//! The settings file changes: what may, what may not, and what goes with the policies.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use super::{
    broker, changed_from, no_problem, problem, problems, revision, swapped, with, write_policies,
    write_settings,
};
use crate::support::TestBroker;
use crate::support::broker::{POLICIES, SETTINGS};
use crate::support::wait::until;

/// T-77
#[tokio::test]
async fn what_takes_a_restart_is_named_and_no_setting_applies_but_policies_do() {
    let broker = broker().start().await;
    let before = revision(&broker);
    write_settings(&broker, |text| {
        text.replace("public: 127.0.0.1:0", "public: 127.0.0.1:1")
            .replace("replica: test", "replica: other")
            + "blocked: { issuers: [github] }\n"
            + "replay: { store: redis, url: \"redis://127.0.0.1:6379\" }\n"
    });
    let (reason, text) = problem(&broker).await;
    insta::assert_snapshot!(format!("{reason}: {text}"), @"settings.restart_needed: none of the changed settings apply: a restart is needed to change `replica` from `test` to `other`, `listen.public` from `127.0.0.1:0` to `127.0.0.1:1`, `replay` from `memory, capacity 1048576` to `redis://127.0.0.1:6379/0, prefix hallpass:`");
    write_policies(&broker, &POLICIES.replace("ttl: 5m", "ttl: 4m"));
    changed_from(&broker, &before).await;
    assert_eq!(problem(&broker).await.0, "settings.restart_needed");
    // What could have applied by itself does not either: nothing is applied in part.
    let token = broker.github(|_| {});
    assert_eq!(broker.credentials(&token, "deploy-api").await.status, 200);
    fs::write(broker.file("hallpass.yaml"), SETTINGS).unwrap();
    no_problem(&broker).await;
    assert!(broker.events("settings").await.is_empty());
}

/// T-77
#[tokio::test]
async fn settings_that_are_wrong_or_gone_keep_those_before() {
    let broker = broker().start().await;
    write_settings(&broker, with("limts: {}"));
    let (reason, text) = problem(&broker).await;
    insta::assert_snapshot!(format!("{reason}: {text}"), @"settings.reload_failed: `hallpass.yaml` has errors (1); the first: hallpass.yaml:10:1: unknown key `limts` in the settings [unknown-key]; did you mean `limits`?");
    fs::remove_file(broker.file("hallpass.yaml")).unwrap();
    until("the file is missed", async || {
        problems(&broker)
            .await
            .iter()
            .any(|(_, text)| text.contains("cannot be read"))
    })
    .await;
    write_settings(&broker, with("disclose: always"));
    no_problem(&broker).await;
    let events = broker.events("settings").await;
    assert_eq!(events.len(), 1);
    assert_eq!(
        events[0]["changed"]["first"],
        serde_json::json!(["disclose"])
    );
}

/// T-03, T-77
#[tokio::test]
async fn changed_limits_hold_and_what_was_counted_still_counts() {
    let broker = broker().start().await;
    let ask = async || {
        broker
            .credentials(&broker.github(|_| {}), "deploy-api")
            .await
    };
    for _ in 0..3 {
        assert_eq!(ask().await.status, 200);
    }
    swapped(&broker, || {
        write_settings(&broker, with("limits: { per_repository_and_minute: 1 }"));
    })
    .await;
    // The three seconds' worth that was taken is still owed; and after another reload, too, what
    // was taken since.
    assert_eq!(ask().await.status, 429);
    broker.clock.advance(Duration::from_secs(3));
    assert_eq!(ask().await.status, 200);
    assert_eq!(ask().await.status, 429);
    let before = revision(&broker);
    write_policies(&broker, &POLICIES.replace("ttl: 5m", "ttl: 4m"));
    changed_from(&broker, &before).await;
    assert_eq!(ask().await.status, 429);
    swapped(&broker, || {
        write_settings(
            &broker,
            with("limits: { subject_token_bytes: 1024, per_repository_and_minute: 60 }"),
        );
    })
    .await;
    let long = broker.github(|job| job.actor = "a".repeat(2_000));
    let refused = broker.credentials(&long, "deploy-api").await;
    assert!(refused.body.contains("1024"), "{}", refused.body);
}

/// T-69, T-77
#[tokio::test]
async fn a_used_token_stays_used_through_a_reload() {
    let broker = broker().start().await;
    let token = broker.github(|_| {});
    assert_eq!(broker.credentials(&token, "deploy-api").await.status, 200);
    let before = revision(&broker);
    write_policies(&broker, &format!("{POLICIES}# new\n"));
    changed_from(&broker, &before).await;
    let again = broker.credentials(&token, "deploy-api").await;
    assert_eq!(again.reason(), "token.replayed", "{}", again.body);
}

/// T-64
#[tokio::test]
async fn a_blocked_issuer_and_a_blocked_key_are_refused_from_the_reload_on() {
    let broker = broker().start().await;
    let ask = async || {
        broker
            .credentials(&broker.github(|_| {}), "deploy-api")
            .await
    };
    assert_eq!(ask().await.status, 200);
    let blocks = [
        ("blocked: { issuers: [github] }", "issuer is blocked"),
        (
            "blocked: { keys: [ { issuer: github, kid: k1 } ] }",
            "key is blocked",
        ),
    ];
    for (line, told) in blocks {
        swapped(&broker, || write_settings(&broker, with(line))).await;
        let refused = ask().await;
        assert_eq!(refused.status, 400);
        assert!(refused.body.contains(told), "{}", refused.body);
        let gitlab = broker.gitlab(|_| {});
        assert_eq!(broker.credentials(&gitlab, "deploy-api").await.status, 200);
    }
    swapped(&broker, || {
        fs::write(broker.file("hallpass.yaml"), SETTINGS)
    })
    .await;
    assert_eq!(ask().await.status, 200);
    let events = broker.events("settings").await;
    assert_eq!(events.len(), 3, "{events:?}");
    assert_eq!(
        events[0]["changed"]["first"],
        serde_json::json!(["blocked"])
    );
}

/// T-64, T-76
#[tokio::test]
async fn a_block_that_would_block_nobody_is_named() {
    let broker = broker().start().await;
    write_settings(&broker, with("blocked: { issuers: [githb] }"));
    let (reason, text) = problem(&broker).await;
    insta::assert_snapshot!(format!("{reason}: {text}"), @"policy.reload_failed: blocked issuer `githb` is not the name or URL of an issuer in the policies; see `blocked:` in the settings");
    let start = TestBroker::builder().setting("blocked: { issuers: [githb] }");
    let Err(error) = start.try_start().await else {
        panic!("it started");
    };
    insta::assert_snapshot!(error, @"blocked issuer `githb` is not the name or URL of an issuer in the policies; see `blocked:` in the settings");
}

/// T-77
#[tokio::test]
async fn policies_and_targets_that_do_not_go_together_wait_for_each_other() {
    let broker = broker().start().await;
    let before = revision(&broker);
    let moved = POLICIES.replace("target: shop-db", "target: shop-db-2");
    write_policies(&broker, &moved);
    let (reason, text) = problem(&broker).await;
    insta::assert_snapshot!(format!("{reason}: {text}"), @"policy.reload_failed: credential `shop-db/read` of the policies uses target `shop-db-2`, which is not in the settings; add it under `targets:` (there: shop-db)");
    assert_eq!(revision(&broker), before);
    write_settings(&broker, |text| text.replace("shop-db:", "shop-db-2:"));
    changed_from(&broker, &before).await;
    no_problem(&broker).await;
    // The other way round: settings without the target that the policies still need.
    let between = revision(&broker);
    fs::write(broker.file("hallpass.yaml"), SETTINGS).unwrap();
    assert_eq!(problem(&broker).await.0, "policy.reload_failed");
    assert_eq!(broker.events("settings").await.len(), 1);
    write_policies(&broker, POLICIES);
    changed_from(&broker, &between).await;
    no_problem(&broker).await;
    assert_eq!(broker.events("settings").await.len(), 2);
}

/// T-77
#[tokio::test]
async fn bad_policies_do_not_keep_a_block_from_holding() {
    let broker = broker().start().await;
    write_policies(&broker, "policies: [");
    problem(&broker).await;
    swapped(&broker, || {
        write_settings(&broker, with("blocked: { issuers: [github] }"));
    })
    .await;
    let refused = broker
        .credentials(&broker.github(|_| {}), "deploy-api")
        .await;
    assert_eq!(refused.reason(), "token.issuer");
    assert_eq!(problem(&broker).await.0, "policy.reload_failed");
}

/// T-77
#[tokio::test]
async fn settings_in_a_kubernetes_mount_are_followed() {
    let broker = broker().start().await;
    let mount = |version: &str, text: String| {
        fs::create_dir(broker.file(version)).unwrap();
        fs::write(broker.file(version).join("hallpass.yaml"), text).unwrap();
        symlink(version, broker.file("..data_tmp")).unwrap();
        fs::rename(broker.file("..data_tmp"), broker.file("..data")).unwrap();
    };
    let linked = broker.file("link");
    symlink("..data/hallpass.yaml", &linked).unwrap();
    swapped(&broker, || {
        mount("..1", format!("{SETTINGS}disclose: always\n"));
        fs::rename(&linked, broker.file("hallpass.yaml")).unwrap();
    })
    .await;
    swapped(&broker, || {
        mount("..2", format!("{SETTINGS}disclose: never\n"));
    })
    .await;
    no_problem(&broker).await;
}

/// T-390
#[tokio::test]
async fn policies_that_share_logins_do_not_apply_with_used_tokens_in_memory() {
    let broker = broker().start().await;
    let before = revision(&broker);
    let sharing = "issuers:\n  own: { provider: generic, url: \"https://own.acme.dev\", facts: { project: \"/sub\" }, reuse: subject }\n";
    let policies = POLICIES.replacen("issuers:\n", sharing, 1);
    assert_ne!(policies, POLICIES);
    write_policies(&broker, &policies);
    let (reason, text) = problem(&broker).await;
    assert_eq!(reason, "policy.reload_failed", "{text}");
    assert!(text.starts_with("issuer `own` of the policies has `reuse: subject`, and `replay.store` of the settings is `memory`"), "{text}");
    assert_eq!(revision(&broker), before);
}
