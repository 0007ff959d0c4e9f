//! Ends a lease: closes the login, disarms the code it left, hands over its objects, drops the role.
//!
//! Closing and disarming depend on nothing that the login can lock, own, delay or make fail. Handing
//! over is bounded work that may take several passes (T-127).

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Cleaned, Database, DatabaseError, Leftover, Logins, RefusalKind};
use crate::credential::Revoked;
use crate::lease::LeaseContents;
use crate::reason::Reason;
use crate::text::count;

/// How far a lease has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The login is closed, its code disarmed, its role dropped.
    Gone,
    /// The login is closed and its code disarmed. `what` keeps the role; with `continues` the next pass
    /// goes on with it, else somebody has to act.
    Left {
        /// What is left, and what to do about it.
        what: String,
        /// There is more that clean-up can do.
        continues: bool,
    },
    /// The login is closed, and code of it can still run with the power of others.
    Armed(String),
    /// Nobody can log in any more, and sessions are still open.
    Open(String),
}

/// How much time and work one attempt may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    close: Duration,
    /// Turns at cleaning up, of about a second each.
    turns: u32,
}

/// A caller waits for the answer.
pub(super) const REVOCATION: Patience = Patience {
    close: Duration::from_secs(4),
    turns: 2,
};
/// Other leases wait for theirs.
pub(super) const SWEEP: Patience = Patience {
    close: Duration::from_secs(1),
    turns: 5,
};

impl Logins {
    /// Ends the lease before its time, and says why it is not gone. What cannot be ended now is tried again
    /// by the sweep, until the lease is gone.
    pub(super) async fn end_lease(&self, lease: &LeaseContents) -> (Revoked, String) {
        let (problem, revoked) = match end(self.database.as_ref(), &lease.name, REVOCATION).await {
            Ok(Ended::Gone) => return (Revoked::Gone, String::new()),
            Ok(Ended::Left { what, .. }) => (what, Revoked::Closed),
            Ok(Ended::Armed(what) | Ended::Open(what)) => (what, Revoked::Pending),
            Err(error) => (error.to_string(), Revoked::Pending),
        };
        left(&lease.target, &lease.name, &problem);
        self.upkeep.remember(&lease.name, lease.expires_at);
        (revoked, problem)
    }
}

/// Ends one login, however it defends itself.
pub(super) async fn end(
    database: &dyn Database,
    login: &str,
    patience: Patience,
) -> Result<Ended, DatabaseError> {
    // Somebody else's open transaction can hold a group. It holds neither the login nor its sessions.
    let first = database.cut(login).await;
    let is_cut = match first {
        Err(error) if !is_passing(&error) => return Err(error),
        cut => cut.is_ok(),
    };
    let closing = close(database, login, patience.close);
    tokio::pin!(closing);
    // The code of a session that hangs is disarmed while it hangs.
    let (is_closed, is_disarmed) =
        if let Ok(closed) = tokio::time::timeout(GRACE, &mut closing).await {
            (closed?, false)
        } else {
            let (closed, disarmed) = tokio::join!(closing, disarm(database, login));
            (closed?, disarmed.is_ok_and(|cleaned| !cleaned.armed))
        };
    if !is_closed {
        let mut what = database.reasons(login).await?;
        if !is_disarmed {
            what.push("its code may still be armed".to_owned());
        }
        return Ok(Ended::Open(what.join("; ")));
    }
    if !is_cut {
        cut(database, login).await?;
    }
    let mut attempts = REMOVALS;
    loop {
        match remove(database, login, patience.turns).await {
            // Another replica is at it, somebody holds a lock, or a session came late.
            Err(error) if attempts > 0 && is_passing(&error) => {
                attempts = attempts.saturating_sub(1);
                tokio::time::sleep(PAUSE).await;
                close(database, login, patience.close).await?;
            }
            done => return done,
        }
    }
}

/// Takes the memberships, which no lock of the login can delay.
pub(super) async fn cut(database: &dyn Database, login: &str) -> Result<(), DatabaseError> {
    let mut attempts = REMOVALS;
    loop {
        match database.cut(login).await {
            Err(error) if attempts > 0 && is_passing(&error) => {
                attempts = attempts.saturating_sub(1);
                tokio::time::sleep(PAUSE).await;
            }
            done => return done,
        }
    }
}

