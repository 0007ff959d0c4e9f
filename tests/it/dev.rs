//! `hallpass dev` with a user's own policies, its claims, and the issuer of a folder.

#![cfg(test)]

use std::fs;
use std::io::{Read as _, Seek as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::client::fake::{hallpass as plain, told};
use crate::demo::{hallpass, interrupt, left_in, temporary, wait_for};
use crate::support::leaks::Observed as _;

const JOB: [&str; 6] = [
    "--repository",
    "acme/web",
    "--repository-id",
    "5150",
    "--owner-id",
    "77",
];

/// The files of `init`, without the secrets that it wrote.
fn own_files() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    let output = plain(&[
        "init",
        &path,
        "--issuer",
        "https://hallpass.acme.dev",
        "--github",
        "acme/web",
        "--owner-id",
        "77",
        "--repository-id",
        "5150",
        "--postgres",
        "db.acme.dev/web",
    ])
    .observed();
    assert!(output.status.success(), "{}", told(&output));
    // A target and a signing key of each kind, none of whose files exist.
    let file = folder.path().join("hallpass.yaml");
    let settings = fs::read_to_string(&file).unwrap();
    let more = "  web-hosts: { kind: ssh-ca, key: { file: nowhere } }\n\
         signing: { also: [ { kind: file, algorithm: RS256, key: { file: nowhere.pem } } ] }\n";
    fs::write(&file, settings + more).unwrap();
    fs::remove_dir_all(folder.path().join("secrets")).unwrap();
    fs::remove_file(folder.path().join("root.key")).unwrap();
    folder
}

