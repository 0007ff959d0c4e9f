//! `hallpass serve` itself, on one machine with a CI's issuer: tried as `docs/policies` says.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;

use hallpass::clock::{Clock as _, SystemClock};
use hallpass::dev::issuer::{GithubJob, github_claims};
use hallpass::rootkey::RootKey;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::broker::write_root_key;
use crate::support::client::{Answer, PATIENCE, form, get, request};
use crate::support::hostile_issuer::{self, HostileIssuer, JWKS};
use crate::support::leaks::{self, Observed as _};
use crate::support::tokens::{AUDIENCE, TestKey, jwks};

const SETTINGS: &str = "
issuer: https://hallpass.example
root_key: { file: root.key }
listen: { public: 127.0.0.1:0, operator: 127.0.0.1:0 }
policies: { path: policies, reload: off }
audit: { sinks: [ { kind: file, path: audit.jsonl, required: true } ] }
";

fn policies(issuer: &str) -> String {
    format!(
        r#"issuers:
  ci: {{ provider: github, {issuer} }}
credentials:
  api: {{ kind: jwt, audience: https://api.acme.dev, max_ttl: 10m, owner: o, purpose: p, class: low }}
policies:
  - name: shop
    issuer: ci
    when: {{ repository: acme/shop, repository_id: "702114589" }}
    grant: [ {{ credential: api, ttl: 5m }} ]
"#
    )
}

fn folder(policies: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_root_key(
        &folder.path().join("root.key"),
        &RootKey::generate().unwrap(),
    );
    fs::create_dir(folder.path().join("policies")).unwrap();
    fs::write(folder.path().join("policies/root.yaml"), policies).unwrap();
    fs::write(folder.path().join("hallpass.yaml"), SETTINGS).unwrap();
    folder
}

/// A name of this machine that is not `localhost`, with its address: one that the system's own name
/// service knows, since that is what a broker asks. Debian and most others have the host's name in
/// /etc/hosts, containers have `ip6-loopback`.
pub(crate) fn name_of_this_machine() -> (String, IpAddr) {
    hallpass::dev::issuer::name_of_this_machine().expect(
        "no name but localhost leads to this machine: add `127.0.0.1 ci.test` to /etc/hosts",
    )
}

/// `hallpass serve` until dropped, and what it logs.
pub(crate) struct Serving {
    child: Child,
    log: Receiver<Value>,
    public: SocketAddr,
    operator: SocketAddr,
}

impl Serving {
    pub(crate) fn start(folder: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hallpass"))
            .args(["serve", "--config"])
            .arg(folder.join("hallpass.yaml"))
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (told, log) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                leaks::said_by_child("serve", b"", line.as_bytes());
                if told.send(serde_json::from_str(&line).unwrap()).is_err() {
                    return;
                }
            }
        });
        let line = says(&log, |line| line["message"] == "serving");
        let address = |name: &str| line[name].as_str().unwrap().parse().unwrap();
        Self {
            public: address("public"),
            operator: address("operator"),
            child,
            log,
        }
    }

    async fn exchange(&self, token: &str) -> Answer {
        let pairs = [
            (
                "grant_type",
                "urn:ietf:params:oauth:grant-type:token-exchange",
            ),
            ("subject_token", token),
            (
                "subject_token_type",
                "urn:ietf:params:oauth:token-type:id_token",
            ),
            ("audience", "api"),
        ];
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        let body = form(&pairs);
        request(self.public, "POST", "/token", &headers, body.as_bytes()).await
    }
}

