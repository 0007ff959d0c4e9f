//! What `target check` finds, and the throw-away lease that it tries.

use aws_lc_rs::rand;

use super::order::CLOCKS_DIFFER;
use super::{Database, Ended, Holder, Order, Parts, end};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::credential::MintError;
use crate::credential::target::{Finding, Severity};
use crate::lease::rand13;
use crate::reason::Reason;
use crate::rootkey::RootKeys;
use crate::token::TokenId;

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
        if ahead.unsigned_abs() > CLOCKS_DIFFER.unsigned_abs() / 2 {
            self.error(
                format!(
                    "the server's clock differs from this machine's by {} s",
                    ahead.unsigned_abs()
                ),
                "synchronise both with NTP: leases end at another time than their records say, and from a minute on none is made",
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

/// A lease for no job, with a record like that of any other, so that no broker reports it.
pub(super) fn throw_away(
    (target, keys): (&str, &RootKeys),
    group: &str,
    now: Timestamp,
) -> Result<Order, MintError> {
    let mut random = [0; 32];
    rand::fill(&mut random)
        .map_err(|_| MintError::new(Reason::MintRandom, "the random source failed".to_owned()))?;
    let token = TokenId {
        issuer: POLICY.to_owned(),
        id: rand13(&random),
        digest: String::new(),
    };
    let parts = Parts {
        target,
        credential: POLICY,
        database: None,
        group,
        act_as_group: false,
        life: THROW_AWAY_LIFE,
        token: &token,
        key: None,
        may_create: true,
        minted_at: now,
        expires_at: now.plus(i64::from(THROW_AWAY_LIFE)),
        used_until: now,
        run: None,
        holder: Holder {
            policy: POLICY.to_owned(),
            issuer: String::new(),
            subject: String::new(),
            repository: None,
        },
    };
    Order::new(keys, parts)
}

/// The policy in the record of a throw-away lease.
const POLICY: &str = "target check";
/// It takes a place of no repository.
pub(super) const NO_HOLDER: &str = "00000000000000000000000000000000";
/// Seconds.
pub(super) const THROW_AWAY_LIFE: u32 = 60;
/// What is left where the database keeps objects of a lease.
pub(super) const REMOVE: &str = "remove what it has there, then run the check again";
/// What is left where it keeps none.
pub(super) const SWEPT: &str = "the sweep removes it when its minute is over";
