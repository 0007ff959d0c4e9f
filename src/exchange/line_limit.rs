//! Limits how many log lines or events of one kind are written per second.
//!
//! The rest is counted and summarised in one line, so a caller that repeats a request fills neither
//! the log nor the audit log (T-97).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::Clock;
use crate::reason::Reason;

/// Counts lines per reason and issuer, by the monotonic clock.
///
/// Reasons are our own codes and issuers those of the policies, so the number of kinds is bounded.
#[derive(Debug)]
pub(crate) struct LineLimiter {
    most: u32,
    clock: Arc<dyn Clock>,
    state: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    kinds: BTreeMap<Reason, BTreeMap<String, LineCount>>,
    /// Some kind has suppressed lines. Saves a scan while there are none.
    has_left_out: bool,
}

#[derive(Debug, Default)]
struct LineCount {
    second: u64,
    lines: u32,
    left_out: u64,
    /// Suppressed in earlier seconds, and not reported yet.
    due: u64,
}

/// Lines of one kind that were suppressed in earlier seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SuppressedLines {
    pub(crate) reason: Reason,
    pub(crate) issuer: String,
    pub(crate) lines: u64,
}

impl LineLimiter {
    pub(crate) fn new(most: u32, clock: Arc<dyn Clock>) -> Self {
        Self {
            most,
            clock,
            state: Mutex::default(),
        }
    }

    /// Whether the next line may be written. If not, it is counted as suppressed.
    pub(crate) fn take(&self, reason: Reason, issuer: &str) -> bool {
        let second = self.clock.monotonic().as_secs();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Counts {
            kinds,
            has_left_out,
        } = &mut *state;
        let issuers = kinds.entry(reason).or_default();
        if !issuers.contains_key(issuer) {
            issuers.insert(issuer.to_owned(), LineCount::default());
        }
        let Some(spent) = issuers.get_mut(issuer) else {
            return true;
        };
        if spent.second != second {
            spent.second = second;
            spent.lines = 0;
            spent.due = spent.due.saturating_add(spent.left_out);
            spent.left_out = 0;
        }
        if spent.lines < self.most {
            spent.lines = spent.lines.saturating_add(1);
            return true;
        }
        spent.left_out = spent.left_out.saturating_add(1);
        *has_left_out = true;
        false
    }

    /// Returns what was suppressed before this second. Each line is returned once.
    pub(crate) fn left_out(&self) -> Vec<SuppressedLines> {
        let now = self.clock.monotonic().as_secs();
        self.take_left_out(|second| second < now)
    }

    /// Returns what was suppressed up to now, for shutdown.
    pub(crate) fn rest(&self) -> Vec<SuppressedLines> {
        self.take_left_out(|_| true)
    }

    fn take_left_out(&self, is_due: impl Fn(u64) -> bool) -> Vec<SuppressedLines> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.has_left_out {
            return Vec::new();
        }
        let mut suppressed = Vec::new();
        let mut remains = false;
        for (reason, issuers) in &mut state.kinds {
            for (issuer, spent) in issuers {
                if is_due(spent.second) {
                    spent.due = spent.due.saturating_add(spent.left_out);
                    spent.left_out = 0;
                }
                remains |= spent.left_out > 0;
                if spent.due > 0 {
                    suppressed.push(SuppressedLines {
                        reason: *reason,
                        issuer: issuer.clone(),
                        lines: std::mem::take(&mut spent.due),
                    });
                }
            }
        }
        state.has_left_out = remains;
        suppressed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::{FixedClock, Timestamp};

    fn flood() -> (LineLimiter, Arc<FixedClock>) {
        let clock = Arc::new(FixedClock::at(Timestamp::from_unix(1_790_000_000)));
        (LineLimiter::new(3, Arc::clone(&clock) as Arc<_>), clock)
    }

    /// T-97
    #[test]
    fn each_reason_of_each_issuer_has_so_many_lines_a_second() {
        let (flood, clock) = flood();
        let written = |reason, issuer| (0..10).filter(|_| flood.take(reason, issuer)).count();
        assert_eq!(written(Reason::TokenSignature, "github"), 3);
        assert_eq!(written(Reason::TokenSignature, "gitlab"), 3);
        assert_eq!(written(Reason::TokenExpired, "github"), 3);
        assert_eq!(written(Reason::TokenSignature, "github"), 0);
        clock.advance(Duration::from_secs(1));
        assert_eq!(written(Reason::TokenSignature, "github"), 3);
    }

    /// T-97
    #[test]
    fn what_is_left_out_is_told_once_and_in_full() {
        let (flood, clock) = flood();
        for _ in 0..10 {
            flood.take(Reason::TokenSignature, "github");
        }
        assert_eq!(flood.left_out(), [], "its second is not over");
        clock.advance(Duration::from_secs(1));
        let suppressed = SuppressedLines {
            reason: Reason::TokenSignature,
            issuer: "github".to_owned(),
            lines: 7,
        };
        // Also while lines keep coming.
        assert!(flood.take(Reason::TokenSignature, "github"));
        assert_eq!(flood.left_out(), [suppressed]);
        assert_eq!(flood.left_out(), []);
        for _ in 0..3 {
            flood.take(Reason::TokenSignature, "github");
        }
        assert_eq!(
            flood.rest().first().map(|suppressed| suppressed.lines),
            Some(1)
        );
        assert_eq!(flood.rest(), []);
    }

    /// T-97
    #[test]
    fn what_was_left_out_and_not_yet_told_is_not_lost_in_the_next_second() {
        let (flood, clock) = flood();
        for _ in 0..3 {
            for _ in 0..10 {
                flood.take(Reason::TokenSignature, "github");
            }
            clock.advance(Duration::from_secs(1));
        }
        assert_eq!(
            flood.left_out().first().map(|suppressed| suppressed.lines),
            Some(21)
        );
    }
}
