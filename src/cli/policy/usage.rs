//! `hallpass policy usage`: what the audit log says was used of the policies.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};

use self::ages::Ages;
use self::log::{Log, Period, to_use};
use self::suggest::{Needed, Suggestion, withheld};
use super::load;
use crate::cli::{Failure, Output, Terminal};
use crate::clock::Timestamp;
use crate::policy::usage::{GrantUse, Part, PolicyUse, Unused, Usage};
use crate::text::{count, escape};
use crate::yaml::duration;

mod ages;
mod log;
mod suggest;

/// Lists what audit logs say was used of the policies, and what was not
///
/// Per policy and credential: the number of uses, the last one, the longest lifetime and the scopes.
/// A part that no event shows is unused only if the events cover the last `--days` days without a
/// gap, and if the policies are that old, by the log or by git. Otherwise the reason is printed.
/// Files of several brokers and in any order are read together. With `--suggest` the output is a patch
/// that removes what was not used. It is printed only if it is proven, as by `policy diff`, that no
/// job gets more.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hallpass policy usage audit.jsonl.1 audit.jsonl
  zcat audit.jsonl-*.gz | hallpass policy usage --days 30 - audit.jsonl
  hallpass policy usage --suggest audit.jsonl > narrower.patch
  git apply narrower.patch

Exit code 4 when a line could not be read, or with `--suggest` when the events are
too few for a suggestion; 6 when it is not decided whether a job gets more by it.")]
pub(super) struct Args {
    /// Audit files, in any order; `-` reads standard input
    #[arg(required = true, value_name = "AUDIT")]
    files: Vec<PathBuf>,
    /// The folder of policies
    #[arg(long, value_name = "DIR", default_value = "policies")]
    policies: PathBuf,
    /// Days without use after which a part counts as unused, before the last event
    #[arg(
        long,
        value_name = "N",
        default_value_t = 90,
        value_parser = clap::value_parser!(u16).range(1..=3_650)
    )]
    days: u16,
    /// Print a patch without what was not used, instead of the list
    ///
    /// Removes policies that were unused for `--days` days, and of the others grants, scopes, blocks and
    /// values of lists that no event shows. Lowers each `ttl` to the longest life that a job got.
    #[arg(long)]
    suggest: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub(super) fn run(args: &Args, out: &mut Terminal) -> Result<(), Failure> {
    let set = load(&args.policies, out)?;
    let mut usage = Usage::of(&set);
    let mut needed = args.suggest.then(|| Needed::of(&set));
    let mut log = Log::default();
    for path in &args.files {
        log.read(path, &mut |decision| {
            if let Some(one) = to_use(decision) {
                usage.add(&one);
            }
            if let Some(needed) = &mut needed {
                needed.add(decision);
            }
        })?;
    }
    log.finish();
    for line in &log.broken {
        out.error(&line.to_string());
    }
    let Some(period) = log.period() else {
        return Err(Failure::Findings(format!(
            "no event in {}: expected lines of an audit log of the broker",
            count(args.files.len(), "file")
        )));
    };
    let mut ages = Ages::of(&args.policies, args.days, &set, &log, period);
    let report = Report::of(args, &usage, &log, period, &mut ages);
    let suggestion = needed.map(|needed| match log.gap_since(ages.cutoff) {
        // T-320: what the events may not show is no reason to take anything away.
        Some(gap) => {
            let days = count(args.days, "day");
            Err(withheld(&format!("it needs all events of {days}: {gap}")))
        }
        None => Suggestion::of(&args.policies, &needed, ages.cutoff, |policy| {
            ages.too_young(policy)
        }),
    });
    match (args.output, &suggestion) {
        (Output::Text, None) => report.print(out),
        (Output::Text, Some(Ok(suggestion))) => suggestion.print(out),
        (Output::Text, Some(Err(_))) => {}
        (Output::Json, suggestion) => {
            let mut json = report.to_json();
            if let (Some(suggestion), Some(members)) = (suggestion, json.as_object_mut()) {
                let suggestion = match suggestion {
                    Ok(suggestion) => suggestion.to_json(),
                    Err(reason) => json!({ "withheld": reason.to_string() }),
                };
                members.insert("suggestion".to_owned(), suggestion);
            }
            let json = serde_json::to_string_pretty(&json);
            out.json(&json.map_err(Failure::local)?);
        }
    }
    if log.unread > 0 {
        return Err(Failure::Findings(format!(
            "{} could not be read; what they recorded is missing",
            count(log.unread, "line")
        )));
    }
    match suggestion {
        Some(Err(reason)) => Err(reason),
        Some(Ok(_)) | None => Ok(()),
    }
}

