//! What an issuer answers: which documents are taken, how much of one is read, and for how long.

use std::time::Duration;

use hallpass::token::TrustedIssuer;
use hallpass::token::keys::KeyError;
use hallpass::token::keys::remote::{Fetch as _, HttpsFetch};

use super::world::Log;
use crate::support::hostile_issuer::{Answer, DISCOVERY, HostileIssuer, JWKS, Then};

const EMPTY: &[u8] = b"{\"keys\":[]}";

pub(super) async fn fetch(issuer: &TrustedIssuer) -> Result<Vec<u8>, KeyError> {
    let within = Duration::from_secs(30);
    let fetch = HttpsFetch::new();
    let fetching = tokio::time::timeout(within, fetch.key_set(issuer));
    fetching.await.expect("a fetch ends by itself")
}

fn is_document(outcome: &Result<Vec<u8>, KeyError>) -> bool {
    matches!(outcome, Err(KeyError::Document(_)))
}

/// T-09, T-58
#[tokio::test]
async fn a_request_carries_nothing_but_our_own_headers() {
    let server = HostileIssuer::publishing(EMPTY).await;
    assert_eq!(fetch(&server.trusted()).await.unwrap(), EMPTY);
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    for head in requests {
        let mut names: Vec<String> = head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name.to_lowercase())
            .collect();
        names.sort();
        assert_eq!(names, ["accept", "host", "user-agent"], "{head}");
    }
}

/// T-55
#[tokio::test]
async fn redirects_are_not_followed() {
    let trap = HostileIssuer::publishing(EMPTY).await;
    let server = HostileIssuer::publishing(EMPTY).await;
    let mut issuer = server.trusted();
    issuer.ca = Some(format!("{}{}", server.ca_pem, trap.ca_pem));
    issuer.key_hosts = vec![format!("localhost:{}", trap.port)];
    let elsewhere = |path: &str| {
        [
            format!("{}{path}", trap.url()),
            format!("{}/x", server.url()),
            path.to_owned(),
        ]
    };
    for status in [
        "300 Multiple Choices",
        "301 Moved Permanently",
        "302 Found",
        "303 See Other",
        "304 Not Modified",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
        "399 Strange",
    ] {
        for (path, other) in [(JWKS, DISCOVERY), (DISCOVERY, JWKS)] {
            for location in elsewhere(path) {
                server.discover(&server.jwks_url());
                server.answer(JWKS, Answer::ok(EMPTY));
                server.answer(path, Answer::redirect(status, &location));
                let before = server.asked(path);
                let outcome = fetch(&issuer).await;
                assert!(is_document(&outcome), "{status} {location} {other}");
                assert_eq!(server.asked(path), before + 1, "{status} {location}");
            }
        }
    }
    assert_eq!(trap.connections(), 0);
    assert_eq!(server.asked("/x"), 0);
}

