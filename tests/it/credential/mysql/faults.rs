//! Brokers, servers and connections that die at every moment: nothing is left that could log in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hallpass::credential::Revoked;
use hallpass::credential::database::mysql::{Flavor, MysqlSettings};
use mysql_async::prelude::Queryable as _;
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::stage::{Stage, connect, contents, fresh_random, has_ended, keyed, logins, made, order};
use crate::support::mariadb::{MariaDb, flavor};
use crate::support::wait::until;

/// T-418: a broker dies after each step of a creation. A repeat makes the login whole, and without one the sweep removes
/// what there is.
#[tokio::test]
async fn a_creation_that_stopped_after_any_step_is_completed_or_removed() {
    let stage = Stage::start().await;
    let steps: &[&str] = match flavor() {
        Flavor::MariaDb => &[
            "DO 0",
            "CREATE USER 'LOGIN'@'%' IDENTIFIED VIA mysql_native_password USING '*0000000000000000000000000000000000000000'",
            "GRANT app_rw TO 'LOGIN'@'%'",
            "SET DEFAULT ROLE app_rw FOR 'LOGIN'@'%'",
        ],
        Flavor::MySql => &["DO 0", "CREATE USER 'LOGIN'@'%' DEFAULT ROLE app_rw"],
    };
    for stopped_after in 0..steps.len() {
        for is_repeated in [true, false] {
            let token = fresh_random();
            let order = keyed("app_rw", &token, "key", false);
            let insert = format!(
                "INSERT INTO hallpass.leases SELECT '{random}', CONCAT('hp_', LOWER(LPAD(CONV(UNIX_TIMESTAMP() + 600, 10, 32), 7, '0')), '_{random}'),
                    UNIX_TIMESTAMP() + 600, UNIX_TIMESTAMP(), UNIX_TIMESTAMP() + 600, 'making', 'app_rw', NULL, '{holder}', '{{}}'",
                random = order.random,
                holder = order.holder_hash
            );
            stage.server.run(&[&insert]).await;
            let login = stage
                .server
                .read(&format!(
                    "SELECT login FROM hallpass.leases WHERE random = '{}'",
                    order.random
                ))
                .await;
            for step in &steps[..=stopped_after] {
                stage.server.run(&[&step.replace("LOGIN", &login)]).await;
            }
            if is_repeated {
                let made = stage.try_mint(order).await.unwrap();
                stage.log_in(&made).await.unwrap();
                assert_eq!(stage.accounts().await, "1");
                assert_eq!(stage.revoke(&made).await, Revoked::Gone);
            } else {
                // The next sweep finds it when a minute is over.
                assert!(stage.removed().await.is_empty());
                stage
                    .server
                    .run(&["UPDATE hallpass.leases SET made = 0 WHERE state = 'making'"])
                    .await;
                assert_eq!(stage.removed().await, [login]);
            }
            assert_eq!(stage.accounts().await, "0", "stopped after {stopped_after}");
        }
    }
}

/// T-418: and after each step of an end.
#[tokio::test]
async fn an_end_that_stopped_after_any_step_is_completed_by_the_sweep() {
    let stage = Stage::start().await;
    for group in ["app_rw", "app_migrator"] {
        for steps in 0..4 {
            let login = stage.mint(group, 600).await;
            let mut session = stage.log_in(&login).await.unwrap();
            let database = stage.database();
            let name = &login.found.login;
            if steps > 0 {
                database.disable(name).await.unwrap();
            }
            if steps > 1 {
                database.terminate(name).await.unwrap();
            }
            if steps > 2 {
                until("it can be dropped", || async {
                    database.drop_login(name).await.is_ok()
                })
                .await;
            }
            let removed = stage.removed().await;
            // Nothing has begun, or all is done: there is nothing to sweep.
            assert_eq!(
                removed.is_empty(),
                steps == 0 || steps == 3,
                "{group} {steps}: {removed:?}"
            );
            if steps == 0 {
                session.query_drop("SELECT 1").await.unwrap();
            }
            assert_eq!(stage.revoke(&login).await, Revoked::Gone);
            assert!(session.query_drop("SELECT 1").await.is_err());
            assert_eq!(stage.accounts().await, "0");
        }
    }
}

/// T-418: connections of the broker are cut at random moments of creations and ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_cut_at_any_moment_leave_nothing() {
    cut_connections(12).await;
}

