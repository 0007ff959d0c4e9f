//! The servers of `demo` and `dev`: CI issuers, databases and a broker, in one temporary folder.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::issuer::{Issuer, IssuerError};
use super::own;
use super::postgres::{Options, PostgresError, Server};
use crate::broker::{self, DevKeys, Overrides, Running, StartError};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Settings;
use crate::credential::database::mysql::MysqlSettings;
use crate::credential::database::postgres::{PostgresSettings, install};
use crate::policy::{IssuerOverride, Loaded, PolicySet};
use crate::secret::Secret;

/// Everything that `hallpass demo` and `hallpass dev` run. Dropping it stops all of it and removes
/// the folder; [`stop`](Self::stop) does so in order.
#[derive(Debug)]
pub struct Stage {
    broker: Running,
    /// The CIs, by the issuer of the policies that each stands for.
    issuers: BTreeMap<String, (&'static str, Issuer)>,
    /// The databases, by target.
    databases: BTreeMap<String, Server>,
    /// The broker's name and address, e.g. `http://127.0.0.1:34567`.
    pub url: String,
    http: reqwest::Client,
    folder: TempDir,
}

/// What a stage is made for.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// The policies of this repository, with their application.
    Demo,
    /// A user's own settings and policies. The policies are used where they are; of the settings it takes
    /// targets, algorithms and `disclose`, and no key, password, address or sink.
    Own {
        settings: &'a Path,
        /// In place of those that the settings name.
        policies: Option<&'a Path>,
    },
}

/// What the broker answered. No `Debug`: the body may hold secrets.
pub struct Reply {
    pub status: u16,
    /// The JSON body. It may hold secrets: print it through [`masked`] only.
    pub body: Value,
}

impl Stage {
    /// Starts the servers of the demo.
    ///
    /// # Errors
    /// Whatever could not be started, and what to do.
    pub async fn start() -> Result<Self, StageError> {
        Self::start_for(Source::Demo).await
    }

    /// Starts everything: the broker last, since it needs the others' addresses.
    ///
    /// # Errors
    /// Whatever could not be started, and what to do.
    pub async fn start_for(source: Source<'_>) -> Result<Self, StageError> {
        broker::install_crypto_provider();
        let folder = tempfile::Builder::new()
            .prefix("hallpass-demo-")
            .tempdir()?;
        let wanted = source.settings(folder.path())?;
        let policies = PolicySet::load(&wanted.policies).and_then(Loaded::servable);
        let (policies, _) = policies.map_err(|errors| {
            StageError::Settings(format!(
                "the policies have errors:\n{}",
                errors.render(false)
            ))
        })?;
        let mut issuers = BTreeMap::new();
        for reader in policies.readers() {
            let name = &reader.issuer.name;
            let issuer = Issuer::start(&format!("/{name}")).await?;
            issuers.insert(name.clone(), (reader.provider.name, issuer));
        }
        let mut databases = BTreeMap::new();
        for (name, target) in &wanted.targets {
            if target.of::<PostgresSettings>().is_some() {
                databases.insert(name.clone(), Server::start(&Options::default()).await?);
            }
            if target.of::<MysqlSettings>().is_some() {
                return Err(StageError::Settings(format!(
                    "target `{name}` is of kind `mysql`, and `hallpass dev` starts no such server; leave the target and its credentials out of the settings and policies that it is given"
                )));
            }
        }
        let public = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let operator = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let url = format!("http://{}", public.local_addr()?);
        let addresses = (public.local_addr()?, operator.local_addr()?);
        own::write(folder.path(), &wanted, &url, addresses, &databases)?;
        let settings = Settings::load(&folder.path().join(SETTINGS))
            .map_err(|error| StageError::Settings(error.to_string()))?;
        for (name, postgres) in &databases {
            if let Source::Demo = source {
                make_application(postgres).await?;
            }
            install_target(&settings, &policies, name, postgres).await?;
        }
        let instead = issuers
            .iter()
            .map(|(name, (_, issuer))| (name.clone(), instead(issuer)));
        let overrides = Overrides {
            issuers: instead.collect(),
            dev_keys: DevKeys::Only,
            public: Some(public),
            operator: Some(operator),
            ..Overrides::default()
        };
        let broker = broker::start(&settings, overrides).await?;
        past_this_second().await;
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(ANSWER_TIME)
            .build()
            .map_err(|error| StageError::Settings(error.without_url().to_string()))?;
        Ok(Self {
            broker,
            issuers,
            databases,
            url,
            http,
            folder,
        })
    }

