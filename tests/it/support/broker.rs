//! A whole broker on free ports: the real listeners, policies and exchange, with a fixed clock and
//! an issuer whose key the test holds.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use hallpass::broker::{self, Running};
use hallpass::broker::{Overrides, StartError};
use hallpass::clock::{FixedClock, Timestamp};
use hallpass::config::{Limits, Settings, TlsFiles};
use hallpass::dev::issuer::{GithubJob, GitlabJob, Issuer, github_claims, gitlab_claims};
use hallpass::exchange::{Components, Exchange};
use hallpass::policy::IssuerOverride;
use hallpass::rootkey::{RootKey, RootKeys};
use hallpass::token::TrustedIssuer;
use hallpass::token::keys::{FileKeys, KeySource};
use reqwest::Response;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::{Answer, form, request};
use super::database::FakeDatabase;
use super::hostile_issuer::HostileIssuer;
use super::leaks;
use super::sink::MemorySink;
use super::tokens::{AUDIENCE, ISSUER, NOW, TestKey, jwks};

pub(crate) const GITHUB: &str = "https://token.actions.githubusercontent.com";
pub(crate) const GITLAB: &str = "https://gitlab.com";
/// The tenant of `docs/ci/azure.md`.
pub(crate) const ENTRA: &str = "https://sts.windows.net/5f2c6a0e-0a4b-4c5e-9d52-7c3b1a0d9e11/";

/// Two shops that may deploy and read, under both issuers.
pub(crate) const POLICIES: &str = r#"
issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "48213377" } ] }
  gitlab: { provider: gitlab, tenants: [ { owner: acme, owner_id: "9133570" } ] }
credentials:
  deploy-api:
    kind: jwt
    audience: https://deploy.acme.dev
    scopes: ["deploy:staging", "deploy:production"]
    claims: [repository, repository_id]
    max_ttl: 10m
    owner: team-platform
    purpose: calls to the deploy service
    class: moderate
  shop-db/read:
    kind: postgres
    target: shop-db
    group: shop_readers
    max_ttl: 1h
    owner: team-shop
    purpose: reports
    class: moderate
policies:
  - name: shop-deploy
    issuer: github
    when:
      repository: acme/shop
      repository_id: "702114589"
      ref: refs/heads/main
      trigger: [push, manual]
    grant:
      - { credential: deploy-api, ttl: 5m, scopes: ["deploy:staging", "deploy:production"] }
      - { credential: shop-db/read, ttl: 15m }
  - name: shop-deploy-gitlab
    issuer: gitlab
    when:
      repository: acme/shop
      repository_id: "61840277"
      ref: refs/heads/main
      ref_protected: true
    grant:
      - { credential: deploy-api, ttl: 5m, scopes: ["deploy:staging"] }
"#;

pub(crate) const SETTINGS: &str = "
issuer: https://hallpass.example
replica: test
root_key: { file: root.key }
listen: { public: 127.0.0.1:0, operator: 127.0.0.1:0 }
policies: { path: policies }
targets:
  shop-db: { kind: postgres, host: db.test, databases: [shop], user: hallpass, password: { file: none }, cleaner: { user: c, password: { file: none } } }
audit: { sinks: [ { kind: file, path: audit.jsonl, required: true } ] }
";

/// Settings of a broker that signs with `rsa.key` too.
pub(crate) const ALSO_RS256: &str = "signing: { also: [ { kind: file, algorithm: RS256, key: { file: rsa.key }, next: { file: next.key } } ] }";

/// [`POLICIES`] with a credential `azure` that is signed with RS256.
pub(crate) fn policies_with_rs256() -> String {
    let credential = "  azure:
    kind: jwt
    algorithm: RS256
    audience: \"api://AzureADTokenExchange\"
    max_ttl: 10m
    owner: team-platform
    purpose: sign-in to the cloud
    class: moderate
";
    let grant = "      - { credential: shop-db/read, ttl: 15m }\n";
    let database = "  shop-db/read:\n";
    POLICIES
        .replacen(database, &format!("{credential}{database}"), 1)
        .replacen(
            grant,
            &format!("{grant}      - {{ credential: azure, ttl: 5m }}\n"),
            1,
        )
}

