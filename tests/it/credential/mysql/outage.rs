//! A broker that is locked out or has another clock, a server that fails over, an outage and a group that goes.

use std::sync::Arc;

use hallpass::credential::Revoked;
use mysql_async::prelude::Queryable as _;
use tokio::task::JoinSet;

use super::stage::{
    Stage, connect, contents, fresh_random, has_ended, keyed, logins, made, order, order_ahead,
};
use crate::support::mariadb::{MariaDb, flavor};
use crate::support::wait::until;
use hallpass::credential::database::mysql::Flavor;

/// T-104, T-442: an account whose name ends at another time than its record says looks like a thief's.
#[tokio::test]
async fn clocks_that_differ_make_no_login() {
    let stage = Stage::start().await;
    for ahead in [-600, 600] {
        for group in ["app_rw", "app_migrator"] {
            let error = stage
                .try_mint(order_ahead(group, ahead))
                .await
                .err()
                .unwrap();
            assert_eq!(error.reason.code(), "database.refused");
        }
        assert_eq!(stage.accounts().await, "0");
    }
    let report = stage.targets.sweep("app").await.unwrap();
    assert_eq!(report.foreign_leases, [] as [String; 0]);
    for group in ["app_rw", "app_migrator"] {
        stage.try_mint(order_ahead(group, 50)).await.unwrap();
    }
}

/// T-418
#[tokio::test]
async fn a_broker_that_is_locked_out_owes_the_end() {
    let stage = Stage::start().await;
    let leases = [
        stage.mint("app_rw", 600).await,
        stage.mint("app_migrator", 600).await,
    ];
    stage
        .server
        .run(&["ALTER USER hallpass@'%' ACCOUNT LOCK"])
        .await;
    let broker = stage.replica();
    let order_of = order("app_rw", 600, &fresh_random());
    let error = logins(&broker).make(order_of).await.err().unwrap();
    assert_eq!(error.reason.code(), "database.unreachable");
    for lease in &leases {
        let answer = broker.revoke(&contents(lease)).await.unwrap();
        assert_eq!(answer, Revoked::Pending);
    }
    stage
        .server
        .run(&["ALTER USER hallpass@'%' ACCOUNT UNLOCK"])
        .await;
    until("they are swept", || async {
        let _ = broker.sweep("app").await;
        is_free(&stage).await
    })
    .await;
    for lease in &leases {
        assert!(stage.log_in(lease).await.is_err());
    }
}

/// T-418: the replica has the accounts and what is known of them.
#[tokio::test]
async fn a_lease_outlives_a_failover_and_is_revoked_after_it() {
    let server = MariaDb::start(&["--log-bin=on", "--server-id=1"]).await;
    let replica = MariaDb::start(&["--server-id=2"]).await;
    server
        .run(&[
            "CREATE USER follower@'%' IDENTIFIED BY 'xqzjvkwpyq'",
            "GRANT REPLICATION SLAVE ON *.* TO follower@'%'",
        ])
        .await;
    let source = format!("'127.0.0.1', {{}}_PORT = {}", server.port());
    let (source, begin, end) = match flavor() {
        Flavor::MariaDb => (
            format!(
                "CHANGE MASTER TO MASTER_HOST = {}, MASTER_USER = 'follower', MASTER_PASSWORD = 'xqzjvkwpyq'",
                source.replace("{}", "MASTER")
            ),
            "START SLAVE",
            ["STOP SLAVE", "RESET SLAVE ALL"],
        ),
        Flavor::MySql => (
            format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST = {}, SOURCE_USER = 'follower', SOURCE_PASSWORD = 'xqzjvkwpyq', GET_SOURCE_PUBLIC_KEY = 1",
                source.replace("{}", "SOURCE")
            ),
            "START REPLICA",
            ["STOP REPLICA", "RESET REPLICA ALL"],
        ),
    };
    replica.run(&[&source, begin]).await;
    let mut stage = Stage::on(server).await;
    let token = fresh_random();
    let login = stage
        .try_mint(keyed("app_rw", &token, "one", false))
        .await
        .unwrap();
    let checkout = stage.mint("app_migrator", 600).await;
    stage.server.run(&["CREATE TABLE app.last (id INT)"]).await;
    until("the replica has it", || async {
        let last = "SELECT CAST(COUNT(*) AS CHAR) FROM information_schema.TABLES WHERE TABLE_NAME = 'last'";
        replica.read(last).await == "1"
    })
    .await;
    stage.server.kill();
    replica.run(&end).await;
    // The address of the target leads to the new server.
    let broker = stage.through(replica.port());
    let repeat = keyed("app_rw", &token, "one", true);
    let again = made(logins(&broker).make(repeat).await).unwrap();
    assert_eq!(again.username, login.username);
    connect(
        replica.port(),
        "app_migrator",
        checkout.password.expose(),
        None,
    )
    .await
    .unwrap();
    for lease in [&login, &checkout] {
        let answer = broker.revoke(&contents(lease)).await.unwrap();
        assert_eq!(answer, Revoked::Gone);
    }
    let left = "SELECT CAST(COUNT(*) AS CHAR) FROM mysql.user WHERE User REGEXP '^hp_'";
    assert_eq!(replica.read(left).await, "0");
    logins(&broker)
        .make(order("app_migrator", 600, &fresh_random()))
        .await
        .unwrap();
}

