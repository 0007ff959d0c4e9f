//! Watches settings and policies on disk, and replaces the served version as a whole (T-77).
//!
//! A failed reload keeps the previous version. The failure is shown in the log, the audit log, a
//! metric and readiness until it is fixed. Files are read on blocking threads, so requests never
//! wait for a disk.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::findings;
use super::process::ProcessState;
use super::version::{Current, Version};
use crate::audit::Text;
use crate::audit::event::{self, Event};
use crate::reason::Reason;
use crate::text::escape;

mod attempt;
mod snapshot;
mod status;

pub(super) use snapshot::FileSnapshot;
pub(super) use status::{ReloadProblem, Reloads};

use attempt::{Attempt, attempt};

/// Watches the files of a broker.
pub(super) struct Reloader {
    current: Current,
    process: Arc<ProcessState>,
    interval: Option<Duration>,
    wake: Arc<Notify>,
    /// The files at the last load, successful or not.
    loaded: Option<FileSnapshot>,
    /// The files at the last check.
    previous: Option<FileSnapshot>,
    /// How many checks in a row found a change.
    restless: u32,
}

impl Reloader {
    /// Starts from the files of the served version. `interval` replaces that of the settings;
    /// `wake` requests an immediate reload.
    pub(super) fn new(
        current: &Current,
        process: &Arc<ProcessState>,
        seen: FileSnapshot,
        interval: Option<Duration>,
        wake: &Arc<Notify>,
    ) -> Self {
        Self {
            current: Arc::clone(current),
            process: Arc::clone(process),
            interval,
            wake: Arc::clone(wake),
            loaded: Some(seen),
            previous: None,
            restless: 0,
        }
    }

