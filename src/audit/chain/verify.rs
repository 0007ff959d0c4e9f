//! Verifies that an audit log is complete and unchanged.
//!
//! Reads files of any size line by line. Needs no secret.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{self, BufRead};

use serde::Deserialize;

use super::{AuditPublicKey, Head};
use crate::audit::LONGEST_LINE;
use crate::audit::lines::{Ending, next_line};
use crate::clock::Timestamp;
use crate::text::{count, escape};

mod report;

pub use report::{ChainFinding, Report};

use report::LineLocation;

/// What a log must agree with.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// The keys that may have signed checkpoints. Without one, signatures only show that the log
    /// agrees with itself.
    pub keys: Vec<AuditPublicKey>,
    /// Heads saved earlier. The log must contain a line with each of them.
    pub heads: Vec<Head>,
    /// The head that the first file continues from, if earlier files are not given.
    pub after: Option<Head>,
    /// The first file may continue from any line.
    pub is_part: bool,
}

/// Verifies the files of one log, in order. Before it, logs of single runs may be read.
#[derive(Debug)]
pub struct Verification {
    expected: Expected,
    missing_heads: HashSet<Head>,
    report: Report,
    file: String,
    line: u64,
    /// The previous line, of this file or the one before it.
    before: Option<PreviousLine>,
    boots: BTreeSet<String>,
    /// Intents without an outcome, with the location of each.
    open: BTreeMap<String, LineLocation>,
    /// What the current boot has, or lacks.
    boot: Boot,
    /// How many logs of single runs were read.
    runs: u64,
}

impl Verification {
    #[must_use]
    pub fn new(expected: Expected) -> Self {
        Self {
            missing_heads: expected.heads.iter().copied().collect(),
            expected,
            report: Report::default(),
            file: String::new(),
            line: 0,
            before: None,
            boots: BTreeSet::new(),
            open: BTreeMap::new(),
            boot: Boot::default(),
            runs: 0,
        }
    }

