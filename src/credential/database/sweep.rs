//! What has ended is removed, by whichever replica comes first.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::end::{Ended, end, left};
use super::order::is_our_record;
use super::{DatabaseError, Databases, LeaseRow, Target};
use crate::clock::Timestamp;
use crate::lease::LeaseName;

/// What one pass over a target did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Logins that are gone.
    pub removed: Vec<String>,
    /// Logins that cannot be removed yet, each with the reason.
    pub left: Vec<(String, String)>,
    /// Sessions without a login that were ended.
    pub ghosts: u32,
    /// Live logins that no broker with our keys made (databases.md P-4).
    pub strangers: Vec<String>,
}

/// How a target is, as of its last pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetStatus {
    /// When the last pass came through.
    pub swept_at: Option<Timestamp>,
    /// Why the last pass did not.
    pub problem: Option<String>,
    /// Leases that have not ended.
    pub live: usize,
    /// Leases that should be gone.
    pub stuck: usize,
}

/// The sweeping of every target. Dropping it stops it.
#[derive(Debug)]
pub struct Sweeper(Vec<JoinHandle<()>>);

impl Drop for Sweeper {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
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
    /// Revocations that found the target unreachable, until their leases end by themselves.
    pending: BTreeMap<String, Timestamp>,
    status: TargetStatus,
}

impl Upkeep {
    fn locked(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn remember(&self, login: &str, until: Timestamp) {
        let mut remembered = self.locked();
        if remembered.pending.len() < MOST_PENDING {
            remembered.pending.insert(login.to_owned(), until);
        }
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
        let tasks = self.targets.keys().map(|name| {
            let (databases, name, report) = (Arc::clone(self), name.clone(), Arc::clone(report));
            let interval = intervals.get(&name).copied().unwrap_or(INTERVAL);
            tokio::spawn(async move {
                loop {
                    if let Ok(done) = databases.sweep(&name).await
                        && done != SweepReport::default()
                    {
                        report(&name, &done);
                    }
                    tokio::time::sleep(jittered(interval)).await;
                }
            })
        });
        Sweeper(tasks.collect())
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
            Ok((report, leases)) => {
                let live = leases.iter().filter(|lease| !lease.ended && lease.can_login).count();
                remembered.status = TargetStatus {
                    swept_at: Some(self.clock.now()),
                    problem: None,
                    live,
                    stuck: report.left.len(),
                };
            }
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
        self.targets.iter().map(|(name, target)| (name.clone(), of(target))).collect()
    }

    async fn pass(
        &self,
        name: &str,
        target: &Target,
    ) -> Result<(SweepReport, Vec<LeaseRow>), DatabaseError> {
        target.database.hold().await?;
        let mut report = SweepReport::default();
        for login in self.due_revocations(target) {
            self.end_one(name, target, &login, &mut report).await;
        }
        // Page after page by name, so that logins that cannot be dropped do not stand before the
        // others (databases.md P-7).
        let mut after = String::new();
        loop {
            let ended = target.database.ended(&after, PAGE).await?;
            let Some(last) = ended.last() else { break };
            after.clone_from(last);
            for login in &ended {
                self.end_one(name, target, login, &mut report).await;
            }
        }
        report.ghosts = target.database.ghosts().await?;
        let leases = target.database.leases().await?;
        report.strangers = self.strangers(name, &leases);
        for login in &report.strangers {
            tracing::error!(
                reason = "lease.stranger",
                target_name = name,
                lease = %crate::text::escape(login),
                "a login in our names has a record that none of our keys wrote; was the broker's database password stolen?"
            );
        }
        Ok((report, leases))
    }

    /// Revocations that are still owed; what has ended by itself is found by its name.
    fn due_revocations(&self, target: &Target) -> Vec<String> {
        let now = self.clock.now();
        let mut remembered = target.upkeep.locked();
        remembered.pending.retain(|_, until| *until > now);
        remembered.pending.keys().cloned().collect()
    }

    async fn end_one(&self, name: &str, target: &Target, login: &str, report: &mut SweepReport) {
        let now = self.clock.monotonic();
        let waits = target.upkeep.locked().failures.get(login).is_some_and(|(_, next)| *next > now);
        if waits {
            report.left.push((login.to_owned(), "waits for its next attempt".to_owned()));
            return;
        }
        let problem = match end(target.database.as_ref(), login).await {
            Ok(Ended::Gone) => {
                let mut remembered = target.upkeep.locked();
                remembered.failures.remove(login);
                remembered.pending.remove(login);
                report.removed.push(login.to_owned());
                return;
            }
            Ok(Ended::Left(what)) => what,
            Err(error) => error.to_string(),
        };
        left(name, login, &problem);
        report.left.push((login.to_owned(), problem));
        let mut remembered = target.upkeep.locked();
        if remembered.failures.len() < MOST_PENDING {
            let failures = remembered.failures.get(login).map_or(0, |(failures, _)| *failures);
            let pause = back_off(failures);
            remembered
                .failures
                .insert(login.to_owned(), (failures.saturating_add(1), now.saturating_add(pause)));
        }
    }

    fn strangers(&self, target: &str, leases: &[LeaseRow]) -> Vec<String> {
        leases
            .iter()
            .filter(|lease| !lease.ended && lease.can_login)
            .filter(|lease| {
                LeaseName::parse(&lease.login).map_or(true, |name| {
                    !is_our_record(&self.root_keys, target, name.rand13(), &lease.record)
                })
            })
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

fn jittered(interval: Duration) -> Duration {
    let mut byte = [128_u8; 1];
    // Without randomness replicas may meet, which costs work and no correctness.
    let _ = aws_lc_rs::rand::fill(&mut byte);
    let [byte] = byte;
    interval.mul_f64(0.5 + f64::from(byte) / 255.0)
}

const INTERVAL: Duration = Duration::from_secs(20);
const PAGE: u32 = 200;
const MOST_PENDING: usize = 10_000;
