//! One turn at cleaning up after an ended login: what is lent, in which order, to functions that are
//! compared with the installed ones before each time.

use std::time::Duration;

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::connection::{Connections, column};
use super::{Postgres, install};
use crate::credential::database::{Cleaned, DatabaseError, RefusalKind};

/// What is done in a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Disarm,
    /// The same, then objects go to the heir and grants are taken back.
    Clean,
}

impl Postgres {
    /// Waits for the server's one turn, works in it for about a second, and gives it back.
    pub(super) async fn turn(
        &self,
        login: &str,
        database: &str,
        work: Work,
    ) -> Result<Cleaned, DatabaseError> {
        // Its clean-up runs what jobs wrote, with the power to make users (T-121).
        if self.is_first_contract().await? {
            return Ok(Cleaned {
                armed: true,
                problems: vec![
                    "nothing is cleaned before the file that `hallpass target install` prints was run".to_owned(),
                ],
                ..Cleaned::default()
            });
        }
        let cleaner = self.cleaner_of(database)?;
        self.turn
            .run(|control| async move {
                let turn = Turn {
                    postgres: self,
                    control: &control,
                    cleaner,
                    login,
                    ends_at: tokio::time::Instant::now().checked_add(TURN_TIME),
                };
                let done = async {
                    turn.call("SELECT hallpass.take_turn()").await?;
                    match work {
                        Work::Disarm => turn.disarm().await,
                        Work::Clean => turn.clean().await,
                    }
                };
                let done = done.await;
                // A connection that cannot give the turn back is closed, which does.
                match turn.call("SELECT hallpass.end_turn()").await {
                    Ok(()) => done,
                    Err(error) => Err(DatabaseError::Unknown(error.to_string())),
                }
            })
            .await
    }

    /// Whether code that the login left in a database can run with the power of others.
    pub(super) async fn is_armed(
        &self,
        login: &str,
        database: &str,
    ) -> Result<bool, DatabaseError> {
        is_armed(self.cleaner_of(database)?, login).await
    }

    /// The cleaner calls functions in a database that jobs write to. Whatever waits there under their
    /// names, only what was installed is called (T-101, T-121).
    pub(super) async fn check_cleaner(&self, cleaner: &Connections) -> Result<(), DatabaseError> {
        let not_ours = |what: &str| DatabaseError::Refused {
            kind: RefusalKind::Other,
            code: "HP008".to_owned(),
            message: format!("{what}; run the file that `hallpass target install` prints"),
        };
        let rows = cleaner.query(FUNCTIONS, &[]).await?;
        let [row] = rows.as_slice() else {
            return Err(not_ours("schema hallpass is missing"));
        };
        let version = u32::try_from(column::<i32>(row, 0)? / 10_000).unwrap_or(0);
        // Whoever owned the schema could put another function there after this look.
        if !column::<bool>(row, 1)? {
            return Err(not_ours(
                "schema hallpass belongs to somebody else, or others may create in it",
            ));
        }
        let (signatures, bodies): (Vec<String>, Vec<String>) = (column(row, 2)?, column(row, 3)?);
        let mut found: Vec<install::Installed> = signatures
            .into_iter()
            .zip(bodies)
            .map(|(signature, body)| install::Installed { signature, body })
            .collect();
        let mut expected = install::database_functions(&self.settings, version);
        found.sort();
        expected.sort();
        for wanted in &expected {
            if !found.contains(wanted) {
                return Err(not_ours(&format!(
                    "function {} is missing, or is not the one that this broker would install",
                    wanted.signature
                )));
            }
        }
        let config = install::function_config(version);
        let others = "some function of the janitor runs with other settings or rights, or others may call it";
        if found.len() != expected.len()
            || column::<Vec<String>>(row, 4)?
                .iter()
                .any(|kept| *kept != config.join("\n"))
            || !column::<bool>(row, 5)?
        {
            return Err(not_ours(others));
        }
        Ok(())
    }
}

/// The turn, while it lasts.
struct Turn<'a> {
    postgres: &'a Postgres,
    control: &'a Client,
    cleaner: &'a Connections,
    login: &'a str,
    ends_at: Option<tokio::time::Instant>,
}

