//! The demo itself, as a reader runs it: its steps, its end, and what it leaves behind.

#![cfg(test)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::leaks::{self, Observed as _};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A folder for temporary files that holds nothing else, and that the database's account may enter.
pub(crate) fn temporary() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

pub(crate) fn hallpass(folder: &TempDir, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hallpass"));
    command
        .args(args)
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null());
    command
}

pub(crate) fn left_in(folder: &TempDir) -> Vec<String> {
    fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

/// Processes whose command line names the folder: the private database server would.
fn running_in(folder: &TempDir) -> Vec<String> {
    let name = folder.path().to_string_lossy().into_owned();
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(&name))
        .collect()
}

/// Reads lines until one contains `what`; the child ending first is a failure.
pub(crate) fn wait_for(child: &mut Child, what: &str) -> Vec<String> {
    let stdout = child.stdout.take().unwrap();
    let mut lines = Vec::new();
    let mut reader = BufReader::new(stdout).lines();
    while let Some(line) = reader.next() {
        let line = line.unwrap();
        leaks::said("standard output of `dev`", line.as_bytes());
        let found = line.contains(what);
        lines.push(line);
        if found {
            // The rest is read too: an output that is closed fails the command.
            std::thread::spawn(move || reader.for_each(drop));
            return lines;
        }
    }
    panic!("`{what}` was not printed: {lines:#?}");
}

pub(crate) fn end(child: &mut Child) -> Option<i32> {
    for _ in 0..600 {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill().unwrap();
    panic!("it did not end");
}

/// A running `hallpass dev`, and what it said.
fn dev(folder: &TempDir) -> (Child, Vec<String>) {
    let mut stage = hallpass(folder, &["dev"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = wait_for(&mut stage, "Ctrl-C stops everything");
    (stage, lines)
}

pub(crate) fn interrupt(stage: &mut Child) {
    let stage_id = Pid::from_raw(i32::try_from(stage.id()).unwrap());
    kill(stage_id, Signal::SIGINT).unwrap();
    assert_eq!(end(stage), Some(0));
}

#[test]
fn every_step_does_what_it_says_and_nothing_is_left() {
    let folder = temporary();
    let output = hallpass(&folder, &["demo"]).observed();
    let told = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{told}\n{said}");
    for step in [
        "1. A job of acme/shop on main",
        "it belongs to group shop_owner, not to the login",
        "its signature is valid under the broker's published keys",
        "policy shop-migrate: ref is refs/heads/try-it, expected refs/heads/main",
        "policy shop-migrate: environment is absent, expected production",
        "access denied: no policy matches this job",
        "the same user and the same password",
        "token.replayed",
        "the open session was ended",
        "a new login fails",
        "no role is left",
        "the table is still there",
        "the sweep, every 2 s here, ended its session and dropped it",
        "lines, complete",
        "one byte of a copy is changed: found",
        "its tail is cut off (--expect-head): found",
        "9. A pull request writes",
        "shop-db/migrate: wider, proven by this job",
        "  environment: prod",
        "All 9 steps did what they say",
    ] {
        assert!(
            told.contains(step),
            "`{step}` is not in the output:\n{told}"
        );
    }
    assert_eq!(left_in(&folder), Vec::<String>::new());
    assert_eq!(running_in(&folder), Vec::<String>::new());
}

#[test]
fn an_interrupt_half_way_leaves_nothing() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let folder = temporary();
        let mut child = hallpass(&folder, &["demo"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for(&mut child, "1. A job of acme/shop");
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        assert_eq!(end(&mut child), Some(5));
        assert_eq!(left_in(&folder), Vec::<String>::new());
        assert_eq!(running_in(&folder), Vec::<String>::new());
    }
}

#[test]
fn a_running_stage_takes_the_tokens_that_are_made_for_it() {
    let folder = temporary();
    let none = hallpass(&folder, &["dev", "token"]).observed();
    assert_eq!(none.status.code(), Some(5));
    let (mut stage, lines) = dev(&folder);
    let broker = lines
        .iter()
        .find_map(|line| line.trim().strip_prefix("export HALLPASS_BROKER="))
        .unwrap()
        .to_owned();
    let get = |token: &[&str], credential: &str| {
        let token = hallpass(&folder, &[&["dev", "token"], token].concat()).observed();
        assert_eq!(
            token.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&token.stderr)
        );
        hallpass(&folder, &["get", credential, "--format", "json"])
            .env_clear()
            .env("TMPDIR", folder.path())
            .env("HALLPASS_BROKER", &broker)
            .env(
                "HALLPASS_ID_TOKEN",
                String::from_utf8(token.stdout).unwrap().trim(),
            )
            .observed()
    };
    let given = get(&["--environment", "production"], "shop-db/migrate");
    assert_eq!(
        given.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&given.stderr)
    );
    assert!(String::from_utf8_lossy(&given.stdout).contains("hp_"));
    let given = get(&["--provider", "gitlab"], "shop-db/read");
    assert_eq!(
        given.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&given.stderr)
    );
    let refused = get(&["--ref", "refs/heads/try-it"], "shop-db/migrate");
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("refs/heads/try-it"), "{said}");
    interrupt(&mut stage);
    assert_eq!(left_in(&folder), Vec::<String>::new());
    assert_eq!(running_in(&folder), Vec::<String>::new());
}

