//! Key ids and issuers that nobody has heard of, in numbers.

use std::sync::Arc;

use hallpass::token::TrustedIssuer;
use hallpass::token::keys::KeySource as _;

use super::world::{World, set};

/// T-60, T-67
#[tokio::test]
async fn unknown_key_ids_cause_one_fetch_in_thirty_seconds() {
    let world = World::new(1);
    world.fetch.usually(&["k1"]);
    assert!(world.knows("k1").await);
    assert_eq!(world.fetch.started(), 1);
    // The first fetch took the slot.
    assert!(!world.knows("other").await);
    assert_eq!(world.fetch.started(), 1);
    world.pass(30);
    let asked: Vec<_> = (0..10_000)
        .map(|number| {
            let (keys, issuer) = (Arc::clone(&world.keys), Arc::clone(&world.issuers[0]));
            tokio::spawn(async move {
                keys.keys(&issuer, Some(&format!("random-{number}")))
                    .await
                    .unwrap()
                    .len()
            })
        })
        .collect();
    for answer in asked {
        assert_eq!(answer.await.unwrap(), 1);
    }
    assert_eq!(world.fetch.started(), 2);
    assert!(world.knows("k1").await);
    world.pass(29);
    assert!(!world.knows("other").await);
    assert_eq!(world.fetch.started(), 2);
    world.pass(1);
    assert!(!world.knows("other").await);
    assert_eq!(world.fetch.started(), 3);
}

/// T-60
#[tokio::test]
async fn the_slot_is_spent_also_when_the_issuer_is_down_or_publishes_nothing() {
    let world = World::new(1);
    world.fetch.usually(&["k1"]);
    assert!(world.knows("k1").await);
    world.pass(30);
    world.fetch.down();
    assert!(!world.knows("other").await);
    assert!(!world.knows("another").await);
    assert_eq!(world.fetch.started(), 2);
    assert!(world.knows("k1").await, "the last good set still serves");
    world.pass(30);
    world.fetch.usually(&[]);
    assert!(!world.knows("k1").await || world.fetch.started() == 2);
    assert!(!world.knows("other").await);
    assert!(!world.knows("k1").await);
    assert_eq!(world.fetch.started(), 3);
}

/// T-60, T-61
#[tokio::test]
async fn known_keys_never_wait_and_issuers_do_not_hold_each_other_up() {
    let world = World::new(2);
    world.fetch.usually(&["k1"]);
    assert!(world.knows("k1").await);
    world.pass(30);
    let hung = world.fetch.later(&world.issuers[0]);
    let (keys, issuer) = (Arc::clone(&world.keys), Arc::clone(&world.issuers[0]));
    let waiting = tokio::spawn(async move { keys.keys(&issuer, Some("new")).await });
    world.settle().await;
    assert!(!waiting.is_finished());
    assert!(world.knows("k1").await);
    assert!(
        world
            .keys
            .keys(&world.issuers[1], Some("k1"))
            .await
            .unwrap()
            .knows("k1")
    );
    hung.send(Ok(set(&["k1", "new"]))).unwrap();
    assert!(waiting.await.unwrap().unwrap().knows("new"));
}

/// T-60
#[tokio::test]
async fn a_hanging_issuer_holds_a_bounded_number_of_requests() {
    let world = World::new(1);
    world.fetch.usually(&["k1"]);
    assert!(world.knows("k1").await);
    world.pass(30);
    let hung = world.fetch.later(&world.issuers[0]);
    let asked: Vec<_> = (0..200)
        .map(|number| {
            let (keys, issuer) = (Arc::clone(&world.keys), Arc::clone(&world.issuers[0]));
            tokio::spawn(async move { keys.keys(&issuer, Some(&format!("random-{number}"))).await })
        })
        .collect();
    for _ in 0..10 {
        world.settle().await;
    }
    assert_eq!(
        asked.iter().filter(|asked| !asked.is_finished()).count(),
        64
    );
    hung.send(Ok(set(&["k1"]))).unwrap();
    for answer in asked {
        assert!(answer.await.unwrap().is_ok());
    }
}

/// Ten thousand requests for keys of one issuer at once, each for another key id.
async fn flood(world: &World) {
    let asked: Vec<_> = (0..10_000)
        .map(|number| {
            let (keys, issuer) = (Arc::clone(&world.keys), Arc::clone(&world.issuers[0]));
            tokio::spawn(async move { keys.keys(&issuer, Some(&format!("random-{number}"))).await })
        })
        .collect();
    for answer in asked {
        let knows = answer.await.unwrap().is_ok_and(|set| set.knows("random-1"));
        assert!(!knows);
    }
}

