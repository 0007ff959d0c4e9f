//! `hallpass policy explain`: the decision a broker would make, condition by condition.

use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use serde_json::json;

use super::nothing_in;
use crate::cli::inputs::{InputArgs, read_input};
use crate::cli::{Failure, Output, Terminal};
use crate::clock::{Clock as _, SystemClock};
use crate::policy::decide::{BlockOutcome, ConditionOutcome, GrantOutcome, PolicyOutcome, Verdict};
use crate::policy::{Ask, Decision, PolicySet};
use crate::provider::{Fact, Facts, Reader};
use crate::text::escape;
use crate::token::json::{self as strict, Object, Value};
use crate::yaml::duration;

/// Explains what a broker with these policies would decide, condition by condition
///
/// The job is described by the claims of its token. Nothing is verified and nothing is minted. The
/// exit code is 1 when the job would be refused. A token of `hallpass dev` is read as one of the issuer
/// that its CI stands for.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hallpass policy explain --claims claims.json shop-db/migrate
  hallpass dev token | hallpass policy explain --token - shop-db/read")]
pub(super) struct Args {
    /// The credential asked for, e.g. `shop-db/migrate`
    credential: String,
    /// A file with the claims as JSON; `-` reads standard input
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "token",
        conflicts_with = "token"
    )]
    claims: Option<PathBuf>,
    /// A file with a token, whose claims are read without verifying anything; `-` reads standard
    /// input
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,
    /// How long it is asked for, e.g. `10m`; the grant's life if not given
    #[arg(long)]
    ttl: Option<String>,
    /// A scope asked for; may be given several times. All of the grant's if not given
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    #[command(flatten)]
    inputs: InputArgs,
    /// The folder of policies
    #[arg(long, value_name = "DIR", default_value = "policies")]
    policies: PathBuf,
    /// How to write the answer
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub(super) fn run(args: &Args, out: &mut Terminal) -> Result<(), Failure> {
    let ask = ask(args)?;
    let loaded = PolicySet::load(&args.policies).map(|loaded| loaded.set);
    let set = loaded.and_then(|set| nothing_in(&args.policies, &set).map_or(Ok(set), Err));
    let set = set.map_err(|errors| {
        out.error_report(&errors.render(true));
        Failure::Findings(format!(
            "the policies in `{}` do not load",
            args.policies.display()
        ))
    })?;
    let facts = facts(&set, claims(args, out)?)?;
    let decision = set.explain(&facts, &ask, SystemClock::new().now());
    // As the broker does: what a credential takes is looked at once the job may have it.
    let checked = decision.is_permitted().then(|| set.check_inputs(&ask));
    let misfit = checked.and_then(Result::err).map(|error| error.to_string());
    let is_permitted = decision.is_permitted() && misfit.is_none();
    match args.output {
        Output::Json => {
            let facts: serde_json::Map<_, _> = facts
                .iter()
                .map(|(fact, _)| (fact.name().to_owned(), json!(shown(&facts, fact))))
                .collect();
            let decision = serde_json::to_value(&decision).map_err(Failure::local)?;
            let mut answer =
                json!({ "permitted": is_permitted, "facts": facts, "decision": decision });
            if let (Some(problem), Some(members)) = (misfit, answer.as_object_mut()) {
                members.insert("inputs".to_owned(), problem.into());
            }
            out.json(&answer.to_string());
        }
        Output::Text => print(&decision, misfit.as_deref(), &facts, out),
    }
    if is_permitted {
        return Ok(());
    }
    Err(Failure::Denied(format!(
        "`{}` would be refused",
        ask.credential
    )))
}

fn ask(args: &Args) -> Result<Ask, Failure> {
    let ttl = args.ttl.as_deref().map(duration::parse).transpose();
    let ttl = ttl.map_err(|problem| Failure::Usage(format!("`--ttl`: {problem}")))?;
    Ok(Ask {
        credential: args.credential.clone(),
        scopes: (!args.scopes.is_empty()).then(|| args.scopes.clone()),
        ttl,
        inputs: args.inputs.read()?,
    })
}

fn claims(args: &Args, out: &mut Terminal) -> Result<Object, Failure> {
    let (path, bytes) = match (&args.claims, &args.token) {
        (Some(path), _) => (path, read(path)?),
        (None, Some(path)) => {
            out.error_report("The token was only decoded: its signature, issuer, audience and times were not checked.");
            (path, payload(path, &read(path)?)?)
        }
        (None, None) => return Err(Failure::Usage("give `--claims` or `--token`".to_owned())),
    };
    strict::parse_object(&bytes, &strict::Limits::default())
        .map_err(|error| Failure::Local(format!("`{}`: {error}", path.display())))
}

