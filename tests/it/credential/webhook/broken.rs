//! Another side of ours that keeps leases as it must, checks no signature, and breaks off, lies or floods at
//! the moments that a test chooses.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hallpass::credential::database::webhook::WebhookSettings;
use hallpass::credential::target::Targets;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::stage::{Certificates, SIGNING, targets};
use crate::support::leaks;

/// What goes wrong with one request.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fault {
    /// The connection ends before anything is done.
    CutBefore,
    /// It is done, and the connection ends.
    CutAfter,
    /// It is done, and nothing more comes.
    HangAfter,
    /// It is done, and this is answered in place of the answer: status line, headers, body.
    SayAfter(&'static str, &'static str, Vec<u8>),
    /// It is done, and the answer is followed by more than anyone reads.
    FloodAfter,
    /// It is done, and the answer has these members in place of its own.
    WithAfter(Value),
    /// It is not done, and this is answered.
    Say(&'static str, &'static str, Vec<u8>),
    /// Refused in words that repeat the password, after that many letters.
    EchoPassword(usize),
}

#[derive(Default)]
struct State {
    /// By id: the request that made it, and whether it has ended.
    leases: BTreeMap<String, (Value, bool)>,
    /// By path: what goes wrong with the next requests.
    faults: BTreeMap<String, Vec<Fault>>,
    /// Heads and bodies.
    requests: Vec<(String, Value)>,
    /// Names that a list has beside the leases.
    foreign: Vec<String>,
    sent: usize,
    /// A list never ends.
    is_endless: bool,
}

pub(super) struct Broken {
    pub(super) certificates: Certificates,
    pub(super) port: u16,
    pub(super) settings: WebhookSettings,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
    _leaks: leaks::Guard,
}

impl Broken {
    pub(super) async fn start() -> Self {
        let guard = leaks::watch();
        let certificates = Certificates::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let acceptor = acceptor(&certificates);
        let task = tokio::spawn(accept(listener, acceptor, Arc::clone(&state)));
        let mut settings = certificates.settings(port);
        settings.timeout = Duration::from_millis(800);
        Self {
            certificates,
            port,
            settings,
            state,
            task,
            _leaks: guard,
        }
    }

    pub(super) fn broker(&self) -> Arc<Targets> {
        targets(&self.settings, &SIGNING)
    }

    pub(super) fn faults(&self, path: &str, faults: &[Fault]) {
        let mut state = self.state.lock().unwrap();
        state.faults.insert(path.to_owned(), faults.to_vec());
    }

    /// Names of the leases that have not ended.
    pub(super) fn users(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let live = state.leases.values().filter(|(_, ended)| !ended);
        live.map(|(lease, _)| lease["name"].as_str().unwrap().to_owned())
            .collect()
    }

    /// How many leases were ever made.
    pub(super) fn made(&self) -> usize {
        let state = self.state.lock().unwrap();
        let made = state.leases.values();
        made.filter(|(lease, _)| lease.get("group").is_some())
            .count()
    }

    pub(super) fn requests(&self, path: &str) -> Vec<(String, Value)> {
        let state = self.state.lock().unwrap();
        let start = format!("POST /hallpass{path} ");
        let asked = state.requests.iter();
        asked
            .filter(|(head, _)| head.starts_with(&start))
            .cloned()
            .collect()
    }

    pub(super) fn list_also(&self, names: &[&str]) {
        let names = names.iter().map(|name| (*name).to_owned());
        self.state.lock().unwrap().foreign = names.collect();
    }

    pub(super) fn list_without_end(&self) {
        self.state.lock().unwrap().is_endless = true;
    }

    /// Bytes of answers that went out.
    pub(super) fn sent(&self) -> usize {
        self.state.lock().unwrap().sent
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn acceptor(certificates: &Certificates) -> TlsAcceptor {
    let read = |name: &str| std::fs::read(certificates.path(name)).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(&read("server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(&read("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                let _ = serve(stream, &state).await;
            }
        });
    }
}