impl Serving {
    /// Ends it as a service manager does: what a refusal put on record is in the file then. No
    /// refusal waits for its line, so after a SIGKILL the line may be missing.
    fn stop(mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        let ended = self.child.wait().unwrap();
        assert!(ended.success(), "{ended}");
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for a log line.
fn says(log: &Receiver<Value>, is_meant: impl Fn(&Value) -> bool) -> Value {
    let mut all = Vec::new();
    while let Ok(line) = log.recv_timeout(PATIENCE) {
        if is_meant(&line) {
            return line;
        }
        all.push(line);
    }
    panic!("it never said so: {all:#?}");
}

/// What the policies say of an issuer at an address of this machine.
pub(crate) fn settings_of(server: &HostileIssuer, address: IpAddr) -> String {
    let length = if address.is_ipv4() { 32 } else { 128 };
    let url = server.url();
    format!("url: \"{url}\", ca: ci.pem, networks: [\"{address}/{length}\"]")
}

fn token(key: &TestKey, issuer: &str) -> String {
    let job = GithubJob::new(issuer, AUDIENCE, SystemClock::new().now());
    key.token(&github_claims(&job))
}

/// T-40, T-56, T-117: the whole way with the program itself, and what becomes of a token of another
/// issuer.
#[tokio::test]
async fn serve_takes_tokens_of_an_issuer_on_this_machine_by_its_host_name() {
    let _leaks = leaks::watch();
    let key = TestKey::rsa("k1");
    let (host, address) = name_of_this_machine();
    let server = HostileIssuer::named(&host, address).await;
    server.discover(&server.jwks_url());
    server.answer(JWKS, hostile_issuer::Answer::ok(&jwks(&[key.jwk()])));
    let folder = folder(&policies(&settings_of(&server, address)));
    fs::write(folder.path().join("policies/ci.pem"), &server.ca_pem).unwrap();
    let serving = Serving::start(folder.path());
    let answer = serving.exchange(&token(&key, &server.url())).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let ready = get(serving.operator, "/readyz").await;
    assert_eq!(ready.status, 200, "{}", ready.body);
    assert_eq!(ready.json()["issuers"]["ci"]["usable"], true);

    // An issuer that nobody trusts is named in the log and on record, and in no answer.
    let other = format!("https://evil.example/\u{202e}{}", "x".repeat(300));
    let answer = serving.exchange(&token(&key, &other)).await;
    assert_eq!(answer.reason(), "token.issuer");
    assert!(!answer.body.contains("evil"), "{}", answer.body);
    let line = says(&serving.log, |line| line["reason"] == "token.issuer");
    let named = line["unverified_iss"].as_str().unwrap();
    assert!(
        named.starts_with("https://evil.example/\\u{202e}xxx"),
        "{named}"
    );
    assert!(named.ends_with("xxx[cut]") && named.len() < 150, "{named}");
    assert_eq!(line["issuer"], "unknown");
    serving.stop();
    let audit = fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
    let refusal = audit
        .lines()
        .find(|line| line.contains("\"refusal\""))
        .unwrap();
    assert!(
        refusal.contains("\"unverified_iss\":\"https://evil.example/"),
        "{refusal}"
    );
}

/// T-68, T-117: an issuer whose tokens are all refused is not usable, and readiness says why.
#[tokio::test]
async fn serve_is_not_ready_with_the_keys_of_hallpass_dev_alone() {
    let _leaks = leaks::watch();
    let key = TestKey::rsa("dev-1");
    let (host, address) = name_of_this_machine();
    let server = HostileIssuer::named(&host, address).await;
    server.discover(&server.jwks_url());
    server.answer(JWKS, hostile_issuer::Answer::ok(&jwks(&[key.jwk()])));
    let folder = folder(&policies(&settings_of(&server, address)));
    fs::write(folder.path().join("policies/ci.pem"), &server.ca_pem).unwrap();
    let serving = Serving::start(folder.path());
    let answer = serving.exchange(&token(&key, &server.url())).await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "keys.dev"));
    let ready = get(serving.operator, "/readyz").await;
    assert_eq!(ready.status, 503, "{}", ready.body);
    let issuer = ready.json()["issuers"]["ci"].clone();
    assert_eq!(
        (&issuer["usable"], &issuer["keys"]),
        (&false.into(), &1.into())
    );
    let problem = issuer["problem"].as_str().unwrap();
    assert!(
        problem.ends_with("publishes a key of `hallpass dev` and is refused"),
        "{problem}"
    );
}

/// T-117: said when the policies are read, by all that read them, and not by each token in vain.
#[test]
fn an_issuer_at_a_loopback_address_is_refused_by_check_and_serve() {
    for (url, networks) in [
        ("https://localhost:8443", ""),
        ("https://LOCALHOST:8443", ""),
        ("https://ci.localhost", ""),
        ("https://localhost.", ""),
        ("https://127.0.0.1:8443", ", networks: [127.0.0.0/8]"),
        ("https://[::1]:8443", ", networks: [\"::1/128\"]"),
    ] {
        let folder = folder(&policies(&format!("url: \"{url}\"{networks}")));
        for args in [
            &["policy", "check", "policies"][..],
            &["serve", "--check"],
            &["serve"],
        ] {
            let output = Command::new(env!("CARGO_BIN_EXE_hallpass"))
                .args(args)
                .current_dir(folder.path())
                .observed();
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8(said).unwrap();
            assert!(!output.status.success(), "{args:?} takes {url}: {said}");
            assert!(said.contains("error[loopback-issuer]"), "{args:?}: {said}");
            assert!(said.contains("list its address in `networks`"), "{said}");
        }
    }
}
