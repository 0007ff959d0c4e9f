//! What hostile jobs, thieves of the broker's password and careless grants come to.

use hallpass::credential::Revoked;
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use super::stage::{
    NO_HOLDER, Stage, connect, fresh_random, has_ended, keyed, logins, order, refused, set_password,
};
use crate::support::mariadb::{flavor, no_session};
use crate::support::wait::until;
use hallpass::credential::database::mysql::{Flavor, password_hash};
use hallpass::secret::Secret;

/// T-413: what a login makes would have it as its definer, and fail when it is gone; and no power but over data.
#[tokio::test]
async fn a_group_that_could_leave_code_or_has_power_is_refused() {
    let stage = Stage::start().await;
    stage
        .server
        .run(&[
            "CREATE ROLE outer_role",
            "CREATE ROLE inner_role",
            "GRANT inner_role TO outer_role",
            "GRANT outer_role TO app_rw",
        ])
        .await;
    assert!(stage.errors().await.is_empty());
    for (grant, revoke) in &harmful_grants() {
        stage.server.run(&[grant]).await;
        let error = stage
            .try_mint(order("app_rw", 600, &fresh_random()))
            .await
            .err();
        let error = error.unwrap_or_else(|| panic!("a login was made after {grant}"));
        assert_eq!(error.reason.code(), "database.group", "{grant}");
        stage.server.run(&[revoke]).await;
    }
    stage
        .server
        .run(&["GRANT TRIGGER ON app.* TO inner_role"])
        .await;
    let errors = stage.errors().await;
    let said: Vec<&str> = errors
        .iter()
        .map(|finding| finding.message.as_str())
        .collect();
    assert!(said[0].starts_with("role 'app_rw' is inside 'inner_role', which may make views, routines, triggers or events in database `app`"), "{said:?}");
    stage
        .server
        .run(&["REVOKE TRIGGER ON app.* FROM inner_role"])
        .await;
    stage.mint("app_rw", 600).await;
    assert_eq!(stage.accounts().await, "1");
}

/// What must not be granted to a group, and how it is taken back.
fn harmful_grants() -> Vec<(String, String)> {
    let mut changes: Vec<(String, String)> = Vec::new();
    for privilege in [
        "CREATE VIEW",
        "CREATE ROUTINE",
        "ALTER ROUTINE",
        "TRIGGER",
        "EVENT",
    ] {
        changes.push((
            format!("GRANT {privilege} ON app.* TO app_rw"),
            format!("REVOKE {privilege} ON app.* FROM app_rw"),
        ));
    }
    for privilege in [
        "SELECT",
        "FILE",
        "PROCESS",
        "SUPER",
        "CREATE USER",
        "RELOAD",
    ] {
        changes.push((
            format!("GRANT {privilege} ON *.* TO app_rw"),
            format!("REVOKE {privilege} ON *.* FROM app_rw"),
        ));
    }
    for (grant, revoke) in [
        (
            "GRANT TRIGGER ON app.items TO app_rw",
            "REVOKE TRIGGER ON app.items FROM app_rw",
        ),
        (
            "GRANT CREATE VIEW ON app.items TO app_rw",
            "REVOKE CREATE VIEW ON app.items FROM app_rw",
        ),
        (
            "GRANT SELECT ON mysql.user TO app_rw",
            "REVOKE SELECT ON mysql.user FROM app_rw",
        ),
        (
            "GRANT SELECT ON `my%`.* TO app_rw",
            "REVOKE SELECT ON `my%`.* FROM app_rw",
        ),
        (
            "GRANT SELECT ON hallpass.* TO app_rw",
            "REVOKE SELECT ON hallpass.* FROM app_rw",
        ),
        (
            "GRANT SELECT (id) ON app.items TO app_rw WITH GRANT OPTION",
            "REVOKE GRANT OPTION ON app.items FROM app_rw",
        ),
        (
            "GRANT SELECT ON app.* TO app_rw WITH GRANT OPTION",
            "REVOKE GRANT OPTION ON app.* FROM app_rw",
        ),
    ] {
        changes.push((grant.to_owned(), revoke.to_owned()));
    }
    for (grant, revoke) in [
        (
            "GRANT EVENT ON app.* TO inner_role",
            "REVOKE EVENT ON app.* FROM inner_role",
        ),
        (
            "GRANT inner_role TO app_rw WITH ADMIN OPTION",
            "REVOKE inner_role FROM app_rw",
        ),
    ] {
        changes.push((grant.to_owned(), revoke.to_owned()));
    }
    match flavor() {
        Flavor::MariaDb => changes.push((
            "GRANT TRIGGER ON app.* TO PUBLIC".to_owned(),
            "REVOKE TRIGGER ON app.* FROM PUBLIC".to_owned(),
        )),
        Flavor::MySql => {
            changes.push((
                "GRANT SET_ANY_DEFINER ON *.* TO app_rw".to_owned(),
                "REVOKE SET_ANY_DEFINER ON *.* FROM app_rw".to_owned(),
            ));
            changes.push((
                "SET GLOBAL mandatory_roles = 'outer_role'".to_owned(),
                "SET GLOBAL mandatory_roles = ''".to_owned(),
            ));
            changes.push((
                "ALTER USER app_rw ACCOUNT UNLOCK".to_owned(),
                "ALTER USER app_rw ACCOUNT LOCK".to_owned(),
            ));
        }
    }
    changes
}

