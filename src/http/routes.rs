//! Every route of both listeners: the routers, the log and the metrics are made from this list.

use std::sync::Arc;

use axum::Router;
use axum::routing::{MethodRouter, any, get, post};

use super::clients::{self, Client};
use super::request::RequestError;
use super::{Shared, credentials, discovery, explain, operator, revoke, token};
use super::{healthy, root};

/// One path, who can reach it, and how the log and the metrics treat it.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) path: &'static str,
    listeners: &'static [Listener],
    pub(super) purpose: Purpose,
    method: Method,
    handler: fn() -> MethodRouter<Arc<Shared>>,
}

/// A listener has its own router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listener {
    Public,
    Operator,
}

/// What a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Takes a subject token. Each request counts as an exchange, and each success has a log line.
    Exchange,
    /// Ends a credential. Each success has a log line.
    Revocation,
    /// Published for anyone; successes are logged at most [`super::log::LINES`] times a second.
    Document,
    /// Asked by monitoring every few seconds: a success is logged at level `debug` only, so that
    /// it does not bury what happens.
    Probe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Post,
    /// HEAD is GET without the body (RFC 9110 section 9.3.2): health checks use it.
    Get,
    Any,
}

impl Route {
    /// The route of `path`, or one named `other`, so that neither a log line nor a series ever
    /// holds a path that a caller made up.
    pub(super) fn of(path: &str) -> &'static Self {
        ROUTES
            .iter()
            .find(|route| route.path == path)
            .unwrap_or(&OTHER)
    }

    fn service(&self) -> MethodRouter<Arc<Shared>> {
        let service = (self.handler)();
        match self.method {
            Method::Post => service.fallback(only_post),
            Method::Get => service.fallback(only_get),
            Method::Any => service,
        }
    }
}

/// The routes of `listener`; a caller adds the layers and the fallback.
pub(super) fn router(listener: Listener) -> Router<Arc<Shared>> {
    ROUTES
        .iter()
        .filter(|route| route.listeners.contains(&listener))
        .fold(Router::new(), |router, route| {
            router.route(route.path, route.service())
        })
}

async fn only_post() -> RequestError {
    RequestError::Method { allowed: "POST" }
}

async fn only_get() -> RequestError {
    let allowed = "GET, HEAD";
    RequestError::Method { allowed }
}

static ROUTES: [Route; 15] = [
    Route {
        path: "/token",
        listeners: &[Listener::Public],
        purpose: Purpose::Exchange,
        method: Method::Post,
        handler: || post(token::post),
    },
    Route {
        path: "/api/credentials",
        listeners: &[Listener::Public],
        purpose: Purpose::Exchange,
        method: Method::Post,
        handler: || post(credentials::post),
    },
    Route {
        path: "/api/explain",
        listeners: &[Listener::Public],
        purpose: Purpose::Exchange,
        method: Method::Post,
        handler: || post(explain::post),
    },
    Route {
        path: "/revoke",
        listeners: &[Listener::Public],
        purpose: Purpose::Revocation,
        method: Method::Post,
        handler: || post(revoke::post),
    },
    Route {
        path: "/.well-known/openid-configuration",
        listeners: &[Listener::Public],
        purpose: Purpose::Document,
        method: Method::Get,
        handler: || get(discovery::metadata),
    },
    Route {
        path: "/.well-known/oauth-authorization-server",
        listeners: &[Listener::Public],
        purpose: Purpose::Document,
        method: Method::Get,
        handler: || get(discovery::metadata),
    },
    Route {
        path: "/.well-known/jwks.json",
        listeners: &[Listener::Public],
        purpose: Purpose::Document,
        method: Method::Get,
        handler: || get(discovery::keys),
    },
    Route {
        path: "/client/linux-x86_64",
        listeners: &[Listener::Public],
        purpose: Purpose::Document,
        method: Method::Get,
        handler: || {
            get(async |shared, request| clients::get(shared, request, Client::LinuxX86).await)
        },
    },
    Route {
        path: "/client/linux-aarch64",
        listeners: &[Listener::Public],
        purpose: Purpose::Document,
        method: Method::Get,
        handler: || {
            get(async |shared, request| clients::get(shared, request, Client::LinuxArm).await)
        },
    },
    Route {
        path: "/client/macos-x86_64",
        listeners: &[Listener::Public],
        purpose: Purpose::Document,
        method: Method::Get,
        handler: || {
            get(async |shared, request| clients::get(shared, request, Client::MacX86).await)
        },
    },
    Route {
        path: "/client/macos-aarch64",
        listeners: &[Listener::Public],
        purpose: Purpose::Document,
        method: Method::Get,
        handler: || {
            get(async |shared, request| clients::get(shared, request, Client::MacArm).await)
        },
    },
    // `OPTIONS /` is the health check of `HAProxy` without further configuration.
    Route {
        path: "/",
        listeners: &[Listener::Public],
        purpose: Purpose::Probe,
        method: Method::Any,
        handler: || any(root),
    },
    Route {
        path: "/healthz",
        listeners: &[Listener::Public, Listener::Operator],
        purpose: Purpose::Probe,
        method: Method::Get,
        handler: || get(healthy),
    },
    Route {
        path: "/readyz",
        listeners: &[Listener::Operator],
        purpose: Purpose::Probe,
        method: Method::Get,
        handler: || get(operator::ready),
    },
    Route {
        path: "/metrics",
        listeners: &[Listener::Operator],
        purpose: Purpose::Probe,
        method: Method::Get,
        handler: || get(operator::metrics),
    },
];

/// Every path that is not in the list.
static OTHER: Route = Route {
    path: "other",
    listeners: &[],
    purpose: Purpose::Document,
    method: Method::Any,
    handler: || any(async || RequestError::Path),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_has_its_own_path_and_at_least_one_listener() {
        for (index, route) in ROUTES.iter().enumerate() {
            assert!(!route.listeners.is_empty(), "{}", route.path);
            let first = ROUTES.iter().position(|other| other.path == route.path);
            assert_eq!(first, Some(index), "{} is in the list twice", route.path);
            assert_eq!(Route::of(route.path).path, route.path);
        }
        assert_eq!(Route::of("/token/x").path, "other");
    }
}
