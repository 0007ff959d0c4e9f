//! What becomes of a lease, with the example of the other side.

use std::time::Duration;

use hallpass::credential::Revoked;
use hallpass::credential::jwt::SigningAlgorithm;
use serde_json::json;

use super::stage::{Stage, fresh_random, keyed, logins, made, order, order_for, signing};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_logs_in_until_it_is_revoked() {
    let stage = Stage::start();
    let login = stage.mint(600).await;
    assert!(stage.can_log_in(&login).await);
    let (_, who) = stage.whoami(&login.username, login.password.expose()).await;
    assert_eq!(who, json!({ "name": login.username, "group": "reader" }));
    assert_eq!(stage.whoami(&login.username, "other").await.0, 401);
    let members = serde_json::to_value(login.issued.members.expose()).unwrap();
    let url = format!("https://localhost:{}/whoami", stage.port);
    assert_eq!(members["members"], json!({ "url": url }));
    assert!(members["secrets"]["basic"].is_string());
    assert_eq!(stage.revoke(&login).await, Revoked::Gone);
    assert!(!stage.can_log_in(&login).await && stage.users().is_empty());
    // Once more is no error.
    assert_eq!(stage.revoke(&login).await, Revoked::Gone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_gone_with_the_sweep_after_its_end() {
    let stage = Stage::start();
    let short = stage.mint(1).await;
    let long = stage.mint(600).await;
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let report = stage.replica().sweep("app").await.unwrap();
    assert_eq!(report.removed, [short.username.as_str()]);
    assert_eq!(report.foreign_leases, Vec::<String>::new());
    assert_eq!(stage.users(), [long.username.as_str()]);
    let listing = stage.targets.get("app").unwrap().leases().await.unwrap();
    let records: Vec<_> = listing
        .leases
        .iter()
        .map(|listed| listed.record.as_ref().unwrap().policy.clone())
        .collect();
    assert_eq!(records.len(), 1);
    assert!(!stage.can_log_in(&short).await && stage.can_log_in(&long).await);
}

/// T-110, T-458
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_gets_the_same_login_of_the_other_side_and_brings_nothing_back() {
    let stage = Stage::start();
    let token = fresh_random();
    let first = stage
        .try_mint(keyed("reader", &token, "one", false))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let other = stage.replica();
    for is_repeat in [true, false] {
        let again = logins(&other).make(keyed("reader", &token, "one", is_repeat));
        let again = made(again.await).unwrap();
        assert_eq!(again.username, first.username);
        assert_eq!(again.password.expose(), first.password.expose());
        assert!(stage.can_log_in(&again).await);
    }
    let another = logins(&other).make(keyed("reader", &token, "two", true));
    assert_eq!(
        made(another.await).unwrap_err().reason.code(),
        "token.replayed"
    );
    let group = logins(&other).make(keyed("writer", &token, "one", true));
    assert_eq!(
        made(group.await).unwrap_err().reason.code(),
        "lease.changed"
    );
    stage.revoke(&first).await;
    for is_repeat in [true, false] {
        let late = stage
            .try_mint(keyed("reader", &token, "one", is_repeat))
            .await;
        assert_eq!(late.unwrap_err().reason.code(), "lease.over");
    }
    assert_eq!(stage.users(), Vec::<String>::new());
}

/// T-129, T-458: also when no broker remembers the token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_used_token_makes_no_second_login_by_webhook() {
    let stage = Stage::start();
    let token = fresh_random();
    let first = stage.try_mint(order("reader", 600, &token)).await.unwrap();
    let second = logins(&stage.replica())
        .make(order("reader", 600, &token))
        .await;
    assert_eq!(made(second).unwrap_err().reason.code(), "token.replayed");
    stage.revoke(&first).await;
    let third = logins(&stage.replica())
        .make(order("reader", 600, &token))
        .await;
    assert_eq!(made(third).unwrap_err().reason.code(), "token.replayed");
    assert_eq!(stage.users(), Vec::<String>::new());
}

/// T-106, T-458
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_brokers_make_one_login_by_webhook() {
    let stage = Stage::start();
    for _ in 0..5 {
        let token = fresh_random();
        let brokers = [stage.replica(), stage.replica(), stage.replica()];
        let mints = brokers.iter().map(|broker| async {
            made(
                logins(broker)
                    .make(keyed("reader", &token, "one", false))
                    .await,
            )
            .unwrap()
        });
        let made = futures_util::future::join_all(mints).await;
        let [one, two, three] = made.as_slice() else {
            panic!()
        };
        assert!(one.username == two.username && two.username == three.username);
        assert_eq!(stage.users(), [one.username.as_str()]);
        stage.revoke(one).await;
    }
}

/// T-130
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_repository_takes_no_more_places_of_a_webhook_than_it_may() {
    let stage = Stage::start();
    for _ in 0..5 {
        stage.try_mint(for_repository("acme/greedy")).await.unwrap();
    }
    let error = stage
        .try_mint(for_repository("acme/greedy"))
        .await
        .unwrap_err();
    assert_eq!(error.reason.code(), "database.repository_full");
    assert!(error.nothing_made);
    // Another broker finds them in its list.
    let error = logins(&stage.replica())
        .make(for_repository("acme/greedy"))
        .await;
    assert_eq!(
        made(error).unwrap_err().reason.code(),
        "database.repository_full"
    );
    stage.try_mint(for_repository("acme/other")).await.unwrap();
    assert_eq!(stage.users().len(), 6);
}

fn for_repository(repository: &str) -> hallpass::credential::database::Order {
    let mut order = order_for(repository, &fresh_random());
    order.wanted.group = "reader".to_owned();
    order
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_other_side_refuses_has_its_reason_and_makes_nothing() {
    let stage = Stage::start();
    let unlisted = stage.try_mint(order("admin", 600, &fresh_random())).await;
    assert_eq!(unlisted.unwrap_err().reason.code(), "database.group");
    let long = stage
        .try_mint(order("reader", 9_000, &fresh_random()))
        .await;
    let long = long.unwrap_err();
    assert_eq!(long.reason.code(), "database.ceiling");
    assert!(long.nothing_made);
    let mut settings = stage.settings.clone();
    settings.groups.push("owner".to_owned());
    let broker = super::stage::targets(&settings, &super::stage::SIGNING);
    let unknown = logins(&broker)
        .make(order("owner", 600, &fresh_random()))
        .await;
    assert_eq!(made(unknown).unwrap_err().reason.code(), "database.group");
    assert_eq!(stage.users(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_can_be_signed_with_ed25519() {
    let keys = signing(SigningAlgorithm::EdDsa);
    let stage = Stage::with(&keys, &[], |_| {});
    let login = stage.mint(600).await;
    assert!(stage.can_log_in(&login).await);
    stage.revoke(&login).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_side_that_is_away_makes_nothing_and_owes_a_revocation() {
    let mut stage = Stage::start();
    let login = stage.mint(600).await;
    stage.example = None;
    let error = stage
        .try_mint(order("reader", 600, &fresh_random()))
        .await
        .unwrap_err();
    assert_eq!(error.reason.code(), "database.unreachable");
    assert!(error.nothing_made);
    assert_eq!(stage.revoke(&login).await, Revoked::Pending);
    assert_eq!(stage.users(), [login.username.as_str()]);
}
