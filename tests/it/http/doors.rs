//! Every door goes through one exchange: one table of denials, asked at each.

use serde_json::{Value, json};

use crate::support::TestBroker;
use crate::support::broker::POLICIES;
use crate::support::client::Answer;
use crate::support::tokens::{NOW, TestKey};

/// What an answer says, whatever the door.
fn told(answer: &Answer) -> Value {
    let mut json = answer.json();
    let members = json.as_object_mut().unwrap();
    members.remove("request_id");
    // Only the explanation has these.
    members.remove("permitted");
    members.remove("decision");
    json
}

/// T-81
#[tokio::test]
async fn both_doors_and_the_explanation_refuse_the_same_things_in_the_same_words() {
    let broker = TestBroker::start().await;
    let stranger = broker.github(|job| {
        job.repository = "evil/shop".to_owned();
        job.owner_id = "1".to_owned();
    });
    let expired = {
        let mut claims =
            hallpass::dev::issuer::github_claims(&hallpass::dev::issuer::GithubJob::new(
                crate::support::broker::GITHUB,
                TestBroker::issuer(),
                hallpass::clock::Timestamp::from_unix(NOW - 3_600),
            ));
        claims["exp"] = json!(NOW - 3_000);
        broker.key.token(&claims)
    };
    let forged = TestKey::other_rsa("k1")
        .token(&json!({"iss": crate::support::broker::GITHUB, "exp": NOW + 60}));
    let table = [
        ("no token at all", "a.b.c".to_owned(), "deploy-api"),
        ("a forged token", forged, "deploy-api"),
        ("an expired token", expired, "deploy-api"),
        ("a stranger", stranger.clone(), "deploy-api"),
        ("a stranger who guesses", stranger, "no/such"),
        (
            "another branch",
            broker.github(|job| job.r#ref = "refs/heads/x".to_owned()),
            "deploy-api",
        ),
        (
            "a pull request",
            broker.github(|job| job.event = "pull_request".to_owned()),
            "deploy-api",
        ),
        (
            "another repository of the tenant",
            broker.github(|job| {
                job.repository = "acme/other".to_owned();
                job.repository_id = "5".to_owned();
            }),
            "deploy-api",
        ),
        ("a misspelt credential", broker.github(|_| {}), "deploy-apy"),
        (
            "a credential in other case",
            broker.github(|_| {}),
            "Deploy-API",
        ),
        (
            "a credential not granted",
            broker.gitlab(|_| {}),
            "shop-db/read",
        ),
    ];
    for (name, token, credential) in table {
        let form = broker.exchange(&token, credential).await;
        assert_eq!(form.status, 400, "{name}: {}", form.body);
        let json = broker.credentials(&token, credential).await;
        assert_eq!((json.status, told(&json)), (400, told(&form)), "{name}");
        let body = json!({ "credential": credential });
        let explained = broker.ask("/api/explain", &token, &body).await;
        assert_eq!(told(&explained), told(&form), "{name}");
    }
    assert_eq!(broker.events("intent").await, Vec::<Value>::new());
}

/// T-81
#[tokio::test]
async fn both_doors_grant_the_same_thing() {
    let broker = TestBroker::start().await;
    let form = broker.exchange(&broker.github(|_| {}), "deploy-api").await;
    let json = broker
        .credentials(&broker.github(|_| {}), "deploy-api")
        .await;
    assert_eq!(
        (form.status, json.status),
        (200, 200),
        "{} {}",
        form.body,
        json.body
    );
    for member in [
        "/credential/kind",
        "/credential/name",
        "/credential/scopes",
        "/policy",
        "/policies_revision",
        "/expires_at",
        "/decision",
    ] {
        assert_eq!(
            form.json().pointer(&format!("/hallpass{member}")),
            json.json().pointer(member),
            "{member}"
        );
    }
    assert_eq!(broker.events("intent").await.len(), 2);
    assert_eq!(broker.events("outcome").await.len(), 2);
}

/// T-82
#[tokio::test]
async fn a_stranger_hears_the_same_bytes_whatever_it_asks_for() {
    let broker = TestBroker::start().await;
    let outsiders = [
        broker.github(|job| {
            job.repository = "evil/shop".to_owned();
            job.owner_id = "1".to_owned();
        }),
        broker.github(|job| {
            job.repository = "acme/other".to_owned();
            job.repository_id = "5".to_owned();
        }),
        // The right name with another id: registered anew by someone else.
        broker.github(|job| job.repository_id = "6".to_owned()),
    ];
    for token in outsiders {
        let first = broker.exchange(&token, "deploy-api").await;
        assert_eq!(first.reason(), "policy.denied", "{}", first.body);
        for credential in ["shop-db/read", "invented/thing", "x"] {
            let other = broker.exchange(&token, credential).await;
            assert_eq!(other.without_id(), first.without_id(), "{credential}");
            let body = json!({ "credential": credential });
            let explained = broker.ask("/api/explain", &token, &body).await;
            let also = broker
                .ask(
                    "/api/explain",
                    &token,
                    &json!({ "credential": "deploy-api" }),
                )
                .await;
            assert_eq!(explained.without_id(), also.without_id(), "{credential}");
        }
    }
}

/// T-82
#[tokio::test]
async fn a_job_of_the_repository_hears_what_failed() {
    let broker = TestBroker::start().await;
    let token = broker.github(|job| job.r#ref = "refs/heads/x".to_owned());
    let answer = broker.exchange(&token, "deploy-api").await;
    let line = &answer.json()["failed_conditions"][0];
    assert_eq!(line["policy"], "shop-deploy");
    assert_eq!(line["fact"], "ref");
    assert_eq!(line["expected"], "refs/heads/main");
    assert_eq!(line["actual"], "refs/heads/x");
}

#[tokio::test]
async fn nothing_is_disclosed_where_the_settings_forbid_it() {
    let broker = TestBroker::builder()
        .setting("disclose: never")
        .start()
        .await;
    let token = broker.github(|job| job.r#ref = "refs/heads/x".to_owned());
    let answer = broker.exchange(&token, "deploy-api").await;
    assert_eq!(answer.reason(), "policy.denied");
    assert!(answer.json().get("failed_conditions").is_none());
}

/// T-82, T-119
#[tokio::test]
async fn an_explanation_names_no_other_tenant() {
    let two = POLICIES.replacen(
        r#"owner_id: "48213377" }"#,
        r#"owner_id: "48213377" }, { owner: elsewhere, owner_id: "31337000" }"#,
        1,
    );
    let broker = TestBroker::builder().policies(&two).start().await;
    let jobs = [
        broker.github(|_| {}),
        broker.github(|job| job.r#ref = "refs/heads/x".to_owned()),
    ];
    for token in jobs {
        let body = json!({ "credential": "deploy-api" });
        let answer = broker.ask("/api/explain", &token, &body).await;
        assert!(answer.body.contains("48213377"), "{}", answer.body);
        assert!(!answer.body.contains("31337000"), "{}", answer.body);
        assert!(!answer.body.contains("elsewhere"), "{}", answer.body);
    }
}

/// T-119
#[tokio::test]
async fn with_disclosure_off_an_explanation_says_no_condition_of_a_permit_either() {
    let broker = TestBroker::builder()
        .setting("disclose: never")
        .start()
        .await;
    let body = json!({ "credential": "deploy-api" });
    let token = broker.github(|_| {});
    let answer = broker.ask("/api/explain", &token, &body).await;
    assert_eq!(answer.json()["permitted"], true, "{}", answer.body);
    assert!(!answer.body.contains("expected"), "{}", answer.body);
}

/// T-119
#[tokio::test]
async fn an_explanation_mints_nothing_and_leaves_the_token_unused() {
    let broker = TestBroker::start().await;
    let token = broker.github(|_| {});
    let body = json!({ "credential": "deploy-api" });
    for _ in 0..2 {
        let answer = broker.ask("/api/explain", &token, &body).await;
        assert_eq!(answer.json()["permitted"], true, "{}", answer.body);
    }
    assert_eq!(broker.events("intent").await.len(), 0);
    assert_eq!(broker.exchange(&token, "deploy-api").await.status, 200);
}

/// T-119
#[tokio::test]
async fn explanations_and_exchanges_share_one_rate() {
    let limits = hallpass::config::Limits {
        per_repository: 3,
        ..Default::default()
    };
    let broker = TestBroker::builder().limits(limits).start().await;
    let token = broker.github(|_| {});
    for _ in 0..3 {
        let answer = broker.ask("/api/explain", &token, &json!({})).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    // A job that looked what it may have asks for it with the same token: both count once.
    let answer = broker.exchange(&token, "deploy-api").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = broker.exchange(&token, "shop-db/read").await;
    assert_eq!(answer.reason(), "limit.rate");
    let token = broker.github(|_| {});
    let answer = broker.exchange(&token, "deploy-api").await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (429, "limit.rate")
    );
    assert_eq!(answer.header("retry-after"), Some("20"));
    // Another repository, here under another issuer, is unharmed (T-03).
    let other = broker.exchange(&broker.gitlab(|_| {}), "deploy-api").await;
    assert_eq!(other.status, 200, "{}", other.body);
    broker.clock.advance(std::time::Duration::from_secs(20));
    assert_eq!(broker.exchange(&token, "deploy-api").await.status, 200);
}

#[tokio::test]
async fn a_job_that_asks_for_nothing_is_told_what_it_may_have() {
    let broker = TestBroker::start().await;
    let answer = broker
        .ask("/api/explain", &broker.github(|_| {}), &json!({}))
        .await;
    let json = answer.json();
    let names: Vec<_> = json["credentials"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["credential"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["deploy-api", "shop-db/read"]);
}
