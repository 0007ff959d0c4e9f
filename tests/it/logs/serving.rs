//! The real program: a broker with a database and two CIs, all of `hallpass dev`, which logs as much
//! as it can.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use data_encoding::BASE64;
use hallpass::clock::{Clock as _, SystemClock};
use hallpass::dev::issuer::{GithubJob, GitlabJob, SigningKey, github_claims, gitlab_claims};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::client::PATIENCE;
use crate::support::leaks;

pub(super) struct Serving {
    pub(super) public: SocketAddr,
    pub(super) operator: SocketAddr,
    pub(super) url: String,
    state: Value,
    child: Child,
    temporary: TempDir,
    folder: PathBuf,
    _leaks: leaks::Guard,
}

impl Serving {
    /// Starts it, and registers every secret that it made for itself.
    pub(super) async fn start() -> Self {
        let guard = leaks::watch();
        let temporary = tempfile::tempdir().unwrap();
        // The database's own account must be able to enter.
        fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let stderr = File::create(temporary.path().join("stderr")).unwrap();
        let stdout = File::create(temporary.path().join("stdout")).unwrap();
        let mut serving = Self {
            public: nowhere(),
            operator: nowhere(),
            url: String::new(),
            state: Value::Null,
            child: Command::new(env!("CARGO_BIN_EXE_hallpass"))
                .args(["dev", "--log", "trace"])
                .env("TMPDIR", temporary.path())
                .stdin(Stdio::null())
                .stdout(stdout)
                .stderr(stderr)
                .spawn()
                .unwrap(),
            temporary,
            folder: PathBuf::new(),
            _leaks: guard,
        };
        serving.until("Ctrl-C stops everything").await;
        let said = |what: &str| {
            let text = serving.read("stdout");
            let line = text.lines().find_map(|line| line.trim().strip_prefix(what));
            line.unwrap_or_else(|| panic!("no `{what}` in {text}"))
                .trim()
                .to_owned()
        };
        let url = said("export HALLPASS_BROKER=");
        let operator = said("readiness and metrics");
        let folder = PathBuf::from(said("settings, policies, audit"));
        let address = |url: &str| url.strip_prefix("http://").unwrap().parse().unwrap();
        serving.public = address(&url);
        serving.operator = address(&operator);
        serving.url = url;
        serving.state = serde_json::from_str(&read(&folder.join("dev.json"))).unwrap();
        serving.folder = folder;
        serving.register();
        serving
    }

    fn register(&self) {
        leaks::prefixed("a root key", read(&self.folder.join("root.key")).trim());
        leaks::secret(
            "a database's password",
            read(&self.folder.join("shop-db.password")).trim(),
        );
        for ci in ["github", "gitlab"] {
            // Keys begin with what kind they are.
            leaks::secret(
                "a signing key",
                self.state["issuers"][ci]["key"]
                    .as_str()
                    .unwrap()
                    .get(64..)
                    .unwrap(),
            );
        }
    }

    /// A token of GitHub's: a push to `main` of `acme/shop` for production, with changes.
    pub(super) fn github(&self, change: impl FnOnce(&mut GithubJob)) -> String {
        let url = self.state["issuers"]["github"]["url"].as_str().unwrap();
        let mut job = GithubJob::new(url, &self.url, SystemClock::new().now());
        job.environment = Some("production".to_owned());
        // As the policies of `hallpass dev` have them.
        job.repository_id = "702114500".to_owned();
        job.owner_id = "65923871".to_owned();
        change(&mut job);
        self.sign("github", &github_claims(&job))
    }

    /// A token of GitLab's, of the group's reports.
    pub(super) fn gitlab(&self) -> String {
        let url = self.state["issuers"]["gitlab"]["url"].as_str().unwrap();
        let mut job = GitlabJob::new(url, &self.url, SystemClock::new().now());
        job.project = "acme-group/reports".to_owned();
        job.project_id = "61840277".to_owned();
        self.sign("gitlab", &gitlab_claims(&job))
    }

    pub(super) fn sign(&self, ci: &str, claims: &Value) -> String {
        let text = |name: &str| self.state["issuers"][ci][name].as_str().unwrap();
        let key = BASE64.decode(text("key").as_bytes()).unwrap();
        let token = SigningKey::from_pkcs8(text("kid"), &key)
            .unwrap()
            .sign(claims)
            .unwrap();
        leaks::token(&token);
        token
    }

    /// The `iss` of GitHub's tokens.
    pub(super) fn issuer(&self) -> &str {
        self.state["issuers"]["github"]["url"].as_str().unwrap()
    }

    /// The database server is gone from one moment to the next.
    pub(super) fn kill_database(&self) {
        let is_cluster = |path: &PathBuf| path.to_string_lossy().contains("hallpass-postgres-");
        let folders = fs::read_dir(self.temporary.path()).unwrap().flatten();
        let folder = folders.map(|entry| entry.path()).find(is_cluster).unwrap();
        let file = fs::read_to_string(folder.join("data/postmaster.pid")).unwrap();
        let pid = file.lines().next().unwrap().trim().parse().unwrap();
        crate::support::postgres::kill_server(pid);
    }

    async fn until(&mut self, what: &str) {
        let waited = tokio::time::timeout(PATIENCE * 3, async {
            while !self.read("stdout").contains(what) {
                assert!(
                    self.child.try_wait().unwrap().is_none(),
                    "{}",
                    self.read("stderr")
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let is_said = waited.await.is_ok();
        assert!(is_said, "`{what}` was not said: {}", self.read("stderr"));
    }

    /// Every line of the log so far that is complete.
    pub(super) fn lines(&self) -> Vec<Value> {
        let text = self.read("stderr");
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let parsed = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
        };
        whole.lines().map(parsed).collect()
    }

    /// What it said so far: `stdout` or `stderr`.
    fn read(&self, name: &str) -> String {
        read(&self.temporary.path().join(name))
    }

    /// Looks at everything it recorded, tells it to stop, and looks at everything it said.
    pub(super) async fn stop(mut self) {
        let audit = read(&self.folder.join("audit.jsonl"));
        assert!(audit.contains("\"start\""), "the audit file was not found");
        put_in("the audit file", &audit, true);
        kill(
            Pid::from_raw(self.child.id().try_into().unwrap()),
            Signal::SIGTERM,
        )
        .unwrap();
        let ended = tokio::time::timeout(PATIENCE * 3, async {
            while self.child.try_wait().unwrap().is_none() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        ended.await.expect("hallpass did not stop");
        put_in("the log", &self.read("stderr"), true);
        put_in("standard output", &self.read("stdout"), false);
        leaks::check();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // In order first: the database is a child of its own.
            let _ = kill(
                Pid::from_raw(self.child.id().try_into().unwrap()),
                Signal::SIGTERM,
            );
            for _ in 0..500 {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn put_in(what: &str, text: &str, is_json: bool) {
    for line in text.lines() {
        leaks::said(&format!("{what} of the broker"), line.as_bytes());
        if is_json {
            assert!(
                line.bytes().all(|byte| matches!(byte, b' '..=b'~')),
                "{what}: {line:?}"
            );
            assert!(
                serde_json::from_str::<Value>(line).is_ok(),
                "{what}: {line}"
            );
        }
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}
