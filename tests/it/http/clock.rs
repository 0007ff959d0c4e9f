//! A machine whose clock is before 1970: the real program, under a clock that is set back.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::start::folder;
use crate::support::client::{Answer, get, send};
use crate::support::leaks;

/// What the C compiler makes of `clock.c`; building hallpass needs one too.
fn library(folder: &Path) -> PathBuf {
    let library = folder.join("clock.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/http/clock.c");
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(source)
        .arg("-ldl")
        .status()
        .unwrap();
    assert!(made.success());
    library
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// T-73, T-94
#[tokio::test]
async fn a_clock_before_1970_is_said_and_panics_nowhere() {
    let folder = folder();
    let past = folder.path().join("past");
    let mut child = Command::new(env!("CARGO_BIN_EXE_hallpass"))
        .args(["serve", "--config"])
        .arg(folder.path().join("hallpass.yaml"))
        .env("LD_PRELOAD", library(folder.path()))
        .env("HALLPASS_TEST_PAST", &past)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let process = Process(child);
    let serving: Value = loop {
        let line = log.next().expect("hallpass did not start").unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        if line["message"] == "serving" {
            break line;
        }
    };
    let address = |name: &str| -> SocketAddr { serving[name].as_str().unwrap().parse().unwrap() };
    let listeners = [address("public"), address("operator")];
    // From here on, so that no thread of the server has written a date yet.
    fs::write(&past, "").unwrap();
    for address in listeners {
        // Every thread that serves connections gets some.
        for _ in 0..32 {
            let answer = get(address, "/healthz").await;
            assert_eq!(
                (answer.status, answer.reason().as_str()),
                (503, "clock.range"),
                "{}",
                answer.body
            );
            assert_eq!(answer.header("retry-after"), Some("10"));
            assert_eq!(answer.header("date"), None);
        }
    }
    // And it serves as soon as the clock is right.
    fs::remove_file(&past).unwrap();
    assert_eq!(get(listeners[0], "/healthz").await.status, 200);
    // A connection that is open when the clock is set back is given up.
    let ask = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let asked = tokio::spawn(async move { send(listeners[0], ask).await });
    fs::write(&past, "").unwrap();
    let text = asked.await.unwrap();
    let status = Answer::parse(&text).map(|answer| answer.status);
    assert!(matches!(status, None | Some(200 | 503)), "{text}");
    drop(process);
    let rest: Vec<String> = log.map_while(Result::ok).collect();
    let rest = rest.join("\n");
    leaks::said_by_child("serve", b"", rest.as_bytes());
    leaks::check();
    assert!(!rest.contains("panic"), "{rest}");
}
