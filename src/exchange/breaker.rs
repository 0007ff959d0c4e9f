//! A circuit breaker per target: refuses requests at once while the target's server fails.
//!
//! After [`FAILURES`] failures in a row the breaker opens, and requests are refused without waiting for
//! the server's time-outs. After [`PAUSE`] one request at a time tries the server; its success closes
//! the breaker. Requests ask before the use of their token is reserved, so a refused token stays usable.
//! Ends of leases and sweeps do not ask. Nothing is shared with other replicas.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::credential::{Credential, MintError};
use crate::reason::Reason;

/// The breakers of all targets that were asked for something. They survive reloads.
#[derive(Debug)]
pub(super) struct Breakers {
    clock: Arc<dyn Clock>,
    breakers: Mutex<BTreeMap<String, Arc<Breaker>>>,
}

impl Breakers {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            breakers: Mutex::default(),
        }
    }

    /// Lets a request through to the target, unless its breaker is open.
    pub(super) fn admit(&self, target: &str) -> Result<Admission, Paused> {
        let breaker = {
            let mut breakers = locked(&self.breakers);
            let known = breakers.get(target).map(Arc::clone);
            known.unwrap_or_else(|| {
                let breaker = Arc::new(Breaker::new(target));
                breakers.insert(target.to_owned(), Arc::clone(&breaker));
                breaker
            })
        };
        let attempt = locked(&breaker.state).admit(self.clock.monotonic());
        match attempt {
            Ok(attempt) => Ok(Admission {
                breaker,
                attempt: Some(attempt),
                clock: Arc::clone(&self.clock),
            }),
            Err(wait) => Err(Paused {
                target: target.to_owned(),
                retry_after: whole_seconds(wait),
            }),
        }
    }

    /// Forgets what is known of other targets: they are gone, or lead to another server now.
    pub(super) fn keep(&self, is_kept: impl Fn(&str) -> bool) {
        locked(&self.breakers).retain(|target, _| is_kept(target));
    }

    /// The state of the target's breaker.
    pub(super) fn status(&self, target: &str) -> BreakerStatus {
        let breaker = locked(&self.breakers).get(target).map(Arc::clone);
        breaker.map_or_else(BreakerStatus::default, |breaker| {
            let state = locked(&breaker.state);
            BreakerStatus {
                is_open: !matches!(state.phase, Phase::Closed { .. }),
                refused: state.refused,
            }
        })
    }
}

/// The state of a breaker, for readiness and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BreakerStatus {
    /// Requests are refused, or one of them tries the server.
    pub is_open: bool,
    /// How many requests were refused so far.
    pub refused: u64,
}

/// A request that the breaker let through. Dropped without an outcome, it counts as never made.
#[derive(Debug)]
pub(super) struct Admission {
    breaker: Arc<Breaker>,
    attempt: Option<Attempt>,
    clock: Arc<dyn Clock>,
}

impl Admission {
    /// Counts the outcome of the request.
    pub(super) fn settle(mut self, minted: &Result<Credential, MintError>) {
        let Some(outcome) = outcome(minted) else {
            return;
        };
        if let Some(attempt) = self.attempt.take() {
            self.breaker
                .settle(attempt, outcome, self.clock.monotonic());
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            locked(&self.breaker.state).withdraw(attempt, self.clock.monotonic());
        }
    }
}

/// The breaker is open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "target `{target}` failed several times in a row; requests are refused until it answers again; try again in {retry_after} s"
)]
pub struct Paused {
    pub target: String,
    /// Seconds until the next request may try the target.
    pub retry_after: u64,
}

/// The breaker of one target.
#[derive(Debug)]
struct Breaker {
    target: String,
    state: Mutex<State>,
}

impl Breaker {
    fn new(target: &str) -> Self {
        Self {
            target: target.to_owned(),
            state: Mutex::default(),
        }
    }

    fn settle(&self, attempt: Attempt, outcome: ServerOutcome, now: Duration) {
        let change = locked(&self.state).settle(attempt, outcome, now);
        match change {
            Some(Change::Opened) => tracing::error!(
                reason = Reason::TargetPaused.code(),
                target_name = self.target,
                failures = FAILURES,
                retry_after = PAUSE.as_secs(),
                "the target failed several times in a row; its requests are refused until one that tries it succeeds"
            ),
            Some(Change::Closed) => tracing::info!(
                reason = Reason::TargetWorks.code(),
                target_name = self.target,
                "the target works again; its requests are served"
            ),
            None => {}
        }
    }
}