    /// The CI that stands for this issuer of the policies.
    ///
    /// # Errors
    /// The policies have no such issuer.
    pub fn issuer(&self, name: &str) -> Result<&Issuer, StageError> {
        let found = self.issuers.get(name).map(|(_, issuer)| issuer);
        found.ok_or_else(|| StageError::Settings(format!("there is no issuer `{name}`")))
    }

    /// Every CI: its issuer in the policies, its provider, and itself.
    pub fn issuers(&self) -> impl Iterator<Item = (&str, &'static str, &Issuer)> {
        let issuers = self.issuers.iter();
        issuers.map(|(name, (provider, issuer))| (name.as_str(), *provider, issuer))
    }

    /// The database of this target.
    ///
    /// # Errors
    /// There is no such target.
    pub fn database(&self, target: &str) -> Result<&Server, StageError> {
        let found = self.databases.get(target);
        found.ok_or_else(|| StageError::Settings(format!("there is no target `{target}`")))
    }

    /// Every database, by target.
    pub fn databases(&self) -> impl Iterator<Item = (&str, &Server)> {
        let databases = self.databases.iter();
        databases.map(|(name, server)| (name.as_str(), server))
    }

    /// Ends the broker with a last checkpoint, then the rest.
    pub async fn stop(self) {
        let Self {
            broker,
            issuers,
            databases,
            folder,
            ..
        } = self;
        broker.shutdown().await;
        drop(issuers);
        for mut database in databases.into_values() {
            database.stop();
        }
        drop(folder);
    }

    /// How many problems the last reload had.
    #[must_use]
    pub fn reload_problems(&self) -> usize {
        self.broker.reload_problems()
    }

    /// Where metrics and readiness are.
    #[must_use]
    pub const fn operator(&self) -> SocketAddr {
        self.broker.operator_addr
    }

    /// The folder of settings, policies, root key and audit file.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    #[must_use]
    pub fn audit_file(&self) -> PathBuf {
        self.folder().join(AUDIT)
    }

    /// The broker itself, to look at.
    #[must_use]
    pub const fn broker(&self) -> &Running {
        &self.broker
    }

    /// Sends a form to the broker.
    ///
    /// # Errors
    /// It did not answer with JSON.
    pub async fn post(
        &self,
        path: &str,
        form: &[(&str, &str)],
        key: Option<&str>,
    ) -> Result<Reply, StageError> {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(form);
        let mut request = self
            .http
            .post(format!("{}{path}", self.url))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.finish());
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        reply(request).await
    }

    /// Asks the broker for a document.
    ///
    /// # Errors
    /// It did not answer with JSON.
    pub async fn get(&self, path: &str) -> Result<Reply, StageError> {
        reply(self.http.get(format!("{}{path}", self.url))).await
    }
}

