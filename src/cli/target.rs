//! `hallpass target check|install|uninstall`: is a target set up as credentials need it?

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anstyle::Style;
use clap::Subcommand;
use serde_json::json;

use super::{Failure, GREEN, Output, RED, Terminal};
use crate::broker::{root_keys, signing_keys};
use crate::clock::{Clock, SystemClock};
use crate::credential::target::{Finding, Installation, Severity, TargetSettings, With};
use crate::policy::PolicySet;
use crate::text::{count, escape_up_to};

/// Sets up and checks targets: databases, SSH CAs and webhooks
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
    Passwords(PasswordsArgs),
    RotateLogin(RotateLoginArgs),
}

/// Checks a target for misconfiguration; tests a database with a temporary lease
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  hallpass target check shop-db --config hallpass.yaml
  hallpass target check --contract logins

Exit code 2 when there is no such target, 4 when there is an error, 5 when
settings or policies cannot be read.")]
struct CheckArgs {
    /// The target, as `targets:` of the settings names it
    name: String,
    /// For a target of kind `webhook`: check each rule of the contract, with forged requests among others
    #[arg(long)]
    contract: bool,
    /// The settings file
    #[arg(long, value_name = "FILE", default_value = "hallpass.yaml")]
    config: PathBuf,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Prints the setup that the target's administrator reviews and applies once
///
/// For a database, it prints SQL that defines everything the broker can do there. The SQL covers the
/// target's databases and the groups that policies grant, with their limits. Print and apply it again
/// when either changes. For an SSH CA, it prints the configuration by which hosts trust the CA.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  hallpass target install shop-db --server-version 16 > install.sql
  psql -X -f install.sql -h db.acme.dev -U postgres postgres")]
struct InstallArgs {
    #[command(flatten)]
    print: PrintArgs,
}

/// Prints the SQL or steps that undo `install`
///
/// The SQL for a database fails while leases, or objects left by ended leases, exist.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  hallpass target uninstall shop-db --server-version 16 > uninstall.sql
  psql -X -f uninstall.sql -h db.acme.dev -U postgres postgres")]
struct UninstallArgs {
    #[command(flatten)]
    print: PrintArgs,
}

/// Prints the SQL that sets the passwords of the broker's logins, after `install`
///
/// The passwords are those of the files that the settings name. The SQL holds SCRAM verifiers, not the
/// passwords.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  hallpass target passwords shop-db | psql -X -h db.acme.dev -U postgres shop")]
struct PasswordsArgs {
    /// The target, as `targets:` of the settings names it
    name: String,
    /// The settings file
    #[arg(long, value_name = "FILE", default_value = "hallpass.yaml")]
    config: PathBuf,
}

/// Gives the broker's login a new password, without an interruption
///
/// A target has two logins for its brokers. The one that is not in use gets a random password, which
/// replaces the password file once a login with it worked. Brokers switch without a restart. The login that
/// was in use stays valid until the next rotation.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  hallpass target rotate-login shop-db --config hallpass.yaml

Exit code 2 when there is no such target, 5 when nothing was rotated. Then the
password file is as it was.")]
struct RotateLoginArgs {
    /// The target, as `targets:` of the settings names it
    name: String,
    /// The settings file
    #[arg(long, value_name = "FILE", default_value = "hallpass.yaml")]
    config: PathBuf,
    /// End the open sessions of the login that gets the new password
    #[arg(long)]
    end_sessions: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct PrintArgs {
    /// The target, as `targets:` of the settings names it
    name: String,
    /// The settings file
    #[arg(long, value_name = "FILE", default_value = "hallpass.yaml")]
    config: PathBuf,
    /// The server's major version: 15 to 18 for PostgreSQL, 8 or 9 for MySQL, 10 to 12 for MariaDB
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(8..=18))]
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
        Command::Passwords(args) => passwords(&args, out),
        Command::RotateLogin(args) => rotate_login(&args, out),
    }
}

fn find(config: &Path, name: &str) -> Result<(Arc<dyn TargetSettings>, PolicySet), Failure> {
    let local = |error: &dyn std::fmt::Display| Failure::Local(error.to_string());
    let settings = super::settings(config)?;
    let Some(target) = settings.targets.get(name) else {
        return Err(super::no_target(&settings, name));
    };
    let loaded = PolicySet::load(&settings.policies).map_err(|errors| local(&errors))?;
    Ok((Arc::clone(target), loaded.set))
}

fn check(args: &CheckArgs, out: &mut Terminal) -> Result<(), Failure> {
    let (target, policies) = find(&args.config, &args.name)?;
    // A target can be checked where the root key is not, e.g. by its own administrator.
    let settings = super::settings(&args.config)?;
    let roots = root_keys(&settings).map_err(|error| error.to_string());
    let keys = roots.and_then(|roots| match signing_keys(&settings, &roots) {
        Ok(signing) => Ok((roots, signing)),
        Err(error) => Err(error.to_string()),
    });
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let with = keys.as_ref().map(|(roots, signing)| With {
        root_keys: roots,
        signing: Some(signing),
        clock: &clock,
        before: None,
    });
    let checked = super::runtime()?.block_on(async {
        match with {
            Ok(with) if args.contract => target.check_contract(&args.name, &with).await,
            Err(error) if args.contract => Err(error.clone()),
            Ok(with) => target.check_signed(&args.name, &policies, &with).await,
            Err(_) => target.check(&args.name, &policies).await,
        }
    });
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

fn passwords(args: &PasswordsArgs, out: &mut Terminal) -> Result<(), Failure> {
    let settings = super::settings(&args.config)?;
    let Some(target) = settings.targets.get(&args.name) else {
        return Err(super::no_target(&settings, &args.name));
    };
    let sql = target.passwords();
    let sql =
        sql.map_err(|problem| Failure::Local(format!("target `{}`: {problem}", args.name)))?;
    out.verbatim(sql.expose().trim_end());
    Ok(())
}

fn rotate_login(args: &RotateLoginArgs, out: &mut Terminal) -> Result<(), Failure> {
    let settings = super::settings(&args.config)?;
    let Some(target) = settings.targets.get(&args.name) else {
        return Err(super::no_target(&settings, &args.name));
    };
    let rotated = super::runtime()?.block_on(target.rotate_login(args.end_sessions));
    let rotated = rotated.map_err(|problem| {
        Failure::Local(format!(
            "target `{}`: {}",
            args.name,
            escape_up_to(&problem, LONGEST)
        ))
    })?;
    let (login, before, file) = (&rotated.login, &rotated.before, rotated.file.display());
    match args.output {
        Output::Text => {
            out.prose(&format!(
                "{GREEN}ok{GREEN:#}: `{file}` has login `{login}` with a new password, and a login with it worked"
            ));
            out.prose(&format!(
                "  `{before}` stays valid until the next rotation: rotate again when every broker has the new file"
            ));
            if let Some(note) = &rotated.note {
                out.prose(&format!("  {note}"));
            }
        }
        Output::Json => out.json(&format!(
            "{:#}",
            json!({
                "login": login,
                "before": before,
                "file": file.to_string(),
                "note": rotated.note,
            })
        )),
    }
    Ok(())
}

/// A server's message with its fix is longer than what strangers may make us print.
const LONGEST: usize = 1_024;
