//! `targets:`: what credentials are made in, by name.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Settings;
use super::reader::{Item, Section};
use crate::credential::database::postgres::{
    CONNECTIONS, Cleaner, GroupCeiling, TargetSettings, Tls,
};
use crate::policy::{Kind, PolicySet};
use crate::text::escape;

/// Something that credentials are made in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A PostgreSQL server.
    Postgres(Box<TargetSettings>),
}

/// A PostgreSQL target with the ceilings that the policies put on it: the longest life of each group,
/// and whether its logins act as it.
///
/// # Errors
/// There is no such target, or the policies do not load.
pub fn find(
    settings: &Settings,
    name: &str,
) -> Result<(TargetSettings, Vec<GroupCeiling>), String> {
    let Some(Target::Postgres(target)) = settings.targets.get(name) else {
        let known: Vec<&str> = settings.targets.keys().map(String::as_str).collect();
        return Err(format!(
            "no target `{}` in the settings (there: {})",
            escape(name),
            known.join(", ")
        ));
    };
    let loaded = PolicySet::load(&settings.policies).map_err(|errors| errors.to_string())?;
    let groups = ceilings(&loaded.set, name, target.connections);
    Ok((TargetSettings::clone(target), groups))
}

fn ceilings(set: &PolicySet, target: &str, connections: u16) -> Vec<GroupCeiling> {
    let mut groups: BTreeMap<String, GroupCeiling> = BTreeMap::new();
    for credential in set.credentials() {
        let (of, group, act_as_group) = match &credential.kind {
            Kind::Postgres {
                target,
                group,
                act_as_group,
            } => (target, group, *act_as_group),
            Kind::Jwt { .. } => continue,
        };
        if of != target {
            continue;
        }
        let ceiling = groups.entry(group.clone()).or_insert_with(|| GroupCeiling {
            group: group.clone(),
            longest_life: 0,
            connections,
            act_as_group: false,
        });
        let life = u32::try_from(credential.max_ttl.as_secs()).unwrap_or(u32::MAX);
        ceiling.longest_life = ceiling.longest_life.max(life);
        ceiling.act_as_group |= act_as_group;
    }
    groups.into_values().collect()
}

/// Reads `targets:`.
pub(super) fn read(item: &Item<'_>) -> Option<BTreeMap<String, Target>> {
    let section = item.section()?;
    section
        .entries()
        .into_iter()
        .map(|(name, item)| {
            if is_name(name) {
                Some((name.to_owned(), target(&item)?))
            } else {
                item.wrong(
                    "the name of a target must be 1 to 63 letters, digits, `-` or `_`",
                    "rename it, also in the policies",
                )
            }
        })
        // All of them are read before the first one that is wrong ends it.
        .collect::<Vec<_>>()
        .into_iter()
        .collect()
}

fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn target(item: &Item<'_>) -> Option<Target> {
    let section = item.section()?;
    let kind = section.required("kind")?;
    match kind.text()?.as_str() {
        "postgres" => postgres(&section).map(|target| Target::Postgres(Box::new(target))),
        other => kind.wrong(
            &format!("unknown kind of target `{other}`"),
            "write `postgres`, the only one there is",
        ),
    }
}

