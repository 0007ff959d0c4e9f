//! Places for what is under way.
//!
//! Counted, not handed out of a fixed store, so that a reload may change how many there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many places are taken.
#[derive(Debug, Default)]
pub(super) struct Places(Arc<AtomicUsize>);

/// A place, given back when dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Places {
    /// A place, unless `most` are taken.
    pub(super) fn take(&self, most: usize) -> Option<Place> {
        let one_more = |taken: usize| (taken < most).then(|| taken.saturating_add(1));
        let taken = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        taken.ok().map(|_| Place(Arc::clone(&self.0)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back_and_a_lower_limit_counts_those_that_are_taken() {
        let places = Places::default();
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
