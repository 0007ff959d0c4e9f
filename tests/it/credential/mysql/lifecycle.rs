//! Made, used, repeated, revoked, expired.

use hallpass::credential::Revoked;
use hallpass::credential::target::{LeaseState, Target as _};
use mysql_async::prelude::Queryable as _;

use super::stage::{
    KEYS, Stage, connect, contents, fresh_random, has_ended, keyed, logins, made, order, order_for,
    refused,
};
use crate::support::mariadb::no_session;
use crate::support::wait::until;

/// T-410
#[tokio::test]
async fn a_login_does_what_its_group_may_and_no_more() {
    let stage = Stage::start().await;
    let login = stage.mint("app_ro", 600).await;
    assert_eq!(login.username, login.found.login);
    let mut session = stage.log_in(&login).await.unwrap();
    let count: Option<i64> = session
        .query_first("SELECT COUNT(*) FROM app.items")
        .await
        .unwrap();
    assert_eq!(count, Some(2));
    for (sql, code) in [
        ("INSERT INTO app.items VALUES (3)", "1142"),
        ("CREATE TABLE app.x (id INT)", "1142"),
        ("CREATE VIEW app.v AS SELECT 1", "1142"),
        ("CREATE USER x", "1227"),
        ("SELECT * FROM mysql.user", "1142"),
        ("USE hallpass", "1044"),
        ("CALL hallpass.list()", "1370"),
    ] {
        assert_eq!(refused(&mut session, sql).await, code, "{sql}");
    }
    // What limits it is not its own to change.
    let name = &login.username;
    for attempt in [
        "ACCOUNT UNLOCK",
        "WITH MAX_USER_CONNECTIONS 100",
        "REQUIRE NONE",
    ] {
        let sql = format!("ALTER USER '{name}'@'%' {attempt}");
        let code = refused(&mut session, &sql).await;
        assert!(["1227", "1044"].contains(&code.as_str()), "{sql}: {code}");
    }
    let grant = format!("GRANT app_rw TO '{name}'@'%'");
    refused(&mut session, &grant).await;
    refused(&mut session, "SET ROLE app_rw").await;
    assert_eq!(stage.revoke(&login).await, Revoked::Gone);
}

/// T-410: the session that was open, with its role active, and a transaction in it.
#[tokio::test]
async fn a_revocation_ends_open_sessions_and_drops_the_account() {
    let stage = Stage::start().await;
    let login = stage.mint("app_rw", 600).await;
    let mut sessions = Vec::new();
    for _ in 0..4 {
        let mut session = stage.log_in(&login).await.unwrap();
        session.query_drop("BEGIN").await.unwrap();
        sessions.push(session);
    }
    sessions[0]
        .query_drop("INSERT INTO app.items VALUES (3)")
        .await
        .unwrap();
    assert_eq!(stage.revoke(&login).await, Revoked::Gone);
    assert_eq!(stage.accounts().await, "0");
    for session in &mut sessions {
        assert!(session.query_drop("SELECT 1").await.is_err());
    }
    assert!(stage.log_in(&login).await.is_err());
    // What it had not committed is not there.
    assert_eq!(
        stage
            .server
            .read("SELECT CAST(COUNT(*) AS CHAR) FROM app.items")
            .await,
        "2"
    );
    // Again: it is gone already.
    assert_eq!(stage.revoke(&login).await, Revoked::Gone);
}

/// T-410
#[tokio::test]
async fn a_login_ends_at_its_time_and_the_sweep_removes_it() {
    let stage = Stage::start().await;
    let login = stage.mint("app_rw", 5).await;
    let mut session = stage.log_in(&login).await.unwrap();
    assert!(stage.removed().await.is_empty());
    until("it is swept", || async {
        stage.removed().await.contains(&login.username)
    })
    .await;
    assert_eq!(stage.accounts().await, "0");
    assert!(session.query_drop("SELECT 1").await.is_err());
    assert!(stage.log_in(&login).await.is_err());
}