/// T-413: what the server gives everybody is part of what a login has.
#[tokio::test]
async fn accounts_that_a_lease_could_be_taken_for_are_reported() {
    let stage = Stage::start().await;
    stage.server.run(&["CREATE USER ''@'10.9.8.7'"]).await;
    let errors = stage.errors().await;
    assert!(
        errors
            .iter()
            .any(|finding| finding.message.contains("anonymous account")),
        "{errors:?}"
    );
    stage
        .server
        .run(&[
            "DROP USER ''@'10.9.8.7'",
            "CREATE USER other@'%'",
            "GRANT ALTER ROUTINE ON hallpass.* TO other@'%'",
        ])
        .await;
    let errors = stage.errors().await;
    assert!(
        errors.iter().any(|finding| finding
            .message
            .contains("has privileges in database hallpass")),
        "{errors:?}"
    );
}

/// T-411: the broker's password was stolen.
#[tokio::test]
async fn a_thief_of_the_brokers_password_goes_no_further_than_the_file() {
    let stage = Stage::start().await;
    let mut thief = stage.thief().await;
    for sql in [
        "CREATE USER mine",
        "ALTER USER root@localhost IDENTIFIED BY 'mine'",
        "GRANT app_rw TO hallpass",
        "SET ROLE app_rw",
        "SELECT * FROM app.items",
        "SELECT * FROM mysql.user",
        "SELECT * FROM hallpass.leases",
        "UPDATE hallpass.ceilings SET longest_life = 1000000",
        "DROP PROCEDURE hallpass.mint",
        "CREATE PROCEDURE hallpass.x() SELECT 1",
        "ALTER EVENT hallpass.dead_man DISABLE",
        "DROP DATABASE hallpass",
        "CALL hallpass.remove('hp_0000000_0000000000000')",
        "CALL hallpass.lock_account('root', 1)",
        "CALL hallpass.kill_sessions('root', @n)",
        "CALL hallpass.undo('hp_0000000_0000000000000')",
        "SET GLOBAL event_scheduler = OFF",
        "KILL 1",
    ] {
        refused(&mut thief, sql).await;
    }
    // Names that no procedure made.
    for name in [
        "root",
        "app_migrator",
        "hallpass",
        "hp_x",
        "hp_0000000_0000000000000\\n",
        "HP_0000000_0000000000000",
        "hp_0000000_000000000000é",
    ] {
        for call in ["disable", "terminate", "drop_login"] {
            let said = refused(&mut thief, &format!("CALL hallpass.{call}('{name}')")).await;
            assert!(
                ["HP005", "1406"].contains(&said.as_str()),
                "{call} {name}: {said}"
            );
        }
    }
    let hash = password_hash(flavor(), &Secret::new("x".to_owned())).unwrap();
    let mint = |random: &str, hash: &str, life: &str, group: &str, checkout: &str, record: &str| {
        format!(
            "CALL hallpass.mint('{random}', '{hash}', {life}, '{group}', {checkout}, 5, '{record}', 0, '{NO_HOLDER}', 1)"
        )
    };
    let random = fresh_random();
    for (sql, state) in [
        (
            mint(&random, "clear-password", "600", "app_ro", "0", "{}"),
            "HP004",
        ),
        (
            mint(&random, &format!("{hash}\n"), "600", "app_ro", "0", "{}"),
            "HP004",
        ),
        (mint(&random, &hash, "3601", "app_ro", "0", "{}"), "HP003"),
        (mint(&random, &hash, "NULL", "app_ro", "0", "{}"), "HP003"),
        (mint(&random, &hash, "600", "root", "1", "{}"), "HP003"),
        (
            mint(&random, &hash, "600", "app_migrator", "0", "{}"),
            "HP003",
        ),
        (mint(&random, &hash, "600", "APP_RO", "0", "{}"), "HP003"),
        (
            mint(&random, &hash, "600", "app_ro", "0", "not JSON"),
            "HP004",
        ),
        (
            mint(
                &random
                    .to_uppercase()
                    .replace(|c: char| c.is_ascii_digit(), "A"),
                &hash,
                "600",
                "app_ro",
                "0",
                "{}",
            ),
            "HP004",
        ),
        (
            mint(&format!("{random}\n"), &hash, "600", "app_ro", "0", "{}"),
            "HP004",
        ),
    ] {
        assert_eq!(refused(&mut thief, &sql).await, state, "{sql}");
    }
    assert_eq!(stage.accounts().await, "0");
}

