//! `hallpass exec`: runs a command with credentials and revokes them when it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;

use self::child::Child;
use self::signals::Signals;
use super::broker::{BrokerArgs, block_on, failure_of_exchange, mask, quoted, warn_of_rivals};
use super::get::database_ca;
use super::inputs::InputArgs;
use super::{Failure, Terminal};
use crate::client::format::{Prefix, Variable, rivals, variables};
use crate::client::source::SOURCES;
use crate::client::ssh::Agent;
use crate::client::ssh::agent::{self, Reports};
use crate::client::{Ask, Client, ClientError, Environment, Sharing};
use crate::secret::Secret;
use crate::wire::{LeaseState, Offer};
use crate::yaml::duration;

mod child;
mod program;
mod signals;

/// Runs a command with credentials in its environment, and revokes them when it ends
///
/// Only the command gets them: `PG*` and `DATABASE_URL` for a database, `HALLPASS_TOKEN` for a signed
/// token, `SSH_AUTH_SOCK` for an SSH certificate. A PREFIX adds PREFIX_ to each name. `exec` forwards
/// signals and exits with the command's exit code, or with 128 plus the signal number. Credentials are
/// not renewed while the command runs: state its duration with --at-least.
///
/// libpq variables set for another server, such as PGSERVICE and PGHOSTADDR, would override the
/// login's. `exec` removes them from the command's environment; with a PREFIX it keeps them and prints a
/// warning. On GitHub the runner masks the secrets in the job's log, but not in files, artifacts or
/// caches.
///
/// `exec` removes the job's identity (`ACTIONS_ID_TOKEN_REQUEST_*`, `HALLPASS_ID_TOKEN*`) from the
/// command's environment, so that a leaked environment cannot be exchanged for more credentials. This is
/// not a sandbox: a process that can read the job's other processes still finds it. Use --keep-identity
/// for commands that need it, such as cosign.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hallpass exec shop-db/migrate -- ./migrate.sh
  hallpass exec SHOP=shop-db/read AUDIT=audit-db/read --at-least 45m -- \\
    ./report.sh
  hallpass exec deploy-host -- ssh deploy@web1.acme.dev")]
pub struct Args {
    /// Credentials, as [PREFIX=]CREDENTIAL; with more than one, each needs a prefix
    #[arg(value_name = "CREDENTIAL", required = true, value_parser = wanted)]
    credentials: Vec<Wanted>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    /// Fail before the command starts if a credential's lifetime is shorter than this
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    at_least: Option<Duration>,
    /// Do not revoke at the end; a later step that sends the same request gets the same login
    #[arg(long)]
    keep: bool,
    /// Leave the job's own identity in the command's environment
    #[arg(long)]
    keep_identity: bool,
    #[command(flatten)]
    inputs: InputArgs,
    #[command(flatten)]
    broker: BrokerArgs,
}

#[derive(Clone, Debug)]
struct Wanted {
    prefix: Option<Prefix>,
    credential: String,
}

fn wanted(text: &str) -> Result<Wanted, String> {
    let (prefix, credential) = match text.split_once('=') {
        Some((prefix, credential)) => (Some(Prefix::parse(prefix)?), credential),
        None => (None, text),
    };
    Ask::new(credential).map_err(|error| error.to_string())?;
    Ok(Wanted {
        prefix,
        credential: credential.to_owned(),
    })
}

/// Runs the command.
///
/// # Errors
/// The command's own exit code, or why it was not started.
pub fn run(args: &Args, out: &mut Terminal) -> Result<(), Failure> {
    let environment = Environment::of_this_process();
    check_prefixes(&args.credentials)?;
    let program = find_program(&args.command, &environment, out)?;
    // From here on no signal ends us before what was handed out is revoked.
    let mut signals = Signals::catch()?;
    let client = args.broker.client(environment)?;
    block_on(exec(args, &program, &client, &mut signals, out))
}

