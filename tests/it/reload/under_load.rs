//! Versions are swapped while many exchange: everything fits exactly one of them.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::{broker, changed_from, revision};
use crate::support::TestBroker;
use crate::support::broker::POLICIES;
use crate::support::wait::until;

/// Two versions that differ in everything a decision says: the policy's name, scopes, and life.
fn versions() -> [String; 2] {
    let [one, two] = [
        ("one", "deploy:staging", "5m"),
        ("two", "deploy:production", "4m"),
    ]
    .map(|(name, scope, ttl)| {
        POLICIES
            .replacen("name: shop-deploy\n", &format!("name: shop-{name}\n"), 1)
            .replacen(
                r#"ttl: 5m, scopes: ["deploy:staging", "deploy:production"]"#,
                &format!(r#"ttl: {ttl}, scopes: ["{scope}"]"#),
                1,
            )
    });
    assert_ne!(one, two);
    [one, two]
}

/// What an answer or an event says of its version, apart from the revision.
fn decision(policy: &Value, scopes: &Value) -> String {
    format!("{policy} {scopes}")
}

/// T-77
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_decision_and_its_event_fit_exactly_one_version() {
    let [one, two] = versions();
    let broker = broker()
        .policies(&one)
        .setting("limits: { per_repository_and_minute: 6000 }")
        .start()
        .await;
    let broker = Arc::new(broker);
    let is_over = Arc::new(AtomicBool::new(false));
    let ask = |broker: Arc<TestBroker>, is_over: Arc<AtomicBool>| async move {
        let mut seen = Vec::new();
        while !is_over.load(Ordering::Relaxed) {
            let token = broker.github(|_| {});
            let answer = broker.credentials(&token, "deploy-api").await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            seen.push(answer.json());
            // Enough of them between any two swaps, and no more than the limits allow.
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        seen
    };
    let asking: Vec<_> = (0..8)
        .map(|_| tokio::spawn(ask(Arc::clone(&broker), Arc::clone(&is_over))))
        .collect();
    let mut revisions = BTreeMap::new();
    revisions.insert(revision(&broker), "one");
    for text in [&two, &one, &two, &one, &two] {
        let before = revision(&broker);
        fs::write(broker.file("policies/root.yaml"), text).unwrap();
        changed_from(&broker, &before).await;
        revisions.insert(revision(&broker), if text == &one { "one" } else { "two" });
    }
    is_over.store(true, Ordering::Relaxed);
    let mut answers = Vec::new();
    for asked in asking {
        answers.extend(asked.await.unwrap());
    }
    assert_eq!(revisions.len(), 2);
    let expected = |revision: &Value| {
        let (name, scope) = match revisions[revision.as_str().unwrap()] {
            "one" => ("shop-one", "deploy:staging"),
            _ => ("shop-two", "deploy:production"),
        };
        decision(&name.into(), &serde_json::json!([scope]))
    };
    let mut counts = BTreeMap::new();
    for answer in &answers {
        let found = decision(&answer["policy"], &answer["credential"]["scopes"]);
        assert_eq!(found, expected(&answer["policies_revision"]), "{answer}");
        *counts.entry(found).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 2, "both versions answered: {counts:?}");
    let intents = broker.events("intent").await;
    assert_eq!(intents.len(), answers.len());
    for intent in &intents {
        let found = decision(&intent["policy"], &intent["scopes"]);
        assert_eq!(found, expected(&intent["revision"]), "{intent}");
    }
}

/// T-77
#[tokio::test]
async fn a_request_under_way_ends_on_the_version_it_began_with() {
    let broker = broker().start().await;
    let before = revision(&broker);
    broker.database.gate.forget_permits(1_000);
    let token = broker.github(|_| {});
    let (answer, ()) = tokio::join!(broker.credentials(&token, "shop-db/read"), async {
        until("the mint began", async || broker.database.started() == 1).await;
        let text = POLICIES.replace("- { credential: shop-db/read, ttl: 15m }", "");
        fs::write(broker.file("policies/root.yaml"), text).unwrap();
        changed_from(&broker, &before).await;
        broker.database.gate.add_permits(1);
    });
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["policies_revision"], before.as_str());
    let next = broker
        .credentials(&broker.github(|_| {}), "shop-db/read")
        .await;
    assert_eq!(next.reason(), "policy.not_granted", "{}", next.body);
}
