//! `hallpass policy diff`: what a change of policies gives to jobs, with a job as witness, or proof that
//! it gives nothing.

use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::export::{Export, Folder};
use super::markdown::fence;
use super::revision;
use crate::cli::{Failure, Terminal};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::policy::proof::export::Compared;
use crate::policy::diff::{Change, CredentialChange, Diff, Gained};
use crate::text::{count, escape};
use crate::yaml::duration;

/// Compares two versions of the policies: who gets more, who gets less
///
/// Each credential is wider, narrower, both, redefined, added, removed or the same, for every job whose
/// token the broker would accept, not for examples. Each wider one has a job as witness, which was put
/// through the decision. A job from the test files is preferred; otherwise the witness has only the
/// claims that the conditions read. Exit code 4 with `--fail-on wider` if a job gains anything; 6 if
/// the search hit its step limit or met a condition that it does not read.
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
    let mut old = read_old(&args.old, &args.policies, out)?;
    let mut new = revision::read(&args.new, &args.policies, out)?;
    if args.as_if_enforced {
        old.set.enforce_shadowed();
        new.set.enforce_shadowed();
    }
    let folder = args.export_to.as_deref().map(Folder::new).transpose()?;
    let at = args.at.unwrap_or_else(|| SystemClock::new().now());
    let diff = Diff::of(&old.set, &new.set, at, &new.jobs);
    match args.output {
        Format::Json => out.json(&to_json(&diff).to_string()),
        Format::Text => out.line(report(&diff, &TEXT).trim_end()),
        Format::Markdown => out.verbatim(report(&diff, &MARKDOWN).trim_end()),
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

/// How the parts of a report are spelled.
struct Style {
    name: fn(&str) -> String,
    heading: &'static str,
    section: &'static str,
    fence: &'static str,
}

const TEXT: Style = Style {
    name: plain,
    heading: "",
    section: "",
    fence: "",
};

const MARKDOWN: Style = Style {
    name: code,
    heading: "## ",
    section: "### ",
    fence: "  ```\n",
};

/// A name for people.
fn plain(name: &str) -> String {
    format!("`{}`", escape(name))
}

/// A name as a code span of Markdown: nothing in it is markup, a link or a mention.
fn code(name: &str) -> String {
    let name = harmless(name);
    let fence = fence(&name, 1);
    if name.starts_with('`') || name.ends_with('`') {
        format!("{fence} {name} {fence}")
    } else {
        format!("{fence}{name}{fence}")
    }
}

/// One line that is no command to a CI's runner, which reads `##[` anywhere.
fn harmless(text: &str) -> String {
    escape(text).replace("##", "#\\u{23}")
}

fn report(diff: &Diff, style: &Style) -> String {
    let spell = style.name;
    let mut text = format!("{}Policies: {}\n\n", style.heading, summary(diff));
    for issuer in &diff.issuers {
        let (change, name, url) = (
            issuer.change.name(),
            spell(&issuer.name),
            spell(&issuer.url),
        );
        push(
            &mut text,
            &format!("- issuer {name} ({url}): **{change}**\n"),
        );
    }
    if !diff.issuers.is_empty() {
        text.push('\n');
    }
    for one in &diff.credentials {
        credential(&mut text, one, style);
    }
    for entry in &diff.shadowed {
        push(
            &mut text,
            &format!("- without effect (`shadow_until`): {}\n", spell(entry)),
        );
    }
    if !diff.shadowed.is_empty() {
        text.push('\n');
    }
    if !diff.is_wider() && !diff.is_undecided() {
        text.push_str("Proven: no job gains anything.\n");
    }
    let at = diff.at;
    push(
        &mut text,
        &format!(
            "Compared for every request from {at} on. Where targets lead is in `hallpass.yaml`: not \
             compared.\n"
        ),
    );
    text
}

fn summary(diff: &Diff) -> String {
    let of = |change: Change| {
        let all = diff.credentials.iter();
        all.filter(|one| one.change == change).count()
    };
    let changes = [
        Change::Redefined,
        Change::Wider,
        Change::WiderAndNarrower,
        Change::Added,
        Change::NotDecided,
        Change::Narrower,
        Change::Removed,
    ];
    let parts = changes.map(|change| (of(change), change));
    let parts = parts.into_iter().filter(|(number, _)| *number > 0);
    let parts: Vec<_> = parts
        .map(|(number, change)| format!("{number} {}", change.name()))
        .collect();
    let all = count(diff.compared, "credential");
    let credentials = if parts.is_empty() {
        format!("the same for {all}")
    } else {
        format!("{} of {all}", parts.join(", "))
    };
    match diff.issuers.len() {
        0 => credentials,
        number => format!("{}; {credentials}", count(number, "changed issuer")),
    }
}

fn credential(text: &mut String, one: &CredentialChange, style: &Style) {
    let spell = style.name;
    let (name, change) = (spell(&one.name), one.change.name());
    push(text, &format!("{}{name}: {change}\n\n", style.section));
    if let Some(was) = &one.was {
        push(text, &format!("- renamed from {}\n", spell(was)));
    }
    for note in &one.notes {
        push(text, &format!("- {note}\n"));
    }
    if !one.lost.is_empty() {
        let some: Vec<_> = one
            .lost
            .iter()
            .take(SHOWN)
            .map(|name| spell(name))
            .collect();
        let more = more(one.lost.len());
        push(
            text,
            &format!("- jobs get less by {}{more}\n", some.join(", ")),
        );
    }
    for reason in &one.undecided {
        push(text, &format!("- not decided: {}\n", spell(reason)));
    }
    for gained in one.gained.iter().take(SHOWN) {
        gain(text, gained, style);
    }
    if let Some(rest @ 1..) = one.gained.len().checked_sub(SHOWN) {
        push(text, &format!("- and {}\n", count(rest, "more way")));
    }
    text.push('\n');
}

fn more(all: usize) -> String {
    match all.checked_sub(SHOWN) {
        Some(rest @ 1..) => format!(" and {rest} more"),
        Some(_) | None => String::new(),
    }
}

fn gain(text: &mut String, gained: &Gained, style: &Style) {
    let spell = style.name;
    let (policy, place) = (spell(&gained.policy), spell(&gained.place));
    let ttl = duration::print(gained.ttl);
    let scopes: Vec<_> = gained.scopes.iter().map(|scope| spell(scope)).collect();
    let scopes = match scopes.as_slice() {
        [] => String::new(),
        scopes => format!(" with {}", scopes.join(", ")),
    };
    push(
        text,
        &format!(
            "- policy {policy} ({place}) gives it for {ttl}{scopes} to this job, which got less or nothing:\n"
        ),
    );
    let facts = &gained.found.witness.facts;
    text.push_str(style.fence);
    push(text, &format!("  issuer: {}\n", quoted(facts.issuer())));
    for (fact, value) in facts.iter() {
        push(text, &format!("  {fact}: {}\n", quoted(&value.to_string())));
    }
    for (name, value) in gained.found.witness.raw_claims() {
        let value = harmless(&value.to_string());
        push(text, &format!("  claim {}: {value}\n", quoted(name)));
    }
    push(text, &format!("  at: {}\n", gained.found.at));
    text.push_str(style.fence);
}

/// A value on its line, in quotes.
fn quoted(value: &str) -> String {
    harmless(&Value::from(value).to_string())
}

fn push(text: &mut String, line: &str) {
    text.push_str(line);
}

fn to_json(diff: &Diff) -> Value {
    let issuers = diff
        .issuers
        .iter()
        .map(|one| json!({ "issuer": one.name, "url": one.url, "change": one.change.name() }));
    let credentials = diff.credentials.iter().map(|one| {
        let gained = one.gained.iter().map(|gained| {
            let facts = gained.found.witness.facts.iter();
            let facts = facts.map(|(fact, value)| (fact.name().to_owned(), json!(value)));
            json!({
                "policy": gained.policy,
                "place": gained.place,
                "ttl": gained.ttl.as_secs(),
                "scopes": gained.scopes,
                "witness": {
                    "issuer": gained.found.witness.facts.issuer(),
                    "facts": facts.collect::<serde_json::Map<_, _>>(),
                    "claims": gained.found.witness.claims,
                    "at": gained.found.at.to_string(),
                },
            })
        });
        json!({
            "credential": one.name,
            "was": one.was,
            "change": one.change.name(),
            "is_wider": one.is_wider(),
            "gained": gained.collect::<Vec<_>>(),
            "lost": one.lost,
            "undecided": one.undecided,
            "notes": one.notes,
        })
    });
    json!({
        "at": diff.at.to_string(),
        "is_wider": diff.is_wider(),
        "is_decided": !diff.is_undecided(),
        "issuers": issuers.collect::<Vec<_>>(),
        "credentials": credentials.collect::<Vec<_>>(),
        "shadowed": diff.shadowed,
        "targets_compared": false,
    })
}

/// Ways and policies that are shown of one credential.
const SHOWN: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    /// T-334
    #[test]
    fn a_name_is_one_code_span_whatever_it_is() {
        for name in ["a", "`", "``x`", "a`b``c", "@team", "<b>", "|", "\n# x"] {
            let span = code(name);
            assert!(!span.contains('\n'), "{span}");
            let fence = span.len() - span.trim_start_matches('`').len();
            let inner = &span.get(fence..span.len() - fence).unwrap();
            let runs = inner.split(|letter| letter != '`').map(str::len);
            assert!(runs.max() != Some(fence), "{span}");
        }
    }
}
