//! The agent of one command: what it holds, whom it serves, and when it ends.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::thread;

use hallpass::client::Environment;
use hallpass::client::ssh::{Agent, RunKey};
use hallpass::clock::{Clock as _, SystemClock};
use hallpass::credential::ssh::{CertificateRequest, Extension, JobKey, SshDefinition};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::host::{Host, run};
use super::stage::{Stage, definition, request};
use crate::support::leaks::Observed as _;

/// A key with its certificate.
fn pair(stage: &Stage) -> (RunKey, String) {
    let key = RunKey::generate().unwrap();
    let public = JobKey::parse(&key.public_line().unwrap()).unwrap();
    let definition = definition();
    let request: CertificateRequest<'_> = request(&definition, &public, SystemClock::new().now());
    let line = stage.ca.sign(&request).unwrap().line;
    (key, line)
}

fn environment(folder: &Path) -> Environment {
    [("HALLPASS_JOB_DIR", folder)].into_iter().collect()
}

fn started(stage: &Stage) -> (TempDir, Agent) {
    let (folder, agent, _) = reporting(stage);
    (folder, agent)
}

/// The same with what it reports.
fn reporting(stage: &Stage) -> (TempDir, Agent, mpsc::Receiver<String>) {
    let folder = tempfile::tempdir().unwrap();
    let (key, line) = pair(stage);
    let (reports, reported) = mpsc::channel(16);
    let agent = Agent::start(key, &line, &environment(folder.path()), reports).unwrap();
    (folder, agent, reported)
}

fn unheard() -> mpsc::Sender<String> {
    mpsc::channel(1).0
}

