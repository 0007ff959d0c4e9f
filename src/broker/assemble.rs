//! Builds the parts of a broker from the settings, and reports every configuration error.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::audit::{SinkEntry, SinkError};
use crate::clock::{Clock, SystemClock};
use crate::config::{PolicyUrl, Settings};
use crate::credential::jwt::{self, JwtDefinition, Keys, KeysError, Rs256Error, Rs256Keys};
use crate::credential::target::Target;
use crate::exchange::self_test::VerifySignature;
use crate::file::read_text;
use crate::http::tls::{self, Tls, TlsError};
use crate::policy::link::{Commit, PolicyLinks};
use crate::policy::{CredentialDefinition, IssuerOverride, LoadOptions, PolicySet};
use crate::replay::StoreSettings;
use crate::rootkey::{RingKey, RootKey, RootKeyError, RootKeys};
use crate::token::keys::KeySource;
use crate::token::{Reuse, TrustedIssuer};
use crate::yaml::Diagnostics;

/// Whether keys of the embedded issuers of `hallpass dev` are trusted (T-117).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DevKeys {
    #[default]
    Refused,
    /// Tests have other issuers beside them.
    Accepted,
    /// A broker of `hallpass dev` trusts no other issuer, so it can serve no real job (T-251).
    Only,
}

/// What `hallpass demo` and tests replace.
#[derive(Debug, Default)]
pub struct Overrides {
    /// Replaces the system clock.
    pub clock: Option<Arc<dyn Clock>>,
    /// Replacement URLs for issuers of the policies, by name.
    pub issuers: BTreeMap<String, IssuerOverride>,
    /// `serve` leaves it at its default (T-117).
    pub dev_keys: DevKeys,
    /// Replaces HTTPS as the source of issuers' keys.
    pub keys: Option<Arc<dyn KeySource>>,
    /// Sinks in addition to those of the settings.
    pub sinks: Vec<SinkEntry>,
    /// Replaces every target that the policies name.
    pub target: Option<Arc<dyn Target>>,
    /// Listeners that are already bound, so their ports are known before the settings.
    pub public: Option<std::net::TcpListener>,
    /// See `public`.
    pub operator: Option<std::net::TcpListener>,
    /// Replaces the signature check in the self-test, to make it fail (T-99).
    pub verify_signature: Option<VerifySignature>,
    /// Replaces the interval at which settings and policies are checked for changes.
    pub reload: Option<Duration>,
}

