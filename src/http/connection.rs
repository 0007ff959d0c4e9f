//! Serves one HTTP/1.1 connection, with a deadline for each phase.
//!
//! hyper has one timer, for reading a head, which runs from the answer before it: it cannot close a
//! slow head after five seconds and keep an idle connection for thirty, and nothing limits how long a
//! client takes to read an answer. So each connection has a deadline here, which moves with its
//! requests (T-02).

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::header;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::io::{InspectReader, InspectWriter};
use tower::ServiceExt as _;

use super::answer::{Refusal, RequestId};
use super::listener::{CurrentService, unread};
use super::{Peer, gate};
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

/// Serves requests until either side ends the connection, a time runs out, or the listener stops: then
/// the request being answered is the last.
pub(super) async fn serve<S>(
    stream: S,
    peer: SocketAddr,
    current: &CurrentService,
    times: Times,
    stop: Watcher,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    if !has_http_date() {
        // Boxed, so that it takes no room in every other connection (T-01).
        return Box::pin(turn_away(stream, times)).await;
    }
    let (deadline, mut changed) = watch::channel(ConnectionDeadline::new(times));
    let reads = deadline.clone();
    let writes = deadline.clone();
    let stream = InspectReader::new(stream, move |bytes: &[u8]| {
        reads.send_if_modified(|deadline| deadline.read(bytes.len()));
    });
    let stream = InspectWriter::new(stream, move |bytes: &[u8]| {
        writes.send_if_modified(|deadline| deadline.wrote(bytes.len()));
    });
    let deadline = &deadline;
    let service = service_fn(|request: http::Request<Incoming>| {
        let size = request_size(&request);
        deadline.send_modify(ConnectionDeadline::asked);
        let router = current().router.clone();
        let sending = deadline;
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer));
            let response: Result<Response, Infallible> = router.oneshot(request).await;
            let Ok(response) = response;
            let deadline = deadline.clone();
            let sent = move || deadline.send_modify(|deadline| deadline.answered(size));
            let time = response.extensions().get::<SendingTime>().copied();
            Ok::<_, Infallible>(if let Some(time) = time {
                sending.send_modify(|deadline| deadline.sends(time));
                at_end(response, sent)
            } else {
                sent();
                response
            })
        }
    });
    let mut builder = http1::Builder::new();
    builder
        .max_header_size(times.head_size)
        .max_buf_size(times.head_size.saturating_add(BUFFER_BESIDE_HEAD));
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(stop.watch(connection));
    tokio::select! {
        // What a request did wrong was answered and logged, unless hyper could not read its head:
        // then hyper answers with a bare 400 or 431.
        ended = while_dated(connection.as_mut()) => if let Some(Err(error)) = ended {
            tracing::debug!(%peer, %error, "a connection ended with an error");
        },
        () = overdue(&mut changed) => {
            tracing::debug!(%peer, "a connection was closed after a timeout");
        }
    }
}

/// In the extensions of a response whose body takes long: how long the client may take to read it.
#[derive(Clone, Copy, Debug)]
pub(super) struct SendingTime {
    /// From the head to the end.
    pub(super) whole: Duration,
    /// Between two writes to the client: one that stopped reading is given up after it. What hyper takes
    /// into its own buffer is no progress.
    pub(super) chunk: Duration,
}

/// Calls `ended` once the response's body was handed over or dropped.
fn at_end(response: Response, ended: impl FnOnce() + Send + 'static) -> Response {
    struct End<F: FnOnce()>(Option<F>);
    impl<F: FnOnce()> Drop for End<F> {
        fn drop(&mut self) {
            if let Some(ended) = self.0.take() {
                ended();
            }
        }
    }
    let end = End(Some(ended));
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _until_dropped = &end;
            frame
        }))
    })
}

/// Whether the machine's time can be written as the `Date` of an answer. hyper reads it for itself
/// each time it looks at a connection, and panics outside these years.
pub(crate) fn has_http_date() -> bool {
    (0..YEAR_10000).contains(&SystemClock::new().now().unix())
}

