//! `hallpass revoke`: a login ends before its time.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::broker::{BrokerArgs, block_on, failure};
use super::inputs::read_input;
use super::{Failure, Output, Terminal};
use crate::client::Environment;
use crate::secret::Secret;
use crate::wire::LeaseState;

/// Revokes a login early, by its lease handle
///
/// A handle (`hpl_...`) can only revoke its login. Other users of the machine can see arguments, so the
/// handle can also be read from a file or standard input. Both accept the bare handle or the output of
/// `hallpass get --format json`, also for several credentials: then each of their logins is revoked.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hallpass revoke hpl_...
  hallpass get shop-db/migrate --out login.json &&
    hallpass revoke --file login.json")]
pub struct Args {
    /// The handle, or - for standard input
    #[arg(value_name = "LEASE", required_unless_present = "file")]
    lease: Option<String>,
    /// Read the handle from this file
    #[arg(long, value_name = "FILE", conflicts_with = "lease")]
    file: Option<PathBuf>,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    broker: BrokerArgs,
}

/// Runs the command.
///
/// # Errors
/// The broker cannot be asked, or does not know the handle.
pub fn run(args: Args, out: &mut Terminal) -> Result<(), Failure> {
    let leases = leases(args.lease, args.file.as_deref(), args.broker.timeout())?;
    let client = args.broker.client(Environment::of_this_process())?;
    let (mut ended, mut failed) = (Vec::new(), Ok(()));
    block_on(async {
        for lease in &leases {
            match client.revoke(lease).await {
                Ok(state) => ended.push(state),
                Err(error) if failed.is_ok() => failed = Err(failure(error)),
                Err(_) => {}
            }
        }
        Ok(())
    })?;
    match args.output {
        Output::Text => ended.iter().for_each(|state| out.line(sentence(*state))),
        Output::Json => match ended.as_slice() {
            [only] if leases.len() == 1 => out.json(&json!({ "revocation": only }).to_string()),
            all => out.json(&json!({ "revocations": all }).to_string()),
        },
    }
    failed
}

const fn sentence(state: LeaseState) -> &'static str {
    match state {
        LeaseState::Gone => "The login is gone.",
        LeaseState::Closed => {
            "The login is closed. Objects it left keep its name until they are cleaned up."
        }
        LeaseState::Pending => "The broker accepted the revocation and is still ending the login.",
    }
}

fn leases(
    argument: Option<String>,
    file: Option<&Path>,
    patience: Duration,
) -> Result<Vec<Secret<String>>, Failure> {
    let text = match (argument, file) {
        (Some(text), _) if text != "-" => Secret::new(text),
        (_, file) => {
            let bytes = read_input(file.unwrap_or(Path::new("-")), MAX_INPUT, patience)?;
            let text = String::from_utf8(bytes).map(Secret::new);
            text.map_err(|_| Failure::Usage(NO_LEASE.to_owned()))?
        }
    };
    let handles = if text.expose().trim_start().starts_with('{') {
        let answer = serde_json::from_str::<RawAnswer>(text.expose());
        let answer = answer.map_err(|_| Failure::Usage(NO_LEASE.to_owned()))?;
        let all = answer.lease.into_iter();
        let several = answer.credentials.into_iter().filter_map(|one| one.lease);
        all.chain(several).map(Secret::new).collect()
    } else {
        vec![Secret::new(text.expose().trim().to_owned())]
    };
    let are_leases = handles.iter().all(|one| one.expose().starts_with("hpl_"));
    if are_leases && !handles.is_empty() {
        Ok(handles)
    } else {
        Err(Failure::Usage(NO_LEASE.to_owned()))
    }
}

#[derive(Deserialize)]
struct RawAnswer {
    lease: Option<String>,
    /// Of `get` for several credentials.
    #[serde(default)]
    credentials: Vec<RawCredential>,
}

#[derive(Deserialize)]
struct RawCredential {
    lease: Option<String>,
}

const MAX_INPUT: u64 = 256 * 1024;
const NO_LEASE: &str = "that is no lease handle; expected `hpl_...`, or the JSON of `hallpass get` with a `lease` in it";
