//! How much memory one refused request takes, counted by the allocator. A test binary of its own, so
//! that nothing else runs beside the one test, and nothing else pays for the counting.
#![cfg(test)]

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use hallpass::broker::{self, Overrides};
use hallpass::config::Settings;
use hallpass::rootkey::RootKey;
use hallpass::token::keys::FileKeys;
use peak_alloc::PeakAlloc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// T-01
const MOST: usize = 256 << 10;

const SETTINGS: &str = "
issuer: https://hallpass.example
replica: test
root_key: { file: root.key }
listen: { public: 127.0.0.1:0, operator: 127.0.0.1:0 }
policies: { path: policies }
audit: { sinks: [ { kind: file, path: audit.jsonl, required: true } ] }
";

const POLICIES: &str = r#"
issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "48213377" } ] }
"#;

fn settings(folder: &Path) -> Settings {
    let key = folder.join("root.key");
    fs::write(&key, RootKey::generate().unwrap().to_text().expose()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::create_dir(folder.join("policies")).unwrap();
    fs::write(folder.join("policies/root.yaml"), POLICIES).unwrap();
    Settings::parse("hallpass.yaml", SETTINGS.to_owned(), folder, &|_| None).unwrap()
}

/// One request with a name, and the status it must get.
struct Shape {
    name: &'static str,
    status: u16,
    head: String,
    body: Vec<u8>,
}

fn post(name: &'static str, status: u16, path: &str, headers: &str, body: Vec<u8>) -> Shape {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
    );
    Shape {
        name,
        status,
        head,
        body,
    }
}

fn exchange(name: &'static str, status: u16, subject_token: &str) -> Shape {
    let body = format!(
        "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&audience=x\
         &subject_token_type=urn:ietf:params:oauth:token-type:id_token&subject_token={subject_token}"
    );
    post(name, status, "/token", FORM, body.into_bytes())
}

/// A token in three parts, of which the first two are these.
fn token(header: &str, payload: &str) -> String {
    let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    format!("{}.{}.AAAA", part(header), part(payload))
}

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
const JSON: &str = "Content-Type: application/json\r\nAuthorization: Bearer a.b.c\r\n";
const HEADER: &str = r#"{"alg":"RS256","kid":"k1"}"#;

fn many(piece: &str, bytes: usize) -> String {
    piece.repeat(bytes / piece.len())
}

/// An object of as many members as go into so many bytes.
fn members(bytes: usize) -> String {
    let most = bytes / 10;
    let members: Vec<String> = (0..most).map(|n| format!("\"{n:x}\":0")).collect();
    format!("{{{}}}", members.join(","))
}

fn requests() -> Vec<Shape> {
    let chunks = format!("1000\r\n{}\r\n", "b".repeat(0x1000)).repeat(17);
    vec![
        post(
            "a body that is too long",
            413,
            "/token",
            FORM,
            vec![b'a'; (64 << 10) + 1],
        ),
        Shape {
            name: "chunks that are too long together",
            status: 413,
            head: format!(
                "POST /token HTTP/1.1\r\nHost: x\r\n{FORM}Transfer-Encoding: chunked\r\n\r\n"
            ),
            body: chunks.into_bytes(),
        },
        post(
            "a form of parameters",
            400,
            "/token",
            FORM,
            many("a=b&", 64 << 10).into_bytes(),
        ),
        post(
            "a form of escapes",
            400,
            "/token",
            FORM,
            many("%61", 64 << 10).into_bytes(),
        ),
        post(
            "a compressed body",
            415,
            "/token",
            &format!("{FORM}Content-Encoding: gzip\r\n"),
            vec![0x1f; 1 << 10],
        ),
        post(
            "a handle of rubbish",
            400,
            "/revoke",
            FORM,
            format!("token=hpl_{}", many("A", 60_000)).into_bytes(),
        ),
        Shape {
            name: "a head that is too long",
            status: 431,
            head: format!(
                "GET /healthz HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n",
                "b".repeat(63 << 10)
            ),
            body: Vec::new(),
        },
    ]
}

