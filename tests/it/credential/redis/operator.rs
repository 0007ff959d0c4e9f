//! `hallpass target check`, `install`, `passwords` and `leases` for Redis.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use hallpass::credential::target::Severity;
use hallpass::rootkey::RootKey;
use tempfile::TempDir;

use super::clients::POLICIES;
use super::on_both;
use super::stage::{Flavour, PASSWORD, ROOT, Session, Stage, fresh_random, order, targets};
use crate::support::broker::write_root_key;
use crate::support::leaks::Observed as _;

fn folder(port: u16) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_root_key(
        &folder.path().join("root.key"),
        &RootKey::generate().unwrap(),
    );
    fs::write(folder.path().join("password"), PASSWORD).unwrap();
    fs::create_dir(folder.path().join("policies")).unwrap();
    fs::write(folder.path().join("policies/root.yaml"), POLICIES).unwrap();
    let settings = format!(
        "
issuer: https://hallpass.example
root_key: {{ file: root.key }}
policies: {{ path: policies }}
targets:
  cache:
    kind: redis
    host: 127.0.0.1
    port: {port}
    tls: disable
    user: hallpass
    password: {{ file: password }}
    groups:
      app_ro: {{ keys: [\"%R~app:*\"], commands: [+@read, +@connection] }}
audit: {{ sinks: [ {{ kind: file, path: audit.jsonl, required: true }} ] }}
"
    );
    fs::write(folder.path().join("hallpass.yaml"), settings).unwrap();
    folder
}

fn hallpass(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hallpass"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .observed()
}

fn text(output: &Output) -> String {
    let streams = [output.stdout.clone(), output.stderr.clone()].concat();
    String::from_utf8(streams).unwrap()
}

on_both! {
    a_target_that_is_set_up_as_printed_has_no_errors(stage) {
        assert_eq!(stage.errors().await, Vec::<String>::new());
        // Nothing of the check is left but what it noted of no token.
        assert_eq!(stage.leases(), Vec::<String>::new());
        let findings = stage.findings().await;
        let warned: Vec<&str> = findings
            .iter()
            .filter(|finding| finding.severity == Severity::Warning)
            .map(|finding| finding.message.as_str())
            .collect();
        assert!(warned.iter().all(|message| message.contains("app_rw") && message.contains("scripts")), "{warned:?}");
    }
}

/// T-104: its leases are signed like any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_raises_no_alarm_of_a_broker() {
    let stage = Stage::start(Flavour::Redis);
    let broker = stage.replica();
    let sweeps = tokio::spawn(async move {
        let mut alarms = Vec::new();
        for _ in 0..100 {
            alarms.extend(broker.sweep("app").await.unwrap().foreign_leases);
        }
        alarms
    });
    while !sweeps.is_finished() {
        assert_eq!(stage.errors().await, Vec::<String>::new());
    }
    assert_eq!(sweeps.await.unwrap(), Vec::<String>::new());
}

/// T-421
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_lets_everybody_in_is_an_error() {
    let stage = Stage::start(Flavour::Redis);
    stage.server().say(&["CONFIG", "SET", "requirepass", ""]);
    let errors = stage.errors().await;
    assert!(
        errors
            .iter()
            .any(|error| error.contains("lets everybody in")),
        "{errors:?}"
    );
}

/// Managed servers whose users are made with another API.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_users_in_its_protocol_is_refused_with_the_reason() {
    for arguments in [&[][..], &["--rename-command", "ACL", ""]] {
        let stage = if arguments.is_empty() {
            let stage = Stage::start(Flavour::Redis);
            stage.server().say(&["ACL", "SETUSER", "hallpass", "-acl"]);
            stage
        } else {
            // Its `default` is all that can log in.
            let mut stage = Stage::start(Flavour::Redis);
            let node = crate::support::redis::Redis::of("redis-server".into(), arguments, ROOT);
            stage.settings.nodes = vec![("127.0.0.1".to_owned(), node.port())];
            stage.settings.user = "default".to_owned();
            let password = hallpass::secret::Secret::new(ROOT.to_owned());
            stage.settings.password = hallpass::secret::SecretSource::Value(password);
            stage.targets = targets(&stage.settings);
            stage.nodes.push(node);
            stage
        };
        let error = stage
            .try_mint(order("app_ro", 600, &fresh_random()))
            .await
            .unwrap_err();
        assert_eq!(error.reason.code(), "database.not_installed");
        assert!(error.nothing_made);
        let errors = stage.errors().await;
        assert!(
            errors.iter().any(|error| error.contains("ElastiCache")),
            "{errors:?}"
        );
    }
}

