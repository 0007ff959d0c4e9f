//! What the steps of one job share: one login, and nothing that others can read.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use super::fake::{Fake, PASSWORD, refusal, told};
use crate::support::leaks::Observed as _;

fn step(fake: &Fake, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = fake.on_github(arguments);
    command.env("RUNNER_TEMP", folder);
    command
}

fn run(mut command: Command) {
    let output = command.observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
}

fn keys(fake: &Fake) -> Vec<String> {
    fake.asked("/token")
        .into_iter()
        .map(|asked| asked.headers["idempotency-key"].clone())
        .collect()
}

/// T-110
#[test]
fn a_second_step_repeats_the_first_with_its_token_and_its_key() {
    let (fake, folder) = (Fake::start(), tempfile::tempdir().unwrap());
    run(step(&fake, folder.path(), &["get", "shop-db/migrate"]));
    run(step(
        &fake,
        folder.path(),
        &["get", "shop-db/migrate", "--format", "env"],
    ));
    let asked = fake.asked("/token");
    assert_eq!(
        asked[0].headers["idempotency-key"],
        asked[1].headers["idempotency-key"]
    );
    assert_eq!(
        asked[0].form["subject_token"],
        asked[1].form["subject_token"]
    );
    assert_eq!(fake.asked("/idtoken").len(), 1);
}

/// T-110
#[test]
fn another_ask_has_another_key() {
    let (fake, folder) = (Fake::start(), tempfile::tempdir().unwrap());
    for arguments in [
        vec!["get", "shop-db/migrate"],
        vec!["get", "shop-db/read"],
        vec!["get", "shop-db/migrate", "--ttl", "5m"],
        vec!["get", "shop-db/migrate", "--scope", "a"],
    ] {
        run(step(&fake, folder.path(), &arguments));
    }
    let mut keys = keys(&fake);
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 4);
}

/// T-110
#[test]
fn a_refused_repeat_is_asked_anew_with_a_new_token() {
    let (fake, folder) = (Fake::start(), tempfile::tempdir().unwrap());
    run(step(&fake, folder.path(), &["get", "shop-db/migrate"]));
    fake.next("/token", refusal("token.expired"));
    run(step(&fake, folder.path(), &["get", "shop-db/migrate"]));
    let keys = keys(&fake);
    assert_eq!(keys.len(), 3);
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[1], keys[2]);
    assert_eq!(fake.asked("/idtoken").len(), 2);
}

/// T-110
#[test]
fn a_gitlab_job_keeps_its_key_for_its_one_token() {
    let (fake, folder) = (Fake::start(), tempfile::tempdir().unwrap());
    let project = folder.path().join("project");
    std::fs::create_dir(folder.path().join("project.tmp")).unwrap();
    for id in ["1", "1", "2"] {
        let mut command = fake.on_gitlab(&["get", "shop-db/migrate"], &fake.token(id));
        command.env("CI_PROJECT_DIR", &project);
        run(command);
    }
    let keys = keys(&fake);
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[1], keys[2]);
}

/// T-92
#[test]
fn neither_a_credential_nor_gitlabs_token_is_kept() {
    let (fake, folder) = (Fake::start(), tempfile::tempdir().unwrap());
    let mut command = fake.on_gitlab(&["get", "shop-db/migrate"], &fake.token("1"));
    command.env("HALLPASS_JOB_DIR", folder.path());
    run(command);
    run(step(&fake, folder.path(), &["get", "shop-db/read"]));
    let files: Vec<_> = std::fs::read_dir(folder.path().join("hallpass"))
        .unwrap()
        .map(|file| file.unwrap())
        .collect();
    assert_eq!(files.len(), 2);
    for file in files {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert!(!text.contains(PASSWORD));
        assert!(!text.contains(&fake.token("1")));
    }
}

#[test]
fn a_folder_that_is_a_trap_is_not_used() {
    let (fake, folder) = (Fake::start(), tempfile::tempdir().unwrap());
    let elsewhere = tempfile::tempdir().unwrap();
    symlink(elsewhere.path(), folder.path().join("hallpass")).unwrap();
    run(step(&fake, folder.path(), &["get", "shop-db/migrate"]));
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}
