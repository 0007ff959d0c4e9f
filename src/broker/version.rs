//! One version of settings and policies, whole: each request is answered by exactly one (T-77).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::assemble::{Loaded, StartError, issuers};
use super::lasting::Lasting;
use crate::clock::Clock;
use crate::config::Settings;
use crate::credential::Mints;
use crate::credential::jwt::{self, JwtMint, Keys};
use crate::credential::target::{Before, Target, TargetSettings, Targets, With};
use crate::exchange::{Exchange, Parts};
use crate::http::connection::Times;
use crate::http::listener::{Door, Entrance, Rules};
use crate::http::operator::{Readiness, ReloadStatus};
use crate::http::{Shared, operators, public};
use crate::token::keys::{KeyError, OwnKeys};
use crate::token::{KeyRule, KeySet, TrustedIssuer, Verifier};

/// The version that requests are answered by from now on: the one pointer that a reload swaps.
pub(super) type Current = Arc<ArcSwap<Version>>;

/// Everything that follows from one state of the files.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) loaded: Loaded,
    pub(super) shared: Arc<Shared>,
    pub(super) targets: Arc<Targets>,
    /// Targets that could not be set up anew and are reached as before, each with the reason.
    pub(super) left: Vec<String>,
    public: Arc<Entrance>,
    operators: Arc<Entrance>,
}

impl Version {
    /// Makes a version. Of the one before it keeps what did not change: connections to databases,
    /// and all that is counted.
    pub(super) fn new(
        loaded: Loaded,
        lasting: &Lasting,
        before: Option<&Self>,
    ) -> Result<Self, StartError> {
        let settings = &loaded.settings;
        let signing = Keys::new(
            loaded.roots.clone(),
            settings.signing.algorithm,
            settings.signing.epoch,
            lasting.clock.now(),
        )?;
        let signing = Arc::new(signing.with_rs256(loaded.rs256.clone()));
        let mut left = Vec::new();
        let targets = Arc::new(targets(&loaded, lasting, before, &mut left)?);
        let parts = parts(&loaded, lasting, &signing, &targets);
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
            clock: Arc::clone(&lasting.clock),
            metrics: Arc::clone(&lasting.metrics),
            lines: Arc::clone(&lasting.lines),
            readiness: Readiness::new(
                lasting.remote.clone(),
                Arc::clone(&targets),
                Arc::clone(&lasting.reloads) as Arc<dyn ReloadStatus>,
            ),
        });
        let rules = rules(&loaded);
        let operator_rules = Rules {
            tls: None,
            connections: OPERATOR_CONNECTIONS,
            ..rules.clone()
        };
        Ok(Self {
            public: Arc::new(Entrance {
                router: public(&shared),
                rules,
            }),
            operators: Arc::new(Entrance {
                router: operators(&shared),
                rules: operator_rules,
            }),
            loaded,
            shared,
            targets,
            left,
        })
    }

    /// Whether every target is reached as it would be by these settings.
    pub(super) fn is_connected_as(&self, settings: &Settings) -> bool {
        settings.targets.iter().all(|(name, target)| {
            let same = same_target(self, name, target.as_ref());
            same.is_some_and(Target::has_same_files)
        })
    }
}

/// What the public listener opens to.
pub(super) fn public_door(current: &Current) -> Door {
    let current = Arc::clone(current);
    Arc::new(move || Arc::clone(&current.load().public))
}

/// What the operators' listener opens to.
pub(super) fn operator_door(current: &Current) -> Door {
    let current = Arc::clone(current);
    Arc::new(move || Arc::clone(&current.load().operators))
}

fn rules(loaded: &Loaded) -> Rules {
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

fn parts(loaded: &Loaded, lasting: &Lasting, signing: &Arc<Keys>, targets: &Arc<Targets>) -> Parts {
    let clock = &lasting.clock;
    let signer = Arc::new(JwtMint::new(Arc::clone(signing), Arc::clone(clock)));
    let mints = Mints::new(Arc::clone(targets)).with_kind(&jwt::KIND, signer);
    Parts {
        verifier: verifier(loaded, lasting, signing),
        policies: Arc::clone(&loaded.policies),
        used_tokens: Arc::clone(&lasting.used_tokens),
        audit: Arc::clone(&lasting.audit),
        mints: Arc::new(mints),
        targets: Arc::clone(targets),
        root_keys: loaded.roots.clone(),
        clock: Arc::clone(clock),
        places: loaded.settings.limits.exchanges,
        per_repository: loaded.settings.limits.per_repository,
    }
}

fn verifier(loaded: &Loaded, lasting: &Lasting, signing: &Arc<Keys>) -> Verifier {
    let own = Arc::new(OwnSigningKeys {
        keys: Arc::clone(signing),
        clock: Arc::clone(&lasting.clock),
    });
    let verifier = Verifier::new(
        loaded.settings.issuer.clone(),
        issuers(&loaded.policies),
        Arc::clone(&lasting.keys),
        Arc::clone(&lasting.clock),
    )
    .refusing(own)
    .blocking(loaded.settings.blocked.clone());
    if lasting.dev_keys {
        verifier
    } else {
        verifier.with_rule(Arc::new(NoDevKeys))
    }
}

/// Refuses issuers that publish a key of the embedded issuer of `hallpass dev`, admitted or not: it
/// signs whatever it is asked to sign (T-117).
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

/// The keys we sign with now, asked anew each time since they change with the epoch (T-84, T-109).
struct OwnSigningKeys {
    keys: Arc<Keys>,
    clock: Arc<dyn Clock>,
}

impl OwnKeys for OwnSigningKeys {
    fn is_own(&self, thumbprint: &str) -> bool {
        match self.keys.thumbprints(self.clock.now()) {
            Ok(own) => own.iter().any(|own| own == thumbprint),
            // Not knowing our own keys, we can tell nobody's from them.
            Err(_) => true,
        }
    }
}

impl fmt::Debug for OwnSigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnSigningKeys")
    }
}

/// Every target of the settings; whether it answers shows at the first pass of the sweep.
fn targets(
    loaded: &Loaded,
    lasting: &Lasting,
    before: Option<&Version>,
    left: &mut Vec<String>,
) -> Result<Targets, StartError> {
    let mut targets: BTreeMap<String, Arc<dyn Target>> = BTreeMap::new();
    if let Some(other) = &lasting.target {
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
                clock: &lasting.clock,
                before: before.map(|target| Before {
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
            // A file it names is broken: no reason to cut off what works, nor the rest of a reload.
            Some(_) => match connect(false) {
                Ok(target) => target,
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

/// The target of that name, if its settings are as before.
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

/// What the `kid`s of the embedded issuer of `hallpass dev` begin with.
pub const DEV_KID_PREFIX: &str = "dev-";
