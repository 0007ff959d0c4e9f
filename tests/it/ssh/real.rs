//! The real binary, a real broker and a real host: from a job's token to a login, and its end.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use hallpass::credential::ssh::CaKey;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::host::{Host, run};
use super::stage::keygen;
use crate::client::fake::{hallpass, stderr, stdout, told};
use crate::client::real::Broker;
use crate::support::TestBroker;
use crate::support::client::get;
use crate::support::leaks::Observed as _;
use crate::support::wait::until;

pub(crate) const POLICIES: &str = r#"
issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "48213377" } ] }
credentials:
  deploy-host:
    kind: ssh
    target: web-hosts
    principals: [deploy]
    max_ttl: 10m
    owner: team-web
    purpose: deploys the shop to its hosts
    class: moderate
  deploy-api:
    kind: jwt
    audience: https://deploy.acme.dev
    max_ttl: 10m
    owner: team-platform
    purpose: calls to the deploy service
    class: moderate
policies:
  - name: shop-deploy
    issuer: github
    when: { repository: acme/shop, repository_id: "702114589", ref: refs/heads/main }
    grant:
      - { credential: deploy-host, ttl: 5m }
      - { credential: deploy-api, ttl: 5m }
"#;
const SETTINGS: &str = "targets:\n  web-hosts: { kind: ssh-ca, key: { file: ca } }\n";

/// A broker with a CA, and a host that was set up with what `target install` prints.
struct World {
    broker: Broker,
    host: Host,
}

impl World {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        keygen(&folder.path().join("ca"), &["-t", "ed25519"]);
        let broker = Broker::start_with(POLICIES, SETTINGS, folder);
        let config = broker.folder.path().join("hallpass.yaml");
        let printed = hallpass(&["target", "install", "web-hosts", "--config"])
            .arg(config)
            .observed();
        assert_eq!(printed.status.code(), Some(0), "{}", told(&printed));
        let host = Host::start(&stdout(&printed), &["deploy"]);
        Self { broker, host }
    }

    /// `hallpass exec deploy-host -- sh -c SCRIPT`, where `$SSH` logs in to the host.
    fn exec(&self, token: &str, script: &str) -> Command {
        let ssh = self.host.ssh();
        let words = std::iter::once(ssh.get_program()).chain(ssh.get_args());
        let words: Vec<&str> = words.map(|word| word.to_str().unwrap()).collect();
        let mut command = self
            .broker
            .command(token, &["exec", "deploy-host", "--", "sh", "-c", script]);
        command.env("SSH", words.join(" ") + " 127.0.0.1");
        command
    }

    fn get(&self, token: &str, more: &[&str]) -> Output {
        let mut arguments = vec!["get", "deploy-host"];
        arguments.extend(more);
        self.broker.command(token, &arguments).observed()
    }

    fn events(&self, kind: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.broker.folder.path().join("audit.jsonl")).unwrap();
        let events = text.lines().map(|line| serde_json::from_str(line).unwrap());
        events
            .filter(|event: &Value| event["event"] == kind)
            .collect()
    }
}

/// T-147
#[test]
fn a_command_logs_in_with_its_own_agent_and_nothing_is_left() {
    let world = World::start();
    let token = world.broker.token(|_| {});
    let output = world
        .exec(
            &token,
            "$SSH echo hallpass-was-here; echo \"$SSH_AUTH_SOCK\"; env | grep -c SSH_AGENT_PID; exit 42",
        )
        // The job's own agent, which holds other keys.
        .env("SSH_AUTH_SOCK", "/nowhere/agent")
        .env("SSH_AGENT_PID", "1")
        .observed();
    let said = stdout(&output);
    assert_eq!(
        output.status.code(),
        Some(42),
        "{} {}",
        told(&output),
        world.host.log()
    );
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "hallpass-was-here", "{}", world.host.log());
    assert!(lines[1].contains("/ssh-agent-"), "{said}");
    assert!(!Path::new(lines[1]).exists());
    assert_eq!(lines[2], "0");
    let folder = Path::new(lines[1]).parent().unwrap();
    assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
    // The host's log leads to the audit log, and that to the job.
    let intents = world.events("intent");
    assert_eq!(intents.len(), 1, "{intents:?}");
    assert_eq!(intents[0]["kind"], "ssh");
    // The key was sent at once.
    assert!(world.events("refusal").is_empty());
    let outcomes = world.events("outcome");
    let serial = outcomes[0]["public_id"]
        .as_str()
        .unwrap_or_else(|| panic!("{outcomes:?}"));
    let log = world.host.log();
    assert!(log.contains(&format!("(serial {serial})")), "{log}");
    assert!(
        log.contains(
            "ID hallpass credential=deploy-host policy=shop-deploy repository=acme/shop run="
        ),
        "{log}"
    );
}

