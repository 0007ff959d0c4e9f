//! `hallpass exec`: runs a command with credentials and revokes them when it ends.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;

use self::child::Child;
use self::files::{FileArg, Files, Renewals, not_renewed};
use super::broker::{
    BrokerArgs, JobArgs, block_on, failure_of_exchange, mask, quoted, warn_of_rivals,
};
use super::deliver::database_ca;
use super::inputs::InputArgs;
use super::signals::Signals;
use super::wanted::{self, Wanted, check_prefixes, offers};
use super::{Failure, Terminal};
use crate::client::format::{Prefix, Variable, rivals, variables};
use crate::client::source::SOURCES;
use crate::client::ssh::Agent;
use crate::client::ssh::agent::{self, Reports};
use crate::client::{Ask, Client, ClientError, Environment, Obtained, Received, Sharing};
use crate::secret::Secret;
use crate::text::escape;
use crate::wire::{LeaseState, Offer, Offers};
use crate::yaml::duration;

mod child;
mod files;
mod program;

/// Runs a command with credentials in its environment, and revokes them when it ends
///
/// Only the command gets them: `PG*` and `DATABASE_URL` for a database, `HALLPASS_TOKEN` for a signed
/// token, `SSH_AUTH_SOCK` for an SSH certificate. A PREFIX adds PREFIX_ to each name. `exec` forwards
/// signals and exits with the command's exit code, or with 128 plus the signal number. Variables are
/// not renewed while the command runs: state its duration with --at-least.
///
/// --file also writes a credential to a new file that only this user can read, in a format of `hallpass
/// get`, and removes it when the command ends. Where the CI makes new ID tokens (GitHub), the file is
/// replaced by one with a new credential when two thirds of its life are over, so that a tool which
/// reads it again can run for hours. Connections opened with an earlier login end when that expires.
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
  hallpass exec shop-db/read --file json=/run/job/login.json -- ./export.py
  hallpass exec deploy-host -- ssh deploy@web1.acme.dev")]
pub struct Args {
    /// Credentials, as [PREFIX=]CREDENTIAL; with more than one, each needs a prefix
    #[arg(value_name = "CREDENTIAL", required = true, value_parser = wanted::parse)]
    credentials: Vec<Wanted>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    /// Fail before the command starts if a credential's lifetime is shorter than this
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    at_least: Option<Duration>,
    /// Also write the credential to a new file, with mode 0600, until the command ends; may be repeated
    #[arg(long = "file", value_name = "[PREFIX:]FORMAT=PATH", value_parser = files::parse)]
    files: Vec<FileArg>,
    /// Do not revoke at the end; a later step that sends the same request gets the same login
    #[arg(long)]
    keep: bool,
    /// Leave the job's own identity in the command's environment
    #[arg(long)]
    keep_identity: bool,
    #[command(flatten)]
    inputs: InputArgs,
    #[command(flatten)]
    job: JobArgs,
    #[command(flatten)]
    broker: BrokerArgs,
}

/// Runs the command.
///
/// # Errors
/// The command's own exit code, or why it was not started.
pub fn run(args: &Args, out: &mut Terminal) -> Result<(), Failure> {
    let environment = args.job.environment()?;
    check_prefixes(&args.credentials)?;
    let program = find_program(&args.command, &environment, out)?;
    let files = Files::new(&args.files, &args.credentials)?;
    // From here on no signal ends us before what was handed out is revoked.
    let mut signals = Signals::catch()?;
    let client = args.broker.client(environment)?;
    let run = Run {
        args,
        client: &client,
        files,
        renewals: Renewals::new(&client),
        leases: Vec::new(),
    };
    block_on(run.exec(&program, &mut signals, out))
}

/// One run of a command.
struct Run<'a> {
    args: &'a Args,
    client: &'a Client,
    files: Files,
    renewals: Renewals<'a>,
    leases: Vec<Lease>,
}

/// A login that was obtained.
struct Lease {
    handle: Secret<String>,
    /// Later or earlier steps of the job may use it.
    is_shared: bool,
    /// An earlier step obtained it, or others of the subject have it too.
    is_repeat: bool,
}

