//! The broker's password is rotated while jobs get logins: nothing is interrupted, and the old password ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hallpass::credential::database::Rotated;
use hallpass::credential::database::postgres::PostgresSettings;
use hallpass::credential::target::{TargetSettings as _, Targets};
use hallpass::secret::SecretSource;
use tempfile::TempDir;

use super::on_both_versions;
use super::stage::{
    KEYS, PASSWORD, Stage, Version, connect, databases, fresh_random, logins, made, order, refused,
};
use crate::support::leaks;
use crate::support::wait::until;

/// A password file of a target, in a folder of its own.
pub(super) struct PasswordFile {
    pub(super) folder: TempDir,
}

impl PasswordFile {
    pub(super) fn new(password: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("password"), format!("{password}\n")).unwrap();
        Self { folder }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("password")
    }

    pub(super) fn source(&self) -> SecretSource {
        SecretSource::File(self.path())
    }

    /// The login and the password that it has.
    pub(super) fn login(&self) -> (String, String) {
        let text = std::fs::read_to_string(self.path()).unwrap();
        let (password, rest) = text.split_once('\n').unwrap();
        leaks::secret("a password", password);
        let user = match rest.trim_end() {
            "" => "hallpass",
            user => user,
        };
        (user.to_owned(), password.to_owned())
    }
}

/// Rotates as soon as no session of the idle login is left.
pub(super) async fn rotated<F: Future<Output = Result<Rotated, String>>>(
    rotate: impl Fn() -> F,
) -> Rotated {
    let mut done = None;
    until("the brokers have switched", async || match rotate().await {
        Ok(rotated) => {
            done = Some(rotated);
            true
        }
        Err(problem) => {
            assert!(problem.contains("open sessions"), "{problem}");
            false
        }
    })
    .await;
    done.unwrap()
}

fn settings(stage: &Stage, file: &PasswordFile) -> PostgresSettings {
    PostgresSettings {
        password: file.source(),
        ..stage.settings.clone()
    }
}

/// Makes logins one after the other, and sweeps, until `stop` is set.
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
    connect(&stage.server.login("hallpass", user, password))
        .await
        .is_ok()
}

async fn users_of_sessions(stage: &Stage) -> String {
    let sql = "SELECT string_agg(DISTINCT usename::text, ',' ORDER BY usename::text) FROM pg_stat_activity WHERE usename IN ('hallpass', 'hallpass_2')";
    stage.read("postgres", sql).await
}

