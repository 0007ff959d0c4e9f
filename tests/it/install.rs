//! `deploy/install.sh` against a local server of releases, with stand-ins for `cosign` and `gh`.
#![cfg(test)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use aws_lc_rs::digest::{SHA256, digest};
use tempfile::TempDir;

use crate::support::leaks::Observed as _;
use crate::support::sources::root;

const VERSION: &str = "1.2.3";
const ARCHIVE: &str = "hallpass-1.2.3-linux-x86_64.tar.gz";

/// Files by their path, served until the test ends. As a proxy it gets whole URLs.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

type Files = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

impl Server {
    /// `short` bytes are missing at the end of each answer, although its head promises them.
    fn start(files: &Files, short: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, files) = (Arc::clone(&asked), Arc::clone(files));
        thread::spawn(move || {
            for stream in listener.incoming() {
                answer(&stream.unwrap(), &seen, &files, short);
            }
        });
        Self { address, asked }
    }
}

fn answer(mut stream: &TcpStream, seen: &Mutex<Vec<String>>, files: &Files, short: usize) {
    let mut lines = BufReader::new(stream).lines();
    let Some(Ok(first)) = lines.next() else {
        return;
    };
    while lines
        .next()
        .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
    {}
    let target = first.split(' ').nth(1).unwrap().to_owned();
    seen.lock().unwrap().push(target.clone());
    let name = target.rsplit('/').next().unwrap();
    let is_here = target.contains(&format!("/v{VERSION}/"));
    let body = files.lock().unwrap().get(name).filter(|_| is_here).cloned();
    let status = if body.is_some() {
        "200 OK"
    } else {
        "404 Not Found"
    };
    let body = body.unwrap_or_default();
    let sent = &body[..body.len().saturating_sub(short)];
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(sent);
}

/// A machine with its programs and a folder to install into.
struct Machine {
    folder: TempDir,
    files: Files,
    server: Server,
}

impl Machine {
    /// With a good release on the server, and these programs beside the usual ones.
    fn new(programs: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::default();
        let machine = Self {
            server: Server::start(&files, 0),
            files,
            folder,
        };
        fs::create_dir(machine.path("bin")).unwrap();
        let programs = programs.iter().copied();
        for (name, text) in programs.chain([("uname", &*uname("Linux", "x86_64"))]) {
            machine.program(name, text);
        }
        // No others, so that a `gh` of this machine is not there.
        for name in [
            "sh",
            "curl",
            "tar",
            "gzip",
            "sha256sum",
            "cut",
            "awk",
            "mkdir",
            "mktemp",
            "rm",
            "mv",
            "chmod",
            "cat",
        ] {
            let found = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(name));
            let found = found.iter().find(|path| path.exists());
            let found = found.unwrap_or_else(|| panic!("no {name}"));
            std::os::unix::fs::symlink(found, machine.path("bin").join(name)).unwrap();
        }
        machine.release(&archive(&machine.folder, VERSION));
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self, name: &str, text: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn put(&self, name: &str, content: &[u8]) {
        let mut files = self.files.lock().unwrap();
        files.insert(name.to_owned(), content.to_vec());
    }

    /// An archive with its checksums and their signature.
    fn release(&self, archive: &[u8]) {
        self.put(ARCHIVE, archive);
        let sums = format!(
            "{}  other\n{}  {ARCHIVE}\n",
            "0".repeat(64),
            sha256(archive)
        );
        self.put("SHA256SUMS", sums.as_bytes());
        self.put("SHA256SUMS.sigstore.json", b"{}");
    }

    fn install(&self, variables: &[(&str, &str)]) -> Result<String, String> {
        self.install_with(&[VERSION], variables)
    }

    /// Standard output, or what it said of its failure. Whatever happens, no draft stays behind.
    fn install_with(
        &self,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<String, String> {
        let mut command = Command::new("/bin/sh");
        command
            .arg(root().join("deploy/install.sh"))
            .args(arguments);
        if arguments.len() == 1 {
            command.arg(self.path("to"));
        }
        command.env_clear().env("PATH", self.path("bin"));
        let releases = format!("http://{}/releases", self.server.address);
        command
            .env("HALLPASS_RELEASES", releases)
            .env("HOME", self.folder.path());
        let output = command.envs(variables.iter().copied()).observed();
        if let Ok(entries) = fs::read_dir(self.path("to")) {
            let names = entries.map(|entry| entry.unwrap().file_name());
            let names: Vec<_> = names.filter(|name| name != "hallpass").collect();
            assert!(names.is_empty(), "left behind: {names:?}");
        }
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let here = self.folder.path().display().to_string();
        if output.status.success() {
            Ok(text(output.stdout).replace(&here, "HERE"))
        } else {
            let address = self.server.address.to_string();
            let text = text(output.stderr).replace(&address, "SERVER");
            Err(text.replace(&here, "HERE"))
        }
    }

    fn installed(&self) -> Option<String> {
        fs::read_to_string(self.path("to/hallpass")).ok()
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.server.asked.lock().unwrap())
    }
}

