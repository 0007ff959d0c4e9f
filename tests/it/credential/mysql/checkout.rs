//! `mode: checkout`: one job at a time has the account that owns the schema.

use hallpass::credential::Revoked;
use mysql_async::prelude::Queryable as _;

use super::stage::{Stage, connect, fresh_random, keyed, order, refused, set_password};
use crate::support::wait::until;

/// T-416
#[tokio::test]
async fn a_migration_has_the_account_for_itself_and_what_it_made_stays() {
    let stage = Stage::start().await;
    let first = stage.mint("app_migrator", 600).await;
    assert_eq!(first.username, "app_migrator");
    assert!(first.found.login.starts_with("hp_"));
    let mut session = stage.log_in(&first).await.unwrap();
    for sql in [
        "CREATE TABLE app.made (id INT)",
        "CREATE VIEW app.shown AS SELECT id FROM app.items",
        "CREATE PROCEDURE app.read_items() SELECT id FROM app.items",
    ] {
        session.query_drop(sql).await.unwrap();
    }
    let error = stage
        .try_mint(order("app_migrator", 600, &fresh_random()))
        .await
        .err()
        .unwrap();
    assert_eq!(error.reason.code(), "database.refused");
    assert_eq!(stage.revoke(&first).await, Revoked::Gone);
    assert!(session.query_drop("SELECT 1").await.is_err());
    assert!(stage.log_in(&first).await.is_err());
    // The next one gets another password, and the first one's is worth nothing.
    let second = stage.mint("app_migrator", 600).await;
    assert_ne!(second.password.expose(), first.password.expose());
    assert!(
        connect(
            stage.server.port(),
            "app_migrator",
            first.password.expose(),
            None
        )
        .await
        .is_err()
    );
    stage.log_in(&second).await.unwrap();
    stage.revoke(&second).await;
    // Views and routines work when nobody is logged in as their definer.
    let reader = stage.mint("app_ro", 600).await;
    let mut session = stage.log_in(&reader).await.unwrap();
    session.query_drop("SELECT * FROM app.shown").await.unwrap();
    assert_eq!(
        stage
            .server
            .read("SELECT CAST(COUNT(*) AS CHAR) FROM hallpass.checkouts")
            .await,
        "0"
    );
}

/// T-416: the job sets another password, and the account is locked and scrambled all the same.
#[tokio::test]
async fn a_password_that_the_job_sets_is_gone_with_the_checkout() {
    let stage = Stage::start().await;
    let login = stage.mint("app_migrator", 600).await;
    let mut session = stage.log_in(&login).await.unwrap();
    session
        .query_drop(set_password("known-to-the-job"))
        .await
        .unwrap();
    stage.revoke(&login).await;
    assert!(
        connect(
            stage.server.port(),
            "app_migrator",
            "known-to-the-job",
            None
        )
        .await
        .is_err()
    );
    let next = stage.mint("app_migrator", 600).await;
    assert!(
        connect(
            stage.server.port(),
            "app_migrator",
            "known-to-the-job",
            None
        )
        .await
        .is_err()
    );
    stage.log_in(&next).await.unwrap();
}

/// T-416
#[tokio::test]
async fn an_account_that_ends_is_free_for_the_next_job() {
    let stage = Stage::start().await;
    let token = fresh_random();
    let first = stage
        .try_mint(keyed("app_migrator", &token, "key", false))
        .await
        .unwrap();
    let again = stage
        .try_mint(keyed("app_migrator", &token, "key", true))
        .await
        .unwrap();
    assert_eq!(again.password.expose(), first.password.expose());
    stage.revoke(&first).await;
    let short = stage.mint("app_migrator", 5).await;
    let mut session = stage.log_in(&short).await.unwrap();
    until("it is swept", || async {
        stage.removed().await.contains(&short.found.login)
    })
    .await;
    assert!(session.query_drop("SELECT 1").await.is_err());
    let next = stage.mint("app_migrator", 600).await;
    stage.log_in(&next).await.unwrap();
    // The end of an earlier lease does not touch the one who has the account now.
    stage.revoke(&short).await;
    stage.log_in(&next).await.unwrap();
}

/// T-416
#[tokio::test]
async fn an_account_that_others_use_or_that_has_power_is_not_handed_out() {
    let stage = Stage::start().await;
    for (change, undo) in [
        (
            "ALTER USER app_migrator@'%' ACCOUNT UNLOCK",
            "ALTER USER app_migrator@'%' ACCOUNT LOCK",
        ),
        (
            "GRANT PROCESS ON *.* TO app_migrator@'%'",
            "REVOKE PROCESS ON *.* FROM app_migrator@'%'",
        ),
        (
            "GRANT SELECT ON app.* TO app_migrator@'%' WITH GRANT OPTION",
            "REVOKE GRANT OPTION ON app.* FROM app_migrator@'%'",
        ),
        (
            "CREATE USER app_migrator@localhost ACCOUNT LOCK",
            "DROP USER app_migrator@localhost",
        ),
        (
            "GRANT SELECT ON mysql.* TO app_migrator@'%'",
            "REVOKE SELECT ON mysql.* FROM app_migrator@'%'",
        ),
    ] {
        stage.server.run(&[change]).await;
        let error = stage
            .try_mint(order("app_migrator", 600, &fresh_random()))
            .await
            .err()
            .unwrap();
        assert_eq!(error.reason.code(), "database.group", "{change}");
        assert!(!stage.errors().await.is_empty(), "{change}");
        stage.server.run(&[undo]).await;
    }
    let login = stage.mint("app_migrator", 600).await;
    let mut session = stage.log_in(&login).await.unwrap();
    refused(&mut session, "GRANT SELECT ON app.* TO 'root'@'localhost'").await;
    refused(&mut session, "CREATE USER x").await;
}

/// T-416: the account of a checkout that something else uses, or has a namesake: its sessions are none of ours.
#[tokio::test]
async fn sessions_of_an_account_that_others_use_are_left_alone() {
    let stage = Stage::start().await;
    let port = stage.server.port();
    for (change, undo) in [
        (
            "ALTER USER app_migrator@'%' IDENTIFIED BY 'pzqxwvkjyq' ACCOUNT UNLOCK",
            "ALTER USER app_migrator@'%' ACCOUNT LOCK",
        ),
        (
            "CREATE USER app_migrator@'127.0.0.1' IDENTIFIED BY 'pzqxwvkjyq'",
            "DROP USER app_migrator@'127.0.0.1'",
        ),
    ] {
        stage.server.run(&[change]).await;
        let mut other = connect(port, "app_migrator", "pzqxwvkjyq", None)
            .await
            .unwrap();
        stage.removed().await;
        other.query_drop("SELECT 1").await.unwrap();
        stage.server.run(&[undo]).await;
    }
    // And one of the account alone is ended, whose job is over.
    stage
        .server
        .run(&["ALTER USER app_migrator@'%' ACCOUNT UNLOCK"])
        .await;
    let mut late = connect(port, "app_migrator", "pzqxwvkjyq", None)
        .await
        .unwrap();
    stage
        .server
        .run(&["ALTER USER app_migrator@'%' ACCOUNT LOCK"])
        .await;
    stage.removed().await;
    assert!(late.query_drop("SELECT 1").await.is_err());
}
