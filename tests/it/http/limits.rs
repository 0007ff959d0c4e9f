//! Sizes and times. The times are settings, short here, so that no test waits.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hallpass::config::Limits;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::TestBroker;
use crate::support::client::{Answer, PATIENCE, form, get, post_form, read_all, request, send};
use crate::support::wait::until;

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

fn short(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

/// T-01
#[tokio::test]
async fn a_body_over_64_kib_is_refused() {
    let broker = TestBroker::start().await;
    for (length, status) in [(64 << 10, 400), ((64 << 10) + 1, 413), (65 << 10, 413)] {
        let body = "a=".to_owned() + &"b".repeat(length - 2);
        let answer = post_form(broker.public(), "/token", &body).await;
        let reason = answer.reason();
        assert_eq!(
            (answer.status, reason == "request.size"),
            (status, status == 413)
        );
    }
}

/// T-01
#[tokio::test]
async fn a_chunked_body_without_end_is_refused_while_it_is_read() {
    let broker = TestBroker::start().await;
    let mut stream = TcpStream::connect(broker.public()).await.unwrap();
    let head = "POST /token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\
                Content-Type: application/x-www-form-urlencoded\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("1000\r\n{}\r\n", "b".repeat(0x1000));
    // The body never ends: only a broker that counts while it reads answers at all.
    for _ in 0..17 {
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    let answer = Answer::parse(&read_all(&mut stream).await).unwrap();
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (413, "request.size")
    );
}

/// T-01
#[tokio::test]
async fn a_subject_token_over_16_kib_is_refused_before_it_is_looked_at() {
    let broker = TestBroker::start().await;
    for token in ["a".repeat((16 << 10) + 1), ".".repeat((16 << 10) + 1)] {
        let body = exchange_form(&token);
        let answer = post_form(broker.public(), "/token", &body).await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (413, "request.size")
        );
        let headers = [
            ("Content-Type", "application/json"),
            ("Authorization", &format!("Bearer {token}")),
        ];
        let body = br#"{"credential":"deploy-api"}"#;
        let answer = request(broker.public(), "POST", "/api/credentials", &headers, body).await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (413, "request.size")
        );
    }
    let dots = post_form(
        broker.public(),
        "/token",
        &exchange_form(&".".repeat(16 << 10)),
    )
    .await;
    assert_eq!((dots.status, dots.reason().as_str()), (400, "token.shape"));
}

fn exchange_form(token: &str) -> String {
    form(&[
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("subject_token", token),
        (
            "subject_token_type",
            "urn:ietf:params:oauth:token-type:id_token",
        ),
        ("audience", "deploy-api"),
    ])
}

/// T-02
#[tokio::test]
async fn a_connection_that_sends_half_a_head_or_nothing_is_closed() {
    let broker = TestBroker::builder()
        .limits(short(|limits| {
            limits.head_time = Duration::from_millis(200);
        }))
        .start()
        .await;
    for start in ["", "POST /token HTTP/1.1\r\nHost: x\r\nContent-"] {
        let mut stream = TcpStream::connect(broker.public()).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        assert_eq!(read_all(&mut stream).await, "", "{start:?}");
    }
}

/// T-02
#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_closed() {
    let broker = TestBroker::builder()
        .limits(short(|limits| {
            limits.head_time = Duration::from_millis(300);
        }))
        .start()
        .await;
    let mut stream = TcpStream::connect(broker.public()).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, async {
        let mut buffer = [0; 64];
        loop {
            let _ = stream.write_all(b"G").await;
            let pause = tokio::time::sleep(Duration::from_millis(20));
            tokio::select! {
                read = stream.read(&mut buffer) => match read {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                },
                () = pause => {}
            }
        }
    });
    ended
        .await
        .expect("bytes that trickle in must not keep a connection open");
}

/// T-02
#[tokio::test]
async fn half_a_body_is_answered_with_408() {
    let broker = TestBroker::builder()
        .limits(short(|limits| {
            limits.request_time = Duration::from_millis(200);
        }))
        .start()
        .await;
    let text = send(
        broker.public(),
        "POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: 100\r\n\r\ngrant_type=",
    )
    .await;
    let answer = Answer::parse(&text).unwrap();
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (408, "request.slow")
    );
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(answer.json()["retryable"], true);
    assert_eq!(answer.header("retry-after"), Some("1"));
}

