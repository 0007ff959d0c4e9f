//! `hallpass init`: the files of a first broker.

use std::fs;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use url::{Host, Url};

use super::inputs::read_input;
use super::job::{JobFile, is_of_dev};
use super::{Failure, Terminal};
use crate::broker;
use crate::client::write_private_new;
use crate::config::{Settings, issuer_problem};
use crate::policy::PolicySet;
use crate::text::escape;

mod files;
mod job;

use files::{Database, FilePlan};
use job::{Ci, Job, JobNames};

/// Writes the files of a first broker: settings, root key, policies and a job to try it with
///
/// The policies let one repository have one credential: a login to a PostgreSQL database with `--postgres`,
/// otherwise a signed token. On a terminal, `init` prompts for missing options. It never changes existing
/// files: if one exists, it writes nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hallpass init --issuer https://hallpass.acme.dev --github acme/shop \\
    --owner-id 65923871 --repository-id 702114500 --postgres db.acme.dev/shop
  hallpass init --issuer https://hallpass.acme.dev --from-token job.jwt

On one machine, with a CI of your own (docs/one-machine.md):
  hallpass init broker --issuer http://127.0.0.1:8080 --from-token job.jwt \\
    --ci-ca ci/ca.pem --postgres 127.0.0.1/shop")]
pub struct Args {
    /// The folder to write to; it is created if it does not exist
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// The broker's https URL, as jobs reach it; or `http://127.0.0.1:PORT` to try it on one machine
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// A repository on github.com whose jobs get the credential
    #[arg(long, value_name = "OWNER/REPOSITORY", conflicts_with_all = ["gitlab", "from_token"])]
    github: Option<String>,
    /// A project on gitlab.com whose jobs get the credential
    #[arg(long, value_name = "GROUP/PROJECT", conflicts_with = "from_token")]
    gitlab: Option<String>,
    /// The ID of the repository's owner
    #[arg(long, value_name = "ID", conflicts_with = "from_token")]
    owner_id: Option<String>,
    /// The ID of the repository
    #[arg(long, value_name = "ID", conflicts_with = "from_token")]
    repository_id: Option<String>,
    /// A file with a token of the job, from which CI, repository, IDs, ref and environment are read; `-`
    /// reads standard input. Nothing is verified
    #[arg(long, value_name = "FILE")]
    from_token: Option<PathBuf>,
    /// With `--from-token`: the PEM file of the CA that signed the certificate of a CI of your own; it is
    /// copied
    #[arg(long, value_name = "FILE")]
    ci_ca: Option<PathBuf>,
    /// The PostgreSQL database to issue logins for
    #[arg(long, value_name = "HOST[:PORT]/DATABASE")]
    postgres: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// Something is missing or wrong, a file exists, or a file cannot be written.
pub fn run(args: &Args, out: &mut Terminal) -> Result<(), Failure> {
    check_folder(&args.folder)?;
    let plan = plan(args, out)?;
    let mut files = plan.files()?;
    let policies = check_texts(&files, &args.folder)?;
    files.extend(files::tests(&policies));
    let paths = files.iter().map(|file| args.folder.join(file.name));
    let existing: Vec<String> = paths
        .filter(|path| fs::symlink_metadata(path).is_ok())
        .map(|path| format!("`{}`", escape(&path.to_string_lossy())))
        .collect();
    if !existing.is_empty() {
        return Err(Failure::Local(format!(
            "{} exist already and are not overwritten; nothing was written; choose another folder, or move them away",
            existing.join(", ")
        )));
    }
    // Ctrl-C from here on waits until everything is written, or nothing.
    let uninterrupted = hold_signals();
    let mut written = Vec::new();
    let result = write(&files, &args.folder, &mut written).and_then(|()| check(&args.folder));
    if let Err(failure) = result {
        for path in written.iter().rev() {
            // Only what this run made is removed: a folder with other files stays.
            if fs::remove_file(path).is_err() && fs::remove_dir(path).is_err() {
                // The failure that came first says what to do.
            }
        }
        return Err(failure);
    }
    drop(uninterrupted);
    out.line("Wrote:");
    let path = |file: &files::File| {
        let path = args.folder.join(file.name);
        path.strip_prefix(".")
            .unwrap_or(&path)
            .display()
            .to_string()
    };
    let width = files.iter().map(|file| path(file).chars().count()).max();
    let width = width.unwrap_or_default();
    for file in &files {
        out.line(&format!("  {:<width$}  {}", path(file), file.what));
    }
    out.line("");
    out.line("Next:");
    for (index, step) in plan.next_steps(&args.folder).iter().enumerate() {
        out.prose_under(&format!("  {}. {step}", index.saturating_add(1)), HANG);
    }
    Ok(())
}

fn plan(args: &Args, out: &mut Terminal) -> Result<FilePlan, Failure> {
    // clap drops `requires` where the required option conflicts with one that was given.
    if args.ci_ca.is_some() && args.from_token.is_none() {
        return Err(Failure::Usage(
            "`--ci-ca` needs `--from-token`: it is the CA of the issuer that the token names"
                .to_owned(),
        ));
    }
    let database = args.postgres.as_deref().map(Database::parse).transpose()?;
    let mut asker = Asker::new(out);
    let issuer = match &args.issuer {
        Some(issuer) => broker_url(issuer)?,
        None => asker.ask(
            "--issuer",
            "The https URL by which jobs will reach the broker",
            "",
            broker_url,
        )?,
    };
    let job = match &args.from_token {
        Some(path) => job_of_token(path, args.ci_ca.as_deref(), asker.out)?,
        None => job(args, &mut asker)?,
    };
    Ok(FilePlan {
        issuer,
        job,
        database,
    })
}

/// Checks the broker's URL: https, or a port of this machine.
fn broker_url(text: &str) -> Result<String, Failure> {
    let problem = if text.starts_with("http://") && !is_local_url(text) {
        Some(("", ""))
    } else {
        issuer_problem(text)
    };
    let Some((problem, _)) = problem else {
        return Ok(text.to_owned());
    };
    let has_scheme = text.starts_with("http://") || text.starts_with("https://");
    let detail = if problem.is_empty() || !has_scheme {
        String::new()
    } else {
        format!("; it {problem}")
    };
    Err(Failure::Usage(format!(
        "`--issuer` is `{}`, expected `https://…` or `http://127.0.0.1:PORT`{detail}",
        escape(text)
    )))
}

/// Whether it is a URL by which jobs of this machine reach a broker without a proxy. A name is not
/// enough: the broker listens at the address in it.
fn is_local_url(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else {
        return false;
    };
    let is_loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(_)) | None => false,
    };
    is_loopback && url.port().is_some_and(|port| port != 0)
}