/// Its answer to one message.
fn say(stream: &mut UnixStream, message: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(&u32::try_from(message.len()).unwrap().to_be_bytes())?;
    stream.write_all(message)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

fn string(text: &[u8]) -> Vec<u8> {
    [&u32::try_from(text.len()).unwrap().to_be_bytes(), text].concat()
}

/// The certificate that an agent lists, and what comes after it.
fn listed(stream: &mut UnixStream) -> Vec<u8> {
    let answer = say(stream, &[11]).unwrap();
    assert_eq!(answer[..5], [12, 0, 0, 0, 1]);
    let length = u32::from_be_bytes(answer[5..9].try_into().unwrap());
    answer[9..9 + usize::try_from(length).unwrap()].to_vec()
}

/// `session-bind@openssh.com`.
fn bind(session: &[u8], host_key: &[u8], is_forwarded: u8) -> Vec<u8> {
    let name = string(b"session-bind@openssh.com");
    let rest = [string(host_key), string(session), string(b"signature")].concat();
    [&[27], name.as_slice(), &rest, &[is_forwarded]].concat()
}

fn sign_request(key: &[u8], data: &[u8]) -> Vec<u8> {
    [&[13], string(key).as_slice(), &string(data), &[0; 4]].concat()
}

/// What a client has signed to log in.
fn login(session: &[u8], key: &[u8], host_key: Option<&[u8]>) -> Vec<u8> {
    let method: &[u8] = match host_key {
        Some(_) => b"publickey-hostbound-v00@openssh.com",
        None => b"publickey",
    };
    [
        string(session).as_slice(),
        &[50],
        &string(b"deploy"),
        &string(b"ssh-connection"),
        &string(method),
        &[1],
        &string(b"ssh-ed25519-cert-v01@openssh.com"),
        &string(key),
        &host_key.map(string).unwrap_or_default(),
    ]
    .concat()
}

/// A new connection that is bound to a session.
fn bound(agent: &Agent, session: &[u8], host_key: &[u8]) -> UnixStream {
    let mut stream = UnixStream::connect(agent.path()).unwrap();
    assert_eq!(say(&mut stream, &bind(session, host_key, 0)).unwrap(), [6]);
    stream
}

fn is_over(stream: &mut UnixStream) -> bool {
    stream.read(&mut [0]).unwrap() == 0
}

/// T-147
#[tokio::test(flavor = "multi_thread")]
async fn a_command_logs_in_through_the_agent_and_no_key_is_on_the_disk() {
    let stage = Stage::new();
    let host = Host::start(&stage.install(), &["deploy"]);
    let (folder, agent) = started(&stage);
    let output = host.login_with_agent(agent.path(), &["echo", "hallpass-was-here"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("hallpass-was-here"), "{}", host.log());
    let ours = agent.path().parent().unwrap();
    let names: Vec<_> = fs::read_dir(ours)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(names, [agent.path()]);
    for (path, mode) in [(ours, 0o700), (agent.path(), 0o600)] {
        assert_eq!(
            fs::metadata(path).unwrap().permissions().mode() & 0o777,
            mode
        );
    }
    drop(folder);
}

/// T-147
#[tokio::test(flavor = "multi_thread")]
async fn the_agent_lists_one_certificate_and_signs_with_its_key_only() {
    let stage = Stage::new();
    let (_folder, agent) = started(&stage);
    let text = run(Command::new("ssh-add")
        .arg("-l")
        .env("SSH_AUTH_SOCK", agent.path()));
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("(ED25519-CERT)"), "{text}");
    let mut stream = bound(&agent, b"session", b"host");
    let certificate = listed(&mut stream);
    let request = |key: &[u8]| sign_request(key, &login(b"session", key, None));
    assert_eq!(say(&mut stream, &request(&certificate)).unwrap()[0], 14);
    let other = stage.job(&["-t", "ed25519"]).public_line();
    let other = data_encoding::BASE64
        .decode(other.split(' ').nth(1).unwrap().as_bytes())
        .unwrap();
    for key in [other.as_slice(), b"", &certificate[..50]] {
        assert_eq!(say(&mut stream, &request(key)).unwrap(), [5]);
    }
    // Adding, removing, locking, and what is not understood.
    for kind in [0, 1, 9, 17, 18, 19, 20, 21, 22, 23, 25, 26, 27, 255] {
        assert_eq!(say(&mut stream, &[kind]).unwrap(), [5], "{kind}");
    }
    assert_eq!(listed(&mut stream), certificate);
}

/// T-147
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_not_bound_first_gets_no_signature() {
    let stage = Stage::new();
    let (_folder, agent, mut reported) = reporting(&stage);
    let mut stream = UnixStream::connect(agent.path()).unwrap();
    let certificate = listed(&mut stream);
    let request = sign_request(&certificate, &login(b"session", &certificate, None));
    assert_eq!(say(&mut stream, &request).unwrap(), [5]);
    assert_eq!(
        say(&mut stream, &bind(b"session", b"host", 0)).unwrap(),
        [5]
    );
    assert!(is_over(&mut stream));
    // A process that does not know of binding would not say what it forwards.
    let mut stream = UnixStream::connect(agent.path()).unwrap();
    assert_eq!(
        say(&mut stream, &bind(b"session", b"host", 0)).unwrap(),
        [5]
    );
    assert!(is_over(&mut stream));
    insta::assert_snapshot!(reported.recv().await.unwrap(), @"the SSH agent did not sign: the client did not bind its connection to a session first, as OpenSSH 8.9 and later do; with other clients use the files of `hallpass get --format ssh --out FILE`");
    insta::assert_snapshot!(reported.recv().await.unwrap(), @"the SSH agent did not sign: a client has one session, and this was another; a forwarded agent cannot be used");
}

/// T-147
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_read_is_no_first_bind() {
    let stage = Stage::new();
    let (_folder, agent) = started(&stage);
    let mut stream = UnixStream::connect(agent.path()).unwrap();
    let cut = &bind(b"session", b"host", 0)[..40];
    assert_eq!(say(&mut stream, cut).unwrap(), [5]);
    assert_eq!(
        say(&mut stream, &bind(b"session", b"host", 0)).unwrap(),
        [5]
    );
    assert!(is_over(&mut stream));
}

/// T-147
#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_connection_ends_without_a_signature() {
    let stage = Stage::new();
    let (_folder, agent, mut reported) = reporting(&stage);
    let mut own = bound(&agent, b"session", b"host");
    let mut forwarded = UnixStream::connect(agent.path()).unwrap();
    assert_eq!(
        say(&mut forwarded, &bind(b"session", b"host", 1)).unwrap(),
        [5]
    );
    assert!(is_over(&mut forwarded));
    // What was bound before is not forwarded later.
    assert_eq!(say(&mut own, &bind(b"session", b"host", 1)).unwrap(), [5]);
    assert!(is_over(&mut own));
    insta::assert_snapshot!(reported.recv().await.unwrap(), @"the SSH agent signs for this machine only, and a connection to it was forwarded (`ssh -A`); reach hosts behind others with `ssh -J`");
}

