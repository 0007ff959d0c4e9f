//! The example of the other side as it is shipped, and brokers' halves of a target.

use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use hallpass::clock::{Clock, SystemClock};
use hallpass::credential::database::webhook::WebhookSettings;
use hallpass::credential::database::{Issued, Logins, Order};
use hallpass::credential::jwt::{Keys, SigningAlgorithm};
use hallpass::credential::target::{Finding, Severity, TargetSettings as _, Targets, With};
use hallpass::credential::{MintError, Revoked};
use hallpass::lease::{self, LeaseContents};
use hallpass::policy::PolicySet;
use hallpass::secret::Secret;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::stage::KEYS;
pub(super) use super::super::stage::{fresh_random, keyed, order, order_for};
use crate::support::leaks::{self, Observed as _};

/// The signing keys of every broker here.
pub(super) static SIGNING: LazyLock<Arc<Keys>> = LazyLock::new(|| signing(SigningAlgorithm::Es256));

pub(super) fn signing(algorithm: SigningAlgorithm) -> Arc<Keys> {
    let epoch = Duration::from_secs(86_400);
    let now = SystemClock::new().now();
    Arc::new(Keys::new(KEYS.clone(), algorithm, epoch, now).unwrap())
}

/// An authority, a server's certificate for `localhost`, and a broker's.
pub(super) struct Certificates {
    pub(super) folder: TempDir,
}

impl Certificates {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate with the name of its issuer for a self-signed one.
        ca.distinguished_name.push(DnType::CommonName, "authority");
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        write("ca.pem", &ca.pem());
        for name in ["server", "broker"] {
            let key = KeyPair::generate().unwrap();
            let names = match name {
                "server" => vec!["localhost".to_owned()],
                _ => vec![name.to_owned()],
            };
            let leaf = CertificateParams::new(names).unwrap();
            let leaf = leaf.signed_by(&key, &ca).unwrap();
            write(&format!("{name}.pem"), &leaf.pem());
            write(&format!("{name}.key"), &key.serialize_pem());
            leaks::private_key(&key.serialize_pem());
        }
        Self { folder }
    }

    pub(super) fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// A target on that port of this machine.
    pub(super) fn settings(&self, port: u16) -> WebhookSettings {
        let groups = vec!["reader".to_owned(), "writer".to_owned()];
        WebhookSettings {
            ca: Some(self.path("ca.pem")),
            networks: vec!["127.0.0.0/8".parse().unwrap()],
            sweep: Duration::from_secs(1),
            places_per_repository: 5,
            ..WebhookSettings::new(format!("https://localhost:{port}/hallpass"), groups)
        }
    }
}

pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// `deploy/webhook-example/logins.py`, running.
pub(super) struct Example {
    child: Child,
}

