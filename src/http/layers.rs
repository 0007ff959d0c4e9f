//! The layers around the routes of both listeners, outermost first: [`logged`], [`gated`],
//! [`bounded`], and for operators [`known_host`].
//!
//! They are functions that return a future rather than `async` ones: those would keep a second copy of
//! the request for as long as the answer takes (T-01).

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use tower::ServiceBuilder;
use tracing::{Instrument as _, Span, field};

use super::Shared;
use super::answer::{self, Context, Refusal, RequestId};
use super::gate::{self, HeadLimits};
use super::log::Line;
use super::request::RequestError;
use super::routes::Route;
use crate::exchange::catch_panic;
use crate::reason::Reason;

/// The routes of the operators' listener, complete.
pub(super) fn operators(router: Router<Arc<Shared>>, shared: &Arc<Shared>) -> Router {
    let host = from_fn_with_state(Arc::clone(shared), known_host);
    public(router.layer(host), shared)
}

/// The routes of the public listener, complete; those of the operators have one layer more.
pub(super) fn public(router: Router<Arc<Shared>>, shared: &Arc<Shared>) -> Router {
    let layers = ServiceBuilder::new()
        .layer(from_fn_with_state(Arc::clone(shared), logged))
        .layer(from_fn_with_state(Arc::clone(shared), gated))
        .layer(from_fn_with_state(Arc::clone(shared), bounded));
    router.layer(layers).with_state(Arc::clone(shared))
}

/// Gives the request its id and its span, writes the answer, and then its log line.
fn logged(
    State(shared): State<Arc<Shared>>,
    mut request: Request,
    next: Next,
) -> impl Future<Output = Response> {
    let context = Context::new(gate::client_of(&request, &shared.proxies));
    let line = Line::of(&shared, &request, &context);
    let route = line.route;
    let is_last = gate::is_last(request.method(), request.headers());
    request.extensions_mut().insert(context.clone());
    let running = next.run(request).instrument(span(&context.id, route));
    async move {
        let (mut response, verdict) = answer::write(running.await, &context.id);
        if is_last {
            answer::seal(response.headers_mut(), &context.id, true);
        }
        line.answered(response.status(), &verdict);
        response
    }
}

/// Gives every line that is written for this request its id, and once the token is verified its
/// issuer. Of level `error`, so that it exists whatever the log's level is.
fn span(id: &RequestId, route: &Route) -> Span {
    tracing::error_span!(
        "request",
        request_id = id.as_str(),
        route = route.path,
        issuer = field::Empty
    )
}

/// Refuses a head that is malformed or too long, whatever its path.
fn gated(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> impl Future<Output = Response> {
    let (parts, body) = request.into_parts();
    let limits = HeadLimits {
        fields: shared.limits.fields,
        bytes: shared.limits.head,
    };
    let running = gate::check(&parts, limits).map(|()| next.run(Request::from_parts(parts, body)));
    async move {
        match running {
            Ok(running) => running.await,
            Err(error) => error.into_response(),
        }
    }
}

/// Answers for a handler that panicked, and when the request's time is up.
fn bounded(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> impl Future<Output = Response> {
    let limit = shared.limits.request_time;
    let running = tokio::time::timeout(limit, catch_panic(next.run(request)));
    async move {
        match running.await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => Refusal::bug(Reason::BugPanic).into_response(),
            Err(_) => {
                let seconds = limit.as_secs().max(1);
                RequestError::Slow { seconds }.into_response()
            }
        }
    }
}

/// Refuses requests by any other `Host` than loopback and the configured ones (T-118).
async fn known_host(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    if gate::is_operator_host(request.headers(), &shared.operator_hosts) {
        return next.run(request).await;
    }
    let found = "found a name that is neither loopback nor in operator_hosts";
    RequestError::Host { found }.into_response()
}
