//! Whether a group can be given to logins that do not act as it: what they could leave behind must be
//! within reach of the clean-up.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use tokio_postgres::types::Type;

use super::connection::column;
use super::{Postgres, install};
use crate::credential::database::{DatabaseError, RefusalKind};

/// What was found about groups, by name, for as long as it counts.
pub(super) type Reaches = Cache<String, Arc<[String]>>;

pub(super) fn reaches() -> Reaches {
    Cache::builder()
        .max_capacity(MOST_GROUPS)
        .time_to_live(GOOD_FOR)
        .build()
}

impl Postgres {
    /// Refuses a group whose logins could leave what no clean-up finds. Looked at once a minute.
    pub(super) async fn require_reach(
        &self,
        group: &str,
        act_as_group: bool,
    ) -> Result<(), DatabaseError> {
        // What an acting login leaves is its group's, which could have made the same.
        if act_as_group {
            return Ok(());
        }
        let problems = match self.reaches.get(group) {
            Some(problems) => problems,
            None => self.look_at_reach(group).await?,
        };
        match problems.first() {
            None => Ok(()),
            Some(problem) => Err(DatabaseError::Refused {
                kind: RefusalKind::GroupUnfit,
                code: "HP001".to_owned(),
                message: format!("group {group} may not be used without acting as it: {problem}"),
            }),
        }
    }

    /// What stands against a group, in all databases that leases may use; each with its remedy.
    pub(super) async fn look_at_reach(&self, group: &str) -> Result<Arc<[String]>, DatabaseError> {
        let mut problems = Vec::new();
        let leases = install::lease_pattern(&self.settings.prefix);
        for (database, cleaner) in &self.cleaners {
            let values = [(&group as _, Type::TEXT), (&leases as _, Type::TEXT)];
            for row in cleaner.query(REACH, &values).await? {
                problems.push(format!(
                    "in database `{database}` {}",
                    column::<String>(&row, 0)?
                ));
            }
        }
        let problems: Arc<[String]> = problems.into();
        self.reaches.insert(group.to_owned(), Arc::clone(&problems));
        Ok(problems)
    }
}

