//! `replay:`: where used tokens are remembered.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use url::{Host, Url};

use crate::credential::target::TargetSettings;
use crate::replay::StoreSettings;
use crate::replay::redis::RedisSettings;
use crate::text::escape;
use crate::yaml::settings::{Item, Section};

/// Reads `replay:`. A server that jobs use cannot be the store: a job could fill its memory, and nothing
/// would be minted any more, or delete what it holds.
pub(super) fn read(
    item: &Item<'_>,
    targets: Option<&BTreeMap<String, Arc<dyn TargetSettings>>>,
) -> Option<StoreSettings> {
    let section = item.section()?;
    let store = section.required("store");
    let name = store.as_ref().and_then(Item::text);
    let settings = match name.as_deref() {
        Some("redis") => redis(&section).map(|redis| StoreSettings::Redis(Box::new(redis))),
        Some("memory") | None => memory(&section),
        // The other keys are those of the store, so they cannot be checked.
        Some(other) => {
            return store.as_ref()?.wrong(
                &format!("unknown store `{other}`"),
                "write `memory`, or `redis` for one that replicas share",
            );
        }
    };
    section.finish();
    let settings = name.and(settings);
    if let Some(StoreSettings::Redis(redis)) = &settings {
        let mut targets = targets.into_iter().flatten();
        let shared = targets.find(|(_, target)| target.is_on(&redis.host, redis.port));
        if let Some((target, _)) = shared {
            return item.wrong(
                &format!("target `{target}` is on the same server as the store of used tokens"),
                "give the store a server of its own, which no job can fill or empty",
            );
        }
    }
    settings
}

fn memory(section: &Section<'_>) -> Option<StoreSettings> {
    let capacity = section.optional("capacity").map(|item| {
        let most = u64::try_from(StoreSettings::MOST_CAPACITY).unwrap_or(u64::MAX);
        item.number(1, most)
            .and_then(|number| usize::try_from(number).ok())
    });
    Some(StoreSettings::Memory {
        capacity: capacity.unwrap_or(Some(StoreSettings::CAPACITY))?,
    })
}

fn redis(section: &Section<'_>) -> Option<RedisSettings> {
    let address = section.required("url").and_then(|item| address(&item));
    let password_item = section.optional("password");
    let user = section.optional("user").map(|item| {
        let user = item.text();
        if password_item.is_none() {
            return item.wrong("`user` has no `password`", "add `password`");
        }
        user
    });
    let password = password_item.map(|item| item.secret());
    let ca_item = section.optional("ca");
    if let (Some(item), Some(Address { tls: false, .. })) = (&ca_item, &address) {
        let _: Option<()> = item.wrong(
            "`ca` is for TLS, and `url` is without",
            "write `url: rediss://...`",
        );
    }
    let ca = ca_item.map(|item| item.path());
    let prefix = section.optional("prefix").map(|item| prefix(&item));
    let address = address?;
    Some(RedisSettings {
        host: address.host,
        port: address.port,
        database: address.database,
        tls: address.tls,
        ca: ca.map_or(Some(None), |ca| ca.map(Some))?,
        user: user.map_or(Some(None), |user| user.map(Some))?,
        password: password.map_or(Some(None), |password| password.map(Some))?,
        prefix: prefix.unwrap_or_else(|| Some("hallpass:".to_owned()))?,
    })
}

struct Address {
    host: String,
    port: u16,
    database: u32,
    tls: bool,
}

