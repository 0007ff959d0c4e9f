//! The audit log: what happened, as a signed hash chain of events in one or more sinks.
//!
//! An intent is written to every required sink before anything is minted, and what cannot be
//! recorded is not minted (T-89). Every intent gets exactly one outcome. [`Recorded`], the evidence
//! of a written intent, is made only here.

use crate::replay::Reserved;

mod asked;
pub mod chain;
mod decision;
pub mod event;
pub mod file;
pub(crate) mod lines;
mod log;
pub mod sink;
pub mod stdout;
mod stream;
mod text;
mod writer;

pub use chain::verify;
pub use chain::{AuditPublicKey, Head};
pub use decision::{Asked, RecordedDecision, RecordedLine, RecordedOutcome, Said};
pub use event::{Event, Outcome};
pub use log::{AuditLog, new_boot_id};
pub use sink::{AuditLine, Confirmed, Found, Sink, SinkEntry};
pub use text::Text;

/// Evidence that the intent to mint is on record. Only [`AuditLog::record_intent`] makes one.
#[derive(Debug)]
pub struct Recorded {
    reserved: Reserved,
    intent: String,
}

impl Recorded {
    /// What is about to be minted, for whom.
    #[must_use]
    pub const fn reserved(&self) -> &Reserved {
        &self.reserved
    }

    /// The id that ties the outcome to the intent.
    #[must_use]
    pub fn intent(&self) -> &str {
        &self.intent
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkStatus {
    pub name: String,
    /// Nothing is minted while it fails.
    pub required: bool,
    /// What keeps it from taking events.
    pub problem: Option<String>,
    /// Bytes that wait for it.
    pub backlog: usize,
    /// Lines that it has missed for good.
    pub missed: u64,
}

/// A required sink did not take an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("audit sink `{sink}`: {problem}")]
pub struct SinkError {
    /// The sink's name, e.g. `file`.
    pub sink: String,
    pub problem: String,
}

/// A failure that is no sink's own.
fn ours(problem: &str) -> SinkError {
    SinkError {
        sink: "audit".to_owned(),
        problem: problem.to_owned(),
    }
}

/// No event makes a longer line: its texts and lists are bounded.
pub(crate) const LONGEST_LINE: usize = 256 << 10;

/// The lines of a text as events, numbered from `first`.
#[cfg(test)]
fn lines(first: u64, text: &[u8]) -> Vec<AuditLine> {
    let texts = text.split_inclusive(|byte| *byte == b'\n');
    (first..)
        .zip(texts)
        .map(|(sequence, text)| AuditLine::new(sequence, text.to_vec()))
        .collect()
}
