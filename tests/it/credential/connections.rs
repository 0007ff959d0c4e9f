//! How many connections brokers have to a server, and what happens to one that gets none.

use std::sync::Arc;

use hallpass::credential::Revoked;
use hallpass::credential::target::{ConnectionStatus, Targets};

use super::on_both_versions;
use super::stage::{PASSWORD, Stage, Version, connect, fresh_random, logins, made, order};
use crate::support::wait::until;

/// The connections of the broker's login, by the broker's account.
fn of_broker(databases: &Targets) -> ConnectionStatus {
    let mut logins = databases.connections().remove("app").unwrap();
    assert_eq!(logins.len(), 2);
    logins.remove(0)
}

fn refused(status: &ConnectionStatus, reason: &str) -> bool {
    let of_other_reasons = |(name, count): (&&str, &u64)| *name != reason && *count > 0;
    status.refused[reason] > 0 && !status.refused.iter().any(of_other_reasons)
}

/// The server's limit of a login, and how many of its sessions there are.
async fn limit_and_sessions(stage: &Stage, login: &str) -> (i64, i64) {
    let sql = format!(
        "SELECT rolconnlimit || ' ' || (SELECT count(*) FROM pg_stat_activity WHERE usename = rolname) FROM pg_roles WHERE rolname = '{login}'"
    );
    let text = stage.read("postgres", &sql).await;
    let (limit, sessions) = text.split_once(' ').unwrap();
    (limit.parse().unwrap(), sessions.parse().unwrap())
}

on_both_versions! {
    /// T-107
    six_replicas_mint_at_once_within_the_limit_of_the_login(stage) {
        stage.settings.brokers = 6;
        stage.settings.broker_connections = 4;
        stage.settings.cleaner_connections = 1;
        stage.install().await;
        stage.databases = stage.replica();
        let replicas: Vec<Arc<Targets>> = (0..6).map(|_| stage.replica()).collect();
        let mints = replicas.iter().enumerate().flat_map(|(which, replica)| {
            (0..4).map(move |_| {
                let replica = Arc::clone(replica);
                tokio::spawn(async move {
                    if which % 2 == 0 {
                        replica.sweep("app").await.unwrap();
                    }
                    made(logins(&replica).make(order("app_rw", 600, &fresh_random())).await).unwrap()
                })
            })
        });
        let mut logins = Vec::new();
        for mint in mints.collect::<Vec<_>>() {
            logins.push(mint.await.unwrap());
        }
        assert_eq!(stage.leases().await, "24");
        for replica in &replicas {
            replica.sweep("app").await.unwrap();
            let status = of_broker(replica);
            assert!((3..=4).contains(&status.open) && status.most == 4, "{status:?}");
        }
        let mut taken = Vec::new();
        while let Ok(session) = connect(&stage.server.login("hallpass", "hallpass", PASSWORD)).await {
            taken.push(session);
        }
        assert_eq!(limit_and_sessions(stage, "hallpass").await, (24, 24));
        // One replica too many gets nothing, says so, and takes nothing from the others.
        let seventh = stage.replica();
        let error = seventh.sweep("app").await.unwrap_err();
        assert!(error.contains("login `hallpass` has all the connections it may have"), "{error}");
        let status = of_broker(&seventh);
        assert!(refused(&status, "login_limit"), "{status:?}");
        assert_eq!(status.open, 0);
        assert!(error.contains(&status.problem.unwrap()), "{error}");
        assert!(seventh.status()["app"].problem.is_some());
        for (replica, login) in replicas.iter().zip(&logins) {
            assert_eq!(replica.revoke(&stage.contents(login)).await.unwrap(), Revoked::Gone);
            assert_eq!(of_broker(replica).problem, None);
        }
        assert_eq!(limit_and_sessions(stage, "hallpass").await, (24, 24));
        // It takes the place of one that goes.
        drop(replicas);
        until("it gets a connection", async || seventh.sweep("app").await.is_ok()).await;
        assert_eq!(of_broker(&seventh).problem, None);
    }

    /// T-107
    more_brokers_than_the_server_has_connections_for_are_found(stage) {
        stage.settings.brokers = 7;
        let errors = stage.errors().await;
        for problem in [
            "login `hallpass` may have 36 connections, and 7 brokers with 6 each may want 42",
            "login `hallpass_clean` may have 12 connections, and 7 brokers with 2 each may want 14",
        ] {
            assert!(errors.iter().any(|error| error.message == problem), "{errors:?}");
        }
        stage.settings.brokers = 8;
        let problem = "8 brokers may want 64 connections, and the server has 57 for everybody";
        let errors = stage.errors().await;
        assert!(errors.iter().any(|error| error.message == problem), "{errors:?}");
    }

    /// T-107: a connection is to one database, so the cleaner's move from one to the next.
    one_connection_of_the_cleaner_cleans_every_database(stage) {
        stage.settings.brokers = 1;
        stage.settings.cleaner_connections = 1;
        stage.install().await;
        stage.databases = stage.replica();
        let mut logins = Vec::new();
        for _ in 0..3 {
            let login = stage.mint("app_rw", 600).await;
            for database in &stage.settings.databases {
                let session = stage.log_in_to(&login, database).await.unwrap();
                session.simple_query("SELECT lo_create(0)").await.unwrap();
            }
            logins.push(login);
        }
        for login in &logins {
            let revoked = stage.databases.revoke(&stage.contents(login)).await.unwrap();
            assert_eq!(revoked, Revoked::Gone);
        }
        assert_eq!(stage.leases().await, "0");
        let (limit, sessions) = limit_and_sessions(stage, "hallpass_clean").await;
        assert!((limit, sessions) == (1, 0) || (limit, sessions) == (1, 1), "{sessions}");
    }

    /// T-104: who has the broker's password can change what its next sessions begin with.
    a_thief_cannot_break_the_brokers_next_sessions(stage) {
        let thief = stage.thief().await;
        let mut settings = vec![
            "standard_conforming_strings = off", "idle_in_transaction_session_timeout = 1",
            "statement_timeout = 1", "lock_timeout = 1", "idle_session_timeout = 1",
        ];
        if stage.version == Version::V18 {
            settings.push("transaction_timeout = 1");
        }
        for setting in settings {
            let sql = format!("ALTER ROLE CURRENT_USER SET {setting}");
            thief.batch_execute(&sql).await.unwrap();
        }
        for _ in 0..5 {
            let other = stage.replica();
            let login = made(logins(&other).make(order("app_ro", 600, &fresh_random())).await).unwrap();
            assert_eq!(other.revoke(&stage.contents(&login)).await.unwrap(), Revoked::Gone);
        }
    }
}

/// T-107
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_finds_the_server_full_says_so() {
    let stage = Stage::start_with(Version::V18, &[("max_connections", "20")]).await;
    let neighbour = stage.server.login("neighbour", "neighbour_owner", "n");
    let mut taken = Vec::new();
    while let Ok(session) = connect(&neighbour).await {
        taken.push(session);
    }
    let replica = stage.replica();
    let error = replica.sweep("app").await.unwrap_err();
    assert!(
        error.contains("the server has no connection left"),
        "{error}"
    );
    assert!(refused(&of_broker(&replica), "server_full"), "{error}");
    drop(taken);
    until("it gets a connection", async || {
        replica.sweep("app").await.is_ok()
    })
    .await;
    assert_eq!(of_broker(&replica).problem, None);
}
