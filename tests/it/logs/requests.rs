//! Every line that is written for a request has the request's id, and the issuer once the token is
//! verified, whichever part writes it.

use hallpass::http::log_subscriber;
use serde_json::Value;

use crate::support::TestBroker;
use crate::support::client::Answer;
use crate::support::database::Mood;
use crate::support::hostile_issuer::HostileIssuer;
use crate::support::leaks::Log;
use crate::support::wait::until;

/// The lines that other parts than the request log wrote under the id of `answer`.
fn lines_of(log: &Log, answer: &Answer) -> Vec<Value> {
    let id = answer.header("x-request-id").unwrap();
    let text = log.text();
    for line in text.lines() {
        assert!(line.matches("\"request_id\"").count() <= 1, "{line}");
    }
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["request_id"] == id && line["message"] != "request")
        .collect()
}

#[tokio::test]
async fn a_line_about_a_database_has_the_request_id_of_the_answer() {
    let log = Log::default();
    let subscriber = log_subscriber("error", log.clone());
    let _guard = tracing::subscriber::set_default(subscriber);
    // The target's address has no server.
    let broker = TestBroker::builder().real_targets().start().await;
    let answers = [
        broker
            .exchange(&broker.github(|_| {}), "shop-db/read")
            .await,
        broker
            .exchange(&broker.github(|_| {}), "shop-db/read")
            .await,
    ];
    for answer in &answers {
        assert_eq!(answer.status, 503, "{}", answer.body);
        let lines = lines_of(&log, answer);
        assert_eq!(lines.len(), 1, "{}", log.text());
        assert_eq!(lines[0]["reason"], "database.mint");
        assert_eq!(lines[0]["issuer"], "github");
    }
}

#[tokio::test]
async fn a_line_about_an_outcome_that_is_not_recorded_has_the_request_id_of_the_answer() {
    let log = Log::default();
    let subscriber = log_subscriber("info", log.clone());
    let _guard = tracing::subscriber::set_default(subscriber);
    let broker = TestBroker::start().await;
    broker.database.mood(Mood::Refuses);
    broker.database.gate.forget_permits(1_000);
    let token = broker.github(|_| {});
    let (answer, ()) = tokio::join!(broker.exchange(&token, "shop-db/read"), async {
        until("the mint began", async || broker.database.started() == 1).await;
        broker.sink.fail(true);
        broker.database.gate.add_permits(1);
    });
    assert_eq!(answer.status, 503, "{}", answer.body);
    let lines = lines_of(&log, &answer);
    assert!(
        lines
            .iter()
            .any(|line| line["reason"] == "sink.failed" && line["issuer"] == "github"),
        "{}",
        log.text()
    );
}

#[tokio::test]
async fn a_line_about_keys_that_a_request_fetches_has_the_request_id_of_the_answer() {
    let log = Log::default();
    let subscriber = log_subscriber("info", log.clone());
    let _guard = tracing::subscriber::set_default(subscriber);
    let server = HostileIssuer::start().await;
    let broker = TestBroker::builder().github_of(&server).start().await;
    let token = broker.github(|job| job.issuer = server.url());
    let answer = broker.exchange(&token, "deploy-api").await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(!lines_of(&log, &answer).is_empty(), "{}", log.text());
}