/// T-147
#[tokio::test(flavor = "multi_thread")]
async fn a_signature_is_a_login_to_the_bound_session_and_nothing_else() {
    let stage = Stage::new();
    let (_folder, agent, mut reported) = reporting(&stage);
    let mut stream = bound(&agent, b"session", b"host");
    let certificate = listed(&mut stream);
    let mut signs =
        |data: &[u8]| say(&mut stream, &sign_request(&certificate, data)).unwrap()[0] == 14;
    let plain = login(b"session", &certificate, None);
    assert!(signs(&plain));
    assert!(signs(&login(b"session", &certificate, Some(b"host"))));
    let replaced = |from: &[u8], to: &[u8]| {
        let at = plain
            .windows(from.len())
            .position(|part| part == from)
            .unwrap();
        [&plain[..at], to, &plain[at + from.len()..]].concat()
    };
    for data in [
        login(b"another", &certificate, None),
        login(b"another", &certificate, Some(b"host")),
        login(b"session", &certificate, Some(b"another")),
        login(b"session", b"another key", None),
        login(b"", &certificate, None),
        replaced(b"ssh-connection", b"ssh-userauth!!"),
        replaced(b"publickey", b"hostbased"),
        replaced(&[50], &[51]),
        [plain.as_slice(), &[0]].concat(),
        plain[..plain.len() - 1].to_vec(),
        // A signature of a file or of a commit (PROTOCOL.sshsig).
        [
            b"SSHSIG".as_slice(),
            &string(b"git"),
            &string(b""),
            &string(b"sha512"),
        ]
        .concat(),
        Vec::new(),
    ] {
        assert!(!signs(&data), "{}", String::from_utf8_lossy(&data));
    }
    insta::assert_snapshot!(reported.recv().await.unwrap(), @"the SSH agent did not sign: a client has one session, and this was another; a forwarded agent cannot be used");
    insta::assert_snapshot!(reported.recv().await.unwrap(), @"the SSH agent signs logins only");
    assert!(reported.try_recv().is_err());
}

/// T-147
#[tokio::test(flavor = "multi_thread")]
async fn a_process_has_one_session() {
    let stage = Stage::new();
    let (_folder, agent) = started(&stage);
    let mut first = bound(&agent, b"session", b"host");
    let mut second = bound(&agent, b"session", b"host");
    let mut other = UnixStream::connect(agent.path()).unwrap();
    assert_eq!(say(&mut other, &bind(b"another", b"host", 0)).unwrap(), [5]);
    assert!(is_over(&mut other));
    let certificate = listed(&mut first);
    let request = sign_request(&certificate, &login(b"session", &certificate, None));
    for stream in [&mut first, &mut second] {
        assert_eq!(say(stream, &request).unwrap()[0], 14);
    }
}

/// A program between a client and the agent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Relay {
    /// It knows nothing of `session-bind`, like programs that were made before it.
    DropsEveryBind,
    /// It drops just what says that a connection is forwarded.
    DropsForwarded,
}

impl Relay {
    /// Passes on what comes to its socket, for as long as this process runs.
    fn start(self, agent: &Path, socket: &Path) {
        let listener = UnixListener::bind(socket).unwrap();
        let agent = agent.to_owned();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, agent) = (client.unwrap(), UnixStream::connect(&agent));
                let Ok(agent) = agent else { return };
                thread::spawn(move || self.pass(client, agent));
            }
        });
    }

    fn pass(self, mut client: UnixStream, mut agent: UnixStream) -> std::io::Result<()> {
        loop {
            let mut length = [0; 4];
            client.read_exact(&mut length)?;
            let mut message = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
            client.read_exact(&mut message)?;
            let is_bind =
                message[0] == 27 && message.windows(12).any(|part| part == b"session-bind");
            let is_dropped = is_bind
                && match self {
                    Self::DropsEveryBind => true,
                    Self::DropsForwarded => message.last() == Some(&1),
                };
            let answer = if is_dropped {
                vec![6]
            } else {
                say(&mut agent, &message)?
            };
            client.write_all(&u32::try_from(answer.len()).unwrap().to_be_bytes())?;
            client.write_all(&answer)?;
        }
    }
}

