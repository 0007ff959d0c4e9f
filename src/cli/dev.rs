//! `hallpass dev`: the demo's servers, kept running; job tokens for them; an issuer for `serve`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use serde_json::Value;

use super::demo::{Stop, start};
use super::serve::{LEVELS, start_logging};
use super::{Failure, Terminal};
use crate::clock::{Clock as _, SystemClock};
use crate::dev::issuer::{Issuer, OfFolder, sample_issuer};
use crate::dev::stage::{Source, Stage};
use crate::dev::state::{Ci, FILE, State};
use crate::http::install_panic_hook;
use crate::provider;
use crate::text::escape;

mod job;

use job::JobArgs;

/// Runs the demo's servers for experiments, until Ctrl-C
///
/// With `--settings` it runs your own policies, with a CI for each issuer and a PostgreSQL for each
/// target in place of the real ones. Edits of the policies are picked up while it runs. Of the settings it
/// uses targets, algorithms and `disclose`; no key, password, address or audit file is used or read. It
/// listens on 127.0.0.1, and trusts its own CIs only: it cannot serve real jobs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example, in two terminals:
  hallpass dev
  HALLPASS_ID_TOKEN=$(hallpass dev token --environment production) \\
    hallpass get shop-db/migrate --broker http://127.0.0.1:PORT

With your own policies:
  hallpass dev --settings hallpass.yaml --policies policies")]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    /// Your settings file, whose policies and targets are used in place of the demo's
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Your folder of policies; default: the one that the settings name
    #[arg(long, value_name = "DIR", requires = "settings")]
    policies: Option<PathBuf>,
    /// Also print the broker's log, of this level and above, on standard error
    #[arg(long, value_name = "LEVEL", value_parser = LEVELS)]
    log: Option<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Token(TokenArgs),
    Claims(ClaimsArgs),
    Issuer(IssuerArgs),
}

/// Prints a job's ID token, signed by a running `hallpass dev` or by the issuer of a folder
///
/// Default: a push to `main` of acme/shop without an environment; for CIs other than GitHub and GitLab, the
/// sample job.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hallpass dev token --provider github --repository acme/shop \\
    --ref refs/heads/main --environment production
  hallpass dev token --folder ci")]
