//! A private Redis or Valkey server in a temporary folder, on a free port; Debian's own on 6379 is left
//! alone.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::tokens::NOW;

/// A running server: stopped by its process id and gone with its folder when dropped.
pub(crate) struct Redis {
    folder: TempDir,
    port: u16,
    program: PathBuf,
    arguments: Vec<String>,
    child: Option<Child>,
    pub(crate) password: Option<String>,
}

impl Redis {
    /// A server that knows our store for long, so that tokens of [`NOW`] are not too old for it.
    pub(crate) fn start() -> Self {
        let redis = Self::fresh(&[]);
        redis.known_for_long();
        redis
    }

    /// A server that no broker has seen.
    pub(crate) fn fresh(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
        Self::launch("redis-server".into(), arguments, None, None)
    }

    /// A server of another flavour, with a password for `default`.
    pub(crate) fn of(program: PathBuf, arguments: &[&str], password: &str) -> Self {
        let own = ["--requirepass", password, "--masterauth", password];
        let arguments = own.iter().chain(arguments);
        let arguments = arguments.map(|text| (*text).to_owned()).collect();
        Self::launch(program, arguments, Some(password.to_owned()), None)
    }

    pub(crate) fn with_password(password: &str) -> Self {
        let arguments = vec!["--requirepass".to_owned(), password.to_owned()];
        Self::launch(
            "redis-server".into(),
            arguments,
            Some(password.to_owned()),
            None,
        )
    }

    /// TLS alone, under a certificate and key in PEM.
    pub(crate) fn with_tls(certificate: &str, key: &str) -> Self {
        let tls = Some((certificate, key));
        Self::launch("redis-server".into(), Vec::new(), None, tls)
    }

    fn launch(
        program: PathBuf,
        arguments: Vec<String>,
        password: Option<String>,
        tls: Option<(&str, &str)>,
    ) -> Self {
        let mut redis = Self {
            folder: tempfile::Builder::new()
                .prefix("hallpass-redis-")
                .tempdir()
                .unwrap(),
            port: 0,
            program,
            arguments,
            child: None,
            password,
        };
        if let Some((certificate, key)) = tls {
            fs::write(redis.file("cert.pem"), certificate).unwrap();
            fs::write(redis.file("key.pem"), key).unwrap();
        }
        // Another process may take the free port first, so a few are tried.
        for _ in 0..5 {
            redis.port = free_port();
            if redis.spawn(tls.is_some()) {
                return redis;
            }
            redis.stop();
        }
        panic!("redis-server did not start: {}", redis.log());
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// The line of the settings that names it, at its own port or a proxy's.
    pub(crate) fn setting(port: u16) -> String {
        format!("replay: {{ store: redis, url: \"redis://127.0.0.1:{port}\" }}")
    }

    pub(crate) fn known_for_long(&self) {
        let (run, evicted) = (self.field("run_id"), self.field("evicted_keys"));
        let record = format!("hp1 {run}x{evicted} {}", NOW - 1_000);
        self.say(&["SET", "hallpass:run", &record]);
    }

    /// What it answers to a command, as text.
    pub(crate) fn say(&self, command: &[&str]) -> String {
        self.try_say(command)
            .unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    pub(crate) fn field(&self, name: &str) -> String {
        let info = self.say(&["INFO"]);
        let line = info
            .lines()
            .find_map(|line| line.trim().strip_prefix(&format!("{name}:")));
        line.unwrap().to_owned()
    }

    /// The names of all uses.
    pub(crate) fn uses(&self) -> Vec<String> {
        let names = self.say(&["KEYS", "hallpass:used:*"]);
        names.lines().map(str::to_owned).collect()
    }

    /// Kills it as a power cut would.
    pub(crate) fn crash(&mut self) {
        self.signal(Signal::SIGKILL);
        self.reap();
    }

    /// Starts it again on the same port.
    pub(crate) fn restart(&mut self) {
        self.reap();
        assert!(self.spawn(false), "{}", self.log());
    }

    /// It hangs: connections are accepted by the kernel, and nothing answers.
    pub(crate) fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn spawn(&mut self, tls: bool) -> bool {
        let port = self.port.to_string();
        let mut command = Command::new(&self.program);
        command
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--daemonize", "no", "--dir"])
            .arg(self.folder.path())
            .arg("--logfile")
            .arg(self.file("log"));
        if tls {
            command
                .args([
                    "--port",
                    "0",
                    "--tls-auth-clients",
                    "no",
                    "--tls-port",
                    &port,
                ])
                .arg("--tls-cert-file")
                .arg(self.file("cert.pem"))
                .arg("--tls-key-file")
                .arg(self.file("key.pem"));
        } else {
            command.args(["--port", &port]);
        }
        let child = command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is not there: run deploy/dev/install.sh test");
        self.child = Some(child);
        for _ in 0..200 {
            let is_there = if tls {
                TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
            } else {
                self.try_say(&["PING"]).is_ok()
            };
            if is_there {
                return true;
            }
            let child = self.child.as_mut().unwrap();
            if !matches!(child.try_wait(), Ok(None)) {
                return false;
            }
            thread::sleep(Duration::from_millis(25));
        }
        false
    }

    pub(crate) fn try_say(&self, command: &[&str]) -> io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut said = Vec::new();
        if let Some(password) = &self.password {
            said.extend(packed(&["AUTH", password]));
        }
        said.extend(packed(command));
        said.extend(packed(&["QUIT"]));
        stream.write_all(&said)?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let is_error = |line: &&str| {
            let rest = line.strip_prefix('-');
            rest.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_uppercase()))
        };
        if let Some(line) = text.lines().find(is_error) {
            return Err(io::Error::other(line.to_owned()));
        }
        let lines = text
            .lines()
            .filter(|line| !line.starts_with(['$', '*']) && *line != "+OK");
        Ok(lines.collect::<Vec<_>>().join("\n"))
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    fn stop(&mut self) {
        self.signal(Signal::SIGKILL);
        self.reap();
    }

    fn signal(&self, signal: Signal) {
        let pid = self
            .child
            .as_ref()
            .and_then(|child| child.id().try_into().ok());
        if let Some(pid) = pid {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}

fn packed(command: &[&str]) -> Vec<u8> {
    let parts = command
        .iter()
        .map(|part| format!("${}\r\n{part}\r\n", part.len()));
    let parts: Vec<String> = parts.collect();
    format!("*{}\r\n{}", command.len(), parts.concat()).into_bytes()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}
