//! A broker that is killed at any moment leaves no user that lives on, and no second one.

use std::time::Duration;

use hallpass::credential::MintError;

use super::stage::{Stage, contents, fresh_random, keyed, logins, made};

/// Numbers that look random, the same in every run.
fn moments(seed: u64) -> impl Iterator<Item = Duration> {
    let mut state = seed;
    std::iter::from_fn(move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        Some(Duration::from_micros((state >> 33) % 60_000))
    })
}

async fn killed_mints(trials: usize) {
    let stage = Stage::start();
    for moment in moments(7).take(trials) {
        let token = fresh_random();
        let broker = stage.replica();
        let order = keyed("reader", &token, "one", false);
        let mint = tokio::spawn(async move { made(logins(&broker).make(order).await) });
        tokio::time::sleep(moment).await;
        mint.abort();
        let first: Option<Result<_, MintError>> = mint.await.ok();
        // The job asks another broker again, with its key: its request has the same lease.
        let other = stage.replica();
        let again = logins(&other).make(keyed("reader", &token, "one", false));
        let again = made(again.await).unwrap();
        if let Some(Ok(first)) = first {
            assert_eq!(first.username, again.username);
        }
        assert_eq!(stage.users(), [again.username.as_str()]);
        assert!(stage.can_log_in(&again).await);
        other.revoke(&contents(&again)).await.unwrap();
        assert_eq!(stage.users(), Vec::<String>::new());
    }
}

/// Also where the job never asks again, the end of the lease comes by its name.
async fn killed_and_forgotten(trials: usize) {
    let stage = Stage::start();
    for moment in moments(13).take(trials) {
        let broker = stage.replica();
        let mut order = keyed("reader", &fresh_random(), "one", false);
        order.life = 1;
        let mint = tokio::spawn(async move { logins(&broker).make(order).await.is_ok() });
        tokio::time::sleep(moment).await;
        mint.abort();
        let _ = mint.await;
    }
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    stage.replica().sweep("app").await.unwrap();
    assert_eq!(stage.users(), Vec::<String>::new());
}

async fn killed_ends(trials: usize) {
    let stage = Stage::start();
    for moment in moments(11).take(trials) {
        let login = stage.mint(600).await;
        let (broker, lease) = (stage.replica(), contents(&login));
        let end = tokio::spawn(async move { broker.revoke(&lease).await });
        tokio::time::sleep(moment).await;
        end.abort();
        let answer = end.await.ok();
        stage.revoke(&login).await;
        assert_eq!(stage.users(), Vec::<String>::new(), "{answer:?}");
    }
}

/// T-459
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_killed_while_it_asks_for_a_login_leaves_no_second_one() {
    killed_mints(8).await;
    killed_and_forgotten(8).await;
}

/// T-459
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_killed_while_it_asks_for_an_end_leaves_it_to_the_next() {
    killed_ends(8).await;
}

/// T-459
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes long; make test-long"]
async fn long_brokers_killed_at_two_hundred_moments_of_a_webhook() {
    killed_mints(200).await;
    killed_and_forgotten(200).await;
    killed_ends(200).await;
}
