//! A scripted HTTPS server: it answers each path with exactly the bytes a test wants.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use hallpass::token::TrustedIssuer;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What comes after the bytes of an answer.
#[derive(Clone, Copy)]
pub(crate) enum Then {
    /// The connection ends.
    Close,
    /// Nothing, for ever.
    Hang,
    /// The last bytes again and again.
    Repeat,
}

/// One answer.
#[derive(Clone)]
pub(crate) struct Answer(pub(crate) Vec<u8>, pub(crate) Then);

impl Answer {
    pub(crate) fn ok(body: &[u8]) -> Self {
        Self::status("200 OK", "", body)
    }

    pub(crate) fn status(status: &str, headers: &str, body: &[u8]) -> Self {
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n",
            body.len()
        );
        Self([head.as_bytes(), body].concat(), Then::Close)
    }
}

pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) ca_pem: String,
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

/// What can be wrong with a server's certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Certificate {
    Good,
    OtherName,
    Expired,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(Certificate::Good).await
    }

    pub(crate) async fn start_with(certificate: Certificate) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (acceptor, ca_pem) = acceptor(certificate);
        let answers = Arc::new(Mutex::new(HashMap::new()));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (port, shared) = (
            listener.local_addr().unwrap().port(),
            (Arc::clone(&answers), Arc::clone(&requests)),
        );
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, (answers, requests)) = (acceptor.clone(), shared.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        answer(stream, &answers, &requests).await;
                    }
                });
            }
        });
        Self {
            port,
            ca_pem,
            answers,
            requests,
            task,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    pub(crate) fn answer(&self, path: &str, answer: Answer) {
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    /// A discovery document for this server's own URL and this key set address.
    pub(crate) fn discover(&self, jwks_uri: &str) {
        let document =
            serde_json::json!({ "issuer": self.url(), "jwks_uri": jwks_uri }).to_string();
        self.answer(
            "/.well-known/openid-configuration",
            Answer::ok(document.as_bytes()),
        );
    }

    /// The heads of all requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn trusted(&self) -> TrustedIssuer {
        let mut issuer = TrustedIssuer::new("ci", &self.url());
        issuer.ca = Some(self.ca_pem.clone());
        issuer.networks = vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        issuer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    mut stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>,
    answers: &Mutex<HashMap<String, Answer>>,
    requests: &Mutex<Vec<String>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else {
            return;
        };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    requests.lock().unwrap().push(head);
    let found = answers.lock().unwrap().get(&path).cloned();
    let Answer(bytes, then) = found.unwrap_or_else(|| Answer::status("404 Not Found", "", b""));
    let mut result = stream.write_all(&bytes).await;
    let _ = stream.flush().await;
    match then {
        Then::Close => {
            let _ = stream.shutdown().await;
        }
        Then::Hang => std::future::pending().await,
        Then::Repeat => {
            let tail = vec![b' '; 16_384];
            while result.is_ok() {
                result = stream.write_all(&tail).await;
            }
        }
    }
}

fn acceptor(certificate: Certificate) -> (TlsAcceptor, String) {
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let name = if certificate == Certificate::OtherName {
        "other.example"
    } else {
        "localhost"
    };
    let names = vec![name.to_owned(), "ci.example".to_owned()];
    let mut leaf = CertificateParams::new(if certificate == Certificate::OtherName {
        vec![name.to_owned()]
    } else {
        names
    })
    .unwrap();
    if certificate == Certificate::Expired {
        leaf.not_before = rcgen::date_time_ymd(2020, 1, 1);
        leaf.not_after = rcgen::date_time_ymd(2020, 1, 2);
    }
    let key = KeyPair::generate().unwrap();
    let leaf = leaf.signed_by(&key, &ca).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(
        vec![leaf.der().clone()],
        PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
    )
    .unwrap();
    (TlsAcceptor::from(Arc::new(config)), ca.pem())
}
