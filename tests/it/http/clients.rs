//! The command line for jobs, served from a folder: through real sockets and with curl.

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use aws_lc_rs::digest::{SHA256, digest};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};

use super::start::{folder, serve, write_settings};
use crate::support::TestBroker;
use crate::support::client::{Answer, get, request, send};
use crate::support::leaks::Observed as _;
use crate::support::sources::root;

const CLIENTS: [&str; 4] = [
    "/client/linux-x86_64",
    "/client/linux-aarch64",
    "/client/macos-x86_64",
    "/client/macos-aarch64",
];

/// A folder with all four clients, each with content of its own.
fn clients() -> TempDir {
    let clients = tempfile::tempdir().unwrap();
    for path in CLIENTS {
        put(clients.path(), path, path.as_bytes());
    }
    clients
}

fn file(path: &str) -> &str {
    path.trim_start_matches("/client/")
}

/// Writes a client as an upgrade does: beside it, then renamed.
fn put(folder: &Path, path: &str, content: &[u8]) {
    let draft = folder.join("draft");
    fs::write(&draft, content).unwrap();
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o644)).unwrap();
    fs::rename(&draft, folder.join(file(path))).unwrap();
}

async fn broker(clients: &Path) -> TestBroker {
    let setting = format!("clients: {{ folder: {} }}", clients.display());
    TestBroker::builder().setting(&setting).start().await
}

fn digest_of(content: &[u8]) -> String {
    let digest = digest(&SHA256, content);
    format!(
        "sha-256=:{}:",
        data_encoding::BASE64.encode(digest.as_ref())
    )
}

/// The response to a request that is not yet read to its end.
struct Download {
    stream: BufReader<TcpStream>,
    head: String,
}

impl Download {
    async fn begin(broker: &TestBroker, path: &str) -> Self {
        Self::begin_from(1, broker, path, "").await
    }

    /// From `127.0.0.x`, with more lines in the head.
    async fn begin_from(x: u8, broker: &TestBroker, path: &str, headers: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, x], 0))).unwrap();
        let stream = socket.connect(broker.public()).await.unwrap();
        let mut stream = BufReader::with_capacity(1, stream);
        let ask = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}Connection: close\r\n\r\n");
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(stream.read_line(&mut head).await.unwrap() > 0, "{head}");
        }
        Self { stream, head }
    }

    fn answer(&self) -> Answer {
        Answer::parse(&self.head).unwrap()
    }

    /// What comes until the broker closes.
    async fn rest(mut self) -> Vec<u8> {
        let mut content = Vec::new();
        // A connection that is cut may end with a reset.
        let _ = self.stream.read_to_end(&mut content).await;
        content
    }
}

/// T-211
#[tokio::test]
async fn a_client_is_served_under_its_own_path_only() {
    let clients = clients();
    fs::write(clients.path().join("notes.txt"), "not for jobs").unwrap();
    let (on, off) = (broker(clients.path()).await, TestBroker::start().await);
    for path in CLIENTS {
        let answer = get(on.public(), path).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, path));
        let answer = get(off.public(), path).await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (404, "request.path")
        );
    }
    for path in [
        "/client",
        "/client/",
        "/client/notes.txt",
        "/client/draft",
        "/client/linux-x86_64/",
        "/client//linux-x86_64",
        "/client/Linux-x86_64",
        "/client/linux%2Dx86_64",
        "/client/%6cinux-x86_64",
        "/client/linux-x86_64%00",
        "/client/linux-x86_64.sha256",
        "/client/./linux-x86_64",
        "/client/../client/linux-x86_64",
        "/client/../root.key",
        "/client/..%2froot.key",
        "/client/%2e%2e/root.key",
        "/client/....//root.key",
        "/client//etc/passwd",
        "/client/%2fetc%2fpasswd",
        "/client/..\\root.key",
        "/client/linux-x86_64/../notes.txt",
    ] {
        let answer = get(on.public(), path).await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (404, "request.path"),
            "{path}"
        );
    }
}

/// T-211
#[tokio::test]
async fn a_platform_without_a_client_is_not_found() {
    let clients = clients();
    fs::remove_file(clients.path().join("macos-x86_64")).unwrap();
    let broker = broker(clients.path()).await;
    let answer = get(broker.public(), "/client/macos-x86_64").await;
    assert_eq!(answer.status, 404);
    assert!(
        answer.body.contains("no binary for this platform"),
        "{}",
        answer.body
    );
}

