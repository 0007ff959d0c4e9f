//! A server with an application in it, the installed functions, and brokers' halves of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use hallpass::clock::{Clock, SystemClock};
use hallpass::credential::database::postgres::{
    Cleaner, GroupCeiling, Postgres, PostgresSettings, Tls, install,
};
use hallpass::credential::database::{Database, Found, Holder, Issued, Logins, Order, Parts};
use hallpass::credential::target::{Finding, Severity, TargetSettings as _, Targets, With};
use hallpass::credential::{Members, MintError};
use hallpass::dev::postgres::{Options, Server};
use hallpass::lease::{self, LeaseContents};
use hallpass::replay::IdempotencyKey;
use hallpass::rootkey::{RootKey, RootKeys};
use hallpass::secret::{Secret, SecretSource};
use hallpass::token::TokenId;
use serde_json::Value;
use tokio_postgres::{Client, NoTls};

use super::prepared::{Installer, Prepared, superuser};
use crate::support::leaks::{self, Observed as _};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Version {
    V15,
    V18,
}

impl Version {
    pub(super) const fn number(self) -> u32 {
        match self {
            Self::V15 => 15,
            Self::V18 => 18,
        }
    }

    /// The folder of `initdb` and `postgres`.
    pub(super) fn programs(self) -> PathBuf {
        match self {
            Self::V15 => "/usr/lib/postgresql/15/bin".into(),
            Self::V18 => {
                Path::new(env!("CARGO_MANIFEST_DIR")).join("target/embedded-postgres/native/bin")
            }
        }
    }
}

pub(super) struct Stage {
    pub(super) server: Server,
    pub(super) installer: Installer,
    pub(super) databases: Arc<Targets>,
    pub(super) roots: RootKeys,
    pub(super) settings: PostgresSettings,
    pub(super) groups: Vec<GroupCeiling>,
    pub(super) version: Version,
    _prepared: Arc<Prepared>,
    _leaks: leaks::Guard,
}

/// A login as a job gets it, and its handle.
pub(super) struct Login {
    pub(super) given: Given,
    pub(super) handle: String,
    pub(super) found: Found,
}

/// The members of a login.
pub(super) struct Given {
    pub(super) username: String,
    pub(super) password: Secret<String>,
    pub(super) database: String,
    pub(super) options: Option<String>,
}

impl Given {
    fn of(members: &Members) -> Self {
        let text = |name: &str| members.get(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            username: text("username").unwrap(),
            password: Secret::new(members.secret().expose().clone()),
            database: text("database").unwrap(),
            options: text("options"),
        }
    }
}

/// For calls that name whose place a login takes.
pub(super) const NO_HOLDER: &str = "00000000000000000000000000000000";

pub(super) const PASSWORD: &str = "jvqzxkwpqy-xqzvjykwpq";

impl Stage {
    pub(super) async fn start(version: Version) -> Self {
        Self::start_with(version, &[]).await
    }

    pub(super) async fn start_with(version: Version, settings: &[(&str, &str)]) -> Self {
        Self::installed_by(Installer::Superuser, version, settings).await
    }

    pub(super) async fn installed_by(
        installer: Installer,
        version: Version,
        settings: &[(&str, &str)],
    ) -> Self {
        let programs = version.programs();
        assert!(
            programs.join("initdb").exists(),
            "no PostgreSQL in {}: run deploy/dev/install.sh test and deploy/dev/embedded-postgres.sh",
            programs.display()
        );
        let options = Options {
            programs: Some(programs),
            settings: settings
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..Options::default()
        };
        let guard = leaks::watch();
        let prepared = Prepared::now();
        let server = prepared.server(version, installer, &options).await;
        leaks::secret("a password", server.password().expose());
        leaks::secret("a password", PASSWORD);
        let roots = KEYS.clone();
        let settings = target(server.port());
        Self {
            databases: databases(&settings, &roots),
            groups: groups(),
            server,
            installer,
            roots,
            settings,
            version,
            _prepared: prepared,
            _leaks: guard,
        }
    }

    /// Runs the install file, as a DBA does with psql.
    pub(super) async fn install(&self) {
        let files = (&self.settings, &self.groups[..], self.version);
        self.installer.install(&self.server, files).await;
    }

    pub(super) async fn set_passwords(&self) {
        self.installer.set_passwords(&self.server).await;
    }

