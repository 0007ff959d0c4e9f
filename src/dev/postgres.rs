//! A private PostgreSQL server in a temporary folder.
//!
//! It is found in `PATH` or under `/usr/lib/postgresql`, listens on a free port of 127.0.0.1, and is
//! gone with its folder when dropped. A cluster of the machine's own is left alone.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use aws_lc_rs::rand;
use data_encoding::BASE64URL_NOPAD;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

use crate::secret::Secret;

/// What a server is started with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The folder of `initdb` and `postgres`; `None` looks for it.
    pub programs: Option<PathBuf>,
    /// A certificate chain and its key, both PEM, to speak TLS with.
    pub tls: Option<(String, String)>,
    /// Settings of `postgresql.conf`, e.g. `("max_prepared_transactions", "2")`.
    pub settings: Vec<(String, String)>,
    /// Lines put in front of `pg_hba.conf`.
    pub access: Vec<String>,
}

/// A running server. Dropping it stops the server and removes its folder.
#[derive(Debug)]
pub struct Server {
    folder: TempDir,
    programs: PathBuf,
    account: Option<User>,
    port: u16,
    password: Secret<String>,
    child: Option<Child>,
}

impl Server {
    /// Makes a cluster, starts it, and waits until it answers.
    ///
    /// # Errors
    /// No PostgreSQL on this machine, or it did not start; the text has the end of its log.
    pub async fn start(options: &Options) -> Result<Self, PostgresError> {
        let mut server = Self::new(options)?;
        server.make_cluster()?;
        server.configure(options)?;
        server.launch().await?;
        Ok(server)
    }

    /// Starts a server with a copy of what is in this one, which must be stopped. The superuser's password is the
    /// same. The programs may be this one's own: it must outlive the copy.
    ///
    /// # Errors
    /// The folder could not be copied, or the copy did not start.
    pub async fn start_copy(&self, options: &Options) -> Result<Self, PostgresError> {
        let mut server = Self::new(&Options {
            programs: Some(self.programs.clone()),
            ..options.clone()
        })?;
        server.password = Secret::new(self.password.expose().clone());
        let copied = |error: io::Error| PostgresError::folder("a copy of a cluster", &error);
        server.give_away(server.folder.path())?;
        copy_folder(&self.data(), &server.data()).map_err(copied)?;
        server.give_away_all(&server.data())?;
        server.configure(options)?;
        server.launch().await?;
        Ok(server)
    }

    fn new(options: &Options) -> Result<Self, PostgresError> {
        let programs = match &options.programs {
            Some(folder) => folder.clone(),
            None => find_programs()?,
        };
        let account = unprivileged_account()?;
        let folder = tempfile::Builder::new()
            .prefix("hallpass-postgres-")
            .tempdir()
            .map_err(|error| PostgresError::folder("a temporary folder", &error))?;
        let programs = if account.is_some() && !is_open_to_all(&programs) {
            copy_programs(&programs, folder.path())?
        } else {
            programs
        };
        Ok(Self {
            folder,
            programs,
            account,
            port: 0,
            password: random_password()?,
            child: None,
        })
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The password of the superuser `postgres`.
    #[must_use]
    pub const fn password(&self) -> &Secret<String> {
        &self.password
    }

    /// The folder that holds everything of this server.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The server's process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// How the superuser logs in to `database`.
    #[must_use]
    pub fn config(&self, database: &str) -> tokio_postgres::Config {
        self.login(database, SUPERUSER, self.password.expose())
    }

    /// How `user` logs in to `database`.
    #[must_use]
    pub fn login(&self, database: &str, user: &str, password: &str) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config
            .host(Ipv4Addr::LOCALHOST.to_string())
            .port(self.port)
            .user(user)
            .password(password)
            .dbname(database)
            .connect_timeout(Duration::from_secs(5));
        config
    }

