//! The client: so many connections, each with one request at a time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::Result;

/// Where requests go.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// For a server that speaks TLS.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// How requests are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    /// False: a new connection for each request.
    pub(crate) keep_alive: bool,
}

pub(crate) const fn kept(connections: usize) -> Load {
    Load {
        connections,
        keep_alive: true,
    }
}

/// A token exchange, as a client sends it. `more` is further parameters, each with `&` before it.
pub(crate) fn form(path: &str, token: &str, more: &str, keep_alive: bool) -> Vec<u8> {
    let body = format!(
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange\
         &subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt\
         {more}&subject_token={token}"
    );
    let connection = if keep_alive { "keep-alive" } else { "close" };
    let fields =
        format!("Connection: {connection}\r\nContent-Type: application/x-www-form-urlencoded");
    request(path, &fields, &body)
}

/// The end of a lease.
pub(crate) fn revocation(lease: &str) -> Vec<u8> {
    let fields = "Content-Type: application/x-www-form-urlencoded";
    request("/revoke", fields, &format!("token={lease}"))
}

/// A request for what the job would get.
pub(crate) fn explain(token: &str) -> Vec<u8> {
    let fields = format!("Authorization: Bearer {token}\r\nContent-Type: application/json");
    request("/api/explain", &fields, r#"{"credential":"deploy-api"}"#)
}

pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").into_bytes()
}

fn request(path: &str, fields: &str, body: &str) -> Vec<u8> {
    let size = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}\r\nContent-Length: {size}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Sends `count` requests, each made just before it is sent, and returns the time that each took.
///
/// # Errors
/// A request cannot be made, or an answer has another status than `status`.
pub(crate) fn send(
    to: &Target,
    load: Load,
    count: usize,
    request: &(dyn Fn(usize) -> Result<Vec<u8>> + Sync),
    status: u16,
) -> Result<Vec<Duration>> {
    let next = AtomicUsize::new(0);
    let client = || -> Result<Vec<Duration>> {
        let mut times = Vec::new();
        let mut kept = None;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(times);
            }
            let request = request(number)?;
            let begun = Instant::now();
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => Connection::open(to)?,
            };
            let answer = connection.exchange(&request)?;
            times.push(begun.elapsed());
            if answer.status != status {
                return Err(format!("status {}: {}", answer.status, answer.body).into());
            }
            kept = load.keep_alive.then_some(connection);
        }
    };
    on_threads(load.connections, client).map(|times| times.concat())
}

/// Runs it on so many threads at once.
pub(crate) fn on_threads<T: Send>(
    count: usize,
    act: impl Fn() -> Result<T> + Sync,
) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(&act)).collect();
        let ended = threads.into_iter().map(|thread| {
            let panicked = |_| "a client panicked".to_owned();
            thread.join().map_err(panicked)?
        });
        ended.collect()
    })
}

/// An open connection.
pub(crate) struct Connection(Box<dyn Stream>);

trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Connection {
    pub(crate) fn open(to: &Target) -> Result<Self> {
        let stream = TcpStream::connect(to.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let Some(tls) = &to.tls else {
            return Ok(Self(Box::new(stream)));
        };
        let name = ServerName::try_from("localhost")?;
        let tls = ClientConnection::new(Arc::clone(tls), name)?;
        Ok(Self(Box::new(StreamOwned::new(tls, stream))))
    }

    /// Sends one request and reads its answer.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> Result<Answer> {
        self.0.write_all(request)?;
        let mut answer = Vec::with_capacity(4 << 10);
        let mut piece = [0; 16 << 10];
        loop {
            match self.0.read(&mut piece)? {
                0 => return Err("the server closed the connection".into()),
                count => answer.extend_from_slice(&piece[..count]),
            }
            if let Some(answer) = read(&answer) {
                return Ok(answer);
            }
        }
    }
}

/// The answer, once it is whole.
fn read(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let body = &bytes[end + 4..];
    let is_whole = if let Some((_, size)) = head.split_once("content-length: ") {
        let size: usize = size.split("\r\n").next()?.parse().ok()?;
        body.len() >= size
    } else {
        // In chunks: the last one is empty.
        body.ends_with(b"0\r\n\r\n")
    };
    let status = head.split(' ').nth(1)?.parse().ok()?;
    is_whole.then(|| Answer {
        status,
        body: String::from_utf8_lossy(body).into_owned(),
    })
}
