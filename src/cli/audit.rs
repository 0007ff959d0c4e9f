//! `hallpass audit verify`: is a log whole?

use std::io;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::audit_file::{AuditFile, unreadable};
use super::{Failure, Output, Terminal};
use crate::audit::verify::{Expected, Report, Verification};
use crate::audit::{AuditPublicKey, Head};
use crate::text::{count, escape};

/// Verifies the integrity of an audit log
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Verify(VerifyArgs),
}

/// Detects changed, removed, added, reordered or truncated lines of an audit log
///
/// Checks the hash chain, the sequence numbers since each start, and the signed checkpoints. Checks
/// that every intent has exactly one outcome. Needs no secret. Prints the head of the log: store it
/// elsewhere, and pass it later as `--expect-head` to detect truncation.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hallpass audit verify audit.jsonl --key hallpass-audit-1:8u0m… \\
    --expect-head sha256:5f1c…
  hallpass audit verify audit.jsonl.1 audit.jsonl audit.jsonl.ops

Exit code 4 when something was found.")]
struct VerifyArgs {
    /// The files of one log, the oldest first; `-` reads standard input. In a folder, such as
    /// `audit.jsonl.ops`, each `.jsonl` file is a log of its own
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The public audit key, as `hallpass keys show` prints it; repeat for each root key that was used
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<String>,
    /// A head from an earlier run; the log must contain its hash; may be repeated
    #[arg(long = "expect-head", value_name = "HEAD")]
    heads: Vec<String>,
    /// The head of the log before the first file, if earlier files are stored elsewhere
    #[arg(long, value_name = "HEAD")]
    after: Option<String>,
    /// Output format
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Runs the command.
///
/// # Errors
/// Findings, an argument that cannot be read, a file that cannot be read.
pub fn run(args: Args, out: &mut Terminal) -> Result<(), Failure> {
    match args.command {
        Command::Verify(args) => verify(&args, out),
    }
}

fn verify(args: &VerifyArgs, out: &mut Terminal) -> Result<(), Failure> {
    let mut verification = Verification::new(args.expected()?);
    let (folders, files): (Vec<_>, Vec<_>) = args.files.iter().partition(|path| path.is_dir());
    for folder in folders {
        let name = folder.display().to_string();
        for path in runs(folder).map_err(|error| unreadable(&name, &error))? {
            read(&mut verification, &path)?;
            verification.end_run();
        }
    }
    for path in files {
        read(&mut verification, path)?;
    }
    let report = verification.finish();
    match args.output {
        Output::Text => print(&report, out),
        Output::Json => {
            let json = serde_json::to_string_pretty(&report);
            out.json(&json.map_err(Failure::local)?);
        }
    }
    match report.findings.len() {
        0 => Ok(()),
        found => Err(Failure::Findings(format!(
            "the log is not whole: {}",
            count(found, "finding")
        ))),
    }
}

impl VerifyArgs {
    fn expected(&self) -> Result<Expected, Failure> {
        let keys = self.keys.iter().map(|key| AuditPublicKey::parse(key));
        let keys = keys.collect::<Result<_, _>>().map_err(Failure::Usage)?;
        let heads = self.heads.iter().map(|head| parse_head(head));
        Ok(Expected {
            keys,
            heads: heads.collect::<Result<_, _>>()?,
            after: self.after.as_deref().map(parse_head).transpose()?,
            is_part: false,
        })
    }
}

fn parse_head(text: &str) -> Result<Head, Failure> {
    Head::parse(text).ok_or_else(|| {
        Failure::Usage(format!(
            "`{}` is no head, expected `sha256:` and 64 hex digits as `hallpass audit verify` prints it",
            escape(text)
        ))
    })
}

fn read(verification: &mut Verification, path: &Path) -> Result<(), Failure> {
    let file = AuditFile::open(path, "audit verify")?;
    let read = verification.read(&file.name, file.lines);
    read.map_err(|error| unreadable(&file.name, &error))
}

/// The logs in a folder, the oldest first: their names begin with the time.
fn runs(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut paths = entries.collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "jsonl")
    });
    paths.sort();
    if paths.is_empty() {
        return Err(io::Error::other("there is no `.jsonl` file in it"));
    }
    Ok(paths)
}

fn print(report: &Report, out: &mut Terminal) {
    for finding in &report.findings {
        out.prose(&finding.to_string());
    }
    out.prose(&format!(
        "{}, {}, {}",
        count(report.lines, "line"),
        count(report.boots, "start"),
        count(report.checkpoints, "signed checkpoint")
    ));
    for key in &report.keys {
        out.prose(&format!("signed by {key}"));
    }
    if let Some(head) = &report.head {
        out.prose(&format!("head {head}"));
    }
    for note in &report.notes {
        out.prose(&format!("note: {note}"));
    }
    if !report.findings.is_empty() {
        return;
    }
    match &report.proven_until {
        Some(time) if !report.proven_to_the_end => {
            out.prose(&format!("the log is whole until {time}"));
        }
        None if report.checkpoints == 0 => {
            out.prose("the log agrees with itself; nothing of it is signed yet");
        }
        Some(_) | None => out.prose("the log is whole"),
    }
}
