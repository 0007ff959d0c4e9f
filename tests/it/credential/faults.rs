//! Brokers that die, are locked out or have another clock, a server that fails over, an outage and a group that goes:
//! no login is left, and nothing of the application is lost.

use std::time::Duration;

use hallpass::credential::Revoked;

use super::on_both_versions;
use super::stage::{Stage, Version, fresh_random, keyed, logins, made, order, order_ahead};
use crate::support::postgres::{Standby, crash};
use crate::support::wait::until;

on_both_versions! {
    /// T-441
    brokers_that_die_at_any_moment_leave_nothing(stage) {
        die(stage, 12).await;
    }

    /// T-104, T-442
    clocks_that_differ_make_no_login(stage) {
        for ahead in [-600, 600] {
            let error = stage.try_mint(order_ahead("app_rw", ahead)).await.err().unwrap();
            assert_eq!(error.reason.code(), "database.refused");
            assert_eq!(stage.leases().await, "0");
        }
        let report = stage.databases.sweep("app").await.unwrap();
        assert_eq!(report.foreign_leases, [] as [String; 0]);
        stage.try_mint(order_ahead("app_rw", 50)).await.unwrap();
    }

    a_broker_that_is_locked_out_owes_the_end(stage) {
        let login = stage.mint("app_owner", 600).await;
        let session = stage.log_in(&login).await.unwrap();
        session.batch_execute("CREATE TABLE app.made AS SELECT 1 AS id").await.unwrap();
        let lock = "ALTER ROLE hallpass NOLOGIN; ALTER ROLE hallpass_clean NOLOGIN;
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IN ('hallpass', 'hallpass_clean')";
        stage.superuser("postgres", lock).await;
        let error = stage.try_mint(order("app_rw", 600, &fresh_random())).await.err().unwrap();
        assert_eq!(error.reason.code(), "database.unreachable");
        assert_eq!(stage.databases.revoke(&stage.contents(&login)).await.unwrap(), Revoked::Pending);
        stage.superuser("postgres", "ALTER ROLE hallpass LOGIN; ALTER ROLE hallpass_clean LOGIN").await;
        until("it is swept", || async {
            let _ = stage.databases.sweep("app").await;
            stage.leases().await == "0"
        }).await;
        assert!(session.simple_query("SELECT 1").await.is_err());
        let owner = "SELECT relowner::regrole::text FROM pg_class WHERE oid = 'app.made'::regclass";
        assert_eq!(stage.read("app", owner).await, "app_owner");
    }

    a_lease_outlives_a_failover_and_is_revoked_after_it(stage) {
        let standby = Standby::follow(&mut stage.server, &stage.version.programs()).await;
        let token = fresh_random();
        let login = stage.try_mint(keyed("app_owner", &token, "one", false)).await.unwrap();
        let session = stage.log_in(&login).await.unwrap();
        session.batch_execute("CREATE TABLE app.made AS SELECT 1 AS id").await.unwrap();
        let arrived = "SELECT (pg_last_wal_replay_lsn() >= $at$WRITTEN$at$::pg_lsn)::text";
        let written = stage.read("postgres", "SELECT pg_current_wal_lsn()::text").await;
        let arrived = arrived.replace("WRITTEN", &written);
        until("the standby has it", || async { standby.read(&arrived).await == "true" }).await;
        crash(&stage.server);
        standby.promote().await;
        // The address of the target leads to the new primary.
        let broker = stage.through(standby.port());
        let again = made(logins(&broker).make(keyed("app_owner", &token, "one", true)).await).unwrap();
        assert_eq!(again.given.username, login.given.username);
        let other = made(logins(&broker).make(order("app_rw", 600, &fresh_random())).await).unwrap();
        for lease in [&login, &other] {
            assert_eq!(broker.revoke(&stage.contents(lease)).await.unwrap(), Revoked::Gone);
        }
        assert_eq!(standby.read("SELECT count(*)::text FROM pg_roles WHERE rolname ~ '^hp_'").await, "0");
    }

    /// Its logins are ended although the policies and the server have it no more.
    a_group_that_goes_while_its_leases_live_keeps_none(stage) {
        let login = stage.mint("app_rw", 600).await;
        let session = stage.log_in(&login).await.unwrap();
        for database in ["app", "other \"db\"\n", "postgres"] {
            stage.superuser(database, "DROP OWNED BY app_rw").await;
        }
        stage.superuser("postgres", "DROP ROLE app_rw").await;
        stage.groups.retain(|ceiling| ceiling.group != "app_rw");
        stage.close_brokers().await;
        assert_eq!(stage.databases.revoke(&stage.contents(&login)).await.unwrap(), Revoked::Gone);
        assert_eq!(stage.leases().await, "0");
        assert!(session.simple_query("SELECT 1").await.is_err());
        stage.mint("app_ro", 600).await;
    }

    /// T-107
    twenty_revocations_of_one_lease_at_once_end_it(stage) {
        let login = stage.mint("app_owner", 600).await;
        let session = stage.log_in(&login).await.unwrap();
        let mut ends = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (broker, lease) = (stage.replica(), stage.contents(&login));
            ends.spawn(async move { broker.revoke(&lease).await });
        }
        for answer in ends.join_all().await {
            assert!(matches!(answer, Ok(Revoked::Gone | Revoked::Pending)), "{answer:?}");
        }
        until("it is gone", || async {
            let _ = stage.databases.sweep("app").await;
            stage.leases().await == "0"
        }).await;
        assert!(session.simple_query("SELECT 1").await.is_err());
    }
}

