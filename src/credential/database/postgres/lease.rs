//! Leases as the server shows them: the list with each one's state, and what standbys still serve.

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::Postgres;
use super::connection::{Connections, column};
use crate::clock::Timestamp;
use crate::credential::database::{Database as _, DatabaseError};
use crate::credential::target::{LeaseRow, LeaseState, Leftover};

impl Postgres {
    pub(super) async fn list_leases(&self) -> Result<Vec<LeaseRow>, DatabaseError> {
        let is_first = self.is_first_contract().await?;
        let sql = if is_first { FIRST_LEASES } else { LEASES };
        let rows = self.terminate.query(sql, &[]).await;
        let mut leases = Vec::new();
        for row in self.noticed(rows)? {
            leases.push(self.lease(&row).await?);
        }
        Ok(leases)
    }

    /// Ends sessions on a standby whose login the primary no longer lets in. A standby lags: what it
    /// lists was asked for before the primary is, so a login made meanwhile is no stranger.
    pub(super) async fn sweep_standby(&self, standby: &Connections) -> Result<(), DatabaseError> {
        standby.query("SELECT hallpass.ghosts()", &[]).await?;
        if self.is_first_contract().await? {
            return standby
                .query("SELECT hallpass.terminate_ended()", &[])
                .await
                .map(drop);
        }
        let names = |rows: &[Row]| {
            rows.iter()
                .map(|row| column::<String>(row, 0))
                .collect::<Result<Vec<_>, _>>()
        };
        let there = names(
            &standby
                .query("SELECT * FROM hallpass.lease_sessions()", &[])
                .await?,
        )?;
        if there.is_empty() {
            return Ok(());
        }
        let sql = "SELECT * FROM hallpass.not_live($1)";
        let over = names(
            &self
                .terminate
                .query(sql, &[(&there, Type::TEXT_ARRAY)])
                .await?,
        )?;
        for login in &over {
            standby
                .query("SELECT hallpass.terminate($1)", &[(login, Type::TEXT)])
                .await?;
        }
        Ok(())
    }

    /// A lease with its state. Whether code that it left is armed only the database knows where it is.
    async fn lease(&self, row: &Row) -> Result<LeaseRow, DatabaseError> {
        let login: String = column(row, 0)?;
        let (ended, can_login, may_connect) =
            (column(row, 2)?, column(row, 3)?, column::<bool>(row, 4)?);
        let sessions: Vec<i32> = column(row, 6)?;
        let state = match (
            ended,
            can_login && may_connect,
            can_login || may_connect || !sessions.is_empty(),
        ) {
            (false, true, _) => LeaseState::Live,
            (_, _, true) => LeaseState::Closing,
            (_, _, false) => self.state_of_closed(&login, column::<i64>(row, 8)?).await?,
        };
        Ok(LeaseRow {
            expires_at: Timestamp::from_unix(column(row, 1)?),
            ended,
            can_login,
            groups: column(row, 5)?,
            state,
            sessions,
            leftovers: column(row, 7)?,
            record: column(row, 9)?,
            login,
        })
    }

    /// Code of a closed lease that something of others needs, as reasons why it stays.
    pub(super) async fn code_in_use(&self, login: &str) -> Result<Vec<String>, DatabaseError> {
        let mut reasons = Vec::new();
        let leftovers = self.leftovers(login).await?;
        for leftover in leftovers.iter().filter(|leftover| leftover.routines > 0) {
            let Some(name) = leftover
                .database
                .as_deref()
                .filter(|name| self.is_listed(name))
            else {
                continue;
            };
            for row in self
                .cleaner_of(name)?
                .query(IN_USE, &[(&login, Type::TEXT)])
                .await?
            {
                let (routine, users): (String, String) = (column(&row, 0)?, column(&row, 1)?);
                reasons.push(format!(
                    "routine {routine} in database `{name}` has no power, and is used by {users}; change or drop that, then run `hallpass leases sweep`"
                ));
            }
        }
        Ok(reasons)
    }

    async fn state_of_closed(
        &self,
        login: &str,
        routines: i64,
    ) -> Result<LeaseState, DatabaseError> {
        let leftovers = self.leftovers(login).await?;
        let here = |leftover: &&Leftover| {
            leftover
                .database
                .as_deref()
                .is_none_or(|name| self.is_listed(name))
        };
        if routines > 0 {
            for leftover in leftovers.iter().filter(|leftover| leftover.routines > 0) {
                let armed = match &leftover.database {
                    Some(name) if self.is_listed(name) => self.is_armed(login, name).await?,
                    Some(_) | None => true,
                };
                if armed {
                    return Ok(LeaseState::Closed);
                }
            }
            // Code that was not dropped with the others is in use.
            if !self.code_in_use(login).await?.is_empty() {
                return Ok(LeaseState::ObjectsLeft);
            }
        }
        let owns_here = leftovers.iter().filter(here).any(|leftover| leftover.owned);
        Ok(if owns_here {
            LeaseState::Disarmed
        } else {
            LeaseState::ObjectsLeft
        })
    }
}

const IN_USE: &str = "
    SELECT p.oid::regprocedure::text, string_agg(DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid), ', ')
    FROM pg_catalog.pg_roles r JOIN pg_catalog.pg_proc p ON p.proowner = r.oid
        JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_proc'::regclass AND d.refobjid = p.oid AND d.deptype = 'n'
    WHERE r.rolname = $1::name AND shobj_description(r.oid, 'pg_authid') ~ '^heir=hallpass_quarantine'
    GROUP BY 1 ORDER BY 1 LIMIT 5";
const LEASES: &str = "SELECT login, extract(epoch FROM ends)::bigint, ended, can_login, may_connect, groups, sessions, leftovers, routines, record FROM hallpass.leases()";
const FIRST_LEASES: &str = "SELECT login, extract(epoch FROM ends)::bigint, ended, can_login, groups <> '{}', groups,
    ARRAY(SELECT pid FROM pg_catalog.pg_stat_activity WHERE usename = login::name), leftovers, cardinality(leftovers)::bigint, record FROM hallpass.leases()";