impl Turn<'_> {
    async fn call(&self, sql: &str) -> Result<(), DatabaseError> {
        Ok(self.control.query_typed(sql, &[]).await.map(drop)?)
    }

    fn is_over(&self) -> bool {
        self.ends_at
            .is_none_or(|end| tokio::time::Instant::now() >= end)
    }

    /// Lends the janitor a role; false when the login is gone.
    async fn lend(&self, what: &str) -> Result<bool, DatabaseError> {
        self.postgres.check_cleaner(self.cleaner).await?;
        let sql = "SELECT hallpass.lend($1, $2)";
        let values = [(&self.login as _, Type::TEXT), (&what as _, Type::TEXT)];
        let rows = self.control.query_typed(sql, &values).await?;
        let lent = rows
            .first()
            .map_or(Ok(None), |row| column::<Option<String>>(row, 0))?;
        Ok(lent.is_some())
    }

    async fn take_back(&self) -> Result<(), DatabaseError> {
        // Only a turn takes back for good; a second one within it changes nothing else.
        self.call("SELECT hallpass.take_turn()").await
    }

    async fn disarm(&self) -> Result<Cleaned, DatabaseError> {
        if !self.lend("lease").await? {
            return Ok(Cleaned::default());
        }
        let mut cleaned = self
            .walk("SELECT more, last, problems FROM hallpass.disarm($1, $2)")
            .await?;
        cleaned.armed = is_armed(self.cleaner, self.login).await?;
        Ok(cleaned)
    }

    /// Calls a step that goes through routines, until it is through or the turn is over. Another lease
    /// that locks one of them is ended: it has no business with code of this one.
    async fn walk(&self, sql: &str) -> Result<Cleaned, DatabaseError> {
        let mut cleaned = Cleaned::default();
        let mut last = 0_u32;
        loop {
            let after = last;
            let values = [(&self.login as _, Type::TEXT), (&after as _, Type::OID)];
            let step = self.cleaner.query(sql, &values);
            tokio::pin!(step);
            let rows = loop {
                tokio::select! {
                    answered = &mut step => break answered?,
                    () = tokio::time::sleep(BLOCKED_TIME) => self.call("SELECT hallpass.unblock()").await?,
                }
            };
            let Some(row) = rows.first() else { break };
            cleaned.more = column(row, 0)?;
            last = column(row, 1)?;
            cleaned.problems.extend(column::<Vec<String>>(row, 2)?);
            cleaned.problems.truncate(MOST_PROBLEMS);
            if !cleaned.more || self.is_over() {
                break;
            }
        }
        Ok(cleaned)
    }

    async fn clean(&self) -> Result<Cleaned, DatabaseError> {
        let mut cleaned = self.disarm().await?;
        if cleaned.more || cleaned.armed {
            return Ok(cleaned);
        }
        cleaned.add(
            self.walk("SELECT more, last, problems FROM hallpass.drop_code($1, $2)")
                .await?,
        );
        cleaned.add(self.fence().await?);
        // Nothing is handed over while code is left, which would keep the power of a new owner, or while somebody
        // else can use it.
        if cleaned.more || !cleaned.problems.is_empty() {
            return Ok(cleaned);
        }
        if self.lend("heir").await? {
            cleaned.add(self.hand_over().await?);
        }
        if cleaned.more {
            return Ok(cleaned);
        }
        self.take_back().await?;
        self.drop_grants(&mut cleaned).await?;
        Ok(cleaned)
    }

    async fn fence(&self) -> Result<Cleaned, DatabaseError> {
        let sql = "SELECT more, problems FROM hallpass.fence($1)";
        let mut cleaned = Cleaned::default();
        loop {
            let rows = self
                .cleaner
                .query(sql, &[(&self.login, Type::TEXT)])
                .await?;
            let Some(row) = rows.first() else { break };
            cleaned.more = column(row, 0)?;
            cleaned.problems = column(row, 1)?;
            if !cleaned.more || self.is_over() {
                break;
            }
        }
        Ok(cleaned)
    }

    async fn hand_over(&self) -> Result<Cleaned, DatabaseError> {
        let sql =
            "SELECT more, last_class, last_object, problems FROM hallpass.hand_over($1, $2, $3)";
        let mut cleaned = Cleaned::default();
        let (mut class, mut object) = (0_u32, 0_u32);
        loop {
            let values = [
                (&self.login as _, Type::TEXT),
                (&class as _, Type::OID),
                (&object as _, Type::OID),
            ];
            let rows = match self.cleaner.query(sql, &values).await {
                Err(error) if is_reason(&error) => {
                    cleaned.problems.push(error.to_string());
                    return Ok(cleaned);
                }
                answered => answered?,
            };
            let Some(row) = rows.first() else { break };
            cleaned.more = column(row, 0)?;
            (class, object) = (column(row, 1)?, column(row, 2)?);
            cleaned.problems.extend(column::<Vec<String>>(row, 3)?);
            cleaned.problems.truncate(MOST_PROBLEMS);
            if !cleaned.more || self.is_over() {
                break;
            }
        }
        Ok(cleaned)
    }

    /// With the login alone, then with each group that gave it something.
    async fn drop_grants(&self, cleaned: &mut Cleaned) -> Result<(), DatabaseError> {
        let sql = "SELECT hallpass.drop_grants($1)";
        if !self.lend("lease").await? {
            return Ok(());
        }
        let values = [(&self.login as _, Type::TEXT)];
        if let Err(error) = self.cleaner.query(sql, &values).await {
            if !is_reason(&error) {
                return Err(error);
            }
            cleaned.problems.push(error.to_string());
            return Ok(());
        }
        let groups = self
            .control
            .query_typed("SELECT group_name FROM hallpass.ceilings()", &[])
            .await?;
        let groups = groups
            .iter()
            .map(|row| column::<String>(row, 0))
            .collect::<Result<Vec<_>, _>>()?;
        let mut tried: Vec<String> = Vec::new();
        loop {
            let given = self.given().await?;
            let next = given
                .iter()
                .find(|(by, _)| groups.contains(by) && !tried.contains(by));
            let Some((group, _)) = next else {
                let words = given.iter().map(|(by, statement)| {
                    format!("{by} granted it something; run `{statement}` as that role")
                });
                cleaned.problems.extend(words.take(MOST_PROBLEMS));
                return Ok(());
            };
            tried.push(group.clone());
            self.lend(group).await?;
            match self.cleaner.query(sql, &values).await {
                Err(error) if is_reason(&error) => cleaned.problems.push(error.to_string()),
                answered => drop(answered?),
            }
            self.take_back().await?;
            self.lend("lease").await?;
        }
    }

    /// What others granted the login here, by whom, and the statement that takes it back.
    async fn given(&self) -> Result<Vec<(String, String)>, DatabaseError> {
        let rows = self
            .cleaner
            .query(GIVEN, &[(&self.login, Type::TEXT)])
            .await?;
        rows.iter()
            .map(|row| Ok((column(row, 0)?, column(row, 1)?)))
            .collect()
    }
}

