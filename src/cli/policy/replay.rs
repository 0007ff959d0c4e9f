//! `hallpass policy replay`: recorded decisions, made again by other policies.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use serde::Serialize;
use serde_json::json;

use super::again::{Now, again, granted};
use super::load;
use super::request::{self, LineOf, TOLERANCE};
use crate::audit::{RecordedDecision, RecordedOutcome};
use crate::cli::{Failure, Output, Terminal};
use crate::policy::PolicySet;
use crate::text::{count, escape};

/// Decides recorded exchanges again, and shows what other policies would change
///
/// Reads the events `intent` and `denial` of audit files and decides each by the policies of
/// `--against`, at the time of the event. Nothing is issued. A decision that depends on
/// a claim missing from the event is reported as not decidable.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hallpass policy replay audit.jsonl --against policies
  zcat audit.jsonl.1.gz | hallpass policy replay - audit.jsonl \\
    --against policies --output json

Exit code 4 if a decision would change or is not decidable, or if an audit file
is not whole.")]
pub(super) struct Args {
    /// The audit files, the oldest first; `-` reads standard input
    #[arg(required = true, value_name = "AUDIT")]
    files: Vec<PathBuf>,
    /// The folder of policies to decide by
    #[arg(long, value_name = "DIR")]
    against: PathBuf,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub(super) fn run(args: &Args, out: &mut Terminal) -> Result<(), Failure> {
    let set = load(&args.against, out)?;
    let mut replay = Replay::default();
    let mut steps = 0;
    let is_shown = io::stderr().is_terminal();
    let problems = request::read(
        &args.files,
        "policy replay --against DIR",
        |bytes| {
            let step = bytes.checked_div(PROGRESS).unwrap_or_default();
            if is_shown && step > steps {
                steps = step;
                let read = bytes.checked_div(MIB).unwrap_or_default();
                out.error(&format!("{read} MiB read"));
            }
        },
        |place, decision| replay.add(&set, &place, &decision),
    )?;
    for problem in &problems {
        out.error_report(problem);
    }
    match args.output {
        Output::Json => out.json(&replay.to_json(&set, &problems)?),
        Output::Text => replay.print(&set, out),
    }
    let mut found = Vec::new();
    let changed = replay.totals.changed();
    if changed > 0 {
        found.push(format!("{} would change", count(changed, "decision")));
    }
    if replay.totals.not_decidable > 0 {
        let number = replay.totals.not_decidable;
        found.push(format!("{} not decidable", is_or_are(number)));
    }
    if !problems.is_empty() {
        let number = count(problems.len(), "finding");
        found.push(format!("the audit files are not whole: {number}"));
    }
    if found.is_empty() {
        return Ok(());
    }
    Err(Failure::Findings(found.join("; ")))
}

fn is_or_are(number: u64) -> String {
    let verb = if number == 1 { "is" } else { "are" };
    format!("{} {verb}", count(number, "decision"))
}

/// What would be different.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    GrantedToRefused,
    RefusedToGranted,
    /// Another life or other scopes, perhaps by another policy.
    OtherGrant,
    /// The same by another policy.
    OtherPolicy,
    NotDecidable,
}

impl Kind {
    const fn title(self) -> &'static str {
        match self {
            Self::GrantedToRefused => "granted -> refused",
            Self::RefusedToGranted => "refused -> granted",
            Self::OtherGrant => "other life or scopes",
            Self::OtherPolicy => "other policy",
            Self::NotDecidable => "not decidable",
        }
    }
}

/// Decisions that change in the same way.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Change {
    #[serde(rename = "change")]
    kind: Kind,
    credential: String,
    issuer: String,
    /// The repository, or the subject of jobs without one.
    job: String,
    was: String,
    now: String,
}

/// The first decision of a change.
#[derive(Debug, Serialize)]
struct First {
    file: String,
    line: u64,
    time: String,
    request_id: String,
}

#[derive(Debug, Default, Serialize)]
struct Totals {
    decisions: u64,
    unchanged: u64,
    granted_to_refused: u64,
    refused_to_granted: u64,
    other_grant: u64,
    other_policy: u64,
    not_decidable: u64,
}

impl Totals {
    const fn changed(&self) -> u64 {
        self.decisions
            .saturating_sub(self.unchanged)
            .saturating_sub(self.not_decidable)
    }

    const fn add(&mut self, kind: Kind) {
        let total = match kind {
            Kind::GrantedToRefused => &mut self.granted_to_refused,
            Kind::RefusedToGranted => &mut self.refused_to_granted,
            Kind::OtherGrant => &mut self.other_grant,
            Kind::OtherPolicy => &mut self.other_policy,
            Kind::NotDecidable => &mut self.not_decidable,
        };
        *total = total.saturating_add(1);
    }
}

/// All that was decided again. Its size does not depend on the number of decisions.
#[derive(Debug, Default)]
struct Replay {
    totals: Totals,
    changes: BTreeMap<Change, (u64, First)>,
    /// Changes beyond [`MOST_CHANGES`].
    left_out: u64,
}