fn tokens() -> Vec<Shape> {
    vec![
        exchange(
            "a token of 16 KiB and one byte",
            413,
            &"a".repeat((16 << 10) + 1),
        ),
        exchange(
            "a token of dots that is too long",
            413,
            &".".repeat((16 << 10) + 1),
        ),
        exchange("a token of dots", 400, &".".repeat(16 << 10)),
        exchange("a token of a million dots", 413, &".".repeat(1_000_000)),
        exchange("a header in a header", 400, &token(&many("[", 4_000), "{}")),
        exchange(
            "a payload of braces",
            400,
            &token(HEADER, &many("{\"a\":", 11_000)),
        ),
        exchange(
            "a payload of members",
            400,
            &token(HEADER, &members(11_000)),
        ),
        exchange(
            "a payload of lists without items",
            400,
            &token(
                HEADER,
                &format!(
                    "{{\"a\":[[[{}}}",
                    many(&format!("{}]", many(",", 3_900)), 3 * 3_901)
                ),
            ),
        ),
        exchange(
            "a payload of zeros",
            400,
            &token(HEADER, &format!("{{\"a\":[{}0]}}", many("0,", 11_000))),
        ),
        exchange(
            "a number without end",
            400,
            &token(HEADER, &format!("{{\"a\":{}}}", many("9", 11_000))),
        ),
    ]
}

fn doors() -> Vec<Shape> {
    vec![
        post(
            "a door of brackets",
            400,
            "/api/credentials",
            JSON,
            many("[", 64 << 10).into_bytes(),
        ),
        post(
            "a door of members",
            400,
            "/api/credentials",
            JSON,
            members(64 << 10).into_bytes(),
        ),
        post(
            "a door of scopes",
            400,
            "/api/credentials",
            JSON,
            format!("{{\"scopes\":[{}\"\"]}}", many("\"\",", 60_000)).into_bytes(),
        ),
    ]
}

/// The status that comes back. Everything the client itself needs is made before the count begins.
async fn ask(address: SocketAddr, shape: &Shape, answer: &mut [u8]) -> (u16, usize) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let mut stream = TcpStream::connect(address).await.unwrap();
    // Both ways at once: an early answer must not wait for a body that nobody reads.
    let (mut from, mut to) = stream.split();
    let write = async {
        let _ = to.write_all(shape.head.as_bytes()).await;
        let _ = to.write_all(&shape.body).await;
    };
    let read = async {
        let mut length = 0;
        while let Ok(count) = from.read(&mut answer[length..]).await {
            if count == 0 {
                break;
            }
            length += count;
        }
        length
    };
    let patience = Duration::from_secs(20);
    let ((), length) = tokio::time::timeout(patience, async { tokio::join!(write, read) })
        .await
        .unwrap_or_else(|_| panic!("{}: neither answered nor closed", shape.name));
    let most = MEMORY.peak_usage().saturating_sub(before);
    let text = std::str::from_utf8(&answer[..length]).unwrap();
    let status = text.split(' ').nth(1).unwrap_or_default();
    (status.parse().unwrap_or_default(), most)
}

/// T-01, T-10, T-16
#[tokio::test]
async fn a_refused_request_takes_less_than_256_kib() {
    let folder = tempfile::tempdir().unwrap();
    let overrides = Overrides {
        keys: Some(std::sync::Arc::new(FileKeys::new())),
        ..Overrides::default()
    };
    let running = broker::start(&settings(folder.path()), overrides)
        .await
        .unwrap();
    let mut answer = vec![0; 16 << 10];
    let shapes: Vec<Shape> = [requests(), tokens(), doors()]
        .into_iter()
        .flatten()
        .collect();
    let mut too_much = Vec::new();
    for shape in &shapes {
        // What is made once, for the first request of its kind, is no part of what each takes.
        ask(running.public_addr, shape, &mut answer).await;
        let (status, most) = ask(running.public_addr, shape, &mut answer).await;
        if status != shape.status || most > MOST {
            too_much.push(format!("{}: {status}, {most} bytes", shape.name));
        }
    }
    assert!(too_much.is_empty(), "{}", too_much.join("\n"));
    // And nothing of it stays.
    let before = MEMORY.current_usage();
    for _ in 0..50 {
        for shape in &shapes {
            ask(running.public_addr, shape, &mut answer).await;
        }
    }
    let grown = MEMORY.current_usage().saturating_sub(before);
    assert!(grown < MOST, "{grown} bytes stay");
    running.shutdown().await;
}
