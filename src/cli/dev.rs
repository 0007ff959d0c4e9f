//! `hallpass dev`: the demo's servers, kept running; `hallpass dev token` makes job tokens for them.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::demo::{Stop, start};
use super::serve::{LEVELS, start_logging};
use super::{Failure, Terminal};
use crate::client::write_private_new;
use crate::clock::{Clock as _, SystemClock};
use crate::dev::issuer::{GithubJob, GitlabJob, Issuer, SigningKey, github_claims, gitlab_claims};
use crate::dev::stage::Stage;
use crate::http::install_panic_hook;

/// Runs the demo's servers for experiments, until Ctrl-C
#[derive(Debug, clap::Args)]
#[command(after_help = "Example, in two terminals:
  hallpass dev
  HALLPASS_ID_TOKEN=$(hallpass dev token --environment production) \\
    hallpass get shop-db/migrate --broker http://127.0.0.1:PORT")]
pub struct Args {
    /// Also print the broker's log, of this level and above, on standard error
    #[arg(long, value_name = "LEVEL", value_parser = LEVELS)]
    log: Option<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Token(TokenArgs),
}

/// Prints a job's ID token, signed by the CI of a running `hallpass dev`
///
/// Without options it is a push to `main` of acme/shop, without an environment.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  hallpass dev token --provider github --repository acme/shop \\
    --ref refs/heads/main --environment production")]
struct TokenArgs {
    /// The CI provider to simulate
    #[arg(long, value_enum, default_value_t = Provider::Github)]
    provider: Provider,
    /// The repository, or the project on GitLab; acme/shop, or acme-group/reports on GitLab
    #[arg(long, value_name = "OWNER/NAME")]
    repository: Option<String>,
    /// The repository's ID; default: the one in the demo's policies
    #[arg(long, value_name = "ID")]
    repository_id: Option<String>,
    /// The owner's ID, or the namespace's on GitLab; default: the one in the demo's policies
    #[arg(long, value_name = "ID")]
    owner_id: Option<String>,
    /// The full git ref
    #[arg(long = "ref", value_name = "REF", default_value = "refs/heads/main")]
    r#ref: String,
    /// The ref is not protected
    #[arg(long)]
    unprotected: bool,
    /// The deployment environment
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// The event that started the run, in the provider's spelling
    #[arg(long, value_name = "EVENT", default_value = "push")]
    event: String,
    /// The token's audience; default: the broker
    #[arg(long, value_name = "URL")]
    audience: Option<String>,
    /// The folder of the running servers, if several are running
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Provider {
    /// GitHub Actions
    Github,
    /// GitLab CI
    Gitlab,
}

/// Runs the command.
///
/// # Errors
/// Something could not be started, or no servers are running (exit code 5).
pub fn run(args: Args, out: &mut Terminal) -> Result<(), Failure> {
    match args.command {
        Some(Command::Token(args)) => token(&args, out),
        None => {
            if let Some(level) = &args.log {
                start_logging(level);
                install_panic_hook();
            }
            super::runtime()?.block_on(keep(out))
        }
    }
}

async fn keep(out: &mut Terminal) -> Result<(), Failure> {
    let mut stop = Stop::new()?;
    let stage = start(&mut stop, out).await?;
    introduce(&stage, out)?;
    stop.asked().await;
    out.line("");
    stage.stop().await;
    out.line("Everything is stopped, and its temporary files are removed.");
    Ok(())
}

/// Says what can be done with a running stage, and lets `hallpass dev token` sign for it.
pub(super) fn introduce(stage: &Stage, out: &mut Terminal) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::Local(format!("`dev token` cannot be prepared: {error}"))
    };
    let ci = |issuer: &Issuer| -> Result<Ci, Failure> {
        let key = issuer.signing_key().map_err(|error| failed(&error))?;
        let pkcs8 = key.to_pkcs8().map_err(|error| failed(&error))?;
        Ok(Ci {
            url: issuer.url().to_owned(),
            kid: key.kid().to_owned(),
            key: BASE64.encode(pkcs8.expose()),
        })
    };
    let running = Running {
        broker: stage.url.clone(),
        github: ci(&stage.github)?,
        gitlab: ci(&stage.gitlab)?,
    };
    let text = serde_json::to_string(&running).map_err(|error| failed(&error))?;
    write_private_new(&stage.folder().join(STATE), text.as_bytes(), 0o600)
        .map_err(|error| failed(&error))?;
    out.line("");
    out.line("In another terminal:");
    out.line("  export HALLPASS_ID_TOKEN=$(hallpass dev token --environment production)");
    out.line(&format!("  export HALLPASS_BROKER={}", stage.url));
    out.line("  hallpass doctor");
    out.line("  hallpass list");
    out.line("  hallpass exec shop-db/migrate -- psql -c 'select current_user'");
    out.prose("A token is good for one login of each credential; for another, make a new token.");
    out.line("");
    out.line("Ctrl-C stops everything.");
    Ok(())
}

