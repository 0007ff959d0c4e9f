//! The trait that a sink implements, the trait of its settings, and the list of kinds of sinks.
//!
//! A kind of sink is one file and one line in [`KINDS`]. It reads its own settings, checks them for
//! `serve --check`, opens the sink, and describes itself in the log. No other module knows the
//! kinds.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::{Head, SinkError, file, stdout};
use crate::yaml::settings::Section;

/// Every kind of sink, by the word after `kind:`.
pub const KINDS: [&SinkKind; 2] = [&file::SINK, &stdout::SINK];

pub struct SinkKind {
    /// The word after `kind:`.
    pub name: &'static str,
    /// Reads the other keys, except `required`. Errors are reported to the section.
    pub(crate) read: fn(&Section<'_>) -> Option<Arc<dyn SinkSettings>>,
}

/// The settings of one sink.
pub trait SinkSettings: Send + Sync + fmt::Debug {
    /// All settings of the sink in one line, e.g. `file /var/log/audit.jsonl`. Two sinks with the same
    /// description are the same sink. Names files of secrets, never a secret.
    fn description(&self) -> String;

    /// Checks whether the sink can be opened, without opening it or writing anything.
    ///
    /// # Errors
    /// It cannot be opened.
    fn check(&self) -> Result<(), SinkError>;

    /// Opens the sink.
    ///
    /// # Errors
    /// It cannot be opened.
    fn open(&self) -> Result<Box<dyn Sink>, SinkError>;

    /// The local file that the sink appends to. Operations of the command line are recorded beside it.
    fn file(&self) -> Option<&Path> {
        None
    }
}

/// One event as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLine {
    /// Its `seq`: the number of the line in this boot.
    pub sequence: u64,
    /// The hash of the line.
    pub head: Head,
    /// JSON with a line feed at the end.
    pub text: Bytes,
}

impl AuditLine {
    /// A line that is in no chain, with its line feed.
    #[must_use]
    pub fn new(sequence: u64, text: impl Into<Bytes>) -> Self {
        let text = text.into();
        Self {
            sequence,
            head: Head::of(text.strip_suffix(b"\n").unwrap_or(&text)),
            text,
        }
    }
}

/// Takes events. Each sink has its own thread, so a slow sink delays only requests that require it.
///
/// A sink must not lose or reorder accepted events.
pub trait Sink: Send + fmt::Debug {
    /// The name in the settings, e.g. `file`.
    fn name(&self) -> &str;

    /// The hash of the last line already present, for the chain to continue from.
    fn head(&self) -> Option<Head> {
        None
    }

    /// Accepts events from the front of `lines`, and returns how many.
    ///
    /// # Errors
    /// No event was accepted. The next call begins with the same event.
    fn write(&mut self, lines: &[AuditLine]) -> io::Result<usize>;

    /// Returns how many events of `taken` are still where the sink's readers look: the events that it
    /// accepted since a confirmation last covered all of them. Called before each batch, and again
    /// before the batch counts (T-135). Events that are no longer there are written again.
    ///
    /// # Errors
    /// Readers would not find the next events, so none counts.
    fn confirm(&mut self, taken: &[AuditLine]) -> io::Result<Confirmed> {
        Ok(Confirmed::all(taken))
    }

    /// Makes accepted events as durable as the sink promises.
    ///
    /// # Errors
    /// They are not durable.
    fn settle(&mut self) -> io::Result<()>;
}

/// What a sink still has of the events that it accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// How many events from the front.
    pub lines: usize,
    /// What happened to the sink's file since the last confirmation.
    pub found: Option<Found>,
}

impl Confirmed {
    /// Every event is still present.
    #[must_use]
    pub const fn all(taken: &[AuditLine]) -> Self {
        Self {
            lines: taken.len(),
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

/// A sink, and whether minting requires it.
#[derive(Debug)]
pub struct SinkEntry {
    pub sink: Box<dyn Sink>,
    /// Nothing is minted while it fails.
    pub required: bool,
}
