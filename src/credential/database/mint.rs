//! A login is made, or found again, or refused.

use async_trait::async_trait;
use aws_lc_rs::constant_time;

use super::order::{CLOCKS_DIFFER, Order};
use super::{Database, DatabaseError, Found, Login, Logins, NewLogin, RefusalKind, end};
use crate::audit::Recorded;
use crate::credential::target::LeaseRecord;
use crate::credential::{Credential, Members, Mint, MintError};
use crate::lease::{self, LeaseContents};
use crate::reason::Reason;
use crate::secret::Secret;

#[async_trait]
impl Mint for Logins {
    async fn mint(&self, recorded: Recorded) -> Result<Credential, MintError> {
        let definition = recorded.reserved().permit().credential().clone();
        let wanted = self.database.wanted(&definition).ok_or_else(|| {
            let message = format!(
                "credential `{}` is no login of this database",
                definition.name
            );
            MintError::new(Reason::CredentialKind, message)
        })?;
        let order = Order::of(&recorded, &self.name, &wanted, &self.root_keys)?;
        let issued = self.make(order).await?;
        Ok(Credential {
            definition,
            members: issued.members,
            expires_at: issued.found.expires_at,
            lease: Some(issued.handle),
            public_id: issued.found.login,
        })
    }
}

/// A login on its way to the job.
#[derive(Debug)]
pub struct Issued {
    /// What the job logs in with.
    pub members: Members,
    /// What ends it before its time.
    pub handle: Secret<String>,
    /// The login as the server has it.
    pub found: Found,
}

impl Logins {
    /// Makes or finds the login of an order. The serving path comes here through [`Mint::mint`] only,
    /// with evidence; it is public for the suite that attacks databases.
    ///
    /// # Errors
    /// The target is down or refuses, or the login was made before with another key, or has ended.
    pub async fn make(&self, order: Order) -> Result<Issued, MintError> {
        let database = &self.database;
        if let Some(name) = order
            .wanted
            .database
            .as_deref()
            .filter(|name| !database.is_listed(name))
        {
            let message = format!("target `{}` does not list database `{name}`", order.target);
            return Err(MintError::new(Reason::TargetDatabase, message));
        }
        let found = create(database.as_ref(), &order).await?;
        if found.created {
            self.check_clock(&order, &found).await?;
        } else {
            self.check_repeat(&order, &found)?;
        }
        let contents = LeaseContents {
            target: order.target.clone(),
            name: found.login.clone(),
            expires_at: found.expires_at,
            policy: order.holder.policy.clone(),
            issuer: order.holder.issuer.clone(),
            subject: order.holder.subject.clone(),
            repository: order.holder.repository.clone(),
        };
        let handle = lease::seal(&contents, &self.root_keys).map_err(|error| MintError {
            message: format!("the lease could not be sealed: {error}"),
            reason: Reason::LeaseSeal,
            nothing_made: false,
        })?;
        let members = database.members(Login {
            username: found.login.clone(),
            password: order.password,
            wanted: order.wanted,
            given: found.given.clone(),
        });
        Ok(Issued {
            members,
            handle,
            found,
        })
    }

    /// A name is made of the server's clock, and its record of ours. Where they differ, the job would be sent an end
    /// that is not the login's, and the login would be reported as a foreign lease: it is ended before any job has it.
    async fn check_clock(&self, order: &Order, found: &Found) -> Result<(), MintError> {
        let ahead = found
            .expires_at
            .unix()
            .saturating_sub(order.expires_at.unix());
        if ahead.unsigned_abs() <= CLOCKS_DIFFER.unsigned_abs() {
            return Ok(());
        }
        let error = DatabaseError::Refused {
            kind: RefusalKind::Other,
            code: "CLOCK".to_owned(),
            message: format!(
                "the clock of the server differs from the broker's by {} s, at most {CLOCKS_DIFFER} s are allowed; synchronise both with NTP",
                ahead.unsigned_abs()
            ),
        };
        if let Err(problem) = end::end(self.database.as_ref(), &found.login, end::REVOCATION).await
        {
            // No job has its password, and the sweep ends it.
            log(&order.target, &problem.to_string());
        }
        Err(refused(&order.target, &error, true))
    }

