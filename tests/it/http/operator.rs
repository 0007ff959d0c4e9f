//! The operator listener: who may read it, and what it says.

use hallpass::http::metrics;

use crate::support::TestBroker;
use crate::support::client::{Answer, get, post_form, send};

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

/// T-118
#[tokio::test]
async fn configured_names_addresses_and_networks_may_ask() {
    let broker = TestBroker::builder()
        .listen(
            "operator_hosts: [ops.acme.dev, \"ops:9000\", 192.0.2.7, 10.20.0.0/16, \"2001:db8::/32\", \"[2001:db9::1]\"]",
        )
        .start()
        .await;
    for (host, status) in [
        ("ops.acme.dev", 200),
        ("OPS.acme.dev:8081", 200),
        ("ops:9000", 200),
        ("ops:9001", 400),
        ("192.0.2.7:8081", 200),
        ("192.0.2.8:8081", 400),
        ("10.20.30.40:8081", 200),
        ("10.21.30.40:8081", 400),
        ("[2001:db8::9]:8081", 200),
        ("[2001:db9::1]:8081", 200),
        ("[2001:db9::2]:8081", 400),
        ("10.20.30.40.evil.example", 400),
        ("evil.example", 400),
        ("localhost", 200),
    ] {
        let ask = format!("GET /readyz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = Answer::parse(&send(broker.operator(), ask).await).unwrap();
        assert_eq!(answer.status, status, "{host}: {}", answer.body);
    }
}

/// T-08, T-118
#[tokio::test]
async fn a_health_check_of_http_1_0_needs_no_host() {
    let broker = TestBroker::start().await;
    for (address, ask) in [
        // What HAProxy sends by `option httpchk`, alone and with a path.
        (broker.public(), "OPTIONS / HTTP/1.0\r\n\r\n"),
        (broker.public(), "GET /healthz HTTP/1.0\r\n\r\n"),
        (broker.operator(), "GET /readyz HTTP/1.0\r\n\r\n"),
    ] {
        let answer = Answer::parse(&send(address, ask).await).unwrap();
        assert_eq!(answer.status, 200, "{ask}: {}", answer.body);
        let newer = ask.replace("HTTP/1.0", "HTTP/1.1");
        let answer = Answer::parse(&send(address, newer).await).unwrap();
        assert_eq!(answer.status, 400, "{ask}: {}", answer.body);
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

/// T-97
#[tokio::test]
async fn metrics_have_the_names_types_and_labels_of_the_list() {
    let broker = TestBroker::start().await;
    post_form(broker.public(), "/token", "a=b").await;
    let text = get(broker.operator(), "/metrics").await.body;
    let list = metrics::list();
    let of_name = |name: &str| {
        let metric = list.iter().find(|metric| metric.name == name);
        metric.unwrap_or_else(|| panic!("`{name}` is not in the list"))
    };
    let (mut heads, mut described) = (0, None);
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert_eq!(help, format!("{}.", of_name(name).help));
            described = Some(of_name(name));
            heads += 1;
            continue;
        }
        let metric = described.unwrap();
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            assert_eq!(kind, format!("{} {}", metric.name, metric.kind));
            continue;
        }
        let rest = line.strip_prefix(metric.name).unwrap();
        let labels = rest.split_once('{').map_or("", |(suffix, rest)| {
            assert!(suffix.is_empty() || metric.kind == "histogram", "{line}");
            rest.split_once('}').unwrap().0
        });
        let names: Vec<&str> = labels
            .split(',')
            .filter_map(|label| Some(label.split_once('=')?.0))
            .filter(|name| *name != "le")
            .collect();
        assert_eq!(names, metric.labels, "{line}");
    }
    assert!(heads >= 7, "{text}");
}