/// Up to version 15 a member can always do `SET ROLE`, and what it makes then is the group's for ever. From 16 on
/// what it makes is its own, and is found where the janitor may look.
///
/// Not counted, because a login could leave it with the group to have every later login of the group refused, and
/// because it is no power over others: default privileges, user mappings, what is in a session's temporary schema, types
/// that no table, routine or type of others uses, and up to version 15 large objects. `$2` is the pattern of leases' names.
const REACH: &str = "
    WITH g AS (SELECT oid FROM pg_catalog.pg_roles WHERE rolname::text = $1),
    here AS (SELECT current_setting('server_version_num')::int < 160000 AS is_old),
    -- The group, and the roles whose power its logins have.
    powers AS (
        SELECT r.oid, r.rolname FROM g, here, pg_catalog.pg_roles r WHERE pg_has_role(g.oid, r.oid, CASE WHEN here.is_old THEN 'MEMBER' ELSE 'USAGE' END)
    ),
    schemas AS (
        SELECT n.oid, n.nspname FROM pg_catalog.pg_namespace n WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'hallpass')
    ),
    relations AS (
        SELECT c.oid, c.relkind FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'p', 'v', 'f')
            AND c.relnamespace::regnamespace::text !~ '^(pg_|information_schema$)'
    ),
    makes AS (
        SELECT format('it may create in schema %I', n.nspname) AS what FROM g, schemas n WHERE has_schema_privilege(g.oid, n.oid, 'CREATE')
    ),
    owned AS (
        SELECT s.classid, s.objid, s.objsubid, p.rolname AS owner FROM powers p, here, pg_catalog.pg_shdepend s
        WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = p.oid AND s.deptype = 'o'
            AND s.dbid IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))
            AND s.classid NOT IN ('pg_default_acl'::regclass, 'pg_user_mapping'::regclass)
            AND NOT (s.classid = 'pg_largeobject'::regclass AND here.is_old)
            AND NOT (s.classid = 'pg_type'::regclass AND NOT EXISTS (
                SELECT FROM pg_catalog.pg_type t
                    JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_type'::regclass AND d.refobjid IN (t.oid, t.typarray) AND d.deptype IN ('n', 'a')
                    LEFT JOIN pg_catalog.pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
                    -- The constructors of a range belong to the server, and to the type.
                    LEFT JOIN pg_catalog.pg_proc f ON d.classid = 'pg_proc'::regclass AND f.oid = d.objid AND NOT EXISTS (
                        SELECT FROM pg_catalog.pg_depend i WHERE (i.classid, i.objid, i.refclassid, i.deptype) = ('pg_proc'::regclass, f.oid, 'pg_type'::regclass, 'i'))
                    LEFT JOIN pg_catalog.pg_type y ON d.classid = 'pg_type'::regclass AND y.oid = d.objid
                    JOIN pg_catalog.pg_roles o ON o.oid = coalesce(c.relowner, f.proowner, y.typowner)
                WHERE t.oid = s.objid AND o.oid <> p.oid AND o.rolname::text <> 'hallpass_quarantine' AND o.rolname::text !~ $2))
            AND coalesce((pg_identify_object(s.classid, s.objid, s.objsubid)).schema, '') !~ '^pg_temp(_|$)'
    ),
    given AS (
        SELECT CASE c.relkind WHEN 'S' THEN 'sequence ' ELSE 'table ' END || c.oid::regclass AS thing, c.relacl AS acl FROM pg_catalog.pg_class c WHERE c.relacl IS NOT NULL
        UNION ALL SELECT format('a column of table %s', t.attrelid::regclass), t.attacl FROM pg_catalog.pg_attribute t WHERE t.attacl IS NOT NULL
        UNION ALL SELECT 'routine ' || oid::regprocedure, proacl FROM pg_catalog.pg_proc WHERE proacl IS NOT NULL
        UNION ALL SELECT 'schema ' || oid::regnamespace, nspacl FROM pg_catalog.pg_namespace WHERE nspacl IS NOT NULL
        UNION ALL SELECT 'type ' || oid::regtype, typacl FROM pg_catalog.pg_type WHERE typacl IS NOT NULL
        UNION ALL SELECT 'language ' || quote_ident(lanname), lanacl FROM pg_catalog.pg_language WHERE lanacl IS NOT NULL
        UNION ALL SELECT 'foreign server ' || quote_ident(srvname), srvacl FROM pg_catalog.pg_foreign_server WHERE srvacl IS NOT NULL
        UNION ALL SELECT 'foreign data wrapper ' || quote_ident(fdwname), fdwacl FROM pg_catalog.pg_foreign_data_wrapper WHERE fdwacl IS NOT NULL
        UNION ALL SELECT 'large object ' || oid, lomacl FROM pg_catalog.pg_largeobject_metadata WHERE lomacl IS NOT NULL
        UNION ALL SELECT 'database ' || quote_ident(datname), datacl FROM pg_catalog.pg_database WHERE datacl IS NOT NULL
        UNION ALL SELECT 'tablespace ' || quote_ident(spcname), spcacl FROM pg_catalog.pg_tablespace WHERE spcacl IS NOT NULL
        UNION ALL SELECT 'parameter ' || parname, paracl FROM pg_catalog.pg_parameter_acl WHERE paracl IS NOT NULL
    )
    (SELECT 'it may create schemas, which a login could close to the clean-up; revoke CREATE on the database, or write `act_as_group: true`' FROM g
     WHERE has_database_privilege(g.oid, current_database(), 'CREATE') LIMIT 1)
    UNION ALL
    (SELECT format('it owns %s%s, and so does every login in it; give that to another role, or write `act_as_group: true`', pg_describe_object(classid, objid, objsubid),
         CASE WHEN owner::text <> $1 THEN format(' through role %I', owner) ELSE '' END)
     FROM owned LIMIT 3)
    UNION ALL
    (SELECT DISTINCT format('it may grant %s on %s to others, who would keep it; revoke the GRANT OPTION, or write `act_as_group: true`', a.privilege_type, given.thing)
     FROM given, aclexplode(given.acl) a JOIN powers p ON p.oid = a.grantee
     WHERE a.is_grantable AND a.grantee <> a.grantor LIMIT 3)
    UNION ALL
    (SELECT format('it has REFERENCES on %s, with which a login can run code as the owner of that table; revoke it', c.oid::regclass)
     FROM g, relations c WHERE EXISTS (SELECT FROM makes) AND c.relkind IN ('r', 'p') AND has_any_column_privilege(g.oid, c.oid, 'REFERENCES') LIMIT 3)
    UNION ALL
    (SELECT what || ', and on this version a login can make what stays the group''s; revoke that, or write `act_as_group: true`'
     FROM (SELECT what FROM makes
           UNION ALL SELECT format('it has TRIGGER or REFERENCES on %s', c.oid::regclass) FROM g, relations c
               WHERE has_table_privilege(g.oid, c.oid, 'TRIGGER') OR has_any_column_privilege(g.oid, c.oid, 'REFERENCES')
           UNION ALL SELECT format('it has USAGE on foreign server %I', s.srvname) FROM g, pg_catalog.pg_foreign_server s WHERE has_server_privilege(g.oid, s.oid, 'USAGE')) m
     WHERE (SELECT is_old FROM here) LIMIT 3)
    UNION ALL
    (SELECT format('%s and TEMPORARY on the database, and nothing can disarm temporary code that its session failed to drop; revoke it, or run `REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC, %I`', m.what, current_database(), $1)
     FROM g, (SELECT format('it has TRIGGER on %s', c.oid::regclass) AS what FROM g, relations c WHERE has_table_privilege(g.oid, c.oid, 'TRIGGER')
              UNION ALL SELECT format('it has CREATE on schema %I', n.nspname) FROM g, schemas n WHERE has_schema_privilege(g.oid, n.oid, 'CREATE')) m
     WHERE has_database_privilege(g.oid, current_database(), 'TEMPORARY') AND NOT (SELECT is_old FROM here) LIMIT 3)
    UNION ALL
    (SELECT format('it may create, and hallpass_janitor cannot look into schema %I; run `GRANT USAGE ON SCHEMA %I TO hallpass_janitor`', n.nspname, n.nspname)
     FROM g, schemas n
     WHERE EXISTS (SELECT FROM makes) AND NOT (SELECT is_old FROM here)
       AND (has_schema_privilege(g.oid, n.oid, 'USAGE') OR has_schema_privilege(g.oid, n.oid, 'CREATE'))
       AND NOT has_schema_privilege('hallpass_janitor', n.oid, 'USAGE') LIMIT 3)";
const GOOD_FOR: Duration = Duration::from_secs(60);
/// Far more than policies name for one target.
const MOST_GROUPS: u64 = 1_024;
