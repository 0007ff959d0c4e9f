//! Policies without what was not used, as a patch. It is shown only after the proof that no job gets
//! more by it.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use serde_json::{Value, json};

use super::log::{stated, to_use};
use crate::audit::{RecordedDecision, RecordedOutcome};
use crate::cli::policy::again::{Now, again};
use crate::cli::policy::patch::unified;
use crate::cli::policy::request::TOLERANCE;
use crate::cli::{Failure, Terminal};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::policy::diff::{Change, Diff};
use crate::policy::examples::{self, test_files};
use crate::policy::usage::{Narrowing, Remark, Usage, Use};
use crate::policy::{LoadOptions, Loaded, Policy, PolicySet};
use crate::text::{count, escape};
use crate::yaml::Diagnostics;
use crate::yaml::edit::apply;

/// What jobs needed of these policies, which may be other ones than those that decided at the time.
pub(super) struct Needed<'set> {
    set: &'set PolicySet,
    usage: Usage<'set>,
    /// Grants that cannot be decided again.
    undecidable: u64,
}

impl<'set> Needed<'set> {
    pub(super) fn of(set: &'set PolicySet) -> Self {
        Self {
            set,
            usage: Usage::of(set),
            undecidable: 0,
        }
    }

    /// Counts the decision as a use of the policy that gave it, and of the one that gives it now.
    pub(super) fn add(&mut self, decision: &RecordedDecision) {
        if let Some(one) = to_use(decision) {
            self.usage.add(&one);
        }
        let granted = match &decision.outcome {
            RecordedOutcome::Granted { ttl, .. } => Some(*ttl),
            RecordedOutcome::Denied { .. } => None,
        };
        match (again(self.set, decision), granted) {
            (
                Ok(Now::Granted {
                    policy,
                    ttl,
                    scopes,
                    is_open,
                }),
                _,
            ) => {
                let was = granted.filter(|_| is_open);
                let life = was.map_or(ttl, |was| was.saturating_add(TOLERANCE).min(ttl));
                self.usage.add(&Use {
                    at: decision.time,
                    issuer: &decision.issuer,
                    policy: &policy,
                    credential: &decision.credential,
                    scopes: scopes.iter().map(String::as_str).collect(),
                    life,
                    job: stated(decision),
                });
            }
            (Err(_), Some(_)) => {
                self.undecidable = self.undecidable.saturating_add(1);
                let RecordedDecision {
                    issuer,
                    credential,
                    time,
                    ..
                } = decision;
                self.usage.add_all(issuer, credential, *time);
            }
            (Ok(Now::Refused(_)) | Err(_), _) => {}
        }
    }
}

/// A patch that was proven to be narrower.
#[derive(Debug, Default)]
pub(super) struct Suggestion {
    /// Empty if there is nothing to change.
    patch: String,
    changes: Vec<Remark>,
    left: Vec<Remark>,
    /// What a person must know before applying it.
    notes: Vec<String>,
}

impl Suggestion {
    /// # Errors
    /// The changes are not shown: why.
    pub(super) fn of(
        dir: &Path,
        needed: &Needed<'_>,
        cutoff: Timestamp,
        leave: impl FnMut(&Policy) -> Option<String>,
    ) -> Result<Self, Failure> {
        let Narrowing {
            files,
            changes,
            left,
        } = needed.usage.narrow(cutoff, leave);
        let mut suggestion = Self {
            changes,
            left,
            ..Self::default()
        };
        if needed.undecidable > 0 {
            suggestion.notes.push(format!(
                "{} not decidable again by these policies: what may have given their credentials is kept",
                count(needed.undecidable, "grant")
            ));
        }
        if files.is_empty() {
            return Ok(suggestion);
        }
        let prefix = prefix(dir);
        if prefix.is_none() {
            let dir = escape(&dir.display().to_string());
            suggestion
                .notes
                .push(format!("the patch names files from the folder `{dir}` on"));
        }
        let prefix = prefix.unwrap_or_default();
        let mut texts = Vec::new();
        for file in files {
            let source = &file.source;
            let name = format!("{prefix}{}", source.name());
            let patch = unified(&name, source.text(), &file.edits).ok_or_else(|| {
                withheld(&format!(
                    "the name `{}` cannot be in a patch; rename the file or its folder",
                    escape(&name)
                ))
            })?;
            suggestion.patch.push_str(&patch);
            let text = apply(source.text(), &file.edits);
            texts.push((source.name().to_owned(), text));
        }
        suggestion.prove(dir, needed.set, texts)?;
        Ok(suggestion)
    }

