//! `hallpass policy test`: the decisions that the test files of a folder expect.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::load;
use crate::cli::{Failure, Terminal};
use crate::clock::{Clock as _, SystemClock};
use crate::policy::examples::{
    self, Coverage, Found, LineOutcome, Outcome, Share, TestFile, test_files,
};
use crate::text::{count, escape};

mod lines;
mod write;

/// Runs the tests of a folder of policies
///
/// A test is a job and the decision it must get, in a file that ends in `.test.yaml`. An entry of
/// `never:` or `only:` is a line about all jobs, which is proven. Exit code 0: all
/// tests pass; 4: a test fails, a file has an error, or the coverage is below `--threshold`; 5: the
/// folder cannot be read.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hallpass policy test policies
  hallpass policy test --coverage --threshold 80 policies
  hallpass policy test --write policies")]
pub(super) struct Args {
    /// The folder of policies
    #[arg(default_value = "policies")]
    dir: PathBuf,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Format,
    /// Only tests whose name contains this text
    #[arg(long, value_name = "PATTERN")]
    run: Option<String>,
    /// Also list the policies, conditions and requirements that no test exercises
    #[arg(long)]
    coverage: bool,
    /// The coverage that is needed, in percent
    #[arg(
        long,
        value_name = "PERCENT",
        requires = "coverage",
        value_parser = clap::value_parser!(u8).range(0..=100)
    )]
    threshold: Option<u8>,
    /// Record today's decisions as tests, for what no test exercises
    #[arg(long, conflicts_with_all = ["run", "coverage"])]
    write: bool,
    /// With `--write`: show what would be written
    #[arg(long, requires = "write")]
    dry_run: bool,
}

/// How the results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    #[default]
    #[value(alias = "human")]
    Text,
    /// One JSON document, for programs
    Json,
    /// A `JUnit` report in XML
    Junit,
}

pub(super) fn run(args: &Args, out: &mut Terminal) -> Result<(), Failure> {
    let set = load(&args.dir, out)?;
    let files = test_files(&args.dir, &set).map_err(|errors| {
        out.error_report(&errors.render(true));
        Failure::Findings(format!("the tests in `{}` do not load", shown(args)))
    })?;
    let now = SystemClock::new().now();
    if args.write {
        return write::write(args, &set, &files, now, out);
    }
    let wanted = |name: &str| args.run.as_ref().is_none_or(|run| name.contains(run));
    let result = |file| {
        let TestFile { tests, lines, .. }: &TestFile = file;
        let tests = tests.iter().filter(|test| wanted(&test.name));
        let lines = lines.iter().filter(|line| wanted(&line.name));
        Results {
            file,
            tests: tests.map(|test| examples::run(&set, test, now)).collect(),
            lines: lines.map(|line| examples::prove(&set, line, now)).collect(),
        }
    };
    let results: Vec<Results<'_>> = files.iter().map(result).collect();
    let outcomes: Vec<Outcome<'_>> = results.iter().flat_map(|one| one.tests.clone()).collect();
    let coverage = args.coverage.then(|| Coverage::of(&set, &outcomes));
    match args.output {
        Format::Json => out.json(&in_json(&results, coverage.as_ref()).to_string()),
        Format::Junit => out.verbatim(junit(&results).trim_end()),
        Format::Text => print(&results, coverage.as_ref(), out),
    }
    verdict(args, &results, coverage.as_ref())
}

/// The results of one file.
struct Results<'a> {
    file: &'a TestFile,
    tests: Vec<Outcome<'a>>,
    lines: Vec<LineOutcome<'a>>,
}

impl Results<'_> {
    fn count(&self) -> usize {
        self.tests.len().saturating_add(self.lines.len())
    }

    fn failed(&self) -> usize {
        let tests = self.tests.iter().filter(|one| !one.passed()).count();
        let lines = self.lines.iter().filter(|one| one.problem.is_some());
        tests.saturating_add(lines.count())
    }
}

