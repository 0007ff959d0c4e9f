//! Metrics and readiness, on their own listener: read-only, and only for who asks by a name we
//! know (T-100, T-118).

use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use http::{StatusCode, header};
use serde_json::{Map, Value, json};

use super::Shared;
use super::answer::{Answer, Reply, Verdict};
use crate::audit::SinkStatus;
use crate::credential::target::{ConnectionStatus, Targets};
use crate::exchange::Exchange;
use crate::reason::Reason;
use crate::text::escape;
use crate::token::keys::RemoteKeys;
use crate::token::keys::remote::IssuerStatus;

/// `GET /readyz`: 200 when we can mint, as far as we can tell, else 503; each part says for itself.
pub(super) async fn ready(State(shared): State<Arc<Shared>>) -> Answer {
    let (is_ready, body) = shared.readiness.look(&shared.exchange);
    let mut reply = Reply::ok(&body);
    if !is_ready {
        reply.status = StatusCode::SERVICE_UNAVAILABLE;
        reply.verdict = Verdict::new(Reason::NotReady);
    }
    reply.into()
}

/// `GET /metrics`, for Prometheus.
pub(super) async fn metrics(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let used_tokens = shared.exchange.components().used_tokens.status();
    shared.metrics.used_tokens(&used_tokens);
    for (issuer, count) in shared.exchange.new_claims() {
        shared.metrics.new_claims(&issuer, count);
    }
    let remote = shared.readiness.remote.iter();
    for issuer in remote.flat_map(|remote| remote.status()) {
        shared.metrics.key_fetches(&issuer);
    }
    for (target, status) in shared.readiness.targets.status() {
        shared.metrics.leases(&target, &status);
    }
    for (target, logins) in shared.readiness.targets.connections() {
        for status in logins {
            shared.metrics.connections(&target, &status);
        }
    }
    for target in shared.readiness.targets.names() {
        let status = shared.exchange.breaker(target);
        shared.metrics.breaker(target, status);
    }
    let headers = [
        (
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        ),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, shared.metrics.render())
}

/// How the last reload went.
pub(crate) trait ReloadStatus: Send + Sync + fmt::Debug {
    /// What readiness shows of it.
    fn status(&self) -> Value;
}

/// Looks at the parts that an exchange needs.
#[derive(Debug)]
pub(crate) struct Readiness {
    remote: Option<Arc<RemoteKeys>>,
    targets: Arc<Targets>,
    reloads: Arc<dyn ReloadStatus>,
}

impl Readiness {
    /// Of issuers whose keys are fetched, of targets, and of reloads.
    pub(crate) fn new(
        remote: Option<Arc<RemoteKeys>>,
        targets: Arc<Targets>,
        reloads: Arc<dyn ReloadStatus>,
    ) -> Self {
        Self {
            remote,
            targets,
            reloads,
        }
    }

    /// Whether to send us jobs, and how each part is. An issuer or a target that is down makes
    /// nobody else's jobs wait, so it is told and does not count (T-68), unless no issuer is left whose
    /// tokens can be verified; nor does a reload that failed, since the version before it serves.
    fn look(&self, exchange: &Exchange) -> (bool, Value) {
        let parts = exchange.components();
        let clock = exchange.check_clock();
        let sinks = parts.audit.status();
        let sinks_work = sinks
            .iter()
            .all(|sink| !sink.required || sink.problem.is_none());
        let used_tokens = parts.used_tokens.status();
        let issuers = self.issuers(exchange);
        let has_issuer = issuers.iter().any(|issuer| issuer.problem.is_none());
        let is_ready = clock.is_ok() && sinks_work && used_tokens.problem.is_none() && has_issuer;
        let body = json!({
            "ready": is_ready,
            "clock": clock.map_or_else(|error| format!("{}: {error}", Reason::ClockJump), |()| "ok".to_owned()),
            "policies": { "revision": parts.policies.revision() },
            "reload": self.reloads.status(),
            "replay": parts.used_tokens.reach().name(),
            "replay_store": {
                "problem": used_tokens.problem.as_deref().map(escape),
                "used": used_tokens.used,
                "capacity": used_tokens.capacity,
            },
            "issuers": issuers.into_iter().map(|issuer| (issuer.name, issuer.about)).collect::<Map<_, _>>(),
            "targets": self.targets(exchange),
            "sinks": sinks.iter().map(sink).collect::<Map<_, _>>(),
        });
        (is_ready, body)
    }

    /// A target that is down makes nobody else's jobs wait: it is told and does not count.
    fn targets(&self, exchange: &Exchange) -> Map<String, Value> {
        let mut connections = self.targets.connections();
        let status = self.targets.status().into_iter();
        status
            .map(|(name, target)| {
                let about = json!({
                    "reachable": target.problem.is_none() && target.swept_at.is_some(),
                    "problem": target.problem.map(|problem| escape(&problem)),
                    "paused": exchange.breaker(&name).is_open,
                    "swept_at": target.swept_at.map(|time| time.to_string()),
                    "leases": target.leases.iter().map(|(state, count)| (state.name().to_owned(), json!(count))).collect::<Map<_, _>>(),
                    "foreign_leases": target.foreign_leases,
                    "quarantined_objects": target.quarantined,
                    "connections": logins(connections.remove(&name).unwrap_or_default()),
                });
                (name, about)
            })
            .collect()
    }

    fn issuers(&self, exchange: &Exchange) -> Vec<IssuerLook> {
        let parts = exchange.components();
        let Some(remote) = &self.remote else {
            let readers = parts.policies.readers().iter();
            return readers
                .map(|reader| IssuerLook {
                    name: reader.issuer.name.clone(),
                    problem: None,
                    about: json!({ "keys": "given" }),
                })
                .collect();
        };
        let look = |issuer: IssuerStatus| {
            let refusal = parts
                .verifier
                .refusal(&issuer.url, remote.set(&issuer.url).as_deref());
            let unusable = refusal.or_else(|| issuer.problem.clone().filter(|_| !issuer.usable));
            let problem = unusable.clone().or(issuer.problem);
            IssuerLook {
                name: issuer.name,
                about: json!({
                    "usable": unusable.is_none(),
                    "keys": issuer.keys,
                    "age_seconds": issuer.age.map(|age| age.as_secs()),
                    "problem": problem.as_deref().map(escape),
                }),
                problem: unusable,
            }
        };
        remote.status().into_iter().map(look).collect()
    }
}

/// A login without a free connection is named, and nobody else's jobs wait for it.
fn logins(connections: Vec<ConnectionStatus>) -> Map<String, Value> {
    connections
        .into_iter()
        .map(|status| {
            let about = json!({
                "open": status.open,
                "most": status.most,
                "problem": status.problem.map(|problem| escape(&problem)),
            });
            (status.login.to_owned(), about)
        })
        .collect()
}

/// One issuer, as readiness shows it.
struct IssuerLook {
    name: String,
    /// Why none of its tokens can be taken now.
    problem: Option<String>,
    about: Value,
}

fn sink(status: &SinkStatus) -> (String, Value) {
    let about = json!({
        "required": status.required,
        "problem": status.problem.as_deref().map(escape),
        "backlog": status.backlog,
        "missed": status.missed,
    });
    (status.name.clone(), about)
}