/// What a request says about the server; `None` if it says nothing.
///
/// A refusal of one request comes from a server that works.
fn outcome(minted: &Result<Credential, MintError>) -> Option<ServerOutcome> {
    let Err(error) = minted else {
        return Some(ServerOutcome::Works);
    };
    if FAILED.contains(&error.reason) {
        Some(ServerOutcome::Fails)
    } else if ANSWERED.contains(&error.reason) {
        Some(ServerOutcome::Works)
    } else {
        None
    }
}

/// The server was not reached, or did not answer in time.
const FAILED: [Reason; 3] = [
    Reason::DatabaseUnreachable,
    Reason::DatabaseUnknown,
    Reason::MintSlow,
];
/// Refusals that only a server that was reached can cause.
const ANSWERED: [Reason; 7] = [
    Reason::DatabaseRefused,
    Reason::DatabaseFull,
    Reason::DatabaseRepositoryFull,
    Reason::DatabaseGroup,
    Reason::DatabaseCeiling,
    Reason::DatabaseNotInstalled,
    Reason::DatabaseOutdated,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ServerOutcome {
    Works,
    /// Unreachable, or without an answer in time.
    Fails,
}

/// A state machine without a clock: every call has the time, which never goes back.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    phase: Phase,
    /// Changes with every phase, so that requests of an earlier one do not count against it.
    generation: u64,
    refused: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed {
        failures: u32,
    },
    Open {
        until: Duration,
    },
    /// One request tries the server.
    Trying,
}

impl Default for Phase {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

/// A request on its way, and the phase that it began in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Attempt {
    generation: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Opened,
    Closed,
}

impl State {
    /// # Errors
    /// How long to wait.
    fn admit(&mut self, now: Duration) -> Result<Attempt, Duration> {
        let wait = match self.phase {
            Phase::Closed { .. } => Duration::ZERO,
            Phase::Open { until } if until <= now => {
                self.enter(Phase::Trying);
                Duration::ZERO
            }
            Phase::Open { until } => until.saturating_sub(now),
            Phase::Trying => TRIAL,
        };
        if wait > Duration::ZERO {
            self.refused = self.refused.saturating_add(1);
            return Err(wait);
        }
        Ok(Attempt {
            generation: self.generation,
        })
    }

    /// A success closes the breaker, whenever its request began. A failure of an earlier phase says
    /// nothing new.
    fn settle(
        &mut self,
        attempt: Attempt,
        outcome: ServerOutcome,
        now: Duration,
    ) -> Option<Change> {
        let is_current = attempt.generation == self.generation;
        match (outcome, self.phase) {
            (ServerOutcome::Works, Phase::Closed { .. }) => {
                self.phase = Phase::default();
                None
            }
            (ServerOutcome::Works, Phase::Open { .. } | Phase::Trying) => {
                self.enter(Phase::default());
                Some(Change::Closed)
            }
            (ServerOutcome::Fails, _) if !is_current => None,
            (ServerOutcome::Fails, Phase::Closed { failures }) => {
                let failures = failures.saturating_add(1);
                if failures < FAILURES {
                    self.phase = Phase::Closed { failures };
                    return None;
                }
                self.open(now.saturating_add(PAUSE));
                Some(Change::Opened)
            }
            (ServerOutcome::Fails, Phase::Open { .. } | Phase::Trying) => {
                self.open(now.saturating_add(PAUSE));
                None
            }
        }
    }

    /// The request never reached the server, so the next one may try it.
    fn withdraw(&mut self, attempt: Attempt, now: Duration) {
        if self.phase == Phase::Trying && attempt.generation == self.generation {
            self.open(now);
        }
    }