/// T-147
#[test]
fn an_agent_does_not_outlive_a_run_that_is_killed() {
    let world = World::start();
    let token = world.broker.token(|_| {});
    let mut hallpass = world
        .exec(&token, "echo \"$SSH_AUTH_SOCK\"; read -r line")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut said = BufReader::new(hallpass.stdout.take().unwrap());
    said.read_line(&mut line).unwrap();
    let socket = Path::new(line.trim_end());
    assert!(UnixStream::connect(socket).is_ok());
    kill(
        Pid::from_raw(hallpass.id().try_into().unwrap()),
        Signal::SIGKILL,
    )
    .unwrap();
    hallpass.wait().unwrap();
    assert!(UnixStream::connect(socket).is_err());
}

/// T-145
#[test]
fn a_job_that_no_policy_permits_gets_no_certificate() {
    let world = World::start();
    let token = world
        .broker
        .token(|job| job.r#ref = "refs/heads/evil".to_owned());
    let output = world.exec(&token, "$SSH echo hallpass-was-here").observed();
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(
        !stderr(&output).contains("public_key"),
        "{}",
        stderr(&output)
    );
    assert!(world.events("intent").is_empty());
}

/// T-144, T-145
#[test]
fn a_request_brings_one_public_key_and_nothing_else() {
    let world = World::start();
    let post = |inputs: &Value| {
        let client = reqwest::Client::new();
        let body = json!({ "credential": "deploy-host", "inputs": inputs });
        let request = client
            .post(format!("{}/api/credentials", world.broker.url))
            .bearer_auth(world.broker.token(|_| {}))
            .header("content-type", "application/json")
            .body(body.to_string());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let answer = request.send().await.unwrap();
            let status = answer.status().as_u16();
            let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
            (status, body)
        })
    };
    let key = world.broker.folder.path().join("mine");
    keygen(&key, &["-t", "ed25519"]);
    let public = fs::read_to_string(key.with_extension("pub")).unwrap();
    let public = public.trim_end();
    let private = fs::read_to_string(&key).unwrap();
    let mut said = Vec::new();
    for pasted in [
        &private,
        &format!("{public}\n"),
        &format!("{public}\n{public}"),
    ] {
        let (status, body) = post(&json!({ "public_key": pasted }));
        assert_eq!((status, &body["reason"]), (400, &"request.input".into()));
        let text = body["error_description"].as_str().unwrap().to_owned();
        said.push(text);
    }
    said.dedup();
    insta::assert_snapshot!(said.join("\n"), @"input `public_key` must be one line of printable ASCII without a line end: the public key to sign, as in the `.pub` file of ssh-keygen");
    for inputs in [
        json!({}),
        json!({ "public_key": public, "principals": "root" }),
        json!({ "public_key": public, "extensions": "permit-pty" }),
        json!({ "public_key": public, "force_command": "" }),
        json!({ "public_key": public, "ttl": "1d" }),
        json!({ "public_key": format!("cert-authority {public}") }),
        json!({ "public_key": "ssh-ed25519 AAAA" }),
    ] {
        let (status, body) = post(&inputs);
        assert_eq!(
            (status, &body["reason"]),
            (400, &"request.input".into()),
            "{inputs} {body}"
        );
        assert!(!body.to_string().contains(public), "{body}");
    }
    assert!(world.events("intent").is_empty());
    let (status, body) = post(&json!({ "public_key": public }));
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["credential"]["principals"], json!(["deploy"]));
    assert_eq!(body["lease"], Value::Null);
}

