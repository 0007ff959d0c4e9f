//! Reads a PostgreSQL target of the settings, and says what it is to the policies.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{
    ChannelBinding, Cleaner, GroupCeiling, HELD, MAX_LIVE, PORT, Postgres, PostgresDefinition,
    PostgresSettings, Tls, certificate, install, verifier,
};
use crate::credential::database::broker_login::BrokerLogin;
use crate::credential::database::fields::{
    host_and_port, number, prefix, set, tls, without_brackets,
};
use crate::credential::database::rotate::{Rotated, rotate};
use crate::credential::database::{Database, Logins};
use crate::credential::target::{
    self, Destination, Finding, InstallText, Installation, Target, TargetKind, TargetSettings, With,
};
use crate::policy::{CredentialDefinition, PolicySet};
use crate::secret::Secret;
use crate::text::{escape, is_printable};
use crate::yaml::scalar::scalar;
use crate::yaml::settings::{Item, Section};

/// `kind: postgres`.
pub const TARGET: TargetKind = TargetKind {
    name: "postgres",
    read: |section| {
        if certificate::is_meant(section) {
            let settings = certificate::read(section);
            return settings.map(|settings| Arc::new(settings) as Arc<dyn TargetSettings>);
        }
        postgres(section).map(|settings| Arc::new(settings) as Arc<dyn TargetSettings>)
    },
};

#[async_trait]
impl TargetSettings for PostgresSettings {
    /// Two targets on one server share its roles, and whatever database both install into: the install
    /// file of the second would drop the groups of the first, and each would end the other's leases.
    fn clash(&self, name: &str, other: &dyn TargetSettings) -> Option<(String, &'static str)> {
        let other = other.of::<Self>()?;
        if self.server() != other.server() {
            return None;
        }
        let both = if self.prefix == other.prefix {
            format!("the prefix `{}`", self.prefix)
        } else if self.control_database == other.control_database {
            format!("the control database `{}`", escape(&self.control_database))
        } else {
            let mut listed = self.databases.iter();
            let both = listed.find(|name| other.databases.contains(name))?;
            format!("the database `{}`", escape(both))
        };
        Some((
            format!(
                "target `{name}` is on the same server, {}:{}, with {both}",
                escape(&self.host),
                self.port
            ),
            "make one target of them: list every database under its `databases`, and name one with `database:` in each credential",
        ))
    }

    fn destination(&self, credential: &CredentialDefinition) -> Vec<(&'static str, Destination)> {
        let named = credential.of::<PostgresDefinition>();
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
        let logins = [
            (&self.user, &self.password),
            (&self.cleaner.user, &self.cleaner.password),
        ];
        for (user, password) in logins {
            BrokerLogin::read(user, password)?;
        }
        Ok(())
    }

