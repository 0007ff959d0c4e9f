//! What is wrong at start is said at start, with what to do.

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use hallpass::broker::{self, Overrides, StartError};
use hallpass::config::Settings;
use hallpass::exchange::self_test::VerifySignature;
use hallpass::rootkey::RootKey;
use hallpass::token::{Algorithm, KeySet, VerifyError};
use tempfile::TempDir;

use crate::client::handed_over::in_shell;
use crate::support::TestBroker;
use crate::support::broker::{POLICIES, rsa_key, write_private, write_root_key};
use crate::support::client::get;
use crate::support::leaks::{self, Observed as _};

const SETTINGS: &str = "
issuer: https://hallpass.example
root_key: { file: root.key }
listen: { public: 127.0.0.1:0, operator: 127.0.0.1:0 }
policies: { path: policies }
audit: { sinks: [ { kind: file, path: audit.jsonl, required: true } ] }
";

/// Policies with the one credential that needs no target.
fn policies() -> String {
    let (before, rest) = POLICIES.split_once("  shop-db/read:").unwrap();
    let (_, policies) = rest.split_once("policies:").unwrap();
    let text = format!("{before}policies:{policies}");
    text.replace("      - { credential: shop-db/read, ttl: 15m }\n", "")
}

/// T-98, T-99
#[tokio::test]
async fn a_build_whose_cryptography_is_broken_does_not_start() {
    let folder = folder();
    for broken in [accepts_everything as VerifySignature, refuses_everything] {
        let settings = Settings::load(&folder.path().join("hallpass.yaml")).unwrap();
        let overrides = Overrides {
            verify_signature: Some(broken),
            ..Overrides::default()
        };
        let error = broker::start(&settings, overrides).await.unwrap_err();
        assert!(matches!(error, StartError::SelfTest(_)), "{error}");
        assert!(error.to_string().ends_with("this build must not be used"));
        assert!(!folder.path().join("audit.jsonl").exists());
    }
}

#[expect(clippy::unnecessary_wraps, reason = "stands for one that can fail")]
fn accepts_everything(_: &str, _: &KeySet, _: &[Algorithm]) -> Result<Vec<u8>, VerifyError> {
    Ok(Vec::new())
}

fn refuses_everything(_: &str, _: &KeySet, _: &[Algorithm]) -> Result<Vec<u8>, VerifyError> {
    Err(VerifyError::Signature)
}

/// A folder that `hallpass serve` starts from.
pub(crate) fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_root_key(
        &folder.path().join("root.key"),
        &RootKey::generate().unwrap(),
    );
    fs::create_dir(folder.path().join("policies")).unwrap();
    fs::write(folder.path().join("policies/root.yaml"), policies()).unwrap();
    fs::write(folder.path().join("hallpass.yaml"), SETTINGS).unwrap();
    folder
}

/// Adds to the settings of a [`folder`].
pub(crate) fn write_settings(folder: &Path, more: &str) {
    fs::write(folder.join("hallpass.yaml"), format!("{SETTINGS}{more}")).unwrap();
}

pub(crate) fn serve(folder: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hallpass"));
    command
        .arg("serve")
        .arg("--config")
        .arg(folder.join("hallpass.yaml"))
        .args(more);
    command
}

/// Runs a `serve` that must fail; exit code and standard error, with the folder's name cut out.
fn refused(folder: &Path) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = serve(folder, &[]).observed();
    let text = String::from_utf8(stderr).unwrap();
    let log = |line: &&str| !line.starts_with('{');
    let text: Vec<_> = text.lines().filter(log).collect();
    let folder = format!("{}/", folder.display());
    (status.code(), text.join("\n").replace(&folder, ""))
}

#[test]
fn a_check_of_good_settings_says_so_and_listens_nowhere() {
    let folder = folder();
    let output = serve(folder.path(), &["--check"]).observed();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(!folder.path().join("audit.jsonl").exists());
}

/// T-137: audit events to a closed standard output would be lost without a word.
#[test]
fn an_audit_sink_on_a_closed_standard_output_does_not_open() {
    let folder = folder();
    let text = SETTINGS.replace("kind: file, path: audit.jsonl", "kind: stdout");
    fs::write(folder.path().join("hallpass.yaml"), text).unwrap();
    for (script, problem) in [
        ("exec \"$@\" >&-", "it is closed"),
        ("exec \"$@\" 1</dev/zero", "it is open for reading only"),
    ] {
        let output = in_shell(&serve(folder.path(), &[]), script).observed();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{text}");
        let wanted = format!("standard output cannot be written: {problem}");
        assert!(text.contains(&wanted), "{text}");
    }
}