/// T-212
#[tokio::test]
async fn what_is_no_plain_file_of_the_folder_is_not_sent() {
    let clients = clients();
    let secret = clients.path().join("secret");
    fs::write(&secret, "outside").unwrap();
    let path = clients.path().join("linux-x86_64");
    let broker = broker(clients.path()).await;
    let refused = async |problem: &str| {
        let answer = get(broker.public(), "/client/linux-x86_64").await;
        let found = (answer.status, answer.reason());
        assert_eq!(found, (503, "clients.file".to_owned()), "{problem}");
        assert!(!answer.body.contains("outside"), "{}", answer.body);
        let _ = fs::remove_file(&path);
        let _ = fs::remove_dir(&path);
    };
    fs::remove_file(&path).unwrap();
    symlink(&secret, &path).unwrap();
    refused("a link out of the folder").await;
    symlink("linux-aarch64", &path).unwrap();
    refused("a link within the folder").await;
    mkfifo(&path, Mode::from_bits_truncate(0o644)).unwrap();
    refused("a pipe").await;
    fs::create_dir(&path).unwrap();
    refused("a folder").await;
    fs::write(&path, "").unwrap();
    refused("an empty file").await;
    fs::write(&path, "x").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    refused("a file that every user may write").await;
    fs::write(&path, "x").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();
    refused("a file that its group may write").await;
    fs::hard_link(&secret, &path).unwrap();
    refused("another name of a file").await;
    fs::File::create(&path)
        .unwrap()
        .set_len((256 << 20) + 1)
        .unwrap();
    refused("a file that is too large").await;
    put(clients.path(), "linux-x86_64", b"right again");
    let mode = |mode| fs::set_permissions(clients.path(), fs::Permissions::from_mode(mode));
    for open in [0o777, 0o775] {
        mode(open).unwrap();
        let answer = get(broker.public(), "/client/linux-aarch64").await;
        assert_eq!(answer.reason(), "clients.file");
    }
    mode(0o755).unwrap();
    let answer = get(broker.public(), "/client/linux-x86_64").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "right again"));
}

/// T-212
#[test]
fn a_check_of_the_settings_says_which_clients_are_missing_or_unfit() {
    let folder = folder();
    let clients = clients();
    let settings = format!("clients: {{ folder: {} }}\n", clients.path().display());
    write_settings(folder.path(), &settings);
    let check = || {
        let Output { status, stderr, .. } = serve(folder.path(), &["--check"]).observed();
        let text = String::from_utf8(stderr).unwrap();
        let shown = clients.path().display().to_string();
        (status.code(), text.trim().replace(&shown, "CLIENTS"))
    };
    assert_eq!(check(), (Some(0), String::new()));
    let path = |name: &str| clients.path().join(name);
    fs::remove_file(path("macos-x86_64")).unwrap();
    let (code, text) = check();
    assert_eq!(code, Some(0));
    insta::assert_snapshot!(text, @"hallpass: `clients.folder`: `CLIENTS` has no `macos-x86_64`; jobs on these platforms get 404");
    symlink("linux-x86_64", path("macos-x86_64")).unwrap();
    let (code, text) = check();
    assert_eq!(code, Some(5));
    insta::assert_snapshot!(text, @"hallpass: client `CLIENTS/macos-x86_64` cannot be served: it is a symbolic link; see `clients:` in the settings");
    for name in CLIENTS.map(file) {
        fs::remove_file(path(name)).unwrap();
    }
    let (code, text) = check();
    assert_eq!(code, Some(5));
    insta::assert_snapshot!(text, @"hallpass: folder `CLIENTS` has no client; expected files named `linux-x86_64`, `linux-aarch64`, `macos-x86_64`, `macos-aarch64`; see `clients:` in the settings");
    fs::remove_dir(clients.path()).unwrap();
    let (code, text) = check();
    assert_eq!(code, Some(5));
    insta::assert_snapshot!(text, @"hallpass: folder `CLIENTS` cannot be read: No such file or directory (os error 2); see `clients:` in the settings");
    // And `serve` itself says the same.
    let output = serve(folder.path(), &[]).observed();
    assert_eq!(output.status.code(), Some(5));
}

