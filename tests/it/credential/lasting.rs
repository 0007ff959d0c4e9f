//! What a login could leave with its group, with other logins or in a session, where no clean-up finds it.

use hallpass::credential::Revoked;
use hallpass::credential::target::{LeaseState, Severity};

use super::on_both_versions;
use super::stage::{Login, Stage, Version, fresh_random, logins, made, order};
use crate::support::wait::until;

/// What code of a job would do with the power of whoever runs it.
const FIRES: &str = "RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    UPDATE app.items SET id = 666 WHERE id = 1; RETURN new; END $$";

impl Stage {
    /// Why a group is refused to a login that does not act as it, by a broker that remembers nothing.
    async fn refusal(&self, group: &str) -> Option<String> {
        let replica = self.replica();
        let issued = logins(&replica)
            .make(order(group, 600, &fresh_random()))
            .await;
        match made(issued) {
            Ok(login) => {
                self.revoke(&login).await;
                None
            }
            Err(error) => {
                assert_eq!(error.reason.code(), "database.group", "{error:?}");
                let errors = self.errors().await;
                Some(
                    errors
                        .into_iter()
                        .map(|error| error.message)
                        .collect::<Vec<_>>()
                        .join("\n"),
                )
            }
        }
    }

    async fn state_of(&self, login: &Login) -> Option<LeaseState> {
        let leases = self.database().leases().await.unwrap();
        let mut leases = leases.into_iter();
        leases
            .find(|lease| lease.login == login.given.username)
            .map(|lease| lease.state)
    }

    async fn try_end(&self, login: &Login) -> Revoked {
        self.databases.revoke(&self.contents(login)).await.unwrap()
    }

    async fn as_app_owner(&self, sql: &str) {
        self.superuser("app", &format!("SET ROLE app_owner; {sql}"))
            .await;
    }
}

