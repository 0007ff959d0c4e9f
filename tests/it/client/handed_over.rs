//! What cannot be written down is not handed over, and ends.

use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::fake::{Fake, LEASE, PASSWORD, stderr, stdout, told};
use crate::support::leaks::Observed as _;

/// A pipe whose reader has gone.
pub(crate) fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

pub(crate) fn full_disk() -> Stdio {
    File::options()
        .write(true)
        .open("/dev/full")
        .unwrap()
        .into()
}

/// The command, begun by a shell's `script` as `"$@"`.
pub(crate) fn in_shell(command: &Command, script: &str) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", script, "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
    shell
}

/// The command, writing to a file that may not grow.
fn into_a_file_that_is_full(command: &Command, file: &Path) -> Command {
    let mut shell = in_shell(command, "ulimit -f 0; exec \"$@\" >\"$OUT\"");
    shell.env("OUT", file);
    shell
}

fn revoked(fake: &Fake) -> Vec<String> {
    let asked = fake.asked("/revoke").into_iter();
    asked.map(|asked| asked.form["token"].clone()).collect()
}

/// T-137
#[test]
fn a_login_that_was_not_printed_is_revoked() {
    let folder = tempfile::tempdir().unwrap();
    for how in ["full disk", "closed pipe", "open for reading", "full file"] {
        let fake = Fake::start();
        let token = fake.token("1");
        let mut command = fake.on_gitlab(&["get", "shop-db/migrate"], &token);
        let output = match how {
            "full disk" => command.stdout(full_disk()).observed(),
            "closed pipe" => command.stdout(closed_pipe()).observed(),
            "open for reading" => command.stdout(File::open("/dev/null").unwrap()).observed(),
            _ => into_a_file_that_is_full(&command, &folder.path().join("out")).observed(),
        };
        assert_eq!(output.status.code(), Some(5), "{how}: {}", told(&output));
        assert!(
            stderr(&output).starts_with("hallpass: standard output cannot be written, so"),
            "{how}: {}",
            told(&output)
        );
        // What is open for reading only is seen before anything is made.
        let made: &[&str] = if how == "open for reading" {
            &[]
        } else {
            &[LEASE]
        };
        assert_eq!(fake.asked("/token").len(), made.len(), "{how}");
        assert_eq!(revoked(&fake), made, "{how}");
    }
}

/// T-137
#[test]
fn a_file_that_was_not_written_whole_is_no_file_and_its_login_is_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let variables = folder.path().join("variables");
    fs::write(&variables, "BEFORE=1\n").unwrap();
    let out = folder.path().join("login.json");
    let elsewhere = folder.path().join("no-such-folder/login.json");
    let file = |path: &Path| path.to_str().unwrap().to_owned();
    for (how, more) in [
        ("full", vec!["--out".to_owned(), file(&out)]),
        ("full", vec!["--github-env".to_owned()]),
        ("missing", vec!["--out".to_owned(), file(&elsewhere)]),
    ] {
        let fake = Fake::start();
        let mut command = fake.on_github(&["get", "shop-db/migrate"]);
        command
            .args(&more)
            .env("GITHUB_ENV", &variables)
            .env("TMPDIR", folder.path());
        // The database's CA is there already, so that only what is tested has no room.
        let cached = fake
            .on_github(&["get", "shop-db/migrate", "--format", "env"])
            .env("TMPDIR", folder.path())
            .observed();
        assert_eq!(cached.status.code(), Some(0), "{}", told(&cached));
        let output = match how {
            "full" => into_a_file_that_is_full(&command, Path::new("/dev/null")).observed(),
            _ => command.observed(),
        };
        assert_eq!(output.status.code(), Some(5), "{more:?}: {}", told(&output));
        assert_eq!(revoked(&fake), [LEASE], "{more:?}");
        assert_eq!(fs::read_to_string(&variables).unwrap(), "BEFORE=1\n");
        assert!(!out.exists());
    }
}