/// The setting `policies` of a broker that links to them.
const LINKED: &str = r#"policies: { path: policies, url: "https://git.acme.dev/acme/policies/blob/{commit}/hallpass/{path}#L{line}", commit: { file: policies.commit } }"#;

/// What `listen` has in a broker with TLS.
const TLS: &str = "tls: { cert: cert.pem, key: key.pem }";

pub(crate) struct TestBroker {
    running: Running,
    exchange: Arc<Exchange>,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) database: Arc<FakeDatabase>,
    pub(crate) sink: MemorySink,
    pub(crate) key: TestKey,
    folder: TempDir,
    /// Dropped last: looks through all that was said.
    _leaks: leaks::Guard,
}

pub(crate) struct Builder {
    limits: Limits,
    tls: bool,
    policies: String,
    settings: String,
    issuers: BTreeMap<String, IssuerOverride>,
    keys: Option<Arc<dyn KeySource>>,
    reload: Option<Duration>,
    has_targets: bool,
    private_files: Vec<(&'static str, String)>,
}

impl TestBroker {
    pub(crate) fn builder() -> Builder {
        Builder {
            limits: Limits::default(),
            tls: false,
            policies: POLICIES.to_owned(),
            settings: SETTINGS.to_owned(),
            issuers: BTreeMap::new(),
            keys: None,
            reload: None,
            has_targets: false,
            private_files: Vec::new(),
        }
    }

    pub(crate) async fn start() -> Self {
        Self::builder().start().await
    }

    pub(crate) fn public(&self) -> SocketAddr {
        self.running.public_addr
    }

    pub(crate) fn operator(&self) -> SocketAddr {
        self.running.operator_addr
    }

    /// What its exchange was made of at start.
    pub(crate) fn components(&self) -> &Components {
        self.exchange.components()
    }

    pub(crate) const fn issuer() -> &'static str {
        AUDIENCE
    }

    /// The exchange as of the last reload.
    pub(crate) fn now(&self) -> Arc<Exchange> {
        self.running.exchange()
    }

    /// What SIGHUP does.
    pub(crate) fn reload(&self) {
        self.running.reload();
    }

    /// A file of its folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) async fn shutdown(self) {
        self.running.shutdown().await;
    }

    /// A token of a GitHub job: a push to `main` of `acme/shop`, with changes.
    pub(crate) fn github(&self, change: impl FnOnce(&mut GithubJob)) -> String {
        let mut job = GithubJob::new(GITHUB, AUDIENCE, Timestamp::from_unix(NOW));
        change(&mut job);
        self.key.token(&github_claims(&job))
    }

    /// A token of a GitHub job, signed by the embedded issuer.
    pub(crate) fn token_of(issuer: &Issuer) -> String {
        let job = GithubJob::new(issuer.url(), AUDIENCE, Timestamp::from_unix(NOW));
        issuer.sign(&github_claims(&job)).unwrap()
    }

    /// Asks whether the broker is well, over TLS that trusts this certificate and no other.
    pub(crate) async fn health_over_tls(&self, authority: &[u8]) -> reqwest::Result<Response> {
        let client = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(authority)?])
            .resolve("localhost", self.public())
            .build()?;
        let url = format!("https://localhost:{}/healthz", self.public().port());
        client.get(url).send().await
    }

    /// A token of a GitLab job: a push to the protected `main` of `acme/shop`, with changes.
    pub(crate) fn gitlab(&self, change: impl FnOnce(&mut GitlabJob)) -> String {
        let mut job = GitlabJob::new(GITLAB, AUDIENCE, Timestamp::from_unix(NOW));
        change(&mut job);
        self.key.token(&gitlab_claims(&job))
    }

    /// Through the token endpoint.
    pub(crate) async fn exchange(&self, token: &str, credential: &str) -> Answer {
        self.exchange_with(token, credential, &[], &[]).await
    }

    /// Through the token endpoint, with more parameters and headers.
    pub(crate) async fn exchange_with(
        &self,
        token: &str,
        credential: &str,
        more: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut pairs = vec![
            (
                "grant_type",
                "urn:ietf:params:oauth:grant-type:token-exchange",
            ),
            ("subject_token", token),
            (
                "subject_token_type",
                "urn:ietf:params:oauth:token-type:id_token",
            ),
            ("audience", credential),
        ];
        pairs.extend_from_slice(more);
        let mut all = vec![("Content-Type", "application/x-www-form-urlencoded")];
        all.extend_from_slice(headers);
        request(
            self.public(),
            "POST",
            "/token",
            &all,
            form(&pairs).as_bytes(),
        )
        .await
    }

    /// Through a JSON door.
    pub(crate) async fn ask(&self, path: &str, token: &str, body: &Value) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("Content-Type", "application/json"),
            ("Authorization", bearer.as_str()),
        ];
        request(
            self.public(),
            "POST",
            path,
            &headers,
            body.to_string().as_bytes(),
        )
        .await
    }

    /// Through `/api/credentials`.
    pub(crate) async fn credentials(&self, token: &str, credential: &str) -> Answer {
        let body = json!({ "credential": credential });
        self.ask("/api/credentials", token, &body).await
    }

    /// Every event of a kind on record, in order.
    pub(crate) async fn events(&self, kind: &str) -> Vec<Value> {
        let _ = self.exchange.components().audit.settle().await;
        let events = self.sink.events();
        events
            .into_iter()
            .filter(|event| event["event"] == kind)
            .collect()
    }
}

