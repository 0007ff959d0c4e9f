//! `hallpass policy who-can`: the policies that grant a credential, and their conditions.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::load;
use super::sheet::{Changes, Format, Sheet};
use crate::cli::{Failure, Terminal};
use crate::policy::PolicySet;
use crate::text::escape;
use crate::yaml::diagnostic::nearest;
use crate::yaml::duration;

/// Lists the policies that grant a credential, with their conditions, lifetimes and scopes
///
/// The requirements on the credential are part of the answer: a job must also meet them. The last change
/// is that of the file, by git, where the folder is in a repository. Exit code 2 if there is no such
/// credential.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  hallpass policy who-can shop-db/migrate")]
pub(super) struct Args {
    /// The credential, e.g. `shop-db/migrate`
    credential: String,
    /// The folder of policies
    #[arg(long, value_name = "DIR", default_value = "policies")]
    policies: PathBuf,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Format,
}

pub(super) fn run(args: &Args, out: &mut Terminal) -> Result<(), Failure> {
    let set = load(&args.policies, out)?;
    let Some(credential) = set.credential(&args.credential) else {
        let names = set.credentials().map(|one| one.name.as_str());
        let fix = match nearest(&args.credential, names) {
            Some(meant) => format!("; did you mean `{meant}`?"),
            None => String::new(),
        };
        let name = escape(&args.credential);
        return Err(Failure::Usage(format!("no credential `{name}`{fix}")));
    };
    let sheet = sheet(&set, args);
    let requirements: Vec<_> = set.requirements_on(credential).collect();
    match args.output {
        Format::Json => {
            let requirements = requirements.iter().map(|one| {
                json!({
                    "requirement": one.name,
                    "jobs": one.jobs.to_yaml(),
                    "unless": one.unless.as_ref().map(crate::policy::condition::Block::to_yaml),
                    "because": one.because,
                    "place": one.place.to_string(),
                })
            });
            let answer = json!({
                "credential": credential.name,
                "class": credential.class.name(),
                "owner": credential.owner,
                "purpose": credential.purpose,
                "grants": Value::Array(sheet.to_json()),
                "requirements": requirements.collect::<Vec<_>>(),
            });
            out.json(&answer.to_string());
        }
        Format::Csv | Format::Markdown => sheet.print(args.output, out),
        Format::Text => {
            let (class, owner) = (credential.class.name(), escape(&credential.owner));
            out.prose(&format!(
                "{}: {} ({class}, owner {owner})",
                credential.name,
                escape(&credential.purpose)
            ));
            if sheet.rows.is_empty() {
                out.line("no policy grants it");
            }
            for row in &sheet.rows {
                let mut fields = sheet
                    .columns
                    .iter()
                    .zip(row)
                    .filter(|(_, cell)| !cell.is_empty());
                let heading = fields
                    .next()
                    .map(|(_, name)| name.as_str())
                    .unwrap_or_default();
                out.line("");
                out.line(&format!("policy {heading}"));
                for (name, cell) in fields {
                    let name = name.replace('_', " ");
                    out.prose_under(&format!("  {name:<12} {}", escape(cell)), HANG);
                }
            }
            for requirement in requirements {
                out.line("");
                out.line(&format!("requirement {}", requirement.name));
                out.prose_under(
                    &format!("  jobs         {}", requirement.jobs.to_yaml()),
                    HANG,
                );
                if let Some(unless) = &requirement.unless {
                    out.prose_under(&format!("  unless       {}", unless.to_yaml()), HANG);
                }
                out.prose_under(
                    &format!("  because      {}", escape(&requirement.because)),
                    HANG,
                );
            }
        }
    }
    Ok(())
}

fn sheet(set: &PolicySet, args: &Args) -> Sheet {
    let mut changes = Changes::of(&args.policies);
    let mut rows = Vec::new();
    for (policy, grant) in set.grants_of(&args.credential) {
        for block in &policy.when {
            rows.push(vec![
                policy.name.clone(),
                policy.issuer.clone(),
                block.to_yaml(),
                policy
                    .within
                    .as_ref()
                    .map(|limits| limits.to_yaml())
                    .unwrap_or_default(),
                duration::print(grant.longest()),
                grant.scopes.join(" "),
                policy
                    .until
                    .map(|until| until.to_string())
                    .unwrap_or_default(),
                policy.place.to_string(),
                changes.of_file(policy.place.source().name()),
            ]);
        }
    }
    rows.sort();
    Sheet {
        columns: &[
            "policy",
            "issuer",
            "when",
            "team_jobs",
            "ttl",
            "scopes",
            "until",
            "place",
            "last_change",
        ],
        rows,
    }
}

/// Columns before a value.
const HANG: usize = 15;