fn postgres(section: &Section<'_>) -> Option<TargetSettings> {
    let host = section.required("host").and_then(|item| item.text());
    let port = section.optional("port").map(|item| item.number(1, 65_535));
    let databases = section
        .required("databases")
        .and_then(|item| databases(&item));
    let user = section.required("user").and_then(|item| item.text());
    let password = section.required("password").and_then(|item| item.secret());
    let cleaner = section.required("cleaner").and_then(|item| cleaner(&item));
    let tls = section
        .optional("tls")
        .map(|item| tls(&item, host.as_deref()));
    let ca = section.optional("ca").map(|item| item.path());
    let prefix = section.optional("prefix").map(|item| prefix(&item));
    let sweep = section
        .optional("sweep")
        .map(|item| item.duration(Duration::from_secs(1), Duration::from_secs(600)));
    if let Some(mode) = section.optional("mode")
        && mode.text().is_some_and(|text| text != "definer")
    {
        let _: Option<()> = mode.wrong(
            "only `mode: definer` is supported",
            "run the SQL that `hallpass target install-sql` prints",
        );
    }
    let replicas = section.optional("replicas").map(|item| replicas(&item));
    let connections = section
        .optional("connections")
        .map(|item| item.number(1, 100));
    let allowed_roles = section.optional("allowed_roles").map(|item| texts(&item));
    section.finish();
    Some(TargetSettings {
        host: host?,
        port: port.map_or(Some(5_432), |port| u16::try_from(port?).ok())?,
        databases: databases?,
        user: user?,
        password: password?,
        cleaner: cleaner?,
        tls: tls.unwrap_or(Some(Tls::VerifyFull))?,
        ca: ca.map_or(Some(None), |ca| ca.map(Some))?,
        prefix: prefix.unwrap_or_else(|| Some("hp_".to_owned()))?,
        sweep: sweep.unwrap_or(Some(Duration::from_secs(20)))?,
        connections: connections.map_or(Some(CONNECTIONS), |number| u16::try_from(number?).ok())?,
        allowed_roles: allowed_roles.unwrap_or_else(|| Some(Vec::new()))?,
        replicas: replicas.unwrap_or_else(|| Some(Vec::new()))?,
    })
}

fn databases(item: &Item<'_>) -> Option<Vec<String>> {
    let names = texts(item)?;
    if names.is_empty() {
        return item.wrong("`databases` is empty", "name the databases a lease may use");
    }
    Some(names)
}

fn texts(item: &Item<'_>) -> Option<Vec<String>> {
    item.list()?.iter().map(Item::text).collect()
}

/// What names of leases begin with: all of a name has to stay recognisable (databases.md P-10).
fn prefix(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    let fits = (2..=5).contains(&text.len())
        && text.ends_with('_')
        && text.starts_with(|letter: char| letter.is_ascii_lowercase())
        && !text.starts_with("pg_")
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    if fits {
        return Some(text);
    }
    item.wrong(
        &format!("`prefix` is `{}`", escape(&text)),
        "write 2 to 5 of a-z, 0-9 and `_` that begin with a letter and end in `_`, e.g. `hp_`",
    )
}

/// Standbys: `host` or `host:port`.
fn replicas(item: &Item<'_>) -> Option<Vec<(String, u16)>> {
    let read = |item: &Item<'_>| {
        let text = item.text()?;
        let (host, port) = text.rsplit_once(':').unwrap_or((&text, "5432"));
        match port.parse() {
            Ok(port) => Some((host.to_owned(), port)),
            Err(_) => item.wrong(
                "a replica is `host` or `host:port`",
                "e.g. `db-2.acme.dev:5432`",
            ),
        }
    };
    item.list()?.iter().map(read).collect()
}

fn cleaner(item: &Item<'_>) -> Option<Cleaner> {
    let section = item.section()?;
    let user = section.required("user").and_then(|item| item.text());
    let password = section.required("password").and_then(|item| item.secret());
    section.finish();
    Some(Cleaner {
        user: user?,
        password: password?,
    })
}

/// TLS can be switched off for the machine itself, and nowhere else.
fn tls(item: &Item<'_>, host: Option<&str>) -> Option<Tls> {
    let is_here = host.is_some_and(|host| {
        host == "localhost"
            || host
                .parse()
                .is_ok_and(|address: std::net::IpAddr| address.is_loopback())
    });
    match item.text()?.as_str() {
        "verify-full" => Some(Tls::VerifyFull),
        "disable" if is_here => Some(Tls::Disable),
        "disable" => item.wrong(
            "`tls: disable` would send logins over the network in the clear",
            "write `tls: verify-full`; only a server on a loopback address can do without",
        ),
        other => item.wrong(
            &format!("`tls` cannot be `{other}`"),
            "write `verify-full`, or `disable` for a server on the same machine",
        ),
    }
}
