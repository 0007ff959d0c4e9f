//! Audit files to uses, replicas and gaps.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde_json::Value;

use crate::audit::lines::{Ending, next_line};
use crate::audit::{Head, RecordedDecision, RecordedLine, RecordedOutcome, Said};
use crate::cli::Failure;
use crate::cli::audit_file::{AuditFile, unreadable};
use crate::clock::Timestamp;
use crate::policy::usage::{Stated, Use};
use crate::text::{CUT_MARK, count, escape};

/// What was read of the logs of all replicas.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) lines: u64,
    /// The first of the lines that could not be read.
    pub(super) broken: Vec<BrokenLine>,
    /// The number of lines that could not be read.
    pub(super) unread: u64,
    /// By replica, then by boot.
    chains: BTreeMap<String, BTreeMap<String, Boot>>,
    /// When revisions of the policies were first in use.
    revisions: BTreeMap<String, Timestamp>,
    gaps: Vec<Gap>,
}

/// The times of a first and a last event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Period {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

impl Period {
    const fn of(at: Timestamp) -> Self {
        Self {
            from: at,
            until: at,
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            from: self.from.min(other.from),
            until: self.until.max(other.until),
        }
    }
}

pub(super) struct Replica {
    pub(super) name: String,
    pub(super) period: Period,
}

#[derive(Debug)]
pub(super) struct BrokenLine {
    pub(super) file: String,
    pub(super) line: u64,
    pub(super) problem: String,
}

impl fmt::Display for BrokenLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", escape(&self.file), self.line, self.problem)
    }
}

/// Lines that are not in the files.
#[derive(Debug)]
struct Gap {
    /// The time of the line after them.
    until: Timestamp,
    message: String,
}

/// The lines of one start of a broker.
#[derive(Debug)]
struct Boot {
    period: Period,
    lines: u64,
    first: u64,
    last: u64,
    /// `prev` of the line with the lowest number.
    previous: String,
    /// The line with the highest number.
    end: Vec<u8>,
}

impl Log {
    /// Reads one file, and hands its decisions over.
    ///
    /// # Errors
    /// It cannot be read. Lines that are not events are kept in [`Self::broken`].
    pub(super) fn read(
        &mut self,
        path: &Path,
        each: &mut impl FnMut(&RecordedDecision),
    ) -> Result<(), Failure> {
        let AuditFile { name, mut lines } = AuditFile::open(path, "policy usage")?;
        let mut line = Vec::new();
        let mut number = 0_u64;
        while let Some(ending) =
            next_line(&mut lines, &mut line).map_err(|error| unreadable(&name, &error))?
        {
            number = number.saturating_add(1);
            let read = match ending {
                Ending::TooLong => Err("is longer than an event can be".to_owned()),
                // The end of a file that is written right now.
                Ending::Cut if line.is_empty() => Ok(()),
                Ending::Newline | Ending::Cut => self.read_line(&line, each),
            };
            if let Err(problem) = read {
                self.unread = self.unread.saturating_add(1);
                if self.broken.len() < MOST_BROKEN {
                    self.broken.push(BrokenLine {
                        file: name.clone(),
                        line: number,
                        problem,
                    });
                }
            }
        }
        Ok(())
    }

    fn read_line(
        &mut self,
        text: &[u8],
        each: &mut impl FnMut(&RecordedDecision),
    ) -> Result<(), String> {
        let line = RecordedLine::parse(text)?;
        let at = line.at()?;
        match line.said()? {
            Said::Decision(decision) => {
                each(&decision);
                self.saw_revision(&decision.revision, at);
            }
            Said::Policies { revision } => self.saw_revision(&revision, at),
            Said::Other => {}
        }
        self.lines = self.lines.saturating_add(1);
        self.saw_line(&line, at, text);
        Ok(())
    }

    fn saw_revision(&mut self, revision: &str, at: Timestamp) {
        if let Some(known) = self.revisions.get_mut(revision) {
            *known = (*known).min(at);
        } else {
            self.revisions.insert(revision.to_owned(), at);
        }
    }

