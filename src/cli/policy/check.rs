//! `hallpass policy check`: every error and finding of a folder of policies, together.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;

use super::{check_folder, nothing_in, other_folder};
use crate::cli::{Failure, Output, Terminal};
use crate::policy::lint::{self, RULES};
use crate::policy::{LoadOptions, PolicySet};
use crate::text::count;
use crate::yaml::{Diagnostics, Severity};

/// Checks a folder of policies: syntax, references and lint rules
///
/// Reports the errors and findings of all files, each with its location and a fix. Exit code 4 if a
/// finding must be fixed before a broker loads the policies.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  hallpass policy check policies")]
pub(super) struct Args {
    /// The folder
    #[arg(default_value = "policies")]
    dir: PathBuf,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    /// The broker's own issuer name, to find policies that would trust it
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// Instead of checking, explain what a rule finds and why it matters
    #[arg(long, value_name = "RULE")]
    explain: Option<String>,
}

pub(super) fn run(args: &Args, out: &mut Terminal) -> Result<(), Failure> {
    if let Some(id) = &args.explain {
        return explain(id, out);
    }
    check_folder(&args.dir)?;
    let options = LoadOptions {
        broker: args.issuer.clone(),
        ..LoadOptions::default()
    };
    let (summary, revision, found) = match PolicySet::load_with(&args.dir, &options) {
        Ok(loaded) => {
            let set = loaded.set;
            let found = nothing_in(&args.dir, &set).unwrap_or(loaded.findings);
            (summary(&set), Some(set.revision().to_owned()), found)
        }
        Err(errors) => (String::new(), None, errors),
    };
    match args.output {
        Output::Json => {
            let answer = json!({ "revision": revision, "findings": found.to_json() });
            out.json(&answer.to_string());
        }
        Output::Text => {
            if !found.is_empty() {
                let (shown, left_out) = first_of_each_rule(&found);
                out.report(&shown.render(true));
                for (rule, count) in left_out {
                    out.line(&format!(
                        "{count} more of rule `{rule}` are not shown; `--output json` lists all"
                    ));
                }
            }
            out.line(&format!(
                "{}: {summary}{}",
                args.dir.display(),
                tally(&found)
            ));
        }
    }
    if found.has_errors() {
        return Err(Failure::Findings(format!(
            "the policies in `{}` cannot be served as they are{}",
            args.dir.display(),
            other_folder(&args.dir)
        )));
    }
    Ok(())
}

/// All errors and the first other findings of each rule, in order, and how many more there are of
/// which.
fn first_of_each_rule(found: &Diagnostics) -> (Diagnostics, BTreeMap<&'static str, usize>) {
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut shown = Vec::new();
    for one in found.iter() {
        if one.severity != Severity::Error {
            let count = counts.entry(one.rule).or_default();
            *count = count.saturating_add(1);
            if *count > MOST_OF_A_RULE {
                continue;
            }
        }
        shown.push(one.clone());
    }
    let left_out = counts.into_iter();
    let left_out = left_out.map(|(rule, count)| (rule, count.saturating_sub(MOST_OF_A_RULE)));
    let left_out = left_out.filter(|(_, count)| *count > 0).collect();
    (Diagnostics::new(shown), left_out)
}

fn summary(set: &PolicySet) -> String {
    let policies = match set.policies().len() {
        1 => "1 policy".to_owned(),
        number => format!("{number} policies"),
    };
    format!(
        "{policies}, {}, {}; ",
        count(set.credentials().count(), "credential"),
        count(set.requirements().len(), "requirement"),
    )
}

fn tally(found: &Diagnostics) -> String {
    let severities = [Severity::Error, Severity::Warning, Severity::Note];
    let numbers = severities.map(|severity| (found.count(severity), severity.name()));
    let some = numbers.into_iter().filter(|(number, _)| *number > 0);
    let parts: Vec<_> = some.map(|(number, noun)| count(number, noun)).collect();
    if parts.is_empty() {
        return "nothing found".to_owned();
    }
    parts.join(", ")
}

fn explain(id: &str, out: &mut Terminal) -> Result<(), Failure> {
    let Some(rule) = lint::find(id) else {
        let ids: Vec<_> = RULES.iter().map(|rule| rule.id).collect();
        return Err(Failure::Usage(format!(
            "no rule `{id}`; the rules are {}",
            ids.join(", ")
        )));
    };
    out.prose(&format!(
        "{} ({}): {}",
        rule.id,
        rule.severity.name(),
        rule.summary
    ));
    out.line("");
    out.prose(rule.why);
    Ok(())
}

/// Warnings and notes of one rule that are shown to people: a large set that breaks one rule
/// everywhere would fill the log of a CI job.
const MOST_OF_A_RULE: usize = 1_000;
