//! `hallpass policy schema`: the JSON Schema of a policy file, or of a test file.

use crate::cli::{Failure, Terminal};
use crate::policy::schema;

/// Prints the JSON Schema of a policy file, for editors
///
/// An editor with a YAML language server completes keys and words from it, and underlines mistakes.
/// `hallpass policy check` finds more: a schema sees one file at a time.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hallpass policy schema > policy.schema.json
  hallpass policy schema --tests > policy-test.schema.json")]
pub(super) struct Args {
    /// The schema of a test file, `*.test.yaml`
    #[arg(long)]
    tests: bool,
}

pub(super) fn run(args: &Args, out: &mut Terminal) -> Result<(), Failure> {
    let schema = if args.tests {
        schema::test_schema()
    } else {
        schema::schema()
    };
    let text = serde_json::to_string_pretty(&schema).map_err(Failure::local)?;
    out.json(&text);
    Ok(())
}
