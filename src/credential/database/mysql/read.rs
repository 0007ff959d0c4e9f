//! Reads a MySQL or MariaDB target of the settings, and says what it is to the policies.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::settings::{Ceiling, HELD, MAX_LIVE, MysqlSettings, PORT};
use super::{Flavor, Mysql, MysqlDefinition, install, password_hash};
use crate::credential::database::broker_login::BrokerLogin;
use crate::credential::database::fields::{host_and_port, number, prefix, tls, without_brackets};
use crate::credential::database::rotate::{Rotated, rotate};
use crate::credential::database::{Database, Logins};
use crate::credential::target::{
    self, Destination, Finding, InstallText, Installation, Target, TargetKind, TargetSettings, With,
};
use crate::policy::{CredentialDefinition, PolicySet};
use crate::secret::{Secret, SecretSource};
use crate::text::escape;
use crate::yaml::scalar::scalar;
use crate::yaml::settings::{Item, Section};

/// `kind: mysql`.
pub const TARGET: TargetKind = TargetKind {
    name: "mysql",
    read: |section| mysql(section).map(|settings| Arc::new(settings) as Arc<dyn TargetSettings>),
};

#[async_trait]
impl TargetSettings for MysqlSettings {
    /// Two targets on one server share the database `hallpass`: each would end the other's leases.
    fn clash(&self, name: &str, other: &dyn TargetSettings) -> Option<(String, &'static str)> {
        let other = other.of::<Self>()?;
        (self.server() == other.server()).then(|| {
            (
                format!(
                    "target `{name}` is on the same server, {}:{}, with the same database `hallpass`",
                    escape(&self.host),
                    self.port
                ),
                "make one target of them: list every database under its `databases`, and name one with `database:` in each credential",
            )
        })
    }

    fn destination(&self, credential: &CredentialDefinition) -> Vec<(&'static str, Destination)> {
        let named = credential.of::<MysqlDefinition>();
        let named = named.and_then(|definition| definition.database.as_ref());
        let database = named.or_else(|| self.databases.first());
        let text = |text: &str| Destination::Text(scalar(text));
        let mut keys = vec![
            ("kind", text(TARGET.name)),
            ("host", text(&self.host)),
            ("port", Destination::Text(self.port.to_string())),
            ("tls", text(self.tls.name())),
            ("prefix", text(&self.prefix)),
        ];
        keys.extend(database.map(|name| ("database", text(name))));
        let ca = self.ca.clone();
        keys.extend(ca.map(|path| ("ca", Destination::Certificates(path))));
        keys
    }

    fn files(&self) -> Vec<PathBuf> {
        self.ca.iter().cloned().collect()
    }

    fn check_secrets(&self) -> Result<(), String> {
        self.read_login().map(drop)
    }

    fn admits(&self, name: &str, credential: &CredentialDefinition) -> Result<(), String> {
        let definition: &MysqlDefinition = target::made_here(name, credential)?;
        install::check_group(&definition.group).map_err(|problem| {
            format!(
                "credential `{}` of the policies: {problem}",
                credential.name
            )
        })?;
        let listed = || {
            let names = self.databases.iter();
            let names: Vec<String> = names.map(|name| format!("`{}`", escape(name))).collect();
            names.join(", ")
        };
        match &definition.database {
            Some(database) if !self.databases.contains(database) => Err(format!(
                "credential `{}` of the policies is for database `{}`, which target `{name}` does not list; write one of {}, or add it under `databases:` of the target",
                credential.name,
                escape(database),
                listed()
            )),
            None if self.databases.len() > 1 => Err(format!(
                "credential `{}` of the policies does not say which database of target `{name}` it is for; add `database:` with one of {}",
                credential.name,
                listed()
            )),
            Some(_) | None => Ok(()),
        }
    }

    fn connect(&self, name: &str, with: &With<'_>) -> Result<Arc<dyn Target>, String> {
        let connect = || Ok(Arc::new(Mysql::new(self.clone())?) as Arc<dyn Database>);
        let logins = Logins::new(name, self.sweep, with, connect)?;
        Ok(Arc::new(logins))
    }

    async fn check(&self, name: &str, policies: &PolicySet) -> Result<Vec<Finding>, String> {
        let ceilings = self.ceilings(name, policies)?;
        Ok(Mysql::new(self.clone())?.check(&ceilings).await)
    }

    fn has_server_version(&self) -> bool {
        true
    }

    fn installation(&self, wanted: &Installation<'_>) -> Result<InstallText, String> {
        let flavor = match wanted.server_version {
            None => Flavor::MariaDb,
            Some(major) => Flavor::of_major(major).ok_or_else(|| {
                format!("version {major} is not supported, expected 8 or 9 for MySQL, or 10 to 12 for MariaDB")
            })?,
        };
        let text = if wanted.uninstall {
            install::uninstall(wanted.name, self, flavor)?
        } else {
            let ceilings = self.ceilings(wanted.name, wanted.policies)?;
            install::file(wanted.name, self, &ceilings, flavor)?
        };
        let note = "--server-version is not given; this is for MariaDB, and refuses to run on MySQL (8 or 9)";
        Ok(InstallText {
            text,
            note: wanted.server_version.is_none().then(|| note.to_owned()),
        })
    }

