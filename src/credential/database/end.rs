//! Ending a lease: no new sessions, no old ones, nothing left behind, and then no login.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Database, DatabaseError, Databases, Leftover, Target};
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
            message: format!(
                "target `{}` of the lease is not in the settings",
                lease.target
            ),
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
    let mut attempts = REMOVALS;
    loop {
        shut(database, login).await?;
        match remove(database, login).await {
            // Another replica is at it, somebody holds a lock, or a session came late.
            Err(error)
                if attempts > 0 && error.code().is_some_and(|code| PASSING.contains(&code)) =>
            {
                attempts = attempts.saturating_sub(1);
                tokio::time::sleep(PAUSE).await;
            }
            Ok(Ended::Left(what)) => {
                // What it left where nobody cleans must not act with its group's power.
                return Ok(Ended::Left(match database.strip(login).await {
                    Ok(()) => what,
                    Err(error) => format!("{what}; its memberships could not be taken: {error}"),
                }));
            }
            done => return done,
        }
    }
}

/// Takes away what the login owns and what it was granted, then the login.
async fn remove(database: &dyn Database, login: &str) -> Result<Ended, DatabaseError> {
    let leftovers = database.leftovers(login).await?;
    let (here, elsewhere): (Vec<_>, Vec<_>) = leftovers.iter().partition(|leftover| {
        leftover
            .database
            .as_deref()
            .is_none_or(|name| database.is_listed(name))
    });
    let mut names: Vec<&str> = here
        .iter()
        .filter_map(|leftover| leftover.database.as_deref())
        .collect();
    names.dedup();
    let any = database.address().database;
    if names.is_empty() && !here.is_empty() {
        // What belongs to the whole server, such as a grant on a database, goes with any clean-up.
        names.push(&any);
    }
    for name in names {
        database.clean(login, name).await?;
    }
    if !elsewhere.is_empty() {
        return Ok(Ended::Left(
            elsewhere
                .into_iter()
                .map(words)
                .collect::<Vec<_>>()
                .join(", "),
        ));
    }
    match database.drop_login(login).await {
        Ok(()) => Ok(Ended::Gone),
        Err(error) if error.code() == Some(STILL_REFERRED_TO) => {
            let rest = database.leftovers(login).await?;
            if rest.is_empty() {
                return Err(error);
            }
            Ok(Ended::Left(
                rest.iter().map(words).collect::<Vec<_>>().join(", "),
            ))
        }
        Err(error) => Err(error),
    }
}

fn words(leftover: &Leftover) -> String {
    let place = match &leftover.database {
        Some(name) => format!("in database `{name}`"),
        None => "on the server".to_owned(),
    };
    if leftover.owned {
        format!("it owns {} objects {place}", leftover.objects)
    } else {
        format!("it has {} grants {place}", leftover.objects)
    }
}

/// No session may begin, and none goes on. Both at once and again until both hold: a login that
/// keeps a lock on itself delays the first until the second has ended its sessions, and one that
/// reconnects gets past the second until the first came through.
async fn shut(database: &dyn Database, login: &str) -> Result<(), DatabaseError> {
    let shutting = async {
        while let Err(error) = disable(database, login).await {
            if !error.code().is_some_and(|code| PASSING.contains(&code)) {
                return Err(error);
            }
        }
        while database.terminate(login).await? > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    };
    tokio::time::timeout(SHUT_TIME, shutting)
        .await
        .unwrap_or_else(|_| Err(DatabaseError::Unknown("its sessions go on".to_owned())))
}

/// Ends sessions for as long as the login is not disabled yet. Neither call is broken off: its
/// connection would be lost, and there may be no other (databases.md P-8).
async fn disable(database: &dyn Database, login: &str) -> Result<(), DatabaseError> {
    let is_done = AtomicBool::new(false);
    let disabling = async {
        let disabled = database.disable(login).await;
        is_done.store(true, Ordering::Relaxed);
        disabled
    };
    let terminating = async {
        loop {
            let terminated = database.terminate(login).await;
            if is_done.load(Ordering::Relaxed) || terminated.is_err() {
                return terminated;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let (disabled, terminated) = tokio::join!(disabling, terminating);
    disabled.and(terminated.map(drop))
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

/// `dependent_objects_still_exist`.
const STILL_REFERRED_TO: &str = "2BP01";
/// What passes by itself: conflicts with another replica or a lock (`XX000` is a catalogue row that
/// changed at the same time), a login that is gone, a session that came late.
const PASSING: [&str; 9] = [
    "XX000", "40001", "40P01", "55P03", "23505", "42710", "42704", "HP006", "HP007",
];
const REMOVALS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(20);
const SHUT_TIME: Duration = Duration::from_secs(20);