/// Why the broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    RootKey(#[from] RootKeyError),
    #[error("{0}\n\nthe policies in `{path}` have errors; `hallpass policy check {path}` shows them", path = .1.display())]
    Policies(Diagnostics, PathBuf),
    /// The file with the commit of the policies.
    #[error("`policies.commit`: `{path}` {problem}; write it together with the policies, e.g. with `git rev-parse HEAD`", path = .path.display())]
    Commit { path: PathBuf, problem: String },
    /// The policy folder defines nothing.
    #[error("`{path}` holds no policies, so every job would be denied; expected at least one `*.yaml` file with `issuers:`, `credentials:` and `policies:`", path = .0.display())]
    NoPolicies(PathBuf),
    /// A credential uses a target that is not in the settings.
    #[error(
        "credential `{credential}` of the policies uses target `{target}`, which is not in the \
         settings; add it under `targets:`{}", known(.targets)
    )]
    Target {
        credential: String,
        target: String,
        targets: Vec<String>,
    },
    /// A credential cannot be issued in its target.
    #[error("{0}")]
    Credential(String),
    /// An entry of `blocked:` that would block nothing.
    #[error("{0}; see `blocked:` in the settings")]
    Blocked(String),
    /// A target whose settings cannot be used.
    #[error("target `{target}`: {problem}; see `targets:` in the settings")]
    TargetSettings { target: String, problem: String },
    /// The store of used tokens.
    #[error("the store of used tokens: {0}; see `replay:` in the settings")]
    Replay(String),
    /// An issuer whose tokens share logins needs a store that outlives this process (T-390).
    #[error(
        "issuer `{issuer}` of the policies has `reuse: subject`, and `replay.store` of the settings is \
         `memory`, where a restart or another broker would accept its used tokens again; write \
         `store: redis`, or remove `reuse`"
    )]
    Reuse { issuer: String },
    #[error("the signing keys cannot be derived: {0}; see `signing:` in the settings")]
    Signing(#[from] KeysError),
    /// The keys for RS256.
    #[error(transparent)]
    Rs256(#[from] Rs256Error),
    #[error("{0}; see `audit:` in the settings")]
    Sink(#[from] SinkError),
    /// The TLS certificate or its key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("cannot listen on {address}: {problem}; see `listen.{key}` in the settings")]
    Listen {
        address: String,
        /// The system's error, and what to do.
        problem: String,
        /// `public` or `operator`.
        key: &'static str,
    },
    /// The clients that the broker serves.
    #[error("{0}; see `clients:` in the settings")]
    Clients(String),
    /// The cryptographic library failed the self-test (T-99).
    #[error("the self-test of the cryptographic library failed: {0}; this build must not be used")]
    SelfTest(String),
}

fn known(targets: &[String]) -> String {
    match targets {
        [] => String::new(),
        names => format!(" (there: {})", names.join(", ")),
    }
}

/// Everything that a version is made of, read from files and valid.
#[derive(Clone, Debug)]
pub(super) struct LoadedConfig {
    pub(super) settings: Arc<Settings>,
    pub(super) policies: Arc<PolicySet>,
    /// Findings that do not forbid serving them.
    pub(super) findings: Arc<Diagnostics>,
    pub(super) roots: RootKeys,
    pub(super) tls: Option<Tls>,
    pub(super) rs256: Option<Arc<Rs256Keys>>,
}

impl LoadedConfig {
    /// Reads everything that the settings name.
    pub(super) fn read(settings: &Settings, overrides: &Overrides) -> Result<Self, StartError> {
        let tls = settings.listen.tls.as_ref().map(tls::read);
        let roots = root_keys(settings)?;
        let rs256 = rs256_keys(settings)?;
        let (policies, findings) = policies(settings, &overrides.issuers)?;
        if policies.is_empty() {
            return Err(StartError::NoPolicies(settings.policies.clone()));
        }
        check_fit(settings, &policies)?;
        Ok(Self {
            settings: Arc::new(settings.clone()),
            policies: Arc::new(policies),
            findings: Arc::new(findings),
            roots,
            tls: tls.transpose()?,
            rs256,
        })
    }

    /// The settings that differ in `new`, and the files named by settings that differ. Policies
    /// have their own revision.
    pub(super) fn changes(&self, new: &Self) -> Vec<&'static str> {
        let changes = self.settings.changes(&new.settings);
        let mut keys: Vec<_> = changes.iter().map(|change| change.key).collect();
        let ring = |roots: &RootKeys| roots.members().map(RingKey::key_id).collect::<Vec<_>>();
        let is_other_ring = ring(&self.roots) != ring(&new.roots);
        let is_raised = self.roots.generation() != new.roots.generation();
        if is_other_ring && !is_raised && !keys.contains(&"root_key") {
            keys.push("root_key");
        }
        if self.tls != new.tls && !keys.contains(&"listen.tls") {
            keys.push("listen.tls");
        }
        if self.rs256 != new.rs256 && !keys.contains(&"signing.also") {
            keys.push("signing.also");
        }
        keys
    }
}

/// The ring that the settings name, the active key first.
///
/// # Errors
/// A file cannot be read, is readable by others, or holds no key.
pub fn root_keys(settings: &Settings) -> Result<RootKeys, RootKeyError> {
    let mut ring = Vec::new();
    for path in &settings.root_keys {
        ring.extend(RootKey::read_ring(path)?);
    }
    RootKeys::new(&settings.issuer, settings.signing.generation, ring)
}

/// The derived signing keys of the settings, as they are now.
///
/// # Errors
/// The epoch is invalid, or the cryptographic library refuses a key.
pub fn signing_keys(settings: &Settings, roots: &RootKeys) -> Result<Arc<Keys>, KeysError> {
    let signing = &settings.signing;
    let now = SystemClock::new().now();
    Keys::new(roots.clone(), signing.algorithm, signing.epoch, now).map(Arc::new)
}

/// The keys for RS256 that the settings name, if any.
pub(super) fn rs256_keys(settings: &Settings) -> Result<Option<Arc<Rs256Keys>>, Rs256Error> {
    let files = settings.signing.rs256.as_ref();
    let keys = files.map(Rs256Keys::read).transpose()?;
    Ok(keys.map(Arc::new))
}

/// Loads servable policies, and their findings.
pub(super) fn policies(
    settings: &Settings,
    issuers: &BTreeMap<String, IssuerOverride>,
) -> Result<(PolicySet, Diagnostics), StartError> {
    let links = settings.policy_url.as_ref().map(links).transpose()?;
    let options = LoadOptions {
        issuer_overrides: issuers.clone(),
        broker: Some(settings.issuer.clone()),
        links,
        ..LoadOptions::default()
    };
    let refused = |found| StartError::Policies(found, settings.policies.clone());
    let loaded = PolicySet::load_with(&settings.policies, &options).map_err(refused)?;
    loaded.servable().map_err(refused)
}

/// The template with the commit in its file. What else may be in the file is not repeated.
fn links(settings: &PolicyUrl) -> Result<PolicyLinks, StartError> {
    let wrong = |problem: String| StartError::Commit {
        path: settings.commit.clone(),
        problem,
    };
    let text = read_text(&settings.commit, MAX_COMMIT)
        .map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let commit = Commit::parse(&text).ok_or_else(|| {
        wrong("does not hold a commit: expected 40 or 64 hexadecimal digits".to_owned())
    })?;
    Ok(PolicyLinks {
        template: settings.template.clone(),
        commit,
    })
}

/// Checks that settings and policies match, so a credential that can never be minted, a block that
/// blocks nothing, or a shared login without a shared store, is an error at start.
pub(super) fn check_fit(settings: &Settings, policies: &PolicySet) -> Result<(), StartError> {
    for credential in policies.credentials() {
        let has_rs256 = settings.signing.rs256.is_some();
        jwt::check_signer(credential, has_rs256).map_err(StartError::Credential)?;
        check_audience(settings, credential).map_err(StartError::Credential)?;
        let Some(name) = credential.target() else {
            continue;
        };
        let Some(target) = settings.targets.get(name) else {
            return Err(StartError::Target {
                credential: credential.name.clone(),
                target: name.to_owned(),
                targets: settings.targets.keys().cloned().collect(),
            });
        };
        let admitted = target.admits(name, credential);
        admitted.map_err(StartError::Credential)?;
    }
    let issuers = issuers(policies);
    if let StoreSettings::Memory { .. } = settings.replay
        && let Some(sharing) = issuers.iter().find(|one| one.reuse == Reuse::Subject)
    {
        return Err(StartError::Reuse {
            issuer: sharing.name.clone(),
        });
    }
    let blocked = settings.blocked.check(&issuers);
    blocked.map_err(|problems| StartError::Blocked(problems.join("; ")))
}

/// Checks that no job gets a token for an address that the broker's own requests go to (T-453).
fn check_audience(settings: &Settings, credential: &CredentialDefinition) -> Result<(), String> {
    let Some(definition) = credential.of::<JwtDefinition>() else {
        return Ok(());
    };
    let mut targets = settings.targets.iter();
    let addressed = targets.find(|(_, target)| target.is_addressed_by(&definition.audience));
    addressed.map_or(Ok(()), |(name, _)| {
        Err(format!(
            "the audience of credential `{}` is the URL of target `{name}`, which takes requests that the \
             broker signs; choose another audience",
            credential.name
        ))
    })
}

/// The issuers that a set of policies trusts.
pub(super) fn issuers(policies: &PolicySet) -> Vec<Arc<TrustedIssuer>> {
    let readers = policies.readers().iter();
    readers.map(|reader| Arc::clone(&reader.issuer)).collect()
}

/// More than any file with a commit.
const MAX_COMMIT: u64 = 1_024;