    /// Reloads until `stop` is true. A load in progress is then abandoned.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let stopped = stop.wait_for(|stop| *stop);
        tokio::pin!(stopped);
        loop {
            tokio::select! {
                _ = &mut stopped => return,
                () = self.turn() => {}
            }
        }
    }

    /// Waits for the next check, and runs it.
    async fn turn(&mut self) {
        let interval = self.interval();
        let is_asked = tokio::select! {
            biased;
            () = self.wake.notified() => true,
            () = pause(interval) => false,
        };
        if is_asked {
            self.fetch_keys();
            self.load_now().await;
        } else {
            self.look().await;
        }
    }

    fn interval(&self) -> Option<Duration> {
        self.interval
            .or_else(|| self.current.load().loaded.settings.reload)
    }

    /// An operator who requests a reload may know of a withdrawn key (T-64).
    fn fetch_keys(&self) {
        if let Some(remote) = self.process.remote.clone() {
            tokio::spawn(async move { remote.force_refresh().await });
        }
    }

    /// Checks the files once. Loads them if they changed and no longer change.
    async fn look(&mut self) {
        let Some(now) = self.see().await else { return };
        if self.loaded.as_ref() == Some(&now) {
            self.restless = 0;
        } else if self.previous.as_ref() == Some(&now) {
            self.load(&now).await;
        } else {
            self.is_restless();
        }
        self.previous = Some(now);
    }

    /// Loads the files, changed or not, as soon as two checks agree.
    async fn load_now(&mut self) {
        let settle = self.interval().unwrap_or(SETTLE).min(SETTLE);
        for _ in 0..MOST_RESTLESS {
            tokio::time::sleep(settle).await;
            let Some(now) = self.see().await else { return };
            let rests = self.previous.as_ref() == Some(&now);
            self.previous = Some(now.clone());
            if rests && self.load(&now).await {
                self.answer();
                return;
            }
        }
        self.restless = MOST_RESTLESS;
        self.is_restless();
    }

    /// Logs the result of a requested reload, even if nothing changed.
    fn answer(&self) {
        let problems = self.process.reloads.problems();
        let current = self.current.load();
        let revision = current.loaded.policies.revision();
        if problems == 0 {
            tracing::info!(
                reason = Reason::ReloadAsked.code(),
                revision,
                "the requested reload is done: everything on disk is in use"
            );
        } else {
            tracing::warn!(
                reason = Reason::ReloadAsked.code(),
                revision,
                problems,
                "the requested reload is done, but some files cannot be loaded; see `reload` in `/readyz`"
            );
        }
    }

    /// The files change at every check, e.g. because a log is written into the folder.
    fn is_restless(&mut self) {
        self.restless = self.restless.saturating_add(1);
        if self.restless > MOST_RESTLESS {
            // The next stable files are loaded, even if already loaded. That clears the problem.
            self.loaded = None;
            self.tell(vec![ReloadProblem::new(
                FAILED,
                "the files kept changing while they were read".to_owned(),
            )]);
        }
    }

    async fn see(&self) -> Option<FileSnapshot> {
        let settings = Arc::clone(&self.current.load().loaded.settings);
        let looking = tokio::task::spawn_blocking(move || FileSnapshot::of(&settings));
        looking.await.ok()
    }

    /// Loads the files. False if they changed meanwhile.
    async fn load(&mut self, seen: &FileSnapshot) -> bool {
        let (before, process) = (self.current.load_full(), Arc::clone(&self.process));
        let loading = tokio::task::spawn_blocking(move || attempt(&before, &process));
        let Attempt { version, problems } = match loading.await {
            Ok(attempt) => attempt,
            Err(_) => Attempt::failed("the load stopped unexpectedly"),
        };
        if self.see().await.as_ref() != Some(seen) {
            return false;
        }
        self.restless = 0;
        self.loaded = Some(seen.clone());
        if let Some(version) = version {
            self.swap(version);
        }
        self.tell(problems);
        true
    }

    /// Swaps the served version. Nothing in here waits, so the swap is atomic.
    fn swap(&self, version: Version) {
        let before = self.current.load_full();
        record(&self.process, &before, &version);
        let folder = &version.loaded.settings.policies;
        let (known, now) = (&before.loaded.findings, &version.loaded.findings);
        findings::log(Some(known), now, folder);
        if let Some(remote) = &self.process.remote {
            remote.follow(&super::assemble::issuers(&version.loaded.policies));
        }
        let version = Arc::new(version);
        self.current.store(Arc::clone(&version));
        self.process.sweep(&version);
        self.process.reloads.loaded(self.process.clock.now());
        self.process.metrics.reload("loaded");
    }

    /// Reports new problems.
    fn tell(&self, problems: Vec<ReloadProblem>) {
        if !problems.is_empty() {
            self.process.metrics.reload("failed");
        }
        let news = self
            .process
            .reloads
            .tell(problems, self.process.clock.now());
        for problem in news {
            problem.log();
            self.process.note(&Event::Alert(event::AlertRecord {
                reason: problem.reason,
                message: Text::new(&problem.text),
                request_id: None,
            }));
        }
    }
}

/// Recorded first, so the event precedes everything that the new version does.
fn record(process: &ProcessState, before: &Version, now: &Version) {
    let (old, new) = (&before.loaded, &now.loaded);
    let mut changed = old.changes(new);
    if now.has_reconnected && !changed.contains(&"targets") {
        changed.push("targets");
    }
    if !changed.is_empty() {
        tracing::info!(
            reason = Reason::SettingsReloaded.code(),
            changed = changed.join(", "),
            "new settings are in use"
        );
        let changed = changed.iter().map(|key| Text::new(key)).collect();
        process.note(&Event::Settings(event::SettingsRecord { changed }));
    }
    let (previous, revision) = (old.policies.revision(), new.policies.revision());
    if previous != revision || old.policies.links() != new.policies.links() {
        tracing::info!(
            reason = Reason::PolicyReloaded.code(),
            revision,
            previous,
            "new policies are in use"
        );
        process.note(&Event::Policies(event::PoliciesRecord {
            revision: Text::new(revision),
            previous: Some(Text::new(previous)),
            commit: super::commit(&new.policies),
            replay: process.used_tokens.reach(),
        }));
    }
    for (reason, message) in new_keys(before, now) {
        tracing::warn!(reason = reason.code(), "{message}");
        process.note(&Event::Alert(event::AlertRecord {
            reason,
            message: Text::new(&message),
            request_id: None,
        }));
    }
}

