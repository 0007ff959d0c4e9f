//! One log line where a request is answered, and what panics leave behind.

use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use http::{Method, StatusCode};

mod lines;

pub use lines::log_subscriber;

use super::Shared;
use super::answer::{Context, Verdict};
use super::metrics::Metrics;
use super::routes::{Purpose, Route};
use crate::clock::Clock;
use crate::exchange::{LineLimiter, SuppressedLines, UNKNOWN};
use crate::reason::{Fault, Reason};
use crate::text::{escape, escape_up_to, escaped};

/// The line of one request. It is written also when the caller goes away before the answer.
pub(super) struct Line {
    pub(super) route: &'static Route,
    context: Context,
    method: &'static str,
    started: Duration,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    lines: Arc<LineLimiter>,
    is_written: bool,
}

impl Line {
    /// The line of a request that has just come.
    pub(super) fn of(shared: &Shared, request: &Request, context: &Context) -> Self {
        Self {
            route: Route::of(request.uri().path()),
            context: context.clone(),
            method: name(request.method()),
            started: shared.clock.monotonic(),
            clock: Arc::clone(&shared.clock),
            metrics: Arc::clone(&shared.metrics),
            lines: Arc::clone(&shared.lines),
            is_written: false,
        }
    }

    pub(super) fn answered(mut self, status: StatusCode, verdict: &Verdict) {
        self.write(Some(status), verdict);
    }

    fn write(&mut self, status: Option<StatusCode>, verdict: &Verdict) {
        self.is_written = true;
        let took = self.clock.monotonic().saturating_sub(self.started);
        // 499 is what proxies write for a client that went away.
        let status = status.map_or(499, |status| status.as_u16());
        self.metrics.request(self.route.path, status, took);
        let seen = &self.context.caller;
        let issuer = seen.issuer().unwrap_or(UNKNOWN);
        if self.route.purpose == Purpose::Exchange {
            self.metrics
                .exchange(self.route.path, issuer, verdict.reason);
            if let Some(shadow) = seen.shadow() {
                self.metrics.shadow(shadow);
            }
            if let Some(credential) = seen.permitted()
                && verdict.reason == Reason::Success
            {
                self.metrics.granted(&credential.labels);
            }
        }
        let is_probe =
            verdict.reason.fault() == Fault::None && self.route.purpose == Purpose::Probe;
        if is_probe && !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        if !self.is_kept_always(verdict) {
            let is_kept = self.lines.take(verdict.reason, issuer);
            tell(&self.lines.left_out());
            if !is_kept {
                return;
            }
        }
        let repository = seen.repository().map(escaped);
        let credential = verdict.credential.as_deref().map(escaped);
        let policy = verdict.policy.as_deref().map(escaped);
        let lease = verdict.lease.as_deref().map(escaped);
        let detail = verdict.detail.as_deref().map(escaped);
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        // One macro call per level: a level is part of the call's static description.
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    request_id = self.context.id.as_str(),
                    reason = verdict.reason.code(),
                    status,
                    method = self.method,
                    route = self.route.path,
                    client = %self.context.client.address(),
                    issuer = &*escaped(issuer),
                    unverified_iss = seen.foreign_issuer(),
                    kid = seen.kid().map(|kid| escape_up_to(kid, 64)),
                    subject_token_id = seen.token(),
                    repository = repository.as_deref(),
                    credential = credential.as_deref(),
                    policy = policy.as_deref(),
                    lease = lease.as_deref(),
                    sealed_to = verdict.sealed_to.as_deref(),
                    detail = detail.as_deref(),
                    duration_ms,
                    "request"
                )
            };
        }
        match verdict.reason.fault() {
            Fault::None if is_probe => line!(debug),
            Fault::None | Fault::Theirs => line!(info),
            Fault::Suspicious => line!(warn),
            Fault::Ours => line!(error),
        }
    }

    /// Permits, and failures of ours that met a verified job: how often a job may ask is limited
    /// already. Everything else anybody can cause as often as they like (T-97).
    fn is_kept_always(&self, verdict: &Verdict) -> bool {
        match verdict.reason.fault() {
            Fault::None => matches!(self.route.purpose, Purpose::Exchange | Purpose::Revocation),
            Fault::Ours => self.context.caller.repository().is_some(),
            Fault::Theirs | Fault::Suspicious => false,
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.is_written {
            self.write(None, &Verdict::new(Reason::ClientGone));
        }
    }
}

/// A method for logs: what is not in the list is `other`.
fn name(method: &Method) -> &'static str {
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

/// One line for all that were left out of one kind.
pub(crate) fn tell(left_out: &[SuppressedLines]) {
    for suppressed in left_out {
        tracing::warn!(
            reason = suppressed.reason.code(),
            issuer = %escape(&suppressed.issuer),
            requests = suppressed.lines,
            "requests left out of the log"
        );
    }
}

/// Makes panics leave their place and nothing else: the usual hook prints the message, which may
/// hold what a caller sent (T-94).
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        let place = place_of(panic);
        tracing::error!(reason = Reason::BugPanic.code(), place = %place, "panic");
    }));
}

fn place_of(panic: &PanicHookInfo<'_>) -> String {
    panic.location().map_or_else(
        || "an unknown place".to_owned(),
        |place| format!("{}:{}:{}", place.file(), place.line(), place.column()),
    )
}

/// Request lines per second, for each reason and issuer.
pub(crate) const LINES: u32 = 100;