fn address(item: &Item<'_>) -> Option<Address> {
    let text = item.text()?;
    let expected =
        "write `rediss://host:6379/0`, or `redis://127.0.0.1:6379/0` for a server on this machine";
    let Ok(url) = Url::parse(&text) else {
        return item.wrong_unseen("is not a URL", expected);
    };
    if !url.username().is_empty() || url.password().is_some() || text.contains('@') {
        return item.wrong_unseen(
            "must not hold a user or a password",
            "write them as `user: ...` and `password: { file: /run/secrets/... }`, and change the password: it was in a file",
        );
    }
    let tls = match url.scheme() {
        "rediss" => true,
        "redis" => false,
        _ => return item.wrong("`url` is neither redis:// nor rediss://", expected),
    };
    if url.query().is_some() || url.fragment().is_some() {
        return item.wrong("`url` has a query or a fragment", expected);
    }
    let host = match url.host() {
        Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        Some(Host::Domain(_)) | None => return item.wrong("`url` names no host", expected),
    };
    if !tls && !is_this_machine(&host) {
        return item.wrong(
            &format!(
                "`url` is `{}`, without TLS, and `{}` is not a loopback address",
                escape(&text),
                escape(&host)
            ),
            "write `rediss://...`: without TLS, anyone on the network path can read the store's password and make a used token look unused",
        );
    }
    // Which database is meant must be one number, written as usual.
    let database = match url.path().trim_start_matches('/') {
        "" => Some(0),
        number => number
            .parse::<u32>()
            .ok()
            .filter(|parsed| *parsed <= MOST_DATABASE && parsed.to_string() == number),
    };
    let Some(database) = database else {
        return item.wrong(
            "the path of `url` is not the number of a database",
            expected,
        );
    };
    Some(Address {
        host,
        port: url.port().unwrap_or(6_379),
        database,
        tls,
    })
}

/// TLS can be left out for the machine itself, and nowhere else.
fn is_this_machine(host: &str) -> bool {
    let address = host.parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

fn prefix(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    let fits = (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'.' | b'_' | b'-'));
    if fits {
        return Some(text);
    }
    item.wrong(
        "`prefix` must be 1 to 64 letters, digits, `:`, `.`, `_` or `-`",
        "e.g. `hallpass:`; what is alike on all replicas",
    )
}

const MOST_DATABASE: u32 = 9_999;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Settings;
    use crate::replay::StoreSettings;
    use crate::replay::redis::RedisSettings;

    const REST: &str = "
