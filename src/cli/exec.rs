//! `hallpass exec`: a command with credentials that only it can see, and that end with it.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{Signal as UnixSignal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::broker::{BrokerArgs, block_on, failure_of_exchange, mask, quoted};
use super::get::database_ca;
use super::{Failure, Terminal};
use crate::client::format::{Prefix, Variable, variables};
use crate::client::source::SOURCES;
use crate::client::{Ask, Client, Environment, Received, Revocation, Sharing};
use crate::policy::duration;
use crate::secret::Secret;

/// Runs a command with credentials in its environment, and revokes them when it ends
///
/// Only the command sees them: `PG*` and `DATABASE_URL` for a database, `HALLPASS_TOKEN` for a signed
/// token, each with PREFIX_ before it where a prefix is given. Signals are passed on; the exit code
/// is the command's own, or 128 and the signal's number. A credential is not renewed while the command
/// runs: say with --at-least how long it takes.
///
/// What the job itself is known by (`ACTIONS_ID_TOKEN_REQUEST_*`, `HALLPASS_ID_TOKEN` and its like) is
/// taken out of the command's environment, so that a dump of it cannot be turned into more
/// credentials. It is no wall: who can read other processes of the job finds it there. Commands that
/// need it, such as cosign, get it with --keep-identity.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hallpass exec shop-db/migrate -- ./migrate.sh
  hallpass exec SHOP=shop-db/read AUDIT=audit-db/read --at-least 45m -- ./report.sh")]
pub struct Args {
    /// Which, as [PREFIX=]CREDENTIAL: several need a prefix each
    #[arg(value_name = "CREDENTIAL", required = true, value_parser = wanted)]
    credentials: Vec<Wanted>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    /// Fail before the start if a credential lives shorter than this
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    at_least: Option<Duration>,
    /// Do not revoke at the end: a later step that asks for the same gets the same login
    #[arg(long)]
    keep: bool,
    /// Leave the job's own identity in the command's environment
    #[arg(long)]
    keep_identity: bool,
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
    find_program(&args.command, &environment, out)?;
    let client = args.broker.client(environment)?;
    block_on(exec(args, &client, out))
}

