//! One load, aside of what is served: what becomes of the files as they are now.
//!
//! Settings and policies are two things that may fail each by itself. Neither is ever applied in
//! part, and both are checked against each other in the form in which they would serve.

use std::sync::Arc;

use super::FAILED;
use super::status::Problem;
use crate::broker::assemble::{Loaded, check_fit, policies, root_keys, rs256_keys};
use crate::broker::lasting::Lasting;
use crate::broker::version::Version;
use crate::config::{Settings, SettingsError};
use crate::http::tls;
use crate::policy::PolicySet;
use crate::reason::Reason;
use crate::yaml::Diagnostics;

/// What came of a load.
pub(super) struct Attempt {
    /// What shall serve from now on, if it is anything new.
    pub(super) version: Option<Version>,
    /// What could not be loaded.
    pub(super) problems: Vec<Problem>,
}

impl Attempt {
    pub(super) fn failed(text: &str) -> Self {
        Self {
            version: None,
            problems: vec![Problem::new(FAILED, text.to_owned())],
        }
    }
}

/// Loads everything and makes a version of it. Reads files, so it may take its time.
pub(super) fn attempt(before: &Version, lasting: &Lasting) -> Attempt {
    let mut problems = Vec::new();
    let loaded = load(&before.loaded, lasting, &mut problems);
    let is_new = loaded.policies.revision() != before.loaded.policies.revision()
        || !before.loaded.changes(&loaded).is_empty()
        || !before.is_connected_as(&loaded.settings);
    let version = is_new.then(|| Version::new(loaded, lasting, Some(before)));
    let version = version.transpose().unwrap_or_else(|error| {
        problems.push(Problem::new(SETTINGS, error.to_string()));
        None
    });
    let left = version.iter().flat_map(|version| &version.left);
    problems.extend(left.map(|text| Problem::new(TARGET, text.clone())));
    Attempt { version, problems }
}

fn load(before: &Loaded, lasting: &Lasting, problems: &mut Vec<Problem>) -> Loaded {
    let deployed = deployment(before, problems);
    let found = read_policies(&deployed.settings, before, lasting);
    let served = || (Arc::clone(&before.policies), Arc::clone(&before.findings));
    let (policies, findings) = found.unwrap_or_else(|problem| {
        problems.push(problem);
        served()
    });
    let with = |deployed: &Loaded, (policies, findings): Found| Loaded {
        policies,
        findings,
        ..deployed.clone()
    };
    let Err(unfit) = check_fit(&deployed.settings, &policies) else {
        return with(&deployed, (policies, findings));
    };
    problems.push(Problem::new(FAILED, unfit.to_string()));
    // What does not go together was perhaps changed one after the other: as much of it as does.
    if check_fit(&deployed.settings, &before.policies).is_ok() {
        return with(&deployed, served());
    }
    let is_same_folder = deployed.settings.policies == before.settings.policies;
    if is_same_folder && check_fit(&before.settings, &policies).is_ok() {
        return with(before, (policies, findings));
    }
    before.clone()
}

/// Settings, and the secrets they name; as before where they cannot be had or need a restart.
fn deployment(before: &Loaded, problems: &mut Vec<Problem>) -> Loaded {
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

fn read_settings(before: &Loaded) -> Result<Arc<Settings>, Problem> {
    let Some(file) = &before.settings.file else {
        return Ok(Arc::clone(&before.settings));
    };
    let settings = Settings::load(file).map_err(|error| match error {
        SettingsError::Unreadable { .. } => Problem::new(SETTINGS, error.to_string()),
        SettingsError::Wrong(found) => {
            Problem::of(SETTINGS, &format!("`{}`", file.display()), &found)
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
    Err(Problem::new(
        RESTART,
        format!("none of the changed settings apply: a restart is needed to change {keys}"),
    ))
}

/// A broken certificate or RS256 key keeps the one before, where the settings still name the same
/// files: it is most often half of a renewal, or of two files that change places.
fn read_secrets(
    before: &Loaded,
    settings: &Arc<Settings>,
    problems: &mut Vec<Problem>,
) -> Result<Loaded, Problem> {
    let roots = root_keys(settings)
        .map_err(|error| Problem::new(Reason::RootkeyReloadFailed, error.to_string()))?;
    let tls = match settings.listen.tls.as_ref().map(tls::read).transpose() {
        Ok(tls) => tls,
        Err(error) => {
            let problem = Problem::new(Reason::TlsReloadFailed, error.to_string());
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
            let problem = Problem::new(Reason::SigningReloadFailed, error.to_string());
            if settings.signing.rs256 != before.settings.signing.rs256 {
                return Err(problem);
            }
            problems.push(problem);
            before.rs256.clone()
        }
    };
    // One that is made of the same files stays, with the sessions it can resume.
    let is_same = tls == before.tls;
    Ok(Loaded {
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
    before: &Loaded,
    lasting: &Lasting,
) -> Result<Found, Problem> {
    let what = || format!("the folder `{}`", settings.policies.display());
    let (set, findings) = policies(settings, &lasting.issuers)
        .map_err(|found| Problem::of(FAILED, &what(), &found))?;
    if set.is_empty() && !before.policies.is_empty() {
        let folder = settings.policies.display();
        return Err(Problem::new(
            FAILED,
            format!(
                "`{folder}` holds no policies any more; to take all of them away, keep a file that has only `issuers:`"
            ),
        ));
    }
    Ok((Arc::new(set), Arc::new(findings)))
}

const SETTINGS: Reason = Reason::SettingsReloadFailed;
const RESTART: Reason = Reason::SettingsRestartNeeded;
const TARGET: Reason = Reason::TargetReloadFailed;
