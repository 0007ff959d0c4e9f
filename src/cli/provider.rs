//! `hallpass provider`: what is known of each CI.

use serde::Serialize;

use super::table::table;
use super::{Failure, Output, Terminal};
use crate::provider::{self, Description, PROVIDERS, Provider};
use crate::text::escape;
use crate::yaml::diagnostic::nearest;

/// Shows how hallpass reads the tokens of each CI
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(ListArgs),
    Show(ShowArgs),
}

/// Lists the providers that an issuer of the policies can name
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  hallpass provider list")]
struct ListArgs {
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Shows one provider: how a job gets a token, its claims, and a policy to start from
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  hallpass provider show buildkite")]
struct ShowArgs {
    /// The provider, as in `issuers:`
    name: String,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Runs the command.
///
/// # Errors
/// There is no such provider.
pub fn run(args: &Args, out: &mut Terminal) -> Result<(), Failure> {
    match &args.command {
        Command::List(args) => list(args, out),
        Command::Show(args) => show(args, out),
    }
}

#[derive(Serialize)]
struct Listed {
    providers: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    name: &'static str,
    title: &'static str,
    issuer: Option<&'static str>,
}

fn list(args: &ListArgs, out: &mut Terminal) -> Result<(), Failure> {
    let providers = PROVIDERS.iter().map(|provider| Entry {
        name: provider.name,
        title: provider.title,
        issuer: provider.usual_issuer,
    });
    let listed = Listed {
        providers: providers.collect(),
    };
    match args.output {
        Output::Json => out.json(&serde_json::to_string(&listed).map_err(Failure::local)?),
        Output::Text => {
            let header = ["PROVIDER", "FOR", "ISSUER"].map(str::to_owned).to_vec();
            let rows = listed.providers.iter().map(|one| {
                let issuer = one.issuer.unwrap_or("its `url`");
                [one.name, one.title, issuer].map(str::to_owned).to_vec()
            });
            let rows: Vec<_> = std::iter::once(header).chain(rows).collect();
            out.line(&table(&rows, None));
        }
    }
    Ok(())
}

fn show(args: &ShowArgs, out: &mut Terminal) -> Result<(), Failure> {
    let provider = provider::find(&args.name).ok_or_else(|| {
        let names: Vec<_> = PROVIDERS.iter().map(|one| one.name).collect();
        let help = match nearest(&args.name, names.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("the providers are {}", names.join(", ")),
        };
        Failure::Usage(format!(
            "there is no provider `{}`; {help}",
            escape(&args.name)
        ))
    })?;
    let description = provider.description();
    match args.output {
        Output::Json => out.json(&serde_json::to_string(&description).map_err(Failure::local)?),
        Output::Text => text(provider, &description, out),
    }
    Ok(())
}

fn text(provider: &Provider, shown: &Description, out: &mut Terminal) {
    out.line(&format!("{} ({})", shown.title, shown.name));
    out.line("");
    for line in &shown.rules {
        out.line(&format!("  {line}"));
    }
    out.line(if provider.is_of_people() {
        "\nHow a person gets a credential:"
    } else {
        "\nHow a job gets a credential, with HALLPASS_BROKER set to the broker's address:"
    });
    indented(shown.token, out);
    out.line("\nPolicies to start from:");
    indented(&shown.policies, out);
    if !shown.claims.is_empty() {
        out.line("\nClaims:");
        let header = ["CLAIM", "TYPE", "KIND", "FACTS"]
            .map(str::to_owned)
            .to_vec();
        let rows = shown.claims.iter().map(|one| {
            let facts = one.facts.join(", ");
            vec![
                one.name.to_owned(),
                one.claim_type.to_owned(),
                one.kind.to_owned(),
                facts,
            ]
        });
        let rows: Vec<_> = std::iter::once(header).chain(rows).collect();
        out.line(&table(&rows, None));
    }
    if !shown.triggers.is_empty() {
        out.line("\nWhat starts a run:");
        for one in &shown.triggers {
            out.line(&format!("  {} is trigger `{}`", one.event, one.trigger));
        }
    }
    if !shown.findings.is_empty() {
        out.line("\n`policy check` finds a policy that");
        for one in &shown.findings {
            out.line(&format!("  - {}", one.shown()));
        }
    }
    out.line("\nLimits:");
    for limit in shown.limits {
        out.line(&format!("  - {limit}"));
    }
}

fn indented(text: &str, out: &mut Terminal) {
    for line in text.lines() {
        out.line(&format!("  {line}"));
    }
}
