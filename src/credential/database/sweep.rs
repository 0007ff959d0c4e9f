//! What has ended is removed, by whichever replica comes first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::task::JoinHandle;

use super::end::{Ended, SWEEP, cut, disable, end, is_passing, left};
use super::order::Record;
use super::{Database, DatabaseError, Databases, LeaseRow, LeaseState, Target};
use crate::clock::Timestamp;

/// What one pass over a target did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Logins that are gone.
    pub removed: Vec<String>,
    /// Logins that could not be removed, each with the reason.
    pub left: Vec<(String, String)>,
    /// Logins that were left before and whose next attempt is not due.
    pub waiting: u32,
    /// Sessions without a login that were ended.
    pub ghosts: u32,
    /// Live logins, not told of before, that no broker with our keys made (databases.md P-4).
    pub strangers: Vec<String>,
}

/// How a target is, as of its last pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetStatus {
    /// When the last pass came through.
    pub swept_at: Option<Timestamp>,
    /// Why the last pass did not.
    pub problem: Option<String>,
    /// How many leases are how far.
    pub leases: BTreeMap<LeaseState, usize>,
    /// Live logins that no broker with our keys made.
    pub strangers: usize,
    /// Objects in quarantine, which somebody should look at.
    pub quarantined: i64,
}

/// The sweeping of every target. Dropping it stops it.
pub struct Sweeper {
    databases: Arc<ArcSwap<Databases>>,
    report: Report,
    /// By target; `None` once it was stopped.
    tasks: Mutex<Option<BTreeMap<String, Task>>>,
}

/// The sweeping of one target.
struct Task {
    database: Arc<dyn Database>,
    interval: Duration,
    running: JoinHandle<()>,
}

impl Sweeper {
    /// Sweeps these targets from now on. Where a target is as before, so is its sweeping; of one
    /// that is gone, or reached in another way, a pass under way is broken off.
    pub fn follow(&self, databases: &Arc<Databases>, intervals: &BTreeMap<String, Duration>) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(tasks) = tasks.as_mut() else {
            return;
        };
        self.databases.store(Arc::clone(databases));
        let mut before = std::mem::take(tasks);
        for (name, target) in &databases.targets {
            let interval = intervals.get(name).copied().unwrap_or(INTERVAL);
            let as_before = before.remove(name).filter(|task| {
                task.interval == interval && Arc::ptr_eq(&task.database, &target.database)
            });
            let task = as_before.unwrap_or_else(|| Task {
                database: Arc::clone(&target.database),
                interval,
                running: self.start(name, interval),
            });
            tasks.insert(name.clone(), task);
        }
    }

    /// Ends all sweeping for good.
    pub fn stop(&self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        *tasks = None;
    }

    fn start(&self, name: &str, interval: Duration) -> JoinHandle<()> {
        let (databases, report) = (Arc::clone(&self.databases), Arc::clone(&self.report));
        let name = name.to_owned();
        tokio::spawn(async move {
            loop {
                let swept = databases.load_full().sweep(&name).await;
                if let Ok(done) = swept
                    && done.is_news()
                {
                    report(&name, &done);
                }
                tokio::time::sleep(jittered(interval)).await;
            }
        })
    }
}

impl fmt::Debug for Sweeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sweeper")
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// What a replica remembers of a target between passes. Nothing of it is needed: a restart only
/// tries again sooner.
#[derive(Debug, Default)]
pub(super) struct Upkeep(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    /// Failures of a login and when to try it again, in monotonic time.
    failures: BTreeMap<String, (u32, Duration)>,
    /// Strangers that were told of.
    strangers: BTreeSet<String>,
    /// Revocations that found the target unreachable, until their leases end by themselves.
    pending: BTreeMap<String, Timestamp>,
    status: TargetStatus,
}

