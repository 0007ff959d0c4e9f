//! State that survives reloads: opened once, at start.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use super::assemble::{LoadedConfig, Overrides, StartError, issuers};
use super::reload::Reloads;
use super::version::Version;
use crate::audit::event::{self, Event};
use crate::audit::{AuditLog, SinkEntry, SinkError, Text, new_boot_id};
use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::credential::target::{SweepObserver, Sweeper, Target};
use crate::exchange::LineLimiter;
use crate::http::clients::Downloads;
use crate::http::log;
use crate::http::metrics::Metrics;
use crate::policy::{IssuerOverride, PolicySet};
use crate::reason::Reason;
use crate::replay::memory::MemoryTokens;
use crate::replay::redis::{RedisSettings, RedisTokens};
use crate::replay::{StoreSettings, UsedTokens};
use crate::rootkey::RootKeys;
use crate::token::keys::{KeySource, RemoteKeys};

pub(super) struct ProcessState {
    pub(super) clock: Arc<dyn Clock>,
    /// The source of issuers' keys.
    pub(super) keys: Arc<dyn KeySource>,
    /// The same, if they are fetched.
    pub(super) remote: Option<Arc<RemoteKeys>>,
    pub(super) audit: Arc<AuditLog>,
    pub(super) used_tokens: Arc<dyn UsedTokens>,
    pub(super) metrics: Arc<Metrics>,
    /// Limits the request lines in the log.
    pub(super) lines: Arc<LineLimiter>,
    pub(super) downloads: Arc<Downloads>,
    /// Replaces every target that the policies name.
    pub(super) target: Option<Arc<dyn Target>>,
    /// Replacement URLs for issuers of the policies.
    pub(super) issuers: BTreeMap<String, IssuerOverride>,
    /// See [`Overrides::dev_keys`].
    pub(super) dev_keys: bool,
    pub(super) reloads: Arc<Reloads>,
    sweeper: OnceLock<Sweeper>,
}

impl ProcessState {
    /// Opens the sinks and starts to fetch keys.
    pub(super) fn begin(
        loaded: &LoadedConfig,
        overrides: &mut Overrides,
    ) -> Result<Arc<Self>, StartError> {
        let clock = overrides.clock.take();
        let clock = clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
        let audit = audit(&loaded.settings, overrides, &loaded.roots, &clock)?;
        let (keys, remote) = key_source(&loaded.policies, overrides, &clock);
        Ok(Arc::new(Self {
            keys,
            remote,
            audit: Arc::new(audit),
            used_tokens: used_tokens(&loaded.settings.replay, &clock)?,
            metrics: Arc::new(Metrics::new()),
            lines: Arc::new(LineLimiter::new(log::LINES, Arc::clone(&clock))),
            downloads: Arc::default(),
            target: overrides.target.take(),
            issuers: std::mem::take(&mut overrides.issuers),
            dev_keys: overrides.dev_keys,
            reloads: Arc::new(Reloads::new(clock.now())),
            sweeper: OnceLock::new(),
            clock,
        }))
    }

    /// Sweeps the targets of this version from now on.
    pub(super) fn sweep(&self, version: &Version) {
        let targets = &version.targets;
        let start = || Sweeper::start(targets, &swept(&self.audit));
        self.sweeper.get_or_init(start).follow(targets);
    }

    pub(super) fn stop_sweeping(&self) {
        if let Some(sweeper) = self.sweeper.get() {
            sweeper.stop();
        }
    }

    /// Records an event that nothing waits for.
    pub(super) fn note(&self, event: &Event) {
        self.audit.note_or_log(event);
    }
}

impl fmt::Debug for ProcessState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProcessState")
    }
}

type Source = (Arc<dyn KeySource>, Option<Arc<RemoteKeys>>);

fn key_source(policies: &PolicySet, overrides: &mut Overrides, clock: &Arc<dyn Clock>) -> Source {
    if let Some(keys) = overrides.keys.take() {
        return (keys, None);
    }
    let remote = Arc::new(RemoteKeys::start(&issuers(policies), Arc::clone(clock)));
    (Arc::clone(&remote) as Arc<dyn KeySource>, Some(remote))
}

fn audit(
    settings: &Settings,
    overrides: &mut Overrides,
    roots: &RootKeys,
    clock: &Arc<dyn Clock>,
) -> Result<AuditLog, SinkError> {
    let mut sinks = Vec::new();
    for sink in &settings.sinks {
        sinks.push(SinkEntry {
            required: sink.required,
            sink: sink.settings.open()?,
        });
    }
    sinks.append(&mut overrides.sinks);
    let boot = new_boot_id()?;
    AuditLog::new(sinks, roots, Arc::clone(clock), &settings.replica, &boot)
}

/// Records what a sweep did.
fn swept(audit: &Arc<AuditLog>) -> SweepObserver {
    let audit = Arc::clone(audit);
    let note = move |event: Event| audit.note_or_log(&event);
    Arc::new(move |target, report| {
        note(Event::Sweep(event::SweepRecord {
            target: Text::new(target),
            removed: report
                .removed
                .iter()
                .map(|login| Text::new(login))
                .collect(),
            left: report
                .left
                .iter()
                .map(|(login, reason)| Text::new(&format!("{login}: {reason}")))
                .collect(),
        }));
        for login in &report.foreign_leases {
            note(Event::Alert(event::AlertRecord {
                reason: Reason::LeaseForeign,
                message: Text::new(&format!(
                    "login {login} of target {target} has a record that no key of this broker signed"
                )),
                request_id: None,
            }));
        }
    })
}

/// The store of used tokens in the settings. A shared store connects in the background.
fn used_tokens(
    settings: &StoreSettings,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<dyn UsedTokens>, StartError> {
    let clock = Arc::clone(clock);
    Ok(match settings {
        StoreSettings::Memory { capacity } => Arc::new(MemoryTokens::new(clock, *capacity)),
        StoreSettings::Redis(redis) => {
            let redis = RedisSettings::clone(redis);
            Arc::new(RedisTokens::start(redis, clock).map_err(StartError::Replay)?)
        }
    })
}
