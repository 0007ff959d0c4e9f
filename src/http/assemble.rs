//! Settings to a broker: every part is made here, once.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::operator::Readiness;
use super::{Shared, metrics};
use crate::audit::event::{self, Event};
use crate::audit::file::FileSink;
use crate::audit::stdout::StdoutSink;
use crate::audit::{AuditLog, SinkEntry, SinkError, Text, new_boot_id};
use crate::clock::{Clock, SystemClock};
use crate::config::{Settings, SinkKind, Target};
use crate::credential::database::postgres::{Postgres, TargetSettings};
use crate::credential::database::{Database, Databases, Report, Sweeper};
use crate::credential::jwt::{JwtMint, Keys, KeysError};
use crate::credential::{Mint, MintError, Mints, Revoked};
use crate::exchange::{Exchange, Leases, Parts};
use crate::lease::LeaseContents;
use crate::policy::{Diagnostics, IssuerOverride, Kind, LoadOptions, PolicySet};
use crate::replay::memory::MemoryTokens;
use crate::rootkey::{RootKey, RootKeyError, RootKeys};
use crate::token::keys::{KeySource, OwnKeys, RemoteKeys};
use crate::token::{TrustedIssuer, Verifier};

/// What `hallpass demo` and tests put in place of what the settings give.
#[derive(Debug, Default)]
pub struct Overrides {
    /// Another clock than the machine's.
    pub clock: Option<Arc<dyn Clock>>,
    /// Other addresses for issuers of the policies, by name.
    pub issuers: BTreeMap<String, IssuerOverride>,
    /// Trust loopback issuers and their `dev-` keys (T-117). Never set by `serve`.
    pub for_dev: bool,
    /// Another source of issuers' keys than HTTPS.
    pub keys: Option<Arc<dyn KeySource>>,
    /// Sinks beside those of the settings.
    pub sinks: Vec<SinkEntry>,
    /// Databases instead of those of the settings: who mints in them, and who ends leases.
    pub databases: Option<(Arc<dyn Mint>, Arc<dyn Leases>)>,
    /// Listeners that are bound already, so that their ports are known before the settings.
    pub public: Option<std::net::TcpListener>,
    /// See `public`.
    pub operator: Option<std::net::TcpListener>,
}

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The root key.
    #[error(transparent)]
    RootKey(#[from] RootKeyError),
    /// The policies.
    #[error("{0}\n\nthe policies in `{path}` have errors; `hallpass policy check {path}` shows them", path = .1.display())]
    Policies(Diagnostics, PathBuf),
    /// A credential is made in a target that the settings do not have.
    #[error(
        "credential `{credential}` of the policies is made in target `{target}`, which the settings do not have; add it under `targets:`{}", known(.targets)
    )]
    Target {
        /// The credential.
        credential: String,
        /// The target it names.
        target: String,
        /// The targets there are.
        targets: Vec<String>,
    },
    /// A target whose settings cannot be used.
    #[error("target `{target}`: {problem}; see `targets:` in the settings")]
    TargetSettings {
        /// The target.
        target: String,
        /// What is wrong.
        problem: String,
    },
    /// The signing keys.
    #[error("the signing keys cannot be derived: {0}; see `signing:` in the settings")]
    Signing(#[from] KeysError),
    /// A sink.
    #[error("{0}; see `audit:` in the settings")]
    Sink(#[from] SinkError),
    /// The TLS certificate or its key.
    #[error("`{path}` {problem}; see `listen.tls` in the settings", path = .path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// An address.
    #[error("cannot listen on {address}: {problem}; see `listen.{key}` in the settings")]
    Listen {
        /// The address.
        address: String,
        /// What the system says, and what to do.
        problem: String,
        /// `public` or `operator`.
        key: &'static str,
    },
    /// The cryptographic library does not do what it must (T-99).
    #[error("the self-test of the cryptographic library failed: {0}; this build must not be used")]
    SelfTest(String),
}

fn known(targets: &[String]) -> String {
    match targets {
        [] => String::new(),
        names => format!(" (there: {})", names.join(", ")),
    }
}

/// A broker that listens nowhere yet.
pub(super) struct Assembled {
    pub(super) shared: Arc<Shared>,
    pub(super) audit: Arc<AuditLog>,
    pub(super) sweeper: Sweeper,
}

/// Makes every part of a broker.
pub(super) fn assemble(
    settings: &Settings,
    overrides: &mut Overrides,
) -> Result<Assembled, StartError> {
    let clock = overrides
        .clock
        .take()
        .unwrap_or_else(|| Arc::new(SystemClock::new()));
    let roots = root_keys(settings)?;
    let policies = Arc::new(policies(settings, overrides)?);
    check_targets(settings, &policies)?;
    let signing = Arc::new(Keys::new(
        roots.clone(),
        settings.signing.algorithm,
        settings.signing.epoch,
        clock.now(),
    )?);
    let (keys, remote) = key_source(&policies, overrides, &clock);
    let verifier = verifier(
        settings,
        &policies,
        keys,
        &signing,
        &clock,
        overrides.for_dev,
    );
    let audit = Arc::new(audit(settings, overrides, &roots, &clock)?);
    let used_tokens = Arc::new(MemoryTokens::new(Arc::clone(&clock), USED_TOKENS));
    let jwt = Arc::new(JwtMint::new(Arc::clone(&signing), Arc::clone(&clock)));
    let given = overrides.databases.take();
    let targets = if given.is_some() {
        &BTreeMap::new()
    } else {
        &settings.targets
    };
    let databases = Arc::new(databases(targets, &roots, &clock)?);
    let sweeper = databases.start_sweeping(&sweep_intervals(targets), &swept(&audit));
    let (mint, leases) = given.unwrap_or_else(|| {
        let leases = Leased(Arc::clone(&databases));
        (Arc::clone(&databases) as Arc<dyn Mint>, Arc::new(leases))
    });
    let exchange = Arc::new(Exchange::new(Parts {
        verifier,
        policies,
        used_tokens,
        audit: Arc::clone(&audit),
        mints: Arc::new(Mints::new(jwt, Some(mint))),
        leases,
        root_keys: roots,
        clock: Arc::clone(&clock),
        places: settings.limits.exchanges,
        per_repository: settings.limits.per_repository,
    }));
    let shared = Arc::new(Shared {
        exchange,
        issuer: settings.issuer.clone(),
        signing,
        disclosure: settings.disclose,
        limits: settings.limits,
        proxies: settings.listen.proxies.clone(),
        operator_hosts: settings.listen.operator_hosts.clone(),
        clock,
        metrics: Arc::new(metrics::Metrics::new()),
        readiness: Readiness::new(remote, databases),
    });
    Ok(Assembled {
        shared,
        audit,
        sweeper,
    })
}

/// What can be wrong with settings, policies and keys, without opening anything for writing.
pub(super) fn check(settings: &Settings) -> Result<(), StartError> {
    root_keys(settings)?;
    let policies = policies(settings, &Overrides::default())?;
    check_targets(settings, &policies)?;
    settings.targets.iter().try_for_each(check_secrets)
}

/// A password that is not there is found by `--check`; a running broker says so in its readiness,
/// since secrets may be mounted late.
fn check_secrets((name, target): (&String, &Target)) -> Result<(), StartError> {
    let Target::Postgres(target) = target;
    let logins = [
        (&target.user, &target.password),
        (&target.cleaner.user, &target.cleaner.password),
    ];
    for (user, password) in logins {
        password
            .read()
            .map_err(|error| StartError::TargetSettings {
                target: name.clone(),
                problem: format!("the password of `{user}` cannot be read: {error}"),
            })?;
    }
    Ok(())
}

/// The ring that the settings name, the active key first.
///
/// # Errors
/// A file cannot be read, is open to others, or holds no key.
pub fn root_keys(settings: &Settings) -> Result<RootKeys, RootKeyError> {
    let mut ring = Vec::new();
    for path in &settings.root_keys {
        ring.extend(RootKey::read_ring(path)?);
    }
    RootKeys::new(&settings.issuer, settings.signing.generation, ring)
}

/// The policies, with nothing in them that forbids to serve them.
fn policies(settings: &Settings, overrides: &Overrides) -> Result<PolicySet, StartError> {
    let options = LoadOptions {
        issuer_overrides: overrides.issuers.clone(),
        broker: Some(settings.issuer.clone()),
    };
    let refused = |found| StartError::Policies(found, settings.policies.clone());
    let loaded = PolicySet::load_with(&settings.policies, &options).map_err(refused)?;
    let (set, findings) = loaded.servable().map_err(refused)?;
    for finding in findings.iter() {
        tracing::warn!(
            reason = "policy.finding",
            rule = finding.rule,
            place = %finding.place,
            message = %crate::text::escape(&finding.message),
            "policy finding"
        );
    }
    Ok(set)
}

/// A credential that could never be minted is found at start, not by the first job.
fn check_targets(settings: &Settings, policies: &PolicySet) -> Result<(), StartError> {
    for credential in policies.credentials() {
        let target = match &credential.kind {
            Kind::Postgres { target, .. } => target,
            Kind::Jwt { .. } => continue,
        };
        if !settings.targets.contains_key(target) {
            return Err(StartError::Target {
                credential: credential.name.clone(),
                target: target.clone(),
                targets: settings.targets.keys().cloned().collect(),
            });
        }
    }
    Ok(())
}

fn issuers(policies: &PolicySet) -> Vec<Arc<TrustedIssuer>> {
    let readers = policies.readers().iter();
    readers.map(|reader| Arc::clone(&reader.issuer)).collect()
}

type Source = (Arc<dyn KeySource>, Option<Arc<RemoteKeys>>);

fn key_source(policies: &PolicySet, overrides: &mut Overrides, clock: &Arc<dyn Clock>) -> Source {
    if let Some(keys) = overrides.keys.take() {
        return (keys, None);
    }
    let remote = Arc::new(RemoteKeys::start(&issuers(policies), Arc::clone(clock)));
    (Arc::clone(&remote) as Arc<dyn KeySource>, Some(remote))
}

fn verifier(
    settings: &Settings,
    policies: &PolicySet,
    keys: Arc<dyn KeySource>,
    signing: &Arc<Keys>,
    clock: &Arc<dyn Clock>,
    for_dev: bool,
) -> Verifier {
    let own = Arc::new(OwnSigningKeys {
        keys: Arc::clone(signing),
        clock: Arc::clone(clock),
    });
    let verifier = Verifier::new(
        settings.issuer.clone(),
        issuers(policies),
        keys,
        Arc::clone(clock),
    )
    .refusing(own);
    if for_dev {
        verifier.for_dev()
    } else {
        verifier
    }
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
            sink: match &sink.kind {
                SinkKind::File { path } => Box::new(FileSink::open(path, true)?),
                SinkKind::Stdout => Box::new(StdoutSink::new()),
            },
        });
    }
    sinks.append(&mut overrides.sinks);
    let boot = new_boot_id()?;
    AuditLog::new(sinks, roots, Arc::clone(clock), &settings.replica, &boot)
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
    targets: &BTreeMap<String, Target>,
    roots: &RootKeys,
    clock: &Arc<dyn Clock>,
) -> Result<Databases, StartError> {
    let mut databases: BTreeMap<String, Arc<dyn Database>> = BTreeMap::new();
    for (name, target) in targets {
        let Target::Postgres(target) = target;
        let postgres = Postgres::new(TargetSettings::clone(target)).map_err(|problem| {
            StartError::TargetSettings {
                target: name.clone(),
                problem,
            }
        })?;
        databases.insert(name.clone(), Arc::new(postgres));
    }
    Ok(Databases::new(databases, roots.clone(), Arc::clone(clock)))
}

