//! `hallpass get`: a credential, in the form that one tool reads.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use nix::fcntl::OFlag;

use super::broker::{BrokerArgs, JobArgs, block_on_until_signal, failure_of_exchange, mask};
use super::deliver::{self, Delivery};
use super::inputs::{InputArgs, read_input};
use super::wanted::{self, Wanted, not_offered_first, offers};
use super::{Failure, Terminal};
use crate::client::format::{self, FORMATS, Format, GITHUB_ENV, Prefix};
use crate::client::{
    Ask, Client, ClientError, FileError, Obtained, Received, Sharing, check_target, write_private,
};
use crate::credential::sealed::RecipientKey;
use crate::reason::Reason;
use crate::secret::Secret;
use crate::text::escape;
use crate::yaml::duration;

/// Fetches credentials and prints them, or writes them to a file
///
/// Several credentials are printed together, or not at all: if one is refused, `get` revokes the others.
/// `json` and the formats of variables hold several; for variables, each needs a PREFIX for
/// their names. --ttl, --scope and --input apply to each.
///
/// A later step of the job that sends the same request gets the same login until the job's token
/// expires. The steps share state in the runner's temporary folder on GitHub, GitLab, Azure and Jenkins.
/// On other CIs, name a folder that only this job can read with --job-dir or `HALLPASS_JOB_DIR`. If the
/// login cannot be delivered, `get` revokes it.
///
/// On GitHub the runner masks the secret in the job's log, but not in files, artifacts or caches. Other
/// CIs cannot mask values that are created during a job: use --out or `hallpass exec` there instead of
/// printing.
///
/// libpq variables set for another server, such as PGSERVICE and PGHOSTADDR, would override the
/// login's. `env`, `fish` and `powershell` unset them; other formats and --github-env print a warning.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  login=$(hallpass get shop-db/migrate --format env) && eval \"$login\" &&
    psql -c 'select 1'
  hallpass get shop-db/migrate --format pgpass --out ~/.pgpass  # adds to it
  hallpass get deploy-api --github-env
  hallpass get SHOP=shop-db/read AUDIT=audit-db/read --format dotenv --out .env
  git config credential.helper \\
    '!f() { test \"$1\" = get && hallpass get repo-token --format git; }; f'")]
pub struct Args {
    /// Credentials, as [PREFIX=]CREDENTIAL, e.g. `shop-db/migrate`
    #[arg(value_name = "CREDENTIAL", required = true, value_parser = wanted::parse)]
    credentials: Vec<Wanted>,
    /// Output format
    #[arg(long, visible_alias = "output", value_name = "FORMAT", default_value = "json", value_parser = formats(), hide_possible_values = true, long_help = formats_help())]
    format: &'static Format,
    /// Request a shorter lifetime than the policy grants, e.g. `10m`
    #[arg(long, value_name = "TIME", value_parser = ttl)]
    ttl: Option<String>,
    /// Request only this scope; may be repeated
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    #[command(flatten)]
    inputs: InputArgs,
    /// The PREFIX of a single credential, put before the names of its variables
    #[arg(long, value_name = "PREFIX", value_parser = Prefix::parse)]
    prefix: Option<Prefix>,
    /// Write to this file, with mode 0600, instead of printing; not to a link, a pipe or a device
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Have the broker seal the credential to the public key (JWK) in this file, or `-`, and print the
    /// sealed message, which only the recipient can open
    #[arg(long, value_name = "KEY", conflicts_with_all = ["format", "prefix", "github_env", "database_ca"])]
    seal_to: Option<PathBuf>,
    /// Set the variables for the job's later steps on GitHub, instead of printing
    #[arg(long, conflicts_with_all = ["out", "format"])]
    github_env: bool,
    /// File for the database's CA certificates, instead of one in the job's folder
    #[arg(long, value_name = "FILE")]
    database_ca: Option<PathBuf>,
    #[command(flatten)]
    job: JobArgs,
    #[command(flatten)]
    broker: BrokerArgs,
}

/// Runs the command.
///
/// # Errors
/// The broker issued no credential, or it cannot be written.
pub fn run(args: &Args, out: &mut Terminal) -> Result<(), Failure> {
    let client = args.broker.client(args.job.environment()?)?;
    match &args.seal_to {
        Some(key) => block_on_until_signal(get_sealed(args, key, &client, out)),
        None => block_on_until_signal(get(args, &client, out)),
    }
}

