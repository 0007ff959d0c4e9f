//! `hallpass serve`: runs the broker until a signal stops it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::util::SubscriberInitExt as _;

use super::{Failure, Terminal};
use crate::broker::{self, Overrides};
use crate::config::Settings;
use crate::http::{install_panic_hook, log_subscriber};
use crate::reason::Reason;

/// Runs the broker, with a public listener for jobs and an operator listener
///
/// On SIGTERM or SIGINT the broker finishes the requests in progress and exits. On SIGHUP it reloads
/// settings and policies and fetches every issuer's keys. It also starts a new audit file if the old one
/// was renamed. Logs are JSON lines on standard error.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  hallpass serve --config /etc/hallpass/hallpass.yaml")]
pub struct Args {
    /// The settings file
    #[arg(long, value_name = "FILE", default_value = "hallpass.yaml")]
    config: PathBuf,
    /// Check whether `serve` would start with these settings, policies and keys, then exit
    #[arg(long)]
    check: bool,
    /// Log level
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = LEVELS)]
    log: String,
}

/// Serves until a signal comes.
///
/// # Errors
/// Settings, policies, a key or a port are wrong (exit code 5); the text says what to do.
pub fn run(args: Args, out: &mut Terminal) -> Result<(), Failure> {
    let Args { config, check, log } = args;
    // Before the first secret is read.
    let forbidden = forbid_core_dumps();
    // Before anything else, so that a reload that comes early kills nothing.
    let runtime = super::runtime()?;
    let signals = {
        let _within = runtime.enter();
        Signals::catch()
            .map_err(|error| Failure::Local(format!("signals cannot be caught: {error}")))?
    };
    let settings = super::settings(&config)?;
    if check {
        let remarks = broker::check(&settings);
        let remarks = remarks.map_err(Failure::local)?;
        for remark in &remarks {
            out.error_report(&format!("hallpass: {remark}"));
        }
        out.line(&format!(
            "{}: settings, policies, keys and the files they name are right",
            config.display()
        ));
        return Ok(());
    }
    start_logging(&log);
    install_panic_hook();
    if forbidden.is_err() {
        tracing::warn!(
            reason = Reason::ProcessCoreDumps.code(),
            "core dumps could not be forbidden; see that the service manager forbids them"
        );
    }
    allow_open_files(settings.limits.connections);
    let served = runtime.block_on(serve(&settings, signals));
    // Nothing uses the result of a load that is still in progress.
    runtime.shutdown_timeout(GRACE);
    served
}

/// Signals of a service manager.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

impl Signals {
    fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
        })
    }
}

async fn serve(settings: &Settings, mut signals: Signals) -> Result<(), Failure> {
    let running = broker::start(settings, Overrides::default())
        .await
        .map_err(Failure::local)?;
    tracing::info!(
        public = %running.public_addr,
        operator = %running.operator_addr,
        issuer = %settings.issuer,
        tls = settings.listen.tls.is_some(),
        policies = running.exchange().components().policies.revision(),
        replay = running.exchange().components().used_tokens.reach().name(),
        "serving"
    );
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
            _ = signals.reload.recv() => running.reload(),
        }
    }
    tracing::info!("stopping: requests under way may end");
    running.shutdown().await;
    tracing::info!("stopped");
    Ok(())
}

/// To standard error: standard output belongs to the audit sink of that name.
pub(super) fn start_logging(level: &str) {
    if log_subscriber(level, io::stderr).try_init().is_err() {
        // Somebody in this process logs already, as tests do.
    }
}

/// A core file would hold every secret in memory (T-93).
fn forbid_core_dumps() -> nix::Result<()> {
    let limited = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    #[cfg(target_os = "linux")]
    let limited = nix::sys::prctl::set_dumpable(false).and(limited);
    limited
}

/// Each connection is an open file, and the usual limit is not above our own: without files nothing
/// more could be accepted, not even to say that we are busy (T-03).
fn allow_open_files(connections: usize) {
    let connections = u64::try_from(connections).unwrap_or(u64::MAX);
    let wanted = connections.saturating_add(OTHER_FILES);
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    if soft < wanted {
        let raised = setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard);
        if raised.is_err() || hard < wanted {
            tracing::warn!(
                reason = Reason::ProcessOpenFiles.code(),
                wanted,
                allowed = hard,
                "too few open files are allowed for `limits.connections`; raise the limit of the service manager"
            );
        }
    }
}

/// Listeners, the operator's connections, logs, connections to targets and issuers.
const OTHER_FILES: u64 = 512;

/// For threads that read files when the broker stops.
const GRACE: Duration = Duration::from_secs(1);

/// What `--log` takes.
pub(super) const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
