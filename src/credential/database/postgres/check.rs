//! `hallpass target check`: would a lease here do what it should, and no more?

use std::time::Duration;

use aws_lc_rs::rand;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::connection::{WITHOUT_TLS, column};
use super::{GroupCeiling, Postgres, install};
use crate::clock::Timestamp;
use crate::credential::database::findings::{Findings, NO_HOLDER, REMOVE, THROW_AWAY_LIFE};
use crate::credential::database::order::random_password;
use crate::credential::database::postgres::settings::{MAX_LIVE, SHORTEST_LIFE};
use crate::credential::database::{Database as _, DatabaseError, NewLogin};
use crate::credential::target::Finding;
use crate::lease::rand13;
use crate::secret::SecretSource;

impl Postgres {
    /// Goes through everything that makes leases fail, live on or reach too far, and tries a
    /// throw-away lease. Changes nothing that is still there afterwards.
    pub async fn check(&self, groups: &[GroupCeiling]) -> Vec<Finding> {
        let mut findings = Findings::default();
        let Some(facts) = self.server(&mut findings).await else {
            return findings.into_vec();
        };
        self.check_server(&facts, &mut findings);
        let missing = self.missing_databases(&facts.databases);
        if let Some(missing) = missing {
            findings.error(
                missing,
                "correct its name under `databases` of the target; or make it, and run the file that `hallpass target install` prints",
            );
            return findings.into_vec();
        }
        self.check_ceilings(groups, &mut findings).await;
        self.check_groups(groups, &mut findings).await;
        for (database, cleaner) in &self.cleaners {
            match self.check_cleaner(cleaner).await {
                Ok(()) => findings.fine(format!("database `{database}` can be cleaned")),
                Err(error) => findings.error(
                    format!("database `{database}` cannot be cleaned: {error}"),
                    "run the file that `hallpass target install` prints, and set the password of the cleaner",
                ),
            }
        }
        self.check_installed(groups, &mut findings).await;
        self.check_surroundings(groups, &mut findings).await;
        for group in groups {
            if group.without_acting {
                self.check_reach(group, &mut findings).await;
            }
            if group.without_acting && group.act_as_group {
                findings.warn(
                    format!("group `{}` is used both with and without `act_as_group`: a login that does not act as it can change its default privileges, and so who may use what other jobs create as the group", group.group),
                    "use a group of its own for the credentials without `act_as_group`",
                );
            }
        }
        // One of each kind: which databases let it in does not depend on the group.
        let of = |acts: bool| {
            groups.iter().find(move |group| {
                if acts {
                    group.act_as_group
                } else {
                    group.without_acting
                }
            })
        };
        for acts in [true, false] {
            if let Some(group) = of(acts) {
                self.try_a_lease(group, acts, &facts, &mut findings).await;
            }
        }
        findings.into_vec()
    }

    /// Databases of the settings that the server does not have.
    pub(super) fn missing_databases(&self, there: &[String]) -> Option<String> {
        let listed = |names: Vec<&String>| {
            let names = names.into_iter().map(|name| format!("`{name}`"));
            names.collect::<Vec<_>>().join(", ")
        };
        let wanted = self.settings.databases.iter();
        let missing: Vec<_> = wanted.filter(|name| !there.contains(name)).collect();
        if missing.is_empty() {
            return None;
        }
        Some(format!(
            "`databases` of the target names {}, which the server does not have or lets nobody into (there: {})",
            listed(missing),
            listed(there.iter().collect())
        ))
    }

    async fn server(&self, findings: &mut Findings) -> Option<ServerFacts> {
        let read = self.mint.query(SERVER, &[]).await;
        match read.and_then(|rows| rows.first().map(server_facts).transpose()) {
            Ok(facts) => facts,
            Err(error @ DatabaseError::Refused { .. }) => {
                findings.error(
                    format!("the functions are not there: {error}"),
                    "run the file that `hallpass target install` prints",
                );
                None
            }
            Err(DatabaseError::Unreachable(problem)) if problem == WITHOUT_TLS => {
                findings.error(
                    format!("the server {}:{} answers without TLS, expected `ssl = on`", self.settings.host, self.settings.port),
                    "turn on `ssl` on the server, with a certificate for this host name; only for a server on this machine, name it by a loopback address and write `tls: disable`",
                );
                None
            }
            Err(error) => {
                findings.error(
                    format!("login `{}` on {}:{}, database `{}`: the server {error}", self.settings.user, self.settings.host, self.settings.port, self.settings.control_database),
                    "see that the server runs, that host, port, TLS and password of the settings are right, and that the file of `hallpass target install` was run",
                );
                None
            }
        }
    }

