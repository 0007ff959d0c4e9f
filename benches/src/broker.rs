//! A broker to measure: its settings, policies and keys, and how it is started.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use tempfile::TempDir;

use crate::Result;
use crate::ci::{AUDIENCE, Ci, Jobs, repository_id};
use crate::engine::{Engine, Kind};
use crate::load::{Connection, Target, get};
use crate::process::{Process, free_address};
use crate::tls::Certificate;

/// Everything that all measurements share.
pub(crate) struct Bench {
    pub(crate) hallpass: PathBuf,
    pub(crate) folder: TempDir,
    /// Of a file system without a disk: a sync costs nothing there.
    pub(crate) memory: TempDir,
    pub(crate) ci: Ci,
    /// Of the servers that speak TLS.
    pub(crate) certificate: Certificate,
    client: Arc<ClientConfig>,
    /// The key that a job sends for an SSH certificate; `None` without `ssh-keygen`.
    pub(crate) job_key: Option<String>,
}

/// How a broker is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broker {
    pub(crate) policies: usize,
    /// Each audit line is on the disk before the credential is minted.
    pub(crate) durable: bool,
    /// Writes a log line for each request.
    pub(crate) logs: bool,
    pub(crate) tls: bool,
}

/// A broker that runs.
pub(crate) struct Running {
    pub(crate) process: Process,
    pub(crate) target: Target,
    /// Where its metrics are.
    pub(crate) operator: Target,
    pub(crate) folder: PathBuf,
    pub(crate) audit: PathBuf,
    pub(crate) log: PathBuf,
}

impl Bench {
    /// Starts the CI.
    pub(crate) fn prepare(hallpass: &Path, jobs: Jobs) -> Result<Self> {
        let hallpass = hallpass.canonicalize().map_err(|error| {
            format!(
                "{}: {error}; build it with `make build`",
                hallpass.display()
            )
        })?;
        let folder = TempDir::new()?;
        let ci = folder.path().join("ci");
        fs::create_dir(&ci)?;
        let certificate = Certificate::generate(&["localhost"], folder.path())?;
        let job_key = ssh_key(&folder.path().join("job"));
        if ssh_key(&folder.path().join("ssh-ca")).is_none() {
            eprintln!("skipped, since `ssh-keygen` is missing: SSH certificates");
        }
        Ok(Self {
            hallpass,
            ci: Ci::start(jobs, &ci)?,
            folder,
            memory: TempDir::new_in("/dev/shm")?,
            client: certificate.client()?,
            certificate,
            job_key,
        })
    }

    /// Starts a broker, below the program `under` if it is not empty. `engine` becomes a target.
    pub(crate) fn start(
        &self,
        broker: Broker,
        engine: Option<(&Kind, &dyn Engine)>,
        under: &[&str],
    ) -> Result<Running> {
        let (address, operator) = (free_address()?, free_address()?);
        let database = engine.map(|(kind, _)| kind.word);
        let name = format!("{broker:?} {}", database.unwrap_or_default());
        let name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "");
        let folder = self.folder.path().join(&name);
        let memory = self.memory.path().join(&name);
        if !folder.exists() {
            fs::create_dir_all(&memory)?;
            self.write(&folder, broker.policies, database)?;
        }
        let audit = if broker.durable { &folder } else { &memory }.join("audit.jsonl");
        if audit.exists() {
            // The rounds before must not make this one longer.
            fs::remove_file(&audit)?;
        }
        let settings = self.settings(
            broker,
            engine.map(|(_, engine)| engine),
            (address, operator),
            &audit,
        );
        fs::write(folder.join("hallpass.yaml"), settings)?;
        let mut command = Command::new(&self.hallpass);
        let level = if broker.logs { "info" } else { "error" };
        command.args(["serve", "--log", level]);
        command.current_dir(&folder);
        let log = memory.join("serve.log");
        Ok(Running {
            process: Process::start(&command, under, &log, address)?,
            target: self.target(address, broker.tls),
            operator: self.target(operator, false),
            folder,
            audit,
            log,
        })
    }

    pub(crate) fn target(&self, address: SocketAddr, tls: bool) -> Target {
        let tls = tls.then(|| Arc::clone(&self.client));
        Target { address, tls }
    }

    /// The files of a broker.
    fn write(&self, folder: &Path, policies: usize, database: Option<&'static str>) -> Result<()> {
        fs::create_dir_all(folder.join("policies"))?;
        let made = Command::new(&self.hallpass)
            .args(["keys", "generate", "--out", "root.key"])
            .current_dir(folder)
            .output()?;
        if !made.status.success() {
            return Err(String::from_utf8_lossy(&made.stderr).into());
        }
        if self.job_key.is_some() {
            fs::copy(self.folder.path().join("ssh-ca"), folder.join("ssh-ca"))?;
        }
        let own = Own {
            repositories: self.ci.jobs().repositories,
            ssh: self.job_key.is_some(),
            database,
        };
        self.write_policies(&folder.join("policies"), policies, own)
    }

    /// A folder of so many policies: those of the CI's jobs first, and others of other repositories.
    pub(crate) fn write_policies(&self, folder: &Path, policies: usize, own: Own) -> Result<()> {
        fs::create_dir_all(folder)?;
        fs::copy(self.folder.path().join("ci/ca.pem"), folder.join("ca.pem"))?;
        fs::write(folder.join("root.yaml"), self.root(own))?;
        let numbers: Vec<usize> = (0..policies).collect();
        for (file, numbers) in numbers.chunks(POLICIES_OF_A_FILE).enumerate() {
            let path = folder.join(format!("{file}.yaml"));
            fs::write(path, policies_text(numbers, own))?;
        }
        Ok(())
    }

    /// Whom to trust, and the credentials.
    fn root(&self, own: Own) -> String {
        let (url, algorithm) = (&self.ci.url, self.ci.jobs().algorithm.name());
        let mut text = format!(
            "issuers:\n  ci: {{ provider: github, url: \"{url}\", algorithms: [{algorithm}], ca: ca.pem, networks: [127.0.0.0/8], leeway: 1s, max_lifetime: 2h, max_age: 2h, tenants: [ {{ owner: acme, owner_id: \"48213377\" }} ] }}\n\
             credentials:\n  deploy-api: {{ kind: jwt, audience: \"https://deploy.acme.dev\", scopes: [\"deploy:staging\"], claims: [repository, repository_id, ref], max_ttl: 10m, owner: team-platform, purpose: deploys, class: moderate }}\n"
        );
        if own.ssh {
            text += "  deploy-host: { kind: ssh, target: web-hosts, principals: [deploy], max_ttl: 10m, owner: team-web, purpose: deploys, class: moderate }\n";
        }
        if let Some(kind) = own.database {
            let _ignored = writeln!(
                text,
                "  shop-db/app: {{ kind: {kind}, target: shop-db, group: shop_app, max_ttl: 10m, owner: team-shop, purpose: tests, class: moderate }}"
            );
        }
        text
    }

    fn settings(
        &self,
        broker: Broker,
        engine: Option<&dyn Engine>,
        (public, operator): (SocketAddr, SocketAddr),
        audit: &Path,
    ) -> String {
        let audit = audit.display();
        let tls = if broker.tls {
            let (cert, key) = (&self.certificate.chain, &self.certificate.key);
            let (cert, key) = (cert.display(), key.display());
            format!(", tls: {{ cert: \"{cert}\", key: \"{key}\" }}")
        } else {
            String::new()
        };
        let mut text = format!(
            "issuer: {AUDIENCE}\nreplica: bench\nroot_key: {{ file: root.key }}\n\
             listen: {{ public: \"{public}\", operator: \"{operator}\"{tls} }}\n\
             policies: {{ path: policies }}\nlimits: {{ per_repository_and_minute: 6000, connections: 2048 }}\n\
             audit: {{ sinks: [ {{ kind: file, path: \"{audit}\", required: true }} ] }}\n\
             targets:\n"
        );
        if self.job_key.is_some() {
            text += "  web-hosts: { kind: ssh-ca, key: { file: ssh-ca } }\n";
        }
        if let Some(engine) = engine {
            text += &engine.target();
        }
        if text.ends_with("targets:\n") {
            text.truncate(text.len() - "targets:\n".len());
        }
        text
    }
}

