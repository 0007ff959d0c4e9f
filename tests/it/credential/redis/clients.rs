//! What a job gets, with the programs that jobs use.

use std::fs;
use std::process::{Command, Output};

use super::stage::{Flavour, PASSWORD, Stage};
use crate::client::real::Broker;
use crate::client::tls::certificates;
use crate::support::leaks::Observed as _;

pub(super) const POLICIES: &str = r#"
issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "48213377" } ] }
credentials:
  cache/read:
    kind: redis
    target: cache
    group: app_ro
    max_ttl: 10m
    owner: team-shop
    purpose: reads the cache
    class: moderate
policies:
  - name: shop-read
    issuer: github
    when: { repository: acme/shop, repository_id: "702114589", ref: refs/heads/main }
    grant: [ { credential: cache/read, ttl: 5m } ]
"#;

fn broker(port: u16) -> Broker {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("password"), PASSWORD).unwrap();
    let target = format!(
        "targets: {{ cache: {{ kind: redis, host: 127.0.0.1, port: {port}, tls: disable, user: hallpass, \
         password: {{ file: password }}, groups: {{ app_ro: {{ keys: [\"%R~app:*\"], commands: [+@read, +@connection] }} }} }} }}\n"
    );
    Broker::start_with(POLICIES, &target, folder)
}

fn stdout(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone())
        .unwrap()
        .trim()
        .to_owned()
}

/// T-92: never on a command line, where everybody on the machine could read it.
#[test]
fn redis_cli_and_valkey_cli_log_in_with_what_exec_gives_them() {
    let stage = Stage::start(Flavour::Redis);
    let broker = broker(stage.server().port());
    let valkey = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/target/valkey/usr/bin/valkey-cli"
    );
    for program in ["redis-cli", valkey] {
        let script = format!(
            "{program} -h \"$REDIS_HOST\" -p \"$REDIS_PORT\" --user \"$REDIS_USERNAME\" GET app:k"
        );
        let token = broker.token(|_| {});
        let mut job = broker.command(&token, &["exec", "cache/read", "--", "sh", "-c", &script]);
        let done = job
            .env("PATH", "/usr/bin:/bin")
            .env("VALKEYCLI_AUTH", "of another server")
            .observed();
        assert_eq!(stdout(&done), "1", "{program}");
    }
    // The login is gone with its command.
    assert_eq!(stage.leases(), Vec::<String>::new());
}

#[test]
fn a_login_in_each_format_is_one_that_clients_read() {
    let stage = Stage::start(Flavour::Redis);
    let broker = broker(stage.server().port());
    let get = |format: &str| {
        let token = broker.token(|_| {});
        stdout(
            &broker
                .command(&token, &["get", "cache/read", "--format", format])
                .observed(),
        )
    };
    let url = get("url");
    let client = redis::Client::open(url.as_str()).unwrap();
    let value: String = redis::cmd("GET")
        .arg("app:k")
        .query(&mut client.get_connection().unwrap())
        .unwrap();
    assert_eq!(value, "1");
    let json: serde_json::Value = serde_json::from_str(&get("json")).unwrap();
    let credential = &json["credential"];
    assert_eq!(credential["kind"], "redis");
    assert_eq!(credential["tls"], "disable");
    assert!(
        credential["url"]
            .as_str()
            .unwrap()
            .starts_with("redis://hp_")
    );
    let script = format!(
        "{}\nredis-cli -h \"$REDIS_HOST\" -p \"$REDIS_PORT\" --user \"$REDIS_USERNAME\" GET app:k\nredis-cli -u \"$REDIS_URL\" --no-auth-warning GET app:k",
        get("env")
    );
    let shell = Command::new("sh")
        .args(["-euc", &script])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .observed();
    assert_eq!(stdout(&shell), "1\n1");
}

/// T-57: the certificate is checked by broker and job.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_and_job_check_the_server_over_tls() {
    let ((certificate, key), ca) = certificates();
    let (_, other) = certificates();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    for (name, text) in [
        ("cert.pem", &certificate),
        ("key.pem", &key),
        ("ca.pem", &ca),
        ("other.pem", &other),
    ] {
        fs::write(path(name), text).unwrap();
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap()
        .port()
        .to_string();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let arguments = [
        "--tls-port",
        &port,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-auth-clients",
        "no",
    ];
    let stage = Stage::with(Flavour::Redis, 1, 1, &arguments);
    let target = |host: &str, ca: &str| {
        format!(
            "targets: {{ cache: {{ kind: redis, host: {host}, port: {port}, ca: {}, user: hallpass, \
             password: {{ file: password }}, groups: {{ app_ro: {{ keys: [\"%R~app:*\"], commands: [+@read, +@connection] }} }} }} }}\n",
            path(ca)
        )
    };
    let get = |target: String, script: &'static str| {
        tokio::task::spawn_blocking(move || {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("password"), PASSWORD).unwrap();
            let broker = Broker::start_with(POLICIES, &target, folder);
            let token = broker.token(|_| {});
            let mut job = broker.command(&token, &["exec", "cache/read", "--", "sh", "-c", script]);
            job.env("PATH", "/usr/bin:/bin").observed()
        })
    };
    let script = "redis-cli -h \"$REDIS_HOST\" -p \"$REDIS_PORT\" --tls --cacert \"$REDIS_CA_FILE\" --user \"$REDIS_USERNAME\" GET app:k";
    assert_eq!(
        stdout(&get(target("localhost", "ca.pem"), script).await.unwrap()),
        "1"
    );
    for target in [
        target("localhost", "other.pem"),
        target("127.0.0.1", "ca.pem"),
    ] {
        let refused = get(target, script).await.unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("database.unreachable"), "{said}");
    }
    assert_eq!(stage.leases(), Vec::<String>::new());
}
