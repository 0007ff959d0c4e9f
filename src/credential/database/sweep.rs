//! What has ended is removed, by whichever replica comes first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};

use super::end::{Ended, SWEEP, cut, disable, end, is_passing, left};
use super::{Database, DatabaseError, Logins};
use crate::clock::Timestamp;
use crate::credential::target::{LeaseRow, LeaseState, SweepReport, TargetStatus};
use crate::reason::Reason;

/// What a replica remembers of a target between passes. Nothing of it is needed: a restart only
/// tries again sooner.
#[derive(Debug, Default)]
pub(super) struct Upkeep(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    /// Failures of a login and when to try it again, in monotonic time.
    failures: BTreeMap<String, (u32, Duration)>,
    /// Strangers that were told of.
    foreign_leases: BTreeSet<String>,
    /// Revocations that found the target unreachable, until their leases end by themselves.
    pending: BTreeMap<String, Timestamp>,
    status: TargetStatus,
}

impl Upkeep {
    fn locked(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self) -> TargetStatus {
        self.locked().status.clone()
    }

    /// Those of `foreign_leases` that the previous pass did not find.
    fn news(&self, foreign_leases: Vec<String>) -> Vec<String> {
        let now: BTreeSet<String> = foreign_leases.into_iter().collect();
        let mut remembered = self.locked();
        let news = now
            .difference(&remembered.foreign_leases)
            .cloned()
            .collect();
        remembered.foreign_leases = now;
        news
    }

    pub(super) fn remember(&self, login: &str, until: Timestamp) {
        let mut remembered = self.locked();
        if remembered.pending.len() < MOST_PENDING {
            remembered.pending.insert(login.to_owned(), until);
        }
    }
}

impl Logins {
    /// One pass, whose outcome is the status from now on.
    pub(super) async fn pass_and_remember(&self) -> Result<SweepReport, DatabaseError> {
        let swept = self.pass().await;
        let mut remembered = self.upkeep.locked();
        match &swept {
            Ok((_, status)) => remembered.status = status.clone(),
            Err(error) => {
                if remembered.status.problem.is_none() {
                    tracing::error!(
                        reason = Reason::DatabaseSweep.code(),
                        target_name = self.name,
                        problem = %crate::text::escape(&error.to_string()),
                        "a target cannot be swept"
                    );
                }
                remembered.status.problem = Some(error.to_string());
            }
        }
        swept.map(|(report, _)| report)
    }

    async fn pass(&self) -> Result<(SweepReport, TargetStatus), DatabaseError> {
        self.database.hold().await?;
        self.database.recover().await?;
        let mut report = SweepReport::default();
        let owed = self.due_revocations();
        self.end_page(owed.clone(), &mut report).await;
        // Page after page by name, so that logins that cannot be dropped do not come before the
        // others (T-107).
        let mut after = String::new();
        loop {
            let mut ended = self.database.ended(&after, PAGE).await?;
            let Some(last) = ended.last() else { break };
            after.clone_from(last);
            ended.retain(|login| !owed.contains(login));
            self.end_page(ended, &mut report).await;
        }
        report.ghosts = self.database.ghosts().await?;
        let leases = self.database.leases().await?;
        let foreign = self.foreign(&leases);
        let quarantined = self.database.quarantined().await?;
        let status = TargetStatus {
            swept_at: Some(self.clock.now()),
            problem: self.database.misfit().await?,
            leases: leases.iter().fold(BTreeMap::new(), |mut counts, lease| {
                let count: &mut usize = counts.entry(lease.state).or_default();
                *count = count.saturating_add(1);
                counts
            }),
            foreign_leases: foreign.len(),
            quarantined: quarantined.iter().map(|leftover| leftover.objects).sum(),
        };
        report.foreign_leases = self.upkeep.news(foreign);
        for login in &report.foreign_leases {
            tracing::error!(
                reason = Reason::LeaseForeign.code(),
                target_name = self.name,
                lease = %crate::text::escape(login),
                "a login in our names has a record that no key of this broker signed; was the \
                 broker's database password stolen?"
            );
        }
        Ok((report, status))
    }

    /// Revocations that are still owed; what has ended by itself is found by its name.
    fn due_revocations(&self) -> Vec<String> {
        let now = self.clock.now();
        let mut remembered = self.upkeep.locked();
        remembered.pending.retain(|_, until| *until > now);
        remembered.pending.keys().cloned().collect()
    }

    /// Ends a page of logins. First all of them are closed, which takes milliseconds each; then a few at
    /// a time are cleaned up after, in random order, so that one that hangs delays neither the closing
    /// nor, on every replica alike, the same others (T-127).
    async fn end_page(&self, mut logins: Vec<String>, report: &mut SweepReport) {
        let waiting = logins.len();
        logins.retain(|login| self.is_due(login));
        let waiting = waiting.saturating_sub(logins.len());
        report.waiting = report
            .waiting
            .saturating_add(u32::try_from(waiting).unwrap_or(u32::MAX));
        for login in &logins {
            let database = self.database.as_ref();
            // What does not come through here is tried again, and reported, below.
            if cut(database, login)
                .await
                .is_err_and(|error| !is_passing(&error))
            {
                break;
            }
            let _ = disable(database, login).await;
        }
        shuffle(&mut logins);
        let mut ending = FuturesUnordered::new();
        let mut logins = logins.into_iter();
        loop {
            while ending.len() < AT_ONCE
                && let Some(login) = logins.next()
            {
                ending.push(end_named(Arc::clone(&self.database), login));
            }
            let Some((login, ended)) = ending.next().await else {
                break;
            };
            self.note_end(&login, ended, report);
        }
    }

