//! `hallpass policy review`: what a reviewer of a pull request must know, as one comment.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use clap::ValueEnum;

use super::check_folder;
use super::markdown::{cut, fenced, marker, name};
use crate::cli::{Failure, Terminal, runtime};
use crate::client::{Environment, Forge, Posted, Proxy, TransportSettings};
use crate::clock::SystemClock;
use crate::file::read_text;
use crate::policy::PolicySet;
use crate::policy::examples::test_files;
use crate::secret::Secret;
use crate::text::escape;

/// Checks, tests and compares the policies of a pull request, and keeps one comment about it up to date
///
/// Prints the comment in Markdown, for a job summary. Needs no broker. `--post` reads the variables that
/// the CI sets: a job of GitHub Actions on `pull_request` with `GITHUB_TOKEN`, or a merge request pipeline
/// of GitLab with a project access token in `HALLPASS_REVIEW_TOKEN`. A token that may not write comments is
/// no failure, as in a pull request from a fork.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hallpass policy review --base origin/main policies
  hallpass policy review --post github >> \"$GITHUB_STEP_SUMMARY\"

Exit code 4 when the policies do not load, a test fails, or with `--fail-on wider` a
job gains anything; 5 when git does not have the base, as in a shallow clone; 6 when
with `--fail-on wider` it was not decided.")]
pub(super) struct Args {
    /// The folder of policies
    #[arg(default_value = "policies")]
    dir: PathBuf,
    /// The commit that the pull request is compared with
    #[arg(long, value_name = "COMMIT")]
    base: Option<String>,
    /// The settings file of the broker in the same repository: compare where targets lead
    #[arg(long, value_name = "FILE", requires = "base")]
    settings: Option<PathBuf>,
    /// What else makes the review fail
    #[arg(long, value_enum, value_name = "WHAT", requires = "base")]
    fail_on: Option<FailOn>,
    /// Write the comment there
    #[arg(long, value_enum)]
    post: Option<Server>,
    /// Login name of the token's owner on GitHub: its comment is updated
    #[arg(long, value_name = "LOGIN", default_value = "github-actions[bot]")]
    author: String,
    /// PEM file of an additional CA of the server; or `HALLPASS_CA`
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// A job may get more than before, or it is not decided
    Wider,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Server {
    /// The pull request of a GitHub Actions job
    Github,
    /// The merge request of a GitLab pipeline
    Gitlab,
}

pub(super) fn run(args: &Args, out: &mut Terminal) -> Result<(), Failure> {
    check_folder(&args.dir)?;
    let environment = Environment::of_this_process();
    let mut review = Review::default();
    review.command("Check", &["check"], &args.dir)?;
    if has_tests(&args.dir) {
        review.command("Tests", &["test"], &args.dir)?;
    } else {
        review.section("Tests: none", "No file of the folder ends in `.test.yaml`.");
    }
    if let Some(base) = &args.base {
        review.compare(base, args)?;
    }
    let dir = args.dir.display().to_string();
    let text = format!(
        "{}\n## Policy review of {}\n\n{}",
        marker(&dir),
        name(&dir),
        review.text
    );
    out.verbatim(text.trim_end());
    if let Some(server) = args.post {
        // The verdict counts, whether its comment was written or not.
        match post(args, server, &environment, &text) {
            Ok(Posted::Created) => out.error("the comment was written"),
            Ok(Posted::Updated) => out.error("the comment was updated"),
            Ok(Posted::NotAllowed) => out.error(
                "the token may not write comments, as in a pull request from a fork: see the summary of the job",
            ),
            Err(error) => out.error(&format!("the comment was not written: {error}")),
        }
    }
    match review.failed.as_slice() {
        [] if review.is_uncompared => Err(Failure::Local(
            "the policies are not compared with the base; see the section `Changes`".to_owned(),
        )),
        [] if review.is_undecided => Err(Failure::Undecided(
            "not everything was decided; see the entries `not decided`".to_owned(),
        )),
        [] => Ok(()),
        failed => Err(Failure::Findings(format!(
            "the review of `{}` failed: {}",
            escape(&dir),
            failed.join(", ")
        ))),
    }
}

/// Whether there is anything to test. What does not load is reported by the check.
fn has_tests(dir: &Path) -> bool {
    let Ok(loaded) = PolicySet::load(dir) else {
        return false;
    };
    match test_files(dir, &loaded.set) {
        Ok(files) => !files.is_empty(),
        Err(_) => true,
    }
}

fn post(
    args: &Args,
    server: Server,
    environment: &Environment,
    text: &str,
) -> Result<Posted, Failure> {
    let proxy = environment.get("HALLPASS_PROXY").map(|url| Proxy {
        url: Secret::new(url.to_owned()),
        origin: "HALLPASS_PROXY",
    });
    let route = TransportSettings {
        ca: args.ca.clone().or_else(|| environment.path("HALLPASS_CA")),
        proxy,
        no_proxy: environment.get("NO_PROXY").map(str::to_owned),
    };
    let clock = Arc::new(SystemClock::new());
    let forge = match server {
        Server::Github => {
            let path = environment.path("GITHUB_EVENT_PATH").ok_or_else(|| {
                Failure::Local("variable GITHUB_EVENT_PATH is not set".to_owned())
            })?;
            let event = read_text(&path, LARGEST_EVENT).map_err(|error| {
                Failure::Local(format!(
                    "the event in GITHUB_EVENT_PATH cannot be read: {error}"
                ))
            })?;
            Forge::github(environment, &event, &args.author, &route, clock)
        }
        Server::Gitlab => Forge::gitlab(environment, &route, clock),
    };
    let forge = forge.map_err(Failure::local)?;
    let dir = args.dir.display().to_string();
    runtime()?
        .block_on(forge.post(&marker(&dir), text))
        .map_err(Failure::local)
}

/// The sections of the comment.
#[derive(Default)]
struct Review {
    text: String,
    /// The sections that failed.
    failed: Vec<&'static str>,
    /// The comparison is to be decided, and is not.
    is_undecided: bool,
    /// Git does not have the base, or cannot be asked.
    is_uncompared: bool,
}

impl Review {
    /// Adds the output of a `policy` command.
    fn command(&mut self, title: &'static str, args: &[&str], dir: &Path) -> Result<(), Failure> {
        let (code, output) = hallpass(args, &[dir.as_os_str()])?.together();
        let verdict = match code {
            0 => "passed",
            4 => "failed",
            _ => return Err(Failure::Local(output)),
        };
        if code != 0 {
            self.failed.push(title);
        }
        let output = fenced(&output, LONGEST_SECTION);
        self.section(&format!("{title}: {verdict}"), &output);
        Ok(())
    }

