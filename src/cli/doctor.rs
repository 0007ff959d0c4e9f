//! `hallpass doctor`: checks a job's setup step by step.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::broker::{BrokerArgs, block_on_until_signal, conditions, failure};
use super::job::provider_of as provider_of_claims;
use super::{Failure, GREEN, Output, RED, Terminal};
use crate::client::{Ask, Client, ClientError, Environment, IdToken};
use crate::policy::decide::when_block;
use crate::provider::{self, Fact, Facts, Provider, Reader};
use crate::text::escape;
use crate::token::json::{self, Object};
use crate::wire::{Offers, Refusal};
use crate::yaml::duration;

/// Checks a job's setup step by step, and prints how to fix what fails
///
/// Prints the IDs for a policy (such as `repository_id` and `owner_id`) and a `when:` block to paste.
/// With CREDENTIAL it also says whether this job may have that credential, and if not, which conditions
/// fail. Requests no credential, leaves the job's token unused and never prints it. Exit code 4 if a
/// check fails.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hallpass doctor --broker https://hallpass.example
  hallpass doctor shop-db/migrate")]
pub struct Args {
    /// A credential that this job should get, e.g. `shop-db/migrate`
    #[arg(value_name = "CREDENTIAL", value_parser = name)]
    credential: Option<String>,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    broker: BrokerArgs,
}

fn name(text: &str) -> Result<String, ClientError> {
    Ask::new(text).map(|ask| ask.credential)
}

/// Runs the command.
///
/// # Errors
/// A check failed; what to do is printed.
pub fn run(args: &Args, out: &mut Terminal) -> Result<(), Failure> {
    let mut report = Report::default();
    block_on_until_signal(async {
        examine(args, &mut report).await;
        Ok(())
    })?;
    match args.output {
        Output::Text => report.print(out),
        Output::Json => out.json(&report.to_json().to_string()),
    }
    let failed = report.steps.iter().filter(|(_, outcome)| outcome.is_err());
    let failed: Vec<&str> = failed.map(|(check, _)| *check).collect();
    match failed.as_slice() {
        [] => Ok(()),
        [check] => Err(Failure::Findings(format!("the check `{check}` failed"))),
        several => Err(Failure::Findings(format!(
            "{} checks failed: {}",
            several.len(),
            several.join(", ")
        ))),
    }
}

async fn examine(args: &Args, report: &mut Report) {
    let client = match args.broker.client(Environment::of_this_process()) {
        Ok(client) => client,
        Err(error) => return report.note("broker address", Err(error.to_string())),
    };
    let address = format!("`{}`", escape(client.broker().as_str()));
    report.note("broker address", Ok(address));
    let answers = client.check_issuer().await;
    let answers = answers.map(|()| "answers, and calls itself by its address".to_owned());
    report.note("broker", answers.map_err(text));
    let source = client
        .source()
        .map(|source| format!("{} (`{}`): {}", source.title, source.name, source.way));
    report.note("CI", source.map_err(text));
    // Without the broker's name confirmed there is no token to look at (T-108).
    if report.steps.iter().all(|(_, outcome)| outcome.is_ok()) {
        examine_token(args, &client, report).await;
    }
}

async fn examine_token(args: &Args, client: &Client, report: &mut Report) {
    let token = match client.token().await {
        Ok(token) => token,
        Err(error) => return report.note("ID token", Err(text(error))),
    };
    report.note("ID token", Ok(format!("for {}", token.audiences())));
    report.note("clock", clock(client, &token));
    match claims(client, &token) {
        Ok(facts) => report.facts = Some(facts),
        Err(problem) => report.note("claims", Err(problem)),
    }
    let available = client.available().await.map_err(text);
    let policies = available.as_ref().map_err(Clone::clone);
    report.note("policies", policies.and_then(offered));
    if let Some(credential) = &args.credential {
        let explained = client.explain(credential).await;
        let explained = explained.map_err(text).and_then(|explanation| {
            if explanation.permitted {
                return Ok(granted(credential, available.as_ref().ok()));
            }
            let refused = explanation.refusal.as_ref().map(ToString::to_string);
            report.refusal = explanation.refusal;
            Err(format!(
                "this job may not have `{credential}`: {}",
                refused.as_deref().unwrap_or("the broker does not say why")
            ))
        });
        report.note("credential", explained);
    }
}

fn granted(credential: &str, offers: Option<&Offers>) -> String {
    let mut offers = offers.into_iter().flat_map(|offers| &offers.credentials);
    let by = offers.find(|offer| offer.credential == credential);
    let by = by.map_or(String::new(), |offer| {
        let life = duration::print(Duration::from_secs(offer.ttl));
        format!(" for {life}, by policy {}", escape(&offer.policy))
    });
    format!("this job may have `{credential}`{by}")
}