/// The claims of a token, with nothing verified.
fn payload(path: &Path, token: &[u8]) -> Result<Vec<u8>, Failure> {
    let text = String::from_utf8_lossy(token);
    let mut parts = text.trim().split('.');
    let (Some(_), Some(payload), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Failure::Local(format!(
            "`{}` does not hold a signed token: three parts with dots between",
            path.display()
        )));
    };
    BASE64URL_NOPAD.decode(payload.as_bytes()).map_err(|_| {
        Failure::Local(format!(
            "the claims in `{}` are not base64url",
            path.display()
        ))
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    read_input(path, MAX_INPUT, PATIENCE)
}

fn facts(set: &PolicySet, claims: Object) -> Result<Facts, Failure> {
    let url = match claims.get("iss") {
        Some(Value::Text(url)) => url.clone(),
        Some(_) | None => return Err(Failure::Local("the claims have no `iss`".to_owned())),
    };
    let Some(reader) = set.reader_by_url(&url).or_else(|| reader_of_dev(set, &url)) else {
        let known: Vec<_> = set
            .readers()
            .iter()
            .map(|reader| format!("`{}`", reader.issuer.url))
            .collect();
        return Err(Failure::Denied(format!(
            "issuer `{}` is not trusted; the policies trust {}",
            escape(&url),
            known.join(", ")
        )));
    };
    reader
        .facts(claims)
        .map_err(|error| Failure::Denied(error.to_string()))
}

/// A token of `hallpass dev` is read as what its broker takes it for: one of the issuer that the CI
/// stands for.
#[cfg(feature = "dev")]
fn reader_of_dev<'a>(set: &'a PolicySet, url: &str) -> Option<&'a Reader> {
    let name = crate::cli::dev::issuer_at(url)?;
    set.readers()
        .iter()
        .find(|reader| reader.issuer.name == name)
}

#[cfg(not(feature = "dev"))]
const fn reader_of_dev<'a>(_: &'a PolicySet, _: &str) -> Option<&'a Reader> {
    None
}

fn print(decision: &Decision, misfit: Option<&str>, facts: &Facts, out: &mut Terminal) {
    out.line(&format!("credential  {}", escape(&decision.credential)));
    out.line(&format!("issuer      {}", decision.issuer));
    for fact in SHOWN {
        if let Some(value) = shown(facts, fact) {
            out.line(&format!("{:<11} {value}", fact.name()));
        }
    }
    out.line(&format!("policies    {}", decision.revision));
    out.line("");
    out.prose(&match misfit {
        Some(problem) => format!("DENIED: {problem}"),
        None => verdict(decision),
    });
    for tenant in &decision.tenants {
        if !tenant.holds() || decision.policies.is_empty() {
            block(&format!("tenant of {}", decision.issuer), tenant, out);
        }
    }
    for policy in &decision.policies {
        print_policy(policy, out);
    }
    for requirement in &decision.requirements {
        let title = format!(
            "requirement {} ({})",
            requirement.requirement, requirement.place
        );
        block(&title, &requirement.jobs, out);
        out.prose(&format!("    because {}", escape(&requirement.because)));
        if let Some(unless) = &requirement.unless {
            block("  unless", unless, out);
        }
    }
}

fn verdict(decision: &Decision) -> String {
    match &decision.verdict {
        Verdict::Permitted {
            policy,
            ttl,
            scopes,
        } => {
            let scopes = match scopes.join(" ") {
                scopes if scopes.is_empty() => String::new(),
                scopes => format!(", scopes {scopes}"),
            };
            format!(
                "PERMITTED by policy {policy} for {}{scopes}",
                duration::print(*ttl)
            )
        }
        Verdict::Denied(cause) => format!("DENIED: {}", cause.sentence()),
    }
}

fn print_policy(policy: &PolicyOutcome, out: &mut Terminal) {
    let grant = match policy.grant {
        GrantOutcome::None => "does not grant it",
        GrantOutcome::Covers => "grants it",
        GrantOutcome::Scopes => "grants it with fewer scopes",
        GrantOutcome::Ttl => "grants it for a shorter time",
    };
    let title = format!("policy {} ({}) {grant}", policy.policy, policy.place);
    for (index, lines) in policy.blocks.iter().enumerate() {
        block(if index == 0 { &title } else { "  or" }, lines, out);
    }
    if let Some(until) = &policy.until {
        line(until, out);
    }
}

fn block(title: &str, block: &BlockOutcome, out: &mut Terminal) {
    if !title.starts_with(' ') {
        out.line("");
    }
    out.line(title);
    for condition in &block.conditions {
        line(condition, out);
    }
}

fn line(condition: &ConditionOutcome, out: &mut Terminal) {
    let ConditionOutcome {
        fact,
        expected,
        actual,
        holds,
        hint,
        ..
    } = condition;
    if *holds {
        out.prose_under(&format!("  ✓ {fact:<16} {expected}"), HANG);
        return;
    }
    let actual = match actual {
        Some(actual) => format!("the job has {}", escape(actual)),
        None => "the job does not say".to_owned(),
    };
    let hint = hint
        .as_ref()
        .map(|hint| format!(" ({})", escape(hint)))
        .unwrap_or_default();
    let text = format!("  ✗ {fact:<16} {expected}: {actual}{hint}");
    out.prose_under(&text, HANG);
}

/// A fact's value in one line, as a policy would spell it.
fn shown(facts: &Facts, fact: Fact) -> Option<String> {
    facts.get(fact).map(ToString::to_string)
}

const SHOWN: [Fact; 5] = [
    Fact::Repository,
    Fact::Ref,
    Fact::Environment,
    Fact::Trigger,
    Fact::Actor,
];

/// Columns before what a condition wants.
const HANG: usize = 21;

/// The most that is read of a file, in bytes.
const MAX_INPUT: u64 = 64 * 1_024;
/// For a pipe whose writer does not end.
const PATIENCE: Duration = Duration::from_secs(60);
