//! Measures hallpass beside the ceiling, in turn and in CPU time of the server process: `make bench`.
//!
//! The ceiling is a server that does what no broker can leave out: it reads the same request through
//! axum and hyper, verifies one RS256 signature, makes one ES256 signature, and answers.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod broker;
mod case;
mod ceiling;
mod load;
mod process;
mod report;
mod tokens;

use case::{CASES, Case};
use report::Report;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Measures hallpass beside the ceiling
#[derive(Debug, Parser)]
struct Arguments {
    /// The program to measure, built with `--release`
    #[arg(long, default_value = "target/release/hallpass")]
    hallpass: PathBuf,
    /// Rounds; every case is measured once in each
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Requests of one measurement
    #[arg(long, default_value_t = 3_000)]
    requests: usize,
    /// Only cases whose name contains it, and the ceiling
    #[arg(long)]
    only: Option<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Counts the instructions of one exchange with callgrind, which no other load disturbs
    Instructions {
        /// The file of callgrind, for `callgrind_annotate`
        #[arg(long, default_value = "target/callgrind.out")]
        out: PathBuf,
    },
    /// Is the ceiling: serves until it is stopped
    #[command(hide = true)]
    Ceiling {
        /// Where it listens
        address: SocketAddr,
        /// The public key of the tokens, in DER, as hex
        key: String,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = match &arguments.command {
        Some(Command::Ceiling { address, key }) => ceiling::serve(*address, key),
        Some(Command::Instructions { out }) => instructions(&arguments, out),
        None => measure(&arguments),
    };
    if let Err(error) = ended {
        eprintln!("hallpass-bench: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn measure(arguments: &Arguments) -> Result<()> {
    let wanted = |case: &&Case| {
        let text = arguments.only.as_deref().unwrap_or_default();
        case.is_ceiling() || case.name.contains(text)
    };
    let cases: Vec<&Case> = CASES.iter().filter(wanted).collect();
    let bench = broker::Bench::prepare(&arguments.hallpass, arguments.requests)?;
    let mut report = Report::new(&cases);
    for round in 1..=arguments.rounds {
        for (index, case) in cases.iter().enumerate() {
            eprint!("\rround {round} of {}, {:<40}", arguments.rounds, case.name);
            report.add(index, bench.measure(case)?);
        }
    }
    eprintln!("\r{:<60}", "");
    print!("{}", report.table());
    Ok(())
}

/// What more requests take more, so that the start is not counted.
fn instructions(arguments: &Arguments, out: &Path) -> Result<()> {
    let bench = broker::Bench::prepare(&arguments.hallpass, MORE)?;
    let few = bench.instructions(FEW, out)?;
    let more = bench.instructions(MORE, out)?;
    println!(
        "{} instructions per exchange",
        (more - few) / (MORE - FEW) as u64
    );
    Ok(())
}

const FEW: usize = 100;
const MORE: usize = 600;
