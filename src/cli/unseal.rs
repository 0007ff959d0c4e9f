//! `hallpass unseal`: a sealed credential, opened by its recipient.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::broker::{BrokerArgs, block_on, failure, mask, quoted};
use super::deliver::{self, Delivery};
use super::get::{formats, formats_help};
use super::inputs::read_input;
use super::{Failure, Terminal};
use crate::client::format::{Format, Prefix};
use crate::client::{
    Ask, Client, Environment, Received, UnsealError, check_target, read_bounded, read_private,
    unseal,
};
use crate::credential::sealed::{self, RecipientPrivateKey};
use crate::secret::Secret;

/// Opens a credential that was sealed to your key
///
/// The message comes from `hallpass get --seal-to` in a job. `unseal` opens it with the private key and
/// checks that this broker sealed it, for this key and this credential, and that it has not expired.
/// Nothing of a message that fails a check is printed. Make the key pair with `hallpass keys recipient`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hallpass unseal shop-db/migrate --key deploy.key --format pgpass \\
    --out ~/.pgpass < sealed.txt
  login=$(hallpass unseal shop-db/migrate sealed.txt --key deploy.key \\
    --format env) && eval \"$login\" && psql -c 'select 1'")]
pub struct Args {
    /// The credential that the message must hold, e.g. `shop-db/migrate`
    #[arg(value_name = "CREDENTIAL")]
    credential: String,
    /// The sealed message; `-`: standard input
    #[arg(value_name = "FILE", default_value = "-")]
    message: PathBuf,
    /// The recipient's private key, as a JWK in a file that only its owner can read
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// File with the broker's public keys (JWKS), instead of asking the broker for them
    #[arg(long, value_name = "FILE")]
    broker_keys: Option<PathBuf>,
    /// Output format
    #[arg(long, visible_alias = "output", value_name = "FORMAT", default_value = "json", value_parser = formats(), hide_possible_values = true, long_help = formats_help())]
    format: &'static Format,
    /// Put before the names of variables, in the formats that have any
    #[arg(long, value_name = "PREFIX", value_parser = Prefix::parse)]
    prefix: Option<Prefix>,
    /// Write to this file, with mode 0600, instead of printing; not to a link, a pipe or a device
    #[arg(long, value_name = "FILE", conflicts_with = "print")]
    out: Option<PathBuf>,
    /// Print the credential even to a terminal
    #[arg(long)]
    print: bool,
    /// File for the database's CA certificates, instead of one in the job's folder
    #[arg(long, value_name = "FILE")]
    database_ca: Option<PathBuf>,
    #[command(flatten)]
    broker: BrokerArgs,
}

/// Runs the command.
///
/// # Errors
/// The message does not open or fails a check, or the credential cannot be written.
pub fn run(args: &Args, out: &mut Terminal) -> Result<(), Failure> {
    let client = args.broker.client(Environment::of_this_process())?;
    let ask = Ask::new(&args.credential).map_err(Failure::usage)?;
    for path in args.out.iter().chain(&args.database_ca) {
        check_target(path)?;
    }
    if args.out.is_none() {
        if !args.print && io::stdout().is_terminal() {
            return Err(Failure::Usage(
                "refusing to print a credential to a terminal; use `--out FILE`, a pipe or `--print`"
                    .to_owned(),
            ));
        }
        out.can_hand_over()?;
    }
    let key = private_key(&args.key)?;
    let message = read_input(&args.message, MAX_MESSAGE, PATIENCE)?;
    // Not text: no message either, and the same error.
    let message = std::str::from_utf8(message.trim_ascii()).unwrap_or_default();
    let keys = match &args.broker_keys {
        Some(path) => read_bounded(path, MAX_KEYS, PATIENCE)?,
        None => block_on(async { client.published_keys().await.map_err(failure) })?,
    };
    let now = client.clock().now();
    let received = unseal(message, &key, client.broker(), &keys, &ask.credential, now);
    let received = received.map_err(|error| match error {
        UnsealError::Client(error) => failure(error),
        UnsealError::Open(_)
        | UnsealError::Keys(_)
        | UnsealError::Signature(_)
        | UnsealError::Claims
        | UnsealError::Issuer { .. }
        | UnsealError::OtherKey
        | UnsealError::Expired { .. }
        | UnsealError::Early { .. }
        | UnsealError::Answer(_) => Failure::Local(error.to_string()),
    })?;
    mask(client.environment(), &received, out)?;
    hand_over(args, &client, &received, out)?;
    out.check()
}

fn private_key(path: &Path) -> Result<RecipientPrivateKey, Failure> {
    let shown = quoted(&path.display().to_string());
    let text = read_private(path, MAX_PRIVATE_KEY).map_err(|error| {
        Failure::Local(if error.kind() == io::ErrorKind::PermissionDenied {
            format!("{shown} is not private; expected a regular file owned by this user, mode 0600")
        } else {
            format!("{shown} cannot be read: {error}")
        })
    })?;
    let text = Secret::new(text);
    RecipientPrivateKey::parse(text.expose().trim_ascii())
        .map_err(|problem| Failure::Local(format!("{shown} {problem}")))
}

fn hand_over(
    args: &Args,
    client: &Client,
    received: &Received,
    out: &mut Terminal,
) -> Result<(), Failure> {
    let format = args.format;
    format
        .check(&received.name, received.kind, None)
        .map_err(Failure::usage)?;
    let delivery = Delivery {
        client,
        format,
        prefix: args.prefix.as_ref(),
        database_ca: args.database_ca.as_deref(),
    };
    let text = delivery.text(received, Some(&mut *out))?;
    let Some(path) = &args.out else {
        out.verbatim(text.expose());
        return Ok(());
    };
    deliver::to_file(path, format, Some(&received.name), &text)
}

/// Bytes of a file with a sealed message, with white space around it.
const MAX_MESSAGE: u64 = sealed::LONGEST as u64 + 1024;
/// Bytes of a file with a private key.
const MAX_PRIVATE_KEY: u64 = 4 * 1024;
/// Bytes of a key set.
const MAX_KEYS: u64 = 256 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);
