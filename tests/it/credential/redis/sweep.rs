//! What is over is removed, by whichever broker comes first, and nothing else is.

use std::sync::Arc;

use futures_util::future::join_all;
use hallpass::clock::{Clock as _, SystemClock, Timestamp};
use hallpass::credential::target::{LeaseState, Target as _};
use hallpass::lease::LeaseName;

use super::on_both;
use super::stage::{Flavour, Session, Stage, fresh_random, logins, order};

/// Users with names of leases that are over, as a broker that was away finds them.
fn expired(stage: &Stage, count: u32) {
    let now = SystemClock::new().now();
    for number in 0..count {
        let at = now.plus(-3_600 + i64::from(number % 3_000));
        let name = LeaseName::new("hp_", at, &fresh_random())
            .unwrap()
            .to_string();
        stage
            .server()
            .say(&["ACL", "SETUSER", &name, "on", "nopass", "~app:*", "+@all"]);
    }
}

async fn three_sweepers(stage: &Stage, count: u32) {
    expired(stage, count);
    let live = stage.mint("app_ro", 600).await;
    let brokers = [Arc::clone(&stage.targets), stage.replica(), stage.replica()];
    let sweeps = brokers
        .into_iter()
        .map(|broker| tokio::spawn(async move { broker.sweep("app").await.unwrap() }));
    for report in join_all(sweeps).await {
        assert_eq!(report.unwrap().left, []);
    }
    assert_eq!(stage.leases(), [live.username]);
}

on_both! {
    /// T-107
    three_sweepers_at_once_remove_what_is_over_and_nothing_else(stage) {
        three_sweepers(stage, 200).await;
    }

    /// T-420
    names_of_others_are_left_alone(stage) {
        let names = [
            "default2", "hp_", "hp_x", "hp_used_", "hp_used_x", "hp_0000001_0123456789ab", "HP_0000001_0123456789abc",
            "hpx_0000001_0123456789abc", "hp_0000001_0123456789abc_x", "hp_000001_0123456789abc", "hp_0000001_0123456789ab\u{e9}",
            "hp_0000001-0123456789abc", "'hp_0000001_0123456789abc'", "hp_0000001_0123456789abw",
        ];
        for name in names {
            stage.server().say(&["ACL", "SETUSER", name, "on", "nopass"]);
        }
        let report = stage.targets.sweep("app").await.unwrap();
        assert_eq!(report.removed, Vec::<String>::new());
        let users = stage.server().say(&["ACL", "USERS"]);
        for name in names {
            assert!(users.lines().any(|user| user == name), "{name}");
            let database = stage.database();
            assert!(database.disable(name).await.is_err(), "{name}");
        }
        for name in ["default", "hallpass"] {
            assert!(stage.database().disable(name).await.is_err(), "{name}");
        }
    }

    /// T-104
    a_login_that_no_broker_made_is_reported_and_ends_by_its_name(stage) {
        let ends = SystemClock::new().now().plus(600);
        let name = LeaseName::new("hp_", ends, &fresh_random()).unwrap().to_string();
        stage.server().say(&["ACL", "SETUSER", &name, "on", "nopass", "allkeys", "+@all"]);
        let ours = stage.mint("app_ro", 600).await;
        let report = stage.targets.sweep("app").await.unwrap();
        assert_eq!(report.foreign_leases, [name.as_str()]);
        let listing = logins(&stage.targets).leases().await.unwrap();
        let record = |login: &str| {
            let mut leases = listing.leases.iter();
            leases.find(|listed| listed.lease.login == login).unwrap().record.clone()
        };
        assert_eq!(record(&name), None);
        assert_eq!(record(&ours.username).unwrap().policy, "test");
        // A record that was copied counts for its own login alone.
        let user = stage.server().say(&["ACL", "GETUSER", &ours.username]);
        let copied = user.lines().find(|line| line.starts_with("~hp1:")).unwrap();
        stage.server().say(&["ACL", "SETUSER", &name, &format!("({copied})")]);
        let report = stage.replica().sweep("app").await.unwrap();
        assert_eq!(report.foreign_leases, [name]);
    }

    /// T-425
    leases_that_come_back_with_a_saved_file_are_swept(stage) {
        let login = stage.mint("app_rw", 5).await;
        let other = stage.mint("app_rw", 600).await;
        let saved: Vec<String> = [&login, &other].iter().map(|login| {
            let list = stage.server().say(&["ACL", "LIST"]);
            list.lines().find(|line| line.contains(&login.username)).unwrap().to_owned()
        }).collect();
        stage.revoke(&other).await;
        crate::support::wait::until("it is over", || async {
            stage.targets.sweep("app").await.unwrap().removed.contains(&login.username)
        }).await;
        // As `ACL LOAD` or a restart brings them back.
        for line in &saved {
            let words: Vec<&str> = line.split(' ').skip(1).collect();
            let mut command = vec!["ACL", "SETUSER"];
            command.extend(&words);
            stage.server().say(&command);
        }
        Session::open(&login, login.port).unwrap();
        let report = stage.targets.sweep("app").await.unwrap();
        assert_eq!(report.removed, [login.username.as_str()]);
        assert!(Session::open(&login, login.port).is_err());
        // One that was revoked early lives until its end: an operator sees it, with its record.
        let listing = logins(&stage.targets).leases().await.unwrap();
        assert_eq!(listing.leases.len(), 1);
        assert_eq!(listing.leases[0].lease.state, LeaseState::Live);
        assert!(listing.leases[0].record.is_some());
    }

    /// T-423
    what_was_noted_of_a_token_goes_when_the_token_is_over(stage) {
        stage.mint("app_ro", 600).await;
        let claim = stage.claims().remove(0);
        let user = stage.server().say(&["ACL", "GETUSER", &claim]);
        let text = user.lines().find(|line| line.starts_with("~hp1:")).unwrap().to_owned();
        let parts: Vec<&str> = text.split(':').collect();
        let until: i64 = parts[2].parse().unwrap();
        let used_until = SystemClock::new().now().plus(3_600);
        assert!((until - Timestamp::unix(used_until)).abs() < 120, "{text}");
        let over = format!("{}:{}:1:{}:{}", parts[0], parts[1], parts[3], parts[4]);
        stage.server().say(&["ACL", "SETUSER", &claim, "resetkeys", &over]);
        stage.targets.sweep("app").await.unwrap();
        assert_eq!(stage.claims(), Vec::<String>::new());
        assert_eq!(stage.leases().len(), 1);
    }
}

/// T-107
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes long; make test-long"]
async fn long_fifteen_thousand_leases_after_an_outage() {
    let stage = Stage::start(Flavour::Redis);
    three_sweepers(&stage, 15_000).await;
}

#[tokio::test]
async fn a_group_that_the_settings_do_not_have_is_refused() {
    let stage = Stage::start(Flavour::Redis);
    let error = stage
        .try_mint(order("app_owner", 600, &fresh_random()))
        .await
        .unwrap_err();
    assert_eq!(error.reason.code(), "database.group");
    assert!(stage.leases().is_empty() && stage.claims().is_empty());
}