    fn is_due(&self, login: &str) -> bool {
        let remembered = self.upkeep.locked();
        let next = remembered.failures.get(login).map(|(_, next)| *next);
        next.is_none_or(|next| next <= self.clock.monotonic())
    }

    fn note_end(&self, login: &str, ended: Result<Ended, DatabaseError>, report: &mut SweepReport) {
        let (problem, continues) = match ended {
            Ok(Ended::Gone) => {
                let mut remembered = self.upkeep.locked();
                remembered.failures.remove(login);
                remembered.pending.remove(login);
                report.removed.push(login.to_owned());
                return;
            }
            Ok(Ended::Left { what, continues }) => (
                format!("{}: {what}", LeaseState::ObjectsLeft.name()),
                continues,
            ),
            Ok(Ended::Armed(what)) => (format!("{}: {what}", LeaseState::Closed.name()), false),
            Ok(Ended::Open(what)) => (format!("{}: {what}", LeaseState::Closing.name()), false),
            Err(error) => (error.to_string(), false),
        };
        left(&self.name, login, &problem);
        report.left.push((login.to_owned(), problem));
        let mut remembered = self.upkeep.locked();
        if continues {
            remembered.failures.remove(login);
        } else if remembered.failures.len() < MOST_PENDING {
            let failures = remembered
                .failures
                .get(login)
                .map_or(0, |(failures, _)| *failures);
            let next = self.clock.monotonic().saturating_add(back_off(failures));
            remembered
                .failures
                .insert(login.to_owned(), (failures.saturating_add(1), next));
        }
    }

    fn foreign(&self, leases: &[LeaseRow]) -> Vec<String> {
        leases
            .iter()
            .filter(|lease| !lease.ended && lease.can_login)
            .filter(|lease| self.record(lease).is_none())
            .map(|lease| lease.login.clone())
            .collect()
    }
}

/// 1, 2, 4, … up to 60 minutes; the first failure is tried again at the next pass.
fn back_off(failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => Duration::ZERO,
        Some(doubled) => {
            let minutes = 1_u64.checked_shl(doubled).unwrap_or(u64::MAX).min(60);
            Duration::from_secs(minutes.saturating_mul(60))
        }
    }
}

async fn end_named(
    database: Arc<dyn Database>,
    login: String,
) -> (String, Result<Ended, DatabaseError>) {
    let ended = end(database.as_ref(), &login, SWEEP).await;
    (login, ended)
}

/// Without randomness replicas may do the same in the same order, which costs time and no correctness.
fn shuffle(logins: &mut [String]) {
    for last in (1..logins.len()).rev() {
        let mut bytes = [0_u8; 8];
        let _ = aws_lc_rs::rand::fill(&mut bytes);
        let below = u64::try_from(last).unwrap_or(0).saturating_add(1);
        let other = u64::from_le_bytes(bytes).checked_rem(below).unwrap_or(0);
        logins.swap(last, usize::try_from(other).unwrap_or(0));
    }
}

/// Leases that are cleaned up after at once; one of them works, the others wait for their turn.
const AT_ONCE: usize = 4;
const PAGE: u32 = 200;
const MOST_PENDING: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::super::postgres::{Cleaner, Postgres, PostgresSettings};
    use super::*;
    use crate::clock::{Clock, FixedClock};
    use crate::credential::target::{PreviousTarget, With};
    use crate::rootkey::{RootKey, RootKeys};
    use crate::secret::{Secret, SecretSource};

    fn database(host: &str) -> Result<Arc<dyn Database>, String> {
        let password = SecretSource::Value(Secret::new("p".to_owned()));
        let cleaner = Cleaner {
            user: "c".to_owned(),
            password: password.clone(),
        };
        let login = ("hallpass".to_owned(), password);
        let databases = vec!["shop".to_owned()];
        let settings = PostgresSettings::new(host.to_owned(), databases, login, cleaner);
        Ok(Arc::new(Postgres::new(settings)?))
    }

    /// T-77
    #[test]
    fn a_revocation_that_is_owed_is_owed_after_a_reload_too() {
        let now = Timestamp::from_unix(1_790_000_000);
        let roots = RootKeys::new("https://h.example", 1, vec![RootKey::generate().unwrap()]);
        let roots = roots.unwrap();
        let clock: Arc<dyn Clock> = Arc::new(FixedClock::at(now));
        let logins = |host: &str, before: Option<&Logins>| {
            let with = With {
                root_keys: &roots,
                signing: None,
                clock: &clock,
                before: before.map(|target| PreviousTarget {
                    target,
                    is_kept: false,
                }),
            };
            Logins::new("shop-db", Duration::ZERO, &with, || database(host)).unwrap()
        };
        let before = logins("one.example", None);
        before.upkeep.remember("hp_x", now.plus(60));
        let after = logins("two.example", Some(&before));
        assert_eq!(after.due_revocations(), ["hp_x"]);
        assert_eq!(logins("one.example", None).due_revocations(), [""; 0]);
    }
}
