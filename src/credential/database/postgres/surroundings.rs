//! `hallpass target check`, around the functions: logins, clocks, standbys, and what jobs could plant.

use tokio_postgres::types::Type;

use super::check::Findings;
use super::connection::column;
use super::{Connections, GroupCeiling, Postgres};
use crate::clock::{Clock as _, SystemClock};
use crate::credential::database::DatabaseError;

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
            let _ = look_at_triggers(database, cleaner, findings).await;
            for group in groups.iter().filter(|group| !group.act_as_group) {
                let _ = look_for_plants(database, cleaner, &group.group, findings).await;
            }
        }
    }

    /// A stolen password is worth as much as the login can do.
    async fn look_at_logins(&self, findings: &mut Findings) -> Result<(), DatabaseError> {
        for login in [&self.settings.user, &self.settings.cleaner.user] {
            for row in self.mint.query(MIGHT, &[(login, Type::TEXT)]).await? {
                findings.error(
                    format!("login `{login}` {}", column::<String>(&row, 0)?),
                    "take it away: the install file gives both logins no attribute and no membership",
                );
            }
        }
        Ok(())
    }

    /// Names are made of the server's clock, records of ours.
    async fn look_at_clock(&self, findings: &mut Findings) -> Result<(), DatabaseError> {
        let sql = "SELECT extract(epoch FROM clock_timestamp())::bigint";
        let rows = self.mint.query(sql, &[]).await?;
        let Some(row) = rows.first() else {
            return Ok(());
        };
        let ahead = column::<i64>(row, 0)?.saturating_sub(SystemClock::new().now().unix());
        if ahead.abs() > CLOCKS_DIFFER {
            findings.error(
                format!("the server's clock is {ahead} s ahead of this machine's"),
                "synchronise both with NTP: leases would end at another time than their records say, and look like a thief's",
            );
        }
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

/// Clean-up fires them with the power of whoever cleans.
async fn look_at_triggers(
    database: &str,
    cleaner: &Connections,
    findings: &mut Findings,
) -> Result<(), DatabaseError> {
    for row in cleaner.query(EVENT_TRIGGERS, &[]).await? {
        findings.error(
            format!(
                "event trigger `{}` of database `{database}` calls a function of `{}`, which is neither a superuser nor the trigger's owner; nothing is cleaned there",
                column::<String>(&row, 0)?,
                column::<String>(&row, 1)?
            ),
            "ALTER FUNCTION … OWNER TO the owner of the event trigger, or drop the trigger",
        );
    }
    Ok(())
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
            "REVOKE it if jobs do not need it; what a lease leaves there goes to hallpass_quarantine and is made inert",
        );
    }
    Ok(())
}

const CLOCKS_DIFFER: i64 = 30;
const MIGHT: &str = "
    SELECT what FROM pg_catalog.pg_roles r, LATERAL (VALUES
        (r.rolsuper, 'is a superuser'), (r.rolcreaterole, 'may create roles'), (r.rolcreatedb, 'may create databases'),
        (r.rolreplication, 'may replicate'), (r.rolbypassrls, 'is not bound by row security')) AS attributes (has, what)
    WHERE r.rolname::text = $1 AND has
    UNION ALL
    SELECT 'is a member of ' || pg_get_userbyid(m.roleid) FROM pg_catalog.pg_auth_members m
    WHERE pg_get_userbyid(m.member)::text = $1";
const EVENT_TRIGGERS: &str = "
    SELECT e.evtname::text, r.rolname::text
    FROM pg_catalog.pg_event_trigger e JOIN pg_catalog.pg_proc p ON p.oid = e.evtfoid JOIN pg_catalog.pg_roles r ON r.oid = p.proowner
    WHERE e.evtenabled <> 'D' AND p.proowner <> e.evtowner AND NOT r.rolsuper";
/// The first few: one is enough to think about.
const PLANTS: &str = "
    (SELECT 'create in schema ' || quote_ident(n.nspname) FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles r ON r.rolname::text = $1
     WHERE n.nspname !~ '^pg_' AND n.nspowner <> r.oid AND has_schema_privilege(r.oid, n.oid, 'CREATE') ORDER BY 1 LIMIT 3)
    UNION ALL
    (SELECT 'make triggers on ' || c.oid::regclass FROM pg_catalog.pg_class c JOIN pg_catalog.pg_roles r ON r.rolname::text = $1
     WHERE c.relkind IN ('r', 'p', 'v', 'f') AND c.relowner <> r.oid AND c.relnamespace <> 'pg_catalog'::regnamespace
       AND has_table_privilege(r.oid, c.oid, 'TRIGGER') ORDER BY 1 LIMIT 3)";