/// T-110
#[tokio::test]
async fn a_repeat_gets_the_same_login_and_nothing_after_its_end() {
    let stage = Stage::start().await;
    let token = fresh_random();
    let first = stage
        .try_mint(keyed("app_ro", &token, "key", false))
        .await
        .unwrap();
    let replica = stage.replica();
    let again = made(
        logins(&replica)
            .make(keyed("app_ro", &token, "key", true))
            .await,
    )
    .unwrap();
    assert_eq!(again.username, first.username);
    assert_eq!(again.password.expose(), first.password.expose());
    assert_eq!(again.found.expires_at, first.found.expires_at);
    stage.log_in(&again).await.unwrap();
    // Another key, another group, no key.
    for (other, reason) in [
        (keyed("app_ro", &token, "other", true), "token.replayed"),
        (keyed("app_rw", &token, "key", true), "lease.changed"),
        (order("app_ro", 600, &token), "token.replayed"),
    ] {
        let error = stage.try_mint(other).await.err().unwrap();
        assert_eq!(error.reason.code(), reason);
    }
    stage.revoke(&first).await;
    // The token makes no second login, on any replica, whatever is asked.
    for is_repeat in [true, false] {
        let order = keyed("app_ro", &token, "key", is_repeat);
        let error = made(logins(&replica).make(order).await).err().unwrap();
        assert_eq!(error.reason.code(), "lease.over");
    }
    assert_eq!(stage.accounts().await, "0");
}

