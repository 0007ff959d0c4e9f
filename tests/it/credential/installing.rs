//! What stands in the way of an installation, and what `target check` says of one.

use hallpass::credential::database::postgres::GroupCeiling;
use hallpass::credential::target::Severity;

use super::on_both_versions;
use super::stage::{Stage, Version, connect};

on_both_versions! {
    /// T-128
    roles_or_a_database_of_somebody_else_stop_the_file(stage) {
        stage.close_brokers().await;
        stage.psql(&stage.uninstall_file()).unwrap();
        stage.superuser("postgres", "CREATE ROLE tenant LOGIN CREATEROLE CREATEDB PASSWORD 't'; GRANT CONNECT ON DATABASE postgres TO tenant").await;
        let tenant = connect(&stage.server.login("postgres", "tenant", "t")).await.unwrap();
        tenant.batch_execute("CREATE ROLE hallpass_definer").await.unwrap();
        if stage.version == Version::V15 {
            tenant.batch_execute("GRANT hallpass_definer TO tenant WITH ADMIN OPTION").await.unwrap();
        }
        let said = stage.psql(&stage.install_file()).unwrap_err();
        // From 16 on an administrator cannot even use a role that somebody else made.
        let no_admin = "may not grant every role of this file";
        assert!(said.contains("roles hallpass_definer exist, and database") || said.contains(no_admin), "{said}");
        tenant.batch_execute("CREATE DATABASE hallpass TEMPLATE template0").await.unwrap();
        let said = stage.psql(&stage.install_file()).unwrap_err();
        assert!(said.contains("belongs to tenant") || said.contains(no_admin), "{said}");
        // The database is given back, the role is kept.
        let owner = if stage.installer == Installer::Superuser { "postgres" } else { "administrator" };
        stage.superuser("postgres", &format!("ALTER DATABASE hallpass OWNER TO {owner}")).await;
        let said = stage.psql(&stage.install_file()).unwrap_err();
        assert!(said.contains("tenant is a member of hallpass_definer") || said.contains(no_admin), "{said}");
        stage.superuser("postgres", "DROP ROLE hallpass_definer").await;
        // A login whose password somebody knows, made by a role that is gone.
        stage.install_as("postgres", "CREATE ROLE hallpass LOGIN PASSWORD 'known'").await;
        stage.superuser("postgres", "GRANT CONNECT ON DATABASE postgres TO hallpass").await;
        let session = connect(&stage.server.login("postgres", "hallpass", "known")).await.unwrap();
        let said = stage.psql(&stage.install_file()).unwrap_err();
        assert!(said.contains("there are sessions of hallpass before the first installation"), "{said}");
        drop(session);
        stage.close_brokers().await;
        stage.psql(&stage.install_file()).unwrap();
        assert!(connect(&stage.server.login("postgres", "hallpass", "known")).await.is_err());
        assert!(connect(&stage.server.login("hallpass", "hallpass", "known")).await.is_err());
    }

    /// T-128
    a_hold_that_somebody_got_afterwards_is_found_and_stops_the_file(stage) {
        let found = async |stage: &Stage, what: &str| {
            let errors = stage.errors().await;
            assert!(errors.iter().any(|error| error.message.contains(what)), "{what}: {errors:?}");
        };
        stage.superuser("postgres", "CREATE ROLE tenant LOGIN CREATEDB; GRANT hallpass_janitor TO tenant WITH ADMIN OPTION").await;
        found(stage, "role tenant is a member of hallpass_janitor, with ADMIN OPTION").await;
        let said = stage.psql(&stage.install_file()).unwrap_err();
        assert!(said.contains("tenant is a member of hallpass_janitor"), "{said}");
        stage.superuser("postgres", "REVOKE hallpass_janitor FROM tenant; ALTER DATABASE hallpass OWNER TO tenant").await;
        found(stage, "database hallpass belongs to tenant").await;
        let said = stage.psql(&stage.install_file()).unwrap_err();
        assert!(said.contains("belongs to tenant"), "{said}");
        let owner = if stage.installer == Installer::Superuser { "postgres" } else { "administrator" };
        stage.superuser("postgres", &format!("ALTER DATABASE hallpass OWNER TO {owner}; GRANT app_rw TO hallpass_connect")).await;
        found(stage, "role hallpass_connect is a member of app_rw, and so is every lease").await;
        stage.superuser("postgres", "REVOKE app_rw FROM hallpass_connect").await;
        stage.superuser("app", "GRANT SELECT ON app.items TO hallpass_connect").await;
        found(stage, "every lease reaches 1 grants to hallpass_connect in app").await;
    }

    a_database_that_is_not_there_is_named(stage) {
        stage.settings.databases.push("shpo".to_owned());
        let findings = stage.findings().await;
        let [finding] = findings.iter().filter(|finding| finding.severity == Severity::Error).collect::<Vec<_>>()[..] else {
            panic!("{findings:?}");
        };
        assert!(finding.message.contains("names `shpo`, which the server does not have"), "{finding:?}");
        assert!(finding.message.contains("`app`"), "{finding:?}");
        assert!(finding.fix.starts_with("correct its name under `databases`"), "{finding:?}");
        let broker = stage.replica();
        broker.sweep("app").await.unwrap();
        let problem = broker.status()["app"].problem.clone().unwrap_or_default();
        assert!(problem.contains("`shpo`"), "{problem}");
        stage.settings.databases.pop();
    }

    the_check_names_what_a_dba_has_to_do(stage) {
        let fix = async |stage: &Stage, message: &str| {
            let findings = stage.findings().await;
            let found = findings.iter().find(|finding| finding.message.contains(message) && finding.severity != Severity::Fine);
            let found = found.unwrap_or_else(|| panic!("{message}: {findings:?}"));
            (found.severity, found.fix.clone())
        };
        let (severity, text) = fix(stage, "a lease can enter database `neighbour`").await;
        assert!(severity == Severity::Error && text.contains("open_databases"), "{text}");
        stage.settings.open_databases = vec!["neighbour".to_owned()];
        let (severity, _) = fix(stage, "a lease can enter database `neighbour`").await;
        assert_eq!(severity, Severity::Warning);

        stage.groups.push(GroupCeiling { group: "app_gone".to_owned(), longest_life: 60, connections: 1, act_as_group: false, without_acting: true });
        let (_, text) = fix(stage, "role app_gone does not exist").await;
        assert!(text.starts_with("CREATE ROLE \"app_gone\" NOLOGIN"), "{text}");
        let said = stage.psql(&stage.install_file()).unwrap_err();
        assert!(said.contains("CREATE ROLE app_gone NOLOGIN; then run this file again"), "{said}");
        stage.groups.pop();

        stage.superuser("app", "CREATE FUNCTION public.audit() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE EVENT TRIGGER audited ON ddl_command_end EXECUTE FUNCTION public.audit()").await;
        let (severity, text) = fix(stage, "event trigger `audited` of database `app`").await;
        assert!(severity == Severity::Error && text.contains("event_triggers"), "{text}");
        stage.settings.event_triggers = vec!["audited".to_owned()];
        stage.install().await;
        assert!(stage.findings().await.iter().all(|finding| !finding.message.contains("audited")));

        stage.superuser("postgres", "DO $$ DECLARE g text; BEGIN
            FOR g IN SELECT grantor::regrole::text FROM pg_auth_members WHERE roleid = 'pg_signal_backend'::regrole AND member = 'hallpass_definer'::regrole LOOP
                EXECUTE format('REVOKE pg_signal_backend FROM hallpass_definer GRANTED BY %s', g);
            END LOOP; END $$").await;
        let (severity, _) = fix(stage, "hallpass_definer is no member of pg_signal_backend").await;
        assert_eq!(severity, Severity::Warning);
        // Sessions are ended all the same.
        let login = stage.mint("app_owner", 600).await;
        let session = stage.log_in(&login).await.unwrap();
        stage.revoke(&login).await;
        assert!(session.simple_query("SELECT 1").await.is_err());
        assert_eq!(stage.leases().await, "0");

        stage.superuser("app", "GRANT TRIGGER ON app.items TO app_rw").await;
        let (severity, _) = fix(stage, "group `app_rw` may make triggers on app.items").await;
        assert_eq!(severity, Severity::Warning);
        if stage.version == Version::V18 {
            stage.superuser("app", "REVOKE CREATE ON SCHEMA shared FROM hallpass_quarantine").await;
            let (_, text) = fix(stage, "what its leases leave there is never handed over").await;
            assert!(text.contains("GRANT USAGE, CREATE ON SCHEMA \"shared\" TO hallpass_quarantine"), "{text}");
            // The file grants what its installer can grant, or could grant himself the right to.
            stage.install().await;
            assert!(stage.findings().await.iter().all(|finding| !finding.message.contains("handed over")));
        }
    }
}
