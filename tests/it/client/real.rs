//! The real binary against a real broker: both ends of the wire as they are.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};
use std::sync::Arc;

use hallpass::broker::Overrides;
use hallpass::broker::{self, Running};
use hallpass::clock::{Clock as _, SystemClock};
use hallpass::config::Settings;
use hallpass::dev::issuer::{GithubJob, github_claims};
use hallpass::rootkey::RootKey;
use hallpass::token::TrustedIssuer;
use hallpass::token::keys::FileKeys;
use serde_json::Value;

use super::fake::{hallpass, stderr, stdout, told};
use crate::support::leaks::{self, Observed as _};
use crate::support::tokens::{TestKey, jwks};

const GITHUB: &str = "https://token.actions.githubusercontent.com";
/// The issuers whose key a test has.
const ISSUERS: [&str; 4] = [
    GITHUB,
    "https://vstoken.dev.azure.com/4d2f8b61-9c3e-4a7d-b150-6e8f0a2c4d93",
    "https://acme.app.spacelift.io",
    "https://acme.semaphoreci.com",
];
const POLICIES: &str = r#"
issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "48213377" } ] }
credentials:
  deploy-api:
    kind: jwt
    audience: https://deploy.acme.dev
    scopes: ["deploy:staging"]
    claims: [repository]
    max_ttl: 10m
    owner: team-platform
    purpose: calls to the deploy service
    class: moderate
policies:
  - name: shop-deploy
    issuer: github
    when: { repository: acme/shop, repository_id: "702114589", ref: refs/heads/main }
    grant:
      - { credential: deploy-api, ttl: 5m, scopes: ["deploy:staging"] }
"#;

pub(crate) struct Broker {
    pub(crate) url: String,
    key: TestKey,
    runtime: tokio::runtime::Runtime,
    running: Option<Running>,
    pub(crate) folder: tempfile::TempDir,
    _leaks: leaks::Guard,
}

impl Broker {
    pub(crate) fn start() -> Self {
        Self::start_with(POLICIES, "", tempfile::tempdir().unwrap())
    }

    /// With more settings, and a folder that has the files they name.
    pub(crate) fn start_with(policies: &str, more: &str, folder: tempfile::TempDir) -> Self {
        let guard = leaks::watch();
        let root = folder.path().join("root.key");
        let text = RootKey::generate().unwrap().to_text();
        leaks::prefixed("a root key", text.expose());
        std::fs::write(&root, text.expose()).unwrap();
        std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::create_dir(folder.path().join("policies")).unwrap();
        std::fs::write(folder.path().join("policies/root.yaml"), policies).unwrap();
        // The issuer's name holds the port, so the listener comes first.
        let public = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = public.local_addr().unwrap().port();
        let url = format!("http://127.0.0.1:{port}");
        let settings = format!(
            "issuer: {url}\nreplica: test\nroot_key: {{ file: root.key }}\n\
             listen: {{ public: 127.0.0.1:{port}, operator: 127.0.0.1:0 }}\n\
             policies: {{ path: policies }}\n\
             audit: {{ sinks: [ {{ kind: file, path: audit.jsonl, required: true }} ] }}\n{more}"
        );
        std::fs::write(folder.path().join("hallpass.yaml"), &settings).unwrap();
        let settings =
            Settings::parse("hallpass.yaml", settings, folder.path(), &|_| None).unwrap();
        let key = TestKey::rsa("k1");
        let mut keys = FileKeys::new();
        for url in ISSUERS {
            let issuer = TrustedIssuer::new("ci", url);
            keys = keys.with_document(&issuer, &jwks(&[key.jwk()])).unwrap();
        }
        let overrides = Overrides {
            keys: Some(Arc::new(keys)),
            public: Some(public),
            ..Overrides::default()
        };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let running = runtime
            .block_on(broker::start(&settings, overrides))
            .unwrap();
        Self {
            url,
            key,
            runtime,
            running: Some(running),
            folder,
            _leaks: guard,
        }
    }

