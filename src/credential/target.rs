//! What credentials are made in, and ended in. The list of kinds of targets.
//!
//! A target is settings that read and check themselves, and a running part that they connect. Nobody
//! else knows what kind it is.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::database::postgres;
use super::kind::Definition;
use super::ssh;
use super::{Credential, Mint, MintError, Revoked};
use crate::audit::Recorded;
use crate::clock::{Clock, Timestamp};
use crate::lease::LeaseContents;
use crate::policy::{CredentialDefinition, PolicySet};
use crate::reason::Reason;
use crate::rootkey::RootKeys;
use crate::yaml::settings::Section;

mod lease;
mod sweeper;

pub use lease::{LeaseRow, LeaseState, Leftover, Listed, Listing, Record};
pub use sweeper::{Report, Sweeper};

/// Every kind of target, by the word after `kind:`.
pub const KINDS: [&TargetKind; 2] = [&postgres::TARGET, &ssh::TARGET];

pub struct TargetKind {
    /// The word after `kind:`.
    pub name: &'static str,
    /// Reads what else stands there; what is wrong is reported to the section.
    pub(crate) read: fn(&Section<'_>) -> Option<Arc<dyn TargetSettings>>,
}

/// One target of the settings.
#[async_trait]
pub trait TargetSettings: Same + Any + Send + Sync + fmt::Debug {
    /// Why it cannot stand beside another target, and what to do.
    fn clash(&self, _name: &str, _other: &dyn TargetSettings) -> Option<(String, &'static str)> {
        None
    }

    /// Files that are read when it is connected; one that changes connects it anew. Secrets that are read
    /// at each use are none of them.
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Whether every secret can be read now.
    ///
    /// # Errors
    /// Which one cannot, and why.
    fn check_secrets(&self) -> Result<(), String> {
        Ok(())
    }

    /// Whether a credential can be made in it, as far as the settings say; `name` is the target's.
    ///
    /// # Errors
    /// What is wrong, and what to write.
    fn admits(&self, _name: &str, _credential: &CredentialDefinition) -> Result<(), String> {
        Ok(())
    }

    /// Sets up the way to it, without going there.
    ///
    /// # Errors
    /// A file that it names cannot be used.
    fn connect(&self, name: &str, with: &With<'_>) -> Result<Arc<dyn Target>, String>;

    /// Tries whether it is set up as credentials need it.
    ///
    /// # Errors
    /// The policies cannot be used with it.
    async fn check(&self, _name: &str, _policies: &PolicySet) -> Result<Vec<Finding>, String> {
        Ok(Vec::new())
    }

    /// Whether what its administrator runs depends on the version of a server.
    fn has_server_version(&self) -> bool {
        false
    }

    /// What its administrator has to run or configure, or with `uninstall` what removes that.
    ///
    /// # Errors
    /// There is no such text, or it cannot be made.
    fn installation(&self, wanted: &Installation<'_>) -> Result<InstallText, String>;
}

impl dyn TargetSettings + '_ {
    /// The settings of one kind of target, where they are of that kind.
    #[must_use]
    pub fn of<T: TargetSettings>(&self) -> Option<&T> {
        let settings: &dyn Any = self;
        settings.downcast_ref()
    }
}

impl PartialEq for dyn TargetSettings {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other)
    }
}

impl Eq for dyn TargetSettings {}

/// Equality of settings whose kinds are not known. Implemented for every comparable one.
pub trait Same {
    /// The same kind and the same values.
    fn is_same(&self, other: &dyn TargetSettings) -> bool;
}

impl<T: TargetSettings + PartialEq> Same for T {
    fn is_same(&self, other: &dyn TargetSettings) -> bool {
        other.of() == Some(self)
    }
}

/// The definition of a credential that names the target `name`, which makes those of one kind.
///
/// # Errors
/// It is of another kind.
pub(super) fn made_here<'a, T: Definition>(
    name: &str,
    credential: &'a CredentialDefinition,
) -> Result<&'a T, String> {
    credential.of().ok_or_else(|| {
        format!(
            "credential `{}` of the policies is {}, which target `{name}` does not make; name another target",
            credential.name, credential.kind.noun
        )
    })
}

/// What is needed to connect a target.
#[derive(Debug)]
pub struct With<'a> {
    /// For names, records and handles of leases.
    pub root_keys: &'a RootKeys,
    pub clock: &'a Arc<dyn Clock>,
    /// The target of that name before a reload.
    pub before: Option<Before<'a>>,
}

/// A target before a reload.
#[derive(Clone, Copy, Debug)]
pub struct Before<'a> {
    /// The target. What it knows of leases is kept in any case.
    pub target: &'a dyn Target,
    /// Its connections are kept too.
    pub is_kept: bool,
}

/// Which installation text is wanted.
#[derive(Debug)]
pub struct Installation<'a> {
    pub name: &'a str,
    /// Who may get what in it.
    pub policies: &'a PolicySet,
    /// The server's major version, for what differs by it.
    pub server_version: Option<u32>,
    /// What removes it, in place of what makes it.
    pub uninstall: bool,
}

/// What an administrator runs or configures.
#[derive(Debug)]
pub struct InstallText {
    pub text: String,
    /// What to know about it, for the terminal.
    pub note: Option<String>,
}

/// A target that runs. What it does not offer has a default.
#[async_trait]
pub trait Target: Mint + Any {
    /// The files that it was made of are as they were.
    fn has_same_files(&self) -> bool {
        true
    }

    /// The id of the key that it signs with, where it signs what it issues.
    fn key_id(&self) -> Option<String> {
        None
    }

