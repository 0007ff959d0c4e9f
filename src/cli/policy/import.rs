//! `hallpass policy import`: policies of other systems, in our language.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand};
use serde_json::{Map, Value};

use crate::cli::inputs::read_input;
use crate::cli::{Failure, Terminal};
use crate::provider::{self, Provider};
use crate::text::escape;
use crate::yaml::duration;

mod aws;
mod condition;
mod draft;
mod octo_sts;
mod subject;
mod vault;

use draft::Draft;

/// Converts policies of Vault, OpenBao, octo-sts or AWS IAM
///
/// The text goes to standard output with a comment at each change of meaning. What has no counterpart is
/// listed at the top of the text and on standard error. A policy with a condition that hallpass does not
/// have is left out whole: without the condition it would let more jobs in. Nothing is written, and no
/// server is asked. Check the result with `hallpass policy check`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  vault read -format=json auth/jwt/role/shop > shop.json
  vault policy read shop-db > shop-db.hcl
  hallpass policy import vault shop.json shop-db.hcl > policies/shop.yaml

  hallpass policy import octo-sts --credential deploy-api deploy.sts.yaml

  aws iam get-role --role-name deploy > deploy.json
  hallpass policy import aws deploy.json")]
pub(super) struct Args {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, Subcommand)]
enum From {
    /// A role of the JWT auth method of Vault or OpenBao, with its policies and database roles
    Vault {
        /// The role as JSON, and policies (HCL or JSON) and database roles (JSON); each is named by its
        /// file
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        #[command(flatten)]
        options: Options,
    },
    /// A trust policy of octo-sts
    OctoSts {
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        options: Options,
    },
    /// A role of AWS IAM that trusts tokens of a CI
    Aws {
        /// The role as `aws iam get-role` prints it, or its trust policy
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        options: Options,
    },
}

#[derive(Debug, ClapArgs)]
struct Options {
    /// The provider of the tokens; it determines what the claims mean
    #[arg(long, value_name = "NAME", default_value = "github", value_parser = named_provider)]
    provider: &'static Provider,
    /// The issuer in your policies; default: the provider's name
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// A credential of your policies to grant, instead of what is imported
    #[arg(long, value_name = "NAME")]
    credential: Option<String>,
}

/// What the policies are made for.
struct Target {
    provider: &'static Provider,
    issuer: String,
    /// The issuer was named on the command line.
    is_named: bool,
    credential: Option<String>,
}

/// A file that was read. Its name without its ending names what is in it.
struct File {
    path: PathBuf,
    name: String,
    text: String,
}

impl File {
    fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = read_input(path, MAX_FILE, PATIENCE)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Failure::Local(format!("`{}` is not UTF-8", path.display())))?;
        let stem = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned());
        Ok(Self {
            path: path.to_owned(),
            name: stem
                .filter(|stem| stem != "-")
                .unwrap_or_else(|| "imported".to_owned()),
            text,
        })
    }

    fn path(&self) -> String {
        escape(&self.path.display().to_string())
    }
}

pub(super) fn run(args: Args, out: &mut Terminal) -> Result<(), Failure> {
    let draft = match args.from {
        From::Vault { files, options } => {
            let files: Vec<_> = files
                .iter()
                .map(|file| File::read(file))
                .collect::<Result<_, _>>()?;
            vault::draft(&files, &options.target())
        }
        From::OctoSts { file, options } => octo_sts::draft(&File::read(&file)?, &options.target()),
        From::Aws { file, options } => aws::draft(&File::read(&file)?, &options.target()),
    }?;
    print(&draft, out);
    if draft.leaves_all_out() {
        let problem = "no policy could be imported; what is printed grants nothing";
        return Err(Failure::Findings(problem.to_owned()));
    }
    Ok(())
}

fn print(draft: &Draft, out: &mut Terminal) {
    out.line(draft.text().trim_end());
    let losses = draft.losses();
    if losses.is_empty() {
        return;
    }
    out.error_report(&format!("hallpass: {} not carried over:", losses.len()));
    for loss in losses {
        out.error_report(&format!("  - {loss}"));
    }
}

impl Options {
    fn target(self) -> Target {
        Target {
            is_named: self.issuer.is_some(),
            issuer: self.issuer.unwrap_or_else(|| self.provider.name.to_owned()),
            provider: self.provider,
            credential: self.credential,
        }
    }
}

impl Target {
    /// Checks that the jobs of another system are those of the issuer that the policy is for.
    fn check_issuer(&self, found: &str) -> Result<(), String> {
        let is_usual = self.provider.usual_issuer == Some(found.trim_end_matches('/'));
        if is_usual || self.is_named {
            return Ok(());
        }
        Err(format!(
            "its issuer is `{found}`, not the usual one of `{}`; name yours with `--issuer`",
            self.provider.name
        ))
    }
}

/// The members of an object, which may be left out. Anything else may hold a condition.
fn object(value: Option<&Value>, name: &str) -> Result<Map<String, Value>, String> {
    match value {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(members)) => Ok(members.clone()),
        Some(other) => Err(format!("`{name}` is {other}, expected an object")),
    }
}

fn named_provider(name: &str) -> Result<&'static Provider, String> {
    provider::find(name).ok_or_else(|| {
        let names: Vec<_> = provider::PROVIDERS
            .iter()
            .map(|provider| provider.name)
            .collect();
        format!("expected one of: {}", names.join(", "))
    })
}

/// The life of a grant: what it was there, but at most an hour.
fn life(seconds: u64) -> Duration {
    match seconds {
        0 => USUAL,
        seconds => Duration::from_secs(seconds).min(LONGEST),
    }
}

/// What a reader must know of a shorter life.
fn life_note(seconds: u64) -> Option<String> {
    let there = Duration::from_secs(seconds);
    (there > LONGEST).then(|| {
        format!(
            "the lifetime was {}; jobs request a new credential instead",
            duration::print(there)
        )
    })
}

/// The life where the other system names none.
const USUAL: Duration = Duration::from_secs(15 * 60);
/// Longer lives are for people to decide, not for an import.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// The most that is read of a file, in bytes.
const MAX_FILE: u64 = 1_024 * 1_024;
/// For a pipe whose writer does not end.
const PATIENCE: Duration = Duration::from_secs(60);
