//! Several servers: all masters or none, replicas where that works, failovers.

use hallpass::credential::Revoked;
use hallpass::credential::target::Target as _;

use super::stage::{Flavour, Session, Stage, fresh_random, keyed, logins, made, order, targets};
use crate::support::redis::Redis;
use crate::support::wait::until;

/// T-424
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_is_on_every_master_and_goes_from_every_one() {
    let stage = Stage::with(Flavour::Redis, 2, 2, &[]);
    let login = stage.mint("app_rw", 600).await;
    let mut sessions: Vec<Session> = stage
        .nodes
        .iter()
        .map(|node| Session::open(&login, node.port()).unwrap())
        .collect();
    for session in &mut sessions {
        assert_eq!(session.say(&["GET", "app:k"]).unwrap(), "1");
    }
    assert_eq!(stage.revoke(&login).await, Revoked::Gone);
    for (session, node) in sessions.iter_mut().zip(&stage.nodes) {
        assert!(session.say(&["GET", "app:k"]).is_err());
        assert!(Session::open(&login, node.port()).is_err());
    }
}

/// T-424
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_is_down_makes_none_anywhere_and_burns_no_token() {
    let mut stage = Stage::with(Flavour::Redis, 2, 2, &[]);
    let token = fresh_random();
    stage.nodes[1].crash();
    let error = stage
        .try_mint(order("app_rw", 600, &token))
        .await
        .unwrap_err();
    assert_eq!(error.reason.code(), "database.unreachable");
    assert!(error.nothing_made);
    assert!(stage.leases().is_empty() && stage.claims().is_empty());
    stage.nodes[1].restart();
    super::stage::install(&stage.nodes[1], &stage.settings);
    until("both are there again", || async {
        stage.try_mint(order("app_rw", 600, &token)).await.is_ok()
    })
    .await;
    assert_eq!(stage.leases().len(), 1);
}

/// T-424
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_refuses_has_the_others_rolled_back() {
    let stage = Stage::with(Flavour::Redis, 3, 3, &[]);
    let token = fresh_random();
    let last = stage.settings.nodes.last().unwrap().1;
    let node = stage.node_at(last);
    node.say(&["ACL", "SETUSER", "hallpass", "-acl|setuser"]);
    let error = stage
        .try_mint(order("app_rw", 600, &token))
        .await
        .unwrap_err();
    assert_eq!(error.reason.code(), "database.not_installed");
    assert!(error.nothing_made);
    assert!(stage.leases().is_empty() && stage.claims().is_empty());
    node.say(&["ACL", "SETUSER", "hallpass", "+acl|setuser"]);
    stage.try_mint(order("app_rw", 600, &token)).await.unwrap();
}

/// T-424
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_hangs_after_the_first_was_written_leaves_no_usable_login() {
    let stage = Stage::with(Flavour::Redis, 2, 2, &[]);
    let token = fresh_random();
    let last = stage.settings.nodes.last().unwrap().1;
    // It answers what is asked first, and then nothing.
    stage.mint("app_ro", 600).await;
    let broker = stage.replica();
    broker.sweep("app").await.unwrap();
    stage.node_at(last).pause();
    let error = made(logins(&broker).make(order("app_rw", 600, &token)).await).unwrap_err();
    assert!(["database.unreachable", "database.unknown"].contains(&error.reason.code()));
    stage.node_at(last).resume();
    until("nothing is left but the first", || async {
        stage.targets.sweep("app").await.unwrap();
        stage.leases().len() == 1
    })
    .await;
}

/// T-77, T-424
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_that_misses_a_master_is_owed_and_made_up_for() {
    let stage = Stage::with(Flavour::Redis, 2, 2, &[]);
    let login = stage.mint("app_rw", 600).await;
    let last = stage.settings.nodes.last().unwrap().1;
    let mut session = Session::open(&login, last).unwrap();
    stage.node_at(last).pause();
    assert_eq!(stage.revoke(&login).await, Revoked::Pending);
    // On the one that is there it is gone at once.
    let first = stage.settings.nodes[0].1;
    assert!(Session::open(&login, first).is_err());
    stage.node_at(last).resume();
    until("it is gone there too", || async {
        let _ = stage.targets.sweep("app").await;
        stage.leases().is_empty()
    })
    .await;
    assert!(session.say(&["GET", "app:k"]).is_err());
}

/// T-424
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_locked_out_owes_the_end() {
    let stage = Stage::with(Flavour::Redis, 2, 2, &[]);
    let login = stage.mint("app_rw", 600).await;
    let everywhere = |words: &[&str]| {
        for node in &stage.nodes {
            node.say(words);
        }
    };
    everywhere(&["ACL", "SETUSER", "hallpass", "off"]);
    everywhere(&["CLIENT", "KILL", "USER", "hallpass"]);
    let broker = stage.replica();
    let mint = logins(&broker).make(order("app_rw", 600, &fresh_random()));
    let error = made(mint.await).unwrap_err();
    assert_eq!(error.reason.code(), "database.unreachable");
    assert_eq!(stage.revoke(&login).await, Revoked::Pending);
    everywhere(&["ACL", "SETUSER", "hallpass", "on"]);
    until("it is gone", || async {
        let _ = stage.targets.sweep("app").await;
        stage.leases().is_empty()
    })
    .await;
}

/// T-424: nothing is remembered, so any broker can do it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_one_server_kept_is_found_by_any_broker() {
    let stage = Stage::with(Flavour::Valkey, 3, 2, &[]);
    let login = stage.mint("app_rw", 600).await;
    let saved = stage.leases();
    assert_eq!(saved, [login.username.as_str()]);
    // As if a revocation had reached the deciding master alone, which is the first by its port.
    let masters: Vec<u16> = stage.nodes[..2].iter().map(Redis::port).collect();
    let decider = *masters.iter().min().unwrap();
    stage
        .node_at(decider)
        .say(&["ACL", "DELUSER", &login.username]);
    assert_eq!(stage.leases().len(), 1);
    let report = stage.replica().sweep("app").await.unwrap();
    assert_eq!(report.ghosts, 2);
    assert_eq!(stage.leases(), Vec::<String>::new());
}

