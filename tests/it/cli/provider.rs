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
        "hallpass exec deploy-api",
        "organization_id",
        "webhook is trigger `pull_request`",
        "provider: buildkite",
        "lets in builds of every branch, which those who create builds choose (warning, above class `low`): add `ref`",
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

/// T-432: what to copy works: it names variables that the client reads, and the audience of a CI whose
/// jobs cannot choose one.
#[test]
fn what_a_job_can_copy_names_variables_of_the_client_and_the_fixed_audience() {
    const KNOWN: [&str; 5] = [
        "HALLPASS_BROKER",
        "HALLPASS_ID_TOKEN",
        "HALLPASS_ID_TOKEN_FILE",
        "HALLPASS_ALLOW_AUDIENCE",
        "TFC_WORKLOAD_IDENTITY_AUDIENCE_HALLPASS",
    ];
    let mut fixed = 0;
    for provider in PROVIDERS {
        let (name, guide) = (provider.name, &provider.guide);
        let words = guide
            .token
            .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        for word in words.filter(|word| word.contains("HALLPASS")) {
            assert!(KNOWN.contains(&word), "{name}: {word}");
        }
        assert!(
            guide.token.contains("hallpass exec") || provider.is_of_people(),
            "{name}"
        );
        let url = guide
            .issuer
            .split(['{', ',', ' '])
            .find(|word| word.starts_with("https://"));
        let url = url.or(provider.usual_issuer).unwrap_or_default();
        let audience = provider.rules.audience.fixed(url);
        let allowed = guide.token.split_once("HALLPASS_ALLOW_AUDIENCE");
        let allowed = allowed.map(|(_, rest)| rest.trim_start_matches([':', '=', ' ']));
        let allowed = allowed.and_then(|rest| rest.lines().next());
        assert_eq!(allowed, audience.as_deref(), "{name}");
        fixed += usize::from(audience.is_some());
    }
    assert_eq!(fixed, 3);
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
/// What options say of a job is in its token, with all that follows from it.
#[cfg(feature = "dev")]
#[test]
fn options_change_a_sample_with_all_that_follows() {
    let claims = |arguments: &[&str]| -> Value {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hallpass"));
        let output = command.args(["dev", "claims"]).args(arguments).observed();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {error}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    for (arguments, claim, expected) in [
        (
            &["kubernetes", "--fact", "owner=prod", "--fact", "project=x"][..],
            "sub",
            "system:serviceaccount:prod:x",
        ),
        (
            &["bitrise", "--repository", "acme/shop"],
            "repository_url",
            "https://github.com/acme/shop.git",
        ),
        (
            &[
                "circleci",
                "--repository",
                "acme/shop",
                "--ref",
                "refs/tags/v1",
            ],
            "oidc.circleci.com/vcs-origin",
            "github.com/acme/shop",
        ),
        (
            &[
                "forgejo",
                "--repository",
                "acme/shop",
                "--ref",
                "refs/tags/v1",
            ],
            "workflow_ref",
            "acme/shop/.forgejo/workflows/deploy.yml@refs/tags/v1",
        ),
        (&["fly", "--owner-id", "7"], "org_id", "7"),
        (
            &["spiffe", "--fact", "project=spiffe://acme.dev/x"],
            "sub",
            "spiffe://acme.dev/x",
        ),
        (
            &["hcp-terraform", "--fact", "phase=plan"],
            "sub",
            "organization:acme-infra:project:Default Project:workspace:network-prod:run_phase:plan",
        ),
        // The issuer is the sample's, where the CI has no usual one.
        (
            &["kubernetes"],
            "iss",
            "https://oidc.eks.eu-west-1.amazonaws.com/id/B02C93B6A2D30341AD01E1B6D48164CB",
        ),
        (&["google"], "iss", "https://accounts.google.com"),
    ] {
        let found = claims(&[&["--provider"], arguments].concat());
        assert_eq!(found[claim], expected, "{arguments:?}");
    }
    assert_eq!(claims(&["--provider", "spiffe"]).get("iss"), None);
    let circleci = claims(&["--provider", "circleci", "--repository", "acme/shop"]);
    assert!(
        circleci["sub"]
            .as_str()
            .unwrap()
            .contains("/vcs-origin/github.com/acme/shop/")
    );
}
