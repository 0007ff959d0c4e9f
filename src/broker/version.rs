//! One version of settings and policies: each request is served by exactly one version (T-77).

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::assemble::{DevKeys, LoadedConfig, StartError, issuers};
use super::process::ProcessState;
use crate::clock::Clock;
use crate::config::Settings;
use crate::credential::Mints;
use crate::credential::jwt::{self, JwtMint, Keys};
use crate::credential::target::{PreviousTarget, Target, TargetSettings, Targets, With};
use crate::exchange::{Components, Exchange};
use crate::http::connection::Times;
use crate::http::listener::{CurrentService, Rules, Service};
use crate::http::operator::{Readiness, ReloadStatus};
use crate::http::{Shared, operators, public};
use crate::token::keys::{KeyError, OwnKeys};
use crate::token::{KeyRule, KeySet, TrustedIssuer, Verifier};

/// The current version: the pointer that a reload swaps.
pub(super) type Current = Arc<ArcSwap<Version>>;

/// Everything built from one state of the files.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) loaded: LoadedConfig,
    pub(super) shared: Arc<Shared>,
    pub(super) targets: Arc<Targets>,
    /// Targets that could not be set up with the new settings and stay as before, each with the
    /// reason.
    pub(super) left: Vec<String>,
    /// Whether a target with the same settings was set up again, because one of its files changed.
    pub(super) has_reconnected: bool,
    public: Arc<Service>,
    operators: Arc<Service>,
}

impl Version {
    /// Builds a version. Keeps what did not change of the previous version: database connections
    /// and counters.
    pub(super) fn new(
        loaded: LoadedConfig,
        process: &ProcessState,
        before: Option<&Self>,
    ) -> Result<Self, StartError> {
        let settings = &loaded.settings;
        let signing = Keys::new(
            loaded.roots.clone(),
            settings.signing.algorithm,
            settings.signing.epoch,
            process.clock.now(),
        )?;
        let signing = Arc::new(signing.with_rs256(loaded.rs256.clone()));
        let mut left = Vec::new();
        let mut has_reconnected = false;
        let signed = Signed {
            loaded: &loaded,
            signing: &signing,
        };
        let targets = targets(&signed, process, before, &mut left, &mut has_reconnected)?;
        let targets = Arc::new(targets);
        let parts = components(&loaded, process, &signing, &targets);
        let exchange = match before {
            Some(before) => before.shared.exchange.with(parts),
            None => Exchange::new(parts),
        };
        let shared = Arc::new(Shared {
            exchange: Arc::new(exchange),
            issuer: settings.issuer.clone(),
            signing,
            disclosure: settings.disclose,
            limits: settings.limits,
            proxies: settings.listen.proxies.clone(),
            operator_hosts: settings.listen.operator_hosts.clone(),
            clock: Arc::clone(&process.clock),
            metrics: Arc::clone(&process.metrics),
            lines: Arc::clone(&process.lines),
            clients: settings.clients.clone(),
            downloads: Arc::clone(&process.downloads),
            readiness: Readiness::new(
                process.remote.clone(),
                Arc::clone(&targets),
                Arc::clone(&process.reloads) as Arc<dyn ReloadStatus>,
            ),
        });
        let rules = rules(&loaded);
        let operator_rules = Rules {
            tls: None,
            connections: OPERATOR_CONNECTIONS,
            ..rules.clone()
        };
        Ok(Self {
            public: Arc::new(Service {
                router: public(&shared),
                rules,
            }),
            operators: Arc::new(Service {
                router: operators(&shared),
                rules: operator_rules,
            }),
            loaded,
            shared,
            targets,
            left,
            has_reconnected,
        })
    }

    /// Whether every target is connected with these settings.
    pub(super) fn is_connected_as(&self, settings: &Settings) -> bool {
        settings.targets.iter().all(|(name, target)| {
            let same = same_target(self, name, target.as_ref());
            same.is_some_and(Target::has_same_files)
        })
    }
}

/// Returns the current router and limits of the public listener; called for every connection and
/// every request.
pub(super) fn public_service(current: &Current) -> CurrentService {
    let current = Arc::clone(current);
    Arc::new(move || Arc::clone(&current.load().public))
}

/// Returns the current router and limits of the operator listener.
pub(super) fn operator_service(current: &Current) -> CurrentService {
    let current = Arc::clone(current);
    Arc::new(move || Arc::clone(&current.load().operators))
}

fn rules(loaded: &LoadedConfig) -> Rules {
    let limits = loaded.settings.limits;
    let tls = loaded.tls.as_ref();
    Rules {
        times: Times {
            head: limits.head_time,
            idle: limits.idle_time,
            request: limits.request_time,
            head_size: limits.head,
        },
        tls: tls.map(|tls| (tls.acceptor.clone(), limits.handshake_time)),
        connections: limits.connections,
        grace: limits.shutdown_time,
    }
}

fn components(
    loaded: &LoadedConfig,
    process: &ProcessState,
    signing: &Arc<Keys>,
    targets: &Arc<Targets>,
) -> Components {
    let clock = &process.clock;
    let signer = Arc::new(JwtMint::new(Arc::clone(signing), Arc::clone(clock)));
    let mints = Mints::new(Arc::clone(targets)).with_kind(&jwt::KIND, signer);
    Components {
        verifier: verifier(loaded, process, signing),
        policies: Arc::clone(&loaded.policies),
        used_tokens: Arc::clone(&process.used_tokens),
        audit: Arc::clone(&process.audit),
        mints: Arc::new(mints),
        targets: Arc::clone(targets),
        root_keys: loaded.roots.clone(),
        clock: Arc::clone(clock),
        max_concurrent: loaded.settings.limits.exchanges,
        per_repository: loaded.settings.limits.per_repository,
    }
}

