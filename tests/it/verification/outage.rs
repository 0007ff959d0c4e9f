//! Issuers that are down, publish nothing or publish nonsense: how long their last good keys serve,
//! and how it goes on afterwards.

use hallpass::token::keys::{KeyError, KeySource as _};

use super::world::{Log, Script, World, set};

/// T-65
#[tokio::test]
async fn the_last_good_set_serves_for_an_hour_and_no_longer() {
    let world = World::new(1);
    world.fetch.usually(&["k1"]);
    assert!(world.knows("k1").await);
    world.fetch.down();
    for _ in 0..60 {
        world.pass(60);
        world.tick().await;
        assert!(world.knows("k1").await);
    }
    assert_eq!(
        world.status().last_error.as_deref(),
        Some("the issuer is down")
    );
    world.pass(1);
    let error = world.get("k1").await.unwrap_err();
    insta::assert_snapshot!(format!("{}: {error}", error.reason().code()), @"keys.stale: keys of issuer `https://0.example` are too old: the issuer has not answered for 60 minutes");
    assert!(!world.status().usable);
    world.fetch.usually(&["k1"]);
    world.pass(60);
    assert!(world.knows("k1").await, "it recovers by itself");
    assert_eq!(world.status().last_error, None);
}

/// T-65, T-68
#[tokio::test]
async fn without_keys_failures_back_off() {
    let world = World::new(1);
    for (pause, fetches) in [(0, 1), (0, 1), (1, 2), (1, 2), (1, 3), (3, 3), (1, 4)] {
        world.pass(pause);
        let error = world.get("k1").await.unwrap_err();
        assert_eq!(error.reason().code(), "keys.unavailable");
        assert_eq!(world.fetch.started(), fetches);
    }
    insta::assert_snapshot!(world.get("k1").await.unwrap_err(), @"keys of issuer `https://0.example` could not be loaded");
    assert_eq!((world.status().keys, world.status().usable), (None, false));
}

/// T-59, T-66
#[tokio::test]
async fn an_empty_set_counts_and_a_malformed_one_changes_nothing() {
    let world = World::new(1);
    world.fetch.usually(&["k1"]);
    assert!(world.knows("k1").await);
    world
        .fetch
        .then(&world.issuers[0], Script::Now(Ok(b"<html>".to_vec())));
    world.keys.force_refresh().await;
    assert!(world.knows("k1").await);
    assert!(
        world
            .status()
            .last_error
            .unwrap()
            .contains("not strict JSON")
    );
    world
        .fetch
        .then(&world.issuers[0], Script::Now(Ok(set(&[]))));
    world.keys.force_refresh().await;
    assert_eq!(
        (world.status().keys, world.status().last_error.clone()),
        (Some(0), None)
    );
    assert!(!world.knows("k1").await);
    world.keys.force_refresh().await;
    assert!(world.knows("k1").await);
}

/// T-94
#[tokio::test]
async fn a_panic_in_a_fetch_is_a_failed_fetch() {
    let world = World::new(1);
    world.fetch.usually(&["k1"]);
    world.fetch.then(&world.issuers[0], Script::Panic);
    assert_eq!(
        world.get("k1").await.unwrap_err().reason().code(),
        "keys.unavailable"
    );
    assert_eq!(
        world.status().last_error.as_deref(),
        Some("the fetch stopped unexpectedly")
    );
    world.pass(1);
    assert!(world.knows("k1").await);
}

/// T-65
#[tokio::test]
async fn one_issuers_outage_is_no_other_issuers() {
    let world = World::new(2);
    world.fetch.usually(&["k1"]);
    world.keys.force_refresh().await;
    for minute in 0..70 {
        world.pass(60);
        let down = KeyError::Fetch("the issuer is down".to_owned());
        world.fetch.then(&world.issuers[0], Script::Now(Err(down)));
        world.tick().await;
        let other = world.keys.keys(&world.issuers[1], Some("k1")).await;
        assert!(other.unwrap().knows("k1"), "minute {minute}");
    }
    let usable: Vec<bool> = world
        .keys
        .status()
        .iter()
        .map(|status| status.usable)
        .collect();
    assert_eq!(usable, [false, true]);
}

/// T-65
#[tokio::test]
async fn traffic_makes_an_old_set_no_younger_and_background_fetches_back_off() {
    let world = World::new(1);
    world.fetch.usually(&["k1"]);
    world.pass(2);
    world.tick().await;
    world.fetch.down();
    let mut at = Vec::new();
    for second in 0..3_600_u64 {
        world.pass(1);
        world.keys.tick();
        // One turn for the fetch, one for its end.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        assert!(world.knows("k1").await, "second {second}");
        if world.fetch.started() > at.len() + 1 {
            at.push(second);
        }
    }
    let pauses: Vec<u64> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses[0] <= 2, "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= 61), "{pauses:?}");
    assert!(
        pauses[6..].iter().all(|pause| *pause >= 53),
        "it settles at a minute: {pauses:?}"
    );
    world.pass(1);
    assert_eq!(
        world.get("k1").await.unwrap_err().reason().code(),
        "keys.stale"
    );
}

