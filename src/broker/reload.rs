//! Settings and policies as they change on disk: looked at, loaded aside, swapped as a whole (T-77).
//!
//! What is served never gets worse by a reload: whatever cannot be loaded leaves the version before
//! in its place, and is told in the log, the audit record, a metric and readiness until it is put
//! right. Files are read on threads of their own, so that requests never wait for a disk.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::findings;
use super::lasting::Lasting;
use super::version::{Current, Version};
use crate::audit::Text;
use crate::audit::event::{self, Event};
use crate::reason::Reason;
use crate::text::escape;

mod attempt;
mod seen;
mod status;

pub(super) use seen::Seen;
pub(super) use status::{Problem, Reloads};

use attempt::{Attempt, attempt};

/// Watches the files that a broker is made of.
pub(super) struct Reloader {
    current: Current,
    lasting: Arc<Lasting>,
    interval: Option<Duration>,
    wake: Arc<Notify>,
    /// What was seen when something was last loaded, or could not be.
    loaded: Option<Seen>,
    /// What was seen at the last look.
    previous: Option<Seen>,
    /// Looks in a row that all saw something else.
    restless: u32,
}

impl Reloader {
    /// Begins with what was seen before the version that serves now was loaded. An `interval` stands
    /// in place of the settings' own; `wake` asks for a reload at once.
    pub(super) fn new(
        current: &Current,
        lasting: &Arc<Lasting>,
        seen: Seen,
        interval: Option<Duration>,
        wake: &Arc<Notify>,
    ) -> Self {
        Self {
            current: Arc::clone(current),
            lasting: Arc::clone(lasting),
            interval,
            wake: Arc::clone(wake),
            loaded: Some(seen),
            previous: None,
            restless: 0,
        }
    }

    /// Reloads until `stop` says true. A load that is under way then is left to itself.
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

    /// Waits for the next look, and takes it.
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

    /// An operator who asks for a reload may know of a key that was withdrawn (T-64).
    fn fetch_keys(&self) {
        if let Some(remote) = self.lasting.remote.clone() {
            tokio::spawn(async move { remote.force_refresh().await });
        }
    }

    /// One look: what is new and rested since the look before is loaded.
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

    /// Loads what there is, changed or not, as soon as two looks agree.
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

    /// Who asked for a reload is told how it ended, also when that is no news.
    fn answer(&self) {
        let problems = self.lasting.reloads.problems();
        let current = self.current.load();
        let revision = current.loaded.policies.revision();
        if problems == 0 {
            tracing::info!(
                reason = Reason::ReloadAsked.code(),
                revision,
                "the reload that was asked for is done: what is on disk is what serves"
            );
        } else {
            tracing::warn!(
                reason = Reason::ReloadAsked.code(),
                revision,
                problems,
                "the reload that was asked for is done, but not all on disk can be loaded; `/readyz` says why under `reload`"
            );
        }
    }

    /// Something changes with every look, such as a log that is written into the folder.
    fn is_restless(&mut self) {
        self.restless = self.restless.saturating_add(1);
        if self.restless > MOST_RESTLESS {
            // Whatever comes to rest is then loaded, also what is loaded already: that clears it.
            self.loaded = None;
            self.tell(vec![Problem::new(
                FAILED,
                "the files changed between any two looks, so that they were never known to be whole"
                    .to_owned(),
            )]);
        }
    }

    async fn see(&self) -> Option<Seen> {
        let settings = Arc::clone(&self.current.load().loaded.settings);
        let looking = tokio::task::spawn_blocking(move || Seen::of(&settings));
        looking.await.ok()
    }