/// T-213, T-214
#[tokio::test]
async fn downloads_have_eight_slots_and_take_none_of_the_exchanges() {
    let clients = clients();
    let content = vec![b'x'; LARGE];
    put(clients.path(), "linux-x86_64", &content);
    let broker = broker(clients.path()).await;
    let mut slow = Vec::new();
    for x in [2, 2, 3, 3, 4, 4, 5, 5] {
        let download = Download::begin_from(x, &broker, "/client/linux-x86_64", "").await;
        assert_eq!(download.answer().status, 200);
        slow.push(download);
    }
    for method in ["GET", "HEAD"] {
        let answer = request(broker.public(), method, "/client/linux-aarch64", &[], b"").await;
        assert_eq!(answer.status, 503, "{method}");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    let answer = get(broker.public(), "/client/linux-aarch64").await;
    assert_eq!(answer.reason(), "limit.busy");
    let token = broker.github(|_| {});
    let answer = broker.exchange(&token, "deploy-api").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    // A reader that goes away, and one that finishes, each give a slot back.
    drop(slow.pop());
    free(&broker).await;
    let next = Download::begin(&broker, "/client/linux-x86_64").await;
    assert_eq!(next.answer().status, 200);
    assert!(slow.pop().unwrap().rest().await == content);
    free(&broker).await;
}

/// T-213
#[tokio::test]
async fn one_address_takes_two_slots_and_leaves_the_others() {
    let clients = clients();
    put(clients.path(), "linux-x86_64", &vec![b'x'; LARGE]);
    let broker = broker(clients.path()).await;
    let path = "/client/linux-x86_64";
    let mut slow = Vec::new();
    for number in 0..8 {
        // What it says of itself changes nothing: the peer is no proxy of the settings.
        let headers = format!("X-Forwarded-For: 10.0.0.{number}\r\n");
        slow.push(Download::begin_from(1, &broker, path, &headers).await);
    }
    let statuses: Vec<_> = slow
        .iter()
        .map(|download| download.answer().status)
        .collect();
    assert_eq!(statuses, [200, 200, 503, 503, 503, 503, 503, 503]);
    assert_eq!(slow[2].answer().header("retry-after"), Some("1"));
    let other = Download::begin_from(2, &broker, path, "").await;
    assert_eq!(other.answer().status, 200);
    assert_eq!(other.rest().await.len(), LARGE);
    // One that goes away gives its slot back.
    drop(slow);
    free(&broker).await;
}

/// T-213
#[tokio::test]
async fn behind_a_proxy_of_the_settings_each_client_has_its_own_slots() {
    let clients = clients();
    put(clients.path(), "linux-x86_64", &vec![b'x'; LARGE]);
    let setting = format!("clients: {{ folder: {} }}", clients.path().display());
    let broker = TestBroker::builder()
        .setting(&setting)
        .listen("proxies: [127.0.0.0/8]")
        .start()
        .await;
    let mut slow = Vec::new();
    // Two addresses of one IPv6 network are one source.
    for (client, status) in [
        ("10.0.0.1", 200),
        ("10.0.0.1", 200),
        ("10.0.0.1", 503),
        ("10.0.0.2", 200),
        ("2001:db8:0:1::1", 200),
        ("2001:db8:0:1::2", 200),
        ("2001:db8:0:1:ffff::3", 503),
        ("2001:db8:0:2::1", 200),
        ("::ffff:10.0.0.1", 503),
    ] {
        let headers = format!("X-Forwarded-For: 10.9.9.9, {client}\r\n");
        let download = Download::begin_from(1, &broker, "/client/linux-x86_64", &headers).await;
        assert_eq!(download.answer().status, status, "{client}");
        slow.push(download);
    }
}

/// Until a slot is free.
async fn free(broker: &TestBroker) {
    for _ in 0..2_000 {
        if get(broker.public(), "/client/linux-aarch64").await.status == 200 {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("no slot became free");
}

/// T-215
#[tokio::test]
async fn a_client_that_is_replaced_arrives_as_the_old_or_the_new_one() {
    let clients = clients();
    let (old, new) = (vec![b'1'; LARGE], vec![b'2'; LARGE]);
    put(clients.path(), "linux-x86_64", &old);
    let broker = broker(clients.path()).await;
    let before = Download::begin(&broker, "/client/linux-x86_64").await;
    put(clients.path(), "linux-x86_64", &new);
    let after = Download::begin(&broker, "/client/linux-x86_64").await;
    for (download, content) in [(before, old), (after, new)] {
        let answer = download.answer();
        assert_eq!(
            answer.header("content-digest"),
            Some(digest_of(&content).as_str())
        );
        assert!(download.rest().await == content);
    }
}

/// T-216
#[tokio::test]
async fn a_client_that_changes_while_it_is_sent_does_not_arrive_complete() {
    let clients = clients();
    put(clients.path(), "linux-x86_64", &vec![b'1'; LARGE]);
    let broker = broker(clients.path()).await;
    let path = clients.path().join("linux-x86_64");
    let change = |how: &dyn Fn(&mut fs::File)| {
        how(&mut fs::OpenOptions::new().write(true).open(&path).unwrap());
    };
    let overwrite = |file: &mut fs::File| {
        file.seek(SeekFrom::End(-1)).unwrap();
        file.write_all(b"2").unwrap();
    };
    let cut = |file: &mut fs::File| file.set_len(u64::try_from(LARGE).unwrap() - 1).unwrap();
    for how in [&overwrite as &dyn Fn(&mut fs::File), &cut] {
        let download = Download::begin(&broker, "/client/linux-x86_64").await;
        assert_eq!(download.answer().status, 200);
        change(how);
        let content = download.rest().await;
        assert!(content.len() < LARGE - 1, "{}", content.len());
        // The next request has the digest of what is there now.
        let download = Download::begin(&broker, "/client/linux-x86_64").await;
        let now = fs::read(&path).unwrap();
        let answer = download.answer();
        assert_eq!(
            answer.header("content-digest"),
            Some(digest_of(&now).as_str())
        );
        assert!(download.rest().await == now);
    }
}

/// T-217
#[tokio::test]
async fn head_range_and_other_methods_of_a_client() {
    let clients = clients();
    let broker = broker(clients.path()).await;
    let path = "/client/linux-x86_64";
    let whole = get(broker.public(), path).await;
    assert_eq!(
        whole.header("content-digest"),
        Some(digest_of(path.as_bytes()).as_str())
    );
    assert_eq!(
        whole.header("content-type"),
        Some("application/octet-stream")
    );
    assert_eq!(whole.header("accept-ranges"), Some("none"));
    let head = request(broker.public(), "HEAD", path, &[], b"").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    for name in ["content-length", "content-digest", "content-type"] {
        assert_eq!(head.header(name), whole.header(name), "{name}");
    }
    let ask = format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n").repeat(20);
    let last = format!("{ask}GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let answers = send(broker.public(), last).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 21);
    let ranges = [("Range", "bytes=0-3"), ("If-Range", "\"x\"")];
    let part = request(broker.public(), "GET", path, &ranges, b"").await;
    assert_eq!((part.status, part.body.as_str()), (200, path));
    let body = [("Content-Length", "1")];
    let answer = request(broker.public(), "GET", path, &body, b"").await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (400, "request.body")
    );
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = request(broker.public(), method, path, &[], b"").await;
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), Some("GET, HEAD"));
    }
}

