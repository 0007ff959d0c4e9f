//! PostgreSQL logins: through a broker, and the same statement alone.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::{self, Runtime};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, NoTls};

use crate::Result;
use crate::broker::{Bench, Own};
use crate::case::FEW_POLICIES;
use crate::ci::Flaw;
use crate::load::{self, kept, on_threads};
use crate::process::Process;
use crate::report::{Times, spread};

/// A private server with the functions of hallpass: that of `hallpass dev`, whose broker stays idle.
pub(crate) struct Postgres {
    _server: Process,
    port: u16,
    /// That of every login.
    password: PathBuf,
}

/// One measurement: how long each login took, and logins per second.
struct Sample {
    times: Vec<Duration>,
    rate: f64,
}

/// Measures one and four clients, and prints the table.
pub(crate) fn run(bench: &Bench, rounds: usize) -> Result<()> {
    let postgres = match Postgres::start(bench) {
        Ok(postgres) => postgres,
        Err(error) => {
            println!("\nskipped: PostgreSQL logins, since {error}");
            return Ok(());
        }
    };
    let tokens = (0..LOGINS).map(|number| bench.ci.token(number, Flaw::None));
    let tokens = tokens.collect::<Result<Vec<_>>>()?;
    println!(
        "\n| PostgreSQL logins | the statement alone: p50, p99 ms; per second | through hallpass | own share of p50, ms | rate to alone |\n| --- | --- | --- | --- | --- |"
    );
    for clients in [1, 4] {
        let (mut alone, mut through) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            alone.push(postgres.alone(clients)?);
            through.push(postgres.through(bench, clients, &tokens)?);
        }
        let ([half, most, rate], [our_half, our_most, our_rate]) = (joined(alone), joined(through));
        println!(
            "| {clients} at once | {half:.2}, {most:.2}; {rate:.0} | {our_half:.2}, {our_most:.2}; {our_rate:.0} | {:.2} | {:.2} |",
            our_half - half,
            our_rate / rate
        );
    }
    Ok(())
}

/// p50 and p99 of all, and the median rate.
fn joined(samples: Vec<Sample>) -> [f64; 3] {
    let [_, rate, _] = spread(samples.iter().map(|sample| sample.rate));
    let times = samples.into_iter().flat_map(|sample| sample.times);
    let times = Times::new(times.collect());
    [times.at(50), times.at(99), rate]
}

impl Postgres {
    fn start(bench: &Bench) -> Result<Self> {
        let folder = bench.folder.path().join("dev");
        let own = Own {
            repositories: bench.ci.jobs().repositories,
            ssh: false,
            database: true,
        };
        bench.write_policies(&folder.join("policies"), own.repositories, own)?;
        fs::write(
            folder.join("hallpass.yaml"),
            format!(
                "issuer: https://hallpass.acme.dev\nroot_key: {{ file: root.key }}\npolicies: {{ path: policies }}\n\
                 audit: {{ sinks: [ {{ kind: stdout, required: true }} ] }}\ntargets:\n{}",
                target(5432, "unused")
            ),
        )?;
        let mut dev = Command::new(&bench.hallpass);
        dev.args(["dev", "--settings", "hallpass.yaml"]);
        dev.current_dir(&folder);
        let log = folder.join("dev.log");
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

    /// The target of the broker's settings.
    pub(crate) fn target(&self) -> String {
        target(self.port, &self.password.display().to_string())
    }

    /// Makes logins with the statement that the broker sends.
    fn alone(&self, clients: usize) -> Result<Sample> {
        self.clean()?;
        let next = AtomicUsize::new(0);
        let begun = Instant::now();
        let client = || {
            let runtime = runtime()?;
            let client = self.connect(&runtime, "hallpass")?;
            let mut times = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= LOGINS {
                    return Ok(times);
                }
                let begun = Instant::now();
                runtime.block_on(make(&client, number))?;
                if number >= WARM_UP {
                    times.push(begun.elapsed());
                }
            }
        };
        let times = on_threads(clients, client)?.concat();
        #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
        let rate = LOGINS as f64 / begun.elapsed().as_secs_f64();
        Ok(Sample { times, rate })
    }

    fn through(&self, bench: &Bench, clients: usize, tokens: &[String]) -> Result<Sample> {
        self.clean()?;
        let running = bench.start(FEW_POLICIES, Some(self), &[])?;
        let send = |tokens: &[String]| {
            let request = |number: usize| {
                let token = &tokens[number];
                Ok(load::form("/token", token, "&audience=shop-db%2Fapp", true))
            };
            load::send(&running.target, kept(clients), tokens.len(), &request, 200)
        };
        let (warm_up, tokens) = tokens.split_at(WARM_UP);
        send(warm_up)?;
        let begun = Instant::now();
        let times = send(tokens)?;
        #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
        let rate = tokens.len() as f64 / begun.elapsed().as_secs_f64();
        Ok(Sample { times, rate })
    }

    /// Removes all logins, so that each measurement begins alike.
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

fn runtime() -> Result<Runtime> {
    Ok(runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

/// One login. Its password is any verifier: the server hashes nothing when it stores one.
async fn make(client: &Client, number: usize) -> Result<()> {
    let sql = "SELECT created, login, ends, can_login AND NOT ended, groups, acts, record FROM hallpass.mint($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    let random = format!("{number:013}");
    let holder = format!("{:032x}", number % 10);
    let (salt, key) = ("W22ZaJ0SNY7soEsUEjb6gQ==", "A".repeat(43));
    let verifier = format!("SCRAM-SHA-256$4096:{salt}${key}=:{key}=");
    // As long as the broker's.
    let record = format!("{{\"policy\":\"{}\"}}", "x".repeat(400));
    let rows = client
        .query_typed(
            sql,
            &[
                (&random, Type::TEXT),
                (&verifier, Type::TEXT),
                (&300_i32, Type::INT4),
                (&"shop_app", Type::TEXT),
                (&false, Type::BOOL),
                (&5_i32, Type::INT4),
                (&record, Type::TEXT),
                (&2_000_000_000_i64, Type::INT8),
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

/// Logins of one measurement, those of the warm-up first. A server has at most 500 at a time.
const LOGINS: usize = WARM_UP + 200;
const WARM_UP: usize = 20;
