//! `hallpass policy schema`: the JSON Schema of a policy file.

use crate::cli::{Failure, Terminal};
use crate::policy::schema;

/// Prints the JSON Schema of a policy file, for editors
///
/// An editor with a YAML language server completes keys and words from it, and underlines mistakes.
/// `hallpass policy check` finds more: a schema sees one file at a time.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  hallpass policy schema > policy.schema.json")]
pub(super) struct Args {}

pub(super) fn run(_: &Args, out: &mut Terminal) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(&schema::schema()).map_err(Failure::local)?;
    out.json(&text);
    Ok(())
}
