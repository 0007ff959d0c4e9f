//! Settings to running parts: versions, reload, upkeep, and an orderly end. Knows every part, and
//! HTTP only as two routers and their listeners.

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
mod lasting;
mod reload;
mod version;

pub use assemble::{Overrides, StartError, root_keys};
pub use version::{DEV_KID_PREFIX, NoDevKeys};

use assemble::Loaded;
use lasting::Lasting;
use reload::{Reloader, Seen};
use version::{Current, Version};

use crate::audit::Text;
use crate::audit::event::{self, Event};
use crate::config::Settings;
use crate::exchange::Exchange;
use crate::exchange::self_test;
use crate::http::connection;
use crate::http::listener;
use crate::http::log;
use crate::reason::Reason;
use crate::token::verify_jws;

/// A broker that serves. Dropped without [`shutdown`](Self::shutdown), it stops at once.
#[derive(Debug)]
pub struct Running {
    pub public_addr: SocketAddr,
    /// Where metrics and readiness are.
    pub operator_addr: SocketAddr,
    current: Current,
    lasting: Arc<Lasting>,
    stop: watch::Sender<bool>,
    listeners: Vec<JoinHandle<()>>,
    wake: Arc<Notify>,
    reloading: JoinHandle<()>,
    upkeep: JoinHandle<()>,
}

/// Starts a broker: everything that can be wrong with its settings is an error now. What it depends
/// on may be down; then it serves, and readiness says so (T-68).
///
/// # Errors
/// Each says what to do.
pub async fn start(settings: &Settings, mut overrides: Overrides) -> Result<Running, StartError> {
    install_crypto_provider();
    self_test::run(overrides.verify_signature.unwrap_or(verify_jws))
        .map_err(StartError::SelfTest)?;
    let listen = &settings.listen;
    let public_listener = bind(overrides.public.take(), listen.public, "public")?;
    let operator_listener = bind(overrides.operator.take(), listen.operator, "operator")?;
    let seen = Seen::of(settings);
    let loaded = Loaded::read(settings, &overrides)?;
    let lasting = Lasting::begin(&loaded, &mut overrides)?;
    let version = Version::new(loaded, &lasting, None)?;
    lasting.sweep(&version);
    findings::log(None, &version.loaded.findings, &settings.policies);
    let parts = version.shared.exchange.parts();
    lasting
        .audit
        .record(&Event::Policies(event::Policies {
            revision: Text::new(parts.policies.revision()),
            previous: None,
            replay: parts.used_tokens.reach(),
        }))
        .await?;
    let current: Current = Arc::new(ArcSwap::from_pointee(version));
    let (stop, stopped) = watch::channel(false);
    let (public_addr, operator_addr) = (public_listener.1, operator_listener.1);
    let run = |listener, door| tokio::spawn(listener::run(listener, door, stopped.clone()));
    let listeners = vec![
        run(public_listener.0, version::public_door(&current)),
        run(operator_listener.0, version::operator_door(&current)),
    ];
    let wake = Arc::new(Notify::new());
    let reloader = Reloader::new(&current, &lasting, seen, overrides.reload, &wake);
    let reloading = tokio::spawn(reloader.run(stopped.clone()));
    let upkeep = tokio::spawn(upkeep(Arc::clone(&lasting), Arc::clone(&current)));
    Ok(Running {
        public_addr,
        operator_addr,
        current,
        lasting,
        stop,
        listeners,
        wake,
        reloading,
        upkeep,
    })
}

/// Everything that [`start`] would refuse, without listening or writing anything. Gives back what
/// depends on the moment: a port that is taken now.
///
/// # Errors
/// As [`start`].
pub fn check(settings: &Settings) -> Result<Vec<String>, StartError> {
    install_crypto_provider();
    self_test::run(verify_jws).map_err(StartError::SelfTest)?;
    check::check(settings)
}

impl Running {
    /// The broker as of the last reload.
    #[must_use]
    pub fn exchange(&self) -> Arc<Exchange> {
        Arc::clone(&self.current.load().shared.exchange)
    }

    /// Loads settings and policies anew, as soon as they rest, fetches every issuer's keys, and
    /// begins a new audit file where the old one was renamed. What comes of it shows in readiness.
    pub fn reload(&self) {
        self.lasting.audit.reopen();
        self.wake.notify_one();
    }

    /// Stops accepting, lets requests under way end within the settings' time, and closes the audit
    /// log with a checkpoint.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        for listener in self.listeners.drain(..) {
            if listener.await.is_err() {
                tracing::error!(
                    reason = Reason::ListenerPanic.code(),
                    "a listener ended by a bug"
                );
            }
        }
        log::tell(&self.lasting.lines.rest());
        self.exchange().note_all_left_out();
        // What it still did would have nowhere to go on record.
        self.lasting.stop_sweeping();
        if let Err(error) = self.lasting.audit.close().await {
            tracing::error!(reason = Reason::SinkFailed.code(), sink = %error.sink, "the audit log could not be closed");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.lasting.stop_sweeping();
        self.reloading.abort();
        self.upkeep.abort();
        for listener in &self.listeners {
            listener.abort();
        }
    }
}

/// Looks now and then at what must be looked at without a request: the clock, log lines held back.
async fn upkeep(lasting: Arc<Lasting>, current: Current) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        log::tell(&lasting.lines.left_out());
        if !connection::has_http_date() {
            tracing::error!(
                reason = Reason::ClockRange.code(),
                "the clock is outside the years 1970 to 9999; no request is answered but with 503"
            );
        }
        current.load().shared.exchange.note_left_out();
        // Seen here, a jump while nobody asks is over when somebody does.
        if let Err(problem) = current.load().shared.exchange.check_clock() {
            tracing::warn!(reason = Reason::ClockJump.code(), %problem, "nothing is minted");
        }
    }
}

/// Makes aws-lc-rs the one provider of TLS, before anything asks for one (T-99).
pub fn install_crypto_provider() {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    // Another one can only have been installed by this same function.
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

/// Why an address cannot be listened on, and what to do.
fn cannot_listen(address: SocketAddr, error: &io::Error, key: &'static str) -> StartError {
    let known = [
        (
            io::ErrorKind::AddrInUse,
            "something else listens there already; stop it or choose another port",
        ),
        (
            io::ErrorKind::PermissionDenied,
            "this user may not listen there; choose a port from 1024 on",
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

/// Time between two looks of the upkeep.
const UPKEEP: Duration = Duration::from_secs(5);