async fn is_armed(cleaner: &Connections, login: &str) -> Result<bool, DatabaseError> {
    let rows = cleaner.query(ARMED, &[(&login, Type::TEXT)]).await?;
    rows.first().map_or(Ok(true), |row| column(row, 0))
}

/// The step said why it cannot go on, or waits for a lock of another session: no failure of the turn, which has
/// disarmed the login.
fn is_reason(error: &DatabaseError) -> bool {
    matches!(error.code(), Some("HP011" | "HP012" | "55P03"))
}

/// How long a turn goes on; other leases wait meanwhile.
const TURN_TIME: Duration = Duration::from_secs(1);
const MOST_PROBLEMS: usize = 5;
/// A step waits for a lock for at most 100 ms.
const BLOCKED_TIME: Duration = Duration::from_millis(30);
const FUNCTIONS: &str = "
    WITH ours AS (
        SELECT p.* FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'hallpass' AND pg_get_userbyid(p.proowner) IN ('hallpass_definer', 'hallpass_janitor'))
    SELECT current_setting('server_version_num')::int4,
        pg_get_userbyid(n.nspowner) = 'hallpass_definer'
            AND NOT EXISTS (SELECT FROM aclexplode(n.nspacl) a WHERE a.privilege_type = 'CREATE' AND a.grantee <> n.nspowner),
        ARRAY(SELECT p.oid::regprocedure::text FROM ours p ORDER BY p.oid),
        ARRAY(SELECT encode(sha256(convert_to(p.prosrc, 'UTF8')), 'hex') FROM ours p ORDER BY p.oid),
        ARRAY(SELECT coalesce(array_to_string(p.proconfig, E'\\n'), '') FROM ours p),
        NOT EXISTS (SELECT FROM ours p WHERE p.prosecdef <> (p.proname <> 'event_triggers')
            OR pg_get_userbyid(p.proowner) <> 'hallpass_janitor'
            OR EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
                       WHERE a.grantee <> p.proowner AND pg_get_userbyid(a.grantee) <> 'hallpass_clean'))
    FROM pg_catalog.pg_namespace n
    WHERE n.nspname = 'hallpass'";
