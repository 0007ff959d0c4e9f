//! `hallpass target check`, around what was installed: who else has a hold on it, and what it may do.

use tokio_postgres::types::Type;

use super::connection::column;
use super::install::{OWN_ROLES, lease_pattern};
use super::{Connections, GroupCeiling, Postgres};
use crate::credential::database::DatabaseError;
use crate::credential::database::findings::Findings;

impl Postgres {
    pub(super) async fn check_installed(&self, groups: &[GroupCeiling], findings: &mut Findings) {
        let looks = [
            self.look_at_holds(findings).await,
            self.look_at_shared_rights(findings).await,
            self.look_at_signals(findings).await,
        ];
        for error in looks.into_iter().filter_map(Result::err) {
            findings.error(
                format!("the installation could not be looked at: it {error}"),
                "run the check again",
            );
        }
        for (database, cleaner) in &self.cleaners {
            // A cleaner that cannot log in was found before.
            let _ = look_at_triggers(database, cleaner, findings).await;
            for group in groups.iter().filter(|group| group.without_acting) {
                let _ = look_at_quarantine(database, cleaner, &group.group, findings).await;
            }
        }
    }

    /// Whoever made a role first, or was given one since, can use it (T-128).
    async fn look_at_holds(&self, findings: &mut Findings) -> Result<(), DatabaseError> {
        let own: Vec<String> = OWN_ROLES.map(str::to_owned).to_vec();
        let pattern = lease_pattern(&self.settings.prefix);
        let control = &self.settings.control_database;
        let values = [
            (&own as _, Type::TEXT_ARRAY),
            (&pattern as _, Type::TEXT),
            (control as _, Type::TEXT),
        ];
        let mut are_ours = true;
        for row in self.mint.query(HOLDS, &values).await? {
            are_ours = false;
            findings.error(column(&row, 0)?, &column::<String>(&row, 1)?);
        }
        if are_ours {
            findings.fine("nobody else has a hold on the roles of hallpass".to_owned());
        }
        Ok(())
    }

    /// Every lease is a member of `hallpass_connect` (T-131).
    async fn look_at_shared_rights(&self, findings: &mut Findings) -> Result<(), DatabaseError> {
        let sql = "SELECT * FROM hallpass.shared_rights()";
        for row in self.mint.query(sql, &[]).await? {
            findings.error(
                format!("every lease reaches {}", column::<String>(&row, 0)?),
                "there: REVOKE ALL ON … FROM hallpass_connect, and grant it to the group that needs it; what hallpass_connect owns: REASSIGN OWNED BY hallpass_connect TO …",
            );
        }
        Ok(())
    }

    async fn look_at_signals(&self, findings: &mut Findings) -> Result<(), DatabaseError> {
        let sql = "SELECT pg_has_role('hallpass_definer', 'pg_signal_backend', 'USAGE')";
        let rows = self.mint.query(sql, &[]).await?;
        if rows
            .first()
            .map_or(Ok(false), |row| column::<bool>(row, 0))?
        {
            findings.fine("sessions of ended leases can be terminated".to_owned());
        } else {
            findings.warn(
                "hallpass_definer is no member of pg_signal_backend: sessions are terminated as a member of the lease, those on standbys and of logins that are gone are not".to_owned(),
                "GRANT pg_signal_backend TO hallpass_definer, by a role that may; on a managed server that does not offer it, give leases no access to standbys",
            );
        }
        Ok(())
    }
}

/// Clean-up would fire them with the power that is lent to it (T-122).
async fn look_at_triggers(
    database: &str,
    cleaner: &Connections,
    findings: &mut Findings,
) -> Result<(), DatabaseError> {
    let sql = "SELECT name FROM hallpass.event_triggers()";
    for row in cleaner.query(sql, &[]).await? {
        let name: String = column(&row, 0)?;
        findings.error(
            format!(
                "event trigger `{name}` of database `{database}` would run during clean-up with the power of a group: what needs that power is left undone, and leases with grants of their group stay as roles without power"
            ),
            &format!("name it under `event_triggers` of the target and run the install file again if what it calls writes to nothing that jobs may put triggers on; a superuser may run ALTER ROLE hallpass_clean SET session_replication_role = replica as well; or DROP EVENT TRIGGER {}", super::install::identifier(&name)),
        );
    }
    Ok(())
}