fn verdict(
    args: &Args,
    results: &[Results<'_>],
    coverage: Option<&Coverage>,
) -> Result<(), Failure> {
    let failed: usize = results.iter().map(Results::failed).sum();
    if failed > 0 {
        return Err(Failure::Findings(format!(
            "{} of the policies failed",
            count(failed, "test")
        )));
    }
    if results.iter().all(|one| one.count() == 0) {
        let what = match &args.run {
            Some(run) => format!(
                "no test in `{}` has `{}` in its name",
                shown(args),
                escape(run)
            ),
            None => format!(
                "`{}` has no tests; write a file that ends in `.test.yaml`, or record today's decisions with `--write`",
                shown(args)
            ),
        };
        return Err(Failure::Findings(what));
    }
    let threshold = args.threshold.map_or(0, usize::from);
    match coverage.map(Coverage::percent) {
        Some(percent) if percent < threshold => Err(Failure::Findings(format!(
            "the coverage is {percent}%, expected at least {threshold}%"
        ))),
        Some(_) | None => Ok(()),
    }
}

fn shown(args: &Args) -> String {
    escape(&args.dir.display().to_string())
}

fn print(results: &[Results<'_>], coverage: Option<&Coverage>, out: &mut Terminal) {
    let total: usize = results.iter().map(Results::count).sum();
    let failed: usize = results.iter().map(Results::failed).sum();
    for one in results.iter().filter(|one| one.count() > 0) {
        out.line(&escape(&one.file.shown));
        for outcome in &one.tests {
            let name = escape(&outcome.example.name);
            if outcome.passed() {
                out.line(&format!("  ✓ {name}"));
            } else {
                out.line(&format!("  ✗ {name}"));
                for line in explanation(outcome) {
                    out.line(&format!("      {line}"));
                }
            }
            if outcome.needs_time {
                out.line("      warning: a policy with `until` is part of the result; add `at: TIME` to the test");
            }
        }
        for outcome in &one.lines {
            lines::print(outcome, out);
        }
    }
    if let Some(coverage) = coverage {
        out.line("");
        for uncovered in &coverage.uncovered {
            out.line(&format!("{}: {}", uncovered.place, uncovered.message));
        }
        let of =
            |share: Share, noun: &str| format!("{} of {}", share.covered, count(share.of, noun));
        out.line(&format!(
            "coverage {}%: {} covered, {}, {}",
            coverage.percent(),
            of_policies(coverage.policies),
            of(coverage.conditions, "condition"),
            of(coverage.requirements, "requirement"),
        ));
    }
    out.line(&format!(
        "{}: {} passed, {failed} failed",
        count(total, "test"),
        total.saturating_sub(failed)
    ));
}

fn of_policies(share: Share) -> String {
    let noun = if share.of == 1 { "policy" } else { "policies" };
    format!("{} of {} {noun}", share.covered, share.of)
}

/// What was expected and found, and why.
fn explanation(outcome: &Outcome<'_>) -> Vec<String> {
    let mut lines = vec![
        format!("at {}", outcome.example.place),
        format!("- {}", outcome.example.expected),
        format!("+ {}", outcome.found),
    ];
    if let Found::Refused { lines: more, .. } = &outcome.found {
        lines.extend(more.iter().map(|line| format!("  {line}")));
    }
    lines
}

fn in_json(results: &[Results<'_>], coverage: Option<&Coverage>) -> Value {
    let tests = results.iter().flat_map(|one| {
        one.tests.iter().map(|outcome| {
            let details = match &outcome.found {
                Found::Refused { lines, .. } => lines.clone(),
                Found::Gets { .. } => Vec::new(),
            };
            json!({
                "file": one.file.shown,
                "line": outcome.example.place.position().0,
                "name": outcome.example.name,
                "passed": outcome.passed(),
                "expected": outcome.example.expected.to_string(),
                "found": outcome.found.to_string(),
                "details": details,
                "depends_on_clock": outcome.needs_time,
            })
        })
    });
    let lines = results.iter().flat_map(|one| {
        let file = &one.file.shown;
        one.lines
            .iter()
            .map(|outcome| lines::in_json(file, outcome))
    });
    let mut answer =
        json!({ "tests": tests.collect::<Vec<_>>(), "lines": lines.collect::<Vec<_>>() });
    if let (Some(coverage), Some(members)) = (coverage, answer.as_object_mut()) {
        let share = |share: Share| json!({ "covered": share.covered, "of": share.of });
        let uncovered = coverage.uncovered.iter().map(|one| {
            let (line, column) = one.place.position();
            json!({ "file": one.place.file(), "line": line, "column": column, "message": one.message })
        });
        let coverage = json!({
            "percent": coverage.percent(),
            "policies": share(coverage.policies),
            "conditions": share(coverage.conditions),
            "requirements": share(coverage.requirements),
            "uncovered": uncovered.collect::<Vec<_>>(),
        });
        members.insert("coverage".to_owned(), coverage);
    }
    answer
}

/// A report as `JUnit` readers of GitLab, Jenkins and others take it.
fn junit(results: &[Results<'_>]) -> String {
    let mut xml =
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"hallpass policy test\">\n"
            .to_owned();
    for one in results {
        let (total, failed) = (one.count(), one.failed());
        let name = attribute(&one.file.shown);
        push(
            &mut xml,
            &format!(
                "  <testsuite name=\"{name}\" tests=\"{total}\" failures=\"{failed}\" errors=\"0\">"
            ),
        );
        for outcome in &one.tests {
            let example = outcome.example;
            let failure = (!outcome.passed())
                .then(|| (format!("found {}", outcome.found), explanation(outcome)));
            let line = example.place.position().0;
            case(&mut xml, &name, &example.name, line, failure);
        }
        for outcome in &one.lines {
            let line = outcome.line;
            let problem = outcome.problem.as_ref();
            let failure =
                problem.map(|problem| (problem.text.clone(), lines::explanation(outcome)));
            let title = format!("{}: {}", line.kind, line.name);
            case(&mut xml, &name, &title, line.place.position().0, failure);
        }
        push(&mut xml, "  </testsuite>");
    }
    push(&mut xml, "</testsuites>");
    xml
}

/// One test, and if it failed a sentence and the details.
fn case(
    xml: &mut String,
    file: &str,
    name: &str,
    line: usize,
    failure: Option<(String, Vec<String>)>,
) {
    let name = attribute(name);
    let head = format!(
        "    <testcase classname=\"{file}\" name=\"{name}\" file=\"{file}\" line=\"{line}\""
    );
    let Some((message, details)) = failure else {
        return push(xml, &format!("{head}/>"));
    };
    push(xml, &format!("{head}>"));
    let details: Vec<_> = details.iter().map(|line| attribute(line)).collect();
    push(
        xml,
        &format!(
            "      <failure message=\"{}\">{}</failure>",
            attribute(&message),
            details.join("\n")
        ),
    );
    push(xml, "    </testcase>");
}

fn push(xml: &mut String, line: &str) {
    if writeln!(xml, "{line}").is_err() {
        // Writing to a String does not fail.
    }
}

/// Text of an attribute or element: printable ASCII without markup (T-274).
fn attribute(text: &str) -> String {
    let text = escape(text).replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&apos;")
}
