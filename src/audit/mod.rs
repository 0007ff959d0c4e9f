//! What happened? Event, Recorded (its only maker), trait Sink, the list of sinks.
//!
//! An Event has no field that could hold a secret.

use crate::replay::Reserved;

pub mod chain;
pub mod file;
pub mod stdout;

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

/// A required sink did not take an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sink `{sink}` did not accept the event: {problem}")]
pub struct SinkError {
    /// The sink's name, e.g. `file`.
    pub sink: String,
    /// What went wrong.
    pub problem: String,
}