/// What a lease leaves is given to the quarantine, which must be allowed to have it there.
async fn look_at_quarantine(
    database: &str,
    cleaner: &Connections,
    group: &str,
    findings: &mut Findings,
) -> Result<(), DatabaseError> {
    for row in cleaner.query(QUARANTINE, &[(&group, Type::TEXT)]).await? {
        let schema: String = column(&row, 0)?;
        findings.error(
            format!("group `{group}` may create in schema `{schema}` of database `{database}`, and hallpass_quarantine may not: what its leases leave there is never handed over"),
            &format!("GRANT USAGE, CREATE ON SCHEMA {} TO hallpass_quarantine, by the schema's owner", super::install::identifier(&schema)),
        );
    }
    Ok(())
}

/// Members, memberships and owners that the install file did not give. From 16 on an installer without superuser
/// keeps the right to give away the roles that he made (grantor 10 is the server's first superuser).
const HOLDS: &str = "
    WITH own AS (SELECT oid, rolname::text AS name FROM pg_catalog.pg_roles WHERE rolname::text = ANY ($1)),
    control AS (
        SELECT d.datdba, r.rolname::text AS owner, r.rolsuper, r.rolcreaterole FROM pg_catalog.pg_database d
        JOIN pg_catalog.pg_roles r ON r.oid = d.datdba WHERE d.datname::text = $3),
    members AS (
        SELECT own.name AS role_name, m.member, pg_get_userbyid(m.member)::text AS member_name, m.admin_option,
            coalesce((to_jsonb(m)->>'inherit_option')::boolean OR (to_jsonb(m)->>'set_option')::boolean, true) AS usable, m.grantor
        FROM own JOIN pg_catalog.pg_auth_members m ON m.roleid = own.oid),
    kept AS (
        SELECT * FROM members WHERE admin_option AND NOT usable AND grantor = 10 AND member IN (SELECT datdba FROM control WHERE rolcreaterole))
    SELECT format('role %s is a member of %s%s', member_name, role_name, CASE WHEN admin_option THEN ', with ADMIN OPTION' ELSE '' END),
        format('find out who granted it and why, and take it back: REVOKE %I FROM %I', role_name, member_name)
    FROM members
    WHERE NOT (role_name = 'hallpass_connect' AND member_name ~ $2 AND NOT admin_option)
      AND NOT (role_name IN ('hallpass_connect', 'hallpass_quarantine') AND member_name = 'hallpass_definer')
      AND NOT (role_name = 'hallpass_quarantine' AND member_name = 'hallpass_janitor' AND NOT admin_option)
      AND NOT (role_name IN ('hallpass', 'hallpass_2') AND member_name = 'hallpass_definer' AND NOT usable)
      AND (role_name, member) NOT IN (SELECT k.role_name, k.member FROM kept k)
    UNION ALL
    SELECT format('database %s belongs to %s, which did not install hallpass', $3, owner),
        'find out who changed it and why; ALTER DATABASE … OWNER TO the role that ran the install file'
    FROM control WHERE NOT rolsuper AND NOT (rolcreaterole
        AND (current_setting('server_version_num')::int < 160000 OR EXISTS (SELECT FROM kept WHERE role_name = 'hallpass_definer')))
    UNION ALL
    SELECT format('role %s is a member of %s, and so is every lease', own.name, pg_get_userbyid(m.roleid)),
        format('REVOKE %I FROM %I', pg_get_userbyid(m.roleid), own.name)
    FROM own JOIN pg_catalog.pg_auth_members m ON m.member = own.oid WHERE own.name = 'hallpass_connect'
    UNION ALL
    SELECT format('role %s has attributes that it must not have', r.rolname), format('ALTER ROLE %I NOSUPERUSER NOLOGIN NOREPLICATION NOBYPASSRLS NOCREATEDB%s', r.rolname,
        CASE r.rolname WHEN 'hallpass_definer' THEN '' ELSE ' NOCREATEROLE' END)
    FROM pg_catalog.pg_roles r JOIN own USING (oid)
    WHERE own.name NOT IN ('hallpass', 'hallpass_2', 'hallpass_clean')
      AND (r.rolsuper OR r.rolcanlogin OR r.rolreplication OR r.rolbypassrls OR r.rolcreatedb OR (r.rolcreaterole AND own.name <> 'hallpass_definer'))";
const QUARANTINE: &str = "
    SELECT n.nspname::text FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles r ON r.rolname::text = $1
    WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'hallpass')
      AND has_schema_privilege(r.oid, n.oid, 'CREATE') AND NOT has_schema_privilege('hallpass_quarantine', n.oid, 'CREATE')
      AND current_setting('server_version_num')::int >= 160000
    ORDER BY 1 LIMIT 3";
