//! The broker's password is rotated, and the program that does it is killed at any moment.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hallpass::credential::database::redis::RedisServers;
use hallpass::credential::target::TargetSettings as _;
use nix::unistd::geteuid;

use super::super::rotation::{PasswordFile, rotated};
use super::stage::{Flavour, PASSWORD, Stage, fresh_random, install, logins, made, order, targets};
use crate::support::leaks::{self, Observed as _};

fn settings(stage: &Stage, file: &PasswordFile) -> RedisServers {
    RedisServers {
        password: file.source(),
        ..stage.settings.clone()
    }
}

fn lets_in(stage: &Stage, (user, password): &(String, String)) -> bool {
    stage.nodes.iter().all(|node| {
        let url = format!("redis://{user}:{password}@127.0.0.1:{}", node.port());
        let client = redis::Client::open(url).unwrap();
        let wait = Duration::from_secs(5);
        client.get_connection_with_timeout(wait).is_ok()
    })
}

async fn mints(settings: &RedisServers) {
    let broker = targets(settings);
    let order = order("app_ro", 600, &fresh_random());
    made(logins(&broker).make(order).await).unwrap();
}

/// T-468
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_fails_no_mint_and_the_second_one_ends_the_old_password() {
    let mut stage = Stage::with(Flavour::Redis, 2, 1, &[]);
    stage.targets = Arc::default();
    let file = PasswordFile::new(PASSWORD);
    let settings = settings(&stage, &file);
    let broker = targets(&settings);
    let first = file.login();
    let mut before = first.clone();
    for user in ["hallpass_2", "hallpass", "hallpass_2"] {
        for _ in 0..3 {
            let order = order("app_ro", 600, &fresh_random());
            made(logins(&broker).make(order).await).unwrap();
        }
        let done = rotated(|| settings.rotate_login(false)).await;
        assert_eq!((done.login.as_str(), &done.before), (user, &before.0));
        assert!(done.note.unwrap().contains("`ACL SAVE`"));
        let now = file.login();
        assert_eq!(now.0, user);
        assert!(lets_in(&stage, &now) && lets_in(&stage, &before));
        let order = order("app_ro", 600, &fresh_random());
        made(logins(&broker).make(order).await).unwrap();
        broker.sweep("app").await.unwrap();
        before = now;
    }
    assert!(!lets_in(&stage, &first), "the first password still works");
    stage.settings = settings;
    assert_eq!(stage.errors().await, Vec::<String>::new());
}

/// T-468
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_with_open_sessions_keeps_its_password_unless_they_are_ended() {
    let mut stage = Stage::start(Flavour::Valkey);
    stage.targets = Arc::default();
    let file = PasswordFile::new(PASSWORD);
    let settings = settings(&stage, &file);
    settings.rotate_login(false).await.unwrap();
    let url = format!(
        "redis://hallpass:{PASSWORD}@127.0.0.1:{}",
        stage.server().port()
    );
    let client = redis::Client::open(url).unwrap();
    let mut session = client.get_connection().unwrap();
    let mut time = || redis::cmd("TIME").query::<(i64, i64)>(&mut session);
    time().unwrap();
    let before = file.login();
    let problem = settings.rotate_login(false).await.unwrap_err();
    assert!(
        problem.contains("`hallpass` has 1 open sessions"),
        "{problem}"
    );
    assert_eq!(file.login(), before);
    time().unwrap();
    settings.rotate_login(true).await.unwrap();
    assert!(time().is_err());
    assert!(!lets_in(
        &stage,
        &("hallpass".to_owned(), PASSWORD.to_owned())
    ));
}

/// T-468: a server that is away is not left out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_stops_the_rotation() {
    let mut stage = Stage::with(Flavour::Redis, 2, 1, &[]);
    let file = PasswordFile::new(PASSWORD);
    let settings = settings(&stage, &file);
    stage.nodes[1].crash();
    let problem = settings.rotate_login(false).await.unwrap_err();
    assert!(problem.contains("`hallpass` is still in use"), "{problem}");
    assert_eq!(file.login(), ("hallpass".to_owned(), PASSWORD.to_owned()));
    // Users are not kept over a restart here.
    stage.nodes[1].restart();
    install(&stage.nodes[1], &stage.settings);
    settings.rotate_login(false).await.unwrap();
    assert!(lets_in(&stage, &file.login()));
}

