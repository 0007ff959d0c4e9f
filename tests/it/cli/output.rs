//! What a command could not print, it does not claim to have done.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use hallpass::rootkey::RootKey;
use serde_json::json;

use crate::client::fake::{Fake, Reply, stderr, told};
use crate::client::handed_over::{closed_pipe, full_disk, in_shell};
use crate::support::broker::write_root_key;
use crate::support::leaks::Observed as _;

const SETTINGS: &str = "
issuer: https://hallpass.example
root_key: { file: root.key }
policies: { path: policies }
targets:
  shop-db:
    kind: postgres
    host: 127.0.0.1
    databases: [shop]
    user: hallpass
    password: { file: password }
    cleaner: { user: hallpass_clean, password: { file: password } }
    tls: disable
audit: { sinks: [ { kind: file, path: audit.jsonl, required: true } ] }
";

const POLICIES: &str = "
issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: \"1\" } ] }
credentials:
  shop-db/read:
    kind: postgres
    target: shop-db
    group: shop_readers
    max_ttl: 15m
    owner: team-shop
    purpose: reports
    class: low
policies:
  - name: shop-read
    issuer: github
    when: { repository: acme/shop, repository_id: \"2\", ref: refs/heads/main }
    grant: [ { credential: shop-db/read, ttl: 10m } ]
";

fn set_up(folder: &Path) {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    fs::create_dir(folder.join("policies")).unwrap();
    write("policies/root.yaml", POLICIES);
    write("hallpass.yaml", SETTINGS);
    write("password", "for-the-tests-only");
    write("audit.jsonl", "");
    let claims = json!({
        "iss": "https://token.actions.githubusercontent.com", "repository": "acme/shop",
    });
    write("claims.json", &claims.to_string());
    write_root_key(&folder.join("root.key"), &RootKey::generate().unwrap());
}

/// T-137: every command that can be run without a database; all print through one writer.
#[test]
fn an_answer_that_cannot_be_written_fails_the_command() {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    set_up(folder.path());
    let commands: &[&[&str]] = &[
        &["--help"],
        &["--version"],
        &["get", "--help"],
        &["list"],
        &["list", "--output", "json"],
        &["revoke", "hpl_x"],
        &["revoke", "hpl_x", "--output", "json"],
        &["doctor"],
        &["doctor", "--output", "json"],
        &["exec", "--help"],
        &["keys", "generate"],
        &[
            "keys",
            "show",
            "--root-key",
            "root.key",
            "--issuer",
            "https://hallpass.example",
        ],
        &["policy", "check", "policies"],
        &["policy", "check", "policies", "--output", "json"],
        &[
            "policy",
            "explain",
            "--claims",
            "claims.json",
            "shop-db/read",
        ],
        &[
            "policy",
            "new",
            "--from-claims",
            "claims.json",
            "shop-db/read",
        ],
        &["target", "install", "shop-db", "--server-version", "15"],
        &["audit", "verify", "audit.jsonl"],
        &["serve", "--check"],
    ];
    let mut proven = 0;
    for arguments in commands {
        let command = || {
            let mut command = fake.on_github(arguments);
            command.current_dir(folder.path());
            command
        };
        let run = |stdout: Stdio| command().stdout(stdout).observed();
        // What it prints when it can is looked at for secrets elsewhere.
        let whole = command().output().unwrap();
        assert!(!whole.stdout.is_empty(), "{arguments:?}: {}", told(&whole));
        let is_done = whole.status.success();
        proven += usize::from(is_done);
        // What fails for another reason keeps its own code.
        let expected = if is_done {
            Some(5)
        } else {
            whole.status.code()
        };
        for stdout in [full_disk(), closed_pipe()] {
            let output = run(stdout);
            assert_eq!(
                output.status.code(),
                expected,
                "{arguments:?}: {}",
                told(&output)
            );
            let is_told = stderr(&output).contains("standard output cannot be written");
            assert_eq!(is_told, is_done, "{arguments:?}: {}", told(&output));
        }
    }
    assert!(proven + 4 > commands.len(), "only {proven} commands work");
}

/// T-137: what exists nowhere else is not printed to nowhere, and everything else runs.
#[test]
fn a_closed_output_fails_what_hands_something_over() {
    let folder = tempfile::tempdir().unwrap();
    set_up(folder.path());
    let null = |is_read: bool| {
        let opened = File::options().read(is_read).write(true).open("/dev/null");
        Stdio::from(opened.unwrap())
    };
    let run = |fake: &Fake, arguments: &[&str], stdout: Stdio| {
        let mut command = fake.on_github(arguments);
        command.current_dir(folder.path()).stdout(stdout).observed()
    };
    let closed = |fake: &Fake, arguments: &[&str]| {
        let mut command = in_shell(&fake.on_github(arguments), "exec \"$@\" >&-");
        command.current_dir(folder.path()).observed()
    };
    for arguments in [
        &["get", "shop-db/migrate"][..],
        &["keys", "generate"],
        &["target", "install", "shop-db", "--server-version", "15"],
        &["target", "uninstall", "shop-db"],
    ] {
        let fake = Fake::start();
        for output in [closed(&fake, arguments), run(&fake, arguments, null(true))] {
            let told = told(&output);
            assert_eq!(output.status.code(), Some(5), "{arguments:?}: {told}");
            assert!(
                stderr(&output).contains("the output is incomplete: it is closed"),
                "{told}"
            );
        }
        assert!(fake.asked("/token").is_empty(), "{arguments:?}");
        let output = run(&fake, arguments, null(false));
        assert_eq!(
            output.status.code(),
            Some(0),
            "{arguments:?}: {}",
            told(&output)
        );
    }
    let fake = Fake::start();
    for arguments in [&["policy", "check", "policies"][..], &["list"]] {
        let output = closed(&fake, arguments);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{arguments:?}: {}",
            told(&output)
        );
    }
}