fn token(args: &TokenArgs, out: &mut Terminal) -> Result<(), Failure> {
    let running = find(args.folder.as_deref())?;
    let audience = args.audience.as_deref().unwrap_or(&running.broker);
    let (ci, claims) = match args.provider {
        Provider::Github => (&running.github, args.github(&running.github.url, audience)),
        Provider::Gitlab => (&running.gitlab, args.gitlab(&running.gitlab.url, audience)?),
    };
    let unreadable = |error: &dyn std::fmt::Display| {
        Failure::Local(format!(
            "the state of `hallpass dev` cannot be used: {error}"
        ))
    };
    let key = BASE64
        .decode(ci.key.as_bytes())
        .map_err(|error| unreadable(&error))?;
    let key = SigningKey::from_pkcs8(&ci.kid, &key).map_err(|error| unreadable(&error))?;
    out.verbatim(&key.sign(&claims).map_err(|error| unreadable(&error))?);
    Ok(())
}

impl TokenArgs {
    fn github(&self, issuer: &str, audience: &str) -> Value {
        let mut job = GithubJob::new(issuer, audience, SystemClock::new().now());
        job.repository = or(self.repository.as_deref(), "acme/shop");
        job.repository_id = or(self.repository_id.as_deref(), "702114500");
        job.owner_id = or(self.owner_id.as_deref(), "65923871");
        self.r#ref.clone_into(&mut job.r#ref);
        job.ref_protected = !self.unprotected;
        job.environment.clone_from(&self.environment);
        self.event.clone_into(&mut job.event);
        github_claims(&job)
    }

    fn gitlab(&self, issuer: &str, audience: &str) -> Result<Value, Failure> {
        let mut job = GitlabJob::new(issuer, audience, SystemClock::new().now());
        job.project = or(self.repository.as_deref(), "acme-group/reports");
        job.project_id = or(self.repository_id.as_deref(), "61840277");
        job.namespace_id = or(self.owner_id.as_deref(), "9133570");
        let branch = self.r#ref.strip_prefix("refs/heads/");
        let tag = || self.r#ref.strip_prefix("refs/tags/");
        let named = branch.map(|name| ("branch", name));
        let named = named.or_else(|| Some(("tag", tag()?)));
        let (ref_type, name) = named.ok_or_else(|| {
            Failure::Usage(format!(
                "--ref is `{}`, expected refs/heads/… or refs/tags/…",
                crate::text::escape(&self.r#ref)
            ))
        })?;
        ref_type.clone_into(&mut job.ref_type);
        name.clone_into(&mut job.r#ref);
        job.ref_protected = !self.unprotected;
        job.environment.clone_from(&self.environment);
        self.event.clone_into(&mut job.source);
        Ok(gitlab_claims(&job))
    }
}

fn or(given: Option<&str>, usual: &str) -> String {
    given.unwrap_or(usual).to_owned()
}

/// What `hallpass dev` leaves in its folder, readable by its user alone, while it runs.
#[derive(Deserialize, Serialize)]
struct Running {
    broker: String,
    github: Ci,
    gitlab: Ci,
}

#[derive(Deserialize, Serialize)]
struct Ci {
    url: String,
    kid: String,
    key: String,
}

fn find(folder: Option<&Path>) -> Result<Running, Failure> {
    let folder = match folder {
        Some(folder) => folder.to_owned(),
        None => only_folder()?,
    };
    let file = folder.join(STATE);
    let text = fs::read_to_string(&file).map_err(|error| {
        Failure::Local(format!(
            "`{}` cannot be read: {error}; is `hallpass dev` running?",
            file.display()
        ))
    })?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::Local(format!("`{}` is damaged: {error}", file.display())))
}

/// The folder of the one stage that this user runs.
fn only_folder() -> Result<PathBuf, Failure> {
    let folders = folders();
    match folders.as_slice() {
        [folder] => Ok(folder.clone()),
        [] => Err(Failure::Local(
            "nothing is running to make a token for; start `hallpass dev` in another terminal"
                .to_owned(),
        )),
        _ => {
            let names = folders.iter().map(|folder| folder.display().to_string());
            let names: Vec<String> = names.collect();
            Err(Failure::Usage(format!(
                "several are running; choose one with --folder: {}",
                names.join(", ")
            )))
        }
    }
}

/// The folders of every stage that this user runs.
fn folders() -> Vec<PathBuf> {
    let ours = nix::unistd::geteuid().as_raw();
    let is_stage = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("hallpass-demo-")
            && path.join(STATE).is_file()
            && fs::symlink_metadata(path).is_ok_and(|folder| folder.uid() == ours)
    };
    let entries = fs::read_dir(std::env::temp_dir());
    let paths = entries.into_iter().flatten().flatten();
    paths.map(|entry| entry.path()).filter(is_stage).collect()
}

/// The issuer of the policies in whose place a running `hallpass dev` has put the CI at this URL.
pub(super) fn issuer_at(url: &str) -> Option<&'static str> {
    let running = folders();
    let mut running = running.iter().filter_map(|folder| find(Some(folder)).ok());
    running.find_map(|running| {
        let cis = [("github", running.github), ("gitlab", running.gitlab)];
        let mut names = cis.into_iter().filter(|(_, ci)| ci.url == url);
        names.next().map(|(name, _)| name)
    })
}

const STATE: &str = "dev.json";
