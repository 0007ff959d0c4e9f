//! Reads a Redis target of the settings, and says what it is to the policies.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::rules::{self, Group};
use super::settings::{DISABLE, MAX_LIVE, PORT, RedisServers, VERIFY};
use super::url::in_url;
use super::{Redis, RedisDefinition, install};
use crate::clock::SystemClock;
use crate::credential::database::broker_login::BrokerLogin;
use crate::credential::database::fields::{is_here, number, prefix, set, without_brackets};
use crate::credential::database::rotate::{Rotated, rotate};
use crate::credential::database::{Database, Logins};
use crate::credential::target::{
    self, Destination, Finding, InstallText, Installation, Target, TargetKind, TargetSettings, With,
};
use crate::policy::{CredentialDefinition, PolicySet};
use crate::rootkey::RootKeys;
use crate::secret::Secret;
use crate::text::escape;
use crate::yaml::scalar::scalar;
use crate::yaml::settings::{Item, Section};

/// `kind: redis`.
pub const TARGET: TargetKind = TargetKind {
    name: "redis",
    read: |section| redis(section).map(|settings| Arc::new(settings) as Arc<dyn TargetSettings>),
};

#[async_trait]
impl TargetSettings for RedisServers {
    /// Two targets on one server with one prefix would end each other's leases.
    fn clash(&self, name: &str, other: &dyn TargetSettings) -> Option<(String, &'static str)> {
        let other = other.of::<Self>()?;
        let mut nodes = self.nodes.iter();
        let (host, port) = nodes.find(|node| other.nodes.contains(node))?;
        (self.prefix == other.prefix).then(|| {
            (
                format!(
                    "target `{name}` has the server {}:{port} with the prefix `{}` too",
                    escape(&in_url(host)),
                    self.prefix
                ),
                "make one target of them, with several `groups`",
            )
        })
    }

    fn is_on(&self, host: &str, port: u16) -> bool {
        as_host(host).is_some_and(|host| self.nodes.contains(&(host, port)))
    }

    fn destination(&self, credential: &CredentialDefinition) -> Vec<(&'static str, Destination)> {
        let text = |text: &str| Destination::Text(scalar(text));
        let nodes = self.nodes.iter();
        let nodes: Vec<String> = nodes
            .map(|(host, port)| format!("{}:{port}", in_url(host)))
            .collect();
        let mut keys = vec![
            ("kind", text(TARGET.name)),
            ("nodes", text(&nodes.join(" "))),
            ("tls", text(self.tls_word())),
            ("prefix", text(&self.prefix)),
        ];
        let definition = credential.of::<RedisDefinition>();
        let group = definition.and_then(|definition| self.groups.get(&definition.group));
        keys.extend(group.map(|group| ("rules", text(&group.rules().join(" ")))));
        let ca = self.ca.clone();
        keys.extend(ca.map(|path| ("ca", Destination::Certificates(path))));
        keys
    }

    fn files(&self) -> Vec<PathBuf> {
        self.ca.iter().cloned().collect()
    }

    fn check_secrets(&self) -> Result<(), String> {
        BrokerLogin::read(&self.user, &self.password).map(drop)
    }

    fn admits(&self, name: &str, credential: &CredentialDefinition) -> Result<(), String> {
        let definition: &RedisDefinition = target::made_here(name, credential)?;
        if self.groups.contains_key(&definition.group) {
            return Ok(());
        }
        let groups: Vec<String> = self.groups.keys().map(|name| format!("`{name}`")).collect();
        Err(format!(
            "credential `{}` of the policies is for group `{}`, which target `{name}` does not define; write one of {}, or add it under `groups:` of the target",
            credential.name,
            escape(&definition.group),
            groups.join(", ")
        ))
    }

    fn connect(&self, name: &str, with: &With<'_>) -> Result<Arc<dyn Target>, String> {
        let connect = || {
            let redis = Redis::new(self.clone(), Arc::clone(with.clock))?;
            Ok(Arc::new(redis) as Arc<dyn Database>)
        };
        let logins = Logins::new(name, self.sweep, with, connect)?;
        Ok(Arc::new(logins))
    }

