//! One connection of a listener: HTTP/1.1 with timers, from its first byte to its last answer.
//!
//! hyper has one timer, for reading a head, and it runs while a kept-alive connection is silent
//! too. A connection here is watched by its phase instead, so that a slow head is cut off sooner
//! than a silent client (T-02).

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tower::ServiceExt as _;

use super::Peer;
use super::answer::{Refusal, RequestId};
use super::boundary::Boundary;
use super::listener::{Door, unread};
use crate::clock::{Clock as _, SystemClock};
use crate::reason::Reason;

/// Times a connection is held to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// From the first byte of a head, or from the start, to the end of the head.
    pub(crate) head: Duration,
    /// Between an answer and the next request.
    pub(crate) idle: Duration,
    /// From a head to its answer. The answer to a request that takes longer is made elsewhere;
    /// here a connection is given up that does not take it.
    pub(crate) request: Duration,
    /// The longest head, in bytes.
    pub(crate) head_size: usize,
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
    if !has_http_date() {
        // Boxed, so that it takes no room in every other connection (T-01).
        return Box::pin(turn_away(stream, times)).await;
    }
    let phases = Arc::new(Phases::new(times));
    let io = TokioIo::new(Watched {
        stream,
        phases: Arc::clone(&phases),
    });
    let service = service_fn(|request: http::Request<Incoming>| {
        phases.asked(body_length(request.headers()));
        let router = door().router.clone();
        let phases = Arc::clone(&phases);
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer));
            let response: Result<Response, _> = router.oneshot(request).await;
            phases.answered();
            response
        }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(times.idle.max(times.head))
        .max_header_size(times.head_size)
        .max_buf_size(times.head_size.saturating_add(BUFFER_BESIDE_HEAD));
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut overdue = pin!(phases.overdue());
    loop {
        tokio::select! {
            // An error of a connection is the peer's doing and ends with it; what a request did
            // wrong was answered and logged.
            () = while_dated(connection.as_mut()) => return,
            () = overdue.as_mut() => return,
            changed = stop.changed() => {
                connection.as_mut().graceful_shutdown();
                if changed.is_err() {
                    // Nobody can tell us to stop any more: so we do, after this request.
                    tokio::select! {
                        () = while_dated(connection.as_mut()) => {}
                        () = overdue.as_mut() => {}
                    }
                    return;
                }
            }
        }
    }
}

/// Whether the machine's time can be written as the `Date` of an answer. hyper reads it for itself
/// each time it looks at a connection, and panics outside these years.
pub(crate) fn has_http_date() -> bool {
    (0..YEAR_10000).contains(&SystemClock::new().now().unix())
}

/// Runs a connection as long as its answers can have a date; then it is given up.
async fn while_dated<F: Future>(mut connection: Pin<&mut F>) {
    poll_fn(|context| {
        if has_http_date() {
            connection.as_mut().poll(context).map(drop)
        } else {
            Poll::Ready(())
        }
    })
    .await;
}

/// Answers without hyper, when the request has come or half of it.
async fn turn_away<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, times: Times) {
    let text = "the clock of the broker is outside the years 1970 to 9999; nothing is served";
    let answer = unread(&RequestId::new(), &Refusal::new(Reason::ClockRange, text));
    let told = async {
        let mut head = [0; 1_024];
        if stream.read(&mut head).await? > 0 {
            stream.write_all(answer.as_bytes()).await?;
        }
        stream.shutdown().await
    };
    // Nothing is owed to a peer that takes no answer.
    let _: Result<io::Result<()>, _> = tokio::time::timeout(times.head, told).await;
}

/// A body of unknown length is the last of its connection.
fn body_length(headers: &HeaderMap) -> u64 {
    let length = headers.get(header::CONTENT_LENGTH);
    length
        .and_then(|length| length.to_str().ok()?.parse().ok())
        .unwrap_or(0)
}

/// What a connection is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// For the first head, or the rest of one.
    Head,
    Answering,
    Idle,
}

/// The phase of one connection and when it must end.
#[derive(Debug)]
struct Phases {
    times: Times,
    now: Mutex<(Phase, Instant)>,
    boundary: Mutex<Boundary>,
    changed: Notify,
}

impl Phases {
    fn new(times: Times) -> Self {
        Self {
            times,
            now: Mutex::new((Phase::Head, Instant::now())),
            boundary: Mutex::default(),
            changed: Notify::new(),
        }
    }