/// T-411: a session can set its own time, and much else.
#[tokio::test]
async fn no_setting_of_a_session_stretches_a_life() {
    let stage = Stage::start().await;
    let hash = password_hash(flavor(), &Secret::new("x".to_owned())).unwrap();
    for settings in [
        "SET SESSION timestamp = 2100000000",
        "SET SESSION time_zone = '+13:00'",
        "SET SESSION sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,IGNORE_SPACE'",
        "SET SESSION autocommit = 0, completion_type = 2",
        "SET NAMES latin1",
        "SET SESSION sql_select_limit = 1, group_concat_max_len = 4, sql_safe_updates = 1, sql_auto_is_null = 1",
        "SET @hallpass_sql = 'CREATE USER mine'",
        "SET SESSION max_error_count = 0, div_precision_increment = 0",
    ] {
        let mut thief = stage.thief().await;
        match thief.query_drop(settings).await {
            Ok(()) => {}
            // MySQL keeps some of them from everybody but administrators.
            Err(mysql_async::Error::Server(error)) if error.code == 1_227 => continue,
            Err(error) => panic!("{settings}: {error}"),
        }
        let random = fresh_random();
        let mint = format!(
            "CALL hallpass.mint('{random}', '{hash}', 600, 'app_ro', 0, 5, '{{}}', 0, '{NO_HOLDER}', 1)"
        );
        // What it may not is not made; what is made has the life that was asked for.
        let _ = thief.query_drop(&mint).await;
        drop(thief);
        let sql =
            "SELECT CAST(COALESCE(MAX(ends) - UNIX_TIMESTAMP(), 0) AS CHAR) FROM hallpass.accounts";
        let left: i64 = stage.server.read(sql).await.parse().unwrap();
        assert!(left <= 601, "{settings}: {left}");
    }
    let mine = stage
        .server
        .read("SELECT CAST(COUNT(*) AS CHAR) FROM mysql.user WHERE User = 'mine'")
        .await;
    assert_eq!(mine, "0");
}

/// T-411: a transaction that the thief leaves open keeps no lock on what the procedures write.
#[tokio::test]
async fn a_transaction_that_the_thief_leaves_open_delays_no_lease() {
    let stage = Stage::start().await;
    let login = stage.mint("app_ro", 600).await;
    let mut thieves = Vec::new();
    for call in [
        "CALL hallpass.list()",
        "CALL hallpass.list_ceilings()",
        "CALL hallpass.ended('', 10)",
        "CALL hallpass.fitness('app_migrator', 1)",
        &format!("CALL hallpass.terminate('{}')", login.found.login),
    ] {
        let mut thief = stage.thief().await;
        for sql in [
            "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "SET SESSION autocommit = 0, completion_type = CHAIN",
            "START TRANSACTION",
            call,
            call,
        ] {
            thief.query_drop(sql).await.unwrap();
        }
        thieves.push(thief);
    }
    for group in ["app_ro", "app_migrator"] {
        let other = stage.mint(group, 600).await;
        assert_eq!(stage.revoke(&other).await, Revoked::Gone);
    }
    assert_eq!(stage.revoke(&login).await, Revoked::Gone);
}

/// T-104: a login that the thief made shows.
#[tokio::test]
async fn a_login_without_our_record_is_reported() {
    let stage = Stage::start().await;
    let mut thief = stage.thief().await;
    let hash = password_hash(flavor(), &Secret::new("x".to_owned())).unwrap();
    let random = fresh_random();
    let mint = format!(
        "CALL hallpass.mint('{random}', '{hash}', 600, 'app_ro', 0, 5, '{{}}', 0, '{NO_HOLDER}', 1)"
    );
    thief.query_drop(&mint).await.unwrap();
    let report = stage.targets.sweep("app").await.unwrap();
    assert_eq!(report.foreign_leases.len(), 1);
    assert!(report.foreign_leases[0].ends_with(&random));
}

