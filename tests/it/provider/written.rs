//! Facts written as claims are read back as the same facts: `dev token` and `dev claims` describe exactly
//! the job that they are given.

use std::collections::BTreeMap;

use hallpass::provider::{ClaimMap, ClaimType, Fact, FactValue, Facts, MappedClaim, Reader};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{object, reader};

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

fn token(provider: &'static str) -> impl Strategy<Value = Map<String, Value>> {
    let claims = reader(provider, "https://ci.example")
        .provider
        .claims
        .iter();
    let members: Vec<_> = claims
        .map(|claim| value(claim.claim_type).prop_map(|value| (claim.name.to_owned(), value)))
        .collect();
    (members, "[a-z]{1,5}", "[a-z]{1,5}").prop_map(move |(members, owner, event)| {
        let members = members.into_iter();
        let mut token: Map<_, _> = members
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        // A CI names the owner of the repository, and always what started the run.
        let (repository, of, started) = match provider {
            "github" => ("repository", "repository_owner", "event_name"),
            _ => ("project_path", "namespace_path", "pipeline_source"),
        };
        token.insert(repository.to_owned(), format!("{owner}/shop").into());
        token.insert(of.to_owned(), owner.into());
        let given = token.get(started).and_then(Value::as_str);
        if given.is_none_or(str::is_empty) {
            token.insert(started.to_owned(), event.into());
        }
        token
    })
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
            (Fact::Trigger, mapped("/why/event", ClaimType::Text)),
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
    let written = reader.facts_of(&facts, &Map::new());
    let written =
        written.map_err(|problem| TestCaseError::fail(format!("a job that {problem}")))?;
    let claims = Value::Object(written.claims().to_json());
    let read = reader.facts(object(&claims)).unwrap();
    prop_assert_eq!(all(&read), facts);
    Ok(())
}

proptest! {
    /// T-46
    #[test]
    fn facts_of_github_written_as_claims_are_read_as_the_same_facts(token in token("github")) {
        law(&reader("github", "https://ci.example"), token)?;
    }

    /// T-46
    #[test]
    fn facts_of_gitlab_written_as_claims_are_read_as_the_same_facts(token in token("gitlab")) {
        law(&reader("gitlab", "https://ci.example"), token)?;
    }

    /// T-46
    #[test]
    fn facts_of_a_mapped_issuer_written_as_claims_are_read_as_the_same_facts(token in generic_token()) {
        law(&generic(), token)?;
    }
}
