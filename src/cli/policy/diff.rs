//! `hallpass policy diff`: what a change of policies gives to jobs, with a job as witness, or proof that
//! it gives nothing.

use std::path::PathBuf;

use clap::ValueEnum;

use super::export::{Export, Folder};
use super::revision::{self, Revision, Side};
use crate::cli::{Failure, Terminal};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::policy::diff::{Diff, Tested};
use crate::policy::proof::export::Compared;
use crate::text::escape;

mod json;
mod report;
mod settings;

/// Compares two versions of the policies: who gets more, who gets less
///
/// Each credential is wider, narrower, both, redefined, added, removed or the same, for every job whose
/// token the broker would accept, not for examples. Each wider one has a job as witness, which was put
/// through the decision. A job from the test files is preferred; otherwise the witness has only the
/// claims that the conditions read. Exit code 4 with `--fail-on wider` if a job gains anything; 6 if
/// the search hit its step limit.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hallpass policy diff main policies
  hallpass policy diff --output markdown --fail-on wider origin/main HEAD
  hallpass policy diff old/policies new/policies
  hallpass policy diff --export smt2 --export-to questions main")]
pub(super) struct Args {
    /// The old policies: a folder, or a revision of the repository of `--policies`
    #[arg(value_name = "OLD")]
    old: String,
    /// The new policies: a folder or a revision
    #[arg(value_name = "NEW", default_value = "policies")]
    new: String,
    /// The folder of policies in the repository
    #[arg(long, value_name = "DIR", default_value = "policies")]
    policies: PathBuf,
    /// OLD is a revision, also where a folder has its name
    #[arg(long)]
    old_revision: bool,
    /// The first time of requests, such as 2027-01-31T18:00:00Z; now if it is not given
    #[arg(long, value_name = "TIME", value_parser = clap::value_parser!(Timestamp))]
    at: Option<Timestamp>,
    /// Compare as if every entry with `shadow_until` were in force
    #[arg(long)]
    as_if_enforced: bool,
    /// The settings file of the broker: compare where targets lead. A side that is a revision has the
    /// file of its commit
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// The settings file of OLD, if it is not `--settings` at the revision
    #[arg(long, value_name = "FILE", requires = "settings")]
    old_settings: Option<PathBuf>,
    /// Also write each question of the comparison as a file for another solver
    #[arg(long, value_enum, value_name = "FORMAT", requires = "export_to")]
    export: Option<Export>,
    /// The folder for `--export`: a new or an empty one
    #[arg(long, value_name = "DIR", requires = "export")]
    export_to: Option<PathBuf>,
    /// Exit with code 4 in this case
    #[arg(long, value_enum, value_name = "WHAT")]
    fail_on: Option<FailOn>,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// A job may get more than before
    Wider,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    #[default]
    #[value(alias = "human")]
    Text,
    /// For a comment on a pull request
    Markdown,
    /// One JSON document, for programs
    Json,
}

pub(super) fn run(args: &Args, out: &mut Terminal) -> Result<(), Failure> {
    let read_old = if args.old_revision {
        revision::read_commit
    } else {
        revision::read
    };
    let mut old = read_old(&args.old, &args.policies, Side::Old, out)?;
    let mut new = revision::read(&args.new, &args.policies, Side::New, out)?;
    if args.as_if_enforced {
        old.set.enforce_shadowed();
        new.set.enforce_shadowed();
    }
    let folder = args.export_to.as_deref().map(Folder::new).transpose()?;
    let at = args.at.unwrap_or_else(|| SystemClock::new().now());
    let settings = settings::read(args, &old, &new, out)?;
    let mut diff = compare(&args.new, &old, &new, at, out)?;
    if let Some([before, after]) = &settings {
        let (from, to) = (&before.destinations, &after.destinations);
        diff.compare_targets(&old.set, &new.set, from, to);
        diff.compare_settings(&before.values, &after.values);
    }
    let context = context(args, &old);
    let side = |name: &str, side: &Revision| match &side.commit {
        Some(id) => report::Side::Commit(id.clone()),
        None => report::Side::Folder(name.to_owned()),
    };
    let sides = [side(&args.old, &old), side(&args.new, &new)];
    let report = |style| report::report(&diff, style, &sides, &context);
    match args.output {
        Format::Json => {
            let commits = [old.commit.as_deref(), new.commit.as_deref()];
            let document = json::document(&diff, commits, args.settings.is_some());
            out.json(&document.to_string());
        }
        Format::Text => out.line(report(&report::TEXT).trim_end()),
        Format::Markdown => out.verbatim(report(&report::MARKDOWN).trim_end()),
    }
    if let Some(folder) = folder {
        let (old, new) = (&old.set, &new.set);
        folder.write(Compared { old, new, at }, &diff, out)?;
    }
    if diff.is_wider() && args.fail_on == Some(FailOn::Wider) {
        return Err(Failure::Findings("the new policies are wider".to_owned()));
    }
    if diff.is_undecided() {
        return Err(Failure::Undecided(
            "not everything was decided; see the entries `not decided`".to_owned(),
        ));
    }
    Ok(())
}

/// Compares the policies and the test files.
fn compare(
    name: &str,
    old: &Revision,
    new: &Revision,
    at: Timestamp,
    out: &mut Terminal,
) -> Result<Diff, Failure> {
    let files = new.tests.as_ref().map_err(|errors| {
        out.error_report(&errors.render(true));
        Failure::Findings(format!("the tests of `{}` do not load", escape(name)))
    })?;
    let tests = files.iter().flat_map(|file| &file.tests);
    let known: Vec<_> = tests.map(|test| test.job.clone()).collect();
    let mut diff = Diff::of(&old.set, &new.set, at, &known);
    match &old.tests {
        Ok(before) => diff.compare_tests(
            Tested {
                set: &old.set,
                files: before,
            },
            Tested {
                set: &new.set,
                files,
            },
        ),
        Err(errors) => {
            out.error_report(&errors.render(true));
            diff.are_lines_unread = true;
        }
    }
    Ok(diff)
}

/// Sentences about how the two sides were compared.
fn context(args: &Args, old: &Revision) -> Vec<String> {
    let mut context = Vec::new();
    if old.set.is_empty() {
        let old = escape(&args.old);
        context.push(format!("`{old}` has no policies, so everything is new."));
    }
    context.push(match &args.settings {
        None => "Where targets lead is in hallpass.yaml: not compared.".to_owned(),
        Some(path) => {
            let path = escape(&path.display().to_string());
            format!("Where targets lead is compared by `{path}`.")
        }
    });
    context
}
