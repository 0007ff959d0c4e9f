//! A pooler between broker and server, which gives the statements of one session to different ones.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use hallpass::credential::database::postgres::{Postgres, PostgresSettings};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use tempfile::TempDir;

use super::stage::{PASSWORD, Stage, Version, fresh_random, logins, order};
use crate::support::wait::until;

/// A running `PgBouncer`: stopped by its process id and gone with its folder when dropped.
struct PgBouncer {
    folder: TempDir,
    port: u16,
    child: Child,
}

impl PgBouncer {
    async fn start(server: u16, settings: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("hallpass-pgbouncer-")
            .tempdir()
            .unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let users = folder.path().join("users");
        let logins = ["hallpass", "hallpass_clean"];
        let lines = logins.map(|login| format!("\"{login}\" \"{PASSWORD}\"\n"));
        fs::write(&users, lines.concat()).unwrap();
        let file = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={server}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\n{settings}\n",
            users.display()
        );
        fs::write(&file, text).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        // Not everybody has its folder in PATH.
        let program = ["/usr/sbin/pgbouncer", "pgbouncer"];
        let is_there = |name: &&str| Path::new(name).exists();
        let program = program.into_iter().find(is_there).unwrap_or("pgbouncer");
        let mut command = Command::new(program);
        if Uid::effective().is_root() {
            command.args(["-u", "nobody"]);
        }
        let child = command
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("pgbouncer is not there: run deploy/dev/install.sh test");
        let pooler = Self {
            folder,
            port,
            child,
        };
        until("pgbouncer listens", async || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        })
        .await;
        pooler
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).unwrap();
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// T-102: a lock that a session holds is what ends rely on, and no pooler keeps it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_in_between_is_refused_with_the_reason() {
    let stage = Stage::start(Version::V15).await;
    for settings in [
        // As it comes: what a session is to begin with is refused.
        "pool_mode = transaction",
        // As many are set up: it is ignored.
        "pool_mode = transaction\nignore_startup_parameters = options",
        "pool_mode = session\nignore_startup_parameters = options",
    ] {
        let pooler = PgBouncer::start(stage.server.port(), settings).await;
        let log = || fs::read_to_string(pooler.folder.path().join("log")).unwrap();
        let broker = stage.through(pooler.port);
        let error = broker.sweep("app").await.unwrap_err();
        let expected = format!("127.0.0.1:{} is a connection pooler", pooler.port);
        assert!(error.contains(&expected), "{settings}: {error}\n{}", log());
        let refused = logins(&broker)
            .make(order("app_ro", 600, &fresh_random()))
            .await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.reason.code(), "database.unreachable");
        assert!(refused.nothing_made);
        let target = PostgresSettings {
            port: pooler.port,
            ..stage.settings.clone()
        };
        let findings = Postgres::new(target).unwrap().check(&stage.groups).await;
        let found = findings.iter().any(|one| one.message.contains(&expected));
        assert!(found, "{settings}: {findings:?}");
    }
    assert_eq!(stage.leases().await, "0");
}
