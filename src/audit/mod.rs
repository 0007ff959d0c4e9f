//! What happened? Event, Recorded (its only maker), trait Sink, the list of sinks.
//!
//! An Event has no field that could hold a secret.
//!
//! The order is the point: an intent is written to every required sink before anything is minted, and
//! what cannot be recorded is not minted (T-89). Every intent gets exactly one outcome.

use std::{fmt, io};

use crate::replay::Reserved;

pub mod chain;
pub mod event;
pub mod file;
mod log;
pub mod stdout;
mod text;
mod writer;

pub use chain::verify;
pub use chain::{Head, PublicKey};
pub use event::{Event, Outcome};
pub use log::{AuditLog, new_boot_id};
pub use text::Text;

/// Takes lines. Each has a thread of its own, so that a slow one holds up nobody but those who
/// require it.
///
/// What a sink has accepted it never loses or reorders; it may be asked to end a line that it took
/// the front of, and is never given bytes twice.
pub trait Sink: Send + fmt::Debug {
    /// The name in the settings, e.g. `file`.
    fn name(&self) -> &str;

    /// The hash of the last line that is there already, for the chain to continue from.
    fn head(&self) -> Option<Head> {
        None
    }

    /// Takes some bytes off the front of `lines`, and says how many.
    ///
    /// # Errors
    /// Nothing was taken. The same bytes come again.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize>;

    /// Says how much of `taken` is still where the sink's readers look: the bytes that it took since
    /// a confirmation last covered all of them. Asked before each batch, and again before the batch
    /// counts (T-135). Bytes that are no longer there are given again.
    ///
    /// # Errors
    /// Readers would not find what comes next, so nothing counts.
    fn confirm(&mut self, taken: &[u8]) -> io::Result<Confirmed> {
        Ok(Confirmed::all(taken))
    }

    /// Makes what was taken as safe as the sink promises.
    ///
    /// # Errors
    /// It is not safe.
    fn settle(&mut self) -> io::Result<()>;
}

/// What a sink still has of the bytes that it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// So many bytes from the front.
    pub bytes: usize,
    /// What happened to the sink's file since the last confirmation.
    pub found: Option<Found>,
}

impl Confirmed {
    /// Everything is where it was.
    #[must_use]
    pub const fn all(taken: &[u8]) -> Self {
        Self {
            bytes: taken.len(),
            found: None,
        }
    }
}

/// What happened to a sink's file. The head is that of the last line it is known to have had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It has another name now, and a new file continues its chain.
    Renamed,
    /// It was deleted or replaced, and a new file continues its chain.
    Removed(Option<Head>),
    /// It lost lines in place.
    Truncated(Option<Head>),
}

/// A sink, and whether anything may be minted without it.
#[derive(Debug)]
pub struct SinkEntry {
    /// The sink.
    pub sink: Box<dyn Sink>,
    /// Nothing is minted while it fails.
    pub required: bool,
}

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

/// How a sink is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkStatus {
    /// Its name.
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
#[error("sink `{sink}` did not accept the event: {problem}")]
pub struct SinkError {
    /// The sink's name, e.g. `file`.
    pub sink: String,
    /// What went wrong.
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
