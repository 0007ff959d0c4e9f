//! `hallpass serve` itself with an issuer and a host on this machine, set up by the steps of `docs/ssh.md`.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use hallpass::clock::{Clock as _, SystemClock};
use hallpass::dev::issuer::{GithubJob, github_claims};
use hallpass::rootkey::RootKey;
use serde_json::Value;
use tempfile::TempDir;

use super::host::Host;
use super::stage::keygen;
use crate::client::fake::{hallpass, stdout, told};
use crate::exchange::one_machine::{Serving, name_of_this_machine, settings_of};
use crate::support::broker::write_root_key;
use crate::support::hostile_issuer::{self, HostileIssuer, JWKS};
use crate::support::leaks::{self, Observed as _};
use crate::support::tokens::{TestKey, jwks};

/// Each credential lets in to the same host, and differs in one thing.
fn policies(issuer: &str) -> String {
    let credential = |name: &str, keys: &str| {
        format!(
            "  {name}: {{ kind: ssh, target: web-hosts, {keys}, max_ttl: 10m, owner: web team, purpose: tests the hosts, class: moderate }}\n"
        )
    };
    let credentials = [
        credential(
            "host",
            "principals: [deploy], source_address: [127.0.0.0/8]",
        ),
        credential("brief", "principals: [deploy]"),
        credential(
            "command",
            "principals: [deploy], force_command: echo forced",
        ),
        credential("principal", "principals: [backup]"),
        credential(
            "network",
            "principals: [deploy], source_address: [192.0.2.0/24]",
        ),
    ]
    .concat();
    format!(
        r#"issuers:
  ci: {{ provider: github, {issuer} }}
credentials:
{credentials}policies:
  - name: shop-deploy
    issuer: ci
    when: {{ repository: acme/shop, repository_id: "702114589", ref: refs/heads/main }}
    grant:
      - {{ credential: host, ttl: 5m }}
      - {{ credential: brief, ttl: 10s }}
      - {{ credential: command, ttl: 5m }}
      - {{ credential: principal, ttl: 5m }}
      - {{ credential: network, ttl: 5m }}
"#
    )
}

struct World {
    folder: TempDir,
    broker: String,
    host: Host,
    install: String,
    key: TestKey,
    issuer: String,
    _serving: Serving,
}

impl World {
    fn start(server: &HostileIssuer, settings: &str, key: TestKey) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        write_root_key(&file("root.key"), &RootKey::generate().unwrap());
        keygen(&file("hallpass-ssh-ca"), &["-t", "ed25519"]);
        fs::create_dir(file("policies")).unwrap();
        fs::write(file("policies/root.yaml"), policies(settings)).unwrap();
        fs::write(file("policies/ci.pem"), &server.ca_pem).unwrap();
        let broker = {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap().to_string()
        };
        let text = format!(
            "issuer: http://{broker}\nroot_key: {{ file: root.key }}\n\
             listen: {{ public: {broker}, operator: 127.0.0.1:0 }}\n\
             policies: {{ path: policies, reload: off }}\n\
             audit: {{ sinks: [ {{ kind: file, path: audit.jsonl, required: true }} ] }}\n\
             targets:\n  web-hosts: {{ kind: ssh-ca, key: {{ file: hallpass-ssh-ca }} }}\n"
        );
        fs::write(file("hallpass.yaml"), text).unwrap();
        let target = |word: &str| {
            let mut command = hallpass(&["target", word, "web-hosts", "--config"]);
            let output = command.arg(file("hallpass.yaml")).observed();
            assert_eq!(output.status.code(), Some(0), "{}", told(&output));
            stdout(&output)
        };
        let checked = target("check");
        assert!(checked.contains("backup, deploy"), "{checked}");
        let install = target("install");
        let host = Host::start(&install, &["deploy"]);
        let serving = Serving::start(folder.path());
        Self {
            broker: format!("http://{broker}"),
            issuer: server.url(),
            _serving: serving,
            install,
            host,
            key,
            folder,
        }
    }

    /// `hallpass` in a new job of the repository.
    fn job(&self, arguments: &[&str]) -> Command {
        let job = GithubJob::new(&self.issuer, &self.broker, SystemClock::new().now());
        let mut command = hallpass(arguments);
        command
            .env("HALLPASS_BROKER", &self.broker)
            .env("HALLPASS_ID_TOKEN", self.key.token(&github_claims(&job)))
            .env("HALLPASS_JOB_DIR", self.folder.path());
        command
    }

    /// `hallpass exec CREDENTIAL -- ssh … echo asked`.
    fn exec(&self, credential: &str) -> Output {
        let ssh = self.host.ssh();
        let mut command = self.job(&["exec", credential, "--"]);
        command.arg(ssh.get_program()).args(ssh.get_args());
        command.args(["127.0.0.1", "echo", "asked"]).observed()
    }

    /// `hallpass get CREDENTIAL --format ssh --out FILE`.
    fn key_file(&self, credential: &str) -> std::path::PathBuf {
        let path = self.folder.path().join(credential);
        let file = path.to_str().unwrap();
        let mut command = self.job(&["get", credential, "--format", "ssh", "--out", file]);
        let output = command.observed();
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        path
    }

    fn gets_in(&self, key: &Path) -> bool {
        stdout(&self.host.login(key, &["echo", "asked"])) == "asked\n"
    }

    fn events(&self, kind: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join("audit.jsonl")).unwrap();
        let events = text.lines().map(|line| serde_json::from_str(line).unwrap());
        events
            .filter(|event: &Value| event["event"] == kind)
            .collect()
    }
}

