//! `hallpass target check`: would a lease here do what it should, and no more?

use aws_lc_rs::rand;

use super::connection::{Connections, column};
use super::settings::{Ceiling, MAX_LIVE, SHORTEST_LIFE};
use super::{Facts, Flavor, Mysql, install};
use crate::clock::Timestamp;
use crate::credential::database::findings::{Findings, NO_HOLDER, REMOVE, THROW_AWAY_LIFE};
use crate::credential::database::order::random_password;
use crate::credential::database::{Database as _, DatabaseError, NewLogin};
use crate::credential::target::Finding;
use crate::lease::rand13;
use crate::secret::SecretSource;

impl Mysql {
    /// Goes through everything that makes leases fail, live on or reach too far, and tries a
    /// throw-away lease of each kind. Changes nothing that is still there afterwards.
    pub async fn check(&self, ceilings: &[Ceiling]) -> Vec<Finding> {
        let mut findings = Findings::default();
        let Some(facts) = self.check_answer(&mut findings).await else {
            return findings.into_vec();
        };
        self.check_server(&facts, &mut findings);
        if facts.contract != install::CONTRACT {
            return findings.into_vec();
        }
        self.check_ceilings(ceilings, &mut findings).await;
        self.check_groups(ceilings, &mut findings).await;
        self.check_surroundings(&mut findings).await;
        self.check_nodes(&mut findings).await;
        for is_checkout in [false, true] {
            let of_kind = |ceiling: &&Ceiling| ceiling.is_checkout == is_checkout;
            if let Some(ceiling) = ceilings.iter().find(of_kind) {
                self.try_a_lease(ceiling, &mut findings).await;
            }
        }
        findings.into_vec()
    }

    async fn check_answer(&self, findings: &mut Findings) -> Option<Facts> {
        match self.facts().await {
            Ok(facts) => Some(facts),
            Err(error @ DatabaseError::Refused { .. }) => {
                findings.error(
                    format!("the procedures are not there: {error}"),
                    "run the file that `hallpass target install` prints",
                );
                None
            }
            Err(error) => {
                findings.error(
                    format!("login `{}` on {}: the server {error}", self.settings.user, self.mint.address()),
                    "see that the server runs, that host, port, TLS and password of the settings are right, and that the files of `hallpass target install` and `hallpass target passwords` were run",
                );
                None
            }
        }
    }

    fn check_server(&self, facts: &Facts, findings: &mut Findings) {
        let flavor = Flavor::of_version(&facts.version);
        let version = crate::text::escape(&facts.version);
        if flavor.supports(&facts.version) {
            findings.fine(format!("{} {version} answers", flavor.name()));
        } else {
            findings.error(
                format!("the server is {} {version}", flavor.name()),
                "MySQL 8 and 9, and MariaDB from 10.11 on, are supported",
            );
        }
        if facts.contract != install::CONTRACT {
            findings.error(
                format!(
                    "the installed procedures are version {}, expected {}",
                    crate::text::escape(&facts.contract),
                    install::CONTRACT
                ),
                "run the file that this version's `hallpass target install` prints",
            );
        }
        findings.clock(facts.now);
        let is_on = facts.scheduler.eq_ignore_ascii_case("on");
        match (is_on, facts.dead_man.as_str()) {
            (true, "ENABLED") => findings.fine("the server ends leases by itself when no broker does".to_owned()),
            (false, _) => findings.warn(
                format!("event_scheduler is {}: when no broker runs, a lease lives on past its end", facts.scheduler),
                "SET GLOBAL event_scheduler = ON, and write it into the server's configuration; where the platform does not allow it, run `hallpass leases sweep` from a timer",
            ),
            (true, _) => findings.error(
                "the event hallpass.dead_man is not enabled: when no broker runs, a lease lives on past its end".to_owned(),
                "run the file that `hallpass target install` prints",
            ),
        }
        let wanted = i64::from(MAX_LIVE.saturating_mul(u32::from(self.settings.connections)));
        if wanted > facts.connections {
            findings.warn(
                format!("{MAX_LIVE} live logins with {} connections each could take all {} connections of the server", self.settings.connections, facts.connections),
                "the broker holds two connections open to end leases all the same; lower `connections` of the target, or raise max_connections, if that many jobs run at once",
            );
        }
    }

    /// The policies may grant what the installed file does not allow.
    async fn check_ceilings(&self, ceilings: &[Ceiling], findings: &mut Findings) {
        let rows = self
            .mint
            .call("CALL hallpass.list_ceilings()", Vec::new())
            .await;
        let rows = rows.unwrap_or_default();
        for ceiling in ceilings {
            // A row that cannot be read allows nothing.
            let allows = |row| -> Result<bool, DatabaseError> {
                Ok(column::<String>(row, 0)? == ceiling.group
                    && column::<bool>(row, 1)? == ceiling.is_checkout
                    && column::<i64>(row, 2)? >= i64::from(ceiling.longest_life)
                    && column::<i64>(row, 3)? >= i64::from(ceiling.connections))
            };
            if rows.iter().any(|row| allows(row).unwrap_or(false)) {
                findings.fine(format!(
                    "{} may be granted for {} s",
                    words(ceiling),
                    ceiling.longest_life
                ));
            } else {
                findings.error(
                    format!("the installed file allows less for {} than the policies", words(ceiling)),
                    "print the file again with `hallpass target install`, have it reviewed and run it",
                );
            }
        }
    }