/// T-106
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_mints_of_one_token_at_once_make_one_login() {
    let stage = Stage::start().await;
    let token = fresh_random();
    let brokers = [stage.replica(), stage.replica()];
    let mut mints = tokio::task::JoinSet::new();
    for at in 0..20 {
        let broker = std::sync::Arc::clone(&brokers[at % 2]);
        let order = keyed("app_ro", &token, "key", false);
        mints.spawn(async move { made(logins(&broker).make(order).await) });
    }
    let made: Vec<_> = mints.join_all().await.into_iter().flatten().collect();
    assert!(!made.is_empty());
    assert!(made.iter().all(|login| login.username == made[0].username));
    assert_eq!(stage.accounts().await, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_mints_at_once_into_one_group_all_work() {
    let stage = Stage::start().await;
    let brokers = [stage.replica(), stage.replica()];
    let mut mints = tokio::task::JoinSet::new();
    for at in 0..24 {
        let broker = std::sync::Arc::clone(&brokers[at % 2]);
        mints.spawn(async move {
            made(
                logins(&broker)
                    .make(order("app_rw", 600, &fresh_random()))
                    .await,
            )
            .unwrap()
        });
    }
    let made = mints.join_all().await;
    assert_eq!(stage.accounts().await, "24");
    // Twenty revocations of one of them, and three sweeps, at once.
    let mut ends = tokio::task::JoinSet::new();
    for at in 0..20 {
        let broker = std::sync::Arc::clone(&brokers[at % 2]);
        let lease = contents(&made[0]);
        ends.spawn(async move { broker.revoke(&lease).await.unwrap() });
    }
    for broker in &brokers {
        let broker = std::sync::Arc::clone(broker);
        ends.spawn(async move {
            broker.sweep("app").await.unwrap();
            Revoked::Gone
        });
    }
    let ends = ends.join_all().await;
    assert!(ends.iter().all(|end| *end == Revoked::Gone), "{ends:?}");
    assert_eq!(stage.accounts().await, "23");
}

#[tokio::test]
async fn leases_are_listed_with_their_records() {
    let stage = Stage::start().await;
    let login = stage.mint("app_ro", 600).await;
    let _session = stage.log_in(&login).await.unwrap();
    let listing = logins(&stage.targets).leases().await.unwrap();
    let [listed] = listing.leases.as_slice() else {
        panic!("{listing:?}")
    };
    assert_eq!(listed.lease.state, LeaseState::Live);
    assert_eq!(listed.lease.groups, ["app_ro"]);
    assert_eq!(listed.lease.sessions.len(), 1);
    assert_eq!(listed.record.as_ref().unwrap().policy, "test");
    let _ = &*KEYS;
}

/// T-411
#[tokio::test]
async fn what_the_file_does_not_allow_is_refused() {
    let stage = Stage::start().await;
    for life in [0, 4, 3_601, u32::MAX] {
        let error = stage
            .try_mint(order("app_ro", life, &fresh_random()))
            .await
            .err()
            .unwrap();
        assert_eq!(error.reason.code(), "database.ceiling", "{life}");
        assert!(error.nothing_made);
    }
    for group in [
        "root",
        "app_other",
        "app_ro'x",
        "app_migrator\\",
        "päule",
        "",
        &"g".repeat(32),
    ] {
        let error = stage
            .try_mint(order(group, 600, &fresh_random()))
            .await
            .err()
            .unwrap();
        assert_eq!(error.reason.code(), "database.ceiling", "{group}");
    }
    assert_eq!(stage.accounts().await, "0");
}

/// T-130
#[tokio::test]
async fn one_repository_does_not_take_every_place() {
    let mut stage = Stage::start().await;
    stage.settings.places_per_repository = 3;
    stage.install().await;
    for _ in 0..3 {
        stage
            .try_mint(order_for("acme/one", &fresh_random()))
            .await
            .unwrap();
    }
    let error = stage
        .try_mint(order_for("acme/one", &fresh_random()))
        .await
        .err()
        .unwrap();
    assert_eq!(error.reason.code(), "database.repository_full");
    stage
        .try_mint(order_for("acme/two", &fresh_random()))
        .await
        .unwrap();
}

/// T-412: no broker runs.
#[tokio::test]
async fn the_server_itself_ends_what_no_broker_ends() {
    let stage = Stage::start().await;
    let login = stage.mint("app_rw", 5).await;
    let checkout = stage.mint("app_migrator", 5).await;
    let live = stage.mint("app_ro", 600).await;
    // Brokers come first, for half a minute after the end: what took longer is made by the clock.
    let user = age(&stage, &login, 60).await;
    age(&stage, &checkout, 60).await;
    let port = stage.server.port();
    let session = connect(port, &user, login.password.expose(), None)
        .await
        .unwrap();
    let owner = stage.log_in(&checkout).await.unwrap();
    stage
        .server
        .run(&["ALTER EVENT hallpass.dead_man ON SCHEDULE EVERY 1 SECOND"])
        .await;
    until("the event ended them", || async {
        stage.accounts().await == "1"
    })
    .await;
    no_session(&stage.server, "app_migrator").await;
    has_ended(session).await;
    has_ended(owner).await;
    assert!(stage.log_in(&checkout).await.is_err());
    stage.log_in(&live).await.unwrap();
}

/// Gives a lease a name and a row that ended some seconds ago; the name.
async fn age(stage: &Stage, login: &super::stage::Login, seconds: i64) -> String {
    let (old, ends) = (
        &login.found.login,
        login.found.expires_at.unix() - 5 - seconds,
    );
    let (_, random) = old.rsplit_once('_').unwrap();
    let new = format!("CONCAT('hp_', LOWER(LPAD(CONV({ends}, 10, 32), 7, '0')), '_{random}')");
    let new = stage.server.read(&format!("SELECT {new}")).await;
    stage
        .server
        .run(&[
            &format!(
                "UPDATE hallpass.leases SET login = '{new}', ends = {ends} WHERE login = '{old}'"
            ),
            &format!("UPDATE hallpass.checkouts SET login = '{new}' WHERE login = '{old}'"),
        ])
        .await;
    if login.username == *old {
        stage
            .server
            .run(&[&format!("RENAME USER '{old}'@'%' TO '{new}'@'%'")])
            .await;
    }
    new
}

/// T-92
#[tokio::test]
async fn no_password_reaches_a_log_of_the_server() {
    let stage = Stage::start().await;
    let login = stage.mint("app_ro", 600).await;
    stage.log_in(&login).await.unwrap();
    let log = std::fs::read_to_string(stage.server.file("general.log")).unwrap();
    assert!(log.contains("CREATE USER"), "the log shows statements");
    assert!(!log.contains(login.password.expose()));
    assert!(!login.url.is_empty());
}

#[tokio::test]
async fn a_target_that_is_set_up_has_no_errors() {
    let stage = Stage::start().await;
    let findings = stage.findings().await;
    let errors = stage.errors().await;
    assert!(errors.is_empty(), "{errors:#?}");
    let fine = |part: &str| {
        findings
            .iter()
            .any(|finding| finding.message.contains(part))
    };
    assert!(
        fine("a lease of group `app_ro` can use database `app`"),
        "{findings:#?}"
    );
    assert!(fine(
        "a lease of account `app_migrator` can use database `app`"
    ));
    assert!(fine("the throw-away lease is gone again"));
    assert!(fine("the server ends leases by itself"));
    assert_eq!(stage.accounts().await, "0");
}