/// T-251: also that the secrets of the settings are not read, since there are none.
#[test]
fn ones_own_policies_run_against_embedded_servers_and_edits_are_picked_up() {
    let own = own_files();
    let folder = temporary();
    let settings = own.path().join("hallpass.yaml").display().to_string();
    let mut log = tempfile::NamedTempFile::new().unwrap();
    let mut stage = hallpass(&folder, &["dev", "--settings", &settings])
        .stdout(Stdio::piped())
        .stderr(log.reopen().unwrap())
        .spawn()
        .unwrap();
    let lines = wait_for(&mut stage, "Ctrl-C stops everything");
    let all = lines.join("\n");
    assert!(all.contains("Edits of the policies are picked up"), "{all}");
    assert!(all.contains("The groups of your policies exist"), "{all}");
    let broker = lines
        .iter()
        .find_map(|line| line.trim().strip_prefix("export HALLPASS_BROKER="))
        .unwrap();
    assert!(broker.starts_with("http://127.0.0.1:"), "{broker}");
    let get = |reference: &str| -> Output {
        let arguments = [&["dev", "token", "--ref", reference][..], &JOB].concat();
        let token = hallpass(&folder, &arguments).observed();
        assert!(token.status.success(), "{}", told(&token));
        hallpass(&folder, &["get", "web-db/read", "--format", "json"])
            .env_clear()
            .env("TMPDIR", folder.path())
            .env("HALLPASS_BROKER", broker)
            .env(
                "HALLPASS_ID_TOKEN",
                String::from_utf8(token.stdout).unwrap().trim(),
            )
            .observed()
    };
    let given = get("refs/heads/main");
    assert!(given.status.success(), "{}", told(&given));
    let given: Value = serde_json::from_slice(&given.stdout).unwrap();
    let login = given["credential"]["username"].as_str().unwrap();
    assert!(login.starts_with("hp_"), "{login}");
    assert_eq!(get("refs/heads/next").status.code(), Some(1));

    // `init` takes such a token for one of the issuer that the CI stands for.
    let token = hallpass(&folder, &[&["dev", "token"][..], &JOB].concat()).observed();
    let file = own.path().join("job.jwt");
    fs::write(&file, &token.stdout).unwrap();
    let new = own.path().join("new");
    let written = hallpass(&folder, &["init", "--issuer", "https://hallpass.acme.dev"])
        .args(["--from-token".as_ref(), file.as_os_str(), new.as_os_str()])
        .observed();
    assert!(written.status.success(), "{}", told(&written));
    assert!(
        told(&written).contains("is of `hallpass dev`"),
        "{}",
        told(&written)
    );
    let root = fs::read_to_string(new.join("policies/root.yaml")).unwrap();
    assert!(!root.contains("url:") && root.contains("\"77\""), "{root}");
    fs::remove_dir_all(new).unwrap();
    fs::remove_file(file).unwrap();

    let file = own.path().join("policies/first.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("refs/heads/main", "refs/heads/next")).unwrap();
    let mut next = get("refs/heads/next");
    for _ in 0..100 {
        if next.status.success() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
        next = get("refs/heads/next");
    }
    assert!(next.status.success(), "{}", told(&next));

    // A broken edit is reported, and its repair.
    let mut reported = |text: &str| {
        let mut all = String::new();
        for _ in 0..200 {
            log.rewind().unwrap();
            all.clear();
            log.read_to_string(&mut all).unwrap();
            if all.contains(text) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("`{text}` was not reported: {all}");
    };
    fs::write(&file, "policies: [").unwrap();
    reported("a reload failed");
    fs::write(&file, text).unwrap();
    reported("The policies load again.");
    interrupt(&mut stage);
    assert_eq!(left_in(&folder), Vec::<String>::new());
    let mut kept: Vec<_> = fs::read_dir(own.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    kept.sort();
    assert_eq!(kept, ["hallpass.yaml", "job.github.yml", "policies"]);
}

/// T-251: what the install file cannot make is refused with its reason, and so is what the server refuses.
#[test]
fn other_logins_than_those_of_the_install_file_and_errors_of_the_server_are_named() {
    let own = own_files();
    let settings = own.path().join("hallpass.yaml");
    let policies = own.path().join("policies/first.yaml");
    let (right, rules) = (
        fs::read_to_string(&settings).unwrap(),
        fs::read_to_string(&policies).unwrap(),
    );
    let folder = temporary();
    let name = settings.display().to_string();
    let dev = || hallpass(&folder, &["dev", "--settings", &name]).observed();
    for (from, to, expected) in [
        (
            "user: hallpass\n",
            "user: hallpass_broker\n",
            "`user` of the target is `hallpass_broker`, but the install file makes the login `hallpass`",
        ),
        (
            "user: hallpass_clean,",
            "user: hallpass_tidy,",
            "`cleaner.user` of the target is `hallpass_tidy`, but the install file makes the login `hallpass_clean`",
        ),
    ] {
        let wrong = right.replace(from, to);
        assert_ne!(wrong, right, "{from}");
        fs::write(&settings, wrong).unwrap();
        let install = ["target", "install", "web-db", "--config", &name];
        for refused in [dev(), plain(&install).observed()] {
            assert_ne!(refused.status.code(), Some(0));
            assert!(told(&refused).contains(expected), "{}", told(&refused));
        }
    }
    fs::write(&settings, right).unwrap();
    let lines = rules.lines().map(|line| match line.split_once("group: ") {
        Some((before, _)) if !line.contains('{') => format!("{before}group: pg_reports"),
        Some(_) | None => line.to_owned(),
    });
    let wrong = lines.collect::<Vec<_>>().join("\n");
    assert_ne!(wrong.trim(), rules.trim());
    fs::write(&policies, wrong).unwrap();
    let refused = dev();
    assert!(
        told(&refused).contains("role name \"pg_reports\" is reserved (SQLSTATE 42939)"),
        "{}",
        told(&refused)
    );
    assert_eq!(left_in(&folder), Vec::<String>::new());
}

#[test]
fn without_a_database_no_groups_are_promised() {
    let own = tempfile::tempdir().unwrap();
    let path = own.path().display().to_string();
    let output = plain(&["init", &path, "--issuer", "https://hallpass.acme.dev"])
        .args(["--github", "acme/web", "--owner-id", "77"])
        .args(["--repository-id", "5150"])
        .observed();
    assert!(output.status.success(), "{}", told(&output));
    let folder = temporary();
    let settings = own.path().join("hallpass.yaml").display().to_string();
    let mut stage = hallpass(&folder, &["dev", "--settings", &settings])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let all = wait_for(&mut stage, "Ctrl-C stops everything").join("\n");
    assert!(!all.contains("The groups of your policies"), "{all}");
    interrupt(&mut stage);
}

#[test]
fn a_job_that_no_ci_would_describe_is_refused() {
    let said = |arguments: &[&str]| {
        let refused = plain(&[&["dev", "claims"][..], arguments].concat()).observed();
        assert_eq!(refused.status.code(), Some(2), "{}", told(&refused));
        let text = String::from_utf8(refused.stderr).unwrap();
        text.lines().next().unwrap_or_default().to_owned()
    };
    insta::assert_snapshot!(said(&["--ref", "main"]), @"hallpass: `--ref` is `main`, expected a full ref, such as `refs/heads/main`");
    insta::assert_snapshot!(said(&["--event", "nope"]), @"hallpass: `--event` is `nope`, expected an event of GitHub Actions, such as `push`");
    insta::assert_snapshot!(said(&["--event", "workflow_dispach"]), @"hallpass: `--event` is `workflow_dispach`, expected an event of GitHub Actions, such as `push`; did you mean `workflow_dispatch`?");
    insta::assert_snapshot!(said(&["--repository", "acme"]), @"hallpass: `--repository` is `acme`, expected owner and name, such as `acme/shop`");
    insta::assert_snapshot!(said(&["--repository-id", "abc"]), @"hallpass: `--repository-id` is `abc`, expected digits");
    insta::assert_snapshot!(said(&["--owner-id", ""]), @"hallpass: `--owner-id` is ``, expected digits");
    let gitlab = |option: &str, value: &str| said(&["--provider", "gitlab", option, value]);
    insta::assert_snapshot!(gitlab("--ref", "refs/pull/7/merge"), @"hallpass: `--ref` is `refs/pull/7/merge`, expected the full ref of a branch or tag, such as `refs/heads/main`");
    insta::assert_snapshot!(gitlab("--event", "workflow_dispatch"), @"hallpass: `--event` is `workflow_dispatch`, expected a pipeline source of GitLab, such as `push`");
    insta::assert_snapshot!(gitlab("--repository", "acme//shop"), @"hallpass: `--repository` is `acme//shop`, expected the full path, such as `acme-group/reports`");
    for name in ["a/b/c", "/shop", "acme/"] {
        said(&["--repository", name]);
    }
    for reference in ["", "refs/heads/", "heads/main"] {
        said(&["--ref", reference]);
    }
    let right = ["dev", "claims", "--provider", "gitlab", "--event", "web"];
    let right = plain(&right)
        .args(["--repository", "a/b/c", "--ref", "refs/tags/v1"])
        .observed();
    assert!(right.status.success(), "{}", told(&right));
}

#[test]
fn claims_are_explained_as_the_token_would_be() {
    let own = own_files();
    let policies = own.path().join("policies").display().to_string();
    let explained = |more: &[&str]| {
        let claims = plain(&[&["dev", "claims"][..], &JOB, more].concat()).observed();
        assert!(claims.status.success(), "{}", told(&claims));
        let file = own.path().join("claims.json");
        fs::write(&file, &claims.stdout).unwrap();
        let file = file.display().to_string();
        let explain = [
            "policy",
            "explain",
            "--policies",
            &policies,
            "--claims",
            &file,
        ];
        let output = plain(&[&explain[..], &["web-db/read"]].concat()).observed();
        (output.status.code(), told(&output))
    };
    let (code, text) = explained(&["--fact", "actor=ann"]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = explained(&["--event", "pull_request", "--ref", "refs/pull/7/merge"]);
    assert_eq!(code, Some(1), "{text}");
    let (code, text) = explained(&["--unprotected", "--fact", "runner=self-hosted"]);
    assert_eq!(code, Some(0), "{text}");

    for (fact, expected) in [
        ("acto=ann", "did you mean `actor`?"),
        ("actor", "there is no `=`"),
        ("repository=acme/x", "use `--repository`"),
        ("trigger=manual", "describes this job"),
        ("from_fork=true", "describes this job"),
        (
            "debug_session=maybe",
            "`debug_session` is `true` or `false`",
        ),
    ] {
        let refused = plain(&["dev", "claims", "--fact", fact]).observed();
        assert_eq!(refused.status.code(), Some(2), "{fact}");
        assert!(told(&refused).contains(expected), "{}", told(&refused));
    }
}

/// A running `hallpass dev issuer`, ended when it is dropped.
struct RunningIssuer(Child);

impl Drop for RunningIssuer {
    fn drop(&mut self) {
        interrupt(&mut self.0);
    }
}

fn issuer(folder: &Path, port: u16) -> (RunningIssuer, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hallpass"))
        .args(["dev", "issuer", "--port", &port.to_string(), "--folder"])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = wait_for(&mut child, "Ctrl-C stops it");
    let url = lines[0].strip_prefix("The issuer ").unwrap();
    let url = url.strip_suffix(" is running.").unwrap().to_owned();
    (RunningIssuer(child), url)
}

fn header(token: &Output) -> Value {
    let token = String::from_utf8(token.stdout.clone()).unwrap();
    let header = token.split('.').next().unwrap();
    let header = data_encoding::BASE64URL_NOPAD.decode(header.as_bytes());
    serde_json::from_slice(&header.unwrap()).unwrap()
}

/// T-250, T-253
#[test]
#[expect(clippy::too_many_lines, reason = "one start after the other")]
fn the_issuer_of_a_folder_keeps_its_keys_to_its_user_and_signs_nothing_over_the_network() {
    let folder = tempfile::tempdir().unwrap();
    let ci = folder.path().join("ci");
    let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let name = ci.display().to_string();
    let token = || plain(&["dev", "token", "--folder", &name]).observed();
    let (running, url) = issuer(&ci, port);
    let first = token();
    assert!(first.status.success(), "{}", told(&first));
    let kid = header(&first)["kid"].clone();
    assert!(!kid.as_str().unwrap().starts_with("dev-"), "{kid}");
    for (file, mode) in [("", 0o700), ("dev.json", 0o600)] {
        let found = fs::metadata(ci.join(file)).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode, "{file}");
    }
    let listening = fs::read_to_string("/proc/net/tcp").unwrap();
    let at = |address: &str| listening.contains(&format!("{address}:{port:04X} 00000000:0000 0A"));
    assert!(!at("00000000"), "it listens on every address");
    let fetch = |path: &str| {
        let authority = ci.join("ca.pem").display().to_string();
        let url = format!("{url}{path}");
        let bearer = "Authorization: bearer x";
        let arguments = [
            "-s",
            "--cacert",
            &authority,
            "-H",
            bearer,
            "-w",
            "%{http_code}",
            &url,
        ];
        let output = Command::new("curl").args(arguments).observed();
        String::from_utf8(output.stdout).unwrap()
    };
    let keys = fetch("/.well-known/jwks");
    assert!(
        keys.ends_with("200") && keys.contains(kid.as_str().unwrap()),
        "{keys}"
    );
    assert!(!keys.contains("\"d\""), "{keys}");
    assert!(fetch("/token?audience=x").ends_with("401"));
    drop(running);

    // The same again: policies that trust it stay as they are.
    let (running, again) = issuer(&ci, port);
    assert_eq!(again, url);
    assert_eq!(header(&token())["kid"], kid);
    drop(running);
    for (more, expected) in [
        (["--port", "1"], "choose another folder for another address"),
        (
            ["--host", "ci.example"],
            "choose another folder for another address",
        ),
    ] {
        let refused =
            plain(&[&["dev", "issuer", "--folder", &name][..], &more].concat()).observed();
        assert_eq!(refused.status.code(), Some(5), "{}", told(&refused));
        assert!(told(&refused).contains(expected), "{}", told(&refused));
    }
    // A host name that leads elsewhere, or that `serve` would refuse.
    for host in ["localhost", "127.0.0.1", "192.0.2.1", "x.invalid"] {
        let other = folder.path().join("other").display().to_string();
        let refused = plain(&["dev", "issuer", "--host", host, "--folder", &other]).observed();
        assert_eq!(refused.status.code(), Some(5), "{}", told(&refused));
        assert!(told(&refused).contains("/etc/hosts"), "{}", told(&refused));
        assert!(!folder.path().join("other").exists());
    }

    // A key that others can read, or a folder in which they can replace it, is not used.
    let chmod = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let open = folder.path().join("open");
    fs::create_dir(&open).unwrap();
    let start = |folder: &Path| {
        let folder = folder.display().to_string();
        let port = port.to_string();
        plain(&["dev", "issuer", "--port", &port, "--folder", &folder]).observed()
    };
    chmod(&ci.join("dev.json"), 0o644);
    let refused = start(&ci);
    assert_eq!(refused.status.code(), Some(5), "{}", told(&refused));
    assert_eq!(token().status.code(), Some(5));
    chmod(&ci.join("dev.json"), 0o600);
    for mode in [0o777, 0o775, 0o1777] {
        chmod(&ci, mode);
        chmod(&open, mode);
        for refused in [start(&ci), token(), start(&open)] {
            assert_eq!(refused.status.code(), Some(5), "{}", told(&refused));
            assert!(told(&refused).contains("other users"), "{}", told(&refused));
        }
        assert_eq!(fs::read_dir(&open).unwrap().count(), 0);
    }
    chmod(&ci, 0o700);

    // A link is not followed, whoever owns its target.
    let linked = folder.path().join("linked");
    fs::create_dir(&linked).unwrap();
    std::os::unix::fs::symlink(ci.join("dev.json"), linked.join("dev.json")).unwrap();
    let name = linked.display().to_string();
    for refused in [
        start(&linked),
        plain(&["dev", "token", "--folder", &name]).observed(),
    ] {
        assert_eq!(refused.status.code(), Some(5), "{}", told(&refused));
        let told = told(&refused);
        assert!(told.contains("it is a link"), "{told}");
    }
}