#[test]
fn settings_that_are_not_there_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (code, text) = refused(folder.path());
    assert_eq!(code, Some(5));
    insta::assert_snapshot!(text, @"hallpass: settings file `hallpass.yaml` cannot be read: No such file or directory (os error 2); name another with `--config`");
}

/// The option is the one that the command has.
#[test]
fn the_option_that_names_other_settings_is_the_commands_own() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("policies")).unwrap();
    for (arguments, option) in [
        (&["policy", "check", "--settings", "none"][..], "--settings"),
        (&["dev", "--settings", "none"], "--settings"),
        (&["serve", "--config", "none"], "--config"),
        (&["target", "check", "x", "--config", "none"], "--config"),
        (&["leases", "list", "--config", "none"], "--config"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_hallpass"))
            .args(arguments)
            .current_dir(folder.path())
            .observed();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{arguments:?}: {text}");
        let wanted = format!("; name another with `{option}`");
        assert!(text.contains(&wanted), "{arguments:?}: {text}");
    }
}

#[test]
fn a_misspelt_setting_is_shown_where_it_stands() {
    let folder = folder();
    let text = SETTINGS.replace("policies:", "polices:");
    fs::write(folder.path().join("hallpass.yaml"), text).unwrap();
    let (code, text) = refused(folder.path());
    assert_eq!(code, Some(5));
    assert!(text.contains("unknown key `polices`"), "{text}");
    assert!(text.contains("hallpass.yaml:5:1"), "{text}");
    assert!(text.contains("did you mean `policies`?"), "{text}");
}

/// T-87
#[test]
fn a_root_key_that_others_can_read_is_refused_with_the_fix() {
    let folder = folder();
    let key = folder.path().join("root.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, text) = refused(folder.path());
    assert_eq!(code, Some(5));
    assert!(text.contains("mode 0644, expected 0400"), "{text}");
}

/// T-83
#[test]
fn policies_with_errors_are_not_served() {
    let folder = folder();
    let text = policies().replace("repository: acme/shop", "repositry: acme/shop");
    fs::write(folder.path().join("policies/root.yaml"), text).unwrap();
    let (code, text) = refused(folder.path());
    assert_eq!(code, Some(5));
    assert!(
        text.contains("repositry") && text.contains("hallpass policy check"),
        "{text}"
    );
}

#[test]
fn a_credential_in_a_target_that_is_not_there_is_found_at_start() {
    let folder = folder();
    fs::write(folder.path().join("policies/root.yaml"), POLICIES).unwrap();
    let (code, text) = refused(folder.path());
    assert_eq!(code, Some(5));
    insta::assert_snapshot!(text, @"hallpass: credential `shop-db/read` of the policies uses \
        target `shop-db`, which is not in the settings; add it under `targets:`");
}

#[test]
fn a_credential_names_one_of_its_targets_databases() {
    let folder = folder();
    let target = "  shop-db: { kind: postgres, host: db.test, databases: [shop, audit], user: hallpass, password: { file: pass }, cleaner: { user: c, password: { file: pass } } }";
    let settings = format!("{SETTINGS}targets:\n{target}\n");
    fs::write(folder.path().join("pass"), "p").unwrap();
    fs::write(folder.path().join("hallpass.yaml"), &settings).unwrap();
    let policies = |line: &str| {
        let target = "    target: shop-db\n";
        assert!(POLICIES.contains(target));
        let text = POLICIES.replace(target, &format!("{target}{line}"));
        fs::write(folder.path().join("policies/root.yaml"), text).unwrap();
        // Without the settings nobody knows which databases there are.
        let mut check = Command::new(env!("CARGO_BIN_EXE_hallpass"));
        let check = check
            .args(["policy", "check"])
            .arg(folder.path().join("policies"));
        assert!(check.observed().status.success(), "{line}");
    };
    let checked = || serve(folder.path(), &["--check"]).observed();
    policies("");
    insta::assert_snapshot!(refused(folder.path()).1, @"hallpass: credential `shop-db/read` of the policies does not say which database of target `shop-db` it is for; add `database:` with one of `shop`, `audit`");
    policies("    database: shop_audit\n");
    insta::assert_snapshot!(refused(folder.path()).1, @"hallpass: credential `shop-db/read` of the policies is for database `shop_audit`, which target `shop-db` does not list; write one of `shop`, `audit`, or add it under `databases:` of the target and run the install file again");
    let mut install = Command::new(env!("CARGO_BIN_EXE_hallpass"));
    install.args([
        "target",
        "install-sql",
        "shop-db",
        "--server-version",
        "16",
        "--config",
    ]);
    let install = install.arg(folder.path().join("hallpass.yaml")).observed();
    assert_eq!(install.status.code(), Some(5));
    policies("    database: audit\n");
    assert!(checked().status.success());
    policies("");
    let one = settings.replace("[shop, audit]", "[shop]");
    fs::write(folder.path().join("hallpass.yaml"), one).unwrap();
    assert!(checked().status.success());
}

#[test]
fn a_port_that_is_taken_is_named_with_its_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = folder();
    let text = SETTINGS.replacen("127.0.0.1:0", &address, 1);
    fs::write(folder.path().join("hallpass.yaml"), text).unwrap();
    let (code, text) = refused(folder.path());
    assert_eq!(code, Some(5));
    insta::assert_snapshot!(text.replace(&address, "ADDRESS"), @"hallpass: cannot listen on \
        ADDRESS: another process listens on this address; stop it or choose another port; see \
        `listen.public` in the settings");
}