/// What others granted a login in this database and on the server.
const GIVEN: &str = "
    SELECT DISTINCT pg_get_userbyid(o.giver)::text, o.statement
    FROM pg_catalog.pg_roles r JOIN pg_catalog.pg_shdepend s ON s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid
        AND s.deptype IN ('a', 'r') AND s.dbid IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())),
    LATERAL (
        SELECT a.grantor, format('REVOKE ALL ON %s FROM %I', x.thing, r.rolname) FROM (
            SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || c.oid::regclass, nullif(coalesce(c.relacl, '{}')
                || coalesce((SELECT array_agg(e) FROM pg_catalog.pg_attribute t, unnest(t.attacl) e WHERE t.attrelid = c.oid), '{}'), '{}')
                FROM pg_catalog.pg_class c WHERE s.classid = 'pg_class'::regclass AND c.oid = s.objid
            UNION ALL SELECT 'ROUTINE ' || oid::regprocedure, proacl FROM pg_catalog.pg_proc WHERE s.classid = 'pg_proc'::regclass AND oid = s.objid
            UNION ALL SELECT 'SCHEMA ' || oid::regnamespace, nspacl FROM pg_catalog.pg_namespace WHERE s.classid = 'pg_namespace'::regclass AND oid = s.objid
            UNION ALL SELECT 'TYPE ' || oid::regtype, typacl FROM pg_catalog.pg_type WHERE s.classid = 'pg_type'::regclass AND oid = s.objid
            UNION ALL SELECT 'LARGE OBJECT ' || oid, lomacl FROM pg_catalog.pg_largeobject_metadata WHERE s.classid = 'pg_largeobject'::regclass AND oid = s.objid
            UNION ALL SELECT 'DATABASE ' || quote_ident(datname), datacl FROM pg_catalog.pg_database WHERE s.classid = 'pg_database'::regclass AND oid = s.objid
            UNION ALL SELECT 'TABLESPACE ' || quote_ident(spcname), spcacl FROM pg_catalog.pg_tablespace WHERE s.classid = 'pg_tablespace'::regclass AND oid = s.objid
        ) x (thing, acl), aclexplode(x.acl) a WHERE a.grantee = r.oid
        UNION ALL SELECT d.defaclrole, format('ALTER DEFAULT PRIVILEGES FOR ROLE %I … REVOKE ALL … FROM %I', pg_get_userbyid(d.defaclrole), r.rolname)
            FROM pg_catalog.pg_default_acl d WHERE s.classid = 'pg_default_acl'::regclass AND d.oid = s.objid AND d.defaclrole <> r.oid
        UNION ALL SELECT c.relowner, format('DROP POLICY %I ON %s', y.polname, c.oid::regclass)
            FROM pg_catalog.pg_policy y JOIN pg_catalog.pg_class c ON c.oid = y.polrelid WHERE s.classid = 'pg_policy'::regclass AND y.oid = s.objid
    ) o (giver, statement)
    WHERE r.rolname = $1::name";
const ARMED: &str = "
    SELECT EXISTS (SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_roles r ON r.oid = p.proowner
        WHERE r.rolname = $1::name AND shobj_description(r.oid, 'pg_authid') ~ '^heir=hallpass_quarantine'
          AND ((p.prokind <> 'a' AND NOT p.prosecdef)
               OR EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee <> p.proowner)))";
