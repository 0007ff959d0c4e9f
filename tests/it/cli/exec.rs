//! `hallpass exec`: secrets to the child only, signals through, leases ended, exit codes kept.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::client::fake::{Fake, LEASE, PASSWORD, Reply, login, refusal, stderr, stdout, told};
use crate::support::leaks::Observed as _;

fn revoked(fake: &Fake) -> Vec<String> {
    fake.asked("/revoke")
        .into_iter()
        .map(|asked| asked.form["token"].clone())
        .collect()
}

fn exec(fake: &Fake, credentials: &[&str], script: &str) -> Command {
    let mut arguments = vec!["exec"];
    arguments.extend(credentials);
    arguments.extend(["--", "sh", "-c", script]);
    fake.on_github(&arguments)
}

#[test]
fn the_child_gets_the_login_and_its_exit_code_is_kept() {
    let fake = Fake::start();
    let output = exec(
        &fake,
        &["shop-db/migrate"],
        "printf '%s %s' \"$PGUSER\" \"$PGPASSWORD\"; exit 42",
    )
    .observed();
    assert_eq!(output.status.code(), Some(42), "{}", told(&output));
    assert_eq!(stdout(&output), format!("hp_abc1234_x {PASSWORD}"));
    assert_eq!(revoked(&fake), [LEASE]);
}

/// T-93
#[test]
fn no_secret_is_in_any_argument_or_on_standard_error() {
    let fake = Fake::start();
    let token = fake.token("1");
    let output = fake
        .on_gitlab(
            &[
                "exec",
                "shop-db/migrate",
                "--",
                "sh",
                "-c",
                "cat /proc/$PPID/cmdline /proc/$$/cmdline",
            ],
            &token,
        )
        .observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let text = told(&output);
    assert!(text.contains("shop-db/migrate"), "{text}");
    for secret in [PASSWORD, LEASE, &token] {
        assert!(!text.contains(secret), "{text}");
    }
}

/// T-93
#[test]
fn the_childs_environment_has_the_login_but_not_the_jobs_identity() {
    let fake = Fake::start();
    let script = "env | grep -c -e '^ACTIONS_ID_TOKEN' -e '^HALLPASS_ID_TOKEN'; true";
    let count = |more: &[&str]| {
        let mut credentials = vec!["shop-db/migrate"];
        credentials.extend(more);
        let output = exec(&fake, &credentials, script)
            .env("HALLPASS_ID_TOKEN", "")
            .observed();
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        stdout(&output).trim().to_owned()
    };
    assert_eq!(count(&[]), "0");
    assert_eq!(count(&["--keep-identity"]), "3");
}

#[test]
fn prefixes_keep_several_credentials_apart() {
    let fake = Fake::start();
    let output = exec(
        &fake,
        &["SHOP=shop-db/migrate", "API=deploy-api"],
        "printf '%s %s %s' \"$SHOP_PGDATABASE\" \"$API_HALLPASS_TOKEN\" \"${PGDATABASE-none}\"",
    )
    .observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(stdout(&output), "shop canary.5d2e9c.a07f13 none");
    assert_eq!(revoked(&fake).len(), 1);
}

#[test]
fn two_credentials_without_prefixes_are_a_usage_error() {
    let fake = Fake::start();
    let output = exec(&fake, &["shop-db/migrate", "shop-db/read"], "true").observed();
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    insta::assert_snapshot!(stderr(&output), @"hallpass: several credentials need a prefix each, like `SHOP=shop-db/read AUDIT=audit-db/read`");
    assert!(fake.asked("/token").is_empty());
}

#[test]
fn a_child_that_is_killed_ends_its_lease_too() {
    let fake = Fake::start();
    let output = exec(&fake, &["shop-db/migrate"], "kill -KILL $$").observed();
    assert_eq!(output.status.code(), Some(128 + 9), "{}", told(&output));
    assert_eq!(revoked(&fake), [LEASE]);
}