    fn saw_line(&mut self, head: &RecordedLine<'_>, at: Timestamp, line: &[u8]) {
        let chain = match self.chains.get_mut(&*head.chain) {
            Some(chain) => chain,
            None => self.chains.entry(head.chain.to_string()).or_default(),
        };
        let Some(boot) = chain.get_mut(&*head.boot) else {
            let boot = Boot {
                period: Period::of(at),
                lines: 1,
                first: head.seq,
                last: head.seq,
                previous: head.prev.to_string(),
                end: line.to_vec(),
            };
            chain.insert(head.boot.to_string(), boot);
            return;
        };
        boot.period = boot.period.and(Period::of(at));
        boot.lines = boot.lines.saturating_add(1);
        if head.seq < boot.first {
            boot.first = head.seq;
            boot.previous = head.prev.to_string();
        }
        if head.seq > boot.last {
            boot.last = head.seq;
            boot.end.clear();
            boot.end.extend_from_slice(line);
        }
    }

    /// Looks for lines that are missing between those that were read.
    pub(super) fn finish(&mut self) {
        for (name, boots) in &self.chains {
            let name = escape(name);
            let mut boots: Vec<_> = boots.values().collect();
            boots.sort_by_key(|boot| (boot.period.from, boot.period.until));
            let mut before: Option<&Boot> = None;
            for boot in boots {
                let Period { from, until } = boot.period;
                let follows = match before {
                    None => is_origin(&boot.previous),
                    Some(before) => Head::parse(&boot.previous) == Some(Head::of(&before.end)),
                };
                if !follows || boot.first != 1 {
                    self.gaps.push(Gap {
                        until: from,
                        message: format!(
                            "events of replica {name} before {from} are not in these files"
                        ),
                    });
                }
                let numbers = boot.last.saturating_sub(boot.first).saturating_add(1);
                if let missing @ 1.. = numbers.saturating_sub(boot.lines) {
                    self.gaps.push(Gap {
                        until,
                        message: format!(
                            "{} of replica {name} between {from} and {until} are not in these files",
                            count(missing, "event")
                        ),
                    });
                }
                before = Some(boot);
            }
        }
    }

    pub(super) fn period(&self) -> Option<Period> {
        let boots = self.chains.values().flat_map(BTreeMap::values);
        boots.map(|boot| boot.period).reduce(Period::and)
    }

    pub(super) fn replicas(&self) -> Vec<Replica> {
        let replicas = self.chains.iter().filter_map(|(name, boots)| {
            let period = boots.values().map(|boot| boot.period).reduce(Period::and)?;
            let name = name.clone();
            Some(Replica { name, period })
        });
        replicas.collect()
    }

    /// Every gap, for people.
    pub(super) fn gaps(&self) -> Vec<&str> {
        self.gaps.iter().map(|gap| gap.message.as_str()).collect()
    }

    /// Why the events since `from` are not complete.
    pub(super) fn gap_since(&self, from: Timestamp) -> Option<String> {
        let begin = self.period()?.from;
        if begin > from {
            return Some(format!("the events begin at {begin}"));
        }
        if self.unread > 0 {
            return Some("lines could not be read".to_owned());
        }
        let gap = self.gaps.iter().find(|gap| gap.until > from)?;
        Some(gap.message.clone())
    }

    /// When policies of this revision were first in use.
    pub(super) fn served_since(&self, revision: &str) -> Option<Timestamp> {
        self.revisions.get(revision).copied()
    }
}

/// The use that a decision is, if it was a grant.
pub(super) fn to_use(decision: &RecordedDecision) -> Option<Use<'_>> {
    let RecordedOutcome::Granted {
        policy,
        scopes,
        ttl,
    } = &decision.outcome
    else {
        return None;
    };
    Some(Use {
        at: decision.time,
        issuer: &decision.issuer,
        policy,
        credential: &decision.credential,
        scopes: scopes.iter().map(String::as_str).collect(),
        life: *ttl,
        job: stated(decision),
    })
}

/// The facts of the job. Its properties are not among them, which no use is judged by.
pub(super) fn stated(decision: &RecordedDecision) -> BTreeMap<&str, Stated<'_>> {
    let facts = decision.job.iter().filter_map(|(name, value)| {
        let value = match value {
            Value::Bool(value) => Stated::Bool(*value),
            Value::String(text) => Stated::Text(text),
            Value::Array(entries) => Stated::List(
                // What is no text is as little known as what was cut.
                (entries.iter())
                    .map(|entry| entry.as_str().unwrap_or(CUT_MARK).to_owned())
                    .collect(),
            ),
            Value::Null | Value::Number(_) | Value::Object(_) => return None,
        };
        Some((name.as_str(), value))
    });
    facts.collect()
}

fn is_origin(previous: &str) -> bool {
    Head::parse(previous).is_some_and(|head| head.is_origin())
}

/// Lines that could not be read and are shown.
const MOST_BROKEN: usize = 100;