    fn check_server(&self, facts: &ServerFacts, findings: &mut Findings) {
        let major = facts.version / 10_000;
        if (15..=18).contains(&major) {
            findings.fine(format!("PostgreSQL {major} answers"));
        } else {
            findings.error(
                format!("the server is PostgreSQL {major}"),
                "versions 15 to 18 are supported",
            );
        }
        if facts.contract != install::CONTRACT {
            findings.error(
                format!(
                    "the installed functions are version {}, expected {}",
                    facts.contract,
                    install::CONTRACT
                ),
                "run the file that this version's `hallpass target install` prints",
            );
        }
        if facts.is_superuser {
            findings.error(
                format!("login `{}` is a superuser", self.settings.user),
                "use the login `hallpass` of the install file, which can only call its functions",
            );
        }
        if facts.prepared_transactions == 0 {
            findings.fine("no prepared transactions".to_owned());
        } else {
            findings.error(
                format!("max_prepared_transactions is {}: a transaction that a lease prepares outlives it", facts.prepared_transactions),
                "set max_prepared_transactions = 0 and restart the server",
            );
        }
        let wanted = MAX_LIVE.saturating_mul(u32::from(self.settings.connections));
        let there = u32::try_from(facts.connections.saturating_sub(facts.reserved)).unwrap_or(0);
        if wanted > there {
            findings.warn(
                format!("{MAX_LIVE} live logins with {} connections each could take all {there} connections of the server", self.settings.connections),
                "the broker holds two connections open to end leases all the same; lower `connections` of the target, or raise max_connections, if that many jobs run at once",
            );
        }
    }

    /// The policies may grant what the installed file does not allow.
    async fn check_ceilings(&self, groups: &[GroupCeiling], findings: &mut Findings) {
        let sql = "SELECT group_name, longest_life, most_connections, may_act_as_group FROM hallpass.ceilings()";
        let allows = |row: &Row, group: &GroupCeiling| -> Result<bool, DatabaseError> {
            Ok(column::<String>(row, 0)? == group.group
                && i64::from(column::<i32>(row, 1)?) >= i64::from(group.longest_life)
                && column::<i32>(row, 2)? >= i32::from(group.connections)
                && (column::<bool>(row, 3)? || !group.act_as_group))
        };
        let rows = self.mint.query(sql, &[]).await.unwrap_or_default();
        for group in groups {
            // A row that cannot be read allows nothing.
            let allowed = rows.iter().any(|row| allows(row, group).unwrap_or(false));
            if allowed {
                findings.fine(format!(
                    "group `{}` may be granted for {} s",
                    group.group, group.longest_life
                ));
            } else {
                findings.error(
                    format!("the installed file allows less for group `{}` than the policies", group.group),
                    "print the file anew with `hallpass target install`, have it reviewed and run it",
                );
            }
        }
    }

    async fn check_groups(&self, groups: &[GroupCeiling], findings: &mut Findings) {
        for group in groups {
            let name = group.group.clone();
            let answered = self
                .mint
                .query("SELECT hallpass.unfit($1)", &[(&name, Type::TEXT)])
                .await;
            let problem = answered.and_then(|rows| match rows.first() {
                Some(row) => column::<Option<String>>(row, 0),
                None => Ok(Some(
                    "the server does not say whether the group is fit".to_owned(),
                )),
            });
            match problem {
                Ok(problem) => match problem {
                    None => findings.fine(format!("group `{}` is a powerless NOLOGIN role", group.group)),
                    Some(problem) if problem == format!("role {name} does not exist") => findings.error(
                        problem,
                        &format!("CREATE ROLE {} NOLOGIN, grant it what jobs need, then run the file that `hallpass target install` prints", install::identifier(&name)),
                    ),
                    Some(problem) => findings.error(
                        problem,
                        "a lease would get that power: use a NOLOGIN role without attributes that is inside no such role, or name a predefined role under `allowed_roles` of the target",
                    ),
                },
                Err(error) => findings.error(
                    format!("group `{}` cannot be looked at: {error}", group.group),
                    "run the file that `hallpass target install` prints",
                ),
            }
        }
    }

    /// What a login leaves that does not act as its group must be found again.
    async fn check_reach(&self, group: &GroupCeiling, findings: &mut Findings) {
        match self.look_at_reach(&group.group).await {
            Ok(problems) if problems.is_empty() => findings.fine(format!(
                "what a login in group `{}` leaves behind can be cleaned up",
                group.group
            )),
            Ok(problems) => {
                for problem in &*problems {
                    findings.error(
                        format!("group `{}` is not given to logins that do not act as it: {problem}", group.group),
                        "do what the sentence before says, or run the file that `hallpass target install` prints again",
                    );
                }
            }
            Err(error) => findings.error(
                format!("group `{}` cannot be looked at: {error}", group.group),
                "run the check again",
            ),
        }
    }