/// T-418
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes long; make test-long"]
async fn long_connections_cut_at_any_moment_leave_nothing() {
    cut_connections(300).await;
}

async fn cut_connections(trials: u32) {
    let stage = Stage::start().await;
    let mut random = 0x2545_F491_u32;
    let mut given = 0;
    for trial in 0..trials {
        let group = if trial % 4 == 3 {
            "app_migrator"
        } else {
            "app_rw"
        };
        let broker = stage.replica();
        let cut = async {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            tokio::time::sleep(Duration::from_micros(u64::from(random >> 17))).await;
            kill_brokers(&stage).await;
        };
        let order = order(group, 5, &fresh_random());
        let (issued, ()) = tokio::join!(logins(&broker).make(order), cut);
        let Ok(login) = made(issued) else { continue };
        given += 1;
        stage.log_in(&login).await.unwrap();
        let lease = contents(&login);
        let cut = async {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            tokio::time::sleep(Duration::from_micros(u64::from(random >> 17))).await;
            kill_brokers(&stage).await;
        };
        let (revoked, ()) = tokio::join!(broker.revoke(&lease), cut);
        if revoked.unwrap() == Revoked::Gone {
            assert!(stage.log_in(&login).await.is_err());
        }
    }
    assert!(given > 0);
    until("nothing is left", || async {
        stage
            .server
            .run(&["UPDATE hallpass.leases SET made = 0 WHERE state = 'making'"])
            .await;
        let _ = stage.targets.sweep("app").await;
        let rows = "SELECT CAST(COUNT(*) AS CHAR) FROM hallpass.leases WHERE state <> 'gone'";
        stage.accounts().await == "0" && stage.server.read(rows).await == "0"
    })
    .await;
    let held = "SELECT CAST(COUNT(*) AS CHAR) FROM hallpass.checkouts";
    assert_eq!(stage.server.read(held).await, "0");
    // The account is free again.
    let login = stage.mint("app_migrator", 600).await;
    stage.log_in(&login).await.unwrap();
}

/// Ends every session of the broker's login.
async fn kill_brokers(stage: &Stage) {
    let mut root = stage.server.root().await;
    let ids: Vec<u64> = root
        .query("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'hallpass'")
        .await
        .unwrap();
    for id in ids {
        // One that is gone meanwhile is gone.
        let _ = root.query_drop(format!("KILL {id}")).await;
    }
    root.disconnect().await.unwrap();
}

/// T-418
#[tokio::test]
async fn a_server_that_dies_owes_the_revocation_and_pays_after_its_restart() {
    let mut stage = Stage::start_with(&["--innodb-flush-log-at-trx-commit=1"]).await;
    let login = stage.mint("app_rw", 600).await;
    let checkout = stage.mint("app_migrator", 600).await;
    stage.server.kill();
    assert_eq!(stage.revoke(&login).await, Revoked::Pending);
    assert_eq!(stage.revoke(&checkout).await, Revoked::Pending);
    let error = stage
        .try_mint(order("app_rw", 600, &fresh_random()))
        .await
        .err()
        .unwrap();
    assert_eq!(error.reason.code(), "database.unreachable");
    stage.server.restart().await;
    stage.log_in(&login).await.unwrap();
    until("it is swept", || async {
        stage.targets.sweep("app").await.is_ok() && stage.accounts().await == "0"
    })
    .await;
    assert!(
        connect(
            stage.server.port(),
            "app_migrator",
            checkout.password.expose(),
            None
        )
        .await
        .is_err()
    );
}

