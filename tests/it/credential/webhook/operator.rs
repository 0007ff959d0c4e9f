//! `hallpass target check`, `--contract` and `leases` for a webhook, and what settings are refused.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use hallpass::credential::database::webhook::WebhookSettings;
use hallpass::rootkey::RootKey;
use serde_json::json;
use tempfile::TempDir;

use super::broken::{Broken, Fault};
use super::clients::POLICIES;
use super::stage::{Certificates, Example, Stage, errors, free_port, fresh_random, logins, order};
use crate::support::broker::write_root_key;
use crate::support::leaks::{self, Observed as _};

/// A folder with settings for the target `app`.
pub(super) fn folder(settings: &WebhookSettings, certificates: &Certificates) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_root_key(
        &folder.path().join("root.key"),
        &RootKey::generate().unwrap(),
    );
    fs::create_dir(folder.path().join("policies")).unwrap();
    fs::write(folder.path().join("policies/root.yaml"), POLICIES).unwrap();
    let text = format!(
        "
issuer: https://hallpass.example
root_key: {{ file: root.key }}
policies: {{ path: policies }}
targets:
  app:
    kind: webhook
    url: {}
    ca: {}
    networks: [127.0.0.0/8]
    groups: [reader, writer]
audit: {{ sinks: [ {{ kind: file, path: audit.jsonl, required: true }} ] }}
",
        settings.url,
        certificates.path("ca.pem").display()
    );
    fs::write(folder.path().join("hallpass.yaml"), text).unwrap();
    folder
}

fn hallpass(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hallpass"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .observed()
}

fn text(output: &Output) -> String {
    let streams = [output.stdout.clone(), output.stderr.clone()].concat();
    String::from_utf8(streams).unwrap()
}

/// The whole way of an operator: keys from the broker's root key, the example, the commands.
#[test]
fn an_operator_checks_the_contract_and_lists_and_ends_leases() {
    let _leaks = leaks::watch();
    let certificates = Certificates::new();
    let port = free_port();
    let settings = certificates.settings(port);
    let folder = folder(&settings, &certificates);
    let away = hallpass(folder.path(), &["target", "check", "app"]);
    assert_eq!(away.status.code(), Some(4), "{}", text(&away));
    let keys = hallpass(
        folder.path(),
        &[
            "keys",
            "show",
            "--root-key",
            "root.key",
            "--issuer",
            "https://hallpass.example",
            "--output",
            "json",
        ],
    );
    assert_eq!(keys.status.code(), Some(0), "{}", text(&keys));
    let keys: serde_json::Value = serde_json::from_slice(&keys.stdout).unwrap();
    fs::write(certificates.path("jwks.json"), keys["jwks"].to_string()).unwrap();
    let url = format!("file://{}", certificates.path("jwks.json").display());
    let issuer = ("https://hallpass.example", url.as_str());
    let example = Example::start(&certificates, port, issuer, &[]);
    let check = hallpass(folder.path(), &["target", "check", "app"]);
    assert_eq!(check.status.code(), Some(0), "{}", text(&check));
    assert!(text(&check).contains("a lease in group `writer` can be made"));
    let contract = hallpass(folder.path(), &["target", "check", "--contract", "app"]);
    let printed = text(&contract);
    assert_eq!(contract.status.code(), Some(0), "{printed}");
    assert!(
        printed.contains("ok: kept: a changed body is refused"),
        "{printed}"
    );
    assert!(!printed.contains("error"), "{printed}");
    let listed = hallpass(folder.path(), &["leases", "list"]);
    assert_eq!(listed.status.code(), Some(0), "{}", text(&listed));
    let swept = hallpass(folder.path(), &["leases", "sweep"]);
    assert_eq!(swept.status.code(), Some(0), "{}", text(&swept));
    let installed = hallpass(folder.path(), &["target", "install", "app"]);
    assert_eq!(installed.status.code(), Some(5), "{}", text(&installed));
    drop(example);
    // A folder without the root key can ask nothing.
    fs::remove_file(folder.path().join("root.key")).unwrap();
    let unsigned = hallpass(folder.path(), &["target", "check", "app"]);
    assert!(
        text(&unsigned).contains("the root key cannot be read here"),
        "{}",
        text(&unsigned)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_is_checked_by_exit_code_and_rule() {
    let side = Broken::start().await;
    let folder = folder(&side.settings, &side.certificates);
    let run = |arguments: &'static [&'static str], path: std::path::PathBuf| {
        tokio::task::spawn_blocking(move || hallpass(&path, arguments))
    };
    let path = folder.path().to_owned();
    let broken = run(&["target", "check", "--contract", "app"], path.clone());
    let broken = broken.await.unwrap();
    assert_eq!(broken.status.code(), Some(4), "{}", text(&broken));
    let printed = text(&broken);
    assert!(
        printed.contains("error: broken: a request without a token is refused: status 200"),
        "{printed}"
    );
    let shown = run(
        &["target", "check", "--contract", "app", "--output", "json"],
        path.clone(),
    );
    let shown: serde_json::Value = serde_json::from_slice(&shown.await.unwrap().stdout).unwrap();
    assert!(shown["findings"].as_array().unwrap().len() > 20);
}

/// T-104
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_by_webhook_that_no_broker_recorded_is_reported() {
    let stage = Stage::start();
    assert_eq!(errors(&stage.settings, false).await, Vec::<String>::new());
    stage.query("INSERT INTO leases VALUES ('0123456789abc', 'hp_vvvvvv0_0123456789abc', 'reader', '{}', '', 9999999999, 0) RETURNING name");
    let report = stage.replica().sweep("app").await.unwrap();
    assert_eq!(report.foreign_leases, ["hp_vvvvvv0_0123456789abc"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_names_what_does_not_fit() {
    let side = Broken::start().await;
    let say = |answer: serde_json::Value| {
        side.faults(
            "/check",
            &[Fault::Say("200 OK", "", answer.to_string().into_bytes())],
        );
    };
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    say(json!({ "contract": 2, "time": now, "groups": ["reader", "writer"] }));
    let found = errors(&side.settings, false).await;
    assert!(
        found[0].contains("version 2 of the contract, expected 1"),
        "{found:?}"
    );
    say(json!({ "contract": 1, "time": now - 300, "groups": ["reader", "writer"] }));
    let found = errors(&side.settings, false).await;
    assert!(
        found[0].contains("clock differs from this machine's by 300 s")
            || found[0].contains("by 301 s"),
        "{found:?}"
    );
    say(json!({ "contract": 1, "time": now, "groups": ["reader"] }));
    let found = errors(&side.settings, false).await;
    assert!(found[0].contains("group `writer`"), "{found:?}");
    say(json!({ "contract": 1 }));
    let found = errors(&side.settings, false).await;
    assert!(
        found[0].contains("did not answer: the answer is not of the contract"),
        "{found:?}"
    );
    assert_eq!(errors(&side.settings, false).await, Vec::<String>::new());
    side.faults("/create", &vec![Fault::CutAfter; 9]);
    let found = errors(&side.settings, false).await;
    assert!(found[0].contains("could not be made"), "{found:?}");
    assert_eq!(side.users(), Vec::<String>::new());
    side.faults("/create", &[]);
    let broker = side.broker();
    let mint = logins(&broker).make(order("reader", 60, &fresh_random()));
    assert!(mint.await.is_ok());
}