/// T-02
#[tokio::test]
async fn a_body_that_comes_byte_by_byte_is_answered_with_408() {
    let broker = TestBroker::builder()
        .limits(short(|limits| {
            limits.request_time = Duration::from_millis(300);
        }))
        .start()
        .await;
    let mut stream = TcpStream::connect(broker.public()).await.unwrap();
    let head = "POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\
                Content-Type: application/x-www-form-urlencoded\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut from, mut to) = stream.split();
    let drip = async {
        while to.write_all(b"a").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        std::future::pending::<String>().await
    };
    let text = tokio::select! {
        text = read_all(&mut from) => text,
        text = drip => text,
    };
    let answer = Answer::parse(&text).unwrap();
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (408, "request.slow")
    );
}

/// T-01, T-02, T-03, T-04
#[test]
fn a_broker_without_settings_has_these_limits() {
    insta::assert_debug_snapshot!(Limits::default(), @r"
    Limits {
        connections: 1024,
        exchanges: 256,
        per_repository: 60,
        head_time: 5s,
        request_time: 10s,
        idle_time: 30s,
        handshake_time: 5s,
        shutdown_time: 10s,
        body: 65536,
        subject_token: 16384,
        head: 32768,
        fields: 64,
    }
    ");
}

/// T-02
#[tokio::test]
async fn an_idle_connection_is_kept_for_a_while_and_then_closed() {
    let broker = TestBroker::builder()
        .limits(short(|limits| {
            limits.head_time = Duration::from_millis(100);
            limits.idle_time = Duration::from_millis(600);
        }))
        .start()
        .await;
    let mut stream = TcpStream::connect(broker.public()).await.unwrap();
    let ask = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.unwrap();
    // Longer than a head may take, shorter than idleness may last.
    tokio::time::sleep(Duration::from_millis(250)).await;
    stream.write_all(ask.as_bytes()).await.unwrap();
    let text = read_all(&mut stream).await;
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2, "{text}");
}

/// T-03
#[tokio::test]
async fn one_connection_too_many_is_told_at_once() {
    let broker = TestBroker::builder()
        .limits(short(|limits| limits.connections = 2))
        .start()
        .await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(broker.public()).await.unwrap();
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let mut buffer = [0; 12];
        stream.read_exact(&mut buffer).await.unwrap();
        held.push(stream);
    }
    let mut stream = TcpStream::connect(broker.public()).await.unwrap();
    let answer = Answer::parse(&read_all(&mut stream).await).unwrap();
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (503, "limit.busy")
    );
    assert_eq!(answer.text("/error"), "temporarily_unavailable");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let id = answer.text("/request_id");
    assert!(id.starts_with("req_"), "{}", answer.body);
    assert_eq!(answer.header("x-request-id"), Some(id.as_str()));
    drop(held);
    // A place that is given back is taken by the next one.
    until("a place is free again", async || {
        let mut stream = TcpStream::connect(broker.public()).await.unwrap();
        let ask = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let _ = stream.write_all(ask.as_bytes()).await;
        read_all(&mut stream).await.contains("200 OK")
    })
    .await;
}

/// A process may open as many files as the system lets it: 1,024 connections, seen from both ends,
/// take more than what is usual.
fn allow_open_files(wanted: u64) {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if soft < wanted {
        setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard).unwrap();
    }
}

