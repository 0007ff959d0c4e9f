//! The result of the last reload: what could not be loaded, and since when.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::http::operator::ReloadStatus;
use crate::reason::Reason;
use crate::text::escape;
use crate::yaml::{Diagnostic, Diagnostics, Severity};

/// The last reload, for readiness.
#[derive(Debug)]
pub(in crate::broker) struct Reloads(Mutex<ReloadState>);

#[derive(Debug)]
struct ReloadState {
    loaded_at: Timestamp,
    problems: Vec<(ReloadProblem, Timestamp)>,
}

/// Something that could not be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::broker) struct ReloadProblem {
    pub(super) reason: Reason,
    pub(super) text: String,
    /// Details, one line each.
    pub(super) details: Vec<String>,
}

impl ReloadProblem {
    pub(super) const fn new(reason: Reason, text: String) -> Self {
        Self {
            reason,
            text,
            details: Vec::new(),
        }
    }

    /// A problem made of errors in files. Its text has the first one.
    pub(super) fn of(reason: Reason, what: &str, found: &Diagnostics) -> Self {
        let errors = found.iter().filter(|one| one.severity == Severity::Error);
        let lines: Vec<String> = errors.map(line).take(MOST_DETAILS).collect();
        let count = found.count(Severity::Error);
        let first = lines.first().map(String::as_str).unwrap_or_default();
        Self {
            reason,
            text: format!("{what} has errors ({count}); the first: {first}"),
            details: lines,
        }
    }
}

impl Reloads {
    pub(in crate::broker) const fn new(started: Timestamp) -> Self {
        Self(Mutex::new(ReloadState {
            loaded_at: started,
            problems: Vec::new(),
        }))
    }

    pub(super) fn loaded(&self, now: Timestamp) {
        self.state().loaded_at = now;
    }

    /// Replaces the current problems, and returns the new ones.
    pub(super) fn tell(&self, problems: Vec<ReloadProblem>, now: Timestamp) -> Vec<ReloadProblem> {
        let mut state = self.state();
        if problems.is_empty() && !state.problems.is_empty() {
            tracing::info!(
                reason = Reason::ReloadMended.code(),
                "everything on disk is loaded again"
            );
        }
        let before = std::mem::take(&mut state.problems);
        let mut news = Vec::new();
        for problem in problems {
            let known = before.iter().find(|(known, _)| *known == problem);
            if known.is_none() {
                news.push(problem.clone());
            }
            let since = known.map_or(now, |(_, since)| *since);
            state.problems.push((problem, since));
        }
        news
    }

    /// How many problems there are.
    pub(in crate::broker) fn problems(&self) -> usize {
        self.state().problems.len()
    }

    fn state(&self) -> MutexGuard<'_, ReloadState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReloadStatus for Reloads {
    fn status(&self) -> Value {
        let state = self.state();
        let problems = state.problems.iter().map(|(problem, since)| {
            json!({
                "reason": problem.reason,
                "problem": escape(&problem.text),
                "since": since.to_string(),
            })
        });
        json!({
            "loaded_at": state.loaded_at.to_string(),
            "problems": problems.collect::<Vec<_>>(),
        })
    }
}

/// Formats an error of a file with its place and its likely fix.
fn line(error: &Diagnostic) -> String {
    let Diagnostic {
        place,
        message,
        rule,
        help,
        ..
    } = error;
    match help {
        Some(help) => {
            let help = help.lines().map(str::trim).collect::<Vec<_>>().join(" ");
            format!("{place}: {message} [{rule}]; {help}")
        }
        None => format!("{place}: {message} [{rule}]"),
    }
}

/// The most log lines for one problem.
const MOST_DETAILS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// T-77
    #[test]
    fn a_problem_is_news_once_and_keeps_its_time_until_it_is_mended() {
        let at = Timestamp::from_unix;
        let reloads = Reloads::new(at(0));
        let problem = |text: &str| ReloadProblem::new(Reason::PolicyReloadFailed, text.to_owned());
        assert_eq!(reloads.tell(vec![problem("a")], at(10)), [problem("a")]);
        assert_eq!(reloads.tell(vec![problem("a")], at(20)), []);
        assert_eq!(
            reloads.tell(vec![problem("b"), problem("a")], at(30)),
            [problem("b")]
        );
        let since = |index: usize| reloads.status()["problems"][index]["since"].clone();
        assert_eq!(since(0), at(30).to_string());
        assert_eq!(since(1), at(10).to_string());
        assert_eq!(reloads.tell(Vec::new(), at(40)), []);
        assert_eq!(reloads.status()["problems"], json!([]));
        assert_eq!(reloads.tell(vec![problem("a")], at(50)), [problem("a")]);
    }
}
