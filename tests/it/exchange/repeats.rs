//! A token used again: refused, unless it is the same request under the same key.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::support::TestBroker;
use crate::support::broker::POLICIES;

const KEY: &str = "Qm7zXw2Lr9Tk4Vb1Nc8Jd5Hf3Gs6Pa0Yu-EiOo_RtWx";

/// T-69
#[tokio::test]
async fn a_token_is_used_once_per_credential() {
    let broker = TestBroker::start().await;
    let token = broker.github(|_| {});
    let first = broker.exchange(&token, "deploy-api").await;
    assert_eq!(first.status, 200, "{}", first.body);
    let second = broker.exchange(&token, "deploy-api").await;
    assert_eq!(
        (second.status, second.reason().as_str()),
        (400, "token.replayed")
    );
    assert_eq!(broker.exchange(&token, "shop-db/read").await.status, 200);
    let replays = broker.events("replay").await;
    assert_eq!(replays.len(), 1);
    assert_eq!(replays[0]["first_request_id"], first.text("/request_id"));
    assert_eq!(replays[0]["request_id"], second.text("/request_id"));
}

/// T-69
#[tokio::test]
async fn of_many_exchanges_of_one_token_at_once_one_mints() {
    let broker = Arc::new(TestBroker::start().await);
    let token = broker.github(|_| {});
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (broker, token) = (broker.clone(), token.clone());
        asked.spawn(async move { broker.exchange(&token, "shop-db/read").await.status });
    }
    let statuses = asked.join_all().await;
    assert_eq!(
        statuses.iter().filter(|status| **status == 200).count(),
        1,
        "{statuses:?}"
    );
    assert_eq!(broker.database.minted(), 1);
}

/// T-69
#[tokio::test]
async fn a_denied_exchange_does_not_burn_the_token() {
    let broker = TestBroker::start().await;
    let token = broker.github(|_| {});
    let denied = broker
        .exchange_with(&token, "deploy-api", &[("ttl", "1h")], &[])
        .await;
    assert_eq!(denied.status, 400);
    assert_eq!(broker.exchange(&token, "deploy-api").await.status, 200);
}

/// T-110
#[tokio::test]
async fn a_repeat_under_the_same_key_gives_the_same_credential() {
    let broker = TestBroker::start().await;
    let token = broker.github(|_| {});
    let headers = [("Idempotency-Key", KEY)];
    let first = broker
        .exchange_with(&token, "deploy-api", &[], &headers)
        .await;
    assert_eq!(first.status, 200, "{}", first.body);
    broker.clock.advance(Duration::from_secs(30));
    let again = broker
        .exchange_with(&token, "deploy-api", &[], &headers)
        .await;
    assert_eq!(again.status, 200, "{}", again.body);
    assert_eq!(
        again.text("/hallpass/expires_at"),
        first.text("/hallpass/expires_at")
    );
    assert_eq!(again.json()["expires_in"], 270);
    let payload = |token: String| token.split('.').nth(1).unwrap().to_owned();
    assert_eq!(
        payload(again.text("/access_token")),
        payload(first.text("/access_token"))
    );
    let outcomes = broker.events("outcome").await;
    assert_eq!(outcomes[0]["outcome"], "minted");
    assert_eq!(outcomes[1]["outcome"], "repeated");
}

/// T-110
#[tokio::test]
async fn a_key_is_bound_to_its_ask() {
    let broker = TestBroker::start().await;
    let token = broker.github(|_| {});
    let headers = [("Idempotency-Key", KEY)];
    broker
        .exchange_with(&token, "deploy-api", &[], &headers)
        .await;
    let narrower = [("scope", "deploy:staging")];
    let other = broker
        .exchange_with(&token, "deploy-api", &narrower, &headers)
        .await;
    assert_eq!(
        (other.status, other.reason().as_str()),
        (400, "request.idempotency_key")
    );
    let short = [("Idempotency-Key", "guessable")];
    let answer = broker
        .exchange_with(&token, "deploy-api", &[], &short)
        .await;
    assert_eq!(answer.reason(), "request.idempotency_key");
    let other_key = "z".repeat(43);
    let headers = [("Idempotency-Key", other_key.as_str())];
    let answer = broker
        .exchange_with(&token, "deploy-api", &[], &headers)
        .await;
    assert_eq!(answer.reason(), "token.replayed");
}

