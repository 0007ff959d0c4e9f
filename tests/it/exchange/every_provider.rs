//! A token of every provider, signed, through the real router.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use hallpass::provider::{Audience, PROVIDERS, address, find};
use hallpass::token::TrustedIssuer;
use hallpass::token::keys::FileKeys;
use serde_json::{Value, json};

use crate::provider::{provider_of, vector};
use crate::support::TestBroker;
use crate::support::tokens::{AUDIENCE, TestKey, jwks};

/// One token of each issuer.
const VECTORS: [&str; 22] = [
    "github-actions.json",
    "github-actions.enterprise-issuer.json",
    "github-actions.ghes.json",
    "gitlab-ci.json",
    "forgejo-actions.json",
    "jenkins-oidc-provider.json",
    "circleci.json",
    "circleci.root-issuer.json",
    "buildkite.immutable-sub.json",
    "azure-devops.json",
    "bitbucket-pipelines.json",
    "kubernetes-serviceaccount.json",
    "google-compute-identity.json",
    "aws-iam-outbound.json",
    "hcp-terraform.json",
    "spacelift.json",
    "semaphore.json",
    "codefresh.json",
    "bitrise.json",
    "vercel.json",
    "fly-io.json",
    "buddy.json",
];

fn issuer_of(claims: &Value) -> &str {
    claims["iss"].as_str().unwrap()
}