async fn exec(
    args: &Args,
    program: &Path,
    client: &Client,
    signals: &mut Signals,
    out: &mut Terminal,
) -> Result<(), Failure> {
    let mut leases = Vec::new();
    let (reports, mut reported) = mpsc::channel(MOST_REPORTS);
    let result = tokio::select! {
        result = fetch(args, client, &mut leases, &reports, out) => result,
        caught = signals.next() => Err(Failure::Child(caught.exit_code())),
    };
    let result = match result {
        Ok(changes) => match start(args, program, client, &changes, signals) {
            Ok(child) => Ok(follow(child, signals, &mut reported, out).await),
            Err(failure) => Err(failure),
        },
        Err(failure) => Err(failure),
    };
    if !args.keep {
        revoke(client, &leases, out).await;
    }
    match result? {
        0 => Ok(()),
        code => Err(Failure::Child(code)),
    }
}

/// What the command's environment has otherwise than ours, and what it leads to.
#[derive(Debug, Default)]
struct Changes {
    set: Vec<Variable>,
    removed: Vec<&'static str>,
    /// They end with the command.
    agents: Vec<Agent>,
}

impl Changes {
    /// What is served takes the place of what the job has of that sort, such as its own agent.
    fn serve(&mut self, agent: Agent, prefix: Option<&Prefix>) {
        self.removed.extend(agent::VARIABLES);
        let path = Secret::new(agent.path().to_string_lossy().into_owned());
        self.set
            .push(Variable::new(agent::SOCKET_VARIABLE, prefix, path));
        self.agents.push(agent);
    }
}

async fn fetch(
    args: &Args,
    client: &Client,
    leases: &mut Vec<Secret<String>>,
    reports: &Reports,
    out: &mut Terminal,
) -> Result<Changes, Failure> {
    let sharing = if args.keep {
        Sharing::Job
    } else {
        Sharing::None
    };
    let mut changes = Changes::default();
    let inputs = &args.inputs.read()?;
    if args.at_least.is_some() {
        check_offers(args, client).await?;
    }
    for wanted in &args.credentials {
        let mut ask = Ask::new(&wanted.credential).map_err(Failure::usage)?;
        ask.inputs.clone_from(inputs);
        let obtained = client
            .obtain(&ask, sharing, None)
            .await
            .map_err(|error| failure_of_exchange(error, client))?;
        leases.extend(obtained.received.lease.clone());
        let (received, agent) = obtained
            .serve(client, reports.clone())
            .map_err(Failure::local)?;
        // The command may print what it was given.
        mask(client.environment(), &received, out)?;
        let left = received.expires_at.since(client.clock().now());
        check_life(args, &received.name, u64::try_from(left).unwrap_or(0))?;
        let ca = database_ca(client, &received, None)?;
        let (prefix, ca) = (wanted.prefix.as_ref(), ca.as_deref());
        if prefix.is_some() {
            warn_of_rivals(client.environment(), &received, ca, out);
        } else {
            changes.removed.extend(rivals(&received, ca));
        }
        changes.set.extend(variables(&received, prefix, ca));
        if let Some(agent) = agent {
            changes.serve(agent, prefix);
        }
    }
    Ok(changes)
}

/// Whether the job may have each credential for long enough, before its token is used for any.
async fn check_offers(args: &Args, client: &Client) -> Result<(), Failure> {
    let offers = match client.available().await {
        Ok(offers) => offers.credentials,
        // The answer to the request itself says more.
        Err(ClientError::Denied(_) | ClientError::Answer { .. }) => return Ok(()),
        Err(error) => return Err(failure_of_exchange(error, client)),
    };
    let is_wanted = |offer: &&Offer| {
        let mut wanted = args.credentials.iter();
        wanted.any(|wanted| wanted.credential == offer.credential)
    };
    let mut offers = offers.iter().filter(is_wanted);
    offers.try_for_each(|offer| check_life(args, &offer.credential, offer.ttl))
}

