//! `hallpass provider`: what is known of each CI.

use hallpass::provider::PROVIDERS;
use serde_json::Value;

use crate::support::leaks::Observed as _;

fn provider(args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hallpass"));
    let output = command.arg("provider").args(args).observed();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn every_provider_is_listed_and_shown() {
    let (code, listed, _) = provider(&["list", "--output", "json"]);
    assert_eq!(code, Some(0));
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let names = listed["providers"].as_array().unwrap().iter();
    let names: Vec<_> = names.map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        PROVIDERS.iter().map(|one| one.name).collect::<Vec<_>>()
    );
    let (code, text, _) = provider(&["list"]);
    assert_eq!(code, Some(0));
    assert!(text.contains("azure-devops"), "{text}");
    let (code, text, _) = provider(&["show", "buildkite"]);
    assert_eq!(code, Some(0));
    for part in [
        "buildkite-agent oidc request-token",
        "organization_id",
        "webhook is trigger `pull_request`",
        "provider: buildkite",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (_, shown, _) = provider(&["show", "aws", "--output", "json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["claims"][0]["facts"][0], "project");
    let (code, _, told) = provider(&["show", "bildkite"]);
    assert_eq!(code, Some(2));
    assert!(told.contains("did you mean `buildkite`?"), "{told}");
}

/// T-343: what `dev` signs for is read as a job of that CI.
#[cfg(feature = "dev")]
#[test]
fn a_token_for_tests_is_of_the_provider() {
    use hallpass::dev::issuer::{sample_claims, sampled};
    use hallpass::provider::{Fact, FactValue, Reader, find};

    for name in sampled() {
        let provider = find(name).unwrap();
        let issuer = provider.usual_issuer.unwrap_or("https://ci.example");
        let now = hallpass::clock::Timestamp::from_unix(1_800_000_000);
        let mut given = std::collections::BTreeMap::new();
        if provider.reading(Fact::RunId).is_some() {
            given.insert(Fact::RunId, FactValue::Text("77".to_owned()));
        }
        let claims = sample_claims(provider, issuer, "https://hallpass.example", now, &given);
        let claims = claims
            .unwrap()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(claims["iat"], 1_800_000_000, "{name}");
        let text = Value::Object(claims).to_string();
        let limits = hallpass::token::json::Limits::default();
        let object = hallpass::token::json::parse_object(text.as_bytes(), &limits).unwrap();
        let facts = Reader::usual(provider, issuer).facts(object).unwrap();
        let found = facts.text(Fact::RunId);
        assert_eq!(found.is_some(), !given.is_empty(), "{name}");
        assert!(found.is_none_or(|id| id == "77"), "{name}");
    }
}