/// T-424
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_outlives_a_failover_and_is_revoked_after_it() {
    let mut stage = Stage::with(Flavour::Redis, 2, 1, &[]);
    let token = fresh_random();
    let login = stage
        .try_mint(keyed("app_rw", &token, "one", false))
        .await
        .unwrap();
    assert_eq!(login.port, stage.nodes[0].port());
    stage.nodes[0].crash();
    let replica = stage.nodes[1].port();
    stage.nodes[1].say(&["REPLICAOF", "NO", "ONE"]);
    let mut session = Session::open(&login, replica).unwrap();
    session.say(&["SET", "app:k", "2"]).unwrap();
    // The repeat leads to the new master, and what was noted of the token is there.
    let again = stage
        .try_mint(keyed("app_rw", &token, "one", true))
        .await
        .unwrap();
    assert_eq!(
        (again.username.as_str(), again.port),
        (login.username.as_str(), replica)
    );
    let error = stage
        .try_mint(order("app_rw", 600, &token))
        .await
        .unwrap_err();
    assert_eq!(error.reason.code(), "token.replayed");
    stage.mint("app_ro", 600).await;
    // The old master comes back, and says that it is one.
    stage.nodes[0].restart();
    super::stage::install(&stage.nodes[0], &stage.settings);
    until("two masters are noticed", || async {
        let error = stage.try_mint(order("app_ro", 600, &fresh_random())).await;
        error.is_err_and(|error| error.nothing_made)
    })
    .await;
    let old = &stage.nodes[0];
    old.say(&["REPLICAOF", "127.0.0.1", &replica.to_string()]);
    until("it is a replica", || async {
        stage
            .try_mint(order("app_ro", 600, &fresh_random()))
            .await
            .is_ok()
    })
    .await;
    assert_eq!(stage.revoke(&login).await, Revoked::Gone);
    assert!(session.say(&["GET", "app:k"]).is_err());
}

/// T-424
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_away_stops_nothing_and_is_swept_when_it_is_back() {
    let stage = Stage::with(Flavour::Redis, 2, 1, &[]);
    let login = stage.mint("app_rw", 600).await;
    let replica = &stage.nodes[1];
    let mut session = Session::open(&login, replica.port()).unwrap();
    session.say(&["GET", "app:k"]).unwrap();
    replica.pause();
    assert_eq!(stage.revoke(&login).await, Revoked::Gone);
    stage.mint("app_ro", 600).await;
    stage.targets.sweep("app").await.unwrap();
    let problem = stage.targets.status()["app"].problem.clone().unwrap();
    assert!(problem.contains(&replica.port().to_string()), "{problem}");
    replica.resume();
    until("it is swept", || async {
        stage.targets.sweep("app").await.unwrap();
        Session::open(&login, replica.port()).is_err()
    })
    .await;
    assert!(session.say(&["GET", "app:k"]).is_err());
    assert_eq!(stage.leases().len(), 1);
}

/// A server without a file of users forgets them: the lease is over, and its token stays used where the
/// store of used tokens says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_ends_every_lease() {
    let mut stage = Stage::start(Flavour::Redis);
    let login = stage.mint("app_rw", 600).await;
    stage.nodes[0].crash();
    stage.nodes[0].restart();
    super::stage::install(&stage.nodes[0], &stage.settings);
    assert!(Session::open(&login, login.port).is_err());
    until("the broker is connected again", || async {
        stage.targets.sweep("app").await.is_ok()
    })
    .await;
    let listing = logins(&stage.targets).leases().await.unwrap();
    assert!(listing.leases.is_empty());
    let again = stage.mint("app_rw", 600).await;
    Session::open(&again, again.port).unwrap();
}

/// T-424
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_needs_every_master_with_slots() {
    let stage = Stage::with(Flavour::Redis, 2, 2, &["--cluster-enabled", "yes"]);
    for (node, slots) in stage.nodes.iter().zip([["0", "8000"], ["8001", "16383"]]) {
        node.say(&["CLUSTER", "ADDSLOTSRANGE", slots[0], slots[1]]);
    }
    let other = stage.nodes[1].port().to_string();
    stage.nodes[0].say(&["CLUSTER", "MEET", "127.0.0.1", &other]);
    until("they know each other", || async {
        let nodes = stage
            .nodes
            .iter()
            .map(|node| node.say(&["CLUSTER", "INFO"]));
        nodes
            .into_iter()
            .all(|info| info.contains("cluster_size:2") && info.contains("cluster_state:ok"))
    })
    .await;
    let login = stage.mint("app_rw", 600).await;
    for node in &stage.nodes {
        Session::open(&login, node.port()).unwrap();
    }
    let mut settings = stage.settings.clone();
    settings.nodes.truncate(1);
    settings.masters = 1;
    let broker = targets(&settings);
    let error = made(
        logins(&broker)
            .make(order("app_rw", 600, &fresh_random()))
            .await,
    );
    assert_eq!(error.unwrap_err().reason.code(), "database.unreachable");
    broker.sweep("app").await.unwrap();
    let problem = broker.status()["app"].problem.clone().unwrap();
    assert!(problem.contains("is not under `nodes`"), "{problem}");
    assert_eq!(stage.revoke(&login).await, Revoked::Gone);
    assert_eq!(stage.leases(), Vec::<String>::new());
}