/// T-03
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_connections_fill_the_places_and_the_rest_is_told_at_once() {
    allow_open_files(4_000);
    let broker = TestBroker::builder()
        .limits(short(|limits| {
            limits.head_time = Duration::from_secs(30);
            limits.idle_time = Duration::from_secs(60);
        }))
        .start()
        .await;
    let places = Limits::default().connections;
    assert_eq!(places, 1_024);
    let mut held = Vec::new();
    while held.len() < places {
        // Sixty-four at a time, so that no queue of the system is longer than it may be.
        let batch = (0..64).map(|_| TcpStream::connect(broker.public()));
        for stream in batch {
            held.push(stream.await.unwrap());
        }
        let last = held.last_mut().unwrap();
        last.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let mut buffer = [0; 15];
        last.read_exact(&mut buffer).await.unwrap();
        assert_eq!(
            &buffer,
            b"HTTP/1.1 200 OK",
            "after {} connections",
            held.len()
        );
    }
    let mut ids = std::collections::BTreeSet::new();
    for turned_away in places..5_000 {
        let mut stream = TcpStream::connect(broker.public()).await.unwrap();
        let answer = Answer::parse(&read_all(&mut stream).await).unwrap();
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (503, Some("1")),
            "{turned_away}"
        );
        ids.insert(answer.text("/request_id"));
        if turned_away % 500 == 0 {
            assert_eq!(get(broker.operator(), "/healthz").await.status, 200);
        }
    }
    assert_eq!(ids.len(), 5_000 - places);
    // Those who have a place keep it, and are served.
    let first = held.first_mut().unwrap();
    let ask = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    first.write_all(ask.as_bytes()).await.unwrap();
    assert!(read_all(first).await.starts_with("HTTP/1.1 200 OK"));
}

/// T-03
#[tokio::test]
async fn exchanges_beyond_the_limit_are_told_at_once_and_those_within_it_end() {
    let broker = TestBroker::builder()
        .limits(short(|limits| limits.exchanges = 3))
        .start()
        .await;
    broker.database.gate.forget_permits(1_000);
    let tokens = [(); 3].map(|()| broker.github(|_| {}));
    let under_way = tokens
        .each_ref()
        .map(|token| broker.exchange(token, "shop-db/read"));
    let [one, two, three] = under_way;
    let (answers, ()) = tokio::join!(async { tokio::join!(one, two, three) }, async {
        until("three mints began", async || broker.database.started() == 3).await;
        for _ in 0..50 {
            let answer = broker
                .exchange(&broker.github(|_| {}), "shop-db/read")
                .await;
            assert_eq!(
                (answer.status, answer.reason().as_str()),
                (503, "limit.busy")
            );
            assert_eq!(answer.header("retry-after"), Some("1"));
        }
        for address in [broker.public(), broker.operator()] {
            assert_eq!(get(address, "/healthz").await.status, 200);
        }
        assert_eq!(get(broker.operator(), "/readyz").await.status, 200);
        broker.database.gate.add_permits(1_000);
    });
    for answer in [answers.0, answers.1, answers.2] {
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    assert_eq!(broker.database.minted(), 3);
}

/// T-03
#[tokio::test]
async fn a_repository_over_its_rate_waits_as_told_and_others_are_unharmed() {
    let broker = TestBroker::start().await;
    for n in 0..60 {
        let answer = broker.exchange(&broker.github(|_| {}), "deploy-api").await;
        assert_eq!(answer.status, 200, "{n}: {}", answer.body);
    }
    let shop = || broker.github(|_| {});
    let refused = broker.exchange(&shop(), "deploy-api").await;
    assert_eq!(
        (refused.status, refused.reason().as_str()),
        (429, "limit.rate")
    );
    assert_eq!(refused.text("/error"), "temporarily_unavailable");
    assert_eq!(refused.header("retry-after"), Some("1"));
    // Each door counts into the same share, under whatever name the repository has.
    let renamed = broker.github(|job| job.repository = "acme/renamed".to_owned());
    assert_eq!(broker.credentials(&renamed, "deploy-api").await.status, 429);
    let body = serde_json::json!({ "credential": "deploy-api" });
    assert_eq!(broker.ask("/api/explain", &shop(), &body).await.status, 429);
    // Another repository, and the same name elsewhere, have their own.
    let other = broker.github(|job| job.repository_id = "702114590".to_owned());
    assert_eq!(broker.exchange(&other, "deploy-api").await.status, 400);
    let gitlab = broker.gitlab(|_| {});
    assert_eq!(broker.exchange(&gitlab, "deploy-api").await.status, 200);
    // What is refused before it is verified spends nobody's share.
    broker.clock.advance(Duration::from_secs(1));
    for _ in 0..5 {
        let forged = shop().replace('.', ".A");
        assert_eq!(broker.exchange(&forged, "deploy-api").await.status, 400);
    }
    assert_eq!(broker.exchange(&shop(), "deploy-api").await.status, 200);
    assert_eq!(broker.exchange(&shop(), "deploy-api").await.status, 429);
}

/// T-03
#[tokio::test]
async fn no_exchange_is_taken_on_beyond_the_limit_and_health_still_answers() {
    let broker = TestBroker::builder()
        .limits(short(|limits| limits.exchanges = 0))
        .start()
        .await;
    let answer = post_form(broker.public(), "/token", &exchange_form("a.b.c")).await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (503, "limit.busy")
    );
    assert_eq!(answer.text("/error"), "temporarily_unavailable");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(get(broker.public(), "/healthz").await.status, 200);
}

