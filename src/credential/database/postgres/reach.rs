//! Whether a group can be given to logins that do not act as it: what they could leave behind must be
//! within reach of the clean-up.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use tokio_postgres::types::Type;

use super::Postgres;
use super::connection::column;
use crate::credential::database::{Class, DatabaseError};

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
                class: Class::GroupUnfit,
                code: "HP001".to_owned(),
                message: format!("group {group} may not be used without acting as it: {problem}"),
            }),
        }
    }

    /// What stands against a group, in all databases that leases may use; each with its remedy.
    pub(super) async fn look_at_reach(&self, group: &str) -> Result<Arc<[String]>, DatabaseError> {
        let mut problems = Vec::new();
        for (database, cleaner) in &self.cleaners {
            for row in cleaner.query(REACH, &[(&group, Type::TEXT)]).await? {
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
const REACH: &str = "
    WITH g AS (SELECT oid FROM pg_catalog.pg_roles WHERE rolname::text = $1),
    makes AS (
        SELECT format('it may create in schema %I', n.nspname) AS what FROM g, pg_catalog.pg_namespace n
            WHERE n.nspname !~ '^pg_' AND has_schema_privilege(g.oid, n.oid, 'CREATE')
    )
    (SELECT 'it may create schemas, which a login could close to the clean-up; revoke CREATE on the database, or write `act_as_group: true`' FROM g
     WHERE has_database_privilege(g.oid, current_database(), 'CREATE') LIMIT 1)
    UNION ALL
    (SELECT format('it owns %s, and so does every login in it; give that to another role, or write `act_as_group: true`', pg_describe_object(s.classid, s.objid, s.objsubid))
     FROM g, pg_catalog.pg_shdepend s WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = g.oid AND s.deptype = 'o'
       AND s.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()) LIMIT 3)
    UNION ALL
    (SELECT format('it has REFERENCES on %s, with which a login can run code as the owner of that table; revoke it', c.oid::regclass)
     FROM g, pg_catalog.pg_class c WHERE EXISTS (SELECT FROM makes) AND c.relkind IN ('r', 'p') AND c.relnamespace::regnamespace::text !~ '^(pg_|information_schema$)'
       AND has_any_column_privilege(g.oid, c.oid, 'REFERENCES') LIMIT 3)
    UNION ALL
    (SELECT what || ', and on this version a login can make what stays the group''s; revoke that, or write `act_as_group: true`'
     FROM (SELECT what FROM makes
           UNION ALL SELECT format('it has TRIGGER or REFERENCES on %s', c.oid::regclass) FROM g, pg_catalog.pg_class c
               WHERE c.relkind IN ('r', 'p', 'v', 'f') AND c.relnamespace::regnamespace::text !~ '^(pg_|information_schema$)'
                 AND (has_table_privilege(g.oid, c.oid, 'TRIGGER') OR has_any_column_privilege(g.oid, c.oid, 'REFERENCES'))) m
     WHERE current_setting('server_version_num')::int < 160000 LIMIT 3)
    UNION ALL
    (SELECT format('it may create, and hallpass_janitor cannot look into schema %I; run `GRANT USAGE ON SCHEMA %I TO hallpass_janitor`', n.nspname, n.nspname)
     FROM g, pg_catalog.pg_namespace n
     WHERE EXISTS (SELECT FROM makes) AND current_setting('server_version_num')::int >= 160000
       AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'hallpass')
       AND has_schema_privilege(g.oid, n.oid, 'USAGE') AND NOT has_schema_privilege('hallpass_janitor', n.oid, 'USAGE') LIMIT 3)";
const GOOD_FOR: Duration = Duration::from_secs(60);
/// Far more than policies name for one target.
const MOST_GROUPS: u64 = 1_024;