/// Runs a connection as long as its answers can have a date; then it is given up.
async fn while_dated<F: Future>(mut connection: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|context| {
        if has_http_date() {
            connection.as_mut().poll(context).map(Some)
        } else {
            Poll::Ready(None)
        }
    })
    .await
}

/// Writes an error response without hyper, after the first bytes of a request.
async fn turn_away<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, times: Times) {
    let text = "the clock of the broker is outside the years 1970 to 9999; the broker rejects all requests";
    let answer = unread(&RequestId::new(), &Refusal::new(Reason::ClockRange, text));
    let told = async {
        let mut head = [0; 1_024];
        if stream.read(&mut head).await? > 0 {
            stream.write_all(answer.as_bytes()).await?;
        }
        stream.shutdown().await
    };
    // A peer that does not read the response is dropped.
    let _: Result<io::Result<()>, _> = tokio::time::timeout(times.head, told).await;
}

/// The bytes of a request as clients write it: one space after each colon. A body of unknown length
/// is the last of its connection.
fn request_size(request: &http::Request<Incoming>) -> usize {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let body: usize = length
        .and_then(|length| length.to_str().ok()?.parse().ok())
        .unwrap_or(0);
    gate::head_size(request.method(), request.uri(), request.headers()).saturating_add(body)
}

/// When a connection is closed unless something happens.
#[derive(Debug)]
struct ConnectionDeadline {
    at: Instant,
    times: Times,
    /// Between an answer and the next request.
    is_idle: bool,
    /// Bytes that were read and belong to no answered request.
    unanswered: usize,
    /// The end of a response that takes long, and its time between two writes.
    sending: Option<(Instant, Duration)>,
}

impl ConnectionDeadline {
    fn new(times: Times) -> Self {
        Self {
            at: after(times.head),
            times,
            is_idle: false,
            unanswered: 0,
            sending: None,
        }
    }

    /// Bytes came: after an answer they begin the next head. True if that moves the deadline.
    fn read(&mut self, bytes: usize) -> bool {
        self.unanswered = self.unanswered.saturating_add(bytes);
        let begins = self.is_idle && bytes > 0;
        if begins {
            self.is_idle = false;
            self.at = after(self.times.head);
        }
        begins
    }

    fn asked(&mut self) {
        self.at = after(self.times.request.saturating_mul(2));
    }

    /// A response begins that takes long.
    fn sends(&mut self, time: SendingTime) {
        self.sending = Some((after(time.whole), time.chunk));
        self.wrote(1);
    }

    /// The client took bytes. True if that moves the deadline.
    fn wrote(&mut self, bytes: usize) -> bool {
        if let Some((end, chunk)) = self.sending.filter(|_| bytes > 0) {
            self.at = end.min(after(chunk));
            return true;
        }
        false
    }

    /// A request of `size` bytes was answered. hyper reads ahead, so the next head may have begun: its
    /// first bytes are then in hyper's buffer, and need not be followed by others.
    fn answered(&mut self, size: usize) {
        self.sending = None;
        self.unanswered = self.unanswered.saturating_sub(size);
        self.is_idle = self.unanswered == 0;
        self.at = after(if self.is_idle {
            self.times.idle
        } else {
            self.times.head
        });
    }
}

fn after(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now)
}

/// Ends when a deadline has passed.
async fn overdue(deadline: &mut watch::Receiver<ConnectionDeadline>) {
    loop {
        let at = deadline.borrow_and_update().at;
        if timeout_at(at, deadline.changed()).await.is_err() {
            return;
        }
    }
}

/// Unix seconds.
const YEAR_10000: i64 = 253_402_300_800;