async fn exec(args: &Args, client: &Client, out: &mut Terminal) -> Result<(), Failure> {
    // From here on no signal ends us before what was handed out is revoked.
    let mut signals = Signals::new()?;
    let mut leases = Vec::new();
    let result = tokio::select! {
        result = fetch(args, client, &mut leases, out) => result,
        caught = signals.next() => Err(Failure::Child(exit_code_of(caught))),
    };
    let result = match result {
        Ok(variables) => run_child(args, client, variables, &mut signals).await,
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

async fn fetch(
    args: &Args,
    client: &Client,
    leases: &mut Vec<Secret<String>>,
    out: &mut Terminal,
) -> Result<Vec<Variable>, Failure> {
    let sharing = if args.keep {
        Sharing::Job
    } else {
        Sharing::Nobody
    };
    let mut all = Vec::new();
    for wanted in &args.credentials {
        let ask =
            Ask::new(&wanted.credential).map_err(|error| Failure::Usage(error.to_string()))?;
        let received = client
            .get(&ask, sharing)
            .await
            .map_err(|error| failure_of_exchange(error, client))?;
        leases.extend(received.lease.clone());
        // The command may print what it was given.
        mask(client.environment(), &received, out)?;
        check_life(args.at_least, client, &received)?;
        let ca = database_ca(client, &received, None)?;
        all.extend(variables(&received, wanted.prefix.as_ref(), ca.as_deref()));
    }
    Ok(all)
}

fn check_life(
    at_least: Option<Duration>,
    client: &Client,
    received: &Received,
) -> Result<(), Failure> {
    let Some(at_least) = at_least else {
        return Ok(());
    };
    let left = received.expires_at.since(client.clock().now());
    let left = Duration::from_secs(u64::try_from(left).unwrap_or(0));
    if left >= at_least {
        return Ok(());
    }
    Err(Failure::Denied(format!(
        "`{}` lives {}, the command needs {}; a policy would have to grant more (`ttl`, `max_ttl`)",
        received.name,
        duration::print(left),
        duration::print(at_least)
    )))
}

async fn run_child(
    args: &Args,
    client: &Client,
    variables: Vec<Variable>,
    signals: &mut Signals,
) -> Result<u8, Failure> {
    let mut child = spawn(args, client, variables)?;
    loop {
        tokio::select! {
            status = child.wait() => {
                let status = status.map_err(|error| Failure::Local(format!("the command's end was not seen: {error}")))?;
                return Ok(exit_code(status));
            }
            caught = signals.next() => pass_on(&child, caught),
        }
    }
}

fn spawn(args: &Args, client: &Client, variables: Vec<Variable>) -> Result<Child, Failure> {
    let (program, arguments) = args
        .command
        .split_first()
        .ok_or_else(|| Failure::Usage("which command?".to_owned()))?;
    let mut command = Command::new(program);
    command.args(arguments);
    if !args.keep_identity {
        for name in identity(client.environment()) {
            command.env_remove(name);
        }
    }
    for variable in variables {
        command.env(variable.name, variable.value.expose());
    }
    command.spawn().map_err(|error| {
        Failure::Local(format!(
            "{} cannot be started: {error}",
            quoted(&program.to_string_lossy())
        ))
    })
}

/// The variables that job tokens can be had with, of every CI.
fn identity(environment: &Environment) -> Vec<String> {
    SOURCES
        .iter()
        .flat_map(|source| source.variables(environment))
        .collect()
}

/// Two credentials without prefixes would overwrite each other's variables.
fn check_prefixes(credentials: &[Wanted]) -> Result<(), Failure> {
    for (index, one) in credentials.iter().enumerate() {
        let is_same = |other: &Wanted| other.prefix == one.prefix;
        if credentials
            .iter()
            .skip(index.saturating_add(1))
            .any(is_same)
        {
            return Err(Failure::Usage(
                "several credentials need a prefix each, like `SHOP=shop-db/read AUDIT=audit-db/read`"
                    .to_owned(),
            ));
        }
    }
    Ok(())
}

/// Looks before anything is minted; as in a shell, 127 says that there is no such command.
fn find_program(
    command: &[OsString],
    environment: &Environment,
    out: &mut Terminal,
) -> Result<(), Failure> {
    let program = command.first().map_or(Path::new(""), Path::new);
    let is_path = program.components().count() > 1 || program.is_absolute();
    let exists = if is_path {
        program.is_file()
    } else {
        environment
            .get("PATH")
            .unwrap_or_default()
            .split(':')
            .map(|folder| PathBuf::from(folder).join(program))
            .any(|path| path.is_file())
    };
    if exists {
        return Ok(());
    }
    out.error(&format!(
        "hallpass: no command {}; nothing was asked for",
        quoted(&program.to_string_lossy())
    ));
    Err(Failure::Child(NO_COMMAND))
}

async fn revoke(client: &Client, leases: &[Secret<String>], out: &mut Terminal) {
    for lease in leases {
        let said = match tokio::time::timeout(REVOKE_TIME, client.revoke(lease)).await {
            Ok(Ok(Revocation::Gone)) => continue,
            Ok(Ok(Revocation::Pending)) => {
                "the database is away; the broker ends the login when it is back".to_owned()
            }
            Ok(Err(error)) => format!("a login was not revoked and ends by itself: {error}"),
            Err(_) => "a login was not revoked in time and ends by itself".to_owned(),
        };
        out.error(&format!("hallpass: {said}"));
    }
}

/// The signals that are passed on.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    quit: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let catch = |kind| {
            signal(kind)
                .map_err(|error| Failure::Local(format!("signals cannot be caught: {error}")))
        };
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
            hang_up: catch(SignalKind::hangup())?,
            quit: catch(SignalKind::quit())?,
        })
    }

    async fn next(&mut self) -> UnixSignal {
        tokio::select! {
            _ = self.interrupt.recv() => UnixSignal::SIGINT,
            _ = self.terminate.recv() => UnixSignal::SIGTERM,
            _ = self.hang_up.recv() => UnixSignal::SIGHUP,
            _ = self.quit.recv() => UnixSignal::SIGQUIT,
        }
    }
}

/// A key pressed on a terminal (Ctrl-C) reaches the child by itself, as it is in the foreground like
/// us; passed on as well, it would arrive twice, which many tools take for "now, without cleaning up".
fn pass_on(child: &Child, caught: UnixSignal) {
    let is_key = matches!(caught, UnixSignal::SIGINT | UnixSignal::SIGQUIT);
    if is_key && is_foreground() {
        return;
    }
    // No id: it ended in this moment, and its end is about to be seen.
    let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()) else {
        return;
    };
    if kill(Pid::from_raw(id), caught).is_err() {
        // It ended in this moment.
    }
}

fn is_foreground() -> bool {
    nix::unistd::tcgetpgrp(std::io::stdin()).is_ok_and(|group| group == nix::unistd::getpgrp())
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| signal.saturating_add(128)));
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(u8::MAX)
}

fn exit_code_of(caught: UnixSignal) -> u8 {
    u8::try_from((caught as i32).saturating_add(128)).unwrap_or(u8::MAX)
}

const NO_COMMAND: u8 = 127;
const REVOKE_TIME: Duration = Duration::from_secs(10);
