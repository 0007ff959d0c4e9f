//! What `target check` finds, and the throw-away lease that it tries.

use super::order::CLOCKS_DIFFER;
use super::{Database, Ended, end};
use crate::clock::{Clock as _, SystemClock};
use crate::credential::target::{Finding, Severity};

/// The findings so far.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, severity: Severity, message: String, fix: &str) {
        // Said once, whatever number of groups it was found with.
        if self.0.iter().any(|found| found.message == message) {
            return;
        }
        self.0.push(Finding {
            severity,
            message,
            fix: fix.to_owned(),
        });
    }

    pub(super) fn error(&mut self, message: String, fix: &str) {
        self.add(Severity::Error, message, fix);
    }

    pub(super) fn warn(&mut self, message: String, fix: &str) {
        self.add(Severity::Warning, message, fix);
    }

    pub(super) fn fine(&mut self, message: String) {
        self.add(Severity::Fine, message, "");
    }

    pub(super) fn into_vec(self) -> Vec<Finding> {
        self.0
    }

    /// Names are made of the server's clock, and records of ours. `now` is the server's.
    pub(super) fn clock(&mut self, now: i64) {
        let ahead = now.saturating_sub(SystemClock::new().now().unix());
        if ahead.abs() > CLOCKS_DIFFER / 2 {
            self.error(
                format!("the server's clock is {ahead} s ahead of this machine's"),
                "synchronise both with NTP: leases end at another time than their records say, and from 60 s on none is made",
            );
        }
    }

    /// Ends the throw-away lease. `remedy` is the fix where something of it is left.
    pub(super) async fn end_throw_away(
        &mut self,
        database: &dyn Database,
        lease: &str,
        remedy: &str,
    ) {
        match end::end(database, lease, end::REVOCATION).await {
            Ok(Ended::Gone) => self.fine("the throw-away lease is gone again".to_owned()),
            Ok(Ended::Left { what, .. } | Ended::Armed(what) | Ended::Open(what)) => self.error(
                format!("the throw-away lease `{lease}` cannot be removed: {what}"),
                remedy,
            ),
            Err(error) => self.error(
                format!("the throw-away lease `{lease}` could not be ended: {error}"),
                SWEPT,
            ),
        }
    }
}

/// It takes a place of no repository.
pub(super) const NO_HOLDER: &str = "00000000000000000000000000000000";
/// Seconds.
pub(super) const THROW_AWAY_LIFE: u32 = 60;
/// What is left where the database keeps objects of a lease.
pub(super) const REMOVE: &str = "remove what it has there, then run the check again";
/// What is left where it keeps none.
pub(super) const SWEPT: &str = "the sweep removes it when its minute is over";
