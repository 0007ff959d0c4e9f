//! Attacks with a stolen password or as a neighbour, run for real. Each test is named after what must hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hallpass::credential::database::postgres::verifier;
use hallpass::credential::database::random_password;

use super::on_both_versions;
use super::stage::{
    NO_HOLDER, Stage, Version, connect, fresh_random, keyed, logins, made, order, refused,
};
use crate::support::wait::until;

on_both_versions! {
    /// T-101: P-1
    nothing_of_an_unlisted_database_is_ever_run(stage) {
        // The owner of a neighbouring database prepares code for whoever cleans there.
        let neighbour = connect(&stage.server.login("neighbour", "neighbour_owner", "n")).await.unwrap();
        neighbour.batch_execute("
            CREATE SCHEMA hallpass; GRANT USAGE ON SCHEMA hallpass TO PUBLIC;
            CREATE TABLE hallpass.ran (who text); GRANT INSERT ON hallpass.ran TO PUBLIC;
            CREATE FUNCTION hallpass.disarm(text, oid) RETURNS TABLE (more boolean, last oid, done int, problems text[]) LANGUAGE sql AS
                'INSERT INTO hallpass.ran VALUES (session_user); SELECT false, 0::oid, 0, ''{}''::text[]';").await.unwrap();
        let login = stage.mint("app_ro", 600).await;
        let lease = stage.log_in_to(&login, "neighbour").await.unwrap();
        lease.simple_query("SELECT lo_create(0)").await.unwrap();
        stage.revoke(&login).await;
        assert_eq!(stage.read("neighbour", "SELECT count(*)::text FROM hallpass.ran").await, "0");
        // It stays without power, and is reported.
        let rows = stage.database().leases().await.unwrap();
        assert_eq!(rows.len(), 1);
        assert!(!rows[0].can_login);
        assert!(rows[0].leftovers.iter().any(|left| left.contains("neighbour")), "{rows:?}");
        assert!(stage.log_in(&login).await.is_err());
        let swept = stage.databases.sweep("app").await.unwrap();
        assert_eq!(swept.left.len(), 1, "{swept:?}");
        assert_eq!(stage.read("neighbour", "SELECT count(*)::text FROM hallpass.ran").await, "0");
        // The check finds the open database by trying, and names what closes it.
        let errors = stage.errors().await;
        assert!(errors.iter().any(|error| error.message.contains("neighbour") && error.fix.contains("REVOKE CONNECT")), "{errors:?}");
    }

    /// T-101: P-1
    a_cleaner_function_that_is_not_ours_is_not_called(stage) {
        let login = stage.writer(600).await;
        let session = stage.log_in(&login).await.unwrap();
        session.batch_execute("CREATE TABLE shared.left_behind (id int)").await.unwrap();
        stage.superuser("app", "CREATE TABLE public.ran (who text); GRANT INSERT ON public.ran TO PUBLIC;
            CREATE OR REPLACE FUNCTION hallpass.disarm(p_login text, p_after oid) RETURNS TABLE (more boolean, last oid, done int, problems text[]) LANGUAGE sql AS
                'INSERT INTO public.ran VALUES (session_user); SELECT false, 0::oid, 0, ''{}''::text[]'").await;
        let _ = stage.databases.revoke(&stage.contents(&login)).await;
        assert_eq!(stage.read("app", "SELECT count(*)::text FROM public.ran").await, "0");
        assert!(stage.log_in(&login).await.is_err());
        let errors = stage.errors().await;
        assert!(errors.iter().any(|error| error.message.contains("hallpass.disarm(text,oid)")), "{errors:?}");
    }

    /// T-102: P-2
    a_login_that_locks_itself_and_reconnects_is_ended(stage) {
        let login = Arc::new(stage.mint("app_owner", 600).await);
        let session = stage.log_in(&login).await.unwrap();
        let change = format!("SET ROLE NONE; BEGIN; ALTER ROLE {} PASSWORD 'mine'", login.given.username);
        session.batch_execute(&change).await.unwrap();
        // And a client that comes back as often as it is thrown out.
        let stop = Arc::new(AtomicBool::new(false));
        let config = stage.server.login("app", &login.given.username, login.given.password.expose());
        let stopped = Arc::clone(&stop);
        let reconnecting = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                if let Ok(client) = connect(&config).await {
                    let _ = client.batch_execute("BEGIN; SET LOCAL lock_timeout = '1s'; ALTER ROLE CURRENT_USER PASSWORD 'mine'; SELECT pg_sleep(30)").await;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let revoked = stage.databases.revoke(&stage.contents(&login)).await.unwrap();
        stop.store(true, Ordering::Relaxed);
        reconnecting.await.unwrap();
        assert_eq!(revoked, hallpass::credential::Revoked::Gone);
        assert_eq!(stage.leases().await, "0");
        assert!(session.simple_query("SELECT 1").await.is_err());
    }

    /// T-103: P-3
    what_a_lease_leaves_gains_the_next_one_nothing(stage) {
        let login = stage.writer(600).await;
        let session = stage.log_in(&login).await.unwrap();
        session.batch_execute("
            CREATE FUNCTION shared.evil() RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS
                $$ BEGIN INSERT INTO app.items VALUES (666); RETURN current_user; END $$;
            GRANT EXECUTE ON FUNCTION shared.evil() TO PUBLIC;
            CREATE VIEW shared.peek AS SELECT * FROM app.items; GRANT SELECT ON shared.peek TO PUBLIC;
            CREATE FUNCTION shared.on_insert() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN EXECUTE 'GRANT SELECT ON app.items TO PUBLIC'; RETURN new; END $$;
            CREATE TRIGGER evil BEFORE INSERT ON app.items FOR EACH ROW EXECUTE FUNCTION shared.on_insert();
            ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO PUBLIC;
            SELECT lo_create(4711); GRANT SELECT ON LARGE OBJECT 4711 TO PUBLIC;").await.unwrap();
        stage.revoke(&login).await;
        assert_eq!(stage.leases().await, "0");
        let code = "SELECT count(*)::text FROM pg_proc WHERE proname IN ('evil', 'on_insert')";
        assert_eq!(stage.read("app", code).await, "0");
        let owner = "SELECT viewowner::text FROM pg_views WHERE viewname = 'peek'";
        assert_eq!(stage.read("app", owner).await, "hallpass_quarantine");
        let next = stage.mint("app_ro", 600).await;
        let next = stage.log_in(&next).await.unwrap();
        for attempt in ["SELECT shared.evil()", "SELECT * FROM shared.peek", "SELECT lo_get(4711)"] {
            refused(&next, attempt).await;
        }
        // The trigger would run with the power of whoever writes.
        let owner = stage.mint("app_owner", 600).await;
        let owner = stage.log_in(&owner).await.unwrap();
        owner.simple_query("INSERT INTO app.items VALUES (3)").await.unwrap();
        let public = "SELECT count(*)::text FROM pg_class c, aclexplode(c.relacl) a WHERE c.relname = 'items' AND a.grantee = 0";
        assert_eq!(stage.read("app", public).await, "0");
    }

    /// T-104: P-4
    a_thief_stretches_and_widens_nothing(stage) {
        let thief = stage.thief().await;
        let verifier = verifier(&random_password().unwrap()).unwrap();
        let mint = |life: &str, group: &str, own: bool, connections: i32| format!(
            "SELECT ends FROM hallpass.mint('{}', '{verifier}', {life}, '{group}', {own}, {connections}, '{{}}', 0, '{NO_HOLDER}', true)",
            fresh_random());
        for setting in ["timezone = 'EST-167'", "datestyle = 'SQL, DMY'", "search_path = 'pg_temp'", "lock_timeout = '1h'"] {
            thief.simple_query(&format!("SET {setting}")).await.unwrap();
        }
        if stage.version == Version::V18 {
            thief.simple_query("SET createrole_self_grant = 'set, inherit'").await.unwrap();
        }
        assert!(refused(&thief, &mint("43200", "app_owner", true, 5)).await.starts_with("HP003"));
        assert!(refused(&thief, &mint("600", "app_owner", true, 50)).await.starts_with("HP003"));
        assert!(refused(&thief, &mint("600", "app_ro", true, 5)).await.starts_with("HP003"));
        assert!(refused(&thief, &mint("600", "pg_read_all_data", false, 5)).await.starts_with("HP003"));
        thief.simple_query(&mint("600", "app_owner", true, 5)).await.unwrap();
        let life = stage.read("postgres", "SELECT (rolvaliduntil - now() BETWEEN '590 seconds' AND '601 seconds')::text FROM pg_roles WHERE rolname ~ '^hp_'").await;
        assert_eq!(life, "true");
        // No membership gives the definer or the thief the lease's power.
        let inherits = "SELECT count(*)::text FROM pg_auth_members m WHERE pg_get_userbyid(m.roleid) ~ '^hp_'";
        match stage.version {
            Version::V15 => assert_eq!(stage.read("postgres", inherits).await, "0"),
            Version::V18 => {
                let usable = format!("{inherits} AND (inherit_option OR set_option)");
                assert_eq!(stage.read("postgres", &usable).await, "0");
            }
        }
        // What it can do besides: nothing.
        for attempt in [
            "CREATE ROLE mine", "SET ROLE hallpass_definer", "GRANT app_owner TO hallpass",
            "SELECT hallpass.disable('postgres')", "SELECT hallpass.drop_login('app_owner')",
            "SELECT hallpass.terminate('postgres')", "ALTER ROLE app_owner LOGIN",
            "CREATE FUNCTION hallpass.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        ] {
            refused(&thief, attempt).await;
        }
        // And the sweep tells that somebody else was here.
        let swept = stage.databases.sweep("app").await.unwrap();
        assert_eq!(swept.strangers.len(), 1, "{swept:?}");
    }

    /// T-104: P-4
    a_clear_password_is_not_taken(stage) {
        let thief = stage.thief().await;
        let sql = format!("SELECT hallpass.mint('{}', 'secret', 600, 'app_ro', false, 5, '{{}}', 0, '{NO_HOLDER}', true)", fresh_random());
        assert!(refused(&thief, &sql).await.starts_with("HP004"));
    }

    /// T-105: P-5
    a_group_with_power_is_refused_with_its_reason(stage) {
        for (change, undo, reason) in [
            ("ALTER ROLE app_ro LOGIN", "ALTER ROLE app_ro NOLOGIN", "can log in"),
            ("CREATE ROLE boss SUPERUSER; GRANT boss TO app_ro", "REVOKE boss FROM app_ro", "boss, which is a superuser"),
            ("CREATE ROLE middle; GRANT pg_execute_server_program TO middle; GRANT middle TO app_ro", "REVOKE middle FROM app_ro", "pg_execute_server_program"),
            ("ALTER ROLE app_ro CREATEROLE", "ALTER ROLE app_ro NOCREATEROLE", "may create roles"),
            ("ALTER ROLE app_ro BYPASSRLS", "ALTER ROLE app_ro NOBYPASSRLS", "row security"),
        ] {
            stage.superuser("postgres", change).await;
            let error = stage.try_mint(order("app_ro", 600, &fresh_random())).await.err().unwrap();
            assert_eq!(error.reason.code(), "database.group", "{change}");
            assert!(error.reason.is_lasting());
            assert!(error.nothing_made);
            let errors = stage.errors().await;
            assert!(errors.iter().any(|error| error.message.contains(reason)), "{change}: {errors:?}");
            stage.superuser("postgres", undo).await;
        }
        stage.mint("app_ro", 600).await;
    }

    /// T-106: P-6
    fifty_mints_of_one_token_on_two_brokers_make_one_login(stage) {
        let random = fresh_random();
        let brokers = [Arc::clone(&stage.databases), stage.replica()];
        let mints = (0..50_usize).map(|number| {
            let broker = Arc::clone(&brokers[number % 2]);
            let order = keyed("app_ro", &random, "k", false);
            tokio::spawn(async move { made(logins(&broker).make(order).await) })
        });
        let mut names = std::collections::BTreeSet::new();
        let mut got = 0;
        for mint in mints.collect::<Vec<_>>() {
            // Under such a load some wait too long for a connection, which is an answer too.
            if let Ok(login) = mint.await.unwrap() {
                names.insert(login.given.username);
                got += 1;
            }
        }
        assert_eq!(names.len(), 1);
        assert!(got >= 8, "{got}");
        assert_eq!(stage.leases().await, "1");
    }

    /// T-107: P-7
    logins_that_cannot_be_dropped_do_not_starve_the_others(stage) {
        let mut stuck = Vec::new();
        for _ in 0..3 {
            let login = stage.mint("app_ro", 5).await;
            let session = stage.log_in_to(&login, "neighbour").await.unwrap();
            session.simple_query("SELECT lo_create(0)").await.unwrap();
            stuck.push(login.given.username);
        }
        let last = stage.mint("app_ro", 6).await;
        until("all have ended", || async { stage.log_in(&last).await.is_err() }).await;
        until("the last is swept", || async {
            let report = stage.databases.sweep("app").await.unwrap();
            report.removed.contains(&last.given.username)
        }).await;
        let left = stage.databases.sweep("app").await.unwrap().left;
        assert_eq!(left.len(), 3, "{left:?}");
    }

    /// T-107: P-8
    a_lease_can_be_ended_when_the_server_has_no_connection_left(stage) {
        let mut logins = vec![stage.mint("app_ro", 600).await];
        stage.database().hold().await.unwrap();
        let mut sessions = Vec::new();
        'full: loop {
            for _ in 0..5 {
                match stage.log_in(logins.last().unwrap()).await {
                    Ok(session) => sessions.push(session),
                    Err(_) => break 'full,
                }
            }
            logins.push(stage.mint("app_ro", 600).await);
        }
        assert!(sessions.len() > 20, "the server was not filled");
        let first = &logins[0];
        stage.revoke(first).await;
        until("its sessions are gone", || async { sessions[0].simple_query("SELECT 1").await.is_err() }).await;
        assert!(stage.log_in(first).await.is_err());
    }

    /// T-107: P-9
    a_standby_is_told_to_end_sessions_without_changing_roles(stage) {
        let login = stage.mint("app_ro", 600).await;
        let session = stage.log_in(&login).await.unwrap();
        let thief = stage.thief().await;
        // As on a standby: nothing may be written.
        thief.batch_execute("SET default_transaction_read_only = on").await.unwrap();
        let sql = format!("SELECT hallpass.terminate('{}')", login.given.username);
        // Without pg_signal_backend it takes a membership, which a standby cannot make.
        if stage.installer == Installer::CloudSql {
            assert!(refused(&thief, &sql).await.starts_with("25006"));
            return;
        }
        thief.simple_query(&sql).await.unwrap();
        until("the session is gone", || async { session.simple_query("SELECT 1").await.is_err() }).await;
        thief.simple_query("SELECT hallpass.lease_sessions(), hallpass.ghosts()").await.unwrap();
        refused(&thief, &format!("SELECT hallpass.disable('{}')", login.given.username)).await;
    }

    /// T-107: P-10
    a_name_is_never_cut_nor_taken_for_another(stage) {
        let login = stage.mint("app_ro", 600).await;
        assert!(login.given.username.len() <= 63);
        let thief = stage.thief().await;
        let name = &login.given.username;
        for almost in [format!("{name}_"), format!("x{name}"), name.to_uppercase(), format!("{name}\n")] {
            let sql = format!("SELECT hallpass.disable('{almost}')");
            assert!(refused(&thief, &sql).await.starts_with("HP005"), "{almost:?}");
        }
    }

    /// T-103, T-107: a session that outlives its login.
    a_ghost_session_is_ended(stage) {
        let login = stage.mint("app_owner", 600).await;
        let session = stage.log_in(&login).await.unwrap();
        session.simple_query("SELECT * FROM app.items").await.unwrap();
        // Somebody drops the role under a live session, which keeps the group's power.
        stage.superuser("postgres", &format!("DROP ROLE {}", login.given.username)).await;
        session.simple_query("SELECT * FROM app.items").await.unwrap();
        let ghosts = stage.databases.sweep("app").await.unwrap().ghosts;
        // Without pg_signal_backend nobody here may end it, and the sweep goes on.
        if stage.installer == Installer::CloudSql {
            assert_eq!(ghosts, 0);
            return;
        }
        assert_eq!(ghosts, 1);
        until("the ghost is gone", || async { session.simple_query("SELECT 1").await.is_err() }).await;
    }

    /// T-101
    a_lease_cannot_enter_the_brokers_own_database(stage) {
        let login = stage.mint("app_owner", 600).await;
        assert!(stage.log_in_to(&login, "hallpass").await.is_err());
        let session = stage.log_in(&login).await.unwrap();
        refused(&session, "SELECT hallpass.disarm('x', 0)").await;
    }
}

/// T-102: P-2
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prepared_transactions_are_refused() {
    for version in [Version::V15, Version::V18] {
        let stage = Stage::start_with(version, &[("max_prepared_transactions", "2")]).await;
        let error = stage
            .try_mint(order("app_ro", 600, &fresh_random()))
            .await
            .err()
            .unwrap();
        assert!(error.reason.is_ours() && error.nothing_made, "{error:?}");
        let errors = stage.errors().await;
        assert!(
            errors
                .iter()
                .any(|error| error.message.contains("max_prepared_transactions")),
            "{errors:?}"
        );
        assert_eq!(stage.leases().await, "0");
    }
}
