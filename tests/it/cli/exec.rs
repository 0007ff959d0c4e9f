//! `hallpass exec`: secrets to the child only, signals through, leases ended, exit codes kept.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
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

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().try_into().unwrap())
}

/// A run whose command prints its process id and does nothing.
fn running(fake: &Fake) -> (Child, Pid) {
    let mut hallpass = exec(fake, &["shop-db/migrate"], "echo $$; exec sleep 600")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(hallpass.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    (hallpass, Pid::from_raw(line.trim().parse().unwrap()))
}

/// T-138: whatever signal comes, no command is left behind and no login.
#[test]
fn every_signal_that_would_end_us_ends_the_command_and_the_login() {
    let ends_nobody = [
        Signal::SIGCHLD,
        Signal::SIGCONT,
        Signal::SIGURG,
        Signal::SIGWINCH,
        // Stops us; below.
        Signal::SIGTSTP,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
        // Ignored, so that writes fail instead.
        Signal::SIGPIPE,
        // Nobody can catch these.
        Signal::SIGKILL,
        Signal::SIGSTOP,
    ];
    let named = Signal::iterator().filter(|signal| !ends_nobody.contains(signal));
    let mut cases: Vec<(i32, i32)> = named
        .map(|signal| (signal as i32, 128 + signal as i32))
        .collect();
    assert!(cases.len() > 18, "{cases:?}");
    // A real-time signal has no name to pass it on by, so the command gets SIGTERM.
    cases.push((34, 128 + 15));
    cases.push((64, 128 + 15));
    for (number, code) in cases {
        let fake = Fake::start();
        let (mut hallpass, command) = running(&fake);
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{number} {}", hallpass.id())])
            .status()
            .unwrap();
        assert!(sent.success(), "signal {number}");
        assert_eq!(
            hallpass.wait().unwrap().code(),
            Some(code),
            "signal {number}"
        );
        assert_eq!(kill(command, None), Err(Errno::ESRCH), "signal {number}");
        assert_eq!(revoked(&fake), [LEASE], "signal {number}");
    }
}

/// T-138
#[test]
fn a_run_that_was_stopped_goes_on_and_still_ends_both() {
    for signal in [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGSTOP] {
        let fake = Fake::start();
        let (mut hallpass, command) = running(&fake);
        kill(pid(&hallpass), signal).unwrap();
        kill(pid(&hallpass), Signal::SIGTERM).unwrap();
        kill(pid(&hallpass), Signal::SIGCONT).unwrap();
        assert_eq!(hallpass.wait().unwrap().code(), Some(128 + 15));
        assert_eq!(kill(command, None), Err(Errno::ESRCH));
        assert_eq!(revoked(&fake), [LEASE]);
    }
}

/// T-138: what the caller had ignored (`nohup`), the command still ignores.
#[test]
fn a_signal_that_the_caller_ignores_does_not_end_the_command() {
    let fake = Fake::start();
    let inner = exec(
        &fake,
        &["shop-db/migrate"],
        "kill -HUP $$; kill -HUP $PPID; exit 7",
    );
    let output = Command::new("sh")
        .args(["-c", "trap '' HUP; exec \"$@\"", "sh"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .env_clear()
        .envs(
            inner
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .observed();
    assert_eq!(output.status.code(), Some(7), "{}", told(&output));
    assert_eq!(revoked(&fake), [LEASE]);
}

/// A run on a terminal of its own; `redirect` is what a shell puts behind the command.
struct OnTerminal {
    script: Child,
    keys: std::process::ChildStdin,
    screen: BufReader<std::process::ChildStdout>,
    hallpass: Pid,
}

impl OnTerminal {
    /// The command counts interrupts, and tells their number when it is terminated.
    fn start(fake: &Fake, redirect: &str) -> Self {
        let counts = "n=0; trap 'n=$((n+1)); echo interrupted' INT; trap 'echo \"$n in all\"; exit 0' TERM; \
                      echo \"for $PPID\"; while :; do sleep 0.05; done";
        let run = exec(fake, &["shop-db/migrate"], counts);
        let line = format!(
            "exec {} exec shop-db/migrate -- sh -c \"$COUNTS\" {redirect}",
            run.get_program().to_str().unwrap()
        );
        let mut script = Command::new("script")
            .args(["-qefc", &line, "/dev/null"])
            .env_clear()
            .envs(
                run.get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .env("COUNTS", counts)
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("`script` of util-linux makes the terminal");
        let keys = script.stdin.take().unwrap();
        let screen = BufReader::new(script.stdout.take().unwrap());
        let mut started = Self {
            script,
            keys,
            screen,
            hallpass: Pid::from_raw(0),
        };
        let line = started.says("for ");
        started.hallpass = Pid::from_raw(line.trim_start_matches("for ").parse().unwrap());
        started
    }

    /// The next line that holds this.
    fn says(&mut self, text: &str) -> String {
        let mut lines = self.screen.by_ref().lines().map(Result::unwrap);
        let line = lines.find(|line| line.contains(text));
        let line = line.unwrap_or_else(|| panic!("it never said `{text}`"));
        line.trim().to_owned()
    }

    fn press_ctrl_c(&mut self) {
        self.keys.write_all(b"\x03").unwrap();
    }

    /// Ends it; how often the command was interrupted.
    fn interrupts(mut self) -> String {
        kill(self.hallpass, Signal::SIGTERM).unwrap();
        let said = self.says(" in all");
        assert_eq!(self.script.wait().unwrap().code(), Some(0));
        said.trim_end_matches(" in all").to_owned()
    }
}

/// T-138: Ctrl-C reaches the command from the terminal, whatever stdin is.
#[test]
fn a_key_reaches_the_command_once_and_a_signal_sent_to_us_alone_does_too() {
    for redirect in ["", "</dev/null"] {
        let fake = Fake::start();
        let mut run = OnTerminal::start(&fake, redirect);
        run.press_ctrl_c();
        run.says("interrupted");
        assert_eq!(run.interrupts(), "1", "Ctrl-C, {redirect:?}");
        assert_eq!(revoked(&fake), [LEASE]);
        let fake = Fake::start();
        let mut run = OnTerminal::start(&fake, redirect);
        kill(run.hallpass, Signal::SIGINT).unwrap();
        run.says("interrupted");
        assert_eq!(run.interrupts(), "1", "SIGINT, {redirect:?}");
        assert_eq!(revoked(&fake), [LEASE]);
    }
}

#[test]
fn a_signal_before_the_child_starts_ends_what_was_handed_out() {
    let fake = Fake::start();
    let busy = json!({ "error": "temporarily_unavailable" });
    fake.next("/api/explain", refusal("policy.condition"))
        .next("/token", Reply::json(200, &login("shop-db/migrate")))
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
    fake.next("/api/explain", refusal("policy.condition"))
        .next("/token", Reply::json(200, &login("shop-db/migrate")))
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
        &["shop-db/migrate", "--at-least", "10m"],
        "echo started",
    )
    .observed();
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert_eq!(stdout(&output), "");
    assert!(stderr(&output).contains("but `--at-least` is 10m; raise the grant's `ttl`"));
    assert_eq!(revoked(&fake), [LEASE]);
}

#[test]
fn a_grant_that_is_too_short_fails_before_the_token_is_used() {
    let fake = Fake::start();
    let output = exec(
        &fake,
        &["shop-db/migrate", "--at-least", "45m"],
        "echo started",
    )
    .observed();
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    insta::assert_snapshot!(stderr(&output), @"hallpass: `shop-db/migrate` is granted for 15m, but `--at-least` is 45m; raise the grant's `ttl` and the credential's `max_ttl`");
    assert!(fake.asked("/token").is_empty());
}

#[test]
fn a_command_that_does_not_exist_costs_no_login() {
    let fake = Fake::start();
    let output = fake
        .on_github(&["exec", "shop-db/migrate", "--", "no-such-command-here"])
        .observed();
    assert_eq!(output.status.code(), Some(127), "{}", told(&output));
    insta::assert_snapshot!(stderr(&output), @"hallpass: no command `no-such-command-here`; no credential was requested");
    assert!(fake.asked("/idtoken").is_empty());
}

#[test]
fn a_command_that_cannot_be_started_costs_no_login() {
    let (fake, folder) = (Fake::start(), tempfile::tempdir().unwrap());
    let script = folder.path().join("migrate.sh");
    for (text, mode, problem) in [
        ("#!/bin/sh\n", 0o644, "is not executable; `chmod +x` it"),
        (
            "#!/bin/sh\r\n",
            0o755,
            "names `/bin/sh\\u{d}`, which cannot be run",
        ),
        ("#!/no/such/shell\n", 0o755, "names `/no/such/shell`"),
    ] {
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(mode)).unwrap();
        for name in [script.as_os_str(), OsStr::new("migrate.sh")] {
            let output = fake
                .on_github(&["exec", "shop-db/migrate", "--"])
                .arg(name)
                .env("PATH", folder.path())
                .observed();
            assert_eq!(output.status.code(), Some(126), "{}", told(&output));
            let said = stderr(&output);
            assert!(
                said.contains(problem) && said.contains("no credential was requested"),
                "{said}"
            );
        }
    }
    assert!(fake.asked("/idtoken").is_empty());
}

#[test]
fn a_path_of_any_bytes_is_searched() {
    let (fake, folder) = (Fake::start(), tempfile::tempdir().unwrap());
    let odd = folder.path().join(OsStr::from_bytes(b"b\xffn"));
    fs::create_dir(&odd).unwrap();
    fs::write(
        odd.join("greet"),
        "#!/bin/sh\necho \"hello from ${0##*/}\"\n",
    )
    .unwrap();
    fs::set_permissions(odd.join("greet"), fs::Permissions::from_mode(0o755)).unwrap();
    let output = fake
        .on_github(&["exec", "shop-db/migrate", "--", "greet"])
        .env("PATH", &odd)
        .observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(stdout(&output), "hello from greet\n");
}

#[test]
fn the_command_sees_no_variable_of_libpqs_but_the_logins() {
    let fake = Fake::start();
    let theirs = [
        "PGSERVICE",
        "PGSERVICEFILE",
        "PGPASSFILE",
        "PGHOSTADDR",
        "PGSSLROOTCERT",
        "PGSSLCERT",
        "PGREQUIRESSL",
        "PGHOST",
        "PGOPTIONS",
        "PGTZ",
    ];
    let run = |credentials: &[&str]| {
        let output = exec(
            &fake,
            credentials,
            "env | grep '=theirs$' | sort | tr '\\n' ' '",
        )
        .envs(theirs.map(|name| (name, "theirs")))
        .observed();
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        stdout(&output)
    };
    assert_eq!(run(&["shop-db/migrate"]), "PGTZ=theirs ");
    // What has a prefix, or is no database, leaves the job's own alone.
    for credential in ["A=shop-db/migrate", "deploy-api"] {
        assert_eq!(run(&[credential]).split(' ').count(), theirs.len() + 1);
    }
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
fn a_revocation_that_was_accepted_is_told_and_changes_no_exit_code() {
    let fake = Fake::start();
    fake.next("/revoke", Reply::json(202, &json!({})));
    let output = exec(&fake, &["shop-db/migrate"], "exit 3").observed();
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    assert!(
        stderr(&output)
            .ends_with("hallpass: revocation accepted; the broker is still ending the login\n"),
        "{}",
        told(&output)
    );
}

/// T-386
#[test]
fn a_shared_login_is_left_to_its_other_holders() {
    let fake = Fake::start();
    let mut answer = login("shop-db/migrate");
    answer["hallpass"]["shared"] = json!(true);
    fake.next("/token", Reply::json(200, &answer));
    let output = exec(&fake, &["shop-db/migrate"], "true").observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(revoked(&fake).len(), 0);
}
