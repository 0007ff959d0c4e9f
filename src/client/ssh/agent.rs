//! An SSH agent for one command: it holds one key with its certificate, lists it, signs logins with it,
//! and ends with the command (draft-miller-ssh-agent).
//!
//! Nothing can be added to it. What it signs for whom is decided in `session`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ssh_key::encoding::{Decode as _, Encode as _};
use ssh_key::{Certificate, PublicKey};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use self::session::{Connection, Login, Refusal, Sessions};
use super::super::file::random_word;
use super::super::folder;
use super::super::source::Environment;
use super::RunKey;
use crate::text::escape;

mod session;

/// Where its problems go: sentences for the job's author.
pub type Reports = mpsc::Sender<String>;

/// A running agent. It ends, and its socket goes, when it is dropped.
#[derive(Debug)]
pub struct Agent {
    path: PathBuf,
    task: JoinHandle<()>,
}

impl Agent {
    /// Serves `key` with its certificate on a new socket in the job's folder. Must be called within a
    /// runtime. Why it did not sign is reported, once for each reason.
    ///
    /// # Errors
    /// The certificate is not for this key, or there is no folder for the socket.
    pub fn start(
        key: RunKey,
        certificate: &str,
        environment: &Environment,
        reports: Reports,
    ) -> Result<Self, AgentError> {
        let held = Arc::new(Held::new(key, certificate, reports)?);
        let (listener, path) = listen(environment)?;
        let task = tokio::spawn(serve(listener, held));
        Ok(Self { path, task })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Its connections end with the task that has them.
        self.task.abort();
        if fs::remove_file(&self.path).is_err() {
            // The command removed it.
        }
    }
}

/// Why there is no agent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the SSH agent for the command cannot be started: {0}")]
pub struct AgentError(String);

/// A socket that only its user can connect to. Its folder is closed to others before it exists.
fn listen(environment: &Environment) -> Result<(UnixListener, PathBuf), AgentError> {
    let name = random_word().map_err(|error| AgentError(error.to_string()))?;
    let socket = |environment: &Environment| {
        let folder = folder::made(environment).map_err(|error| AgentError(error.to_string()))?;
        Ok(folder.join(format!("{SOCKET_NAME}{name}")))
    };
    let mut path = socket(environment)?;
    if path.as_os_str().len() > LONGEST_SOCKET_PATH {
        // Without the job's variables that is a folder in `/tmp`, which is short enough.
        path = socket(&Environment::default())?;
    }
    let failed = |error: io::Error| {
        AgentError(format!(
            "no socket at `{}`: {error}",
            escape(&path.to_string_lossy())
        ))
    };
    let listener = UnixListener::bind(&path).map_err(failed)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok((listener, path))
}

/// The one identity, and what is known of those who ask for it.
struct Held {
    key: RunKey,
    /// The certificate, as it is sent.
    certificate: Vec<u8>,
    /// The bare public key, as it is sent.
    public: Vec<u8>,
    comment: String,
    sessions: Sessions,
    reports: Reports,
    reported: Mutex<BTreeSet<Refusal>>,
}

impl Held {
    fn new(key: RunKey, certificate: &str, reports: Reports) -> Result<Self, AgentError> {
        let wrong = |problem: &str| AgentError(format!("the certificate {problem}"));
        let certificate =
            Certificate::from_openssh(certificate).map_err(|_| wrong("is not one of OpenSSH"))?;
        if *certificate.public_key() != key.public() {
            return Err(wrong("is for another key than the one that was sent"));
        }
        let public = PublicKey::from(key.public());
        Ok(Self {
            certificate: certificate
                .to_bytes()
                .map_err(|_| wrong("cannot be encoded"))?,
            public: public.to_bytes().map_err(|_| wrong("cannot be encoded"))?,
            comment: certificate.comment().to_owned(),
            key,
            sessions: Sessions::default(),
            reports,
            reported: Mutex::default(),
        })
    }

    fn report(&self, refusal: Refusal) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.insert(refusal) && self.reports.try_send(refusal.to_string()).is_err() {
            // The command ended, or reports are not read fast enough.
        }
    }
}

async fn serve(listener: UnixListener, held: Arc<Held>) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // Without descriptors there is nothing to do but wait for one.
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        if is_ours(&stream) {
            let held = Arc::clone(&held);
            connections.spawn(async move {
                if talk(stream, &held).await.is_err() {
                    // The client went, or sent what no client sends.
                }
                drop(place);
            });
        }
    }
}

/// As the agent of OpenSSH: its own user, and root, who could read its memory anyway.
fn is_ours(stream: &UnixStream) -> bool {
    let ours = nix::unistd::geteuid().as_raw();
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == ours || peer.uid() == 0)
}

