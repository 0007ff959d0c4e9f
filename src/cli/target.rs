//! `hallpass target check|install|uninstall`: is a target set up as credentials need it?

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anstyle::Style;
use clap::Subcommand;
use serde_json::json;

use super::{Failure, GREEN, Output, RED, Terminal};
use crate::config::Settings;
use crate::credential::target::{Finding, Installation, Severity, TargetSettings};
use crate::policy::PolicySet;
use crate::text::{count, escape_up_to};

/// Sets up what credentials are made in or for, and checks it
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(CheckArgs),
    #[command(alias = "install-sql")]
    Install(InstallArgs),
    Uninstall(UninstallArgs),
}

/// Names what would let a credential fail, live on or reach too far; a database is tried with a
/// throw-away lease
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  hallpass target check shop-db --config hallpass.yaml

Exit code 2 when there is no such target, 4 when there is an error, 5 when
settings or policies cannot be read.")]
struct CheckArgs {
    /// The target, as `targets:` of the settings names it
    name: String,
    /// The settings file
    #[arg(long, value_name = "FILE", default_value = "hallpass.yaml")]
    config: PathBuf,
    /// How to print the result
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Prints what the target's administrator reviews and puts in place once
///
/// For a database that is SQL, in which is all that the broker will be able to do: made for the
/// target's databases, and for the groups that the policies give out, with their ceilings. Print it
/// again when either changes. For an SSH CA it is what hosts need to trust it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  hallpass target install shop-db --server-version 16 > install.sql
  psql -X -f install.sql -h db.acme.dev -U postgres postgres")]
struct InstallArgs {
    #[command(flatten)]
    print: PrintArgs,
}

/// Prints what takes it back
///
/// The SQL for a database refuses to run while there are leases, or objects of ended ones.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  hallpass target uninstall shop-db --server-version 16 > uninstall.sql
  psql -X -f uninstall.sql -h db.acme.dev -U postgres postgres")]
struct UninstallArgs {
    #[command(flatten)]
    print: PrintArgs,
}

#[derive(Debug, clap::Args)]
struct PrintArgs {
    /// The target, as `targets:` of the settings names it
    name: String,
    /// The settings file
    #[arg(long, value_name = "FILE", default_value = "hallpass.yaml")]
    config: PathBuf,
    /// The major version of the PostgreSQL server: 15 to 18
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(15..=18))]
    server_version: Option<u32>,
}

/// Runs the command.
///
/// # Errors
/// Settings or policies cannot be read, or the check found an error.
pub fn run(args: Args, out: &mut Terminal) -> Result<(), Failure> {
    match args.command {
        Command::Check(args) => check(&args, out),
        Command::Install(args) => print_text(&args.print, false, out),
        Command::Uninstall(args) => print_text(&args.print, true, out),
    }
}

fn find(config: &Path, name: &str) -> Result<(Arc<dyn TargetSettings>, PolicySet), Failure> {
    let local = |error: &dyn std::fmt::Display| Failure::Local(error.to_string());
    let settings = Settings::load(config).map_err(|error| local(&error))?;
    let Some(target) = settings.targets.get(name) else {
        return Err(super::no_target(&settings, name));
    };
    let loaded = PolicySet::load(&settings.policies).map_err(|errors| local(&errors))?;
    Ok((Arc::clone(target), loaded.set))
}

fn check(args: &CheckArgs, out: &mut Terminal) -> Result<(), Failure> {
    let (target, policies) = find(&args.config, &args.name)?;
    let checked = super::runtime()?.block_on(target.check(&args.name, &policies));
    let findings = checked.map_err(Failure::Local)?;
    match args.output {
        Output::Text => print(&findings, out),
        Output::Json => out.json(&json(&findings)),
    }
    let errors = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .count();
    match errors {
        0 => Ok(()),
        errors => Err(Failure::Findings(format!(
            "target `{}` has {}",
            args.name,
            count(errors, "error")
        ))),
    }
}

fn print(findings: &[Finding], out: &mut Terminal) {
    for finding in findings {
        let word = finding.severity.name();
        let style = match finding.severity {
            Severity::Error => RED,
            Severity::Fine => GREEN,
            Severity::Warning => Style::new(),
        };
        out.prose(&format!(
            "{style}{word}{style:#}: {}",
            escape_up_to(&finding.message, LONGEST)
        ));
        if !finding.fix.is_empty() {
            out.prose(&format!("  fix: {}", escape_up_to(&finding.fix, LONGEST)));
        }
    }
}

fn json(findings: &[Finding]) -> String {
    let one = |finding: &Finding| {
        json!({
            "severity": finding.severity.name(),
            "message": finding.message,
            "fix": finding.fix,
        })
    };
    format!(
        "{:#}",
        json!({ "findings": findings.iter().map(one).collect::<Vec<_>>() })
    )
}

fn print_text(args: &PrintArgs, uninstall: bool, out: &mut Terminal) -> Result<(), Failure> {
    let (target, policies) = find(&args.config, &args.name)?;
    if args.server_version.is_some() && !target.has_server_version() {
        return Err(Failure::Usage(format!(
            "`--server-version` is for databases, and target `{}` is none; leave it out",
            args.name
        )));
    }
    let wanted = Installation {
        name: &args.name,
        policies: &policies,
        server_version: args.server_version,
        uninstall,
    };
    let made = target.installation(&wanted).map_err(Failure::Local)?;
    if let Some(note) = made.note {
        out.error(&format!("hallpass: {note}"));
    }
    out.verbatim(made.text.trim_end());
    Ok(())
}

/// A server's message with its fix is longer than what strangers may make us print.
const LONGEST: usize = 1_024;
