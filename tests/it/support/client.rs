//! A client that sends exactly the bytes it is given, and reads what comes back to its end.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::leaks;
use crate::openapi;

/// One HTTP answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Self {
            status,
            head: head.to_owned(),
            body: body.to_owned(),
        })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", self.body))
    }

    /// A member that is text, or the empty text.
    pub(crate) fn text(&self, pointer: &str) -> String {
        self.json()
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    }

    pub(crate) fn reason(&self) -> String {
        self.text("/reason")
    }

    /// Head and body without what differs between any two answers: the request's id and the date.
    pub(crate) fn without_id(&self) -> String {
        let id = self.header("x-request-id").unwrap_or("none").to_owned();
        let date = self.header("date").unwrap_or("none").to_owned();
        format!("{}\n{}", self.head, self.body)
            .replace(&id, "ID")
            .replace(&date, "DATE")
    }
}

/// Sends bytes and reads until the other side closes.
pub(crate) async fn send(address: SocketAddr, bytes: impl AsRef<[u8]>) -> String {
    leaks::sent(bytes.as_ref());
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A server that refuses early may close while we still write: what it said is what counts.
    let _ = stream.write_all(bytes.as_ref()).await;
    read_all(&mut stream).await
}

/// Reads until the other side closes; the time-out only keeps a broken test from hanging.
pub(crate) async fn read_all(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut text = Vec::new();
    let mut buffer = [0_u8; 8_192];
    loop {
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await;
        match read.expect("the connection was neither answered nor closed") {
            Ok(0) | Err(_) => break,
            Ok(count) => text.extend_from_slice(&buffer[..count]),
        }
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    leaks::answered(&text);
    text
}

/// One request with `Connection: close`, and its answer.
pub(crate) async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut head = vec![format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n"
    )];
    head.extend(
        headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n")),
    );
    if !body.is_empty() || method == "POST" {
        head.push(format!("Content-Length: {}\r\n", body.len()));
    }
    head.push("\r\n".to_owned());
    let text = send(address, [head.concat().as_bytes(), body].concat()).await;
    let answer = Answer::parse(&text);
    let answer = answer.unwrap_or_else(|| panic!("no answer to {method} {path}: {text:?}"));
    openapi::check(method, path, answer.status, &answer.body);
    answer
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Answer {
    request(address, "GET", path, &[], b"").await
}

/// A form, every pair percent-encoded.
pub(crate) fn form(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

pub(crate) async fn post_form(address: SocketAddr, path: &str, body: &str) -> Answer {
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    request(address, "POST", path, &headers, body.as_bytes()).await
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
