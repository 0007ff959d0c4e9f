//! Facts written as claims are read back as the same facts: `dev token` and `dev claims` describe exactly
//! the job that they are given.

use std::collections::BTreeMap;

use hallpass::provider::{
    ClaimMap, ClaimType, Fact, FactValue, Facts, MappedClaim, PROVIDERS, Provider, Reader,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{object, reader, with_claim};

fn all(facts: &Facts) -> BTreeMap<Fact, FactValue> {
    facts
        .iter()
        .map(|(fact, value)| (fact, value.clone()))
        .collect()
}

/// Values of claims, also such as no CI sends.
fn value(claim_type: ClaimType) -> BoxedStrategy<Option<Value>> {
    let commit = "5f0c1d9e7a2b48c36d41f8e90ab7c2d35e6f1a04";
    let texts = prop::sample::select(vec![
        String::new(),
        "acme/shop".to_owned(),
        "main".to_owned(),
        "branch".to_owned(),
        "tag".to_owned(),
        "push".to_owned(),
        "pull_request".to_owned(),
        "merge_request_event".to_owned(),
        "github-hosted".to_owned(),
        "gitlab-hosted".to_owned(),
        "self-hosted".to_owned(),
        "hosted".to_owned(),
        "refs/heads/main".to_owned(),
        "refs/heads/".to_owned(),
        "refs/tags/v4".to_owned(),
        "refs/pull/7/merge".to_owned(),
        "refs/merge-requests/7/head".to_owned(),
        "refs/notes/x".to_owned(),
        "acme/shop/.github/workflows/a.yml@refs/heads/main".to_owned(),
        "acme/shop/.github/workflows/a.yml@refs/heads/x@refs/tags/v4".to_owned(),
        format!("gitlab.com/acme/shop//a.yml@{commit}"),
        "a@b".to_owned(),
        "@refs/".to_owned(),
        "1".to_owned(),
        "org/1/project/2/user/3".to_owned(),
        "org/1/project/2/user/3/vcs-origin/x/y".to_owned(),
        "github.com/acme/shop".to_owned(),
        "p://acme/Payments/deploy".to_owned(),
        "sc://acme/Payments/prod".to_owned(),
        "spiffe://acme.example/ci".to_owned(),
        "spiffe://acme.example".to_owned(),
        "pull-request".to_owned(),
        "pipeline_job".to_owned(),
        "debug_job".to_owned(),
        "h:f-i:f".to_owned(),
    ]);
    let texts = prop_oneof![texts, "[ -~]{1,20}"];
    let value = match claim_type {
        ClaimType::Text | ClaimType::FreeText => texts.prop_map(Value::from).boxed(),
        ClaimType::FlagText => any::<bool>().prop_map(|it| json!(it.to_string())).boxed(),
        ClaimType::Boolean => any::<bool>().prop_map(Value::from).boxed(),
        ClaimType::Number => any::<i64>().prop_map(Value::from).boxed(),
        ClaimType::List => prop::collection::vec("[a-z]{1,5}", 0..3)
            .prop_map(Value::from)
            .boxed(),
        ClaimType::Object => Just(json!({})).boxed(),
    };
    prop::option::of(value).boxed()
}

/// Claims of the provider, also such as no CI sends together.
fn token(provider: &'static Provider) -> impl Strategy<Value = Map<String, Value>> {
    let claims = provider.claims.iter();
    let claims = claims.filter(|claim| claim.name != "iss");
    let members: Vec<_> = claims
        .map(|claim| value(claim.claim_type).prop_map(|value| (claim.name.to_owned(), value)))
        .collect();
    members.prop_map(|members| {
        let mut token = json!({});
        for (name, value) in members {
            if let Some(value) = value {
                merge(&mut token, with_claim(&name, &value));
            }
        }
        token.as_object().unwrap().clone()
    })
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// An issuer whose claims of every type are facts, some of them deep inside.
fn generic() -> Reader {
    let mapped = |pointer: &str, claim_type| MappedClaim {
        pointer: pointer.to_owned(),
        claim_type,
    };
    Reader {
        claim_map: ClaimMap::from([
            (
                Fact::Repository,
                mapped("/repo/full~1name", ClaimType::Text),
            ),
            (Fact::RepositoryId, mapped("/repo/id", ClaimType::Number)),
            (Fact::RefProtected, mapped("/protected", ClaimType::Boolean)),
            (Fact::FromFork, mapped("/fork", ClaimType::FlagText)),
            (Fact::Environment, mapped("/environments", ClaimType::List)),
            (Fact::EntryWorkflow, mapped("/file", ClaimType::Text)),
            (Fact::Event, mapped("/why/event", ClaimType::Text)),
        ]),
        ..reader("generic", "https://ci.example")
    }
}

fn generic_token() -> impl Strategy<Value = Map<String, Value>> {
    (
        value(ClaimType::Text),
        value(ClaimType::Number),
        value(ClaimType::Boolean),
        value(ClaimType::FlagText),
        value(ClaimType::List),
        value(ClaimType::Text),
        value(ClaimType::Text),
    )
        .prop_map(|(name, id, protected, fork, environments, file, event)| {
            let token = json!({
                "repo": { "full/name": name, "id": id },
                "protected": protected,
                "fork": fork,
                "environments": environments,
                "file": file,
                "why": { "event": event },
            });
            token.as_object().unwrap().clone()
        })
}

/// `identify(claims(facts)) == facts`, for the facts of any token.
fn law(reader: &Reader, token: Map<String, Value>) -> Result<(), TestCaseError> {
    let Ok(facts) = reader.facts(object(&token.into())) else {
        return Ok(());
    };
    let facts = all(&facts);
    let claims = reader.claims(&facts);
    let claims = claims.map_err(|error| TestCaseError::fail(error.to_string()))?;
    let read = reader.facts(object(&claims.into())).unwrap();
    prop_assert_eq!(all(&read), facts);
    Ok(())
}

proptest! {
    /// T-46
    #[test]
    fn facts_of_every_provider_written_as_claims_are_read_as_the_same_facts(
        (provider, token) in prop::sample::select(PROVIDERS.to_vec())
            .prop_flat_map(|provider| (Just(provider), token(provider)))
    ) {
        law(&reader(provider.name, "https://ci.example"), token)?;
    }

    /// T-46
    #[test]
    fn facts_of_a_mapped_issuer_written_as_claims_are_read_as_the_same_facts(token in generic_token()) {
        law(&generic(), token)?;
    }
}

#[test]
fn facts_that_no_token_has_are_refused_by_name() {
    let reader = reader("github", "https://ci.example");
    let text = |text: &str| FactValue::Text(text.to_owned());
    let refused = |facts: &[(Fact, FactValue)]| {
        let facts = facts.iter().cloned().collect();
        reader.claims(&facts).unwrap_err().to_string()
    };
    assert_eq!(
        refused(&[(Fact::Event, text("push")), (Fact::Trigger, text("manual"))]),
        "no token of provider `github` describes this job: `trigger` is `manual`, but the other facts make it `push`"
    );
    assert_eq!(
        refused(&[(Fact::Phase, text("plan"))]),
        "no token of provider `github` describes this job: `phase` is `plan`, which its tokens cannot say"
    );
    assert_eq!(
        refused(&[(Fact::Repository, text("acme/sh\u{43e}p"))]),
        "no token of provider `github` describes this job: claim `repository` has characters outside printable ASCII, which conditions cannot match"
    );
}