impl Running {
    /// Asks it whether it serves.
    pub(crate) fn ask(&self) -> Result<Connection> {
        let mut connection = Connection::open(&self.target)?;
        let answer = connection.exchange(&get("/healthz"))?;
        if answer.status == 200 {
            Ok(connection)
        } else {
            Err(format!("/healthz answered {}", answer.status).into())
        }
    }

    /// Lets it load its files, and go on with a new audit file; the old one is removed.
    pub(crate) fn reload(&self) -> Result<()> {
        let old = self.audit.with_extension("old");
        fs::rename(&self.audit, &old)?;
        self.process.signal("HUP")?;
        // It may end the old one until it has begun the new one.
        let until = Instant::now() + LONGEST_RELOAD;
        while !self.audit.exists() {
            if Instant::now() > until {
                return Err("the broker does not begin a new audit file".into());
            }
            thread::sleep(Duration::from_millis(1));
        }
        fs::remove_file(old)?;
        Ok(())
    }
}

/// What the jobs of the CI get.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own {
    /// The policies that grant it: so many, the first ones.
    pub(crate) repositories: usize,
    pub(crate) ssh: bool,
    /// The kind of the credential `shop-db/app`, if there is one.
    pub(crate) database: Option<&'static str>,
}

/// One policy of each number.
fn policies_text(numbers: &[usize], own: Own) -> String {
    let mut text = "policies:\n".to_owned();
    for number in numbers {
        let mut grants =
            "{ credential: deploy-api, ttl: 5m, scopes: [\"deploy:staging\"] }".to_owned();
        if *number < own.repositories {
            if own.ssh {
                grants += ", { credential: deploy-host, ttl: 5m }";
            }
            if own.database.is_some() {
                grants += ", { credential: shop-db/app, ttl: 5m }";
            }
        }
        let id = repository_id(*number);
        let _ignored = writeln!(
            text,
            "  - {{ name: \"repository-{number}-deploy\", issuer: ci, when: {{ repository: acme/repository-{number}, repository_id: \"{id}\", ref: refs/heads/main, trigger: [push, manual] }}, grant: [ {grants} ] }}"
        );
    }
    text
}

/// Makes a key file, and returns its public key; `None` without `ssh-keygen`.
fn ssh_key(path: &Path) -> Option<String> {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f"]);
    let made = command.arg(path).status().ok()?;
    let public = fs::read_to_string(path.with_extension("pub")).ok()?;
    made.success().then(|| public.trim().to_owned())
}

const POLICIES_OF_A_FILE: usize = 20_000;
const LONGEST_RELOAD: Duration = Duration::from_secs(5);
