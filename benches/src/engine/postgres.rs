//! A private PostgreSQL server of `hallpass dev`, whose broker stays idle.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tokio::runtime::Runtime;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, NoTls};

use super::{Engine, GROUP, HOLDERS, MakeOne, Place, RECORD_BYTES, UNTIL, runtime};
use crate::Result;
use crate::process::Process;

pub(super) struct Postgres {
    _server: Process,
    port: u16,
    /// That of every login.
    password: PathBuf,
}

impl Engine for Postgres {
    fn target(&self) -> String {
        target(self.port, &self.password.display().to_string())
    }

    /// The call that the broker sends.
    fn client(&self) -> Result<Box<MakeOne>> {
        let runtime = runtime()?;
        let client = self.connect(&runtime, "hallpass")?;
        Ok(Box::new(move |number| {
            runtime.block_on(make(&client, number))
        }))
    }

    fn clean(&self) -> Result<()> {
        let runtime = runtime()?;
        let client = self.connect(&runtime, "postgres")?;
        runtime.block_on(client.batch_execute(
            r"DO $$ DECLARE login text; BEGIN
                FOR login IN SELECT rolname FROM pg_roles WHERE rolname ~ '^hp_[0-9a-v]{7}_' LOOP
                    EXECUTE format('DROP ROLE %I', login);
                END LOOP;
              END $$;
              TRUNCATE hallpass.used",
        ))?;
        Ok(())
    }
}

impl Postgres {
    pub(super) fn start(place: &Place<'_>) -> Result<Self> {
        place.write(&target(5_432, "unused"))?;
        let mut dev = Command::new(place.hallpass);
        dev.args(["dev", "--settings", "hallpass.yaml"]);
        dev.current_dir(place.folder);
        let log = place.folder.join("dev.log");
        let server = Process::start_beside(dev, &log, "Ctrl-C stops everything.")?;
        // PGPASSWORD=$(cat /…/shop-db.password) psql -h 127.0.0.1 -p 34567 -U postgres
        let said = fs::read_to_string(&log)?;
        let between = |before: &str, after: &str| {
            let (_, rest) = said.split_once(before)?;
            rest.split_once(after).map(|(found, _)| found.to_owned())
        };
        let password = between("PGPASSWORD=$(cat ", ")").ok_or("`hallpass dev` names no login")?;
        let port = between("127.0.0.1 -p ", " ").ok_or("`hallpass dev` names no port")?;
        Ok(Self {
            _server: server,
            port: port.parse()?,
            password: password.into(),
        })
    }

    fn connect(&self, runtime: &Runtime, user: &str) -> Result<Client> {
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.port);
        config.user(user).dbname("hallpass");
        config.password(fs::read_to_string(&self.password)?.trim());
        let (client, connection) = runtime.block_on(config.connect(NoTls))?;
        runtime.spawn(connection);
        Ok(client)
    }
}

/// One login. Its password is any verifier: the server hashes nothing when it stores one.
async fn make(client: &Client, number: usize) -> Result<()> {
    let sql = "SELECT created, login, ends, can_login AND NOT ended, groups, acts, record FROM hallpass.mint($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    let random = format!("{number:013}");
    let holder = format!("{:032x}", number % HOLDERS);
    let (salt, key) = ("W22ZaJ0SNY7soEsUEjb6gQ==", "A".repeat(43));
    let verifier = format!("SCRAM-SHA-256$4096:{salt}${key}=:{key}=");
    // As long as the broker's.
    let record = format!("{{\"policy\":\"{}\"}}", "x".repeat(RECORD_BYTES));
    let rows = client
        .query_typed(
            sql,
            &[
                (&random, Type::TEXT),
                (&verifier, Type::TEXT),
                (&300_i32, Type::INT4),
                (&GROUP, Type::TEXT),
                (&false, Type::BOOL),
                (&5_i32, Type::INT4),
                (&record, Type::TEXT),
                (&UNTIL, Type::INT8),
                (&holder, Type::TEXT),
                (&true, Type::BOOL),
            ],
        )
        .await?;
    match rows.as_slice() {
        [row] if row.get(0) => Ok(()),
        rows => Err(format!("the statement made no login: {rows:?}").into()),
    }
}

fn target(port: u16, password: &str) -> String {
    let password = format!("password: {{ file: \"{password}\" }}");
    format!(
        "  shop-db: {{ kind: postgres, host: 127.0.0.1, port: {port}, databases: [shop], user: hallpass, {password}, cleaner: {{ user: hallpass_clean, {password} }}, tls: disable, sweep: 10m }}\n"
    )
}
