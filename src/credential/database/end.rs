//! Ending a lease: no new sessions, no old ones, nothing left behind, and then no login.

use std::time::Duration;

use super::{Database, DatabaseError, Databases, Target};
use crate::credential::{MintError, Revoked};
use crate::lease::LeaseContents;

/// What became of a login that was to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It is gone.
    Gone,
    /// It cannot log in and has no sessions, but something keeps its name: where, and what.
    Left(String),
}

impl Databases {
    /// Ends the lease before its time. What cannot be reached now is tried again by the sweep, until
    /// it is gone.
    ///
    /// # Errors
    /// The target is not in the settings.
    pub async fn revoke(&self, lease: &LeaseContents) -> Result<Revoked, MintError> {
        let target = self.targets.get(&lease.target).ok_or_else(|| MintError {
            message: format!("target `{}` of the lease is not in the settings", lease.target),
            reason: "target.unknown",
            nothing_made: true,
            ours: true,
        })?;
        match end(target.database.as_ref(), &lease.name).await {
            Ok(Ended::Gone) => Ok(Revoked::Gone),
            // Nobody can use it any more; only its name is still there.
            Ok(Ended::Left(what)) => {
                left(&lease.target, &lease.name, &what);
                Ok(Revoked::Gone)
            }
            Err(error) => {
                left(&lease.target, &lease.name, &error.to_string());
                target.remember(&lease.name, lease.expires_at);
                Ok(Revoked::Pending)
            }
        }
    }
}

impl Target {
    fn remember(&self, login: &str, until: crate::clock::Timestamp) {
        self.upkeep.remember(login, until);
    }
}

/// Ends one login, however it defends itself (databases.md P-2).
pub(super) async fn end(database: &dyn Database, login: &str) -> Result<Ended, DatabaseError> {
    shut(database, login).await?;
    let mut elsewhere = Vec::new();
    for leftover in database.leftovers(login).await? {
        match leftover.database {
            Some(name) if database.is_listed(&name) => database.clean(login, &name).await?,
            Some(name) if leftover.owned => {
                elsewhere.push(format!("owns {} in database `{name}`", leftover.objects));
            }
            Some(name) => elsewhere.push(format!("{} grants in database `{name}`", leftover.objects)),
            // What belongs to the whole server, such as a database, goes with any clean-up there.
            None => {}
        }
    }
    if !elsewhere.is_empty() {
        return Ok(Ended::Left(elsewhere.join(", ")));
    }
    match database.drop_login(login).await {
        Ok(()) => Ok(Ended::Gone),
        Err(error) if error.code() == Some("2BP01") => Ok(Ended::Left(error.to_string())),
        Err(error) => Err(error),
    }
}

/// No session may begin, and none goes on. Both at once and again until both hold: a login that
/// keeps a lock on itself delays the first until the second has ended its sessions, and one that
/// reconnects gets past the second until the first came through.
async fn shut(database: &dyn Database, login: &str) -> Result<(), DatabaseError> {
    let mut last = DatabaseError::Unknown("its sessions go on".to_owned());
    for _ in 0..ATTEMPTS {
        let (disabled, terminated) = tokio::join!(database.disable(login), database.terminate(login));
        match (disabled, terminated) {
            (Ok(()), Ok(0)) => return Ok(()),
            (Ok(()), Ok(_)) => {}
            (Err(error @ DatabaseError::Unreachable(_)), _)
            | (_, Err(error @ DatabaseError::Unreachable(_))) => return Err(error),
            (Err(error), _) | (_, Err(error)) => last = error,
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(last)
}

pub(super) fn left(target: &str, login: &str, what: &str) {
    tracing::error!(
        reason = "lease.left",
        target_name = target,
        lease = login,
        what = %crate::text::escape(what),
        "a lease is not wholly gone; the sweep goes on"
    );
}

const ATTEMPTS: u32 = 60;
const PAUSE: Duration = Duration::from_millis(50);
