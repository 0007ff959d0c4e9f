//! Audit files to uses, replicas and gaps.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;

use crate::audit::Head;
use crate::audit::lines::{Ending, next_line};
use crate::cli::Failure;
use crate::cli::policy::recorded::unreadable;
use crate::clock::Timestamp;
use crate::policy::usage::{Stated, Use};
use crate::text::{count, escape};

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
    /// Reads one file.
    ///
    /// # Errors
    /// It cannot be read. Lines that are not events are kept in [`Self::broken`].
    pub(super) fn read(
        &mut self,
        path: &Path,
        used: &mut impl FnMut(&Use<'_>),
    ) -> Result<(), Failure> {
        let shown = path.display().to_string();
        if path == Path::new("-") {
            return self.read_lines("standard input", io::stdin().lock(), used);
        }
        if path.is_dir() {
            return Err(Failure::Local(format!(
                "audit log `{}` is a folder; expected files of a broker: name them one by one",
                escape(&shown)
            )));
        }
        let file = File::open(path).map_err(|error| unreadable(&shown, &error))?;
        self.read_lines(&shown, BufReader::new(file), used)
    }

    fn read_lines(
        &mut self,
        name: &str,
        mut file: impl BufRead,
        used: &mut impl FnMut(&Use<'_>),
    ) -> Result<(), Failure> {
        let unreadable = |error| unreadable(name, &error);
        if file.fill_buf().map_err(unreadable)?.starts_with(GZIP) {
            let shown = escape(name);
            return Err(Failure::Local(format!(
                "audit log `{shown}` is compressed; read it with `zcat {shown} | hallpass policy usage -`"
            )));
        }
        let mut line = Vec::new();
        let mut number = 0_u64;
        while let Some(ending) = next_line(&mut file, &mut line).map_err(unreadable)? {
            number = number.saturating_add(1);
            let read = match ending {
                Ending::TooLong => Err("is longer than an event can be".to_owned()),
                // The end of a file that is written right now.
                Ending::Cut if line.is_empty() => Ok(()),
                Ending::Newline | Ending::Cut => self.read_line(&line, used),
            };
            if let Err(problem) = read {
                self.unread = self.unread.saturating_add(1);
                if self.broken.len() < MOST_BROKEN {
                    self.broken.push(BrokenLine {
                        file: name.to_owned(),
                        line: number,
                        problem,
                    });
                }
            }
        }
        Ok(())
    }

    fn read_line(&mut self, line: &[u8], used: &mut impl FnMut(&Use<'_>)) -> Result<(), String> {
        let head: LineHead<'_> = parse(line)?;
        if head.v != 1 {
            return Err(format!("has version {}, expected 1", head.v));
        }
        let at = time(&head.time)?;
        match &*head.event {
            "intent" => {
                let intent: IntentLine<'_> = parse(line)?;
                used(&intent.to_use(at)?);
                self.saw_revision(&intent.revision, at);
            }
            "policies" => {
                let policies: PoliciesLine<'_> = parse(line)?;
                self.saw_revision(&policies.revision, at);
            }
            // Other events say nothing of policies that granted.
            _ => {}
        }
        self.lines = self.lines.saturating_add(1);
        self.saw_line(&head, at, line);
        Ok(())
    }

    fn saw_revision(&mut self, revision: &str, at: Timestamp) {
        if let Some(known) = self.revisions.get_mut(revision) {
            *known = (*known).min(at);
        } else {
            self.revisions.insert(revision.to_owned(), at);
        }
    }

    fn saw_line(&mut self, head: &LineHead<'_>, at: Timestamp, line: &[u8]) {
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

fn is_origin(previous: &str) -> bool {
    Head::parse(previous).is_some_and(|head| head.is_origin())
}

fn parse<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(line).map_err(|error| {
        format!(
            "is not an event of an audit log ({})",
            escape(&error.to_string())
        )
    })
}

fn time(text: &str) -> Result<Timestamp, String> {
    text.parse()
        .map_err(|_| format!("has the time `{}`, expected RFC 3339", escape(text)))
}

/// What every line has.
#[derive(Debug, Deserialize)]
struct LineHead<'a> {
    v: u32,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    chain: Cow<'a, str>,
    #[serde(borrow)]
    boot: Cow<'a, str>,
    seq: u64,
    #[serde(borrow)]
    prev: Cow<'a, str>,
    #[serde(borrow)]
    event: Cow<'a, str>,
}

#[derive(Debug, Deserialize)]
struct PoliciesLine<'a> {
    #[serde(borrow)]
    revision: Cow<'a, str>,
}

#[derive(Debug, Deserialize)]
struct IntentLine<'a> {
    #[serde(borrow)]
    issuer: Cow<'a, str>,
    #[serde(borrow)]
    policy: Cow<'a, str>,
    #[serde(borrow)]
    revision: Cow<'a, str>,
    #[serde(borrow)]
    credential: Cow<'a, str>,
    #[serde(borrow)]
    expires_at: Cow<'a, str>,
    #[serde(borrow)]
    scopes: Vec<Text<'a>>,
    #[serde(borrow)]
    job: BTreeMap<Cow<'a, str>, FactText<'a>>,
}

/// Text of a list: `borrow` reaches only one level.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum FactText<'a> {
    Bool(bool),
    Text(#[serde(borrow)] Cow<'a, str>),
    /// The properties of the repository, which no use is judged by.
    Other(serde::de::IgnoredAny),
}

impl IntentLine<'_> {
    fn to_use(&self, at: Timestamp) -> Result<Use<'_>, String> {
        let job = self.job.iter().filter_map(|(name, value)| {
            let value = match value {
                FactText::Bool(value) => Stated::Bool(*value),
                FactText::Text(text) => Stated::Text(text),
                FactText::Other(_) => return None,
            };
            Some((&**name, value))
        });
        Ok(Use {
            at,
            issuer: &self.issuer,
            policy: &self.policy,
            credential: &self.credential,
            scopes: self.scopes.iter().map(|Text(scope)| &**scope).collect(),
            life: time(&self.expires_at)?.since(at),
            job: job.collect(),
        })
    }
}

const GZIP: &[u8] = &[0x1f, 0x8b];
/// Lines that could not be read and are shown.
const MOST_BROKEN: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intent_of_a_job_with_properties_is_a_use() {
        let line = r#"{"issuer":"https://ci.example","policy":"p","revision":"r","credential":"c","expires_at":"2026-11-28T22:10:00Z","scopes":[],"job":{"repository":"acme/app","ref_protected":true,"property":{"tier":"critical"}}}"#;
        let intent: IntentLine<'_> = serde_json::from_str(line).unwrap();
        let at = "2026-11-28T22:00:00Z".parse().unwrap();
        let one = intent.to_use(at).unwrap();
        assert_eq!(one.life, 600);
        assert_eq!(
            one.job.keys().copied().collect::<Vec<_>>(),
            ["ref_protected", "repository"]
        );
    }
}