/// T-72, T-110
#[tokio::test]
async fn who_is_refused_after_verification_is_on_record() {
    let critical = POLICIES.replacen("class: moderate", "class: critical", 1);
    let broker = TestBroker::builder().policies(&critical).start().await;
    // Issued in the second the broker started, so perhaps used before.
    let before_start = broker.exchange(&broker.github(|_| {}), "deploy-api").await;
    let token = broker.github(|_| {});
    let headers = [("Idempotency-Key", KEY)];
    let first = broker
        .exchange_with(&token, "shop-db/read", &[], &headers)
        .await;
    assert_eq!(first.status, 200, "{}", first.body);
    let other_ask = [("ttl", "60s")];
    let reused = broker
        .exchange_with(&token, "shop-db/read", &other_ask, &headers)
        .await;
    let wrong_kind = [(
        "requested_token_type",
        "urn:ietf:params:oauth:token-type:jwt",
    )];
    let of_kind = broker
        .exchange_with(&broker.github(|_| {}), "shop-db/read", &wrong_kind, &[])
        .await;
    let mut answer = first;
    for _ in 0..60 {
        answer = broker.exchange(&token, "deploy-api").await;
    }
    let denials = broker.events("denial").await;
    for (answer, reason, credential) in [
        (before_start, "token.before_start", "deploy-api"),
        (reused, "request.idempotency_key", "shop-db/read"),
        (of_kind, "request.token_type", "shop-db/read"),
        (answer, "limit.rate", "deploy-api"),
    ] {
        assert_eq!(answer.reason(), reason, "{}", answer.body);
        let id = answer.text("/request_id");
        let denial = denials
            .iter()
            .find(|denial| denial["request_id"] == id.as_str());
        let denial = denial.unwrap_or_else(|| panic!("{reason} is not on record"));
        assert_eq!(
            (&denial["reason"], &denial["credential"]),
            (&reason.into(), &credential.into())
        );
        assert_eq!(
            denial["subject"],
            "repo:acme@48213377/shop@702114589:ref:refs/heads/main"
        );
        assert_eq!(denial["token"].as_str().unwrap().len(), 16);
    }
}

