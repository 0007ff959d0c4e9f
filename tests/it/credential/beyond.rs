//! Attacks on the second version of the SQL, found while it was written.

use std::time::Duration;

use hallpass::credential::Revoked;
use hallpass::credential::database::postgres::install;
use hallpass::credential::database::postgres::verifier;
use hallpass::credential::database::random_password;

use super::on_both_versions;
use super::stage::{
    NO_HOLDER, PASSWORD, Stage, Version, connect, fresh_random, logins, order, refused,
};
use crate::support::wait::until;

on_both_versions! {
    /// T-104: records can be read by everybody, so a thief can copy one to a login of his own.
    a_copied_record_hides_no_thief(stage) {
        let login = stage.mint("app_ro", 600).await;
        let (name, record) = (login.given.username.clone(), login.found.record.clone());
        stage.revoke(&login).await;
        let verifier = verifier(&random_password().unwrap()).unwrap();
        let random = name.rsplit_once('_').unwrap().1;
        let thief = stage.thief().await;
        for (group, own, life) in [("app_owner", true, 600), ("app_ro", false, 3_600)] {
            let sql = |random: &str| format!("SELECT login FROM hallpass.mint('{random}', '{verifier}', {life}, '{group}', {own}, 5, '{record}', 0, '{NO_HOLDER}', true)");
            // For a token that was used there is no second login, and for another the record does not fit.
            let again = thief.query(&sql(random), &[]).await.unwrap();
            assert!(again.is_empty(), "{group}");
            thief.simple_query(&sql(&fresh_random())).await.unwrap();
            let swept = stage.databases.sweep("app").await.unwrap();
            assert_eq!(swept.strangers.len(), 1, "{group}: {swept:?}");
            assert_eq!(stage.databases.status()["app"].strangers, 1);
            // Told once, not at each pass.
            assert!(stage.databases.sweep("app").await.unwrap().strangers.is_empty());
            let copy = swept.strangers[0].clone();
            thief.simple_query(&format!("SELECT hallpass.disable('{copy}')")).await.unwrap();
            thief.simple_query(&format!("SELECT hallpass.drop_login('{copy}')")).await.unwrap();
            stage.databases.sweep("app").await.unwrap();
        }
    }

    /// T-103: code in quarantine that ran as its owner could arm what other jobs left there.
    no_code_of_a_job_reaches_the_quarantine(stage) {
        let login = stage.writer(600).await;
        let session = stage.log_in(&login).await.unwrap();
        session.batch_execute("
            CREATE FUNCTION shared.back() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                EXECUTE 'ALTER FUNCTION shared.back() SECURITY INVOKER; GRANT EXECUTE ON FUNCTION shared.tool(int, int) TO PUBLIC';
                RETURN new; END $$;
            CREATE TRIGGER back BEFORE INSERT ON app.items FOR EACH ROW EXECUTE FUNCTION shared.back();
            CREATE FUNCTION shared.tool(a int DEFAULT 1, OUT b int, c int DEFAULT 2) LANGUAGE sql AS 'SELECT 1';
            CREATE PROCEDURE shared.proc(INOUT a int) LANGUAGE plpgsql AS $$ BEGIN a := 1; END $$;
            CREATE FUNCTION shared.rows(VARIADIC a int[]) RETURNS TABLE (x int, y text) LANGUAGE sql AS $$ SELECT 1, 'a' $$;
            CREATE AGGREGATE shared.agg (int) (sfunc = int4pl, stype = int);
            CREATE TYPE shared.kind AS ENUM ('a'); CREATE DOMAIN shared.small AS int CHECK (value < 9);
            CREATE TABLE shared.data (id int GENERATED ALWAYS AS IDENTITY, kind shared.kind);
            GRANT ALL ON shared.data TO PUBLIC; GRANT SELECT (id) ON shared.data TO app_ro WITH GRANT OPTION;
            CREATE SEQUENCE shared.seq; GRANT ALL ON SEQUENCE shared.seq TO PUBLIC;
            CREATE MATERIALIZED VIEW shared.mv AS SELECT 1 AS one;
            CREATE STATISTICS shared.st ON id, kind FROM shared.data;").await.unwrap();
        stage.revoke(&login).await;
        assert_eq!(stage.leases().await, "0");
        let owner = stage.mint("app_owner", 600).await;
        let owner = stage.log_in(&owner).await.unwrap();
        owner.simple_query("INSERT INTO app.items VALUES (3)").await.unwrap();
        let code = "SELECT count(*)::text FROM pg_proc WHERE pronamespace = 'shared'::regnamespace";
        assert_eq!(stage.read("app", code).await, "0");
        assert_eq!(stage.read("app", "SELECT count(*)::text FROM pg_trigger WHERE NOT tgisinternal").await, "0");
        for attempt in [
            "SELECT * FROM shared.data", "SELECT nextval('shared.seq')", "SELECT * FROM shared.mv",
            "CREATE TABLE app.t (k shared.kind)", "CREATE TABLE app.t (k shared.small)",
        ] {
            let said = refused(&owner, attempt).await;
            assert!(said.starts_with("42501"), "{attempt}: {said}");
        }
        stage.databases.sweep("app").await.unwrap();
        assert!(stage.databases.status()["app"].quarantined >= 5);
        // The application's owner can clear it away.
        owner.simple_query("DROP TABLE shared.data CASCADE").await.unwrap();
        stage.superuser("app", "SET ROLE app_owner; DROP SCHEMA shared CASCADE").await;
    }

    /// T-103: what it leaves in databases that nobody cleans keeps its name, not its power.
    a_login_that_cannot_be_dropped_has_no_power_left(stage) {
        let login = stage.writer(600).await;
        let session = stage.log_in_to(&login, "neighbour").await.unwrap();
        session.simple_query("SELECT lo_create(0)").await.unwrap();
        let session = stage.log_in(&login).await.unwrap();
        session.batch_execute("CREATE TABLE shared.data (id int)").await.unwrap();
        stage.revoke(&login).await;
        let memberships = "SELECT count(*)::text FROM pg_auth_members m WHERE pg_get_userbyid(m.member) ~ '^hp_'";
        assert_eq!(stage.read("postgres", memberships).await, "0");
        // It is cleaned where we clean, and dropped as soon as the rest is gone.
        let owner = "SELECT tableowner::text FROM pg_tables WHERE tablename = 'data'";
        assert_eq!(stage.read("app", owner).await, "hallpass_quarantine");
        stage.superuser("neighbour", "SELECT lo_unlink(oid) FROM pg_largeobject_metadata").await;
        until("it is dropped", || async {
            stage.databases.sweep("app").await.unwrap();
            stage.leases().await == "0"
        }).await;
    }

    /// T-107: a grant on the server itself, which only its giver can take back.
    a_grant_of_somebody_else_is_reported_and_not_waited_for(stage) {
        let login = stage.mint("app_ro", 600).await;
        stage.superuser("app", &format!("GRANT CREATE ON DATABASE app TO {}", login.given.username)).await;
        assert_eq!(stage.databases.revoke(&stage.contents(&login)).await.unwrap(), Revoked::Closed);
        assert!(stage.log_in(&login).await.is_err());
        let rows = stage.database().leases().await.unwrap();
        assert!(rows.iter().all(|row| !row.can_login && row.groups.is_empty()), "{rows:?}");
        let swept = stage.databases.sweep("app").await.unwrap();
        assert!(swept.left.iter().all(|(_, why)| why.contains("grant")), "{swept:?}");
    }

    /// T-103: what the group itself gave to a login goes with the login.
    grants_of_the_group_to_a_login_go_with_it(stage) {
        let (giver, taker) = (stage.mint("app_owner", 600).await, stage.mint("app_ro", 600).await);
        let session = stage.log_in(&giver).await.unwrap();
        let name = &taker.given.username;
        session.batch_execute(&format!("
            GRANT ALL ON app.items TO {name}; GRANT UPDATE (id) ON app.items TO {name}; GRANT ALL ON SCHEMA app TO {name};
            ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT ALL ON TABLES TO {name};
            ALTER TABLE app.items ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON app.items TO {name} USING (true)")).await.unwrap();
        stage.revoke(&taker).await;
        let left = stage.read("postgres", &format!("SELECT count(*)::text FROM pg_roles WHERE rolname = '{name}'")).await;
        assert_eq!(left, "0");
        stage.revoke(&giver).await;
        assert_eq!(stage.leases().await, "0");
    }

    /// T-103: what a login that acts as its group made as itself is the group's.
    what_an_acting_login_owns_goes_to_its_group(stage) {
        let login = stage.mint("app_owner", 600).await;
        let session = stage.log_in(&login).await.unwrap();
        session.batch_execute("SELECT lo_create(4711); SET ROLE NONE; SELECT lo_create(4712)").await.unwrap();
        stage.revoke(&login).await;
        let owners = "SELECT string_agg(pg_get_userbyid(lomowner)::text, ' ') FROM pg_largeobject_metadata";
        assert_eq!(stage.read("app", owners).await, "app_owner app_owner");
    }

    /// T-105: what a job could pass on for good.
    a_group_that_can_give_roles_away_is_refused(stage) {
        for (change, undo) in [
            ("CREATE ROLE other; GRANT other TO app_ro WITH ADMIN OPTION", "REVOKE other FROM app_ro"),
            ("CREATE ROLE person LOGIN; GRANT person TO app_ro", "REVOKE person FROM app_ro"),
            ("GRANT hallpass_quarantine TO app_ro", "REVOKE hallpass_quarantine FROM app_ro"),
        ] {
            stage.superuser("postgres", change).await;
            let error = stage.try_mint(order("app_ro", 600, &fresh_random())).await.err().unwrap();
            assert_eq!(error.reason.code(), "database.group", "{change}");
            stage.superuser("postgres", undo).await;
        }
    }

    /// T-101: whoever owns the schema can swap the function after it was looked at.
    a_cleaner_in_somebody_elses_schema_is_not_called(stage) {
        let login = stage.writer(600).await;
        let session = stage.log_in(&login).await.unwrap();
        session.batch_execute("CREATE TABLE shared.data (id int)").await.unwrap();
        stage.superuser("app", "ALTER SCHEMA hallpass OWNER TO app_owner").await;
        assert_eq!(stage.databases.revoke(&stage.contents(&login)).await.unwrap(), Revoked::Pending);
        let client = stage.server.connect("app").await.unwrap();
        let sections = install::sections(&stage.settings, &stage.groups, stage.version.number()).unwrap();
        let section = sections.iter().find(|section| section.database == "app").unwrap();
        let refused = client.batch_execute(&section.sql).await.unwrap_err();
        assert!(refused.as_db_error().unwrap().message().contains("belongs to someone else"));
    }

    /// T-101, T-104: an owner of a database, or a thief, changes what sessions begin with.
    settings_of_a_database_or_login_do_not_stop_the_clean_up(stage) {
        let login = stage.writer(600).await;
        let session = stage.log_in(&login).await.unwrap();
        session.batch_execute("CREATE TABLE shared.data (id int)").await.unwrap();
        for setting in [
            "default_transaction_read_only = on", "search_path = shared", "statement_timeout = 1",
            "default_transaction_isolation = 'repeatable read'", "idle_session_timeout = 1", "role = 'app_owner'",
        ] {
            stage.superuser("postgres", &format!("ALTER DATABASE app SET {setting}")).await;
            stage.superuser("postgres", &format!("ALTER ROLE hallpass SET {setting}")).await;
        }
        let other = stage.replica();
        assert_eq!(other.revoke(&stage.contents(&login)).await.unwrap(), Revoked::Gone);
        assert_eq!(stage.leases().await, "0");
        logins(&other).make(order("app_ro", 600, &fresh_random())).await.unwrap();
    }

    /// T-107: replicas that sweep at once get in nobody's way.
    three_replicas_sweep_at_once(stage) {
        let mut sessions = Vec::new();
        for _ in 0..6 {
            for (group, database) in [("app_rw", "app"), ("app_owner", "other \"db\"\n")] {
                let mut attempts = 0;
                // On a busy machine one may end before it is used.
                let (login, session) = loop {
                    let login = if group == "app_rw" { stage.writer(5).await } else { stage.mint(group, 5).await };
                    match stage.log_in_to(&login, database).await {
                        Ok(session) => break (login, session),
                        Err(_) if attempts < 5 => attempts += 1,
                        Err(error) => panic!("{error:?}"),
                    }
                };
                session.simple_query("SELECT lo_create(0)").await.unwrap();
                if group == "app_rw" {
                    session.simple_query(&format!("CREATE TABLE shared.t{} (id int)", fresh_random())).await.unwrap();
                }
                sessions.push((login, session));
            }
        }
        let (last, _) = sessions.last().unwrap();
        until("all have ended", || async { stage.log_in(last).await.is_err() }).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let replicas = [stage.replica(), stage.replica(), stage.replica()];
        until("nothing is left", || async {
            let passes = replicas.iter().map(|replica| {
                let replica = std::sync::Arc::clone(replica);
                tokio::spawn(async move { replica.sweep("app").await })
            });
            for pass in passes.collect::<Vec<_>>() {
                let _ = pass.await.unwrap();
            }
            stage.leases().await == "0"
        }).await;
        for (_, session) in &sessions {
            assert!(session.simple_query("SELECT 1").await.is_err());
        }
        let heirs = "SELECT string_agg(DISTINCT pg_get_userbyid(lomowner)::text, ' ') FROM pg_largeobject_metadata";
        assert_eq!(stage.read("app", heirs).await, "hallpass_quarantine");
        assert_eq!(stage.read("other \"db\"\n", heirs).await, "app_owner");
    }

    /// T-107: groups can be taken out of the file again.
    a_narrower_file_narrows_what_the_broker_can_do(stage) {
        stage.mint("app_owner", 600).await;
        stage.groups.retain(|ceiling| ceiling.group != "app_owner");
        stage.groups[0].longest_life = 60;
        stage.install().await;
        let gone = stage.try_mint(order("app_owner", 60, &fresh_random())).await.err().unwrap();
        assert_eq!(gone.reason.code(), "database.ceiling");
        let long = stage.try_mint(order("app_rw", 61, &fresh_random())).await.err().unwrap();
        assert_eq!(long.reason.code(), "database.ceiling");
        stage.mint("app_rw", 60).await;
    }

    /// T-85: the file as psql reads it, with a database whose name has quotes and a line break.
    the_printed_files_remove_all_and_install_again_with_psql(stage) {
        let login = stage.mint("app_owner", 600).await;
        let refused = stage.psql(&stage.uninstall_file()).unwrap_err();
        assert!(refused.contains(&format!("there are leases: {}", login.given.username)), "{refused}");
        stage.revoke(&login).await;
        stage.superuser("app", "SELECT lo_create(4711); ALTER LARGE OBJECT 4711 OWNER TO hallpass_quarantine").await;
        let refused = stage.psql(&stage.uninstall_file()).unwrap_err();
        assert!(refused.contains("hallpass_quarantine owns objects: 1 in database app"), "{refused}");
        stage.superuser("app", "SELECT lo_unlink(4711)").await;
        stage.close_brokers().await;
        stage.psql(&stage.uninstall_file()).unwrap();
        let left = "SELECT string_agg(x, ' ') FROM (SELECT rolname::text FROM pg_roles WHERE rolname ~ '^(hallpass|hp_)'
            UNION ALL SELECT datname FROM pg_database WHERE datname = 'hallpass' OR datacl::text ~ 'hallpass') AS l (x)";
        assert_eq!(stage.read("postgres", left).await, "");
        for database in &stage.settings.databases {
            let left = "SELECT string_agg(nspname, ' ') FROM pg_namespace WHERE nspname = 'hallpass' OR nspacl::text ~ 'hallpass'";
            assert_eq!(stage.read(database, left).await, "");
        }
        for _ in 0..2 {
            stage.psql(&stage.install_file()).unwrap();
        }
        stage.set_passwords().await;
        stage.superuser("postgres", "REVOKE ALL ON DATABASE neighbour FROM PUBLIC").await;
        assert_eq!(stage.errors().await, Vec::new());
        let login = stage.mint("app_owner", 600).await;
        stage.log_in_to(&login, "other \"db\"\n").await.unwrap();
        stage.revoke(&login).await;
        assert_eq!(stage.leases().await, "0");
    }

    /// T-104: more than the logins should be able to do is found.
    a_broker_login_with_power_of_its_own_is_found(stage) {
        stage.superuser("postgres", "ALTER ROLE hallpass CREATEDB; GRANT app_ro TO hallpass_clean").await;
        let errors = stage.errors().await;
        for problem in ["login `hallpass` may create databases", "login `hallpass_clean` is a member of app_ro"] {
            assert!(errors.iter().any(|error| error.message == problem), "{errors:?}");
        }
    }

    /// T-102: a cleaner's password can clean, and nothing else.
    a_stolen_cleaner_does_nothing_to_live_logins(stage) {
        let login = stage.writer(600).await;
        let session = stage.log_in(&login).await.unwrap();
        session.batch_execute("CREATE TABLE shared.data (id int)").await.unwrap();
        let thief = connect(&stage.server.login("app", "hallpass_clean", PASSWORD)).await.unwrap();
        let name = &login.given.username;
        assert!(refused(&thief, &format!("SELECT * FROM hallpass.hand_over('{name}', 0, 0)")).await.starts_with("HP007"));
        assert!(refused(&thief, &format!("SELECT hallpass.drop_grants('{name}')")).await.starts_with("HP007"));
        session.batch_execute("CREATE FUNCTION shared.code() RETURNS int LANGUAGE sql AS 'SELECT 1'").await.unwrap();
        for call in ["disarm('NAME', 0)", "drop_code('NAME', 0)", "fence('NAME')"] {
            let call = format!("SELECT hallpass.{}", call.replace("NAME", name));
            assert!(refused(&thief, &call).await.starts_with("HP007"), "{call}");
        }
        // A trigger of the thief's that waits for the end of the transaction does not run with the janitor's power.
        thief.batch_execute("BEGIN; CREATE TEMPORARY TABLE t (id int); INSERT INTO t VALUES (1)").await.unwrap_or(());
        let call = format!("SELECT hallpass.disarm('{name}', 0)");
        let said = refused(&thief, &call).await;
        assert!(said.starts_with("HP004") || said.starts_with("25P02"), "{said}");
        thief.batch_execute("ROLLBACK").await.unwrap();
        session.simple_query("SELECT shared.code() FROM shared.data").await.unwrap();
        for attempt in [
            "SELECT hallpass.disarm('app_owner', 0)", "SELECT * FROM app.items", "CREATE TABLE public.t (id int)",
            "SET ROLE hallpass_definer", "CREATE ROLE mine",
        ] {
            refused(&thief, attempt).await;
        }
        assert!(connect(&stage.server.login("hallpass", "hallpass_clean", PASSWORD)).await.is_err());
    }
}