    fn open(&mut self, until: Duration) {
        self.enter(Phase::Open { until });
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.generation = self.generation.saturating_add(1);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Rounded up, so that a caller that waits that long is not early.
fn whole_seconds(wait: Duration) -> u64 {
    let more = u64::from(wait.subsec_nanos() > 0);
    wait.as_secs().saturating_add(more).max(1)
}

/// Failures in a row that open a breaker.
const FAILURES: u32 = 5;
/// How long an open breaker refuses everything. Not shorter than the longest pause of the connections
/// to a server, so that the request that tries the server does reach it.
const PAUSE: Duration = Duration::from_secs(5);
/// How long the others wait for the one that tries the server.
const TRIAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One step, and what it must lead to.
    enum Step {
        Admitted,
        /// Refused, with the seconds to wait.
        Refused(u64),
        Fails,
        Works,
        Withdrawn,
        /// The time passes, in milliseconds.
        Passes(u64),
    }

    /// Plays steps; outcomes are those of the request that was admitted last.
    fn play(name: &str, steps: &[Step]) {
        let (mut state, mut now, mut last) = (State::default(), Duration::ZERO, None);
        for (at, step) in steps.iter().enumerate() {
            match step {
                Step::Admitted => {
                    last = Some(
                        state
                            .admit(now)
                            .unwrap_or_else(|wait| panic!("{name}, {at}: {wait:?}")),
                    );
                }
                Step::Refused(seconds) => {
                    let wait = state.admit(now).unwrap_err();
                    assert_eq!(whole_seconds(wait), *seconds, "{name}, {at}");
                }
                Step::Fails => drop(state.settle(last.unwrap(), ServerOutcome::Fails, now)),
                Step::Works => drop(state.settle(last.unwrap(), ServerOutcome::Works, now)),
                Step::Withdrawn => state.withdraw(last.unwrap(), now),
                Step::Passes(milliseconds) => now += Duration::from_millis(*milliseconds),
            }
        }
    }

    fn times(count: u32, steps: impl Fn() -> Vec<Step>) -> Vec<Step> {
        (0..count).flat_map(|_| steps()).collect()
    }

    /// T-466
    #[test]
    fn a_breaker_opens_after_failures_in_a_row_and_lets_one_try() {
        use Step::{Admitted, Fails, Passes, Refused, Withdrawn, Works};
        let failed = || vec![Admitted, Fails];
        let opened = || times(FAILURES, failed);
        let after = |mut steps: Vec<Step>| {
            let mut all = opened();
            all.append(&mut steps);
            all
        };
        let almost = || times(FAILURES - 1, failed);
        let cases: Vec<(&str, Vec<Step>)> = vec![
            ("one success between", {
                let mut steps = almost();
                steps.extend([Admitted, Works]);
                steps.extend(almost());
                steps.push(Admitted);
                steps
            }),
            ("requests that say nothing do not count", {
                let mut steps = almost();
                steps.extend(times(20, || vec![Admitted, Withdrawn]));
                steps.push(Admitted);
                steps
            }),
            (
                "refused until the pause is over",
                after(vec![
                    Refused(5),
                    Passes(1),
                    Refused(5),
                    Passes(4_000),
                    Refused(1),
                    Passes(999),
                    Admitted,
                ]),
            ),
            (
                "one at a time",
                after(vec![
                    Passes(5_000),
                    Admitted,
                    Refused(1),
                    Refused(1),
                    Fails,
                    Refused(5),
                ]),
            ),
            (
                "the one that tries succeeds",
                after(vec![Passes(5_000), Admitted, Works, Admitted, Admitted]),
            ),
            (
                "the one that tries was not sent",
                after(vec![
                    Passes(5_000),
                    Admitted,
                    Withdrawn,
                    Admitted,
                    Refused(1),
                ]),
            ),
            ("closed again, it takes as many failures", {
                let mut steps = after(vec![Passes(5_000), Admitted, Works]);
                steps.extend(almost());
                steps.extend([Admitted, Fails, Refused(5)]);
                steps
            }),
        ];
        for (name, steps) in cases {
            play(name, &steps);
        }
    }

    /// T-466
    #[test]
    fn a_late_failure_does_not_open_a_breaker_that_was_closed_since() {
        let now = Duration::from_secs(1);
        let mut state = State::default();
        let late: Vec<Attempt> = (0..20).map(|_| state.admit(now).unwrap()).collect();
        for attempt in &late[..5] {
            state.settle(*attempt, ServerOutcome::Fails, now);
        }
        let later = now + PAUSE;
        let trial = state.admit(later).unwrap();
        // It fails for those that waited, and must not open for longer, nor end the trial.
        state.settle(late[5], ServerOutcome::Fails, later);
        assert_eq!(state.phase, Phase::Trying);
        state.settle(trial, ServerOutcome::Works, later);
        for attempt in &late[6..] {
            state.settle(*attempt, ServerOutcome::Fails, later);
        }
        assert!(state.admit(later).is_ok());
    }

    /// T-466
    #[test]
    fn the_breaker_of_one_target_is_not_that_of_another() {
        let clock = Arc::new(crate::clock::FixedClock::at(
            crate::clock::Timestamp::from_unix(0),
        ));
        let breakers = Breakers::new(clock);
        let failed = || {
            Err(MintError::new(
                Reason::DatabaseUnreachable,
                "away".to_owned(),
            ))
        };
        for _ in 0..FAILURES {
            breakers.admit("shop").unwrap().settle(&failed());
        }
        assert_eq!(breakers.admit("shop").unwrap_err().retry_after, 5);
        assert!(breakers.admit("other").is_ok());
        assert!(breakers.status("shop").is_open && !breakers.status("other").is_open);
        assert_eq!(breakers.status("shop").refused, 1);
        breakers.keep(|target| target != "shop");
        assert!(breakers.admit("shop").is_ok());
    }

    #[test]
    fn a_refusal_of_one_request_is_no_failure_of_the_server() {
        let refused = |reason| outcome(&Err(MintError::new(reason, String::new())));
        for reason in ANSWERED {
            assert_eq!(refused(reason), Some(ServerOutcome::Works), "{reason}");
        }
        for reason in FAILED {
            assert_eq!(refused(reason), Some(ServerOutcome::Fails), "{reason}");
        }
        for reason in [
            Reason::BugPanic,
            Reason::LeaseSeal,
            Reason::LeaseOver,
            Reason::TargetUnknown,
            Reason::TargetDatabase,
        ] {
            assert_eq!(refused(reason), None, "{reason}");
        }
    }

    /// What happens at random, with the request that it happens to.
    #[derive(Clone, Debug)]
    enum Event {
        Request,
        Ends(usize, Option<bool>),
        Passes(u16),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            3 => Just(Event::Request),
            3 => (any::<usize>(), any::<Option<bool>>()).prop_map(|(which, how)| Event::Ends(which, how)),
            1 => (0..8_000_u16).prop_map(Event::Passes),
        ]
    }

