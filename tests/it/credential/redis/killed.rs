//! A broker that is killed at any moment leaves nothing that lives on, and no second login.

use std::time::Duration;

use hallpass::credential::MintError;

use super::stage::{Flavour, Session, Stage, contents, fresh_random, keyed, logins, made};

/// Numbers that look random, the same in every run.
fn moments(seed: u64) -> impl Iterator<Item = Duration> {
    let mut state = seed;
    std::iter::from_fn(move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        Some(Duration::from_micros((state >> 33) % 4_000))
    })
}

async fn killed_mints(trials: usize) {
    let stage = Stage::with(Flavour::Redis, 3, 2, &[]);
    for moment in moments(7).take(trials) {
        let token = fresh_random();
        let broker = stage.replica();
        let order = keyed("app_rw", &token, "one", false);
        let mint = tokio::spawn(async move { made(logins(&broker).make(order).await) });
        tokio::time::sleep(moment).await;
        mint.abort();
        let first: Option<Result<_, MintError>> = mint.await.ok();
        // The job asks another broker again, with its key.
        let other = stage.replica();
        let again = made(
            logins(&other)
                .make(keyed("app_rw", &token, "one", false))
                .await,
        );
        match (&first, &again) {
            (Some(Ok(first)), Ok(again)) => assert_eq!(first.username, again.username),
            (_, Ok(_)) => {}
            // It was killed between the claim and the login: nothing is made for the token.
            (_, Err(error)) => assert_eq!(error.reason.code(), "lease.over"),
        }
        let made: Vec<_> = [first.and_then(Result::ok), again.ok()]
            .into_iter()
            .flatten()
            .collect();
        let leases = stage.leases();
        assert!(leases.len() <= 1, "{leases:?}");
        // Also where no broker got an answer, an operator or the end finds the login by its name.
        for name in &leases {
            assert!(made.iter().all(|login| login.username == *name));
            stage.database().disable(name).await.unwrap();
        }
        assert_eq!(stage.leases(), Vec::<String>::new());
    }
    // What a server keeps of a login that the deciding one never had, or has no more, is swept.
    stage.targets.sweep("app").await.unwrap();
    assert_eq!(stage.leases(), Vec::<String>::new());
}

async fn killed_ends(trials: usize) {
    let stage = Stage::with(Flavour::Redis, 3, 2, &[]);
    for moment in moments(11).take(trials) {
        let login = stage.mint("app_rw", 600).await;
        let mut session = Session::open(&login, login.port).unwrap();
        let (broker, lease) = (stage.replica(), contents(&login));
        let end = tokio::spawn(async move { broker.revoke(&lease).await });
        tokio::time::sleep(moment).await;
        end.abort();
        let answer = end.await.ok();
        // Any broker ends it, whatever became of the first attempt.
        stage.revoke(&login).await;
        assert_eq!(stage.leases(), Vec::<String>::new(), "{answer:?}");
        assert!(session.say(&["GET", "app:k"]).is_err());
    }
}

/// T-429
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_killed_while_it_makes_a_login_leaves_no_second_one() {
    killed_mints(20).await;
}

/// T-429
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_killed_while_it_ends_a_login_leaves_it_to_the_next() {
    killed_ends(20).await;
}

/// T-429
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes long; make test-long"]
async fn long_brokers_killed_at_two_hundred_moments() {
    killed_mints(200).await;
    killed_ends(200).await;
}
