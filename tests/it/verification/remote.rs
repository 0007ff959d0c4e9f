//! When keys are fetched, and what happens while they are not to be had. No network: the fetch is
//! scripted and the clock moves only when told to.

use std::sync::Arc;

use hallpass::clock::{Clock, FixedClock, Timestamp};
use hallpass::token::keys::{KeyError, KeySource as _, RemoteKeys};
use hallpass::token::{SubjectToken, TrustedIssuer, Verifier};

use super::world::{Answer, Log, Script, Scripted, World, set};
use crate::support::tokens::{AUDIENCE, NOW, TestKey, claims_with, jwks};

/// T-62
#[tokio::test]
async fn a_fetch_outlives_the_request_that_wanted_it() {
    let world = World::new(1);
    let pending = world.fetch.later(&world.issuers[0]);
    let (keys, issuer) = (Arc::clone(&world.keys), Arc::clone(&world.issuers[0]));
    let request = tokio::spawn(async move { keys.keys(&issuer, Some("k1")).await });
    world.settle().await;
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    pending.send(Ok(set(&["k1"]))).unwrap();
    world.settle().await;
    assert!(world.status().usable);
    assert_eq!(world.fetch.started(), 1);
}

/// A world whose only issuer is asked twice, and what lets the first and the second answer come.
async fn two_fetches_under_way() -> (World, Answer, Answer) {
    let world = World::new(1);
    let (early, late) = (
        world.fetch.later(&world.issuers[0]),
        world.fetch.later(&world.issuers[0]),
    );
    for _ in 0..2 {
        let keys = Arc::clone(&world.keys);
        tokio::spawn(async move { keys.force_refresh().await });
        world.settle().await;
    }
    (world, early, late)
}

/// T-62
#[tokio::test]
async fn a_late_answer_never_replaces_a_newer_one() {
    let (world, early, late) = two_fetches_under_way().await;
    assert_eq!(world.fetch.started(), 2);
    late.send(Ok(set(&["new"]))).unwrap();
    world.settle().await;
    early.send(Ok(set(&["old"]))).unwrap();
    world.settle().await;
    assert!(world.knows("new").await);
    assert!(!world.knows("old").await);
}

/// T-63, T-64
#[tokio::test]
async fn the_background_refresh_brings_new_keys_and_drops_removed_ones() {
    let world = World::new(1);
    world.fetch.usually(&["old"]);
    world.pass(2);
    world.tick().await;
    assert_eq!(world.fetch.started(), 1);
    assert!(world.knows("old").await);
    world.fetch.usually(&["new"]);
    world.pass(269);
    world.tick().await;
    assert_eq!(world.fetch.started(), 1, "not before 270 s");
    world.pass(61);
    world.tick().await;
    assert_eq!(world.fetch.started(), 2, "after 330 s at the latest");
    assert!(world.knows("new").await);
    assert!(!world.get("old").await.unwrap().knows("old"));
}

/// T-53, T-64
#[tokio::test]
async fn a_reload_forgets_issuers_that_are_gone_or_changed() {
    let world = World::new(2);
    world.fetch.usually(&["k1"]);
    world.keys.force_refresh().await;
    assert_eq!(world.fetch.started(), 2);
    let mut changed = (*world.issuers[1]).clone();
    changed.strip_leading_zero = true;
    let changed = Arc::new(changed);
    world
        .keys
        .follow(&[Arc::clone(&world.issuers[0]), Arc::clone(&changed)]);
    let known: Vec<Option<usize>> = world
        .keys
        .status()
        .into_iter()
        .map(|status| status.keys)
        .collect();
    assert_eq!(known, [Some(1), None]);
    world.keys.follow(&[changed]);
    assert_eq!(
        world.get("k1").await.unwrap_err().reason().code(),
        "keys.unavailable"
    );
    assert_eq!(
        world.fetch.started(),
        2,
        "nothing is fetched for an issuer that is not followed"
    );
}

