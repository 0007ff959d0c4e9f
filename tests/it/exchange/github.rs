//! GitHub jobs: the happy path, then one test per claim that can fail.

use std::collections::HashSet;

use hallpass::dev::issuer::GithubJob;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode};
use serde_json::Value;

use crate::support::TestBroker;
use crate::support::broker::POLICIES;
use crate::support::client::get;
use crate::support::tokens::NOW;

#[tokio::test]
async fn a_job_on_main_gets_a_token_that_our_published_keys_verify() {
    let broker = TestBroker::start().await;
    let answer = broker.exchange(&broker.github(|_| {}), "deploy-api").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.text("/token_type"), "Bearer");
    assert_eq!(
        answer.text("/issued_token_type"),
        "urn:ietf:params:oauth:token-type:jwt"
    );
    assert_eq!(answer.text("/scope"), "deploy:staging deploy:production");
    assert_eq!(answer.json()["expires_in"], 300);
    assert_eq!(answer.text("/hallpass/policy"), "shop-deploy");
    assert_eq!(answer.json()["hallpass"]["lease"], Value::Null);
    let token = answer.text("/access_token");
    let keys: JwkSet =
        serde_json::from_str(&get(broker.public(), "/.well-known/jwks.json").await.body).unwrap();
    let header = jsonwebtoken::decode_header(&token).unwrap();
    let key = keys.find(header.kid.as_deref().unwrap()).unwrap();
    let mut rules = Validation::new(jsonwebtoken::Algorithm::ES256);
    rules.set_audience(&["https://deploy.acme.dev"]);
    rules.set_issuer(&[TestBroker::issuer()]);
    // The broker's clock is fixed, the library's is not.
    rules.validate_exp = false;
    let key = DecodingKey::from_jwk(key).unwrap();
    let claims = decode::<Value>(&token, &key, &rules).unwrap().claims;
    assert_eq!(claims["sub"], "credential/deploy-api");
    assert_eq!(claims["exp"], NOW + 300);
    assert_eq!(claims["job"]["repository"], "acme/shop");
}

#[tokio::test]
async fn a_job_on_main_gets_a_database_login() {
    let broker = TestBroker::start().await;
    let answer = broker
        .exchange(&broker.github(|_| {}), "shop-db/read")
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.text("/token_type"), "N_A");
    assert_eq!(
        answer.text("/issued_token_type"),
        "urn:hallpass:credential:postgres"
    );
    assert_eq!(
        answer.text("/access_token"),
        answer.text("/hallpass/credential/password")
    );
    let credential = &answer.json()["hallpass"]["credential"];
    let members: HashSet<_> = credential.as_object().unwrap().keys().cloned().collect();
    let wanted = [
        "kind", "name", "username", "password", "host", "port", "database", "sslmode", "ca",
        "options", "url",
    ];
    assert_eq!(members, wanted.map(str::to_owned).into());
    assert!(answer.text("/hallpass/lease").starts_with("hpl_"));
    let user = credential["username"].as_str().unwrap();
    assert_eq!(
        credential["url"],
        format!(
            "postgresql://{user}:canary-7c1e9b52d0@db.test:5432/shop?sslmode=verify-full&options=-c%20role%3Dshop_readers"
        )
    );
}

/// What a job with one claim changed is told.
async fn told(change: impl FnOnce(&mut GithubJob)) -> String {
    let broker = TestBroker::start().await;
    let answer = broker.exchange(&broker.github(change), "deploy-api").await;
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert_eq!(answer.text("/error"), "invalid_request");
    format!("{}: {}", answer.reason(), answer.text("/error_description"))
}

