//! An HTTPS server that is an issuer of the worst kind: it answers each path, and each request for
//! it, with exactly the bytes a test wants, and keeps a record of what was asked and what was not.
#![cfg(test)]

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hallpass::token::TrustedIssuer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::leaks;

mod answer;
mod resolver;
mod tls;
mod trap;

pub(crate) use answer::{Answer, Gate, Then};
pub(crate) use resolver::FakeResolver;
pub(crate) use tls::{Certificate, old_server_hello};
pub(crate) use trap::Trap;

/// Where OpenID Connect Discovery 1.0 puts the discovery document.
pub(crate) const DISCOVERY: &str = "/.well-known/openid-configuration";
/// Where the tests put the key set.
pub(crate) const JWKS: &str = "/jwks";

pub(crate) struct HostileIssuer {
    pub(crate) port: u16,
    host: String,
    pub(crate) ca_pem: String,
    script: Arc<Script>,
    task: JoinHandle<()>,
    _leaks: leaks::Guard,
}

/// What is answered, and what was asked.
#[derive(Default)]
struct Script {
    /// By path: the answers to the first request, the second, and so on; the last one stays.
    answers: Mutex<HashMap<String, Vec<Answer>>>,
    /// The heads of all requests, in order.
    requests: Mutex<Vec<String>>,
    /// Connections that came.
    connections: AtomicUsize,
    /// Connections on which TLS was agreed.
    handshakes: AtomicUsize,
    /// Bytes of answers that went out.
    sent: Arc<AtomicUsize>,
}

impl HostileIssuer {
    pub(crate) async fn start() -> Self {
        Self::start_with(Certificate::Good).await
    }

    pub(crate) async fn start_with(certificate: Certificate) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::serve("localhost", listener, tls::acceptor(certificate))
    }

    /// One that is known by another name than `localhost`, at an address that the name has.
    pub(crate) async fn named(host: &str, address: IpAddr) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        Self::serve(host, listener, tls::acceptor_for(host))
    }

    fn serve(host: &str, listener: TcpListener, (acceptor, ca_pem): (TlsAcceptor, String)) -> Self {
        let guard = leaks::watch();
        let port = listener.local_addr().unwrap().port();
        let script = Arc::new(Script::default());
        let task = tokio::spawn(accept(listener, acceptor, Arc::clone(&script)));
        Self {
            port,
            host: host.to_owned(),
            ca_pem,
            script,
            task,
            _leaks: guard,
        }
    }

    /// One that publishes these bytes as its key set, in the usual way.
    pub(crate) async fn publishing(jwks: &[u8]) -> Self {
        let server = Self::start().await;
        server.discover(&server.jwks_url());
        server.answer(JWKS, Answer::ok(jwks));
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}:{}", self.host, self.port)
    }

    pub(crate) fn jwks_url(&self) -> String {
        format!("{}{JWKS}", self.url())
    }

    /// The same answer to every request for a path.
    pub(crate) fn answer(&self, path: &str, answer: Answer) {
        self.script(path, vec![answer]);
    }

    /// An answer for each request for a path from now on; the last one stays.
    pub(crate) fn script(&self, path: &str, answers: Vec<Answer>) {
        let mut all = self.script.answers.lock().unwrap();
        all.insert(path.to_owned(), answers);
    }

    /// A discovery document for this server's own URL and this key set address.
    pub(crate) fn discover(&self, jwks_uri: &str) {
        let document = serde_json::json!({ "issuer": self.url(), "jwks_uri": jwks_uri });
        self.answer(DISCOVERY, Answer::ok(document.to_string().as_bytes()));
    }

    /// The heads of all requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.script.requests.lock().unwrap().clone()
    }

    /// How many requests there were for a path.
    pub(crate) fn asked(&self, path: &str) -> usize {
        let start = format!("GET {path} ");
        let requests = self.requests();
        requests
            .iter()
            .filter(|head| head.starts_with(&start))
            .count()
    }

    pub(crate) fn connections(&self) -> usize {
        self.script.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn handshakes(&self) -> usize {
        self.script.handshakes.load(Ordering::SeqCst)
    }

    /// Bytes of answers that went out.
    pub(crate) fn sent(&self) -> usize {
        self.script.sent.load(Ordering::SeqCst)
    }

    /// The settings under which this server may be asked.
    pub(crate) fn trusted(&self) -> TrustedIssuer {
        let mut issuer = TrustedIssuer::new("ci", &self.url());
        issuer.ca = Some(self.ca_pem.clone());
        issuer.networks = vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        issuer
    }
}

impl Drop for HostileIssuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, script: Arc<Script>) {
    while let Ok((stream, _)) = listener.accept().await {
        script.connections.fetch_add(1, Ordering::SeqCst);
        let (acceptor, script) = (acceptor.clone(), Arc::clone(&script));
        tokio::spawn(async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                script.handshakes.fetch_add(1, Ordering::SeqCst);
                serve(stream, &script).await;
            }
        });
    }
}

/// One request per connection.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, script: &Script) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else {
            return;
        };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    script.requests.lock().unwrap().push(head);
    let answer = script.next(&path);
    answer.send(&mut stream, &script.sent).await;
}

impl Script {
    fn next(&self, path: &str) -> Answer {
        let mut answers = self.answers.lock().unwrap();
        match answers.get_mut(path) {
            Some(answers) if answers.len() > 1 => answers.remove(0),
            Some(answers) => answers[0].clone(),
            None => Answer::status("404 Not Found", "", b""),
        }
    }
}
