//! The servers of a measurement, and one measurement.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::Result;
use crate::case::{self, Broker, Case, Request, Server};
use crate::load;
use crate::process::{Process, free_address};
use crate::report::Sample;
use crate::tokens::{AUDIENCE, Ci};

/// Everything that all measurements share.
pub(crate) struct Bench {
    hallpass: PathBuf,
    folder: TempDir,
    /// Of a file system without a disk: a sync costs nothing there.
    memory: TempDir,
    ci: Ci,
    /// Those of the warm-up come first.
    good: Vec<String>,
    bad: Vec<String>,
    foreign: Vec<String>,
}

impl Bench {
    /// Starts the CI and signs the tokens.
    pub(crate) fn prepare(hallpass: &Path, requests: usize) -> Result<Self> {
        let hallpass = hallpass.canonicalize().map_err(|error| {
            format!(
                "{}: {error}; build it with `make build`",
                hallpass.display()
            )
        })?;
        let folder = TempDir::new()?;
        let ci = Ci::start(&hallpass, folder.path())?;
        eprintln!("signing {requests} tokens");
        let count = WARM_UP + requests;
        let good = (0..count)
            .map(|number| ci.token(number))
            .collect::<Result<_>>()?;
        let bad = (0..count).map(|number| ci.with_bad_signature(number));
        let bad = bad.collect::<Result<_>>()?;
        let foreign = (0..count).map(|number| ci.of_another_issuer(number));
        let foreign = foreign.collect::<Result<_>>()?;
        Ok(Self {
            hallpass,
            folder,
            memory: TempDir::new_in("/dev/shm")?,
            ci,
            good,
            bad,
            foreign,
        })
    }

    /// Starts the server of a case, and measures it after a warm-up.
    pub(crate) fn measure(&self, case: &Case) -> Result<Sample> {
        let (server, address) = self.start(case.server, &[])?;
        let (tokens, status) = match case.load.request {
            Request::Exchange | Request::Explain => (&self.good, 200),
            Request::BadSignature => (&self.bad, 400),
            Request::UnknownIssuer => (&self.foreign, 400),
        };
        let requests = tokens
            .iter()
            .map(|token| match (case.server, case.load.request) {
                (Server::Echo, _) => load::form("/echo", token, case.load),
                (_, Request::Explain) => load::explain(token),
                _ => load::form("/token", token, case.load),
            });
        let requests: Vec<Vec<u8>> = requests.collect();
        let (warm_up, requests) = requests.split_at(WARM_UP);
        load::send(address, warm_up, case.load, status)?;
        let before = server.cpu_time()?;
        let times = load::send(address, requests, case.load, status)?;
        let used = server.cpu_time()? - before;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let cpu = used as f64 / 1e3 / requests.len() as f64;
        Ok(Sample {
            cpu,
            times,
            memory: server.memory()?,
        })
    }

    /// The instructions of a run with so many exchanges.
    pub(crate) fn instructions(&self, count: usize, out: &Path) -> Result<u64> {
        let file = format!(
            "--callgrind-out-file={}",
            std::path::absolute(out)?.display()
        );
        let under = ["valgrind", "--tool=callgrind", &file];
        let (server, address) = self.start(Server::Hallpass(case::FEW_POLICIES), &under)?;
        let requests = self.good.iter().take(count);
        let requests = requests.map(|token| load::form("/token", token, case::EIGHT));
        load::send(address, &requests.collect::<Vec<_>>(), case::EIGHT, 200)?;
        server.stop()?;
        let text = fs::read_to_string(out)?;
        let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
        Ok(total.ok_or("callgrind wrote no total")?.trim().parse()?)
    }