/// T-468
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_installation_says_what_to_run() {
    let stage = Stage::start(Flavour::Redis);
    stage
        .server()
        .say(&["ACL", "SETUSER", "hallpass", "-client|list"]);
    let file = PasswordFile::new(PASSWORD);
    let settings = settings(&stage, &file);
    let problem = settings.rotate_login(false).await.unwrap_err();
    assert!(
        problem.contains("run the command that `hallpass target install` prints"),
        "{problem}"
    );
    mints(&settings).await;
    install(stage.server(), &stage.settings);
    settings.rotate_login(false).await.unwrap();
    mints(&settings).await;
}

/// The program, with settings that name the stage's server.
fn program(stage: &Stage, file: &PasswordFile) -> Command {
    let folder = file.folder.path();
    let settings = format!(
        "issuer: https://hallpass.example\nroot_key: {{ file: none }}\npolicies: {{ path: none }}\n\
         audit: {{ sinks: [ {{ kind: stdout, required: true }} ] }}\n\
         targets:\n  app: {{ kind: redis, host: 127.0.0.1, port: {}, tls: disable, user: hallpass, password: {{ file: password }}, groups: {{ app_ro: {{ keys: [\"%R~app:*\"], commands: [+@read] }} }} }}\n",
        stage.server().port()
    );
    fs::write(folder.join("hallpass.yaml"), settings).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hallpass"));
    command
        .args(["target", "rotate-login", "app"])
        .current_dir(folder);
    command
}

async fn killed(trials: u64) {
    let stage = Stage::start(Flavour::Redis);
    let file = PasswordFile::new(PASSWORD);
    let settings = settings(&stage, &file);
    for trial in 0..trials {
        let mut child = program(&stage, &file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // A whole run takes some twenty milliseconds.
        tokio::time::sleep(Duration::from_micros(trial * 30_000 / trials)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let now = file.login();
        assert!(lets_in(&stage, &now), "after {trial}");
        mints(&settings).await;
    }
    // Whatever the last one left, the next one works.
    let whole = program(&stage, &file).arg("--end-sessions").observed();
    let said = String::from_utf8_lossy(&whole.stdout).into_owned();
    assert!(whole.status.success(), "{whole:?}");
    let (user, password) = file.login();
    assert!(said.contains(&format!("has login `{user}`")), "{said}");
    assert!(!said.contains(&password));
    assert!(lets_in(&stage, &file.login()));
    let left = fs::read_dir(file.folder.path()).unwrap().count();
    assert_eq!(left, 2, "the password file and the settings");
}

/// T-468
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_killed_at_any_moment_leaves_a_login_that_works() {
    killed(15).await;
}

/// T-468
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes long; make test-long"]
async fn long_rotations_killed_at_three_hundred_moments() {
    killed(300).await;
}

/// T-468
#[test]
fn a_full_disk_and_a_folder_that_takes_no_file_change_nothing() {
    let stage = Stage::start(Flavour::Redis);
    let file = PasswordFile::new(PASSWORD);
    let rotate = program(&stage, &file);
    let binary = rotate.get_program().to_string_lossy().into_owned();
    // No byte may be written to a file, and the signal for it is ignored.
    let script = format!("trap '' XFSZ; ulimit -f 0; exec '{binary}' target rotate-login app");
    let full = Command::new("sh")
        .args(["-c", &script])
        .current_dir(file.folder.path())
        .observed();
    let said = String::from_utf8_lossy(&full.stderr).into_owned();
    assert_eq!(full.status.code(), Some(5), "{said}");
    assert!(said.contains("cannot be written"), "{said}");
    assert!(said.contains("nothing is changed"), "{said}");
    assert_eq!(file.login(), ("hallpass".to_owned(), PASSWORD.to_owned()));
    let users = stage.server().say(&["ACL", "USERS"]);
    assert!(!users.contains("hallpass_2"), "{users}");
    let mut rotate = program(&stage, &file);
    let closed = fs::Permissions::from_mode(0o555);
    fs::set_permissions(file.folder.path(), closed).unwrap();
    if geteuid().is_root() {
        // Root may write everywhere.
        rotate.uid(65_534).gid(65_534);
    }
    let refused = rotate.observed();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    fs::set_permissions(file.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(refused.status.code(), Some(5), "{said}");
    assert!(said.contains("its folder takes no new file"), "{said}");
    assert!(lets_in(&stage, &file.login()));
    leaks::said("what it said", said.as_bytes());
}