async fn talk(mut stream: UnixStream, held: &Held) -> io::Result<()> {
    let mut connection = Connection::new(&stream);
    // A connection that says nothing must not keep others out.
    while let Some(message) = timeout(LONGEST_PAUSE, read(&mut stream)).await?? {
        let answer = answer(&message, held, &mut connection).unwrap_or_else(|_| {
            held.sessions.spoke_unbound(&mut connection);
            AgentReply::go_on(FAILURE)
        });
        let length = u32::try_from(answer.message.len()).map_err(io::Error::other)?;
        stream.write_u32(length).await?;
        stream.write_all(&answer.message).await?;
        if answer.is_last {
            break;
        }
    }
    Ok(())
}

/// The next message; `None` at the end of the connection.
async fn read(stream: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
    let length = match stream.read_u32().await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        length => usize::try_from(length?).unwrap_or(usize::MAX),
    };
    if !(1..=LONGEST_MESSAGE).contains(&length) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(Some(message))
}

struct AgentReply {
    message: Vec<u8>,
    /// The connection ends after it.
    is_last: bool,
}

impl AgentReply {
    fn go_on(code: u8) -> Self {
        Self {
            message: vec![code],
            is_last: false,
        }
    }
}

/// The answer to one message; an error is a message that cannot be read.
fn answer(
    mut message: &[u8],
    held: &Held,
    connection: &mut Connection,
) -> ssh_key::Result<AgentReply> {
    let reader = &mut message;
    let kind = u8::decode(reader)?;
    if kind == EXTENSION && String::decode(reader)? == SESSION_BIND {
        return bind(reader, held, connection);
    }
    held.sessions.spoke_unbound(connection);
    let mut answer = Vec::new();
    match kind {
        REQUEST_IDENTITIES => {
            IDENTITIES_ANSWER.encode(&mut answer)?;
            1_u32.encode(&mut answer)?;
            held.certificate.encode(&mut answer)?;
            held.comment.encode(&mut answer)?;
        }
        SIGN_REQUEST => {
            let key = Vec::<u8>::decode(reader)?;
            let data = Vec::<u8>::decode(reader)?;
            // Flags choose a hash for RSA keys; this one has no choice.
            u32::decode(reader)?;
            if key != held.certificate && key != held.public {
                return Ok(AgentReply::go_on(FAILURE));
            }
            if let Err(refusal) = connection.admit(&key, Login::parse(&data)) {
                held.report(refusal);
                return Ok(AgentReply::go_on(FAILURE));
            }
            SIGN_RESPONSE.encode(&mut answer)?;
            held.key.sign(&data)?.encode_prefixed(&mut answer)?;
        }
        _ => answer.push(FAILURE),
    }
    Ok(AgentReply {
        message: answer,
        is_last: false,
    })
}

/// PROTOCOL.agent of OpenSSH, section 1: the host's key, the session's id, the host's signature, and
/// whether the connection comes from another machine.
///
/// The signature is not checked. It would tie the session to the host's key, and any key will do where
/// the hosts are not limited: one who makes up a session signs it with a key that was made up too.
fn bind(
    reader: &mut &[u8],
    held: &Held,
    connection: &mut Connection,
) -> ssh_key::Result<AgentReply> {
    let host_key = Vec::<u8>::decode(reader)?;
    let id = Vec::<u8>::decode(reader)?;
    Vec::<u8>::decode(reader)?;
    let is_forwarded = u8::decode(reader)? != 0;
    let bound = if is_forwarded {
        Err(Refusal::Forwarded)
    } else {
        held.sessions.bind(connection, id, host_key)
    };
    if let Err(refusal) = bound {
        held.report(refusal);
        // What comes next may be another machine.
        return Ok(AgentReply {
            message: vec![FAILURE],
            is_last: true,
        });
    }
    Ok(AgentReply::go_on(SUCCESS))
}

/// What leads to another agent.
pub const VARIABLES: [&str; 2] = [SOCKET_VARIABLE, "SSH_AGENT_PID"];

/// What leads programs to an agent.
pub const SOCKET_VARIABLE: &str = "SSH_AUTH_SOCK";
const FAILURE: u8 = 5;
const SUCCESS: u8 = 6;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
const EXTENSION: u8 = 27;
const SESSION_BIND: &str = "session-bind@openssh.com";
const SOCKET_NAME: &str = "ssh-agent-";
/// As much as the agent of OpenSSH takes.
const LONGEST_MESSAGE: usize = 256 * 1_024;
const MOST_CONNECTIONS: usize = 64;
const PAUSE: Duration = Duration::from_millis(50);
/// `LoginGraceTime` of sshd: a login that takes longer has been refused.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// What the address of a socket holds (unix(7)), without the zero at its end.
const LONGEST_SOCKET_PATH: usize = 107;