/// A credential for a recipient that only the recipient can open.
async fn get_sealed(
    args: &Args,
    key: &Path,
    client: &Client,
    out: &mut Terminal,
) -> Result<(), Failure> {
    let [wanted] = args.credentials.as_slice() else {
        return Err(Failure::Usage(
            "a sealed message holds one credential; use one `get --seal-to` each".to_owned(),
        ));
    };
    if wanted.prefix.is_some() {
        return Err(Failure::Usage(
            "a sealed message has no variables that a prefix could name; leave the prefix out"
                .to_owned(),
        ));
    }
    let mut ask = ask(args, wanted)?;
    ask.inputs = args.inputs.read()?;
    ask.seal_to = Some(recipient(key)?);
    match &args.out {
        Some(path) => check_target(path)?,
        None => out.can_hand_over()?,
    }
    let received = client
        .obtain(&ask, Sharing::Job, &[])
        .await
        .and_then(Obtained::into_members)
        .map_err(|error| failure_of_exchange(in_own_words(error), client))?;
    let message = received.sealed.as_deref().unwrap_or_default();
    let handed_over = if let Some(path) = &args.out {
        write_private(path, format!("{message}\n").as_bytes()).map_err(Failure::from)
    } else {
        out.verbatim(message);
        out.check()
    };
    if handed_over.is_err() {
        give_back(client, &received, false, out).await;
    }
    handed_over
}

/// The broker's sentence names the member of the request, which the user has not written.
fn in_own_words(mut error: ClientError) -> ClientError {
    if let ClientError::Denied(refusal) = &mut error
        && refusal.is(Reason::RequestSealed)
    {
        refusal.error_description = Some(
            "this broker cannot seal credentials (`--seal-to`): it is built without the feature `sealed`; nothing was issued"
                .to_owned(),
        );
    }
    error
}

fn recipient(path: &Path) -> Result<RecipientKey, Failure> {
    let text = Secret::new(read_input(path, MAX_KEY, PATIENCE)?);
    RecipientKey::parse(text.expose().trim_ascii())
        .map_err(|problem| Failure::Usage(format!("the key of `--seal-to` {problem}")))
}

fn ask(args: &Args, wanted: &Wanted) -> Result<Ask, Failure> {
    let mut ask = Ask::new(&wanted.credential).map_err(Failure::usage)?;
    ask.scopes.clone_from(&args.scopes);
    ask.ttl.clone_from(&args.ttl);
    Ok(ask)
}

async fn get(args: &Args, client: &Client, out: &mut Terminal) -> Result<(), Failure> {
    let format = if args.github_env {
        &GITHUB_ENV
    } else {
        args.format
    };
    check_several(args, format)?;
    check_targets(args, client, format, out)?;
    let mut granted = Vec::new();
    let handed_over = match obtain(args, client, format, &mut granted, out).await {
        Ok(()) => hand_over(args, client, format, &granted, out).and_then(|()| out.check()),
        Err(failure) => Err(failure),
    };
    if handed_over.is_err() {
        for one in &granted {
            let is_reported = args.credentials.len() > 1;
            give_back(client, &one.received, is_reported, out).await;
        }
    }
    handed_over
}

/// A credential and where it was named on the command line.
struct Granted<'a> {
    wanted: &'a Wanted,
    received: Received,
}

/// Obtains each credential; those that were granted before a failure are in `granted`.
async fn obtain<'a>(
    args: &'a Args,
    client: &Client,
    format: &Format,
    granted: &mut Vec<Granted<'a>>,
    out: &mut Terminal,
) -> Result<(), Failure> {
    let inputs = args.inputs.read()?;
    let mut in_order: Vec<&Wanted> = args.credentials.iter().collect();
    if in_order.len() > 1
        && let Some(offers) = offers(client).await?
    {
        not_offered_first(&mut in_order, &offers, |wanted| wanted);
    }
    for wanted in in_order {
        let mut ask = ask(args, wanted)?;
        ask.inputs.clone_from(&inputs);
        let received = client
            .obtain(&ask, Sharing::Job, &[format])
            .await
            .and_then(Obtained::into_members)
            .map_err(|error| {
                wanted.failure(failure_of_exchange(error, client), &args.credentials)
            })?;
        let masked = mask(client.environment(), &received, out);
        granted.push(Granted { wanted, received });
        masked?;
    }
    let position = |one: &Granted<'_>| {
        let mut credentials = args.credentials.iter();
        credentials.position(|wanted| std::ptr::eq(wanted, one.wanted))
    };
    granted.sort_by_key(position);
    Ok(())
}

/// Whether the format and the options fit as many credentials.
fn check_several(args: &Args, format: &Format) -> Result<(), Failure> {
    let several = args.credentials.len() > 1;
    let problem = if several && format.join.is_none() {
        "holds one credential; for several use `json`, a format of variables such as `env`, or one `get` each"
    } else if !format.names_variables && args.credentials.iter().any(|one| one.prefix.is_some()) {
        "has no variables that a prefix could name; leave the prefix out"
    } else if several && format.names_variables {
        return wanted::check_prefixes(&args.credentials).and_then(|()| check_options(args));
    } else {
        return check_options(args);
    };
    Err(Failure::Usage(format!(
        "format `{}` {problem}",
        format.name
    )))
}

