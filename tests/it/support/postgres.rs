//! The end of a PostgreSQL server as a power cut makes it, and a standby that takes its place.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hallpass::dev::postgres::Server;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio_postgres::{Client, NoTls};

use super::wait::until;

/// Kills the server: nothing is written back. `restart` starts it again.
pub(crate) fn crash(server: &Server) {
    if let Some(pid) = server.pid() {
        kill_server(pid);
    }
}

/// Kills a server with its sessions. They are processes of their own, which would answer for a moment
/// longer, and whose shared memory a new server finds in use: the server makes no more of them, and
/// then they end before it does.
pub(crate) fn kill_server(pid: u32) {
    let Ok(server) = i32::try_from(pid).map(Pid::from_raw) else {
        return;
    };
    // A process that is gone is killed already.
    let _ = kill(server, Signal::SIGSTOP);
    for _ in 0..MOST_LOOKS {
        let living: Vec<Pid> = children(server)
            .into_iter()
            .filter(|process| is_alive(*process))
            .collect();
        if living.is_empty() {
            break;
        }
        for process in living {
            let _ = kill(process, Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = kill(server, Signal::SIGKILL);
}

/// The processes that the server started.
fn children(server: Pid) -> Vec<Pid> {
    let text = fs::read_to_string(format!("/proc/{server}/task/{server}/children"));
    let text = text.unwrap_or_default();
    let pids = text.split_ascii_whitespace();
    pids.filter_map(|pid| pid.parse().ok().map(Pid::from_raw))
        .collect()
}

/// Whether a process still has its memory: one that ended and was not waited for has none.
fn is_alive(process: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

/// At the processes of a server that is killed: one is enough but for what hangs in the kernel.
const MOST_LOOKS: u32 = 5_000;

/// A streaming standby of a server, in the folder of that server. Ends with its drop.
pub(crate) struct Standby {
    port: u16,
    login: tokio_postgres::Config,
    child: Child,
}

impl Standby {
    /// Copies the server and follows it.
    pub(crate) async fn follow(server: &mut Server, programs: &Path) -> Self {
        let data = server.folder().join("standby");
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        // The account that the server runs as owns its folder.
        let owner = fs::metadata(server.folder()).unwrap();
        let folder = server.folder().to_owned();
        let command = |program: &Path| {
            let mut run = Command::new(program);
            run.uid(owner.uid()).gid(owner.gid());
            run.stdin(Stdio::null()).current_dir(&folder);
            run
        };
        // Not every installation has pg_basebackup.
        server.stop();
        let copied = command("cp".as_ref())
            .arg("-r")
            .args([&server.folder().join("data"), &data])
            .status();
        assert!(copied.unwrap().success());
        server.restart().await.unwrap();
        let follow = format!(
            "\nprimary_conninfo = 'host=127.0.0.1 port={} user=postgres password={}'\n",
            server.port(),
            server.password().expose()
        );
        let mut settings = fs::OpenOptions::new()
            .append(true)
            .open(data.join("postgresql.conf"))
            .unwrap();
        settings.write_all(follow.as_bytes()).unwrap();
        fs::write(data.join("standby.signal"), "").unwrap();
        let log = fs::File::create(server.folder().join("standby.log")).unwrap();
        let child = command(&programs.join("postgres"))
            .args(["-p", &port.to_string(), "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        let mut login = tokio_postgres::Config::new();
        login
            .host("127.0.0.1")
            .port(port)
            .user("postgres")
            .password(server.password().expose())
            .dbname("postgres");
        let standby = Self { port, login, child };
        until("the standby answers", || async {
            standby.session().await.is_ok()
        })
        .await;
        standby
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// One text that a superuser reads there.
    pub(crate) async fn read(&self, sql: &str) -> String {
        let client = self.session().await.unwrap();
        let row = client.query_one(sql, &[]).await.unwrap();
        row.get::<_, Option<String>>(0).unwrap_or_default()
    }

    /// It takes writes from now on.
    pub(crate) async fn promote(&self) {
        assert_eq!(self.read("SELECT pg_promote()::text").await, "true");
    }

    async fn session(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = self.login.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).map(Pid::from_raw).unwrap();
        // SIGQUIT is PostgreSQL's immediate shutdown.
        let _ = kill(pid, Signal::SIGQUIT);
        let _ = self.child.wait();
    }
}