/// T-59
#[tokio::test]
async fn answers_that_are_no_document_are_failed_fetches() {
    let (log, _guard) = Log::capture();
    let server = HostileIssuer::publishing(EMPTY).await;
    let issuer = server.trusted();
    let (own, jwks) = (server.url(), server.jwks_url());
    for body in [
        "<html>canary</html>".to_owned(),
        String::new(),
        "[]".into(),
        "null".into(),
        "\"canary\"".into(),
        "{}".into(),
        format!(r#"["{own}","{jwks}"]"#),
        format!(r#"{{"issuer":"{own}"}}"#),
        format!(r#"{{"jwks_uri":"{jwks}"}}"#),
        format!(r#"{{"issuer":"{own}/","jwks_uri":"{jwks}"}}"#),
        format!(r#"{{"issuer":"https://canary.example","jwks_uri":"{jwks}"}}"#),
        format!(r#"{{"issuer":["{own}"],"jwks_uri":"{jwks}"}}"#),
        format!(r#"{{"issuer":null,"jwks_uri":"{jwks}"}}"#),
        format!(r#"{{"Issuer":"{own}","jwks_uri":"{jwks}"}}"#),
        format!(r#"{{"issuer":"{own}","jwks_uri":["{jwks}"]}}"#),
        format!(r#"{{"issuer":"{own}","jwks_uri":null}}"#),
        format!(r#"{{"issuer":"{own}","issuer":"{own}","jwks_uri":"{jwks}"}}"#),
        format!(r#"{{"issuer":"{own}","jwks_uri":"{jwks}"}}x"#),
        format!("\u{feff}{{\"issuer\":\"{own}\",\"jwks_uri\":\"{jwks}\"}}"),
    ] {
        server.answer(DISCOVERY, Answer::ok(body.as_bytes()));
        let outcome = fetch(&issuer).await;
        assert!(is_document(&outcome), "{body}");
        let text = outcome.unwrap_err().to_string();
        assert!(!text.contains("canary"), "{text}");
    }
    assert_eq!(server.asked(JWKS), 0);
    server.discover(&jwks);
    for status in [
        "201 Created",
        "202 Accepted",
        "203 Elsewhere",
        "204 No Content",
        "205 Reset",
        "206 Partial",
        "400 Bad",
        "401 No",
        "403 No",
        "404 No",
        "429 Slow",
        "500 Broken",
        "503 Busy",
        "599 Canary",
    ] {
        for path in [JWKS, DISCOVERY] {
            server.discover(&jwks);
            server.answer(path, Answer::status(status, "", EMPTY));
            let outcome = fetch(&issuer).await;
            assert!(is_document(&outcome), "{status}");
            let text = outcome.unwrap_err().to_string();
            let (code, _) = status.split_once(' ').unwrap();
            assert!(text.contains(code), "{text}");
        }
    }
    server.discover(&jwks);
    server.answer(JWKS, Answer::status("503 Busy", "", b"canary"));
    insta::assert_snapshot!(fetch(&issuer).await.unwrap_err(), @"the request for the key set was answered with status 503, expected 200");
    assert!(!log.text().contains("canary"), "{}", log.text());
}

/// T-58
#[tokio::test]
async fn a_compressed_answer_is_refused_unread() {
    let server = HostileIssuer::publishing(EMPTY).await;
    let bomb = gzip_bomb_piece();
    for coding in [
        "gzip",
        "GZIP",
        "br",
        "deflate",
        "zstd",
        "identity, gzip",
        "x",
    ] {
        for path in [JWKS, DISCOVERY] {
            server.discover(&server.jwks_url());
            let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\n\r\n");
            let answer = [head.as_bytes(), &GZIP_HEAD].concat();
            server.answer(path, Answer::raw(answer, Then::Repeat(bomb.clone())));
            let error = fetch(&server.trusted()).await.unwrap_err();
            assert!(
                error
                    .to_string()
                    .ends_with("is compressed although that was not asked for"),
                "{error}"
            );
        }
    }
    // Without the header it is just bytes that are no JSON, and they are counted as they come.
    server.discover(&server.jwks_url());
    let head = [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &GZIP_HEAD].concat();
    server.answer(JWKS, Answer::raw(head, Then::Repeat(bomb)));
    insta::assert_snapshot!(fetch(&server.trusted()).await.unwrap_err(), @"the key set is longer than 262144 bytes");
    assert!(server.sent() < 64 * 1_024 * 1_024, "{}", server.sent());
}

/// T-58: no coding at all may be spelled out (RFC 9110 section 8.4).
#[tokio::test]
async fn an_answer_in_no_coding_is_taken_also_where_the_server_says_so() {
    let server = HostileIssuer::publishing(EMPTY).await;
    for header in [
        "Content-Encoding: identity\r\n",
        "Content-Encoding: Identity\r\n",
        "Content-Encoding: identity\r\nContent-Encoding: identity\r\n",
    ] {
        server.answer(JWKS, Answer::status("200 OK", header, EMPTY));
        assert_eq!(fetch(&server.trusted()).await.unwrap(), EMPTY, "{header}");
    }
}

/// T-40: an issuer that writes its name with capitals or its port is asked at its address, and its
/// document is compared byte for byte.
#[tokio::test]
async fn an_issuer_with_capitals_in_its_name_is_found_and_compared_as_it_is_written() {
    let server = HostileIssuer::publishing(EMPTY).await;
    let mut issuer = server.trusted();
    issuer.url = format!("https://LocalHost:{}", server.port);
    let error = fetch(&issuer).await.unwrap_err().to_string();
    assert!(error.contains("has another `issuer`"), "{error}");
    let document = serde_json::json!({ "issuer": issuer.url, "jwks_uri": server.jwks_url() });
    server.answer(DISCOVERY, Answer::ok(document.to_string().as_bytes()));
    assert_eq!(fetch(&issuer).await.unwrap(), EMPTY);
}

/// RFC 1952: the head of a gzip file.
const GZIP_HEAD: [u8; 10] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3];

/// A deflate block that stands for 64 KiB of spaces; any number of them may follow one another.
fn gzip_bomb_piece() -> Vec<u8> {
    data_encoding::HEXLOWER.decode(BOMB.as_bytes()).unwrap()
}

const BOMB: &str = "ecc18100000000802095fd2917a90a00000000000000000000000000000000000000000000000000\
    00000000000000000000000000000000000000000000000000000000000000000000000000006a00\
    0000ffff";

/// T-58
#[tokio::test]
async fn an_endless_answer_is_read_up_to_its_limit_only() {
    let server = HostileIssuer::publishing(EMPTY).await;
    let spaces = vec![b' '; 16_384];
    let head = b"HTTP/1.1 200 OK\r\n\r\n{\"keys\":[";
    let endless = Answer::raw(*head, Then::Repeat(spaces.clone()));
    server.answer(JWKS, endless.clone());
    insta::assert_snapshot!(fetch(&server.trusted()).await.unwrap_err(), @"the key set is longer than 262144 bytes");
    server.answer(DISCOVERY, endless);
    insta::assert_snapshot!(fetch(&server.trusted()).await.unwrap_err(), @"the discovery document is longer than 65536 bytes");
    // A gigabyte that is announced is refused as early.
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n";
    server.answer(DISCOVERY, Answer::raw(*head, Then::Repeat(spaces.clone())));
    insta::assert_snapshot!(fetch(&server.trusted()).await.unwrap_err(), @"the discovery document is longer than 65536 bytes");
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = [b"4000\r\n", spaces.as_slice(), b"\r\n"].concat();
    server.answer(DISCOVERY, Answer::raw(*chunked, Then::Repeat(chunk)));
    insta::assert_snapshot!(fetch(&server.trusted()).await.unwrap_err(), @"the discovery document is longer than 65536 bytes");
    assert!(server.sent() < 64 * 1_024 * 1_024, "{}", server.sent());
    // The limit itself, and one byte more.
    for (path, limit) in [(DISCOVERY, 65_536), (JWKS, 262_144)] {
        server.discover(&server.jwks_url());
        let body = match path {
            JWKS => EMPTY.to_vec(),
            _ => format!(
                r#"{{"issuer":"{}","jwks_uri":"{}"}}"#,
                server.url(),
                server.jwks_url()
            )
            .into_bytes(),
        };
        let padded = |length: usize| [body.clone(), vec![b' '; length - body.len()]].concat();
        server.answer(JWKS, Answer::ok(EMPTY));
        server.answer(path, Answer::ok(&padded(limit)));
        assert!(fetch(&server.trusted()).await.is_ok(), "{path}");
        server.answer(path, Answer::ok(&padded(limit + 1)));
        assert!(is_document(&fetch(&server.trusted()).await), "{path}");
    }
}

/// T-58
#[tokio::test]
async fn answers_that_never_come_to_an_end_are_given_up() {
    let start = b"HTTP/1.1 200 OK\r\n".to_vec();
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let length = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_vec();
    let line = Then::Repeat(format!("X-A: {}\r\n", "a".repeat(1_000)).into_bytes());
    let drop_by_drop = Duration::from_millis(900);
    let cases = [
        ("nothing", Answer::raw(Vec::new(), Then::Hang)),
        ("half a status line", Answer::raw(*b"HTTP/1.", Then::Hang)),
        (
            "a long header",
            Answer::raw(
                [start.as_slice(), b"X: "].concat(),
                Then::Repeat(vec![b'a'; 16_384]),
            ),
        ),
        ("endless headers", Answer::raw(start.clone(), line.clone())),
        (
            "interim answers",
            Answer::raw(
                Vec::new(),
                Then::Repeat(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
            ),
        ),
        ("a stalled body", Answer::raw(length.clone(), Then::Hang)),
        ("a body cut short", Answer::raw(length, Then::Close)),
        (
            "a chunk without end",
            Answer::raw(
                [chunked.as_slice(), b"1;"].concat(),
                Then::Repeat(vec![b'x'; 16_384]),
            ),
        ),
        (
            "endless trailers",
            Answer::raw(
                [chunked.as_slice(), b"b\r\n{\"keys\":[]}\r\n0\r\n"].concat(),
                line,
            ),
        ),
        ("byte by byte", Answer::ok(EMPTY).slowly(drop_by_drop)),
    ];
    // All at once, since each may take its five seconds.
    let fetches = cases.map(|(what, answer)| {
        tokio::spawn(async move {
            let server = HostileIssuer::publishing(EMPTY).await;
            server.answer(JWKS, answer);
            let outcome = fetch(&server.trusted()).await;
            assert!(
                matches!(outcome, Err(KeyError::Fetch(_))),
                "{what}: {outcome:?}"
            );
            assert!(server.sent() < 64 * 1_024 * 1_024, "{what}");
        })
    });
    for fetch in fetches {
        fetch.await.unwrap();
    }
}

/// T-58
#[tokio::test]
async fn both_documents_together_have_five_seconds() {
    let server = HostileIssuer::publishing(EMPTY).await;
    let document = format!(
        r#"{{"issuer":"{}","jwks_uri":"{}"}}"#,
        server.url(),
        server.jwks_url()
    );
    let reply = |body: &[u8]| {
        let bytes = Answer::raw([b"HTTP/1.1 200 OK\r\n\r\n", body].concat(), Then::Close);
        // Three seconds each, in three or four dozen steps.
        bytes.slowly(Duration::from_millis(3_000 / (body.len() as u64 + 19)))
    };
    server.answer(DISCOVERY, reply(document.as_bytes()));
    server.answer(JWKS, reply(&[EMPTY, &[b' '; 40]].concat()));
    insta::assert_snapshot!(fetch(&server.trusted()).await.unwrap_err(), @"the issuer took longer than 5 s to answer");
    assert_eq!(server.asked(JWKS), 1, "the discovery document came in time");
}

/// T-59
#[tokio::test]
async fn a_transfer_coding_we_did_not_ask_for_gives_no_document() {
    let server = HostileIssuer::publishing(EMPTY).await;
    let gzip = "1f8b08000000000000ffab56ca4ead2c56b28a8eae0500bc2d9c5e0b000000";
    let gzip = data_encoding::HEXLOWER.decode(gzip.as_bytes()).unwrap();
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n";
    let size = format!("{:x}\r\n", gzip.len());
    let bytes = [head.as_bytes(), size.as_bytes(), &gzip, b"\r\n0\r\n\r\n"].concat();
    server.answer(JWKS, Answer::raw(bytes, Then::Close));
    let got = fetch(&server.trusted()).await;
    assert_ne!(got.ok().as_deref(), Some(EMPTY), "it was not decompressed");
}
