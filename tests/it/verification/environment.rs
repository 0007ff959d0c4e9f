//! What the environment may not change: no proxy is used that the settings do not name, and no key
//! log is written.

use std::process::{Command, Stdio};
use std::time::Duration;

use hallpass::rootkey::RootKey;

use crate::support::broker::write_root_key;
use crate::support::hostile_issuer::Trap;
use crate::support::leaks::Observed as _;

/// Every spelling of a proxy, and the file that TLS libraries write session keys to.
fn hostile(command: &mut Command, trap: &Trap, key_log: &std::path::Path) {
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        let proxy = format!("http://{}", trap.address);
        command.env(name, &proxy).env(name.to_lowercase(), &proxy);
    }
    command.env("NO_PROXY", "").env("no_proxy", "");
    command.env("SSLKEYLOGFILE", key_log);
}

/// T-57
#[tokio::test]
async fn a_fetch_takes_no_proxy_and_writes_no_key_log_for_the_environment() {
    let (trap, folder) = (Trap::start().await, tempfile::tempdir().unwrap());
    let key_log = folder.path().join("keys.log");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "verification::documents::a_request_carries_nothing_but_our_own_headers",
        "--exact",
    ]);
    hostile(&mut command, &trap, &key_log);
    let output = tokio::task::spawn_blocking(move || command.observed())
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
    assert_eq!(trap.heard().len(), 0, "a proxy was used");
    assert!(!key_log.exists(), "a key log was written");
}

/// T-57
#[tokio::test]
async fn serve_takes_no_proxy_for_its_issuers() {
    let (trap, folder) = (Trap::start().await, tempfile::tempdir().unwrap());
    let path = folder.path();
    write_root_key(&path.join("root.key"), &RootKey::generate().unwrap());
    std::fs::create_dir(path.join("policies")).unwrap();
    std::fs::write(path.join("policies/root.yaml"), POLICIES).unwrap();
    std::fs::write(path.join("hallpass.yaml"), SETTINGS).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hallpass"));
    command
        .args(["serve", "--config"])
        .arg(path.join("hallpass.yaml"))
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(path.join("log")).unwrap());
    hostile(&mut command, &trap, &path.join("keys.log"));
    let mut process = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let log = || std::fs::read_to_string(path.join("log")).unwrap();
    for _ in 0..3_000 {
        if log().contains("keys.fetch") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(
        log().contains("keys.fetch"),
        "nothing was fetched: {}",
        log()
    );
    assert_eq!(trap.heard().len(), 0, "a proxy was used");
    assert!(!path.join("keys.log").exists());
    process.kill().await.unwrap();
}

const SETTINGS: &str = "
issuer: https://hallpass.example
root_key: { file: root.key }
listen: { public: 127.0.0.1:0, operator: 127.0.0.1:0 }
policies: { path: policies }
audit: { sinks: [ { kind: file, path: audit.jsonl, required: true } ] }
";

/// An issuer whose name no name service knows (RFC 6761 section 6.4).
const POLICIES: &str = r#"
issuers:
  github:
    provider: github
    url: https://ci.invalid
    tenants: [ { owner: acme, owner_id: "48213377" } ]
"#;
