//! One issuer's keys: the last good set, and when to ask again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Semaphore, watch};
use tracing::Instrument as _;

use super::fetch::Fetch;
use super::{IssuerStatus, KeyError, KeySet, report};
use crate::clock::Clock;
use crate::token::TrustedIssuer;
use crate::token::keys::Admission;

/// One issuer's keys. Readers load one pointer; the lock guards only the plan of fetches and is
/// never held across one (T-61).
pub(super) struct IssuerKeys {
    issuer: Arc<TrustedIssuer>,
    admission: Admission,
    known: ArcSwapOption<Known>,
    plan: Mutex<Plan>,
    /// Requests that wait for a fetch. More than these are answered from what is known, so that
    /// unknown key ids at a hanging issuer cannot hold every exchange there is.
    waiters: Semaphore,
}

/// A set as a whole, and which fetch brought it.
struct Known {
    set: Arc<KeySet>,
    asked_at: Duration,
    sequence: u64,
}

struct Plan {
    /// Of the fetch that was started last.
    sequence: u64,
    /// The fetch that was started last, while it runs.
    running: Option<Done>,
    /// The latest of the fetches that have ended.
    ended: u64,
    /// From when an unknown key id may cause a fetch (T-60).
    slot_free_at: Duration,
    /// When to refresh in the background.
    due_at: Duration,
    /// From when a request without any keys may cause a fetch.
    retry_at: Duration,
    failures: u32,
    last_error: Option<KeyError>,
    /// How many fetches ended in which way.
    fetches: BTreeMap<&'static str, u64>,
}

/// Closes when a fetch is over.
pub(super) type Done = watch::Receiver<()>;

impl IssuerKeys {
    /// Without keys yet; the first fetch is due within two seconds, spread so that replicas that
    /// start together do not ask together (T-68).
    pub(super) fn new(issuer: &Arc<TrustedIssuer>, now: Duration) -> Self {
        Self {
            issuer: Arc::clone(issuer),
            admission: Admission::for_issuer(issuer),
            known: ArcSwapOption::empty(),
            plan: Mutex::new(Plan {
                sequence: 0,
                running: None,
                ended: 0,
                slot_free_at: now,
                due_at: now.saturating_add(spread(WARM_UP)),
                retry_at: now,
                failures: 0,
                last_error: None,
                fetches: BTreeMap::new(),
            }),
            waiters: Semaphore::new(MOST_WAITERS),
        }
    }

    /// Whether these keys would be fetched and admitted in the same way for that issuer. What its
    /// tokens must be like does not count: shortening `max_age` or blocking a key while the issuer
    /// is down must not lose the keys that are at hand.
    pub(super) fn is_for(&self, issuer: &TrustedIssuer) -> bool {
        key_settings(&self.issuer) == key_settings(issuer)
    }

