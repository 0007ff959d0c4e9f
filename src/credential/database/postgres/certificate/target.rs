//! `kind: postgres` with `mode: certificate`, in the settings.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use super::super::settings::PORT;
use super::{CertificateAuthority, CertificateDefinition, Signer, install};
use crate::credential::database::fields::number;
use crate::credential::target::{
    self, Destination, Finding, InstallText, Installation, Severity, Target, TargetSettings, With,
};
use crate::policy::{CredentialDefinition, PolicySet};
use crate::text::escape;
use crate::tls;
use crate::yaml::scalar::scalar;
use crate::yaml::settings::{Item, Section};

/// A server that knows our authority, and the roles that its certificates may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresCaSettings {
    pub host: String,
    pub port: u16,
    /// The databases that certificates may be for.
    pub databases: Vec<String>,
    /// The roles that they may log in as: what `pg_ident.conf` lists.
    pub roles: Vec<String>,
    /// The file of the authority's private key.
    pub key: PathBuf,
    /// PEM certificates that the server's certificate is checked against; public ones without.
    pub ca: Option<PathBuf>,
}

/// Whether the section is of this mode.
pub(in super::super) fn is_meant(section: &Section<'_>) -> bool {
    let mode = section.optional("mode");
    mode.is_some_and(|mode| mode.text().as_deref() == Some("certificate"))
}

pub(in super::super) fn read(section: &Section<'_>) -> Option<PostgresCaSettings> {
    let host = section.required("host").and_then(|item| item.text());
    let port = section.optional("port").map(|item| number(&item, u16::MAX));
    let databases = section
        .required("databases")
        .and_then(|item| names(&item, is_database));
    let roles = section
        .required("roles")
        .and_then(|item| names(&item, is_role));
    let key = section.required("key").and_then(|item| {
        let section = item.section_or_secret("key")?;
        let file = section.required("file").and_then(|item| item.path());
        section.finish();
        file
    });
    let ca = section.optional("ca").map(|item| item.path());
    section.finish();
    Some(PostgresCaSettings {
        host: host?,
        port: port.unwrap_or(Some(PORT))?,
        databases: databases?,
        roles: roles?,
        key: key?,
        ca: match ca {
            Some(path) => Some(path?),
            None => None,
        },
    })
}

fn names(item: &Item<'_>, is_fit: fn(&str) -> bool) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for entry in item.list()? {
        let name = entry.text()?;
        if !is_fit(&name) || names.contains(&name) {
            return entry.wrong(
                &format!("`{}` is there twice, or cannot be used here", escape(&name)),
                "a role has 1 to 34 of a-z, 0-9 and `_`, a letter first, and no `pg_` in front; a database 1 to 63 letters, digits, `_` or `-`",
            );
        }
        names.push(name);
    }
    if names.is_empty() {
        return item.wrong("the list is empty", "name at least one");
    }
    Some(names)
}

