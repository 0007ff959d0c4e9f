//! Leases as operators see them, whatever they are leases of.

use crate::clock::Timestamp;

/// The leases of a target.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    pub leases: Vec<Listed>,
    /// What is in quarantine: left behind by logins that did not act as their group.
    pub quarantined: Vec<Leftover>,
}

/// A lease, and what one of our brokers wrote down about it.
#[derive(Clone, Debug)]
pub struct Listed {
    pub lease: LeaseRow,
    /// What a broker with one of our keys wrote down, if one did.
    pub record: Option<Record>,
    /// Why it is not gone.
    pub reasons: Vec<String>,
}

/// A lease as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRow {
    pub login: String,
    pub expires_at: Timestamp,
    pub ended: bool,
    pub can_login: bool,
    /// The groups it is a member of.
    pub groups: Vec<String>,
    /// How far it has ended.
    pub state: LeaseState,
    /// The server processes of its open sessions.
    pub sessions: Vec<i32>,
    /// What refers to it, in words.
    pub leftovers: Vec<String>,
    /// What is kept with it.
    pub record: String,
}

/// How far a lease has ended, as the database shows it to every replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeaseState {
    /// The job can log in.
    Live,
    /// Its time is over or it was revoked; sessions or the login are still open.
    Closing,
    /// Nobody can use the login; code it left can still run with the power of others.
    Closed,
    /// Its code is disarmed; clean-up goes on.
    Disarmed,
    /// Its code is disarmed; what keeps it is not ours to remove.
    ObjectsLeft,
}

impl LeaseState {
    /// Every state, in the order in which a lease passes through them.
    pub const ALL: [Self; 5] = [
        Self::Live,
        Self::Closing,
        Self::Closed,
        Self::Disarmed,
        Self::ObjectsLeft,
    ];

    /// The words for people and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Closing => "closing",
            Self::Closed => "login closed",
            Self::Disarmed => "code disarmed",
            Self::ObjectsLeft => "objects left",
        }
    }
}

/// What refers to a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// The database it is in; `None` for what belongs to the whole server.
    pub database: Option<String>,
    /// The login owns it, else it was granted to it.
    pub owned: bool,
    pub objects: i64,
    /// How many of them are code.
    pub routines: i64,
}

/// What a broker with one of our keys wrote down about a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The policy that allowed it.
    pub policy: String,
    /// The repository, where its CI tells.
    pub repository: Option<String>,
    pub run: Option<String>,
    /// The database it was sent to, where the credential names one.
    pub database: Option<String>,
    /// It acts as its group.
    pub act_as_group: bool,
    /// The keyed hash of the idempotency key that it was asked for with.
    pub(in crate::credential) key_hash: Option<String>,
}
