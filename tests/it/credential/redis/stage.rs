//! Servers with data in them, and brokers' halves of a target.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hallpass::clock::{Clock, SystemClock};
use hallpass::credential::database::redis::{Group, Redis as Engine, RedisServers};
use hallpass::credential::database::{Database, Found, Issued, Logins, Order};
use hallpass::credential::target::{
    Finding, Installation, Severity, TargetSettings as _, Targets, With,
};
use hallpass::credential::{MintError, Revoked};
use hallpass::lease::{self, LeaseContents};
use hallpass::policy::PolicySet;
use hallpass::secret::{Secret, SecretSource};
use redis::{Connection, Value};
use serde_json::Value as Json;

use super::super::stage::KEYS;
pub(super) use super::super::stage::{fresh_random, keyed, order, order_for};
use crate::support::leaks;
use crate::support::redis::Redis;

/// The password of `default`, whom the tests are.
pub(super) const ROOT: &str = "vzqxjwkpqy-yqpkwjxqzv-zxvqjkwpyq";
/// The broker's.
pub(super) const PASSWORD: &str = "qzjxwvkqpz-pzqkvwxjzq-kjqvxzpwkq";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavour {
    Redis,
    Valkey,
}

impl Flavour {
    fn program(self) -> PathBuf {
        match self {
            Self::Redis => "redis-server".into(),
            Self::Valkey => {
                let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
                let program = folder.join("target/valkey/usr/bin/valkey-server");
                assert!(program.exists(), "run deploy/dev/valkey.sh");
                program
            }
        }
    }
}

pub(super) struct Stage {
    pub(super) nodes: Vec<Redis>,
    pub(super) settings: RedisServers,
    pub(super) targets: Arc<Targets>,
    _leaks: leaks::Guard,
}

/// A login as a job gets it, and its handle.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) username: String,
    pub(super) password: Secret<String>,
    pub(super) port: u16,
    pub(super) handle: String,
    pub(super) found: Found,
}

impl Stage {
    pub(super) fn start(flavour: Flavour) -> Self {
        Self::with(flavour, 1, 1, &[])
    }

    /// The first of `count` servers are masters, and the others replicas of the first.
    pub(super) fn with(flavour: Flavour, count: usize, masters: usize, arguments: &[&str]) -> Self {
        let guard = leaks::watch();
        leaks::secret("a password", ROOT);
        leaks::secret("a password", PASSWORD);
        let nodes = (0..count).map(|_| Redis::of(flavour.program(), arguments, ROOT));
        let nodes: Vec<Redis> = nodes.collect();
        let ports = nodes.iter().map(Redis::port);
        let settings = settings(ports.collect(), masters);
        for node in &nodes {
            install(node, &settings);
            // Keys of a cluster that has no slots yet are not needed.
            let _ = node.try_say(&["MSET", "app:k", "1", "other:k", "2"]);
        }
        for replica in &nodes[masters..] {
            replica.say(&["REPLICAOF", "127.0.0.1", &nodes[0].port().to_string()]);
        }
        let stage = Self {
            targets: targets(&settings),
            nodes,
            settings,
            _leaks: guard,
        };
        for replica in &stage.nodes[masters..] {
            for _ in 0..400 {
                if replica
                    .say(&["INFO", "replication"])
                    .contains("master_link_status:up")
                {
                    break;
                }
                std::thread::sleep(Duration::from_millis(25));
            }
        }
        stage
    }

    /// Another replica of the broker, with the same keys and nothing remembered.
    pub(super) fn replica(&self) -> Arc<Targets> {
        targets(&self.settings)
    }

    pub(super) fn server(&self) -> &Redis {
        &self.nodes[0]
    }

    /// The server that decides: the first master in the order of the settings.
    pub(super) fn node_at(&self, port: u16) -> &Redis {
        self.nodes.iter().find(|node| node.port() == port).unwrap()
    }

    pub(super) async fn mint(&self, group: &str, life: u32) -> Login {
        self.try_mint(order(group, life, &fresh_random()))
            .await
            .unwrap()
    }

    pub(super) async fn try_mint(&self, order: Order) -> Result<Login, MintError> {
        made(logins(&self.targets).make(order).await)
    }

    pub(super) async fn revoke(&self, login: &Login) -> Revoked {
        self.targets.revoke(&contents(login)).await.unwrap()
    }

    /// Names of our leases, on any server that is there.
    pub(super) fn leases(&self) -> Vec<String> {
        self.named("hp_")
            .into_iter()
            .filter(|name| !name.contains("used_"))
            .collect()
    }

    pub(super) fn claims(&self) -> Vec<String> {
        self.named("hp_used_")
    }

    fn named(&self, prefix: &str) -> Vec<String> {
        let mut names = Vec::new();
        for node in &self.nodes {
            let Ok(users) = node.try_say(&["ACL", "USERS"]) else {
                continue;
            };
            names.extend(
                users
                    .lines()
                    .filter(|name| name.starts_with(prefix))
                    .map(str::to_owned),
            );
        }
        names.sort();
        names.dedup();
        names
    }