/// With the in-memory replay store, the broker accepts tokens for critical credentials only from the second after its start (T-72).
async fn past_this_second() {
    let clock = SystemClock::new();
    let started = clock.now();
    while clock.now() <= started {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn reply(request: reqwest::RequestBuilder) -> Result<Reply, StageError> {
    let failed = |error: reqwest::Error| StageError::Answer(error.without_url().to_string());
    let response = request.send().await.map_err(failed)?;
    let status = response.status().as_u16();
    let text = response.text().await.map_err(failed)?;
    let body = serde_json::from_str(&text)
        .map_err(|_| StageError::Answer(format!("status {status} without JSON")))?;
    Ok(Reply { status, body })
}

/// Why the servers do not run.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A file or a port.
    #[error("the temporary folder or a port could not be used: {0}")]
    Folder(#[from] std::io::Error),
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// What was run in it.
    #[error("the database refused the set-up: {}", in_words(.0))]
    Sql(#[from] tokio_postgres::Error),
    #[error(transparent)]
    Broker(#[from] StartError),
    /// The settings that were written for it.
    #[error("{0}")]
    Settings(String),
    /// An answer that is none.
    #[error("the broker did not answer as it should: {0}")]
    Answer(String),
}

/// What the server said, or how the connection failed.
fn in_words(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) => format!("{} (SQLSTATE {})", said.message(), said.code().code()),
        None => error.to_string(),
    }
}

impl Source<'_> {
    /// The settings that it starts from, with policies where they are read.
    fn settings(self, folder: &Path) -> Result<Settings, StageError> {
        let failed = |error: &dyn std::fmt::Display| StageError::Settings(error.to_string());
        match self {
            Self::Demo => {
                let policies = folder.join("policies");
                fs::create_dir(&policies)?;
                // A folder that others may write to is refused, whatever the umask here.
                fs::set_permissions(&policies, fs::Permissions::from_mode(0o755))?;
                for (name, text) in POLICIES {
                    let path = policies.join(name);
                    let parent = path.parent().unwrap_or(&policies);
                    fs::create_dir_all(parent)?;
                    fs::set_permissions(parent, fs::Permissions::from_mode(0o755))?;
                    fs::write(&path, text)?;
                    fs::set_permissions(path, fs::Permissions::from_mode(0o644))?;
                }
                let text = DEMO_SETTINGS.to_owned();
                Settings::parse("the demo", text, folder, &|_| None).map_err(|error| failed(&error))
            }
            Self::Own { settings, policies } => {
                let mut settings = Settings::load(settings)
                    .map_err(|error| StageError::Settings(error.with_option("--settings")))?;
                if let Some(policies) = policies {
                    policies.clone_into(&mut settings.policies);
                }
                settings.policies = std::path::absolute(&settings.policies)?;
                Ok(settings)
            }
        }
    }
}

/// The schema of the demo's application, in a database of its own.
async fn make_application(postgres: &Server) -> Result<(), StageError> {
    let server = postgres.connect("postgres").await?;
    server.batch_execute("CREATE DATABASE shop").await?;
    let shop = postgres.connect("shop").await?;
    shop.batch_execute(APPLICATION).await?;
    Ok(())
}

/// What a DBA would run from `hallpass target install`, after the databases and groups that are missing.
async fn install_target(
    settings: &Settings,
    policies: &PolicySet,
    name: &str,
    postgres: &Server,
) -> Result<(), StageError> {
    let target = settings.targets.get(name);
    let target = target.and_then(|target| target.of::<PostgresSettings>());
    let target = target.ok_or_else(|| StageError::Settings(format!("no target `{name}`")))?;
    let groups = target.ceilings(name, policies);
    let groups = groups.map_err(StageError::Settings)?;
    let server = postgres.connect("postgres").await?;
    let control = std::iter::once(&target.control_database);
    for database in target.databases.iter().chain(control) {
        let sql = "SELECT 1 FROM pg_database WHERE datname = $1";
        if server.query_opt(sql, &[database]).await?.is_none() {
            let sql = format!("CREATE DATABASE {}", install::identifier(database));
            server.batch_execute(&sql).await?;
        }
    }
    for group in &groups {
        let sql = "SELECT 1 FROM pg_roles WHERE rolname = $1";
        if server.query_opt(sql, &[&group.group]).await?.is_none() {
            let sql = format!("CREATE ROLE {} NOLOGIN", install::identifier(&group.group));
            server.batch_execute(&sql).await?;
        }
    }
    // No lease may enter a database that is not listed (T-101).
    for database in target
        .databases
        .iter()
        .map(String::as_str)
        .chain(["postgres", "template1"])
    {
        let name = install::identifier(database);
        let sql = format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC");
        server.batch_execute(&sql).await?;
    }
    let row = server.query_one(
        "SELECT current_setting('server_version_num')::int4 / 10000",
        &[],
    );
    let version = u32::try_from(row.await?.get::<_, i32>(0)).unwrap_or(0);
    for section in install::sections(target, &groups, version).map_err(StageError::Settings)? {
        let client = postgres.connect(&section.database).await?;
        client.batch_execute(&section.sql).await?;
    }
    let password = postgres.password().expose();
    // The alphabet of the generated password has no quote in it.
    for login in [&target.user, &target.cleaner.user] {
        let login = install::identifier(login);
        let sql = format!("ALTER ROLE {login} PASSWORD '{password}'");
        server.batch_execute(&sql).await?;
    }
    Ok(())
}

fn instead(issuer: &Issuer) -> IssuerOverride {
    IssuerOverride {
        url: issuer.url().to_owned(),
        ca: Some(issuer.ca_pem().to_owned()),
        networks: issuer.trusted("dev").networks,
    }
}

/// A secret, so that a reader sees that it is there.
#[must_use]
pub fn masked(secret: &str) -> String {
    let start: String = secret.chars().take(SHOWN).collect();
    format!("{start}… ({} characters)", secret.chars().count())
}

/// A new `Idempotency-Key`.
///
/// # Errors
/// The random source gives nothing.
pub fn fresh_key() -> Result<Secret<String>, StageError> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| StageError::Settings("the random source failed".to_owned()))?;
    Ok(Secret::new(data_encoding::BASE64URL_NOPAD.encode(&bytes)))
}

