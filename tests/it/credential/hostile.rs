//! Attacks on the shipped SQL as a hostile job, run for real.

use std::sync::Arc;
use std::time::Duration;

use hallpass::credential::Revoked;
use hallpass::credential::target::LeaseState;
use tokio_postgres::Client;

use super::on_both_versions;
use super::stage::{
    Login, Stage, Version, fresh_random, keyed, logins, made, order, order_for, refused,
};
use crate::support::postgres::crash;
use crate::support::wait::until;

/// Code that does whatever it may with the power it meets, and tells nobody when it may not.
const GREEDY: &str = "
    CREATE FUNCTION PLACE.greedy() RETURNS void LANGUAGE plpgsql AS $greedy$ DECLARE act text; BEGIN
        FOREACH act IN ARRAY ARRAY['CREATE ROLE planted', 'UPDATE app.items SET id = 666 WHERE id = 1',
            'GRANT ALL ON app.items TO PUBLIC', 'ALTER ROLE hallpass_clean PASSWORD ''mine''',
            'GRANT app_owner TO hallpass_clean'] LOOP
            BEGIN EXECUTE act; EXCEPTION WHEN OTHERS THEN NULL; END;
        END LOOP;
    END $greedy$;";

impl Stage {
    /// Whether greedy code ran with the power of the clean-up, the application or a superuser.
    async fn assert_nothing_gained(&self) {
        let planted = "SELECT count(*)::text FROM pg_roles WHERE rolname = 'planted'";
        assert_eq!(self.read("postgres", planted).await, "0", "a role was made");
        let members =
            "SELECT count(*)::text FROM pg_auth_members WHERE member = 'hallpass_clean'::regrole";
        assert_eq!(self.read("postgres", members).await, "0");
        let evil = "SELECT count(*)::text FROM app.items WHERE id = 666";
        assert_eq!(self.read("app", evil).await, "0", "a row was changed");
        let public = "SELECT count(*)::text FROM pg_class c, aclexplode(c.relacl) a WHERE c.relname = 'items' AND a.grantee = 0";
        assert_eq!(self.read("app", public).await, "0", "a grant was made");
        let lent =
            "SELECT count(*)::text FROM pg_auth_members WHERE member = 'hallpass_janitor'::regrole";
        assert_eq!(
            self.read("postgres", lent).await,
            "0",
            "something is still lent"
        );
    }

    /// The application goes on: what a victim does runs nothing of the job.
    async fn assert_application_works(&self) {
        let owner = self.mint("app_owner", 600).await;
        let session = self.log_in(&owner).await.unwrap();
        session
            .batch_execute("INSERT INTO app.items VALUES (3); DELETE FROM app.items WHERE id = 3")
            .await
            .unwrap();
        self.revoke(&owner).await;
    }

    async fn state(&self, login: &Login) -> Option<LeaseState> {
        let leases = self.database().leases().await.unwrap();
        leases
            .iter()
            .find(|row| row.login == login.given.username)
            .map(|row| row.state)
    }

    async fn try_revoke(&self, login: &Login) -> Revoked {
        self.databases.revoke(&self.contents(login)).await.unwrap()
    }
}

/// A session that holds the lock on its own row and hears no interrupt for some time.
async fn hang(session: Client) -> tokio::task::JoinHandle<()> {
    session
        .batch_execute("BEGIN; SET LOCAL ROLE NONE; ALTER ROLE CURRENT_USER PASSWORD 'mine'")
        .await
        .unwrap();
    tokio::spawn(async move {
        let _ = session
            .batch_execute("SELECT xpath('count(//b[count(//b[count(//b) > 0]) > 0])',
                (SELECT ('<a>' || string_agg('<b/>', '') || '</a>')::xml FROM generate_series(1, 3000)))")
            .await;
    })
}

