//! Inputs: what a request brings for the kind of its credential.

use hallpass::credential::kind;
use serde_json::json;

use crate::support::TestBroker;
use crate::support::client::{form, request};

/// T-160
#[tokio::test]
async fn an_input_that_the_kind_does_not_take_is_refused_to_whom_the_credential_is_permitted() {
    let broker = TestBroker::start().await;
    let body =
        json!({ "credential": "deploy-api", "inputs": { "public_key": "ssh-ed25519 AAAA" } });
    for (path, status) in [("/api/credentials", 400), ("/api/explain", 200)] {
        let answer = broker.ask(path, &broker.github(|_| {}), &body).await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (status, "request.input"),
            "{path}"
        );
        if status == 200 {
            // The policies permit it, and an exchange would refuse it all the same.
            assert_eq!(answer.json()["permitted"], false, "{}", answer.body);
        }
        insta::allow_duplicates! {
            insta::assert_snapshot!(answer.text("/error_description"), @"credential `deploy-api` is of kind `jwt`, which takes no inputs, and not `public_key`");
        }
        // An unrelated caller learns nothing of the credential's kind.
        let other = broker.github(|job| job.repository = "evil/shop".to_owned());
        let answer = broker.ask(path, &other, &body).await;
        assert_ne!(answer.reason(), "request.input", "{path}");
    }
    assert_eq!(broker.events("intent").await.len(), 0);
    // The refusal left the token's use free.
    let token = broker.github(|_| {});
    let refused = broker.ask("/api/credentials", &token, &body).await;
    assert_eq!(refused.status, 400);
    let none = json!({ "credential": "deploy-api", "inputs": {} });
    let answer = broker.ask("/api/credentials", &token, &none).await;
    assert_eq!(answer.status, 200);
    let intents = broker.events("intent").await;
    assert_eq!(intents.len(), 1);
    assert_eq!(intents[0].get("inputs"), None);
}

/// T-160
#[tokio::test]
async fn inputs_are_few_short_texts_of_printable_ascii() {
    let broker = TestBroker::start().await;
    let token = broker.github(|_| {});
    let many: serde_json::Map<_, _> = (0..17).map(|n| (format!("n{n}"), json!("x"))).collect();
    for inputs in [
        json!("public_key"),
        json!(["public_key"]),
        json!(null),
        json!({ "public_key": 1 }),
        json!({ "public_key": null }),
        json!({ "public_key": ["a"] }),
        json!({ "public_key": "a\nb" }),
        json!({ "public_key": "\u{e4}" }),
        json!({ "public\nkey": "a" }),
        json!({ "public_key": "a".repeat(16_385) }),
        json!({ "k".repeat(65): "a" }),
        json!(many),
    ] {
        let body = json!({ "credential": "deploy-api", "inputs": inputs });
        let answer = broker.ask("/api/credentials", &token, &body).await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (400, "request.input"),
            "{inputs}"
        );
        // An input of our own list is named, with what it is; nothing that was sent is repeated.
        let text = answer.text("/error_description");
        let summary = kind::input("public_key").unwrap().summary;
        let rest = text.replace("`public_key`", "").replace(summary, "");
        assert!(!rest.contains("public"), "{text}");
    }
    assert_eq!(broker.events("intent").await.len(), 0);
}

/// T-160
#[tokio::test]
async fn a_file_that_was_pasted_is_no_input_of_the_form_either() {
    let broker = TestBroker::start().await;
    let token = broker.github(|_| {});
    let body = form(&[
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("subject_token", &token),
        (
            "subject_token_type",
            "urn:ietf:params:oauth:token-type:id_token",
        ),
        ("audience", "deploy-api"),
        (
            "public_key",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC",
        ),
    ]);
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    let answer = request(broker.public(), "POST", "/token", &headers, body.as_bytes()).await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (400, "request.input")
    );
    insta::assert_snapshot!(answer.text("/error_description"), @"input `public_key` must be one line of printable ASCII without a line end: the public key to sign, as in the `.pub` file of ssh-keygen");
}