struct TokenArgs {
    #[command(flatten)]
    job: JobArgs,
    /// The token's audience; default: the broker
    #[arg(long, value_name = "URL")]
    audience: Option<String>,
    /// The issuer that signs, by its name in the policies, if several sign for the provider
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// The folder of the running servers, if several are running, or of `hallpass dev issuer`
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

/// Prints the claims of a job's ID token, for `hallpass policy explain --claims`
///
/// Nothing has to run, and nothing is signed.
///
/// Default: a push to `main` of acme/shop without an environment; for CIs other than GitHub and GitLab, the
/// sample job.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  hallpass dev claims --environment production |
    hallpass policy explain --claims - shop-db/migrate")]
struct ClaimsArgs {
    #[command(flatten)]
    job: JobArgs,
    /// The token's issuer; default: github.com's or gitlab.com's
    #[arg(long, value_name = "URL")]
    issuer_url: Option<String>,
    /// The token's audience
    #[arg(long, value_name = "URL", default_value = "https://hallpass.example")]
    audience: String,
}

/// Runs a CI issuer of your own on this machine, for trying `hallpass serve`, until Ctrl-C
///
/// It serves its discovery document and its keys over TLS, on a loopback address only. The keys are in
/// its folder, made at the first start: a user who can read the folder can sign a token for any job. To
/// trust it, `serve` needs policies with its URL, its CA and the loopback network, as `hallpass init
/// --from-token FILE --ci-ca FOLDER/ca.pem` writes them. Do not trust it in production.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  hallpass dev issuer --folder ci &
  hallpass dev token --folder ci > job.jwt")]
struct IssuerArgs {
    /// The folder of its keys
    #[arg(long, value_name = "FOLDER")]
    folder: PathBuf,
    /// A host name that resolves to a loopback address; default: one that this machine has
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Its port; default at the first start: 9443
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// The broker's URL, the audience of tokens unless `dev token` names another
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    broker: String,
}

/// Runs the command.
///
/// # Errors
/// Something could not be started, or no servers are running (exit code 5).
pub fn run(args: Args, out: &mut Terminal) -> Result<(), Failure> {
    match args.command {
        Some(Command::Token(args)) => token(&args, out),
        Some(Command::Claims(args)) => claims(&args, out),
        Some(Command::Issuer(args)) => super::runtime()?.block_on(issuer(&args, out)),
        None => {
            let source = match &args.settings {
                Some(settings) => Source::Own {
                    settings,
                    policies: args.policies.as_deref(),
                },
                None => Source::Demo,
            };
            // What is wrong with an edit of one's own policies is in the log alone.
            let usual = args.settings.is_some().then_some("warn");
            if let Some(level) = args.log.as_deref().or(usual) {
                start_logging(level);
                install_panic_hook();
            }
            super::runtime()?.block_on(keep(source, out))
        }
    }
}

async fn keep(source: Source<'_>, out: &mut Terminal) -> Result<(), Failure> {
    let mut stop = Stop::new()?;
    let stage = start(source, &mut stop, out).await?;
    introduce(&stage, source, out)?;
    tokio::select! {
        () = stop.asked() => {}
        () = watch(&stage, out) => {}
    }
    out.line("");
    stage.stop().await;
    out.line("Everything is stopped, and its temporary files are removed.");
    Ok(())
}

/// Reports that a broken edit is repaired. The log has what was wrong with it.
async fn watch(stage: &Stage, out: &mut Terminal) {
    let mut was_broken = false;
    loop {
        tokio::time::sleep(WATCH).await;
        let is_broken = stage.reload_problems() > 0;
        if was_broken && !is_broken {
            out.error_report("The policies load again.");
        }
        was_broken = is_broken;
    }
}

/// Says what can be done with a running stage, and lets `hallpass dev token` sign for it.
pub(super) fn introduce(
    stage: &Stage,
    source: Source<'_>,
    out: &mut Terminal,
) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::Local(format!("`dev token` cannot be prepared: {error}"))
    };
    let mut issuers = BTreeMap::new();
    for (name, provider, issuer) in stage.issuers() {
        let ci = Ci::of(issuer, Some(provider)).map_err(|error| failed(&error))?;
        issuers.insert(name.to_owned(), ci);
    }
    let running = State {
        broker: stage.url.clone(),
        issuers,
        tls: None,
    };
    let written = running.write(stage.folder());
    written.map_err(|error| failed(&error))?;
    out.line("");
    out.line("In another terminal:");
    match source {
        Source::Demo => {
            let token = "$(hallpass dev token --environment production)";
            out.line(&format!("  export HALLPASS_ID_TOKEN={token}"));
            out.line(&format!("  export HALLPASS_BROKER={}", stage.url));
            out.line("  hallpass doctor");
            out.line("  hallpass list");
            out.line("  hallpass exec shop-db/migrate -- psql -c 'select current_user'");
        }
        Source::Own { .. } => {
            let token =
                "$(hallpass dev token --repository OWNER/NAME --repository-id ID --owner-id ID)";
            out.line(&format!("  export HALLPASS_ID_TOKEN={token}"));
            out.line(&format!("  export HALLPASS_BROKER={}", stage.url));
            out.line("  hallpass list");
            for (name, database) in stage.databases() {
                let folder = stage.folder().display();
                out.line(&format!(
                    "  PGPASSWORD=$(cat {folder}/{name}.password) psql -h 127.0.0.1 -p {} -U postgres",
                    database.port()
                ));
            }
            if stage.databases().next().is_some() {
                out.prose("The groups of your policies exist in the databases, without rights: grant them what jobs need, as the user `postgres`.");
            }
        }
    }
    out.prose("Edits of the policies are picked up within a second or two. A new issuer, target or group needs a new start.");
    out.prose(
        "Each token can be exchanged once per credential; make a new token for the next login.",
    );
    out.line("");
    out.line("Ctrl-C stops everything.");
    Ok(())
}

fn token(args: &TokenArgs, out: &mut Terminal) -> Result<(), Failure> {
    let running = find(args.folder.as_deref())?;
    let audience = args.audience.as_deref().unwrap_or(&running.broker);
    let ci = args.signer(&running)?;
    let claims = args.job.claims(&ci.url, audience)?;
    let signed = ci.signing_key().and_then(|key| key.sign(&claims.into()));
    let signed = signed.map_err(|error| {
        Failure::Local(format!(
            "the state of `hallpass dev` cannot be used: {error}"
        ))
    })?;
    out.verbatim(&signed);
    Ok(())
}