/// T-82: the answer tells what the job may know, the record everything.
#[tokio::test]
async fn a_denial_is_on_record_with_every_condition_that_failed() {
    let broker = TestBroker::start().await;
    let token = broker.github(|job| "refs/heads/side".clone_into(&mut job.r#ref));
    let answer = broker.exchange(&token, "shop-db/read").await;
    assert_eq!(answer.reason(), "policy.conditions", "{}", answer.body);
    let denials = broker.events("denial").await;
    let [denial] = denials.as_slice() else {
        panic!("{denials:?}")
    };
    assert_eq!(denial["request_id"], answer.text("/request_id").as_str());
    assert_eq!(denial["reason"], "policy.conditions");
    assert_eq!(denial["credential"], "shop-db/read");
    let failed = &denial["failed_conditions"];
    assert_eq!(failed["total"], 1);
    assert_eq!(failed["first"][0]["fact"], "ref");
    assert_eq!(failed["first"][0]["actual"], "refs/heads/side");
    assert_eq!(failed["first"][0]["expected"], "refs/heads/main");
}

/// T-291, T-292: through a proxy, by both endpoints and in an explanation.
#[tokio::test]
async fn a_policy_that_names_a_network_reads_the_address_of_each_request() {
    let policies = POLICIES.replace(
        "      trigger: [push, manual]\n",
        "      trigger: [push, manual]\n      source_ip: 192.0.2.0/24\n",
    );
    let broker = TestBroker::builder()
        .policies(&policies)
        .listen("proxies: [127.0.0.0/8]")
        .start()
        .await;
    let token = broker.github(|_| {});
    for forwarded in [
        "198.51.100.1",
        // What the caller adds in front is not read.
        "192.0.2.7, 198.51.100.1",
        "192.0.2.7, unknown",
        "unknown",
        "127.0.0.1",
    ] {
        let headers = [("X-Forwarded-For", forwarded)];
        let refused = broker
            .exchange_with(&token, "deploy-api", &[], &headers)
            .await;
        assert_eq!(refused.reason(), "policy.conditions", "{forwarded}");
        assert!(refused.body.contains("source_ip"), "{}", refused.body);
    }
    // Nothing but the header of a proxy is read.
    let headers = [("X-Real-IP", "192.0.2.7"), ("Forwarded", "for=192.0.2.7")];
    let refused = broker
        .exchange_with(&token, "deploy-api", &[], &headers)
        .await;
    assert_eq!(refused.reason(), "policy.conditions");
    let answer = broker.credentials(&token, "deploy-api").await;
    assert_eq!(answer.reason(), "policy.conditions");
    let listed = broker.ask("/api/explain", &token, &json!({})).await;
    assert_eq!(listed.json()["credentials"], json!([]), "{}", listed.body);

    let headers = [
        ("X-Forwarded-For", "::ffff:192.0.2.7"),
        ("Idempotency-Key", KEY),
    ];
    let first = broker
        .exchange_with(&token, "deploy-api", &[], &headers)
        .await;
    assert_eq!(first.status, 200, "{}", first.body);
    let intents = broker.events("intent").await;
    assert_eq!(intents[0]["job"]["source_ip"], "192.0.2.7");
    // The same request under the same key is decided again, by where it comes from now.
    let elsewhere = [
        ("X-Forwarded-For", "198.51.100.1"),
        ("Idempotency-Key", KEY),
    ];
    let refused = broker
        .exchange_with(&token, "deploy-api", &[], &elsewhere)
        .await;
    assert_eq!(refused.reason(), "policy.conditions");
    let again = broker
        .exchange_with(&token, "deploy-api", &[], &headers)
        .await;
    assert_eq!(again.status, 200, "{}", again.body);
    assert_eq!(broker.events("outcome").await.len(), 2);
}

/// T-292: without a proxy in the settings, the peer is the source, whatever a header says.
#[tokio::test]
async fn without_a_configured_proxy_the_peer_is_the_source() {
    let line = |network: &str| {
        let line = format!("      trigger: [push, manual]\n      source_ip: {network}\n");
        POLICIES.replace("      trigger: [push, manual]\n", &line)
    };
    let headers = [("X-Forwarded-For", "192.0.2.7")];
    for (network, status) in [("127.0.0.0/8", 200), ("192.0.2.0/24", 400)] {
        let broker = TestBroker::builder().policies(&line(network)).start().await;
        let token = broker.github(|_| {});
        let answer = broker
            .exchange_with(&token, "deploy-api", &[], &headers)
            .await;
        assert_eq!(answer.status, status, "{}", answer.body);
    }
}

/// T-293: the window of the clock that the decision reads, also for a repeat.
#[tokio::test]
async fn a_policy_that_names_a_time_reads_the_clock_at_each_request() {
    // It is 14:13:20 in UTC.
    let window = "      trigger: [push, manual]\n      time: { hours: \"14:00-14:14\" }\n";
    let policies = POLICIES.replace("      trigger: [push, manual]\n", window);
    let policies = format!("zone: UTC\n{policies}");
    let broker = TestBroker::builder().policies(&policies).start().await;
    broker.clock.advance(Duration::from_secs(39));
    let token = broker.github(|_| {});
    let headers = [("Idempotency-Key", KEY)];
    let first = broker
        .exchange_with(&token, "deploy-api", &[], &headers)
        .await;
    assert_eq!(first.status, 200, "{}", first.body);
    broker.clock.advance(Duration::from_secs(1));
    let late = broker
        .exchange_with(&token, "deploy-api", &[], &headers)
        .await;
    assert_eq!(late.reason(), "policy.conditions", "{}", late.body);
    let failed = late.json()["failed_conditions"][0].clone();
    assert_eq!(failed["fact"], "time", "{}", late.body);
    assert_eq!(failed["actual"], "mon 14:14 (UTC)");
    let listed = broker.ask("/api/explain", &token, &json!({})).await;
    assert_eq!(listed.json()["credentials"], json!([]), "{}", listed.body);
}