struct Report<'a> {
    usage: &'a Usage<'a>,
    log: &'a Log,
    period: Period,
    days: u16,
    unused: Vec<Unused<'a>>,
    /// What no event shows, and why it may have been used nevertheless.
    unknown: Vec<(Unused<'a>, String)>,
}

impl<'a> Report<'a> {
    fn of(
        args: &Args,
        usage: &'a Usage<'a>,
        log: &'a Log,
        period: Period,
        ages: &mut Ages<'_>,
    ) -> Self {
        let gap = log.gap_since(ages.cutoff);
        let mut report = Self {
            usage,
            log,
            period,
            days: args.days,
            unused: Vec::new(),
            unknown: Vec::new(),
        };
        for part in usage.unused_since(ages.cutoff) {
            match gap.clone().or_else(|| ages.too_young(part.policy)) {
                None => report.unused.push(part),
                Some(reason) => report.unknown.push((part, reason)),
            }
        }
        report
    }

    fn print(&self, out: &mut Terminal) {
        out.prose(&format!(
            "{} of {}, {} to {} ({})",
            count(self.log.lines, "event"),
            count(self.log.replicas().len(), "replica"),
            self.period.from,
            self.period.until,
            days(self.period)
        ));
        for replica in self.log.replicas() {
            let (name, period) = (escape(&replica.name), replica.period);
            out.prose(&format!(
                "replica {name}: {} to {}",
                period.from, period.until
            ));
        }
        for gap in self.log.gaps() {
            out.prose(&format!("warning: {gap}"));
        }
        let mut rows = vec![HEADER.map(str::to_owned).to_vec()];
        for policy in &self.usage.policies {
            rows.extend(policy.grants.iter().map(|grant| row(policy, grant)));
        }
        out.line("");
        out.table(&rows);
        if !self.usage.elsewhere.is_empty() {
            out.line("");
            out.prose("in the log, but not granted by these policies:");
            for (one, times) in &self.usage.elsewhere {
                out.prose(&format!(
                    "  policy {} of {}: credential {}, {}, last {}",
                    escape(&one.policy),
                    escape(&one.issuer),
                    escape(&one.credential),
                    count(times.uses, "use"),
                    shown(times.last)
                ));
            }
        }
        out.line("");
        if self.unused.is_empty() && self.unknown.is_empty() {
            out.prose(&format!(
                "everything was used in the last {} days",
                self.days
            ));
        }
        if !self.unused.is_empty() {
            out.prose(&format!("unused in the last {} days:", self.days));
        }
        for part in &self.unused {
            out.prose(&format!("  {}: {}", part.place, part.message()));
        }
        let reasons: BTreeSet<&str> = self.unknown.iter().map(|(_, why)| why.as_str()).collect();
        for reason in reasons {
            out.prose(&format!(
                "not in the events, but not known to be unused: {reason}:"
            ));
            for (part, _) in self.unknown.iter().filter(|(_, why)| why == reason) {
                out.prose(&format!("  {}: {}", part.place, part.message()));
            }
        }
    }

