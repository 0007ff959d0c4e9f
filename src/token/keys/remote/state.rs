//! One issuer's keys: the last good set, and when to ask again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Semaphore, watch};

use super::fetch::Fetch;
use super::{IssuerStatus, KeyError, KeySet};
use crate::clock::Clock;
use crate::token::TrustedIssuer;
use crate::token::keys::{Admission, Rejected, Rule};

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
    /// From when an unknown key id may cause a fetch (T-60).
    slot_free_at: Duration,
    /// When to refresh in the background.
    due_at: Duration,
    /// From when a request without any keys may cause a fetch.
    retry_at: Duration,
    failures: u32,
    last_error: Option<KeyError>,
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
                slot_free_at: now,
                due_at: now.saturating_add(spread(WARM_UP)),
                retry_at: now,
                failures: 0,
                last_error: None,
            }),
            waiters: Semaphore::new(MOST_WAITERS),
        }
    }

    /// Whether these are the keys of an issuer with exactly these settings.
    pub(super) fn is_for(&self, issuer: &TrustedIssuer) -> bool {
        *self.issuer == *issuer
    }

    /// The set to check a token with that names `kid`: at once where it is known, else after one
    /// fetch where one may be made.
    pub(super) async fn get(
        self: &Arc<Self>,
        kid: Option<&str>,
        fetch: &Arc<dyn Fetch>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Arc<KeySet>, KeyError> {
        let now = clock.monotonic();
        let usable = self.usable(now);
        if let Ok(set) = &usable
            && kid.is_none_or(|kid| set.knows(kid))
        {
            return usable;
        }
        let Ok(_waiting) = self.waiters.try_acquire() else {
            return usable;
        };
        match self.fetch_for_request(usable.is_ok(), now, fetch, clock) {
            Some(done) => wait(done).await,
            None => return usable,
        }
        self.usable(clock.monotonic())
    }

    /// Starts a fetch if one is due and none runs.
    pub(super) fn refresh_if_due(
        self: &Arc<Self>,
        now: Duration,
        fetch: &Arc<dyn Fetch>,
        clock: &Arc<dyn Clock>,
    ) {
        let mut plan = self.plan();
        if plan.running.is_none() && now >= plan.due_at {
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
        let last_error = self.plan().last_error.as_ref().map(KeyError::to_string);
        IssuerStatus {
            name: self.issuer.name.clone(),
            url: self.issuer.url.clone(),
            keys: known.as_ref().map(|known| known.set.len()),
            age: known
                .as_ref()
                .map(|known| now.saturating_sub(known.asked_at)),
            usable: self.usable(now).is_ok(),
            last_error,
        }
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
        if let Some(done) = &plan.running {
            return Some(done.clone());
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

    /// The fetch runs in a task of its own, so that nobody who goes away takes it along (T-62), and
    /// within another one, so that a panic in it is a failed fetch and nothing more.
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
        tokio::spawn(async move {
            let issuer = Arc::clone(&keys.issuer);
            let fetching = tokio::spawn(async move { fetch.key_set(&issuer).await });
            let outcome = fetching.await.unwrap_or_else(|_| {
                Err(KeyError::Fetch("the fetch stopped unexpectedly".to_owned()))
            });
            keys.finish(sequence, asked_at, outcome, clock.monotonic());
            drop(still_running);
        });
        done
    }

    fn finish(
        &self,
        sequence: u64,
        asked_at: Duration,
        outcome: Result<Vec<u8>, KeyError>,
        now: Duration,
    ) {
        let outcome = outcome.and_then(|document| KeySet::from_jwks(&document, &self.admission));
        let mut plan = self.plan();
        if plan.sequence == sequence {
            plan.running = None;
        }
        count(&self.issuer, &outcome);
        match outcome {
            Ok(set) => {
                plan.failures = 0;
                plan.last_error = None;
                plan.retry_at = now;
                plan.due_at = now.saturating_add(jittered(REFRESH));
                self.store(Known {
                    set: Arc::new(set),
                    asked_at,
                    sequence,
                });
            }
            Err(error) => {
                let pause = back_off(plan.failures);
                plan.failures = plan.failures.saturating_add(1);
                plan.retry_at = now.saturating_add(pause);
                plan.due_at = now.saturating_add(jittered(pause));
                log_failure(&self.issuer, &error, self.known.load().is_some());
                plan.last_error = Some(error);
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
        log_left_out(&self.issuer, &new.set, before);
        self.known.store(Some(Arc::new(new)));
    }

    /// No code that can panic runs under this lock, and a plan is never half-changed.
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until a fetch is over, as long as one can take.
pub(super) async fn wait(mut done: Done) {
    // An error is the end of the fetch, and a timeout leaves the caller with what there is.
    let _ = tokio::time::timeout(LONGEST_WAIT, done.changed()).await;
}

fn count(issuer: &TrustedIssuer, outcome: &Result<KeySet, KeyError>) {
    let outcome = match outcome {
        Ok(_) => "ok",
        Err(error) => error.reason(),
    };
    metrics::counter!("hallpass_key_fetches_total", "issuer" => issuer.name.clone(), "outcome" => outcome)
        .increment(1);
}

fn log_failure(issuer: &TrustedIssuer, error: &KeyError, has_keys: bool) {
    tracing::error!(
        issuer = issuer.name,
        reason = error.reason(),
        serves_last_good_set = has_keys,
        "keys of issuer `{}` could not be fetched: {error}",
        issuer.name
    );
}

/// Once per set, not once per fetch of it (T-29). The alert about an empty one too (T-66).
fn log_left_out(issuer: &TrustedIssuer, set: &KeySet, before: Option<&KeySet>) {
    if set.is_empty() && !before.is_some_and(KeySet::is_empty) {
        tracing::error!(
            issuer = issuer.name,
            reason = "keys.empty",
            "issuer `{}` publishes no key that can be used; its tokens are refused",
            issuer.name
        );
    }
    if before.is_some_and(|before| before.rejected() == set.rejected()) {
        return;
    }
    for Rejected { index, rule } in set.rejected() {
        let (name, reason) = (&issuer.name, rule.code());
        // A leaked private key is the issuer's emergency, everything else its untidiness (T-32).
        if *rule == Rule::PrivateMember {
            tracing::error!(
                issuer = name,
                reason,
                index,
                "key {index} of issuer `{name}` is left out: {rule}"
            );
        } else {
            tracing::warn!(
                issuer = name,
                reason,
                index,
                "key {index} of issuer `{name}` is left out: {rule}"
            );
        }
    }
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

/// Somewhere within ten percent of it either way.
fn jittered(duration: Duration) -> Duration {
    duration
        .saturating_sub(duration / 10)
        .saturating_add(spread(duration / 5))
}

/// Somewhere between nothing and all of it.
fn spread(most: Duration) -> Duration {
    let mut random = [0_u8; 2];
    // Without randomness everyone asks at the same time: not nice, but right.
    let _ = aws_lc_rs::rand::fill(&mut random);
    (most / 65_535).saturating_mul(u32::from(u16::from_be_bytes(random)))
}

/// Background refresh, whatever the traffic (T-63, T-64).
const REFRESH: Duration = Duration::from_secs(300);
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

    /// T-63
    #[test]
    fn jitter_stays_within_ten_percent() {
        for _ in 0..1_000 {
            let seconds = jittered(REFRESH).as_secs_f64();
            assert!((270.0..=330.0).contains(&seconds), "{seconds}");
        }
    }
}
