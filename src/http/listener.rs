//! The accept loop of a listener: connection limit, TLS handshake timeout, graceful shutdown.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::answer::{Refusal, RequestId, to_json};
use super::connection::{self, Times};
use super::oauth;
use crate::reason::Reason;

/// Returns the current router and rules. It is called for every connection and every request, so that
/// a reload also applies to open connections.
pub(crate) type CurrentService = Arc<dyn Fn() -> Arc<Service> + Send + Sync>;

/// The routes behind a listener, and its rules.
pub(crate) struct Service {
    pub(crate) router: Router,
    pub(crate) rules: Rules,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Service")
    }
}

#[derive(Clone)]
pub(crate) struct Rules {
    pub(crate) times: Times,
    /// TLS, and how long a handshake may take.
    pub(crate) tls: Option<(TlsAcceptor, Duration)>,
    /// The most open connections; the next one gets a 503 and is closed.
    pub(crate) connections: usize,
    /// How long requests may take to end after `stop`.
    pub(crate) grace: Duration,
}

/// Accepts until `stop` says true; then waits for requests under way, no longer than the rules'
/// grace.
pub(crate) async fn run(
    listener: TcpListener,
    current: CurrentService,
    mut stop: watch::Receiver<bool>,
) {
    let mut open = JoinSet::new();
    let connections = GracefulShutdown::new();
    let mut turned_away = TurnedAway::default();
    loop {
        tokio::select! {
            biased;
            changed = stop.changed() => {
                if changed.is_err() || *stop.borrow() {
                    break;
                }
            }
            Some(_) = open.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let rules = current().rules.clone();
                    if open.len() >= rules.connections {
                        turned_away.tell(&stream, rules.tls.is_some());
                        continue;
                    }
                    open.spawn(converse(stream, peer, Arc::clone(&current), rules, connections.watcher()));
                }
                Err(error) => pause(&error).await,
            },
        }
    }
    drop(listener);
    let ended = tokio::time::timeout(current().rules.grace, connections.shutdown());
    if ended.await.is_err() {
        tracing::warn!(
            reason = Reason::ListenerGrace.code(),
            connections = open.len(),
            "requests did not end in time; their connections are closed"
        );
        open.shutdown().await;
    }
}

async fn converse(
    stream: TcpStream,
    peer: SocketAddr,
    current: CurrentService,
    rules: Rules,
    stop: Watcher,
) {
    // Answers are one small write each; waiting to join it with another only delays it.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Some((acceptor, limit)) = rules.tls else {
        return connection::serve(stream, peer, &current, rules.times, stop).await;
    };
    // A failed or stalled handshake is a stranger's (T-04): closed without a word.
    if let Ok(Ok(stream)) = tokio::time::timeout(limit, acceptor.accept(stream)).await {
        connection::serve(stream, peer, &current, rules.times, stop).await;
    }
}

/// Connections that found no place: each is told, and they are logged together, since there is no
/// end to how many may come (T-97).
#[derive(Debug, Default)]
struct TurnedAway {
    count: u64,
    logged_at: Option<Instant>,
}

impl TurnedAway {
    /// Says that we are full, without waiting for anything the peer does.
    fn tell(&mut self, stream: &TcpStream, is_tls: bool) {
        let id = RequestId::new();
        if !is_tls && stream.try_write(full(&id).as_bytes()).is_err() {
            tracing::debug!(
                reason = Reason::LimitBusy.code(),
                "a connection was closed without an answer"
            );
        }
        self.count = self.count.saturating_add(1);
        let now = Instant::now();
        let is_due = self
            .logged_at
            .is_none_or(|last| now.saturating_duration_since(last) >= LOG_EVERY);
        if is_due {
            tracing::error!(
                reason = Reason::LimitBusy.code(),
                status = 503_u16,
                request_id = id.as_str(),
                connections = self.count,
                "no place for more connections"
            );
            self.count = 0;
            self.logged_at = Some(now);
        }
    }
}

/// The answer to a connection too many.
fn full(id: &RequestId) -> String {
    let text = "too many connections; try again in a second";
    unread(id, &Refusal::new(Reason::LimitBusy, text))
}

/// The answer to a connection that no request is read from.
pub(super) fn unread(id: &RequestId, refusal: &Refusal) -> String {
    let body = to_json(&oauth::body(refusal, Some(id)));
    let (id, retry_after) = (id.as_str(), refusal.retry_after.unwrap_or(1));
    format!(
        "HTTP/1.1 503 Service Unavailable\r\n\
         content-type: application/json\r\n\
         cache-control: no-store\r\n\
         retry-after: {retry_after}\r\n\
         x-content-type-options: nosniff\r\n\
         x-request-id: {id}\r\n\
         connection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Accepting failed. Errors of one connection pass; without file descriptors it takes a moment.
async fn pause(error: &io::Error) {
    let is_of_one_connection = matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    );
    if !is_of_one_connection {
        tracing::error!(reason = Reason::ListenerAccept.code(), kind = %error.kind(), "cannot accept connections");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// At most one line in this time tells of connections that found no place.
const LOG_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// T-03
    #[test]
    fn the_answer_to_one_connection_too_many_is_well_formed() {
        let (one, other) = (full(&RequestId::new()), full(&RequestId::new()));
        assert_ne!(one, other);
        let (head, body) = one.split_once("\r\n\r\n").unwrap();
        let length = format!("content-length: {}", body.len());
        assert!(head.contains(&length), "{length}");
        let json: Value = serde_json::from_str(body).unwrap();
        let id = json["request_id"].as_str().unwrap();
        assert!(head.contains(&format!("x-request-id: {id}\r\n")), "{head}");
    }
}
