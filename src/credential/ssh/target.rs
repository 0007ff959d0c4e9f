//! The target kind `ssh-ca`: the key of a certificate authority, and the hosts that trust it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use super::{CaKey, CaKeyError, SshCa, SshDefinition, install};
use crate::audit::Recorded;
use crate::credential::target::{
    self, Destination, Finding, InstallText, Installation, Severity, Target, TargetKind,
    TargetSettings, With,
};
use crate::credential::{Credential, Mint, MintError};
use crate::policy::{CredentialDefinition, PolicySet};
use crate::text::escape;
use crate::yaml::settings::Section;

/// `kind: ssh-ca`.
pub const TARGET: TargetKind = TargetKind {
    name: "ssh-ca",
    read: |section| read(section).map(|settings| Arc::new(settings) as Arc<dyn TargetSettings>),
};

/// An entry of `targets:` with `kind: ssh-ca`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshCaSettings {
    /// The file of its private key, in the format of OpenSSH.
    pub key: PathBuf,
}

fn read(section: &Section<'_>) -> Option<SshCaSettings> {
    let key = section.required("key").and_then(|item| {
        let section = item.section_or_secret("key")?;
        let file = section.required("file").and_then(|item| item.path());
        section.finish();
        file
    });
    section.finish();
    Some(SshCaSettings { key: key? })
}

#[async_trait]
impl TargetSettings for SshCaSettings {
    /// A host that trusts a key trusts everything it signs, so two targets with one key are really
    /// one.
    fn clash(&self, name: &str, other: &dyn TargetSettings) -> Option<(String, &'static str)> {
        let other = other.of::<Self>()?;
        let path = escape(&self.key.to_string_lossy());
        // One key may be in two files. A key that cannot be read is reported when the target
        // connects.
        let keys = (self.read_key(), other.read_key());
        let is_same_key =
            matches!(&keys, (Ok(one), Ok(other)) if one.fingerprint() == other.fingerprint());
        (self.key == other.key || is_same_key).then(|| {
            (
                format!("target `{name}` signs with the same key, `{path}`"),
                "give each its own key, or make one target of them and tell hosts apart by principals",
            )
        })
    }

    fn destination(&self, _: &CredentialDefinition) -> Vec<(&'static str, Destination)> {
        vec![
            ("kind", Destination::Text(TARGET.name.to_owned())),
            ("key", Destination::Key(self.key.clone())),
        ]
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![self.key.clone()]
    }

    fn admits(&self, name: &str, credential: &CredentialDefinition) -> Result<(), String> {
        target::made_here::<SshDefinition>(name, credential).map(|_| ())
    }

    fn connect(&self, _name: &str, with: &With<'_>) -> Result<Arc<dyn Target>, String> {
        let kept = with.before.filter(|before| before.is_kept);
        let kept = kept.and_then(|before| before.target.of::<Authority>());
        let key = match kept {
            // Its file may be broken now; the key that was read is still valid.
            Some(before) => Arc::clone(before.ca.key()),
            None => Arc::new(self.read_key().map_err(|error| error.to_string())?),
        };
        Ok(Arc::new(Authority {
            ca: SshCa::new(key, with.root_keys, Arc::clone(with.clock)),
            settings: self.clone(),
        }))
    }

    async fn check(&self, name: &str, policies: &PolicySet) -> Result<Vec<Finding>, String> {
        let fine = |message| Finding {
            severity: Severity::Fine,
            message,
            fix: String::new(),
        };
        let key = match self.read_key() {
            Ok(key) => fine(format!(
                "the CA key {} is usable; whether hosts trust it shows at the first login",
                key.fingerprint()
            )),
            Err(error) => Finding {
                severity: Severity::Error,
                message: error.to_string(),
                fix: error.fix().to_owned(),
            },
        };
        let principals = principals(name, policies);
        let named = if principals.is_empty() {
            Finding {
                severity: Severity::Warning,
                message: format!("no credential of the policies uses target `{name}`"),
                fix: format!("define one with `kind: ssh` and `target: {name}`"),
            }
        } else if principals.contains("root") {
            Finding {
                severity: Severity::Warning,
                message: "a credential has the principal `root`, which logs in as root on every host without AuthorizedPrincipalsFile".to_owned(),
                fix: "use another name, and list it in the principals file of root on the hosts that need it".to_owned(),
            }
        } else {
            let names: Vec<String> = principals.into_iter().collect();
            fine(format!("principals of the policies: {}", names.join(", ")))
        };
        Ok(vec![key, named])
    }

    fn installation(&self, wanted: &Installation<'_>) -> Result<InstallText, String> {
        let key = self.read_key().map_err(|error| error.to_string())?;
        let text = if wanted.uninstall {
            install::removal(wanted.name, &key)
        } else {
            install::text(wanted.name, &key, &principals(wanted.name, wanted.policies))
        };
        Ok(InstallText { text, note: None })
    }
}

impl SshCaSettings {
    fn read_key(&self) -> Result<CaKey, CaKeyError> {
        CaKey::read(&self.key)
    }
}

/// The principals of every credential of a target.
fn principals(target: &str, policies: &PolicySet) -> BTreeSet<String> {
    let definitions = policies
        .credentials()
        .filter_map(|credential| credential.of::<SshDefinition>());
    definitions
        .filter(|definition| definition.target == target)
        .flat_map(|definition| definition.principals.as_slice().iter().cloned())
        .collect()
}

/// A running certificate authority.
#[derive(Debug)]
struct Authority {
    ca: SshCa,
    settings: SshCaSettings,
}

#[async_trait]
impl Mint for Authority {
    async fn mint(&self, recorded: Recorded) -> Result<Credential, MintError> {
        self.ca.mint(recorded).await
    }
}

#[async_trait]
impl Target for Authority {
    fn has_same_files(&self) -> bool {
        let now = self.settings.read_key();
        now.is_ok_and(|now| now.fingerprint() == self.ca.key().fingerprint())
    }

    fn key_id(&self) -> Option<String> {
        Some(self.ca.key().fingerprint())
    }

    fn continues(&self, _other: &dyn Target) -> bool {
        true
    }
}
