//! `hallpass leases list|revoke|sweep`: talks to the targets, not to a broker.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{Failure, Output, Terminal};
use crate::broker::{root_keys, signing_keys};
use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::credential::Revoked;
use crate::credential::target::{
    LeaseRecord, Leftover, Listed, SweepReport, Target, Targets, With,
};
use crate::lease::{LeaseContents, LeaseName};
use crate::text::{count, escape};

mod record;

use record::AuditRecord;

/// Lists, revokes and sweeps leases, directly in the databases
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(ListArgs),
    Revoke(RevokeArgs),
    Sweep(SweepArgs),
}

/// Lists the leases of all targets, with expiry, sessions, leftover objects and job
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  hallpass leases list --config /etc/hallpass/hallpass.yaml")]
struct ListArgs {
    #[command(flatten)]
    common: Common,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Revokes a lease by its login's name, and terminates its sessions
///
/// The run is recorded first, with its user, in a file of its own in `<audit file>.ops`. What cannot
/// be recorded is not done.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  hallpass leases revoke hp_1lg7h0k_g6d9l8b5rmam3 --target shop-db")]
struct RevokeArgs {
    /// The login, as `leases list` shows it
    login: String,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    common: Common,
}

/// Removes all ended leases once; a running broker does this continuously
///
/// The run is recorded first, with its user, in a file of its own in `<audit file>.ops`. What cannot
/// be recorded is not done.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example, in cron, for when no broker runs:
  hallpass leases sweep --config /etc/hallpass/hallpass.yaml")]
struct SweepArgs {
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct Common {
    /// The settings file
    #[arg(long, value_name = "FILE", default_value = "hallpass.yaml")]
    config: PathBuf,
    /// This target only
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// Settings cannot be read (5), a target cannot be reached (3), something is left (4).
pub fn run(args: Args, out: &mut Terminal) -> Result<(), Failure> {
    let runtime = super::runtime()?;
    match args.command {
        Command::List(args) => runtime.block_on(list(&args, out)),
        Command::Revoke(args) => runtime.block_on(revoke(&args, out)),
        Command::Sweep(args) => runtime.block_on(sweep(&args, out)),
    }
}

impl Common {
    fn settings(&self) -> Result<Settings, Failure> {
        super::settings(&self.config)
    }

    fn targets(&self, settings: &Settings) -> Result<Targets, Failure> {
        let local = |error: &dyn std::fmt::Display| Failure::Local(error.to_string());
        let roots = root_keys(settings).map_err(|error| local(&error))?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let signing = signing_keys(settings, &roots).map_err(|error| local(&error))?;
        let with = With {
            root_keys: &roots,
            signing: Some(&signing),
            clock: &clock,
            before: None,
        };
        let mut targets: BTreeMap<String, Arc<dyn Target>> = BTreeMap::new();
        for (name, target) in &settings.targets {
            if self.target.as_ref().is_none_or(|wanted| wanted == name) {
                let target = target.connect(name, &with).map_err(|error| local(&error))?;
                targets.insert(name.clone(), target);
            }
        }
        if targets.is_empty() {
            return Err(match &self.target {
                Some(target) => super::no_target(settings, target),
                None => Failure::Usage("the settings have no targets".to_owned()),
            });
        }
        Ok(Targets::new(targets))
    }
}

async fn list(args: &ListArgs, out: &mut Terminal) -> Result<(), Failure> {
    let targets = args.common.targets(&args.common.settings()?)?;
    let mut rows: Vec<(String, Listed)> = Vec::new();
    let mut quarantined = Vec::new();
    let mut down = Vec::new();
    for (name, target) in targets.iter() {
        match target.leases().await {
            Ok(listing) => {
                let leases = listing.leases.into_iter();
                rows.extend(leases.map(|lease| (name.to_owned(), lease)));
                let left = listing.quarantined.into_iter();
                quarantined.extend(left.map(|left| (name.to_owned(), left)));
            }
            Err(error) => down.push(format!("target `{name}` {}", escape(&error))),
        }
    }
    match args.output {
        Output::Text if rows.is_empty() && !down.is_empty() => {}
        Output::Text => print(&rows, &quarantined, out),
        Output::Json => out.json(&format!(
            "{:#}",
            json!({
                "leases": rows.iter().map(row_json).collect::<Vec<_>>(),
                "quarantined": quarantined.iter().map(left_json).collect::<Vec<_>>(),
                "unreachable": down,
            })
        )),
    }
    if down.is_empty() {
        Ok(())
    } else {
        Err(Failure::Unreachable(down.join("; ")))
    }
}

fn print(rows: &[(String, Listed)], quarantined: &[(String, Leftover)], out: &mut Terminal) {
    if rows.is_empty() {
        out.line("no leases");
    }
    for (target, listed) in rows {
        let Listed {
            lease,
            record,
            reasons,
        } = listed;
        let group = match lease.groups.as_slice() {
            [] => String::new(),
            groups => format!(", group {}", escape(&groups.join(", "))),
        };
        let sessions = count(lease.sessions.len(), "session");
        out.prose(&format!(
            "{}: {}, ends {}, target {target}{group}, {sessions}",
            escape(&lease.login),
            lease.state.name(),
            lease.expires_at,
        ));
        out.prose(&format!("  {}", holder(record.as_ref())));
        for leftover in &lease.leftovers {
            out.prose(&format!("  left in {}", escape(leftover)));
        }
        for reason in reasons {
            out.prose(&format!("  waits: {}", escape(reason)));
        }
    }
    for (target, left) in quarantined {
        out.prose(&format!(
            "{} in quarantine in {target}, database {}: left by jobs, owned by hallpass_quarantine",
            count(left.objects, "object"),
            escape(left.database.as_deref().unwrap_or("(server)"))
        ));
    }
}

/// Records are public text: one that no key of ours wrote says nothing.
fn holder(record: Option<&LeaseRecord>) -> String {
    let Some(record) = record else {
        return "made by no broker with our keys".to_owned();
    };
    let part = |text: &Option<String>| escape(text.as_deref().unwrap_or("unknown"));
    let database = record.database.as_deref();
    let database = database.map(|name| format!(", for database {}", escape(name)));
    format!(
        "for repository {}, run {}, by policy {}{}",
        part(&record.repository),
        part(&record.run),
        escape(&record.policy),
        database.unwrap_or_default()
    )
}

fn left_json((target, left): &(String, Leftover)) -> Value {
    json!({ "target": target, "database": left.database, "objects": left.objects })
}

fn row_json((target, listed): &(String, Listed)) -> Value {
    let Listed {
        lease,
        record,
        reasons,
    } = listed;
    json!({
        "target": target,
        "login": lease.login,
        "expires_at": lease.expires_at.to_string(),
        "state": lease.state.name(),
        "reasons": reasons,
        "ended": lease.ended,
        "can_login": lease.can_login,
        "groups": lease.groups,
        "ours": record.is_some(),
        "sessions": lease.sessions,
        "leftovers": lease.leftovers,
        "record": serde_json::from_str(&lease.record).unwrap_or(Value::Null),
    })
}

async fn revoke(args: &RevokeArgs, out: &mut Terminal) -> Result<(), Failure> {
    let name = LeaseName::parse(&args.login)
        .map_err(|error| Failure::Usage(format!("`{}`: {error}", escape(&args.login))))?;
    let settings = args.common.settings()?;
    let targets = args.common.targets(&settings)?;
    let with_leases = targets
        .iter()
        .filter(|(_, target)| target.sweep_interval().is_some());
    let names: Vec<&str> = with_leases.map(|(name, _)| name).collect();
    let target = match names.as_slice() {
        [target] => (*target).to_owned(),
        [] => {
            let targets: Vec<&str> = targets.names().collect();
            return Err(Failure::Findings(format!(
                "no such lease: nothing made in target `{}` has a lease",
                targets.join("`, `")
            )));
        }
        [_, _, ..] => {
            return Err(Failure::Usage(format!(
                "there are several targets; choose one with --target: {}",
                names.join(", ")
            )));
        }
    };
    let target = target.as_str();
    let lease = LeaseContents {
        target: target.to_owned(),
        name: args.login.clone(),
        expires_at: name.expires_at(),
        policy: String::new(),
        issuer: String::new(),
        subject: String::new(),
        repository: None,
    };
    let Some(running) = targets.get(target) else {
        return Err(super::no_target(&settings, target));
    };
    // What cannot be listed says nothing about the lease.
    let is_there = running.leases().await.map_or(true, |listing| {
        let mut leases = listing.leases.iter();
        leases.any(|listed| listed.lease.login == args.login)
    });
    let mut record = AuditRecord::begin(&settings)?;
    let operation = record
        .begin_operation("leases revoke", target, Some(&args.login))
        .await?;
    let (ended, why) = match running.revoke(&lease).await {
        Ok((revoked, why)) => (Ok(revoked), why),
        Err(error) => (Err(error), String::new()),
    };
    let recorded = record.end_operation(operation.of_revocation(&ended)).await;
    let recorded = recorded.and(record.close().await);
    let is_text = args.output == Output::Text;
    if let (false, Ok(revoked)) = (is_text, &ended) {
        let state = match revoked {
            Revoked::Gone if !is_there => "unknown",
            Revoked::Gone => "gone",
            Revoked::Closed => "closed",
            Revoked::Pending => "pending",
        };
        let document = json!({
            "target": target, "login": args.login, "revocation": state, "reason": why,
        });
        out.json(&document.to_string());
    }
    let printed = match ended {
        Ok(Revoked::Gone) if !is_there => Err(Failure::Findings(format!(
            "no such lease: target `{target}` has no login `{}`; it has ended or never existed; `hallpass leases list` lists the current ones",
            args.login
        ))),
        Ok(Revoked::Gone | Revoked::Closed) if !is_text => Ok(()),
        Ok(Revoked::Gone) => {
            out.prose(&format!("{} is gone from {target}", args.login));
            Ok(())
        }
        Ok(Revoked::Closed) => {
            out.prose(&format!(
                "{} is closed in {target} and its code disarmed; objects it left keep its name: {}",
                args.login,
                escape(&why)
            ));
            Ok(())
        }
        Ok(Revoked::Pending) => Err(Failure::Unreachable(format!(
            "{} in target `{target}` has not ended: {}; run it again, or see what `hallpass target check {target}` finds; it expires at {}",
            args.login,
            escape(&why),
            name.expires_at()
        ))),
        Err(error) => Err(Failure::Local(error.to_string())),
    };
    printed.and(recorded)
}

async fn sweep(args: &SweepArgs, out: &mut Terminal) -> Result<(), Failure> {
    let settings = args.common.settings()?;
    let targets = args.common.targets(&settings)?;
    let mut record = AuditRecord::begin(&settings)?;
    let names: Vec<String> = targets.names().map(str::to_owned).collect();
    let mut down = Vec::new();
    let mut left = 0_usize;
    let mut swept_targets = Vec::new();
    for name in &names {
        let operation = record.begin_operation("leases sweep", name, None).await?;
        let swept = targets.sweep(name).await;
        record.end_operation(operation.of_sweep(&swept)).await?;
        match swept {
            Ok(report) => {
                match args.output {
                    Output::Text => print_swept(name, &report, out),
                    Output::Json => swept_targets.push(swept_json(name, &report)),
                }
                left = left.saturating_add(report.left.len());
            }
            Err(error) => down.push(format!("target `{name}` {}", escape(&error))),
        }
    }
    record.close().await?;
    if args.output == Output::Json {
        let document = json!({ "targets": swept_targets, "unreachable": down });
        out.json(&document.to_string());
    }
    match (down.is_empty(), left) {
        (true, 0) => Ok(()),
        (true, left) => Err(Failure::Findings(format!(
            "{} could not be removed",
            count(left, "lease")
        ))),
        (false, _) => Err(Failure::Unreachable(down.join("; "))),
    }
}

fn print_swept(name: &str, report: &SweepReport, out: &mut Terminal) {
    out.prose(&format!(
        "{name}: {} removed, {} left, {} without a login ended",
        report.removed.len(),
        report.left.len(),
        count(report.ghosts, "session")
    ));
    for (login, reason) in &report.left {
        out.prose(&format!("  {} stays: {}", escape(login), escape(reason)));
    }
}

fn swept_json(name: &str, report: &SweepReport) -> Value {
    let left = report.left.iter();
    let left = left.map(|(login, reason)| json!({ "login": login, "reason": reason }));
    json!({
        "target": name,
        "removed": report.removed,
        "left": left.collect::<Vec<_>>(),
        "sessions_without_login": report.ghosts,
    })
}
