//! The client: so many connections, each with one request at a time.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::case::Load;

/// A token exchange, as a client sends it.
pub(crate) fn form(path: &str, token: &str, load: Load) -> Vec<u8> {
    let body = format!(
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange\
         &subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt\
         &audience=deploy-api&subject_token={token}"
    );
    let connection = if load.keep_alive {
        "keep-alive"
    } else {
        "close"
    };
    let fields =
        format!("Connection: {connection}\r\nContent-Type: application/x-www-form-urlencoded");
    request(path, &fields, &body)
}

/// A request for what the job would get.
pub(crate) fn explain(token: &str) -> Vec<u8> {
    let fields = format!("Authorization: Bearer {token}\r\nContent-Type: application/json");
    request("/api/explain", &fields, r#"{"credential":"deploy-api"}"#)
}

fn request(path: &str, fields: &str, body: &str) -> Vec<u8> {
    let size = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}\r\nContent-Length: {size}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Sends each request once, and returns the time that each took.
///
/// # Errors
/// An answer has another status than `status`.
pub(crate) fn send(
    to: SocketAddr,
    requests: &[Vec<u8>],
    load: Load,
    status: u16,
) -> Result<Vec<Duration>> {
    let next = AtomicUsize::new(0);
    let client = || -> std::result::Result<Vec<Duration>, String> {
        let mut times = Vec::new();
        let mut kept = None;
        while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
            let begun = Instant::now();
            let stream = match kept.take() {
                Some(stream) => stream,
                None => connect(to).map_err(|error| error.to_string())?,
            };
            kept = exchange(stream, request, status)?.filter(|_| load.keep_alive);
            times.push(begun.elapsed());
        }
        Ok(times)
    };
    let mut all = Vec::new();
    thread::scope(|scope| {
        let clients = (0..load.connections).map(|_| scope.spawn(client));
        let clients: Vec<_> = clients.collect();
        for client in clients {
            all.extend(
                client
                    .join()
                    .map_err(|_| "a client panicked".to_owned())??,
            );
        }
        Ok::<_, String>(())
    })?;
    Ok(all)
}

fn connect(to: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    Ok(stream)
}

/// Sends one request and reads its answer.
fn exchange(
    mut stream: TcpStream,
    request: &[u8],
    status: u16,
) -> std::result::Result<Option<TcpStream>, String> {
    stream
        .write_all(request)
        .map_err(|error| error.to_string())?;
    let mut answer = vec![0; 16 << 10];
    let mut length = 0;
    let is_whole = |answer: &[u8]| {
        let text = String::from_utf8_lossy(answer);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let head = head.to_ascii_lowercase();
        let (_, size) = head.split_once("content-length: ")?;
        let size: usize = size.split("\r\n").next()?.parse().ok()?;
        (body.len() >= size).then_some(())
    };
    while is_whole(&answer[..length]).is_none() {
        let count = stream.read(&mut answer[length..]);
        match count.map_err(|error| error.to_string())? {
            0 => return Err("the server closed the connection".to_owned()),
            count => length += count,
        }
    }
    if !answer.starts_with(format!("HTTP/1.1 {status} ").as_bytes()) {
        return Err(String::from_utf8_lossy(&answer[..length]).into_owned());
    }
    Ok(Some(stream))
}