    fn start(&self, server: Server, under: &[&str]) -> Result<(Process, SocketAddr)> {
        let address = free_address()?;
        let (command, log) = match server {
            Server::Echo | Server::Ceiling => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["ceiling", &address.to_string(), &self.ci.public_key()]);
                (command, self.memory.path().join("ceiling.log"))
            }
            Server::Hallpass(broker) => {
                let folder = self.folder.path().join(name(broker));
                let memory = self.memory.path().join(name(broker));
                if !folder.exists() {
                    fs::create_dir_all(&memory)?;
                    self.write(&folder, broker.policies)?;
                }
                let audit = if broker.durable { &folder } else { &memory }.join("audit.jsonl");
                if audit.exists() {
                    // The rounds before must not make this one longer.
                    fs::remove_file(&audit)?;
                }
                fs::write(folder.join("hallpass.yaml"), settings(address, &audit))?;
                let mut command = Command::new(&self.hallpass);
                let level = if broker.logs { "info" } else { "error" };
                command.args(["serve", "--log", level]).current_dir(folder);
                (command, memory.join("serve.log"))
            }
        };
        Ok((Process::start(&command, under, &log, address)?, address))
    }

    /// The files of a broker.
    fn write(&self, folder: &Path, policies: usize) -> Result<()> {
        fs::create_dir_all(folder.join("policies"))?;
        let made = Command::new(&self.hallpass)
            .args(["keys", "generate", "--out", "root.key"])
            .current_dir(folder)
            .output()?;
        if !made.status.success() {
            return Err(String::from_utf8_lossy(&made.stderr).into());
        }
        let ca = self.folder.path().join("ci/ca.pem");
        fs::copy(ca, folder.join("policies/ca.pem"))?;
        fs::write(folder.join("policies/root.yaml"), self.root())?;
        let numbers: Vec<usize> = (0..policies).collect();
        for (file, numbers) in numbers.chunks(POLICIES_OF_A_FILE).enumerate() {
            let path = folder.join(format!("policies/{file}.yaml"));
            fs::write(path, policies_text(numbers, policies / 2))?;
        }
        Ok(())
    }

    /// Whom to trust, and the one credential.
    fn root(&self) -> String {
        format!(
            "issuers:\n  ci: {{ provider: github, url: \"{}\", ca: ca.pem, networks: [127.0.0.0/8], max_lifetime: 2h, max_age: 2h, tenants: [ {{ owner: acme, owner_id: \"48213377\" }} ] }}\n\
             credentials:\n  deploy-api: {{ kind: jwt, audience: \"https://deploy.acme.dev\", scopes: [\"deploy:staging\"], claims: [repository, repository_id, ref], max_ttl: 10m, owner: team-platform, purpose: deploys, class: moderate }}\n",
            self.ci.url
        )
    }
}

/// One policy of these numbers each: the job's own, and others of other repositories.
fn policies_text(numbers: &[usize], own: usize) -> String {
    let mut text = "policies:\n".to_owned();
    for number in numbers {
        let (name, id) = if *number == own {
            ("shop".to_owned(), 702_114_589)
        } else {
            (format!("repository-{number}"), *number)
        };
        let _ignored = writeln!(
            text,
            "  - {{ name: \"{name}-deploy\", issuer: ci, when: {{ repository: acme/{name}, repository_id: \"{id}\", ref: refs/heads/main, trigger: [push, manual] }}, grant: [ {{ credential: deploy-api, ttl: 5m, scopes: [\"deploy:staging\"] }} ] }}"
        );
    }
    text
}

fn settings(address: SocketAddr, audit: &Path) -> String {
    let audit = audit.display();
    format!(
        "issuer: {AUDIENCE}\nreplica: bench\nroot_key: {{ file: root.key }}\n\
         listen: {{ public: \"{address}\", operator: \"127.0.0.1:0\" }}\n\
         policies: {{ path: policies }}\nlimits: {{ per_repository_and_minute: 6000 }}\n\
         audit: {{ sinks: [ {{ kind: file, path: \"{audit}\", required: true }} ] }}\n"
    )
}

fn name(broker: Broker) -> String {
    let Broker {
        policies,
        durable,
        logs,
    } = broker;
    format!("broker-{policies}-{durable}-{logs}")
}

/// Requests before each measurement.
const WARM_UP: usize = 300;
const POLICIES_OF_A_FILE: usize = 20_000;