/// Two hosts that trust one CA, and a job that may forward its agent.
struct Hops {
    first: Host,
    second: Host,
    stage: Stage,
    folder: TempDir,
    agent: Agent,
    reported: mpsc::Receiver<String>,
}

impl Hops {
    fn start() -> Self {
        let stage = Stage::new();
        let (folder, key) = (tempfile::tempdir().unwrap(), RunKey::generate().unwrap());
        let public = JobKey::parse(&key.public_line().unwrap()).unwrap();
        let now = SystemClock::new().now();
        let definition = forwarding();
        let line = stage.ca.sign(&request(&definition, &public, now));
        let (reports, reported) = mpsc::channel(16);
        let environment = environment(folder.path());
        let agent = Agent::start(key, &line.unwrap().line, &environment, reports).unwrap();
        Self {
            first: Host::start(&stage.install(), &["deploy"]),
            second: Host::start(&stage.install(), &["deploy"]),
            stage,
            folder,
            agent,
            reported,
        }
    }

    /// Logs in to the first host with the agent at `socket`, forwards that, and from there logs in to
    /// the second host. What was said, by both.
    fn walk(&self, socket: &Path, more: &[&str]) -> String {
        let onward = self.second.ssh();
        let words = std::iter::once(onward.get_program()).chain(onward.get_args());
        let words: Vec<&str> = words.map(|word| word.to_str().unwrap()).collect();
        let script = format!(
            "echo first-host; ssh-add -l; {} 127.0.0.1 echo second-host",
            words.join(" ")
        );
        let mut ssh = self.first.ssh();
        ssh.env("SSH_AUTH_SOCK", socket).args(more);
        let output = ssh.args(["-A", "127.0.0.1", &script]).observed();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn forwarding() -> SshDefinition {
    let mut definition = definition();
    definition.extensions = [Extension::AgentForwarding].into();
    definition
}

/// T-147
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_an_agent_is_forwarded_to_gets_no_signature() {
    let mut hops = Hops::start();
    let said = hops.walk(hops.agent.path(), &[]);
    assert_eq!(said, "first-host\n", "{}", hops.first.log());
    assert!(
        hops.reported
            .recv()
            .await
            .unwrap()
            .contains("was forwarded")
    );
    // The host would have let the certificate in.
    let direct = hops
        .second
        .login_with_agent(hops.agent.path(), &["echo", "second-host"]);
    assert_eq!(direct.stdout, b"second-host\n", "{}", hops.second.log());
}

/// T-147
#[tokio::test(flavor = "multi_thread")]
async fn no_host_gets_a_signature_through_a_relay_that_drops_binds() {
    let mut hops = Hops::start();
    let socket = hops.folder.path().join("relay");
    Relay::DropsEveryBind.start(hops.agent.path(), &socket);
    // Neither here nor there: the client looks like one that knows of no binds.
    assert_eq!(hops.walk(&socket, &[]), "");
    assert!(hops.reported.recv().await.unwrap().contains("OpenSSH 8.9"));
    // Nor where the first host lets in by another key, and only the agent comes through the relay.
    let job = hops.stage.signed_job(&forwarding(), 300);
    let key = job.path().to_str().unwrap();
    let said = hops.walk(&socket, &["-o", "IdentitiesOnly=yes", "-i", key]);
    assert!(said.contains("(ED25519-CERT)"), "{}", hops.first.log());
    assert!(!said.contains("second-host"), "{}", hops.second.log());
}

/// T-147
#[tokio::test(flavor = "multi_thread")]
async fn no_second_host_gets_a_signature_through_one_process_that_hides_what_is_forwarded() {
    let mut hops = Hops::start();
    let socket = hops.folder.path().join("relay");
    Relay::DropsForwarded.start(hops.agent.path(), &socket);
    let said = hops.walk(&socket, &[]);
    assert!(said.contains("first-host"), "{}", hops.first.log());
    assert!(!said.contains("second-host"), "{}", hops.second.log());
    assert!(hops.reported.recv().await.unwrap().contains("one session"));
}

/// T-147
#[tokio::test(start_paused = true)]
async fn connections_that_say_nothing_do_not_keep_others_out() {
    let stage = Stage::new();
    let (_folder, agent) = started(&stage);
    let mut idle = Vec::new();
    for _ in 0..64 {
        idle.push(tokio::net::UnixStream::connect(agent.path()).await.unwrap());
    }
    let mut stream = tokio::net::UnixStream::connect(agent.path()).await.unwrap();
    stream.write_all(&[0, 0, 0, 1, 11]).await.unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer[4], 12);
    drop(idle);
}

/// T-147
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_ends_its_connection_and_no_other() {
    let stage = Stage::new();
    let (_folder, agent) = started(&stage);
    let mut good = UnixStream::connect(agent.path()).unwrap();
    listed(&mut good);
    for length in [0_u32, 256 * 1_024 + 1, u32::MAX] {
        let mut stream = UnixStream::connect(agent.path()).unwrap();
        stream.write_all(&length.to_be_bytes()).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "{length}");
    }
    for message in [
        vec![13],
        vec![13, 0xff, 0xff, 0xff, 0xff],
        vec![27, 0, 0, 0, 9],
        sign_request(b"x", b"data")[..8].to_vec(),
    ] {
        assert_eq!(say(&mut good, &message).unwrap(), [5]);
    }
    listed(&mut good);
}

