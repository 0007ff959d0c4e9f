//! `hallpass demo`: every step of an exchange on one machine, then cleans up.

use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, Terminal};
use crate::clock::{Clock as _, SystemClock};
use crate::dev::demo;
use crate::dev::stage::{Source, Stage};

/// Runs a complete example on this machine, then cleans up
///
/// Starts three CI issuers, a private PostgreSQL and a broker on free ports of 127.0.0.1, plays a job
/// that gets a database login and a token, jobs that are refused, a revocation and an expiry, and
/// checks the audit record. Needs no configuration. Exit code 0 only if every step did what it says.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  hallpass demo --keep")]
pub struct Args {
    /// Keep everything running after the last step, until Ctrl-C
    #[arg(long)]
    keep: bool,
}

/// Runs the command.
///
/// # Errors
/// A step did not do what it says, or something could not be started (exit code 5).
pub fn run(args: &Args, out: &mut Terminal) -> Result<(), Failure> {
    super::runtime()?.block_on(play(args.keep, out))
}

async fn play(keep: bool, out: &mut Terminal) -> Result<(), Failure> {
    let mut stop = Stop::new()?;
    let clock = SystemClock::new();
    out.prose(
        "hallpass demo: a CI, a database and a broker on this machine, and the exchange of a job from start to end.",
    );
    let stage = start(Source::Demo, &mut stop, out).await?;
    let mut line = |text: &str| out.prose(text);
    let result = tokio::select! {
        result = demo::run(&stage, &mut line) => {
            result.map_err(|error| Failure::Local(format!("this step did not do what it says: {error}")))
        }
        () = stop.asked() => Err(interrupted()),
    };
    if result.is_ok() && keep {
        super::dev::introduce(&stage, Source::Demo, out)?;
        stop.asked().await;
    }
    out.line("");
    stage.stop().await;
    out.line("Everything is stopped, and its temporary files are removed.");
    result?;
    out.line(&format!(
        "All 9 steps did what they say, in {:.1} s.",
        clock.monotonic().as_secs_f64()
    ));
    out.prose("Next: `hallpass dev` keeps it running for you to try, docs/policies/README.md explains the policies it used.");
    Ok(())
}

/// Starts the servers; what is started is stopped again on Ctrl-C.
pub(super) async fn start(
    source: Source<'_>,
    stop: &mut Stop,
    out: &mut Terminal,
) -> Result<Stage, Failure> {
    out.line(match source {
        Source::Demo => "Starting three CI issuers, a private PostgreSQL and the broker …",
        Source::Own { .. } => "Starting the CI issuers, the broker, and a private PostgreSQL for each database target …",
    });
    let stage = tokio::select! {
        stage = Stage::start_for(source) => stage.map_err(Failure::local)?,
        () = stop.asked() => return Err(interrupted()),
    };
    for (name, provider, issuer) in stage.issuers() {
        let url = issuer.url();
        out.line(&match provider {
            "github" => format!("  CI that signs like GitHub  {url}"),
            "gitlab" => format!("  CI that signs like GitLab  {url}"),
            _ => format!("  CI for issuer {name}  {url}"),
        });
    }
    for (name, database) in stage.databases() {
        let port = database.port();
        out.line(&match source {
            Source::Demo => format!("  PostgreSQL                 127.0.0.1:{port}"),
            Source::Own { .. } => format!("  PostgreSQL for {name}  127.0.0.1:{port}"),
        });
    }
    out.line(&format!("  broker                     {}", stage.url));
    out.line(&format!(
        "  readiness and metrics      http://{}",
        stage.operator()
    ));
    out.line(&format!(
        "  settings, policies, audit  {}",
        stage.folder().display()
    ));
    Ok(stage)
}

fn interrupted() -> Failure {
    Failure::Local("interrupted; everything that was started is stopped".to_owned())
}

/// SIGINT or SIGTERM. Caught before anything is started, so that nothing is left behind.
pub(super) struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Stop {
    pub(super) fn new() -> Result<Self, Failure> {
        let caught = |kind| {
            signal(kind)
                .map_err(|error| Failure::Local(format!("signals cannot be caught: {error}")))
        };
        Ok(Self {
            interrupt: caught(SignalKind::interrupt())?,
            terminate: caught(SignalKind::terminate())?,
            hang_up: caught(SignalKind::hangup())?,
        })
    }

    pub(super) async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}
