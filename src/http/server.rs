//! A running broker: both listeners, and an orderly end.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::assemble::{Assembled, Overrides, StartError, UPKEEP, assemble};
use super::connection::Times;
use super::listener::{self, Rules};
use super::{operators, public};
use crate::audit::event::{self, Event};
use crate::audit::{AuditLog, Text};
use crate::config::{Settings, TlsFiles};
use crate::credential::database::Sweeper;
use crate::exchange::Exchange;
use crate::exchange::self_test;

/// A broker that serves. Dropped without [`shutdown`](Self::shutdown), it stops at once.
#[derive(Debug)]
pub struct Running {
    /// Where jobs ask.
    pub public_addr: SocketAddr,
    /// Where metrics and readiness are.
    pub operator_addr: SocketAddr,
    /// The broker itself.
    pub exchange: Arc<Exchange>,
    stop: watch::Sender<bool>,
    listeners: Vec<JoinHandle<()>>,
    upkeep: JoinHandle<()>,
    sweeper: Option<Sweeper>,
    audit: Arc<AuditLog>,
}

/// Starts a broker: everything that can be wrong with its settings is an error now. What it depends
/// on may be down; then it serves, and readiness says so (T-68).
///
/// # Errors
/// Each says what to do.
pub async fn start(settings: &Settings, mut overrides: Overrides) -> Result<Running, StartError> {
    install_crypto_provider();
    self_test::run().map_err(StartError::SelfTest)?;
    let tls = settings.listen.tls.as_ref().map(acceptor).transpose()?;
    let listen = &settings.listen;
    let public_listener = bind(overrides.public.take(), listen.public, "public")?;
    let operator_listener = bind(overrides.operator.take(), listen.operator, "operator")?;
    let Assembled {
        shared,
        audit,
        sweeper,
    } = assemble(settings, &mut overrides)?;
    let parts = shared.exchange.parts();
    audit
        .record(&Event::Policies(event::Policies {
            revision: Text::new(parts.policies.revision()),
            previous: None,
            replay: parts.used_tokens.reach(),
        }))
        .await?;
    let (stop, stopped) = watch::channel(false);
    let limits = settings.limits;
    let rules = Rules {
        times: Times {
            head: limits.head_time,
            idle: limits.idle_time,
            request: limits.request_time,
            head_size: limits.head,
        },
        tls: tls.map(|acceptor| (acceptor, limits.handshake_time)),
        connections: limits.connections,
        grace: limits.shutdown_time,
    };
    let operator_rules = Rules {
        tls: None,
        connections: OPERATOR_CONNECTIONS,
        ..rules.clone()
    };
    let (public_addr, operator_addr) = (public_listener.1, operator_listener.1);
    let run = |listener, router: Router, rules| {
        tokio::spawn(listener::run(listener, router, rules, stopped.clone()))
    };
    let listeners = vec![
        run(public_listener.0, public(&shared), rules),
        run(operator_listener.0, operators(&shared), operator_rules),
    ];
    let (metrics, watched) = (Arc::clone(&shared.metrics), Arc::clone(&shared.exchange));
    let upkeep = tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            metrics.upkeep();
            // Seen here, a jump while nobody asks is over when somebody does.
            if let Err(problem) = watched.check_clock() {
                tracing::warn!(reason = "clock.jump", %problem, "nothing is minted");
            }
        }
    });
    Ok(Running {
        public_addr,
        operator_addr,
        exchange: Arc::clone(&shared.exchange),
        stop,
        listeners,
        upkeep,
        sweeper: Some(sweeper),
        audit,
    })
}

/// Everything that [`start`] would refuse, without listening or writing anything.
///
/// # Errors
/// As [`start`], but for addresses and sinks.
pub fn check(settings: &Settings) -> Result<(), StartError> {
    install_crypto_provider();
    self_test::run().map_err(StartError::SelfTest)?;
    if let Some(files) = &settings.listen.tls {
        acceptor(files)?;
    }
    super::assemble::check(settings)
}

impl Running {
    /// Stops accepting, lets requests under way end within the settings' time, and closes the audit
    /// log with a checkpoint.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        for listener in self.listeners.drain(..) {
            if listener.await.is_err() {
                tracing::error!(reason = "listener.panic", "a listener ended by a bug");
            }
        }
        // What it still did would have nowhere to go on record.
        self.sweeper = None;
        if let Err(error) = self.audit.close().await {
            tracing::error!(reason = "sink.failed", sink = %error.sink, "the audit log could not be closed");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.upkeep.abort();
        for listener in &self.listeners {
            listener.abort();
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
    let refused = |error: &io::Error| StartError::Listen {
        address: address.to_string(),
        problem: listen_problem(error),
        key,
    };
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

fn listen_problem(error: &io::Error) -> String {
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
    known
        .iter()
        .find(|(kind, _)| *kind == error.kind())
        .map_or_else(|| error.to_string(), |(_, text)| (*text).to_owned())
}

fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, StartError> {
    let refused = |path: &Path, problem: String| StartError::Tls {
        path: path.to_owned(),
        problem,
    };
    let read = |path: &Path| {
        fs::read(path).map_err(|error| refused(path, format!("cannot be read: {error}")))
    };
    let chain = CertificateDer::pem_slice_iter(&read(&files.cert)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| refused(&files.cert, "is not PEM".to_owned()))?;
    if chain.is_empty() {
        return Err(refused(&files.cert, "holds no certificate".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?)
        .map_err(|_| refused(&files.key, "holds no private key in PEM".to_owned()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(&files.cert, error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| refused(&files.cert, format!("does not go with the key: {error}")))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// A few scrapers and probes.
const OPERATOR_CONNECTIONS: usize = 64;
