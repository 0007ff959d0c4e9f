//! What a verification found, grouped so that one cause is one finding.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::text::escape;

#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub lines: u64,
    pub boots: u64,
    pub checkpoints: u64,
    /// Lines at the end that no checkpoint signs.
    pub unsigned: u64,
    pub keys: BTreeSet<String>,
    /// The hash of the last line of the log, to be kept for later.
    pub head: Option<String>,
    /// The time of the last checkpoint whose signature holds: what came until then is proven.
    pub proven_until: Option<String>,
    /// Nothing is missing at the end either: the last line has a head that was expected.
    pub proven_to_the_end: bool,
    /// What is wrong, in order; the first 100.
    pub findings: Vec<Finding>,
    pub notes: Vec<String>,
    #[serde(skip)]
    left_out: u64,
    #[serde(skip)]
    events: u64,
}

impl Report {
    /// Adds a finding, or counts it where the same was found before.
    pub(super) fn add(&mut self, place: Place, text: String) {
        let same = self
            .findings
            .iter_mut()
            .find(|finding| finding.text == text);
        if let Some(finding) = same {
            finding.more = finding.more.saturating_add(1);
        } else if self.findings.len() < MOST_FINDINGS {
            self.findings.push(Finding {
                file: place.file,
                line: place.line,
                text,
                more: 0,
            });
        } else {
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    /// Notes an event that explains findings; the first 20.
    pub(super) fn note_event(&mut self, place: &Place, text: &str) {
        self.events = self.events.saturating_add(1);
        if self.events <= MOST_EVENTS {
            self.notes
                .push(format!("{}:{}: {text}", escape(&place.file), place.line));
        }
    }

    /// Says what was left out.
    pub(super) fn note_left_out(&mut self) {
        if self.left_out > 0 {
            self.notes
                .push(format!("{} more findings are left out", self.left_out));
        }
        if let Some(more @ 1..) = self.events.checked_sub(MOST_EVENTS) {
            self.notes
                .push(format!("{more} more truncations and removals are left out"));
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub file: String,
    /// In which line, from 1; the first, if there are several.
    pub line: u64,
    /// What, and what was expected.
    pub text: String,
    /// So many more lines have the same finding.
    pub more: u64,
}

/// `file:line: text`.
impl fmt::Display for Finding {
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
pub(super) struct Place {
    pub(super) file: String,
    pub(super) line: u64,
}

const MOST_FINDINGS: usize = 100;
const MOST_EVENTS: u64 = 20;
