//! Loads the files as they are now, without affecting what is served.
//!
//! Settings and policies can fail separately. Neither is applied in part, and each is checked
//! against the other as it would be served.

use std::sync::Arc;

use super::FAILED;
use super::status::ReloadProblem;
use crate::broker::assemble::{
    LoadedConfig, StartError, check_fit, policies, root_keys, rs256_keys,
};
use crate::broker::process::ProcessState;
use crate::broker::version::Version;
use crate::config::{Settings, SettingsError};
use crate::http::tls;
use crate::policy::PolicySet;
use crate::reason::Reason;
use crate::yaml::Diagnostics;

/// The result of a load.
pub(super) struct Attempt {
    /// The new version, if anything changed.
    pub(super) version: Option<Version>,
    /// What could not be loaded.
    pub(super) problems: Vec<ReloadProblem>,
}

impl Attempt {
    pub(super) fn failed(text: &str) -> Self {
        Self {
            version: None,
            problems: vec![ReloadProblem::new(FAILED, text.to_owned())],
        }
    }
}

/// Loads everything and builds a version. Blocks on file access.
pub(super) fn attempt(before: &Version, process: &ProcessState) -> Attempt {
    let mut problems = Vec::new();
    let loaded = load(&before.loaded, process, &mut problems);
    let is_new = loaded.policies.revision() != before.loaded.policies.revision()
        || loaded.policies.links() != before.loaded.policies.links()
        || !before.loaded.changes(&loaded).is_empty()
        || !before.is_connected_as(&loaded.settings);
    let version = is_new.then(|| Version::new(loaded, process, Some(before)));
    let version = version.transpose().unwrap_or_else(|error| {
        problems.push(ReloadProblem::new(SETTINGS, error.to_string()));
        None
    });
    let left = version.iter().flat_map(|version| &version.left);
    problems.extend(left.map(|text| ReloadProblem::new(TARGET, text.clone())));
    Attempt { version, problems }
}

fn load(
    before: &LoadedConfig,
    process: &ProcessState,
    problems: &mut Vec<ReloadProblem>,
) -> LoadedConfig {
    let deployed = deployment(before, problems);
    let found = read_policies(&deployed.settings, before, process);
    let served = || (Arc::clone(&before.policies), Arc::clone(&before.findings));
    let (policies, findings) = found.unwrap_or_else(|problem| {
        problems.push(problem);
        served()
    });
    let with = |deployed: &LoadedConfig, (policies, findings): Found| LoadedConfig {
        policies,
        findings,
        ..deployed.clone()
    };
    let Err(unfit) = check_fit(&deployed.settings, &policies) else {
        return with(&deployed, (policies, findings));
    };
    problems.push(ReloadProblem::new(FAILED, unfit.to_string()));
    // Settings and policies that do not match were perhaps changed one after the other. Use
    // whichever matches.
    if check_fit(&deployed.settings, &before.policies).is_ok() {
        return with(&deployed, served());
    }
    let is_same_folder = deployed.settings.policies == before.settings.policies;
    if is_same_folder && check_fit(&before.settings, &policies).is_ok() {
        return with(before, (policies, findings));
    }
    before.clone()
}

/// Loads the settings and their secrets. Keeps the previous ones if they cannot be loaded or need a
/// restart.
fn deployment(before: &LoadedConfig, problems: &mut Vec<ReloadProblem>) -> LoadedConfig {
    let settings = read_settings(before);
    let settings = settings.unwrap_or_else(|problem| {
        problems.push(problem);
        Arc::clone(&before.settings)
    });
    let deployed = read_secrets(before, &settings, problems);
    deployed.unwrap_or_else(|problem| {
        problems.push(problem);
        before.clone()
    })
}

fn read_settings(before: &LoadedConfig) -> Result<Arc<Settings>, ReloadProblem> {
    let Some(file) = &before.settings.file else {
        return Ok(Arc::clone(&before.settings));
    };
    let settings = Settings::load(file).map_err(|error| match error {
        SettingsError::Unreadable { .. } => ReloadProblem::new(SETTINGS, error.to_string()),
        SettingsError::Wrong(found) => {
            ReloadProblem::of(SETTINGS, &format!("`{}`", file.display()), &found)
        }
    })?;
    let restarts = before.settings.changes(&settings);
    let restarts: Vec<String> = restarts
        .into_iter()
        .filter_map(|change| {
            let (old, new) = change.restart?;
            Some(format!("`{}` from `{old}` to `{new}`", change.key))
        })
        .collect();
    if restarts.is_empty() {
        return Ok(Arc::new(settings));
    }
    let keys = restarts.join(", ");
    Err(ReloadProblem::new(
        RESTART,
        format!("none of the changed settings apply: a restart is needed to change {keys}"),
    ))
}

/// If a certificate or RS256 key is broken and the settings still name the same files, the previous
/// one stays: it is most often a half-finished renewal.
fn read_secrets(
    before: &LoadedConfig,
    settings: &Arc<Settings>,
    problems: &mut Vec<ReloadProblem>,
) -> Result<LoadedConfig, ReloadProblem> {
    let roots = root_keys(settings)
        .map_err(|error| ReloadProblem::new(Reason::RootkeyReloadFailed, error.to_string()))?;
    let tls = match settings.listen.tls.as_ref().map(tls::read).transpose() {
        Ok(tls) => tls,
        Err(error) => {
            let problem = ReloadProblem::new(Reason::TlsReloadFailed, error.to_string());
            if settings.listen.tls != before.settings.listen.tls {
                return Err(problem);
            }
            problems.push(problem);
            before.tls.clone()
        }
    };
    let rs256 = match rs256_keys(settings) {
        Ok(keys) => keys,
        Err(error) => {
            let problem = ReloadProblem::new(Reason::SigningReloadFailed, error.to_string());
            if settings.signing.rs256 != before.settings.signing.rs256 {
                return Err(problem);
            }
            problems.push(problem);
            before.rs256.clone()
        }
    };
    // A TLS configuration of the same files stays, with the sessions it can resume.
    let is_same = tls == before.tls;
    Ok(LoadedConfig {
        settings: Arc::clone(settings),
        policies: Arc::clone(&before.policies),
        findings: Arc::clone(&before.findings),
        roots,
        tls: if is_same { before.tls.clone() } else { tls },
        rs256,
    })
}

/// Policies, and what was found in them.
type Found = (Arc<PolicySet>, Arc<Diagnostics>);

fn read_policies(
    settings: &Settings,
    before: &LoadedConfig,
    process: &ProcessState,
) -> Result<Found, ReloadProblem> {
    let what = || format!("the folder `{}`", settings.policies.display());
    let (set, findings) = policies(settings, &process.issuers).map_err(|error| {
        if let StartError::Policies(found, _) = &error {
            return ReloadProblem::of(FAILED, &what(), found);
        }
        ReloadProblem::new(FAILED, error.to_string())
    })?;
    if set.is_empty() && !before.policies.is_empty() {
        let folder = settings.policies.display();
        return Err(ReloadProblem::new(
            FAILED,
            format!(
                "`{folder}` has no policies left; to remove all of them, keep a file that has \
                 only `issuers:`"
            ),
        ));
    }
    Ok((Arc::new(set), Arc::new(findings)))
}

const SETTINGS: Reason = Reason::SettingsReloadFailed;
const RESTART: Reason = Reason::SettingsRestartNeeded;
const TARGET: Reason = Reason::TargetReloadFailed;
