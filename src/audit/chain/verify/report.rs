//! Collects the findings of a verification, and groups lines with the same finding.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::text::escape;

#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub lines: u64,
    pub boots: u64,
    pub checkpoints: u64,
    /// Unsigned lines at the end.
    pub unsigned: u64,
    pub keys: BTreeSet<String>,
    /// The hash of the last line of the log, to save for later.
    pub head: Option<String>,
    /// The time of the last checkpoint with a valid signature. Everything until then is proven.
    pub proven_until: Option<String>,
    /// The last line has an expected head, so nothing is missing at the end.
    pub proven_to_the_end: bool,
    /// What is wrong, in order. At most 100.
    pub findings: Vec<ChainFinding>,
    pub notes: Vec<String>,
    #[serde(skip)]
    left_out: u64,
    #[serde(skip)]
    events: u64,
}

impl Report {
    /// Adds a finding, or counts it if it was found before.
    pub(super) fn add(&mut self, place: LineLocation, text: String) {
        let same = self
            .findings
            .iter_mut()
            .find(|finding| finding.text == text);
        if let Some(finding) = same {
            finding.more = finding.more.saturating_add(1);
        } else if self.findings.len() < MOST_FINDINGS {
            self.findings.push(ChainFinding {
                file: place.file,
                line: place.line,
                text,
                more: 0,
            });
        } else {
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    /// Notes an event that explains findings. At most 20.
    pub(super) fn note_event(&mut self, place: &LineLocation, text: &str) {
        self.events = self.events.saturating_add(1);
        if self.events <= MOST_EVENTS {
            self.notes
                .push(format!("{}:{}: {text}", escape(&place.file), place.line));
        }
    }

    /// Notes how many findings were omitted.
    pub(super) fn note_suppressed(&mut self) {
        if self.left_out > 0 {
            self.notes
                .push(format!("{} more findings omitted", self.left_out));
        }
        if let Some(more @ 1..) = self.events.checked_sub(MOST_EVENTS) {
            self.notes
                .push(format!("{more} more truncations and removals omitted"));
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChainFinding {
    pub file: String,
    /// The line, from 1. The first one, if there are several.
    pub line: u64,
    /// What is wrong, and what was expected.
    pub text: String,
    /// How many more lines have the same finding.
    pub more: u64,
}

/// `file:line: text`.
impl fmt::Display for ChainFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", escape(&self.file), self.line, self.text)?;
        match self.more {
            0 => Ok(()),
            1 => write!(f, " (and 1 more line)"),
            more => write!(f, " (and {more} more lines)"),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct LineLocation {
    pub(super) file: String,
    pub(super) line: u64,
}

const MOST_FINDINGS: usize = 100;
const MOST_EVENTS: u64 = 20;
