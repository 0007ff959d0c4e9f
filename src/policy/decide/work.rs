//! Counts the cost of decisions in policies and blocks examined.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the work of the decisions of one set of policies.
#[derive(Debug, Default)]
pub(in crate::policy) struct Work {
    candidates: AtomicU64,
    examined: AtomicU64,
    written: AtomicU64,
}

/// The work of all decisions so far (T-132).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkDone {
    /// Policies compared with a job to decide.
    pub candidates: u64,
    /// Blocks compared with a job once more, to explain a decision.
    pub examined: u64,
    /// Blocks of these that were written out line by line.
    pub written: u64,
}

impl Work {
    pub(super) fn decided(&self, candidates: usize) {
        add(&self.candidates, candidates);
    }

    pub(super) fn explained(&self, examined: usize, written: usize) {
        add(&self.examined, examined);
        add(&self.written, written);
    }

    pub(super) fn done(&self) -> WorkDone {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WorkDone {
            candidates: read(&self.candidates),
            examined: read(&self.examined),
            written: read(&self.written),
        }
    }
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
}
