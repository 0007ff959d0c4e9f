//! Which requests the agent signs: logins to the one session that a client bound before it said
//! anything else (T-147).
//!
//! Root on a host that the agent is forwarded to could use it for as long as the command runs. The agent
//! sees only its own side of a connection, so it goes by what a client says and does:
//!
//! - OpenSSH 8.9 and later name the session of a connection first, and say whether it is forwarded. A
//!   connection that says anything else first, or is forwarded, gets no signature.
//! - A signature is for a login to the bound session, and to the host that was bound with it where the
//!   request names one.
//! - A process has one session, its own: a second one comes from a machine behind it. A process that did
//!   not bind its first connection does not know of binding, so it would not say what it forwards.
//!   Processes that the system does not name count as one. Without `/proc` this rule is not applied.
//!
//! What is left: a client that forwards without saying so and never spoke to the agent before, and a
//! relay that drops only what says so and is a new process for each connection.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ssh_key::encoding::Decode as _;
use tokio::net::UnixStream;

/// What every process that asked did first.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<Process, First>>);

/// A process. Its number is used again, so the time of its start belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Process {
    id: i32,
    started: u64,
}

/// Every process that the system does not name: none has the number 0.
const UNKNOWN: Process = Process { id: 0, started: 0 };

#[derive(Clone, Debug, PartialEq, Eq)]
enum First {
    /// Bound a connection to this session.
    Bound(Vec<u8>),
    Unbound,
}

#[derive(Debug)]
pub(super) struct Connection {
    /// [`UNKNOWN`] where the system does not say which, and `None` where it has no `/proc`.
    process: Option<Process>,
    state: State,
}

#[derive(Debug)]
enum State {
    New,
    Bound { session: Vec<u8>, host_key: Vec<u8> },
    Unbound,
}

impl Sessions {
    /// The client named its session, and is not forwarded.
    pub(super) fn bind(
        &self,
        connection: &mut Connection,
        session: Vec<u8>,
        host_key: Vec<u8>,
    ) -> Result<(), Refusal> {
        let first = First::Bound(session.clone());
        let is_first = matches!(connection.state, State::New);
        if !is_first || self.first(connection, first.clone()) != first {
            connection.state = State::Unbound;
            return Err(Refusal::Second);
        }
        connection.state = State::Bound { session, host_key };
        Ok(())
    }

    /// The client said something, on a connection that may not be bound.
    pub(super) fn spoke_unbound(&self, connection: &mut Connection) {
        if matches!(connection.state, State::New) {
            self.first(connection, First::Unbound);
            connection.state = State::Unbound;
        }
    }

    /// What the process of the connection did first, which is `now` if nothing else is known.
    fn first(&self, connection: &Connection, now: First) -> First {
        let Some(process) = &connection.process else {
            return now;
        };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_PROCESSES {
            known.retain(|process, _| {
                *process == UNKNOWN || Process::find(process.id).as_ref() == Some(process)
            });
        }
        known.entry(process.clone()).or_insert(now).clone()
    }
}

impl Connection {
    pub(super) fn new(stream: &UnixStream) -> Self {
        let process = stream.peer_cred().ok().and_then(|peer| peer.pid());
        let process = process.and_then(Process::find);
        Self {
            // A peer in another PID namespace has no number here.
            process: process.or_else(|| Path::new("/proc/self/stat").exists().then_some(UNKNOWN)),
            state: State::New,
        }
    }

    /// Whether a login with `key` may be signed on this connection.
    pub(super) fn admit(&self, key: &[u8], login: Option<Login>) -> Result<(), Refusal> {
        let State::Bound { session, host_key } = &self.state else {
            return Err(Refusal::Unbound);
        };
        let login = login.filter(|login| login.key == key);
        let login = login.ok_or(Refusal::NotALogin)?;
        let is_bound_host = login.host_key.is_none_or(|named| named == *host_key);
        if login.session == *session && is_bound_host {
            Ok(())
        } else {
            Err(Refusal::Second)
        }
    }
}

impl Process {
    fn find(id: i32) -> Option<Self> {
        let stat = fs::read_to_string(Path::new("/proc").join(id.to_string()).join("stat")).ok()?;
        // proc(5): the name may hold anything, so what follows counts from its last bracket.
        let (_, fields) = stat.rsplit_once(')')?;
        let started = fields.split_ascii_whitespace().nth(START_TIME)?;
        let started = started.parse().ok()?;
        Some(Self { id, started })
    }
}

/// What is signed to log in with a public key (RFC 4252 section 7, PROTOCOL of OpenSSH section 1.8).
#[derive(Debug)]
pub(super) struct Login {
    session: Vec<u8>,
    key: Vec<u8>,
    /// Where the method names the host.
    host_key: Option<Vec<u8>>,
}

impl Login {
    /// `None` for anything else, such as a signature of a file or of a commit.
    pub(super) fn parse(mut data: &[u8]) -> Option<Self> {
        let reader = &mut data;
        let session = Vec::<u8>::decode(reader).ok()?;
        let request = u8::decode(reader).ok()?;
        let _user = String::decode(reader).ok()?;
        let service = String::decode(reader).ok()?;
        let method = String::decode(reader).ok()?;
        let has_signature = u8::decode(reader).ok()? != 0;
        let _algorithm = String::decode(reader).ok()?;
        let key = Vec::<u8>::decode(reader).ok()?;
        let host_key = match method.as_str() {
            "publickey" => None,
            "publickey-hostbound-v00@openssh.com" => Some(Vec::<u8>::decode(reader).ok()?),
            _ => return None,
        };
        let is_login = request == USERAUTH_REQUEST && service == "ssh-connection" && has_signature;
        (is_login && reader.is_empty()).then_some(Self {
            session,
            key,
            host_key,
        })
    }
}

/// Why there is no signature, as `hallpass exec` prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(super) enum Refusal {
    #[error(
        "the SSH agent did not sign: the client did not bind its connection to a session first, as OpenSSH 8.9 and later do; with other clients use the files of `hallpass get --format ssh --out FILE`"
    )]
    Unbound,
    #[error(
        "the SSH agent signs for this machine only, and a connection to it was forwarded (`ssh -A`); reach hosts behind others with `ssh -J`"
    )]
    Forwarded,
    #[error(
        "the SSH agent did not sign: a client has one session, and this was another; a forwarded agent cannot be used"
    )]
    Second,
    #[error("the SSH agent signs logins only")]
    NotALogin,
}

const USERAUTH_REQUEST: u8 = 50;
/// Field 22 of proc(5), counted from the one behind the name.
const START_TIME: usize = 19;
/// More than run at one time; then those that ended are forgotten.
const MOST_PROCESSES: usize = 1_024;