on_both_versions! {
    /// T-468
    a_rotation_fails_no_mint_and_the_second_one_ends_the_old_password(stage) {
        stage.databases = Arc::default();
        stage.superuser("postgres", "ALTER SYSTEM SET log_statement = 'all'").await;
        stage.superuser("postgres", "SELECT pg_reload_conf()").await;
        let file = PasswordFile::new(PASSWORD);
        let settings = settings(stage, &file);
        let broker = databases(&settings, &stage.roots);
        let stop = Arc::new(AtomicBool::new(false));
        let working = tokio::spawn(jobs(Arc::clone(&broker), Arc::clone(&stop)));
        let first = file.login();
        let mut before = first.clone();
        for user in ["hallpass_2", "hallpass", "hallpass_2"] {
            let done = rotated(|| settings.rotate_login(false)).await;
            assert_eq!((done.login.as_str(), &done.before), (user, &before.0));
            let now = file.login();
            assert_eq!(now.0, user);
            assert!(lets_in(stage, &now).await && lets_in(stage, &before).await);
            until("the broker uses the new login alone", async || {
                users_of_sessions(stage).await == user
            })
            .await;
            before = now;
        }
        assert!(!lets_in(stage, &first).await, "the first password still works");
        stop.store(true, Ordering::Relaxed);
        assert!(working.await.unwrap() > 0);
        // The second login is what the first is.
        stage.settings = settings;
        stage.superuser("postgres", "REVOKE ALL ON DATABASE neighbour FROM PUBLIC").await;
        assert_eq!(stage.errors().await, Vec::new());
        let log = std::fs::read_to_string(stage.server.folder().join("log")).unwrap();
        assert!(log.contains("hallpass.set_password"));
        leaks::said("the server's log", log.as_bytes());
    }

    /// T-468
    a_login_with_open_sessions_keeps_its_password_unless_they_are_ended(stage) {
        let file = PasswordFile::new(PASSWORD);
        let settings = settings(stage, &file);
        settings.rotate_login(false).await.unwrap();
        // A broker that has not switched, or a thief.
        let session = stage.thief().await;
        let before = file.login();
        let problem = settings.rotate_login(false).await.unwrap_err();
        assert!(problem.contains("hallpass has 1 open sessions"), "{problem}");
        assert!(problem.contains("`hallpass_2` is still in use"), "{problem}");
        assert_eq!(file.login(), before);
        session.simple_query("SELECT 1").await.unwrap();
        settings.rotate_login(true).await.unwrap();
        assert_eq!(file.login().0, "hallpass");
        until("the session is gone", async || session.simple_query("SELECT 1").await.is_err()).await;
        assert!(!lets_in(stage, &("hallpass".to_owned(), PASSWORD.to_owned())).await);
    }

    /// T-469
    a_stolen_login_sets_no_password_but_that_of_its_second(stage) {
        let thief = stage.thief().await;
        for password in ["'pencil'", "NULL", "''", "'SCRAM-SHA-256$4096:x$y:z'", "'md5aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'"] {
            let said = refused(&thief, &format!("SELECT hallpass.set_password({password}, false)")).await;
            assert!(said.starts_with("HP005"), "{said}");
        }
        // Being asked in another name changes nothing.
        for role in ["hallpass_2", "hallpass_definer", "hallpass_clean"] {
            let said = refused(&thief, &format!("SET ROLE {role}")).await;
            assert!(said.starts_with("42501"), "{said}");
        }
        for role in ["hallpass_2", "hallpass_clean", "hallpass_definer", "app_owner", "postgres"] {
            let said = refused(&thief, &format!("ALTER ROLE {role} PASSWORD NULL")).await;
            assert!(said.starts_with("42501"), "{said}");
        }
        // The cleaner is no broker, and neither is a lease.
        let cleaner = connect(&stage.server.login("app", "hallpass_clean", PASSWORD)).await.unwrap();
        let call = "SELECT hallpass.set_password('x', true)";
        assert!(!refused(&cleaner, call).await.starts_with("HP"));
        let login = stage.mint("app_ro", 600).await;
        assert!(stage.log_in_to(&login, "hallpass").await.is_err());
        stage.superuser("postgres", "REVOKE ALL ON DATABASE neighbour FROM PUBLIC").await;
        assert_eq!(stage.errors().await, Vec::new());
    }

    /// T-468: the file that was installed before has one login only.
    an_older_installation_is_not_rotated_and_works_on(stage) {
        stage.superuser("hallpass", "DROP FUNCTION hallpass.set_password(text, boolean); DROP OWNED BY hallpass_2").await;
        if stage.version == Version::V18 {
            stage.superuser("postgres", "REVOKE hallpass, hallpass_2 FROM hallpass_definer").await;
        }
        stage.superuser("postgres", "DROP ROLE hallpass_2").await;
        let file = PasswordFile::new(PASSWORD);
        let settings = settings(stage, &file);
        let problem = settings.rotate_login(false).await.unwrap_err();
        assert!(problem.contains("makes one login only; run the file that `hallpass target install` prints"), "{problem}");
        assert_eq!(file.login(), ("hallpass".to_owned(), PASSWORD.to_owned()));
        stage.mint("app_ro", 600).await;
        stage.superuser("postgres", "REVOKE ALL ON DATABASE neighbour FROM PUBLIC").await;
        assert_eq!(stage.errors().await, Vec::new());
        // A role of that name that another administrator made meanwhile is no way in.
        let login = ("hallpass_2".to_owned(), "planted".to_owned());
        stage.superuser("postgres", "CREATE ROLE hallpass_2 LOGIN PASSWORD 'planted'; GRANT CONNECT ON DATABASE hallpass TO hallpass_2").await;
        assert!(lets_in(stage, &login).await);
        stage.superuser("postgres", "ALTER ROLE hallpass_2 NOLOGIN; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'hallpass_2'").await;
        if stage.installer == Installer::Superuser {
            stage.install().await;
            assert!(!lets_in(stage, &login).await);
            settings.rotate_login(false).await.unwrap();
            assert_eq!(file.login().0, "hallpass_2");
        }
    }
}
