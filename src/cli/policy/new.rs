//! `hallpass policy new`: a policy for one job, made from the claims of its token.

use std::path::PathBuf;
use std::time::Duration;

use super::load;
use crate::cli::job::JobFile;
use crate::cli::{Failure, Terminal};
use crate::clock::{Clock as _, SystemClock};
use crate::policy::decide::{Verdict, when_block};
use crate::policy::{Ask, CredentialDefinition, LoadOptions, PolicySet, grant_to_yaml};
use crate::provider::Facts;
use crate::text::escape;
use crate::yaml::diagnostic::{Severity, nearest};
use crate::yaml::scalar::scalar;
use crate::yaml::{Diagnostics, duration};

/// Prints a policy that grants a credential to the job of a token
///
/// The policy names the job's repository by name and ID, its ref, environment and trigger. Edit it before
/// you use it: remove what may differ, and scopes that the job does not need. It is checked together with
/// the policies of the folder, and nothing is written.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hallpass policy new --from-token job.jwt shop-db/read > policies/read.yaml
  hallpass policy new --from-claims claims.json --ttl 5m deploy-api")]
pub(super) struct Args {
    /// The credential to grant, e.g. `shop-db/migrate`
    credential: String,
    /// A file with a token, whose claims are read without verifying anything; `-` reads standard
    /// input
    #[arg(
        long,
        visible_alias = "token",
        value_name = "FILE",
        conflicts_with = "from_claims"
    )]
    from_token: Option<PathBuf>,
    /// A file with the claims of a token as JSON; `-` reads standard input
    #[arg(long, visible_alias = "claims", value_name = "FILE")]
    from_claims: Option<PathBuf>,
    /// The name of the policy; default: the credential's name
    #[arg(long)]
    name: Option<String>,
    /// The lifetime to grant, e.g. `10m`; default: 15m, or the credential's `max_ttl` if shorter
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    ttl: Option<Duration>,
    /// The folder of policies
    #[arg(long, value_name = "DIR", default_value = "policies")]
    policies: PathBuf,
}

pub(super) fn run(args: &Args, out: &mut Terminal) -> Result<(), Failure> {
    let job = JobFile::of(args.from_claims.as_ref(), args.from_token.as_ref())?;
    let set = load(&args.policies, out)?;
    let credential = definition(&set, args)?;
    if let Some(ttl) = args.ttl.filter(|ttl| *ttl > credential.max_ttl) {
        return Err(Failure::Usage(format!(
            "`--ttl {}` is more than the `max_ttl` of `{}`, {}",
            duration::print(ttl),
            credential.name,
            duration::print(credential.max_ttl)
        )));
    }
    let facts = job.facts(&set, out)?;
    let name = args.name.clone().unwrap_or_else(|| free_name(&set, args));
    let text = policy(&name, &facts, credential, args.ttl);
    check(args, &text, &facts, out)?;
    out.line(text.trim_end());
    Ok(())
}

fn definition<'a>(set: &'a PolicySet, args: &Args) -> Result<&'a CredentialDefinition, Failure> {
    if let Some(credential) = set.credential(&args.credential) {
        return Ok(credential);
    }
    let names = set.credentials().map(|credential| credential.name.as_str());
    let fix = match nearest(&args.credential, names) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "define it under `credentials` first".to_owned(),
    };
    Err(Failure::Usage(format!(
        "the policies in `{}` define no credential `{}`; {fix}",
        args.policies.display(),
        escape(&args.credential)
    )))
}

/// The credential's name, with a number if a policy has that name.
fn free_name(set: &PolicySet, args: &Args) -> String {
    let name = args.credential.replace('/', "-");
    let is_free = |name: &String| set.policies().iter().all(|policy| policy.name != *name);
    let numbered = (2..=u32::MAX).map(|number| format!("{name}-{number}"));
    std::iter::once(name.clone())
        .chain(numbered)
        .find(is_free)
        .unwrap_or(name)
}

/// The text of a policy file that grants the credential to a job with these facts.
fn policy(
    name: &str,
    facts: &Facts,
    credential: &CredentialDefinition,
    ttl: Option<Duration>,
) -> String {
    let ttl = ttl.unwrap_or_else(|| USUAL_TTL.min(credential.max_ttl));
    let grant = grant_to_yaml(&credential.name, ttl, credential.scopes());
    let mut text = format!(
        "policies:\n  - name: {}\n    issuer: {}\n",
        scalar(name),
        scalar(facts.issuer())
    );
    for line in when_block(facts).lines() {
        text.extend(["    ", line, "\n"]);
    }
    text.extend(["    grant:\n      - ", &grant, "\n"]);
    text
}

/// Reads the policy together with the others. Prints what is wrong or doubtful about it, and why it
/// would still be refused.
fn check(args: &Args, text: &str, facts: &Facts, out: &mut Terminal) -> Result<(), Failure> {
    let options = LoadOptions {
        more: vec![(NEW_FILE.to_owned(), text.to_owned())],
        ..LoadOptions::default()
    };
    let loaded = PolicySet::load_with(&args.policies, &options).map_err(|errors| {
        out.error_report(&errors.render(true));
        Failure::Findings("the policy would not load".to_owned())
    })?;
    let findings = loaded
        .findings
        .iter()
        .filter(|finding| finding.place.file() == NEW_FILE && finding.severity > Severity::Note);
    let findings = Diagnostics::new(findings.cloned().collect());
    if !findings.is_empty() {
        out.error_report(&findings.render(true));
    }
    let ask = Ask {
        credential: args.credential.clone(),
        ..Ask::default()
    };
    let decision = loaded.set.explain(facts, &ask, SystemClock::new().now());
    if let Verdict::Denied(cause) = &decision.verdict {
        out.error_report(&format!(
            "With this policy the job would still be refused: {}. `hallpass policy explain` shows why.",
            cause.sentence()
        ));
    }
    Ok(())
}

/// How the new policy is named in findings.
const NEW_FILE: &str = "the new policy";

/// The life of a grant, if the credential allows it.
const USUAL_TTL: Duration = Duration::from_secs(15 * 60);