fn claims(args: &ClaimsArgs, out: &mut Terminal) -> Result<(), Failure> {
    let provider = provider::find(&args.job.provider);
    let usual = provider.and_then(|provider| {
        let usual = provider.usual_issuer.map(str::to_owned);
        usual.or_else(|| sample_issuer(provider))
    });
    let issuer = args.issuer_url.clone().or(usual).unwrap_or_default();
    let claims = Value::Object(args.job.claims(&issuer, &args.audience)?);
    out.json(&format!("{claims:#}"));
    Ok(())
}

async fn issuer(args: &IssuerArgs, out: &mut Terminal) -> Result<(), Failure> {
    let mut stop = Stop::new()?;
    let folder = args.folder.display();
    let wanted = OfFolder {
        folder: &args.folder,
        host: args.host.as_deref(),
        port: args.port,
        broker: &args.broker,
    };
    let issuer = Issuer::of_folder(&wanted).await.map_err(Failure::local)?;
    out.line(&format!("The issuer {} is running.", issuer.url()));
    out.prose(&format!(
        "Whoever can read `{folder}` can sign a token for any job. Trust it on this machine only."
    ));
    out.line("");
    out.line("In another terminal:");
    out.line(&format!("  hallpass dev token --folder {folder} > job.jwt"));
    out.line(&format!(
        "  hallpass init broker --issuer {} --from-token job.jwt --ci-ca {folder}/ca.pem",
        args.broker
    ));
    out.line("");
    out.line("Ctrl-C stops it.");
    stop.asked().await;
    Ok(())
}

impl TokenArgs {
    /// The issuer that `--issuer` names, or the only one that signs for the provider.
    fn signer<'a>(&self, running: &'a State) -> Result<&'a Ci, Failure> {
        let provider = self.job.provider.as_str();
        let fits = |ci: &Ci| ci.provider.as_deref().is_none_or(|of| of == provider);
        let fitting: Vec<_> = running.issuers.iter().filter(|(_, ci)| fits(ci)).collect();
        let names: Vec<_> = fitting
            .iter()
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        let found = |wanted: &String| fitting.iter().find(|(name, _)| *name == wanted);
        match (&self.issuer, fitting.as_slice()) {
            (Some(wanted), _) => found(wanted).map(|(_, ci)| *ci).ok_or_else(|| {
                Failure::Usage(format!(
                    "there is no issuer `{}` of provider `{provider}`; found {}",
                    escape(wanted),
                    if names.is_empty() {
                        "none".to_owned()
                    } else {
                        names.join(", ")
                    }
                ))
            }),
            (None, [(_, ci)]) => Ok(ci),
            (None, []) => Err(Failure::Usage(format!(
                "the policies of the running `hallpass dev` have no issuer of provider `{provider}`"
            ))),
            (None, _) => Err(Failure::Usage(format!(
                "several issuers have provider `{provider}`; choose one with `--issuer`: {}",
                names.join(", ")
            ))),
        }
    }
}

fn find(folder: Option<&Path>) -> Result<State, Failure> {
    let (folder, patience) = match folder {
        Some(folder) => (folder.to_owned(), STARTING),
        None => (only_folder()?, Duration::ZERO),
    };
    let clock = SystemClock::new();
    loop {
        let missing = match State::read(&folder) {
            Ok(state) => return Ok(state),
            Err(error) => error,
        };
        let is_starting = missing.kind() == io::ErrorKind::NotFound;
        if !is_starting || clock.monotonic() >= patience {
            return Err(Failure::Local(format!(
                "`{}` cannot be read: {missing}; is `hallpass dev` running?",
                folder.join(FILE).display()
            )));
        }
        std::thread::sleep(POLL);
    }
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
            && path.join(FILE).is_file()
            && fs::symlink_metadata(path).is_ok_and(|folder| folder.uid() == ours)
    };
    let entries = fs::read_dir(std::env::temp_dir());
    let paths = entries.into_iter().flatten().flatten();
    paths.map(|entry| entry.path()).filter(is_stage).collect()
}

/// The issuer of the policies in whose place a running `hallpass dev` has put the CI at this URL.
pub(super) fn issuer_at(url: &str) -> Option<String> {
    let running = folders();
    let mut running = running.iter().filter_map(|folder| State::read(folder).ok());
    running.find_map(|running| {
        let mut issuers = running.issuers.into_iter();
        issuers.find(|(_, ci)| ci.url == url).map(|(name, _)| name)
    })
}

/// How long an issuer that was just started may take until its folder is complete.
const STARTING: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);
/// Between two looks at the reload, which is done once a second.
const WATCH: Duration = Duration::from_millis(500);
