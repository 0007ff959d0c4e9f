//! What was found in the policies that serve, in the log: each finding once, and only so many.

use std::collections::HashSet;
use std::path::Path;

use crate::reason::Reason;
use crate::text::escape;
use crate::yaml::{Diagnostic, Diagnostics};

/// Logs what was not found in the version before. `folder` is where an operator finds the rest.
pub(super) fn log(before: Option<&Diagnostics>, now: &Diagnostics, folder: &Path) {
    let before = before.into_iter().flat_map(Diagnostics::iter);
    let known: HashSet<_> = before.map(identity).collect();
    let news: Vec<_> = now
        .iter()
        .filter(|finding| !known.contains(&identity(finding)))
        .collect();
    for finding in news.iter().take(MOST) {
        tracing::warn!(
            reason = Reason::PolicyFinding.code(),
            rule = finding.rule,
            place = %finding.place,
            message = %escape(&finding.message),
            "policy finding"
        );
    }
    if news.len() > MOST {
        tracing::warn!(
            reason = Reason::PolicyFindings.code(),
            findings = now.iter().count(),
            new = news.len(),
            logged = MOST,
            "the log omits further policy findings; `hallpass policy check {}` shows all",
            escape(&folder.to_string_lossy())
        );
    }
}

/// What makes two findings the same, wherever their lines moved to.
fn identity(finding: &Diagnostic) -> (&'static str, &str, &str) {
    (finding.rule, finding.place.file(), &finding.message)
}

/// Findings that have a line of their own.
const MOST: usize = 20;
