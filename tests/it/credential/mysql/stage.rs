//! A server with an application in it, the installed procedures, and brokers' halves of them.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use hallpass::clock::{Clock, SystemClock};
use hallpass::credential::database::mysql::{Ceiling, Flavor, Mysql, MysqlSettings, Tls, install};
use hallpass::credential::database::{Database, Found, Holder, Issued, Logins, Order, Parts};
use hallpass::credential::target::{Finding, Severity, TargetSettings as _, Targets, With};
use hallpass::credential::{Members, MintError, Revoked};
use hallpass::lease::{self, LeaseContents};
use hallpass::replay::IdempotencyKey;
use hallpass::rootkey::{RootKey, RootKeys};
use hallpass::secret::{Secret, SecretSource};
use hallpass::token::TokenId;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder};
use serde_json::Value;

use crate::support::leaks;
use crate::support::mariadb::{MariaDb, flavor};

pub(super) struct Stage {
    pub(super) server: MariaDb,
    pub(super) targets: Arc<Targets>,
    pub(super) settings: MysqlSettings,
    pub(super) ceilings: Vec<Ceiling>,
    _leaks: leaks::Guard,
}

/// A login as a job gets it, and its handle.
pub(super) struct Login {
    pub(super) username: String,
    pub(super) password: Secret<String>,
    pub(super) url: String,
    pub(super) handle: String,
    pub(super) found: Found,
}

pub(super) const PASSWORD: &str = "wqxzjvkpyq-zkvqxwpjyz";
/// For calls that name whose place a login takes.
pub(super) const NO_HOLDER: &str = "00000000000000000000000000000000";

impl Stage {
    pub(super) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(super) async fn start_with(arguments: &[&str]) -> Self {
        Self::on(MariaDb::start(arguments).await).await
    }

    pub(super) async fn on(server: MariaDb) -> Self {
        let guard = leaks::watch();
        leaks::secret("a password", PASSWORD);
        let settings = target(server.port());
        let stage = Self {
            targets: targets(&settings),
            settings,
            ceilings: ceilings(),
            server,
            _leaks: guard,
        };
        stage.server.run(&APPLICATION).await;
        stage.install().await;
        stage
    }

    /// Runs the install file, and sets the password.
    pub(super) async fn install(&self) {
        let statements = install::statements(&self.settings, &self.ceilings, flavor()).unwrap();
        let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
        self.server.run(&statements).await;
        let password = self.settings.passwords().unwrap();
        self.server
            .run(&[password.expose().trim_end().trim_end_matches(';')])
            .await;
    }

    /// Another replica, with the same keys.
    pub(super) fn replica(&self) -> Arc<Targets> {
        targets(&self.settings)
    }

    /// A broker that reaches the server by another port.
    pub(super) fn through(&self, port: u16) -> Arc<Targets> {
        targets(&MysqlSettings {
            port,
            ..self.settings.clone()
        })
    }

    pub(super) fn database(&self) -> Arc<dyn Database> {
        Arc::clone(logins(&self.targets).database())
    }

    pub(super) async fn mint(&self, group: &str, life: u32) -> Login {
        let order = order(group, life, &fresh_random());
        self.try_mint(order).await.unwrap()
    }

    pub(super) async fn try_mint(&self, order: Order) -> Result<Login, MintError> {
        made(logins(&self.targets).make(order).await)
    }

    pub(super) async fn revoke(&self, login: &Login) -> Revoked {
        self.targets.revoke(&contents(login)).await.unwrap()
    }

    pub(super) async fn log_in(&self, login: &Login) -> Result<Conn, mysql_async::Error> {
        connect(
            self.server.port(),
            &login.username,
            login.password.expose(),
            Some("app"),
        )
        .await
    }

    /// The broker's own login, as somebody who stole its password has it.
    pub(super) async fn thief(&self) -> Conn {
        connect(self.server.port(), "hallpass", PASSWORD, None)
            .await
            .unwrap()
    }

    /// How many accounts of leases there are.
    pub(super) async fn accounts(&self) -> String {
        self.server
            .read("SELECT CAST(COUNT(*) AS CHAR) FROM mysql.user WHERE User REGEXP '^hp_'")
            .await
    }

    /// Ends every lease by the server's clock, without waiting.
    pub(super) async fn removed(&self) -> Vec<String> {
        self.targets.sweep("app").await.unwrap().removed
    }

    pub(super) async fn errors(&self) -> Vec<Finding> {
        let mut findings = self.findings().await;
        findings.retain(|finding| finding.severity == Severity::Error);
        findings
    }

    /// What `target check` says.
    pub(super) async fn findings(&self) -> Vec<Finding> {
        Mysql::new(self.settings.clone())
            .unwrap()
            .check(&self.ceilings)
            .await
    }
}

/// What the policies allow on the target.
pub(super) fn ceilings() -> Vec<Ceiling> {
    let ceiling = |group: &str, is_checkout| Ceiling {
        group: group.to_owned(),
        is_checkout,
        longest_life: 3_600,
        connections: 5,
    };
    vec![
        ceiling("app_ro", false),
        ceiling("app_rw", false),
        ceiling("app_migrator", true),
    ]
}

pub(super) fn contents(login: &Login) -> LeaseContents {
    lease::open(&login.handle, &KEYS).unwrap()
}

pub(super) fn made(issued: Result<Issued, MintError>) -> Result<Login, MintError> {
    let issued = issued?;
    let text = |members: &Members, name: &str| {
        members.get(name).and_then(Value::as_str).map(str::to_owned)
    };
    let password = issued.members.secret().expose();
    leaks::secret("a password", password);
    leaks::prefixed("a lease handle", issued.handle.expose());
    Ok(Login {
        username: text(&issued.members, "username").unwrap(),
        password: Secret::new(password.clone()),
        url: text(&issued.members, "host").unwrap(),
        handle: issued.handle.expose().clone(),
        found: issued.found,
    })
}

