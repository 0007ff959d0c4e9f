//! `hallpass policy explain`: the decision a broker would make, condition by condition.

use std::path::PathBuf;

use serde_json::json;

use super::load;
use crate::cli::inputs::InputArgs;
use crate::cli::job::JobFile;
use crate::cli::{Failure, Output, Terminal};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::policy::decide::{BlockOutcome, ConditionOutcome, GrantOutcome, PolicyOutcome, Verdict};
use crate::policy::{Ask, Decision, PolicySet, examples};
use crate::provider::{Fact, Facts};
use crate::text::escape;
use crate::yaml::duration;

/// Explains what a broker with these policies would decide, condition by condition
///
/// The claims of a token describe the job. Nothing is verified and no credential is issued. Exit code 1
/// if the job would be denied. A token of `hallpass dev` counts as a token of the issuer that its CI
/// simulates.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hallpass policy explain --claims claims.json shop-db/migrate
  hallpass dev token | hallpass policy explain --token - shop-db/read")]
pub(super) struct Args {
    /// The requested credential, e.g. `shop-db/migrate`
    credential: String,
    /// A file with the claims as JSON; `-` reads standard input
    #[arg(
        long,
        visible_alias = "from-claims",
        value_name = "FILE",
        conflicts_with = "token"
    )]
    claims: Option<PathBuf>,
    /// A file with a token, whose claims are read without verifying anything; `-` reads standard
    /// input
    #[arg(long, visible_alias = "from-token", value_name = "FILE")]
    token: Option<PathBuf>,
    /// The requested lifetime, e.g. `10m`; default: the grant's `ttl`
    #[arg(long)]
    ttl: Option<String>,
    /// A requested scope; may be repeated; default: all scopes of the grant
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    #[command(flatten)]
    inputs: InputArgs,
    /// The folder of policies
    #[arg(long, value_name = "DIR", default_value = "policies")]
    policies: PathBuf,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub(super) fn run(args: &Args, out: &mut Terminal) -> Result<(), Failure> {
    let job = JobFile::of(args.claims.as_ref(), args.token.as_ref())?;
    let ask = ask(args)?;
    let set = load(&args.policies, out)?;
    let facts = job.facts(&set, out)?;
    let now = SystemClock::new().now();
    let decision = set.explain(&facts, &ask, now);
    // As the broker does: what a credential takes is looked at once the job may have it.
    let checked = decision.is_permitted().then(|| set.check_inputs(&ask));
    let misfit = checked.and_then(Result::err).map(|error| error.to_string());
    let is_permitted = decision.is_permitted() && misfit.is_none();
    let others = others(&set, &decision, &facts, now);
    let change = if is_permitted {
        None
    } else {
        examples::smallest_change(&set, &facts, &ask, now)
    };
    match args.output {
        Output::Json => {
            let facts: serde_json::Map<_, _> = facts
                .iter()
                .map(|(fact, _)| (fact.name().to_owned(), json!(shown(&facts, fact))))
                .collect();
            let decision = serde_json::to_value(&decision).map_err(Failure::local)?;
            let mut answer =
                json!({ "permitted": is_permitted, "facts": facts, "decision": decision });
            if let Some(members) = answer.as_object_mut() {
                members.extend(misfit.map(|problem| ("inputs".to_owned(), problem.into())));
                let others = others
                    .iter()
                    .map(|one| json!({ "policy": one.0, "failed": one.1 }));
                members.insert("other_policies".to_owned(), others.collect());
                let change = change.map(|change| ("would_be_granted".to_owned(), json!(change)));
                members.extend(change);
            }
            out.json(&answer.to_string());
        }
        Output::Text => {
            print(&decision, misfit.as_deref(), &facts, out);
            if !others.is_empty() {
                out.line("");
                out.line("policies for other jobs that grant it, the nearest first");
            }
            for (policy, failed) in &others {
                out.prose_under(&format!("  {policy}: fails {}", failed.join(", ")), 4);
            }
            if let Some(change) = change {
                out.line("");
                out.line("would be granted with");
                for line in change {
                    out.line(&format!("  {}", escape(&line)));
                }
            }
        }
    }
    if is_permitted {
        return Ok(());
    }
    Err(Failure::Denied(format!(
        "`{}` would be denied",
        ask.credential
    )))
}

/// The policies that grant the credential and that the decision did not consider, since they are for
/// other repositories: each with the lines that fail.
fn others(
    set: &PolicySet,
    decision: &Decision,
    facts: &Facts,
    now: Timestamp,
) -> Vec<(String, Vec<String>)> {
    let considered = |name: &str| decision.policies.iter().any(|one| one.policy == name);
    let nearest = set.nearest(facts, &decision.credential, now).into_iter();
    let others = nearest
        .filter(|one| !considered(&one.policy.name))
        .take(MOST_OTHERS);
    others
        .map(|one| {
            // A policy and its team can both have a condition on one fact.
            let mut failed = Vec::new();
            for line in one.failed {
                if !failed.contains(&line.name) {
                    failed.push(line.name);
                }
            }
            (one.policy.name.clone(), failed)
        })
        .collect()
}

fn ask(args: &Args) -> Result<Ask, Failure> {
    let ttl = args.ttl.as_deref().map(duration::parse).transpose();
    let ttl = ttl.map_err(|problem| Failure::Usage(format!("`--ttl`: {problem}")))?;
    Ok(Ask {
        credential: args.credential.clone(),
        scopes: (!args.scopes.is_empty()).then(|| args.scopes.clone()),
        ttl,
        inputs: args.inputs.read()?,
        ..Ask::default()
    })
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
    if let Some(shadow) = &decision.shadow {
        out.prose(&format!("in shadow: {shadow}"));
    }
    for tenant in &decision.tenants {
        if !tenant.holds() || decision.policies.is_empty() {
            block(&format!("tenant of {}", decision.issuer), tenant, out);
        }
    }
    for policy in &decision.policies {
        print_policy(policy, out);
    }
    for requirement in &decision.requirements {
        let shadow = in_shadow(requirement.shadow_until.as_deref());
        let title = format!(
            "requirement {} ({}){shadow}",
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
    let shadow = in_shadow(policy.shadow_until.as_deref());
    let title = format!(
        "policy {} ({}) {grant}{shadow}",
        policy.policy, policy.place
    );
    for (index, lines) in policy.blocks.iter().enumerate() {
        block(if index == 0 { &title } else { "  or" }, lines, out);
    }
    if let Some(until) = &policy.until {
        line(until, out);
    }
}

/// What follows the title of an entry with `shadow_until`.
fn in_shadow(until: Option<&str>) -> String {
    until.map_or_else(String::new, |until| {
        format!(", without effect (shadow_until {until})")
    })
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

/// Policies for other jobs that are shown.
const MOST_OTHERS: usize = 16;
/// Columns before what a condition wants.
const HANG: usize = 21;