    async fn check(&self, name: &str, policies: &PolicySet) -> Result<Vec<Finding>, String> {
        self.checked(name, policies, None).await
    }

    async fn check_signed(
        &self,
        name: &str,
        policies: &PolicySet,
        with: &With<'_>,
    ) -> Result<Vec<Finding>, String> {
        self.checked(name, policies, Some((name, with.root_keys)))
            .await
    }

    fn installation(&self, wanted: &Installation<'_>) -> Result<InstallText, String> {
        Ok(if wanted.uninstall {
            install::removal(self)
        } else {
            install::text(wanted.name, self)
        })
    }

    fn passwords(&self) -> Result<Secret<String>, String> {
        install::password(&BrokerLogin::read(&self.user, &self.password)?)
    }

    async fn rotate_login(&self, ends_sessions: bool) -> Result<Rotated, String> {
        let rotated = rotate((&self.user, &self.password), self, ends_sessions).await?;
        let note = format!(
            "keep `{}` over restarts with `ACL SAVE` or `CONFIG REWRITE` on each server, while `hallpass leases list` shows no lease",
            rotated.login
        );
        Ok(Rotated {
            note: Some(note),
            ..rotated
        })
    }
}

impl RedisServers {
    async fn checked(
        &self,
        name: &str,
        policies: &PolicySet,
        signer: Option<(&str, &RootKeys)>,
    ) -> Result<Vec<Finding>, String> {
        for credential in policies.credentials() {
            if credential.target() == Some(name) {
                self.admits(name, credential)?;
            }
        }
        let redis = Redis::new(self.clone(), Arc::new(SystemClock::new()))?;
        Ok(redis.check(signer).await)
    }
}

fn redis(section: &Section<'_>) -> Option<RedisServers> {
    let nodes = nodes(section);
    let masters = section.optional("masters").map(|item| {
        let most = u64::try_from(nodes.as_ref().map_or(1, Vec::len)).unwrap_or(1);
        usize::try_from(item.number(1, most)?).ok()
    });
    let user = section.required("user").and_then(|item| user(&item));
    let password = section.required("password").and_then(|item| item.secret());
    let tls = section
        .optional("tls")
        .map(|item| tls(&item, nodes.as_deref().unwrap_or_default()));
    let ca = section.optional("ca").map(|item| item.path().map(Some));
    let prefix = section.optional("prefix").map(|item| prefix(&item, &[]));
    let sweep = section
        .optional("sweep")
        .map(|item| item.duration(Duration::from_secs(1), Duration::from_secs(60)));
    let groups = section.required("groups").and_then(|item| groups(&item));
    let places = section
        .optional("places_per_repository")
        .map(|item| u32::try_from(item.number(1, u64::from(MAX_LIVE))?).ok());
    section.finish();
    let mut target = RedisServers::new(nodes?, (user?, password?));
    target.groups = groups?;
    set(&mut target.masters, masters)?;
    set(&mut target.tls, tls)?;
    set(&mut target.ca, ca)?;
    set(&mut target.prefix, prefix)?;
    set(&mut target.sweep, sweep)?;
    set(&mut target.places_per_repository, places)?;
    Some(target)
}

/// `nodes:`, or one server by `host:` and `port:`.
fn nodes(section: &Section<'_>) -> Option<Vec<(String, u16)>> {
    let Some(item) = section.optional("nodes") else {
        let host = section.required("host").and_then(|item| host(&item));
        let port = section.optional("port").map(|item| number(&item, u16::MAX));
        return Some(vec![(host?, port.unwrap_or(Some(PORT))?)]);
    };
    if let Some(host) = section.optional("host") {
        return host.wrong("`host` and `nodes` are both there", "list it under `nodes`");
    }
    let mut nodes = Vec::new();
    for entry in item.list()? {
        let text = entry.text()?;
        let Some(node) = host_and_port(&text) else {
            return entry.wrong(
                "a node is `host` or `host:port`",
                "e.g. `cache-2.acme.dev:6379` or `[2001:db8::2]:6379`",
            );
        };
        if nodes.contains(&node) {
            return entry.wrong(
                &format!("`{}` is listed twice", escape(&text)),
                "leave one of them out",
            );
        }
        nodes.push(node);
    }
    if nodes.is_empty() || nodes.len() > MOST_NODES {
        return item.wrong(
            &format!(
                "`nodes` has {} servers, expected 1 to {MOST_NODES}",
                nodes.len()
            ),
            "name every master and replica",
        );
    }
    Some(nodes)
}

