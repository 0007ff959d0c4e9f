//! Made, used, repeated, revoked, expired.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use hallpass::credential::Revoked;
use hallpass::credential::database::Order;

use super::on_both;
use super::stage::{Session, Stage, contents, fresh_random, keyed, logins, made, order, order_for};
use crate::support::wait::until;

on_both! {
    a_login_reads_its_keys_and_nothing_else(stage) {
        let login = stage.mint("app_ro", 600).await;
        let mut session = Session::open(&login, login.port).unwrap();
        assert_eq!(session.say(&["GET", "app:k"]).unwrap(), "1");
        for refused in [
            &["GET", "other:k"][..],
            &["SET", "app:k", "2"],
            &["MGET", "app:k", "other:k"],
            &["SCAN", "0"],
            &["KEYS", "app:*"],
            &["RANDOMKEY"],
            &["ACL", "WHOAMI"],
            &["CONFIG", "GET", "*"],
            &["INFO"],
            &["FLUSHALL"],
        ] {
            let said = session.say(refused).unwrap_err();
            assert!(said.contains("NOPERM"), "{refused:?}: {said}");
        }
        let mut session = Session::open(&stage.mint("app_scan", 600).await, login.port).unwrap();
        session.say(&["SCAN", "0"]).unwrap();
        assert!(session.say(&["KEYS", "*"]).unwrap_err().contains("NOPERM"));
    }

    /// T-422
    a_revocation_closes_open_sessions_and_lets_nobody_in_again(stage) {
        let login = stage.mint("app_rw", 600).await;
        let mut session = Session::open(&login, login.port).unwrap();
        session.say(&["SET", "app:made", "1"]).unwrap();
        assert_eq!(stage.revoke(&login).await, Revoked::Gone);
        assert!(session.say(&["GET", "app:made"]).is_err());
        assert!(Session::open(&login, login.port).is_err());
        assert_eq!(stage.leases(), Vec::<String>::new());
        assert_eq!(stage.server().say(&["GET", "app:made"]), "1");
        // It may be revoked again.
        assert_eq!(stage.revoke(&login).await, Revoked::Gone);
    }

    /// T-86, T-422
    a_life_ends_with_the_sweep(stage) {
        let login = stage.mint("app_rw", 5).await;
        let mut session = Session::open(&login, login.port).unwrap();
        assert_eq!(stage.targets.sweep("app").await.unwrap().removed, Vec::<String>::new());
        until("it is swept", || async {
            stage.targets.sweep("app").await.unwrap().removed.contains(&login.username)
        }).await;
        assert!(session.say(&["GET", "app:k"]).is_err());
        assert!(Session::open(&login, login.port).is_err());
        assert_eq!(stage.leases(), Vec::<String>::new());
    }

    /// T-110, T-423
    a_repeat_gets_the_same_login_and_brings_nothing_back(stage) {
        let token = fresh_random();
        let first = stage.try_mint(keyed("app_ro", &token, "one", false)).await.unwrap();
        let other_broker = stage.replica();
        for (broker, is_repeat) in [(&stage.targets, true), (&other_broker, true), (&other_broker, false)] {
            let order = keyed("app_ro", &token, "one", is_repeat);
            let again = made(logins(broker).make(order).await).unwrap();
            assert_eq!(again.username, first.username);
            assert_eq!(again.password.expose(), first.password.expose());
            assert_eq!(again.found.expires_at, first.found.expires_at);
            assert!(!again.found.created);
        }
        let refused = |order: Order| {
            let broker = Arc::clone(&other_broker);
            async move { made(logins(&broker).make(order).await).unwrap_err().reason.code() }
        };
        assert_eq!(refused(keyed("app_ro", &token, "two", false)).await, "token.replayed");
        assert_eq!(refused(order("app_ro", 600, &token)).await, "token.replayed");
        // The policies give the credential another group now.
        assert_eq!(refused(keyed("app_rw", &token, "one", false)).await, "lease.changed");
        stage.revoke(&first).await;
        assert_eq!(refused(keyed("app_ro", &token, "one", true)).await, "lease.over");
        assert_eq!(refused(keyed("app_ro", &token, "one", false)).await, "lease.over");
        assert_eq!(refused(order("app_ro", 600, &token)).await, "token.replayed");
        assert_eq!(stage.leases(), Vec::<String>::new());
    }

    /// T-129, T-423
    a_used_token_makes_no_second_login_whatever_happens_to_the_data(stage) {
        let token = fresh_random();
        let login = stage.try_mint(order("app_ro", 600, &token)).await.unwrap();
        stage.revoke(&login).await;
        stage.server().say(&["FLUSHALL"]);
        let error = made(logins(&stage.replica()).make(order("app_ro", 600, &token)).await);
        assert_eq!(error.unwrap_err().reason.code(), "token.replayed");
        // The sweep keeps what it noted until the token is over.
        stage.targets.sweep("app").await.unwrap();
        let error = stage.try_mint(order("app_ro", 600, &token)).await;
        assert_eq!(error.unwrap_err().reason.code(), "token.replayed");
        assert_eq!(stage.claims().len(), 1);
    }

    /// T-106, T-423
    fifty_mints_of_one_token_on_two_brokers_make_one_login(stage) {
        let token = fresh_random();
        let brokers = [Arc::clone(&stage.targets), stage.replica()];
        let mints = (0..50).map(|number| {
            let broker = Arc::clone(&brokers[number % 2]);
            let order = keyed("app_ro", &token, "one", false);
            tokio::spawn(async move { made(logins(&broker).make(order).await) })
        });
        let mut names = BTreeSet::new();
        let mut created = 0;
        for minted in join_all(mints).await {
            let login = minted.unwrap().unwrap();
            created += u32::from(login.found.created);
            names.insert(login.username);
        }
        assert_eq!((names.len(), created, stage.leases().len()), (1, 1, 1));
        // Without a key only one of them gets it.
        let token = fresh_random();
        let mints = (0..50).map(|number| {
            let broker = Arc::clone(&brokers[number % 2]);
            let order = order("app_ro", 600, &token);
            tokio::spawn(async move { made(logins(&broker).make(order).await).is_ok() })
        });
        let got = join_all(mints).await.into_iter().filter(|minted| *minted.as_ref().unwrap());
        assert_eq!((got.count(), stage.leases().len()), (1, 2));
    }

    concurrent_mints_into_one_group_all_come_through(stage) {
        let mints = (0..100).map(|_| {
            let broker = Arc::clone(&stage.targets);
            tokio::spawn(async move { made(logins(&broker).make(order("app_rw", 600, &fresh_random())).await).unwrap() })
        });
        let made: Vec<_> = join_all(mints).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(stage.leases().len(), 100);
        for login in &made[..5] {
            Session::open(login, login.port).unwrap().say(&["GET", "app:k"]).unwrap();
        }
    }

    /// T-130
    a_repository_has_its_places_and_leaves_the_others(stage) {
        stage.settings.places_per_repository = 3;
        stage.targets = stage.replica();
        for _ in 0..3 {
            stage.try_mint(order_for("acme/greedy", &fresh_random())).await.unwrap();
        }
        let error = stage.try_mint(order_for("acme/greedy", &fresh_random())).await.unwrap_err();
        assert_eq!(error.reason.code(), "database.repository_full");
        assert!(error.nothing_made);
        let other = stage.try_mint(order_for("acme/other", &fresh_random())).await.unwrap();
        stage.revoke(&other).await;
        // A broker that just started counts them too.
        let error = made(logins(&stage.replica()).make(order_for("acme/greedy", &fresh_random())).await);
        assert_eq!(error.unwrap_err().reason.code(), "database.repository_full");
        // What was refused took no place and no claim.
        assert_eq!((stage.leases().len(), stage.claims().len()), (3, 4));
    }

    twenty_revocations_of_one_lease_at_once_end_it(stage) {
        let login = Arc::new(stage.mint("app_rw", 600).await);
        let brokers = [Arc::clone(&stage.targets), stage.replica()];
        let ends = (0..20).map(|number| {
            let (broker, login) = (Arc::clone(&brokers[number % 2]), Arc::clone(&login));
            tokio::spawn(async move { broker.revoke(&contents(&login)).await.unwrap() })
        });
        for end in join_all(ends).await {
            assert_eq!(end.unwrap(), Revoked::Gone);
        }
        assert_eq!(stage.leases(), Vec::<String>::new());
    }

    /// T-92
    the_server_never_sees_a_password(stage) {
        stage.server().say(&["CONFIG", "SET", "slowlog-log-slower-than", "0"]);
        let login = stage.mint("app_ro", 600).await;
        let log = stage.server().say(&["SLOWLOG", "GET", "100"]);
        assert!(log.contains("SETUSER") && !log.contains(login.password.expose().as_str()));
        let listed = logins(&stage.targets).database().leases().await.unwrap();
        let record: serde_json::Value = serde_json::from_str(&listed[0].record).unwrap();
        assert_eq!(record["grp"], "app_ro");
    }
}