    /// The set to check a token with that names `kid`: at once where it is known, else after one
    /// fetch where one may be made.
    pub(super) async fn get(
        self: &Arc<Self>,
        kid: Option<&str>,
        fetch: &Arc<dyn Fetch>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Arc<KeySet>, KeyError> {
        let usable = self.usable(clock.monotonic());
        if has_answer(&usable, kid) {
            return usable;
        }
        let Ok(_waiting) = self.waiters.try_acquire() else {
            return usable;
        };
        // Whether or not the wait came to its end, what is known by now is the answer.
        let _ = tokio::time::timeout(LONGEST_WAIT, self.wait_for(kid, fetch, clock)).await;
        self.usable(clock.monotonic())
    }

    /// Waits for the fetch that runs, or for one of our own. The running one may have asked before
    /// the key was there, so it does not count as this request's fetch (T-63).
    async fn wait_for(
        self: &Arc<Self>,
        kid: Option<&str>,
        fetch: &Arc<dyn Fetch>,
        clock: &Arc<dyn Clock>,
    ) {
        for _ in 0..2 {
            let now = clock.monotonic();
            let usable = self.usable(now);
            if has_answer(&usable, kid) {
                return;
            }
            match self.fetch_for_request(usable.is_ok(), now, fetch, clock) {
                Some(done) => wait(done).await,
                None => return,
            }
        }
    }

    /// Starts a fetch if one is due and none runs.
    pub(super) fn refresh_if_due(
        self: &Arc<Self>,
        now: Duration,
        fetch: &Arc<dyn Fetch>,
        clock: &Arc<dyn Clock>,
    ) {
        let mut plan = self.plan();
        if plan.running().is_none() && now >= plan.due_at {
            self.start_with(&mut plan, fetch, clock);
        }
    }

    /// Starts a fetch, whatever else runs.
    pub(super) fn start(self: &Arc<Self>, fetch: &Arc<dyn Fetch>, clock: &Arc<dyn Clock>) -> Done {
        let mut plan = self.plan();
        self.start_with(&mut plan, fetch, clock)
    }

    pub(super) fn status(&self, now: Duration) -> IssuerStatus {
        let known = self.known.load();
        let (last_error, fetches) = {
            let plan = self.plan();
            let last_error = plan.last_error.as_ref().map(KeyError::to_string);
            (last_error, plan.fetches.clone())
        };
        let unusable = match self.usable(now) {
            Ok(set) if set.is_empty() => Some(nothing_admitted(&set)),
            Ok(_) => None,
            Err(KeyError::Unavailable { cause, .. }) => Some(cause),
            Err(error) => Some(error.to_string()),
        };
        IssuerStatus {
            name: self.issuer.name.clone(),
            url: self.issuer.url.clone(),
            keys: known.as_ref().map(|known| known.set.len()),
            age: known
                .as_ref()
                .map(|known| now.saturating_sub(known.asked_at)),
            usable: unusable.is_none(),
            problem: unusable.or_else(|| last_error.clone()),
            last_error,
            fetches,
        }
    }

    /// The last good set, if it may still be used.
    pub(super) fn set(&self, now: Duration) -> Option<Arc<KeySet>> {
        self.usable(now).ok()
    }

    /// The last good set, unless it is too old (T-65). Traffic makes it no younger.
    fn usable(&self, now: Duration) -> Result<Arc<KeySet>, KeyError> {
        let cause = || match &self.plan().last_error {
            Some(error) => error.to_string(),
            None => "nothing was fetched yet".to_owned(),
        };
        let Some(known) = self.known.load_full() else {
            return Err(KeyError::Unavailable {
                issuer: self.issuer.url.clone(),
                cause: cause(),
            });
        };
        let age = now.saturating_sub(known.asked_at);
        if age > LONGEST_AGE {
            return Err(KeyError::Stale {
                issuer: self.issuer.url.clone(),
                minutes: age.as_secs() / 60,
                cause: cause(),
            });
        }
        Ok(Arc::clone(&known.set))
    }

    /// Joins the fetch that runs, or starts one where the cool-down allows. The slot is taken before
    /// the fetch and spent whatever comes of it.
    fn fetch_for_request(
        self: &Arc<Self>,
        has_keys: bool,
        now: Duration,
        fetch: &Arc<dyn Fetch>,
        clock: &Arc<dyn Clock>,
    ) -> Option<Done> {
        let mut plan = self.plan();
        if let Some(done) = plan.running() {
            return Some(done);
        }
        let allowed_at = if has_keys {
            plan.slot_free_at
        } else {
            plan.retry_at
        };
        if now < allowed_at {
            return None;
        }
        plan.slot_free_at = now.saturating_add(COOL_DOWN);
        Some(self.start_with(&mut plan, fetch, clock))
    }

    /// The fetch runs in a task of its own, so that nobody who goes away takes it along (T-62). It
    /// is made and read within another one, so that a panic there, over odd key material too, is a
    /// failed fetch and nothing more (T-39).
    fn start_with(
        self: &Arc<Self>,
        plan: &mut Plan,
        fetch: &Arc<dyn Fetch>,
        clock: &Arc<dyn Clock>,
    ) -> Done {
        plan.sequence = plan.sequence.saturating_add(1);
        let sequence = plan.sequence;
        let (still_running, done) = watch::channel(());
        plan.running = Some(done.clone());
        let (keys, fetch, clock) = (Arc::clone(self), Arc::clone(fetch), Arc::clone(clock));
        let asked_at = clock.monotonic();
        // A fetch that a request started logs under the request's id.
        let fetched = async move {
            let asking = Arc::clone(&keys);
            let fetching = async move {
                let document = fetch.key_set(&asking.issuer).await?;
                KeySet::from_jwks(&document, &asking.admission)
            };
            let fetching = tokio::spawn(fetching.in_current_span());
            let outcome = fetching.await.unwrap_or_else(|_| {
                Err(KeyError::Fetch("the fetch stopped unexpectedly".to_owned()))
            });
            keys.finish(sequence, asked_at, outcome, clock.monotonic());
            drop(still_running);
        };
        tokio::spawn(fetched.in_current_span());
        done
    }

    fn finish(
        &self,
        sequence: u64,
        asked_at: Duration,
        outcome: Result<KeySet, KeyError>,
        now: Duration,
    ) {
        let mut plan = self.plan();
        plan.count(&outcome);
        if plan.sequence == sequence {
            plan.running = None;
        }
        // What became of an earlier fetch says nothing any more once a later one has ended.
        let is_latest = sequence > plan.ended;
        plan.ended = plan.ended.max(sequence);
        match outcome {
            Ok(set) => {
                if is_latest {
                    plan.succeeded(now);
                }
                self.store(Known {
                    set: Arc::new(set),
                    asked_at,
                    sequence,
                });
            }
            Err(error) => {
                report::log_failure(&self.issuer, &error, self.known.load().is_some());
                if is_latest {
                    plan.failed(error, now);
                }
            }
        }
    }

    /// A set replaces an older one as a whole. An answer to an earlier question never replaces one to
    /// a later (T-62). Called with the plan locked, so two answers cannot pass each other here.
    fn store(&self, new: Known) {
        let old = self.known.load_full();
        if old.as_ref().is_some_and(|old| old.sequence > new.sequence) {
            return;
        }
        let before = old.as_ref().map(|old| &*old.set);
        report::log_left_out(&self.issuer, &new.set, before);
        self.known.store(Some(Arc::new(new)));
    }

    /// No code that can panic runs under this lock, and a plan is never half-changed.
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plan {
    fn count(&mut self, outcome: &Result<KeySet, KeyError>) {
        let ended = match outcome {
            Ok(_) => "ok",
            Err(error) => error.reason().code(),
        };
        let count = self.fetches.entry(ended).or_default();
        *count = count.saturating_add(1);
    }

    /// The fetch that runs, if one does. One whose task is gone without having told its end is over.
    fn running(&self) -> Option<Done> {
        let running = self.running.as_ref();
        running.filter(|done| done.has_changed().is_ok()).cloned()
    }

    fn succeeded(&mut self, now: Duration) {
        self.failures = 0;
        self.last_error = None;
        self.retry_at = now;
        self.due_at = now.saturating_add(between(SOONEST_REFRESH, LATEST_REFRESH));
    }

    fn failed(&mut self, error: KeyError, now: Duration) {
        let pause = back_off(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = now.saturating_add(pause);
        self.due_at = now.saturating_add(between(pause.saturating_sub(pause / 10), pause));
        self.last_error = Some(error);
    }
}

/// Why a set without keys has none.
fn nothing_admitted(set: &KeySet) -> String {
    let left_out = set.rejected();
    match left_out.first() {
        Some(first) => format!(
            "the issuer publishes no key that can be used: {} left out, the first because {}",
            left_out.len(),
            first.rule
        ),
        None => "the issuer publishes no key at all".to_owned(),
    }
}

/// Whether a request gets its answer from what is known.
fn has_answer(usable: &Result<Arc<KeySet>, KeyError>, kid: Option<&str>) -> bool {
    usable
        .as_ref()
        .is_ok_and(|set| kid.is_none_or(|kid| set.knows(kid)))
}

/// What decides how keys are fetched and which are admitted, and the name they are logged under.
/// Taken apart without a rest, so that a new setting must be put on one side or the other.
fn key_settings(issuer: &TrustedIssuer) -> impl PartialEq {
    let TrustedIssuer {
        name,
        url,
        algorithms,
        tolerated_audiences: _,
        token_types: _,
        leeway: _,
        max_lifetime: _,
        max_age: _,
        kid_required: _,
        iat_required: _,
        strip_leading_zero,
        key_use,
        ca,
        networks,
        key_hosts,
        blocked_kids: _,
    } = issuer;
    let fetched = (url, ca, networks, key_hosts);
    let admitted = (algorithms, strip_leading_zero, key_use);
    (name, fetched, admitted)
}

/// Waits until a fetch is over, as long as one can take.
pub(super) async fn wait(mut done: Done) {
    // An error is the end of the fetch, and a timeout leaves the caller with what there is.
    let _ = tokio::time::timeout(LONGEST_WAIT, done.changed()).await;
}

/// 1 s, doubled with every failure in a row, at most 60 s.
fn back_off(failures: u32) -> Duration {
    Duration::from_secs(
        1_u64
            .checked_shl(failures.min(6))
            .unwrap_or(u64::MAX)
            .min(60),
    )
}

/// Somewhere from the one to the other.
fn between(least: Duration, most: Duration) -> Duration {
    least.saturating_add(spread(most.saturating_sub(least)))
}

/// Somewhere between nothing and all of it.
fn spread(most: Duration) -> Duration {
    let mut random = [0_u8; 2];
    // Without randomness everyone asks at the same time: not nice, but right.
    let _ = aws_lc_rs::rand::fill(&mut random);
    (most / 65_535).saturating_mul(u32::from(u16::from_be_bytes(random)))
}

/// Background refresh, whatever the traffic: every five minutes, spread over a tenth of that so that
/// replicas drift apart (T-63).
const SOONEST_REFRESH: Duration = Duration::from_secs(270);
/// With a tick before it and a whole fetch after it, a removed key stops within five minutes (T-64).
const LATEST_REFRESH: Duration = Duration::from_secs(294);
/// Between two fetches for unknown key ids (T-60).
const COOL_DOWN: Duration = Duration::from_secs(30);
/// How long a set serves after it was asked for (T-65).
const LONGEST_AGE: Duration = Duration::from_secs(3_600);
/// A fetch takes at most five seconds (T-58).
const LONGEST_WAIT: Duration = Duration::from_secs(6);
/// Within which a new issuer's keys are fetched.
const WARM_UP: Duration = Duration::from_secs(2);
/// Per issuer.
const MOST_WAITERS: usize = 64;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// T-65
    #[test]
    fn failures_back_off_from_one_second_to_a_minute() {
        let seconds: Vec<u64> = (0..9)
            .map(|failures| back_off(failures).as_secs())
            .collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(back_off(u32::MAX).as_secs(), 60);
    }

    /// T-65
    #[test]
    fn a_failed_background_fetch_is_repeated_after_a_minute_at_the_latest() {
        for _ in 0..1_000 {
            let now = Duration::from_secs(1_000);
            let keys = IssuerKeys::new(
                &Arc::new(TrustedIssuer::new("ci", "https://ci.example")),
                now,
            );
            let mut plan = keys.plan();
            plan.failures = 20;
            plan.failed(KeyError::Fetch("down".to_owned()), now);
            let pause = plan.due_at.saturating_sub(now).as_secs_f64();
            assert!((54.0..=60.0).contains(&pause), "{pause}");
        }
    }

    /// T-63, T-64
    #[test]
    fn a_refresh_comes_every_five_minutes_less_at_most_a_tenth() {
        let mut seen = BTreeSet::new();
        for _ in 0..1_000 {
            let pause = between(SOONEST_REFRESH, LATEST_REFRESH);
            assert!(pause >= Duration::from_secs(270), "{pause:?}");
            let with_tick_and_fetch = pause.as_secs() + 1 + 5;
            assert!(with_tick_and_fetch <= 300, "{pause:?}");
            seen.insert(pause);
        }
        assert!(seen.len() > 100, "replicas drift apart");
    }

    /// T-39, T-60
    #[test]
    fn a_fetch_whose_task_is_gone_blocks_no_other() {
        let now = Duration::ZERO;
        let keys = IssuerKeys::new(
            &Arc::new(TrustedIssuer::new("ci", "https://ci.example")),
            now,
        );
        let mut plan = keys.plan();
        let (still_running, done) = watch::channel(());
        plan.running = Some(done);
        assert!(plan.running().is_some());
        drop(still_running);
        assert!(plan.running().is_none());
    }

    /// T-64
    #[test]
    fn only_settings_that_decide_about_keys_lose_the_keys_at_hand() {
        let issuer = TrustedIssuer::new("ci", "https://ci.example");
        let keys = IssuerKeys::new(&Arc::new(issuer.clone()), Duration::ZERO);
        let changed = |change: fn(&mut TrustedIssuer)| {
            let mut issuer = issuer.clone();
            change(&mut issuer);
            !keys.is_for(&issuer)
        };
        assert!(keys.is_for(&issuer));
        assert!(!changed(|issuer| issuer.max_age = 60));
        assert!(!changed(
            |issuer| issuer.blocked_kids = vec!["k1".to_owned()]
        ));
        assert!(changed(|issuer| issuer.name = "other".to_owned()));
        assert!(changed(
            |issuer| issuer.url = "https://other.example".to_owned()
        ));
        assert!(changed(|issuer| issuer.algorithms.clear()));
        assert!(changed(|issuer| issuer.strip_leading_zero = true));
        assert!(changed(|issuer| issuer.key_use = Some("x".to_owned())));
        assert!(changed(|issuer| issuer.ca = Some(String::new())));
        assert!(changed(
            |issuer| issuer.networks = vec!["10.0.0.0/8".parse().unwrap()]
        ));
        assert!(changed(
            |issuer| issuer.key_hosts = vec!["keys.example".to_owned()]
        ));
    }
}