/// Bytes of a buffer beyond the longest head, which must fit whole. More would only let each body take
/// more memory (T-01); and hyper takes no buffer under 8 KiB.
const BUFFER_BESIDE_HEAD: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::Router;
    use axum::routing::{get, post};
    use hyper_util::server::graceful::GracefulShutdown;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;
    use crate::http::clients::SENDING;
    use crate::http::listener::{Rules, Service};

    /// The times of a broker without settings, on a clock that moves on when all wait.
    const TIMES: Times = Times {
        head: Duration::from_secs(5),
        idle: Duration::from_secs(30),
        request: Duration::from_secs(10),
        head_size: 32 << 10,
    };
    const ASK: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

    fn connect() -> (DuplexStream, GracefulShutdown) {
        let (ours, theirs) = duplex(64 << 10);
        let router = Router::new()
            .route("/healthz", get(async || "ok"))
            .route("/token", post(async |body: axum::body::Bytes| body))
            .route("/long", get(long))
            .route("/never", get(async || std::future::pending::<()>().await));
        let current = Arc::new(Service {
            router,
            rules: Rules {
                times: TIMES,
                tls: None,
                connections: 1,
                grace: Duration::ZERO,
            },
        });
        let service: CurrentService = Arc::new(move || Arc::clone(&current));
        let stop = GracefulShutdown::new();
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let watcher = stop.watcher();
        tokio::spawn(async move { serve(theirs, peer, &service, TIMES, watcher).await });
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
        assert_eq!(closed_after(&format!("{ASK}{ASK}")).await, (30, 2));
    }

    /// T-02
    #[tokio::test(start_paused = true)]
    async fn bytes_that_may_begin_the_next_head_end_idleness() {
        let spaced = ASK.replace(": ", ":   ");
        assert_eq!(closed_after(&spaced).await, (5, 1));
        assert_eq!(closed_after(&format!("{ASK}\r\n")).await, (5, 1));
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

    /// A response of more bytes than the connection holds, in parts, with a time of its own.
    async fn long() -> Response {
        let parts = std::iter::repeat_n(vec![b'x'; PART], LONG / PART);
        let parts = futures_util::stream::iter(parts.map(Ok::<_, Infallible>));
        let mut response = Response::new(Body::from_stream(parts));
        response.extensions_mut().insert(SENDING);
        response
    }

    /// T-213
    #[tokio::test(start_paused = true)]
    async fn a_long_answer_has_a_time_of_its_own_and_the_next_request_the_usual_one() {
        let ask = ASK.replace("/healthz", "/long");
        let (mut stream, _stop) = connect();
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut read = read_slowly(&mut stream, 13).await;
        let (seconds, text) = closed(&mut stream).await;
        assert_eq!(seconds, 30, "idle after the answer was read");
        assert!(read + text.len() > LONG, "{read}");
        let (mut stream, _stop) = connect();
        stream.write_all(ask.as_bytes()).await.unwrap();
        read = read_slowly(&mut stream, 14).await;
        let (seconds, text) = closed(&mut stream).await;
        assert_eq!(seconds, 0, "closed after two minutes");
        assert!(read + text.len() < LONG, "{read}");
    }

    /// Reads two parts every nine seconds.
    async fn read_slowly(stream: &mut DuplexStream, times: usize) -> usize {
        let mut parts = vec![0; 2 * PART];
        for _ in 0..times {
            tokio::time::sleep(Duration::from_secs(9)).await;
            stream.read_exact(&mut parts).await.unwrap();
        }
        times * parts.len()
    }

    /// T-213
    #[tokio::test(start_paused = true)]
    async fn a_reader_that_stops_is_given_up_after_ten_seconds() {
        let ask = ASK.replace("/healthz", "/long");
        for slow in [0, 3] {
            let (mut stream, _stop) = connect();
            stream.write_all(ask.as_bytes()).await.unwrap();
            let read = read_slowly(&mut stream, slow).await;
            tokio::time::sleep(Duration::from_secs(11)).await;
            let (seconds, text) = closed(&mut stream).await;
            assert_eq!(seconds, 0, "closed after {slow} reads");
            assert!(read + text.len() < LONG, "{read}");
        }
    }

    const LONG: usize = 1 << 20;
    const PART: usize = 1 << 13;

    /// T-02
    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_answer_never_comes_is_given_up() {
        let ask = ASK.replace("/healthz", "/never");
        assert_eq!(closed_after(&ask).await, (20, 0));
    }
}
