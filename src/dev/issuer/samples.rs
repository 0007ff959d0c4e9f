//! A token of each CI, as its documentation or source has it: for `hallpass dev`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{fresh_id, subject};
use crate::clock::Timestamp;
use crate::provider::{
    Audience, Fact, FactValue, Facts, How, Provider, Reader, Take, UnfitFact, Workflow,
};
use crate::token::json::{Limits, parse_object};

macro_rules! sample {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/vectors/ci-tokens/",
            $name,
            ".json"
        ))
    };
}
/// The providers with a sample, and the sample.
const SAMPLES: &[(&str, &str)] = &[
    ("forgejo", sample!("forgejo-actions")),
    ("jenkins", sample!("jenkins-oidc-provider")),
    ("circleci", sample!("circleci")),
    ("buildkite", sample!("buildkite.immutable-sub")),
    ("azure-devops", sample!("azure-devops")),
    ("bitbucket", sample!("bitbucket-pipelines")),
    ("kubernetes", sample!("kubernetes-serviceaccount")),
    ("google", sample!("google-compute-identity")),
    ("aws", sample!("aws-iam-outbound")),
    ("spiffe", sample!("spiffe-jwt-svid")),
    ("hcp-terraform", sample!("hcp-terraform")),
    ("spacelift", sample!("spacelift")),
    ("semaphore", sample!("semaphore")),
    ("codefresh", sample!("codefresh")),
    ("bitrise", sample!("bitrise")),
    ("vercel", sample!("vercel")),
    ("fly", sample!("fly-io")),
    ("buddy", sample!("buddy")),
];

/// The names of providers that have a sample.
pub fn sampled() -> impl Iterator<Item = &'static str> {
    SAMPLES.iter().map(|(name, _)| *name)
}

/// The issuer of the provider's sample, which SPIFFE's has not.
#[must_use]
pub fn sample_issuer(provider: &Provider) -> Option<String> {
    let (_, text) = SAMPLES.iter().find(|(name, _)| *name == provider.name)?;
    let sample: Value = serde_json::from_str(text).ok()?;
    sample.get("iss")?.as_str().map(str::to_owned)
}

/// The claims of the provider's sample job, with these facts in place of its own; `None`: there is no
/// sample.
///
/// # Errors
/// No token of the provider describes such a job.
#[must_use]
pub fn sample_claims(
    provider: &'static Provider,
    issuer: &str,
    audience: &str,
    now: Timestamp,
    given: &BTreeMap<Fact, FactValue>,
) -> Option<Result<Map<String, Value>, UnfitFact>> {
    let (_, text) = SAMPLES.iter().find(|(name, _)| *name == provider.name)?;
    let Ok(Value::Object(mut sample)) = serde_json::from_str(text) else {
        return None;
    };
    let reader = Reader::usual(provider, issuer);
    // What is read from `iss` is of this issuer.
    if sample.contains_key("iss") {
        sample.insert("iss".to_owned(), issuer.into());
    }
    for agreement in provider.agreements {
        if agreement.with == "iss" && agreement.shape.part(issuer).is_some() {
            let part = agreement.shape.part(issuer).unwrap_or_default();
            sample.insert(agreement.claim.to_owned(), part.into());
        }
    }
    let bytes = Value::Object(sample.clone()).to_string();
    let object = parse_object(bytes.as_bytes(), &Limits::default()).ok()?;
    let own = reader.facts(object).ok()?;
    let mut facts: BTreeMap<Fact, FactValue> = own
        .iter()
        .map(|(fact, value)| (fact, value.clone()))
        .collect();
    for fact in given.keys() {
        forget(provider, *fact, &mut facts);
    }
    facts.extend(given.clone());
    if let Some(entry) = moved(&own, &facts).filter(|_| !given.contains_key(&Fact::EntryWorkflow)) {
        forget(provider, Fact::EntryWorkflow, &mut facts);
        facts.insert(Fact::EntryWorkflow, FactValue::Workflow(entry));
    }
    let claims = match reader.claims(&facts) {
        Ok(claims) => claims,
        Err(error) => return Some(Err(error)),
    };
    let is_fact = |name: &str| !provider.facts_of_claim(name).is_empty();
    let mut all: Map<String, Value> = sample
        .into_iter()
        .filter(|(name, _)| !is_fact(name) || name == "iss")
        .collect();
    for (name, value) in claims {
        merge(&mut all, name, value);
    }
    subject::write(provider.name, &mut all, &facts);
    let lifetime = |all: &Map<String, Value>| {
        let at = |name: &str| all.get(name).and_then(Value::as_i64);
        at("exp")?.checked_sub(at("iat")?)
    };
    let lives = lifetime(&all).unwrap_or(300);
    for (name, after) in [("iat", 0), ("nbf", 0), ("exp", lives)] {
        if all.contains_key(name) {
            all.insert(name.to_owned(), now.plus(after).unix().into());
        }
    }
    if all.contains_key("jti") {
        all.insert("jti".to_owned(), fresh_id().into());
    }
    let wanted = match (provider.rules.audience, all.get("aud")) {
        (Audience::Beside, Some(Value::Array(audiences))) => {
            let first = audiences.first().cloned();
            Value::Array(first.into_iter().chain([audience.into()]).collect())
        }
        (Audience::Own, Some(Value::Array(_))) => vec![audience].into(),
        (Audience::Own | Audience::Beside, _) => audience.into(),
        (fixed, _) => fixed.fixed(issuer).unwrap_or_default().into(),
    };
    all.insert("aud".to_owned(), wanted);
    Some(Ok(all))
}

/// Leaves out the facts that follow from the same claims as this one.
fn forget(provider: &Provider, fact: Fact, facts: &mut BTreeMap<Fact, FactValue>) {
    let Some((line, reading)) = provider.reading(fact) else {
        return;
    };
    let claims = reading.claims(line.name);
    // Of a claim that is given whole, nothing of the sample is left.
    let is_whole = matches!(reading.how, How::Sent);
    for (line, other) in provider.readings() {
        let follows = match other.how {
            How::Ways(ways) => {
                is_whole || ways.iter().all(|way| !matches!(way.take, Take::Part(_)))
            }
            How::Differs(_) => true,
            How::Sent => is_whole,
            How::Below(_) => false,
        };
        let shares = other
            .claims(line.name)
            .iter()
            .any(|name| claims.contains(name));
        if follows && shares {
            facts.remove(&other.fact);
        }
    }
}

/// The file that the run started from, in the repository and at the ref that the job has now.
fn moved(own: &Facts, facts: &BTreeMap<Fact, FactValue>) -> Option<Workflow> {
    let Some(FactValue::Workflow(entry)) = own.get(Fact::EntryWorkflow) else {
        return None;
    };
    let text = |fact: Fact| facts.get(&fact).map(ToString::to_string);
    let file = entry.path.strip_prefix(own.text(Fact::Repository)?)?;
    let path = format!("{}{file}", text(Fact::Repository)?);
    let r#ref = text(Fact::Ref)?;
    Some(Workflow::parse(&format!("{path}@{ref}")))
}

/// Objects are joined, other values replaced.
fn merge(into: &mut Map<String, Value>, name: String, value: Value) {
    match (into.get_mut(&name), value) {
        (Some(Value::Object(known)), Value::Object(members)) => {
            for (name, value) in members {
                merge(known, name, value);
            }
        }
        (_, value) => {
            into.insert(name, value);
        }
    }
}
