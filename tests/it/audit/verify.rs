//! `hallpass audit verify` and `hallpass keys`, as commands.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use hallpass::audit::event::AlertRecord;
use hallpass::audit::file::FileSink;
use hallpass::audit::{Event, Text};
use hallpass::reason::Reason;
use hallpass::rootkey::RootKey;

use super::{log, printed};
use crate::support::leaks::{self, Observed as _};

fn hallpass(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hallpass"))
        .args(arguments)
        .env_clear()
        .observed()
}

fn complained(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// T-111, as an operator meets it: note the head, change a byte, cut the tail.
#[tokio::test]
async fn a_changed_and_a_cut_log_are_found_with_exit_code_4() {
    let folder = tempfile::tempdir().unwrap();
    let root_file = folder.path().join("root");
    let made = hallpass(&["keys", "generate", "--out", text(&root_file)]);
    assert!(made.status.success(), "{}", complained(&made));
    let permissions = fs::metadata(&root_file).unwrap().permissions();
    assert_eq!(permissions.mode() & 0o777, 0o400);

    let path = folder.path().join("audit.jsonl");
    let root = RootKey::read_ring(&root_file).unwrap().remove(0);
    let log = log(&root, "b1", FileSink::open(&path, true).unwrap()).unwrap();
    for number in 0..5 {
        let event = Event::Alert(AlertRecord {
            reason: Reason::ClockJump,
            message: Text::new(&format!("number {number}")),
            request_id: None,
        });
        log.record(&event).await.unwrap();
    }
    log.close().await.unwrap();

    let issuer = "https://hallpass.example";
    let root_file = text(&root_file);
    let shown = hallpass(&["keys", "show", "--root-key", root_file, "--issuer", issuer]);
    let shown = printed(&shown);
    let key = shown
        .split_whitespace()
        .find(|word| word.starts_with("hallpass-audit-1:"))
        .unwrap();

    let whole = hallpass(&["audit", "verify", text(&path), "--key", key]);
    assert!(whole.status.success(), "{}", printed(&whole));
    let whole = printed(&whole);
    assert!(
        whole.contains("9 lines, 1 start, 2 signed checkpoints"),
        "{whole}"
    );
    assert!(
        whole.ends_with("the log is whole until 2026-09-21T14:13:20Z\n"),
        "{whole}"
    );
    let head = whole
        .lines()
        .find_map(|line| line.strip_prefix("head "))
        .unwrap();
    assert_eq!(head, format!("sha256:{}", log.head()));
    let proven = hallpass(&[
        "audit",
        "verify",
        text(&path),
        "--key",
        key,
        "--expect-head",
        head,
    ]);
    assert!(printed(&proven).ends_with("the log is whole\n"));

    let changed = folder.path().join("changed.jsonl");
    let lines = fs::read_to_string(&path).unwrap();
    fs::write(&changed, lines.replacen("number 2", "number 7", 1)).unwrap();
    let found = hallpass(&["audit", "verify", text(&changed), "--key", key]);
    assert_eq!(found.status.code(), Some(4));
    assert!(
        printed(&found).contains("changed.jsonl:6: follows sha256:"),
        "{}",
        printed(&found)
    );
    assert_eq!(
        complained(&found),
        "hallpass: the log is not whole: 1 finding\n"
    );

    let cut = folder.path().join("cut.jsonl");
    let (front, _last) = lines.trim_end().rsplit_once('\n').unwrap();
    fs::write(&cut, format!("{front}\n")).unwrap();
    let found = hallpass(&[
        "audit",
        "verify",
        text(&cut),
        "--key",
        key,
        "--expect-head",
        head,
    ]);
    assert_eq!(found.status.code(), Some(4));
    assert!(
        printed(&found).contains("no line has the expected head"),
        "{}",
        printed(&found)
    );

    let json = hallpass(&[
        "audit",
        "verify",
        text(&path),
        "--key",
        key,
        "--output",
        "json",
    ]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["head"], head);
    assert_eq!(json["findings"], serde_json::json!([]));
}

#[test]
fn arguments_that_cannot_be_read_say_what_was_expected() {
    let key = hallpass(&["audit", "verify", "x", "--key", "nonsense"]);
    assert_eq!(key.status.code(), Some(2));
    insta::assert_snapshot!(complained(&key).trim_end(), @"hallpass: `nonsense` is not an audit key; expected `hallpass-audit-1:` and 43 characters, as `hallpass keys show` prints it");
    let head = hallpass(&["audit", "verify", "x", "--expect-head", "sha256:12"]);
    assert_eq!(head.status.code(), Some(2));
    insta::assert_snapshot!(complained(&head).trim_end(), @"hallpass: `sha256:12` is no head, expected `sha256:` and 64 hex digits as `hallpass audit verify` prints it");
    let file = hallpass(&["audit", "verify", "/no/such/file"]);
    assert_eq!(file.status.code(), Some(5));
    insta::assert_snapshot!(complained(&file).trim_end(), @"hallpass: audit log `/no/such/file` cannot be read: No such file or directory (os error 2)");
}

#[test]
fn a_root_key_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root");
    fs::write(&path, "precious").unwrap();
    let refused = hallpass(&["keys", "generate", "--out", text(&path)]);
    assert_eq!(refused.status.code(), Some(5));
    let complaint = complained(&refused).replace(text(folder.path()), "FOLDER");
    insta::assert_snapshot!(complaint.trim_end(), @"hallpass: `FOLDER/root` exists already and is not overwritten: what it protects would be lost; choose another file");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_root_key_goes_through_a_pipe() {
    let made = hallpass(&["keys", "generate"]);
    assert!(made.status.success());
    RootKey::parse(&printed(&made)).unwrap();
    assert_eq!(complained(&made), "");
}

/// T-87
#[test]
fn what_is_shown_of_a_root_key_is_public() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root");
    let key = RootKey::generate().unwrap().to_text();
    leaks::prefixed("a root key", key.expose());
    fs::write(&path, key.expose()).unwrap();
    let arguments = |path| {
        [
            "keys",
            "show",
            "--root-key",
            path,
            "--issuer",
            "https://hallpass.example",
            "--output",
            "json",
        ]
    };
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = hallpass(&arguments(text(&path)));
    assert_eq!(refused.status.code(), Some(5));
    assert!(complained(&refused).contains("`defaultMode: 0440`"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).unwrap();
    let shown = hallpass(&arguments(text(&path)));
    assert!(shown.status.success(), "{}", complained(&shown));
    let json: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(json["jwks"]["keys"].as_array().unwrap().len(), 3);
    assert_eq!(json["audit_keys"].as_array().unwrap().len(), 1);
    assert!(!printed(&shown).contains(key.expose().get(20..40).unwrap()));
    assert!(!printed(&shown).contains("\"d\""));
}
