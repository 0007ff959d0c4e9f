//! `hallpass policy`: what the policies say, without a broker.

use clap::{Args as ClapArgs, Subcommand};

use super::{Failure, Terminal};

mod check;
mod explain;

/// Looks at the policies, without a broker
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Check(check::Args),
    Explain(explain::Args),
}

/// Runs the verb.
///
/// # Errors
/// Findings, a denial, or a file that cannot be read: see [`Failure`].
pub fn run(args: Args, out: &mut Terminal) -> Result<(), Failure> {
    match args.verb {
        Verb::Check(args) => check::run(&args, out),
        Verb::Explain(args) => explain::run(&args, out),
    }
}