/// T-418: its logins are ended although the policies and the server have it no more.
#[tokio::test]
async fn a_group_that_goes_while_its_leases_live_keeps_none() {
    let mut stage = Stage::start().await;
    let login = stage.mint("app_rw", 600).await;
    let checkout = stage.mint("app_migrator", 600).await;
    let session = stage.log_in(&login).await.unwrap();
    stage.server.run(&["DROP ROLE app_rw"]).await;
    stage.ceilings.retain(|ceiling| ceiling.group == "app_ro");
    stage.install().await;
    let broker = stage.replica();
    for lease in [&login, &checkout] {
        let answer = broker.revoke(&contents(lease)).await.unwrap();
        assert_eq!(answer, Revoked::Gone);
    }
    has_ended(session).await;
    assert!(is_free(&stage).await);
    let migrate = order("app_migrator", 600, &fresh_random());
    let error = stage.try_mint(migrate).await.err().unwrap();
    assert_eq!(error.reason.code(), "database.ceiling");
    stage.mint("app_ro", 600).await;
}

/// T-414
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_revocations_of_one_lease_at_once_end_it() {
    let stage = Stage::start().await;
    for group in ["app_rw", "app_migrator"] {
        let login = stage.mint(group, 600).await;
        let session = stage.log_in(&login).await.unwrap();
        let mut ends = JoinSet::new();
        for _ in 0..20 {
            let (broker, lease) = (stage.replica(), contents(&login));
            ends.spawn(async move { broker.revoke(&lease).await });
        }
        for answer in ends.join_all().await {
            assert!(
                matches!(answer, Ok(Revoked::Gone | Revoked::Pending)),
                "{answer:?}"
            );
        }
        until("it is gone", || async {
            stage.removed().await;
            is_free(&stage).await
        })
        .await;
        has_ended(session).await;
    }
}

/// T-412
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_sweepers_at_once_remove_what_is_over_and_nothing_else() {
    sweep_at_once(&Stage::start().await, 40).await;
}

/// T-412
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes long; make test-long"]
async fn long_fifteen_thousand_leases_are_swept_after_an_outage() {
    sweep_at_once(&Stage::start_with(&["--event-scheduler=OFF"]).await, 15_000).await;
}

async fn sweep_at_once(stage: &Stage, count: u32) {
    let accounts: Vec<String> = (0..count)
        .map(|number| format!("CREATE USER 'hp_1000000_{number:013}'@'%'"))
        .collect();
    let accounts: Vec<&str> = accounts.iter().map(String::as_str).collect();
    stage.server.run(&accounts).await;
    stage
        .server
        .run(&["CREATE USER 'hp_1000000_x'@'%'", "CREATE USER 'hp_'@'%'"])
        .await;
    let live = stage.mint("app_ro", 600).await;
    let mut session = stage.log_in(&live).await.unwrap();
    until("they are gone", || async {
        let brokers = [Arc::clone(&stage.targets), stage.replica(), stage.replica()];
        let mut sweeps = JoinSet::new();
        for broker in brokers {
            sweeps.spawn(async move { broker.sweep("app").await.unwrap() });
        }
        sweeps.join_all().await;
        stage.accounts().await == "3"
    })
    .await;
    session.query_drop("SELECT 1").await.unwrap();
}

/// No account and no checkout is left.
async fn is_free(stage: &Stage) -> bool {
    let held = "SELECT CAST(COUNT(*) AS CHAR) FROM hallpass.checkouts";
    stage.accounts().await == "0" && stage.server.read(held).await == "0"
}
