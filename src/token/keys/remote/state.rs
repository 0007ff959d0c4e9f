//! One issuer's keys: the last good set, and the task that fetches it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::{Instrument as _, Span};

use super::fetch::Fetch;
use super::{IssuerStatus, KeyError, KeySet, report};
use crate::clock::Clock;
use crate::token::TrustedIssuer;
use crate::token::keys::Admission;

/// One issuer's keys. Readers load what the issuer's task published, and send it a request where they
/// need a fetch. The task ends when this is dropped.
pub(super) struct IssuerKeys {
    issuer: Arc<TrustedIssuer>,
    clock: Arc<dyn Clock>,
    published: Arc<ArcSwap<Published>>,
    requests: mpsc::UnboundedSender<FetchRequest>,
    /// Requests that wait for a fetch. More than these are answered from what is known, so that
    /// unknown key ids at a hanging issuer cannot hold every exchange there is.
    waiters: Semaphore,
}

#[derive(Clone, Default)]
struct Published {
    known: Option<Known>,
    last_error: Option<KeyError>,
    /// How many fetches ended in which way.
    fetches: BTreeMap<&'static str, u64>,
}

#[derive(Clone)]
struct Known {
    set: Arc<KeySet>,
    asked_at: Duration,
}

/// Why a fetch is wanted.
#[derive(Clone, Copy)]
pub(super) enum Want {
    /// A key that is not known: at most one fetch per cool-down (T-60).
    Key,
    /// A background refresh, if one is due.
    Due,
    /// Whatever else runs, and cool-down or not.
    Now,
}

struct FetchRequest {
    want: Want,
    /// The fetch logs under the request's id.
    span: Span,
    /// Answered when the fetch has ended, dropped if there is none.
    ended: oneshot::Sender<()>,
}

impl IssuerKeys {
    /// Starts the issuer's task, without keys yet, unless its keys are pinned. It looks for due refreshes where it `ticks`.
    pub(super) fn start(
        issuer: &Arc<TrustedIssuer>,
        fetch: &Arc<dyn Fetch>,
        clock: &Arc<dyn Clock>,
        ticks: bool,
    ) -> Self {
        let published = Arc::new(ArcSwap::default());
        let (requests, received) = mpsc::unbounded_channel();
        let keys = Self {
            issuer: Arc::clone(issuer),
            clock: Arc::clone(clock),
            published: Arc::clone(&published),
            requests,
            waiters: Semaphore::new(MOST_WAITERS),
        };
        if let Some(document) = &issuer.pinned_keys {
            // Without a task every request for a fetch ends at once, without one.
            published.store(Arc::new(Published::pinned(issuer, document)));
            return keys;
        }
        let task = Task {
            issuer: Arc::clone(issuer),
            fetch: Arc::clone(fetch),
            clock: Arc::clone(clock),
            published: Arc::clone(&published),
            plan: FetchSchedule::new(clock.monotonic()),
            running: JoinSet::new(),
            waiting: Vec::new(),
        };
        tokio::spawn(task.run(received, ticks));
        keys
    }

    /// Whether these keys would be fetched and admitted in the same way for that issuer. What its
    /// tokens must be like does not count: shortening `max_age` or blocking a key while the issuer
    /// is down must not lose the keys that are at hand.
    pub(super) fn is_for(&self, issuer: &TrustedIssuer) -> bool {
        key_settings(&self.issuer) == key_settings(issuer)
    }

    /// The set to check a token with that names `kid`: at once where it is known, else after one
    /// fetch where one may be made.
    pub(super) async fn get(&self, kid: Option<&str>) -> Result<Arc<KeySet>, KeyError> {
        let usable = self.usable();
        if has_answer(&usable, kid) {
            return usable;
        }
        let Ok(_waiting) = self.waiters.try_acquire() else {
            return usable;
        };
        // A fetch that runs already may have asked before the key was there, so it does not count as
        // this request's own (T-63).
        let fetches = async {
            for _ in 0..2 {
                if self.request(Want::Key).await.is_err() || has_answer(&self.usable(), kid) {
                    return;
                }
            }
        };
        // Whether or not the wait came to its end, what is known by now is the answer.
        let _ = tokio::time::timeout(LONGEST_WAIT, fetches).await;
        self.usable()
    }

    /// Asks the task for a fetch. The receiver ends when the fetch has, and fails if there is none.
    pub(super) fn request(&self, want: Want) -> oneshot::Receiver<()> {
        let (ended, receiver) = oneshot::channel();
        let span = Span::current();
        // The task ends after its sender; should it be gone, the receiver fails.
        let _ = self.requests.send(FetchRequest { want, span, ended });
        receiver
    }

