//! `hallpass policy explain`: the decision a broker would make, condition by condition.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::load;
use crate::cli::inputs::InputArgs;
use crate::cli::job::refuse_token;
use crate::cli::{Failure, Output, Terminal};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::policy::decide::{BlockOutcome, ConditionOutcome, GrantOutcome, PolicyOutcome, Verdict};
use crate::policy::{Ask, Decision, Inputs, PolicySet, examples};
use crate::provider::{Fact, Facts};
use crate::text::{escape, escape_up_to};
use crate::yaml::duration;

mod source;

use source::{Job, SourceArgs};

/// Explains what a broker with these policies would decide, condition by condition
///
/// The job is described by its facts, by the claims of its token, by the token itself, or by a decision
/// in an audit file. No credential is issued. Exit code 1 if the job would be denied. A token of
/// `hallpass dev` counts as a token of the issuer that its CI simulates, and is not verified.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hallpass policy explain --claims claims.json shop-db/migrate
  hallpass policy explain --facts job.yaml --ttl 10m shop-db/migrate
  hallpass policy explain --token job.jwt --broker https://hallpass.example \\
    shop-db/read
  hallpass policy explain --audit audit.jsonl --decision req_1euvop0dhmni
  hallpass dev token | hallpass policy explain --token - shop-db/read")]
pub(super) struct Args {
    /// The requested credential, e.g. `shop-db/migrate`; default: that of the decision
    credential: Option<String>,
    #[command(flatten)]
    source: SourceArgs,
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
    if let Some(credential) = &args.credential {
        refuse_token(credential)?;
    } else if !args.source.is_audit() {
        return Err(Failure::Usage(
            "which credential? Give its name, such as `shop-db/migrate`".to_owned(),
        ));
    }
    let asked = ask(args)?;
    let set = load(&args.policies, out)?;
    let job = args.source.job(&set, out)?;
    let (ask, now) = match &job.recorded {
        Some(recorded) => (asked.over(&recorded.ask), recorded.decision.time),
        None => (asked.over(&Ask::default()), SystemClock::new().now()),
    };
    let decision = set.explain(&job.facts, &ask, now);
    // As the broker does: what a credential takes is looked at once the job may have it.
    let checked = decision.is_permitted().then(|| set.check_inputs(&ask));
    let misfit = checked.and_then(Result::err).map(|error| error.to_string());
    let is_permitted = decision.is_permitted() && misfit.is_none();
    let explained = Explained {
        others: others(&set, &decision, &job.facts, now),
        change: if is_permitted {
            None
        } else {
            examples::smallest_change(&set, &job.facts, &ask, now)
        },
        decision,
        misfit,
        job,
    };
    match args.output {
        Output::Json => out.json(&explained.to_json()?.to_string()),
        Output::Text => explained.print(out),
    }
    if is_permitted {
        return Ok(());
    }
    Err(Failure::Denied(format!(
        "`{}` would be denied",
        escape(&ask.credential)
    )))
}

/// What the command line asks for; the rest is that of the recorded request.
struct Asked {
    credential: Option<String>,
    ttl: Option<Duration>,
    scopes: Option<Vec<String>>,
    inputs: Inputs,
}

impl Asked {
    fn over(self, recorded: &Ask) -> Ask {
        let inputs = if self.inputs.is_empty() {
            recorded.inputs.clone()
        } else {
            self.inputs
        };
        Ask {
            credential: self
                .credential
                .unwrap_or_else(|| recorded.credential.clone()),
            ttl: self.ttl.or(recorded.ttl),
            scopes: self.scopes.or_else(|| recorded.scopes.clone()),
            inputs,
            ..Ask::default()
        }
    }
}

/// A decision and all that is shown about it.
struct Explained {
    decision: Decision,
    /// Why the inputs do not fit, if the job may have the credential.
    misfit: Option<String>,
    job: Job,
    /// Policies for other jobs, each with the lines that fail.
    others: Vec<(String, Vec<String>)>,
    change: Option<Vec<String>>,
}