/// Its issuer and one policy that wants every fact of the token.
fn entries(name: &str, facts: &Value) -> (String, String) {
    let claims = vector(name);
    let url = issuer_of(&claims);
    let provider = find(provider_of(name)).unwrap();
    let label = name.replace('.', "-");
    let mut issuer = format!("  {label}: {{ provider: {}, url: \"{url}\"", provider.name);
    if address::known(url).is_some_and(|known| known.is_shared) {
        let ids = provider.tenant_ids.iter().map(|id| id.name());
        let id = ids.into_iter().find(|id| facts.get(id).is_some()).unwrap();
        write!(issuer, ", tenants: [ {{ {id}: {} }} ]", facts[id]).unwrap();
    }
    match provider.rules.audience {
        Audience::Own => {}
        Audience::Beside => write!(issuer, ", audiences: [ {} ]", claims["aud"][0]).unwrap(),
        Audience::Fixed(_) | Audience::Issuer | Audience::IssuerHost => {
            issuer.push_str(", shared_audience: accepted");
        }
    }
    issuer.push_str(" }\n");
    let mut when = String::new();
    for (fact, value) in facts.as_object().unwrap() {
        // A short base is no ref, and no policy names it.
        if fact == "base_ref" {
            continue;
        }
        if let Value::Object(workflow) = value {
            let (path, r#ref) = (&workflow["path"], &workflow["ref"]);
            write!(when, ", {fact}: {{ path: {path}, ref: {ref} }}").unwrap();
        } else {
            write!(when, ", {fact}: {value}").unwrap();
        }
    }
    if provider.name == "buildkite" {
        when.push_str(", trigger: pull_request");
    }
    let when = when.trim_start_matches(", ");
    let policy = format!(
        "  - {{ name: {label}, issuer: {label}, when: {{ {when} }}, grant: [ {{ credential: api, ttl: 5m }} ] }}\n"
    );
    (issuer, policy)
}

/// The token's claims as a job would get them for this broker.
fn asked_for(name: &str) -> Value {
    let mut claims = vector(name);
    match find(provider_of(name)).unwrap().rules.audience {
        Audience::Own if claims["aud"].is_array() => claims["aud"] = json!([AUDIENCE]),
        Audience::Own => claims["aud"] = json!(AUDIENCE),
        Audience::Beside => claims["aud"][1] = json!(AUDIENCE),
        Audience::Fixed(_) | Audience::Issuer | Audience::IssuerHost => {}
    }
    claims
}

/// T-335, T-341: a job gets its credential by facts alone, and not with another ID, of another
/// organisation's issuer, or with an audience that is not the one of its CI.
#[tokio::test]
async fn a_signed_token_of_every_provider_gets_what_its_facts_allow() {
    let expected = vector("expected.json");
    let key = TestKey::rsa("k1");
    let set = jwks(&[key.jwk()]);
    let (mut issuers, mut policies) = (String::new(), String::new());
    let mut urls = BTreeMap::new();
    for name in VECTORS {
        let (issuer, policy) = entries(name, &expected[name]);
        issuers.push_str(&issuer);
        policies.push_str(&policy);
        urls.insert(issuer_of(&vector(name)).to_owned(), name.replace('.', "-"));
    }
    let mut keys = FileKeys::new();
    for (url, label) in &urls {
        let trusted = TrustedIssuer::new(label, url);
        keys = keys.with_document(&trusted, &set).unwrap();
    }
    let text = format!(
        "issuers:\n{issuers}credentials:\n  api: {{ kind: jwt, audience: https://a.test, max_ttl: 10m, owner: o, purpose: p, class: low }}\npolicies:\n{policies}"
    );
    let broker = TestBroker::builder();
    let broker = broker.policies(&text).keys(Arc::new(keys)).start().await;
    let mut seen = BTreeSet::new();
    for name in VECTORS {
        let provider = find(provider_of(name)).unwrap();
        seen.insert(provider.name);
        let claims = asked_for(name);
        let answer = broker.exchange(&key.token(&claims), "api").await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.body);
        // The same job, with an audience that no token of its CI has, or not ours.
        let mut other = claims.clone();
        other["aud"] = match provider.rules.audience {
            Audience::Own | Audience::Beside => json!("https://other.example"),
            Audience::Fixed(_) | Audience::Issuer | Audience::IssuerHost => json!(AUDIENCE),
        };
        other["jti"] = json!(format!("audience of {name}"));
        let answer = broker.exchange(&key.token(&other), "api").await;
        assert_eq!(answer.reason(), "token.audience", "{name}");
        // Another job of the same issuer.
        for line in provider.claims {
            let is_id = line.kind == hallpass::provider::Kind::Id && !line.facts.is_empty();
            if !is_id
                || line.name.starts_with('/')
                || claims[line.name].as_str().is_none_or(str::is_empty)
            {
                continue;
            }
            if line.name == "iss" {
                continue;
            }
            let mut other = claims.clone();
            other[line.name] = json!("00000");
            other["jti"] = json!(format!("{} of {name}", line.name));
            let answer = broker.exchange(&key.token(&other), "api").await;
            assert_ne!(answer.status, 200, "{name}: {}", line.name);
        }
    }
    let untried = PROVIDERS.iter().map(|provider| provider.name);
    let untried: Vec<_> = untried.filter(|name| !seen.contains(name)).collect();
    // The first has no `iss`, the others have tests of their own.
    assert_eq!(untried, ["spiffe", "people", "generic"]);
}

/// T-335: without the word of its administrator, an issuer whose tokens are for any service is not
/// trusted.
#[test]
fn a_shared_audience_is_accepted_by_name_only() {
    let rules = |more: &str, provider: &str, url: &str| {
        let text = format!("issuers:\n  a: {{ provider: {provider}, url: \"{url}\"{more} }}\n");
        match hallpass::policy::PolicySet::from_texts(&[("root.yaml", &text)]) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.iter().map(|error| error.rule).collect(),
        }
    };
    let azure = "https://vstoken.dev.azure.com/4d2f8b61";
    assert_eq!(rules("", "azure-devops", azure), ["shared-audience"]);
    let more = ", shared_audience: yes-please";
    assert_eq!(rules(more, "azure-devops", azure), ["shared-audience"]);
    let more = ", shared_audience: accepted";
    assert_eq!(rules(more, "azure-devops", azure), [""; 0]);
    let own = "https://forge.example/api/actions";
    assert_eq!(rules(more, "forgejo", own), ["unknown-key"]);
}
