//! Targets: what credentials are issued in and revoked in. The list of kinds of targets.
//!
//! A target is settings that read and check themselves, and a running part that they connect. No
//! other module knows the kinds.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::database::{Rotated, mysql, postgres, redis, webhook};
use super::jwt::Keys;
use super::kind::Definition;
use super::ssh;
use super::{Credential, Mint, MintError, Revoked};
use crate::audit::Recorded;
use crate::clock::{Clock, Timestamp};
use crate::lease::LeaseContents;
use crate::policy::{CredentialDefinition, PolicySet};
use crate::reason::Reason;
use crate::rootkey::RootKeys;
use crate::secret::Secret;
use crate::yaml::settings::Section;

mod lease;
mod sweeper;

pub use lease::{LeaseRecord, LeaseRow, LeaseState, Leftover, Listed, Listing};
pub use sweeper::{SweepObserver, Sweeper};

/// Every kind of target, by the word after `kind:`.
pub const KINDS: &[&TargetKind] = &[
    &mysql::TARGET,
    &postgres::TARGET,
    &redis::TARGET,
    &ssh::TARGET,
    &webhook::TARGET,
];

pub struct TargetKind {
    /// The word after `kind:`.
    pub name: &'static str,
    /// Reads the other keys. Errors are reported to the section.
    pub(crate) read: fn(&Section<'_>) -> Option<Arc<dyn TargetSettings>>,
}

/// The value of a key that decides where a credential leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    Text(String),
    /// A file of certificates, which are no secret.
    Certificates(PathBuf),
    /// A file with a key: only its name may be shown.
    Key(PathBuf),
}

/// One target of the settings.
#[async_trait]
pub trait TargetSettings: SameSettings + Any + Send + Sync + fmt::Debug {
    /// Why it cannot be used together with another target, and what to do.
    fn clash(&self, _name: &str, _other: &dyn TargetSettings) -> Option<(String, &'static str)> {
        None
    }

    /// Whether jobs use the server at that address, where the broker must then keep nothing of its own.
    fn is_on(&self, _host: &str, _port: u16) -> bool {
        false
    }

    /// Whether it accepts requests with tokens of ours for this audience, so that no job may have one.
    fn is_addressed_by(&self, _audience: &str) -> bool {
        false
    }

