//! The install file on a server that was prepared for it by an account with less power than its administrator.

use hallpass::credential::database::mysql::install;
use mysql_async::prelude::Queryable as _;

use super::stage::{APPLICATION, Stage, ceilings, target};
use crate::support::mariadb::{MariaDb, flavor};

/// T-417: names that an administrator's file would find taken.
#[tokio::test]
async fn the_file_stops_where_its_names_are_taken() {
    let stage = Stage::start().await;
    for (change, undo) in [
        (
            "CREATE USER hallpass_definer@'%'",
            "DROP USER hallpass_definer@'%'",
        ),
        (
            "ALTER USER hallpass_definer@localhost ACCOUNT UNLOCK",
            "ALTER USER hallpass_definer@localhost ACCOUNT LOCK",
        ),
        (
            "CREATE PROCEDURE hallpass.mine() SELECT 1",
            "DROP PROCEDURE hallpass.mine",
        ),
        (
            "GRANT ALL ON `hall%`.* TO app_migrator@'%'",
            "REVOKE ALL ON `hall%`.* FROM app_migrator@'%'",
        ),
        (
            "CREATE TABLE hallpass.mine (id INT)",
            "DROP TABLE hallpass.mine",
        ),
        (
            "ALTER TABLE hallpass.checkouts ENGINE = MyISAM",
            "ALTER TABLE hallpass.checkouts ENGINE = InnoDB",
        ),
        (
            "CREATE TRIGGER hallpass.mine BEFORE INSERT ON hallpass.leases FOR EACH ROW SET @mine = 1",
            "DROP TRIGGER hallpass.mine",
        ),
        (
            "ALTER TABLE hallpass.checkouts ADD CONSTRAINT mine CHECK (account <> 'x')",
            "ALTER TABLE hallpass.checkouts DROP CONSTRAINT mine",
        ),
        (
            "CREATE TABLE app.mine (random CHAR(13) CHARACTER SET ascii COLLATE ascii_bin, FOREIGN KEY (random) REFERENCES hallpass.leases (random)) ENGINE = InnoDB",
            "DROP TABLE app.mine",
        ),
        (
            "CREATE EVENT hallpass.mine ON SCHEDULE EVERY 1 DAY DO DO 1",
            "DROP EVENT hallpass.mine",
        ),
    ] {
        stage.server.run(&[change]).await;
        let stopped = run(&stage.server).await;
        let stopped = stopped.unwrap_or_else(|| panic!("the file ran after {change}"));
        assert!(stopped.contains("HP008"), "{stopped}");
        if change.contains(" hallpass.") && !change.contains("app.mine") {
            let errors = stage.errors().await;
            assert!(!errors.is_empty(), "{change} is not reported");
        }
        stage.server.run(&[undo]).await;
    }
    stage.install().await;
    stage.mint("app_ro", 600).await;
    assert_eq!(stage.errors().await, []);
}

/// T-417: an account that may CREATE and INSERT everywhere makes what the procedures would believe: a table of
/// ceilings that is a way to its own, and an account that is checked out already.
#[tokio::test]
async fn the_file_stops_at_tables_that_were_there_before_it() {
    for prepared in [
        &[
            "CREATE TABLE app.mine (grp VARCHAR(128) NOT NULL, is_checkout BOOLEAN NOT NULL, longest_life INT NOT NULL, \
             most_connections INT NOT NULL, PRIMARY KEY (grp, is_checkout)) ENGINE = MyISAM",
            "CREATE DATABASE hallpass",
            "CREATE TABLE hallpass.ceilings (grp VARCHAR(128) NOT NULL, is_checkout BOOLEAN NOT NULL, longest_life INT NOT NULL, \
             most_connections INT NOT NULL, PRIMARY KEY (grp, is_checkout)) ENGINE = MERGE UNION = (app.mine) INSERT_METHOD = LAST",
        ][..],
        &[
            "CREATE DATABASE hallpass",
            "CREATE TABLE hallpass.checkouts (account VARCHAR(128) NOT NULL PRIMARY KEY, login VARCHAR(32) NOT NULL) ENGINE = InnoDB",
            "INSERT INTO hallpass.checkouts VALUES ('root', 'hp_1lvhg00_0000000000000')",
        ],
    ] {
        let server = MariaDb::start(&[]).await;
        server.run(&APPLICATION).await;
        server.run(prepared).await;
        let stopped = run(&server).await.expect("the file ran");
        assert!(
            stopped.contains("HP008") && stopped.contains("drop it"),
            "{stopped}"
        );
        server.run(&["DROP DATABASE hallpass"]).await;
        assert_eq!(run(&server).await, None);
    }
}

/// A file that stopped half-way runs the next time, whatever it had made.
#[tokio::test]
async fn a_file_that_stopped_half_way_runs_the_next_time() {
    let server = MariaDb::start(&[]).await;
    server.run(&APPLICATION).await;
    let statements = statements(&server);
    let definer = statements
        .iter()
        .position(|statement| statement.contains("CREATE USER IF NOT EXISTS hallpass_definer"))
        .unwrap();
    for most in [
        definer + 1,
        usize::midpoint(definer, statements.len()),
        statements.len() - 1,
    ] {
        let mut root = server.root().await;
        for statement in &statements[..most] {
            root.query_drop(statement).await.unwrap();
        }
        root.disconnect().await.unwrap();
    }
    assert_eq!(run(&server).await, None);
}

/// Runs the file, as a client does that stops at the first error. The error, if any.
async fn run(server: &MariaDb) -> Option<String> {
    let mut root = server.root().await;
    for statement in &statements(server) {
        if let Err(error) = root.query_drop(statement).await {
            return Some(error.to_string());
        }
    }
    root.disconnect().await.unwrap();
    None
}

fn statements(server: &MariaDb) -> Vec<String> {
    install::statements(&target(server.port()), &ceilings(), flavor()).unwrap()
}
