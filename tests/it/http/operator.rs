//! The operator listener: who may read it, and what it says.

use crate::support::TestBroker;
use crate::support::client::{Answer, get, send};

/// T-118
#[tokio::test]
async fn a_page_that_rebinds_its_name_reads_nothing() {
    let broker = TestBroker::start().await;
    for path in ["/readyz", "/metrics", "/healthz"] {
        for (host, status) in [
            ("evil.example", 400),
            ("localhost.evil.example", 400),
            ("10.0.0.1:8081", 400),
            ("localhost", 200),
            ("127.0.0.1:8081", 200),
            ("[::1]:8081", 200),
        ] {
            let ask = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            let answer = Answer::parse(&send(broker.operator(), ask).await).unwrap();
            assert_eq!(answer.status, status, "{path} for {host}: {}", answer.body);
        }
    }
}

#[tokio::test]
async fn readiness_names_every_issuer_and_the_reach_of_the_replay_store() {
    let broker = TestBroker::start().await;
    let answer = get(broker.operator(), "/readyz").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let json = answer.json();
    assert_eq!(json["replay"], "per_replica");
    assert!(
        json["policies"]["revision"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );
    assert!(json["issuers"]["github"].is_object(), "{json}");
    assert_eq!(json["clock"], "ok");
}

/// T-97
#[tokio::test]
async fn metrics_have_the_same_series_whatever_is_asked() {
    let broker = TestBroker::start().await;
    let series = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    get(broker.public(), "/nowhere").await;
    let before = series(&get(broker.operator(), "/metrics").await.body);
    get(broker.operator(), "/metrics").await;
    let warm = series(&get(broker.operator(), "/metrics").await.body);
    assert!(warm >= before);
    for n in 0..50 {
        get(broker.public(), &format!("/nowhere/{n}")).await;
    }
    let answer = get(broker.operator(), "/metrics").await;
    assert_eq!(series(&answer.body), warm, "{}", answer.body);
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
}