    /// # Errors
    /// The new texts do not load, or some job may get more by them (T-319).
    fn prove(
        &mut self,
        dir: &Path,
        set: &PolicySet,
        texts: Vec<(String, String)>,
    ) -> Result<(), Failure> {
        let now = SystemClock::new().now();
        let load = |more| {
            let options = LoadOptions {
                now: Some(now),
                more,
                ..LoadOptions::default()
            };
            PolicySet::load_with(dir, &options)
        };
        let Loaded {
            set: narrow,
            findings,
            ..
        } = load(texts).map_err(|errors| {
            let first = errors.iter().next().map(|one| one.message.as_str());
            withheld(&format!(
                "the narrower policies do not load: {}",
                escape(first.unwrap_or_default())
            ))
        })?;
        let diff = Diff::of(set, &narrow, now, &[]);
        let credentials = &mut diff.credentials.iter();
        let not_narrower = credentials.find(|one| {
            one.is_wider() || !matches!(one.change, Change::Narrower | Change::NotDecided)
        });
        if let Some(one) = not_narrower {
            let (name, change) = (escape(&one.name), one.change.name().replace('_', " "));
            return Err(withheld(&format!(
                "`policy diff` calls `{name}` {change}, expected narrower"
            )));
        }
        if diff.is_wider() || !diff.issuers.is_empty() {
            return Err(withheld("`policy diff` finds a change beside credentials"));
        }
        if diff.is_undecided() {
            let of_credential = diff.credentials.iter().flat_map(|one| {
                let reasons = one.undecided.iter();
                reasons.map(|reason| format!("`{}`: {}", escape(&one.name), escape(reason)))
            });
            let reasons: Vec<_> = of_credential.take(SHOWN).collect();
            return Err(Failure::Undecided(format!(
                "no suggestion: that it gives no job more is not decided for {}",
                reasons.join("; ")
            )));
        }
        let before = load(Vec::new()).map(|loaded| loaded.findings);
        self.notes
            .extend(new_findings(&before.unwrap_or_default(), &findings));
        self.notes.extend(broken_tests(dir, set, &narrow, now));
        Ok(())
    }

    pub(super) fn print(&self, out: &mut Terminal) {
        for one in &self.left {
            out.error(&sentence(one));
        }
        for one in &self.changes {
            out.error(&sentence(one));
        }
        for note in &self.notes {
            out.error(&format!("note: {note}"));
        }
        if self.patch.is_empty() {
            out.error("nothing to narrow");
        } else {
            out.error("proven: no job gets more by this patch");
            let patch = self.patch.strip_suffix('\n').unwrap_or(&self.patch);
            out.verbatim(patch);
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let remark = |one: &Remark| {
            let (line, column) = one.place.position();
            json!({ "file": one.place.file(), "line": line, "column": column, "message": one.text })
        };
        json!({
            "patch": self.patch,
            "changes": self.changes.iter().map(remark).collect::<Vec<_>>(),
            "left": self.left.iter().map(remark).collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }
}

fn sentence(one: &Remark) -> String {
    let place = escape(&one.place.to_string());
    format!("{place}: {}", escape(&one.text))
}

pub(super) fn withheld(reason: &str) -> Failure {
    Failure::Findings(format!("no suggestion: {reason}"))
}

/// What comes before the names of files in a patch that is applied where the command runs. `None`: the
/// folder is not below that, or is reached by a link, through which no patch is applied.
fn prefix(dir: &Path) -> Option<String> {
    if dir.ancestors().any(Path::is_symlink) {
        return None;
    }
    let mut prefix = String::new();
    for part in dir.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(part) => {
                prefix.push_str(part.to_str()?);
                prefix.push('/');
            }
            Component::Prefix(_) | Component::RootDir | Component::ParentDir => return None,
        }
    }
    Some(prefix)
}

/// What `policy check` finds in the narrower policies only.
fn new_findings(before: &Diagnostics, after: &Diagnostics) -> Vec<String> {
    let key = |one: &crate::yaml::Diagnostic| {
        let file = one.place.source().name().to_owned();
        (file, one.rule, one.message.clone())
    };
    let known: BTreeSet<_> = before.iter().map(key).collect();
    let new = after.iter().filter(|one| !known.contains(&key(one)));
    let notes = new.map(|one| {
        let file = escape(one.place.file());
        let (rule, message) = (one.rule, escape(&one.message));
        format!("`policy check` then finds {rule} in `{file}`: {message}")
    });
    notes.collect()
}

/// Tests, and `never` and `only` lines, that pass now and would fail.
fn broken_tests(dir: &Path, old: &PolicySet, new: &PolicySet, now: Timestamp) -> Vec<String> {
    let Ok(files) = test_files(dir, old) else {
        return vec!["the tests do not load, so they are not run".to_owned()];
    };
    let Ok(narrow) = test_files(dir, new) else {
        return vec!["the tests then do not load".to_owned()];
    };
    let mut broken = Vec::new();
    for (before, after) in files.iter().zip(&narrow) {
        let fails = |name: &str, why: &str| {
            let (file, name) = (escape(&after.shown), escape(name));
            format!("test `{name}` of `{file}` then fails: {}", escape(why))
        };
        for (was, is) in before.tests.iter().zip(&after.tests) {
            let outcome = examples::run(new, is, now);
            if !outcome.passed() && examples::run(old, was, now).passed() {
                broken.push(fails(&is.name, &outcome.found.to_string()));
            }
        }
        for (was, is) in before.lines.iter().zip(&after.lines) {
            let Some(problem) = examples::prove(new, is, now).problem else {
                continue;
            };
            if examples::prove(old, was, now).problem.is_none() {
                broken.push(fails(&is.name, &problem.text));
            }
        }
    }
    broken
}

/// Reasons that are shown.
const SHOWN: usize = 3;

#[cfg(test)]
mod tests;
