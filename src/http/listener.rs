//! The accept loop of a listener: bounded connections, TLS within its time, an end when told.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::connection::{self, Times};

/// What a listener opens to: asked anew for each connection, and for each request on it, so that a
/// reload reaches connections that are open already.
pub(super) type Door = Arc<dyn Fn() -> Arc<Entrance> + Send + Sync>;

/// The routes behind a listener, and its rules.
pub(super) struct Entrance {
    pub(super) router: Router,
    pub(super) rules: Rules,
}

impl fmt::Debug for Entrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entrance")
    }
}

/// A listener's rules.
#[derive(Clone)]
pub(super) struct Rules {
    pub(super) times: Times,
    /// TLS, and how long a handshake may take.
    pub(super) tls: Option<(TlsAcceptor, Duration)>,
    /// Open connections at once; the next one is told so and closed.
    pub(super) connections: usize,
    /// How long requests may take to end after `stop`.
    pub(super) grace: Duration,
}

/// Accepts until `stop` says true; then waits for requests under way, no longer than the rules'
/// grace.
pub(super) async fn run(listener: TcpListener, door: Door, mut stop: watch::Receiver<bool>) {
    let mut open = JoinSet::new();
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
                    let rules = door().rules.clone();
                    if open.len() >= rules.connections {
                        turn_away(&stream, rules.tls.is_some());
                        continue;
                    }
                    open.spawn(converse(stream, peer, Arc::clone(&door), rules, stop.clone()));
                }
                Err(error) => pause(&error).await,
            },
        }
    }
    drop(listener);
    let ended = tokio::time::timeout(door().rules.grace, async {
        while open.join_next().await.is_some() {}
    });
    if ended.await.is_err() {
        tracing::warn!(
            reason = "listener.grace",
            connections = open.len(),
            "requests did not end in time; their connections are closed"
        );
        open.shutdown().await;
    }
}

async fn converse(
    stream: TcpStream,
    peer: SocketAddr,
    door: Door,
    rules: Rules,
    stop: watch::Receiver<bool>,
) {
    // Answers are one small write each; waiting to join it with another only delays it.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Some((acceptor, limit)) = rules.tls else {
        return connection::serve(stream, peer, &door, rules.times, stop).await;
    };
    // A failed or stalled handshake is a stranger's (T-04): closed without a word.
    if let Ok(Ok(stream)) = tokio::time::timeout(limit, acceptor.accept(stream)).await {
        connection::serve(stream, peer, &door, rules.times, stop).await;
    }
}

/// Says that we are full, without waiting for anything the peer does.
fn turn_away(stream: &TcpStream, is_tls: bool) {
    let told = !is_tls && stream.try_write(FULL).is_ok();
    tracing::debug!(
        reason = "limit.busy",
        told,
        "no place for another connection"
    );
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
        tracing::error!(reason = "listener.accept", kind = %error.kind(), "cannot accept connections");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
content-type: application/json\r\n\
cache-control: no-store\r\n\
x-content-type-options: nosniff\r\n\
retry-after: 1\r\n\
connection: close\r\n\
content-length: 123\r\n\
\r\n\
{\"error\":\"temporarily_unavailable\",\"error_description\":\"too many connections; try again in a second\",\"reason\":\"limit.busy\"}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_one_connection_too_many_is_well_formed() {
        let text = String::from_utf8(FULL.to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let length = format!("content-length: {}", body.len());
        assert!(head.contains(&length), "{length}");
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