/// T-144, T-145, T-146, T-147, T-148: the whole way with the program itself.
#[tokio::test(flavor = "multi_thread")]
async fn serve_signs_certificates_that_a_host_set_up_by_the_steps_takes_as_they_say() {
    let _leaks = leaks::watch();
    let key = TestKey::rsa("k1");
    let (name, address) = name_of_this_machine();
    let server = HostileIssuer::named(&name, address).await;
    server.discover(&server.jwks_url());
    server.answer(JWKS, hostile_issuer::Answer::ok(&jwks(&[key.jwk()])));
    let world = World::start(&server, &settings_of(&server, address), key);
    let host = &world.host;

    let output = world.exec("host");
    assert_eq!(
        stdout(&output),
        "asked\n",
        "{} {}",
        told(&output),
        host.log()
    );
    let output = world.exec("command");
    assert_eq!(
        stdout(&output),
        "forced\n",
        "{} {}",
        told(&output),
        host.log()
    );
    for (credential, reason) in [
        (
            "principal",
            "Certificate does not contain an authorized principal",
        ),
        ("network", "not from a permitted source address"),
    ] {
        let output = world.exec(credential);
        assert_eq!(output.status.code(), Some(255), "{}", told(&output));
        assert_eq!(stdout(&output), "");
        assert!(host.log().contains(reason), "{}", host.log());
    }
    assert!(world.events("refusal").is_empty());

    // By the serial number that the audit log has, and no other.
    let (gone, kept) = (world.key_file("host"), world.key_file("command"));
    assert!(world.gets_in(&gone), "{}", host.log());
    let outcomes = world.events("outcome");
    let serial = outcomes[outcomes.len() - 2]["public_id"].as_str().unwrap();
    host.revoke(&world.install, serial);
    assert!(!world.gets_in(&gone), "{}", host.log());
    let forced = host.login(&kept, &["echo", "asked"]);
    assert_eq!(stdout(&forced), "forced\n", "{}", host.log());

    let brief = world.key_file("brief");
    assert!(world.gets_in(&brief), "{}", host.log());
    let is_out = (0..600).any(|_| {
        thread::sleep(Duration::from_millis(100));
        !world.gets_in(&brief)
    });
    assert!(is_out, "{}", host.log());
    assert!(
        host.log().contains("Certificate invalid: expired"),
        "{}",
        host.log()
    );
}
