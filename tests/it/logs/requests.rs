//! Every line that is written for a request has the request's id, and the issuer once the token is
//! verified, whichever part writes it.

use hallpass::http::log_subscriber;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::TestBroker;
use crate::support::client::{Answer, read_all};
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

#[tokio::test]
async fn every_line_of_an_exchange_has_the_request_id_of_its_answer() {
    let log = Log::default();
    let subscriber = log_subscriber("debug", log.clone());
    let _guard = tracing::subscriber::set_default(subscriber);
    let broker = TestBroker::start().await;
    let before = log.text().len();
    let token = broker.github(|_| {});
    let elsewhere = broker.github(|job| job.r#ref = "refs/heads/x".to_owned());
    let mut ids = Vec::new();
    for (token, status) in [(&token, 200), (&token, 400), (&elsewhere, 400)] {
        let answer = broker.exchange(token, "shop-db/read").await;
        assert_eq!(answer.status, status, "{}", answer.body);
        ids.push(answer.header("x-request-id").unwrap().to_owned());
    }
    broker.database.mood(Mood::Refuses);
    let answer = broker
        .exchange(&broker.github(|_| {}), "shop-db/read")
        .await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    ids.push(answer.header("x-request-id").unwrap().to_owned());
    let text = log.text();
    let lines: Vec<Value> = text
        .get(before..)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["target"].as_str().unwrap().starts_with("hallpass"))
        .collect();
    assert!(lines.len() >= ids.len(), "{text}");
    for line in &lines {
        let id = line["request_id"].as_str().unwrap_or_default();
        assert!(ids.iter().any(|known| known == id), "{line}");
        assert_eq!(line["issuer"], "github", "{line}");
    }
}

#[tokio::test]
async fn what_an_exchange_logs_after_its_caller_went_away_has_its_request_id() {
    let log = Log::default();
    let subscriber = log_subscriber("info", log.clone());
    let _guard = tracing::subscriber::set_default(subscriber);
    let broker = TestBroker::start().await;
    broker.database.mood(Mood::Refuses);
    broker.database.gate.forget_permits(1_000);
    let token = broker.github(|_| {});
    tokio::select! {
        answer = broker.exchange(&token, "shop-db/read") => panic!("{}", answer.body),
        () = until("the mint began", async || broker.database.started() == 1) => {}
    }
    until("the caller is gone", async || {
        log.text().contains("client.gone")
    })
    .await;
    broker.sink.fail(true);
    broker.database.gate.add_permits(1);
    until("the exchange ended", async || {
        log.text().contains("an outcome could not be recorded")
    })
    .await;
    let text = log.text();
    let line = |part: &str| -> Value {
        let line = text.lines().find(|line| line.contains(part)).unwrap();
        serde_json::from_str(line).unwrap()
    };
    let (gone, failed) = (
        line("client.gone"),
        line("an outcome could not be recorded"),
    );
    assert!(gone["request_id"].is_string(), "{gone}");
    assert_eq!(failed["request_id"], gone["request_id"], "{failed}");
    assert_eq!(failed["issuer"], "github", "{failed}");
}

/// hyper answers such a head for itself, before any of our layers sees it.
///
/// T-08
#[tokio::test]
async fn a_head_that_hyper_refuses_is_in_the_debug_log_with_its_address() {
    let log = Log::default();
    let subscriber = log_subscriber("debug", log.clone());
    let _guard = tracing::subscriber::set_default(subscriber);
    let broker = TestBroker::start().await;
    for (head, problem) in [
        (
            "POST /token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
            "invalid",
        ),
        ("GET /secret-path\r\n\r\n", "invalid"),
    ] {
        let mut stream = TcpStream::connect(broker.public()).await.unwrap();
        let address = stream.local_addr().unwrap().to_string();
        stream.write_all(head.as_bytes()).await.unwrap();
        let text = read_all(&mut stream).await;
        assert_eq!(text.split(' ').nth(1), Some("400"), "{text}");
        until("the line is written", async || {
            log.text().lines().any(|line| {
                let line: Value = serde_json::from_str(line).unwrap();
                let error = line["error"].as_str().unwrap_or_default();
                line["level"] == "DEBUG" && line["peer"] == *address && error.contains(problem)
            })
        })
        .await;
    }
    assert!(!log.text().contains("secret-path"), "{}", log.text());
}