/// T-29, T-32, T-66
#[tokio::test]
async fn keys_left_out_are_logged_once_per_set_and_never_their_values() {
    let (log, _guard) = Log::capture();
    let text = || log.text();
    let world = World::new(1);
    let mut leaked = TestKey::rsa("leaked").jwk();
    leaked["d"] = "canary".into();
    let document = jwks(&[
        TestKey::rsa("same").jwk(),
        leaked,
        TestKey::other_rsa("same").jwk(),
    ]);
    for _ in 0..3 {
        world
            .fetch
            .then(&world.issuers[0], Script::Now(Ok(document.clone())));
        world.keys.force_refresh().await;
    }
    insta::assert_snapshot!(text(), @r#"
    ERROR issuer `0` publishes no key that can be used; its tokens are refused issuer="0" reason="keys.empty"
     WARN key 0 of issuer `0` is left out: another entry has the same `kid` issuer="0" reason="keys.rejected" index=0
    ERROR key 1 of issuer `0` is left out: it has a private or symmetric member: the issuer is leaking a key issuer="0" reason="keys.private_member" index=1
     WARN key 2 of issuer `0` is left out: another entry has the same `kid` issuer="0" reason="keys.rejected" index=2
    "#);
    world.fetch.down();
    world.keys.force_refresh().await;
    assert!(text().contains("keys of issuer `0` could not be fetched: the issuer is down"));
    assert!(!text().contains("canary"));
}

/// T-62
#[tokio::test]
async fn a_late_failure_says_nothing_about_an_issuer_that_has_answered_since() {
    let (world, early, late) = two_fetches_under_way().await;
    late.send(Ok(set(&["k1"]))).unwrap();
    world.settle().await;
    let gone = KeyError::Fetch("the connection broke".to_owned());
    early.send(Err(gone)).unwrap();
    world.settle().await;
    assert_eq!(world.status().last_error, None);
    assert!(world.knows("k1").await);
    world.pass(60);
    world.tick().await;
    assert_eq!(
        world.fetch.started(),
        2,
        "nor is the next refresh any sooner"
    );
}

/// T-64
#[tokio::test]
async fn a_removed_key_stops_within_five_minutes_without_any_token() {
    let world = World::new(1);
    world.fetch.usually(&["old"]);
    world.pass(2);
    world.tick().await;
    assert!(world.knows("old").await);
    world.fetch.usually(&["new"]);
    for _ in 0..300 {
        world.pass(1);
        world.keys.tick();
    }
    world.settle().await;
    assert_eq!(world.fetch.started(), 2);
    assert!(!world.get("old").await.unwrap().knows("old"));
}

/// T-64
#[tokio::test]
async fn a_reload_that_only_changes_what_tokens_must_be_like_keeps_the_keys_of_an_outage() {
    let world = World::new(1);
    world.fetch.usually(&["k1"]);
    world.keys.force_refresh().await;
    world.fetch.down();
    let mut stricter = (*world.issuers[0]).clone();
    stricter.blocked_kids = vec!["k2".to_owned()];
    stricter.max_age = 60;
    let stricter = Arc::new(stricter);
    world.keys.follow(&[Arc::clone(&stricter)]);
    assert!(
        world
            .keys
            .keys(&stricter, Some("k1"))
            .await
            .unwrap()
            .knows("k1")
    );
    assert_eq!(world.fetch.started(), 1);
}

/// T-30
#[tokio::test]
async fn two_issuers_with_one_key_id_never_check_each_others_tokens() {
    let issuers = ["https://a.example", "https://b.example"]
        .map(|url| Arc::new(TrustedIssuer::new(url, url)));
    let own = [TestKey::rsa("same"), TestKey::other_rsa("same")];
    for first in [0, 1] {
        let clock: Arc<dyn Clock> = Arc::new(FixedClock::at(Timestamp::from_unix(NOW)));
        let fetch = Arc::new(Scripted::default());
        for (issuer, key) in issuers.iter().zip(&own) {
            fetch.then(issuer, Script::Now(Ok(jwks(&[key.jwk()]))));
        }
        let keys = RemoteKeys::with_fetch(&issuers, Arc::clone(&clock), Arc::clone(&fetch) as _);
        let verifier = Verifier::new(
            AUDIENCE.to_owned(),
            issuers.to_vec(),
            Arc::new(keys),
            Arc::clone(&clock),
        );
        let reason = async |key: &TestKey, issuer: &TrustedIssuer| {
            let claims = claims_with("iss", Some(issuer.url.clone().into()));
            let token = SubjectToken::new(key.token(&claims));
            match verifier.verify(&token).await {
                Ok(_) => "ok",
                Err(error) => error.reason().code(),
            }
        };
        for at in [first, 1 - first] {
            let (own, other) = (&own[at], &own[1 - at]);
            assert_eq!(reason(other, &issuers[at]).await, "token.signature");
            assert_eq!(reason(own, &issuers[at]).await, "ok");
            assert_eq!(reason(other, &issuers[at]).await, "token.signature");
        }
        assert_eq!(fetch.started(), 2);
    }
}