impl Builder {
    pub(crate) fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    pub(crate) fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    pub(crate) fn policies(mut self, text: &str) -> Self {
        text.clone_into(&mut self.policies);
        self
    }

    /// More settings of the listeners.
    pub(crate) fn listen(mut self, more: &str) -> Self {
        let listen = format!("listen: {{ {more}, ");
        self.settings = self.settings.replace("listen: { ", &listen);
        self
    }

    /// Another source of keys than the test's own.
    pub(crate) fn keys(mut self, keys: Arc<dyn KeySource>) -> Self {
        self.keys = Some(keys);
        self
    }

    /// The embedded issuer in the place of `github`, its keys fetched over HTTPS.
    pub(crate) fn github(self, issuer: &Issuer) -> Self {
        self.instead("github", issuer.trusted("github"))
    }

    /// A scripted server in the place of `github`.
    pub(crate) fn github_of(self, server: &HostileIssuer) -> Self {
        self.instead("github", server.trusted())
    }

    /// A scripted server in the place of `gitlab`.
    pub(crate) fn gitlab_of(self, server: &HostileIssuer) -> Self {
        self.instead("gitlab", server.trusted())
    }

    fn instead(mut self, name: &str, trusted: TrustedIssuer) -> Self {
        let instead = IssuerOverride {
            url: trusted.url,
            ca: trusted.ca,
            networks: trusted.networks,
        };
        self.issuers.insert(name.to_owned(), instead);
        self
    }

    /// One more target, in one line.
    pub(crate) fn target(mut self, line: &str) -> Self {
        let targets = format!("targets:\n  {line}\n");
        self.settings = self.settings.replacen("targets:\n", &targets, 1);
        self
    }

    /// One more line of `hallpass.yaml`.
    pub(crate) fn setting(mut self, line: &str) -> Self {
        self.settings.push_str(line);
        self.settings.push('\n');
        self
    }

    /// Links to its policies, with the commit that the file `policies.commit` holds.
    pub(crate) fn linked(mut self, commit: &str) -> Self {
        self.settings = self
            .settings
            .replace("policies: { path: policies }", LINKED);
        self.private_file("policies.commit", commit)
    }

    /// Reads its settings from `hallpass.yaml`, and looks that often whether anything changed. Limits
    /// are those of the file.
    pub(crate) const fn reloading(mut self, interval: Duration) -> Self {
        self.reload = Some(interval);
        self
    }

    /// Has the targets of its settings, and no fake database.
    pub(crate) const fn real_targets(mut self) -> Self {
        self.has_targets = true;
        self
    }

