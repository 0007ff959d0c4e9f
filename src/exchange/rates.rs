//! How often one repository's jobs may ask. Counted after verification only, so that nobody can
//! spend another's share (T-03).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::sync::Cache;

use crate::clock::Clock;
use crate::provider::{Fact, Job};
use crate::token::TokenId;

/// Counts exchanges and explanations per repository.
#[derive(Debug)]
pub(super) struct Rates {
    clock: Arc<dyn Clock>,
    shares: Cache<String, Arc<Mutex<Share>>>,
    /// Tokens whose job was shown a list, and did not ask for any of it yet.
    listed: Cache<TokenId, ()>,
}

/// What a repository may still ask for, told by one time: all of it from then on, and less by one
/// for each part of a minute before. Exact, where a count of fractions would drift.
#[derive(Debug)]
struct Share {
    full_at: Duration,
}

impl Rates {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            shares: Cache::builder()
                .max_capacity(MAX_REPOSITORIES)
                .time_to_idle(Duration::from_secs(120))
                .build(),
            listed: Cache::builder()
                .max_capacity(MAX_LISTED)
                .time_to_live(LISTED)
                .build(),
        }
    }

    /// Remembers that this job was shown what it may have. A client looks there before it asks with the
    /// same token, and both together count once.
    pub(super) fn listed(&self, job: &Job) {
        self.listed.insert(job.token().clone(), ());
    }

    /// Whether this is the first request with the job's token since it was [`listed`](Self::listed).
    pub(super) fn was_listed(&self, job: &Job) -> bool {
        self.listed.remove(job.token()).is_some()
    }

    /// Takes one from the repository's share of `per_minute`, which is a minute's worth at once at
    /// most and fills up evenly.
    ///
    /// # Errors
    /// None is left; the seconds until there is one.
    pub(super) fn take(&self, job: &Job, per_minute: u32) -> Result<(), u64> {
        // Time in which one more is earned.
        let each = MINUTE / per_minute.max(1);
        let now = self.clock.monotonic();
        let share = self.shares.get_with(name_of(job), || {
            Arc::new(Mutex::new(Share { full_at: now }))
        });
        let mut share = share.lock().unwrap_or_else(PoisonError::into_inner);
        share.take(now, each)
    }
}

impl Share {
    fn take(&mut self, now: Duration, each: Duration) -> Result<(), u64> {
        let full_at = self.full_at.max(now).saturating_add(each);
        let wait = full_at.saturating_sub(now).saturating_sub(MINUTE);
        if wait.is_zero() {
            self.full_at = full_at;
            return Ok(());
        }
        // Rounded up: who comes back then is not turned away again.
        Err(wait
            .as_secs()
            .saturating_add(u64::from(wait.subsec_nanos() > 0)))
    }
}

/// The repository by its id where the job has one: names can be registered again.
fn name_of(job: &Job) -> String {
    let facts = job.facts();
    let repository = facts
        .text(Fact::RepositoryId)
        .or_else(|| facts.text(Fact::Repository))
        .unwrap_or_else(|| job.subject());
    format!("{}\n{repository}", facts.issuer())
}

/// Genuine tokens of so many repositories at once would be an attack by a whole platform; a share
/// that is dropped starts full.
/// How long a look-up counts together with the request that follows: a client asks at once, and look-ups
/// that are kept for later would add up to a second share.
const LISTED: Duration = Duration::from_secs(10);
const MAX_REPOSITORIES: u64 = 100_000;
/// A token that is forgotten counts twice.
const MAX_LISTED: u64 = 10_000;
const MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn full() -> Share {
        Share {
            full_at: Duration::ZERO,
        }
    }

    /// T-03
    #[test]
    fn a_minutes_share_may_be_taken_at_once_and_comes_back_evenly() {
        let (mut share, each) = (full(), Duration::from_secs(1));
        let start = Duration::from_secs(1_000);
        for _ in 0..60 {
            assert_eq!(share.take(start, each), Ok(()));
        }
        assert_eq!(share.take(start, each), Err(1));
        let later = start + Duration::from_millis(999);
        assert_eq!(share.take(later, each), Err(1));
        let later = start + Duration::from_secs(1);
        assert_eq!(share.take(later, each), Ok(()));
        assert_eq!(share.take(later, each), Err(1));
        let idle = start + Duration::from_secs(3_600);
        for _ in 0..60 {
            assert_eq!(share.take(idle, each), Ok(()));
        }
        assert_eq!(share.take(idle, each), Err(1));
    }

    /// T-03
    #[test]
    fn a_rare_share_says_exactly_when_to_come_back() {
        let (mut share, each) = (full(), Duration::from_secs(30));
        assert_eq!(share.take(Duration::ZERO, each), Ok(()));
        assert_eq!(share.take(Duration::ZERO, each), Ok(()));
        for (millis, wait) in [(0, 30), (1, 30), (10_000, 20), (29_500, 1)] {
            assert_eq!(share.take(Duration::from_millis(millis), each), Err(wait));
        }
        assert_eq!(share.take(Duration::from_secs(30), each), Ok(()));
    }

    proptest! {
        /// T-74
        #[test]
        fn no_time_and_no_rate_wraps_a_share(
            times in proptest::collection::vec(any::<u64>(), 1..50),
            per_minute in any::<u32>(),
        ) {
            let each = MINUTE / per_minute.max(1);
            let mut share = full();
            for nanos in times {
                let now = Duration::from_nanos(nanos);
                if let Err(wait) = share.take(now, each) {
                    prop_assert!(wait >= 1);
                    let again = now.saturating_add(Duration::from_secs(wait));
                    prop_assert_eq!(share.take(again, each), Ok(()));
                }
            }
            let end = Duration::MAX;
            prop_assert!(share.take(end, each).is_ok());
        }
    }
}