on_both_versions! {
    /// T-121: P-11. The default's domain was checked when the clean-up parsed the function again.
    text_of_a_job_is_not_parsed_with_power(stage) {
        let login = stage.writer(600).await;
        let session = stage.log_in(&login).await.unwrap();
        session.batch_execute(&GREEDY.replace("PLACE", "shared")).await.unwrap();
        session.batch_execute("
            CREATE FUNCTION shared.holds(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM shared.greedy(); RETURN true; END $$;
            CREATE DOMAIN shared.dom AS int CHECK (shared.holds(value));
            CREATE FUNCTION shared.f(a shared.dom[] DEFAULT '{1}'::shared.dom[]) RETURNS int LANGUAGE sql AS 'SELECT 1';
            CREATE TABLE shared.t (a shared.dom DEFAULT 1, b int GENERATED ALWAYS AS (1) STORED, CHECK (a > 0));
            CREATE INDEX ON shared.t ((a + 1))").await.unwrap();
        stage.revoke(&login).await;
        assert_eq!(stage.leases().await, "0");
        stage.assert_nothing_gained().await;
        stage.assert_application_works().await;
    }

    /// T-121: P-11, as a reader where everybody may create in `public`, as on servers that were upgraded.
    a_reader_with_a_public_schema_gains_nothing(stage) {
        let open = "GRANT CREATE ON SCHEMA public TO PUBLIC";
        if stage.version == Version::V18 {
            stage.superuser("app", open).await;
        }
        let login = stage.mint("app_ro", 600).await;
        stage.superuser("app", open).await;
        let session = stage.log_in(&login).await.unwrap();
        session.batch_execute(&GREEDY.replace("PLACE", "public")).await.unwrap();
        session.batch_execute("
            CREATE FUNCTION public.holds(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM public.greedy(); RETURN true; END $$;
            CREATE DOMAIN public.dom AS int CHECK (public.holds(value));
            CREATE FUNCTION public.f(a public.dom[] DEFAULT '{1}'::public.dom[]) RETURNS int LANGUAGE sql AS 'SELECT 1'").await.unwrap();
        stage.revoke(&login).await;
        assert_eq!(stage.leases().await, "0");
        stage.assert_nothing_gained().await;
    }

    /// T-122: P-12. A superuser's event trigger writes to a table that a job may put a trigger on.
    an_event_trigger_of_the_dba_lends_a_job_nothing(stage) {
        for event in ["ddl_command_end", "ddl_command_start"] {
            stage.superuser("app", &format!("
                CREATE TABLE app.log (tag text); ALTER TABLE app.log OWNER TO app_owner;
                GRANT USAGE ON SCHEMA app TO PUBLIC; GRANT INSERT ON app.log TO PUBLIC;
                CREATE FUNCTION public.audit() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO app.log VALUES (tg_tag); END $$;
                CREATE EVENT TRIGGER audit ON {event} EXECUTE FUNCTION public.audit()")).await;
            let login = stage.writer(600).await;
            stage.superuser("app", "GRANT TRIGGER ON app.log TO app_rw").await;
            let session = stage.log_in(&login).await.unwrap();
            // Without what fires the event trigger again, and so itself.
            let greedy = GREEDY.replace("PLACE", "shared").replace("'GRANT ALL ON app.items TO PUBLIC',", "");
            session.batch_execute(&greedy).await.unwrap();
            session.batch_execute("
                CREATE FUNCTION shared.fires() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                    IF pg_trigger_depth() > 1 THEN RETURN new; END IF;
                    PERFORM shared.greedy();
                    BEGIN EXECUTE 'ALTER FUNCTION hallpass.disarm(text, oid) SECURITY INVOKER'; EXCEPTION WHEN OTHERS THEN NULL; END;
                    RETURN new; END $$;
                CREATE FUNCTION shared.later() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM shared.greedy(); RETURN new; END $$;
                CREATE TABLE shared.data (id int);
                GRANT SELECT ON shared.data TO PUBLIC;
                CREATE CONSTRAINT TRIGGER later AFTER INSERT ON app.log INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION shared.later();
                CREATE TRIGGER fires BEFORE INSERT ON app.log FOR EACH ROW EXECUTE FUNCTION shared.fires()").await.unwrap();
            drop(session);
            stage.try_revoke(&login).await;
            stage.assert_nothing_gained().await;
            assert!(stage.log_in(&login).await.is_err());
            // What it changed is noticed before anything is lent again, and the file puts it right.
            stage.superuser("app", "DROP EVENT TRIGGER audit").await;
            stage.install().await;
            until("it is cleaned", || async {
                let _ = stage.databases.sweep("app").await;
                stage.leases().await == "0"
            }).await;
            stage.assert_nothing_gained().await;
            stage.superuser("app", "DROP TABLE app.log; DROP TABLE shared.data; DROP FUNCTION public.audit()").await;
        }
    }

    /// T-123: P-13, P-14. One object that cannot be cleaned, of several kinds, keeps no other one armed.
    what_cannot_be_cleaned_arms_nothing(stage) {
        let other = stage.mint("app_owner", 600).await;
        let other = stage.log_in(&other).await.unwrap();
        let login = stage.writer(600).await;
        let session = stage.log_in(&login).await.unwrap();
        session.batch_execute(&GREEDY.replace("PLACE", "shared")).await.unwrap();
        session.batch_execute("
            CREATE FUNCTION shared.window_trigger() RETURNS trigger WINDOW LANGUAGE plpgsql AS $$ BEGIN PERFORM shared.greedy(); RETURN new; END $$;
            CREATE FUNCTION shared.plain() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM shared.greedy(); RETURN new; END $$;
            CREATE TRIGGER a BEFORE INSERT ON app.items FOR EACH ROW EXECUTE FUNCTION shared.window_trigger();
            CREATE TRIGGER b AFTER INSERT ON app.items FOR EACH ROW EXECUTE FUNCTION shared.plain();
            CREATE FUNCTION shared.twice(a int, OUT a int) LANGUAGE sql AS 'SELECT 1';
            CREATE DOMAIN shared.never AS int CHECK (value IS NULL);
            CREATE FUNCTION shared.used(a int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
            GRANT EXECUTE ON FUNCTION shared.used(int) TO PUBLIC").await.unwrap();
        // Somebody else builds on one of them.
        other.batch_execute("CREATE VIEW app.uses AS SELECT shared.used(1)").await.unwrap();
        assert_eq!(stage.try_revoke(&login).await, Revoked::Closed);
        assert_eq!(stage.state(&login).await, Some(LeaseState::ObjectsLeft));
        let reasons = stage.database().reasons(&login.given.username).await.unwrap();
        assert!(reasons.iter().any(|reason| reason.contains("shared.used(integer)") && reason.contains("view app.uses")), "{reasons:?}");
        stage.superuser("app", "INSERT INTO app.items VALUES (5)").await;
        stage.assert_nothing_gained().await;
        let left = "SELECT string_agg(proname || ' ' || prosecdef, ', ') FROM pg_proc WHERE pronamespace = 'shared'::regnamespace";
        assert_eq!(stage.read("app", left).await, "used true");
        let swept = stage.databases.sweep("app").await.unwrap();
        assert!(swept.left.iter().any(|(_, why)| why.contains("others use it") && why.contains("view app.uses")), "{swept:?}");
        stage.superuser("app", "DROP VIEW app.uses").await;
        until("it is gone", || async {
            assert_eq!(stage.try_revoke(&login).await, Revoked::Gone);
            stage.state(&login).await.is_none()
        }).await;
    }

    /// T-123: a table that is in use keeps its trigger for a while, and the trigger has no power meanwhile.
    a_locked_table_keeps_a_trigger_without_power(stage) {
        let login = stage.writer(600).await;
        let session = stage.log_in(&login).await.unwrap();
        session.batch_execute(&GREEDY.replace("PLACE", "shared")).await.unwrap();
        session.batch_execute("
            CREATE FUNCTION shared.fires() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM shared.greedy(); RETURN new; END $$;
            CREATE TRIGGER fires BEFORE INSERT ON app.items FOR EACH ROW EXECUTE FUNCTION shared.fires()").await.unwrap();
        drop(session);
        let busy = stage.server.connect("app").await.unwrap();
        busy.batch_execute("BEGIN; LOCK TABLE app.items IN ROW EXCLUSIVE MODE").await.unwrap();
        assert_eq!(stage.try_revoke(&login).await, Revoked::Closed);
        // The application writes while the trigger is still there.
        let _ = busy.batch_execute("INSERT INTO app.items VALUES (6); COMMIT").await;
        stage.assert_nothing_gained().await;
        until("it is gone", || async { stage.try_revoke(&login).await == Revoked::Gone }).await;
        stage.assert_application_works().await;
    }

    /// T-140: a lease that lives holds a lock on the code of one that ends, with nothing but EXECUTE.
    a_lease_that_lives_keeps_no_code_of_another_armed(stage) {
        let login = stage.writer(600).await;
        let session = stage.log_in(&login).await.unwrap();
        session.batch_execute(&GREEDY.replace("PLACE", "shared")).await.unwrap();
        session.batch_execute("
            CREATE FUNCTION shared.fires() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM shared.greedy(); RETURN new; END $$;
            CREATE TRIGGER fires BEFORE INSERT ON app.items FOR EACH ROW EXECUTE FUNCTION shared.fires()").await.unwrap();
        let accomplice = stage.mint("app_ro", 600).await;
        let holding = stage.log_in(&accomplice).await.unwrap();
        holding.batch_execute("BEGIN; GRANT EXECUTE ON FUNCTION shared.fires() TO PUBLIC").await.unwrap();
        until("it is gone", || async { stage.try_revoke(&login).await == Revoked::Gone }).await;
        assert!(holding.simple_query("SELECT 1").await.is_err(), "it holds its lock still");
        stage.assert_application_works().await;
        stage.assert_nothing_gained().await;
    }

    /// T-141: names that fit two routines, and types whose constructors belong to the server.
    code_is_disarmed_whatever_it_is_called(stage) {
        let login = stage.writer(600).await;
        let session = stage.log_in(&login).await.unwrap();
        session.batch_execute(&GREEDY.replace("PLACE", "shared")).await.unwrap();
        session.batch_execute("
            CREATE FUNCTION shared.z(float8, float8, OUT float8) IMMUTABLE LANGUAGE sql AS 'SELECT $1 - $2';
            CREATE TYPE shared.zr AS RANGE (subtype = float8, subtype_diff = shared.z);
            CREATE FUNCTION shared.z(float8, float8, float8) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM shared.greedy(); RETURN true; END $$;
            CREATE TRIGGER t BEFORE INSERT ON app.items FOR EACH ROW WHEN (shared.z(1.0::float8, 2.0::float8, 3.0::float8))
                EXECUTE FUNCTION suppress_redundant_updates_trigger();
            CREATE FUNCTION shared.amb(OUT int) LANGUAGE sql AS 'SELECT 1';
            CREATE FUNCTION shared.amb(int, OUT int) LANGUAGE sql AS 'SELECT 1';
            CREATE PROCEDURE shared.amb(int, int, OUT int) LANGUAGE sql AS 'SELECT 1';
            CREATE DOMAIN shared.darr AS int[] CHECK (array_length(value, 1) < 9);
            CREATE FUNCTION shared.\"a.b(\"\"c%s\"(\"x,y\" int DEFAULT 1, VARIADIC v text[] DEFAULT '{}') RETURNS int LANGUAGE sql AS 'SELECT 1'").await.unwrap();
        assert_eq!(stage.try_revoke(&login).await, Revoked::Gone);
        stage.assert_application_works().await;
        stage.assert_nothing_gained().await;
        let usable = "SELECT count(*)::text FROM pg_type t, aclexplode(coalesce(t.typacl, acldefault('T', t.typowner))) a
            WHERE t.typname = 'darr' AND a.grantee = 0";
        assert_eq!(stage.read("app", usable).await, "0");
    }

    /// T-123, T-127: more functions than one turn gets through are disarmed in pieces.
    many_functions_are_disarmed_in_pieces(stage) {
        let login = stage.writer(600).await;
        let session = stage.log_in(&login).await.unwrap();
        session.batch_execute("DO $$ BEGIN FOR i IN 1..3000 LOOP
            EXECUTE 'CREATE FUNCTION shared.f' || i || '() RETURNS int LANGUAGE sql AS $f$SELECT 1$f$';
        END LOOP; END $$").await.unwrap();
        drop(session);
        until("it is gone", || async { stage.try_revoke(&login).await == Revoked::Gone }).await;
        assert_eq!(stage.read("app", "SELECT count(*)::text FROM pg_proc WHERE pronamespace = 'shared'::regnamespace").await, "0");
    }

    /// T-142: a transaction that somebody leaves open on a group keeps no login open.
    an_open_grant_of_a_group_keeps_no_login_open(stage) {
        let login = stage.mint("app_owner", 600).await;
        let session = stage.log_in(&login).await.unwrap();
        let open = stage.server.connect("postgres").await.unwrap();
        open.batch_execute("CREATE ROLE other; BEGIN; GRANT app_owner TO other").await.unwrap();
        stage.try_revoke(&login).await;
        assert!(session.simple_query("SELECT 1").await.is_err());
        assert!(stage.log_in(&login).await.is_err());
        open.batch_execute("ROLLBACK").await.unwrap();
        until("it is gone", || async { stage.try_revoke(&login).await == Revoked::Gone }).await;
    }

    /// T-143: what a group owns or may reference is power that its logins have, and leave behind.
    a_group_whose_logins_would_have_an_owners_power_is_refused(stage) {
        for (change, undo, reason) in [
            ("CREATE SCHEMA theirs AUTHORIZATION app_rw", "DROP SCHEMA theirs", "it owns schema theirs"),
            ("GRANT CREATE ON DATABASE app TO app_rw", "REVOKE CREATE ON DATABASE app FROM app_rw", "it may create schemas"),
        ] {
            stage.superuser("app", "SET ROLE app_owner; REVOKE CREATE ON SCHEMA shared FROM app_rw; REVOKE TRIGGER ON app.items FROM app_rw").await;
            stage.superuser("app", change).await;
            let replica = stage.replica();
            let error = made(logins(&replica).make(order("app_rw", 600, &fresh_random())).await).err().unwrap();
            assert_eq!(error.reason.code(), "database.group", "{change}");
            let errors = stage.errors().await;
            assert!(errors.iter().any(|error| error.message.contains(reason)), "{change}: {errors:?}");
            stage.superuser("app", undo).await;
        }
        stage.superuser("app", "SET ROLE app_owner; GRANT CREATE ON SCHEMA shared TO app_rw; GRANT REFERENCES ON app.items TO app_rw").await;
        let error = made(logins(&stage.replica()).make(order("app_rw", 600, &fresh_random())).await).err().unwrap();
        assert_eq!(error.reason.code(), "database.group");
    }

    /// T-124: P-15
    a_login_that_does_not_act_as_its_group_cannot(stage) {
        match stage.version {
            Version::V15 => {
                stage.superuser("app", "SET ROLE app_owner; GRANT CREATE ON SCHEMA shared TO app_rw; GRANT REFERENCES ON app.items TO app_ro").await;
                for group in ["app_rw", "app_ro"] {
                    let error = stage.try_mint(order(group, 600, &fresh_random())).await.err().unwrap();
                    assert_eq!(error.reason.code(), "database.group", "{group}: {error:?}");
                    assert!(error.nothing_made);
                }
                let errors = stage.errors().await;
                assert!(errors.iter().any(|error| error.message.contains("may create in schema shared")), "{errors:?}");
                assert!(errors.iter().any(|error| error.message.contains("TRIGGER or REFERENCES on app.items")), "{errors:?}");
            }
            Version::V18 => {
                let login = stage.writer(600).await;
                let session = stage.log_in(&login).await.unwrap();
                let said = refused(&session, "SET ROLE app_rw").await;
                assert!(said.starts_with("42501"), "{said}");
                stage.revoke(&login).await;
            }
        }
    }

    /// T-125: P-16. Whatever the login does to itself, after the answer nobody logs in as it.
    a_session_that_hears_no_interrupt_keeps_no_login_usable(stage) {
        let mut attempts = 0;
        let (login, hanging) = loop {
            let login = stage.mint("app_owner", 600).await;
            let session = stage.log_in(&login).await.unwrap();
            let hanging = hang(session).await;
            until("it is at work", || async {
                stage.read("postgres", "SELECT count(*)::text FROM pg_stat_activity WHERE state = 'active' AND query ~ '^SELECT xpath'").await == "1"
            }).await;
            // One that was ended before it came to the part that hears nothing proves nothing.
            match stage.try_revoke(&login).await {
                Revoked::Pending => break (login, hanging),
                Revoked::Gone | Revoked::Closed if attempts < 3 => attempts += 1,
                ended @ (Revoked::Gone | Revoked::Closed) => panic!("{ended:?}"),
            }
        };
        for _ in 0..20 {
            assert!(stage.log_in(&login).await.is_err(), "a new login worked after the answer");
        }
        assert_eq!(stage.state(&login).await, Some(LeaseState::Closing));
        let reasons = stage.database().reasons(&login.given.username).await.unwrap();
        assert!(reasons[0].contains("kill -9"), "{reasons:?}");
        // Others end and begin meanwhile.
        let neighbour = stage.writer(600).await;
        let session = stage.log_in(&neighbour).await.unwrap();
        session.batch_execute("CREATE TABLE shared.data (id int)").await.unwrap();
        assert_eq!(stage.try_revoke(&neighbour).await, Revoked::Gone);
        hanging.abort();
    }

    /// T-126: P-17
    what_a_job_leaves_does_not_stop_the_application(stage) {
        stage.superuser("app", "ALTER TABLE app.items ADD PRIMARY KEY (id); SET ROLE app_owner; GRANT REFERENCES ON app.items TO app_owner").await;
        let login = stage.writer(600).await;
        let session = stage.log_in(&login).await.unwrap();
        session.batch_execute("
            CREATE FUNCTION shared.when_it(int) RETURNS boolean LANGUAGE sql AS 'SELECT true';
            CREATE FUNCTION shared.fires() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$;
            CREATE TRIGGER w BEFORE INSERT ON app.items FOR EACH ROW WHEN (shared.when_it(new.id)) EXECUTE FUNCTION shared.fires();
            CREATE TRIGGER builtin BEFORE UPDATE ON app.items FOR EACH ROW WHEN (shared.when_it(new.id)) EXECUTE FUNCTION suppress_redundant_updates_trigger();
            CREATE TABLE shared.helper (id int REFERENCES app.items)").await.unwrap();
        stage.revoke(&login).await;
        assert_eq!(stage.leases().await, "0");
        stage.assert_application_works().await;
        let owner = "SELECT tableowner::text FROM pg_tables WHERE tablename = 'helper'";
        assert_eq!(stage.read("app", owner).await, "hallpass_quarantine");
    }

    /// T-127: P-18. More than one transaction may hold; the full counts are in `make test-long`.
    much_is_cleaned_in_pieces(stage) {
        clean_up_after(stage, 450, 2_500).await;
    }

    /// T-127: P-18, with an object in the way that cannot be handed over.
    an_object_in_the_way_does_not_stop_the_rest(stage) {
        let login = stage.writer(600).await;
        let session = stage.log_in(&login).await.unwrap();
        session.batch_execute("DO $$ BEGIN FOR i IN 1..300 LOOP EXECUTE 'CREATE TABLE shared.t' || i || ' (id int)'; END LOOP; END $$").await.unwrap();
        drop(session);
        let busy = stage.server.connect("app").await.unwrap();
        busy.batch_execute("BEGIN; LOCK TABLE shared.t7, shared.t250 IN ACCESS SHARE MODE").await.unwrap();
        assert_eq!(stage.try_revoke(&login).await, Revoked::Closed);
        let left = "SELECT count(*)::text FROM pg_tables WHERE tableowner ~ '^hp_'";
        let still: u32 = stage.read("app", left).await.parse().unwrap();
        assert!(still < 250, "{still} are left");
        busy.batch_execute("COMMIT").await.unwrap();
        until("it is gone", || async { stage.try_revoke(&login).await == Revoked::Gone }).await;
        assert_eq!(stage.read("app", left).await, "0");
    }

    /// T-127: P-21. Two leases that hang delay no other end by more than moments, on any replica.
    leases_that_hang_do_not_hold_the_sweep(stage) {
        let mut hanging = Vec::new();
        for _ in 0..2 {
            let login = stage.mint("app_owner", 5).await;
            let session = stage.log_in(&login).await.unwrap();
            hanging.push(hang(session).await);
        }
        let mut others = Vec::new();
        for _ in 0..4 {
            let login = stage.writer(6).await;
            let session = stage.log_in(&login).await.unwrap();
            session.batch_execute(&format!("CREATE TABLE shared.t{} (id int)", fresh_random())).await.unwrap();
            others.push(login);
        }
        let last = others.last().unwrap();
        until("all have ended", || async { stage.log_in(last).await.is_err() }).await;
        let gone = std::sync::Mutex::new(std::collections::BTreeSet::new());
        until("the others are gone", || async {
            let removed = stage.databases.sweep("app").await.unwrap().removed;
            let mut gone = gone.lock().unwrap();
            gone.extend(removed);
            gone.len() == 4
        }).await;
        stage.mint("app_ro", 600).await;
        for task in hanging {
            task.abort();
        }
    }

    /// T-127: what a broker that died in the middle of a clean-up left lent is taken back.
    a_loan_that_was_not_taken_back_is(stage) {
        let login = stage.mint("app_ro", 600).await;
        stage.superuser("postgres", "GRANT app_owner TO hallpass_janitor GRANTED BY hallpass_definer").await;
        stage.databases.sweep("app").await.unwrap();
        stage.assert_nothing_gained().await;
        // While somebody is at it, it stays.
        let other = stage.thief().await;
        other.batch_execute("SELECT hallpass.take_turn()").await.unwrap();
        stage.superuser("postgres", "GRANT app_owner TO hallpass_janitor GRANTED BY hallpass_definer").await;
        stage.databases.sweep("app").await.unwrap();
        let lent = "SELECT count(*)::text FROM pg_auth_members WHERE member = 'hallpass_janitor'::regrole";
        assert_eq!(stage.read("postgres", lent).await, "1");
        // Without a turn nothing is lent, and not for a login that is live.
        let thief = stage.thief().await;
        let heir = format!("SELECT hallpass.lend('{}', 'heir')", login.given.username);
        assert!(refused(&thief, &heir).await.starts_with("HP004"));
        assert!(refused(&other, &heir).await.starts_with("HP007"));
        drop(other);
        until("it is taken back", || async {
            stage.databases.sweep("app").await.unwrap();
            stage.read("postgres", lent).await == "0"
        }).await;
    }

    /// T-129: P-20
    a_used_token_never_makes_a_second_login(stage) {
        let (revoked, expired) = (fresh_random(), fresh_random());
        let first = stage.try_mint(order("app_ro", 600, &revoked)).await.unwrap();
        let with_key = fresh_random();
        let kept = stage.try_mint(keyed("app_ro", &with_key, "k", false)).await.unwrap();
        let short = stage.try_mint(order("app_ro", 5, &expired)).await.unwrap();
        stage.revoke(&first).await;
        stage.revoke(&kept).await;
        until("it has ended", || async { stage.log_in(&short).await.is_err() }).await;
        until("it is swept", || async {
            stage.databases.sweep("app").await.unwrap();
            stage.leases().await == "0"
        }).await;
        crash(&stage.server);
        stage.server.restart().await.unwrap();
        // Another replica, which knows of nothing.
        let other = stage.replica();
        for token in [&revoked, &expired] {
            let error = until_answered(&other, || order("app_ro", 600, token)).await;
            assert_eq!(error, "token.replayed");
        }
        let error = until_answered(&other, || keyed("app_ro", &with_key, "k", false)).await;
        assert_eq!(error, "lease.over");
        assert_eq!(stage.leases().await, "0");
        // Once the token has expired for certain, nothing needs to be remembered.
        stage.superuser("hallpass", "UPDATE hallpass.used SET until = 0").await;
        stage.databases.sweep("app").await.unwrap();
        assert_eq!(stage.read("hallpass", "SELECT count(*)::text FROM hallpass.used").await, "0");
    }

    /// T-130: P-22
    one_repository_does_not_take_every_place(stage) {
        stage.settings.places_per_repository = 3;
        stage.install().await;
        stage.databases = stage.replica();
        let mut logins = Vec::new();
        for _ in 0..3 {
            logins.push(stage.try_mint(order_for("acme/greedy", &fresh_random())).await.unwrap());
        }
        let error = stage.try_mint(order_for("acme/greedy", &fresh_random())).await.err().unwrap();
        assert_eq!(error.reason.code(), "database.repository_full");
        assert!(error.nothing_made);
        stage.try_mint(order_for("acme/other", &fresh_random())).await.unwrap();
        // A place is free again when its login is gone.
        stage.revoke(&logins[0]).await;
        stage.try_mint(order_for("acme/greedy", &fresh_random())).await.unwrap();
    }

    /// T-131: P-23
    leases_share_no_role_to_leave_things_with(stage) {
        let login = stage.mint("app_owner", 600).await;
        let session = stage.log_in(&login).await.unwrap();
        session.batch_execute("GRANT SELECT ON app.items TO hallpass_connect; SET ROLE NONE").await.unwrap();
        match stage.version {
            Version::V15 => session.batch_execute("SET ROLE hallpass_connect; SELECT lo_create(4711)").await.unwrap(),
            Version::V18 => {
                let said = refused(&session, "SET ROLE hallpass_connect").await;
                assert!(said.starts_with("42501"), "{said}");
            }
        }
        let shared = "SELECT string_agg(s, '; ' ORDER BY s) FROM hallpass.shared_rights() s";
        let found = stage.read("hallpass", shared).await;
        assert!(found.contains("1 grants to hallpass_connect in app"), "{found}");
        assert_eq!(found.contains("owned by hallpass_connect"), stage.version == Version::V15, "{found}");
    }

    /// T-123: memberships that somebody else granted stop nothing, and are reported.
    a_membership_that_somebody_else_granted_is_reported(stage) {
        stage.superuser("postgres", "CREATE ROLE tools; CREATE ROLE chief CREATEROLE; GRANT tools TO chief WITH ADMIN OPTION").await;
        let login = stage.writer(600).await;
        let name = &login.given.username;
        stage.superuser("postgres", &format!("SET ROLE chief; GRANT tools TO {name}")).await;
        let session = stage.log_in(&login).await.unwrap();
        session.batch_execute("CREATE TABLE shared.data (id int)").await.unwrap();
        stage.try_revoke(&login).await;
        assert!(stage.log_in(&login).await.is_err());
        if stage.state(&login).await.is_some() {
            let reasons = stage.database().reasons(name).await.unwrap();
            assert!(reasons.iter().any(|reason| reason.contains("REVOKE tools FROM")), "{reasons:?}");
        }
    }
}

async fn until_answered(
    broker: &Arc<hallpass::credential::target::Targets>,
    order: impl Fn() -> hallpass::credential::database::Order,
) -> &'static str {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let error = made(logins(broker).make(order()).await).err().unwrap();
        // The server has just come back.
        if !error.reason.is_ours() || tokio::time::Instant::now() > deadline {
            return error.reason.code();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn clean_up_after(stage: &Stage, tables: u32, large_objects: u32) {
    let login = stage.writer(3_600).await;
    let session = stage.log_in(&login).await.unwrap();
    // In transactions of a size that the server's lock table takes.
    for first in (0..tables).step_by(500) {
        let last = tables.min(first + 500);
        let make = format!(
            "DO $$ BEGIN FOR i IN {first}..{last} LOOP EXECUTE 'CREATE TABLE IF NOT EXISTS shared.t' || i || ' (id int)'; END LOOP; END $$"
        );
        session.batch_execute(&make).await.unwrap();
    }
    let make = format!(
        "DO $$ BEGIN FOR i IN 1..{large_objects} LOOP PERFORM lo_create(0); END LOOP; END $$"
    );
    session.batch_execute(&make).await.unwrap();
    session.batch_execute("DO $$ DECLARE o oid; BEGIN FOR o IN SELECT oid FROM pg_largeobject_metadata LIMIT 500 LOOP EXECUTE 'GRANT SELECT ON LARGE OBJECT ' || o || ' TO PUBLIC'; END LOOP; END $$").await.unwrap();
    drop(session);
    let first = stage.try_revoke(&login).await;
    let left = stage.databases.sweep("app").await;
    assert_ne!(first, Revoked::Pending, "{left:?}");
    // Others mint and end meanwhile.
    let neighbour = stage.writer(600).await;
    let session = stage.log_in(&neighbour).await.unwrap();
    session
        .batch_execute("CREATE TABLE shared.small (id int)")
        .await
        .unwrap();
    let mut passes = 0;
    while stage.state(&login).await.is_some() {
        passes += 1;
        assert!(passes < 400, "it never ends");
        let swept = stage.databases.sweep("app").await.unwrap();
        assert!(
            swept
                .left
                .iter()
                .all(|(_, why)| !why.contains("out of shared memory")),
            "{swept:?}"
        );
        stage.mint("app_ro", 600).await;
    }
    assert_eq!(stage.try_revoke(&neighbour).await, Revoked::Gone);
    let owners = "SELECT string_agg(DISTINCT pg_get_userbyid(lomowner)::text, ' ') FROM pg_largeobject_metadata";
    assert_eq!(stage.read("app", owners).await, "hallpass_quarantine");
    let public = "SELECT count(*)::text FROM pg_largeobject_metadata m, aclexplode(m.lomacl) a WHERE a.grantee = 0";
    assert_eq!(stage.read("app", public).await, "0");
}

/// T-127: P-18, the counts that stopped a whole server. Minutes: `make test-long`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: `make test-long` runs it"]
async fn long_as_much_as_stopped_a_server_is_cleaned() {
    for version in [Version::V15, Version::V18] {
        clean_up_after(&Stage::start(version).await, 24_000, 150_000).await;
    }
}
