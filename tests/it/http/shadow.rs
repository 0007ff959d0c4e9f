//! What a broker says and records of entries with `shadow_until`.

use serde_json::Value;

use crate::support::TestBroker;
use crate::support::client::{Answer, get};

const POLICIES: &str = r#"
issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "48213377" } ] }
credentials:
  api: { kind: jwt, audience: "https://api.test", max_ttl: 10m, owner: o, purpose: p, class: low }
  other: { kind: jwt, audience: "https://other.test", max_ttl: 10m, owner: o, purpose: p, class: low }
policies:
  - name: main
    issuer: github
    when: { repository: acme/shop, repository_id: "702114589" }
    grant: [ { credential: api, ttl: 5m } ]
  - name: secret-plan
    issuer: github
    shadow_until: 2099-01-31T18:00:00Z
    when: { repository: acme/shop, repository_id: "702114589" }
    grant: [ { credential: other, ttl: 5m } ]
require:
  - name: self-hosted-only
    of: { credential: api }
    shadow_until: 2099-01-31T18:00:00Z
    jobs: { runner: self-hosted }
    because: the network is closed
"#;

async fn exchange(broker: &TestBroker, credential: &str) -> Answer {
    let token = broker.github(|_| {});
    broker.exchange(&token, credential).await
}

async fn series(broker: &TestBroker) -> Vec<String> {
    let metrics = get(broker.operator(), "/metrics").await.body;
    let lines = metrics.lines();
    lines
        .filter(|line| line.starts_with("hallpass_shadow_decisions_total{"))
        .map(str::to_owned)
        .collect()
}

/// T-267: the job is warned of the requirement, and hears nothing of the policy.
#[tokio::test]
async fn a_shadow_is_recorded_counted_and_announced_and_has_no_effect() {
    let broker = TestBroker::builder().policies(POLICIES).start().await;
    let answer = exchange(&broker, "api").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let decision = answer.text("/hallpass/decision");
    assert!(
        decision.ends_with("; will be refused by requirement `self-hosted-only`"),
        "{decision}"
    );
    let refused = exchange(&broker, "other").await;
    assert_eq!(refused.status, 400, "{}", refused.body);
    assert!(!refused.body.contains("secret-plan"), "{}", refused.body);
    assert!(!refused.body.contains("shadow"), "{}", refused.body);
    let shadow = |event: &Value| event["shadow"].as_str().unwrap_or_default().to_owned();
    let intents = broker.events("intent").await;
    assert_eq!(
        shadow(&intents[0]),
        "would have been refused by requirement self-hosted-only"
    );
    let denials = broker.events("denial").await;
    assert_eq!(
        shadow(&denials[0]),
        "would have been granted by policy secret-plan"
    );
    let mut counted = series(&broker).await;
    counted.sort();
    assert_eq!(
        counted,
        [
            "hallpass_shadow_decisions_total{would=\"grant\",entry=\"secret-plan\"} 1",
            "hallpass_shadow_decisions_total{would=\"refuse\",entry=\"self-hosted-only\"} 1",
        ]
    );
}

/// T-267
#[tokio::test]
async fn without_a_shadow_nothing_is_said_of_one() {
    let text = POLICIES.replace("    shadow_until: 2099-01-31T18:00:00Z\n", "");
    let text = text.replace("runner: self-hosted", "runner: hosted");
    let broker = TestBroker::builder().policies(&text).start().await;
    let answer = exchange(&broker, "api").await;
    assert!(!answer.body.contains("will be refused"), "{}", answer.body);
    assert_eq!(broker.events("intent").await[0].get("shadow"), None);
    assert_eq!(series(&broker).await, [""; 0]);
}
