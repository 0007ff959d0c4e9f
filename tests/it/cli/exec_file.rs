//! `hallpass exec --file`: private files that live as long as the command, and are renewed in time.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use hallpass::clock::{Clock as _, SystemClock};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::client::fake::{Fake, LEASE, Reply, login, refusal, stderr, stdout, told};
use crate::support::leaks::Observed as _;

fn exec(fake: &Fake, file: &str, script: &str) -> Command {
    fake.on_github(&[
        "exec",
        "shop-db/migrate",
        "--file",
        file,
        "--",
        "sh",
        "-euc",
        script,
    ])
}

fn revoked(fake: &Fake) -> Vec<String> {
    let asked = fake.asked("/revoke").into_iter();
    asked.map(|asked| asked.form["token"].clone()).collect()
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().count() == 0
}

/// T-241, T-242
#[test]
fn a_file_is_there_for_the_command_alone() {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("login");
    for format in ["json", "env", "dotenv", "url", "pgpass"] {
        let file = format!("{format}={}", path.display());
        let script = "umask 0; stat -c %a \"$0\"; grep -c canary- \"$0\" >/dev/null; exit 7";
        let output = fake
            .on_github(&[
                "exec",
                "shop-db/migrate",
                "--file",
                &file,
                "--",
                "sh",
                "-euc",
                script,
            ])
            .arg(&path)
            .observed();
        assert_eq!(output.status.code(), Some(7), "{format}: {}", told(&output));
        assert_eq!(stdout(&output), "600\n", "{format}");
        assert!(is_empty(folder.path()), "{format}");
    }
    assert_eq!(revoked(&fake).len(), 5);
}

#[test]
fn a_file_of_several_credentials_is_chosen_by_its_prefix() {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let file = |text: &str, path: &Path| format!("{text}={}", path.display());
    let run = |first: &str| {
        let files = [file(first, &one), file("API:git", &two)];
        let output = fake
            .on_github(&["exec", "SHOP=shop-db/migrate", "API=deploy-api"])
            .args(["--file", &files[0], "--file", &files[1], "--", "cat"])
            .args([&one, &two])
            .observed();
        (output.status.code(), told(&output))
    };
    let (code, said) = run("SHOP:dotenv");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("SHOP_PGUSER=hp_abc1234_x\n"), "{said}");
    assert!(said.contains("password=canary.5d2e9c.a07f13\n"), "{said}");
    let (code, said) = run("dotenv");
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("with several credentials write PREFIX:FORMAT=PATH"),
        "{said}"
    );
    assert!(is_empty(folder.path()));
}

/// T-241: as another user, or a careless job, would prepare them.
#[test]
fn a_path_that_is_not_new_and_private_costs_no_login() {
    let fake = Fake::start();
    let base = tempfile::tempdir().unwrap();
    let open = base.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(base.path().join("theirs"), "theirs").unwrap();
    symlink(base.path().join("elsewhere"), base.path().join("link")).unwrap();
    symlink(&open, base.path().join("way")).unwrap();
    for (name, expected) in [
        ("open/login", "can be changed by other users"),
        ("way/login", "can be changed by other users"),
        ("theirs", "it already exists"),
        ("link", "it already exists"),
        ("missing/login", "its folder"),
    ] {
        let file = format!("json={}", base.path().join(name).display());
        let output = exec(&fake, &file, "echo started").observed();
        assert_eq!(output.status.code(), Some(5), "{}", told(&output));
        assert!(stderr(&output).contains(expected), "{}", told(&output));
        assert_eq!(stdout(&output), "");
    }
    for file in ["json", "json=", "yaml=/tmp/x", "1:json=/tmp/x"] {
        let output = exec(&fake, file, "true").observed();
        assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    }
    assert_eq!(fs::read(base.path().join("theirs")).unwrap(), b"theirs");
    assert!(fake.asked("/idtoken").is_empty());
}

