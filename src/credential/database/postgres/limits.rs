//! `hallpass target check`: does the server have the connections that all brokers may want?

use tokio_postgres::types::Type;

use super::Postgres;
use super::connection::column;
use crate::credential::database::DatabaseError;
use crate::credential::database::findings::Findings;

impl Postgres {
    /// Compares what the settings say with `CONNECTION LIMIT` of both logins and with the server's own.
    pub(super) async fn look_at_connections(
        &self,
        findings: &mut Findings,
    ) -> Result<(), DatabaseError> {
        let settings = &self.settings;
        let brokers = settings.brokers;
        let logins = [
            (
                &settings.user,
                settings.broker_connections,
                settings.broker_connection_limit(),
                "broker_connections",
            ),
            (
                &settings.cleaner.user,
                settings.cleaner_connections,
                settings.cleaner_connection_limit(),
                "cleaner_connections",
            ),
        ];
        let mut wanted_by_all = 0_u32;
        for (login, connections, wanted, key) in logins {
            wanted_by_all = wanted_by_all.saturating_add(wanted);
            let rows = self.mint.query(LIMIT, &[(login, Type::TEXT)]).await?;
            let Some(row) = rows.first() else { continue };
            // -1 is no limit.
            let limit = u32::try_from(column::<i32>(row, 0)?).ok();
            if let Some(limit) = limit.filter(|limit| *limit < wanted) {
                findings.error(
                    format!("login `{login}` may have {limit} connections, and {brokers} brokers with {connections} each may want {wanted}"),
                    &format!("print the file again with `hallpass target install`, have it reviewed and run it, or lower `brokers` or `{key}` of the target"),
                );
            }
        }
        let rows = self.mint.query(FREE, &[]).await?;
        let Some(row) = rows.first() else {
            return Ok(());
        };
        let there = u32::try_from(column::<i32>(row, 0)?).unwrap_or(0);
        if wanted_by_all >= there {
            findings.error(
                format!("{brokers} brokers may want {wanted_by_all} connections, and the server has {there} for everybody"),
                "lower `brokers`, `broker_connections` or `cleaner_connections` of the target, or raise max_connections",
            );
        }
        Ok(())
    }
}

const LIMIT: &str = "SELECT rolconnlimit FROM pg_catalog.pg_roles WHERE rolname::text = $1";
const FREE: &str = "
    SELECT current_setting('max_connections')::int4 - current_setting('superuser_reserved_connections')::int4
        - coalesce(current_setting('reserved_connections', true)::int4, 0)";