    /// A superuser's session in `database`; its connection runs in a task of its own.
    ///
    /// # Errors
    /// What the server said.
    pub async fn connect(&self, database: &str) -> Result<Client, tokio_postgres::Error> {
        connect(&self.config(database)).await
    }

    /// Starts the server again on the same port after it ended.
    ///
    /// # Errors
    /// It did not start.
    pub async fn restart(&mut self) -> Result<(), PostgresError> {
        self.stop();
        self.spawn()?;
        self.wait_until_ready().await
    }

    /// Stops the server, ending its sessions; the folder stays until the drop.
    pub fn stop(&mut self) {
        // SIGINT is PostgreSQL's fast shutdown. Its child processes end with it.
        self.signal(Signal::SIGINT);
        self.reap();
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn make_cluster(&self) -> Result<(), PostgresError> {
        let password_file = self.folder.path().join("password");
        self.write(&password_file, self.password.expose(), 0o600)?;
        self.give_away(self.folder.path())?;
        let output = self
            .command("initdb")
            .arg("-D")
            .arg(self.data())
            .args([
                "-U",
                SUPERUSER,
                "-A",
                "scram-sha-256",
                "-E",
                "UTF8",
                "--locale=C",
            ])
            // Segments of 16 MB would be most of a cluster that is copied.
            .args(["--no-sync", "--no-instructions", "--wal-segsize=1"])
            .arg(format!("--pwfile={}", password_file.display()))
            .output()
            .map_err(|error| PostgresError::program("initdb", &error))?;
        if !output.status.success() {
            let log = tail(&String::from_utf8_lossy(&output.stderr));
            return Err(PostgresError(format!("`initdb` failed: {log}")));
        }
        Ok(())
    }

    fn configure(&self, options: &Options) -> Result<(), PostgresError> {
        if let Some((certificate, key)) = &options.tls {
            self.write(&self.data().join("server.crt"), certificate, 0o600)?;
            self.write(&self.data().join("server.key"), key, 0o600)?;
        }
        self.write(
            &self.data().join("postgresql.conf"),
            &self.settings(options),
            0o600,
        )?;
        let mut access = options.access.join("\n");
        access.push_str("\nlocal all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n");
        access.push_str("host replication all 127.0.0.1/32 scram-sha-256\n");
        self.write(&self.data().join("pg_hba.conf"), &access, 0o600)
    }

    /// A test server loses nothing it could miss, so it never waits for the disk.
    fn settings(&self, options: &Options) -> String {
        let mut lines = vec![
            "listen_addresses = '127.0.0.1'".to_owned(),
            format!(
                "unix_socket_directories = '{}'",
                self.folder.path().display()
            ),
            "fsync = off".to_owned(),
            "full_page_writes = off".to_owned(),
            "max_connections = 60".to_owned(),
            "shared_buffers = '16MB'".to_owned(),
            // Works also where /dev/shm is closed or tiny, as in containers.
            "dynamic_shared_memory_type = mmap".to_owned(),
            "password_encryption = 'scram-sha-256'".to_owned(),
            "timezone = 'UTC'".to_owned(),
            "lc_messages = 'C'".to_owned(),
        ];
        if options.tls.is_some() {
            lines.push("ssl = on".to_owned());
        }
        for (name, value) in &options.settings {
            lines.push(format!("{name} = '{}'", value.replace('\'', "''")));
        }
        lines.push(String::new());
        lines.join("\n")
    }

    /// Another process may take the free port before the server does, so a few are tried.
    async fn launch(&mut self) -> Result<(), PostgresError> {
        for _ in 1..PORTS_TRIED {
            self.port = free_port()?;
            self.spawn()?;
            if self.wait_until_ready().await.is_ok() {
                return Ok(());
            }
            self.stop();
        }
        self.port = free_port()?;
        self.spawn()?;
        self.wait_until_ready().await
    }

    fn spawn(&mut self) -> Result<(), PostgresError> {
        let log = File::create(self.log())
            .map_err(|error| PostgresError::folder("the server's log", &error))?;
        let child = self
            .command("postgres")
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C in the terminal is for us: the server is stopped in order.
            .process_group(0)
            .spawn()
            .map_err(|error| PostgresError::program("postgres", &error))?;
        self.child = Some(child);
        Ok(())
    }

    async fn wait_until_ready(&mut self) -> Result<(), PostgresError> {
        for _ in 0..READY_POLLS {
            if connect(&self.config("postgres")).await.is_ok() {
                return Ok(());
            }
            let ended = self
                .child
                .as_mut()
                .is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            if ended {
                break;
            }
            tokio::time::sleep(READY_POLL).await;
        }
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let log = tail(&log);
        let problem = format!("the private PostgreSQL server did not start: {log}");
        Err(PostgresError(problem))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command
            .current_dir(self.folder.path())
            .env_remove("PGDATA")
            .env("LC_ALL", "C");
        if let Some(account) = &self.account {
            command.uid(account.uid.as_raw()).gid(account.gid.as_raw());
        }
        command
    }

    fn write(&self, path: &Path, text: &str, mode: u32) -> Result<(), PostgresError> {
        let name = path.display().to_string();
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| PostgresError::folder(&name, &error))?;
        self.give_away(path)
    }

