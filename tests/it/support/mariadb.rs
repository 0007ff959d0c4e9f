//! A private MariaDB server in a temporary folder, on a free port; Debian's own on 3306 is left alone.
//!
//! With `HALLPASS_TEST_MYSQLD` set to a `mysqld` of MySQL 8 or 9 the same tests run against that one.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use hallpass::credential::database::mysql::Flavor;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder, Row};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tempfile::TempDir;

use super::leaks::{self, Observed as _};
use super::wait::until;

/// A running server: stopped by its process id and gone with its folder when dropped.
pub(crate) struct MariaDb {
    folder: TempDir,
    port: u16,
    arguments: Vec<String>,
    child: Option<Child>,
}

/// Which server the tests run against.
pub(crate) fn flavor() -> Flavor {
    match mysqld() {
        None => Flavor::MariaDb,
        Some(_) => Flavor::MySql,
    }
}

fn mysqld() -> Option<PathBuf> {
    let mut variables = std::env::vars_os();
    let found = variables.find(|(name, _)| name == "HALLPASS_TEST_MYSQLD");
    found.map(|(_, path)| PathBuf::from(path))
}

impl MariaDb {
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("hallpass-mariadb-")
            .tempdir()
            .unwrap();
        copy(&fresh_data(), &folder.path().join("data"));
        let mut server = Self {
            folder,
            port: 0,
            arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
            child: None,
        };
        // Another process may take the free port first, so a few are tried.
        for _ in 0..5 {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            server.port = listener.local_addr().unwrap().port();
            drop(listener);
            if server.spawn().await {
                return server;
            }
            server.kill();
        }
        panic!("the server did not start: {}", server.log());
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the server wrote into its own logs.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    /// Kills it as a power cut would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again on the same port.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        assert!(self.spawn().await, "{}", self.log());
    }

    /// It hangs: connections are accepted by the kernel, and nothing answers.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().map(Child::id).unwrap();
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
    }

    /// A session of the administrator.
    pub(crate) async fn root(&self) -> Conn {
        self.try_root().await.unwrap()
    }

    async fn try_root(&self) -> Result<Conn, mysql_async::Error> {
        let options = OptsBuilder::default()
            .socket(Some(self.file("s").to_string_lossy()))
            .user(Some("root"));
        Conn::new(options).await
    }

    /// Statements of the administrator, one after the other.
    pub(crate) async fn run(&self, statements: &[&str]) {
        let mut root = self.root().await;
        for statement in statements {
            root.query_drop(*statement)
                .await
                .unwrap_or_else(|error| panic!("{error} in {statement}"));
        }
        root.disconnect().await.unwrap();
    }

    /// One text that the administrator reads.
    pub(crate) async fn read(&self, sql: &str) -> String {
        let mut root = self.root().await;
        let row: Option<Row> = root
            .query_first(sql)
            .await
            .unwrap_or_else(|error| panic!("{error} in {sql}"));
        root.disconnect().await.unwrap();
        row.and_then(|row| row.get::<Option<String>, _>(0).flatten())
            .unwrap_or_default()
    }

    async fn spawn(&mut self) -> bool {
        let mut command = match mysqld() {
            None => {
                let mut command = Command::new("mariadbd");
                command.args(["--no-defaults", "--innodb-log-file-size=4M"]);
                command
            }
            Some(program) => {
                let mut command = Command::new(program);
                command.args(["--mysqlx=OFF", "--innodb-redo-log-capacity=8M"]);
                command
            }
        };
        let log = fs::File::create(self.file("log")).unwrap();
        command
            .args(["--bind-address=127.0.0.1", "--event-scheduler=ON"])
            .args(["--innodb-buffer-pool-size=16M", "--max-connections=100"])
            .args(["--innodb-flush-log-at-trx-commit=0", "--sync-binlog=0"])
            .args(["--general-log=1", "--log-bin-trust-function-creators=0"])
            .arg(format!("--port={}", self.port))
            .arg(argument("--datadir=", &self.file("data")))
            // A server that starts deletes the temporary files of all others in a shared folder.
            .arg(argument("--tmpdir=", self.folder.path()))
            .arg(argument("--socket=", &self.file("s")))
            .arg(argument("--pid-file=", &self.file("pid")))
            .arg(argument("--general-log-file=", &self.file("general.log")))
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        if geteuid().is_root() {
            command.arg("--user=root");
        }
        self.child = Some(
            command
                .spawn()
                .expect("no mariadbd: run deploy/dev/install.sh test"),
        );
        for _ in 0..600 {
            if self.try_root().await.is_ok() {
                return true;
            }
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            if ended.is_some() {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        if let Ok(said) = fs::read(self.file("general.log")) {
            leaks::said("the server's general log", &said);
        }
        leaks::said("the server's log", self.log().as_bytes());
        self.kill();
    }
}

fn argument(name: &str, path: &Path) -> String {
    format!("{name}{}", path.display())
}

/// The files of a new server, which take seconds to make: once for all test runs.
fn fresh_data() -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock();
    let name = match flavor() {
        Flavor::MariaDb => "mariadb-data",
        Flavor::MySql => "mysql-data",
    };
    let done = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if done.exists() {
        return done;
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let data = folder.path().join("data");
    let mut command = match mysqld() {
        None => {
            let mut command = Command::new("mariadb-install-db");
            command
                .args(["--no-defaults", "--auth-root-authentication-method=normal"])
                .args(["--skip-test-db", "--innodb-log-file-size=4M"]);
            command
        }
        Some(program) => {
            let mut command = Command::new(program);
            command.arg("--initialize-insecure");
            command
        }
    };
    command.arg(argument("--datadir=", &data));
    if geteuid().is_root() {
        command.arg("--user=root");
    }
    let made = command.observed();
    assert!(made.status.success(), "{made:?}");
    // Another test binary may have been first, with the same files.
    let _ = fs::rename(&data, &done);
    done
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-r").arg(from).arg(to).observed();
    assert!(copied.status.success(), "{copied:?}");
}

/// Waits until the server has no session of that user.
pub(crate) async fn no_session(server: &MariaDb, user: &str) {
    let sql = format!(
        "SELECT CAST(COUNT(*) AS CHAR) FROM information_schema.PROCESSLIST WHERE USER = '{user}'"
    );
    until("the sessions are gone", || async {
        server.read(&sql).await == "0"
    })
    .await;
}
