//! The audit file of a running broker is renamed, deleted, replaced or truncated: what is not in the
//! file at the path is not on record, and nothing is minted for it. Restarts are in
//! `reload/process.rs`.

use std::fs::{self, File};
use std::path::Path;

use serde_json::Value;

use super::{printed, verified};
use crate::support::TestBroker;
use crate::support::client::{Answer, get};
use crate::support::wait::until;

async fn exchange(broker: &TestBroker) -> Answer {
    let token = broker.github(|_| ());
    broker.exchange(&token, "deploy-api").await
}

async fn minted(broker: &TestBroker) {
    let answer = exchange(broker).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

fn events(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn count(path: &Path, event: &str) -> usize {
    let events = events(path).into_iter();
    events.filter(|found| found["event"] == event).count()
}

/// T-135
#[tokio::test]
async fn a_renamed_audit_file_is_followed_by_one_that_continues_its_chain() {
    let broker = TestBroker::start().await;
    let (path, old) = (broker.file("audit.jsonl"), broker.file("audit.jsonl.1"));
    minted(&broker).await;
    fs::rename(&path, &old).unwrap();
    minted(&broker).await;
    assert_eq!((count(&old, "outcome"), count(&path, "outcome")), (1, 1));
    // With a new file at the path already, as logrotate's `create` makes it.
    let older = broker.file("audit.jsonl.2");
    fs::rename(&path, &older).unwrap();
    File::create(&path).unwrap();
    minted(&broker).await;
    assert_eq!(count(&path, "outcome"), 1);
    broker.components().audit.close().await.unwrap();
    let whole = verified(&[&old, &older, &path]);
    assert_eq!(whole.status.code(), Some(0), "{}", printed(&whole));
    let alone = verified(&[&path]);
    assert_eq!(alone.status.code(), Some(4));
    assert!(
        printed(&alone).contains("pass the earlier file first"),
        "{}",
        printed(&alone)
    );
}

/// T-135
#[tokio::test]
async fn after_an_audit_file_is_deleted_or_replaced_records_are_in_the_file_at_its_path() {
    let broker = TestBroker::start().await;
    let path = broker.file("audit.jsonl");
    minted(&broker).await;
    fs::remove_file(&path).unwrap();
    minted(&broker).await;
    assert_eq!(count(&path, "intent"), 1);
    assert_eq!(count(&path, "removed"), 1);
    // Over it, as an editor does.
    let other = broker.file("other");
    fs::copy(&path, &other).unwrap();
    fs::rename(&other, &path).unwrap();
    minted(&broker).await;
    assert_eq!(count(&path, "outcome"), 2);
    broker.components().audit.close().await.unwrap();
    let found = verified(&[&path]);
    assert_eq!(found.status.code(), Some(4));
    let found = printed(&found);
    assert!(found.contains("which is not in these files"), "{found}");
    assert!(
        found.contains("the file was deleted or replaced after the line with head sha256:"),
        "{found}"
    );
    assert_eq!(found.matches("audit.jsonl:1: has sequence").count(), 1);
}

/// T-135
#[tokio::test]
async fn nothing_is_minted_while_no_file_can_be_at_the_path() {
    let broker = TestBroker::start().await;
    let (path, old) = (broker.file("audit.jsonl"), broker.file("audit.jsonl.1"));
    minted(&broker).await;
    fs::rename(&path, &old).unwrap();
    fs::create_dir(&path).unwrap();
    let refused = exchange(&broker).await;
    assert_eq!(refused.status, 503, "{}", refused.body);
    let ready = get(broker.operator(), "/readyz").await;
    assert_eq!(ready.status, 503, "{}", ready.body);
    let problem = ready.text("/sinks/file/problem");
    assert!(problem.ends_with("expected a regular file"), "{problem}");
    fs::remove_dir(&path).unwrap();
    until("the sink works again", async || {
        get(broker.operator(), "/readyz").await.status == 200
    })
    .await;
    minted(&broker).await;
    broker.components().audit.close().await.unwrap();
    let whole = verified(&[&old, &path]);
    assert_eq!(whole.status.code(), Some(0), "{}", printed(&whole));
}

/// T-135
#[tokio::test]
async fn a_truncated_audit_file_is_noticed_before_anything_more_counts() {
    let broker = TestBroker::start().await;
    let (path, copy) = (broker.file("audit.jsonl"), broker.file("audit.jsonl.1"));
    minted(&broker).await;
    let head = broker.components().audit.head();
    // As `copytruncate` does it when nothing comes between its two steps.
    fs::copy(&path, &copy).unwrap();
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(0)
        .unwrap();
    minted(&broker).await;
    let found = events(&path);
    let truncated = found.iter().find(|event| event["event"] == "truncated");
    assert_eq!(truncated.unwrap()["head"], format!("sha256:{head}"));
    assert_eq!(truncated.unwrap()["sink"], "file");
    broker.components().audit.close().await.unwrap();
    let whole = verified(&[&copy, &path]);
    assert_eq!(whole.status.code(), Some(0), "{}", printed(&whole));
    assert!(
        printed(&whole).contains(&format!(
            "the file was truncated in place after the line with head sha256:{head}"
        )),
        "{}",
        printed(&whole)
    );
}

/// T-135
#[tokio::test]
async fn lines_that_were_lost_between_copy_and_truncation_are_named() {
    let broker = TestBroker::start().await;
    let (path, copy) = (broker.file("audit.jsonl"), broker.file("audit.jsonl.1"));
    minted(&broker).await;
    fs::copy(&path, &copy).unwrap();
    minted(&broker).await;
    // In the middle of a line, so that the next one must not be glued to it.
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(100).unwrap();
    minted(&broker).await;
    broker.components().audit.close().await.unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.lines().next().unwrap().len() == 100, "{text}");
    let rest = broker.file("rest.jsonl");
    fs::write(&rest, text.split_once('\n').unwrap().1).unwrap();
    let found = verified(&[&copy, &rest]);
    assert_eq!(found.status.code(), Some(4));
    let found = printed(&found);
    assert!(
        found.contains("rest.jsonl:1: has sequence 8, expected 6: 2 lines missing before it"),
        "{found}"
    );
    assert!(found.contains("the file was truncated in place"), "{found}");
}