async fn serve(mut stream: TlsStream<TcpStream>, state: &Mutex<State>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let lower = head.to_ascii_lowercase();
    let length = lower
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap().parse().unwrap()];
    stream.read_exact(&mut body).await?;
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let path = head.split(' ').nth(1).unwrap();
    let path = path.trim_start_matches("/hallpass").to_owned();
    let fault = {
        let mut state = state.lock().unwrap();
        state.requests.push((head, body.clone()));
        let faults = state.faults.entry(path.clone()).or_default();
        (!faults.is_empty()).then(|| faults.remove(0))
    };
    let done = |state: &Mutex<State>| state.lock().unwrap().answer(&path, &body);
    match fault {
        None => {
            let (status, answer) = done(state);
            say(
                &mut stream,
                state,
                status,
                "",
                answer.to_string().as_bytes(),
            )
            .await
        }
        Some(Fault::CutBefore) => Ok(()),
        Some(Fault::CutAfter) => {
            done(state);
            Ok(())
        }
        Some(Fault::HangAfter) => {
            done(state);
            std::future::pending().await
        }
        Some(Fault::SayAfter(status, headers, text)) => {
            done(state);
            say(&mut stream, state, status, headers, &text).await
        }
        Some(Fault::Say(status, headers, text)) => {
            say(&mut stream, state, status, headers, &text).await
        }
        Some(Fault::WithAfter(members)) => {
            let (status, mut answer) = done(state);
            let members = members.as_object().unwrap().clone();
            answer.as_object_mut().unwrap().extend(members);
            say(
                &mut stream,
                state,
                status,
                "",
                answer.to_string().as_bytes(),
            )
            .await
        }
        Some(Fault::FloodAfter) => {
            done(state);
            stream
                .write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"pad\":\"")
                .await?;
            let flood = [b'x'; 8_192];
            loop {
                stream.write_all(&flood).await?;
                stream.flush().await?;
                state.lock().unwrap().sent += flood.len();
            }
        }
        Some(Fault::EchoPassword(letters)) => {
            let password = body["password"].as_str().unwrap();
            let text =
                json!({ "error": "full", "message": format!("{}{password}", "x".repeat(letters)) });
            let text = text.to_string();
            say(&mut stream, state, "422 No", "", text.as_bytes()).await
        }
    }
}

async fn say(
    stream: &mut TlsStream<TcpStream>,
    state: &Mutex<State>,
    status: &str,
    headers: &str,
    body: &[u8],
) -> std::io::Result<()> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n");
    stream.write_all(&[head.as_bytes(), body].concat()).await?;
    state.lock().unwrap().sent += length;
    stream.shutdown().await
}

impl State {
    fn answer(&mut self, path: &str, body: &Value) -> (&'static str, Value) {
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let name = text("name");
        let id = name.rsplit('_').next().unwrap().to_owned();
        let answer = match path {
            "/create" => {
                if let Some((lease, ended)) = self.leases.get(&id) {
                    if *ended {
                        return ("410 Gone", json!({ "error": "ended" }));
                    }
                    made(lease, false)
                } else if body["may_create"] == true {
                    self.leases.insert(id, (body.clone(), false));
                    made(body, true)
                } else {
                    return ("410 Gone", json!({ "error": "ended" }));
                }
            }
            "/end" => {
                let fresh = (json!({ "name": name }), true);
                let lease = self.leases.entry(id).or_insert(fresh);
                lease.1 |= lease.0["name"] == name.as_str();
                json!({ "ended": true })
            }
            "/list" => self.list(&text("after"), body["limit"].as_u64().unwrap()),
            _ => {
                let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
                json!({ "contract": 1, "time": now, "groups": ["reader", "writer"] })
            }
        };
        ("200 OK", answer)
    }

    fn list(&self, after: &str, limit: u64) -> Value {
        let limit = usize::try_from(limit).unwrap();
        let row = |name: &str, lease: &Value| {
            let text = |member: &str| lease[member].as_str().unwrap_or("none").to_owned();
            let (group, record, holder) = (text("group"), text("record"), text("holder"));
            json!({ "name": name, "group": group, "record": record, "holder": holder })
        };
        if self.is_endless {
            let rows = (0..limit).map(|at| row(&format!("{after}{at:03}"), &Value::Null));
            return json!({ "leases": rows.collect::<Vec<_>>() });
        }
        let live = self.leases.values().filter(|(_, ended)| !ended);
        let live = live.map(|(lease, _)| (lease["name"].as_str().unwrap(), lease));
        let foreign = self
            .foreign
            .iter()
            .map(|name| (name.as_str(), &Value::Null));
        let all: BTreeMap<&str, &Value> = live.chain(foreign).collect();
        let rows = all.iter().filter(|(name, _)| **name > after).take(limit);
        let rows: Vec<Value> = rows.map(|(name, lease)| row(name, lease)).collect();
        json!({ "leases": rows })
    }
}

fn made(lease: &Value, created: bool) -> Value {
    let mut answer = json!({ "created": created });
    for member in ["name", "group", "record"] {
        answer[member] = lease[member].clone();
    }
    answer
}