/// Killed at the end, however the test ends.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The lines of `docs/ci/README.md`, against a `serve` that has this very binary as its client.
///
/// T-215
#[test]
fn the_lines_of_the_docs_fetch_and_run_the_client() {
    let page = fs::read_to_string(root().join("docs/ci/README.md")).unwrap();
    let (_, rest) = page
        .split_once("```sh\ncurl")
        .expect("the page has the lines");
    let lines = format!("curl{}", rest.split("```").next().unwrap());
    let (folder, clients) = (folder(), clients());
    let program = fs::read(env!("CARGO_BIN_EXE_hallpass")).unwrap();
    put(clients.path(), "linux-x86_64", &program);
    write_settings(
        folder.path(),
        &format!("clients: {{ folder: {} }}\n", clients.path().display()),
    );
    let log = folder.path().join("stderr");
    let mut command = serve(folder.path(), &[]);
    command
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).unwrap());
    let mut serving = Serving(command.spawn().unwrap());
    let public = loop {
        assert!(
            serving.0.try_wait().unwrap().is_none(),
            "{:?}",
            fs::read_to_string(&log)
        );
        let text = fs::read_to_string(&log).unwrap();
        let line = text.lines().find(|line| line.contains("\"serving\""));
        if let Some((_, rest)) = line.and_then(|line| line.split_once("\"public\":\"")) {
            break rest.split('"').next().unwrap().to_owned();
        }
        std::thread::yield_now();
    };
    let sum = data_encoding::HEXLOWER.encode(digest(&SHA256, &program).as_ref());
    let job = tempfile::tempdir().unwrap();
    let run = |options: &[&str], sum: &str| {
        let lines = lines
            .replace("https://hallpass.acme.dev", &format!("http://{public}"))
            .replace("--proto =https ", "");
        let mut shell = Command::new("sh");
        shell.args(options).args(["-c", &lines]);
        shell.current_dir(job.path());
        shell.env("HALLPASS_SHA256", sum).observed()
    };
    let good = run(&["-e"], &sum);
    assert!(
        good.status.success(),
        "{}",
        String::from_utf8_lossy(&good.stderr)
    );
    assert!(String::from_utf8_lossy(&good.stdout).contains("hallpass 0.1.0"));
    // The file is not the pinned one; then it is a program that leaves a trace, and nothing is pinned.
    let trace = job.path().join("trace");
    let changed = format!("#!/bin/sh\ntouch {}\n", trace.display());
    let refused = |sum: &str| {
        for options in [&["-e"][..], &[]] {
            let other = run(options, sum);
            assert!(!other.status.success(), "{options:?}");
            let said = String::from_utf8_lossy(&other.stdout).into_owned();
            assert!(!said.contains("hallpass 0.1.0"), "{options:?}: {said}");
            assert!(!trace.exists(), "{options:?}");
        }
    };
    refused(&sum.replace(['0', '1', '2'], "3"));
    put(clients.path(), "linux-x86_64", changed.as_bytes());
    refused(&sum);
    refused("");
}

/// More than the sockets between the broker and a client hold.
const LARGE: usize = 24 << 20;
