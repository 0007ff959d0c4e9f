//! `targets:`: what credentials are made in, by name.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::Settings;
use super::reader::{Item, Section};
use crate::credential::database::postgres::{
    ChannelBinding, Cleaner, GroupCeiling, HELD, MAX_LIVE, PORT, PostgresDefinition,
    TargetSettings, Tls,
};
use crate::policy::{CredentialDefinition, PolicySet};
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
/// There is no such target, the policies do not load, or a credential is for none of its databases.
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
    for credential in loaded.set.credentials() {
        check_database(settings, credential)?;
    }
    let groups = ceilings(&loaded.set, name, target.connections);
    Ok((TargetSettings::clone(target), groups))
}

/// Whether a credential says which database its logins are sent to, and says one that leases may use.
/// One whose target is not in the settings is right as far as this goes.
///
/// # Errors
/// What is wrong, and what to write.
pub fn check_database(
    settings: &Settings,
    credential: &CredentialDefinition,
) -> Result<(), String> {
    let Some(PostgresDefinition {
        target, database, ..
    }) = credential.of()
    else {
        return Ok(());
    };
    let Some(Target::Postgres(settings)) = settings.targets.get(target) else {
        return Ok(());
    };
    let listed = || {
        let names = settings.databases.iter();
        let names: Vec<String> = names.map(|name| format!("`{}`", escape(name))).collect();
        names.join(", ")
    };
    match database {
        Some(database) if !settings.databases.contains(database) => Err(format!(
            "credential `{}` of the policies is for database `{database}`, which target `{target}` does not list; write one of {}, or add it under `databases:` of the target and run the install file again",
            credential.name,
            listed()
        )),
        None if settings.databases.len() > 1 => Err(format!(
            "credential `{}` of the policies does not say which database of target `{target}` it is for; add `database:` with one of {}",
            credential.name,
            listed()
        )),
        Some(_) | None => Ok(()),
    }
}

fn ceilings(set: &PolicySet, target: &str, connections: u16) -> Vec<GroupCeiling> {
    let mut groups: BTreeMap<String, GroupCeiling> = BTreeMap::new();
    for credential in set.credentials() {
        let login = credential.of::<PostgresDefinition>();
        let Some(login) = login.filter(|login| login.target == target) else {
            continue;
        };
        let (group, act_as_group) = (&login.group, login.act_as_group);
        let ceiling = groups.entry(group.clone()).or_insert_with(|| GroupCeiling {
            group: group.clone(),
            longest_life: 0,
            connections,
            act_as_group: false,
            without_acting: false,
        });
        let life = u32::try_from(credential.max_ttl.as_secs()).unwrap_or(u32::MAX);
        ceiling.longest_life = ceiling.longest_life.max(life);
        ceiling.act_as_group |= act_as_group;
        ceiling.without_acting |= !act_as_group;
    }
    groups.into_values().collect()
}

/// Reads `targets:`.
pub(super) fn read(item: &Item<'_>) -> Option<BTreeMap<String, Target>> {
    let section = item.section()?;
    let mut targets: BTreeMap<String, Target> = BTreeMap::new();
    let mut is_right = true;
    for (name, item) in section.entries() {
        let Some(target) = named(name, &item) else {
            is_right = false;
            continue;
        };
        let Target::Postgres(new) = &target;
        for (other, Target::Postgres(old)) in &targets {
            is_right &= check_servers(&item, new, (other, old)).is_some();
        }
        targets.insert(name.to_owned(), target);
    }
    is_right.then_some(targets)
}

fn named(name: &str, item: &Item<'_>) -> Option<Target> {
    let target = target(item);
    if !is_name(name) {
        return item.wrong(
            "the name of a target must be 1 to 63 letters, digits, `-` or `_`",
            "rename it, also in the policies",
        );
    }
    target
}

/// Two targets on one server share its roles, and whatever database both install into: the install
/// file of the second would drop the groups of the first, and each would end the other's leases.
fn check_servers(
    item: &Item<'_>,
    new: &TargetSettings,
    (other, old): (&str, &TargetSettings),
) -> Option<()> {
    if new.server() != old.server() {
        return Some(());
    }
    let both = if new.prefix == old.prefix {
        format!("the prefix `{}`", new.prefix)
    } else if new.control_database == old.control_database {
        format!("the control database `{}`", escape(&new.control_database))
    } else if let Some(both) = new
        .databases
        .iter()
        .find(|name| old.databases.contains(name))
    {
        format!("the database `{}`", escape(both))
    } else {
        return Some(());
    };
    item.wrong(
        &format!(
            "target `{other}` is on the same server, {}:{}, with {both}",
            escape(&new.host),
            new.port
        ),
        "make one target of them: list every database under its `databases`, and name one with `database:` in each credential",
    )
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
    let host = host.map(|host| without_brackets(&host).to_owned());
    let port = section.optional("port").map(|item| number(&item, 65_535));
    let databases = section
        .required("databases")
        .and_then(|item| databases(&item));
    let user = section.required("user").and_then(|item| item.text());
    let password = section.required("password").and_then(|item| item.secret());
    let cleaner = section.required("cleaner").and_then(|item| cleaner(&item));
    let tls_item = section.optional("tls");
    let tls = tls_item.as_ref().map(|item| tls(item, host.as_deref()));
    let ca = section.optional("ca").map(|item| item.path().map(Some));
    let channel_binding = section
        .optional("channel_binding")
        .map(|item| channel_binding(&item, tls.flatten()));
    let prefix = section.optional("prefix").map(|item| prefix(&item));
    let sweep = section
        .optional("sweep")
        .map(|item| item.duration(Duration::from_secs(1), Duration::from_secs(600)));
    if let Some(mode) = section.optional("mode")
        && mode.text().is_some_and(|text| text != "definer")
    {
        let _: Option<()> = mode.wrong(
            "only `mode: definer` is supported",
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
    let mut target = TargetSettings::new(host?, databases?, (user?, password?), cleaner?);
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

/// Sets what was given; `None` if it was given and is wrong.
#[expect(clippy::option_option, reason = "not given, given and wrong, or right")]
fn set<T>(field: &mut T, given: Option<Option<T>>) -> Option<()> {
    if let Some(value) = given {
        *field = value?;
    }
    Some(())
}

fn number(item: &Item<'_>, most: u16) -> Option<u16> {
    u16::try_from(item.number(1, u64::from(most))?).ok()
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
    let read = |item: &Item<'_>| match host_and_port(&item.text()?) {
        Some(standby) => Some(standby),
        None => item.wrong(
            "a standby is `host` or `host:port`",
            "e.g. `db-2.acme.dev:5432` or `[2001:db8::2]:5432`",
        ),
    };
    Some(item.list().and_then(|list| list.iter().map(read).collect()))
}

/// `host`, `host:port`, or an IPv6 address, which has brackets around it where a port follows.
fn host_and_port(text: &str) -> Option<(String, u16)> {
    let whole = without_brackets(text);
    if whole.parse::<IpAddr>().is_ok() || !text.contains(':') {
        return (!whole.is_empty()).then(|| (whole.to_owned(), PORT));
    }
    let (host, port) = text.rsplit_once(':')?;
    let host = without_brackets(host);
    let is_host = !host.is_empty() && (!host.contains(':') || host.parse::<IpAddr>().is_ok());
    Some((is_host.then(|| host.to_owned())?, port.parse().ok()?))
}

/// An IPv6 address as it stands in a URL.
fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host)
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
                .is_ok_and(|address: IpAddr| address.is_loopback())
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
