//! `hallpass get`: a credential, in the form that one tool reads.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use data_encoding::HEXLOWER;

use super::broker::{BrokerArgs, block_on, failure, mask, quoted};
use super::{Failure, Terminal};
use crate::client::format::{self, FORMATS, Format, Options, Prefix, github_file, variables};
use crate::client::{
    Ask, Client, Environment, Material, Received, Sharing, ca_file, write_private,
};
use crate::policy::duration;
use crate::secret::Secret;

/// Fetches a credential and prints it, or writes it to a file
///
/// A later step of the same job that asks for the same gets the same login, as long as the job's
/// token lives.
///
/// On GitHub the secret is masked in the log first. GitLab can mask nothing that comes during a job:
/// use --out, or `hallpass exec`, rather than printing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  login=$(hallpass get shop-db/migrate --format env) && eval \"$login\" &&
    psql -c 'select 1'
  hallpass get shop-db/migrate --format pgpass --out ~/.pgpass
  hallpass get deploy-api --github-env
  git config credential.helper \\
    '!f() { test \"$1\" = get && hallpass get repo-token --format git; }; f'")]
pub struct Args {
    /// Its name in the policies, like shop-db/migrate
    #[arg(value_name = "CREDENTIAL")]
    credential: String,
    /// Who is to read it
    #[arg(long, value_name = "FORMAT", default_value = "json", value_parser = formats(), hide_possible_values = true, long_help = formats_help())]
    format: String,
    /// Ask for a shorter life than the policy grants, like 10m
    #[arg(long, value_name = "TIME", value_parser = ttl)]
    ttl: Option<String>,
    /// Ask for this scope only; may be given several times
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Put PREFIX_ before the names of variables (formats env and dotenv)
    #[arg(long, value_name = "PREFIX", value_parser = Prefix::parse)]
    prefix: Option<Prefix>,
    /// Write to this file, with mode 0600, instead of printing
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Set the variables for the job's later steps on GitHub, instead of printing
    #[arg(long, conflicts_with_all = ["out", "format"])]
    github_env: bool,
    /// Write the database's CA certificates to this file rather than to one in the job's folder
    #[arg(long, value_name = "FILE")]
    database_ca: Option<PathBuf>,
    #[command(flatten)]
    broker: BrokerArgs,
}

/// Runs the command.
///
/// # Errors
/// No credential was to be had, or it cannot be written down.
pub fn run(args: &Args, out: &mut Terminal) -> Result<(), Failure> {
    let client = args.broker.client(Environment::of_this_process())?;
    block_on(get(args, &client, out))
}

async fn get(args: &Args, client: &Client, out: &mut Terminal) -> Result<(), Failure> {
    let mut ask = Ask::new(&args.credential).map_err(|error| Failure::Usage(error.to_string()))?;
    ask.scopes.clone_from(&args.scopes);
    ask.ttl.clone_from(&args.ttl);
    let format = format::find(&args.format)
        .ok_or_else(|| Failure::Usage(format!("no format {}", quoted(&args.format))))?;
    let received = client.get(&ask, Sharing::Job).await.map_err(failure)?;
    mask(client.environment(), &received, out);
    let written = hand_over(args, client, format, &received, out);
    if written.is_err()
        && let Some(lease) = &received.lease
        && client.revoke(lease).await.is_err()
    {
        out.error("hallpass: what was not handed over could not be revoked; it ends by itself");
    }
    written
}

fn hand_over(
    args: &Args,
    client: &Client,
    format: &Format,
    received: &Received,
    out: &mut Terminal,
) -> Result<(), Failure> {
    let ca = if format.wants_ca_file || args.github_env || args.database_ca.is_some() {
        database_ca(client.environment(), received, args.database_ca.as_deref())?
    } else {
        None
    };
    if args.github_env {
        return set_github_env(args, client.environment(), received, ca.as_deref());
    }
    let options = Options {
        prefix: args.prefix.as_ref(),
        ca_file: ca.as_deref(),
    };
    let text =
        (format.write)(received, &options).map_err(|error| Failure::Usage(error.to_string()))?;
    match &args.out {
        None => out.verbatim(text.expose()),
        Some(path) => {
            let lines = Secret::new(format!("{}\n", text.expose()));
            write_private(path, lines.expose().as_bytes())
                .map_err(|error| Failure::Local(error.to_string()))?;
        }
    }
    Ok(())
}

/// The database's CA as a file, if the login comes with one.
pub(super) fn database_ca(
    environment: &Environment,
    received: &Received,
    wanted: Option<&Path>,
) -> Result<Option<PathBuf>, Failure> {
    let pem = match &received.material {
        Material::Postgres(login) => login.ca.as_deref(),
        Material::Jwt { .. } => None,
    };
    let written = match (pem, wanted) {
        (None, _) => return Ok(None),
        (Some(pem), Some(path)) => write_private(path, pem.as_bytes()).map(|()| path.to_owned()),
        (Some(pem), None) => ca_file(environment, pem),
    };
    written
        .map(Some)
        .map_err(|error| Failure::Local(error.to_string()))
}

fn set_github_env(
    args: &Args,
    environment: &Environment,
    received: &Received,
    ca: Option<&Path>,
) -> Result<(), Failure> {
    let path = environment.get("GITHUB_ENV").ok_or_else(|| {
        Failure::Usage("`--github-env` is for GitHub: GITHUB_ENV is not set here".to_owned())
    })?;
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random)
        .map_err(|_| Failure::Local("this machine gives no random bytes".to_owned()))?;
    let end = format!("hallpass_{}", HEXLOWER.encode(&random));
    let text = github_file(&variables(received, args.prefix.as_ref(), ca), &end);
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.expose().as_bytes()))
        .map_err(|error| Failure::Local(format!("{} cannot be written: {error}", quoted(path))))
}

fn formats() -> PossibleValuesParser {
    PossibleValuesParser::new(FORMATS.iter().map(|format| format.name))
}

fn formats_help() -> String {
    let lines: Vec<String> = FORMATS
        .iter()
        .map(|format| format!("{:<22} {}", format.name, format.summary))
        .collect();
    format!("Who is to read it:\n{}", lines.join("\n"))
}

/// In seconds, with their unit: brokers take no other combination of hours, minutes and seconds.
pub(super) fn ttl(text: &str) -> Result<String, String> {
    duration::parse(text).map(|life| format!("{}s", life.as_secs()))
}
