//! CPU time of a request, case by case.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use data_encoding::HEXLOWER;

use crate::Result;
use crate::broker::Bench;
use crate::case::{Case, Request, Server};
use crate::ci::Flaw;
use crate::load::{self, Target};
use crate::peers::{self, Peer};
use crate::process::{Process, free_address};
use crate::report::{Report, Sample, Times};

/// Measures each case once in each round, and prints the table.
pub(crate) fn run(bench: &Bench, cases: &[&Case], rounds: usize, requests: usize) -> Result<()> {
    let peers = peers::install(cases.iter().filter_map(|case| match case.server {
        Server::Peer(peer) => Some(peer),
        _ => None,
    }));
    let can_run = |case: &&&Case| match (case.server, case.request) {
        (Server::Peer(peer), _) => peers.contains(&peer),
        (_, Request::Ssh) => bench.job_key.is_some(),
        _ => true,
    };
    let cases: Vec<&Case> = cases.iter().filter(can_run).copied().collect();
    let tokens = Tokens::sign(bench, requests)?;
    let mut report = Report::new(&cases);
    for round in 1..=rounds {
        for (index, case) in cases.iter().enumerate() {
            eprint!("\rround {round} of {rounds}, {:<40}", case.name);
            let sample = measure(bench, &tokens, case);
            report.add(
                index,
                sample.map_err(|error| format!("{}: {error}", case.name))?,
            );
        }
    }
    eprintln!("\r{:<60}", "");
    print!("{}", report.table());
    let flush = flushes(bench.folder.path())?;
    println!(
        "\nOne flush of the disk: p50 {:.2} ms, p99 {:.2} ms.",
        flush.at(50),
        flush.at(99)
    );
    Ok(())
}

/// What `durable audit` waits for: a kilobyte appended to a file, and synced.
fn flushes(folder: &Path) -> Result<Times> {
    let mut file = File::create(folder.join("flush"))?;
    let flush = |_| {
        let begun = Instant::now();
        file.write_all(&[b'x'; 1 << 10])?;
        file.sync_data()?;
        Ok(begun.elapsed())
    };
    (0..FLUSHES)
        .map(flush)
        .collect::<Result<_>>()
        .map(Times::new)
}

/// Signed before the measurement. Those of the warm-up come first.
struct Tokens {
    good: Vec<String>,
    bad: Vec<String>,
    foreign: Vec<String>,
}

impl Tokens {
    fn sign(bench: &Bench, requests: usize) -> Result<Self> {
        eprintln!("signing {requests} tokens");
        let all = |flaw| {
            let numbers = 0..WARM_UP + requests;
            numbers
                .map(|number| bench.ci.token(number, flaw))
                .collect::<Result<Vec<_>>>()
        };
        Ok(Self {
            good: all(Flaw::None)?,
            bad: all(Flaw::Signature)?,
            foreign: all(Flaw::Issuer)?,
        })
    }
}

/// Starts the server of a case, and measures it after a warm-up.
fn measure(bench: &Bench, tokens: &Tokens, case: &Case) -> Result<Sample> {
    let (server, target) = start(bench, case.server)?;
    let (tokens, status) = match case.request {
        Request::Exchange | Request::Ssh | Request::Explain => (&tokens.good, 200),
        Request::BadSignature => (&tokens.bad, 400),
        Request::UnknownIssuer => (&tokens.foreign, 400),
    };
    let path = match case.server {
        Server::Echo { .. } => "/echo",
        _ => "/token",
    };
    let more = match (case.server, case.request) {
        (Server::Peer(Peer::OidcProvider), _) => "&audience=deploy-api&client_id=bench".to_owned(),
        (_, Request::Ssh) => {
            let key = bench.job_key.as_deref().unwrap_or_default();
            format!("&audience=deploy-host&public_key={}", escaped(key))
        }
        _ => "&audience=deploy-api".to_owned(),
    };
    let requests = tokens.iter().map(|token| match case.request {
        Request::Explain => load::explain(token),
        _ => load::form(path, token, &more, case.load.keep_alive),
    });
    let requests: Vec<Vec<u8>> = requests.collect();
    let (warm_up, requests) = requests.split_at(WARM_UP);
    let send = |requests: &[Vec<u8>]| {
        let request = |number: usize| Ok(requests[number].clone());
        load::send(&target, case.load, requests.len(), &request, status)
    };
    send(warm_up)?;
    let before = server.cpu_time()?;
    let times = send(requests)?;
    let used = server.cpu_time()? - before;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let cpu = used as f64 / 1e3 / requests.len() as f64;
    Ok(Sample {
        cpu,
        times,
        memory: server.memory()?,
    })
}

fn start(bench: &Bench, server: Server) -> Result<(Process, Target)> {
    match server {
        Server::Echo { tls } | Server::Ceiling { tls } => {
            let address = free_address()?;
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["ceiling", &address.to_string(), &bench.ci.public_key()]);
            if tls {
                command.arg(&bench.certificate.chain);
                command.arg(&bench.certificate.key);
            }
            let log = bench.memory.path().join("ceiling.log");
            let process = Process::start(&command, &[], &log, address)?;
            Ok((process, bench.target(address, tls)))
        }
        Server::Hallpass(broker) => {
            let running = bench.start(broker, None, &[])?;
            Ok((running.process, running.target))
        }
        Server::Peer(peer) => {
            let address = free_address()?;
            let command = peer.command(address, &bench.ci)?;
            let log = bench.memory.path().join("peer.log");
            let process = Process::start(&command, &[], &log, address)?;
            Ok((process, bench.target(address, false)))
        }
    }
}

/// A value of a form: every byte as its number.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        escaped.push('%');
        escaped += &HEXLOWER.encode(&[byte]);
    }
    escaped
}

/// Requests before each measurement.
const WARM_UP: usize = 300;
const FLUSHES: usize = 300;