/// T-86
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_that_differ_make_no_login() {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use hallpass::clock::{Clock, FixedClock, SystemClock, Timestamp};
    use hallpass::credential::target::{TargetSettings as _, Targets, With};

    use super::super::stage::KEYS;
    use super::stage::{logins, made};

    let stage = Stage::start(Flavour::Redis);
    for minutes in [-10, 10] {
        let now: Timestamp = SystemClock::new().now();
        let clock: Arc<dyn Clock> = Arc::new(FixedClock::at(now.plus(minutes * 60)));
        let with = With {
            root_keys: &KEYS,
            signing: None,
            clock: &clock,
            before: None,
        };
        let target = stage.settings.connect("app", &with).unwrap();
        let broker = Targets::new(BTreeMap::from([("app".to_owned(), target)]));
        let error = made(
            logins(&broker)
                .make(order("app_ro", 600, &fresh_random()))
                .await,
        )
        .unwrap_err();
        assert_eq!(error.reason.code(), "database.refused");
        assert!(error.nothing_made);
    }
    assert!(stage.leases().is_empty() && stage.claims().is_empty());
}

/// T-92
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_administrator_sets_it_up_with_redis_cli_and_what_is_printed() {
    let stage = Stage::start(Flavour::Redis);
    let port = stage.server().port();
    stage.server().say(&["ACL", "DELUSER", "hallpass"]);
    let folder = folder(port);
    let redis_cli = |commands: &str| {
        let file = folder.path().join("commands");
        fs::write(&file, commands).unwrap();
        let output = Command::new("redis-cli")
            .args(["-p", &port.to_string(), "--no-auth-warning"])
            .env("REDISCLI_AUTH", ROOT)
            .stdin(Stdio::from(fs::File::open(&file).unwrap()))
            .observed();
        text(&output)
    };
    for verb in ["install", "passwords"] {
        let printed = hallpass(folder.path(), &["target", verb, "cache"]);
        assert_eq!(printed.status.code(), Some(0), "{}", text(&printed));
        let commands = String::from_utf8(printed.stdout).unwrap();
        assert!(!commands.contains(PASSWORD));
        assert_eq!(redis_cli(&commands).trim(), "OK");
    }
    let checked = hallpass(folder.path(), &["target", "check", "cache"]);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked));
    // Its rules are the least with which everything here works.
    let user = stage.server().say(&["ACL", "GETUSER", "hallpass"]);
    let commands = user.lines().find(|line| line.starts_with("-@all")).unwrap();
    assert!(commands.contains("+acl|setuser"), "{user}");
    assert!(
        !commands.contains("+@") && !user.contains('~') && !user.contains('&'),
        "{user}"
    );

    let login = stage.mint("app_ro", 600).await;
    let listed = hallpass(folder.path(), &["leases", "list"]);
    assert!(text(&listed).contains(&login.username), "{}", text(&listed));
    let revoked = hallpass(folder.path(), &["leases", "revoke", &login.username]);
    assert_eq!(revoked.status.code(), Some(0), "{}", text(&revoked));
    assert!(Session::open(&login, port).is_err());
    let swept = hallpass(folder.path(), &["leases", "sweep"]);
    assert_eq!(swept.status.code(), Some(0), "{}", text(&swept));

    let removal = hallpass(folder.path(), &["target", "uninstall", "cache"]);
    assert_eq!(
        redis_cli(&String::from_utf8(removal.stdout).unwrap()).trim(),
        "1"
    );
    let checked = hallpass(folder.path(), &["target", "check", "cache"]);
    assert_eq!(checked.status.code(), Some(4), "{}", text(&checked));
}