    /// Where the credential leads, by the keys of the settings.
    fn destination(&self, credential: &CredentialDefinition) -> Vec<(&'static str, Destination)>;

    /// Files that are read when it connects. If one changes, the target reconnects. Secrets that
    /// are read at each use are not included.
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

    /// Checks that the settings allow this credential in the target `name`.
    ///
    /// # Errors
    /// What is wrong, and what to write.
    fn admits(&self, _name: &str, _credential: &CredentialDefinition) -> Result<(), String> {
        Ok(())
    }

    /// Sets up the target without connecting to it yet.
    ///
    /// # Errors
    /// A file that it names cannot be used.
    fn connect(&self, name: &str, with: &With<'_>) -> Result<Arc<dyn Target>, String>;

    /// Checks that the target is set up for the credentials.
    ///
    /// # Errors
    /// The policies cannot be used with it.
    async fn check(&self, _name: &str, _policies: &PolicySet) -> Result<Vec<Finding>, String> {
        Ok(Vec::new())
    }

    /// The same with the broker's keys, so that a throw-away lease is signed like any other, and no broker
    /// reports it.
    async fn check_signed(
        &self,
        name: &str,
        policies: &PolicySet,
        _with: &With<'_>,
    ) -> Result<Vec<Finding>, String> {
        self.check(name, policies).await
    }

    /// Checks that the other side keeps each rule of a published contract.
    ///
    /// # Errors
    /// There is no contract, or it cannot be asked at all.
    async fn check_contract(&self, _name: &str, _with: &With<'_>) -> Result<Vec<Finding>, String> {
        Err("it has no contract to check; only targets of kind `webhook` have one".to_owned())
    }

    /// Whether what its administrator runs depends on the version of a server.
    fn has_server_version(&self) -> bool {
        false
    }

    /// The text that its administrator runs or configures, or with `uninstall` the text that
    /// removes it.
    ///
    /// # Errors
    /// There is no such text, or it cannot be generated.
    fn installation(&self, wanted: &Installation<'_>) -> Result<InstallText, String>;

    /// The statements that set the passwords of the broker's logins. They hold what the server checks a
    /// password with, not the password.
    ///
    /// # Errors
    /// It has no logins, or a password cannot be used.
    fn passwords(&self) -> Result<Secret<String>, String> {
        Err("it has no logins with passwords; only databases have".to_owned())
    }

    /// Gives the login that the brokers do not use a new password, tries it, and puts both into the
    /// password file. With `ends_sessions` the sessions of that login are ended first.
    ///
    /// # Errors
    /// It has no logins, or what failed. The password file is as it was.
    async fn rotate_login(&self, _ends_sessions: bool) -> Result<Rotated, String> {
        Err("it has no logins with passwords; only databases have".to_owned())
    }
}

impl dyn TargetSettings + '_ {
    /// Downcasts to the settings of one kind.
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

/// Equality of settings of unknown kinds. Implemented for all settings with `PartialEq`.
pub trait SameSettings {
    /// The same kind and the same values.
    fn is_same(&self, other: &dyn TargetSettings) -> bool;
}

impl<T: TargetSettings + PartialEq> SameSettings for T {
    fn is_same(&self, other: &dyn TargetSettings) -> bool {
        other.of() == Some(self)
    }
}

/// The definition of a credential that names the target `name`, if it is of the target's kind.
///
/// # Errors
/// It is of another kind.
pub(super) fn made_here<'a, T: Definition>(
    name: &str,
    credential: &'a CredentialDefinition,
) -> Result<&'a T, String> {
    credential.of().ok_or_else(|| {
        format!(
            "credential `{}` of the policies is {}, which target `{name}` cannot issue; choose \
             another target",
            credential.name, credential.kind.noun
        )
    })
}

/// What a target needs to connect.
#[derive(Debug)]
pub struct With<'a> {
    /// For names, records and handles of leases.
    pub root_keys: &'a RootKeys,
    /// For requests that are signed. There are none where a target is only looked at.
    pub signing: Option<&'a Arc<Keys>>,
    pub clock: &'a Arc<dyn Clock>,
    /// The target of that name before the reload.
    pub before: Option<PreviousTarget<'a>>,
}

/// A target before a reload.
#[derive(Clone, Copy, Debug)]
pub struct PreviousTarget<'a> {
    /// The target. Its state about leases is always kept.
    pub target: &'a dyn Target,
    /// Whether its connections are kept too.
    pub is_kept: bool,
}

/// Selects an installation text.
#[derive(Debug)]
pub struct Installation<'a> {
    pub name: &'a str,
    /// The policies that use the target.
    pub policies: &'a PolicySet,
    /// The server's major version.
    pub server_version: Option<u32>,
    /// Whether to uninstall.
    pub uninstall: bool,
}

/// What an administrator runs or configures.
#[derive(Debug)]
pub struct InstallText {
    pub text: String,
    /// A note for the terminal.
    pub note: Option<String>,
}

/// A connected target. Optional operations have defaults.
#[async_trait]
pub trait Target: Mint + Any {
    /// Whether its files are unchanged.
    fn has_same_files(&self) -> bool {
        true
    }

    /// The ID of its signing key, if it signs what it issues.
    fn key_id(&self) -> Option<String> {
        None
    }

    /// Whether a running sweep of `other` may continue for this target.
    fn continues(&self, other: &dyn Target) -> bool;

    /// Revokes a lease. Returns the result, and why it is not gone yet. A lease that is already
    /// gone is not an error.
    ///
    /// # Errors
    /// The target has no leases.
    async fn revoke(&self, lease: &LeaseContents) -> Result<(Revoked, String), MintError> {
        let message = format!("credentials of target `{}` cannot be revoked", lease.target);
        Err(MintError::new(Reason::LeaseNone, message))
    }

    /// How often to sweep; `None` if the target needs no sweep.
    fn sweep_interval(&self) -> Option<Duration> {
        None
    }

    /// Sweeps once: removes what has expired.
    ///
    /// # Errors
    /// The target is unreachable.
    async fn sweep(&self) -> Result<SweepReport, String> {
        Ok(SweepReport::default())
    }