/// Options that are for a single credential.
fn check_options(args: &Args) -> Result<(), Failure> {
    let option = match args.credentials.as_slice() {
        [only] if only.prefix.is_none() => return Ok(()),
        _ if args.prefix.is_some() => {
            "`--prefix` is for a single credential without a prefix of its own; write PREFIX=CREDENTIAL"
        }
        [_, _, ..] if args.database_ca.is_some() => {
            "`--database-ca` is for a single credential; use one `get` each"
        }
        _ => return Ok(()),
    };
    Err(Failure::Usage(option.to_owned()))
}

/// Looks before anything is minted.
fn check_targets(
    args: &Args,
    client: &Client,
    format: &Format,
    out: &mut Terminal,
) -> Result<(), Failure> {
    for path in args.out.iter().chain(&args.database_ca) {
        check_target(path)?;
    }
    if let (Some(path), Some((suffix, _))) = (&args.out, format.beside) {
        check_target(&with_suffix(path, suffix))?;
    }
    if args.github_env {
        github_env(client)?;
    } else if args.out.is_none() {
        out.can_hand_over()?;
    }
    Ok(())
}

/// Revokes a login that was not handed over (T-137, T-240), unless an earlier step received it.
async fn give_back(client: &Client, received: &Received, is_reported: bool, out: &mut Terminal) {
    let name = escape(&received.name);
    let said = match &received.lease {
        _ if received.is_repeat => {
            format!("`{name}` is not revoked, because an earlier step of this job uses it")
        }
        _ if received.is_shared => {
            format!(
                "`{name}` is not revoked, because other tokens of this subject have the same login"
            )
        }
        None if is_reported => format!(
            "`{name}` was issued but not delivered; it cannot be revoked and expires at {}",
            received.expires_at
        ),
        None => return,
        Some(lease) => match client.revoke(lease).await {
            Ok(_) if is_reported => format!("`{name}` was not delivered, and is revoked"),
            Ok(_) => return,
            Err(error) => {
                format!("`{name}` could not be revoked and expires on its own: {error}")
            }
        },
    };
    out.error(&format!("hallpass: {said}"));
}

fn hand_over(
    args: &Args,
    client: &Client,
    format: &Format,
    granted: &[Granted<'_>],
    out: &mut Terminal,
) -> Result<(), Failure> {
    let mut texts = Vec::new();
    for one in granted {
        let delivery = Delivery {
            client,
            format,
            prefix: one.wanted.prefix.as_ref().or(args.prefix.as_ref()),
            database_ca: args.database_ca.as_deref(),
        };
        texts.push(delivery.text(&one.received, Some(&mut *out))?);
    }
    let text = match (texts.as_slice(), format.join) {
        ([one], _) => one.clone(),
        (several, Some(join)) => join(several),
        (_, None) => {
            return Err(Failure::Usage(format!(
                "format `{}` holds one credential",
                format.name
            )));
        }
    };
    if args.github_env {
        return add_to_github_env(client, &text);
    }
    let received = granted.first().map(|one| &one.received);
    let beside = format.beside.and_then(|(suffix, member)| {
        let text = received?.members.text(member)?;
        Some((suffix, text))
    });
    let Some(path) = &args.out else {
        out.verbatim(text.expose());
        if let Some((_, text)) = beside {
            out.verbatim(text.expose());
        }
        return Ok(());
    };
    if let Some((suffix, text)) = beside {
        let contents = Secret::new(format!("{}\n", text.expose()).into_bytes());
        write_private(&with_suffix(path, suffix), contents.expose())?;
    }
    let name = received.map(|received| received.name.as_str());
    deliver::to_file(path, format, name, &text)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn github_env(client: &Client) -> Result<PathBuf, Failure> {
    client.environment().path("GITHUB_ENV").ok_or_else(|| {
        Failure::Usage("`--github-env` is for GitHub: GITHUB_ENV is not set here".to_owned())
    })
}

/// Adds to the file, or leaves it as it was: the runner reads half an entry as an error of the step.
fn add_to_github_env(client: &Client, text: &Secret<String>) -> Result<(), Failure> {
    let path = github_env(client)?;
    let append = || {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            // A pipe without a reader would block.
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open(&path)?;
        let length = file.metadata()?.len();
        file.write_all(text.expose().as_bytes())
            .inspect_err(|_| drop(file.set_len(length)))
    };
    append().map_err(|error| FileError::new(path.clone(), "written", error).into())
}

pub(super) fn formats() -> impl TypedValueParser<Value = &'static Format> {
    let names = PossibleValuesParser::new(FORMATS.iter().map(|format| format.name));
    names.try_map(|name| format::find(&name).ok_or("no such format"))
}

pub(super) fn formats_help() -> String {
    let lines: Vec<String> = FORMATS
        .iter()
        .map(|format| format!("{:<11} {}", format.name, format.summary))
        .collect();
    format!("Output format:\n{}", lines.join("\n"))
}

/// In seconds, with their unit, so that the same life is always the same request.
pub(super) fn ttl(text: &str) -> Result<String, String> {
    duration::parse(text).map(|life| format!("{}s", life.as_secs()))
}

/// Bytes of a file with a recipient's public key; a key may be shorter only.
const MAX_KEY: u64 = 4 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);
