//! The decisions in audit files, and the request that each was about.

use std::path::PathBuf;
use std::time::Duration;

use crate::audit::verify::{Expected, Verification};
use crate::audit::{RecordedDecision, RecordedLine, RecordedOutcome, Said};
use crate::cli::Failure;
use crate::cli::audit_file::{AuditFile, unreadable};
use crate::policy::Ask;
use crate::text::{CUT_MARK, escape};

/// The position of an event.
#[derive(Clone, Debug)]
pub(super) struct LineOf {
    pub(super) file: String,
    pub(super) line: u64,
}

/// As `file:line`.
impl std::fmt::Display for LineOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", escape(&self.file), self.line)
    }
}

/// Reads the decisions in audit files for `command`, line by line. Returns what is wrong with the
/// files.
///
/// # Errors
/// A file cannot be read.
pub(super) fn read(
    files: &[PathBuf],
    command: &str,
    mut progress: impl FnMut(u64),
    mut each: impl FnMut(LineOf, RecordedDecision),
) -> Result<Vec<String>, Failure> {
    let mut verification = Verification::new(Expected {
        is_part: true,
        ..Expected::default()
    });
    let mut bytes = 0_u64;
    let mut problems = Vec::new();
    for path in files {
        let AuditFile { name, lines } = AuditFile::open(path, command)?;
        let read = verification.read_each(&name, lines, |line, text| {
            bytes = bytes.saturating_add(u64::try_from(text.len()).unwrap_or_default());
            progress(bytes);
            // What is no event, verification reports.
            let Ok(event) = RecordedLine::parse(text) else {
                return;
            };
            let place = LineOf {
                file: name.clone(),
                line,
            };
            match event.said() {
                Ok(Said::Decision(decision)) => each(place, *decision),
                Err(problem) if problems.len() < MOST_PROBLEMS => {
                    problems.push(format!("{place} {problem}"));
                }
                Ok(Said::Policies { .. } | Said::Other) | Err(_) => {}
            }
        });
        read.map_err(|error| unreadable(&name, &error))?;
    }
    let findings = verification.finish().findings;
    problems.extend(findings.iter().map(ToString::to_string));
    Ok(problems)
}

/// The request that a decision was about.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) ask: Ask,
    /// The event has all of it. If not, the widest request was granted or refused.
    pub(super) is_whole: bool,
    /// All inputs were recorded whole.
    pub(super) has_inputs: bool,
}

impl Request {
    /// # Errors
    /// The event does not say what was asked, in a sentence.
    pub(super) fn of(decision: &RecordedDecision) -> Result<Self, String> {
        let mut ask = Ask {
            credential: decision.credential.clone(),
            ..Ask::default()
        };
        let mut is_whole = true;
        match (&decision.asked, &decision.outcome) {
            (Some(asked), _) => {
                ask.ttl = asked.ttl;
                ask.scopes = match &asked.scopes {
                    Some(Ok(scopes)) => Some(scopes.clone()),
                    Some(Err(_)) => {
                        return Err(
                            "the event has only the first of the requested scopes".to_owned()
                        );
                    }
                    None => None,
                };
            }
            // Lines of earlier versions. What was granted is what was asked, or less is open.
            (None, RecordedOutcome::Granted { scopes, .. }) => {
                ask.scopes = (!scopes.is_empty()).then(|| scopes.clone());
                is_whole = false;
            }
            (None, RecordedOutcome::Denied { .. }) => is_whole = false,
        }
        let mut has_inputs = matches!(decision.outcome, RecordedOutcome::Granted { .. });
        for (name, value) in &decision.inputs {
            match value.as_str() {
                Some(text) if !text.ends_with(CUT_MARK) => {
                    ask.inputs.insert(name.clone(), text.to_owned());
                }
                Some(_) | None => has_inputs = false,
            }
        }
        Ok(Self {
            ask,
            is_whole,
            has_inputs,
        })
    }
}

/// Lines that are reported one by one.
const MOST_PROBLEMS: usize = 100;
/// The time by which the life of an event of earlier versions may differ from what was granted.
pub(super) const TOLERANCE: Duration = Duration::from_secs(5);