#[test]
fn a_target_that_is_not_there_is_a_slip_on_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    set_up(folder.path());
    for arguments in [
        &["target", "check", "nope"][..],
        &["target", "install", "nope"],
        &["target", "uninstall", "nope"],
        &["leases", "list", "--target", "nope"],
        &["leases", "sweep", "--target", "nope"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_hallpass"))
            .args(arguments)
            .current_dir(folder.path())
            .observed();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(
            stderr(&output),
            "hallpass: no target `nope` in the settings; expected one of: shop-db\n"
        );
    }
}

/// On a terminal, which `script` makes, nothing is broken inside a word.
#[test]
fn findings_fit_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    set_up(folder.path());
    fs::write(folder.path().join("audit.jsonl"), "{\"v\":1}\n").unwrap();
    let hallpass = env!("CARGO_BIN_EXE_hallpass");
    for arguments in ["audit verify audit.jsonl", "target check shop-db"] {
        let command = format!("stty rows 24 cols 60; {hallpass} {arguments}");
        let output = Command::new("script")
            .args(["-q", "-e", "-c", &command, "/dev/null"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .observed();
        let text = String::from_utf8_lossy(&output.stdout).replace("\u{1b}[31m", "");
        let text = text.replace("\u{1b}[0m", "");
        assert!(text.lines().count() > 2, "{text}");
        for line in text.lines() {
            assert!(line.chars().count() <= 60, "{arguments}: {line:?}");
        }
    }
}

/// Tables, refusals and reports about a job, on a terminal of 80 columns.
#[test]
fn what_a_job_reads_fits_80_columns() {
    let long = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen";
    let offers = json!({ "credentials": [
        { "credential": "shop-db/migrate", "kind": "postgres", "policy": "shop-migrate", "ttl": 900,
          "purpose": long },
        { "credential": "a-credential-of-a-long-name/read", "kind": "postgres", "ttl": 900,
          "policy": "a-policy-of-a-long-name-as-well", "purpose": long },
    ] });
    let refused = json!({
        "error": "access_denied", "error_description": long, "reason": "policy.conditions",
        "failed_conditions": [{
            "policy": "a-policy-of-a-long-name-as-well", "fact": "job_workflow",
            "expected": "acme/shop/.github/workflows/deploy.yml", "actual": long,
        }],
        "when": "when:\n  repository: acme/shop\n",
    });
    let mut explained = refused.clone();
    explained["permitted"] = false.into();
    for (arguments, next) in [
        (
            &["list"][..],
            vec![("/api/explain", Reply::json(200, &offers))],
        ),
        (
            &["doctor", "x"],
            vec![
                ("/api/explain", Reply::json(200, &offers)),
                ("/api/explain", Reply::json(200, &explained)),
            ],
        ),
        (
            &["exec", "deploy-api", "--", "true"],
            vec![
                ("/api/explain", Reply::json(200, &offers)),
                ("/token", Reply::json(400, &refused)),
            ],
        ),
    ] {
        let fake = Fake::start();
        for (path, reply) in next {
            fake.next(path, reply);
        }
        let inner = fake.on_github(arguments);
        let words = arguments.join(" ");
        let command = format!(
            "stty rows 24 cols 80; {} {words}",
            env!("CARGO_BIN_EXE_hallpass")
        );
        let output = Command::new("script")
            .args(["-q", "-c", &command, "/dev/null"])
            .envs(
                inner
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .observed();
        let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
        assert!(text.contains("fourteen"), "{text}");
        // A line of a block to copy is not broken.
        let is_prose = |line: &&str| !line.starts_with("    job_workflow: {");
        for line in text.lines().filter(is_prose) {
            assert!(line.chars().count() <= 80, "{arguments:?}: {line:?}");
        }
    }
}

/// Colour is for the stream that shows it, and for who wants it.
#[test]
fn each_stream_is_coloured_on_its_own() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("policies")).unwrap();
    fs::write(folder.path().join("policies/a.yaml"), "nonsense: 1\n").unwrap();
    let hallpass = env!("CARGO_BIN_EXE_hallpass");
    let check = format!("{hallpass} policy check");
    let explain = format!("{hallpass} policy explain x --token a");
    let is_coloured = |command: &str, variables: &[(&str, &str)]| {
        let command = format!("rm -f kept; {command}; cat kept 2>/dev/null");
        let output = Command::new("script")
            .args(["-q", "-c", &command, "/dev/null"])
            .current_dir(folder.path())
            .env_remove("NO_COLOR")
            .env_remove("CLICOLOR")
            .env_remove("CLICOLOR_FORCE")
            .env_remove("CI")
            .env("TERM", "xterm")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .observed();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("unknown-key"), "{text}");
        text.contains("\u{1b}[")
    };
    // `check` writes to standard output, `explain` to standard error.
    for (command, other) in [(&check, "2>/dev/null"), (&explain, ">/dev/null")] {
        assert!(is_coloured(&format!("{command} {other}"), &[]));
    }
    for (command, own) in [(&check, ">kept"), (&explain, "2>kept")] {
        let command = format!("{command} {own}");
        assert!(!is_coloured(&command, &[]), "{command}");
        assert!(
            is_coloured(&command, &[("CLICOLOR_FORCE", "1")]),
            "{command}"
        );
    }
    for variable in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        assert!(!is_coloured(&check, &[variable]), "{variable:?}");
        assert!(!is_coloured(&explain, &[variable]), "{variable:?}");
    }
}