    pub(crate) fn token(&self, change: impl FnOnce(&mut GithubJob)) -> String {
        let mut job = GithubJob::new(GITHUB, &self.url, SystemClock::new().now());
        change(&mut job);
        self.key.token(&github_claims(&job))
    }

    pub(crate) fn public(&self) -> SocketAddr {
        self.running.as_ref().unwrap().public_addr
    }

    pub(crate) fn operator(&self) -> SocketAddr {
        self.running.as_ref().unwrap().operator_addr
    }

    /// A token with these claims, which each of the issuers may have signed.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.key.token(claims)
    }

    fn run(&self, token: &str, arguments: &[&str]) -> Output {
        self.command(token, arguments).observed()
    }

    /// The client, as a job with this token starts it.
    pub(crate) fn command(&self, token: &str, arguments: &[&str]) -> Command {
        let mut command = hallpass(arguments);
        command
            .env("HALLPASS_BROKER", &self.url)
            .env("HALLPASS_ID_TOKEN", token)
            .env("HALLPASS_JOB_DIR", self.folder.path());
        command
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.shutdown());
        }
    }
}

/// T-110
#[test]
fn a_job_gets_a_token_and_a_second_step_gets_the_same() {
    let broker = Broker::start();
    let token = broker.token(|_| {});
    let first = broker.run(&token, &["get", "deploy-api"]);
    assert_eq!(first.status.code(), Some(0), "{}", told(&first));
    let second = broker.run(&token, &["get", "deploy-api"]);
    assert_eq!(second.status.code(), Some(0), "{}", told(&second));
    // An ECDSA signature is another each time; what is signed is not.
    let signed = |output: &Output| {
        let document: Value = serde_json::from_str(&stdout(output)).unwrap();
        let token = document["credential"]["token"].as_str().unwrap().to_owned();
        token.rsplit_once('.').unwrap().0.to_owned()
    };
    assert_eq!(signed(&first), signed(&second));
}

#[test]
fn a_second_use_of_a_token_without_its_key_comes_with_the_way_out() {
    let broker = Broker::start();
    let token = broker.token(|_| {});
    let first = broker.run(&token, &["exec", "deploy-api", "--", "true"]);
    assert_eq!(first.status.code(), Some(0), "{}", told(&first));
    let second = broker.run(&token, &["exec", "deploy-api", "--", "true"]);
    assert_eq!(second.status.code(), Some(1), "{}", told(&second));
    assert!(
        stderr(&second).contains("token.replayed"),
        "{}",
        told(&second)
    );
    assert!(stderr(&second).contains("and sees the same folder `"));
    // A step that shares no folder with others is told to.
    let alone = hallpass(&["get", "deploy-api"])
        .env("HALLPASS_BROKER", &broker.url)
        .env("HALLPASS_ID_TOKEN", &token)
        .observed();
    assert_eq!(alone.status.code(), Some(1), "{}", told(&alone));
    assert!(stderr(&alone).contains("with `--job-dir DIR` or HALLPASS_JOB_DIR"));
}

#[test]
fn a_job_on_another_branch_reads_which_line_keeps_it_out() {
    let broker = Broker::start();
    let token = broker.token(|job| job.r#ref = "refs/heads/dev".to_owned());
    let output = broker.run(&token, &["get", "deploy-api"]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let text = stderr(&output);
    assert!(
        text.contains("  shop-deploy  ref   refs/heads/main  refs/heads/dev"),
        "{text}"
    );
    assert!(text.contains("    ref: refs/heads/dev"), "{text}");
}

#[test]
fn list_and_doctor_ask_a_real_broker() {
    let broker = Broker::start();
    let token = broker.token(|_| {});
    let output = broker.run(&token, &["list"]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert!(stdout(&output).contains("deploy-api"));
    let output = broker.run(&token, &["doctor"]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert!(stdout(&output).contains("this job may have deploy-api"));
}
