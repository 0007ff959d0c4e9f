//! When keys are fetched, and what happens while they are not to be had. No network: the fetch is
//! scripted and the clock moves only when told to.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hallpass::clock::{Clock, FixedClock, Timestamp};
use hallpass::token::keys::remote::{Fetch, IssuerStatus};
use hallpass::token::keys::{KeyError, KeySource as _, RemoteKeys};
use hallpass::token::{KeySet, TrustedIssuer};
use tokio::sync::oneshot;

use crate::support::tokens::{NOW, TestKey, jwks};

/// What the next fetch of an issuer ends with.
enum Script {
    Now(Result<Vec<u8>, KeyError>),
    When(oneshot::Receiver<Result<Vec<u8>, KeyError>>),
    Panic,
}

#[derive(Default)]
struct Scripted {
    scripts: Mutex<HashMap<String, Vec<Script>>>,
    usual: Mutex<Option<Vec<u8>>>,
    started: AtomicUsize,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scripted")
    }
}

impl Scripted {
    fn then(&self, issuer: &TrustedIssuer, script: Script) {
        self.scripts
            .lock()
            .unwrap()
            .entry(issuer.url.clone())
            .or_default()
            .push(script);
    }

    /// The next fetch answers when the sender says so.
    fn later(&self, issuer: &TrustedIssuer) -> oneshot::Sender<Result<Vec<u8>, KeyError>> {
        let (sender, receiver) = oneshot::channel();
        self.then(issuer, Script::When(receiver));
        sender
    }

    fn usually(&self, kids: &[&str]) {
        *self.usual.lock().unwrap() = Some(set(kids));
    }

    fn down(&self) {
        *self.usual.lock().unwrap() = None;
    }

    fn started(&self) -> usize {
        self.started.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Fetch for Scripted {
    async fn key_set(&self, issuer: &TrustedIssuer) -> Result<Vec<u8>, KeyError> {
        self.started.fetch_add(1, Ordering::SeqCst);
        let script = {
            let mut scripts = self.scripts.lock().unwrap();
            let next = scripts.entry(issuer.url.clone()).or_default();
            if next.is_empty() {
                None
            } else {
                Some(next.remove(0))
            }
        };
        match script {
            Some(Script::Now(outcome)) => outcome,
            Some(Script::When(receiver)) => receiver.await.unwrap(),
            Some(Script::Panic) => panic!("scripted"),
            None => self
                .usual
                .lock()
                .unwrap()
                .clone()
                .ok_or_else(|| KeyError::Fetch("the issuer is down".to_owned())),
        }
    }
}

fn set(kids: &[&str]) -> Vec<u8> {
    jwks(
        &kids
            .iter()
            .map(|kid| TestKey::rsa(kid).jwk())
            .collect::<Vec<_>>(),
    )
}

struct World {
    keys: Arc<RemoteKeys>,
    fetch: Arc<Scripted>,
    clock: Arc<FixedClock>,
    issuers: Vec<Arc<TrustedIssuer>>,
}

impl World {
    fn new(count: usize) -> Self {
        let issuers: Vec<Arc<TrustedIssuer>> = (0..count)
            .map(|number| {
                Arc::new(TrustedIssuer::new(
                    &number.to_string(),
                    &format!("https://{number}.example"),
                ))
            })
            .collect();
        let clock = Arc::new(FixedClock::at(Timestamp::from_unix(NOW)));
        let fetch = Arc::new(Scripted::default());
        let keys = RemoteKeys::with_fetch(
            &issuers,
            Arc::clone(&clock) as Arc<dyn Clock>,
            Arc::clone(&fetch) as Arc<_>,
        );
        Self {
            keys: Arc::new(keys),
            fetch,
            clock,
            issuers,
        }
    }

    async fn get(&self, kid: &str) -> Result<Arc<KeySet>, KeyError> {
        self.keys.keys(&self.issuers[0], Some(kid)).await
    }

    async fn knows(&self, kid: &str) -> bool {
        self.get(kid).await.is_ok_and(|set| set.knows(kid))
    }

    fn status(&self) -> IssuerStatus {
        self.keys.status().remove(0)
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Starts what is due, and lets it end.
    async fn tick(&self) {
        self.keys.tick();
        self.settle().await;
    }

    /// Lets every task that can go on do so: the scripted fetches wait for nothing else.
    async fn settle(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
}

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

/// T-62
#[tokio::test]
async fn a_late_answer_never_replaces_a_newer_one() {
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
    insta::assert_snapshot!(format!("{}: {error}", error.reason()), @"keys.stale: keys of issuer `https://0.example` are too old: the issuer has not answered for 60 minutes");
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
        assert_eq!(error.reason(), "keys.unavailable");
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
        world.get("k1").await.unwrap_err().reason(),
        "keys.unavailable"
    );
    assert_eq!(
        world.status().last_error.as_deref(),
        Some("the fetch stopped unexpectedly")
    );
    world.pass(1);
    assert!(world.knows("k1").await);
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
        world.get("k1").await.unwrap_err().reason(),
        "keys.unavailable"
    );
    assert_eq!(
        world.fetch.started(),
        2,
        "nothing is fetched for an issuer that is not followed"
    );
}

/// What is logged while a test holds it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// T-29, T-32, T-66
#[tokio::test]
async fn keys_left_out_are_logged_once_per_set_and_never_their_values() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let text = || String::from_utf8(log.0.lock().unwrap().clone()).unwrap();

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