    proptest! {
        /// T-466: whatever happens, one request at a time tries a server that failed, and none is
        /// refused for longer than the pause.
        #[test]
        fn a_breaker_lets_one_try_at_a_time_and_never_stays_open(events in prop::collection::vec(event(), 0..200)) {
            let (mut state, mut now) = (State::default(), Duration::ZERO);
            let mut on_their_way: Vec<Attempt> = Vec::new();
            for event in events {
                let was_closed = matches!(state.phase, Phase::Closed { .. });
                match event {
                    Event::Request => match state.admit(now) {
                        Ok(attempt) => {
                            if !was_closed {
                                let trying = on_their_way.iter().filter(|other| other.generation == attempt.generation);
                                prop_assert_eq!(trying.count(), 0);
                                prop_assert_eq!(state.phase, Phase::Trying);
                            }
                            on_their_way.push(attempt);
                        }
                        Err(wait) => {
                            prop_assert!(!was_closed && wait > Duration::ZERO && wait <= PAUSE);
                        }
                    },
                    Event::Ends(which, how) if !on_their_way.is_empty() => {
                        let attempt = on_their_way.swap_remove(which % on_their_way.len());
                        match how {
                            Some(true) => {
                                state.settle(attempt, ServerOutcome::Works, now);
                                let is_closed = matches!(state.phase, Phase::Closed { failures: 0 });
                                prop_assert!(is_closed);
                            }
                            Some(false) => drop(state.settle(attempt, ServerOutcome::Fails, now)),
                            None => state.withdraw(attempt, now),
                        }
                    }
                    Event::Ends(..) => {}
                    Event::Passes(milliseconds) => now += Duration::from_millis(milliseconds.into()),
                }
            }
            for attempt in on_their_way {
                state.withdraw(attempt, now);
            }
            prop_assert!(state.admit(now + PAUSE).is_ok());
        }
    }
}