/// T-147
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_ends_with_its_command() {
    let stage = Stage::new();
    let (folder, agent) = started(&stage);
    let path = agent.path().to_owned();
    let mut open = UnixStream::connect(&path).unwrap();
    listed(&mut open);
    drop(agent);
    assert!(!path.exists());
    assert!(UnixStream::connect(&path).is_err());
    assert_eq!(open.read(&mut [0]).unwrap(), 0);
    drop(folder);
}

/// T-147
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_key_starts_no_agent() {
    let stage = Stage::new();
    let folder = tempfile::tempdir().unwrap();
    let ((_, line), (key, _)) = (pair(&stage), pair(&stage));
    let error = Agent::start(key, &line, &environment(folder.path()), unheard()).unwrap_err();
    insta::assert_snapshot!(error, @"the SSH agent for the command cannot be started: the certificate is for another key than the one that was sent");
    let (key, _) = pair(&stage);
    let error = Agent::start(
        key,
        "ssh-ed25519 AAAA",
        &environment(folder.path()),
        unheard(),
    )
    .unwrap_err();
    insta::assert_snapshot!(error, @"the SSH agent for the command cannot be started: the certificate is not one of OpenSSH");
}

/// T-147
#[tokio::test(flavor = "multi_thread")]
async fn a_job_folder_with_a_long_name_still_has_an_agent() {
    let stage = Stage::new();
    let folder = tempfile::tempdir().unwrap();
    let long = folder.path().join("long-".repeat(30));
    fs::create_dir(&long).unwrap();
    let (key, line) = pair(&stage);
    let agent = Agent::start(key, &line, &environment(&long), unheard()).unwrap();
    listed(&mut UnixStream::connect(agent.path()).unwrap());
    let ours = agent.path().parent().unwrap();
    assert_eq!(
        fs::metadata(ours).unwrap().permissions().mode() & 0o777,
        0o700
    );
}

/// T-147
#[test]
fn a_key_pair_is_new_each_time_and_its_file_is_read_by_openssh() {
    let (one, two) = (RunKey::generate().unwrap(), RunKey::generate().unwrap());
    assert_ne!(one.public_line(), two.public_line());
    assert_eq!(format!("{one:?}"), "RunKey { .. }");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    fs::write(&path, one.private_text().unwrap().expose()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let public = run(Command::new("ssh-keygen").arg("-yf").arg(&path));
    assert_eq!(public.trim_end(), one.public_line().unwrap());
}
