//! Each claim of each sample token, changed, left out or of another type, through the real router.

use std::collections::BTreeMap;

use hallpass::provider::{Claim, ClaimType, Fact, FactValue};
use serde_json::{Value, json};

use super::every_provider::{Sample, broker_of};
use crate::provider::{object, reader};
use crate::support::TestBroker;
use crate::support::tokens::TestKey;

/// Another value of the same type.
fn another(claim_type: ClaimType, value: &Value) -> Value {
    match (claim_type, value) {
        (ClaimType::FlagText, Value::String(flag)) => json!((flag != "true").to_string()),
        (_, Value::String(text)) => json!(format!("{text}x")),
        (_, Value::Bool(flag)) => json!(!flag),
        (_, Value::Number(_)) => json!(7),
        (_, Value::Array(_)) => json!(["other"]),
        (_, Value::Object(_) | Value::Null) => json!({}),
    }
}

/// A value that the claim cannot have.
fn of_another_type(claim_type: ClaimType) -> Value {
    match claim_type {
        ClaimType::Number => json!("7"),
        ClaimType::Boolean => json!("true"),
        ClaimType::FlagText => json!(true),
        ClaimType::Text | ClaimType::FreeText | ClaimType::List | ClaimType::Object => json!(7),
    }
}

/// The facts that a policy of the sample names, or none where a claim is refused.
fn named_facts(sample: &Sample, claims: &Value) -> Option<BTreeMap<Fact, FactValue>> {
    let reader = reader(sample.provider.name, &sample.url());
    let facts = reader.facts(object(claims)).ok()?;
    let is_named = |fact: Fact| sample.expected.get(fact.name()).is_some() || fact == Fact::Trigger;
    let facts = facts
        .iter()
        .filter(|(fact, _)| is_named(*fact) && *fact != Fact::BaseRef);
    Some(facts.map(|(fact, value)| (fact, value.clone())).collect())
}

fn with(mut claims: Value, line: &Claim, value: Option<Value>) -> Value {
    let pointer = line.pointer();
    if let Some(value) = value {
        *claims.pointer_mut(&pointer).unwrap() = value;
    } else {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let name = name.replace("~1", "/").replace("~0", "~");
        let parent = claims.pointer_mut(parent).unwrap();
        parent.as_object_mut().unwrap().remove(&name);
    }
    claims
}

/// T-430: a token gets its credential only with each claim that a fact is read from as it was signed for
/// the job: another value, none at all or one of another type is refused.
#[tokio::test]
async fn each_claim_of_each_provider_counts() {
    let samples = Sample::all();
    let (broker, key): (TestBroker, TestKey) = broker_of(&samples).await;
    let mut counted = 0;
    for sample in &samples {
        let usual = named_facts(sample, &sample.claims("usual"));
        for line in sample.provider.claims {
            let (name, claim) = (&sample.name, line.name);
            let value = sample.claims("").pointer(&line.pointer()).cloned();
            let value = value.filter(|value| !value.is_null());
            // Who signs is no matter of the reader.
            let Some(value) = value.filter(|_| claim != "iss") else {
                continue;
            };
            let wrong = Some(of_another_type(line.claim_type));
            let wrong = with(sample.claims(&format!("wrong {claim}")), line, wrong);
            let answer = broker.exchange(&key.token(&wrong), "api").await;
            // The subject of SPIFFE says who signs.
            let is_issuer = sample.provider.name == "spiffe" && claim == "sub";
            let is_subject = claim == "sub" && !is_issuer;
            let expected = match (is_issuer, is_subject) {
                (true, _) => "token.issuer",
                (_, true) => "token.subject",
                (false, false) => "token.claim",
            };
            assert_eq!(answer.reason(), expected, "{name}: {claim}");
            for (how, value) in [
                ("other", Some(another(line.claim_type, &value))),
                ("no", None),
            ] {
                let changed = with(sample.claims(&format!("{how} {claim}")), line, value);
                let facts = named_facts(sample, &changed);
                let answer = broker.exchange(&key.token(&changed), "api").await;
                if claim == "sub" && how == "no" {
                    assert_eq!(answer.reason(), expected, "{name}: {how} {claim}");
                } else if facts == usual {
                    assert_eq!(answer.status, 200, "{name}: {how} {claim}: {}", answer.body);
                } else {
                    let reason = answer.reason();
                    let is_denied = reason.starts_with("policy.") || reason == "token.claim";
                    assert!(is_denied, "{name}: {how} {claim}: {reason}");
                    counted += 1;
                }
            }
        }
    }
    assert!(counted > 400, "{counted}");
}