impl Upkeep {
    fn locked(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of `strangers` that were not there at the pass before.
    fn news(&self, strangers: Vec<String>) -> Vec<String> {
        let now: BTreeSet<String> = strangers.into_iter().collect();
        let mut remembered = self.locked();
        let news = now.difference(&remembered.strangers).cloned().collect();
        remembered.strangers = now;
        news
    }

    pub(super) fn remember(&self, login: &str, until: Timestamp) {
        let mut remembered = self.locked();
        if remembered.pending.len() < MOST_PENDING {
            remembered.pending.insert(login.to_owned(), until);
        }
    }
}

impl SweepReport {
    /// Something happened that was not told before.
    #[must_use]
    pub fn is_news(&self) -> bool {
        Self {
            waiting: 0,
            ..self.clone()
        } != Self::default()
    }
}

/// Told of every pass that did something, e.g. to put it on record.
pub type Report = Arc<dyn Fn(&str, &SweepReport) + Send + Sync>;

impl Databases {
    /// Sweeps every target until the sweeper is dropped: first at once, then after each interval,
    /// shortened or lengthened by up to a half so that replicas do not meet.
    #[must_use]
    pub fn start_sweeping(
        self: &Arc<Self>,
        intervals: &BTreeMap<String, Duration>,
        report: &Report,
    ) -> Sweeper {
        let sweeper = Sweeper {
            databases: Arc::new(ArcSwap::from(Arc::clone(self))),
            report: Arc::clone(report),
            tasks: Mutex::new(Some(BTreeMap::new())),
        };
        sweeper.follow(self, intervals);
        sweeper
    }

    /// One pass over a target.
    ///
    /// # Errors
    /// It cannot be reached, or is not in the settings.
    pub async fn sweep(&self, name: &str) -> Result<SweepReport, DatabaseError> {
        let target = self.targets.get(name).ok_or_else(|| {
            DatabaseError::Unreachable(format!("target `{name}` is not in the settings"))
        })?;
        let swept = self.pass(name, target).await;
        let mut remembered = target.upkeep.locked();
        match &swept {
            Ok((_, status)) => remembered.status = status.clone(),
            Err(error) => {
                if remembered.status.problem.is_none() {
                    tracing::error!(
                        reason = "database.sweep",
                        target_name = name,
                        problem = %crate::text::escape(&error.to_string()),
                        "a target cannot be swept"
                    );
                }
                remembered.status.problem = Some(error.to_string());
            }
        }
        swept.map(|(report, _)| report)
    }

    /// How each target is.
    #[must_use]
    pub fn status(&self) -> BTreeMap<String, TargetStatus> {
        let of = |target: &Target| target.upkeep.locked().status.clone();
        self.targets
            .iter()
            .map(|(name, target)| (name.clone(), of(target)))
            .collect()
    }

    async fn pass(
        &self,
        name: &str,
        target: &Target,
    ) -> Result<(SweepReport, TargetStatus), DatabaseError> {
        target.database.hold().await?;
        target.database.recover().await?;
        let mut report = SweepReport::default();
        let owed = self.due_revocations(target);
        self.end_page(name, target, owed.clone(), &mut report).await;
        // Page after page by name, so that logins that cannot be dropped do not come before the
        // others (databases.md P-7).
        let mut after = String::new();
        loop {
            let mut ended = target.database.ended(&after, PAGE).await?;
            let Some(last) = ended.last() else { break };
            after.clone_from(last);
            ended.retain(|login| !owed.contains(login));
            self.end_page(name, target, ended, &mut report).await;
        }
        report.ghosts = target.database.ghosts().await?;
        let leases = target.database.leases().await?;
        let strangers = self.strangers(name, &leases);
        let quarantined = target.database.quarantined().await?;
        let status = TargetStatus {
            swept_at: Some(self.clock.now()),
            problem: target.database.misfit().await?,
            leases: leases.iter().fold(BTreeMap::new(), |mut counts, lease| {
                let count: &mut usize = counts.entry(lease.state).or_default();
                *count = count.saturating_add(1);
                counts
            }),
            strangers: strangers.len(),
            quarantined: quarantined.iter().map(|leftover| leftover.objects).sum(),
        };
        report.strangers = target.upkeep.news(strangers);
        for login in &report.strangers {
            tracing::error!(
                reason = "lease.stranger",
                target_name = name,
                lease = %crate::text::escape(login),
                "a login in our names has a record that none of our keys wrote; was the broker's database password stolen?"
            );
        }
        Ok((report, status))
    }

    /// Revocations that are still owed; what has ended by itself is found by its name.
    fn due_revocations(&self, target: &Target) -> Vec<String> {
        let now = self.clock.now();
        let mut remembered = target.upkeep.locked();
        remembered.pending.retain(|_, until| *until > now);
        remembered.pending.keys().cloned().collect()
    }

