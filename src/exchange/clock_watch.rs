//! Detects jumps of the wall clock. Nothing is minted while it is unstable (T-73).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::reason::Reason;

/// Compares wall time with monotonic time.
///
/// Both are compared with their values of up to a minute ago, so a series of small steps counts as
/// a jump. A slewed clock, or a small correction now and then, does not.
#[derive(Debug)]
pub(super) struct ClockWatch {
    clock: Arc<dyn Clock>,
    state: Mutex<Watched>,
}

#[derive(Debug)]
struct Watched {
    /// Both times when they were last accepted.
    wall: Timestamp,
    monotonic: Duration,
    /// The jump is over when monotonic time reaches this.
    unstable_until: Option<Duration>,
}

/// The clock cannot be trusted now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClockError {
    /// It is before the day hallpass was built.
    #[error(
        "the broker's clock is before the day hallpass was built; no credentials are issued \
         until it is corrected"
    )]
    Wrong,
    /// It moved by more than a minute against monotonic time.
    #[error(
        "the broker's clock jumped; no credentials are issued until it has been stable for \
        ten seconds"
    )]
    Jumped,
}

impl ClockWatch {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let state = Watched {
            wall: clock.now(),
            monotonic: clock.monotonic(),
            unstable_until: None,
        };
        Self {
            clock,
            state: Mutex::new(state),
        }
    }

    /// Checks the clock. Called before each exchange and by readiness.
    ///
    /// # Errors
    /// The clock jumped, or is wrong.
    pub(super) fn check(&self) -> Result<(), ClockError> {
        let (wall, monotonic) = (self.clock.now(), self.clock.monotonic());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = monotonic.saturating_sub(state.monotonic);
        let seconds = i64::try_from(passed.as_secs()).unwrap_or(i64::MAX);
        let off = wall.since(state.wall).saturating_sub(seconds);
        // The absolute value of `i64::MIN` saturates: it is a jump all the same.
        let has_jumped = off.saturating_abs() > MAX_JUMP;
        if has_jumped {
            tracing::error!(
                reason = Reason::ClockJump.code(),
                seconds = off,
                "the clock jumped"
            );
            state.unstable_until = Some(monotonic.saturating_add(STABLE_FOR));
        }
        if has_jumped || passed >= LOOK_BACK {
            state.wall = wall;
            state.monotonic = monotonic;
        }
        if wall < BUILT {
            return Err(ClockError::Wrong);
        }
        match state.unstable_until {
            Some(end) if monotonic < end => Err(ClockError::Jumped),
            Some(_) => {
                state.unstable_until = None;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// Seconds that wall time may move against monotonic time.
const MAX_JUMP: i64 = 60;

/// How far back both times are remembered.
const LOOK_BACK: Duration = Duration::from_secs(60);

/// How long the clock must run evenly after a jump.
const STABLE_FOR: Duration = Duration::from_secs(10);

/// 2026-01-01. A correct clock never shows an earlier time to this program.
const BUILT: Timestamp = Timestamp::from_unix(1_767_225_600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::FixedClock;

    const NOW: Timestamp = Timestamp::from_unix(1_795_000_000);

    /// T-73
    #[test]
    fn a_jump_either_way_stops_minting_for_ten_seconds() {
        for step in [61, -61, 86_400, -86_400] {
            let clock = Arc::new(FixedClock::at(NOW));
            let watch = ClockWatch::new(clock.clone());
            assert_eq!(watch.check(), Ok(()));
            clock.step(NOW.plus(step));
            assert_eq!(watch.check(), Err(ClockError::Jumped), "{step}");
            clock.advance(Duration::from_secs(9));
            assert_eq!(watch.check(), Err(ClockError::Jumped), "{step}");
            clock.advance(Duration::from_secs(1));
            assert_eq!(watch.check(), Ok(()), "{step}");
        }
    }

    /// T-73
    #[test]
    fn a_small_correction_is_no_jump() {
        let clock = Arc::new(FixedClock::at(NOW));
        let watch = ClockWatch::new(clock.clone());
        clock.step(NOW.plus(60));
        assert_eq!(watch.check(), Ok(()));
        clock.advance(Duration::from_secs(86_400));
        assert_eq!(watch.check(), Ok(()));
    }

    /// T-73
    #[test]
    fn many_small_steps_in_a_row_are_a_jump() {
        for step in [20, -20] {
            let clock = Arc::new(FixedClock::at(NOW));
            let watch = ClockWatch::new(clock.clone());
            let verdicts = [(); 4].map(|()| {
                clock.advance(Duration::from_secs(5));
                clock.step(clock.now().plus(step));
                watch.check()
            });
            assert_eq!(
                verdicts,
                [Ok(()), Ok(()), Ok(()), Err(ClockError::Jumped)],
                "{step}"
            );
        }
    }

    /// T-73
    #[test]
    fn a_second_jump_begins_the_ten_seconds_anew() {
        let clock = Arc::new(FixedClock::at(NOW));
        let watch = ClockWatch::new(clock.clone());
        clock.step(NOW.plus(3_600));
        assert_eq!(watch.check(), Err(ClockError::Jumped));
        clock.advance(Duration::from_secs(9));
        clock.step(NOW);
        assert_eq!(watch.check(), Err(ClockError::Jumped));
        clock.advance(Duration::from_secs(9));
        assert_eq!(watch.check(), Err(ClockError::Jumped));
        clock.advance(Duration::from_secs(1));
        assert_eq!(watch.check(), Ok(()));
    }

    /// T-73, T-74
    #[test]
    fn no_time_makes_the_watch_panic() {
        let ends = [i64::MIN, i64::MIN + 1, -1, 0, 1, NOW.unix(), i64::MAX];
        for from in ends {
            for to in ends {
                let clock = Arc::new(FixedClock::at(Timestamp::from_unix(from)));
                let watch = ClockWatch::new(clock.clone());
                clock.step(Timestamp::from_unix(to));
                let verdict = watch.check();
                if to < BUILT.unix() {
                    assert_eq!(verdict, Err(ClockError::Wrong), "{from} to {to}");
                } else if from != to {
                    assert_eq!(verdict, Err(ClockError::Jumped), "{from} to {to}");
                }
                clock.advance(Duration::MAX);
                let _ = watch.check();
            }
        }
    }

    /// T-73
    #[test]
    fn a_clock_before_the_build_mints_nothing() {
        for wall in [i64::MIN, -1, 0, BUILT.unix() - 1] {
            let clock = Arc::new(FixedClock::at(Timestamp::from_unix(wall)));
            let watch = ClockWatch::new(clock);
            assert_eq!(watch.check(), Err(ClockError::Wrong), "{wall}");
        }
        let watch = ClockWatch::new(Arc::new(FixedClock::at(BUILT)));
        assert_eq!(watch.check(), Ok(()));
    }
}