    /// A login that was there before is given again only for the key that it was made with, while it
    /// lives, with the group and database that are permitted now (T-110).
    fn check_repeat(&self, order: &Order, found: &Found) -> Result<(), MintError> {
        let record = LeaseRecord::read(
            &self.root_keys,
            &order.target,
            &found.login,
            &found.groups,
            &found.record,
        );
        let made_with = record
            .as_ref()
            .and_then(|record| record.key_hash.as_deref());
        let is_same_key = match (&order.key_hash, made_with) {
            (Some(asked), Some(made)) => {
                constant_time::verify_slices_are_equal(asked.as_bytes(), made.as_bytes()).is_ok()
            }
            (Some(_) | None, _) => false,
        };
        if !is_same_key {
            return Err(replayed());
        }
        if !found.is_usable || found.groups.is_empty() {
            return Err(over(&order.target));
        }
        let wanted = &order.wanted;
        let is_as_before = record.is_some_and(|record| {
            record.act_as_group == wanted.act_as_group
                && found.acts_as_group == wanted.act_as_group
                && record.database == wanted.database
        });
        if found.groups != [wanted.group.as_str()] || !is_as_before {
            return Err(theirs(
                "the policies give this credential another group or database now; ask the CI for a new token"
                    .to_owned(),
                Reason::LeaseChanged,
            ));
        }
        Ok(())
    }
}

/// One call, and if its outcome is unknown the same call again: it finds or makes.
async fn create(database: &dyn Database, order: &Order) -> Result<Found, MintError> {
    let login = NewLogin {
        random: &order.random,
        password: &order.password,
        life: order.life,
        group: &order.wanted.group,
        act_as_group: order.wanted.act_as_group,
        record: &order.record,
        used_until: order.used_until,
        holder: &order.holder_hash,
        may_create: order.may_create,
    };
    let (found, sent_before) = match database.create(&login).await {
        Err(DatabaseError::Unknown(problem)) => {
            log(&order.target, &problem);
            (database.create(&login).await, true)
        }
        answered => (answered, false),
    };
    match found {
        // The first call made it: the record, with its nonce, is of this very order.
        Ok(Some(found)) => Ok(Found {
            created: found.created || (sent_before && found.record == order.record),
            ..found
        }),
        // It is over. Only a caller with the key may learn that.
        Ok(None) if order.key_hash.is_none() => Err(replayed()),
        Ok(None) => Err(over(&order.target)),
        Err(error) => Err(refused(&order.target, &error, sent_before)),
    }
}

fn theirs(message: String, reason: Reason) -> MintError {
    MintError {
        message,
        reason,
        nothing_made: false,
    }
}

fn replayed() -> MintError {
    theirs(
        "the subject token was already used for this credential; request a new ID token, or repeat with the same `Idempotency-Key`".to_owned(),
        Reason::TokenReplayed,
    )
}

fn over(target: &str) -> MintError {
    theirs(
        format!(
            "the database login issued for this token in `{target}` has ended and cannot be reissued; request a new ID token"
        ),
        Reason::LeaseOver,
    )
}

/// The job gets a short text; the log has the server's.
fn refused(target: &str, error: &DatabaseError, sent_before: bool) -> MintError {
    log(target, &error.to_string());
    let (problem, reason) = match error {
        DatabaseError::Unreachable(_) => ("cannot be reached", Reason::DatabaseUnreachable),
        DatabaseError::Unknown(_) => ("did not answer", Reason::DatabaseUnknown),
        DatabaseError::Refused { kind, .. } => refusal(*kind),
    };
    MintError {
        message: format!(
            "target `{target}` {problem}; its operator finds the reason with `hallpass target check`"
        ),
        reason,
        nothing_made: !sent_before && !matches!(error, DatabaseError::Unknown(_)),
    }
}

/// What is wrong with the target, and our code for it.
const fn refusal(kind: RefusalKind) -> (&'static str, Reason) {
    match kind {
        RefusalKind::GroupUnfit => ("does not hand out this group", Reason::DatabaseGroup),
        RefusalKind::Full => ("has as many logins as it may", Reason::DatabaseFull),
        RefusalKind::RepositoryFull => (
            "has as many logins for this repository as it may",
            Reason::DatabaseRepositoryFull,
        ),
        RefusalKind::Ceiling => (
            "allows less than the policies grant",
            Reason::DatabaseCeiling,
        ),
        RefusalKind::NotInstalled => ("is not installed", Reason::DatabaseNotInstalled),
        RefusalKind::Outdated => (
            "has functions of an older version",
            Reason::DatabaseOutdated,
        ),
        RefusalKind::RolledBack => ("did not answer", Reason::DatabaseUnknown),
        RefusalKind::Passing
        | RefusalKind::Locked
        | RefusalKind::Gone
        | RefusalKind::StillReferenced
        | RefusalKind::Other => ("did not create the login", Reason::DatabaseRefused),
    }
}

fn log(target: &str, problem: &str) {
    tracing::error!(
        reason = Reason::DatabaseMint.code(),
        target_name = target,
        problem = %crate::text::escape(problem),
        "a login could not be made"
    );
}
