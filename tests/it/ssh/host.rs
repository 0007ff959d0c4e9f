//! A private sshd in a temporary folder, on a free port, set up as `target install` says; Debian's own
//! on 22 is left alone.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};
use tempfile::TempDir;

use crate::support::leaks::Observed as _;

/// A running host: stopped by its process id and gone with its folder when dropped. One can log in to
/// it as the user that runs the tests, and with a certificate only.
pub(crate) struct Host {
    folder: TempDir,
    port: u16,
    child: Child,
}

impl Host {
    /// A host that takes the text of `target install` as its administrator would, and lets these
    /// principals in.
    pub(crate) fn start(install: &str, principals: &[&str]) -> Self {
        Self::with_own("", install, principals)
    }

    /// The same on a host with settings of its own, which sshd reads first.
    pub(crate) fn with_own(own: &str, install: &str, principals: &[&str]) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("hallpass-sshd-")
            .tempdir()
            .unwrap();
        let file = |name: &str| folder.path().join(name);
        run(Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(file("host_key")));
        fs::write(file("hallpass_ca.pub"), ca_line(install)).unwrap();
        fs::create_dir(file("hallpass_principals")).unwrap();
        let listed = principals.join("\n") + "\n";
        fs::write(file("hallpass_principals").join(user()), listed).unwrap();
        run(Command::new("ssh-keygen")
            .args(["-q", "-k", "-f"])
            .arg(file("hallpass_revoked")));
        if geteuid().is_root() {
            // Debian makes it when its own service starts.
            fs::create_dir_all("/run/sshd").unwrap();
        }
        // Another process may take the free port first, so a few are tried.
        for _ in 0..5 {
            let port = free_port();
            fs::write(file("config"), config(own, install, folder.path(), port)).unwrap();
            let log = fs::File::create(file("log")).unwrap();
            let mut child = Command::new("/usr/sbin/sshd")
                .args(["-D", "-e", "-f"])
                .arg(file("config"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .expect("sshd is not there: run deploy/dev/install.sh test");
            if answers(&mut child, port) {
                return Self {
                    folder,
                    port,
                    child,
                };
            }
            stop(&mut child);
        }
        let log = fs::read_to_string(file("log")).unwrap_or_default();
        panic!("sshd did not start: {log}");
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What it said so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.file("log")).unwrap()
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Its line in a `known_hosts` file.
    pub(crate) fn known_line(&self) -> String {
        let key = fs::read_to_string(self.file("host_key.pub")).unwrap();
        format!("[127.0.0.1]:{} {key}", self.port)
    }

    /// Trusts another CA too, as during a rotation: its line goes below the first.
    pub(crate) fn trust(&self, install: &str) {
        let file = self.file("hallpass_ca.pub");
        let lines = [&fs::read_to_string(&file).unwrap(), "\n", ca_line(install)].concat();
        fs::write(file, lines).unwrap();
    }

    /// Runs the text's command that revokes a serial number.
    pub(crate) fn revoke(&self, install: &str, serial: &str) {
        let command = commented(install, "echo 'serial:").replace("NUMBER", serial);
        let command = command.replace("/etc/ssh", self.file("").to_str().unwrap());
        run(Command::new("sh").args(["-c", &command]));
    }

    /// Runs the text's command that shows which settings for certificates are in force, and sorts what
    /// it prints.
    pub(crate) fn in_force(&self, install: &str) -> Vec<String> {
        let sshd = format!("/usr/sbin/sshd -f {} -T ", self.file("config").display());
        let command = commented(install, "sshd -T")
            .replace("sshd -T ", &sshd)
            .replace("USER", &user())
            .replace("HOST", "localhost")
            .replace("ADDR", "127.0.0.1");
        let printed = run(Command::new("sh").args(["-c", &command]));
        let mut lines: Vec<String> = printed.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// `ssh` to it, with nothing of this machine's user.
    pub(crate) fn ssh(&self) -> Command {
        let known = self.file("known_hosts");
        fs::write(&known, self.known_line()).unwrap();
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-p", &self.port.to_string()])
            .args(["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"])
            .args(["-o", "ConnectTimeout=20", "-o", "GlobalKnownHostsFile=none"])
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", known.display()))
            .arg("-l")
            .arg(user())
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::null());
        ssh
    }

    /// Logs in with a private key file, beside which its certificate is, and runs a command.
    pub(crate) fn login(&self, key: &Path, command: &[&str]) -> Output {
        self.ssh()
            .args(["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-i"])
            .arg(key)
            .arg("127.0.0.1")
            .args(command)
            .observed()
    }

    /// Logs in with an agent, and runs a command.
    pub(crate) fn login_with_agent(&self, socket: &Path, command: &[&str]) -> Output {
        self.ssh()
            .env("SSH_AUTH_SOCK", socket)
            .arg("127.0.0.1")
            .args(command)
            .observed()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// Runs a command that must not fail.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.observed();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Whom the tests run as, and so whom they can log in as.
pub(crate) fn user() -> String {
    User::from_uid(geteuid()).unwrap().unwrap().name
}

/// The lines of the text that are not comments: first the CA's, then those of sshd.
fn lines(install: &str) -> impl Iterator<Item = &str> {
    install
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn ca_line(install: &str) -> &str {
    lines(install).next().unwrap()
}

/// The command of the text that has these words.
fn commented<'a>(install: &'a str, words: &str) -> &'a str {
    let line = install.lines().find(|line| line.contains(words));
    line.unwrap().trim_start_matches(['#', ' '])
}

fn config(own: &str, install: &str, folder: &Path, port: u16) -> String {
    let ours: Vec<&str> = lines(install).skip(1).collect();
    let ours = ours
        .join("\n")
        .replace("/etc/ssh", folder.to_str().unwrap());
    let own = own.replace("/etc/ssh", folder.to_str().unwrap());
    let folder = folder.display();
    format!(
        "{own}\n\
         Port {port}\n\
         ListenAddress 127.0.0.1\n\
         HostKey {folder}/host_key\n\
         PidFile none\n\
         LogLevel VERBOSE\n\
         StrictModes no\n\
         UsePAM no\n\
         PermitRootLogin prohibit-password\n\
         PasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n\
         AuthorizedKeysFile none\n\
         {ours}\n"
    )
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn answers(child: &mut Child, port: u16) -> bool {
    for _ in 0..400 {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return matches!(child.try_wait(), Ok(None));
        }
        if !matches!(child.try_wait(), Ok(None)) {
            return false;
        }
        thread::sleep(Duration::from_millis(25));
    }
    false
}

fn stop(child: &mut Child) {
    let id = Pid::from_raw(child.id().try_into().unwrap());
    if kill(id, Signal::SIGTERM).is_err() {
        // It has ended.
    }
    child.wait().unwrap();
}
