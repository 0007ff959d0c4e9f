//! Tokens of CIs whose jobs cannot choose the audience, from the CI's own place to a real broker.

use std::process::Output;

use hallpass::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};

use super::fake::{Fake, Reply, hallpass, stderr, token_for, told};
use super::real::Broker;
use crate::provider::vector;
use crate::support::leaks::{self, Observed as _};

const POLICIES: &str = r#"
issuers:
  azure: { provider: azure-devops, url: "https://vstoken.dev.azure.com/4d2f8b61-9c3e-4a7d-b150-6e8f0a2c4d93", shared_audience: accepted }
  spacelift: { provider: spacelift, url: "https://acme.app.spacelift.io", shared_audience: accepted }
  semaphore: { provider: semaphore, url: "https://acme.semaphoreci.com", shared_audience: accepted }
credentials:
  api: { kind: jwt, audience: "https://api.acme.dev", max_ttl: 10m, owner: o, purpose: p, class: low }
policies:
  - name: azure
    issuer: azure
    when: { project_id: b86a1d3f-5e70-4c92-8a4b-2d6f9e1c7b05, definition_id: "37", ref: refs/heads/main }
    grant: [ { credential: api, ttl: 5m } ]
  - name: spacelift
    issuer: spacelift
    when: { environment: production-01KJMM56VS4W3AL9YZWVCXBX8D, project: network-prod, phase: write, trigger: push }
    grant: [ { credential: api, ttl: 5m } ]
  - name: semaphore
    issuer: semaphore
    when: { owner_id: d7dd33ad-9317-498c-9cc6-51c250749be7, project_id: 1e1fcfb5-09c0-487e-b051-2d0b5514c42a, ref: refs/heads/main, trigger: push }
    grant: [ { credential: api, ttl: 5m } ]
"#;

const BEARER: &str = "canary-5c0e7f19a3b2d8";

/// A token that the CI signed now.
fn token_of(broker: &Broker, name: &str, id: &str) -> String {
    let now = SystemClock::new().now().unix();
    let mut claims = vector(name);
    claims["jti"] = json!(id);
    claims["iat"] = json!(now);
    claims["nbf"] = json!(now);
    claims["exp"] = json!(now + 300);
    broker.sign(&claims)
}

/// A job of the CI that has this token, with more variables.
fn get(broker: &Broker, ci: &Fake, name: &str, token: &str, more: &[(&str, &str)]) -> Output {
    let mut command = hallpass(&["get", "api"]);
    command.env("HALLPASS_BROKER", &broker.url);
    match name {
        "azure-devops.json" => {
            ci.next("/ci", Reply::json(200, &json!({ "oidcToken": token })));
            let address = format!("{}/ci", ci.url());
            command
                .env("TF_BUILD", "True")
                .env("SYSTEM_OIDCREQUESTURI", address)
                .env("SYSTEM_ACCESSTOKEN", BEARER);
        }
        "spacelift.json" => {
            command.env("SPACELIFT_OIDC_TOKEN", token);
        }
        _ => {
            command.env("SEMAPHORE", "true");
            command.env("SEMAPHORE_OIDC_TOKEN", token);
        }
    }
    command.envs(more.iter().copied()).observed()
}

/// T-432
#[test]
fn a_token_of_a_fixed_audience_is_sent_if_the_job_allows_that_audience() {
    leaks::secret("a request token", BEARER);
    let broker = Broker::start_with(POLICIES, "", tempfile::tempdir().unwrap());
    let ci = Fake::start();
    for (name, audience) in [
        ("azure-devops.json", "api://AzureADTokenExchange"),
        ("spacelift.json", "acme.app.spacelift.io"),
        ("semaphore.json", "https://acme.semaphoreci.com"),
    ] {
        let token = token_of(&broker, name, "1");
        // Without the exact audience, nothing is sent.
        let longer = format!("{audience}.evil.example");
        for more in [
            &[][..],
            &[("HALLPASS_ALLOW_AUDIENCE", "")],
            &[("HALLPASS_ALLOW_AUDIENCE", "*")],
            &[("HALLPASS_ALLOW_AUDIENCE", longer.as_str())],
            &[("HALLPASS_ALLOW_AUDIENCE", broker.url.as_str())],
        ] {
            let output = get(&broker, &ci, name, &token, more);
            assert_eq!(output.status.code(), Some(5), "{name}: {}", told(&output));
            let said = stderr(&output);
            let start =
                format!("hallpass: the job's ID token is for `{audience}`, not for the broker");
            assert!(said.starts_with(&start), "{said}");
            assert!(said.contains("`--allow-audience"), "{said}");
        }
        let allowed = [("HALLPASS_ALLOW_AUDIENCE", audience)];
        let output = get(&broker, &ci, name, &token, &allowed);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", told(&output));
        // The token is used up, as every other.
        let again = get(&broker, &ci, name, &token, &allowed);
        assert_eq!(again.status.code(), Some(1), "{name}: {}", told(&again));
        assert!(
            stderr(&again).contains("token.replayed"),
            "{}",
            stderr(&again)
        );
    }
}

/// T-432: the option wins over the variable, and both are for one audience.
#[test]
fn an_allowed_audience_is_one_beside_the_brokers_own() {
    let fake = Fake::start();
    let own = "ari:cloud:bitbucket::workspace/7baee083-4f25-4a97-8a9a-0fde1b623b45";
    let run = |audience: Value, arguments: &[&str], variable: &str| {
        fake.hallpass(&[&["get", "shop-db/migrate"], arguments].concat())
            .env("BITBUCKET_BUILD_NUMBER", "7")
            .env("BITBUCKET_STEP_OIDC_TOKEN", token_for(&audience, "1"))
            .env("HALLPASS_ALLOW_AUDIENCE", variable)
            .observed()
            .status
            .code()
    };
    let both = json!([own, fake.url()]);
    assert_eq!(run(both.clone(), &[], ""), Some(5));
    assert_eq!(run(both.clone(), &[], own), Some(0));
    assert_eq!(run(both.clone(), &["--allow-audience", own], "x"), Some(0));
    assert_eq!(run(both, &["--allow-audience", "x"], own), Some(5));
    let third = json!([own, fake.url(), "sts.amazonaws.com"]);
    assert_eq!(run(third, &[], own), Some(5));
    assert_eq!(fake.asked("/token").len(), 2);
}
