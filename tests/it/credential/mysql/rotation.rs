//! The broker's password is rotated while jobs get logins.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hallpass::credential::database::mysql::MysqlSettings;
use hallpass::credential::target::{TargetSettings as _, Targets};

use super::super::rotation::{PasswordFile, rotated};
use super::stage::{
    KEYS, PASSWORD, Stage, connect, fresh_random, has_ended, logins, made, order, refused, targets,
};
use crate::support::wait::until;

fn settings(stage: &Stage, file: &PasswordFile) -> MysqlSettings {
    MysqlSettings {
        password: file.source(),
        ..stage.settings.clone()
    }
}

async fn jobs(broker: Arc<Targets>, stop: Arc<AtomicBool>) -> usize {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let order = order("app_ro", 600, &fresh_random());
        let login = made(logins(&broker).make(order).await);
        let login = login.unwrap_or_else(|error| panic!("after {count}: {error}"));
        let lease = hallpass::lease::open(&login.handle, &KEYS).unwrap();
        broker.revoke(&lease).await.unwrap();
        broker.sweep("app").await.unwrap();
        count += 1;
    }
    count
}

async fn lets_in(stage: &Stage, (user, password): &(String, String)) -> bool {
    connect(stage.server.port(), user, password, None)
        .await
        .is_ok()
}

/// T-468
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_fails_no_mint_and_the_second_one_ends_the_old_password() {
    let mut stage = Stage::start().await;
    stage.targets = Arc::default();
    let file = PasswordFile::new(PASSWORD);
    let settings = settings(&stage, &file);
    let broker = targets(&settings);
    let stop = Arc::new(AtomicBool::new(false));
    let working = tokio::spawn(jobs(Arc::clone(&broker), Arc::clone(&stop)));
    let first = file.login();
    let mut before = first.clone();
    for user in ["hallpass_2", "hallpass", "hallpass_2"] {
        let done = rotated(|| settings.rotate_login(false)).await;
        assert_eq!((done.login.as_str(), &done.before), (user, &before.0));
        let now = file.login();
        assert_eq!(now.0, user);
        assert!(lets_in(&stage, &now).await && lets_in(&stage, &before).await);
        let sql = "SELECT GROUP_CONCAT(DISTINCT USER) FROM information_schema.PROCESSLIST WHERE USER IN ('hallpass', 'hallpass_2')";
        until("the broker uses the new login alone", async || {
            stage.server.read(sql).await == user
        })
        .await;
        before = now;
    }
    assert!(
        !lets_in(&stage, &first).await,
        "the first password still works"
    );
    stop.store(true, Ordering::Relaxed);
    assert!(working.await.unwrap() > 0);
    stage.settings = settings;
    assert_eq!(stage.errors().await, Vec::new());
}

/// T-468
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_with_open_sessions_keeps_its_password_unless_they_are_ended() {
    let stage = Stage::start().await;
    let file = PasswordFile::new(PASSWORD);
    let settings = settings(&stage, &file);
    settings.rotate_login(false).await.unwrap();
    let session = stage.thief().await;
    let before = file.login();
    let problem = settings.rotate_login(false).await.unwrap_err();
    assert!(
        problem.contains("hallpass has 1 open sessions"),
        "{problem}"
    );
    assert_eq!(file.login(), before);
    settings.rotate_login(true).await.unwrap();
    assert_eq!(file.login().0, "hallpass");
    has_ended(session).await;
    assert!(!lets_in(&stage, &("hallpass".to_owned(), PASSWORD.to_owned())).await);
}

/// T-469
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stolen_login_sets_no_password_but_that_of_its_second() {
    let stage = Stage::start().await;
    let mut thief = stage.thief().await;
    for hash in ["'pencil'", "NULL", "''", "'*00'", "'x'' OR 1'"] {
        let sql = format!("CALL hallpass.set_password({hash}, FALSE)");
        assert_eq!(refused(&mut thief, &sql).await, "HP005", "{hash}");
    }
    let other = "ALTER USER hallpass_2@'%' ACCOUNT LOCK";
    assert_eq!(refused(&mut thief, other).await, "1227");
    let login = stage.mint("app_ro", 600).await;
    let mut job = stage.log_in(&login).await.unwrap();
    let call = "CALL hallpass.set_password('x', FALSE)";
    assert_eq!(refused(&mut job, call).await, "1370");
    assert_eq!(stage.errors().await, Vec::new());
}

/// T-468: the file that was installed before has one login only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_installation_is_not_rotated_and_works_on() {
    let stage = Stage::start().await;
    let older = [
        "DROP PROCEDURE hallpass.set_password",
        "DROP USER hallpass_2@'%'",
    ];
    stage.server.run(&older).await;
    let file = PasswordFile::new(PASSWORD);
    let settings = settings(&stage, &file);
    let problem = settings.rotate_login(false).await.unwrap_err();
    assert!(
        problem.contains("makes one login only; run the file"),
        "{problem}"
    );
    assert_eq!(file.login(), ("hallpass".to_owned(), PASSWORD.to_owned()));
    stage.mint("app_ro", 600).await;
    assert_eq!(stage.errors().await, Vec::new());
    stage.install().await;
    settings.rotate_login(true).await.unwrap();
    assert_eq!(file.login().0, "hallpass_2");
}