    /// What the installer does.
    pub(super) async fn install_as(&self, database: &str, sql: &str) {
        self.installer.run(&self.server, database, sql).await;
    }

    fn installer_password(&self) -> String {
        self.installer.password(&self.server)
    }

    /// Runs a printed file as the installer does; what psql said where it stopped.
    pub(super) fn psql(&self, text: &str) -> Result<(), String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let done = std::process::Command::new("/usr/lib/postgresql/15/bin/psql")
            .args(["-X", "-q", "-h", "127.0.0.1", "-U", self.installer.user()])
            .args(["-p", &self.server.port().to_string(), "-f"])
            .arg(file.path())
            .arg("postgres")
            .env("PGPASSWORD", self.installer_password())
            .observed();
        if done.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&done.stderr).into_owned())
    }

    /// Ends the sessions of brokers, as if they had been stopped, and begins with a new one.
    pub(super) async fn close_brokers(&mut self) {
        self.databases = databases(&self.settings, &self.roots);
        let sessions = "FROM pg_stat_activity WHERE usename IN ('hallpass', 'hallpass_clean')";
        let end = format!("SELECT pg_terminate_backend(pid) {sessions}");
        self.superuser("postgres", &end).await;
        let count = format!("SELECT count(*)::text {sessions}");
        crate::support::wait::until("the brokers' sessions are gone", || async {
            self.read("postgres", &count).await == "0"
        })
        .await;
    }

    /// The file that `hallpass target install` prints.
    pub(super) fn install_file(&self) -> String {
        install::file("app", &self.settings, &self.groups, self.version.number()).unwrap()
    }

    /// The file that `hallpass target uninstall` prints.
    pub(super) fn uninstall_file(&self) -> String {
        install::uninstall::file("app", &self.settings, self.version.number()).unwrap()
    }

    /// Another replica, with the same keys.
    pub(super) fn replica(&self) -> Arc<Targets> {
        databases(&self.settings, &self.roots)
    }

    /// A broker that reaches the server by another port.
    pub(super) fn through(&self, port: u16) -> Arc<Targets> {
        let settings = PostgresSettings {
            port,
            ..self.settings.clone()
        };
        databases(&settings, &self.roots)
    }

    pub(super) fn database(&self) -> Arc<dyn Database> {
        Arc::clone(logins(&self.databases).database())
    }

    pub(super) async fn superuser(&self, database: &str, sql: &str) {
        superuser(&self.server, database, sql).await;
    }

    /// One text that a superuser reads.
    pub(super) async fn read(&self, database: &str, sql: &str) -> String {
        let client = self.server.connect(database).await.unwrap();
        let row = client.query_one(sql, &[]).await.unwrap();
        row.get::<_, Option<String>>(0).unwrap_or_default()
    }

    pub(super) async fn leases(&self) -> String {
        self.read(
            "postgres",
            "SELECT count(*)::text FROM pg_roles WHERE rolname ~ '^hp_'",
        )
        .await
    }

    /// The broker's own login, as somebody who stole its password has it.
    pub(super) async fn thief(&self) -> Client {
        connect(&self.server.login("hallpass", "hallpass", PASSWORD))
            .await
            .unwrap()
    }

    pub(super) async fn mint(&self, group: &str, life: u32) -> Login {
        self.try_mint(order(group, life, &fresh_random()))
            .await
            .unwrap()
    }

    /// A login that may leave things of its own. On 15 no such login is made (T-124), so its
    /// group is allowed it afterwards.
    pub(super) async fn writer(&self, life: u32) -> Login {
        if self.version == Version::V18 {
            self.superuser(
                "app",
                "SET ROLE app_owner; REVOKE REFERENCES ON app.items FROM app_rw",
            )
            .await;
            let login = self.mint("app_rw", life).await;
            self.superuser(
                "app",
                "SET ROLE app_owner; GRANT REFERENCES ON app.items TO app_rw",
            )
            .await;
            return login;
        }
        self.superuser("app", WRITES_NO_MORE).await;
        let login = self.mint("app_rw", life).await;
        self.superuser("app", WRITES).await;
        let heir = "GRANT USAGE, CREATE ON SCHEMA shared TO hallpass_quarantine";
        self.superuser("app", heir).await;
        login
    }

    pub(super) async fn try_mint(&self, order: Order) -> Result<Login, MintError> {
        made(logins(&self.databases).make(order).await)
    }

    pub(super) async fn revoke(&self, login: &Login) {
        self.databases.revoke(&self.contents(login)).await.unwrap();
    }

    pub(super) fn contents(&self, login: &Login) -> LeaseContents {
        lease::open(&login.handle, &self.roots).unwrap()
    }

    pub(super) async fn log_in(&self, login: &Login) -> Result<Client, tokio_postgres::Error> {
        self.log_in_to(login, &login.given.database).await
    }

    pub(super) async fn log_in_to(
        &self,
        login: &Login,
        database: &str,
    ) -> Result<Client, tokio_postgres::Error> {
        let given = &login.given;
        let mut config = self
            .server
            .login(database, &given.username, given.password.expose());
        if let Some(options) = &given.options {
            config.options(options);
        }
        connect(&config).await
    }

    pub(super) async fn errors(&self) -> Vec<Finding> {
        let mut findings = self.findings().await;
        findings.retain(|finding| finding.severity == Severity::Error);
        findings
    }

    /// What `target check` says.
    pub(super) async fn findings(&self) -> Vec<Finding> {
        let postgres = Postgres::new(self.settings.clone()).unwrap();
        postgres.check(&self.groups).await
    }
}