    fn give_away(&self, path: &Path) -> Result<(), PostgresError> {
        let Some(account) = &self.account else {
            return Ok(());
        };
        chown(path, Some(account.uid.as_raw()), Some(account.gid.as_raw()))
            .map_err(|error| PostgresError::folder(&path.display().to_string(), &error))
    }

    /// The folder is closed to other accounts, as the server wants it.
    fn give_away_all(&self, folder: &Path) -> Result<(), PostgresError> {
        let failed =
            |error: io::Error| PostgresError::folder(&folder.display().to_string(), &error);
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        self.give_away(folder)?;
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_dir() {
                self.give_away_all(&path)?;
            } else {
                self.give_away(&path)?;
            }
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid {
            // A server that ended by itself needs no signal.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Waiting fails only for a child that was waited for.
            let _ = child.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(Signal::SIGQUIT);
        self.reap();
    }
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PostgresError(String);

impl PostgresError {
    fn folder(path: &str, error: &io::Error) -> Self {
        Self(format!("{path} could not be written: {error}"))
    }

    fn program(program: &str, error: &io::Error) -> Self {
        Self(format!("`{program}` could not be run: {error}"))
    }
}

/// A session; its connection runs in a task of its own.
pub(super) async fn connect(
    config: &tokio_postgres::Config,
) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    // The client reports what goes wrong; the task only moves bytes.
    tokio::spawn(connection);
    Ok(client)
}

fn find_programs() -> Result<PathBuf, PostgresError> {
    let mut folders = debian_folders();
    folders.extend(path_folders());
    folders
        .into_iter()
        .find(|folder| is_program(&folder.join("initdb")) && is_program(&folder.join("postgres")))
        .ok_or_else(|| PostgresError(NOT_FOUND.to_owned()))
}

fn debian_folders() -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort_by(|a, b| b.cmp(a));
    versions.into_iter().map(|(_, folder)| folder).collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one variable that says where programs are"
)]
fn path_folders() -> Vec<PathBuf> {
    std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect())
        .unwrap_or_default()
}

/// Whether every account may enter the folder: a clone in root's own folder is closed to the one
/// that the server runs as.
fn is_open_to_all(folder: &Path) -> bool {
    let Ok(folder) = fs::canonicalize(folder) else {
        return false;
    };
    folder
        .ancestors()
        .all(|part| fs::metadata(part).is_ok_and(|part| part.permissions().mode() & 0o001 != 0))
}

