//! Limits the requests per repository.
//!
//! Requests are counted after verification, so an unrelated caller cannot use up a repository's
//! limit (T-03).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::sync::Cache;

use crate::clock::Clock;
use crate::provider::{Fact, Job};
use crate::token::TokenId;

/// Counts exchanges and explanations per repository.
#[derive(Debug)]
pub(super) struct RateLimiter {
    clock: Arc<dyn Clock>,
    buckets: Cache<String, Arc<Mutex<Bucket>>>,
    /// Tokens whose job got the list of its credentials, and has not requested one yet.
    listed: Cache<TokenId, ()>,
}

/// GCRA state: the time at which the bucket is full again. Exact, where a count of fractions would
/// drift.
#[derive(Debug)]
struct Bucket {
    full_at: Duration,
}

impl RateLimiter {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            buckets: Cache::builder()
                .max_capacity(MAX_REPOSITORIES)
                .time_to_idle(Duration::from_secs(120))
                .build(),
            listed: Cache::builder()
                .max_capacity(MAX_LISTED)
                .time_to_live(LISTED)
                .build(),
        }
    }

    /// Remembers that this job got the list of its credentials. A client requests the list before
    /// the credential, with the same token, and both together count once.
    pub(super) fn listed(&self, job: &Job) {
        self.listed.insert(job.token().clone(), ());
    }

    /// Whether this is the first request with the job's token since it was [`listed`](Self::listed).
    pub(super) fn was_listed(&self, job: &Job) -> bool {
        self.listed.remove(job.token()).is_some()
    }

    /// Takes one request from the repository's bucket, which holds `per_minute` requests and
    /// refills evenly.
    ///
    /// # Errors
    /// The bucket is empty. Returns the seconds until the next request is accepted.
    pub(super) fn take(&self, job: &Job, per_minute: u32) -> Result<(), u64> {
        // The time that refills one request.
        let each = MINUTE / per_minute.max(1);
        let now = self.clock.monotonic();
        let bucket = self.buckets.get_with(name_of(job), || {
            Arc::new(Mutex::new(Bucket { full_at: now }))
        });
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.take(now, each)
    }
}

impl Bucket {
    fn take(&mut self, now: Duration, each: Duration) -> Result<(), u64> {
        let full_at = self.full_at.max(now).saturating_add(each);
        let wait = full_at.saturating_sub(now).saturating_sub(MINUTE);
        if wait.is_zero() {
            self.full_at = full_at;
            return Ok(());
        }
        // Rounded up, so a retry after that time succeeds.
        Err(wait
            .as_secs()
            .saturating_add(u64::from(wait.subsec_nanos() > 0)))
    }
}

/// The repository by its ID where the job has one, because names can be registered again.
fn name_of(job: &Job) -> String {
    let facts = job.facts();
    let repository = facts
        .text(Fact::RepositoryId)
        .or_else(|| facts.text(Fact::Repository))
        .unwrap_or_else(|| job.subject());
    format!("{}\n{repository}", facts.issuer())
}

/// How long a list request counts together with the credential request that follows. A client sends
/// both at once; a longer time would let a repository double its limit.
const LISTED: Duration = Duration::from_secs(10);
/// More repositories at once would be an attack by a whole platform. An evicted bucket starts full.
const MAX_REPOSITORIES: u64 = 100_000;
/// The request of a token that was evicted counts twice.
const MAX_LISTED: u64 = 10_000;
const MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn full() -> Bucket {
        Bucket {
            full_at: Duration::ZERO,
        }
    }

    /// T-03
    #[test]
    fn a_minutes_share_may_be_taken_at_once_and_comes_back_evenly() {
        let (mut bucket, each) = (full(), Duration::from_secs(1));
        let start = Duration::from_secs(1_000);
        for _ in 0..60 {
            assert_eq!(bucket.take(start, each), Ok(()));
        }
        assert_eq!(bucket.take(start, each), Err(1));
        let later = start + Duration::from_millis(999);
        assert_eq!(bucket.take(later, each), Err(1));
        let later = start + Duration::from_secs(1);
        assert_eq!(bucket.take(later, each), Ok(()));
        assert_eq!(bucket.take(later, each), Err(1));
        let idle = start + Duration::from_secs(3_600);
        for _ in 0..60 {
            assert_eq!(bucket.take(idle, each), Ok(()));
        }
        assert_eq!(bucket.take(idle, each), Err(1));
    }

    /// T-03
    #[test]
    fn a_rare_share_says_exactly_when_to_come_back() {
        let (mut bucket, each) = (full(), Duration::from_secs(30));
        assert_eq!(bucket.take(Duration::ZERO, each), Ok(()));
        assert_eq!(bucket.take(Duration::ZERO, each), Ok(()));
        for (millis, wait) in [(0, 30), (1, 30), (10_000, 20), (29_500, 1)] {
            assert_eq!(bucket.take(Duration::from_millis(millis), each), Err(wait));
        }
        assert_eq!(bucket.take(Duration::from_secs(30), each), Ok(()));
    }

    proptest! {
        /// T-74
        #[test]
        fn no_time_and_no_rate_wraps_a_share(
            times in proptest::collection::vec(any::<u64>(), 1..50),
            per_minute in any::<u32>(),
        ) {
            let each = MINUTE / per_minute.max(1);
            let mut bucket = full();
            for nanos in times {
                let now = Duration::from_nanos(nanos);
                if let Err(wait) = bucket.take(now, each) {
                    prop_assert!(wait >= 1);
                    let again = now.saturating_add(Duration::from_secs(wait));
                    prop_assert_eq!(bucket.take(again, each), Ok(()));
                }
            }
            let end = Duration::MAX;
            prop_assert!(bucket.take(end, each).is_ok());
        }
    }
}
