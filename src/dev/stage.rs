//! The servers of the demo: two CI issuers, a database and a broker, in one temporary folder.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::issuer::{Issuer, IssuerError};
use super::postgres::{Options, PostgresError, Server};
use crate::broker::{self, Running};
use crate::broker::{Overrides, StartError};
use crate::client::write_private_new;
use crate::clock::{Clock as _, SystemClock};
use crate::config::Settings;
use crate::credential::database::postgres::{PostgresSettings, install};
use crate::policy::{IssuerOverride, PolicySet};
use crate::rootkey::RootKey;
use crate::secret::Secret;

/// Everything that `hallpass demo` and `hallpass dev` run. Dropping it stops all of it and removes
/// the folder; [`stop`](Self::stop) does so in order.
#[derive(Debug)]
pub struct Stage {
    broker: Running,
    /// The CI that signs like GitHub.
    pub github: Issuer,
    /// The CI that signs like GitLab.
    pub gitlab: Issuer,
    pub postgres: Server,
    /// The broker's name and address, e.g. `http://127.0.0.1:34567`.
    pub url: String,
    http: reqwest::Client,
    folder: TempDir,
}

/// What the broker answered. No `Debug`: the body may hold secrets.
pub struct Reply {
    pub status: u16,
    /// The JSON body. It may hold secrets: print it through [`masked`] only.
    pub body: Value,
}

impl Stage {
    /// Starts everything: the broker last, since it needs the others' addresses.
    ///
    /// # Errors
    /// Whatever could not be started, and what to do.
    pub async fn start() -> Result<Self, StageError> {
        broker::install_crypto_provider();
        let folder = tempfile::Builder::new()
            .prefix("hallpass-demo-")
            .tempdir()?;
        let github = Issuer::start("/github").await?;
        let gitlab = Issuer::start("/gitlab").await?;
        let postgres = Server::start(&Options::default()).await?;
        let public = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let operator = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let url = format!("http://{}", public.local_addr()?);
        let addresses = (public.local_addr()?, operator.local_addr()?);
        write_files(folder.path(), &url, addresses, &postgres)?;
        let settings = Settings::load(&folder.path().join(SETTINGS))
            .map_err(|error| StageError::Settings(error.to_string()))?;
        install_target(&settings, &postgres).await?;
        let overrides = Overrides {
            issuers: BTreeMap::from([
                ("github".to_owned(), instead(&github)),
                ("gitlab".to_owned(), instead(&gitlab)),
            ]),
            dev_keys: true,
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
            github,
            gitlab,
            postgres,
            url,
            http,
            folder,
        })
    }

    /// Ends the broker with a last checkpoint, then the rest.
    pub async fn stop(self) {
        let Self {
            broker,
            github,
            gitlab,
            mut postgres,
            folder,
            ..
        } = self;
        broker.shutdown().await;
        drop((github, gitlab));
        postgres.stop();
        drop(postgres);
        drop(folder);
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

/// A broker with a memory of its own takes tokens for critical credentials from the second after its
/// start on (T-72).
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
    #[error("the database refused the set-up: {0}")]
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

/// The root key, the repository's own policies, and settings that fit this machine.
fn write_files(
    folder: &Path,
    url: &str,
    (public, operator): (SocketAddr, SocketAddr),
    postgres: &Server,
) -> Result<(), StageError> {
    let root = RootKey::generate().map_err(|error| StageError::Settings(error.to_string()))?;
    let secrets = [
        ("root.key", root.to_text()),
        ("shop-db", postgres.password().clone()),
    ];
    for (name, text) in secrets {
        write_private_new(&folder.join(name), text.expose().as_bytes(), 0o600)?;
    }
    let policies = folder.join("policies");
    fs::create_dir(&policies)?;
    // A folder that others may write to is refused, whatever the umask here.
    fs::set_permissions(&policies, fs::Permissions::from_mode(0o755))?;
    for (name, text) in POLICIES {
        let path = policies.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&policies))?;
        fs::write(&path, text)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o644))?;
    }
    let settings = json!({
        "issuer": url,
        "root_key": { "file": "root.key" },
        "listen": { "public": public.to_string(), "operator": operator.to_string() },
        "policies": { "path": "policies" },
        "targets": { "shop-db": {
            "kind": "postgres",
            "host": "127.0.0.1",
            "port": postgres.port(),
            "databases": ["shop"],
            "user": "hallpass",
            "password": { "file": "shop-db" },
            "cleaner": { "user": "hallpass_clean", "password": { "file": "shop-db" } },
            "tls": "disable",
            "sweep": "2s",
        } },
        "audit": { "sinks": [{ "kind": "file", "path": AUDIT, "required": true }] },
    });
    // JSON is YAML too.
    fs::write(folder.join(SETTINGS), format!("{settings:#}\n"))?;
    Ok(())
}

/// The application's own schema, then what a DBA would run from `hallpass target install`.
async fn install_target(settings: &Settings, postgres: &Server) -> Result<(), StageError> {
    let server = postgres.connect("postgres").await?;
    server.batch_execute("CREATE DATABASE shop").await?;
    server
        .batch_execute("REVOKE ALL ON DATABASE shop FROM PUBLIC")
        .await?;
    // No lease may enter a database that is not listed (T-101).
    server
        .batch_execute("REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC")
        .await?;
    postgres
        .connect("shop")
        .await?
        .batch_execute(APPLICATION)
        .await?;
    let row = server.query_one(
        "SELECT current_setting('server_version_num')::int4 / 10000",
        &[],
    );
    let version = u32::try_from(row.await?.get::<_, i32>(0)).unwrap_or(0);
    server.batch_execute("CREATE DATABASE hallpass").await?;
    let target = settings.targets.get("shop-db");
    let target = target.and_then(|target| target.of::<PostgresSettings>());
    let target = target.ok_or_else(|| StageError::Settings("no target `shop-db`".to_owned()))?;
    let policies = PolicySet::load(&settings.policies);
    let policies = policies.map_err(|errors| StageError::Settings(errors.to_string()))?;
    let groups = target.ceilings("shop-db", &policies.set);
    let groups = groups.map_err(StageError::Settings)?;
    for section in install::sections(target, &groups, version).map_err(StageError::Settings)? {
        let client = postgres.connect(&section.database).await?;
        client.batch_execute(&section.sql).await?;
    }
    let password = postgres.password().expose();
    // The alphabet of the generated password has no quote in it.
    for login in ["hallpass", "hallpass_clean"] {
        server
            .batch_execute(&format!("ALTER ROLE {login} PASSWORD '{password}'"))
            .await?;
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
const POLICIES: [(&str, &str); 6] = [
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

const SETTINGS: &str = "hallpass.yaml";
const AUDIT: &str = "audit.jsonl";
const ANSWER_TIME: Duration = Duration::from_secs(20);
const SHOWN: usize = 6;