#[tokio::test]
async fn another_branch_is_denied() {
    let text = told(|job| job.r#ref = "refs/heads/feature".to_owned()).await;
    insta::assert_snapshot!(text, @"policy.conditions: fact `ref` is `refs/heads/feature`, policy `shop-deploy` wants `refs/heads/main`");
}

#[tokio::test]
async fn a_tag_of_the_branchs_name_is_denied() {
    let text = told(|job| job.r#ref = "refs/tags/main".to_owned()).await;
    insta::assert_snapshot!(text, @"policy.conditions: fact `ref` is `refs/tags/main`, policy `shop-deploy` wants `refs/heads/main`");
}

/// T-50
#[tokio::test]
async fn a_repository_of_the_same_name_and_another_id_is_a_stranger() {
    let text = told(|job| job.repository_id = "1".to_owned()).await;
    assert!(text.starts_with("policy.denied: "), "{text}");
}

/// T-50
#[tokio::test]
async fn an_owner_of_the_same_name_and_another_id_is_a_stranger() {
    let text = told(|job| job.owner_id = "1".to_owned()).await;
    assert!(text.starts_with("policy.denied: "), "{text}");
}

/// T-52
#[tokio::test]
async fn a_schedule_is_denied_where_the_policy_names_its_triggers() {
    let text = told(|job| job.event = "schedule".to_owned()).await;
    assert!(text.contains("fact `trigger` is `schedule`"), "{text}");
}

/// T-41
#[tokio::test]
async fn a_token_for_another_audience_is_refused() {
    let text = told(|job| job.audience = "sts.amazonaws.com".to_owned()).await;
    assert!(text.starts_with("token.audience: claim `aud` is"), "{text}");
}

/// T-40
#[tokio::test]
async fn a_token_of_an_issuer_we_do_not_trust_is_refused() {
    let text = told(|job| job.issuer = "https://evil.example".to_owned()).await;
    insta::assert_snapshot!(text, @"token.issuer: the subject token's issuer is not trusted by \
        this broker");
}

/// T-48: the record says what is nearly right, whatever the job is told.
#[tokio::test]
async fn an_owner_that_differs_in_case_only_is_pointed_out_on_record() {
    let broker = TestBroker::start().await;
    let token = broker.github(|job| job.repository = "Acme/shop".to_owned());
    let answer = broker.exchange(&token, "deploy-api").await;
    assert_eq!(answer.reason(), "policy.denied");
    let denials = broker.events("denial").await;
    let failed = &denials[0]["failed_conditions"]["first"][0];
    assert_eq!(failed["fact"], "owner", "{denials:?}");
    assert_eq!(failed["hint"], "differs in upper and lower case only");
}

/// T-48: also where the tenant is known by its id, and the job is told nothing of it.
#[tokio::test]
async fn a_repository_that_differs_in_case_only_is_pointed_out_on_record() {
    let policies = POLICIES
        .replace(
            "{ owner: acme, owner_id: \"48213377\" }",
            "{ owner_id: \"48213377\" }",
        )
        .replace("      repository_id: \"702114589\"\n", "");
    let broker = TestBroker::builder().policies(&policies).start().await;
    let token = broker.github(|job| job.repository = "Acme/shop".to_owned());
    let answer = broker.exchange(&token, "deploy-api").await;
    assert_eq!(answer.reason(), "policy.denied");
    for part in ["acme/shop", "shop-deploy", "case"] {
        assert!(!answer.body.contains(part), "{}", answer.body);
    }
    let denials = broker.events("denial").await;
    let failed = &denials[0]["failed_conditions"]["first"][0];
    assert_eq!(failed["fact"], "repository", "{denials:?}");
    assert_eq!(failed["hint"], "differs in upper and lower case only");
}

/// T-84
#[tokio::test]
async fn what_we_minted_does_not_come_back_as_a_subject_token() {
    let broker = TestBroker::start().await;
    let minted = broker.exchange(&broker.github(|_| {}), "deploy-api").await;
    let answer = broker
        .exchange(&minted.text("/access_token"), "deploy-api")
        .await;
    assert_eq!(answer.reason(), "token.issuer");
}

/// T-80
#[tokio::test]
async fn asking_for_more_than_the_grant_is_refused_and_never_trimmed() {
    let broker = TestBroker::start().await;
    let token = broker.github(|_| {});
    for (more, code) in [
        (("scope", "deploy:staging admin"), "invalid_scope"),
        (("ttl", "301s"), "invalid_request"),
        (("ttl", "60"), "invalid_request"),
        (("ttl", "1h"), "invalid_request"),
    ] {
        let answer = broker
            .exchange_with(&token, "deploy-api", &[more], &[])
            .await;
        assert_eq!(
            (answer.status, answer.text("/error").as_str()),
            (400, code),
            "{more:?}"
        );
    }
    // The kind has a shortest lifetime too: no database is asked for less.
    for ttl in ["1s", "4s", "16m"] {
        let answer = broker
            .exchange_with(&token, "shop-db/read", &[("ttl", ttl)], &[])
            .await;
        assert_eq!(answer.status, 400, "{}", answer.body);
        assert_eq!(answer.text("/reason"), "policy.ttl");
        assert_eq!(
            answer.text("/error_description"),
            "`shop-db/read` can be issued for 5s to 15m"
        );
    }
    let more = [("scope", "deploy:staging"), ("ttl", "1m")];
    let answer = broker.exchange_with(&token, "deploy-api", &more, &[]).await;
    assert_eq!(answer.text("/scope"), "deploy:staging", "{}", answer.body);
    assert_eq!(answer.json()["expires_in"], 60);
}