/// T-414: a job that wants to stay.
#[tokio::test]
async fn what_a_job_holds_does_not_delay_its_end() {
    let stage = Stage::start().await;
    let token = fresh_random();
    let login = stage
        .try_mint(keyed("app_rw", &token, "key", false))
        .await
        .unwrap();
    let (_, random) = login.found.login.rsplit_once('_').unwrap();
    let mut sessions = Vec::new();
    for statement in [
        // The name of its own lock, and of everybody's.
        format!("SELECT GET_LOCK('hallpass.{random}', 0)"),
        "SELECT GET_LOCK('hallpass', 0)".to_owned(),
        "BEGIN".to_owned(),
        "SET @hallpass_sql = 'DROP USER root@localhost'".to_owned(),
    ] {
        let mut session = stage.log_in(&login).await.unwrap();
        session.query_drop(&statement).await.unwrap();
        session
            .query_drop("INSERT INTO app.items VALUES (FLOOR(RAND() * 1000000) + 10)")
            .await
            .unwrap();
        sessions.push(session);
    }
    // It keeps only itself from a repeat.
    let error = stage
        .try_mint(keyed("app_rw", &token, "key", true))
        .await
        .err()
        .unwrap();
    assert_eq!(error.reason.code(), "database.refused");
    stage.mint("app_rw", 600).await;
    let began = tokio::time::Instant::now();
    assert_eq!(stage.revoke(&login).await, Revoked::Gone);
    assert!(began.elapsed() < std::time::Duration::from_secs(4));
    for session in &mut sessions {
        assert!(session.query_drop("SELECT 1").await.is_err());
    }
    assert_eq!(stage.accounts().await, "1");
}

/// T-414: it runs something long, sets a password of its own, and comes back again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_changes_its_password_and_reconnects_is_ended() {
    let stage = Stage::start().await;
    let login = stage.mint("app_rw", 600).await;
    let mut session = stage.log_in(&login).await.unwrap();
    session
        .query_drop(set_password("known-to-the-job"))
        .await
        .unwrap();
    let mut busy = connect(
        stage.server.port(),
        &login.username,
        "known-to-the-job",
        Some("app"),
    )
    .await
    .unwrap();
    let busy = tokio::spawn(async move {
        busy.query_drop("SELECT SLEEP(60), BENCHMARK(1000000000, SHA2('x', 512))")
            .await
    });
    let (port, user) = (stage.server.port(), login.username.clone());
    let mut loops = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let user = user.clone();
        loops.spawn(async move {
            let mut sessions: Vec<Conn> = Vec::new();
            for _ in 0..200 {
                if let Ok(session) = connect(port, &user, "known-to-the-job", None).await {
                    sessions.push(session);
                }
            }
            sessions
        });
    }
    assert_eq!(stage.revoke(&login).await, Revoked::Gone);
    assert!(busy.await.unwrap().is_err());
    for mut session in loops.join_all().await.into_iter().flatten() {
        assert!(session.query_drop("SELECT 1").await.is_err());
    }
    assert!(
        connect(port, &user, "known-to-the-job", None)
            .await
            .is_err()
    );
    assert_eq!(stage.accounts().await, "0");
    no_session(&stage.server, &user).await;
}

/// T-415: an administrator dropped the account, and the server lets the session go on with its role.
#[tokio::test]
async fn a_session_whose_account_is_gone_is_ended_by_the_sweep() {
    let stage = Stage::start().await;
    let login = stage.mint("app_rw", 600).await;
    let mut session = stage.log_in(&login).await.unwrap();
    stage
        .server
        .run(&[&format!("DROP USER '{}'@'%'", login.username)])
        .await;
    // On both servers it goes on with what its role may.
    session
        .query_drop("INSERT INTO app.items VALUES (77)")
        .await
        .unwrap();
    let report = stage.targets.sweep("app").await.unwrap();
    assert_eq!(report.ghosts, 1);
    has_ended(session).await;
    // The token makes no other.
    until("it is forgotten", || async {
        stage.targets.sweep("app").await.unwrap().ghosts == 0
    })
    .await;
}

/// T-415: a session of another account is nobody's ghost.
#[tokio::test]
async fn sessions_of_others_are_left_alone() {
    let stage = Stage::start().await;
    stage
        .server
        .run(&[
            "CREATE USER hp_mine@'%' IDENTIFIED BY 'a'",
            "CREATE USER 'hp_0000000_0000000000000x'@'%' IDENTIFIED BY 'a'",
            "CREATE USER `app`@'%' IDENTIFIED BY 'a'",
        ])
        .await;
    let mut sessions = Vec::new();
    for user in ["hp_mine", "hp_0000000_0000000000000x", "app"] {
        sessions.push(connect(stage.server.port(), user, "a", None).await.unwrap());
    }
    let login = stage.mint("app_rw", 600).await;
    stage.revoke(&login).await;
    stage.targets.sweep("app").await.unwrap();
    for session in &mut sessions {
        session.query_drop("SELECT 1").await.unwrap();
    }
    assert_eq!(
        logins(&stage.targets)
            .database()
            .leases()
            .await
            .unwrap()
            .len(),
        0
    );
}
