//! `hallpass leases revoke` and `sweep`: what an operator does is on record before it is done.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use hallpass::rootkey::RootKey;
use serde_json::Value;
use tempfile::TempDir;

use super::stage::{PASSWORD, Stage, Version};
use crate::support::broker::write_root_key;
use crate::support::leaks::Observed as _;

/// An operator's folder with the settings of a broker.
fn folder(port: u16, sinks: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = RootKey::generate().unwrap();
    write_root_key(&folder.path().join("root.key"), &root);
    fs::write(folder.path().join("password"), PASSWORD).unwrap();
    let settings = format!(
        "
issuer: https://hallpass.example
root_key: {{ file: root.key }}
policies: {{ path: policies }}
targets:
  app: {{ kind: postgres, host: 127.0.0.1, port: {port}, databases: [app], tls: disable, user: hallpass, password: {{ file: password }}, cleaner: {{ user: hallpass_clean, password: {{ file: password }} }} }}
audit: {{ sinks: [ {sinks} ] }}
"
    );
    fs::write(folder.path().join("hallpass.yaml"), settings).unwrap();
    folder
}

const FILE: &str = "{ kind: file, path: audit.jsonl, required: true }";

fn hallpass(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hallpass"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("SUDO_USER", "ada\u{1b}[2J")
        .env("SSH_CONNECTION", "192.0.2.7 51000 192.0.2.1 22")
        .observed()
}

fn told(output: &Output) -> String {
    let streams = [output.stdout.clone(), output.stderr.clone()].concat();
    String::from_utf8(streams).unwrap()
}

/// The events of the run that is on record last.
fn last_run(folder: &Path) -> Vec<Value> {
    let entries = fs::read_dir(folder.join("audit.jsonl.ops")).unwrap();
    let mut runs: Vec<_> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            (fs::metadata(&path).unwrap().modified().unwrap(), path)
        })
        .collect();
    runs.sort();
    let text = fs::read_to_string(&runs.last().unwrap().1).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// T-135
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_does_to_leases_is_on_record() {
    let stage = Stage::start(Version::V18).await;
    let folder = folder(stage.server.port(), FILE);
    let login = stage.mint("app_ro", 600).await;
    let name = login.given.username.as_str();
    let revoked = hallpass(folder.path(), &["leases", "revoke", name]);
    assert_eq!(revoked.status.code(), Some(0), "{}", told(&revoked));
    assert_eq!(stage.leases().await, "0");
    let events = last_run(folder.path());
    let kinds: Vec<_> = events.iter().map(|event| event["event"].as_str()).collect();
    assert_eq!(
        kinds.into_iter().flatten().collect::<Vec<_>>(),
        [
            "start",
            "checkpoint",
            "operation",
            "operation_outcome",
            "stop",
            "checkpoint"
        ]
    );
    let operation = &events[2];
    assert_eq!(operation["command"], "leases revoke");
    assert_eq!(operation["target"], "app");
    assert_eq!(operation["lease"], name);
    let operator = &operation["operator"];
    assert_eq!(operator["uid"], nix::unistd::geteuid().as_raw());
    assert_eq!(operator["sudo_user"], "ada\\u{1b}[2J");
    assert_eq!(operator["ssh_client"], "192.0.2.7");
    assert!(!operator["user"].as_str().unwrap().is_empty());
    assert!(!operator["host"].as_str().unwrap().is_empty());
    assert_eq!(events[3]["intent"], operation["intent"]);
    assert_eq!(events[3]["outcome"], "gone");

    let swept = hallpass(folder.path(), &["leases", "sweep"]);
    assert_eq!(swept.status.code(), Some(0), "{}", told(&swept));
    let events = last_run(folder.path());
    assert_eq!(events[2]["command"], "leases sweep");
    assert_eq!(events[3]["outcome"], "swept");
    assert_eq!(events[3]["removed"]["total"], 0);

    let verified = hallpass(folder.path(), &["audit", "verify", "audit.jsonl.ops"]);
    assert_eq!(verified.status.code(), Some(0), "{}", told(&verified));
    assert!(
        told(&verified).contains("12 lines, 2 starts, 4 signed checkpoints"),
        "{}",
        told(&verified)
    );
    assert!(!folder.path().join("audit.jsonl").exists());
}

/// T-135
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_cannot_record_is_not_done() {
    let stage = Stage::start(Version::V18).await;
    let login = stage.mint("app_ro", 600).await;
    let name = login.given.username.as_str();
    let with_file = folder(stage.server.port(), FILE);
    fs::write(with_file.path().join("audit.jsonl.ops"), "no folder").unwrap();
    let without_file = folder(stage.server.port(), "{ kind: stdout, required: true }");
    for folder in [&with_file, &without_file] {
        for command in [&["leases", "revoke", name][..], &["leases", "sweep"]] {
            let refused = hallpass(folder.path(), command);
            assert_eq!(refused.status.code(), Some(5), "{}", told(&refused));
            assert!(
                told(&refused)
                    .starts_with("hallpass: nothing was done, since it cannot be recorded: "),
                "{}",
                told(&refused)
            );
        }
    }
    assert_eq!(stage.leases().await, "1");
    stage.log_in(&login).await.unwrap();
}

/// T-135
#[test]
fn a_target_that_cannot_be_reached_is_an_outcome_too() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let folder = folder(port, FILE);
    let swept = hallpass(folder.path(), &["leases", "sweep"]);
    assert_eq!(swept.status.code(), Some(3), "{}", told(&swept));
    let events = last_run(folder.path());
    assert_eq!(events[3]["outcome"], "failed");
    assert!(events[3]["message"].is_string());

    // A line that is taken out of the record is missed.
    let file = fs::read_dir(folder.path().join("audit.jsonl.ops"))
        .unwrap()
        .next();
    let file = file.unwrap().unwrap().path();
    let text = fs::read_to_string(&file).unwrap();
    let kept = text.lines().filter(|line| !line.contains("\"operation\""));
    fs::write(&file, kept.collect::<Vec<_>>().join("\n") + "\n").unwrap();
    let found = hallpass(folder.path(), &["audit", "verify", "audit.jsonl.ops"]);
    assert_eq!(found.status.code(), Some(4), "{}", told(&found));
    assert!(told(&found).contains("1 line missing before it"));
}
