//! Measures hallpass beside the ceiling, in turn and in CPU time of the server process: `make bench`.
//!
//! The ceiling is a server that does what no broker can leave out: it reads the same request through
//! axum and hyper, verifies one RS256 signature, makes one ES256 signature, and answers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

mod broker;
mod case;
mod ceiling;
mod ci;
mod database;
mod engine;
mod instructions;
mod load;
mod measure;
mod memory;
mod peers;
mod process;
mod report;
mod soak;
mod start;
mod tls;

use broker::Bench;
use case::{CASES, Case};
use ci::{Algorithm, Jobs};

/// An error of any thread.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Measures hallpass beside the ceiling
///
/// Without a command: CPU time of each case, the start, PostgreSQL logins and instructions.
#[derive(Debug, Parser)]
struct Arguments {
    /// The program to measure, built with `--release`
    #[arg(long, global = true, default_value = "target/release/hallpass")]
    hallpass: PathBuf,
    /// Rounds; everything is measured once in each
    #[arg(long, global = true, default_value_t = 9)]
    rounds: usize,
    /// Requests of one measurement of CPU time
    #[arg(long, default_value_t = 3_000)]
    requests: usize,
    /// Only the CPU time of cases whose name contains it, and of the ceiling
    #[arg(long)]
    only: Option<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Time and memory of a start, and the size of the binary
    Start,
    /// Database logins beside the same statement alone, revocations and sweeps
    Database,
    /// Instructions of one exchange by callgrind, which no other load disturbs, beside the last record
    Instructions {
        /// The file of callgrind, for `callgrind_annotate`
        #[arg(long, default_value = CALLGRIND)]
        out: PathBuf,
        /// Add the count to benches/instructions.txt
        #[arg(long)]
        record: bool,
    },
    /// Resident memory, idle and after many exchanges and refused tokens
    Memory {
        /// How many of each
        #[arg(long, default_value_t = 100_000)]
        count: usize,
    },
    /// A long run with reloads, key rotations and bad tokens; exit code 1 if it fails
    Soak {
        #[arg(long, default_value_t = 10)]
        minutes: u64,
    },
    /// Parts of an exchange inside one process, built with `cargo bench`
    Inside {
        /// Arguments of divan, such as part of a name
        arguments: Vec<String>,
    },
    /// Is the ceiling: serves until it is stopped
    #[command(hide = true)]
    Ceiling {
        /// Where it listens
        address: SocketAddr,
        /// The public key of the tokens, in DER, as hex
        key: String,
        /// To serve TLS: a certificate chain in PEM, and its key
        tls: Vec<PathBuf>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) = run(&arguments) {
        eprintln!("hallpass-bench: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn run(arguments: &Arguments) -> Result<()> {
    if let Some(Command::Ceiling { address, key, tls }) = &arguments.command {
        let tls = match tls.as_slice() {
            [chain, key] => Some((chain.as_path(), key.as_path())),
            _ => None,
        };
        return ceiling::serve(*address, key, tls);
    }
    if let Some(Command::Inside { arguments }) = &arguments.command {
        return inside(arguments);
    }
    process::keep_to_other_cores()?;
    let jobs = match arguments.command {
        Some(Command::Memory { .. } | Command::Soak { .. }) => SIGNED_MEANWHILE,
        _ => SIGNED_BEFORE,
    };
    let bench = Bench::prepare(&arguments.hallpass, jobs)?;
    let rounds = arguments.rounds;
    match &arguments.command {
        Some(Command::Start) => start::run(&bench, rounds),
        Some(Command::Database) => database::run(&bench, rounds),
        Some(Command::Instructions { out, record }) => instructions::run(&bench, out, *record),
        Some(Command::Memory { count }) => memory::run(&bench, *count),
        Some(Command::Soak { minutes }) => soak::run(&bench, Duration::from_secs(minutes * 60)),
        Some(Command::Ceiling { .. } | Command::Inside { .. }) => Ok(()),
        None => all(arguments, &bench),
    }
}

fn inside(arguments: &[String]) -> Result<()> {
    let mut cargo = std::process::Command::new("cargo");
    cargo.args(["bench", "--locked", "--package", "hallpass-bench"]);
    let ended = cargo.args(["--bench", "inside", "--"]).args(arguments);
    if ended.status()?.success() {
        Ok(())
    } else {
        Err("`cargo bench` failed".into())
    }
}

/// What is measured without a command.
fn all(arguments: &Arguments, bench: &Bench) -> Result<()> {
    let (rounds, only) = (arguments.rounds, arguments.only.as_deref());
    let wanted =
        |case: &&Case| case.is_ceiling() || only.is_none_or(|text| case.name.contains(text));
    let cases: Vec<&Case> = CASES.iter().filter(wanted).collect();
    measure::run(bench, &cases, rounds, arguments.requests)?;
    if only.is_none() {
        println!();
        start::run(bench, rounds)?;
        database::run(bench, rounds)?;
        instructions::run(bench, CALLGRIND.as_ref(), false)?;
    }
    Ok(())
}

const CALLGRIND: &str = "target/callgrind.out";
const SIGNED_BEFORE: Jobs = Jobs {
    algorithm: Algorithm::Rs256,
    repositories: 10,
    life: 6_000,
};
/// Short lives, so that the store of used tokens is soon as large as it gets.
const SIGNED_MEANWHILE: Jobs = Jobs {
    algorithm: Algorithm::Es256,
    repositories: memory::REPOSITORIES,
    life: 5,
};
