//! Settings and policies that change while a broker serves.
#![cfg(test)]

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::support::TestBroker;
use crate::support::broker::{Builder, SETTINGS};
use crate::support::client::get;
use crate::support::wait::until;

mod connections;
mod links;
mod pinned;
mod policies;
mod process;
mod secrets;
mod settings;
mod under_load;

/// Between two looks at the files.
const OFTEN: Duration = Duration::from_millis(40);

/// A broker that looks at its files often.
fn broker() -> Builder {
    TestBroker::builder().reloading(OFTEN)
}

fn write_policies(broker: &TestBroker, text: &str) {
    fs::write(broker.file("policies/root.yaml"), text).unwrap();
}

/// Writes the settings of a test broker, with changes.
fn write_settings(broker: &TestBroker, change: impl FnOnce(String) -> String) {
    let text = change(SETTINGS.to_owned());
    assert_ne!(text, SETTINGS, "nothing changed");
    fs::write(broker.file("hallpass.yaml"), text).unwrap();
}

/// Settings with one more line.
fn with(line: &str) -> impl FnOnce(String) -> String {
    move |text| format!("{text}{line}\n")
}

async fn readiness(broker: &TestBroker) -> Value {
    let answer = get(broker.operator(), "/readyz").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

/// The reasons and texts of what readiness says could not be loaded.
async fn problems(broker: &TestBroker) -> Vec<(String, String)> {
    let ready = readiness(broker).await;
    assert_eq!(ready["ready"], true);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let problems = ready["reload"]["problems"].as_array().unwrap().iter();
    problems
        .map(|problem| (text(&problem["reason"]), text(&problem["problem"])))
        .collect()
}

/// Waits for the one problem there is; its reason and its text, without the folder's name.
async fn problem(broker: &TestBroker) -> (String, String) {
    until("a problem shows", async || {
        !problems(broker).await.is_empty()
    })
    .await;
    let mut all = problems(broker).await;
    assert_eq!(all.len(), 1, "{all:?}");
    let (reason, text) = all.remove(0);
    let root = broker.file("root.key");
    let folder = format!("{}/", root.parent().unwrap().display());
    (reason, text.replace(&folder, ""))
}

async fn no_problem(broker: &TestBroker) {
    until("nothing is wrong", async || {
        problems(broker).await.is_empty()
    })
    .await;
}

fn revision(broker: &TestBroker) -> String {
    broker.now().components().policies.revision().to_owned()
}

/// Waits until other policies serve than those of that revision.
async fn changed_from(broker: &TestBroker, before: &str) {
    until("other policies serve", async || revision(broker) != before).await;
}

/// Waits until another version serves, whatever of it changed.
async fn swapped<T>(broker: &TestBroker, change: impl FnOnce() -> T) {
    let before = broker.now();
    change();
    until("another version serves", async || {
        !std::sync::Arc::ptr_eq(&before, &broker.now())
    })
    .await;
}

/// The key ids that are published.
async fn published(broker: &TestBroker) -> Vec<String> {
    let keys = get(broker.public(), "/.well-known/jwks.json").await.json();
    let keys = keys["keys"].as_array().unwrap().iter();
    keys.map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}