/// T-415: `KILL` is not replicated, so that sessions are ended on every node.
#[tokio::test]
async fn sessions_on_another_node_are_ended_too() {
    let mut stage = Stage::start().await;
    let node = MariaDb::start(&[]).await;
    let there = Stage::on(node).await;
    stage.settings = MysqlSettings {
        nodes: vec![
            ("127.0.0.1".to_owned(), there.server.port()),
            ("127.0.0.1".to_owned(), 1),
        ],
        ..stage.settings.clone()
    };
    stage.targets = stage.replica();
    let login = stage.mint("app_rw", 600).await;
    // As the replication of its account makes it.
    there
        .server
        .run(&[&format!(
            "CREATE USER '{}'@'%' IDENTIFIED BY 'a'",
            login.username
        )])
        .await;
    let mut session = connect(there.server.port(), &login.username, "a", None)
        .await
        .unwrap();
    session.query_drop("SELECT 1").await.unwrap();
    assert_eq!(stage.revoke(&login).await, Revoked::Gone);
    assert!(session.query_drop("SELECT 1").await.is_err());
    // A session that came late is a ghost there.
    let late = connect(there.server.port(), &login.username, "a", None)
        .await
        .unwrap();
    there
        .server
        .run(&[&format!("DROP USER '{}'@'%'", login.username)])
        .await;
    stage.targets.sweep("app").await.unwrap();
    has_ended(late).await;
    let errors = stage.errors().await;
    assert!(
        errors.iter().any(|finding| finding
            .message
            .starts_with("node 127.0.0.1:1: the server cannot be reached")),
        "{errors:?}"
    );
}

/// T-414: the server takes no more sessions, and leases are ended all the same.
#[tokio::test]
async fn leases_that_fill_the_server_are_ended() {
    let stage = Stage::start_with(&["--max-connections=20"]).await;
    stage.targets.sweep("app").await.unwrap();
    let login = stage.mint("app_rw", 600).await;
    let others = [
        stage.mint("app_rw", 600).await,
        stage.mint("app_ro", 600).await,
        stage.mint("app_ro", 600).await,
        stage.mint("app_ro", 600).await,
    ];
    let mut sessions = Vec::new();
    for login in others.iter().chain([&login]) {
        while let Ok(session) = stage.log_in(login).await {
            sessions.push(session);
        }
    }
    assert_eq!(stage.revoke(&login).await, Revoked::Gone);
    for other in &others {
        assert_eq!(stage.revoke(other).await, Revoked::Gone);
    }
}

/// T-418: the server made the login, and the broker never heard of it. The same call again finds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_lost_is_asked_for_again() {
    let stage = Stage::start().await;
    let (port, is_cut) = cut_first_answer(stage.server.port()).await;
    let broker = stage.through(port);
    let login = made(
        logins(&broker)
            .make(order("app_rw", 600, &fresh_random()))
            .await,
    )
    .unwrap();
    assert!(is_cut.load(Ordering::SeqCst));
    stage.log_in(&login).await.unwrap();
    assert_eq!(stage.accounts().await, "1");
}

/// A way to the server that breaks off once: when the server has answered with the name of a login.
async fn cut_first_answer(server: u16) -> (u16, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let is_cut = Arc::new(AtomicBool::new(false));
    let cut = Arc::clone(&is_cut);
    tokio::spawn(async move {
        while let Ok((broker, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
            tokio::spawn(forward(broker, server, Arc::clone(&cut)));
        }
    });
    (port, is_cut)
}

async fn forward(mut broker: TcpStream, mut server: TcpStream, is_cut: Arc<AtomicBool>) {
    let (mut asked, mut answered) = ([0; 8_192], [0; 8_192]);
    loop {
        tokio::select! {
            read = broker.read(&mut asked) => {
                let Ok(read @ 1..) = read else { return };
                server.write_all(&asked[..read]).await.unwrap();
            }
            read = server.read(&mut answered) => {
                let Ok(read @ 1..) = read else { return };
                let done = answered[..read].windows(4).any(|part| part == b"hp_1");
                if done && !is_cut.swap(true, Ordering::SeqCst) {
                    return;
                }
                broker.write_all(&answered[..read]).await.unwrap();
            }
        }
    }
}

/// T-418
#[tokio::test]
#[ignore = "takes long; make test-long"]
async fn long_a_server_that_hangs_does_not_hang_the_broker() {
    let stage = Stage::start().await;
    let login = stage.mint("app_rw", 600).await;
    stage.server.signal(Signal::SIGSTOP);
    let began = tokio::time::Instant::now();
    assert_eq!(stage.revoke(&login).await, Revoked::Pending);
    let error = stage
        .try_mint(order("app_rw", 600, &fresh_random()))
        .await
        .err()
        .unwrap();
    assert!(!error.nothing_made || error.reason.code() == "database.unreachable");
    assert!(began.elapsed() < Duration::from_secs(40));
    stage.server.signal(Signal::SIGCONT);
    until("it is swept", || async {
        stage.targets.sweep("app").await.is_ok()
    })
    .await;
    assert!(stage.log_in(&login).await.is_err());
}