/// T-04
#[tokio::test]
async fn an_http_2_preface_on_the_clear_port_is_closed() {
    let broker = TestBroker::start().await;
    let text = send(broker.public(), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(!text.contains("200"), "{text}");
}

/// T-04
#[tokio::test]
async fn headers_over_32_kib_or_64_fields_are_refused() {
    let broker = TestBroker::start().await;
    let long = format!(
        "GET /healthz HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n",
        "b".repeat(33 << 10)
    );
    assert_eq!(
        Answer::parse(&send(broker.public(), long).await)
            .unwrap()
            .status,
        431
    );
    let fields = |count: usize| {
        let extra: Vec<_> = (0..count).map(|n| format!("A{n}: b\r\n")).collect();
        let extra = extra.concat();
        format!("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{extra}\r\n")
    };
    for (count, status) in [(62, 200), (63, 431), (99, 431), (5_000, 431)] {
        let text = send(broker.public(), fields(count)).await;
        assert_eq!(Answer::parse(&text).unwrap().status, status, "{count}");
    }
}

/// T-04
#[tokio::test]
async fn a_stalled_handshake_is_closed() {
    let broker = TestBroker::builder()
        .tls()
        .limits(short(|limits| {
            limits.handshake_time = Duration::from_millis(200);
        }))
        .start()
        .await;
    let mut stream = TcpStream::connect(broker.public()).await.unwrap();
    stream.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
    assert_eq!(read_all(&mut stream).await, "");
}

/// A client that believes any certificate, and offers these protocols.
async fn tls(
    broker: &TestBroker,
    protocols: &[&str],
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    hallpass::broker::install_crypto_provider();
    let certificate = CertificateDer::from_pem_file(broker.file("cert.pem")).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    let stream = TcpStream::connect(broker.public()).await.unwrap();
    TlsConnector::from(Arc::new(config))
        .connect("localhost".try_into().unwrap(), stream)
        .await
}

/// T-04
#[tokio::test]
async fn over_tls_there_is_http_1_1_only_with_the_same_limits() {
    let broker = TestBroker::builder().tls().start().await;
    assert!(tls(&broker, &["h2"]).await.is_err());
    let stream = tls(&broker, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let fields: Vec<String> = (0..64).map(|n| format!("A{n}: b\r\n")).collect();
    let fields = fields.concat();
    for (ask, status) in [
        (
            "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(),
            "200",
        ),
        (
            format!(
                "GET /healthz HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n",
                "b".repeat(33 << 10)
            ),
            "431",
        ),
        (
            format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{fields}\r\n"),
            "431",
        ),
    ] {
        let mut stream = tls(&broker, &["http/1.1"]).await.unwrap();
        let _ = stream.write_all(ask.as_bytes()).await;
        let text = read_all(&mut stream).await;
        assert_eq!(text.split(' ').nth(1), Some(status), "{text}");
    }
    let mut stream = tls(&broker, &[]).await.unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    assert!(!read_all(&mut stream).await.contains("200"));
}

/// T-10
#[tokio::test]
async fn a_compressed_body_is_refused_unread() {
    let broker = TestBroker::start().await;
    for coding in ["gzip", "br", "deflate", "gzip, identity"] {
        let headers = [FORM, ("Content-Encoding", coding)];
        let answer = request(broker.public(), "POST", "/token", &headers, b"\x1f\x8b").await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (415, "request.content_encoding"),
            "{coding}"
        );
    }
}