    /// The status after the last sweep.
    fn status(&self) -> TargetStatus {
        TargetStatus::default()
    }

    /// The connections of this broker, by login.
    fn connections(&self) -> Vec<ConnectionStatus> {
        Vec::new()
    }

    /// Every lease there is.
    ///
    /// # Errors
    /// The target is unreachable.
    async fn leases(&self) -> Result<Listing, String> {
        Ok(Listing::default())
    }
}

impl dyn Target + '_ {
    /// Downcasts to a target of one kind.
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

    /// Revokes a lease. If it cannot be revoked now, the sweep retries until the lease is gone.
    ///
    /// # Errors
    /// The target is not in the settings, or has no leases.
    pub async fn revoke(&self, lease: &LeaseContents) -> Result<Revoked, MintError> {
        let target = self.named(&lease.target)?;
        target.revoke(lease).await.map(|(revoked, _)| revoked)
    }

    /// Sweeps a target once.
    ///
    /// # Errors
    /// The target is unreachable, or is not in the settings.
    pub async fn sweep(&self, name: &str) -> Result<SweepReport, String> {
        match self.get(name) {
            Some(target) => target.sweep().await,
            None => Err(format!("target `{name}` is not in the settings")),
        }
    }

    /// The status of each target with a sweep.
    #[must_use]
    pub fn status(&self) -> BTreeMap<String, TargetStatus> {
        self.iter()
            .filter(|(_, target)| target.sweep_interval().is_some())
            .map(|(name, target)| (name.to_owned(), target.status()))
            .collect()
    }

    /// The connections of this broker to each target.
    #[must_use]
    pub fn connections(&self) -> BTreeMap<String, Vec<ConnectionStatus>> {
        self.iter()
            .map(|(name, target)| (name.to_owned(), target.connections()))
            .collect()
    }

    fn named(&self, name: &str) -> Result<&Arc<dyn Target>, MintError> {
        self.get(name).ok_or_else(|| {
            let message = format!("target `{name}` is not in the settings");
            MintError::new(Reason::TargetUnknown, message)
        })
    }

    /// Mints in the target of that name.
    ///
    /// # Errors
    /// The target does not exist, or refuses.
    pub async fn mint(&self, name: &str, recorded: Recorded) -> Result<Credential, MintError> {
        self.named(name)?.mint(recorded).await
    }
}

/// The result of one sweep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    pub removed: Vec<String>,
    /// Logins that could not be removed, each with the reason.
    pub left: Vec<(String, String)>,
    /// Logins that an earlier sweep could not remove, and whose next attempt is not due.
    pub waiting: u32,
    /// Sessions without a login that were terminated.
    pub ghosts: u32,
    /// Newly found live logins that no broker with these keys created (T-104).
    pub foreign_leases: Vec<String>,
}

impl SweepReport {
    /// Whether there is anything new to report.
    #[must_use]
    pub fn is_news(&self) -> bool {
        Self {
            waiting: 0,
            ..self.clone()
        } != Self::default()
    }
}

/// The status of a target after its last sweep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetStatus {
    /// When the last successful sweep ended.
    pub swept_at: Option<Timestamp>,
    /// Why the last sweep failed, or what is wrong with the settings.
    pub problem: Option<String>,
    /// The number of leases by state.
    pub leases: BTreeMap<LeaseState, usize>,
    /// Live logins that no broker with these keys created.
    pub foreign_leases: usize,
    /// Objects in quarantine, for an administrator to review.
    pub quarantined: i64,
}

/// The connections of one login to a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionStatus {
    /// `broker` or `cleaner`.
    pub login: &'static str,
    pub open: usize,
    /// The maximum number of connections.
    pub most: usize,
    /// Why the last attempt got no connection: a limit of the login or the server.
    pub problem: Option<String>,
    /// How often the server refused a connection, by the limit that was reached.
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
    /// A lease would not work, or have too many rights.
    Error,
    /// It works, but could be better.
    Warning,
    /// It is correct.
    Fine,
}

impl Severity {
    /// The prefix of a finding.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Fine => "ok",
        }
    }
}
