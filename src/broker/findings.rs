//! Logs the findings in the served policies: each once, and at most a fixed number.

use std::collections::HashSet;
use std::path::Path;

use crate::reason::Reason;
use crate::text::escape;
use crate::yaml::{Diagnostic, Diagnostics};

/// Logs findings that the previous version did not have. `folder` is where an operator finds the
/// rest.
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

/// The identity of a finding, even if its line moved.
fn identity(finding: &Diagnostic) -> (&'static str, &str, &str) {
    (finding.rule, finding.place.file(), &finding.message)
}

/// The most findings that are logged individually.
const MOST: usize = 20;