    async fn check_groups(&self, ceilings: &[Ceiling], findings: &mut Findings) {
        for ceiling in ceilings {
            let sql = "CALL hallpass.fitness(?, ?)";
            let values = vec![ceiling.group.as_str().into(), ceiling.is_checkout.into()];
            let answered = self.mint.call(sql, values).await;
            let problem = answered.and_then(|rows| match rows.first() {
                Some(row) => column::<Option<String>>(row, 0),
                None => Ok(Some(
                    "the server does not say whether the group is fit".to_owned(),
                )),
            });
            match problem {
                Ok(None) => findings.fine(format!(
                    "{} has no power but over the application's data",
                    words(ceiling)
                )),
                Ok(Some(problem)) => findings.error(problem, fix_of_group(ceiling)),
                Err(error) => findings.error(
                    format!("{} cannot be looked at: {error}", words(ceiling)),
                    "run the file that `hallpass target install` prints",
                ),
            }
        }
    }

    async fn check_surroundings(&self, findings: &mut Findings) {
        match self.mint.call("CALL hallpass.problems()", Vec::new()).await {
            Ok(rows) if rows.is_empty() => findings
                .fine("no other account reaches the procedures or a lease's name".to_owned()),
            Ok(rows) => {
                for row in &rows {
                    let (Ok(problem), Ok(fix)) =
                        (column::<String>(row, 0), column::<String>(row, 1))
                    else {
                        continue;
                    };
                    findings.error(problem, &fix);
                }
            }
            Err(error) => findings.error(
                format!("the accounts of the server cannot be looked at: {error}"),
                "run the file that `hallpass target install` prints",
            ),
        }
        // Only MariaDB shows them to everybody; MySQL shows them to administrators.
        let prepared = self
            .mint
            .call("XA RECOVER", Vec::new())
            .await
            .unwrap_or_default();
        if !prepared.is_empty() {
            findings.warn(
                format!(
                    "the server has {}: one that a lease prepared outlives it and keeps its locks",
                    crate::text::count(
                        i64::try_from(prepared.len()).unwrap_or(i64::MAX),
                        "prepared XA transaction"
                    )
                ),
                "if no application is at it, end each of `XA RECOVER` with `XA ROLLBACK`",
            );
        }
    }

    async fn check_nodes(&self, findings: &mut Findings) {
        for node in &self.nodes {
            match node.call("CALL hallpass.version()", Vec::new()).await {
                Ok(_) => findings.fine(format!("node {} answers", node.address())),
                Err(error) => findings.error(
                    format!("node {}: the server {error}", node.address()),
                    "sessions of ended leases live on there: see that it replicates accounts and the database `hallpass`, and lets the broker's login in",
                ),
            }
        }
    }

    /// Makes a lease, logs in with it, and ends it.
    async fn try_a_lease(&self, ceiling: &Ceiling, findings: &mut Findings) {
        let mut random = [0; 32];
        let (Ok(()), Ok(password)) = (rand::fill(&mut random), random_password()) else {
            return;
        };
        let random = rand13(&random);
        let login = NewLogin {
            random: &random,
            password: &password,
            life: THROW_AWAY_LIFE.min(ceiling.longest_life).max(SHORTEST_LIFE),
            group: &ceiling.group,
            act_as_group: ceiling.is_checkout,
            record: r#"{"v":1,"pol":"target check"}"#,
            used_until: Timestamp::from_unix(0),
            holder: NO_HOLDER,
            may_create: true,
        };
        let lease = match self.create(&login).await {
            Ok(Some(made)) => made.login,
            Ok(None) => return,
            Err(DatabaseError::Refused { code, .. }) if code == "HP012" => {
                findings.warn(
                    format!("{} is in use by a job, so it was not tried", words(ceiling)),
                    "run the check again when the job is over",
                );
                return;
            }
            Err(error) => {
                findings.error(
                    format!(
                        "a throw-away lease of {} could not be made: {error}",
                        words(ceiling)
                    ),
                    "the reason is in the sentence before",
                );
                return;
            }
        };
        let account = if ceiling.is_checkout {
            &ceiling.group
        } else {
            &lease
        };
        let secret = SecretSource::Value(password);
        for database in &self.settings.databases {
            match self.enter(database, account, &secret).await {
                Ok(role) if ceiling.is_checkout || role.contains(&ceiling.group) => {
                    findings.fine(format!("a lease of {} can use database `{database}`", words(ceiling)));
                }
                Ok(_) => findings.error(
                    format!("the role of {} is not active in a new session", words(ceiling)),
                    "run the file that `hallpass target install` prints",
                ),
                Err(error) => findings.error(
                    format!("a lease of {} cannot use database `{database}`: the server {error}", words(ceiling)),
                    "GRANT the group what jobs need in that database, or correct `databases` of the target",
                ),
            }
        }
        findings.end_throw_away(self, &lease, REMOVE).await;
    }

    async fn enter(
        &self,
        database: &str,
        user: &str,
        password: &SecretSource,
    ) -> Result<String, DatabaseError> {
        Connections::of_login(&self.settings, (user, password), 1)
            .map_err(DatabaseError::Unreachable)?
            .enter(database)
            .await
    }
}

fn words(ceiling: &Ceiling) -> String {
    if ceiling.is_checkout {
        format!("account `{}`", ceiling.group)
    } else {
        format!("group `{}`", ceiling.group)
    }
}

const fn fix_of_group(ceiling: &Ceiling) -> &'static str {
    if ceiling.is_checkout {
        "use an account that is made for this and locked (CREATE USER … ACCOUNT LOCK), with privileges on the application's databases only and without GRANT OPTION"
    } else {
        "use a role (CREATE ROLE) with privileges on the application's tables only; migrations that make views, routines, triggers or events use `mode: checkout`"
    }
}