/// T-60
#[tokio::test]
async fn a_flood_at_an_issuer_that_is_down_costs_one_fetch_and_no_known_key() {
    let world = World::new(1);
    world.fetch.usually(&["k1"]);
    assert!(world.knows("k1").await);
    world.pass(30);
    world.fetch.down();
    flood(&world).await;
    assert_eq!(world.fetch.started(), 2);
    flood(&world).await;
    assert_eq!(world.fetch.started(), 2, "the slot is spent");
    assert!(world.knows("k1").await);
}

/// T-60, T-66
#[tokio::test]
async fn a_flood_at_an_issuer_with_an_empty_set_costs_one_fetch() {
    let world = World::new(1);
    world.fetch.usually(&[]);
    world.keys.force_refresh().await;
    world.pass(30);
    flood(&world).await;
    assert_eq!(world.fetch.started(), 2);
    flood(&world).await;
    assert_eq!(world.fetch.started(), 2, "the slot is spent");
}

/// T-60, T-68
#[tokio::test]
async fn a_flood_at_an_issuer_that_never_answered_costs_one_fetch() {
    let world = World::new(1);
    flood(&world).await;
    assert_eq!(world.fetch.started(), 1);
    flood(&world).await;
    assert_eq!(world.fetch.started(), 1, "it backs off");
}

/// T-60, T-63
#[tokio::test]
async fn a_new_key_is_found_within_thirty_seconds_though_a_stranger_spent_the_slot() {
    let world = World::new(1);
    world.fetch.usually(&["old"]);
    assert!(world.knows("old").await);
    world.pass(30);
    assert!(!world.knows("random").await);
    world.fetch.usually(&["old", "new"]);
    for _ in 0..29 {
        world.pass(1);
        assert!(!world.knows("new").await);
        assert!(world.knows("old").await);
    }
    assert_eq!(world.fetch.started(), 2);
    world.pass(1);
    assert!(world.knows("new").await);
    assert_eq!(world.fetch.started(), 3);
}

/// T-63
#[tokio::test]
async fn a_fetch_that_asked_before_the_rotation_is_not_the_new_keys_only_chance() {
    let world = World::new(1);
    world.fetch.usually(&["old", "new"]);
    world.keys.force_refresh().await;
    let early = world.fetch.later(&world.issuers[0]);
    let keys = Arc::clone(&world.keys);
    let background = tokio::spawn(async move { keys.force_refresh().await });
    world.settle().await;
    // The issuer took its answer before it rotated.
    let (keys, issuer) = (Arc::clone(&world.keys), Arc::clone(&world.issuers[0]));
    let request = tokio::spawn(async move { keys.keys(&issuer, Some("newest")).await });
    world.settle().await;
    assert!(!request.is_finished());
    world.fetch.usually(&["new", "newest"]);
    early.send(Ok(set(&["old", "new"]))).unwrap();
    background.await.unwrap();
    assert!(request.await.unwrap().unwrap().knows("newest"));
    assert_eq!(world.fetch.started(), 3);
    assert!(!world.knows("random").await);
    assert_eq!(world.fetch.started(), 3, "the slot was taken for it");
}

/// T-53, T-67
#[tokio::test]
async fn many_key_ids_and_issuers_leave_nothing_behind() {
    ask_for_many(100_000).await;
}

/// T-53, T-67
#[tokio::test]
#[ignore = "takes long; make test-long"]
async fn long_a_million_key_ids_and_issuers_leave_nothing_behind() {
    ask_for_many(1_000_000).await;
}

async fn ask_for_many(count: u32) {
    let world = World::new(2);
    world.fetch.usually(&["k1"]);
    world.keys.force_refresh().await;
    assert!(!world.knows("first").await);
    let before = format!("{:?}", world.keys);
    let set = world.get("k1").await.unwrap();
    let mut stranger = TrustedIssuer::new("stranger", "");
    for number in 0..count {
        let asked = world.get(&number.to_string()).await.unwrap();
        assert_eq!(asked.len(), 1);
        // Cloned whole only now and then: it is the text that counts.
        if number % 10 == 0 {
            stranger.url = format!("https://stranger-{number}.example");
            let stranger = Arc::new(stranger.clone());
            let refused = world.keys.keys(&stranger, Some("k1")).await.unwrap_err();
            assert_eq!(refused.reason().code(), "keys.unavailable");
        }
    }
    assert_eq!(format!("{:?}", world.keys), before);
    assert_eq!(world.keys.status().len(), 2);
    let after = world.get("k1").await.unwrap();
    assert_eq!(format!("{after:?}"), format!("{set:?}"));
    // Two by the refresh, and one for all the unknown key ids together.
    assert_eq!(world.fetch.started(), 3);
}