    pub(super) fn status(&self) -> IssuerStatus {
        let state = self.published.load();
        let last_error = state.last_error.as_ref().map(KeyError::to_string);
        let known = state.known.as_ref();
        let now = self.clock.monotonic();
        let unusable = match state.usable(&self.issuer, now) {
            Ok(set) if set.is_empty() => Some(nothing_admitted(&set)),
            Ok(_) => None,
            Err(KeyError::Unavailable { cause, .. }) => Some(cause),
            Err(error) => Some(error.to_string()),
        };
        IssuerStatus {
            name: self.issuer.name.clone(),
            url: self.issuer.url.clone(),
            keys: known.map(|known| known.set.len()),
            age: known
                .filter(|_| self.issuer.pinned_keys.is_none())
                .map(|known| now.saturating_sub(known.asked_at)),
            usable: unusable.is_none(),
            problem: unusable.or_else(|| last_error.clone()),
            last_error,
            fetches: state.fetches.clone(),
        }
    }

    /// The last good set, if it may still be used.
    pub(super) fn usable(&self) -> Result<Arc<KeySet>, KeyError> {
        let state = self.published.load();
        state.usable(&self.issuer, self.clock.monotonic())
    }
}

impl Published {
    /// The keys of a file. They were read before, so an error is not expected.
    fn pinned(issuer: &TrustedIssuer, document: &str) -> Self {
        let mut state = Self::default();
        match KeySet::from_jwks(document.as_bytes(), &Admission::for_issuer(issuer)) {
            Ok(set) => {
                report::log_left_out(issuer, &set, None);
                state.known = Some(Known {
                    set: Arc::new(set),
                    asked_at: Duration::ZERO,
                });
            }
            Err(error) => state.last_error = Some(error),
        }
        state
    }

    /// The last good set, unless it is too old (T-65). Traffic makes it no younger.
    fn usable(&self, issuer: &TrustedIssuer, now: Duration) -> Result<Arc<KeySet>, KeyError> {
        let cause = || match &self.last_error {
            Some(error) => error.to_string(),
            None => "nothing was fetched yet".to_owned(),
        };
        let Some(known) = &self.known else {
            return Err(KeyError::Unavailable {
                issuer: issuer.url.clone(),
                cause: cause(),
            });
        };
        let age = now.saturating_sub(known.asked_at);
        if age > LONGEST_AGE && issuer.pinned_keys.is_none() {
            return Err(KeyError::Stale {
                issuer: issuer.url.clone(),
                minutes: age.as_secs() / 60,
                cause: cause(),
            });
        }
        Ok(Arc::clone(&known.set))
    }
}

/// Owns the plan of an issuer's fetches.
struct Task {
    issuer: Arc<TrustedIssuer>,
    fetch: Arc<dyn Fetch>,
    clock: Arc<dyn Clock>,
    published: Arc<ArcSwap<Published>>,
    plan: FetchSchedule,
    /// The fetch whose result counts, in a task of its own: a panic there, over odd key material too,
    /// is a failed fetch and nothing more (T-39).
    running: JoinSet<Result<Known, KeyError>>,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Task {
    async fn run(mut self, mut requests: mpsc::UnboundedReceiver<FetchRequest>, ticks: bool) {
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                _ = tick.tick(), if ticks => self.refresh_if_due(Span::none()),
                request = requests.recv() => match request {
                    Some(request) => self.accept(request),
                    None => return,
                },
                Some(ended) = self.running.join_next() => {
                    self.finish(ended.unwrap_or_else(|_| {
                        let error = KeyError::Fetch("the fetch stopped unexpectedly".to_owned());
                        report::log_failure(&self.issuer, &error, self.published.load().known.is_some());
                        Err(error)
                    }));
                    for waiting in self.waiting.drain(..) {
                        // A request that has gone away needs no answer.
                        let _ = waiting.send(());
                    }
                }
            }
        }
    }

    fn accept(&mut self, FetchRequest { want, span, ended }: FetchRequest) {
        let now = self.clock.monotonic();
        let has_keys = self.published.load().usable(&self.issuer, now).is_ok();
        match want {
            Want::Now => self.start(now, span),
            Want::Due => self.refresh_if_due(span),
            Want::Key if self.running.is_empty() && self.plan.take_slot(has_keys, now) => {
                self.start(now, span);
            }
            Want::Key => {}
        }
        if !self.running.is_empty() {
            self.waiting.push(ended);
        }
    }

    fn refresh_if_due(&mut self, span: Span) {
        let now = self.clock.monotonic();
        if self.running.is_empty() && now >= self.plan.due_at {
            self.start(now, span);
        }
    }

    /// Starts a fetch. The result of one that still runs no longer counts, so an answer to an earlier
    /// question never replaces one to a later (T-62).
    fn start(&mut self, asked_at: Duration, span: Span) {
        let (issuer, fetch) = (Arc::clone(&self.issuer), Arc::clone(&self.fetch));
        let before = self.published.load_full();
        let fetching = async move {
            let fetched = match fetch.key_set(&issuer).await {
                Ok(document) => KeySet::from_jwks(&document, &Admission::for_issuer(&issuer)),
                Err(error) => Err(error),
            };
            let before = before.known.as_ref().map(|known| &*known.set);
            match &fetched {
                Ok(set) => report::log_left_out(&issuer, set, before),
                Err(error) => report::log_failure(&issuer, error, before.is_some()),
            }
            fetched.map(|set| Known {
                set: Arc::new(set),
                asked_at,
            })
        };
        self.running.detach_all();
        self.running.spawn(fetching.instrument(span));
    }

    fn finish(&mut self, outcome: Result<Known, KeyError>) {
        let now = self.clock.monotonic();
        let mut state = Published::clone(&self.published.load());
        let ended = match &outcome {
            Ok(_) => "ok",
            Err(error) => error.reason().code(),
        };
        let count = state.fetches.entry(ended).or_default();
        *count = count.saturating_add(1);
        match outcome {
            Ok(known) => {
                self.plan.succeeded(now);
                state.known = Some(known);
                state.last_error = None;
            }
            Err(error) => {
                self.plan.failed(now);
                state.last_error = Some(error);
            }
        }
        self.published.store(Arc::new(state));
    }
}

