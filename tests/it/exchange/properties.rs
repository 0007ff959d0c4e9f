//! Repository properties of GitHub, through the real router.

use hallpass::clock::Timestamp;
use hallpass::dev::issuer::{GithubJob, github_claims};
use serde_json::{Value, json};

use crate::support::TestBroker;
use crate::support::broker::{GITHUB, POLICIES};
use crate::support::tokens::{AUDIENCE, NOW};

/// The first policy asks for properties too, and a requirement does.
fn policies() -> String {
    let declared = POLICIES.replacen(
        "provider: github, ",
        "provider: github, properties: { tier: text, team: list, pci: boolean }, ",
        1,
    );
    let asked = declared.replacen(
        "      trigger: [push, manual]\n",
        "      trigger: [push, manual]\n      property: { tier: critical, team: { member: pay } }\n",
        1,
    );
    format!(
        "{asked}require:\n  - {{ name: no-cards, of: all, jobs: {{ issuer: github, property: {{ pci: false }} }}, unless: {{ issuer: gitlab }}, because: so }}\n"
    )
}

fn token(broker: &TestBroker, properties: &[(&str, Value)]) -> String {
    let job = GithubJob::new(GITHUB, AUDIENCE, Timestamp::from_unix(NOW));
    let mut claims = github_claims(&job);
    for (name, value) in properties {
        claims[format!("repo_property_{name}")] = value.clone();
    }
    broker.key.token(&claims)
}

/// T-310
#[tokio::test]
async fn only_declared_properties_of_their_type_are_read_and_an_absent_one_fits_nothing() {
    let broker = TestBroker::builder().policies(&policies()).start().await;
    let fine = [
        ("tier", json!("critical")),
        ("team", json!("ops,pay")),
        ("pci", json!("false")),
        ("colour", json!({ "of": "no interest" })),
    ];
    let with = |name: &str, value: Option<Value>| {
        let kept = fine.iter().filter(|(one, _)| *one != name);
        let mut properties: Vec<_> = kept.cloned().collect();
        properties
            .extend(value.map(|value| (fine.iter().find(|one| one.0 == name).unwrap().0, value)));
        properties
    };
    let reason = async |properties: Vec<(&str, Value)>| {
        let token = token(&broker, &properties);
        let answer = broker.exchange(&token, "deploy-api").await;
        match answer.status {
            200 => "ok".to_owned(),
            _ => answer.reason(),
        }
    };
    assert_eq!(reason(fine.to_vec()).await, "ok");
    for (name, value) in [
        ("tier", None),
        ("tier", Some(json!(""))),
        ("tier", Some(Value::Null)),
        ("tier", Some(json!("Critical"))),
        ("team", None),
        ("team", Some(json!("payments,ops"))),
        ("team", Some(json!("p,a,y"))),
        ("team", Some(json!(" pay"))),
        ("pci", None),
        ("pci", Some(json!("true"))),
    ] {
        let refused = reason(with(name, value.clone())).await;
        let expected = if name == "pci" {
            "policy.requirement"
        } else {
            "policy.conditions"
        };
        assert_eq!(refused, expected, "{name}: {value:?}");
    }
    for (name, value) in [
        ("tier", json!(true)),
        ("tier", json!(["critical"])),
        ("tier", json!("kritisch-\u{e4}")),
        ("team", json!(7)),
        ("team", json!(["pay", 7])),
        ("pci", json!(false)),
        ("pci", json!("no")),
    ] {
        let refused = reason(with(name, Some(value.clone()))).await;
        assert_eq!(refused, "token.claim", "{name}: {value}");
    }
    // The audit log has the declared ones.
    let intents = broker.events("intent").await;
    assert_eq!(
        intents[0]["job"]["property"],
        json!({ "tier": "critical", "team": ["ops", "pay"], "pci": false })
    );
    let denials = broker.events("denial").await;
    let failed = Value::from(denials).to_string();
    assert!(failed.contains("\"fact\":\"property.tier\""), "{failed}");
}
