//! One connection of a listener: HTTP/1.1 with timers, from its first byte to its last answer.
//!
//! hyper has one timer, for reading a head, and it runs while a kept-alive connection is silent
//! too. A connection here is watched by its phase instead, so that a slow head is cut off sooner
//! than a silent client (T-02).

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tower::ServiceExt as _;

use super::Peer;
use super::listener::Door;

/// Times a connection is held to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// From the first byte of a head, or from the start, to the end of the head.
    pub(super) head: Duration,
    /// Between an answer and the next request.
    pub(super) idle: Duration,
    /// From a head to its answer. The answer to a request that takes longer is made elsewhere;
    /// here a connection is given up that does not take it.
    pub(super) request: Duration,
    /// The longest head, in bytes.
    pub(super) head_size: usize,
}

/// Serves requests until either side ends the connection, a time runs out, or `stop` changes: then
/// the request being answered is the last.
pub(super) async fn serve<S>(
    stream: S,
    peer: SocketAddr,
    door: &Door,
    times: Times,
    mut stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let phases = Arc::new(Phases::new(times));
    let io = TokioIo::new(Watched {
        stream,
        phases: Arc::clone(&phases),
    });
    let service = service_fn(|request: http::Request<Incoming>| {
        phases.enter(Phase::Answering);
        let router = door().router.clone();
        let phases = Arc::clone(&phases);
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer));
            let response: Result<Response, _> = router.oneshot(request).await;
            phases.enter(Phase::Idle);
            response
        }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(times.idle.max(times.head))
        .max_header_size(times.head_size)
        .max_buf_size(times.head_size.saturating_mul(2).max(MIN_BUFFER));
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut overdue = pin!(phases.overdue());
    loop {
        tokio::select! {
            // An error of a connection is the peer's doing and ends with it; what a request did
            // wrong was answered and logged.
            _ = connection.as_mut() => return,
            () = overdue.as_mut() => return,
            changed = stop.changed() => {
                connection.as_mut().graceful_shutdown();
                if changed.is_err() {
                    // Nobody can tell us to stop any more: so we do, after this request.
                    tokio::select! {
                        _ = connection.as_mut() => {}
                        () = overdue.as_mut() => {}
                    }
                    return;
                }
            }
        }
    }
}

/// What a connection is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// For the first head, or the rest of one.
    Head,
    /// For our answer.
    Answering,
    /// For another request.
    Idle,
}

/// The phase of one connection and when it must end.
#[derive(Debug)]
struct Phases {
    times: Times,
    now: Mutex<(Phase, Instant)>,
    changed: Notify,
}

impl Phases {
    fn new(times: Times) -> Self {
        Self {
            times,
            now: Mutex::new((Phase::Head, Instant::now())),
            changed: Notify::new(),
        }
    }

    fn enter(&self, phase: Phase) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = (phase, Instant::now());
        self.changed.notify_one();
    }

    /// Bytes came: after an answer they begin the next head.
    fn read(&self) {
        let phase = self.now.lock().unwrap_or_else(PoisonError::into_inner).0;
        if phase == Phase::Idle {
            self.enter(Phase::Head);
        }
    }

    fn deadline(&self) -> Instant {
        let (phase, since) = *self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let allowed = match phase {
            Phase::Head => self.times.head,
            Phase::Answering => self.times.request.saturating_mul(2),
            Phase::Idle => self.times.idle,
        };
        since.checked_add(allowed).unwrap_or(since)
    }

    /// Ends when the connection has been in one phase for too long.
    async fn overdue(&self) {
        loop {
            let deadline = self.deadline();
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => {
                    if self.deadline() <= Instant::now() {
                        return;
                    }
                }
                () = self.changed.notified() => {}
            }
        }
    }
}

/// A stream that tells when bytes come in.
struct Watched<S> {
    stream: S,
    phases: Arc<Phases>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.phases.read();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// hyper takes no smaller buffer.
const MIN_BUFFER: usize = 16_384;