fn job_of_token(path: &Path, ca: Option<&Path>, out: &mut Terminal) -> Result<Job, Failure> {
    let facts = JobFile::Token(path).facts_by_claims(out)?;
    let ca = ca.map(read_ca).transpose()?;
    let job = Job::of_facts(&facts, ca)?;
    if is_of_dev(facts.issuer_url()) {
        out.error_report(
            "The token is of `hallpass dev`; the policies trust the issuer that its CI represents. Try them with `hallpass dev --settings FILE`.",
        );
    }
    Ok(job)
}

fn read_ca(path: &Path) -> Result<String, Failure> {
    let name = escape(&path.to_string_lossy());
    let bytes = read_input(path, MAX_CA, PATIENCE)?;
    let text = String::from_utf8(bytes).unwrap_or_default();
    if text.contains("-----BEGIN CERTIFICATE-----") && !text.contains("PRIVATE KEY") {
        return Ok(text);
    }
    Err(Failure::Usage(format!(
        "`--ci-ca` is `{name}`, expected a PEM file that holds certificates and nothing else"
    )))
}

fn job(args: &Args, asker: &mut Asker<'_>) -> Result<Job, Failure> {
    let given = match (&args.github, &args.gitlab) {
        (Some(repository), _) => Some((Ci::GitHub, repository)),
        (None, Some(project)) => Some((Ci::GitLab, project)),
        (None, None) => None,
    };
    let names = match given {
        Some((ci, repository)) => JobNames::new(ci, repository)?,
        None => asker.ask(
            "--github` or `--gitlab",
            "The repository, as github:OWNER/REPOSITORY or gitlab:GROUP/PROJECT",
            "",
            JobNames::of_answer,
        )?,
    };
    let mut id = |given: &Option<String>, flag: &str, question: &str| match given {
        Some(id) => names.id(flag, id),
        None => asker.ask(flag, question, &names.how_to_get(), |answer| {
            names.id(flag, answer)
        }),
    };
    let owner_id = id(&args.owner_id, "--owner-id", "The ID of its owner")?;
    let repository_id = id(
        &args.repository_id,
        "--repository-id",
        "The ID of the repository",
    )?;
    Ok(Job::new(names, owner_id, repository_id))
}

/// Asks on a terminal; elsewhere, what is missing is an error.
struct Asker<'a> {
    out: &'a mut Terminal,
    is_interactive: bool,
}

impl<'a> Asker<'a> {
    fn new(out: &'a mut Terminal) -> Self {
        Self {
            out,
            is_interactive: io::stdin().is_terminal() && io::stderr().is_terminal(),
        }
    }

    /// Asks until `read` accepts the answer, or there is none.
    fn ask<T>(
        &mut self,
        flag: &str,
        question: &str,
        hint: &str,
        read: impl Fn(&str) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let hint = if hint.is_empty() {
            String::new()
        } else {
            format!("; {hint}")
        };
        if !self.is_interactive {
            return Err(Failure::Usage(format!("`{flag}` is missing{hint}")));
        }
        loop {
            self.out.error_report(&format!("{question}{hint}:"));
            let mut line = String::new();
            match io::stdin().lock().read_line(&mut line) {
                Ok(0) => {
                    return Err(Failure::Usage(format!(
                        "no answer; nothing was written; `{flag}` gives it"
                    )));
                }
                Ok(_) => {}
                Err(error) => {
                    return Err(Failure::Local(format!(
                        "the answer cannot be read: {error}"
                    )));
                }
            }
            match read(line.trim()) {
                Ok(answer) => return Ok(answer),
                Err(problem) => self.out.error_report(&problem.to_string()),
            }
        }
    }
}

