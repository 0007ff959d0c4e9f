//! `labels:` of a credential: copied into audit events and metrics, and into nothing else.

use serde_json::json;

use crate::support::TestBroker;
use crate::support::client::get;

const POLICIES: &str = r#"
issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "48213377" } ] }
credentials:
  api:
    kind: jwt
    audience: https://api.test
    max_ttl: 10m
    owner: o
    purpose: p
    class: low
    labels: { service: shop, cost_center: "4711" }
  other: { kind: jwt, audience: "https://other.test", max_ttl: 10m, owner: o, purpose: p, class: low, labels: { service: ledger } }
  bare: { kind: jwt, audience: "https://bare.test", max_ttl: 10m, owner: o, purpose: p, class: low }
policies:
  - name: main
    issuer: github
    when: { repository: acme/shop, repository_id: "702114589" }
    grant: [ { credential: api, ttl: 5m }, { credential: bare, ttl: 5m } ]
  - name: never
    issuer: github
    when: { repository: acme/shop, repository_id: "702114589", environment: none }
    grant: [ { credential: other, ttl: 5m } ]
"#;

/// T-307
#[tokio::test]
async fn labels_are_in_events_and_metrics_and_nowhere_else() {
    let broker = TestBroker::builder().policies(POLICIES).start().await;
    let mut answers = Vec::new();
    for credential in ["api", "api", "bare", "other", "none"] {
        let token = broker.github(|_| {});
        answers.push(broker.exchange(&token, credential).await);
    }
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 200, 200, 400, 400]);
    for answer in &answers {
        assert!(!answer.body.contains("4711"), "{}", answer.body);
        assert!(!answer.body.contains("labels"), "{}", answer.body);
    }
    let intents = broker.events("intent").await;
    let labels: Vec<_> = intents.iter().map(|event| event.get("labels")).collect();
    let of_api = json!({ "service": "shop", "cost_center": "4711" });
    assert_eq!(labels, [Some(&of_api), Some(&of_api), None]);
    let denials = broker.events("denial").await;
    let labels: Vec<_> = denials.iter().map(|event| event.get("labels")).collect();
    assert_eq!(labels, [Some(&json!({ "service": "ledger" })), None]);
    let metrics = get(broker.operator(), "/metrics").await.body;
    let mut counted: Vec<_> = metrics
        .lines()
        .filter(|line| line.starts_with("hallpass_labelled_grants_total{"))
        .collect();
    counted.sort_unstable();
    assert_eq!(
        counted,
        [
            "hallpass_labelled_grants_total{label=\"cost_center\",value=\"4711\"} 2",
            "hallpass_labelled_grants_total{label=\"service\",value=\"shop\"} 2",
        ]
    );
}