#[test]
fn a_token_of_a_running_stage_is_explained_as_its_broker_takes_it() {
    let folder = temporary();
    let (mut stage, _) = dev(&folder);
    let explain = |token: &[&str]| {
        let token = hallpass(&folder, &[&["dev", "token"], token].concat()).observed();
        let piped = tempfile::NamedTempFile::new().unwrap();
        fs::write(piped.path(), &token.stdout).unwrap();
        let arguments = ["policy", "explain", "--token", "-", "shop-db/migrate"];
        let explained = hallpass(&folder, &arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(fs::File::open(piped.path()).unwrap())
            .observed();
        let said = [explained.stdout, explained.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        (explained.status.code(), said)
    };
    let (code, said) = explain(&["--environment", "production"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("PERMITTED by policy shop-migrate"), "{said}");
    let (code, said) = explain(&["--ref", "refs/heads/try-it"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the job has refs/heads/try-it"), "{said}");
    let (code, said) = explain(&["--provider", "gitlab"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("issuer      gitlab"), "{said}");
    interrupt(&mut stage);
}

#[test]
fn to_revoke_a_login_that_never_was_is_said_and_is_no_success() {
    let folder = temporary();
    let (mut stage, lines) = dev(&folder);
    let said = |what: &str| {
        let line = lines.iter().find_map(|line| line.trim().strip_prefix(what));
        line.unwrap().trim().to_owned()
    };
    let settings = format!("{}/hallpass.yaml", said("settings, policies, audit"));
    let revoke = |login: &str| {
        let arguments = ["leases", "revoke", login, "--config", &settings];
        let output = hallpass(&folder, &arguments).observed();
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), said)
    };
    let never = "hp_1lg7h0k_g6d9l8b5rmam3";
    let (code, text) = revoke(never);
    assert_eq!(code, Some(4), "{text}");
    assert!(
        text.contains("no such lease") && text.contains(never),
        "{text}"
    );
    let token = hallpass(&folder, &["dev", "token", "--environment", "production"]).observed();
    let given = hallpass(&folder, &["get", "shop-db/migrate", "--format", "json"])
        .env("HALLPASS_BROKER", said("export HALLPASS_BROKER="))
        .env(
            "HALLPASS_ID_TOKEN",
            String::from_utf8(token.stdout).unwrap().trim(),
        )
        .observed();
    let given: serde_json::Value = serde_json::from_slice(&given.stdout).unwrap();
    let login = given["credential"]["username"].as_str().unwrap();
    assert_eq!(revoke(login), (Some(0), String::new()));
    let (code, text) = revoke(login);
    assert_eq!(code, Some(4), "{text}");
    interrupt(&mut stage);
}
