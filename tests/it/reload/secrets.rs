//! Keys and certificates change: the root key ring, its generation, TLS.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use hallpass::rootkey::RootKey;
use serde_json::Value;

use super::{broker, no_problem, problem, problems, published, swapped, with, write_settings};
use crate::support::TestBroker;
use crate::support::broker::{
    ALSO_RS256, certificate, policies_with_rs256, rsa_key, write_private, write_root_key,
};
use crate::support::wait::until;

/// A token that is minted now; the key it is signed with.
async fn minted_with(broker: &TestBroker) -> String {
    minted(broker, "deploy-api").await
}

async fn minted(broker: &TestBroker, credential: &str) -> String {
    let answer = broker.credentials(&broker.github(|_| {}), credential).await;
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
    let old = RootKey::read_ring(&broker.file("root.key"))
        .unwrap()
        .remove(0);
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
    assert!(broker.events("alert").await.is_empty());
    let unseen = RootKey::generate().unwrap();
    swapped(&broker, || ring(&broker, &[&unseen, &new])).await;
    let alert = broker.events("alert").await.remove(0);
    assert_eq!(alert["reason"], "rootkey.not_published");
    let events = broker.events("settings").await;
    assert_eq!(events.len(), 4);
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
    let old = RootKey::read_ring(&broker.file("root.key"))
        .unwrap()
        .remove(0);
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

/// T-88, T-171
#[tokio::test]
async fn the_next_rs256_key_is_published_before_it_signs_and_the_old_one_after() {
    let (old, new) = (rsa_key(), rsa_key());
    let broker = broker()
        .policies(&policies_with_rs256())
        .setting(ALSO_RS256)
        .private_file("rsa.key", &old)
        .private_file("next.key", &new)
        .start()
        .await;
    let before = published(&broker).await;
    assert_eq!(before.len(), 5);
    let first = minted(&broker, "azure").await;
    // One of the two files is replaced: half of a rotation signs with nothing new.
    write_private(&broker.file("rsa.key"), &new);
    let (reason, text) = problem(&broker).await;
    insta::assert_snapshot!(format!("{reason}: {text}"), @"signing.reload_failed: RS256 key file `next.key` holds the same key as `rsa.key`; `next` must hold another one; see `signing.also` in the settings");
    assert_eq!(minted(&broker, "azure").await, first);
    swapped(&broker, || write_private(&broker.file("next.key"), &old)).await;
    no_problem(&broker).await;
    let second = minted(&broker, "azure").await;
    assert_ne!(second, first);
    // A relying party that keeps either set knows every key that signs meanwhile.
    let after = published(&broker).await;
    for set in [&before, &after] {
        assert!(set.contains(&first) && set.contains(&second));
    }
    let events = broker.events("settings").await;
    assert_eq!(
        events[0]["changed"]["first"],
        serde_json::json!(["signing.also"])
    );
    // The old one goes once no token of it lives any more.
    let gone = ALSO_RS256.replace(", next: { file: next.key }", "");
    swapped(&broker, || write_settings(&broker, with(&gone))).await;
    let last = published(&broker).await;
    assert!(!last.contains(&first) && last.contains(&second));
    assert_eq!(minted(&broker, "azure").await, second);
    assert_eq!(broker.events("alert").await.len(), 1, "the failed reload");
    // A key that was never `next` is not in the sets that relying parties keep.
    swapped(&broker, || {
        write_private(&broker.file("rsa.key"), &rsa_key());
    })
    .await;
    let third = minted(&broker, "azure").await;
    let alert = broker.events("alert").await.remove(1);
    assert_eq!(alert["reason"], "signing.not_published");
    assert!(
        alert["message"].as_str().unwrap().contains(&third),
        "{alert}"
    );
}

/// T-77, T-173
#[tokio::test]
async fn an_rs256_key_that_cannot_be_used_keeps_the_one_before() {
    let broker = broker()
        .policies(&policies_with_rs256())
        .setting(ALSO_RS256)
        .private_file("rsa.key", &rsa_key())
        .private_file("next.key", &rsa_key())
        .start()
        .await;
    let before = published(&broker).await;
    let first = minted(&broker, "azure").await;
    let mode = |mode| {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(broker.file("next.key"), permissions).unwrap();
    };
    mode(0o644);
    let (reason, text) = problem(&broker).await;
    assert_eq!(reason, "signing.reload_failed");
    assert!(text.contains("has mode 0644, expected 0400"), "{text}");
    mode(0o600);
    no_problem(&broker).await;
    fs::remove_file(broker.file("rsa.key")).unwrap();
    let (reason, text) = problem(&broker).await;
    assert_eq!(reason, "signing.reload_failed");
    assert!(
        text.starts_with("RS256 key file `rsa.key` cannot be read"),
        "{text}"
    );
    assert_eq!(published(&broker).await, before);
    assert_eq!(minted(&broker, "azure").await, first);
    // Settings without the key do not go with policies that need it.
    write_settings(&broker, |text| format!("{text}disclose: never\n"));
    let needed = "and the settings name no key for it";
    until("the missing key is named", async || {
        let all = problems(&broker).await;
        all.iter().any(|(_, text)| text.contains(needed))
    })
    .await;
    assert_eq!(minted(&broker, "azure").await, first);
}