/// What `serve --check` and then `serve` say of the settings after a change; both must refuse.
fn refused_by_both(change: impl Fn(&Path)) -> String {
    let folder = folder();
    change(folder.path());
    let checked = serve(folder.path(), &["--check"]).observed();
    let text = String::from_utf8(checked.stderr).unwrap();
    assert_eq!(checked.status.code(), Some(5), "--check: {text}");
    let (code, served) = refused(folder.path());
    assert_eq!(code, Some(5), "{served}");
    text.replace(&format!("{}/", folder.path().display()), "")
        .trim_end()
        .to_owned()
}

fn settings(folder: &Path, from: &str, to: &str) {
    assert!(SETTINGS.contains(from), "{from}");
    let text = SETTINGS.replacen(from, to, 1);
    fs::write(folder.join("hallpass.yaml"), text).unwrap();
}

#[test]
fn a_check_refuses_what_serve_would_refuse() {
    let audit = |path: &'static str| {
        refused_by_both(move |folder| {
            settings(folder, "path: audit.jsonl", &format!("path: {path}"));
        })
    };
    insta::assert_snapshot!(audit("missing/audit.jsonl"), @"hallpass: audit sink `file`: \
        `missing/audit.jsonl` cannot be created in `missing`: No such file or directory (os \
        error 2); create the folder and give this user write access to it; see `audit:` in the settings");
    insta::assert_snapshot!(audit("policies"), @"hallpass: audit sink `file`: `policies` is a \
        directory or a pipe, expected a regular file; see `audit:` in the settings");
    let target = "targets: { shop-db: { kind: postgres, host: db.test, databases: [shop], user: hallpass, password: { file: pw }, cleaner: { user: c, password: { file: pw } }, CA } }\naudit:";
    let ca = |ca: &str| {
        let target = target.replace("CA", ca);
        refused_by_both(|folder| {
            fs::write(folder.join("pw"), "for-the-tests-only").unwrap();
            fs::write(folder.join("empty.pem"), "").unwrap();
            settings(folder, "audit:", &target);
        })
    };
    let missing = ca("ca: missing.pem");
    assert!(
        missing.contains("target `shop-db`: ") && missing.contains("No such file"),
        "{missing}"
    );
    insta::assert_snapshot!(ca("ca: empty.pem"), @"hallpass: target `shop-db`: `empty.pem` holds no certificate; expected PEM, `-----BEGIN CERTIFICATE-----`; see `targets:` in the settings");
    let clear = refused_by_both(|folder| {
        let store = "replay: { store: redis, url: \"redis://redis.acme.dev:6379/0\" }\naudit:";
        settings(folder, "audit:", store);
    });
    insta::assert_snapshot!(clear, @r#"
    hallpass: error[wrong-value]: `url` is `redis://redis.acme.dev:6379/0`, without TLS, and `redis.acme.dev` is not a loopback address
     --> hallpass.yaml:6:30
      |
    6 | replay: { store: redis, url: "redis://redis.acme.dev:6379/0" }
      |                              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: write `rediss://...`: without TLS, anyone on the network path can read the store's password and make a used token look unused
    "#);
    let same = refused_by_both(|folder| {
        let both = "public: 127.0.0.1:18443, operator: 127.0.0.1:18443";
        settings(folder, "public: 127.0.0.1:0, operator: 127.0.0.1:0", both);
    });
    assert!(
        same.contains("two listeners cannot have one port"),
        "{same}"
    );
    let elsewhere = refused_by_both(|folder| {
        settings(folder, "public: 127.0.0.1:0", "public: 192.0.2.1:18443");
    });
    insta::assert_snapshot!(elsewhere, @"hallpass: cannot listen on 192.0.2.1:18443: this machine has no such address; see `listen.public` in the settings");
    let tls = refused_by_both(|folder| {
        settings(
            folder,
            "listen: {",
            "listen: { tls: { cert: no.pem, key: no.pem },",
        );
    });
    assert!(tls.contains("no.pem"), "{tls}");
}

