//! An SSH agent for one command: it holds one key with its certificate, lists it, signs with it, and
//! ends with the command (draft-miller-ssh-agent).
//!
//! Nothing can be added to it, and what a client forwards to another machine gets no signature: a root
//! there could use it for as long as the command runs (T-147).

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ssh_key::encoding::{Decode as _, Encode as _};
use ssh_key::{Certificate, PublicKey};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use super::super::file::random_word;
use super::super::folder;
use super::super::format::{Prefix, Variable};
use super::super::source::Environment;
use super::RunKey;
use crate::secret::Secret;
use crate::text::escape;

/// A running agent. It ends, and its socket goes, when it is dropped.
#[derive(Debug)]
pub struct Agent {
    path: PathBuf,
    task: JoinHandle<()>,
}

impl Agent {
    /// Serves `key` with its certificate on a new socket in the job's folder. Must be called within a
    /// runtime.
    ///
    /// # Errors
    /// The certificate is not for this key, or there is no folder for the socket.
    pub fn start(
        key: RunKey,
        certificate: &str,
        environment: &Environment,
    ) -> Result<Self, AgentError> {
        let held = Arc::new(Held::new(key, certificate)?);
        let (listener, path) = listen(environment)?;
        let task = tokio::spawn(serve(listener, held));
        Ok(Self { path, task })
    }

    /// Its socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What leads programs to it.
    #[must_use]
    pub fn variable(&self, prefix: Option<&Prefix>) -> Variable {
        let value = Secret::new(self.path.to_string_lossy().into_owned());
        Variable::new(SOCKET_VARIABLE, prefix, value)
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

/// The one identity.
struct Held {
    key: RunKey,
    /// The certificate, as it is sent.
    certificate: Vec<u8>,
    /// The bare public key, as it is sent.
    public: Vec<u8>,
    comment: String,
}

impl Held {
    fn new(key: RunKey, certificate: &str) -> Result<Self, AgentError> {
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
        })
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
    let mut is_forwarded = false;
    loop {
        let length = match stream.read_u32().await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            length => usize::try_from(length?).unwrap_or(usize::MAX),
        };
        if !(1..=LONGEST_MESSAGE).contains(&length) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut message = vec![0; length];
        stream.read_exact(&mut message).await?;
        let answer = answer(&message, held, &mut is_forwarded).unwrap_or_else(|_| vec![FAILURE]);
        let length = u32::try_from(answer.len()).map_err(io::Error::other)?;
        stream.write_u32(length).await?;
        stream.write_all(&answer).await?;
    }
}

/// The answer to one message; an error is a message that cannot be read.
fn answer(mut message: &[u8], held: &Held, is_forwarded: &mut bool) -> ssh_key::Result<Vec<u8>> {
    let reader = &mut message;
    let mut answer = Vec::new();
    match u8::decode(reader)? {
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
            let is_held = key == held.certificate || key == held.public;
            if !is_held || *is_forwarded {
                return Ok(vec![FAILURE]);
            }
            SIGN_RESPONSE.encode(&mut answer)?;
            held.key.sign(&data)?.encode_prefixed(&mut answer)?;
        }
        EXTENSION if String::decode(reader)? == SESSION_BIND => {
            // PROTOCOL.agent section 1: the host's key, the session's id, the host's signature. They
            // would limit where the key goes; only whether the connection is forwarded counts here.
            for _ in 0..3 {
                Vec::<u8>::decode(reader)?;
            }
            *is_forwarded |= u8::decode(reader)? != 0;
            answer.push(SUCCESS);
        }
        _ => answer.push(FAILURE),
    }
    Ok(answer)
}

/// What leads to another agent.
pub const VARIABLES: [&str; 2] = [SOCKET_VARIABLE, "SSH_AGENT_PID"];

const SOCKET_VARIABLE: &str = "SSH_AUTH_SOCK";
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
/// What the address of a socket holds (unix(7)), without the zero at its end.
const LONGEST_SOCKET_PATH: usize = 107;
