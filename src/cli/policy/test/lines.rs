//! Results of `never:` and `only:` lines, for people, JSON and `JUnit`.

use serde_json::{Value, json};

use crate::cli::Terminal;
use crate::policy::examples::{LineOutcome, Remark, describe};
use crate::text::escape;

/// Prints one result.
pub(super) fn print(outcome: &LineOutcome<'_>, out: &mut Terminal) {
    let line = outcome.line;
    let mark = if outcome.problem.is_none() {
        '✓'
    } else {
        '✗'
    };
    out.line(&format!("  {mark} {}: {}", line.kind, escape(&line.name)));
    for text in explanation(outcome) {
        out.line(&format!("      {text}"));
    }
}

/// Why it fails, or what there is to know, with jobs.
pub(super) fn explanation(outcome: &LineOutcome<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(problem) = &outcome.problem {
        lines.push(format!("at {}", outcome.line.place));
        lines.push(format!("because: {}", escape(&outcome.line.because)));
        lines.extend(remark("", problem));
    }
    for note in &outcome.notes {
        lines.extend(remark("note: ", note));
    }
    lines
}

fn remark(start: &str, remark: &Remark) -> Vec<String> {
    let mut lines = vec![format!("{start}{}", remark.text)];
    if let Some(found) = &remark.witness {
        lines.extend(describe(found).iter().map(|line| format!("  {line}")));
    }
    lines
}

pub(super) fn in_json(file: &str, outcome: &LineOutcome<'_>) -> Value {
    let line = outcome.line;
    let remark = |remark: &Remark| {
        let claims = remark.witness.as_ref().map(|found| &found.witness.claims);
        let at = remark.witness.as_ref().map(|found| found.at.to_string());
        json!({ "message": remark.text, "claims": claims, "at": at })
    };
    json!({
        "file": file,
        "line": line.place.position().0,
        "kind": line.kind.name(),
        "name": line.name,
        "because": line.because,
        "passed": outcome.problem.is_none(),
        "problem": outcome.problem.as_ref().map(remark),
        "notes": outcome.notes.iter().map(remark).collect::<Vec<_>>(),
    })
}