    /// A file in the broker's folder that only its owner can read.
    pub(crate) fn private_file(mut self, name: &'static str, text: &str) -> Self {
        self.private_files.push((name, text.to_owned()));
        self
    }

    pub(crate) async fn start(self) -> TestBroker {
        self.try_start().await.unwrap()
    }

    pub(crate) async fn try_start(self) -> Result<TestBroker, StartError> {
        let guard = leaks::watch();
        let folder = tempfile::tempdir().unwrap();
        let root = RootKey::generate().unwrap();
        write_root_key(&folder.path().join("root.key"), &root);
        fs::create_dir(folder.path().join("policies")).unwrap();
        fs::write(folder.path().join("policies/root.yaml"), &self.policies).unwrap();
        for (name, text) in &self.private_files {
            write_private(&folder.path().join(name), text);
        }
        let tls = self.tls.then(|| certificate(folder.path()));
        let mut text = self.settings.clone();
        if tls.is_some() {
            text = text.replacen("listen: {", &format!("listen: {{ {TLS},"), 1);
        }
        let file = folder.path().join("hallpass.yaml");
        fs::write(&file, &text).unwrap();
        let mut settings = if self.reload.is_some() {
            Settings::load(&file).unwrap()
        } else {
            Settings::parse("hallpass.yaml", text, folder.path(), &|_| None).unwrap()
        };
        if self.reload.is_none() {
            settings.limits = self.limits;
        }
        let clock = Arc::new(FixedClock::at(Timestamp::from_unix(NOW)));
        let roots = RootKeys::new(AUDIENCE, 1, vec![root]).unwrap();
        let database = Arc::new(FakeDatabase::new(roots));
        let sink = MemorySink::default();
        let key = TestKey::rsa("k1");
        let overrides = Overrides {
            clock: Some(Arc::clone(&clock) as Arc<_>),
            keys: self.keys.or_else(|| {
                self.issuers
                    .is_empty()
                    .then(|| Arc::new(keys(&key)) as Arc<_>)
            }),
            dev_keys: !self.issuers.is_empty(),
            issuers: self.issuers,
            target: (!self.has_targets).then(|| Arc::clone(&database) as Arc<_>),
            reload: self.reload,
            sinks: vec![sink.entry()],
            ..Overrides::default()
        };
        let running = broker::start(&settings, overrides).await?;
        Ok(TestBroker {
            exchange: running.exchange(),
            running,
            clock,
            database,
            sink,
            key,
            folder,
            _leaks: guard,
        })
    }
}

fn keys(key: &TestKey) -> FileKeys {
    let set = jwks(&[key.jwk()]);
    FileKeys::new()
        .with_document(&TrustedIssuer::new("github", GITHUB), &set)
        .unwrap()
        .with_document(&TrustedIssuer::new("gitlab", GITLAB), &set)
        .unwrap()
        .with_document(&TrustedIssuer::new("own-ci", ISSUER), &set)
        .unwrap()
        .with_document(&TrustedIssuer::new("entra", ENTRA), &set)
        .unwrap()
}

pub(crate) fn write_root_key(path: &Path, root: &RootKey) {
    let text = root.to_text();
    leaks::prefixed("a root key", text.expose());
    fs::write(path, text.expose()).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

pub(crate) fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A private key that `openssl` made, in PEM.
pub(crate) fn openssl_key(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {problem}");
    let pem = String::from_utf8(output.stdout).unwrap();
    // In the middle are only secret numbers.
    let lines: Vec<&str> = pem.lines().collect();
    leaks::secret("a private key in PEM", lines[lines.len() / 2]);
    pem
}

/// An RSA key as the documentation makes it, but smaller.
pub(crate) fn rsa_key() -> String {
    openssl_key(&[
        "genpkey",
        "-algorithm",
        "RSA",
        "-pkeyopt",
        "rsa_keygen_bits:2048",
    ])
}

pub(crate) fn certificate(folder: &Path) -> TlsFiles {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    fs::write(&cert, made.cert.pem()).unwrap();
    let pem = made.signing_key.serialize_pem();
    leaks::private_key(&pem);
    fs::write(&key, pem).unwrap();
    TlsFiles { cert, key }
}