    pub(super) async fn findings(&self) -> Vec<Finding> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        Engine::new(self.settings.clone(), clock)
            .unwrap()
            .check(Some(("app", &KEYS)))
            .await
    }

    pub(super) async fn errors(&self) -> Vec<String> {
        let mut findings = self.findings().await;
        findings.retain(|finding| finding.severity == Severity::Error);
        findings
            .into_iter()
            .map(|finding| finding.message)
            .collect()
    }

    pub(super) fn database(&self) -> Arc<dyn Database> {
        Arc::clone(logins(&self.targets).database())
    }
}

pub(super) fn contents(login: &Login) -> LeaseContents {
    lease::open(&login.handle, &KEYS).unwrap()
}

pub(super) fn settings(ports: Vec<u16>, masters: usize) -> RedisServers {
    let nodes = ports.into_iter().map(|port| ("127.0.0.1".to_owned(), port));
    let password = SecretSource::Value(Secret::new(PASSWORD.to_owned()));
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let group = |keys: &[&str], channels: &[&str], commands: &[&str]| Group {
        keys: words(keys),
        channels: words(channels),
        commands: words(commands),
    };
    RedisServers {
        masters,
        tls: false,
        sweep: Duration::from_secs(1),
        groups: BTreeMap::from([
            (
                "app_ro".to_owned(),
                group(&["%R~app:*"], &[], &["+@read", "+@connection"]),
            ),
            (
                "app_rw".to_owned(),
                group(&["~app:*"], &["&app:*"], &["+@all"]),
            ),
            (
                "app_scan".to_owned(),
                group(&["%R~app:*"], &[], &["+@read", "+scan"]),
            ),
        ]),
        ..RedisServers::new(nodes.collect(), ("hallpass".to_owned(), password))
    }
}

/// What an administrator runs: the text of `target install` and of `target passwords`.
pub(super) fn install(node: &Redis, settings: &RedisServers) {
    let policies = PolicySet::from_texts(&[("root.yaml", super::clients::POLICIES)])
        .unwrap()
        .set;
    let wanted = Installation {
        name: "app",
        policies: &policies,
        server_version: None,
        uninstall: false,
    };
    let text = settings.installation(&wanted).unwrap().text;
    let password = settings.passwords().unwrap();
    for line in text.lines().chain(password.expose().lines()) {
        node.say(&line.split(' ').collect::<Vec<_>>());
    }
}

pub(super) fn targets(settings: &RedisServers) -> Arc<Targets> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let with = With {
        root_keys: &KEYS,
        clock: &clock,
        before: None,
    };
    let target = settings.connect("app", &with).unwrap();
    Arc::new(Targets::new(BTreeMap::from([("app".to_owned(), target)])))
}

pub(super) fn logins(targets: &Targets) -> &Logins {
    targets.get("app").unwrap().of().unwrap()
}

pub(super) fn made(issued: Result<Issued, MintError>) -> Result<Login, MintError> {
    let issued = issued?;
    let text = |name: &str| {
        issued
            .members
            .get(name)
            .and_then(Json::as_str)
            .unwrap()
            .to_owned()
    };
    let port = issued.members.get("port").and_then(Json::as_u64).unwrap();
    let password = issued.members.secret().expose().clone();
    leaks::secret("a password", &password);
    leaks::prefixed("a lease handle", issued.handle.expose());
    Ok(Login {
        username: text("username"),
        port: u16::try_from(port).unwrap(),
        password: Secret::new(password),
        handle: issued.handle.expose().clone(),
        found: issued.found,
    })
}

/// A connection of a job.
pub(super) struct Session(Connection);

impl Session {
    pub(super) fn open(login: &Login, port: u16) -> Result<Self, String> {
        let url = format!(
            "redis://{}:{}@127.0.0.1:{port}",
            login.username,
            login.password.expose()
        );
        let client = redis::Client::open(url).unwrap();
        let connection = client.get_connection_with_timeout(Duration::from_secs(5));
        let connection = connection.map_err(|error| error.to_string())?;
        connection
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        Ok(Self(connection))
    }

    /// What the server answers, as text; its words for an error.
    pub(super) fn say(&mut self, words: &[&str]) -> Result<String, String> {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let value: Value = command.query(&mut self.0).map_err(|error| {
            let code = error.code().unwrap_or_default();
            format!("{code} {error}")
        })?;
        Ok(text(&value))
    }

    /// One answer that comes by itself.
    pub(super) fn wait(&mut self) -> Result<String, String> {
        let value = self.0.recv_response().map_err(|error| error.to_string())?;
        Ok(text(&value))
    }

    pub(super) fn send(&mut self, words: &[&str]) {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        self.0
            .send_packed_command(&command.get_packed_command())
            .unwrap();
    }
}

fn text(value: &Value) -> String {
    if let Value::Nil = value {
        "nil".to_owned()
    } else if let Value::Int(number) = value {
        number.to_string()
    } else if let Value::BulkString(bytes) = value {
        String::from_utf8_lossy(bytes).into_owned()
    } else if let Value::SimpleString(text) = value {
        text.clone()
    } else if let Value::Okay = value {
        "OK".to_owned()
    } else if let Value::Array(items) = value {
        let items: Vec<String> = items.iter().map(text).collect();
        items.join(" ")
    } else {
        format!("{value:?}")
    }
}