/// T-144
#[test]
fn a_certificate_for_a_key_of_the_jobs_own_is_given_again_to_its_next_step() {
    let world = World::start();
    let token = world.broker.token(|_| {});
    let key = world.broker.folder.path().join("mine");
    keygen(&key, &["-t", "ed25519"]);
    let input = format!("public_key=@{}", key.with_extension("pub").display());
    let certificate = || {
        let output = world.get(&token, &["--input", &input]);
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        let printed: Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert_eq!(printed["credential"].get("private_key"), None);
        printed["credential"]["certificate"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let first = certificate();
    assert_eq!(certificate(), first);
    fs::write(key.with_file_name("mine-cert.pub"), first).unwrap();
    let output = world.host.login(&key, &["echo", "hallpass-was-here"]);
    assert!(
        stdout(&output).contains("hallpass-was-here"),
        "{}",
        world.host.log()
    );
}

/// T-147
#[test]
fn get_writes_the_two_files_that_ssh_reads() {
    let world = World::start();
    let key = world.broker.folder.path().join("id");
    let token = world.broker.token(|_| {});
    let output = world.get(&token, &["--format", "ssh", "--out", key.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(stdout(&output), "");
    for name in ["id", "id-cert.pub"] {
        let mode = fs::metadata(key.with_file_name(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let output = world.host.login(&key, &["echo", "hallpass-was-here"]);
    assert!(
        stdout(&output).contains("hallpass-was-here"),
        "{}",
        world.host.log()
    );
    // Printed, both come one after the other.
    let printed = stdout(&world.get(&world.broker.token(|_| {}), &["--format", "ssh"]));
    assert!(printed.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"));
    let last = printed.trim_end().lines().last().unwrap();
    assert!(
        last.starts_with("ssh-ed25519-cert-v01@openssh.com "),
        "{last}"
    );
    // Other kinds have no such files.
    let token = world.broker.token(|_| {});
    let output = world
        .broker
        .command(&token, &["get", "deploy-api", "--format", "ssh"])
        .observed();
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    insta::assert_snapshot!(stderr(&output), @"hallpass: format `ssh` needs member `certificate`, which `deploy-api`, a signed token, does not have: it is for an SSH certificate whose key pair this command makes; `json` prints what there is");
}

/// T-152
#[test]
fn a_format_that_would_lose_the_key_is_refused_before_the_token_is_used() {
    let world = World::start();
    let token = world.broker.token(|_| {});
    let variables = world.broker.folder.path().join("variables");
    for arguments in [
        &["--format", "env"][..],
        &["--format", "dotenv"],
        &["--github-env"],
        &["--format", "url"],
        &["--format", "pgpass"],
        &["--format", "docker"],
        &["--format", "kube-exec"],
        &["--format", "git"],
    ] {
        let mut command = world.broker.command(&token, &["get", "deploy-host"]);
        let output = command
            .args(arguments)
            .env("GITHUB_ENV", &variables)
            .observed();
        assert_eq!(output.status.code(), Some(2), "{}", told(&output));
        assert_eq!(stdout(&output), "");
        if arguments.last() == Some(&"env") {
            insta::assert_snapshot!(stderr(&output), @"hallpass: format `env` cannot hold member `private_key`, which `deploy-host`, an SSH certificate, has: use one of `json`, `ssh`");
        }
        if arguments == ["--github-env"] {
            insta::assert_snapshot!(stderr(&output), @"hallpass: format `--github-env` cannot hold member `private_key`, which `deploy-host`, an SSH certificate, has: use one of `json`, `ssh`");
        }
    }
    assert!(!variables.exists());
    // The same of another kind.
    let arguments = ["get", "deploy-api", "--format", "pgpass"];
    let output = world.broker.command(&token, &arguments).observed();
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    assert!(world.events("intent").is_empty() && world.events("refusal").is_empty());
    let output = world.get(&token, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let printed: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let key = printed["credential"]["private_key"].as_str().unwrap();
    assert!(key.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----"));
    assert!(world.events("refusal").is_empty());
}

/// T-152
#[test]
fn a_certificate_for_a_key_of_the_jobs_own_goes_into_variables_too() {
    let world = World::start();
    let token = world.broker.token(|_| {});
    let key = world.broker.folder.path().join("mine");
    keygen(&key, &["-t", "ed25519"]);
    let input = format!("public_key=@{}", key.with_extension("pub").display());
    let output = world.get(&token, &["--format", "dotenv", "--input", &input]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert!(stdout(&output).starts_with("HALLPASS_CERTIFICATE=ssh-ed25519-cert-v01"));
    // There is no private half to write.
    let token = world.broker.token(|_| {});
    let output = world.get(&token, &["--format", "ssh", "--input", &input]);
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
}

/// T-152
#[test]
fn a_token_that_was_used_for_a_certificate_comes_with_a_way_out_that_helps() {
    let world = World::start();
    let token = world.broker.token(|_| {});
    let output = world.exec(&token, "true").observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let way_out = |output: &Output| {
        assert_eq!(output.status.code(), Some(1), "{}", told(output));
        let text = stderr(output);
        let (denied, way_out) = text.split_once("\n\n").unwrap();
        assert!(denied.contains("token.replayed"), "{text}");
        way_out.to_owned()
    };
    let again = way_out(&world.exec(&token, "true").observed());
    insta::assert_snapshot!(again, @r"
    This job's token was already used for this credential, and the key that was signed then ended with its
    command. Run everything that needs it in one `hallpass exec`, or write the key once with
    `hallpass get NAME --format ssh --out FILE` and use FILE in later steps. Another ID token can be used once more.
    ");
    assert_eq!(way_out(&world.get(&token, &["--format", "ssh"])), again);
    assert!(world.events("refusal").is_empty());
}

/// T-147
#[test]
fn exec_says_why_its_agent_did_not_sign() {
    let world = World::start();
    let token = world.broker.token(|_| {});
    // Signs without a session, as clients older than OpenSSH 8.9 do.
    let script = "ssh-add -L > \"$OUT\"; ssh-add -T \"$OUT\" && echo it-signs";
    let output = world
        .exec(&token, script)
        .env("OUT", world.broker.folder.path().join("listed.pub"))
        .observed();
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(!stdout(&output).contains("it-signs"));
    let said = stderr(&output);
    let said: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("hallpass"))
        .collect();
    insta::assert_snapshot!(said.join("\n"), @"hallpass: the SSH agent did not sign: the client did not bind its connection to a session first, as OpenSSH 8.9 and later do; with other clients use the files of `hallpass get --format ssh --out FILE`");
}

/// T-147
#[test]
fn a_job_folder_whose_name_is_not_text_still_has_an_agent() {
    let world = World::start();
    let token = world.broker.token(|_| {});
    let folder = OsStr::from_bytes(b"job-\xff");
    let folder = world.broker.folder.path().join(folder);
    fs::create_dir(&folder).unwrap();
    let output = world
        .exec(&token, "$SSH echo hallpass-was-here")
        .env("HALLPASS_JOB_DIR", &folder)
        .env("TMPDIR", world.broker.folder.path())
        .observed();
    assert_eq!(stdout(&output), "hallpass-was-here\n", "{}", told(&output));
}

/// T-147
#[test]
fn on_github_every_line_of_a_private_key_is_masked_first() {
    let world = World::start();
    let token = world.broker.token(|_| {});
    let output = world
        .broker
        .command(&token, &["get", "deploy-host", "--format", "ssh"])
        .env("GITHUB_ACTIONS", "true")
        .observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let masked = stderr(&output);
    for line in stdout(&output).lines() {
        assert!(masked.contains(&format!("::add-mask::{line}")), "{masked}");
    }
}

/// T-149
#[test]
fn a_broker_whose_ca_key_others_can_read_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    keygen(&path("ca"), &["-t", "ed25519"]);
    fs::create_dir(path("policies")).unwrap();
    fs::write(path("policies/root.yaml"), POLICIES).unwrap();
    run(hallpass(&["keys", "generate", "--out"]).arg(path("root.key")));
    let check = |more: &str| {
        let settings = format!(
            "issuer: https://hallpass.example\nroot_key: {{ file: root.key }}\nlisten: {{ public: 127.0.0.1:0, operator: 127.0.0.1:0 }}\npolicies: {{ path: policies }}\naudit: {{ sinks: [ {{ kind: stdout, required: true }} ] }}\n{SETTINGS}{more}"
        );
        fs::write(path("hallpass.yaml"), settings).unwrap();
        let output = hallpass(&["serve", "--check", "--config"])
            .arg(path("hallpass.yaml"))
            .observed();
        let text = told(&output).replace(folder.path().to_str().unwrap(), "FOLDER");
        (output.status.code(), text)
    };
    assert_eq!(check("").0, Some(0), "{}", check("").1);
    // Two targets, one key.
    let (code, text) = check("  db-hosts: { kind: ssh-ca, key: { file: ca } }\n");
    assert_eq!(code, Some(5), "{text}");
    assert!(
        text.contains("target `web-hosts` signs with the same key"),
        "{text}"
    );
    // In another file it is the same key.
    fs::copy(path("ca"), path("copy")).unwrap();
    let (code, text) = check("  db-hosts: { kind: ssh-ca, key: { file: copy } }\n");
    assert_eq!(code, Some(5), "{text}");
    assert!(
        text.contains("target `web-hosts` signs with the same key"),
        "{text}"
    );
    keygen(&path("other"), &["-t", "ed25519"]);
    let (code, text) = check("  db-hosts: { kind: ssh-ca, key: { file: other } }\n");
    assert_eq!(code, Some(0), "{text}");
    check("");
    fs::set_permissions(path("ca"), fs::Permissions::from_mode(0o644)).unwrap();
    let output = hallpass(&["target", "check", "web-hosts", "--config"])
        .arg(path("hallpass.yaml"))
        .observed();
    let said = told(&output);
    assert!(said.contains("run `chmod 0400 FILE`"), "{said}");
    assert!(!said.contains("ssh-keygen"), "{said}");
    let (code, text) = check("");
    assert_eq!(code, Some(5), "{text}");
    assert!(
        text.contains("SSH CA key file `FOLDER/ca` has mode 0644"),
        "{text}"
    );
    // A target makes its own kind only.
    fs::set_permissions(path("ca"), fs::Permissions::from_mode(0o600)).unwrap();
    let login = POLICIES.replace(
        "kind: ssh\n    target: web-hosts\n    principals: [deploy]",
        "kind: postgres\n    target: web-hosts\n    group: shop",
    );
    fs::write(path("policies/root.yaml"), login).unwrap();
    let (code, text) = check("");
    assert_eq!(code, Some(5), "{text}");
    assert!(
        text.contains("is a PostgreSQL login, which target `web-hosts` cannot issue"),
        "{text}"
    );
}

/// T-149
#[tokio::test]
async fn a_new_ca_key_signs_after_a_reload_and_a_broken_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for name in ["first", "second", "job"] {
        keygen(&path(name), &["-t", "ed25519"]);
    }
    // In one step, so that no look at the file finds half a key.
    let put = |name: &str| {
        fs::copy(path(name), path("draft")).unwrap();
        fs::rename(path("draft"), path("ca")).unwrap();
    };
    put("first");
    let target = format!(
        "web-hosts: {{ kind: ssh-ca, key: {{ file: {} }} }}",
        path("ca").display()
    );
    let broker = TestBroker::builder()
        .policies(POLICIES)
        .target(&target)
        .real_targets()
        .reloading(Duration::from_millis(40))
        .start()
        .await;
    let public = fs::read_to_string(path("job.pub")).unwrap();
    let body =
        json!({ "credential": "deploy-host", "inputs": { "public_key": public.trim_end() } });
    let signer = async || {
        let token = broker.github(|_| {});
        let answer = broker.ask("/api/credentials", &token, &body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        fs::write(path("job-cert.pub"), answer.text("/credential/certificate")).unwrap();
        run(Command::new("ssh-keygen")
            .arg("-Lf")
            .arg(path("job-cert.pub")))
    };
    let fingerprint = |name: &str| CaKey::read(&path(name)).unwrap().fingerprint();
    assert!(signer().await.contains(&fingerprint("first")));
    // Other policies alone are no change of the targets.
    let revision = || broker.now().components().policies.revision().to_owned();
    let before = revision();
    let policies = broker.file("policies/root.yaml");
    let text = fs::read_to_string(&policies).unwrap();
    fs::write(&policies, format!("{text}# changed\n")).unwrap();
    until("other policies serve", async || revision() != before).await;
    assert_eq!(broker.events("settings").await, Vec::<Value>::new());
    // That of the start, and that of the change.
    assert_eq!(broker.events("policies").await.len(), 2);
    put("second");
    until("the new key signs", async || {
        signer().await.contains(&fingerprint("second"))
    })
    .await;
    // Also where the settings are as before, the record says that another key signs.
    let events = broker.events("settings").await;
    assert_eq!(events[0]["changed"]["first"], json!(["targets"]));
    let alerts = broker.events("alert").await;
    let [alert] = alerts.as_slice() else {
        panic!("{alerts:?}")
    };
    assert_eq!(alert["reason"], "target.key");
    assert_eq!(
        alert["message"],
        format!(
            "target `web-hosts` signs with key {}, before with {}: hosts that do not trust the new key refuse its certificates",
            fingerprint("second"),
            fingerprint("first")
        )
    );
    fs::write(path("broken"), "-----BEGIN OPENSSH PRIVATE KEY-----\n").unwrap();
    fs::set_permissions(path("broken"), fs::Permissions::from_mode(0o600)).unwrap();
    put("broken");
    until("the broken key is told of", async || {
        let ready = get(broker.operator(), "/readyz").await;
        ready.body.contains("is not a complete private key")
    })
    .await;
    assert!(signer().await.contains(&fingerprint("second")));
    // A target without upkeep is not one that cannot be reached.
    let ready = get(broker.operator(), "/readyz").await.json();
    assert_eq!(ready["targets"].get("web-hosts"), None, "{ready}");
}