    /// Reads the next file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&mut self, name: &str, file: impl BufRead) -> io::Result<()> {
        self.read_each(name, file, |_, _| {})
    }

    /// The same, and hands each line over with its number, whether it agrees with the others or not.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_each(
        &mut self,
        name: &str,
        mut file: impl BufRead,
        mut each: impl FnMut(u64, &[u8]),
    ) -> io::Result<()> {
        name.clone_into(&mut self.file);
        self.line = 0;
        let mut line = Vec::new();
        while let Some(ending) = next_line(&mut file, &mut line)? {
            self.line = self.line.saturating_add(1);
            match ending {
                Ending::Newline => {}
                Ending::TooLong => self.find(format!(
                    "is longer than {LONGEST_LINE} bytes, the limit for an event"
                )),
                Ending::Cut => self.find("does not end with a newline: it was cut".to_owned()),
            }
            self.read_line(&line);
            each(self.line, &line);
        }
        Ok(())
    }

    /// Ends the log of one run of a command. The next file begins another log.
    pub fn end_run(&mut self) {
        if !self.boot.stopped && self.before.is_some() {
            let file = escape(&self.file);
            self.report.notes.push(format!(
                "{file}: ends without `stop`: the command still runs, was killed, or the end was cut off"
            ));
        }
        self.end_log();
        self.runs = self.runs.saturating_add(1);
        self.before = None;
        self.boot = Boot::default();
        self.open.clear();
        self.report.unsigned = 0;
        self.report.head = None;
        self.report.proven_until = None;
    }

    #[must_use]
    pub fn finish(mut self) -> Report {
        if self.runs == 0 || self.before.is_some() {
            self.end_log();
        }
        let missing: Vec<_> = self.missing_heads.iter().map(Head::to_string).collect();
        for head in missing {
            self.find(format!(
                "no line has the expected head sha256:{head}: the log was cut before it, or changed"
            ));
        }
        self.add_notes();
        self.report
    }

    fn end_log(&mut self) {
        if self.before.is_none() {
            self.find("the log holds no event".to_owned());
        }
        if self.boot.stopped {
            if self.report.unsigned > 0 {
                self.find(
                    "is `stop`, but the checkpoint that signs it is missing: the end was \
                    cut off"
                        .to_owned(),
                );
            }
            self.close_boot("the log");
        } else if !self.open.is_empty() {
            let (file, open) = (escape(&self.file), self.open.len());
            self.report.notes.push(format!(
                "{file}: {} without an outcome at the end of the log; expected while its writer runs",
                count(open, "intent")
            ));
        }
        if !self.boot.stopped && self.boot.checkpoints == 0 && self.before.is_some() {
            if self.boot.begins_here {
                self.find_unsigned_boot();
            } else {
                self.note_unsigned();
            }
        }
        let expected = &self.expected.heads;
        self.report.proven_to_the_end = self
            .before
            .as_ref()
            .is_some_and(|last| expected.contains(&last.head));
    }

    fn read_line(&mut self, line: &[u8]) {
        let head = Head::of(line);
        self.report.lines = self.report.lines.saturating_add(1);
        self.missing_heads.remove(&head);
        match serde_json::from_slice::<ParsedLine>(line) {
            Ok(parsed) if parsed.v == 1 => self.check(line, head, parsed),
            Ok(parsed) => self.find(format!("has version {}, expected 1", parsed.v)),
            Err(error) => {
                let problem = escape(&error.to_string());
                self.find(format!(
                    "is not an event ({problem}): torn by a crash, or changed"
                ));
                if let Some(before) = &mut self.before {
                    before.head = head;
                    before.sequence = before.sequence.saturating_add(1);
                    before.line = self.line;
                }
            }
        }
    }

    fn check(&mut self, text: &[u8], head: Head, line: ParsedLine) {
        self.check_link(&line);
        self.check_event(text, &line);
        self.check_signed_in_time(&line);
        self.report.head = Some(format!("sha256:{head}"));
        self.before = Some(PreviousLine {
            head,
            boot: line.boot,
            sequence: line.seq,
            line: self.line,
        });
    }

    /// Checks that the line follows the previous line.
    fn check_link(&mut self, line: &ParsedLine) {
        let Some(previous) = Head::parse(&line.prev) else {
            return self.find("has no SHA-256 in `prev`".to_owned());
        };
        let Some(before) = self.before.take() else {
            self.begin_boot(line);
            return self.check_first(line, previous);
        };
        if before.boot == line.boot {
            let expected = before.sequence.saturating_add(1);
            if line.seq != expected {
                let found = line.seq;
                self.find(match found.checked_sub(expected) {
                    Some(missing) => format!(
                        "has sequence {found}, expected {expected}: {} missing before it; removed or moved, or lost when the file was truncated or deleted",
                        count(missing, "line")
                    ),
                    None => format!(
                        "has sequence {found}, expected {expected}: lines were added or moved"
                    ),
                });
            } else if previous != before.head {
                self.find_changed(&before, previous);
            }
            return;
        }
        self.close_boot(&format!("boot {}", escape(&before.boot)));
        self.begin_boot(line);
        if line.seq != 1 {
            let (boot, found) = (escape(&line.boot), line.seq);
            self.find(format!(
                "begins boot {boot} at sequence {found}, expected 1: its first lines were removed"
            ));
        } else if previous.is_origin() {
            let boot = escape(&line.boot);
            self.find(format!(
                "begins boot {boot} as a new log: lines may be missing before it"
            ));
        } else if previous != before.head {
            self.find_changed(&before, previous);
        }
    }

    fn check_first(&mut self, line: &ParsedLine, previous: Head) {
        match self.expected.after {
            Some(after) if after != previous => self.find(format!(
                "follows sha256:{previous}, expected sha256:{after}: lines before it are missing"
            )),
            None if !self.expected.is_part && (line.seq != 1 || !previous.is_origin()) => {
                let found = line.seq;
                self.find(format!(
                    "has sequence {found} and follows sha256:{previous}, which is not in these \
                     files: pass the earlier file first, or its head with `--after`"
                ));
            }
            Some(_) | None => {}
        }
    }

    fn begin_boot(&mut self, line: &ParsedLine) {
        self.boot = Boot {
            begins_here: line.seq == 1,
            ..Boot::default()
        };
        self.report.boots = self.report.boots.saturating_add(1);
        if !self.boots.insert(line.boot.clone()) {
            let boot = escape(&line.boot);
            self.find(format!(
                "continues boot {boot}, which had ended: lines were moved"
            ));
        }
        if line.event != "start" && line.seq == 1 {
            let event = escape(&line.event);
            self.find(format!("begins a boot with `{event}`, expected `start`"));
        }
    }

    fn close_boot(&mut self, what: &str) {
        if self.boot.checkpoints == 0 && self.boot.begins_here {
            self.find_unsigned_boot();
        }
        for (intent, place) in std::mem::take(&mut self.open) {
            let intent = escape(&intent);
            self.report.add(
                place,
                format!(
                    "intent {intent} has no outcome although {what} ended: check whether it was carried out"
                ),
            );
        }
    }

    fn check_event(&mut self, text: &[u8], line: &ParsedLine) {
        if self.boot.stopped && line.event != "checkpoint" {
            self.find("comes after `stop`, where only a checkpoint is expected".to_owned());
        }
        match line.event.as_str() {
            "checkpoint" => self.check_signature(text, line),
            "intent" | "operation" => self.begin_intent(line),
            "outcome" | "operation_outcome" => self.end_intent(line),
            "stop" => self.boot.stopped = true,
            "truncated" => self.note_loss(line, "was truncated in place"),
            "removed" => self.note_loss(line, "was deleted or replaced"),
            // Other events need no check. A closed list of names would make logs of newer brokers
            // look damaged.
            _ => {}
        }
    }

    /// Notes an event that explains missing lines.
    fn note_loss(&mut self, line: &ParsedLine, what: &str) {
        let head = match line.head.as_deref().and_then(Head::parse) {
            Some(head) => format!("the line with head sha256:{head}"),
            None => "an unknown line".to_owned(),
        };
        let text = format!("the file {what} after {head}; missing lines were lost then");
        let place = self.place();
        self.report.note_event(&place, &text);
    }

    fn begin_intent(&mut self, line: &ParsedLine) {
        let place = self.place();
        match &line.intent {
            Some(intent) if self.open.insert(intent.clone(), place).is_none() => {}
            Some(intent) => {
                let intent = escape(intent);
                self.find(format!("repeats intent {intent}"));
            }
            None => self.find("is an intent without an id".to_owned()),
        }
    }

    fn end_intent(&mut self, line: &ParsedLine) {
        let intent = line.intent.as_deref().unwrap_or_default();
        if self.open.remove(intent).is_none() {
            let intent = escape(intent);
            self.find(format!(
                "is an outcome of intent {intent}, which is not open: it has another outcome, or its line was removed"
            ));
        }
    }

    fn check_signature(&mut self, text: &[u8], line: &ParsedLine) {
        self.report.checkpoints = self.report.checkpoints.saturating_add(1);
        self.boot.checkpoints = self.boot.checkpoints.saturating_add(1);
        self.boot.unsigned_since = None;
        self.report.unsigned = 0;
        let named = line.key.as_deref().unwrap_or_default();
        let Ok(key) = AuditPublicKey::parse(named) else {
            return self.find("is a checkpoint without a key".to_owned());
        };
        if !key.has_signed(text) {
            return self.find(
                "is a checkpoint with an invalid signature: it was changed, or made without the key"
                    .to_owned(),
            );
        }
        if !self.expected.keys.is_empty() && !self.expected.keys.contains(&key) {
            let allowed: Vec<_> = self
                .expected
                .keys
                .iter()
                .map(AuditPublicKey::to_text)
                .collect();
            let allowed = allowed.join(" or ");
            self.report.keys.insert(key.to_text());
            return self.find(format!("is signed by {key}, expected {allowed}"));
        }
        self.report.keys.insert(key.to_text());
        self.report.proven_until = Some(line.time.clone());
    }

    /// Checks that lines are signed in time. An attacker can recompute hashes and omit checkpoints,
    /// but then lines stay unsigned for too long.
    fn check_signed_in_time(&mut self, line: &ParsedLine) {
        if line.event == "checkpoint" {
            return;
        }
        self.report.unsigned = self.report.unsigned.saturating_add(1);
        let Ok(now) = line.time.parse().map(Timestamp::unix) else {
            return self.find("has no RFC 3339 time".to_owned());
        };
        let since = *self.boot.unsigned_since.get_or_insert(now);
        if now.saturating_sub(since) > LONGEST_UNSIGNED && !self.boot.unsigned_found {
            self.boot.unsigned_found = true;
            self.find(format!(
                "comes more than {LONGEST_UNSIGNED} s after the first unsigned line, expected a \
                 checkpoint every 10 s: checkpoints were removed, or the broker was suspended"
            ));
        }
    }

    fn find_changed(&mut self, before: &PreviousLine, previous: Head) {
        let (line, head) = (before.line, before.head);
        self.find(format!(
            "follows sha256:{previous}, but line {line} before it has sha256:{head}: line {line} was changed, or lines were replaced"
        ));
    }

    fn note_unsigned(&mut self) {
        let file = escape(&self.file);
        let lines = count(self.report.unsigned, "line");
        self.report.notes.push(format!(
            "{file}: {lines}, and no signed checkpoint yet: a file begun less than 10 s ago can \
             only be verified together with the file before it"
        ));
    }

    fn find_unsigned_boot(&mut self) {
        self.find(
            "ends a boot without a signed checkpoint: its checkpoints were removed".to_owned(),
        );
    }

    fn find(&mut self, text: String) {
        self.report.add(self.place(), text);
    }

    fn place(&self) -> LineLocation {
        LineLocation {
            file: self.file.clone(),
            line: self.line,
        }
    }

    fn add_notes(&mut self) {
        let report = &mut self.report;
        report.note_suppressed();
        if self.expected.keys.is_empty() && report.checkpoints > 0 {
            report.notes.push(
                "no `--key` was given: signatures only show that the log agrees with itself; `hallpass keys show` prints the key".to_owned(),
            );
        }
        if report.proven_to_the_end {
            return;
        }
        if let Some(time) = &report.proven_until {
            let unsigned = match report.unsigned {
                0 => String::new(),
                1 => ", and the last line is not signed yet".to_owned(),
                lines => format!(", and the last {lines} lines are not signed yet"),
            };
            report.notes.push(format!(
                "proven until {time}, the last signed checkpoint{unsigned}: only \
                 `--expect-head` with a head saved elsewhere detects that later lines were cut \
                 off or changed"
            ));
        }
    }
}