    /// Whether it says which database its logins are sent to, and says one that leases may use.
    fn admits(&self, name: &str, credential: &CredentialDefinition) -> Result<(), String> {
        let PostgresDefinition { database, .. } = target::made_here(name, credential)?;
        let listed = || {
            let names = self.databases.iter();
            let names: Vec<String> = names.map(|name| format!("`{}`", escape(name))).collect();
            names.join(", ")
        };
        match database {
            Some(database) if !self.databases.contains(database) => Err(format!(
                "credential `{}` of the policies is for database `{database}`, which target `{name}` does not list; write one of {}, or add it under `databases:` of the target and run the install file again",
                credential.name,
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
        let connect = || Ok(Arc::new(Postgres::new(self.clone())?) as Arc<dyn Database>);
        let logins = Logins::new(name, self.sweep, with, connect)?;
        Ok(Arc::new(logins))
    }

    async fn check(&self, name: &str, policies: &PolicySet) -> Result<Vec<Finding>, String> {
        let groups = self.ceilings(name, policies)?;
        Ok(Postgres::new(self.clone())?.check(&groups).await)
    }

    fn has_server_version(&self) -> bool {
        true
    }

    fn installation(&self, wanted: &Installation<'_>) -> Result<InstallText, String> {
        let groups = self.ceilings(wanted.name, wanted.policies)?;
        let note = "--server-version is not given; this is for PostgreSQL 15, and refuses to run on another";
        let version = wanted.server_version.unwrap_or(15);
        let text = if wanted.uninstall {
            install::uninstall::file(wanted.name, self, version)?
        } else {
            install::file(wanted.name, self, &groups, version)?
        };
        Ok(InstallText {
            text,
            note: wanted.server_version.is_none().then(|| note.to_owned()),
        })
    }

    fn passwords(&self) -> Result<Secret<String>, String> {
        let mut text = String::new();
        let logins = [
            (&self.user, &self.password),
            (&self.cleaner.user, &self.cleaner.password),
        ];
        for (user, password) in logins {
            let BrokerLogin { user, password } = BrokerLogin::read(user, password)?;
            // SASLprep leaves ASCII as it is.
            if password.expose().is_empty() || !is_printable(password.expose()) {
                return Err(format!(
                    "the password of `{user}` must be printable ASCII; set it with `\\password {user}` in psql"
                ));
            }
            let verifier = verifier(&password).map_err(|error| error.to_string())?;
            let user = install::identifier(&user);
            // A verifier holds no quote.
            text.extend(["ALTER ROLE ", &user, " PASSWORD '", &verifier, "';\n"]);
        }
        Ok(Secret::new(text))
    }

    async fn rotate_login(&self, ends_sessions: bool) -> Result<Rotated, String> {
        // The cleaner reads the file too, and its login is not rotated.
        let (broker, cleaner) = (&self.password, &self.cleaner.password);
        if broker == cleaner {
            return Err(
                "`cleaner` has the same password file; give it a password of its own, and rotate again"
                    .to_owned(),
            );
        }
        rotate((&self.user, &self.password), self, ends_sessions).await
    }
}

impl PostgresSettings {
    /// The ceilings that the policies put on it: the longest life of each group, and whether its logins act
    /// as it.
    ///
    /// # Errors
    /// A credential is for none of its databases.
    pub fn ceilings(&self, name: &str, policies: &PolicySet) -> Result<Vec<GroupCeiling>, String> {
        let mut groups: BTreeMap<String, GroupCeiling> = BTreeMap::new();
        for credential in policies.credentials() {
            let login = credential.of::<PostgresDefinition>();
            let Some(login) = login.filter(|login| login.target == name) else {
                continue;
            };
            let (group, act_as_group) = (&login.group, login.act_as_group);
            self.admits(name, credential)?;
            let ceiling = groups.entry(group.clone()).or_insert_with(|| GroupCeiling {
                group: group.clone(),
                longest_life: 0,
                connections: self.connections,
                act_as_group: false,
                without_acting: false,
            });
            let life = u32::try_from(credential.max_ttl.as_secs()).unwrap_or(u32::MAX);
            ceiling.longest_life = ceiling.longest_life.max(life);
            ceiling.act_as_group |= act_as_group;
            ceiling.without_acting |= !act_as_group;
        }
        Ok(groups.into_values().collect())
    }
}

fn postgres(section: &Section<'_>) -> Option<PostgresSettings> {
    let host = section.required("host").and_then(|item| item.text());
    let host = host.map(|host| without_brackets(&host).to_owned());
    let port = section.optional("port").map(|item| number(&item, 65_535));
    let databases = section
        .required("databases")
        .and_then(|item| databases(&item));
    let user = section.required("user").and_then(|item| item.text());
    let password = section.required("password").and_then(|item| item.secret());
    let cleaner = section
        .required("cleaner")
        .and_then(|item| cleaner(&item, user.as_deref()));
    let tls_item = section.optional("tls");
    let tls = tls_item.as_ref().map(|item| tls(item, host.as_deref()));
    let ca = section.optional("ca").map(|item| item.path().map(Some));
    let channel_binding = section
        .optional("channel_binding")
        .map(|item| channel_binding(&item, tls.flatten()));
    let prefix = section
        .optional("prefix")
        .map(|item| prefix(&item, &["pg_"]));
    let sweep = section
        .optional("sweep")
        .map(|item| item.duration(Duration::from_secs(1), Duration::from_secs(600)));
    if let Some(mode) = section.optional("mode")
        && mode.text().is_some_and(|text| text != "definer")
    {
        let _: Option<()> = mode.wrong(
            "`mode` must be `definer` or `certificate`",
            "run the SQL that `hallpass target install` prints",
        );
    }
    let standbys = standbys(section);
    let connections = section
        .optional("connections")
        .map(|item| number(&item, 100));
    let brokers = section.optional("brokers").map(|item| number(&item, 50));
    let broker_connections = section
        .optional("broker_connections")
        .map(|item| u16::try_from(item.number(u64::from(HELD) + 1, 50)?).ok());
    let cleaner_connections = section
        .optional("cleaner_connections")
        .map(|item| number(&item, 10));
    let places_per_repository = section
        .optional("places_per_repository")
        .map(|item| u32::try_from(item.number(1, u64::from(MAX_LIVE))?).ok());
    let allowed_roles = section.optional("allowed_roles").map(|item| texts(&item));
    let event_triggers = section.optional("event_triggers").map(|item| names(&item));
    let open_databases = section
        .optional("open_databases")
        .map(|item| open_databases(&item, databases.as_deref()));
    let control_database = section
        .optional("control_database")
        .map(|item| control_database(&item, databases.as_deref()));
    section.finish();
    let mut target = PostgresSettings::new(host?, databases?, (user?, password?), cleaner?);
    set(&mut target.port, port)?;
    set(&mut target.tls, tls)?;
    set(&mut target.ca, ca)?;
    set(&mut target.channel_binding, channel_binding)?;
    set(&mut target.prefix, prefix)?;
    set(&mut target.sweep, sweep)?;
    set(&mut target.standbys, standbys)?;
    set(&mut target.connections, connections)?;
    set(&mut target.brokers, brokers)?;
    set(&mut target.broker_connections, broker_connections)?;
    set(&mut target.cleaner_connections, cleaner_connections)?;
    set(&mut target.places_per_repository, places_per_repository)?;
    set(&mut target.allowed_roles, allowed_roles)?;
    set(&mut target.event_triggers, event_triggers)?;
    set(&mut target.open_databases, open_databases)?;
    set(&mut target.control_database, control_database)?;
    Some(target)
}

fn databases(item: &Item<'_>) -> Option<Vec<String>> {
    let names = names(item)?;
    if names.is_empty() {
        return item.wrong("`databases` is empty", "name the databases a lease may use");
    }
    Some(names)
}

/// Databases of the server that stay open to leased logins.
fn open_databases(item: &Item<'_>, databases: Option<&[String]>) -> Option<Vec<String>> {
    let names = names(item)?;
    let listed = names
        .iter()
        .find(|name| databases.is_some_and(|databases| databases.contains(name)));
    if let Some(listed) = listed {
        return item.wrong(
            &format!(
                "`{}` is under `databases` and `open_databases`",
                escape(listed)
            ),
            "leave it under `databases` only, if leases may use it",
        );
    }
    Some(names)
}

/// Leases cannot enter it, so it is none of theirs. It is part of SQL that a DBA reads, so its name
/// is a plain one.
fn control_database(item: &Item<'_>, databases: Option<&[String]>) -> Option<String> {
    let name = item.text()?;
    let is_plain = (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if !is_plain {
        return item.wrong(
            &format!(
                "`control_database` is `{}`, expected 1 to 63 letters, digits, `_` or `-`",
                escape(&name)
            ),
            "leave it out for `hallpass`, or name a database that is for the broker alone",
        );
    }
    if name == "template0" || name == "template1" {
        return item.wrong(
            &format!("`{name}` is what new databases are copied from"),
            "name a database that is for the broker alone, e.g. `hallpass`",
        );
    }
    if databases.is_some_and(|databases| databases.contains(&name)) {
        return item.wrong(
            &format!(
                "`{name}` is under `databases` too, and no lease can enter the control database"
            ),
            "name a database that is for the broker alone, e.g. `hallpass`",
        );
    }
    Some(name)
}

fn texts(item: &Item<'_>) -> Option<Vec<String>> {
    item.list()?.iter().map(Item::text).collect()
}

/// Names of things in PostgreSQL, each once.
fn names(item: &Item<'_>) -> Option<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for entry in item.list()? {
        let name = entry.text()?;
        if !(1..=63).contains(&name.len()) || name.contains('\0') {
            return entry.wrong(
                &format!("`{}` is not a name of PostgreSQL's", escape(&name)),
                "write 1 to 63 bytes",
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
    Some(names)
}

/// `standbys:`, which was called `replicas:` before.
#[expect(clippy::option_option, reason = "not given, given and wrong, or right")]
fn standbys(section: &Section<'_>) -> Option<Option<Vec<(String, u16)>>> {
    let now = section.optional("standbys");
    let before = section.optional("replicas");
    if let (Some(_), Some(before)) = (&now, &before) {
        return Some(before.wrong(
            "`replicas` is the old name of `standbys`, and both are there",
            "move what it lists to `standbys`",
        ));
    }
    let item = now.or(before)?;
    let read = |item: &Item<'_>| match host_and_port(&item.text()?, PORT) {
        Some(standby) => Some(standby),
        None => item.wrong(
            "a standby is `host` or `host:port`",
            "e.g. `db-2.acme.dev:5432` or `[2001:db8::2]:5432`",
        ),
    };
    Some(item.list().and_then(|list| list.iter().map(read).collect()))
}

/// A login of its own: whoever has the broker's password must not get the power to clean up with it.
fn cleaner(item: &Item<'_>, broker: Option<&str>) -> Option<Cleaner> {
    let section = item.section()?;
    let user = section.required("user").and_then(|item| {
        let user = item.text()?;
        if broker == Some(user.as_str()) {
            return item.wrong(
                &format!("`{}` is `user` of the target too", escape(&user)),
                "name the cleaner's own login, `hallpass_clean` of the install file",
            );
        }
        Some(user)
    });
    let password = section.required("password").and_then(|item| item.secret());
    section.finish();
    Some(Cleaner {
        user: user?,
        password: password?,
    })
}

/// A login cannot be bound to TLS that is not there.
fn channel_binding(item: &Item<'_>, tls: Option<Tls>) -> Option<ChannelBinding> {
    let text = item.text()?;
    match (ChannelBinding::from_name(&text), tls) {
        (Some(ChannelBinding::Require), Some(Tls::Disable)) => item.wrong(
            "`channel_binding: require` needs TLS, and `tls` is `disable`",
            "write `tls: verify-full`, or leave `channel_binding` out",
        ),
        (Some(channel_binding), _) => Some(channel_binding),
        (None, _) => item.wrong(
            &format!("`channel_binding` cannot be `{}`", escape(&text)),
            "write `prefer`, `require` or `disable`",
        ),
    }
}