impl Replay {
    fn add(&mut self, set: &PolicySet, place: &LineOf, decision: &RecordedDecision) {
        self.totals.decisions = self.totals.decisions.saturating_add(1);
        let found = match again(set, decision) {
            Ok(now) => compare(decision, &now).map(|kind| (kind, now.to_string())),
            Err(problem) => Some((Kind::NotDecidable, problem)),
        };
        let Some((change, now)) = found else {
            self.totals.unchanged = self.totals.unchanged.saturating_add(1);
            return;
        };
        self.totals.add(change);
        let repository = decision.job.get("repository").and_then(|one| one.as_str());
        let change = Change {
            kind: change,
            credential: escape(&decision.credential),
            issuer: escape(&decision.issuer),
            job: repository.map(escape).unwrap_or_default(),
            was: was(decision),
            now,
        };
        if let Some((number, _)) = self.changes.get_mut(&change) {
            *number = number.saturating_add(1);
        } else if self.changes.len() < MOST_CHANGES {
            let first = First {
                file: escape(&place.file),
                line: place.line,
                time: decision.time.to_string(),
                request_id: escape(&decision.request_id),
            };
            self.changes.insert(change, (1, first));
        } else {
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    fn to_json(&self, set: &PolicySet, problems: &[String]) -> Result<String, Failure> {
        let changes = self.changes.iter().map(|(change, (number, first))| {
            let mut entry = serde_json::to_value(change)?;
            if let Some(members) = entry.as_object_mut() {
                members.insert("decisions".to_owned(), json!(number));
                members.insert("first".to_owned(), serde_json::to_value(first)?);
            }
            Ok(entry)
        });
        let changes: Result<Vec<_>, serde_json::Error> = changes.collect();
        let answer = json!({
            "against": set.revision(),
            "totals": self.totals,
            "changes": changes.map_err(Failure::local)?,
            "left_out": self.left_out,
            "problems": problems,
        });
        Ok(answer.to_string())
    }

    fn print(&self, set: &PolicySet, out: &mut Terminal) {
        for (change, (number, first)) in &self.changes {
            let for_job = match change.job.as_str() {
                "" => format!("for jobs of {}", change.issuer),
                job => format!("for {job}"),
            };
            let (title, number) = (change.kind.title(), count(*number, "decision"));
            out.prose(&format!(
                "{title}: {} {for_job}, {number}",
                change.credential
            ));
            out.prose_under(&format!("  was    {}", change.was), HANG);
            out.prose_under(&format!("  now    {}", change.now), HANG);
            let (file, line) = (&first.file, first.line);
            out.line(&format!(
                "  first  {file}:{line}, {}, {}",
                first.request_id, first.time
            ));
            out.line("");
        }
        if self.left_out > 0 {
            let left_out = count(self.left_out, "decision");
            out.prose(&format!("{left_out} of further changes not listed"));
        }
        let totals = &self.totals;
        out.prose(&format!(
            "{} by {}",
            count(totals.decisions, "decision"),
            set.revision()
        ));
        for (number, what) in [
            (totals.unchanged, "unchanged"),
            (totals.granted_to_refused, Kind::GrantedToRefused.title()),
            (totals.refused_to_granted, Kind::RefusedToGranted.title()),
            (totals.other_grant, Kind::OtherGrant.title()),
            (totals.other_policy, Kind::OtherPolicy.title()),
            (totals.not_decidable, Kind::NotDecidable.title()),
        ] {
            if number > 0 {
                out.line(&format!("  {number:>8} {what}"));
            }
        }
    }
}

fn was(decision: &RecordedDecision) -> String {
    match &decision.outcome {
        RecordedOutcome::Granted {
            policy,
            scopes,
            ttl,
        } => granted(policy, *ttl, scopes),
        RecordedOutcome::Denied { reason, .. } => format!("refused ({})", escape(reason)),
    }
}

/// How the decision differs, if it does. That it is refused for another reason is no difference.
fn compare(decision: &RecordedDecision, now: &Now) -> Option<Kind> {
    match (&decision.outcome, now) {
        (RecordedOutcome::Denied { .. }, Now::Refused(_)) => None,
        (RecordedOutcome::Denied { .. }, Now::Granted { .. }) => Some(Kind::RefusedToGranted),
        (RecordedOutcome::Granted { .. }, Now::Refused(_)) => Some(Kind::GrantedToRefused),
        (
            RecordedOutcome::Granted {
                policy: was,
                scopes: had,
                ttl: life,
            },
            Now::Granted {
                policy,
                ttl,
                scopes,
                is_open,
            },
        ) => {
            // Of an event that does not say what was asked, only a shorter life is a difference.
            let is_same_life = if *is_open {
                ttl.saturating_add(TOLERANCE) >= *life
            } else {
                ttl == life
            };
            let sorted = |scopes: &[String]| {
                let mut scopes = scopes.to_vec();
                scopes.sort_unstable();
                scopes
            };
            if !is_same_life || sorted(had) != sorted(scopes) {
                Some(Kind::OtherGrant)
            } else if was != policy {
                Some(Kind::OtherPolicy)
            } else {
                None
            }
        }
    }
}

const MIB: u64 = 1_024 * 1_024;
/// Bytes between two lines about the progress.
const PROGRESS: u64 = 64 * MIB;
/// Changes that are listed.
const MOST_CHANGES: usize = 10_000;
/// Columns before what a line says.
const HANG: usize = 9;