/// The keys that sign from now on and that relying parties may not have, each with the consequence.
fn new_keys(before: &Version, now: &Version) -> Vec<(Reason, String)> {
    let (old, new) = (&before.loaded, &now.loaded);
    let mut keys = Vec::new();
    let cached = "relying parties that cache the key set refuse its tokens for up to five minutes";
    let active = new.roots.active().key_id();
    let is_published = old.roots.members().any(|root| root.key_id() == active);
    if !is_published && old.roots.generation() == new.roots.generation() {
        let message = format!("root key {active} now signs but was not published before: {cached}");
        keys.push((Reason::RootkeyNotPublished, message));
    }
    let rs256 = old.rs256.as_ref().zip(new.rs256.as_ref());
    if let Some(kid) = rs256.and_then(|(old, new)| new.unpublished(old)) {
        let message = format!("RS256 key `{kid}` now signs but was not published before: {cached}");
        keys.push((Reason::SigningNotPublished, message));
    }
    for (name, target) in now.targets.iter() {
        let (Some(key), Some(old)) = (target.key_id(), before.targets.get(name)) else {
            continue;
        };
        if let Some(old) = old.key_id().filter(|old| *old != key) {
            let message = format!(
                "target `{name}` signs with key {key}, before with {old}: hosts that do not trust the new key refuse its certificates"
            );
            keys.push((Reason::TargetKey, message));
        }
    }
    keys
}

impl ReloadProblem {
    /// Logs the problem, and each detail.
    fn log(&self) {
        tracing::error!(
            reason = self.reason.code(),
            problem = %escape(&self.text),
            "a reload failed; the previous version stays in use"
        );
        for detail in &self.details {
            tracing::error!(reason = self.reason.code(), detail = %escape(detail), "a reload failed");
        }
    }
}

/// The time until the next check; without an interval there is none.
async fn pause(interval: Option<Duration>) {
    match interval {
        Some(interval) => tokio::time::sleep(interval).await,
        None => std::future::pending().await,
    }
}

/// The interval of checks while a reload is requested.
const SETTLE: Duration = Duration::from_millis(250);
/// How many checks in a row may find a change.
const MOST_RESTLESS: u32 = 20;
/// The reason of a failed load.
const FAILED: Reason = Reason::PolicyReloadFailed;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use arc_swap::ArcSwap;

    use super::*;
    use crate::broker::Overrides;
    use crate::broker::assemble::LoadedConfig;
    use crate::config::Settings;
    use crate::rootkey::RootKey;
    use crate::token::keys::FileKeys;

    const SETTINGS: &str = "
issuer: https://hallpass.example
root_key: { file: root.key }
policies: { path: policies }
audit: { sinks: [ { kind: file, path: audit.jsonl, required: true } ] }
";
    const POLICIES: &str =
        "issuers:\n  github: { provider: github, tenants: [ { owner: acme, owner_id: \"1\" } ] }\n";

    /// T-77
    #[tokio::test]
    async fn what_changes_while_it_is_loaded_is_not_served() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("root.key");
        fs::write(&key, RootKey::generate().unwrap().to_text().expose()).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        fs::create_dir(folder.path().join("policies")).unwrap();
        let write = |step: u32| {
            let file = folder.path().join("policies/root.yaml");
            fs::write(file, format!("{POLICIES}# {step}\n")).unwrap();
        };
        write(0);
        let text = SETTINGS.to_owned();
        let settings = Settings::parse("hallpass.yaml", text, folder.path(), &|_| None).unwrap();
        let mut overrides = Overrides {
            keys: Some(Arc::new(FileKeys::new())),
            ..Overrides::default()
        };
        let loaded = LoadedConfig::read(&settings, &overrides).unwrap();
        let process = ProcessState::begin(&loaded, &mut overrides).unwrap();
        let version = Version::new(loaded, &process, None).unwrap();
        let current: Current = Arc::new(ArcSwap::from_pointee(version));
        let revision = || current.load().loaded.policies.revision().to_owned();
        let wake = Arc::new(Notify::new());
        let first = FileSnapshot::of(&settings);
        let mut reloader = Reloader::new(&current, &process, first, None, &wake);
        let before = revision();
        write(1);
        let seen = FileSnapshot::of(&settings);
        write(2);
        assert!(!reloader.load(&seen).await);
        assert_eq!(revision(), before);
        assert!(reloader.load(&FileSnapshot::of(&settings)).await);
        assert_ne!(revision(), before);
    }
}
