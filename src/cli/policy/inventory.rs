//! `hallpass policy inventory`: what can be issued, who answers for it, and who gets it.

use std::path::PathBuf;

use super::load;
use super::sheet::{Changes, Format, Sheet};
use crate::cli::{Failure, Terminal};
use crate::policy::{CredentialDefinition, Grant, PolicySet};
use crate::yaml::duration;

/// Lists every credential of a folder with its owner, class and lifetime, and the policies that grant it
///
/// The last change is that of the file, by git, where the folder is in a repository.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hallpass policy inventory policies
  hallpass policy inventory --output csv policies > inventory.csv")]
pub(super) struct Args {
    /// The folder of policies
    #[arg(default_value = "policies")]
    dir: PathBuf,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Format,
}

pub(super) fn run(args: &Args, out: &mut Terminal) -> Result<(), Failure> {
    let set = load(&args.dir, out)?;
    let mut changes = Changes::of(&args.dir);
    let rows = set
        .credentials()
        .map(|credential| row(&set, credential, &mut changes));
    let sheet = Sheet {
        columns: &[
            "credential",
            "kind",
            "target",
            "class",
            "owner",
            "purpose",
            "max_ttl",
            "longest_grant",
            "policies",
            "dependents",
            "rotate_every",
            "place",
            "last_change",
        ],
        rows: rows.collect(),
    };
    sheet.print(args.output, out);
    Ok(())
}

fn row(
    set: &PolicySet,
    credential: &CredentialDefinition,
    changes: &mut Changes<'_>,
) -> Vec<String> {
    let granting: Vec<_> = set.grants_of(&credential.name).collect();
    let longest = granting
        .iter()
        .map(|(_, grant)| Grant::longest(grant))
        .max();
    let mut policies: Vec<&str> = granting
        .iter()
        .map(|(policy, _)| policy.name.as_str())
        .collect();
    policies.sort_unstable();
    policies.dedup();
    let rotate = credential.rotate.as_ref();
    let place = set.place_of(&credential.name);
    let file = place.map(|place| place.source().name()).unwrap_or_default();
    vec![
        credential.name.clone(),
        credential.kind.name.to_owned(),
        credential.target().unwrap_or_default().to_owned(),
        credential.class.name().to_owned(),
        credential.owner.clone(),
        credential.purpose.clone(),
        duration::print(credential.max_ttl),
        longest.map(duration::print).unwrap_or_default(),
        policies.join(" "),
        credential.dependents.join(" "),
        rotate
            .map(|rotate| duration::print(rotate.every))
            .unwrap_or_default(),
        place.map(ToString::to_string).unwrap_or_default(),
        changes.of_file(file),
    ]
}