impl Example {
    /// With the keys of `keys`, which are a file or a URL.
    pub(super) fn start(
        certificates: &Certificates,
        port: u16,
        (issuer, keys): (&str, &str),
        more: &[(&str, &str)],
    ) -> Self {
        let program =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/webhook-example/logins.py");
        let file = |name: &str| certificates.path(name);
        let log = fs::File::create(file("log")).unwrap();
        let child = Command::new("/usr/bin/python3")
            .arg(program)
            .env_clear()
            .env("WEBHOOK_URL", format!("https://localhost:{port}/hallpass"))
            .env("HALLPASS_ISSUER", issuer)
            .env("HALLPASS_KEYS", keys)
            .env("WEBHOOK_GROUPS", "reader,writer")
            .env("WEBHOOK_DATABASE", file("logins.db"))
            .env("PORT", port.to_string())
            .env("TLS_CERT", file("server.pem"))
            .env("TLS_KEY", file("server.key"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .envs(more.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut example = Self { child };
        for _ in 0..400 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return example;
            }
            thread::sleep(Duration::from_millis(25));
        }
        let _ = example.child.kill();
        panic!("{}", fs::read_to_string(certificates.path("log")).unwrap());
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(super) struct Stage {
    pub(super) certificates: Certificates,
    pub(super) settings: WebhookSettings,
    pub(super) targets: Arc<Targets>,
    pub(super) example: Option<Example>,
    pub(super) port: u16,
    _leaks: leaks::Guard,
}

/// A login as a job gets it, and its handle.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) username: String,
    pub(super) password: Secret<String>,
    pub(super) handle: String,
    pub(super) issued: Issued,
}

impl Stage {
    pub(super) fn start() -> Self {
        Self::with(&SIGNING, &[], |_| {})
    }

    pub(super) fn with(
        signing: &Arc<Keys>,
        more: &[(&str, &str)],
        change: impl FnOnce(&mut WebhookSettings),
    ) -> Self {
        let guard = leaks::watch();
        let certificates = Certificates::new();
        let keys = certificates.path("jwks.json");
        let now = SystemClock::new().now();
        fs::write(&keys, json!(signing.jwks(now).unwrap()).to_string()).unwrap();
        let port = free_port();
        let client_ca = certificates.path("ca.pem").display().to_string();
        let more: Vec<(&str, &str)> = more
            .iter()
            .map(|(name, value)| (*name, if *value == "CA" { &client_ca } else { *value }))
            .collect();
        let keys = format!("file://{}", keys.display());
        let example = Example::start(&certificates, port, (KEYS.issuer(), &keys), &more);
        let mut settings = certificates.settings(port);
        change(&mut settings);
        Self {
            targets: targets(&settings, signing),
            certificates,
            settings,
            example: Some(example),
            port,
            _leaks: guard,
        }
    }

    /// Another replica of the broker, with the same keys and nothing remembered.
    pub(super) fn replica(&self) -> Arc<Targets> {
        targets(&self.settings, &SIGNING)
    }

    pub(super) async fn mint(&self, life: u32) -> Login {
        self.try_mint(order("reader", life, &fresh_random()))
            .await
            .unwrap()
    }

    pub(super) async fn try_mint(&self, order: Order) -> Result<Login, MintError> {
        made(logins(&self.targets).make(order).await)
    }

    pub(super) async fn revoke(&self, login: &Login) -> Revoked {
        self.targets.revoke(&contents(login)).await.unwrap()
    }

    /// Users of the application: who could log in.
    pub(super) fn users(&self) -> Vec<String> {
        let query = "SELECT name FROM users ORDER BY name";
        self.query(query)
    }

    /// Asked in `SQLite`, by Python's own library.
    pub(super) fn query(&self, query: &str) -> Vec<String> {
        let script = "import sqlite3, sys\nfor row in sqlite3.connect(sys.argv[1], timeout=10, isolation_level=None).execute(sys.argv[2]): print(row[0])";
        let output = Command::new("/usr/bin/python3")
            .args(["-c", script])
            .arg(self.certificates.path("logins.db"))
            .arg(query)
            .observed();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{:?}", output.stderr);
        text.lines().map(str::to_owned).collect()
    }

    /// What the application says to a login.
    pub(super) async fn whoami(&self, username: &str, password: &str) -> (u16, Value) {
        whoami(&self.certificates, self.port, username, password).await
    }

    pub(super) async fn can_log_in(&self, login: &Login) -> bool {
        let (status, _) = self.whoami(&login.username, login.password.expose()).await;
        status == 200
    }
}

pub(super) async fn whoami(
    certificates: &Certificates,
    port: u16,
    username: &str,
    password: &str,
) -> (u16, Value) {
    let ca = fs::read(certificates.path("ca.pem")).unwrap();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(client_tls(&ca))
        .no_proxy()
        .build()
        .unwrap();
    let answer = client
        .get(format!("https://localhost:{port}/whoami"))
        .basic_auth(username, Some(password))
        .send()
        .await
        .unwrap();
    let status = answer.status().as_u16();
    let body = answer.bytes().await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

pub(super) fn client_tls(ca: &[u8]) -> rustls::ClientConfig {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

pub(super) fn with_keys<T>(signing: &Arc<Keys>, work: impl FnOnce(&With<'_>) -> T) -> T {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    work(&With {
        root_keys: &KEYS,
        signing: Some(signing),
        clock: &clock,
        before: None,
    })
}

pub(super) fn targets(settings: &WebhookSettings, signing: &Arc<Keys>) -> Arc<Targets> {
    let target = with_keys(signing, |with| settings.connect("app", with).unwrap());
    Arc::new(Targets::new(BTreeMap::from([("app".to_owned(), target)])))
}

pub(super) fn logins(targets: &Targets) -> &Logins {
    targets.get("app").unwrap().of().unwrap()
}

pub(super) fn contents(login: &Login) -> LeaseContents {
    lease::open(&login.handle, &KEYS).unwrap()
}

pub(super) fn made(issued: Result<Issued, MintError>) -> Result<Login, MintError> {
    let issued = issued?;
    let username = issued.members.get("username").and_then(Value::as_str);
    let username = username.unwrap().to_owned();
    let password = issued.members.secret().expose().clone();
    leaks::secret("a password", &password);
    leaks::prefixed("a lease handle", issued.handle.expose());
    Ok(Login {
        username,
        password: Secret::new(password),
        handle: issued.handle.expose().clone(),
        issued,
    })
}

/// What `target check` finds, and with `contract` what `--contract` finds.
pub(super) async fn findings(settings: &WebhookSettings, contract: bool) -> Vec<Finding> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let with = With {
        root_keys: &KEYS,
        signing: Some(&SIGNING),
        clock: &clock,
        before: None,
    };
    let policies = PolicySet::from_texts(&[("root.yaml", super::clients::POLICIES)])
        .unwrap()
        .set;
    if contract {
        settings.check_contract("app", &with).await.unwrap()
    } else {
        settings
            .check_signed("app", &policies, &with)
            .await
            .unwrap()
    }
}

pub(super) async fn errors(settings: &WebhookSettings, contract: bool) -> Vec<String> {
    let mut findings = findings(settings, contract).await;
    findings.retain(|finding| finding.severity == Severity::Error);
    findings
        .into_iter()
        .map(|finding| finding.message)
        .collect()
}