    fn to_json(&self) -> Value {
        let grants = self.usage.policies.iter().flat_map(|policy| {
            policy.grants.iter().map(|grant| {
                let scopes = grant.scopes.iter().map(|(scope, times)| {
                    json!({ "scope": scope, "uses": times.uses, "last_used": time(times.last) })
                });
                json!({
                    "policy": policy.policy.name,
                    "issuer": policy.policy.issuer,
                    "credential": grant.grant.credential.name,
                    "uses": grant.times.uses,
                    "last_used": time(grant.times.last),
                    "longest_life_seconds": grant.longest.map(|life| life.as_secs()),
                    "ttl_seconds": grant.grant.longest().as_secs(),
                    "scopes": scopes.collect::<Vec<_>>(),
                })
            })
        });
        let elsewhere = self.usage.elsewhere.iter().map(|(one, times)| {
            json!({
                "policy": one.policy,
                "issuer": one.issuer,
                "credential": one.credential,
                "uses": times.uses,
                "last_used": time(times.last),
            })
        });
        let replicas = self.log.replicas().into_iter().map(|replica| {
            json!({
                "name": replica.name,
                "from": replica.period.from.to_string(),
                "until": replica.period.until.to_string(),
            })
        });
        let broken =
            self.log.broken.iter().map(
                |line| json!({ "file": line.file, "line": line.line, "problem": line.problem }),
            );
        let unknown = self.unknown.iter().map(|(part, reason)| {
            let mut entry = entry(part);
            if let Some(members) = entry.as_object_mut() {
                members.insert("reason".to_owned(), Value::from(reason.as_str()));
            }
            entry
        });
        json!({
            "from": self.period.from.to_string(),
            "until": self.period.until.to_string(),
            "days": self.days,
            "events": self.log.lines,
            "replicas": replicas.collect::<Vec<_>>(),
            "gaps": self.log.gaps(),
            "grants": grants.collect::<Vec<_>>(),
            "not_in_policies": elsewhere.collect::<Vec<_>>(),
            "unused": self.unused.iter().map(entry).collect::<Vec<_>>(),
            "not_known": unknown.collect::<Vec<_>>(),
            "unread_lines": self.log.unread,
            "broken": broken.collect::<Vec<_>>(),
        })
    }
}

fn entry(part: &Unused<'_>) -> Value {
    let (line, column) = part.place.position();
    let credential = match part.part {
        Part::Grant(grant) | Part::Scope(grant, _) => Some(grant.credential.name.as_str()),
        Part::Policy | Part::Block | Part::Member(..) => None,
    };
    json!({
        "part": part.part.name(),
        "policy": part.policy.name,
        "issuer": part.policy.issuer,
        "credential": credential,
        "file": part.place.file(),
        "line": line,
        "column": column,
        "last_used": time(part.last),
        "message": part.message(),
    })
}

fn row(policy: &PolicyUse<'_>, grant: &GrantUse<'_>) -> Vec<String> {
    let scopes = grant.scopes.iter().filter(|(_, times)| times.uses > 0);
    let scopes: Vec<_> = scopes.map(|(scope, _)| escape(scope)).collect();
    vec![
        escape(&policy.policy.name),
        escape(&policy.policy.issuer),
        escape(&grant.grant.credential.name),
        grant.times.uses.to_string(),
        grant
            .times
            .last
            .map(|last| last.to_string())
            .unwrap_or_default(),
        grant.longest.map(duration::print).unwrap_or_default(),
        duration::print(grant.grant.longest()),
        scopes.join(" "),
    ]
}

const HEADER: [&str; 8] = [
    "POLICY",
    "ISSUER",
    "CREDENTIAL",
    "USES",
    "LAST USED",
    "LONGEST LIFE",
    "TTL",
    "SCOPES USED",
];

fn days(period: Period) -> String {
    count(period.until.since(period.from).max(0) / DAY, "day")
}

fn shown(at: Option<Timestamp>) -> String {
    at.map(|at| at.to_string()).unwrap_or_default()
}

fn time(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| Value::from(at.to_string()))
}

/// Seconds.
const DAY: i64 = 86_400;
