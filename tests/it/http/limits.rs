//! Sizes and times. The times are settings, short here, so that no test waits.

use std::time::Duration;

use hallpass::config::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::TestBroker;
use crate::support::client::{Answer, PATIENCE, form, get, post_form, read_all, request, send};

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
    let body = "a=".to_owned() + &"b".repeat(65 << 10);
    let answer = post_form(broker.public(), "/token", &body).await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (413, "request.size")
    );
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
    drop(held);
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
