//! Keys and certificates change: the root key ring, its generation, TLS.

use std::fs;

use hallpass::rootkey::RootKey;
use serde_json::Value;

use super::{broker, no_problem, problem, published, swapped, with, write_settings};
use crate::support::TestBroker;
use crate::support::broker::{certificate, write_root_key};
use crate::support::wait::until;

/// A token that is minted now; the key it is signed with.
async fn minted_with(broker: &TestBroker) -> String {
    let answer = broker
        .credentials(&broker.github(|_| {}), "deploy-api")
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let token = answer.text("/credential/token");
    let header = data_encoding::BASE64URL_NOPAD
        .decode(token.split('.').next().unwrap().as_bytes())
        .unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

/// T-112
#[tokio::test]
async fn a_raised_generation_withdraws_every_signing_key_at_the_next_reload() {
    let broker = broker().start().await;
    let before = published(&broker).await;
    // A relying party has seen these and keeps them for five minutes.
    assert!(before.contains(&minted_with(&broker).await));
    swapped(&broker, || {
        write_settings(&broker, with("signing: { generation: 2 }"));
    })
    .await;
    let after = published(&broker).await;
    assert_eq!(after.len(), before.len());
    assert!(after.iter().all(|kid| !before.contains(kid)));
    let kid = minted_with(&broker).await;
    assert!(after.contains(&kid) && !before.contains(&kid));
    let events = broker.events("settings").await;
    let changed = &events[0]["changed"]["first"];
    assert_eq!(*changed, serde_json::json!(["signing.generation"]));
    // Back again, they would be good again.
    write_settings(&broker, with("signing: { generation: 1 }"));
    let (reason, text) = problem(&broker).await;
    insta::assert_snapshot!(format!("{reason}: {text}"), @"settings.restart_needed: none of the changed settings apply: a restart is needed to change `signing.generation` from `2` to `1`");
    assert_eq!(published(&broker).await, after);
}

fn ring(broker: &TestBroker, roots: &[&RootKey]) {
    let lines: Vec<String> = roots
        .iter()
        .map(|root| root.to_text().expose().clone())
        .collect();
    fs::write(broker.file("root.key"), lines.join("\n")).unwrap();
}

/// T-112
#[tokio::test]
async fn a_new_root_in_the_ring_is_published_before_it_signs() {
    let broker = broker().start().await;
    let old = RootKey::read(&broker.file("root.key")).unwrap();
    let new = RootKey::generate().unwrap();
    let first = minted_with(&broker).await;
    swapped(&broker, || ring(&broker, &[&old, &new])).await;
    // What a relying party keeps for five minutes from now on.
    let kept = published(&broker).await;
    assert_eq!(kept.len(), 6);
    assert_eq!(minted_with(&broker).await, first);
    swapped(&broker, || ring(&broker, &[&new, &old])).await;
    let second = minted_with(&broker).await;
    assert_ne!(second, first);
    assert!(kept.contains(&second) && kept.contains(&first));
    swapped(&broker, || ring(&broker, &[&new])).await;
    assert!(!published(&broker).await.contains(&first));
    let events = broker.events("settings").await;
    assert_eq!(events.len(), 3);
    assert_eq!(
        events[0]["changed"]["first"],
        serde_json::json!(["root_key"])
    );
}

/// T-77, T-87
#[tokio::test]
async fn a_ring_that_cannot_be_used_keeps_the_one_before() {
    let broker = broker().start().await;
    let before = published(&broker).await;
    let old = RootKey::read(&broker.file("root.key")).unwrap();
    fs::write(broker.file("root.key"), "hallpass-root-1:AAECAw\n").unwrap();
    let (reason, text) = problem(&broker).await;
    insta::assert_snapshot!(format!("{reason}: {text}"), @"rootkey.reload_failed: root key file `root.key`: the root key has 4 bytes, expected 32; make one with `hallpass keys generate`");
    assert_eq!(published(&broker).await, before);
    write_root_key(&broker.file("root.key"), &old);
    no_problem(&broker).await;
}

/// The certificate that a new connection is shown.
async fn shown(broker: &TestBroker) -> Vec<u8> {
    let authority = fs::read(broker.file("trusted.pem")).unwrap();
    match broker.health_over_tls(&authority).await {
        Ok(answer) if answer.status() == 200 => authority,
        Ok(_) | Err(_) => Vec::new(),
    }
}

/// T-57, T-77
#[tokio::test]
async fn a_renewed_certificate_is_shown_to_new_connections_and_half_a_renewal_is_not() {
    let broker = broker().tls().start().await;
    let trust = || fs::copy(broker.file("cert.pem"), broker.file("trusted.pem")).unwrap();
    trust();
    assert!(!shown(&broker).await.is_empty());
    let made = tempfile::tempdir().unwrap();
    let renewed = certificate(made.path());
    // The certificate first: it does not go with the old key.
    fs::copy(&renewed.cert, broker.file("cert.pem")).unwrap();
    let (reason, text) = problem(&broker).await;
    insta::assert_snapshot!(format!("{reason}: {text}"), @"tls.reload_failed: `cert.pem` does not go with the key: keys may not be consistent: KeyMismatch; see `listen.tls` in the settings");
    assert!(!shown(&broker).await.is_empty(), "the old one is shown");
    fs::copy(&renewed.key, broker.file("key.pem")).unwrap();
    no_problem(&broker).await;
    trust();
    until("the renewed one is shown", async || {
        !shown(&broker).await.is_empty()
    })
    .await;
    let events = broker.events("settings").await;
    assert_eq!(
        events[0]["changed"]["first"],
        serde_json::json!(["listen.tls"])
    );
}
