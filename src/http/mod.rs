//! The only place that knows axum.
//!
//! Two routers: one for jobs, one for operators. Before a path is looked at, every request passes
//! the same layers; after it was answered, one line is logged. Neither router has CORS headers,
//! cookies, redirects or HTML (T-12).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use http::Method;
use ipnet::IpNet;
use serde_json::json;

mod answer;
mod body;
pub(crate) mod clients;
pub(crate) mod connection;
mod credentials;
mod discovery;
mod error;
mod explain;
pub mod form;
mod gate;
mod layers;
pub(crate) mod listener;
pub(crate) mod log;
pub mod metrics;
mod oauth;
pub(crate) mod operator;
mod request;
mod revoke;
mod routes;
pub(crate) mod tls;
mod token;

pub use log::{install_panic_hook, log_subscriber};

use answer::{Answer, Reply};
use request::RequestError;
use routes::Listener;

use crate::clock::Clock;
use crate::config::{Limits, OperatorHost};
use crate::credential::jwt::Keys;
use crate::exchange::{Exchange, LineLimiter};
use crate::policy::Disclosure;

/// What every request can reach. One for both listeners, and another one after each reload: a
/// request sees one from its first byte to its answer.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) issuer: String,
    pub(crate) signing: Arc<Keys>,
    pub(crate) disclosure: Disclosure,
    pub(crate) limits: Limits,
    pub(crate) proxies: Vec<IpNet>,
    pub(crate) operator_hosts: Vec<OperatorHost>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<metrics::Metrics>,
    pub(crate) lines: Arc<LineLimiter>,
    pub(crate) readiness: operator::Readiness,
    /// The folder of the clients that are served, if any.
    pub(crate) clients: Option<PathBuf>,
    pub(crate) downloads: Arc<clients::Downloads>,
}

/// Whom a connection is with.
#[derive(Clone, Copy, Debug)]
struct Peer(SocketAddr);

/// What jobs, and whoever verifies what we mint, may ask.
pub(crate) fn public(shared: &Arc<Shared>) -> Router {
    layers::public(router(Listener::Public), shared)
}

/// What operators may ask: nothing here changes anything.
pub(crate) fn operators(shared: &Arc<Shared>) -> Router {
    layers::operators(router(Listener::Operator), shared)
}

fn router(listener: Listener) -> Router<Arc<Shared>> {
    routes::router(listener).fallback(async || RequestError::Path)
}

/// `OPTIONS /` is what `HAProxy` asks where its configuration names no other check of health; nothing
/// else is served there.
async fn root(method: Method) -> Answer {
    if method == Method::OPTIONS {
        healthy().await
    } else {
        RequestError::Path.into()
    }
}

/// The process serves; whether it can mint is readiness.
async fn healthy() -> Answer {
    Reply::ok(&json!({ "status": "ok" })).into()
}