/// A session over TCP, as jobs have.
pub(super) async fn connect(
    port: u16,
    user: &str,
    password: &str,
    database: Option<&str>,
) -> Result<Conn, mysql_async::Error> {
    let options = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(port)
        .prefer_socket(false)
        .user(Some(user))
        .pass(Some(password))
        .db_name(database);
    Conn::new(options).await
}

/// What the server said to a statement that must fail.
pub(super) async fn refused(session: &mut Conn, sql: &str) -> String {
    match session.query_drop(sql).await {
        Ok(()) => panic!("this worked: {sql}"),
        Err(mysql_async::Error::Server(error)) if error.code == 1_644 => error.state,
        Err(mysql_async::Error::Server(error)) => error.code.to_string(),
        Err(error) => error.to_string(),
    }
}

/// Waits until a session that was killed is gone: the server ends it in its own time.
pub(super) async fn has_ended(mut session: Conn) {
    for _ in 0..1_000 {
        if session.query_drop("SELECT 1").await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the session goes on");
}

/// How a session sets another password for its own account.
pub(super) fn set_password(password: &str) -> String {
    match flavor() {
        Flavor::MariaDb => format!("SET PASSWORD = PASSWORD('{password}')"),
        Flavor::MySql => format!("SET PASSWORD = '{password}'"),
    }
}

/// The keys of every broker here.
pub(super) static KEYS: LazyLock<RootKeys> = LazyLock::new(|| {
    RootKeys::new(
        "https://hallpass.test",
        1,
        vec![RootKey::generate().unwrap()],
    )
    .unwrap()
});

/// What a job's token `token` asks for without an idempotency key.
pub(super) fn order(group: &str, life: u32, token: &str) -> Order {
    Order::new(&KEYS, parts(group, life, &token_id(token), None)).unwrap()
}

/// What a job of a repository asks for.
pub(super) fn order_for(repository: &str, token: &str) -> Order {
    let token = token_id(token);
    let mut parts = parts("app_ro", 600, &token, None);
    parts.holder.repository = Some(repository.to_owned());
    Order::new(&KEYS, parts).unwrap()
}

/// What a broker orders whose clock is that many seconds ahead.
pub(super) fn order_ahead(group: &str, ahead: i64) -> Order {
    let token = token_id(&fresh_random());
    let mut parts = parts(group, 600, &token, None);
    parts.minted_at = parts.minted_at.plus(ahead);
    parts.expires_at = parts.expires_at.plus(ahead);
    Order::new(&KEYS, parts).unwrap()
}

/// The same with a key, for the first time or again.
pub(super) fn keyed(group: &str, token: &str, key: &str, is_repeat: bool) -> Order {
    let key = IdempotencyKey::parse(&format!("{key:-<32}")).unwrap();
    let token = token_id(token);
    let mut parts = parts(group, 600, &token, Some(&key));
    parts.may_create = !is_repeat;
    Order::new(&KEYS, parts).unwrap()
}

fn token_id(token: &str) -> TokenId {
    TokenId {
        issuer: "https://ci.test".to_owned(),
        id: token.to_owned(),
        digest: String::new(),
    }
}

fn parts<'a>(
    group: &'a str,
    life: u32,
    token: &'a TokenId,
    key: Option<&'a IdempotencyKey>,
) -> Parts<'a> {
    let now = SystemClock::new().now();
    Parts {
        target: "app",
        credential: "app/login",
        database: None,
        group,
        act_as_group: group == "app_migrator",
        life,
        token,
        key,
        may_create: true,
        minted_at: now,
        expires_at: now.plus(i64::from(life)),
        used_until: now.plus(3_600),
        run: Some("42"),
        holder: Holder {
            policy: "test".to_owned(),
            issuer: "https://ci.test".to_owned(),
            subject: "job".to_owned(),
            repository: None,
        },
    }
}

pub(super) fn fresh_random() -> String {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    lease::rand13(&bytes)
}

pub(super) fn target(port: u16) -> MysqlSettings {
    let password = SecretSource::Value(Secret::new(PASSWORD.to_owned()));
    MysqlSettings {
        port,
        tls: Tls::Disable,
        sweep: Duration::from_secs(1),
        brokers: 8,
        ..MysqlSettings::new(
            "127.0.0.1".to_owned(),
            vec!["app".to_owned()],
            ("hallpass".to_owned(), password),
        )
    }
}

pub(super) fn targets(settings: &MysqlSettings) -> Arc<Targets> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let with = With {
        root_keys: &KEYS,
        signing: None,
        clock: &clock,
        before: None,
    };
    let target = settings.connect("app", &with).unwrap();
    Arc::new(Targets::new(BTreeMap::from([("app".to_owned(), target)])))
}

/// The target of a stage's broker, for orders that no token stands behind.
pub(super) fn logins(broker: &Targets) -> &Logins {
    let target = broker.get("app").unwrap();
    target.of().unwrap()
}

pub(super) const APPLICATION: [&str; 9] = [
    "CREATE DATABASE app",
    "CREATE TABLE app.items (id INT PRIMARY KEY)",
    "INSERT INTO app.items VALUES (1), (2)",
    "CREATE ROLE app_ro",
    "CREATE ROLE app_rw",
    "GRANT SELECT ON app.* TO app_ro",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON app.* TO app_rw",
    "CREATE USER app_migrator@'%' ACCOUNT LOCK",
    "GRANT ALL ON app.* TO app_migrator@'%'",
];