fn verifier(loaded: &LoadedConfig, process: &ProcessState, signing: &Arc<Keys>) -> Verifier {
    let own = Arc::new(OwnSigningKeys {
        keys: Arc::clone(signing),
        clock: Arc::clone(&process.clock),
    });
    let verifier = Verifier::new(
        loaded.settings.issuer.clone(),
        issuers(&loaded.policies),
        Arc::clone(&process.keys),
        Arc::clone(&process.clock),
    )
    .refusing(own)
    .blocking(loaded.settings.blocked.clone());
    match process.dev_keys {
        DevKeys::Refused => verifier.with_rule(Arc::new(NoDevKeys)),
        DevKeys::Accepted => verifier,
        DevKeys::Only => verifier.with_rule(Arc::new(OnlyDevKeys)),
    }
}

/// Rejects issuers that publish a key of the embedded issuer of `hallpass dev`, admitted or not: it
/// signs anything (T-117).
#[derive(Debug)]
pub struct NoDevKeys;

impl KeyRule for NoDevKeys {
    fn check(&self, issuer: &TrustedIssuer, keys: &KeySet) -> Result<(), KeyError> {
        if keys.kids().any(|kid| kid.starts_with(DEV_KID_PREFIX)) {
            return Err(KeyError::DevKey {
                issuer: issuer.url.clone(),
            });
        }
        Ok(())
    }
}

/// Rejects every issuer but the embedded ones: `hallpass dev` runs a user's own policies, and an issuer
/// that is added to them while it runs is the real one (T-251).
#[derive(Debug)]
pub struct OnlyDevKeys;

impl KeyRule for OnlyDevKeys {
    fn check(&self, issuer: &TrustedIssuer, keys: &KeySet) -> Result<(), KeyError> {
        if keys.kids().all(|kid| kid.starts_with(DEV_KID_PREFIX)) {
            return Ok(());
        }
        Err(KeyError::NotDevKey {
            issuer: issuer.url.clone(),
        })
    }
}

/// The current signing keys. Read for every check, because they change with the epoch (T-84,
/// T-109).
#[derive(Debug)]
struct OwnSigningKeys {
    keys: Arc<Keys>,
    clock: Arc<dyn Clock>,
}

impl OwnKeys for OwnSigningKeys {
    fn is_own(&self, thumbprint: &str) -> bool {
        // Without the broker's own keys, none can be compared with them.
        let publishes = self.keys.publishes(thumbprint, self.clock.now());
        publishes.unwrap_or(true)
    }
}

/// The settings, with the keys that follow from them.
struct Signed<'a> {
    loaded: &'a LoadedConfig,
    signing: &'a Arc<Keys>,
}

/// Sets up every target of the settings. The first sweep shows whether it is reachable.
fn targets(
    Signed { loaded, signing }: &Signed<'_>,
    process: &ProcessState,
    before: Option<&Version>,
    left: &mut Vec<String>,
    has_reconnected: &mut bool,
) -> Result<Targets, StartError> {
    let mut targets: BTreeMap<String, Arc<dyn Target>> = BTreeMap::new();
    if let Some(other) = &process.target {
        let named = loaded.policies.credentials();
        let named = named.filter_map(|credential| credential.target());
        targets.extend(named.map(|name| (name.to_owned(), Arc::clone(other))));
        return Ok(Targets::new(targets));
    }
    for (name, settings) in &loaded.settings.targets {
        let connect = |is_kept| {
            let before = before.and_then(|before| before.targets.get(name));
            let with = With {
                root_keys: &loaded.roots,
                signing: Some(signing),
                clock: &process.clock,
                before: before.map(|target| PreviousTarget {
                    target: target.as_ref(),
                    is_kept,
                }),
            };
            settings
                .connect(name, &with)
                .map_err(|problem| StartError::TargetSettings {
                    target: name.clone(),
                    problem,
                })
        };
        let same = before.and_then(|before| same_target(before, name, settings.as_ref()));
        let target = match same {
            Some(same) if same.has_same_files() => connect(true)?,
            // If one of its files is broken, the target stays as before, and the reload continues.
            Some(_) => match connect(false) {
                Ok(target) => {
                    *has_reconnected = true;
                    target
                }
                Err(error) => {
                    left.push(error.to_string());
                    connect(true)?
                }
            },
            None => connect(false)?,
        };
        targets.insert(name.clone(), target);
    }
    Ok(Targets::new(targets))
}

/// The target of that name, if its settings are unchanged.
fn same_target<'a>(
    before: &'a Version,
    name: &str,
    target: &dyn TargetSettings,
) -> Option<&'a dyn Target> {
    let old = before.loaded.settings.targets.get(name)?;
    let same = before.targets.get(name)?;
    old.is_same(target).then_some(same.as_ref())
}

/// A few scrapers and probes.
const OPERATOR_CONNECTIONS: usize = 64;

/// The prefix of the `kid`s of the embedded issuer of `hallpass dev`.
pub const DEV_KID_PREFIX: &str = "dev-";
