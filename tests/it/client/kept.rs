//! What the steps of one job share: one login, and nothing that others can read.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};

use super::fake::{Fake, PASSWORD, Reply, login, refusal, stdout, told};
use crate::support::leaks::{self, Observed as _};

fn step(fake: &Fake, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = fake.on_github(arguments);
    command.env("RUNNER_TEMP", folder);
    command
}

/// Where the steps of this user's jobs meet.
fn ours(folder: &Path) -> PathBuf {
    folder.join(format!("hallpass-{}", geteuid()))
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
    let files: Vec<_> = std::fs::read_dir(ours(folder.path()))
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
    symlink(elsewhere.path(), ours(folder.path())).unwrap();
    run(step(&fake, folder.path(), &["get", "shop-db/migrate"]));
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

/// T-136: a runner that does not empty its temporary folder.
#[test]
fn the_next_job_in_the_same_folder_gets_a_login_of_its_own() {
    let (fake, folder) = (Fake::start(), tempfile::tempdir().unwrap());
    let jobs = [
        ("canary-of-job-1-31c7", "1", "1", "deploy"),
        ("canary-of-job-2-90b4", "1", "1", "deploy"),
        ("canary-of-job-2-90b4", "2", "1", "deploy"),
        ("canary-of-job-2-90b4", "2", "2", "deploy"),
        ("canary-of-job-2-90b4", "2", "2", "test"),
    ];
    for (token, run_id, attempt, job) in jobs {
        leaks::secret("a request token", token);
        for _ in ["first step", "second step"] {
            let mut command = step(&fake, folder.path(), &["get", "shop-db/migrate"]);
            command.envs([
                ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", token),
                ("GITHUB_RUN_ID", run_id),
                ("GITHUB_RUN_ATTEMPT", attempt),
                ("GITHUB_JOB", job),
            ]);
            run(command);
        }
    }
    let mut keys = keys(&fake);
    assert_eq!(keys.len(), 2 * jobs.len());
    keys.dedup();
    assert_eq!(keys.len(), jobs.len(), "the steps of one job share a key");
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), jobs.len(), "two jobs shared a key");
    assert_eq!(fake.asked("/idtoken").len(), jobs.len());
}

/// T-136: a step that ran as another user left its folder, or somebody laid a trap.
#[test]
fn a_folder_of_another_user_fails_no_job() {
    let (fake, folder) = (Fake::start(), tempfile::tempdir().unwrap());
    std::fs::create_dir(folder.path().join("hallpass")).unwrap();
    std::fs::create_dir(ours(folder.path())).unwrap();
    if geteuid().is_root() {
        std::os::unix::fs::chown(ours(folder.path()), Some(65_534), None).unwrap();
    } else {
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(ours(folder.path()), open).unwrap();
    }
    let mut answer = login("shop-db/migrate");
    answer["hallpass"]["credential"]["ca"] = "-----BEGIN CERTIFICATE-----\nx\n".into();
    fake.next("/token", Reply::json(200, &answer));
    let output = step(&fake, folder.path(), &["get", "shop-db/migrate"])
        .args(["--format", "dotenv"])
        .observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let text = stdout(&output);
    let ca = text
        .lines()
        .find_map(|line| line.strip_prefix("PGSSLROOTCERT="));
    assert!(std::fs::read_to_string(ca.unwrap()).is_ok());
    assert_eq!(std::fs::read_dir(ours(folder.path())).unwrap().count(), 0);
}

/// T-136
#[test]
fn a_pipe_without_a_writer_holds_no_step_up() {
    let (fake, folder) = (Fake::start(), tempfile::tempdir().unwrap());
    run(step(&fake, folder.path(), &["get", "shop-db/migrate"]));
    let kept = std::fs::read_dir(ours(folder.path())).unwrap();
    for file in kept.map(|file| file.unwrap().path()) {
        std::fs::remove_file(&file).unwrap();
        mkfifo(&file, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    }
    run(step(&fake, folder.path(), &["get", "shop-db/migrate"]));
    let pipe = folder.path().join("pipe");
    mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    for (name, arguments) in [
        ("HALLPASS_CA", &["list"][..]),
        ("HALLPASS_ID_TOKEN_FILE", &["get", "shop-db/migrate"]),
        (
            "HALLPASS_ID_TOKEN_FILE",
            &["exec", "shop-db/migrate", "--", "true"],
        ),
        ("X", &["revoke", "--file", pipe.to_str().unwrap()]),
    ] {
        // After `--` everything is the command's.
        let mut all = vec![arguments[0], "--timeout", "1s"];
        all.extend(&arguments[1..]);
        let output = step(&fake, folder.path(), &all).env(name, &pipe).observed();
        assert_eq!(output.status.code(), Some(5), "{name}: {}", told(&output));
        assert!(
            told(&output).contains("cannot be read: its writer did not finish in time"),
            "{}",
            told(&output)
        );
    }
}
