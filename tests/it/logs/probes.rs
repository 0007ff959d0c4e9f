//! Health checks and scrapers ask every few seconds: what goes well is not worth a line each.

use hallpass::http::log_subscriber;

use crate::support::TestBroker;
use crate::support::client::{get, request};
use crate::support::leaks::Log;

/// The request lines of a log in which a broker was probed and asked for what is not there.
async fn lines(level: &str) -> Vec<serde_json::Value> {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log_subscriber(level, log.clone()));
    let broker = TestBroker::start().await;
    for _ in 0..3 {
        for path in ["/healthz", "/readyz", "/metrics"] {
            let answer = get(broker.operator(), path).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        }
        let head = request(broker.public(), "HEAD", "/healthz", &[], b"").await;
        let options = request(broker.public(), "OPTIONS", "/", &[], b"").await;
        assert_eq!((head.status, options.status), (200, 200));
    }
    get(broker.public(), "/nowhere").await;
    get(broker.public(), "/.well-known/jwks.json").await;
    request(broker.operator(), "POST", "/readyz", &[], b"").await;
    let text = log.text();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines
        .filter(|line: &serde_json::Value| line["message"] == "request")
        .collect()
}

/// T-97
#[tokio::test]
async fn a_probe_that_finds_all_well_leaves_no_line() {
    let told = lines("info").await;
    let reasons: Vec<_> = told
        .iter()
        .map(|line| (line["route"].as_str().unwrap(), line["status"].as_u64()))
        .collect();
    assert_eq!(
        reasons,
        [
            ("other", Some(404)),
            ("/.well-known/jwks.json", Some(200)),
            ("/readyz", Some(405))
        ]
    );
    assert_eq!(lines("debug").await.len(), 3 * 5 + 3);
}