fn uname(system: &str, machine: &str) -> String {
    format!("case $1 in -s) echo {system} ;; -m) echo {machine} ;; esac")
}

fn sha256(content: &[u8]) -> String {
    let digest = digest(&SHA256, content);
    digest
        .as_ref()
        .iter()
        .fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
}

/// A release's archive whose program says that it is of this version.
fn archive(folder: &TempDir, version: &str) -> Vec<u8> {
    let name = format!("hallpass-{VERSION}-linux-x86_64");
    let inner = folder.path().join(&name);
    fs::create_dir_all(&inner).unwrap();
    let program = inner.join("hallpass");
    fs::write(&program, format!("#!/bin/sh\necho hallpass {version}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let packed = folder.path().join("packed");
    let mut pack = Command::new(root().join("deploy/pack.py"));
    pack.arg(&inner)
        .arg(&packed)
        .env("SOURCE_DATE_EPOCH", "1000000000");
    assert!(pack.status().unwrap().success());
    fs::read(packed).unwrap()
}

/// Writes its arguments beside the machine's programs, then accepts or refuses.
fn verifier(exit: u8) -> String {
    format!("echo \"$@\" >>\"${{0%/*}}/../verified\"; echo the verifier speaks >&2; exit {exit}")
}

/// T-218
#[test]
fn a_release_is_installed_after_its_signature_was_verified() {
    for (program, expected) in [
        (
            "cosign",
            "verify-blob --bundle .*SHA256SUMS.sigstore.json --certificate-oidc-issuer \
             https://token.actions.githubusercontent.com --certificate-identity \
             https://github.com/acme/hallpass/.github/workflows/release.yml@refs/tags/v1.2.3 .*SHA256SUMS",
        ),
        (
            "gh",
            "attestation verify .*hallpass-1.2.3-linux-x86_64.tar.gz --repo acme/hallpass \
             --signer-workflow acme/hallpass/.github/workflows/release.yml --source-ref refs/tags/v1.2.3",
        ),
    ] {
        let machine = Machine::new(&[(program, &verifier(0))]);
        let said = machine.install(&[]).unwrap();
        assert!(
            said.starts_with("installed hallpass 1.2.3 as HERE/to/hallpass\n"),
            "{said}"
        );
        assert!(machine.installed().unwrap().contains("hallpass 1.2.3"));
        let verified = fs::read_to_string(machine.path("verified")).unwrap();
        let mut rest = verified.trim();
        for part in expected.split(".*") {
            let found = rest.split_once(part);
            (_, rest) = found.unwrap_or_else(|| panic!("{part:?} in {verified}"));
        }
        assert_eq!(rest, "");
        // And again, over the earlier one, by its other name.
        machine.install_with(&["v1.2.3"], &[]).unwrap();
    }
}

/// T-218
#[test]
fn a_pinned_checksum_needs_no_other_program_and_no_other_file() {
    let machine = Machine::new(&[]);
    let sum = sha256(&machine.files.lock().unwrap()[ARCHIVE]);
    machine.install(&[("HALLPASS_SHA256", &sum)]).unwrap();
    assert_eq!(machine.asked(), [format!("/releases/v1.2.3/{ARCHIVE}")]);
    assert!(machine.installed().is_some());
}

/// T-218
#[test]
fn without_a_means_to_verify_nothing_is_fetched() {
    let machine = Machine::new(&[]);
    let said = machine.install(&[]).unwrap_err();
    insta::assert_snapshot!(said, @"install.sh: nothing can verify the signature: install cosign or gh, or set HALLPASS_SHA256 to the archive's SHA-256 from a source that you trust");
    for wrong in ["abc", &"G".repeat(64), &"0".repeat(63)] {
        let said = machine.install(&[("HALLPASS_SHA256", wrong)]).unwrap_err();
        assert!(said.contains("HALLPASS_SHA256"), "{said}");
    }
    assert_eq!(machine.asked(), Vec::<String>::new());
    assert_eq!(machine.installed(), None);
}

/// T-218, T-219
#[test]
fn a_changed_file_is_not_installed_and_the_earlier_one_stays() {
    let machine = Machine::new(&[("cosign", &verifier(0))]);
    machine.install(&[]).unwrap();
    let earlier = machine.installed();
    let good = machine.files.lock().unwrap()[ARCHIVE].clone();
    let refused = |what: &str, variables: &[(&str, &str)], expected: &str| {
        let said = machine.install(variables).unwrap_err();
        assert!(said.contains(expected), "{what}: {said}");
        assert_eq!(machine.installed(), earlier, "{what}");
    };
    let mut tampered = good.clone();
    *tampered.last_mut().unwrap() ^= 1;
    machine.put(ARCHIVE, &tampered);
    refused("tampered", &[], "the file was changed or is incomplete");
    let pinned = [("HALLPASS_SHA256", &*sha256(&good))];
    refused(
        "tampered, pinned",
        &pinned,
        "the file was changed or is incomplete",
    );
    machine.put(ARCHIVE, &good[..good.len() / 2]);
    refused(
        "cut off on the server",
        &[],
        "the file was changed or is incomplete",
    );
    machine.release(&good);
    machine.put(
        "SHA256SUMS",
        format!("{}  other\n", sha256(&good)).as_bytes(),
    );
    refused(
        "not in the list",
        &[],
        "does not name hallpass-1.2.3-linux-x86_64.tar.gz",
    );
    // An older release under the name of this one, whose checksum somebody signed.
    machine.release(&archive(&machine.folder, "1.0.0"));
    refused(
        "another version",
        &[],
        "the archive holds `hallpass 1.0.0`; expected hallpass 1.2.3",
    );
    machine.release(b"no archive");
    refused(
        "no archive",
        &[],
        "has no hallpass-1.2.3-linux-x86_64/hallpass",
    );
    machine.release(&good);
    machine.program("cosign", &verifier(1));
    refused(
        "a bad signature",
        &[],
        "is not that of the release workflow of acme/hallpass for v1.2.3",
    );
    refused("its reason", &[], "the verifier speaks");
    machine
        .files
        .lock()
        .unwrap()
        .remove("SHA256SUMS.sigstore.json");
    refused(
        "no signature",
        &[],
        "cannot fetch http://SERVER/releases/v1.2.3/SHA256SUMS.sigstore.json",
    );
}

/// T-218, T-219
#[test]
fn a_provenance_that_does_not_hold_is_refused() {
    let machine = Machine::new(&[("gh", &verifier(1))]);
    let said = machine.install(&[]).unwrap_err();
    assert!(
        said.contains("the provenance of hallpass-1.2.3-linux-x86_64.tar.gz is not"),
        "{said}"
    );
    assert_eq!(machine.installed(), None);
}

/// T-219
#[test]
fn a_transfer_that_ends_early_installs_nothing() {
    let mut machine = Machine::new(&[("cosign", &verifier(0))]);
    machine.server = Server::start(&machine.files, 5);
    let said = machine.install(&[]).unwrap_err();
    assert!(said.contains("cannot fetch"), "{said}");
    assert_eq!(machine.installed(), None);
}

#[test]
fn what_cannot_be_installed_is_said_with_what_can() {
    let machine = Machine::new(&[("cosign", &verifier(0))]);
    for (system, processor, expected) in [
        (
            "FreeBSD",
            "amd64",
            "no release for the system `FreeBSD`; there are releases for Linux and macOS",
        ),
        ("Linux", "riscv64", "no release for the machine `riscv64`"),
    ] {
        machine.program("uname", &uname(system, processor));
        let said = machine.install(&[]).unwrap_err();
        assert!(said.contains(expected), "{said}");
    }
    machine.program("uname", &uname("Linux", "amd64"));
    for version in ["../../x", "1/2", "1.2.3;id", "..", ""] {
        let said = machine.install_with(&[version], &[]).unwrap_err();
        assert!(
            said.contains("is not a version") || said.contains("usage:"),
            "{said}"
        );
    }
    for releases in [
        "http://releases.example/x",
        "ftp://127.0.0.1/x",
        "file:///etc",
    ] {
        let said = machine
            .install(&[("HALLPASS_RELEASES", releases)])
            .unwrap_err();
        assert!(said.contains("expected an https URL"), "{said}");
    }
    // The host is what follows the `@`: this is not the machine itself, and could be any other.
    let server = machine.server.address;
    for loopback in ["127.0.0.1:x", "localhost:x", "127.0.0.1:80"] {
        let releases = format!("http://{loopback}@{server}/releases");
        let said = machine
            .install(&[("HALLPASS_RELEASES", &releases)])
            .unwrap_err();
        let expected =
            "install.sh: HALLPASS_RELEASES has an `@`; expected an https URL without a user name";
        assert_eq!(said.trim_end(), expected);
    }
    assert_eq!(machine.asked(), Vec::<String>::new());
    let said = machine.install_with(&["9.9.9"], &[]).unwrap_err();
    assert!(
        said.contains("does version 9.9.9 exist, with an archive for linux-x86_64?"),
        "{said}"
    );
    let said = machine
        .install_with(&[VERSION, "/dev/null/x"], &[])
        .unwrap_err();
    assert!(
        said.contains("folder `/dev/null/x` cannot be made"),
        "{said}"
    );
    fs::create_dir_all(machine.path("to/hallpass")).unwrap();
    let said = machine.install(&[]).unwrap_err();
    assert!(said.contains("`HERE/to/hallpass` is a folder"), "{said}");
}

#[test]
fn downloads_go_through_the_proxy_of_the_environment() {
    let machine = Machine::new(&[("cosign", &verifier(0))]);
    let proxy = Server::start(&machine.files, 0);
    let address = format!("http://{}", proxy.address);
    machine.install(&[("http_proxy", &address)]).unwrap();
    assert_eq!(machine.asked(), Vec::<String>::new());
    let asked = proxy.asked.lock().unwrap();
    let expected = format!(
        "http://{}/releases/v1.2.3/{ARCHIVE}",
        machine.server.address
    );
    assert!(asked.contains(&expected), "{asked:?}");
}