impl Explained {
    fn to_json(&self) -> Result<Value, Failure> {
        let facts = &self.job.facts;
        let of_fact = |fact: Fact| (fact.name().to_owned(), json!(shown(facts, fact)));
        let facts: Map<_, _> = facts.iter().map(|(fact, _)| of_fact(fact)).collect();
        let decision = serde_json::to_value(&self.decision).map_err(Failure::local)?;
        let others = self.others.iter();
        let others = others.map(|one| json!({ "policy": one.0, "failed": one.1 }));
        let mut answer = json!({
            "permitted": self.decision.is_permitted() && self.misfit.is_none(),
            "from": self.job.from,
            "verified": self.job.is_verified,
            "facts": facts,
            "decision": decision,
            "other_policies": others.collect::<Vec<_>>(),
        });
        let Some(members) = answer.as_object_mut() else {
            return Ok(answer);
        };
        let mut add = |name: &str, value: Option<Value>| {
            members.extend(value.map(|value| (name.to_owned(), value)));
        };
        add("inputs", self.misfit.as_deref().map(Value::from));
        add(
            "would_be_granted",
            self.change.as_ref().map(|change| json!(change)),
        );
        let warnings = &self.job.warnings;
        add("warnings", (!warnings.is_empty()).then(|| json!(warnings)));
        let recorded = self.job.recorded.as_ref().map(|recorded| {
            json!({
                "file": recorded.place.file,
                "line": recorded.place.line,
                "time": recorded.decision.time.to_string(),
                "request_id": recorded.decision.request_id,
                "revision": recorded.decision.revision,
                "decision": recorded.sentence(),
            })
        });
        add("recorded", recorded);
        Ok(answer)
    }

    fn print(&self, out: &mut Terminal) {
        print(&self.decision, self.misfit.as_deref(), &self.job, out);
        if !self.others.is_empty() {
            out.line("");
            out.line("policies for other jobs that grant it, the nearest first");
        }
        for (policy, failed) in &self.others {
            out.prose_under(&format!("  {policy}: fails {}", failed.join(", ")), 4);
        }
        if let Some(change) = &self.change {
            out.line("");
            out.line("would be granted with");
            for line in change {
                out.line(&format!("  {}", escape(line)));
            }
        }
    }
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

fn ask(args: &Args) -> Result<Asked, Failure> {
    let ttl = args.ttl.as_deref().map(duration::parse).transpose();
    Ok(Asked {
        credential: args.credential.clone(),
        ttl: ttl.map_err(|problem| Failure::Usage(format!("`--ttl`: {problem}")))?,
        scopes: (!args.scopes.is_empty()).then(|| args.scopes.clone()),
        inputs: args.inputs.read()?,
    })
}

fn print(decision: &Decision, misfit: Option<&str>, job: &Job, out: &mut Terminal) {
    out.line(&format!("credential  {}", escape(&decision.credential)));
    out.line(&format!("issuer      {}", decision.issuer));
    for fact in SHOWN {
        if let Some(value) = shown(&job.facts, fact) {
            out.line(&format!("{:<11} {value}", fact.name()));
        }
    }
    if job.is_verified {
        out.line("token       verified: signature, issuer, audience and times");
    }
    out.line(&format!("policies    {}", decision.revision));
    if let Some(recorded) = &job.recorded {
        let (place, time) = (&recorded.place, recorded.decision.time);
        out.line(&format!("recorded    {place}, at {time}"));
        out.prose_under(&format!("            {}", escape(&recorded.sentence())), 12);
    }
    for warning in &job.warnings {
        out.prose(&format!("note: {}", escape_up_to(warning, 1_024)));
    }
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
        let holds = match (requirement.holds, requirement.jobs.holds()) {
            (true, true) => "met",
            (true, false) => "not met, but the job is exempt",
            (false, _) => "not met",
        };
        let title = format!(
            "requirement {} ({}) {holds}{shadow}",
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