/// Takes away what the login owns and what it was granted, then the login.
async fn remove(database: &dyn Database, login: &str, turns: u32) -> Result<Ended, DatabaseError> {
    let mut leftovers = database.leftovers(login).await?;
    let mut cleaned = Cleaned::default();
    if !leftovers.is_empty() {
        for name in places(database, &leftovers) {
            cleaned.add(clean(database, login, &name, turns).await?);
        }
        leftovers = database.leftovers(login).await?;
    }
    if leftovers.is_empty() {
        match database.drop_login(login).await {
            Ok(()) => return Ok(Ended::Gone),
            Err(error) if error.kind() == Some(RefusalKind::StillReferenced) => {}
            // The login is closed and left nothing: the answer does not wait for a session that names it in a grant.
            Err(error) if error.kind() == Some(RefusalKind::Locked) => {
                cleaned.more = true;
                cleaned
                    .problems
                    .push("another session holds a lock on its role".to_owned());
            }
            Err(error) => return Err(error),
        }
    }
    let mut what: Vec<String> = leftovers.iter().map(words).collect();
    what.append(&mut cleaned.problems);
    what.extend(database.reasons(login).await?);
    let what = what.join("; ");
    // Where nobody cleans, nobody disarms.
    let is_out_of_reach =
        |leftover: &Leftover| leftover.routines > 0 && !is_listed(database, leftover);
    if cleaned.armed || leftovers.iter().any(is_out_of_reach) {
        return Ok(Ended::Armed(what));
    }
    Ok(Ended::Left {
        what,
        continues: cleaned.more,
    })
}

/// The databases to clean in. What belongs to the whole server goes with the clean-up of any.
fn places(database: &dyn Database, leftovers: &[Leftover]) -> BTreeSet<String> {
    let listed = leftovers
        .iter()
        .filter(|leftover| is_listed(database, leftover));
    let any = || database.databases().first().cloned().unwrap_or_default();
    listed
        .map(|leftover| leftover.database.clone().unwrap_or_else(any))
        .collect()
}

fn is_listed(database: &dyn Database, leftover: &Leftover) -> bool {
    let name = leftover.database.as_deref();
    name.is_none_or(|name| database.is_listed(name))
}

/// Turn after turn, so that other leases have theirs in between.
async fn clean(
    database: &dyn Database,
    login: &str,
    name: &str,
    turns: u32,
) -> Result<Cleaned, DatabaseError> {
    let mut cleaned = database.clean(login, name).await?;
    for _ in 1..turns {
        if !cleaned.more {
            break;
        }
        cleaned = database.clean(login, name).await?;
    }
    Ok(cleaned)
}

/// Disarms what the login left in every database where it left something.
async fn disarm(database: &dyn Database, login: &str) -> Result<Cleaned, DatabaseError> {
    let mut cleaned = Cleaned::default();
    let leftovers = database.leftovers(login).await?;
    for leftover in leftovers.iter().filter(|leftover| leftover.routines > 0) {
        match &leftover.database {
            Some(name) if database.is_listed(name) => {
                cleaned.add(database.disarm(login, name).await?);
            }
            Some(_) | None => cleaned.armed = true,
        }
    }
    Ok(cleaned)
}

fn words(leftover: &Leftover) -> String {
    let place = match &leftover.database {
        Some(name) => format!("in database `{name}`"),
        None => "on the server".to_owned(),
    };
    if leftover.owned {
        format!("it owns {} {place}", count(leftover.objects, "object"))
    } else {
        format!("it has {} {place}", count(leftover.objects, "grant"))
    }
}

/// No session may begin, and none goes on; false when some still did after `time`. Both at once and
/// again until both hold: a login that keeps a lock on itself delays the first until the second has
/// ended its sessions, and one that reconnects gets past the second until the first came through.
async fn close(
    database: &dyn Database,
    login: &str,
    time: Duration,
) -> Result<bool, DatabaseError> {
    let deadline = tokio::time::Instant::now().checked_add(time);
    let is_late = || deadline.is_none_or(|deadline| tokio::time::Instant::now() >= deadline);
    while let Err(error) = disable(database, login).await {
        if !is_passing(&error) {
            return Err(error);
        }
        if is_late() {
            return Ok(false);
        }
    }
    let mut pause = FIRST_PAUSE;
    while database.terminate(login).await? > 0 {
        if is_late() {
            return Ok(false);
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(PAUSE);
    }
    Ok(true)
}

/// Ends sessions for as long as the login is not disabled yet. Neither call is broken off: its
/// connection would be lost, and there may be no other (T-107).
pub(super) async fn disable(database: &dyn Database, login: &str) -> Result<(), DatabaseError> {
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
            tokio::time::sleep(FIRST_PAUSE).await;
        }
    };
    let (disabled, terminated) = tokio::join!(disabling, terminating);
    disabled.and(terminated.map(drop))
}

pub(super) fn left(target: &str, login: &str, what: &str) {
    tracing::error!(
        reason = Reason::LeaseLeft.code(),
        target_name = target,
        lease = login,
        what = %crate::text::escape(what),
        "a lease is not gone yet; the sweep tries again"
    );
}

pub(super) fn is_passing(error: &DatabaseError) -> bool {
    matches!(
        error.kind(),
        Some(RefusalKind::Passing | RefusalKind::Locked | RefusalKind::Gone)
    )
}

const REMOVALS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const PAUSE: Duration = Duration::from_millis(20);
/// How long sessions may take to end before disarming begins without them.
const GRACE: Duration = Duration::from_millis(250);