/// The token's own times show whether this machine's clock is right; the broker's leeway is 30 s.
fn clock(client: &Client, token: &IdToken) -> Result<String, String> {
    let now = client.clock().now();
    let ahead = token.issued_at().map_or(0, |issued| issued.since(now));
    if ahead > LEEWAY {
        return Err(format!(
            "the token was issued {ahead} s in the future: this machine's clock is slow, or the CI's is fast"
        ));
    }
    match token.expires_at().map(|expires| expires.since(now)) {
        None => Err("the token has no `exp`".to_owned()),
        Some(left) if left < 0 => Err(format!(
            "the token expired {} s ago: the job's token is used up by time, or this machine's clock is fast",
            left.saturating_neg()
        )),
        Some(left) => Ok(format!("fits; the token lives {left} s more")),
    }
}

fn offered(offers: &Offers) -> Result<String, String> {
    let names = offers.credentials.iter();
    let names: Vec<String> = names.map(|offer| escape(&offer.credential)).collect();
    if names.is_empty() {
        let problem = "no policy grants this job anything; the block below says what the job is";
        return Err(problem.to_owned());
    }
    Ok(format!("this job may have {}", names.join(", ")))
}

/// The job's own claims under our names. Nobody verified them: they are for the job's own eyes.
fn claims(client: &Client, token: &IdToken) -> Result<Facts, String> {
    let payload = token
        .unverified_payload()
        .ok_or("the token's claims cannot be read")?;
    let claims = json::parse_object(payload.expose(), &json::Limits::default())
        .map_err(|error| escape(&error.to_string()))?;
    // A token of SPIFFE has none.
    let issuer = claims.get("iss").and_then(json::Value::as_text);
    let issuer = issuer.unwrap_or_default().to_owned();
    let provider = provider_of(client, &claims, &issuer)
        .ok_or("the token is of no CI known here; its claims are not shown")?;
    Reader::usual(provider, &issuer)
        .facts(claims)
        .map_err(|error| escape(&error.to_string()))
}

/// By the token, or else by the CI that it came from.
fn provider_of(client: &Client, claims: &Object, issuer: &str) -> Option<&'static Provider> {
    let by_source = || client.source().ok().and_then(|source| source.provider);
    provider_of_claims(claims, issuer).or_else(|| by_source().and_then(provider::find))
}

fn text(error: ClientError) -> String {
    failure(error).to_string()
}

#[derive(Debug, Default)]
struct Report {
    /// Why the job may not have the credential.
    refusal: Option<Refusal>,
    /// Each check with what it found, or with what is wrong.
    steps: Vec<(&'static str, Result<String, String>)>,
    facts: Option<Facts>,
}

impl Report {
    fn note(&mut self, check: &'static str, outcome: Result<String, String>) {
        self.steps.push((check, outcome));
    }

    fn print(&self, out: &mut Terminal) {
        for (check, outcome) in &self.steps {
            let (style, mark, said) = match outcome {
                Ok(said) => (GREEN, "ok  ", said),
                Err(said) => (RED, "FAIL", said),
            };
            let step = format!("{style}{mark}{style:#}  {check:<14}  {said}");
            out.prose_under(&step, HANG);
        }
        let failed = self.refusal.iter();
        let failed: Vec<_> = failed
            .flat_map(|refusal| &refusal.failed_conditions)
            .collect();
        if !failed.is_empty() {
            out.line("\nThe conditions that fail:\n");
            out.table(&conditions(failed));
        }
        let Some(facts) = &self.facts else {
            return;
        };
        out.line("\nThe IDs, which stay when a repository or its owner is renamed:\n");
        for fact in IDS {
            if let Some(value) = facts.text(fact) {
                out.line(&format!("  {:<18} \"{}\"", fact.name(), escape(value)));
            }
        }
        out.line("\nThis job, as a policy would name it (leave out what may differ):\n");
        for line in when_block(facts).lines() {
            out.line(&format!("  {}", escape(line)));
        }
    }

    fn to_json(&self) -> Json {
        let step = |(check, outcome): &(&str, Result<String, String>)| {
            let (Ok(said) | Err(said)) = outcome;
            json!({ "check": check, "passed": outcome.is_ok(), "said": said })
        };
        let steps: Vec<Json> = self.steps.iter().map(step).collect();
        let ids: serde_json::Map<String, Json> = IDS
            .into_iter()
            .filter_map(|fact| {
                let value = self.facts.as_ref()?.text(fact)?;
                Some((fact.name().to_owned(), value.into()))
            })
            .collect();
        let when = self.facts.as_ref().map(when_block);
        json!({ "checks": steps, "ids": ids, "when": when, "refusal": self.refusal })
    }
}

/// What a policy pins. Names are not among them: someone else can register one again.
const IDS: [Fact; 6] = [
    Fact::TenantId,
    Fact::OwnerId,
    Fact::RepositoryId,
    Fact::ProjectId,
    Fact::ActorId,
    Fact::RunRepositoryId,
];

/// Columns before what a step says.
const HANG: usize = 22;

/// Seconds a CI's clock may be ahead, as the broker has it.
const LEEWAY: i64 = crate::token::DEFAULT_LEEWAY;