/// T-170, T-173
#[test]
fn a_check_and_serve_name_what_a_credential_for_rs256_lacks() {
    let with_rs256 = |folder: &Path| {
        let text = policies().replacen("kind: jwt\n", "kind: jwt\n    algorithm: RS256\n", 1);
        fs::write(folder.join("policies/root.yaml"), text).unwrap();
    };
    insta::assert_snapshot!(refused_by_both(with_rs256), @"hallpass: credential `deploy-api` of the policies has `algorithm: RS256`, and the settings name no key for it; add `also: [ { kind: file, algorithm: RS256, key: { file: ... } } ]` under `signing:`");
    let with_key = |folder: &Path| {
        with_rs256(folder);
        let also = "signing: { also: [ { kind: file, algorithm: RS256, key: { file: rsa.key } } ] }\naudit:";
        settings(folder, "audit:", also);
    };
    insta::assert_snapshot!(refused_by_both(with_key), @"hallpass: RS256 key file `rsa.key` cannot be read: No such file or directory (os error 2); see `signing.also` in the settings");
    let open = refused_by_both(|folder| {
        with_key(folder);
        let key = folder.join("rsa.key");
        fs::write(&key, rsa_key()).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    });
    assert!(
        open.contains("`rsa.key` has mode 0644, expected 0400"),
        "{open}"
    );
    let folder = folder();
    with_key(folder.path());
    write_private(&folder.path().join("rsa.key"), &rsa_key());
    let checked = serve(folder.path(), &["--check"]).observed();
    assert_eq!(checked.status.code(), Some(0));
}

#[test]
fn a_check_beside_a_running_broker_only_remarks_that_the_port_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = folder();
    settings(folder.path(), "127.0.0.1:0", &address);
    let output = serve(folder.path(), &["--check"]).observed();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    insta::assert_snapshot!(text.replace(&address, "ADDRESS").trim_end(), @"hallpass: \
        `listen.public`: another process listens on ADDRESS; unless it is the hallpass that \
        these settings replace, stop it or choose another port");
}

/// Kills its process at the end of a failed test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// T-03, T-93
#[test]
fn the_process_leaves_no_core_file_and_stops_in_order_when_told() {
    let folder = folder();
    // From a shell that allows as few open files as many systems do.
    let child = Command::new("sh")
        .args(["-c", "ulimit -Sn 256 && exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_hallpass"))
        .args(["serve", "--config"])
        .arg(folder.path().join("hallpass.yaml"))
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut process = Process(child);
    let id = process.0.id();
    let audit = folder.path().join("audit.jsonl");
    // The policies' event is written when everything stands.
    let stands = || fs::read_to_string(&audit).is_ok_and(|text| text.contains("\"policies\""));
    for _ in 0..2_000 {
        if stands() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(stands(), "hallpass did not start");
    let limits = fs::read_to_string(format!("/proc/{id}/limits")).unwrap();
    let soft = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(soft("Max core file size"), "0");
    assert_eq!(soft("Max open files"), "1536");
    let arguments = fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap();
    assert!(!arguments.contains("hallpass-root-1"));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(id).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let status = process.0.wait().unwrap();
    let mut log = String::new();
    process
        .0
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut log)
        .unwrap();
    leaks::said_by_child("serve", b"", log.as_bytes());
    leaks::check();
    assert!(status.success(), "{log}");
    assert!(
        log.contains("\"serving\"") && log.contains("\"stopped\""),
        "{log}"
    );
    assert!(fs::read_to_string(&audit).unwrap().contains("\"stop\""));
}

/// T-76
#[tokio::test]
async fn without_policies_everything_is_denied() {
    let empty = POLICIES.split("policies:").next().unwrap();
    let broker = TestBroker::builder().policies(empty).start().await;
    let answer = broker.exchange(&broker.github(|_| {}), "deploy-api").await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (400, "policy.denied")
    );
    assert_eq!(get(broker.public(), "/healthz").await.status, 200);
}

/// T-57
#[tokio::test]
async fn tls_is_served_where_the_settings_have_a_certificate() {
    let broker = TestBroker::builder().tls().start().await;
    let clear =
        crate::support::client::send(broker.public(), "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            .await;
    assert!(!clear.contains("200 OK"), "{clear}");
    let authority = fs::read(broker.file("cert.pem")).unwrap();
    let answer = broker.health_over_tls(&authority).await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(answer.version(), reqwest::Version::HTTP_11);
}