/// What the readers of settings and policies say of the texts, before one of them is written.
fn check_texts(files: &[files::File], folder: &Path) -> Result<PolicySet, Failure> {
    let text = |name: &str| {
        let file = files.iter().find(|file| file.name == name);
        file.map_or("", |file| file.text.expose())
    };
    let wrong = |problems: &crate::yaml::Diagnostics| {
        Failure::Usage(format!(
            "what was given cannot be used:\n{}",
            problems.render(false)
        ))
    };
    let settings = text(files::SETTINGS).to_owned();
    Settings::parse(files::SETTINGS, settings, folder, &|_| None)
        .map_err(|problems| wrong(&problems))?;
    let named = [files::ROOT, files::POLICY, files::CI_CA];
    let named = named
        .into_iter()
        .filter(|name| files.iter().any(|file| file.name == *name));
    let policies: Vec<_> = named
        .map(|name| (name.trim_start_matches("policies/"), text(name)))
        .collect();
    let loaded = PolicySet::from_texts(&policies).and_then(crate::policy::Loaded::servable);
    loaded
        .map(|(set, _)| set)
        .map_err(|problems| wrong(&problems))
}

/// The folder is printed in commands to copy, and its own sub-folders must not lead elsewhere.
fn check_folder(folder: &Path) -> Result<(), Failure> {
    let name = folder.to_string_lossy();
    let is_plain = |letter: char| letter.is_alphanumeric() || "/._-+@=,".contains(letter);
    if !name.chars().all(is_plain) || name.starts_with('-') {
        return Err(Failure::Usage(format!(
            "the folder is `{}`, expected letters, digits and any of /._-+@=,",
            escape(&name)
        )));
    }
    for inner in ["policies", "secrets"] {
        let path = folder.join(inner);
        let is_link = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink());
        if is_link {
            return Err(Failure::Local(format!(
                "`{}` is a link, and files would be written where it leads; remove it, or choose another folder",
                escape(&path.to_string_lossy())
            )));
        }
    }
    Ok(())
}

/// Holds back the signals that end a process until it is dropped.
struct HeldSignals(SigSet);

fn hold_signals() -> HeldSignals {
    let ending = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
    let set: SigSet = ending.into_iter().collect();
    if set.thread_block().is_err() {
        // Only a bad set of signals is refused, and this one is good.
    }
    HeldSignals(set)
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        if self.0.thread_unblock().is_err() {
            // As above.
        }
    }
}

/// Writes each file whole, and notes what was made.
fn write(files: &[files::File], folder: &Path, written: &mut Vec<PathBuf>) -> Result<(), Failure> {
    for file in files {
        let path = folder.join(file.name);
        let problem = |path: &Path, error: &io::Error| {
            let path = path.to_string_lossy();
            Failure::Local(format!(
                "`{}` cannot be written: {error}; nothing was kept",
                escape(&path)
            ))
        };
        for parent in missing_parents(&path) {
            let mut builder = fs::DirBuilder::new();
            let mode = if file.is_secret { 0o700 } else { 0o755 };
            let created = builder.mode(mode).create(&parent);
            created.map_err(|error| problem(&parent, &error))?;
            written.push(parent);
        }
        let mode = if file.is_secret { 0o600 } else { 0o644 };
        match write_private_new(&path, file.text.expose().as_bytes(), mode) {
            Ok(true) => written.push(path),
            Ok(false) => return Err(problem(&path, &io::ErrorKind::AlreadyExists.into())),
            Err(error) => return Err(problem(&path, &error)),
        }
    }
    Ok(())
}

/// The folders to make first, the outermost first.
fn missing_parents(path: &Path) -> Vec<PathBuf> {
    let parents = path.ancestors().skip(1);
    let missing = parents.take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists());
    let mut missing: Vec<PathBuf> = missing.map(Path::to_path_buf).collect();
    missing.reverse();
    missing
}

/// As `serve --check` does.
fn check(folder: &Path) -> Result<(), Failure> {
    let settings = Settings::load(&folder.join(files::SETTINGS));
    let settings = settings.map_err(|error| Failure::Local(error.to_string()))?;
    broker::check(&settings)
        .map(|_| ())
        .map_err(|error| Failure::Local(error.to_string()))
}

/// The most that is read of a CA file, in bytes.
const MAX_CA: u64 = 64 * 1_024;
/// For a pipe whose writer does not end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Columns before the text of a step.
const HANG: usize = 5;