    /// Adds what the change gives to jobs.
    fn compare(&mut self, base: &str, args: &Args) -> Result<(), Failure> {
        let (dir, fail_on) = (&args.dir, args.fail_on);
        let text = |path: &'_ Path| {
            let text = path.to_str().map(str::to_owned);
            text.ok_or_else(|| Failure::Usage("the name of a file is not UTF-8".to_owned()))
        };
        let folder = text(dir)?;
        let settings = args.settings.as_deref().map(text).transpose()?;
        let mut args = vec![
            "diff",
            "--old-revision",
            "--output",
            "markdown",
            "--fail-on",
            "wider",
            "--policies",
            &folder,
        ];
        if let Some(path) = &settings {
            args.extend(["--settings", path]);
        }
        let ran = hallpass(&args, &[OsStr::new(base), dir.as_os_str()])?;
        if ran.output.is_empty() {
            let (code, output) = ran.together();
            self.section("Changes: not compared", &fenced(&output, LONGEST_SECTION));
            match code {
                // One of the two does not load.
                4 if fail_on.is_some() => self.failed.push("Changes"),
                4 => {}
                _ => self.is_uncompared = true,
            }
            return Ok(());
        }
        // The last line has the commits, so it is never cut off.
        let lines = ran.output.rsplit_once('\n');
        let (changes, end) = lines.unwrap_or(("", ran.output.as_str()));
        let changes = cut(changes, LONGEST_SECTION);
        let changes = format!("{changes}{}", cut(end, LONGEST_SECTION));
        self.section(&format!("Changes since {}", name(base)), &changes);
        if fail_on == Some(FailOn::Wider) {
            match ran.code {
                0 => {}
                6 => self.is_undecided = true,
                _ => self.failed.push("Changes"),
            }
        }
        Ok(())
    }

    fn section(&mut self, heading: &str, text: &str) {
        self.text.extend(["### ", heading, "\n\n", text, "\n\n"]);
    }
}

/// The result of a `policy` command.
struct Ran {
    code: i32,
    output: String,
    errors: String,
}

impl Ran {
    /// The exit code, and all that was printed.
    fn together(self) -> (i32, String) {
        let text = format!("{}\n{}", self.output, self.errors);
        (self.code, text.trim().to_owned())
    }
}

/// Runs a `policy` command of this program.
fn hallpass(args: &[&str], operands: &[&OsStr]) -> Result<Ran, Failure> {
    let program = std::env::current_exe().map_err(Failure::local)?;
    let mut command = Command::new(program);
    command.arg("policy").args(args).arg("--").args(operands);
    for secret in TOKENS {
        command.env_remove(secret);
    }
    let output = command
        .env("NO_COLOR", "1")
        .env_remove("CLICOLOR_FORCE")
        .stdin(Stdio::null())
        .output()
        .map_err(Failure::local)?;
    let code = output.status.code().ok_or_else(|| {
        Failure::Local(format!("`hallpass policy {}` was killed", args.join(" ")))
    })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    Ok(Ran {
        code,
        output: text(&output.stdout),
        errors: text(&output.stderr),
    })
}

/// The variables that commands of a review do not get.
const TOKENS: [&str; 3] = ["GITHUB_TOKEN", "HALLPASS_REVIEW_TOKEN", "HALLPASS_PROXY"];
/// Bytes of an event of GitHub.
const LARGEST_EVENT: u64 = 16 * 1024 * 1024;
/// Bytes of a section: GitHub takes 65,536 in a comment.
const LONGEST_SECTION: usize = 18_000;
