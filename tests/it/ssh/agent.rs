//! The agent of one command: what it holds, whom it serves, and when it ends.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use hallpass::client::Environment;
use hallpass::client::ssh::{Agent, RunKey};
use hallpass::clock::{Clock as _, SystemClock};
use hallpass::credential::ssh::{CertificateRequest, Extension, JobKey};
use tempfile::TempDir;

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
    let folder = tempfile::tempdir().unwrap();
    let (key, line) = pair(stage);
    let agent = Agent::start(key, &line, &environment(folder.path())).unwrap();
    (folder, agent)
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

fn sign_request(key: &[u8]) -> Vec<u8> {
    [&[13], string(key).as_slice(), &string(b"data"), &[0; 4]].concat()
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
    let mut stream = UnixStream::connect(agent.path()).unwrap();
    let certificate = listed(&mut stream);
    assert_eq!(
        say(&mut stream, &sign_request(&certificate)).unwrap()[0],
        14
    );
    let other = stage.job(&["-t", "ed25519"]).public_line();
    let other = data_encoding::BASE64
        .decode(other.split(' ').nth(1).unwrap().as_bytes())
        .unwrap();
    for key in [other.as_slice(), b"", &certificate[..50]] {
        assert_eq!(say(&mut stream, &sign_request(key)).unwrap(), [5]);
    }
    // Adding, removing, locking, and what is not understood.
    for kind in [0, 1, 9, 17, 18, 19, 20, 21, 22, 23, 25, 26, 27, 255] {
        assert_eq!(say(&mut stream, &[kind]).unwrap(), [5], "{kind}");
    }
    assert_eq!(listed(&mut stream), certificate);
}

/// T-147
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_forwarded_signs_nothing_on_that_connection() {
    let stage = Stage::new();
    let (_folder, agent) = started(&stage);
    let bind = |is_forwarded: u8| {
        let name = string(b"session-bind@openssh.com");
        let rest = [string(b"key"), string(b"id"), string(b"signature")].concat();
        [&[27], name.as_slice(), &rest, &[is_forwarded]].concat()
    };
    let mut stream = UnixStream::connect(agent.path()).unwrap();
    let certificate = listed(&mut stream);
    let signs =
        |stream: &mut UnixStream| say(stream, &sign_request(&certificate)).unwrap()[0] == 14;
    assert_eq!(say(&mut stream, &bind(0)).unwrap(), [6]);
    assert!(signs(&mut stream));
    assert_eq!(say(&mut stream, &bind(1)).unwrap(), [6]);
    assert!(!signs(&mut stream));
    // What was forwarded stays so.
    assert_eq!(say(&mut stream, &bind(0)).unwrap(), [6]);
    assert!(!signs(&mut stream));
    assert!(signs(&mut UnixStream::connect(agent.path()).unwrap()));
}

/// T-147
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_an_agent_is_forwarded_to_gets_no_signature() {
    let stage = Stage::new();
    let host = Host::start(&stage.install(), &["deploy"]);
    let mut definition = definition();
    definition.extensions = [Extension::AgentForwarding].into();
    let (folder, key) = (tempfile::tempdir().unwrap(), RunKey::generate().unwrap());
    let public = JobKey::parse(&key.public_line().unwrap()).unwrap();
    let now = SystemClock::new().now();
    let line = stage.ca.sign(&request(&definition, &public, now));
    let line = line.unwrap().line;
    let certificate = folder.path().join("job-cert.pub");
    fs::write(&certificate, &line).unwrap();
    let agent = Agent::start(key, &line, &environment(folder.path())).unwrap();
    let here = Command::new("ssh-add")
        .arg("-T")
        .arg(&certificate)
        .env("SSH_AUTH_SOCK", agent.path())
        .observed();
    assert!(here.status.success());
    let there = format!(
        "ssh-add -l && echo it-is-there; ssh-add -T {} || echo it-signs-nothing",
        certificate.display()
    );
    let mut ssh = host.ssh();
    let output = ssh
        .env("SSH_AUTH_SOCK", agent.path())
        .args(["-A", "127.0.0.1", &there])
        .observed();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("it-is-there"), "{said} {}", host.log());
    assert!(said.contains("it-signs-nothing"), "{said} {}", host.log());
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
        sign_request(b"x")[..8].to_vec(),
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
    let error = Agent::start(key, &line, &environment(folder.path())).unwrap_err();
    insta::assert_snapshot!(error, @"the SSH agent for the command cannot be started: the certificate is for another key than the one that was sent");
    let (key, _) = pair(&stage);
    let error = Agent::start(key, "ssh-ed25519 AAAA", &environment(folder.path())).unwrap_err();
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
    let agent = Agent::start(key, &line, &environment(&long)).unwrap();
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