/// The fields of a line that verification reads.
#[derive(Debug, Deserialize)]
struct ParsedLine {
    v: u32,
    time: String,
    boot: String,
    seq: u64,
    prev: String,
    event: String,
    intent: Option<String>,
    key: Option<String>,
    head: Option<String>,
}

#[derive(Debug)]
struct PreviousLine {
    head: Head,
    boot: String,
    sequence: u64,
    line: u64,
}

#[derive(Debug, Default)]
struct Boot {
    /// Its first line was read. A checkpoint follows that line immediately; a file that continues a
    /// renamed one has its first checkpoint up to 10 s later.
    begins_here: bool,
    checkpoints: u64,
    stopped: bool,
    /// The time of the first unsigned line, in Unix seconds.
    unsigned_since: Option<i64>,
    unsigned_found: bool,
}

/// Seconds. Checkpoints come every 10.
const LONGEST_UNSIGNED: i64 = 60;

#[cfg(test)]
mod tests {
    use super::super::{Chain, CheckpointKey};
    use super::*;
    use crate::clock::Timestamp;
    use crate::rootkey::{RootKey, RootKeys};

    const NOW: i64 = 1_790_000_000;

    fn key() -> CheckpointKey {
        let root = RootKey::generate().unwrap();
        let roots = RootKeys::new("https://hallpass.example", 1, vec![root]).unwrap();
        CheckpointKey::of(roots.active()).unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(NOW + seconds)
    }

