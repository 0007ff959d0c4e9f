//! Runs the broker: versions, reload, upkeep and graceful shutdown.
//!
//! Knows every part of an exchange, and HTTP only as two routers and their listeners.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

mod assemble;
mod check;
mod findings;
mod process;
mod reload;
mod version;

pub use assemble::{DevKeys, Overrides, StartError, root_keys, signing_keys};
pub use version::{DEV_KID_PREFIX, NoDevKeys, OnlyDevKeys};

use assemble::LoadedConfig;
use process::ProcessState;
use reload::{FileSnapshot, Reloader};
use version::{Current, Version};

use crate::audit::Text;
use crate::audit::event::{self, Event};
use crate::config::Settings;
use crate::exchange::Exchange;
use crate::exchange::self_test;
use crate::http::connection;
use crate::http::listener;
use crate::http::log;
use crate::policy::PolicySet;
use crate::reason::Reason;
use crate::token::verify_jws;
use crate::yaml::{Diagnostics, Severity};

/// A running broker. Dropped without [`shutdown`](Self::shutdown), it stops immediately.
#[derive(Debug)]
pub struct Running {
    pub public_addr: SocketAddr,
    /// The address of metrics and readiness.
    pub operator_addr: SocketAddr,
    current: Current,
    process: Arc<ProcessState>,
    stop: watch::Sender<bool>,
    listeners: Vec<JoinHandle<()>>,
    wake: Arc<Notify>,
    reloading: JoinHandle<()>,
    upkeep: JoinHandle<()>,
}

/// Starts a broker. Every error in its settings is returned. If a dependency is down, the broker
/// serves and readiness reports it (T-68).
///
/// # Errors
/// Each error says what to do.
pub async fn start(settings: &Settings, mut overrides: Overrides) -> Result<Running, StartError> {
    install_crypto_provider();
    self_test::run(overrides.verify_signature.unwrap_or(verify_jws))
        .map_err(StartError::SelfTest)?;
    let listen = &settings.listen;
    let public_listener = bind(overrides.public.take(), listen.public, "public")?;
    let operator_listener = bind(overrides.operator.take(), listen.operator, "operator")?;
    let seen = FileSnapshot::of(settings);
    let loaded = LoadedConfig::read(settings, &overrides)?;
    // Only here: a reload, which may withdraw a policy, never fails because of a client.
    check::check_clients(settings)?;
    let process = ProcessState::begin(&loaded, &mut overrides)?;
    let version = Version::new(loaded, &process, None)?;
    process.sweep(&version);
    findings::log(None, &version.loaded.findings, &settings.policies);
    let parts = version.shared.exchange.components();
    process
        .audit
        .record(&Event::Policies(event::PoliciesRecord {
            revision: Text::new(parts.policies.revision()),
            previous: None,
            commit: commit(&parts.policies),
            replay: parts.used_tokens.reach(),
        }))
        .await?;
    let current: Current = Arc::new(ArcSwap::from_pointee(version));
    let (stop, stopped) = watch::channel(false);
    let (public_addr, operator_addr) = (public_listener.1, operator_listener.1);
    let run = |listener, service| tokio::spawn(listener::run(listener, service, stopped.clone()));
    let listeners = vec![
        run(public_listener.0, version::public_service(&current)),
        run(operator_listener.0, version::operator_service(&current)),
    ];
    let wake = Arc::new(Notify::new());
    let reloader = Reloader::new(&current, &process, seen, overrides.reload, &wake);
    let reloading = tokio::spawn(reloader.run(stopped.clone()));
    let upkeep = tokio::spawn(upkeep(Arc::clone(&process), Arc::clone(&current)));
    Ok(Running {
        public_addr,
        operator_addr,
        current,
        process,
        stop,
        listeners,
        wake,
        reloading,
        upkeep,
    })
}

/// Checks everything that [`start`] would reject, without listening or writing. Returns warnings,
/// such as a port in use.
///
/// # Errors
/// As [`start`].
pub fn check(settings: &Settings) -> Result<Vec<String>, StartError> {
    install_crypto_provider();
    self_test::run(verify_jws).map_err(StartError::SelfTest)?;
    check::check(settings)
}

impl Running {
    /// The exchange of the current version.
    #[must_use]
    pub fn exchange(&self) -> Arc<Exchange> {
        Arc::clone(&self.current.load().shared.exchange)
    }