/// T-441
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes long; make test-long"]
async fn long_brokers_that_die_at_any_moment_leave_nothing() {
    for version in [Version::V15, Version::V18] {
        die(&mut Stage::start(version).await, 200).await;
    }
}

/// T-107
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes long; make test-long"]
async fn long_fifteen_thousand_leases_are_swept_after_an_outage() {
    for version in [Version::V15, Version::V18] {
        let stage = Stage::start(version).await;
        // As mints of a day make them, and past their end.
        let make = "DO $$ DECLARE name text; BEGIN FOR n IN 1..15000 LOOP
            name := 'hp_1000000_' || lpad(n::text, 13, '0');
            EXECUTE format('CREATE ROLE %I LOGIN IN ROLE app_ro, hallpass_connect; GRANT %1$I TO hallpass_definer WITH ADMIN OPTION', name);
            END LOOP; END $$";
        stage.superuser("postgres", make).await;
        until("they are gone", || async {
            stage.databases.sweep("app").await.unwrap();
            stage.leases().await == "0"
        })
        .await;
    }
}

/// Ends a broker's task, or its sessions, at moments of mints and ends.
async fn die(stage: &mut Stage, trials: u32) {
    let mut random = 0x2545_F491_u32;
    let mut moment = || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Duration::from_micros(u64::from(random >> 17))
    };
    let tables = "SELECT count(*)::text FROM pg_class WHERE relname ~ '^made_' AND relowner = 'app_owner'::regrole";
    for trial in 0..trials {
        let group = ["app_owner", "app_ro"][usize::try_from(trial % 2).unwrap()];
        let token = fresh_random();
        let broker = stage.replica();
        let order = keyed(group, &token, "one", false);
        let mint = tokio::spawn(async move { made(logins(&broker).make(order).await) });
        tokio::time::sleep(moment()).await;
        if trial % 3 == 0 {
            end_sessions(stage).await;
        } else {
            mint.abort();
        }
        let first = mint.await.ok().and_then(Result::ok);
        // The job asks another broker again, with its key.
        let other = stage.replica();
        let again = logins(&other).make(keyed(group, &token, "one", false));
        let login = made(again.await).unwrap();
        if let Some(first) = first {
            assert_eq!(first.given.username, login.given.username);
        }
        assert_eq!(stage.leases().await, "1");
        let session = stage.log_in(&login).await.unwrap();
        if group == "app_owner" {
            let create = format!("CREATE TABLE app.made_{trial} AS SELECT 1 AS id");
            session.batch_execute(&create).await.unwrap();
        }
        let (broker, lease) = (stage.replica(), stage.contents(&login));
        let end = tokio::spawn(async move { broker.revoke(&lease).await });
        tokio::time::sleep(moment()).await;
        if trial % 3 == 0 {
            end_sessions(stage).await;
        } else {
            end.abort();
        }
        let answer = end.await;
        stage.revoke(&login).await;
        until("it is gone", || async {
            let _ = stage.databases.sweep("app").await;
            stage.leases().await == "0"
        })
        .await;
        assert!(stage.log_in(&login).await.is_err(), "{answer:?}");
    }
    assert_eq!(
        stage.read("app", tables).await,
        trials.div_ceil(2).to_string()
    );
}

/// Cuts what the brokers have open to the server.
async fn end_sessions(stage: &Stage) {
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IN ('hallpass', 'hallpass_clean')";
    stage.superuser("postgres", end).await;
}
