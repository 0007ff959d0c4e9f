//! The only reader of the time: the system clock, and a fixed clock for tests.

use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Seconds since the Unix epoch, never outside `i64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Makes a time from Unix seconds.
    #[must_use]
    pub const fn from_unix(seconds: i64) -> Self {
        Self(seconds)
    }

    /// Unix seconds.
    #[must_use]
    pub const fn unix(self) -> i64 {
        self.0
    }

    /// This time plus `seconds`, which may be negative. Saturates (T-74).
    #[must_use]
    pub const fn plus(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// Seconds from `earlier` to this time; negative if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// RFC 3339 in UTC, e.g. `2026-11-24T18:00:00Z`; times outside the calendar print as `@seconds`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.0) {
            Ok(time) => write!(f, "{time}"),
            Err(_) => write!(f, "@{}", self.0),
        }
    }
}

/// RFC 3339 with a zone, in whole seconds.
impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let time: jiff::Timestamp = text.parse().map_err(|_| TimestampError)?;
        Ok(Self::from_unix(time.as_second()))
    }
}

/// A text is no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a time with a zone, such as 2027-01-31T18:00:00Z")]
pub struct TimestampError;

/// The source of time. Claims are compared with [`now`](Self::now); caches, limits and back-off use
/// [`monotonic`](Self::monotonic), which never jumps (T-73).
pub trait Clock: Send + Sync + fmt::Debug {
    fn now(&self) -> Timestamp;

    /// Time since the clock was created. Never goes back.
    fn monotonic(&self) -> Duration;
}

#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// Starts the monotonic part at zero.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the Clock others take the time from"
    )]
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the Clock others take the time from"
    )]
    fn now(&self) -> Timestamp {
        // Times before 1970 are negative seconds, so nothing panics and every token is rejected as
        // not yet valid.
        let seconds = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |seconds| {
                seconds.saturating_neg().saturating_sub(1)
            }),
        };
        Timestamp(seconds)
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A clock that moves only when advanced.
#[derive(Debug)]
pub struct FixedClock {
    state: Mutex<(Timestamp, Duration)>,
}

impl FixedClock {
    /// A clock fixed at `now`.
    #[must_use]
    pub const fn at(now: Timestamp) -> Self {
        Self {
            state: Mutex::new((now, Duration::ZERO)),
        }
    }

    /// Advances wall time and monotonic time together.
    pub fn advance(&self, by: Duration) {
        let mut state = self.locked();
        let seconds = i64::try_from(by.as_secs()).unwrap_or(i64::MAX);
        *state = (state.0.plus(seconds), state.1.saturating_add(by));
    }

    /// Changes only wall time, as NTP or an operator would.
    pub fn step(&self, now: Timestamp) {
        self.locked().0 = now;
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, (Timestamp, Duration)> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        self.locked().0
    }

    fn monotonic(&self) -> Duration {
        self.locked().1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// T-74
    #[test]
    fn arithmetic_stops_at_the_ends() {
        assert_eq!(Timestamp::from_unix(i64::MAX).plus(1).unix(), i64::MAX);
        assert_eq!(Timestamp::from_unix(i64::MIN).plus(-1).unix(), i64::MIN);
        assert_eq!(
            Timestamp::from_unix(i64::MAX).since(Timestamp::from_unix(-1)),
            i64::MAX
        );
    }

    proptest! {
        /// T-74
        #[test]
        fn no_two_times_wrap_around(one in any::<i64>(), other in any::<i64>()) {
            let (time, wide) = (Timestamp::from_unix(one), |number: i64| i128::from(number));
            let held = |exact: i128| {
                i64::try_from(exact).unwrap_or(if exact < 0 { i64::MIN } else { i64::MAX })
            };
            prop_assert_eq!(time.plus(other).unix(), held(wide(one) + wide(other)));
            let since = time.since(Timestamp::from_unix(other));
            prop_assert_eq!(since, held(wide(one) - wide(other)));
            prop_assert!(!time.to_string().is_empty());
        }
    }

    /// T-74
    #[test]
    fn a_clock_moved_without_end_stops_at_the_end() {
        let clock = FixedClock::at(Timestamp::from_unix(i64::MAX - 1));
        for _ in 0..3 {
            clock.advance(Duration::MAX);
        }
        assert_eq!(
            (clock.now().unix(), clock.monotonic()),
            (i64::MAX, Duration::MAX)
        );
    }

    #[test]
    fn a_timestamp_prints_as_rfc_3339() {
        assert_eq!(
            Timestamp::from_unix(1_790_000_000).to_string(),
            "2026-09-21T14:13:20Z"
        );
        assert_eq!(
            Timestamp::from_unix(i64::MAX).to_string(),
            format!("@{}", i64::MAX)
        );
    }

    /// T-73
    #[test]
    fn a_step_moves_wall_time_alone() {
        let clock = FixedClock::at(Timestamp::from_unix(100));
        clock.step(Timestamp::from_unix(5_000));
        assert_eq!(
            (clock.now().unix(), clock.monotonic()),
            (5_000, Duration::ZERO)
        );
        clock.advance(Duration::from_secs(2));
        assert_eq!(
            (clock.now().unix(), clock.monotonic()),
            (5_002, Duration::from_secs(2))
        );
    }
}