    /// Reloads settings and policies once they no longer change, fetches every issuer's keys, and
    /// begins a new audit file if the old one was renamed. Readiness shows the result.
    pub fn reload(&self) {
        self.process.audit.reopen();
        self.wake.notify_one();
    }

    /// How many problems the last reload had; see `reload` in `/readyz`.
    #[must_use]
    pub fn reload_problems(&self) -> usize {
        self.process.reloads.problems()
    }

    /// Stops accepting, waits for open requests within the time in the settings, and closes the
    /// audit log with a checkpoint.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        for listener in self.listeners.drain(..) {
            if listener.await.is_err() {
                tracing::error!(
                    reason = Reason::ListenerPanic.code(),
                    "a listener stopped because of a bug"
                );
            }
        }
        log::tell(&self.process.lines.rest());
        self.exchange().note_all_suppressed();
        // Anything it still did could not be recorded.
        self.process.stop_sweeping();
        if let Err(error) = self.process.audit.close().await {
            tracing::error!(reason = Reason::SinkFailed.code(), sink = %error.sink, "the audit log could not be closed");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.process.stop_sweeping();
        self.reloading.abort();
        self.upkeep.abort();
        for listener in &self.listeners {
            listener.abort();
        }
    }
}

/// The commit of the policies, for the audit log.
fn commit(policies: &PolicySet) -> Option<Text> {
    let links = policies.links()?;
    Some(Text::new(&links.commit.to_string()))
}

/// Looks now and then at what must be looked at without a request: the clock, log lines held back.
async fn upkeep(process: Arc<ProcessState>, current: Current) {
    let mut known = Diagnostics::default();
    loop {
        let version = current.load_full();
        let now = process.clock.now();
        let overdue = version.loaded.policies.overdue(now, Severity::Warning);
        let overdue = Diagnostics::new(overdue);
        findings::log(Some(&known), &overdue, &version.loaded.settings.policies);
        known = overdue;
        drop(version);
        tokio::time::sleep(UPKEEP).await;
        log::tell(&process.lines.left_out());
        if !connection::has_http_date() {
            tracing::error!(
                reason = Reason::ClockRange.code(),
                "the clock is outside the years 1970 to 9999; every request is answered with 503"
            );
        }
        current.load().shared.exchange.note_suppressed();
        // Checked here too, so a jump between requests is over by the next request.
        if let Err(problem) = current.load().shared.exchange.check_clock() {
            tracing::warn!(reason = Reason::ClockJump.code(), %problem, "no credentials are issued");
        }
    }
}

/// Installs aws-lc-rs as the TLS provider, before anything uses TLS (T-99).
pub fn install_crypto_provider() {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    // Only this function can have installed another one.
    if provider.install_default().is_err() {
        tracing::trace!("the TLS provider is installed already");
    }
}

type Bound = (TcpListener, SocketAddr);

fn bind(
    given: Option<StdListener>,
    address: SocketAddr,
    key: &'static str,
) -> Result<Bound, StartError> {
    let refused = |error: &io::Error| cannot_listen(address, error, key);
    let bound = match given {
        Some(listener) => Ok(listener),
        None => StdListener::bind(address),
    };
    let listener = bound
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .and_then(TcpListener::from_std)
        .map_err(|error| refused(&error))?;
    let address = listener.local_addr().map_err(|error| refused(&error))?;
    Ok((listener, address))
}

/// Why listening on an address fails, and what to do.
fn cannot_listen(address: SocketAddr, error: &io::Error, key: &'static str) -> StartError {
    let known = [
        (
            io::ErrorKind::AddrInUse,
            "another process listens on this address; stop it or choose another port",
        ),
        (
            io::ErrorKind::PermissionDenied,
            "this user may not listen on this port; choose port 1024 or higher",
        ),
        (
            io::ErrorKind::AddrNotAvailable,
            "this machine has no such address",
        ),
    ];
    let problem = known
        .iter()
        .find(|(kind, _)| *kind == error.kind())
        .map_or_else(|| error.to_string(), |(_, text)| (*text).to_owned());
    StartError::Listen {
        address: address.to_string(),
        problem,
        key,
    }
}

/// The interval of the periodic tasks.
const UPKEEP: Duration = Duration::from_secs(5);
