//! How often one repository's jobs may ask. Counted after verification only, so that nobody can
//! spend another's share (T-03).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::sync::Cache;

use crate::clock::Clock;
use crate::provider::{Fact, Job};

/// Counts exchanges and explanations per repository.
#[derive(Debug)]
pub(super) struct Rates {
    clock: Arc<dyn Clock>,
    buckets: Cache<String, Arc<Mutex<Bucket>>>,
}

/// What is left of a repository's share, and when that was counted.
#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Duration,
}

impl Rates {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            buckets: Cache::builder()
                .max_capacity(MAX_REPOSITORIES)
                .time_to_idle(Duration::from_secs(120))
                .build(),
        }
    }

    /// Takes one from the repository's share of `per_minute`, which fills up evenly over a minute.
    ///
    /// # Errors
    /// None is left; the seconds until there is one.
    pub(super) fn take(&self, job: &Job, per_minute: u32) -> Result<(), u64> {
        let full = f64::from(per_minute);
        let now = self.clock.monotonic();
        let bucket = self.buckets.get_with(name_of(job), || {
            Arc::new(Mutex::new(Bucket {
                left: full,
                at: now,
            }))
        });
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_sub(bucket.at).as_secs_f64();
        bucket.left = (bucket.left + passed * full / 60.0).min(full);
        bucket.at = now;
        if bucket.left < 1.0 {
            return Err(60_u64.div_ceil(u64::from(per_minute.max(1))));
        }
        bucket.left -= 1.0;
        Ok(())
    }
}

/// So many of something per second, by the clock that never steps.
#[derive(Debug)]
pub(super) struct Budget {
    most: u32,
    clock: Arc<dyn Clock>,
    spent: Mutex<(u64, u32)>,
}

impl Budget {
    pub(super) const fn per_second(most: u32, clock: Arc<dyn Clock>) -> Self {
        Self {
            most,
            clock,
            spent: Mutex::new((0, 0)),
        }
    }

    /// Takes one; false when this second's are gone.
    pub(super) fn take(&self) -> bool {
        let second = self.clock.monotonic().as_secs();
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.0 != second {
            *spent = (second, 0);
        }
        spent.1 = spent.1.saturating_add(1);
        spent.1 <= self.most
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

/// Genuine tokens of so many repositories at once would be an attack by a whole platform; a bucket
/// that is dropped starts full.
const MAX_REPOSITORIES: u64 = 100_000;