#[test]
fn signals_reach_the_child_and_its_answer_is_kept() {
    for (signal, name) in [
        (Signal::SIGTERM, "TERM"),
        (Signal::SIGINT, "INT"),
        (Signal::SIGHUP, "HUP"),
    ] {
        let fake = Fake::start();
        let script = format!("trap 'exit 7' {name}; echo ready; while :; do sleep 0.05; done");
        let mut hallpass = exec(&fake, &["shop-db/migrate"], &script)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(hallpass.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "ready\n");
        kill(Pid::from_raw(hallpass.id().try_into().unwrap()), signal).unwrap();
        assert_eq!(hallpass.wait().unwrap().code(), Some(7), "{name}");
        assert_eq!(revoked(&fake), [LEASE]);
    }
}

#[test]
fn a_signal_before_the_child_starts_ends_what_was_handed_out() {
    let fake = Fake::start();
    let busy = json!({ "error": "temporarily_unavailable" });
    fake.next("/token", Reply::json(200, &login("shop-db/migrate")))
        .next("/token", Reply::json(503, &busy).with("retry-after", "50"));
    let mut hallpass = exec(
        &fake,
        &["A=shop-db/migrate", "B=shop-db/read"],
        "echo started",
    )
    .stdout(Stdio::piped())
    .stderr(Stdio::null())
    .spawn()
    .unwrap();
    fake.wait_for("/token", 2);
    kill(
        Pid::from_raw(hallpass.id().try_into().unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    let status = hallpass.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(128 + 15), None));
    assert_eq!(revoked(&fake), [LEASE]);
}

#[test]
fn a_second_credential_that_is_denied_ends_the_first() {
    let fake = Fake::start();
    fake.next("/token", Reply::json(200, &login("shop-db/migrate")))
        .next("/token", refusal("policy.condition"));
    let output = exec(
        &fake,
        &["A=shop-db/migrate", "B=shop-db/read"],
        "echo started",
    )
    .observed();
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert_eq!(stdout(&output), "");
    assert_eq!(revoked(&fake), [LEASE]);
}

#[test]
fn a_life_that_is_too_short_fails_before_the_start() {
    let fake = Fake::start();
    let mut answer = login("shop-db/migrate");
    answer["hallpass"]["expires_at"] = "2020-01-01T00:00:00Z".into();
    fake.next("/token", Reply::json(200, &answer));
    let output = exec(
        &fake,
        &["shop-db/migrate", "--at-least", "45m"],
        "echo started",
    )
    .observed();
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert_eq!(stdout(&output), "");
    assert!(stderr(&output).contains("the command needs 45m; a policy would have to grant more"));
    assert_eq!(revoked(&fake), [LEASE]);
}

#[test]
fn a_command_that_does_not_exist_costs_no_login() {
    let fake = Fake::start();
    let output = fake
        .on_github(&["exec", "shop-db/migrate", "--", "no-such-command-here"])
        .observed();
    assert_eq!(output.status.code(), Some(127), "{}", told(&output));
    insta::assert_snapshot!(stderr(&output), @"hallpass: no command `no-such-command-here`; nothing was asked for");
    assert!(fake.asked("/idtoken").is_empty());
}

#[test]
fn each_run_has_a_login_of_its_own_unless_it_is_kept() {
    let (fake, folder) = (Fake::start(), tempfile::tempdir().unwrap());
    for more in [vec![], vec![], vec!["--keep"], vec!["--keep"]] {
        let mut credentials = vec!["shop-db/migrate"];
        credentials.extend(more);
        let output = exec(&fake, &credentials, "true")
            .env("RUNNER_TEMP", folder.path())
            .observed();
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    }
    let keys: Vec<String> = fake
        .asked("/token")
        .into_iter()
        .map(|asked| asked.headers["idempotency-key"].clone())
        .collect();
    assert_ne!(keys[0], keys[1]);
    assert_ne!(keys[1], keys[2]);
    assert_eq!(keys[2], keys[3]);
    assert_eq!(revoked(&fake).len(), 2);
}

#[test]
fn a_lease_that_cannot_be_revoked_is_told_and_changes_no_exit_code() {
    let fake = Fake::start();
    fake.next("/revoke", Reply::json(202, &json!({})));
    let output = exec(&fake, &["shop-db/migrate"], "exit 3").observed();
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    assert!(
        stderr(&output)
            .contains("hallpass: the database is away; the broker ends the login when it is back")
    );
}
