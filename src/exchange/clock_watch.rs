//! Is the wall clock to be trusted? Nothing is minted while it jumps (T-73).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Timestamp};

/// Compares wall time with monotonic time.
#[derive(Debug)]
pub(super) struct ClockWatch {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    wall: Timestamp,
    monotonic: Duration,
    /// The jump is over when monotonic time reaches this.
    unstable_until: Option<Duration>,
}

/// The clock cannot be trusted now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClockError {
    /// It is before the day this program was written.
    #[error(
        "the broker's clock is before the day hallpass was built; nothing is minted until it is set"
    )]
    Wrong,
    /// It moved by more than a minute against monotonic time.
    #[error("the broker's clock jumped; nothing is minted until it is stable for ten seconds")]
    Jumped,
}

impl ClockWatch {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let state = State {
            wall: clock.now(),
            monotonic: clock.monotonic(),
            unstable_until: None,
        };
        Self {
            clock,
            state: Mutex::new(state),
        }
    }

    /// Looks at the clock; asked before each exchange and by readiness.
    ///
    /// # Errors
    /// The clock jumped, or is wrong.
    pub(super) fn check(&self) -> Result<(), ClockError> {
        let (wall, monotonic) = (self.clock.now(), self.clock.monotonic());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = monotonic.saturating_sub(state.monotonic).as_secs();
        let moved = wall.since(state.wall);
        let off = moved.saturating_sub(i64::try_from(passed).unwrap_or(i64::MAX));
        state.wall = wall;
        state.monotonic = monotonic;
        if off.saturating_abs() > MAX_JUMP {
            tracing::error!(reason = "clock.jump", seconds = off, "the clock jumped");
            state.unstable_until = Some(monotonic.saturating_add(STABLE_FOR));
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

/// Seconds that wall time may move against monotonic time between two looks.
const MAX_JUMP: i64 = 60;

/// How long the clock must run evenly after a jump.
const STABLE_FOR: Duration = Duration::from_secs(10);

/// 2026-01-01: no clock that is right shows an earlier time to this program.
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
    fn a_clock_of_1970_mints_nothing() {
        let clock = Arc::new(FixedClock::at(Timestamp::from_unix(0)));
        let watch = ClockWatch::new(clock);
        assert_eq!(watch.check(), Err(ClockError::Wrong));
    }
}