/// T-242: `ulimit -f 0` is a disk that is full from the start.
#[test]
fn a_file_that_cannot_be_written_starts_no_command() {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let file = format!("json={}", folder.path().join("login").display());
    let inner = exec(&fake, &file, "echo started");
    let output = Command::new("sh")
        .args(["-c", "ulimit -f 0; \"$@\" 2>&1 | cat; ", "sh"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .env_clear()
        .envs(
            inner
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .observed();
    let said = stdout(&output);
    assert!(said.contains("cannot be written"), "{said}");
    assert!(!said.contains("started"), "{said}");
    assert!(is_empty(folder.path()));
    assert_eq!(revoked(&fake), [LEASE]);
}

/// T-242
#[test]
fn a_signal_and_a_failed_start_remove_the_file_too() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let fake = Fake::start();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("login");
        let file = format!("json={}", path.display());
        let mut hallpass = exec(&fake, &file, "echo ready; exec sleep 600")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(hallpass.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(path.exists());
        kill(Pid::from_raw(hallpass.id().try_into().unwrap()), signal).unwrap();
        assert_eq!(hallpass.wait().unwrap().code(), Some(128 + signal as i32));
        assert!(is_empty(folder.path()), "{signal}");
        assert_eq!(revoked(&fake), [LEASE], "{signal}");
    }
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    fs::write(&program, "\x7fELF").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let file = format!("json={}", folder.path().join("login").display());
    let output = fake
        .on_github(&["exec", "shop-db/migrate", "--file", &file, "--"])
        .arg(&program)
        .observed();
    assert_ne!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(revoked(&fake), [LEASE]);
}

/// A login of that many seconds.
fn short_login(user: &str, lease: &str, seconds: i64) -> Reply {
    let mut answer = login("shop-db/migrate");
    answer["hallpass"]["credential"]["username"] = user.into();
    answer["hallpass"]["lease"] = lease.into();
    let ends = SystemClock::new().now().plus(seconds);
    answer["hallpass"]["expires_at"] = ends.to_string().into();
    Reply::json(200, &answer)
}

/// The command waits until the file holds the second login: reads are always whole documents.
const WAIT_FOR_SECOND: &str = r#"
    for _ in $(seq 600); do
        user=$(sed -E 's/.*"username":"([a-z0-9_]+)".*\}$/\1/' "$FILE")
        case $user in second) echo "$user"; exit 0;; first) sleep 0.1;; *) echo "torn: $user"; exit 1;; esac
    done
    exit 9"#;

/// T-243
#[test]
fn a_file_is_renewed_with_a_new_token_before_the_login_expires() {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("login");
    fake.next("/token", short_login("first", "hpl_canary-first", 4));
    // Busy once: it is tried again.
    fake.next("/token", refusal("target.unreachable").of_status(503));
    fake.next("/token", short_login("second", "hpl_canary-second", 600));
    let file = format!("json={}", path.display());
    let output = exec(&fake, &file, WAIT_FOR_SECOND)
        .env("FILE", &path)
        .observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(stdout(&output), "second\n");
    let asked = fake.asked("/token");
    assert_ne!(
        asked[0].form["subject_token"],
        asked[2].form["subject_token"]
    );
    assert_ne!(
        asked[0].headers["idempotency-key"],
        asked[2].headers["idempotency-key"]
    );
    assert_eq!(revoked(&fake), ["hpl_canary-first", "hpl_canary-second"]);
    assert!(is_empty(folder.path()));
}

/// T-243
#[test]
fn a_renewal_that_is_refused_is_said_and_leaves_the_file() {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("login");
    fake.next("/token", short_login("first", LEASE, 2));
    fake.next("/token", refusal("policy.condition"));
    let file = format!("json={}", path.display());
    let mut hallpass = exec(&fake, &file, "read -r _ || true; grep -c first \"$FILE\"")
        .env("FILE", &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut errors = BufReader::new(hallpass.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("is not renewed") {
        line.clear();
        assert_ne!(errors.read_line(&mut line).unwrap(), 0, "nothing was said");
    }
    assert!(
        line.contains("`shop-db/migrate` is not renewed; it is not tried again: denied:"),
        "{line}"
    );
    drop(hallpass.stdin.take());
    let output = hallpass.wait_with_output().unwrap();
    assert_eq!(stdout(&output), "1\n");
    assert_eq!(revoked(&fake), [LEASE]);
}

/// T-243
#[test]
fn what_is_not_renewed_is_said_before_the_start() {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let file = format!("json={}", folder.path().join("login").display());
    let output = fake
        .on_gitlab(
            &[
                "exec",
                "shop-db/migrate",
                "--file",
                &file,
                "--",
                "sh",
                "-c",
                "echo started >&2",
            ],
            &fake.token("1"),
        )
        .observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let said = stderr(&output).replace(folder.path().to_str().unwrap(), "");
    insta::assert_snapshot!(said, @"
    hallpass: `/login` is valid until 2099-01-01T00:00:00Z and is not renewed: source `gitlab` has one ID token for the whole job
    started
    ");
}

/// T-241: another program's file at the path is its own.
#[test]
fn a_file_that_the_command_replaced_is_left_and_reported() {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("login");
    let file = format!("json={}", path.display());
    let script = "echo theirs >\"$FILE.new\"; mv \"$FILE.new\" \"$FILE\"";
    let output = exec(&fake, &file, script).env("FILE", &path).observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert!(
        stderr(&output).contains("another program replaced it"),
        "{}",
        told(&output)
    );
    assert_eq!(fs::read(&path).unwrap(), b"theirs\n");
}
