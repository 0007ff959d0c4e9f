//! `hallpass policy check`: every error and finding of a folder of policies, together.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::json;

use super::edit::{Change, difference};
use super::{check_folder, nothing_in, other_folder, report};
use crate::cli::{Failure, Terminal};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Settings;
use crate::policy::lint::{self, Fix, RULES};
use crate::policy::{LoadOptions, PolicySet};
use crate::text::{count, escape};
use crate::yaml::diagnostic::{Span, nearest};
use crate::yaml::{Diagnostics, Severity};

/// Checks a folder of policies: syntax, references and lint rules
///
/// Reports the errors and findings of all files, each with its location and a fix. Exit code 0: the
/// policies can be served; 4: an error must be fixed first; 5: the folder cannot be read.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  hallpass policy check policies
  hallpass policy check --fix --dry-run policies
  hallpass policy check --settings hallpass.yaml policies
  hallpass policy check --output sarif policies > hallpass.sarif
  hallpass policy check --output github policies")]
pub(super) struct Args {
    /// The folder
    #[arg(default_value = "policies")]
    dir: PathBuf,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Format,
    /// The broker's own issuer name, to find policies that would trust it
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// The settings of the broker, to find credentials for targets that it does not have
    #[arg(long, value_name = "PATH")]
    settings: Option<PathBuf>,
    /// Apply suggested fixes: names with one near spelling, and findings whose fix never widens access
    #[arg(long)]
    fix: bool,
    /// With `--fix`: show the changes and write nothing
    #[arg(long, requires = "fix")]
    dry_run: bool,
    /// Instead of checking, explain what a rule finds and why it matters
    #[arg(long, value_name = "RULE")]
    explain: Option<String>,
}

/// How the findings are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    #[default]
    #[value(alias = "human")]
    Text,
    /// One JSON document, for programs
    Json,
    /// A SARIF 2.1.0 log, e.g. for code scanning of GitHub
    Sarif,
    /// Annotations of a GitHub Actions job
    Github,
    /// A code quality report of GitLab
    Gitlab,
}

pub(super) fn run(args: &Args, out: &mut Terminal) -> Result<(), Failure> {
    if let Some(id) = &args.explain {
        return explain(id, out);
    }
    check_folder(&args.dir)?;
    let options = options(args)?;
    if args.fix {
        fix(args, &options, out)?;
    }
    let (summary, revision, found) = match PolicySet::load_with(&args.dir, &options) {
        Ok(loaded) => {
            let set = loaded.set;
            let found = nothing_in(&args.dir, &set).unwrap_or(loaded.findings);
            let overdue = set.overdue(SystemClock::new().now(), Severity::Error);
            let found = Diagnostics::new(found.iter().cloned().chain(overdue).collect());
            (summary(&set), Some(set.revision().to_owned()), found)
        }
        Err(errors) => (String::new(), None, errors),
    };
    match args.output {
        Format::Json => {
            let answer = json!({ "revision": revision, "findings": found.to_json() });
            out.json(&answer.to_string());
        }
        Format::Sarif => out.json(&report::sarif(&found).to_string()),
        Format::Gitlab => out.json(&report::gitlab(&found).to_string()),
        Format::Github => {
            for annotation in report::github(&found) {
                out.verbatim(&annotation);
            }
            summarise(args, &summary, &found, out);
        }
        Format::Text => {
            if !found.is_empty() {
                let (shown, left_out) = first_of_each_rule(&found);
                out.report(&shown.render(true));
                for (rule, count) in left_out {
                    out.line(&format!(
                        "{count} more of rule `{rule}` are not shown; `--output json` lists all"
                    ));
                }
            }
            summarise(args, &summary, &found, out);
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

fn options(args: &Args) -> Result<LoadOptions, Failure> {
    let settings = args.settings.as_deref().map(Settings::load).transpose();
    let settings = settings.map_err(|error| Failure::Local(error.with_option("--settings")))?;
    Ok(LoadOptions {
        broker: args.issuer.clone(),
        now: Some(SystemClock::new().now()),
        targets: settings.map(|settings| settings.targets.keys().cloned().collect()),
        ..LoadOptions::default()
    })
}

/// Applies the fixes file by file, or shows them.
fn fix(args: &Args, options: &LoadOptions, out: &mut Terminal) -> Result<(), Failure> {
    let all = match PolicySet::load_with(&args.dir, options) {
        Ok(loaded) => loaded.fixes,
        Err(errors) => errors.iter().filter_map(lint::correction).collect(),
    };
    let mut files: BTreeMap<String, Vec<&Fix>> = BTreeMap::new();
    for fix in &all {
        let file = fix.place.source().name().to_owned();
        files.entry(file).or_default().push(fix);
    }
    for (name, mut fixes) in files {
        let Some(first) = fixes.first() else {
            continue;
        };
        let before = first.place.source().text().to_owned();
        let after = fixed(&before, &mut fixes);
        let shown = escape(&args.dir.join(&name).display().to_string());
        let number = count(fixes.len(), "fix");
        if args.dry_run {
            out.error(&format!("{shown}: {number} would be applied"));
            for line in difference(&before, &after) {
                out.error(&line);
            }
            continue;
        }
        let change = Change {
            name: &name,
            before: Some(&before),
            after: &after,
        };
        change.write(&args.dir)?;
        out.error(&format!("{shown}: {number} applied"));
    }
    Ok(())
}

/// The text with the fixes. Those that contradict or overlap each other are dropped.
fn fixed(text: &str, fixes: &mut Vec<&Fix>) -> String {
    fixes.sort_by_key(|fix| (fix.place.span(), fix.text.clone()));
    fixes.dedup_by(|a, b| a.place.span() == b.place.span() && a.text == b.text);
    let spans: Vec<_> = fixes.iter().map(|fix| fix.place.span()).collect();
    let overlaps = |span: Span| {
        let others = spans
            .iter()
            .filter(|other| other.start <= span.end && span.start <= other.end);
        others.count() > 1
    };
    fixes.retain(|fix| !overlaps(fix.place.span()));
    let mut after = text.to_owned();
    for fix in fixes.iter().rev() {
        let Span { start, end } = fix.place.span();
        if after.is_char_boundary(start) && after.is_char_boundary(end) && start <= end {
            after.replace_range(start..end, &fix.text);
        }
    }
    after
}

fn summarise(args: &Args, summary: &str, found: &Diagnostics, out: &mut Terminal) {
    let dir = args.dir.display();
    out.line(&format!("{dir}: {summary}{}", tally(found)));
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
        return Err(Failure::Usage(match nearest(id, ids.iter().copied()) {
            Some(meant) => format!("no rule `{id}`; did you mean `{meant}`?"),
            None => format!("no rule `{id}`; the rules are {}", ids.join(", ")),
        }));
    };
    out.prose(&format!(
        "{} ({}): {}",
        rule.id,
        rule.severity.name(),
        rule.summary
    ));
    out.line("");
    out.prose(rule.why);
    out.line("");
    out.prose(&format!("Background: {}.", rule.incident));
    Ok(())
}

/// Warnings and notes of one rule that are shown to people: a large set that breaks one rule
/// everywhere would fill the log of a CI job.
const MOST_OF_A_RULE: usize = 1_000;