/// T-54, T-59, T-65
#[tokio::test]
async fn whatever_a_fetch_fails_with_the_last_good_set_serves() {
    let world = World::new(1);
    world.fetch.usually(&["k1"]);
    assert!(world.knows("k1").await);
    let too_many = format!(r#"{{"keys":[{}]}}"#, vec!["{}"; 65].join(","));
    for outcome in [
        Err(KeyError::Address("the key set is elsewhere".to_owned())),
        Err(KeyError::Document("status 500".to_owned())),
        Err(KeyError::Fetch("no connection".to_owned())),
        Ok(Vec::new()),
        Ok(b"null".to_vec()),
        Ok(b"[]".to_vec()),
        Ok(b"{}".to_vec()),
        Ok(br#"{"keys":{}}"#.to_vec()),
        Ok(br#"{"keys":[],"keys":[]}"#.to_vec()),
        Ok(too_many.into_bytes()),
        Ok(vec![0xFF; 1_000]),
    ] {
        world.fetch.then(&world.issuers[0], Script::Now(outcome));
        world.keys.force_refresh().await;
        assert!(world.knows("k1").await);
        assert_eq!(world.status().keys, Some(1));
        assert!(world.status().last_error.is_some());
    }
}

/// T-66
#[tokio::test]
async fn a_shrunken_set_counts_and_the_next_good_one_brings_the_keys_back() {
    let (log, _guard) = Log::capture();
    let world = World::new(1);
    world.fetch.usually(&["k1", "k2"]);
    world.keys.force_refresh().await;
    for (kids, known) in [
        (vec!["k2"], [false, true]),
        (vec![], [false, false]),
        (vec![], [false, false]),
        (vec!["k1", "k2"], [true, true]),
        (vec![], [false, false]),
    ] {
        world
            .fetch
            .then(&world.issuers[0], Script::Now(Ok(set(&kids))));
        world.keys.force_refresh().await;
        let usable = world.status();
        let is_usable = !kids.is_empty();
        assert_eq!((usable.keys, usable.usable), (Some(kids.len()), is_usable));
        let problem = (!is_usable).then_some("the issuer publishes no key at all");
        assert_eq!(usable.problem.as_deref(), problem);
        world.fetch.down();
        assert_eq!(
            [world.knows("k1").await, world.knows("k2").await],
            known,
            "{kids:?}"
        );
    }
    let alerts = log.text().matches("keys.empty").count();
    assert_eq!(alerts, 2, "once each time it becomes empty");
}

/// T-68
#[tokio::test]
async fn a_start_with_every_issuer_down_serves_none_and_recovers_by_itself() {
    let world = World::new(3);
    for _ in 0..10 {
        world.pass(60);
        world.tick().await;
        for issuer in &world.issuers {
            let error = world.keys.keys(issuer, Some("k1")).await.unwrap_err();
            assert_eq!(error.reason().code(), "keys.unavailable");
        }
    }
    for status in world.keys.status() {
        assert_eq!(
            (status.keys, status.age, status.usable),
            (None, None, false)
        );
        assert_eq!(status.last_error.as_deref(), Some("the issuer is down"));
    }
    world.fetch.usually(&["k1"]);
    world.pass(60);
    world.tick().await;
    let asked = world.fetch.started();
    for issuer in &world.issuers {
        assert!(
            world
                .keys
                .keys(issuer, Some("k1"))
                .await
                .unwrap()
                .knows("k1")
        );
    }
    assert_eq!(world.fetch.started(), asked, "they came without any token");
}

/// T-60, T-68
#[tokio::test]
async fn the_first_requests_of_a_start_share_one_fetch() {
    let world = World::new(1);
    let first = world.fetch.later(&world.issuers[0]);
    let asked: Vec<_> = (0..50)
        .map(|_| {
            let (keys, issuer) = (
                std::sync::Arc::clone(&world.keys),
                std::sync::Arc::clone(&world.issuers[0]),
            );
            tokio::spawn(async move { keys.keys(&issuer, Some("k1")).await })
        })
        .collect();
    world.settle().await;
    first.send(Ok(set(&["k1"]))).unwrap();
    for answer in asked {
        assert!(answer.await.unwrap().unwrap().knows("k1"));
    }
    assert_eq!(world.fetch.started(), 1);
}
