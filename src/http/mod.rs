//! The only place that knows axum.
//!
//! Two routers: one for jobs, one for operators. Before a path is looked at, every request passes
//! the same gate; after it was answered, one line is logged. Neither router has CORS headers,
//! cookies, redirects or HTML (T-12).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::Method;
use ipnet::IpNet;
use serde_json::Map;
use tracing::{Instrument as _, Span};

mod answer;
mod body;
mod boundary;
pub(crate) mod connection;
mod credentials;
mod discovery;
mod error;
mod explain;
pub mod form;
mod gate;
pub(crate) mod listener;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod operator;
mod request;
mod revoke;
mod routes;
pub(crate) mod tls;
mod token;

pub use log::{install_panic_hook, log_subscriber};

use answer::{Answer, Context, RequestId, Verdict};
use gate::HeadLimits;
use request::RequestError;
use routes::{Listener, Route};

use crate::clock::Clock;
use crate::config::{Limits, OperatorHost};
use crate::credential::jwt::Keys;
use crate::exchange::{Exchange, Flood, Seen, caught};
use crate::policy::Disclosure;
use crate::reason::Reason;

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
    pub(crate) lines: Arc<Flood>,
    pub(crate) readiness: operator::Readiness,
}

/// Whom a connection is with.
#[derive(Clone, Copy, Debug)]
struct Peer(SocketAddr);

/// What jobs, and whoever verifies what we mint, may ask.
pub(crate) fn public(shared: &Arc<Shared>) -> Router {
    routes::router(Listener::Public)
        .fallback(async |request: Request| refuse(&request, RequestError::Path))
        .layer(from_fn_with_state(Arc::clone(shared), answered))
        .with_state(Arc::clone(shared))
}

/// What operators may ask: nothing here changes anything.
pub(crate) fn operators(shared: &Arc<Shared>) -> Router {
    routes::router(Listener::Operator)
        .fallback(async |request: Request| refuse(&request, RequestError::Path))
        .layer(from_fn_with_state(Arc::clone(shared), operator::gate))
        .layer(from_fn_with_state(Arc::clone(shared), answered))
        .with_state(Arc::clone(shared))
}

/// `OPTIONS /` is what `HAProxy` asks where its configuration names no other check of health; nothing
/// else is served there.
fn root(request: &Request) -> Response {
    if request.method() == Method::OPTIONS {
        healthy(request)
    } else {
        refuse(request, RequestError::Path)
    }
}

fn refuse(request: &Request, error: RequestError) -> Response {
    let context = Context::of(request);
    Answer::from(error).into_response(&context.id)
}

/// The process serves; whether it can mint is readiness.
fn healthy(request: &Request) -> Response {
    let context = Context::of(request);
    Answer::ok(Map::from_iter([("status".to_owned(), "ok".into())])).into_response(&context.id)
}

/// Around every request: its id, the gate, its time limit, a caught panic, its log line.
async fn answered(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let context = Context {
        id: RequestId::new(),
        seen: Arc::new(Seen::default()),
    };
    let line = line(&shared, &request, &context);
    let is_last = gate::is_last(request.method(), request.headers());
    let mut response = pass(&shared, request, next, &context)
        .instrument(span(&context.id, line.route))
        .await;
    if is_last {
        answer::seal(response.headers_mut(), &context.id, true);
    }
    let verdict = response
        .extensions_mut()
        .remove::<Verdict>()
        .unwrap_or(Verdict::new(Reason::Success));
    line.answered(response.status(), &verdict);
    response
}

/// Gives every line that is written for this request its id. Of level `error`, so that it exists
/// whatever the log's level is.
fn span(id: &RequestId, route: &Route) -> Span {
    tracing::error_span!("request", request_id = id.as_str(), route = route.path)
}

async fn pass(shared: &Shared, request: Request, next: Next, context: &Context) -> Response {
    let (mut parts, body) = request.into_parts();
    let limits = HeadLimits {
        fields: shared.limits.fields,
        bytes: shared.limits.head,
    };
    if let Err(error) = gate::check(&parts, limits) {
        return Answer::from(error).into_response(&context.id);
    }
    parts.extensions.insert(context.clone());
    let request = Request::from_parts(parts, body);
    let limit = shared.limits.request_time;
    match tokio::time::timeout(limit, caught(next.run(request))).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => Answer::bug(Reason::BugPanic).into_response(&context.id),
        Err(_) => Answer::from(RequestError::Slow {
            seconds: limit.as_secs().max(1),
        })
        .into_response(&context.id),
    }
}

fn line(shared: &Shared, request: &Request, context: &Context) -> log::Line {
    let peer = request
        .extensions()
        .get::<Peer>()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
    log::Line {
        context: context.clone(),
        client: gate::client(peer, request.headers(), &shared.proxies),
        method: method_name(request.method()),
        route: Route::of(request.uri().path()),
        started: shared.clock.monotonic(),
        clock: Arc::clone(&shared.clock),
        metrics: Arc::clone(&shared.metrics),
        lines: Arc::clone(&shared.lines),
        is_written: false,
    }
}

/// A method for logs and labels: what is not in the list is `other`.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::OPTIONS => "OPTIONS",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

impl Context {
    /// The context that [`answered`] gave the request.
    fn of(request: &Request) -> Self {
        request
            .extensions()
            .get::<Self>()
            .cloned()
            .unwrap_or_else(|| Self {
                id: RequestId::new(),
                seen: Arc::default(),
            })
    }
}