    /// Loads what was seen; false if it changed meanwhile.
    async fn load(&mut self, seen: &Seen) -> bool {
        let (before, lasting) = (self.current.load_full(), Arc::clone(&self.lasting));
        let loading = tokio::task::spawn_blocking(move || attempt(&before, &lasting));
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

    /// From here on requests are answered by another version. Nothing in here waits, so it is done
    /// whole or not at all.
    fn swap(&self, version: Version) {
        let before = self.current.load_full();
        record(&self.lasting, &before, &version);
        let folder = &version.loaded.settings.policies;
        let (known, now) = (&before.loaded.findings, &version.loaded.findings);
        findings::log(Some(known), now, folder);
        if let Some(remote) = &self.lasting.remote {
            remote.follow(&super::assemble::issuers(&version.loaded.policies));
        }
        let version = Arc::new(version);
        self.current.store(Arc::clone(&version));
        self.lasting.sweep(&version);
        self.lasting.reloads.loaded(self.lasting.clock.now());
        self.lasting.metrics.reload("loaded");
    }

    /// Tells what is wrong that was not told before.
    fn tell(&self, problems: Vec<Problem>) {
        if !problems.is_empty() {
            self.lasting.metrics.reload("failed");
        }
        let news = self
            .lasting
            .reloads
            .tell(problems, self.lasting.clock.now());
        for problem in news {
            problem.log();
            self.lasting.note(&Event::Alert(event::Alert {
                reason: problem.reason,
                message: Text::new(&problem.text),
                request_id: None,
            }));
        }
    }
}

/// The record comes first, so that it stands before whatever the new version does.
fn record(lasting: &Lasting, before: &Version, now: &Version) {
    let (old, new) = (&before.loaded, &now.loaded);
    let mut changed = old.changes(new);
    if has_other_targets(before, now) && !changed.contains(&"targets") {
        changed.push("targets");
    }
    if !changed.is_empty() {
        tracing::info!(
            reason = Reason::SettingsReloaded.code(),
            changed = changed.join(", "),
            "other settings apply"
        );
        let changed = changed.iter().map(|key| Text::new(key)).collect();
        lasting.note(&Event::Settings(event::Settings { changed }));
    }
    let (previous, revision) = (old.policies.revision(), new.policies.revision());
    if previous != revision {
        tracing::info!(
            reason = Reason::PolicyReloaded.code(),
            revision,
            previous,
            "other policies apply"
        );
        lasting.note(&Event::Policies(event::Policies {
            revision: Text::new(revision),
            previous: Some(Text::new(previous)),
            replay: lasting.used_tokens.reach(),
        }));
    }
    for (reason, message) in new_keys(before, now) {
        tracing::warn!(reason = reason.code(), "{message}");
        lasting.note(&Event::Alert(event::Alert {
            reason,
            message: Text::new(&message),
            request_id: None,
        }));
    }
}

/// A target is connected with other files, also where the settings are the same.
fn has_other_targets(before: &Version, now: &Version) -> bool {
    now.targets.iter().any(|(name, target)| {
        let old = before.targets.get(name);
        old.is_none_or(|old| !Arc::ptr_eq(old, target))
    })
}

/// The keys that sign from now on and that relying parties may not know, each with what follows.
fn new_keys(before: &Version, now: &Version) -> Vec<(Reason, String)> {
    let (old, new) = (&before.loaded, &now.loaded);
    let mut keys = Vec::new();
    let cached = "relying parties that cache the key set refuse its tokens for up to five minutes";
    let active = new.roots.active().key_id();
    let is_published = old.roots.members().any(|root| root.key_id() == active);
    if !is_published && old.roots.generation() == new.roots.generation() {
        let message = format!("root key {active} signs and was not published before: {cached}");
        keys.push((Reason::RootkeyNotPublished, message));
    }
    let rs256 = old.rs256.as_ref().zip(new.rs256.as_ref());
    if let Some(kid) = rs256.and_then(|(old, new)| new.unpublished(old)) {
        let message = format!("RS256 key `{kid}` signs and was not published before: {cached}");
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

impl Problem {
    /// A line for the problem, and one for each detail.
    fn log(&self) {
        tracing::error!(
            reason = self.reason.code(),
            problem = %escape(&self.text),
            "a reload failed; what was loaded before stays"
        );
        for detail in &self.details {
            tracing::error!(reason = self.reason.code(), detail = %escape(detail), "a reload failed");
        }
    }
}

/// Until the next look; without an interval there is none.
async fn pause(interval: Option<Duration>) {
    match interval {
        Some(interval) => tokio::time::sleep(interval).await,
        None => std::future::pending().await,
    }
}

/// Between two looks when somebody waits for a reload.
const SETTLE: Duration = Duration::from_millis(250);
/// Looks in a row that may all see something else.
const MOST_RESTLESS: u32 = 20;
/// The policies could not be loaded, or not even found at rest.
const FAILED: Reason = Reason::PolicyReloadFailed;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use arc_swap::ArcSwap;

    use super::*;
    use crate::broker::Overrides;
    use crate::broker::assemble::Loaded;
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
        let loaded = Loaded::read(&settings, &overrides).unwrap();
        let lasting = Lasting::begin(&loaded, &mut overrides).unwrap();
        let version = Version::new(loaded, &lasting, None).unwrap();
        let current: Current = Arc::new(ArcSwap::from_pointee(version));
        let revision = || current.load().loaded.policies.revision().to_owned();
        let wake = Arc::new(Notify::new());
        let first = Seen::of(&settings);
        let mut reloader = Reloader::new(&current, &lasting, first, None, &wake);
        let before = revision();
        write(1);
        let seen = Seen::of(&settings);
        write(2);
        assert!(!reloader.load(&seen).await);
        assert_eq!(revision(), before);
        assert!(reloader.load(&Seen::of(&settings)).await);
        assert_ne!(revision(), before);
    }
}