    /// Makes a lease, logs in with it where it should and where it should not, and ends it.
    async fn try_a_lease(
        &self,
        group: &GroupCeiling,
        act_as_group: bool,
        facts: &ServerFacts,
        findings: &mut Findings,
    ) {
        let mut random = [0; 32];
        let (Ok(()), Ok(password)) = (rand::fill(&mut random), random_password()) else {
            return;
        };
        let random = rand13(&random);
        let login = NewLogin {
            random: &random,
            password: &password,
            life: THROW_AWAY_LIFE.min(group.longest_life).max(SHORTEST_LIFE),
            group: &group.group,
            act_as_group,
            record: r#"{"v":1,"pol":"target check"}"#,
            used_until: Timestamp::from_unix(0),
            holder: NO_HOLDER,
            may_create: true,
        };
        let made = match self.create(&login).await {
            Ok(Some(made)) => made.login,
            Ok(None) => return,
            Err(error) => {
                findings.error(
                    format!(
                        "a throw-away lease in group `{}` could not be made: {error}",
                        group.group
                    ),
                    "the reason is in the sentence before",
                );
                return;
            }
        };
        let secret = SecretSource::Value(password);
        for database in &self.settings.databases {
            match self.enter(database, &made, &secret).await {
                Ok(()) => findings.fine(format!("a lease in group `{}` can log in to `{database}`", group.group)),
                Err(error) => findings.error(
                    format!("a lease in group `{}` cannot log in to `{database}`: {error}", group.group),
                    "see that pg_hba.conf lets `+hallpass_connect` in with scram-sha-256, and that the install file was run for this database",
                ),
            }
        }
        for database in &facts.databases {
            if self.is_listed(database) {
                continue;
            }
            if self.enter(database, &made, &secret).await.is_ok() {
                self.report_open(database, findings);
            }
        }
        findings.end_throw_away(self, &made, REMOVE).await;
    }

    /// On a managed server some databases cannot be closed; the settings name those.
    fn report_open(&self, database: &str, findings: &mut Findings) {
        let name = install::identifier(database);
        if *database == self.settings.control_database {
            findings.error(
                format!("a lease can enter the control database `{database}`"),
                &format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC, by its owner; or name another database under `control_database`"),
            );
        } else if self
            .settings
            .open_databases
            .iter()
            .any(|open| open == database)
        {
            findings.warn(
                format!("a lease can enter database `{database}`, which `open_databases` names: what it leaves there is never cleaned"),
                "the role of such a lease is kept without power until somebody drops what it owns there",
            );
        } else {
            findings.error(
                format!("a lease can enter database `{database}`, which is not listed: what it leaves there is never cleaned"),
                &format!("REVOKE CONNECT, TEMPORARY ON DATABASE {name} FROM PUBLIC, by its owner; or put `host {name} +hallpass_connect all reject` first in pg_hba.conf; where neither can be done, name it under `open_databases` of the target"),
            );
        }
    }

    async fn enter(
        &self,
        database: &str,
        login: &str,
        password: &SecretSource,
    ) -> Result<(), DatabaseError> {
        let connections = super::Connections::new(&self.settings, database, (login, password), 1)
            .map_err(DatabaseError::Unreachable)?;
        let entered = tokio::time::timeout(ENTER_TIME, connections.hold()).await;
        entered.map_err(|_| DatabaseError::Unreachable("no answer in time".to_owned()))?
    }
}

fn server_facts(row: &Row) -> Result<ServerFacts, DatabaseError> {
    Ok(ServerFacts {
        version: column(row, 0)?,
        is_superuser: column(row, 1)?,
        prepared_transactions: column(row, 2)?,
        connections: column(row, 3)?,
        reserved: column(row, 4)?,
        contract: column(row, 5)?,
        databases: column(row, 6)?,
    })
}

struct ServerFacts {
    version: i32,
    is_superuser: bool,
    prepared_transactions: i32,
    connections: i32,
    reserved: i32,
    contract: String,
    databases: Vec<String>,
}

const SERVER: &str = "
    SELECT current_setting('server_version_num')::int4, current_setting('is_superuser') = 'on',
        current_setting('max_prepared_transactions')::int4, current_setting('max_connections')::int4,
        current_setting('superuser_reserved_connections')::int4 + coalesce(current_setting('reserved_connections', true)::int4, 0),
        hallpass.version(), ARRAY(SELECT datname::text FROM pg_catalog.pg_database WHERE datallowconn ORDER BY 1)";
const ENTER_TIME: Duration = Duration::from_secs(5);
