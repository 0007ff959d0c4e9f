//! `hallpass policy`: what the policies say, without a broker.

use clap::{Args as ClapArgs, Subcommand};

use std::path::Path;

use super::{Failure, Terminal};
use crate::policy::PolicySet;
use crate::text::escape;
use crate::yaml::Diagnostics;
use crate::yaml::diagnostic::{Diagnostic, Place, Source, Span};

mod again;
mod check;
mod diff;
mod edit;
mod explain;
mod export;
mod fmt;
mod git;
mod import;
mod inventory;
mod markdown;
mod names;
mod new;
mod patch;
mod place;
mod replay;
mod report;
mod request;
mod review;
mod revision;
mod schema;
mod sheet;
mod test;
mod usage;
mod who_can;

/// Checks, explains and drafts policies, without a broker
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Check(check::Args),
    Explain(explain::Args),
    Fmt(fmt::Args),
    New(new::Args),
    Import(import::Args),
    Test(test::Args),
    Replay(replay::Args),
    Diff(diff::Args),
    WhoCan(who_can::Args),
    Inventory(inventory::Args),
    Usage(usage::Args),
    Review(review::Args),
    Schema(schema::Args),
}

/// The error for a folder without policies: every job would be denied.
fn nothing_in(dir: &Path, set: &PolicySet) -> Option<Diagnostics> {
    let shown = dir.display().to_string();
    let message = format!("`{shown}` holds no policies, so every job would be denied");
    let source = Source::new("", &shown, String::new());
    let found = Diagnostic::error("no-policies", Place::new(source, Span::default()), message)
        .help(
            "expected at least one `*.yaml` file with `issuers:`, `credentials:` and `policies:`",
        );
    set.is_empty().then(|| Diagnostics::new(vec![found]))
}

/// Whether `dir` is a folder.
fn check_folder(dir: &Path) -> Result<(), Failure> {
    if !dir.is_dir() {
        let shown = escape(&dir.display().to_string());
        return Err(Failure::Local(format!(
            "`{shown}` is not a folder of policies; name one, such as `policies`"
        )));
    }
    Ok(())
}

/// What to do if the folder of the settings was named instead of the one of the policies.
fn other_folder(dir: &Path) -> String {
    let policies = dir.join("policies");
    if dir.join("hallpass.yaml").is_file() && policies.is_dir() {
        format!(
            "; it holds a broker's settings, `hallpass.yaml`: its policies are in `{}`",
            policies.display()
        )
    } else {
        String::new()
    }
}

/// The policies of a folder, or a failure after its errors are printed.
fn load(dir: &Path, out: &mut Terminal) -> Result<PolicySet, Failure> {
    check_folder(dir)?;
    let loaded = PolicySet::load(dir).map(|loaded| loaded.set);
    let set = loaded.and_then(|set| nothing_in(dir, &set).map_or(Ok(set), Err));
    set.map_err(|errors| {
        out.error_report(&errors.render(true));
        Failure::Findings(format!(
            "the policies in `{}` do not load{}",
            dir.display(),
            other_folder(dir)
        ))
    })
}

/// Runs the verb.
///
/// # Errors
/// Findings, a denial, or a file that cannot be read: see [`Failure`].
pub fn run(args: Args, out: &mut Terminal) -> Result<(), Failure> {
    match args.verb {
        Verb::Check(args) => check::run(&args, out),
        Verb::Explain(args) => explain::run(&args, out),
        Verb::Fmt(args) => fmt::run(&args, out),
        Verb::New(args) => new::run(&args, out),
        Verb::Import(args) => import::run(args, out),
        Verb::Test(args) => test::run(&args, out),
        Verb::Replay(args) => replay::run(&args, out),
        Verb::Diff(args) => diff::run(&args, out),
        Verb::WhoCan(args) => who_can::run(&args, out),
        Verb::Inventory(args) => inventory::run(&args, out),
        Verb::Usage(args) => usage::run(&args, out),
        Verb::Review(args) => review::run(&args, out),
        Verb::Schema(args) => schema::run(&args, out),
    }
}