/// T-137
#[test]
fn a_secret_that_cannot_be_masked_is_not_printed() {
    let fake = Fake::start();
    let mut command = fake.on_github(&["get", "shop-db/migrate"]);
    let output = command.stderr(full_disk()).observed();
    assert_eq!(output.status.code(), Some(5), "{}", told(&output));
    assert!(!stdout(&output).contains(PASSWORD));
    assert_eq!(revoked(&fake), [LEASE]);
    let mut command = fake.on_github(&["exec", "shop-db/migrate", "--", "echo", "started"]);
    let output = command.stderr(full_disk()).observed();
    assert_eq!(output.status.code(), Some(5), "{}", told(&output));
    assert_eq!(stdout(&output), "");
    assert_eq!(revoked(&fake).len(), 2);
    let closed = in_shell(
        &fake.on_github(&["get", "shop-db/migrate"]),
        "exec \"$@\" 2>&-",
    )
    .observed();
    assert_eq!(closed.status.code(), Some(5));
    assert_eq!(stdout(&closed), "");
    assert_eq!(revoked(&fake).len(), 3);
}

/// T-137: an earlier step has the login that a later one could not print.
#[test]
fn a_login_that_an_earlier_step_has_is_not_revoked() {
    let (fake, folder) = (Fake::start(), tempfile::tempdir().unwrap());
    let token = fake.token("1");
    let step = |on_github: bool| {
        let arguments = &["get", "shop-db/migrate"];
        let mut command = if on_github {
            fake.on_github(arguments)
        } else {
            fake.on_gitlab(arguments, &token)
        };
        command.env("HALLPASS_JOB_DIR", folder.path());
        command
    };
    for on_github in [true, false] {
        assert_eq!(step(on_github).observed().status.code(), Some(0));
        let output = step(on_github).stdout(full_disk()).observed();
        assert_eq!(output.status.code(), Some(5), "{}", told(&output));
        assert!(stderr(&output).contains("because an earlier step of this job uses it"));
        assert!(fake.asked("/revoke").is_empty());
    }
}

/// T-137
#[test]
fn what_is_no_file_is_refused_before_anything_is_minted() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("file"), "other\n").unwrap();
    symlink(path("file"), path("link")).unwrap();
    symlink(path("nothing"), path("broken")).unwrap();
    mkfifo(&path("pipe"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let fake = Fake::start();
    for name in ["link", "broken", "pipe", "/dev/full", "/dev/stdout", "."] {
        for option in ["--out", "--database-ca"] {
            let output = fake
                .on_github(&["get", "shop-db/migrate", option])
                .arg(folder.path().join(name))
                .observed();
            assert_eq!(output.status.code(), Some(5), "{name}: {}", told(&output));
            assert!(stderr(&output).contains(" cannot be written: "));
        }
    }
    assert!(fake.asked("/token").is_empty());
    let kind = |name: &str| fs::symlink_metadata(path(name)).unwrap().file_type();
    assert!(kind("link").is_symlink() && kind("broken").is_symlink() && kind("pipe").is_fifo());
    assert!(kind("/dev/full").is_char_device());
    assert_eq!(fs::read_to_string(path("file")).unwrap(), "other\n");
}

/// T-137
#[test]
fn later_steps_that_get_no_variables_leave_no_login() {
    let (fake, folder) = (Fake::start(), tempfile::tempdir().unwrap());
    let pipe = folder.path().join("pipe");
    mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    for (count, file) in [pipe.as_path(), Path::new("/dev/full"), folder.path()]
        .into_iter()
        .enumerate()
    {
        let output = fake
            .on_github(&["get", "shop-db/migrate", "--github-env"])
            .env("GITHUB_ENV", file)
            .env("TMPDIR", folder.path())
            .observed();
        assert_eq!(output.status.code(), Some(5), "{}", told(&output));
        assert_eq!(revoked(&fake).len(), count + 1);
    }
}

/// T-137
#[test]
fn a_password_file_keeps_its_other_entries() {
    let (fake, folder) = (Fake::start(), tempfile::tempdir().unwrap());
    let file = folder.path().join(".pgpass");
    let mine = "# mine\nother:5432:*:me:for-the-tests-only\n";
    fs::write(&file, mine).unwrap();
    for credential in ["shop-db/migrate", "shop-db/read", "shop-db/migrate"] {
        let output = fake
            .on_gitlab(&["get", credential, "--format", "pgpass"], &fake.token("1"))
            .arg("--out")
            .arg(&file)
            .observed();
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    }
    let entry = format!("db.acme.dev:5432:shop:hp_abc1234_x:{PASSWORD}");
    let expected =
        format!("# hallpass shop-db/migrate\n{entry}\n# hallpass shop-db/read\n{entry}\n{mine}");
    assert_eq!(fs::read_to_string(&file).unwrap(), expected);
}
