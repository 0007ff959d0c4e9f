//! A target that logins are made in: a database, what is owed to it, and the keys that name its leases.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::Database;
use super::sweep::Upkeep;
use crate::clock::Clock;
use crate::credential::target::{
    ConnectionStatus, LeaseRecord, LeaseRow, LeaseState, Listed, Listing, SweepReport, Target,
    TargetStatus, With,
};
use crate::credential::{MintError, Revoked};
use crate::lease::LeaseContents;
use crate::rootkey::RootKeys;

/// One database that logins are made in.
#[derive(Debug)]
pub struct Logins {
    pub(super) name: String,
    pub(super) database: Arc<dyn Database>,
    pub(super) upkeep: Arc<Upkeep>,
    pub(super) root_keys: RootKeys,
    pub(super) clock: Arc<dyn Clock>,
    interval: Duration,
}

impl Logins {
    /// The target of that name. What is owed to the one before a reload is owed to this one, and its
    /// connections are kept if `with` says so; else `connect` makes new ones.
    ///
    /// # Errors
    /// As `connect`.
    pub fn new(
        name: &str,
        interval: Duration,
        with: &With<'_>,
        connect: impl FnOnce() -> Result<Arc<dyn Database>, String>,
    ) -> Result<Self, String> {
        let is_kept = with.before.is_some_and(|before| before.is_kept);
        let before = with.before.and_then(|before| before.target.of::<Self>());
        let database = match before.filter(|_| is_kept) {
            Some(before) => {
                before.database.follow(with);
                Arc::clone(&before.database)
            }
            None => connect()?,
        };
        Ok(Self {
            name: name.to_owned(),
            database,
            upkeep: before.map_or_else(Arc::default, |before| Arc::clone(&before.upkeep)),
            root_keys: with.root_keys.clone(),
            clock: Arc::clone(with.clock),
            interval,
        })
    }

    #[must_use]
    pub const fn database(&self) -> &Arc<dyn Database> {
        &self.database
    }

    /// What a broker with one of our keys wrote down about a lease, if one did.
    pub(super) fn record(&self, lease: &LeaseRow) -> Option<LeaseRecord> {
        LeaseRecord::read(
            &self.root_keys,
            &self.name,
            &lease.login,
            &lease.groups,
            &lease.record,
        )
    }
}

#[async_trait]
impl Target for Logins {
    fn has_same_files(&self) -> bool {
        self.database.has_same_files()
    }

    fn continues(&self, other: &dyn Target) -> bool {
        let other = other.of::<Self>();
        other.is_some_and(|other| Arc::ptr_eq(&self.database, &other.database))
    }

    async fn revoke(&self, lease: &LeaseContents) -> Result<(Revoked, String), MintError> {
        Ok(self.end_lease(lease).await)
    }

    fn sweep_interval(&self) -> Option<Duration> {
        Some(self.interval)
    }

    async fn sweep(&self) -> Result<SweepReport, String> {
        self.pass_and_remember()
            .await
            .map_err(|error| error.to_string())
    }

    fn status(&self) -> TargetStatus {
        self.upkeep.status()
    }

    fn connections(&self) -> Vec<ConnectionStatus> {
        self.database.connections()
    }

    async fn leases(&self) -> Result<Listing, String> {
        let listing = async {
            let mut leases = Vec::new();
            for lease in self.database.leases().await? {
                let reasons = match lease.state {
                    LeaseState::Live => Vec::new(),
                    LeaseState::Closing
                    | LeaseState::Closed
                    | LeaseState::Disarmed
                    | LeaseState::ObjectsLeft => self.database.reasons(&lease.login).await?,
                };
                leases.push(Listed {
                    record: self.record(&lease),
                    lease,
                    reasons,
                });
            }
            let quarantined = self.database.quarantined().await?;
            Ok::<_, super::DatabaseError>(Listing {
                leases,
                quarantined,
            })
        };
        listing.await.map_err(|error| error.to_string())
    }
}