    /// One text for both servers: each takes the other's part for a comment.
    fn passwords(&self) -> Result<Secret<String>, String> {
        let BrokerLogin { user, password } = self.read_login()?;
        if password.expose().len() < LEAST_PASSWORD {
            return Err(format!(
                "the password of `{}` has fewer than {LEAST_PASSWORD} characters; MariaDB keeps a hash without salt, so use a random password such as `openssl rand -base64 24` makes",
                escape(&user)
            ));
        }
        let hash = |flavor| password_hash(flavor, &password).map_err(|error| error.to_string());
        Ok(Secret::new(format!(
            "ALTER USER '{}'@'%' /*M! IDENTIFIED VIA mysql_native_password USING '{}' */ /*!80000 IDENTIFIED WITH caching_sha2_password AS 0x{} */;\n",
            user,
            hash(Flavor::MariaDb)?,
            hash(Flavor::MySql)?
        )))
    }

    async fn rotate_login(&self, ends_sessions: bool) -> Result<Rotated, String> {
        rotate((&self.user, &self.password), self, ends_sessions).await
    }
}

impl MysqlSettings {
    fn read_login(&self) -> Result<BrokerLogin, String> {
        BrokerLogin::read(&self.user, &self.password)
    }

    /// The ceilings that the policies put on it: the longest life in each group, and of each account.
    ///
    /// # Errors
    /// A credential is for none of its databases.
    pub fn ceilings(&self, name: &str, policies: &PolicySet) -> Result<Vec<Ceiling>, String> {
        let mut ceilings: BTreeMap<(String, bool), Ceiling> = BTreeMap::new();
        for credential in policies.credentials() {
            let login = credential.of::<MysqlDefinition>();
            let Some(login) = login.filter(|login| login.target == name) else {
                continue;
            };
            self.admits(name, credential)?;
            let ceiling = ceilings
                .entry((login.group.clone(), login.is_checkout))
                .or_insert_with(|| Ceiling {
                    group: login.group.clone(),
                    is_checkout: login.is_checkout,
                    longest_life: 0,
                    connections: self.connections,
                });
            let life = u32::try_from(credential.max_ttl.as_secs()).unwrap_or(u32::MAX);
            ceiling.longest_life = ceiling.longest_life.max(life);
        }
        Ok(ceilings.into_values().collect())
    }
}

fn mysql(section: &Section<'_>) -> Option<MysqlSettings> {
    let host = section.required("host").and_then(|item| item.text());
    let host = host.map(|host| without_brackets(&host).to_owned());
    let databases = section
        .required("databases")
        .and_then(|item| databases(&item));
    let user = section.required("user").and_then(|item| user(&item));
    let password = section.required("password").and_then(|item| item.secret());
    let empty = SecretSource::Value(Secret::new(String::new()));
    let mut target = MysqlSettings::new(String::new(), Vec::new(), (String::new(), empty));
    section.set("port", &mut target.port, |item| number(item, u16::MAX));
    section.set("tls", &mut target.tls, |item| tls(item, host.as_deref()));
    section.set("ca", &mut target.ca, |item| item.path().map(Some));
    section.set("prefix", &mut target.prefix, |item| prefix(item, &[]));
    section.set("sweep", &mut target.sweep, |item| {
        item.duration(Duration::from_secs(1), Duration::from_secs(600))
    });
    section.set("connections", &mut target.connections, |item| {
        number(item, 100)
    });
    section.set("nodes", &mut target.nodes, |item| {
        item.list()?.iter().map(node).collect()
    });
    section.set("brokers", &mut target.brokers, |item| number(item, 50));
    section.set(
        "broker_connections",
        &mut target.broker_connections,
        |item| u16::try_from(item.number(u64::from(HELD) + 1, 50)?).ok(),
    );
    section.set(
        "places_per_repository",
        &mut target.places_per_repository,
        |item| u32::try_from(item.number(1, u64::from(MAX_LIVE))?).ok(),
    );
    section.finish();
    Some(MysqlSettings {
        host: host?,
        databases: databases?,
        user: user?,
        password: password?,
        ..target
    })
}

/// The name of the broker's login, which is part of the installed file.
fn user(item: &Item<'_>) -> Option<String> {
    let name = item.text()?;
    let is_plain = (1..=32).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if is_plain {
        return Some(name);
    }
    item.wrong(
        &format!(
            "`user` is `{}`, expected 1 to 32 letters, digits, `_` or `-`",
            escape(&name)
        ),
        "name the login that the install file makes, e.g. `hallpass`",
    )
}

fn databases(item: &Item<'_>) -> Option<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for entry in item.list()? {
        let name = entry.text()?;
        if !(1..=64).contains(&name.len()) || name.contains('\0') {
            return entry.wrong(
                &format!("`{}` is not the name of a database", escape(&name)),
                "write 1 to 64 bytes",
            );
        }
        if RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
            return entry.wrong(
                &format!("no lease can use database `{}`", escape(&name)),
                "name the databases of the application",
            );
        }
        if names.contains(&name) {
            return entry.wrong(
                &format!("`{}` is listed twice", escape(&name)),
                "leave one of them out",
            );
        }
        names.push(name);
    }
    if names.is_empty() {
        return item.wrong("`databases` is empty", "name the databases a lease may use");
    }
    Some(names)
}

fn node(item: &Item<'_>) -> Option<(String, u16)> {
    match host_and_port(&item.text()?, PORT) {
        Some(node) => Some(node),
        None => item.wrong(
            "a node is `host` or `host:port`",
            "e.g. `db-2.acme.dev:3306` or `[2001:db8::2]:3306`",
        ),
    }
}

/// Databases of the server and of ours.
const RESERVED: [&str; 5] = [
    "mysql",
    "sys",
    "information_schema",
    "performance_schema",
    "hallpass",
];
/// Characters: with fewer even a random password could be found from its hash.
const LEAST_PASSWORD: usize = 20;
