//! trait Database; mint, revoke, sweep, ghosts, quarantine, shared by all databases.
//!
//! The database's own catalogue is the lease table: a login's name begins with the second in which it
//! ends, so any replica finds what has ended, and losing every replica loses nothing.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;

use super::target::{ConnectionStatus, LeaseRow, Leftover, With};
use crate::clock::Timestamp;
use crate::credential::{Members, NamedSecrets};
use crate::policy::CredentialDefinition;
use crate::secret::Secret;

mod broker_login;
mod end;
mod fields;
mod findings;
mod logins;
mod mint;
pub mod mysql;
mod order;
pub mod postgres;
pub mod redis;
mod rotate;
mod sweep;
pub mod webhook;

pub use end::Ended;
pub use logins::Logins;
pub use mint::Issued;
pub use order::{Holder, Order, Parts, random_password};
pub use rotate::Rotated;

/// Creates and ends logins on one server. Every call is one round trip that either comes through or
/// does nothing; nothing is kept between calls. What has a default only some engines need: those whose
/// logins own things, take part in groups, or leave sessions behind.
#[async_trait]
pub trait Database: Send + Sync + fmt::Debug {
    /// Makes a login that ends by itself, or finds the one with the same random part, under whatever
    /// expiry. With `may_create` off it only looks.
    async fn create(&self, login: &NewLogin<'_>) -> Result<Option<Found>, DatabaseError>;

    /// Takes the memberships: no new session can start as the login, and what it runs has no
    /// power but its own. Waits for nothing that the login can lock.
    async fn cut(&self, _login: &str) -> Result<(), DatabaseError> {
        Ok(())
    }

    /// Forbids new sessions for good. One that is gone is forbidden.
    async fn disable(&self, login: &str) -> Result<(), DatabaseError>;

    /// Ends the sessions there are, on every server that has some; how many there were.
    async fn terminate(&self, login: &str) -> Result<u32, DatabaseError>;

    /// What still refers to a login.
    async fn leftovers(&self, _login: &str) -> Result<Vec<Leftover>, DatabaseError> {
        Ok(Vec::new())
    }

    /// Takes the power from code that a cut login left in a database, also while it has sessions. One
    /// turn of bounded work.
    async fn disarm(&self, _login: &str, _database: &str) -> Result<Cleaned, DatabaseError> {
        Ok(Cleaned::default())
    }

    /// The same for a closed login, then gives what it owns there to its heir and takes back what was
    /// granted to it. One turn of bounded work.
    async fn clean(&self, _login: &str, _database: &str) -> Result<Cleaned, DatabaseError> {
        Ok(Cleaned::default())
    }

    /// What keeps a login and is not ours to remove, with what to do about it.
    async fn reasons(&self, _login: &str) -> Result<Vec<String>, DatabaseError> {
        Ok(Vec::new())
    }

    /// Repairs what a broker that died in the middle of a clean-up left behind.
    async fn recover(&self) -> Result<(), DatabaseError> {
        Ok(())
    }

    /// Removes a login that nothing refers to and nobody uses. One that is gone is removed.
    async fn drop_login(&self, login: &str) -> Result<(), DatabaseError>;

    /// Logins past their end, cut or disabled, in the order of their names and after `after`.
    async fn ended(&self, after: &str, most: u32) -> Result<Vec<String>, DatabaseError>;

    /// Ends sessions whose login is gone, and on standbys those of ended logins; how many there were.
    async fn ghosts(&self) -> Result<u32, DatabaseError> {
        Ok(0)
    }

    /// What is in quarantine: left behind by logins that did not act as their group.
    async fn quarantined(&self) -> Result<Vec<Leftover>, DatabaseError> {
        Ok(Vec::new())
    }

    async fn leases(&self) -> Result<Vec<LeaseRow>, DatabaseError>;

    /// Opens what is needed to end leases before the server has no connection left.
    async fn hold(&self) -> Result<(), DatabaseError> {
        Ok(())
    }

    /// What of the target's settings does not fit the server, and stops nothing else there.
    async fn misfit(&self) -> Result<Option<String>, DatabaseError> {
        Ok(None)
    }

    /// The files that the connection was made of are as they were.
    fn has_same_files(&self) -> bool {
        true
    }

    /// Takes the broker's keys after a reload that kept it.
    fn follow(&self, _with: &With<'_>) {}

    /// Databases that logins are sent to and that are cleaned; the first is that of a credential that
    /// names none. What a login owns elsewhere is reported, and never connected to.
    fn databases(&self) -> &[String];

    /// Whether it is one of [`Self::databases`].
    fn is_listed(&self, database: &str) -> bool {
        self.databases().iter().any(|listed| listed == database)
    }

    /// What a credential's definition asks of a login. `None` for credentials of another kind.
    fn wanted(&self, credential: &CredentialDefinition) -> Option<Wanted>;

    /// A login as the members of a credential: with what a job needs beside user and password.
    fn members(&self, login: Login) -> Members;

    /// How many connections this broker has there, of each login.
    fn connections(&self) -> Vec<ConnectionStatus> {
        Vec::new()
    }
}

/// A login to be made.
#[derive(Debug)]
pub struct NewLogin<'a> {
    /// The random part of its name.
    pub random: &'a str,
    /// Its password. A backend that can sends the server only what it checks the password with
    /// (T-92).
    pub password: &'a Secret<String>,
    /// Seconds from now, by the server's clock.
    pub life: u32,
    /// The NOLOGIN role it is a member of.
    pub group: &'a str,
    /// What it makes belongs to the group.
    pub act_as_group: bool,
    /// What is kept with it, readable by every login of the server.
    pub record: &'a str,
    /// When the token that asked for it can no longer be used; no second login is made for it until then.
    pub used_until: Timestamp,
    /// Whose place it takes: a hash of the issuer and repository, in 32 hexadecimal digits.
    pub holder: &'a str,
    /// Make it if it is not there.
    pub may_create: bool,
}

/// A login that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub created: bool,
    pub login: String,
    /// When it ends, by the server's clock.
    pub expires_at: Timestamp,
    /// It may start sessions, and its end has not passed.
    pub is_usable: bool,
    /// The groups it is a member of.
    pub groups: Vec<String>,
    /// What it makes belongs to its group, by its membership.
    pub acts_as_group: bool,
    /// What is kept with it.
    pub record: String,
    /// What the server gives beside, for the job.
    pub given: Given,
}

