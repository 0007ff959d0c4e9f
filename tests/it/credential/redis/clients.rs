//! What a job gets, with the programs that jobs use.

use std::fs;
use std::process::{Command, Output};

use super::stage::{Flavour, PASSWORD, Stage};
use crate::client::real::Broker;
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