struct FetchSchedule {
    /// From when an unknown key id may cause a fetch (T-60).
    slot_free_at: Duration,
    /// When to refresh in the background.
    due_at: Duration,
    /// From when a request without any keys may cause a fetch.
    retry_at: Duration,
    failures: u32,
}

impl FetchSchedule {
    /// The first fetch is due within two seconds, spread so that replicas that start together do not
    /// ask together (T-68).
    fn new(now: Duration) -> Self {
        Self {
            slot_free_at: now,
            due_at: now.saturating_add(spread(WARM_UP)),
            retry_at: now,
            failures: 0,
        }
    }

    /// Takes the slot for a request's fetch, if it is free; it is spent whatever comes of the fetch.
    fn take_slot(&mut self, has_keys: bool, now: Duration) -> bool {
        let free_at = if has_keys {
            self.slot_free_at
        } else {
            self.retry_at
        };
        let is_free = now >= free_at;
        if is_free {
            self.slot_free_at = now.saturating_add(COOL_DOWN);
        }
        is_free
    }

    fn succeeded(&mut self, now: Duration) {
        self.failures = 0;
        self.retry_at = now;
        self.due_at = now.saturating_add(between(SOONEST_REFRESH, LATEST_REFRESH));
    }

    fn failed(&mut self, now: Duration) {
        let pause = back_off(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = now.saturating_add(pause);
        self.due_at = now.saturating_add(between(pause.saturating_sub(pause / 10), pause));
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
        client_id: _,
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
        pinned_keys,
        trust_domain: _,
        reuse: _,
    } = issuer;
    let fetched = (url, ca, networks, key_hosts, pinned_keys);
    let admitted = (algorithms, strip_leading_zero, key_use);
    (name, fetched, admitted)
}

/// 1 s, doubled with every failure in a row, at most 60 s.
fn back_off(failures: u32) -> Duration {
    Duration::from_secs(2_u64.saturating_pow(failures).min(60))
}

/// Somewhere from the one to the other.
fn between(least: Duration, most: Duration) -> Duration {
    least.saturating_add(spread(most.saturating_sub(least)))
}

/// Somewhere between nothing and all of it.
fn spread(most: Duration) -> Duration {
    let mut random = [0_u8; 2];
    // Without randomness all replicas fetch at the same time, which is correct but less even.
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
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(6);
/// How often a due refresh is looked for.
const TICK: Duration = Duration::from_secs(1);
/// Within which a new issuer's keys are fetched.
const WARM_UP: Duration = Duration::from_secs(2);
/// Per issuer.
const MOST_WAITERS: usize = 64;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::clock::SystemClock;

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
            let mut plan = FetchSchedule::new(now);
            plan.failures = 20;
            plan.failed(now);
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

    #[derive(Debug, Default)]
    struct PanicsOnce(AtomicBool);

    #[async_trait::async_trait]
    impl Fetch for PanicsOnce {
        async fn key_set(&self, _: &TrustedIssuer) -> Result<Vec<u8>, KeyError> {
            assert!(self.0.swap(true, Ordering::SeqCst), "the first time");
            Ok(br#"{"keys":[]}"#.to_vec())
        }
    }

    /// T-39, T-60
    #[tokio::test]
    async fn a_fetch_whose_task_is_gone_blocks_no_other() {
        let issuer = Arc::new(TrustedIssuer::new("ci", "https://ci.example"));
        let fetch: Arc<dyn Fetch> = Arc::new(PanicsOnce::default());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let keys = IssuerKeys::start(&issuer, &fetch, &clock, false);
        keys.request(Want::Now).await.unwrap();
        let status = keys.status();
        assert_eq!(
            status.last_error.as_deref(),
            Some("the fetch stopped unexpectedly")
        );
        keys.request(Want::Now).await.unwrap();
        assert_eq!(keys.status().keys, Some(0));
    }

    /// T-64
    #[test]
    fn only_settings_that_decide_about_keys_lose_the_keys_at_hand() {
        let before = TrustedIssuer::new("ci", "https://ci.example");
        let changed = |change: fn(&mut TrustedIssuer)| {
            let mut issuer = before.clone();
            change(&mut issuer);
            key_settings(&before) != key_settings(&issuer)
        };
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