on_both_versions! {
    /// T-180: one job makes every later one of its group be refused.
    what_a_login_leaves_with_its_group_refuses_no_other(stage) {
        stage.superuser("app", "GRANT TEMPORARY ON DATABASE app TO app_ro").await;
        let reader = stage.mint("app_ro", 600).await;
        let reading = stage.log_in(&reader).await.unwrap();
        reading.batch_execute("
            ALTER DEFAULT PRIVILEGES FOR ROLE app_ro GRANT SELECT ON TABLES TO PUBLIC;
            ALTER DEFAULT PRIVILEGES FOR ROLE hallpass_connect GRANT SELECT ON TABLES TO PUBLIC;
            CREATE DOMAIN pg_temp.small AS int; REASSIGN OWNED BY CURRENT_USER TO app_ro").await.unwrap();
        if stage.version == Version::V15 {
            reading.batch_execute("
                SET ROLE app_ro; SELECT lo_create(0); CREATE TABLE pg_temp.t (id int);
                CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'").await.unwrap();
        }
        assert_eq!(stage.refusal("app_ro").await, None);
        if stage.version == Version::V18 {
            let writer = stage.writer(600).await;
            stage.as_app_owner("REVOKE REFERENCES ON app.items FROM app_rw").await;
            let writing = stage.log_in(&writer).await.unwrap();
            writing.batch_execute("
                CREATE DOMAIN shared.small AS int; CREATE TYPE shared.kind AS ENUM ('a'); CREATE TYPE shared.span AS RANGE (subtype = int);
                CREATE TYPE shared.pair AS (a int, b int); REASSIGN OWNED BY CURRENT_USER TO app_rw;
                CREATE TABLE shared.data (small shared.small, kinds shared.kind[])").await.unwrap();
            let owner = "SELECT typowner::regrole::text FROM pg_type WHERE typname = 'kind'";
            assert_eq!(stage.read("app", owner).await, "app_rw");
            assert_eq!(stage.refusal("app_rw").await, None);
            assert_eq!(stage.try_end(&writer).await, Revoked::Gone);
            assert_eq!(stage.refusal("app_rw").await, None);
            // A type that others use is power over them.
            for (use_it, undo) in [
                ("CREATE TABLE app.uses (kinds shared.kind[])", "DROP TABLE app.uses"),
                ("CREATE FUNCTION app.uses(shared.kind) RETURNS int LANGUAGE sql AS 'SELECT 1'", "DROP FUNCTION app.uses"),
                ("CREATE DOMAIN app.uses AS shared.kind", "DROP DOMAIN app.uses"),
            ] {
                stage.as_app_owner(use_it).await;
                let said = stage.refusal("app_rw").await.unwrap_or_default();
                assert!(said.contains("it owns type shared.kind"), "{use_it}: {said}");
                stage.as_app_owner(undo).await;
            }
        }
        assert_eq!(stage.try_end(&reader).await, Revoked::Gone);
    }

    /// T-181: what a login can pass on, others keep when it is gone.
    a_group_that_may_give_its_rights_away_is_refused(stage) {
        for (change, undo, reason) in [
            ("GRANT SELECT ON app.items TO app_ro WITH GRANT OPTION", "REVOKE GRANT OPTION FOR SELECT ON app.items FROM app_ro", "it may grant SELECT on table app.items"),
            ("GRANT UPDATE (id) ON app.items TO app_ro WITH GRANT OPTION", "REVOKE ALL (id) ON app.items FROM app_ro", "it may grant UPDATE on a column of table app.items"),
            ("RESET ROLE; CREATE ROLE above; GRANT USAGE ON SCHEMA app TO above WITH GRANT OPTION; GRANT above TO app_ro", "RESET ROLE; REVOKE above FROM app_ro", "it may grant USAGE on schema app"),
            ("RESET ROLE; GRANT app_owner TO app_ro", "RESET ROLE; REVOKE app_owner FROM app_ro", "through role app_owner"),
            ("RESET ROLE; GRANT ALTER SYSTEM ON PARAMETER work_mem TO app_ro", "RESET ROLE; REVOKE ALL ON PARAMETER work_mem FROM app_ro", "may change the settings of the server"),
        ] {
            stage.as_app_owner(change).await;
            let said = stage.refusal("app_ro").await.unwrap_or_default();
            assert!(said.contains(reason), "{change}: {said}");
            stage.as_app_owner(undo).await;
        }
        stage.superuser("app", "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER far FOREIGN DATA WRAPPER w; GRANT USAGE ON FOREIGN SERVER far TO app_ro").await;
        let said = stage.refusal("app_ro").await;
        // Only there a login can be the group, and leave it a user mapping.
        assert_eq!(said.is_some_and(|said| said.contains("USAGE on foreign server far")), stage.version == Version::V15);
    }

    /// T-182: a session that cannot drop its temporary functions leaves them where nobody can name them.
    what_is_temporary_is_not_given_with_what_lasts(stage) {
        if stage.version == Version::V15 {
            return;
        }
        let login = stage.writer(600).await;
        stage.as_app_owner("REVOKE REFERENCES ON app.items FROM app_rw").await;
        assert_eq!(stage.refusal("app_rw").await, None);
        // What it is refused for. More than the server can lock at once is dropped by no session at its end.
        stage.superuser("app", "GRANT TEMPORARY ON DATABASE app TO app_rw").await;
        let session = stage.log_in(&login).await.unwrap();
        session.batch_execute(&format!("
            CREATE FUNCTION pg_temp.fires() {FIRES};
            CREATE DOMAIN pg_temp.a AS int; CREATE FUNCTION shared.f(pg_temp.a) RETURNS int LANGUAGE sql AS 'SELECT 1';
            CREATE DOMAIN pg_temp.b AS text; CREATE FUNCTION shared.f(pg_temp.b) RETURNS int LANGUAGE sql AS 'SELECT 2';
            CREATE TRIGGER fires BEFORE INSERT ON app.items FOR EACH ROW EXECUTE FUNCTION pg_temp.fires()")).await.unwrap();
        session.batch_execute("DO $$ BEGIN FOR j IN 1..8 LOOP FOR i IN 1..2500 LOOP
            EXECUTE format('CREATE FUNCTION pg_temp.f%s_%s() RETURNS int LANGUAGE sql AS $f$SELECT 1$f$', j, i);
        END LOOP; COMMIT; END LOOP; END $$").await.unwrap();
        drop(session);
        until("its session is gone", || async {
            stage.read("postgres", "SELECT count(*)::text FROM pg_stat_activity WHERE usename ~ '^hp_'").await == "0"
        }).await;
        let fires = "SELECT count(*)::text FROM pg_trigger WHERE tgname = 'fires'";
        assert_eq!(stage.read("app", fires).await, "1");
        // It is not called disarmed, and no other login gets that far.
        assert_eq!(stage.try_end(&login).await, Revoked::Pending);
        assert_eq!(stage.state_of(&login).await, Some(LeaseState::Closed));
        // Its arguments cannot be named either.
        let armed = "SELECT count(*)::text FROM pg_proc WHERE pronamespace = 'shared'::regnamespace AND NOT prosecdef";
        assert_eq!(stage.read("app", armed).await, "2");
        let said = stage.refusal("app_rw").await.unwrap_or_default();
        assert!(said.contains("it has TRIGGER on app.items and TEMPORARY on the database"), "{said}");
        stage.as_app_owner("DROP TRIGGER fires ON app.items; REVOKE TRIGGER ON app.items FROM app_rw").await;
        let said = stage.refusal("app_rw").await.unwrap_or_default();
        assert!(said.contains("it has CREATE on schema shared and TEMPORARY on the database"), "{said}");
        stage.as_app_owner("REVOKE CREATE ON SCHEMA shared FROM app_rw").await;
        assert_eq!(stage.refusal("app_rw").await, None);
    }

    /// T-183: a login names another one in a grant and does not commit.
    a_lock_on_an_ended_login_delays_no_answer(stage) {
        let login = stage.mint("app_ro", 600).await;
        let accomplice = stage.mint("app_ro", 600).await;
        let holding = stage.log_in(&accomplice).await.unwrap();
        holding.batch_execute(&format!(
            "SELECT lo_create(4711); BEGIN; GRANT SELECT ON LARGE OBJECT 4711 TO {}", login.given.username,
        )).await.unwrap();
        assert_eq!(stage.try_end(&login).await, Revoked::Closed);
        assert!(stage.log_in(&login).await.is_err());
        assert_eq!(stage.state_of(&login).await, Some(LeaseState::ObjectsLeft));
        holding.batch_execute("COMMIT").await.unwrap();
        assert_eq!(stage.try_end(&login).await, Revoked::Closed);
        // Nor does one on what a login was granted: without GRANT OPTION it grants nothing, and locks all the same.
        let owner = stage.mint("app_owner", 600).await;
        let granted = stage.mint("app_ro", 600).await;
        let owning = stage.log_in(&owner).await.unwrap();
        owning.batch_execute(&format!("GRANT UPDATE ON app.items TO {}", granted.given.username)).await.unwrap();
        holding.batch_execute("BEGIN; GRANT SELECT ON app.items TO PUBLIC").await.unwrap();
        assert_eq!(stage.try_end(&granted).await, Revoked::Closed);
        assert_eq!(stage.state_of(&granted).await, Some(LeaseState::ObjectsLeft));
        stage.revoke(&owner).await;
        stage.revoke(&accomplice).await;
        until("all are gone", || async {
            stage.databases.sweep("app").await.unwrap();
            stage.leases().await == "0"
        }).await;
    }

    /// T-184: code is moved to a schema that its owner may create in, and not look into.
    code_is_found_where_its_login_may_only_create(stage) {
        if stage.version == Version::V15 {
            return;
        }
        stage.superuser("app", "CREATE SCHEMA inbox AUTHORIZATION app_owner; GRANT CREATE ON SCHEMA inbox TO app_rw").await;
        let said = stage.refusal("app_rw").await.unwrap_or_default();
        assert!(said.contains("hallpass_janitor cannot look into schema inbox"), "{said}");
        stage.install().await;
        assert_eq!(stage.refusal("app_rw").await, None);
        let login = stage.writer(600).await;
        let session = stage.log_in(&login).await.unwrap();
        session.batch_execute(&format!("
            CREATE FUNCTION shared.fires() {FIRES};
            CREATE TRIGGER fires BEFORE INSERT ON app.items FOR EACH ROW EXECUTE FUNCTION shared.fires();
            ALTER FUNCTION shared.fires() SET SCHEMA inbox")).await.unwrap();
        assert_eq!(stage.try_end(&login).await, Revoked::Gone);
        stage.as_app_owner("INSERT INTO app.items VALUES (9)").await;
        assert_eq!(stage.read("app", "SELECT count(*)::text FROM app.items WHERE id = 666").await, "0");
    }

    /// T-180: a group that acts for some jobs is exposed to those that do not.
    a_group_that_is_used_both_ways_is_reported(stage) {
        stage.groups[2].act_as_group = true;
        let findings = stage.findings().await;
        let found = findings.iter().any(|finding| finding.severity == Severity::Warning
            && finding.message.contains("group `app_ro` is used both with and without"));
        assert!(found, "{findings:?}");
    }
}