fn sweep_intervals(targets: &BTreeMap<String, Target>) -> BTreeMap<String, Duration> {
    let interval = |(name, target): (&String, &Target)| {
        let Target::Postgres(target) = target;
        (name.clone(), target.sweep)
    };
    targets.iter().map(interval).collect()
}

/// What the sweep did goes on record.
fn swept(audit: &Arc<AuditLog>) -> Report {
    let audit = Arc::clone(audit);
    let note = move |event: Event| {
        if let Err(error) = audit.note(&event) {
            tracing::error!(reason = "sink.failed", sink = %error.sink, "a sweep could not be recorded");
        }
    };
    Arc::new(move |target, report| {
        note(Event::Sweep(event::Sweep {
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
        for login in &report.strangers {
            note(Event::Alert(event::Alert {
                reason: "lease.stranger",
                message: Text::new(&format!(
                    "login {login} of target {target} has a record that none of our keys wrote"
                )),
                request_id: None,
            }));
        }
    })
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

/// Live uses remembered: at sixty exchanges a minute of a thousand repositories, for the hour a
/// token may live, and about half a kilobyte each.
const USED_TOKENS: usize = 1 << 20;

/// Time between two looks at what must be looked at without a request: the clock, histograms.
pub(super) const UPKEEP: Duration = Duration::from_secs(5);
