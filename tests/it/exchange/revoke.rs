//! Revocation: what each kind of handle is told.

use std::time::Duration;

use hallpass::clock::Timestamp;
use hallpass::config::Limits;
use hallpass::lease::{self, LeaseContents};
use hallpass::rootkey::{RootKey, RootKeys};

use crate::support::TestBroker;
use crate::support::client::{Answer, PATIENCE, form, post_form};
use crate::support::tokens::AUDIENCE;

async fn revoke(broker: &TestBroker, handle: &str) -> Answer {
    post_form(broker.public(), "/revoke", &form(&[("token", handle)])).await
}

/// T-113
#[tokio::test]
async fn a_handle_ends_its_lease_and_says_so_again_afterwards() {
    let broker = TestBroker::start().await;
    let granted = broker
        .exchange(&broker.github(|_| {}), "shop-db/read")
        .await;
    let handle = granted.text("/hallpass/lease");
    assert_eq!(broker.database.live(), 1);
    for _ in 0..2 {
        let answer = revoke(&broker, &handle).await;
        assert_eq!(
            (answer.status, answer.text("/lease").as_str()),
            (200, "gone")
        );
        assert_eq!(broker.database.live(), 0);
    }
    let events = broker.events("revocation").await;
    assert_eq!(events.len(), 2);
    assert_eq!(events[0]["result"], "gone");
}

/// T-113
#[tokio::test]
async fn a_handle_of_an_expired_lease_still_revokes() {
    let broker = TestBroker::start().await;
    let granted = broker
        .exchange(&broker.github(|_| {}), "shop-db/read")
        .await;
    broker.clock.advance(Duration::from_secs(86_400));
    let answer = revoke(&broker, &granted.text("/hallpass/lease")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(broker.database.live(), 0);
}

/// T-113
#[tokio::test]
async fn a_database_that_is_down_is_said_to_be_pending() {
    let broker = TestBroker::start().await;
    let granted = broker
        .exchange(&broker.github(|_| {}), "shop-db/read")
        .await;
    broker.database.down(true);
    let answer = revoke(&broker, &granted.text("/hallpass/lease")).await;
    assert_eq!(
        (answer.status, answer.text("/lease").as_str()),
        (202, "pending")
    );
}

/// T-113
#[tokio::test]
async fn a_database_that_hangs_is_said_to_be_pending_and_the_lease_ends_all_the_same() {
    let limits = Limits {
        request_time: Duration::from_secs(1),
        ..Limits::default()
    };
    let broker = TestBroker::builder().limits(limits).start().await;
    let granted = broker
        .exchange(&broker.github(|_| {}), "shop-db/read")
        .await;
    broker.database.exit.forget_permits(1_000);
    let answer = revoke(&broker, &granted.text("/hallpass/lease")).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    assert_eq!(answer.text("/lease"), "pending");
    assert_eq!(broker.database.live(), 1);
    broker.database.exit.add_permits(1);
    let ended = tokio::time::timeout(PATIENCE, async {
        while broker.events("revocation").await.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    ended.await.unwrap();
    assert_eq!(broker.events("revocation").await[0]["result"], "gone");
    assert_eq!(broker.database.live(), 0);
}

/// T-113
#[tokio::test]
async fn a_jwt_cannot_be_revoked() {
    let broker = TestBroker::start().await;
    let granted = broker.exchange(&broker.github(|_| {}), "deploy-api").await;
    let answer = revoke(&broker, &granted.text("/access_token")).await;
    assert_eq!(
        (answer.status, answer.text("/error").as_str()),
        (400, "unsupported_token_type")
    );
}

/// T-113
#[tokio::test]
async fn a_handle_that_no_key_of_ours_opens_is_refused() {
    let broker = TestBroker::start().await;
    let lease = LeaseContents {
        target: "shop-db".to_owned(),
        name: "hp_x".to_owned(),
        expires_at: Timestamp::from_unix(2_000_000_000),
        policy: "p".to_owned(),
        issuer: "i".to_owned(),
        subject: "s".to_owned(),
        repository: None,
    };
    // Another broker's root, and so also a root of ours that was retired.
    let foreign = RootKeys::new(AUDIENCE, 1, vec![RootKey::generate().unwrap()]).unwrap();
    let foreign = lease::seal(&lease, &foreign).unwrap();
    let granted = broker
        .exchange(&broker.github(|_| {}), "shop-db/read")
        .await;
    let handle = granted.text("/hallpass/lease");
    let (cut, _) = handle.split_at(handle.len() - 4);
    for wrong in [
        foreign.expose().as_str(),
        cut,
        "hpl_",
        "hpl_AAAA",
        "anything",
        "hpl_%",
    ] {
        let answer = revoke(&broker, wrong).await;
        assert_eq!(
            (answer.status, answer.text("/error").as_str()),
            (400, "invalid_request"),
            "{wrong}"
        );
    }
    assert_eq!(revoke(&broker, "").await.reason(), "request.missing");
    assert_eq!(broker.database.live(), 1);
}
