//! Limits how many operations run at once.
//!
//! The limit is an argument of each call, so a reload can change it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the operations in progress.
#[derive(Debug, Default)]
pub(super) struct ConcurrencyLimiter(Arc<AtomicUsize>);

/// One operation in progress, until dropped.
#[derive(Debug)]
pub(super) struct ConcurrencySlot(Arc<AtomicUsize>);

impl ConcurrencyLimiter {
    /// Starts an operation, unless `most` are in progress.
    pub(super) fn take(&self, most: usize) -> Option<ConcurrencySlot> {
        let one_more = |taken: usize| (taken < most).then(|| taken.saturating_add(1));
        let taken = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        taken.ok().map(|_| ConcurrencySlot(Arc::clone(&self.0)))
    }
}

impl Drop for ConcurrencySlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back_and_a_lower_limit_counts_those_that_are_taken() {
        let places = ConcurrencyLimiter::default();
        let taken: Vec<_> = (0..3).map(|_| places.take(3).unwrap()).collect();
        assert!(places.take(3).is_none());
        assert!(places.take(2).is_none());
        let fourth = places.take(4).unwrap();
        drop(taken);
        assert!(places.take(1).is_none());
        drop(fourth);
        assert!(places.take(1).is_some());
    }
}
