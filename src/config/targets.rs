//! `targets:`: what credentials are made in, by name.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::reader::{Item, Section};
use crate::secret::SecretSource;

/// Something that credentials are made in.
#[derive(Clone, Debug)]
pub enum Target {
    /// A PostgreSQL server.
    Postgres(Box<PostgresTarget>),
}

/// A PostgreSQL server and how we log in to it.
#[derive(Clone, Debug)]
pub struct PostgresTarget {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The databases a lease may use; the first is the one it is sent to.
    pub databases: Vec<String>,
    /// The login that mints, shuts and drops.
    pub user: String,
    /// Its password.
    pub password: SecretSource,
    /// The login that cleans up in the databases, and can do nothing else.
    pub cleaner: Option<Cleaner>,
    /// How the connection is protected.
    pub tls: Tls,
    /// PEM certificates that the server's certificate is checked against; public ones without.
    pub ca: Option<PathBuf>,
    /// What lease names begin with.
    pub prefix: String,
    /// How often expired leases are looked for.
    pub sweep: Duration,
}

/// The login that cleans up.
#[derive(Clone, Debug)]
pub struct Cleaner {
    /// The role.
    pub user: String,
    /// Its password.
    pub password: SecretSource,
}

/// How a connection to a database is protected; libpq's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// TLS, with certificate and name checked.
    VerifyFull,
    /// None. For sockets of the same machine.
    Disable,
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

fn postgres(section: &Section<'_>) -> Option<PostgresTarget> {
    let host = section.required("host").and_then(|item| item.text());
    let port = section.optional("port").map(|item| item.number(1, 65_535));
    let databases = section
        .required("databases")
        .and_then(|item| databases(&item));
    let user = section.required("user").and_then(|item| item.text());
    let password = section.required("password").and_then(|item| item.secret());
    let cleaner = section.optional("cleaner").map(|item| cleaner(&item));
    let tls = section.optional("tls").map(|item| tls(&item));
    let ca = section.optional("ca").map(|item| item.path());
    let prefix = section.optional("prefix").map(|item| item.text());
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
    if let Some(replicas) = section.optional("replicas")
        && replicas.list().is_some_and(|list| !list.is_empty())
    {
        let _: Option<()> = replicas.wrong("`replicas` is not supported yet", "leave it out");
    }
    section.finish();
    Some(PostgresTarget {
        host: host?,
        port: port.map_or(Some(5_432), |port| u16::try_from(port?).ok())?,
        databases: databases?,
        user: user?,
        password: password?,
        cleaner: cleaner.map_or(Some(None), |cleaner| cleaner.map(Some))?,
        tls: tls.unwrap_or(Some(Tls::VerifyFull))?,
        ca: ca.map_or(Some(None), |ca| ca.map(Some))?,
        prefix: prefix.unwrap_or_else(|| Some("hp_".to_owned()))?,
        sweep: sweep.unwrap_or(Some(Duration::from_secs(30)))?,
    })
}

fn databases(item: &Item<'_>) -> Option<Vec<String>> {
    let names = item
        .list()?
        .iter()
        .map(Item::text)
        .collect::<Option<Vec<_>>>()?;
    if names.is_empty() {
        return item.wrong("`databases` is empty", "name the databases a lease may use");
    }
    Some(names)
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

fn tls(item: &Item<'_>) -> Option<Tls> {
    match item.text()?.as_str() {
        "verify-full" => Some(Tls::VerifyFull),
        "disable" => Some(Tls::Disable),
        other => item.wrong(
            &format!("`tls` cannot be `{other}`"),
            "write `verify-full`, or `disable` for a server on the same machine",
        ),
    }
}