/// Copies a relocatable installation, the folder around `bin`, and returns the copy's `bin`.
fn copy_programs(programs: &Path, into: &Path) -> Result<PathBuf, PostgresError> {
    let copied =
        |error: io::Error| PostgresError::folder("a copy of the server's programs", &error);
    let programs = fs::canonicalize(programs).map_err(copied)?;
    let whole = programs.parent().unwrap_or(&programs);
    let copy = into.join("programs");
    copy_folder(whole, &copy).map_err(copied)?;
    Ok(copy.join(programs.strip_prefix(whole).unwrap_or(&programs)))
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(from)? {
        let (from, to) = (entry?.path(), to);
        let to = to.join(from.file_name().unwrap_or_default());
        let kind = fs::symlink_metadata(&from)?.file_type();
        if kind.is_dir() {
            copy_folder(&from, &to)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&from)?, &to)?;
        } else {
            fs::copy(&from, &to)?;
        }
    }
    Ok(())
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// Whom to run as: nobody else unless we are root.
fn unprivileged_account() -> Result<Option<User>, PostgresError> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    ["postgres", "nobody"]
        .into_iter()
        .find_map(|name| User::from_name(name).ok().flatten())
        .map(Some)
        .ok_or_else(|| PostgresError(NO_ACCOUNT.to_owned()))
}

fn free_port() -> Result<u16, PostgresError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| PostgresError::folder("a port of 127.0.0.1", &error))
}

fn random_password() -> Result<Secret<String>, PostgresError> {
    let mut bytes = [0_u8; 24];
    rand::fill(&mut bytes)
        .map_err(|_| PostgresError("the system gave no random bytes".to_owned()))?;
    Ok(Secret::new(BASE64URL_NOPAD.encode(&bytes)))
}

/// The last lines of a program's output, on one line.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(LOG_LINES);
    lines.get(from..).unwrap_or_default().join(" / ")
}

const NOT_FOUND: &str = "no PostgreSQL server programs in PATH or /usr/lib/postgresql/*/bin; on Debian: apt-get install postgresql";
/// It refuses to run as root, and so do we.
const NO_ACCOUNT: &str =
    "PostgreSQL does not run as root, and there is no user `postgres` or `nobody` to run it as";
const SUPERUSER: &str = "postgres";
const PORTS_TRIED: usize = 3;
const READY_POLLS: u32 = 600;
const READY_POLL: Duration = Duration::from_millis(50);
const LOG_LINES: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    /// The programs of PostgreSQL 18, which `deploy/dev/embedded-postgres.sh` fetches.
    fn version_18() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("target/embedded-postgres/native/bin")
    }

    #[tokio::test]
    async fn a_server_runs_from_programs_in_a_closed_folder() {
        let closed = tempfile::tempdir().unwrap();
        let native = closed.path().join("native");
        copy_folder(version_18().parent().unwrap(), &native)
            .expect("PostgreSQL 18 is fetched by deploy/dev/embedded-postgres.sh");
        let options = Options {
            programs: Some(native.join("bin")),
            ..Options::default()
        };
        let server = Server::start(&options).await.unwrap();
        let client = server.connect("postgres").await.unwrap();
        let row = client.query_one("SHOW server_version", &[]).await.unwrap();
        assert!(row.get::<_, String>(0).starts_with("18"), "{row:?}");
    }

    #[tokio::test]
    async fn a_server_stops_restarts_and_leaves_nothing() {
        let mut server = Server::start(&Options::default()).await.unwrap();
        let folder = server.folder().to_owned();
        let client = server.connect("postgres").await.unwrap();
        client
            .batch_execute("CREATE ROLE before_the_stop")
            .await
            .unwrap();
        server.stop();
        server.restart().await.unwrap();
        let client = server.connect("postgres").await.unwrap();
        let row = client
            .query_one(
                "SELECT count(*) FROM pg_roles WHERE rolname = 'before_the_stop'",
                &[],
            )
            .await
            .unwrap();
        assert_eq!(row.get::<_, i64>(0), 1);
        let pid = i32::try_from(server.pid().unwrap()).unwrap();
        drop(server);
        assert!(!folder.exists());
        assert!(
            kill(Pid::from_raw(pid), None).is_err(),
            "the server is still there"
        );
    }
}
