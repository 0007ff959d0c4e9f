//! A hundred thousand refusals: what is kept of them is bounded, and nothing that matters is lost.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hallpass::http::log_subscriber;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::TestBroker;
use crate::support::client::{PATIENCE, form, get};
use crate::support::leaks::Log;

/// Sent in one go on one connection; the broker's time moves on after each.
const BATCH: usize = 5_000;

/// Texts that never come twice.
fn random() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT
        .fetch_add(1, Ordering::Relaxed)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{number:016x}")
}

/// Requests that are refused, each for other made-up texts, in every place that a caller chooses.
fn batch() -> String {
    let mut text = String::new();
    for index in 0..BATCH {
        let (one, two) = (random(), random());
        let body = match index % 4 {
            0 => form(&[("subject_token", &one), (&two, &one)]),
            1 => form(&[("grant_type", &one), ("audience", &two)]),
            2 => form(&[
                (
                    "grant_type",
                    "urn:ietf:params:oauth:grant-type:token-exchange",
                ),
                ("subject_token", &format!("{one}.{two}.{one}")),
                (
                    "subject_token_type",
                    "urn:ietf:params:oauth:token-type:id_token",
                ),
                ("audience", &two),
            ]),
            _ => String::new(),
        };
        let path = if index % 4 == 3 {
            format!("/{one}")
        } else {
            "/token".to_owned()
        };
        let _ = write!(
            text,
            "POST {path} HTTP/1.1\r\nHost: x\r\nUser-Agent: {two}\r\nX-{one}: {two}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
    }
    text
}

/// Sends a batch and waits for as many answers.
async fn refuse(broker: &TestBroker) {
    let stream = TcpStream::connect(broker.public()).await.unwrap();
    let (mut from, mut to) = stream.into_split();
    let text = batch();
    let sent = tokio::spawn(async move {
        to.write_all(text.as_bytes()).await.unwrap();
        to
    });
    let (mut answers, mut rest) = (0, Vec::new());
    let mut buffer = vec![0_u8; 1 << 16];
    while answers < BATCH {
        let read = tokio::time::timeout(PATIENCE, from.read(&mut buffer)).await;
        let count = read.expect("the broker answers").unwrap();
        assert!(count > 0, "only {answers} were answered");
        rest.extend_from_slice(&buffer[..count]);
        answers += rest
            .windows(START.len())
            .filter(|part| *part == START)
            .count();
        // What may be the front of the next stays.
        rest.drain(..rest.len().saturating_sub(START.len() - 1));
    }
    drop(sent.await.unwrap());
}

const START: &[u8] = b"HTTP/1.1 ";

/// T-97
#[tokio::test]
async fn refusals_add_no_series_and_a_bounded_log_while_every_permit_is_there() {
    refuse_many(4).await;
}

/// T-97
#[tokio::test]
#[ignore = "takes long; make test-long"]
async fn long_a_hundred_thousand_refusals_add_no_series_and_a_bounded_log() {
    refuse_many(20).await;
}

async fn refuse_many(batches: usize) {
    let log = Log::default();
    let subscriber = log_subscriber("info", log.clone());
    let _guard = tracing::subscriber::set_default(subscriber);
    let broker = TestBroker::start().await;
    refuse(&broker).await;
    let mut permits = Vec::new();
    let answer = broker
        .exchange(&broker.github(|_| {}), "shop-db/read")
        .await;
    permits.push(answer.header("x-request-id").unwrap().to_owned());
    get(broker.operator(), "/metrics").await;
    let before = series(&get(broker.operator(), "/metrics").await.body);
    for _ in 1..batches {
        refuse(&broker).await;
        let answer = broker
            .exchange(&broker.github(|_| {}), "shop-db/read")
            .await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        permits.push(answer.header("x-request-id").unwrap().to_owned());
        broker.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(
        series(&get(broker.operator(), "/metrics").await.body),
        before
    );
    get(broker.public(), "/healthz").await;

    let lines: Vec<Value> = log
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |reason: &str| {
        lines
            .iter()
            .filter(|line| line["message"] == "request" && line["reason"] == reason)
            .count()
    };
    let reasons = [
        "request.missing",
        "request.grant",
        "token.shape",
        "token.encoding",
        "token.json",
        "request.path",
        "request.encoding",
    ];
    let refused: usize = reasons.iter().map(|reason| of(reason)).sum();
    // A second for each, a hundred lines each of four reasons.
    assert!(
        (batches * 50..=batches * 400).contains(&refused),
        "{refused} lines"
    );
    let told: u64 = lines
        .iter()
        .filter(|line| line["message"] == "requests left out of the log")
        .map(|line| line["requests"].as_u64().unwrap())
        .sum();
    let all = u64::try_from((batches - 1) * BATCH - refused).unwrap();
    assert!(told >= all, "{told} were told of {all}");
    for id in &permits {
        let found = lines
            .iter()
            .filter(|line| line["request_id"] == **id)
            .count();
        assert_eq!(found, 1, "{id}");
    }
    let outcomes = broker.events("outcome").await;
    let recorded: BTreeSet<_> = outcomes
        .iter()
        .map(|event| event["request_id"].as_str().unwrap())
        .collect();
    assert!(permits.iter().all(|id| recorded.contains(id.as_str())));
    let refusals = broker.events("refusal").await.len();
    assert!(refusals <= batches * 200, "{refusals} events");
    assert!(!broker.events("left_out").await.is_empty());
}

fn series(text: &str) -> BTreeSet<String> {
    let names = text.lines().filter(|line| !line.starts_with('#'));
    let names = names
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, _)| name.to_owned());
    names.collect()
}