fn host(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    match as_host(&text) {
        Some(host) => Some(host),
        None => item.wrong(
            &format!("`host` is `{}`", escape(&text)),
            "write a host name or an address",
        ),
    }
}

/// A host in its usual form: it is compared, and part of URLs.
fn as_host(text: &str) -> Option<String> {
    let text = without_brackets(text);
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical().to_string());
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let is_name = (1..=253).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    is_name.then_some(name)
}

fn host_and_port(text: &str) -> Option<(String, u16)> {
    if let Some(host) = as_host(text) {
        return Some((host, PORT));
    }
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    Some((as_host(host)?, port))
}

/// It is part of what `target install` prints.
fn user(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    if rules::is_group(&text) {
        return Some(text);
    }
    item.wrong(
        &format!(
            "`user` is `{}`, expected 1 to 63 letters, digits, `.`, `_` or `-`",
            escape(&text)
        ),
        "e.g. `hallpass`",
    )
}

/// TLS can be switched off for the machine itself, and nowhere else.
fn tls(item: &Item<'_>, nodes: &[(String, u16)]) -> Option<bool> {
    let is_here = nodes.iter().all(|(host, _)| is_here(host));
    match item.text()?.as_str() {
        VERIFY => Some(true),
        DISABLE if is_here => Some(false),
        DISABLE => item.wrong(
            "`tls: disable` would send logins over the network in the clear",
            "write `tls: verify-full`; only servers on loopback addresses can do without",
        ),
        other => item.wrong(
            &format!("`tls` cannot be `{}`", escape(other)),
            "write `verify-full`, or `disable` for servers on the same machine",
        ),
    }
}

fn groups(item: &Item<'_>) -> Option<BTreeMap<String, Group>> {
    let section = item.section()?;
    let mut groups = BTreeMap::new();
    let mut is_right = true;
    for (name, item) in section.entries() {
        if !rules::is_group(name) {
            is_right = false;
            let _: Option<()> = item.wrong(
                &format!("`{}` is not a name of a group", escape(name)),
                "write 1 to 63 letters, digits, `.`, `_` or `-`",
            );
        }
        match group(&item) {
            Some(group) => {
                groups.insert(name.to_owned(), group);
            }
            None => is_right = false,
        }
    }
    if groups.is_empty() && is_right {
        return item.wrong(
            "`groups` is empty",
            "define one, e.g. `app_ro: { keys: ['%R~app:*'], commands: [+@read, +@connection] }`",
        );
    }
    is_right.then_some(groups)
}

fn group(item: &Item<'_>) -> Option<Group> {
    let section = item.section()?;
    let keys = section
        .optional("keys")
        .map(|item| words(&item, rules::key));
    let channels = section
        .optional("channels")
        .map(|item| words(&item, rules::channel));
    let commands = section
        .required("commands")
        .and_then(|item| words(&item, rules::command));
    section.finish();
    Some(Group {
        keys: keys.unwrap_or_else(|| Some(Vec::new()))?,
        channels: channels.unwrap_or_else(|| Some(Vec::new()))?,
        commands: commands?,
    })
}

fn words(item: &Item<'_>, read: fn(&str) -> Result<String, String>) -> Option<Vec<String>> {
    let list = item.list()?;
    if list.is_empty() || list.len() > MOST_WORDS {
        return item.wrong(
            &format!(
                "the list has {} entries, expected 1 to {MOST_WORDS}",
                list.len()
            ),
            "leave it out if there are none",
        );
    }
    let word = |entry: &Item<'_>| {
        let text = entry.text()?;
        match read(&text) {
            Ok(word) => Some(word),
            Err(problem) => entry.wrong(
                &format!("`{}` {problem}", escape(&text)),
                "see docs/databases/redis.md",
            ),
        }
    };
    let words: Vec<Option<String>> = list.iter().map(word).collect();
    words.into_iter().collect()
}

const MOST_NODES: usize = 64;
const MOST_WORDS: usize = 100;