/// It is part of certificates and of files of the server, and is quoted in neither. The server shows 63 bytes
/// of a certificate's subject, by which sessions are ended: `/CN=hp.`, the role and 23 more.
fn is_role(name: &str) -> bool {
    (1..=34).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && !name.starts_with("pg_")
        && name != "postgres"
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

/// `all`, `sameuser`, `samerole` and `replication` are words of `pg_hba.conf`.
fn is_database(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && !matches!(name, "all" | "sameuser" | "samerole" | "replication")
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

#[async_trait]
impl TargetSettings for PostgresCaSettings {
    fn clash(&self, name: &str, other: &dyn TargetSettings) -> Option<(String, &'static str)> {
        let other = other.of::<Self>()?;
        // One key may be in two files. A key that cannot be read is reported when the target connects.
        let keys = (
            CertificateAuthority::read(&self.key),
            CertificateAuthority::read(&other.key),
        );
        let is_same = matches!(&keys, (Ok(one), Ok(two)) if one.fingerprint() == two.fingerprint());
        (self.key == other.key || is_same).then(|| {
            (
                format!("target `{name}` signs with the same key"),
                "give each its own key: a server that trusts a key trusts everything it signs",
            )
        })
    }

    fn destination(&self, credential: &CredentialDefinition) -> Vec<(&'static str, Destination)> {
        let text = |text: &str| Destination::Text(scalar(text));
        let named = credential.of::<CertificateDefinition>();
        let database = named.and_then(|definition| definition.database.as_ref());
        let database = database.or(self.databases.first());
        let mut keys = vec![
            ("kind", text("postgres")),
            ("mode", text("certificate")),
            ("host", text(&self.host)),
            ("port", Destination::Text(self.port.to_string())),
            ("key", Destination::Key(self.key.clone())),
        ];
        keys.extend(database.map(|name| ("database", text(name))));
        let ca = self.ca.clone();
        keys.extend(ca.map(|path| ("ca", Destination::Certificates(path))));
        keys
    }

    fn files(&self) -> Vec<PathBuf> {
        let key = std::iter::once(self.key.clone());
        key.chain(self.ca.clone()).collect()
    }

    fn admits(&self, name: &str, credential: &CredentialDefinition) -> Result<(), String> {
        let definition: &CertificateDefinition = target::made_here(name, credential)?;
        let listed = |names: &[String]| {
            let names = names.iter().map(|name| format!("`{name}`"));
            names.collect::<Vec<_>>().join(", ")
        };
        if !self.roles.contains(&definition.role) {
            return Err(format!(
                "credential `{}` of the policies is for role `{}`, which target `{name}` does not list; write one of {}, or add it under `roles:` of the target and to the server's files",
                credential.name,
                escape(&definition.role),
                listed(&self.roles)
            ));
        }
        match &definition.database {
            Some(database) if !self.databases.contains(database) => Err(format!(
                "credential `{}` of the policies is for database `{}`, which target `{name}` does not list; write one of {}",
                credential.name,
                escape(database),
                listed(&self.databases)
            )),
            None if self.databases.len() > 1 => Err(format!(
                "credential `{}` of the policies does not say which database of target `{name}` it is for; add `database:` with one of {}",
                credential.name,
                listed(&self.databases)
            )),
            Some(_) | None => Ok(()),
        }
    }

    fn connect(&self, name: &str, with: &With<'_>) -> Result<Arc<dyn Target>, String> {
        let kept = with.before.filter(|before| before.is_kept);
        let kept = kept.and_then(|before| before.target.of::<Signer>());
        let (authority, server_ca) = match kept {
            // Its file may be broken now; the key that was read is still valid.
            Some(before) => (Arc::clone(&before.authority), before.server_ca.clone()),
            None => (
                Arc::new(CertificateAuthority::read(&self.key)?),
                self.read_ca()?,
            ),
        };
        Ok(Arc::new(Signer {
            authority,
            server_ca,
            settings: self.clone(),
            name: name.to_owned(),
            roots: with.root_keys.clone(),
            clock: Arc::clone(with.clock),
        }))
    }

    async fn check(&self, name: &str, policies: &PolicySet) -> Result<Vec<Finding>, String> {
        for credential in policies.credentials() {
            if credential.target() == Some(name) {
                self.admits(name, credential)?;
            }
        }
        let finding = |severity, message, fix: &str| Finding {
            severity,
            message,
            fix: fix.to_owned(),
        };
        Ok(vec![match CertificateAuthority::read(&self.key) {
            Ok(authority) => finding(
                Severity::Fine,
                format!(
                    "the CA key {} is usable; whether the server trusts it shows at the first login",
                    authority.fingerprint()
                ),
                "",
            ),
            Err(problem) => finding(Severity::Error, problem, "see that the broker can read it"),
        }])
    }

    fn installation(&self, wanted: &Installation<'_>) -> Result<InstallText, String> {
        let authority = CertificateAuthority::read(&self.key)?;
        let text = if wanted.uninstall {
            install::removal(wanted.name, &authority)
        } else {
            install::text(wanted.name, self, &authority)?
        };
        Ok(InstallText { text, note: None })
    }
}

impl PostgresCaSettings {
    pub(super) fn read_ca(&self) -> Result<Option<String>, String> {
        let ca = self.ca.as_deref().map(tls::read_ca).transpose();
        ca.map_err(|error| format!("the CA file of the server cannot be read: {error}"))
    }
}

#[async_trait]
impl Target for Signer {
    fn has_same_files(&self) -> bool {
        let key = CertificateAuthority::read(&self.settings.key);
        let is_same_key = key.is_ok_and(|key| key.fingerprint() == self.authority.fingerprint());
        is_same_key && self.settings.read_ca().is_ok_and(|ca| ca == self.server_ca)
    }

    fn key_id(&self) -> Option<String> {
        Some(self.authority.fingerprint())
    }

    fn continues(&self, _other: &dyn Target) -> bool {
        true
    }
}
