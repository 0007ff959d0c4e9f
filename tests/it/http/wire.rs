//! The answers of the API are what its types say.

use hallpass::wire::{
    CredentialAnswer, CredentialRequest, Explanation, Offers, Refusal, RevokeAnswer, TokenAnswer,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::support::TestBroker;
use crate::support::client::{Answer, form, post_form};

/// Reads the answer as the type and writes it again: the same, member for member.
fn is_a<T: DeserializeOwned + Serialize>(answer: &Answer) {
    let json = answer.json();
    let read: T = serde_json::from_value(json.clone()).unwrap();
    let mut again = serde_json::to_value(read).unwrap();
    // Refusals have it, and so has every other answer of the broker.
    if let Some(id) = json.get("request_id") {
        again["request_id"] = id.clone();
    }
    assert_eq!(again, json);
}

type Members = serde_json::Map<String, Value>;

#[tokio::test]
async fn every_answer_is_of_the_type_that_the_client_reads() {
    let broker = TestBroker::start().await;
    for credential in ["deploy-api", "shop-db/read"] {
        let answer = broker.exchange(&broker.github(|_| {}), credential).await;
        assert_eq!(answer.status, 200, "{credential}");
        is_a::<TokenAnswer<String, Members>>(&answer);
        let request = CredentialRequest {
            credential: Some(credential.to_owned()),
            ttl: Some("60s".to_owned()),
            ..CredentialRequest::default()
        };
        let request = serde_json::to_value(request).unwrap();
        let explained = broker
            .ask("/api/explain", &broker.github(|_| {}), &request)
            .await;
        is_a::<Explanation>(&explained);
        let answer = broker
            .ask("/api/credentials", &broker.github(|_| {}), &request)
            .await;
        assert_eq!(answer.status, 200, "{credential}");
        is_a::<CredentialAnswer<String, Members>>(&answer);
        if let Some(lease) = answer.json()["lease"].as_str() {
            let revoked = post_form(broker.public(), "/revoke", &form(&[("token", lease)])).await;
            is_a::<RevokeAnswer>(&revoked);
        }
    }
    let offers = broker
        .ask("/api/explain", &broker.github(|_| {}), &json!({}))
        .await;
    is_a::<Offers>(&offers);
    for event in ["push", "pull_request"] {
        let token = broker.github(|job| {
            job.r#ref = "refs/heads/x".to_owned();
            job.event = event.to_owned();
        });
        is_a::<Refusal>(&broker.exchange(&token, "deploy-api").await);
        let asked = json!({ "credential": "deploy-api" });
        is_a::<Explanation>(&broker.ask("/api/explain", &token, &asked).await);
    }
    is_a::<Refusal>(&broker.exchange("a.b.c", "deploy-api").await);
}
