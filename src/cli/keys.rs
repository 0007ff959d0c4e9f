//! `hallpass keys generate|show`: a new root key; what is public of the one there is.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{Failure, Output, Terminal};
use crate::audit::AuditPublicKey;
use crate::client::write_private_new;
use crate::clock::{Clock as _, SystemClock};
use crate::credential::jwt::{Keys, SigningAlgorithm};
use crate::rootkey::{RootKey, RootKeys};
use crate::secret::Secret;
use crate::text::escape;
use crate::yaml::duration;

/// Generates the root key and shows its public keys
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Generate(GenerateArgs),
    Show(ShowArgs),
}

/// Generates a root key, the broker's only secret of its own
///
/// All replicas use the same root key. `--out` writes it to a file that only its owner can read, and never
/// overwrites a file. Without `--out` it goes to standard output, but not to a terminal, whose
/// scroll-back would keep it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hallpass keys generate --out /run/secrets/hallpass-root
  hallpass keys generate |
    kubectl create secret generic hallpass-root --from-file=root=/dev/stdin")]
struct GenerateArgs {
    /// The file to create, with mode 0400
    #[arg(long, value_name = "FILE", conflicts_with = "print")]
    out: Option<PathBuf>,
    /// Print the key even to a terminal
    #[arg(long)]
    print: bool,
}

/// Shows the public keys that are derived from a root key
///
/// Pass the audit key to `hallpass audit verify --key`. The key set is what the broker publishes now, so
/// that relying parties can be configured in advance. The broker also publishes the keys of
/// `signing.also`, which are not shown.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  hallpass keys show --root-key /run/secrets/hallpass-root \\
    --issuer https://hallpass.acme.dev")]
struct ShowArgs {
    /// The root key's file, as `root_key` in the settings
    #[arg(long, value_name = "FILE")]
    root_key: PathBuf,
    /// The broker's issuer URL, as `issuer` in the settings
    #[arg(long, value_name = "URL")]
    issuer: String,
    /// As `signing.generation` in the settings
    #[arg(long, default_value_t = 1)]
    generation: u32,
    /// As `signing.algorithm` in the settings
    #[arg(long, value_enum, default_value_t = Algorithm::Es256)]
    algorithm: Algorithm,
    /// As `signing.epoch` in the settings
    #[arg(long, default_value = "7d", value_parser = duration::parse)]
    epoch: Duration,
    /// Output format
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Algorithm {
    #[value(name = "ES256")]
    Es256,
    #[value(name = "EdDSA")]
    EdDsa,
}

/// Runs the command.
///
/// # Errors
/// A file that exists already, or cannot be read or written.
pub fn run(args: Args, out: &mut Terminal) -> Result<(), Failure> {
    match args.command {
        Command::Generate(args) => generate(&args, out),
        Command::Show(args) => show(&args, out),
    }
}

fn generate(args: &GenerateArgs, out: &mut Terminal) -> Result<(), Failure> {
    if args.out.is_none() && !args.print && io::stdout().is_terminal() {
        return Err(Failure::Usage(
            "a root key does not belong on a terminal: give `--out FILE`, pipe it to where it is kept, or say `--print`"
                .to_owned(),
        ));
    }
    let key = RootKey::generate().map_err(Failure::local)?;
    let text = key.to_text();
    let Some(path) = &args.out else {
        out.verbatim(text.expose());
        return Ok(());
    };
    let shown = escape(&path.display().to_string());
    let text = Secret::new(format!("{}\n", text.expose()));
    match write_private_new(path, text.expose().as_bytes(), 0o400) {
        Ok(true) => {}
        Ok(false) => {
            return Err(Failure::Local(format!(
                "`{shown}` exists already and is not overwritten: what it protects would be lost; choose another file"
            )));
        }
        Err(error) => {
            let problem = format!("`{shown}` cannot be written: {error}");
            return Err(Failure::Local(problem));
        }
    }
    // Relative paths of the settings are relative to the settings file.
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let absolute = escape(&absolute.display().to_string());
    out.error_report(&format!(
        "wrote a new root key to `{shown}` (mode 0400). Give every replica the same one, as a secret, and name it in the settings:\n  root_key: {{ file: {absolute} }}\nKeep a copy where you keep your other secrets: without it nobody can revoke by handle or sign as this broker."
    ));
    Ok(())
}

fn show(args: &ShowArgs, out: &mut Terminal) -> Result<(), Failure> {
    let keys = RootKey::read_ring(&args.root_key).map_err(Failure::local)?;
    let roots = RootKeys::new(&args.issuer, args.generation, keys).map_err(Failure::local)?;
    let algorithm = match args.algorithm {
        Algorithm::Es256 => SigningAlgorithm::Es256,
        Algorithm::EdDsa => SigningAlgorithm::EdDsa,
    };
    let audit: Vec<_> = roots
        .members()
        .filter_map(AuditPublicKey::of)
        .map(|key| key.to_text())
        .collect();
    let now = SystemClock::new().now();
    let keys = Keys::new(roots, algorithm, args.epoch, now).map_err(Failure::local)?;
    let jwks = json!(keys.jwks(now).map_err(Failure::local)?);
    match args.output {
        Output::Text => print(&keys, &audit, &jwks, out),
        Output::Json => {
            let roots = keys.roots().members();
            let ids: Vec<_> = roots.map(|root| root.key_id().to_string()).collect();
            let shown = json!({ "root_key_ids": ids, "audit_keys": audit, "jwks": jwks });
            out.json(&format!("{shown:#}"));
        }
    }
    Ok(())
}

fn print(keys: &Keys, audit: &[String], jwks: &Value, out: &mut Terminal) {
    for (root, audit) in keys.roots().members().zip(audit) {
        let role = if root.key_id() == keys.roots().active().key_id() {
            "active"
        } else {
            "published only"
        };
        out.line(&format!("root key {} ({role})", root.key_id()));
        out.line(&format!("  audit key {audit}"));
    }
    out.line("token keys (previous, current and next epoch of each root)");
    let keys = jwks.pointer("/keys").and_then(Value::as_array);
    for key in keys.into_iter().flatten() {
        let member = |name| key.get(name).and_then(Value::as_str).unwrap_or_default();
        out.line(&format!("  {} {}", member("kid"), member("alg")));
    }
}