    /// A pass of upkeep over `other` may go on in its place.
    fn continues(&self, other: &dyn Target) -> bool;

    /// Ends a lease before its time; one that is gone already is gone. Says why one is not gone yet.
    ///
    /// # Errors
    /// There are no leases here.
    async fn revoke(&self, lease: &LeaseContents) -> Result<(Revoked, String), MintError> {
        let message = format!("nothing made in target `{}` can be revoked", lease.target);
        Err(MintError::new(Reason::LeaseNone, message))
    }

    /// How often to sweep; `None` where nothing is left behind.
    fn sweep_interval(&self) -> Option<Duration> {
        None
    }

    /// One pass: what has ended is removed.
    ///
    /// # Errors
    /// It cannot be reached.
    async fn sweep(&self) -> Result<SweepReport, String> {
        Ok(SweepReport::default())
    }

    /// How it was at the last pass.
    fn status(&self) -> TargetStatus {
        TargetStatus::default()
    }

    /// How many connections this broker has there, of each login.
    fn connections(&self) -> Vec<ConnectionStatus> {
        Vec::new()
    }

    /// Every lease there is.
    ///
    /// # Errors
    /// It cannot be reached.
    async fn leases(&self) -> Result<Listing, String> {
        Ok(Listing::default())
    }
}

impl dyn Target + '_ {
    /// The target of one kind, where it is of that kind.
    #[must_use]
    pub fn of<T: Target>(&self) -> Option<&T> {
        let target: &dyn Any = self;
        target.downcast_ref()
    }
}

/// The targets of a broker, by the names that the settings give them.
#[derive(Clone, Debug, Default)]
pub struct Targets(BTreeMap<String, Arc<dyn Target>>);

impl Targets {
    #[must_use]
    pub const fn new(targets: BTreeMap<String, Arc<dyn Target>>) -> Self {
        Self(targets)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The target of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Target>> {
        self.0.get(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<dyn Target>)> {
        self.0.iter().map(|(name, target)| (name.as_str(), target))
    }

    /// Ends a lease before its time. What cannot be ended now is tried again by the sweep, until the lease
    /// is gone.
    ///
    /// # Errors
    /// The target is not in the settings, or has no leases.
    pub async fn revoke(&self, lease: &LeaseContents) -> Result<Revoked, MintError> {
        let name = &lease.target;
        let target = self.get(name).ok_or_else(|| {
            let message = format!("target `{name}` of the lease is not in the settings");
            MintError::new(Reason::TargetUnknown, message)
        })?;
        target.revoke(lease).await.map(|(revoked, _)| revoked)
    }

    /// One pass over a target.
    ///
    /// # Errors
    /// It cannot be reached, or is not in the settings.
    pub async fn sweep(&self, name: &str) -> Result<SweepReport, String> {
        match self.get(name) {
            Some(target) => target.sweep().await,
            None => Err(format!("target `{name}` is not in the settings")),
        }
    }

    /// How each target is that has upkeep.
    #[must_use]
    pub fn status(&self) -> BTreeMap<String, TargetStatus> {
        self.iter()
            .filter(|(_, target)| target.sweep_interval().is_some())
            .map(|(name, target)| (name.to_owned(), target.status()))
            .collect()
    }

    /// How many connections this broker has to each target.
    #[must_use]
    pub fn connections(&self) -> BTreeMap<String, Vec<ConnectionStatus>> {
        self.iter()
            .map(|(name, target)| (name.to_owned(), target.connections()))
            .collect()
    }

    /// Mints in the target of that name.
    ///
    /// # Errors
    /// There is none, or it refuses.
    pub async fn mint(&self, name: &str, recorded: Recorded) -> Result<Credential, MintError> {
        let target = self.get(name).ok_or_else(|| {
            let message = format!("target `{name}` is not in the settings");
            MintError::new(Reason::TargetUnknown, message)
        })?;
        target.mint(recorded).await
    }
}

/// What one pass over a target did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    pub removed: Vec<String>,
    /// Logins that could not be removed, each with the reason.
    pub left: Vec<(String, String)>,
    /// Logins that were left before and whose next attempt is not due.
    pub waiting: u32,
    /// Sessions without a login that were ended.
    pub ghosts: u32,
    /// Live logins, not told of before, that no broker with our keys made (T-104).
    pub strangers: Vec<String>,
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

/// How a target is, as of its last pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetStatus {
    /// When the last pass came through.
    pub swept_at: Option<Timestamp>,
    /// Why the last pass did not, or what it found to be wrong with the settings.
    pub problem: Option<String>,
    /// How many leases are how far.
    pub leases: BTreeMap<LeaseState, usize>,
    /// Live logins that no broker with our keys made.
    pub strangers: usize,
    /// Objects in quarantine, which somebody should look at.
    pub quarantined: i64,
}

/// The connections of one login to a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionStatus {
    /// `broker` or `cleaner`.
    pub login: &'static str,
    pub open: usize,
    /// How many this broker may open.
    pub most: usize,
    /// Why there was none just now for whoever wanted one: the login or the server has all it may.
    pub problem: Option<String>,
    /// How often the server refused one, by the limit that was reached.
    pub refused: BTreeMap<&'static str, u64>,
}

/// Something that `target check` found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    pub message: String,
    /// What to do about it.
    pub fix: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// A lease would not work, or reach too far.
    Error,
    /// It works, and could be better.
    Warning,
    /// It is as it should be.
    Fine,
}

impl Severity {
    /// The word in front of a finding.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Fine => "ok",
        }
    }
}
