//! Shapes that two readers of HTTP take for different requests.

use crate::support::TestBroker;
use crate::support::client::{Answer, send};

/// What follows each shape on the same connection: it must never be answered.
const SECOND: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// T-08
#[tokio::test]
async fn ambiguous_requests_are_refused_and_what_follows_is_never_answered() {
    let broker = TestBroker::start().await;
    let shapes = [
        ("no host", "GET /healthz HTTP/1.1\r\n\r\n"),
        (
            "two hosts",
            "GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        ),
        (
            "the same host twice",
            "GET /healthz HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        ),
        ("an empty host", "GET /healthz HTTP/1.1\r\nHost: \r\n\r\n"),
        (
            "a host with a path",
            "GET /healthz HTTP/1.1\r\nHost: x/y\r\n\r\n",
        ),
        (
            "absolute form for another host",
            "GET http://evil.example/healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        ),
        (
            "two lengths",
            "POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
        ),
        (
            "a list of lengths",
            "POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 2\r\n\r\na",
        ),
        (
            "a signed length",
            "POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na",
        ),
        (
            "an unknown coding",
            "POST /token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "a coding before chunked",
            "POST /token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "two codings",
            "POST /token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\
             Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "chunked, then not",
            "POST /token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        ),
        (
            "a coding in HTTP/1.0",
            "POST /token HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "a space before the colon",
            "POST /token HTTP/1.1\r\nHost: x\r\nContent-Length : 1\r\n\r\na",
        ),
        (
            "a folded header",
            "POST /token HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
        ),
        (
            "a body on GET",
            "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na",
        ),
        (
            "a chunked body on GET",
            "GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "a chunk size that overflows",
            "POST /token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\r\nfffffffffffffffff\r\n",
        ),
        (
            "a chunk size with a sign",
            "POST /token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\r\n+1\r\na\r\n0\r\n\r\n",
        ),
        (
            "a bare line feed in a value",
            "GET /healthz HTTP/1.1\r\nHost: x\nA:\x00b\r\n\r\n",
        ),
        (
            "an unknown version",
            "GET /healthz HTTP/1.7\r\nHost: x\r\n\r\n",
        ),
    ];
    for (name, shape) in shapes {
        let text = send(broker.public(), format!("{shape}{SECOND}")).await;
        assert!(!text.contains("200 OK"), "{name}: {text}");
        assert!(text.matches("HTTP/1.").count() <= 1, "{name}: {text}");
        if let Some(answer) = Answer::parse(&text) {
            assert_eq!(answer.status, 400, "{name}: {text}");
        }
    }
}

/// T-08
#[tokio::test]
async fn nothing_is_read_after_a_request_with_a_transfer_coding() {
    let broker = TestBroker::start().await;
    for length in ["", "Content-Length: 5\r\n"] {
        let first = format!(
            "POST /token HTTP/1.1\r\nHost: x\r\n{length}Transfer-Encoding: chunked\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\r\n0\r\n\r\n"
        );
        let text = send(broker.public(), format!("{first}{SECOND}")).await;
        let answer = Answer::parse(&text).unwrap();
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{text}");
    }
}

/// T-08
#[tokio::test]
async fn absolute_form_for_the_same_host_is_served() {
    let broker = TestBroker::start().await;
    let ask = "GET http://x:80/healthz HTTP/1.1\r\nHost: x:80\r\nConnection: close\r\n\r\n";
    let answer = Answer::parse(&send(broker.public(), ask).await).unwrap();
    assert_eq!(answer.status, 200);
}