    /// Ends a page of logins. First all of them are closed, which takes milliseconds each; then a few at
    /// a time are cleaned up after, in random order, so that one that hangs delays neither the closing
    /// nor, on every replica alike, the same others (databases.md P-21).
    async fn end_page(
        &self,
        name: &str,
        target: &Target,
        mut logins: Vec<String>,
        report: &mut SweepReport,
    ) {
        let waiting = logins.len();
        logins.retain(|login| self.is_due(target, login));
        let waiting = waiting.saturating_sub(logins.len());
        report.waiting = report
            .waiting
            .saturating_add(u32::try_from(waiting).unwrap_or(u32::MAX));
        for login in &logins {
            let database = target.database.as_ref();
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
                ending.push(end_named(Arc::clone(&target.database), login));
            }
            let Some((login, ended)) = ending.next().await else {
                break;
            };
            self.note_end(name, target, &login, ended, report);
        }
    }

    fn is_due(&self, target: &Target, login: &str) -> bool {
        let remembered = target.upkeep.locked();
        let next = remembered.failures.get(login).map(|(_, next)| *next);
        next.is_none_or(|next| next <= self.clock.monotonic())
    }

    fn note_end(
        &self,
        name: &str,
        target: &Target,
        login: &str,
        ended: Result<Ended, DatabaseError>,
        report: &mut SweepReport,
    ) {
        let (problem, continues) = match ended {
            Ok(Ended::Gone) => {
                let mut remembered = target.upkeep.locked();
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
        left(name, login, &problem);
        report.left.push((login.to_owned(), problem));
        let mut remembered = target.upkeep.locked();
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

    fn strangers(&self, target: &str, leases: &[LeaseRow]) -> Vec<String> {
        leases
            .iter()
            .filter(|lease| !lease.ended && lease.can_login)
            .filter(|lease| self.record(target, lease).is_none())
            .map(|lease| lease.login.clone())
            .collect()
    }

    /// What a broker with one of our keys wrote down about a lease, if one did.
    #[must_use]
    pub fn record(&self, target: &str, lease: &LeaseRow) -> Option<Record> {
        Record::read(
            &self.root_keys,
            target,
            &lease.login,
            &lease.groups,
            &lease.record,
        )
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

fn jittered(interval: Duration) -> Duration {
    let mut byte = [128_u8; 1];
    // Without randomness replicas may meet, which costs work and no correctness.
    let _ = aws_lc_rs::rand::fill(&mut byte);
    let [byte] = byte;
    interval.mul_f64(0.5 + f64::from(byte) / 255.0)
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
const INTERVAL: Duration = Duration::from_secs(20);
const PAGE: u32 = 200;
const MOST_PENDING: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::super::postgres::{Cleaner, Postgres, TargetSettings};
    use super::*;
    use crate::clock::FixedClock;
    use crate::rootkey::{RootKey, RootKeys};
    use crate::secret::{Secret, SecretSource};

    fn database(host: &str) -> Arc<dyn Database> {
        let password = SecretSource::Value(Secret::new("p".to_owned()));
        let cleaner = Cleaner {
            user: "c".to_owned(),
            password: password.clone(),
        };
        let login = ("hallpass".to_owned(), password);
        let databases = vec!["shop".to_owned()];
        let settings = TargetSettings::new(host.to_owned(), databases, login, cleaner);
        Arc::new(Postgres::new(settings).unwrap())
    }

    /// T-77
    #[test]
    fn a_revocation_that_is_owed_is_owed_after_a_reload_too() {
        let now = Timestamp::from_unix(1_790_000_000);
        let roots = RootKeys::new("https://h.example", 1, vec![RootKey::generate().unwrap()]);
        let roots = roots.unwrap();
        let named = |name: &str, host: &str| BTreeMap::from([(name.to_owned(), database(host))]);
        let clock = Arc::new(FixedClock::at(now));
        let before = Databases::new(named("shop-db", "one.example"), roots.clone(), clock);
        before.targets["shop-db"]
            .upkeep
            .remember("hp_x", now.plus(60));
        let after = before.succeeded_by(named("shop-db", "two.example"), roots.clone());
        let owed =
            |databases: &Databases, name: &str| databases.due_revocations(&databases.targets[name]);
        assert_eq!(owed(&after, "shop-db"), ["hp_x"]);
        let other = before.succeeded_by(named("other-db", "one.example"), roots);
        assert_eq!(owed(&other, "other-db"), [""; 0]);
    }
}
