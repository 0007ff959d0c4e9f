//! Leases as operators see them, for every kind of target.

use crate::clock::Timestamp;

/// The leases of a target.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    pub leases: Vec<Listed>,
    /// Objects in quarantine, left by logins that did not act as their group.
    pub quarantined: Vec<Leftover>,
}

/// A lease, and the record of it.
#[derive(Clone, Debug)]
pub struct Listed {
    pub lease: LeaseRow,
    /// The record of the broker that issued it, if it is signed with one of the root keys.
    pub record: Option<LeaseRecord>,
    /// Why it could not be removed yet.
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
    /// Its state.
    pub state: LeaseState,
    /// The server processes of its open sessions.
    pub sessions: Vec<i32>,
    /// The objects that refer to it, in words.
    pub leftovers: Vec<String>,
    /// The record stored with it.
    pub record: String,
}

/// The state of a lease. Read from the database, so every replica sees the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeaseState {
    /// The job can log in.
    Live,
    /// It expired or was revoked; sessions or the login are still open.
    Closing,
    /// The login is unusable; code that it left can still run with the rights of others.
    Closed,
    /// Its code is disarmed; clean-up continues.
    Disarmed,
    /// Its code is disarmed; the remaining objects must be removed by an administrator.
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

    /// The name in outputs and logs.
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
    /// Whether the login owns the objects; otherwise they were granted to it.
    pub owned: bool,
    pub objects: i64,
    /// How many of them are code.
    pub routines: i64,
}

/// What a broker recorded about a login, signed with a root key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRecord {
    /// The policy that granted it.
    pub policy: String,
    /// The repository, if known.
    pub repository: Option<String>,
    pub run: Option<String>,
    /// The database, if the credential names one.
    pub database: Option<String>,
    /// Whether it acts as its group.
    pub act_as_group: bool,
    /// The keyed hash of the request's idempotency key.
    pub(in crate::credential) key_hash: Option<String>,
}