/// What the policies allow on the target.
pub(super) fn groups() -> Vec<GroupCeiling> {
    let ceiling = |group: &str, act_as_group| GroupCeiling {
        group: group.to_owned(),
        longest_life: 3_600,
        connections: 5,
        act_as_group,
        without_acting: !act_as_group,
    };
    vec![
        ceiling("app_owner", true),
        ceiling("app_rw", false),
        ceiling("app_ro", false),
    ]
}

pub(super) fn made(issued: Result<Issued, MintError>) -> Result<Login, MintError> {
    let issued = issued?;
    let given = Given::of(&issued.members);
    leaks::secret("a password", given.password.expose());
    leaks::prefixed("a lease handle", issued.handle.expose());
    Ok(Login {
        given,
        handle: issued.handle.expose().clone(),
        found: issued.found,
    })
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

/// The same for a credential that names its database.
pub(super) fn sent_to(database: &str, token: &str, is_repeat: bool) -> Order {
    let key = IdempotencyKey::parse(&format!("{:-<32}", "key")).unwrap();
    let token = token_id(token);
    let mut parts = parts("app_ro", 600, &token, Some(&key));
    parts.database = Some(database);
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
        act_as_group: group.starts_with("app_owner"),
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

pub(super) async fn connect(
    config: &tokio_postgres::Config,
) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// What the server said to a statement that must fail.
pub(super) async fn refused(client: &Client, sql: &str) -> String {
    match client.simple_query(sql).await {
        Ok(_) => panic!("this worked: {sql}"),
        Err(error) => error.as_db_error().map_or_else(
            || error.to_string(),
            |error| format!("{} {}", error.code().code(), error.message()),
        ),
    }
}

pub(super) fn target(port: u16) -> PostgresSettings {
    let password = SecretSource::Value(Secret::new(PASSWORD.to_owned()));
    let cleaner = Cleaner {
        user: "hallpass_clean".to_owned(),
        password: password.clone(),
    };
    PostgresSettings {
        port,
        tls: Tls::Disable,
        sweep: Duration::from_secs(1),
        brokers: 6,
        ..PostgresSettings::new(
            "127.0.0.1".to_owned(),
            vec![
                "app".to_owned(),
                "other \"db\"
"
                .to_owned(),
            ],
            ("hallpass".to_owned(), password),
            cleaner,
        )
    }
}

pub(super) fn databases(settings: &PostgresSettings, roots: &RootKeys) -> Arc<Targets> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let with = With {
        root_keys: roots,
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

pub(super) const WRITES: &str = "
SET ROLE app_owner;
GRANT TRIGGER, REFERENCES ON app.items TO app_rw;
GRANT CREATE ON SCHEMA shared TO app_rw;
RESET ROLE;
";
const WRITES_NO_MORE: &str = "
SET ROLE app_owner;
REVOKE TRIGGER, REFERENCES ON app.items FROM app_rw;
REVOKE CREATE ON SCHEMA shared FROM app_rw;
RESET ROLE;
";