    /// Two boots: start, checkpoint, two intents with their outcomes, stop, checkpoint.
    fn log() -> (AuditPublicKey, Vec<Vec<u8>>) {
        let root = RootKey::generate().unwrap();
        let roots = RootKeys::new("https://hallpass.example", 1, vec![root]).unwrap();
        let public = AuditPublicKey::of(roots.active()).unwrap();
        let mut lines = Vec::new();
        let mut head = Head::default();
        for boot in ["b1", "b2"] {
            let key = CheckpointKey::of(roots.active()).unwrap();
            let mut chain = Chain::new("replica-a", boot, head, key);
            lines.push(chain.append(at(0), br#"{"event":"start"}"#));
            lines.push(chain.checkpoint(at(0)));
            for (event, number) in [("intent", 1), ("intent", 2), ("outcome", 1), ("outcome", 2)] {
                let event = format!(r#"{{"event":"{event}","intent":"{boot}.{number}"}}"#);
                lines.push(chain.append(at(1), event.as_bytes()));
            }
            lines.push(chain.append(at(2), br#"{"event":"stop"}"#));
            lines.push(chain.checkpoint(at(2)));
            head = chain.head();
        }
        (public, lines)
    }

    fn read(lines: &[Vec<u8>], expected: Expected) -> Report {
        let mut verification = Verification::new(expected);
        verification.read("log", lines.concat().as_slice()).unwrap();
        verification.finish()
    }

    fn findings(lines: &[Vec<u8>], expected: Expected) -> Vec<String> {
        let report = read(lines, expected);
        report
            .findings
            .iter()
            .map(ChainFinding::to_string)
            .collect()
    }

    fn with_key(key: &AuditPublicKey) -> Expected {
        Expected {
            keys: vec![key.clone()],
            ..Expected::default()
        }
    }

    #[test]
    fn a_whole_log_has_no_findings() {
        let (key, lines) = log();
        let report = read(&lines, with_key(&key));
        assert_eq!(report.findings, []);
        assert_eq!((report.lines, report.boots, report.checkpoints), (16, 2, 4));
        let head = Head::of(lines[15].trim_ascii_end());
        assert_eq!(report.head, Some(format!("sha256:{head}")));
        insta::assert_snapshot!(report.notes.join("\n"), @"proven until 2026-09-21T14:13:22Z, \
            the last signed checkpoint: only `--expect-head` with a head saved elsewhere \
            detects that later lines were cut off or changed");
        let expected = Expected {
            heads: vec![head],
            ..with_key(&key)
        };
        let report = read(&lines, expected);
        assert!(report.proven_to_the_end);
        assert_eq!(report.notes, Vec::<String>::new());
    }

    /// T-111
    #[test]
    fn a_log_that_was_cut_after_a_checkpoint_says_until_when_it_is_proven() {
        let (key, lines) = log();
        for left in [2, 8, 10] {
            let report = read(&lines[..left], with_key(&key));
            assert_eq!(report.findings, []);
            assert!(!report.proven_to_the_end);
            let until = report.proven_until.unwrap();
            assert!(report.notes[0].starts_with(&format!("proven until {until}, ")));
        }
        let unsigned = read(&lines[..4], with_key(&key));
        assert!(
            unsigned.notes[1]
                .contains("the last signed checkpoint, and the last 2 lines are not signed yet: "),
            "{:?}",
            unsigned.notes
        );
    }

    #[test]
    fn without_a_key_the_report_says_what_signatures_are_worth() {
        let (_key, lines) = log();
        let report = read(&lines, Expected::default());
        assert_eq!(report.findings, []);
        insta::assert_snapshot!(report.notes[0], @"no `--key` was given: signatures only show that the log agrees with itself; `hallpass keys show` prints the key");
    }

    #[test]
    fn a_file_that_was_just_begun_is_accused_of_nothing() {
        let (key, lines) = log();
        let after = Head::of(lines[1].trim_ascii_end());
        let expected = Expected {
            after: Some(after),
            ..with_key(&key)
        };
        let report = read(&lines[2..4], expected);
        assert_eq!(report.findings, []);
        assert_eq!(report.proven_until, None);
        let note = report.notes.iter().find(|note| note.contains("2 lines"));
        insta::assert_snapshot!(note.unwrap(), @"log: 2 lines, and no signed checkpoint yet: a \
            file begun less than 10 s ago can only be verified together with the file before it");
    }

    /// T-111
    #[test]
    fn any_changed_byte_is_found() {
        let (key, lines) = log();
        let text = lines.concat();
        for at in (0..text.len()).step_by(7) {
            let mut changed = text.clone();
            changed[at] ^= 1;
            let mut verification = Verification::new(with_key(&key));
            verification.read("log", changed.as_slice()).unwrap();
            let context = String::from_utf8_lossy(
                &changed[at.saturating_sub(60)..changed.len().min(at + 60)],
            );
            assert!(
                !verification.finish().findings.is_empty(),
                "byte {at} of {}: {context}",
                text.len()
            );
        }
    }

    /// T-111
    #[test]
    fn a_changed_line_is_named() {
        let (key, mut lines) = log();
        lines[2] = String::from_utf8(lines[2].clone())
            .unwrap()
            .replace("14:13:21", "14:13:22")
            .into_bytes();
        let found = findings(&lines, with_key(&key));
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("log:4: follows sha256:"), "{found:?}");
        assert!(found[0].ends_with("line 3 was changed, or lines were replaced"));
    }

    /// T-111
    #[test]
    fn any_removed_line_is_found() {
        let (key, lines) = log();
        for at in 0..lines.len() - 1 {
            let mut cut = lines.clone();
            cut.remove(at);
            assert!(!findings(&cut, with_key(&key)).is_empty(), "line {at}");
        }
        let mut cut = lines.clone();
        cut.remove(3);
        assert_eq!(
            findings(&cut, with_key(&key)),
            [
                "log:4: has sequence 5, expected 4: 1 line missing before it; removed or moved, or lost when the file was truncated or deleted",
                "log:5: is an outcome of intent b1.2, which is not open: it has another outcome, or its line was removed",
            ]
        );
    }

    /// T-111
    #[test]
    fn any_two_lines_that_changed_places_are_found() {
        let (key, lines) = log();
        for at in 0..lines.len() - 1 {
            let mut moved = lines.clone();
            moved.swap(at, at + 1);
            assert!(!findings(&moved, with_key(&key)).is_empty(), "line {at}");
        }
    }

    /// T-111
    #[test]
    fn a_cut_tail_is_found_by_the_head_that_was_noted() {
        let (key, lines) = log();
        let noted = Head::of(lines[15].trim_ascii_end());
        let expected = || Expected {
            heads: vec![noted],
            ..with_key(&key)
        };
        assert_eq!(findings(&lines, expected()), Vec::<String>::new());
        for left in 1..lines.len() {
            let found = findings(&lines[..left], expected());
            let last = found.last().unwrap();
            assert!(
                last.contains("no line has the expected head sha256:"),
                "{left}: {found:?}"
            );
        }
        // It has grown since: the noted line is still there.
        let early = Expected {
            heads: vec![Head::of(lines[4].trim_ascii_end())],
            ..with_key(&key)
        };
        assert_eq!(findings(&lines, early), Vec::<String>::new());
    }

    /// T-111
    #[test]
    fn a_recomputed_chain_fails_at_its_signatures() {
        let (key, lines) = log();
        let mut head = Head::default();
        let mut forged = Vec::new();
        for line in &lines {
            let mut value: serde_json::Value = serde_json::from_slice(line).unwrap();
            value["prev"] = head.to_string().into();
            if value["event"] == "intent" {
                value["credential"] = "something-harmless".into();
            }
            let mut line = value.to_string().into_bytes();
            head = Head::of(&line);
            line.push(b'\n');
            forged.push(line);
        }
        let found = findings(&forged, with_key(&key));
        assert!(
            found[0].contains("is a checkpoint with an invalid signature"),
            "{found:?}"
        );
    }

    /// T-111
    #[test]
    fn a_chain_signed_with_another_key_is_found_with_the_key_only() {
        let (key, _) = log();
        let (other, forged) = log();
        let found = findings(&forged, with_key(&key));
        assert_eq!(
            found,
            [format!(
                "log:2: is signed by {other}, expected {key} (and 3 more lines)"
            )]
        );
        assert_eq!(read(&forged, with_key(&key)).proven_until, None);
        assert_eq!(findings(&forged, Expected::default()), Vec::<String>::new());
    }

    /// T-111
    #[test]
    fn spliced_boots_are_found() {
        let (key, lines) = log();
        let first_gone = findings(&lines[8..], with_key(&key));
        assert!(
            first_gone[0].contains("has sequence 1 and follows sha256:"),
            "{first_gone:?}"
        );
        let moved = [&lines[8..], &lines[..8]].concat();
        assert!(!findings(&moved, with_key(&key)).is_empty());
        let twice = [&lines[..8], &lines[..8]].concat();
        let found = findings(&twice, with_key(&key));
        assert!(
            found[0].contains("follows") || found[0].contains("sequence 1"),
            "{found:?}"
        );
        let (_, other) = log();
        let spliced = [&lines[..8], &other[8..]].concat();
        assert!(!findings(&spliced, Expected::default()).is_empty());
        let renewed = [&lines[..8], &other[..8]].concat();
        let found = findings(&renewed, Expected::default());
        assert!(!found.is_empty());
    }

    /// T-111
    #[test]
    fn a_later_file_needs_the_earlier_one_or_its_head() {
        let (key, lines) = log();
        let after = Expected {
            after: Some(Head::of(lines[7].trim_ascii_end())),
            ..with_key(&key)
        };
        assert_eq!(findings(&lines[8..], after), Vec::<String>::new());
        let mut both = Verification::new(with_key(&key));
        both.read("one", lines[..8].concat().as_slice()).unwrap();
        both.read("two", lines[8..].concat().as_slice()).unwrap();
        assert_eq!(both.finish().findings, []);
        let wrong = Expected {
            after: Some(Head::of(b"something else")),
            ..with_key(&key)
        };
        assert!(findings(&lines[8..], wrong)[0].contains("lines before it are missing"));
    }

    /// T-111
    #[test]
    fn checkpoints_left_out_of_a_recomputed_chain_are_missed() {
        let mut chain = Chain::new("replica-a", "b1", Head::default(), key());
        let mut lines = vec![chain.append(at(0), br#"{"event":"start"}"#)];
        let unsigned = findings(&lines, Expected::default());
        assert_eq!(
            unsigned,
            ["log:1: ends a boot without a signed checkpoint: its checkpoints were removed"]
        );
        lines.push(chain.checkpoint(at(0)));
        for second in [5, 30, 64, 66, 67] {
            lines.push(chain.append(at(second), br#"{"event":"alert"}"#));
        }
        let found = findings(&lines, Expected::default());
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("log:6: comes more than 60 s after"),
            "{found:?}"
        );
    }

    /// T-89
    #[test]
    fn every_intent_has_exactly_one_outcome() {
        let event = |chain: &mut Chain, event: &str, intent: &str| {
            let event = format!(r#"{{"event":"{event}","intent":"{intent}"}}"#);
            chain.append(at(0), event.as_bytes())
        };
        let mut first = Chain::new("replica-a", "b1", Head::default(), key());
        let mut lines = vec![
            first.append(at(0), br#"{"event":"start"}"#),
            first.checkpoint(at(0)),
            event(&mut first, "intent", "b1.1"),
            event(&mut first, "intent", "b1.2"),
            event(&mut first, "outcome", "b1.2"),
            event(&mut first, "outcome", "b1.2"),
            event(&mut first, "intent", "b1.1"),
        ];
        let running = read(&lines, Expected::default());
        assert!(
            running
                .notes
                .iter()
                .any(|note| note.contains("1 intent without an outcome"))
        );
        let mut second = Chain::new("replica-a", "b2", first.head(), key());
        lines.push(second.append(at(0), br#"{"event":"start"}"#));
        lines.push(second.checkpoint(at(0)));
        insta::assert_snapshot!(findings(&lines, Expected::default()).join("\n"), @r"
        log:6: is an outcome of intent b1.2, which is not open: it has another outcome, or its line was removed
        log:7: repeats intent b1.1
        log:7: intent b1.1 has no outcome although boot b1 ended: check whether it was carried out
        ");
    }

    #[test]
    fn what_is_no_event_is_found_and_reading_goes_on() {
        let (key, lines) = log();
        let mut torn = lines[..8].to_vec();
        torn[7] = b"{\"v\":1,\"time\":\"20\x1b\n".to_vec();
        let found = findings(&torn, with_key(&key));
        assert!(
            found[0].starts_with("log:8: is not an event ("),
            "{found:?}"
        );
        assert_eq!(
            found[1..],
            ["log:8: is `stop`, but the checkpoint that signs it is missing: the end was cut off"]
        );
        assert!(found[0].bytes().all(|byte| matches!(byte, b' '..=b'~')));
        let mut cut = lines.clone();
        cut[15].pop();
        assert_eq!(
            findings(&cut, with_key(&key)),
            ["log:16: does not end with a newline: it was cut"]
        );
        assert_eq!(
            findings(&[], Expected::default()),
            ["log:0: the log holds no event"]
        );
        let long = vec![
            vec![b'x'; LONGEST_LINE + 10],
            b"\n".to_vec(),
            lines[0].clone(),
            lines[1].clone(),
        ];
        let found = findings(&long, with_key(&key));
        assert!(found[0].contains("is longer than"), "{found:?}");
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