/// The policies of the repository, so that the demo shows what the README and `docs/policies` explain.
pub(super) const POLICIES: [(&str, &str); 6] = [
    ("root.yaml", include_str!("../../policies/root.yaml")),
    ("shop.yaml", include_str!("../../policies/shop.yaml")),
    ("apps.yaml", include_str!("../../policies/apps.yaml")),
    ("apps.csv", include_str!("../../policies/apps.csv")),
    (
        "teams/pay/pay.yaml",
        include_str!("../../policies/teams/pay/pay.yaml"),
    ),
    (
        "teams/docs/docs.yaml",
        include_str!("../../policies/teams/docs/docs.yaml"),
    ),
];

/// A group owns the schema and can do nothing else; nobody logs in as it.
const APPLICATION: &str = "
CREATE ROLE shop_owner NOLOGIN;
CREATE ROLE shop_readers NOLOGIN;
CREATE SCHEMA shop AUTHORIZATION shop_owner;
SET ROLE shop_owner;
GRANT USAGE ON SCHEMA shop TO shop_readers;
ALTER DEFAULT PRIVILEGES IN SCHEMA shop GRANT SELECT ON TABLES TO shop_readers;
CREATE TABLE shop.orders (id int PRIMARY KEY, item text NOT NULL);
INSERT INTO shop.orders VALUES (1, 'a bell'), (2, 'a lamp');
RESET ROLE;
";

/// Names only: the rest is made for the servers of the demo.
const DEMO_SETTINGS: &str = "
issuer: http://127.0.0.1:8080
root_key: { file: root.key }
policies: { path: policies }
targets:
  shop-db:
    kind: postgres
    host: 127.0.0.1
    databases: [shop]
    user: hallpass
    password: { file: shop-db }
    cleaner: { user: hallpass_clean, password: { file: shop-db } }
    tls: disable
    sweep: 2s
audit: { sinks: [ { kind: file, path: audit.jsonl, required: true } ] }
";
pub(super) const SETTINGS: &str = "hallpass.yaml";
pub(super) const AUDIT: &str = "audit.jsonl";
const ANSWER_TIME: Duration = Duration::from_secs(20);
const SHOWN: usize = 6;
