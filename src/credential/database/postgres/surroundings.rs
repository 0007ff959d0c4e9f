//! `hallpass target check`, around the functions: logins, clocks, standbys, and what jobs could plant.

use tokio_postgres::types::Type;

use super::connection::column;
use super::{Connections, GroupCeiling, Postgres};
use crate::credential::database::DatabaseError;
use crate::credential::database::broker_login::second;
use crate::credential::database::findings::Findings;

impl Postgres {
    /// What the functions rely on and cannot see to themselves.
    pub(super) async fn check_surroundings(
        &self,
        groups: &[GroupCeiling],
        findings: &mut Findings,
    ) {
        let looks = [
            self.look_at_logins(findings).await,
            self.look_at_clock(findings).await,
            self.look_at_connections(findings).await,
        ];
        for error in looks.into_iter().filter_map(Result::err) {
            findings.error(
                format!("the server could not be looked at: it {error}"),
                "run the check again",
            );
        }
        self.look_at_standbys(findings).await;
        for (database, cleaner) in &self.cleaners {
            // A cleaner that cannot log in was found before.
            for group in groups {
                if group.without_acting {
                    let _ = look_for_plants(database, cleaner, &group.group, findings).await;
                }
                let _ = look_for_triggers(database, cleaner, &group.group, findings).await;
            }
        }
    }

    /// A stolen password is worth as much as the login can do.
    async fn look_at_logins(&self, findings: &mut Findings) -> Result<(), DatabaseError> {
        let second = second(&self.settings.user);
        for login in [&self.settings.user, &second, &self.settings.cleaner.user] {
            for row in self.mint.query(MIGHT, &[(login, Type::TEXT)]).await? {
                findings.error(
                    format!("login `{login}` {}", column::<String>(&row, 0)?),
                    "take it away: the install file gives both logins no attribute and no membership",
                );
            }
        }
        Ok(())
    }

    async fn look_at_clock(&self, findings: &mut Findings) -> Result<(), DatabaseError> {
        let sql = "SELECT extract(epoch FROM clock_timestamp())::bigint";
        let rows = self.mint.query(sql, &[]).await?;
        let Some(row) = rows.first() else {
            return Ok(());
        };
        findings.clock(column(row, 0)?);
        Ok(())
    }

    async fn look_at_standbys(&self, findings: &mut Findings) {
        for (standby, (host, port)) in self.standbys.iter().zip(&self.settings.standbys) {
            let sql = "SELECT pg_is_in_recovery(), hallpass.version()";
            let answered = standby.query(sql, &[]).await;
            let is_standby = answered
                .and_then(|rows| rows.first().map_or(Ok(false), |row| column::<bool>(row, 0)));
            match is_standby {
                Ok(true) => findings.fine(format!("standby {host}:{port} answers")),
                Ok(false) => findings.error(
                    format!("{host}:{port} is no standby"),
                    "name standbys of this target only under `standbys`; another server is a target of its own",
                ),
                Err(error) => findings.error(
                    format!("standby {host}:{port} {error}"),
                    "sessions there outlive their leases until it can be reached: see that it runs and lets `hallpass` in",
                ),
            }
        }
    }
}

/// A login that may make things among other people's leaves code that they run.
async fn look_for_plants(
    database: &str,
    cleaner: &Connections,
    group: &str,
    findings: &mut Findings,
) -> Result<(), DatabaseError> {
    for row in cleaner.query(PLANTS, &[(&group, Type::TEXT)]).await? {
        findings.warn(
            format!(
                "group `{group}` may {} in database `{database}`: while its lease lives, code it makes there can be run by others with their power",
                column::<String>(&row, 0)?
            ),
            "REVOKE it if jobs do not need it; when the lease ends, its code is disarmed and dropped, and the rest goes to hallpass_quarantine",
        );
    }
    Ok(())
}

/// A trigger has no owner of its own. One that calls a function of the lease goes with it; one that calls a function
/// of the server or the application names the lease nowhere.
async fn look_for_triggers(
    database: &str,
    cleaner: &Connections,
    group: &str,
    findings: &mut Findings,
) -> Result<(), DatabaseError> {
    for row in cleaner.query(TRIGGERS, &[(&group, Type::TEXT)]).await? {
        findings.warn(
            format!(
                "group `{group}` may make triggers on {} in database `{database}`: one that calls a function that is not the login's own stays after the lease, and no clean-up can find it",
                column::<String>(&row, 0)?
            ),
            "REVOKE TRIGGER if jobs do not need it; otherwise compare pg_trigger with what your migrations made",
        );
    }
    Ok(())
}

const MIGHT: &str = "
    SELECT what FROM pg_catalog.pg_roles r, LATERAL (VALUES
        (r.rolsuper, 'is a superuser'), (r.rolcreaterole, 'may create roles'), (r.rolcreatedb, 'may create databases'),
        (r.rolreplication, 'may replicate'), (r.rolbypassrls, 'is not bound by row security')) AS attributes (has, what)
    WHERE r.rolname::text = $1 AND has
    UNION ALL
    SELECT 'is a member of ' || pg_get_userbyid(m.roleid) FROM pg_catalog.pg_auth_members m
    WHERE pg_get_userbyid(m.member)::text = $1";
/// The first few: one is enough to think about.
const PLANTS: &str = "
    SELECT 'create in schema ' || quote_ident(n.nspname) FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles r ON r.rolname::text = $1
    WHERE n.nspname !~ '^pg_' AND n.nspowner <> r.oid AND has_schema_privilege(r.oid, n.oid, 'CREATE') ORDER BY 1 LIMIT 3";
const TRIGGERS: &str = "
    SELECT c.oid::regclass::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_roles r ON r.rolname::text = $1
    WHERE c.relkind IN ('r', 'p', 'v', 'f') AND NOT pg_has_role(r.oid, c.relowner, 'USAGE') AND c.relnamespace <> 'pg_catalog'::regnamespace
      AND has_table_privilege(r.oid, c.oid, 'TRIGGER') ORDER BY 1 LIMIT 3";
