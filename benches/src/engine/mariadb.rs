//! A private MariaDB server.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder, Row};
use tokio::runtime::Runtime;

use super::{
    Engine, GROUP, HOLDERS, MakeOne, PASSWORD, Place, RECORD_BYTES, UNTIL, output, runtime,
};
use crate::Result;
use crate::process::{Process, free_address};

pub(super) struct MariaDb {
    _server: Process,
    port: u16,
    folder: PathBuf,
}

impl MariaDb {
    pub(super) fn start(place: &Place<'_>) -> Result<Self> {
        let folder = place.folder;
        let data = format!("--datadir={}", folder.join("data").display());
        output(
            Command::new("mariadb-install-db")
                .args(["--no-defaults", "--auth-root-authentication-method=normal"])
                .args(["--skip-test-db", "--user=root", &data]),
        )?;
        let port = free_address()?.port();
        let mut server = Command::new("mariadbd");
        server
            .args(["--no-defaults", "--user=root", "--bind-address=127.0.0.1"])
            .args(["--innodb-flush-log-at-trx-commit=0", &data])
            .arg(format!("--port={port}"))
            .arg(format!("--tmpdir={}", folder.display()))
            .arg(format!("--socket={}", folder.join("s").display()))
            .arg(format!("--pid-file={}", folder.join("pid").display()));
        let log = folder.join("mariadb.log");
        let server = Process::start_beside(server, &log, "ready for connections")?;
        fs::write(folder.join("password"), PASSWORD)?;
        place.write(&target(port, folder))?;
        let files = [
            format!("CREATE ROLE {GROUP};"),
            place.say(&["target", "install", "shop-db", "--server-version", "10"])?,
            place.say(&["target", "passwords", "shop-db"])?,
        ];
        for text in files {
            let file = folder.join("file.sql");
            fs::write(&file, text)?;
            let mut client = Command::new("mariadb");
            client.args(["--no-defaults", "-u", "root", "-S"]);
            output(client.arg(folder.join("s")).stdin(File::open(&file)?))?;
        }
        Ok(Self {
            _server: server,
            port,
            folder: folder.to_owned(),
        })
    }

    fn root(&self, runtime: &Runtime) -> Result<Conn> {
        let socket = self.folder.join("s").display().to_string();
        let options = OptsBuilder::default()
            .socket(Some(socket))
            .user(Some("root"));
        Ok(runtime.block_on(Conn::new(options))?)
    }
}

impl Engine for MariaDb {
    fn target(&self) -> String {
        target(self.port, &self.folder)
    }

    fn client(&self) -> Result<Box<MakeOne>> {
        let runtime = runtime()?;
        let options = OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(self.port)
            .prefer_socket(false)
            .user(Some("hallpass"))
            .pass(Some(PASSWORD));
        let mut client = runtime.block_on(Conn::new(options))?;
        let hash = format!("*{}", "A".repeat(40));
        let record = format!("{{\"policy\":\"{}\"}}", "x".repeat(RECORD_BYTES));
        Ok(Box::new(move |number| {
            let values = (
                format!("{number:013}"),
                &hash,
                300,
                GROUP,
                false,
                5,
                &record,
                UNTIL,
                format!("{:032x}", number % HOLDERS),
                true,
            );
            let call = client.exec::<Row, _, _>(CALL, values);
            match runtime.block_on(call)?.as_slice() {
                [row] if row.get::<bool, _>(0) == Some(true) => Ok(()),
                rows => Err(format!("the call made no login: {rows:?}").into()),
            }
        }))
    }

    fn clean(&self) -> Result<()> {
        let runtime = runtime()?;
        let mut root = self.root(&runtime)?;
        runtime.block_on(async {
            let sql = "SELECT User FROM mysql.user WHERE User REGEXP '^hp_'";
            for login in root.query::<String, _>(sql).await? {
                root.query_drop(format!("DROP USER '{login}'@'%'")).await?;
            }
            root.query_drop("TRUNCATE hallpass.leases").await?;
            root.disconnect().await
        })?;
        Ok(())
    }
}

fn target(port: u16, folder: &Path) -> String {
    let password = folder.join("password");
    format!(
        "  shop-db: {{ kind: mysql, host: 127.0.0.1, port: {port}, databases: [test], user: hallpass, password: {{ file: \"{}\" }}, tls: disable, sweep: 10m }}\n",
        password.display()
    )
}

const CALL: &str = "CALL hallpass.mint(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