impl Run<'_> {
    async fn exec(
        mut self,
        program: &Path,
        signals: &mut Signals,
        out: &mut Terminal,
    ) -> Result<(), Failure> {
        let (reports, mut reported) = mpsc::channel(MOST_REPORTS);
        let result = tokio::select! {
            result = self.fetch(&reports, out) => result,
            caught = signals.next_that_ends() => Err(Failure::Child(caught.exit_code())),
        };
        let result = match result {
            Ok(changes) => match start(self.args, program, self.client, &changes, signals) {
                Ok(child) => Ok(self.follow(child, signals, &mut reported, out).await),
                Err(failure) => Err(failure),
            },
            Err(failure) => Err(failure),
        };
        self.files.remove(out);
        if let Some(obtained) = self.renewals.finish(REVOKE_TIME).await {
            self.note(&obtained.received, Sharing::None);
        }
        // Nothing is left of a run that failed to start, unless an earlier step uses it.
        let is_kept = |lease: &Lease| lease.is_repeat || (lease.is_shared && result.is_ok());
        let over = self.leases.iter().filter(|lease| !is_kept(lease));
        revoke(self.client, over, out).await;
        match result? {
            0 => Ok(()),
            code => Err(Failure::Child(code)),
        }
    }

    async fn fetch(&mut self, reports: &Reports, out: &mut Terminal) -> Result<Changes, Failure> {
        let (args, client) = (self.args, self.client);
        let sharing = if args.keep {
            Sharing::Job
        } else {
            Sharing::None
        };
        let inputs = &args.inputs.read()?;
        let offers = if args.at_least.is_some() || args.credentials.len() > 1 {
            offers(client).await?
        } else {
            None
        };
        let mut in_order: Vec<(usize, &Wanted)> = args.credentials.iter().enumerate().collect();
        if let Some(offers) = &offers {
            check_offers(args, offers)?;
            wanted::not_offered_first(&mut in_order, offers, |(_, wanted)| wanted);
        }
        let mut changes = Changes::default();
        for (of, wanted) in in_order {
            let mut ask = Ask::new(&wanted.credential).map_err(Failure::usage)?;
            ask.inputs.clone_from(inputs);
            let formats = self.files.formats(of);
            let before = client.clock().now();
            let mut obtained = client
                .obtain(&ask, sharing, &formats)
                .await
                .map_err(|error| {
                    wanted.failure(failure_of_exchange(error, client), &args.credentials)
                })?;
            self.note(&obtained.received, sharing);
            if !formats.is_empty() {
                obtained.hold_key().map_err(Failure::local)?;
            }
            let (received, agent) = obtained
                .serve(client, reports.clone())
                .map_err(Failure::local)?;
            // The command may print what it was given.
            mask(client.environment(), &received, out)?;
            let life = u64::try_from(received.expires_at.since(before)).unwrap_or(0);
            // A database ends a login up to a second later than it was granted for.
            let granted = offers.as_ref().and_then(|offers| offer(offers, wanted));
            let life = granted.map_or(life, |offer| life.min(offer.ttl));
            check_life(args, &received.name, life)?;
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
            self.files.write(of, wanted, &received, client, false)?;
            self.plan_renewal(of, &ask, &received, out)?;
        }
        Ok(changes)
    }

    /// Renews the credential's files while the command runs, or says that they are not renewed.
    fn plan_renewal(
        &mut self,
        of: usize,
        ask: &Ask,
        received: &Received,
        out: &mut Terminal,
    ) -> Result<(), Failure> {
        let Some(path) = self.files.path(of) else {
            return Ok(());
        };
        let source = self.client.source().map_err(Failure::local)?;
        let why = if !self.files.are_renewable(of) {
            "a key and its certificate cannot be replaced in one step".to_owned()
        } else if !source.makes_new_tokens {
            format!(
                "source `{}` has one ID token for the whole job",
                source.name
            )
        } else {
            let formats = self.files.formats(of);
            self.renewals.add(of, ask, formats, received);
            return Ok(());
        };
        out.error(&format!(
            "hallpass: {} is valid until {} and is not renewed: {why}",
            quoted(&path.to_string_lossy()),
            received.expires_at
        ));
        Ok(())
    }

    /// Waits for the command to exit, forwards signals to it and renews its files.
    async fn follow(
        &mut self,
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
                (of, renewed) = self.renewals.next() => self.renew(of, renewed, out),
            }
        }
    }

    /// Puts a new credential into its files.
    fn renew(&mut self, of: usize, renewed: Result<Obtained, ClientError>, out: &mut Terminal) {
        let Some(wanted) = self.args.credentials.get(of) else {
            return;
        };
        let obtained = match renewed {
            Ok(obtained) => obtained,
            Err(error) => {
                let is_lasting = matches!(error, ClientError::Denied(_) | ClientError::Format(_));
                let next = self.renewals.failed(of, is_lasting);
                let said = not_renewed(&wanted.credential, error, next);
                return out.error(&format!("hallpass: {said}"));
            }
        };
        self.note(&obtained.received, Sharing::None);
        let written = obtained.into_members().map_err(Failure::local);
        let written = written.and_then(|received| {
            mask(self.client.environment(), &received, out)?;
            self.files.write(of, wanted, &received, self.client, true)?;
            Ok(received)
        });
        match written {
            Ok(received) => self.renewals.renewed(of, &received),
            // Another attempt would make another login that no file may be able to hold.
            Err(failure) => {
                self.renewals.failed(of, true);
                let name = escape(&wanted.credential);
                out.error(&format!(
                    "hallpass: `{name}` is not renewed any more: {failure}"
                ));
            }
        }
    }

    fn note(&mut self, received: &Received, sharing: Sharing) {
        self.leases
            .extend(received.lease.clone().map(|handle| Lease {
                handle,
                is_shared: sharing == Sharing::Job,
                is_repeat: received.is_repeat || received.is_shared,
            }));
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

/// Whether the job may have each credential for long enough, before its token is used for any.
fn check_offers(args: &Args, offers: &Offers) -> Result<(), Failure> {
    let offered = |wanted: &Wanted| offer(offers, wanted);
    let mut offers = args.credentials.iter().filter_map(offered);
    offers.try_for_each(|offer| check_life(args, &offer.credential, offer.ttl))
}

fn offer<'a>(offers: &'a Offers, wanted: &Wanted) -> Option<&'a Offer> {
    let mut offers = offers.credentials.iter();
    offers.find(|offer| offer.credential == wanted.credential)
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

async fn revoke(client: &Client, leases: impl Iterator<Item = &Lease>, out: &mut Terminal) {
    for lease in leases {
        let revocation = client.revoke(&lease.handle);
        let said = match tokio::time::timeout(REVOKE_TIME, revocation).await {
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
