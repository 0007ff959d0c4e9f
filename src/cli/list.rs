//! `hallpass list`: what this job may have.

use super::broker::{BrokerArgs, block_on_until_signal, failure};
use super::{Failure, Output, Terminal};
use crate::client::Environment;
use crate::text::escape;
use crate::wire::{Offer, Offers};
use crate::yaml::duration;

/// Lists the credentials that this job may have
///
/// The broker evaluates its policies for the job's token. It issues no credential.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  hallpass list --broker https://hallpass.example")]
pub struct Args {
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    broker: BrokerArgs,
}

/// Runs the command.
///
/// # Errors
/// The broker cannot be asked, or refuses the job's token.
pub fn run(args: &Args, out: &mut Terminal) -> Result<(), Failure> {
    let client = args.broker.client(Environment::of_this_process())?;
    let available = block_on_until_signal(async { client.available().await.map_err(failure) })?;
    match args.output {
        Output::Json => out.json(&serde_json::to_string(&available).map_err(Failure::local)?),
        Output::Text => print(&available, out),
    }
    Ok(())
}

fn print(available: &Offers, out: &mut Terminal) {
    if available.credentials.is_empty() {
        out.error_report(
            "no policy grants this job anything; `hallpass doctor` shows what the job is",
        );
        return;
    }
    let header = [
        "CREDENTIAL",
        "KIND",
        "LIFETIME",
        "POLICY",
        "SCOPES",
        "PURPOSE",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(available.credentials.iter().map(row));
    out.table(&rows);
}

fn row(offer: &Offer) -> Vec<String> {
    vec![
        escape(&offer.credential),
        escape(&offer.kind),
        duration::print(std::time::Duration::from_secs(offer.ttl)),
        escape(&offer.policy),
        escape(&offer.scopes.join(",")),
        escape(&offer.purpose),
    ]
}
