//! `kind: ssh-ca`: the key that signs certificates, as a target of the settings.

use std::any::Any;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use super::{CaKey, SshCa, SshDefinition, install};
use crate::audit::Recorded;
use crate::credential::target::{
    Before, Finding, InstallText, Installation, Severity, Target, TargetKind, TargetSettings, With,
};
use crate::credential::{Credential, Mint, MintError};
use crate::policy::{CredentialDefinition, PolicySet};
use crate::text::escape;

/// `kind: ssh-ca`.
pub const TARGET: TargetKind = TargetKind {
    name: "ssh-ca",
    read: |section| {
        let key = section.required("key").and_then(|item| {
            let section = item.section()?;
            let file = section.required("file").and_then(|item| item.path());
            section.finish();
            file
        });
        section.finish();
        Some(Arc::new(SshCaSettings { key: key? }))
    },
};

/// What the settings say of a CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshCaSettings {
    /// The file with its private key.
    pub key: PathBuf,
}

#[async_trait]
impl TargetSettings for SshCaSettings {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn is_same(&self, other: &dyn TargetSettings) -> bool {
        other.as_any().downcast_ref() == Some(self)
    }

    /// A host that trusts a key trusts all that it signs, so two targets with one key are one target
    /// that looks like two.
    fn clash(&self, name: &str, other: &dyn TargetSettings) -> Option<(String, &'static str)> {
        let other = other.as_any().downcast_ref::<Self>()?;
        let path = escape(&self.key.to_string_lossy());
        (self.key == other.key).then(|| {
            (
                format!("target `{name}` signs with the same key, `{path}`"),
                "give each its own key, or make one target of them and tell hosts apart by principals",
            )
        })
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![self.key.clone()]
    }

    fn admits(&self, name: &str, credential: &CredentialDefinition) -> Result<(), String> {
        if credential.of::<SshDefinition>().is_some() {
            return Ok(());
        }
        Err(format!(
            "credential `{}` of the policies is {}, which target `{name}` does not make; name another target",
            credential.name, credential.kind.noun
        ))
    }

    fn connect(&self, _: &str, with: &With<'_>) -> Result<Arc<dyn Target>, String> {
        let key = match with.before.and_then(kept) {
            Some(key) => key,
            None => Arc::new(CaKey::read(&self.key).map_err(|error| error.to_string())?),
        };
        Ok(Arc::new(RunningCa {
            file: self.key.clone(),
            ca: SshCa::new(key, with.root_keys, Arc::clone(with.clock)),
        }))
    }

    async fn check(&self, name: &str, policies: &PolicySet) -> Result<Vec<Finding>, String> {
        let key = match CaKey::read(&self.key) {
            Ok(key) => finding(
                Severity::Fine,
                format!("signs with the key {}", key.fingerprint()),
                String::new(),
            ),
            Err(error) => finding(
                Severity::Error,
                error.to_string(),
                "put the private key of the CA there".to_owned(),
            ),
        };
        let mut findings = vec![key];
        if principals(name, policies).contains("root") {
            findings.push(finding(
                Severity::Warning,
                "a credential has the principal `root`".to_owned(),
                "use another name, and list it in the principals file of root on the hosts that need it"
                    .to_owned(),
            ));
        }
        Ok(findings)
    }

    fn installation(&self, wanted: &Installation<'_>) -> Result<InstallText, String> {
        let key = CaKey::read(&self.key).map_err(|error| error.to_string())?;
        let text = if wanted.uninstall {
            install::removal(wanted.name, &key)
        } else {
            let principals = principals(wanted.name, wanted.policies);
            install::text(wanted.name, &key, &principals)
        };
        Ok(InstallText { text, note: None })
    }
}

/// The key of the target before a reload, where it goes on to be used.
fn kept(before: Before<'_>) -> Option<Arc<CaKey>> {
    let running = before.target.as_any().downcast_ref::<RunningCa>();
    let running = running.filter(|_| before.is_kept)?;
    Some(Arc::clone(running.ca.key()))
}

/// Of all credentials of the target.
fn principals(target: &str, policies: &PolicySet) -> BTreeSet<String> {
    policies
        .credentials()
        .filter_map(|credential| credential.of::<SshDefinition>())
        .filter(|definition| definition.target == target)
        .flat_map(|definition| definition.principals.as_slice().iter().cloned())
        .collect()
}

const fn finding(severity: Severity, message: String, fix: String) -> Finding {
    Finding {
        severity,
        message,
        fix,
    }
}

/// A CA that signs.
#[derive(Debug)]
struct RunningCa {
    file: PathBuf,
    ca: SshCa,
}

#[async_trait]
impl Mint for RunningCa {
    async fn mint(&self, recorded: Recorded) -> Result<Credential, MintError> {
        self.ca.mint(recorded).await
    }
}

#[async_trait]
impl Target for RunningCa {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn has_same_files(&self) -> bool {
        CaKey::read(&self.file).is_ok_and(|key| key.public() == self.ca.key().public())
    }

    /// There is no upkeep to continue.
    fn continues(&self, _: &dyn Target) -> bool {
        true
    }
}
