//! Made, used, repeated, revoked, expired.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hallpass::credential::database::postgres::GroupCeiling;
use hallpass::credential::target::Target as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::on_both_versions;
use super::stage::{Stage, Version, fresh_random, keyed, logins, made, order, refused, sent_to};
use crate::support::postgres::crash;
use crate::support::wait::until;

/// A way to the server that breaks off once: when the server has answered the first mint, and before
/// the broker hears it.
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
    let mut is_minting = false;
    loop {
        tokio::select! {
            read = broker.read(&mut asked) => {
                let Ok(read @ 1..) = read else { return };
                is_minting |= asked[..read].windows(13).any(|part| part == b"hallpass.mint");
                server.write_all(&asked[..read]).await.unwrap();
            }
            read = server.read(&mut answered) => {
                let Ok(read @ 1..) = read else { return };
                // The answer that has the row also has the end of the transaction.
                let done = answered[..read].windows(9).any(|part| part == b"SELECT 1\0");
                if is_minting && done && !is_cut.swap(true, Ordering::SeqCst) {
                    return;
                }
                broker.write_all(&answered[..read]).await.unwrap();
            }
        }
    }
}

on_both_versions! { managed on 15 too:
    a_migration_belongs_to_the_group_and_stays(stage) {
        let login = stage.mint("app_owner", 600).await;
        let session = stage.log_in(&login).await.unwrap();
        session.batch_execute("CREATE TABLE app.made (id int)").await.unwrap();
        stage.revoke(&login).await;
        let owner = "SELECT tableowner::text FROM pg_tables WHERE tablename = 'made'";
        assert_eq!(stage.read("app", owner).await, "app_owner");
        assert_eq!(stage.leases().await, "0");
        assert!(session.simple_query("SELECT 1").await.is_err());
        assert!(stage.log_in(&login).await.is_err());
    }

    a_group_whose_name_has_blanks_is_acted_as(stage) {
        let group = "app_owner of  us all";
        stage.superuser("app", &format!("CREATE ROLE \"{group}\" NOLOGIN; GRANT USAGE ON SCHEMA shared TO \"{group}\"; GRANT \"{group}\" TO {} WITH ADMIN OPTION", stage.installer.user())).await;
        let ceiling = stage.groups[0].clone();
        stage.groups.push(GroupCeiling { group: group.to_owned(), ..ceiling });
        stage.install().await;
        let login = stage.mint(group, 600).await;
        let session = stage.log_in(&login).await.unwrap();
        let row = session.query_one("SELECT current_user::text", &[]).await.unwrap();
        assert_eq!(row.get::<_, String>(0), group);
    }

    a_read_only_login_reads_and_cannot_write(stage) {
        let login = stage.mint("app_ro", 600).await;
        let session = stage.log_in(&login).await.unwrap();
        session.simple_query("SELECT * FROM app.items").await.unwrap();
        assert!(refused(&session, "INSERT INTO app.items VALUES (3)").await.starts_with("42501"));
        assert!(refused(&session, "CREATE TABLE app.x (id int)").await.starts_with("42501"));
        // What limits it is not its own to change.
        let name = &login.given.username;
        for attempt in ["VALID UNTIL 'infinity'", "CONNECTION LIMIT 100", "SUPERUSER"] {
            assert!(refused(&session, &format!("ALTER ROLE {name} {attempt}")).await.starts_with("42501"));
        }
        let comment = format!("COMMENT ON ROLE {name} IS 'mine'");
        assert!(refused(&session, &comment).await.starts_with("42501"));
    }

    /// T-86
    a_life_ends_by_itself_and_the_sweep_removes_what_is_left(stage) {
        let login = stage.mint("app_owner", 5).await;
        let session = stage.log_in(&login).await.unwrap();
        session.batch_execute("CREATE TABLE app.made (id int)").await.unwrap();
        assert_eq!(stage.databases.sweep("app").await.unwrap().removed, Vec::<String>::new());
        // A new login fails by the server's own clock, also where nobody sweeps.
        until("the end has come", || async { stage.log_in(&login).await.is_err() }).await;
        until("it is swept", || async {
            stage.databases.sweep("app").await.unwrap().removed.contains(&login.given.username)
        }).await;
        assert_eq!(stage.leases().await, "0");
        assert!(session.simple_query("SELECT 1").await.is_err());
    }

    /// T-86
    a_life_outside_the_ceiling_is_refused(stage) {
        for life in [0, 4, 3_601, u32::MAX] {
            let error = stage.try_mint(order("app_ro", life, &fresh_random())).await.err().unwrap();
            assert_eq!(error.reason.code(), "database.ceiling", "{life}");
            assert!(error.reason.is_lasting());
            assert!(error.nothing_made);
        }
    }

    a_login_is_sent_to_the_database_that_its_credential_names(stage) {
        let [first, second] = stage.settings.databases.clone().try_into().unwrap();
        let token = fresh_random();
        let login = stage.try_mint(sent_to(&second, &token, false)).await.unwrap();
        assert_eq!(login.given.database, second);
        stage.log_in(&login).await.unwrap();
        let listed = logins(&stage.databases).leases().await.unwrap().leases.remove(0);
        let record = listed.record.unwrap();
        assert_eq!(record.database, Some(second.clone()));
        // A definition that changed in between is another ask.
        let again = stage.try_mint(sent_to(&second, &token, true)).await.unwrap();
        assert_eq!(again.given.database, second);
        let moved = stage.try_mint(sent_to(&first, &token, true)).await.err().unwrap();
        assert_eq!(moved.reason.code(), "lease.changed");
        let elsewhere = stage.try_mint(sent_to("neighbour", &token, true)).await.err().unwrap();
        assert_eq!(elsewhere.reason.code(), "target.database");
        assert_eq!(stage.leases().await, "1");
    }

    /// T-110
    a_repeat_finds_its_login_and_brings_nothing_back(stage) {
        let random = fresh_random();
        let first = stage.try_mint(keyed("app_ro", &random, "k1", false)).await.unwrap();
        let again = stage.try_mint(keyed("app_ro", &random, "k1", true)).await.unwrap();
        assert_eq!(first.given.username, again.given.username);
        assert_eq!(first.found.expires_at, again.found.expires_at);
        assert_eq!(first.given.password.expose(), again.given.password.expose());
        stage.log_in(&again).await.unwrap();
        // Another replica, which does not know of the first.
        let elsewhere = made(logins(&stage.replica()).make(keyed("app_ro", &random, "k1", false)).await).unwrap();
        assert_eq!(first.given.username, elsewhere.given.username);
        let other_key = stage.try_mint(keyed("app_ro", &random, "k2", false)).await.err().unwrap();
        assert_eq!(other_key.reason.code(), "token.replayed");
        let without = stage.try_mint(order("app_ro", 600, &random)).await.err().unwrap();
        assert_eq!(without.reason.code(), "token.replayed");
        let other_group = keyed("app_rw", &random, "k1", false);
        assert_eq!(stage.try_mint(other_group).await.err().unwrap().reason.code(), "lease.changed");
        stage.revoke(&first).await;
        let after = stage.try_mint(keyed("app_ro", &random, "k1", true)).await.err().unwrap();
        assert_eq!(after.reason.code(), "lease.over");
        assert_eq!(stage.leases().await, "0");
    }

    /// T-110
    a_disabled_login_is_not_given_again(stage) {
        let random = fresh_random();
        let first = stage.try_mint(keyed("app_ro", &random, "k", false)).await.unwrap();
        stage.database().disable(&first.given.username).await.unwrap();
        let again = keyed("app_ro", &random, "k", true);
        assert_eq!(stage.try_mint(again).await.err().unwrap().reason.code(), "lease.over");
    }

    a_server_that_dies_and_comes_back_is_used_again(stage) {
        let login = stage.mint("app_ro", 600).await;
        crash(&stage.server);
        let error = stage.try_mint(order("app_ro", 600, &fresh_random())).await.err().unwrap();
        assert!(error.reason.is_ours(), "{error:?}");
        assert_eq!(stage.databases.revoke(&stage.contents(&login)).await.unwrap(), hallpass::credential::Revoked::Pending);
        assert!(stage.databases.sweep("app").await.is_err());
        assert!(stage.databases.status()["app"].problem.is_some());
        stage.server.restart().await.unwrap();
        // The revocation that was owed is done by the sweep, before the login's own end.
        until("the sweep catches up", || async {
            stage.databases.sweep("app").await.is_ok_and(|report| report.removed.contains(&login.given.username))
        }).await;
        assert_eq!(stage.leases().await, "0");
        assert!(stage.databases.status()["app"].problem.is_none());
        stage.mint("app_ro", 600).await;
    }

    /// T-90, T-106
    an_answer_that_is_lost_on_the_way_makes_no_second_login(stage) {
        let (port, is_cut) = cut_first_answer(stage.server.port()).await;
        let broker = stage.through(port);
        let login = made(logins(&broker).make(order("app_ro", 600, &fresh_random())).await).unwrap();
        assert!(is_cut.load(Ordering::SeqCst), "no answer was lost");
        assert_eq!(stage.leases().await, "1");
        stage.log_in(&login).await.unwrap();
    }

    /// T-85, T-92
    no_password_reaches_the_servers_log_or_catalogue(stage) {
        stage.superuser("postgres", "ALTER SYSTEM SET log_statement = 'all'").await;
        stage.superuser("postgres", "SELECT pg_reload_conf()").await;
        let login = stage.mint("app_ro", 600).await;
        let log = std::fs::read_to_string(stage.server.folder().join("log")).unwrap();
        assert!(log.contains("hallpass.mint"), "statements are not logged");
        assert!(!log.contains(login.given.password.expose().as_str()));
    }

    the_check_finds_nothing_wrong_with_a_fresh_installation(stage) {
        stage.superuser("postgres", "REVOKE ALL ON DATABASE neighbour FROM PUBLIC").await;
        assert_eq!(stage.errors().await, Vec::new());
        assert_eq!(stage.leases().await, "0");
        // What the file granted the quarantine is nothing that a job left.
        assert_eq!(stage.database().quarantined().await.unwrap(), Vec::new());
        // Run again, it changes nothing.
        stage.install().await;
        assert_eq!(stage.errors().await, Vec::new());
    }

    a_server_without_the_functions_is_said_so(stage) {
        stage.superuser("hallpass", "DROP SCHEMA hallpass CASCADE").await;
        let error = stage.try_mint(order("app_ro", 600, &fresh_random())).await.err().unwrap();
        assert_eq!(error.reason.code(), "database.not_installed");
        assert!(error.reason.is_lasting());
        let errors = stage.errors().await;
        assert!(errors[0].fix.contains("hallpass target install"), "{errors:?}");
    }
}