issuer: https://hallpass.acme.dev
root_key: { file: root }
policies: { path: policies }
audit: { sinks: [ { kind: file, path: a.jsonl, required: true } ] }
";

    fn parse(line: &str) -> Result<StoreSettings, String> {
        let text = format!("{REST}replay: {line}\n");
        let environment = |name: &str| (name == "REDIS").then(|| "canary-2c8e".to_owned());
        Settings::parse(
            "hallpass.yaml",
            text,
            Path::new("/etc/hallpass"),
            &environment,
        )
        .map(|settings| settings.replay)
        .map_err(|problems| problems.to_string())
    }

    fn redis(line: &str) -> RedisSettings {
        match parse(line).unwrap() {
            StoreSettings::Redis(redis) => *redis,
            StoreSettings::Memory { .. } => panic!("memory"),
        }
    }

    /// The first line of what is said about it.
    fn problem(line: &str) -> String {
        let problems = parse(line).unwrap_err();
        let first = problems.lines().next().unwrap_or_default();
        let (_, message) = first.split_once("]: ").unwrap_or(("", first));
        message.to_owned()
    }

    #[test]
    fn a_shared_store_is_read_with_its_login() {
        let all = redis(
            "{ store: redis, url: \"rediss://redis.acme.dev:6380/3\", user: hallpass, password: { file: pw }, ca: ca.pem, prefix: \"hp:\" }",
        );
        assert_eq!(
            (all.host.as_str(), all.port, all.database),
            ("redis.acme.dev", 6_380, 3)
        );
        assert!(all.tls && all.password.is_some());
        assert_eq!(all.user.as_deref(), Some("hallpass"));
        assert_eq!(all.ca.as_deref(), Some(Path::new("/etc/hallpass/ca.pem")));
        assert_eq!(all.prefix, "hp:");
        let least = redis("{ store: redis, url: \"redis://[::1]\" }");
        assert_eq!(
            (least.host.as_str(), least.port, least.database),
            ("::1", 6_379, 0)
        );
        assert_eq!((least.tls, least.prefix.as_str()), (false, "hallpass:"));
        let secret = redis("{ store: redis, url: \"rediss://r\", password: \"${env:REDIS}\" }");
        assert!(!format!("{secret:?}").contains("canary"));
    }

    /// T-70
    #[test]
    fn the_capacity_of_a_store_in_memory_has_a_ceiling() {
        let capacity = |line: &str| match parse(line).unwrap() {
            StoreSettings::Memory { capacity } => capacity,
            StoreSettings::Redis(_) => panic!("redis"),
        };
        assert_eq!(capacity("{ store: memory }"), 1 << 20);
        assert_eq!(capacity("{ store: memory, capacity: 5000 }"), 5_000);
        insta::assert_snapshot!(problem("{ store: memory, capacity: 4194305 }"), @"`capacity` must be a number from 1 to 4194304, found `4194305`");
        insta::assert_snapshot!(problem("{ store: memory, capacity: 0 }"), @"`capacity` must be a number from 1 to 4194304, found `0`");
    }

    /// T-92
    #[test]
    fn a_password_in_the_address_is_refused_and_not_repeated() {
        for url in [
            "redis://:canary-5d1f@r:6379",
            "redis://user:canary-5d1f@r:6379/0",
            "rediss://canary-5d1f@r",
            "redis://u:canary-5d1f@:99999/x",
            "//u:canary-5d1f@r",
        ] {
            let text = parse(&format!("{{ store: redis, url: \"{url}\" }}")).unwrap_err();
            assert!(!text.contains("canary"), "{text}");
        }
        insta::assert_snapshot!(problem("{ store: redis, url: \"redis://:canary@r\" }"), @"line 6, column 30: `url` must not hold a user or a password");
        let text =
            parse("{ store: redis, url: \"rediss://r\", password: canary-5d1f }").unwrap_err();
        assert!(!text.contains("canary"), "{text}");
    }

    /// T-69
    #[test]
    fn a_store_on_another_machine_is_reached_by_tls_only() {
        for host in [
            "redis.acme.dev",
            "10.0.0.7",
            "0.0.0.0",
            "[2001:db8::1]",
            "[::]",
            "localhost.acme.dev",
            "127.0.0.1.nip.io",
        ] {
            let clear = format!("{{ store: redis, url: \"redis://{host}:6379/0\" }}");
            assert!(problem(&clear).contains("without TLS"), "{host}");
            assert!(redis(&clear.replace("redis://", "rediss://")).tls, "{host}");
        }
        for host in [
            "localhost",
            "LOCALHOST",
            "127.0.0.1",
            "127.8.8.8",
            "[::1]",
            "[::ffff:127.0.0.1]",
        ] {
            let clear = format!("{{ store: redis, url: \"redis://{host}:6379/0\" }}");
            assert!(!redis(&clear).tls, "{host}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_store_is_named() {
        insta::assert_snapshot!(problem("{ store: redis }"), @"key `url` is missing from `replay`");
        insta::assert_snapshot!(problem("{ store: etcd }"), @"unknown store `etcd`");
        let text = parse("{ store: etcd, url: \"redis://r\" }").unwrap_err();
        assert!(!text.contains("unknown key"), "{text}");
        let text = parse("{ store: redis, url: \"http://r\" }").unwrap_err();
        assert!(
            text.contains("or `redis://127.0.0.1:6379/0` for a server on this machine"),
            "{text}"
        );
        insta::assert_snapshot!(problem("{ store: memory, url: \"redis://r\" }"), @"unknown key `url` in `replay`");
        insta::assert_snapshot!(problem("{ store: redis, url: \"http://r\" }"), @"`url` is neither redis:// nor rediss://");
        insta::assert_snapshot!(problem("{ store: redis, url: \"rediss://r?db=1\" }"), @"`url` has a query or a fragment");
        insta::assert_snapshot!(problem("{ store: redis, url: \"rediss://r/one\" }"), @"the path of `url` is not the number of a database");
        insta::assert_snapshot!(problem("{ store: redis, url: \"redis://localhost\", ca: x }"), @"`ca` is for TLS, and `url` is without");
        insta::assert_snapshot!(problem("{ store: redis, url: \"rediss://r\", user: x }"), @"`user` has no `password`");
        insta::assert_snapshot!(problem("{ store: redis, url: \"rediss://r\", prefix: \"a b\" }"), @"`prefix` must be 1 to 64 letters, digits, `:`, `.`, `_` or `-`");
        insta::assert_snapshot!(problem("{ store: redis, url: \"rediss://r\", capacity: 5 }"), @"unknown key `capacity` in `replay`");
    }
}