/// What a server that chooses its own logins gives for one.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// The name to log in with, where it is not that of the lease.
    pub username: Option<String>,
    /// The password, where it is not ours.
    pub password: Option<Secret<String>>,
    /// Further members by name.
    pub members: BTreeMap<String, String>,
    /// Further members that are secret.
    pub secrets: NamedSecrets,
}

impl PartialEq for Given {
    fn eq(&self, other: &Self) -> bool {
        let is_same = match (&self.password, &other.password) {
            (Some(one), Some(two)) => one.is_same(two),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        is_same
            && self.username == other.username
            && self.members == other.members
            && self.secrets == other.secrets
    }
}

impl Eq for Given {}

/// What one turn at cleaning up came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    pub more: bool,
    /// Code of the login can still run with the power of others.
    pub armed: bool,
    /// What could not be done, each with its reason.
    pub problems: Vec<String>,
}

impl Cleaned {
    fn add(&mut self, other: Self) {
        self.more |= other.more;
        self.armed |= other.armed;
        self.problems.extend(other.problems);
    }
}

/// What a credential's definition asks of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The database it is sent to; the target's only one without.
    pub database: Option<String>,
    /// The role that it becomes a member of.
    pub group: String,
    /// What it creates belongs to the group.
    pub act_as_group: bool,
}

/// A login on its way to the job.
#[derive(Debug)]
pub struct Login {
    pub username: String,
    pub password: Secret<String>,
    /// What was asked of it.
    pub wanted: Wanted,
    /// What the server gave beside.
    pub given: Given,
}

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    /// Nothing was sent: the server is not there, or refuses the login.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// Sent, with an unknown outcome.
    #[error("did not answer: {0}")]
    Unknown(String),
    /// The server answered with an error, so that nothing was done.
    #[error("{message} ({code})")]
    Refused {
        /// What the error means, as its backend says.
        kind: RefusalKind,
        /// The server's own code, for people; in `PostgreSQL` the SQLSTATE.
        code: String,
        message: String,
    },
}

impl DatabaseError {
    /// What the error means, if the server answered.
    #[must_use]
    pub const fn kind(&self) -> Option<RefusalKind> {
        match self {
            Self::Refused { kind, .. } => Some(*kind),
            Self::Unreachable(_) | Self::Unknown(_) => None,
        }
    }

    /// The server's own code, if it answered.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            Self::Unreachable(_) | Self::Unknown(_) => None,
        }
    }
}

/// What an error of a server means for a lease, whatever the server calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// It passes: a conflict with another replica, a session that came late.
    Passing,
    /// There was no answer that says what was done, and what may have been done was undone.
    RolledBack,
    /// Another session holds a lock.
    Locked,
    /// There is no such login.
    Gone,
    /// Something refers to the login, so it cannot be dropped.
    StillReferenced,
    /// The group is not given to logins, or not to such ones.
    GroupUnfit,
    /// The target has as many logins as it may.
    Full,
    /// The repository has as many logins as it may.
    RepositoryFull,
    /// The target allows less than was asked for.
    Ceiling,
    /// What the DBA has to install is not there.
    NotInstalled,
    /// What is installed is of another version.
    Outdated,
    Other,
}