    fn enter(&self, phase: Phase) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = (phase, Instant::now());
        self.changed.notify_one();
    }

    fn boundary(&self) -> MutexGuard<'_, Boundary> {
        self.boundary.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked(&self, body: u64) {
        self.boundary().asked(body);
        self.enter(Phase::Answering);
    }

    /// Its request was answered: the peer is silent, or has begun the next head.
    fn answered(&self) {
        let has_begun = self.boundary().answered();
        self.enter(if has_begun { Phase::Head } else { Phase::Idle });
    }

    /// Bytes came: after an answer they begin the next head.
    fn read(&self, bytes: &[u8]) {
        self.boundary().came(bytes);
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
        if let Some(bytes) = buffer.filled().get(before..).filter(|new| !new.is_empty()) {
            self.phases.read(bytes);
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

/// Unix seconds.
const YEAR_10000: i64 = 253_402_300_800;

/// Bytes of a buffer beyond the longest head, which must fit whole. More would only let each body take
/// more memory (T-01); and hyper takes no buffer under 8 KiB.
const BUFFER_BESIDE_HEAD: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;
    use crate::http::listener::{Entrance, Rules};

    /// The times of a broker without settings, on a clock that moves on when all wait.
    const TIMES: Times = Times {
        head: Duration::from_secs(5),
        idle: Duration::from_secs(30),
        request: Duration::from_secs(10),
        head_size: 32 << 10,
    };
    const ASK: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

    fn connect() -> (DuplexStream, watch::Sender<bool>) {
        let (ours, theirs) = duplex(64 << 10);
        let router = Router::new()
            .route("/healthz", get(async || "ok"))
            .route("/token", post(async |body: axum::body::Bytes| body))
            .route("/never", get(async || std::future::pending::<()>().await));
        let entrance = Arc::new(Entrance {
            router,
            rules: Rules {
                times: TIMES,
                tls: None,
                connections: 1,
                grace: Duration::ZERO,
            },
        });
        let door: Door = Arc::new(move || Arc::clone(&entrance));
        let (stop, stopped) = watch::channel(false);
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        tokio::spawn(async move { serve(theirs, peer, &door, TIMES, stopped).await });
        (ours, stop)
    }

    /// Whole seconds until the other side closes, and what it said.
    async fn closed(stream: &mut DuplexStream) -> (u64, String) {
        let (began, mut text) = (Instant::now(), Vec::new());
        stream.read_to_end(&mut text).await.unwrap();
        let text = String::from_utf8(text).unwrap();
        (began.elapsed().as_secs(), text)
    }

    async fn closed_after(bytes: &str) -> (u64, usize) {
        let (mut stream, _stop) = connect();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let (seconds, text) = closed(&mut stream).await;
        (seconds, text.matches("200 OK").count())
    }

    /// T-02
    #[tokio::test(start_paused = true)]
    async fn a_head_has_five_seconds_and_silence_thirty() {
        assert_eq!(closed_after("").await, (5, 0));
        assert_eq!(closed_after("POST /token HTTP/1.1\r\nHo").await, (5, 0));
        assert_eq!(closed_after(ASK).await, (30, 1));
    }

    /// T-02
    #[tokio::test(start_paused = true)]
    async fn half_a_head_sent_with_the_request_before_it_has_five_seconds() {
        let half = "GET /healthz HTTP/1.1\r\nHo";
        assert_eq!(closed_after(&format!("{ASK}{half}")).await, (5, 1));
        let post = "POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab";
        assert_eq!(closed_after(&format!("{post}{half}")).await, (5, 1));
        assert_eq!(closed_after(post).await, (30, 1));
        assert_eq!(closed_after(&format!("{ASK}{ASK}{half}")).await, (5, 2));
    }

    /// T-02
    #[tokio::test(start_paused = true)]
    async fn a_head_that_comes_byte_by_byte_has_five_seconds_in_all() {
        for before in ["", ASK] {
            let (mut stream, _stop) = connect();
            stream.write_all(before.as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            let began = Instant::now();
            let bytes = b"GET /healthz HTTP/1.1\r\nHost: ".iter().chain(&[b'x'; 99]);
            for byte in bytes {
                if stream.write_all(&[*byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            // The first head's time runs from the connection's start, a second before.
            let allowed = if before.is_empty() { 5 } else { 6 };
            assert!(
                began.elapsed().as_secs() <= allowed,
                "{:?}",
                began.elapsed()
            );
        }
    }

    /// T-02
    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_answer_never_comes_is_given_up() {
        let ask = ASK.replace("/healthz", "/never");
        assert_eq!(closed_after(&ask).await, (20, 0));
    }
}