/// Checks that a lifetime of `seconds` covers `--at-least`.
fn check_life(args: &Args, credential: &str, seconds: u64) -> Result<(), Failure> {
    let life = Duration::from_secs(seconds);
    let Some(at_least) = args.at_least.filter(|at_least| life < *at_least) else {
        return Ok(());
    };
    Err(Failure::Denied(format!(
        "`{credential}` is granted for {}, but `--at-least` is {}; raise the grant's `ttl` and the credential's `max_ttl`",
        duration::print(life),
        duration::print(at_least)
    )))
}

/// Waits for the command to exit and forwards signals to it.
async fn follow(
    mut child: Child,
    signals: &mut Signals,
    reported: &mut mpsc::Receiver<String>,
    out: &mut Terminal,
) -> u8 {
    loop {
        tokio::select! {
            biased;
            Some(report) = reported.recv() => out.error(&format!("hallpass: {report}")),
            code = child.wait() => return code,
            caught = signals.next() => child.pass_on(caught),
        }
    }
}

/// Starts the file that was looked at, under the name that was given.
fn start(
    args: &Args,
    program: &Path,
    client: &Client,
    changes: &Changes,
    signals: &Signals,
) -> Result<Child, Failure> {
    let mut all: BTreeMap<&OsStr, &OsStr> = client.environment().all().collect();
    let identity = identity(client.environment());
    if !args.keep_identity {
        all.retain(|name, _| identity.iter().all(|theirs| *name != theirs.as_str()));
    }
    all.retain(|name, _| changes.removed.iter().all(|removed| *name != *removed));
    all.extend(changes.set.iter().map(|variable| {
        let value = OsStr::new(variable.value.expose());
        (OsStr::new(&variable.name), value)
    }));
    let all: Vec<_> = all
        .into_iter()
        .map(|(name, value)| child::variable(name, value))
        .collect();
    Child::start(program, &args.command, &all, signals.blocked_before()).map_err(|error| {
        let name = args.command.first().map(|name| name.to_string_lossy());
        Failure::Local(format!(
            "{} cannot be started: {error}",
            quoted(&name.unwrap_or_default())
        ))
    })
}

/// The variables of every CI that give access to a job's ID token.
fn identity(environment: &Environment) -> Vec<String> {
    SOURCES
        .iter()
        .flat_map(|source| source.variables(environment))
        .collect()
}

/// Two credentials without prefixes would overwrite each other's variables.
fn check_prefixes(credentials: &[Wanted]) -> Result<(), Failure> {
    let mut prefixes = BTreeSet::new();
    if credentials.iter().all(|one| prefixes.insert(&one.prefix)) {
        return Ok(());
    }
    Err(Failure::Usage(
        "several credentials need a prefix each, like `SHOP=shop-db/read AUDIT=audit-db/read`"
            .to_owned(),
    ))
}

/// Finds the program before any credential is requested.
fn find_program(
    command: &[OsString],
    environment: &Environment,
    out: &mut Terminal,
) -> Result<PathBuf, Failure> {
    let name = command.first().map(OsString::as_os_str).unwrap_or_default();
    program::find(name, environment.get_os("PATH")).map_err(|refused| {
        out.error(&format!("hallpass: {refused}; no credential was requested"));
        Failure::Child(refused.exit_code())
    })
}

async fn revoke(client: &Client, leases: &[Secret<String>], out: &mut Terminal) {
    for lease in leases {
        let said = match tokio::time::timeout(REVOKE_TIME, client.revoke(lease)).await {
            Ok(Ok(LeaseState::Gone | LeaseState::Closed)) => continue,
            Ok(Ok(LeaseState::Pending)) => {
                "revocation accepted; the broker is still ending the login".to_owned()
            }
            Ok(Err(error)) => {
                format!("cannot revoke a login, which stays valid until it expires: {error}")
            }
            Err(_) => "revoking a login timed out; it stays valid until it expires".to_owned(),
        };
        out.error(&format!("hallpass: {said}"));
    }
}

/// What is served reports each problem once, and has fewer of them.
const MOST_REPORTS: usize = 16;
const REVOKE_TIME: Duration = Duration::from_secs(10);
