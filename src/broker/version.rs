//! One version of settings and policies, whole: each request is answered by exactly one (T-77).

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;

use super::assemble::{Loaded, StartError, issuers};
use super::lasting::Lasting;
use crate::clock::Clock;
use crate::config::{Settings, Target};
use crate::credential::database::postgres::{Postgres, TargetSettings};
use crate::credential::database::{Database, Databases};
use crate::credential::jwt::{self, JwtMint, Keys};
use crate::credential::{Mint, MintError, Mints, Revoked};
use crate::exchange::{Exchange, Leases, Parts};
use crate::http::connection::Times;
use crate::http::listener::{Door, Entrance, Rules};
use crate::http::operator::{Readiness, ReloadStatus};
use crate::http::{Shared, operators, public};
use crate::lease::LeaseContents;
use crate::token::Verifier;
use crate::token::keys::OwnKeys;

/// The version that requests are answered by from now on: the one pointer that a reload swaps.
pub(super) type Current = Arc<ArcSwap<Version>>;

/// Everything that follows from one state of the files.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) loaded: Loaded,
    pub(super) shared: Arc<Shared>,
    pub(super) databases: Arc<Databases>,
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
        let signing = Arc::new(Keys::new(
            loaded.roots.clone(),
            settings.signing.algorithm,
            settings.signing.epoch,
            lasting.clock.now(),
        )?);
        let mut left = Vec::new();
        let databases = Arc::new(databases(&loaded, lasting, before, &mut left)?);
        let parts = parts(&loaded, lasting, &signing, &databases);
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
                Arc::clone(&databases),
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
            databases,
            left,
        })
    }

    /// Whether every target is reached as it would be by these settings.
    pub(super) fn is_connected_as(&self, settings: &Settings) -> bool {
        let targets = settings.targets.iter();
        // Those in place of the settings' own have no name here.
        let mut ours = targets.filter(|(name, _)| self.databases.database(name).is_some());
        ours.all(|(name, target)| {
            same_target(self, name, target).is_some_and(|database| has_same_ca(&database, target))
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

fn parts(
    loaded: &Loaded,
    lasting: &Lasting,
    signing: &Arc<Keys>,
    databases: &Arc<Databases>,
) -> Parts {
    let clock = &lasting.clock;
    let signer = Arc::new(JwtMint::new(Arc::clone(signing), Arc::clone(clock)));
    let (mint, leases) = lasting.databases.clone().unwrap_or_else(|| {
        let leases = Leased(Arc::clone(databases));
        (Arc::clone(databases) as Arc<dyn Mint>, Arc::new(leases))
    });
    let targets = loaded.settings.targets.keys();
    let mints = targets.fold(
        Mints::default().with_kind(&jwt::KIND, signer),
        |mints, target| mints.with_target(target, Arc::clone(&mint)),
    );
    Parts {
        verifier: verifier(loaded, lasting, signing),
        policies: Arc::clone(&loaded.policies),
        used_tokens: Arc::clone(&lasting.used_tokens),
        audit: Arc::clone(&lasting.audit),
        mints: Arc::new(mints),
        leases,
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
    if lasting.for_dev {
        verifier.for_dev()
    } else {
        verifier
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
fn databases(
    loaded: &Loaded,
    lasting: &Lasting,
    before: Option<&Version>,
    left: &mut Vec<String>,
) -> Result<Databases, StartError> {
    let mut databases: BTreeMap<String, Arc<dyn Database>> = BTreeMap::new();
    let targets = &loaded.settings.targets;
    for (name, target) in targets.iter().filter(|_| lasting.databases.is_none()) {
        let same = before.and_then(|before| same_target(before, name, target));
        let database = match same {
            Some(database) if has_same_ca(&database, target) => database,
            // A file it names is broken: no reason to cut off what works, nor the rest of a reload.
            Some(database) => connect(name, target).unwrap_or_else(|error| {
                left.push(error.to_string());
                database
            }),
            None => connect(name, target)?,
        };
        databases.insert(name.clone(), database);
    }
    let roots = loaded.roots.clone();
    Ok(match before {
        Some(before) => before.databases.succeeded_by(databases, roots),
        None => Databases::new(databases, roots, Arc::clone(&lasting.clock)),
    })
}

/// The database of a target whose settings are as before, with the connections it has.
fn same_target(before: &Version, name: &str, target: &Target) -> Option<Arc<dyn Database>> {
    let old = before.loaded.settings.targets.get(name)?;
    let database = before.databases.database(name)?;
    (old == target).then(|| Arc::clone(database))
}

fn has_same_ca(database: &Arc<dyn Database>, target: &Target) -> bool {
    let Target::Postgres(target) = target;
    let ca = target.ca.as_deref().map(fs::read_to_string).transpose();
    ca.is_ok_and(|ca| ca == database.address().ca)
}

/// Sets up the way to a target, without going there.
pub(super) fn connect(name: &str, target: &Target) -> Result<Arc<dyn Database>, StartError> {
    let Target::Postgres(target) = target;
    let postgres = Postgres::new(TargetSettings::clone(target)).map_err(|problem| {
        StartError::TargetSettings {
            target: name.to_owned(),
            problem,
        }
    })?;
    Ok(Arc::new(postgres))
}

/// The databases, as the exchange sees them.
#[derive(Debug)]
struct Leased(Arc<Databases>);

#[async_trait]
impl Leases for Leased {
    async fn revoke(&self, lease: &LeaseContents) -> Result<Revoked, MintError> {
        self.0.revoke(lease).await
    }
}

/// A few scrapers and probes.
const OPERATOR_CONNECTIONS: usize = 64;
