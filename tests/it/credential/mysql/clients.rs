//! From the printed files to a job's client: what an administrator, a broker and a job do, with the programs they use.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::stage::{APPLICATION, PASSWORD};
use crate::client::fake::hallpass;
use crate::client::real::Broker;
use crate::support::leaks::{self, Observed as _};
use crate::support::mariadb::{MariaDb, flavor};
use hallpass::credential::database::mysql::Flavor;

const POLICIES: &str = r#"
issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "48213377" } ] }
credentials:
  shop-db/read: { kind: mysql, target: shop-db, group: app_ro, max_ttl: 10m, owner: team-shop, purpose: reports, class: moderate }
  shop-db/migrate:
    kind: mysql
    target: shop-db
    group: app_migrator
    mode: checkout
    max_ttl: 10m
    owner: team-shop
    purpose: migrations
    class: moderate
policies:
  - name: shop
    issuer: github
    when: { repository: acme/shop, repository_id: "702114589", ref: refs/heads/main }
    grant: [ { credential: shop-db/read, ttl: 5m }, { credential: shop-db/migrate, ttl: 5m } ]
"#;

/// T-92, T-410, T-416: no step has a password in its arguments.
#[test]
fn an_administrator_installs_what_is_printed_and_jobs_log_in_with_their_client() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(MariaDb::start(&[]));
    runtime.block_on(server.run(&APPLICATION));
    leaks::secret("a password", PASSWORD);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    fs::write(path.join("password"), PASSWORD).unwrap();
    let target = format!(
        "targets: {{ shop-db: {{ kind: mysql, host: 127.0.0.1, port: {}, databases: [app], tls: disable, user: hallpass, \
         password: {{ file: password }} }} }}\n",
        server.port()
    );
    let broker = Broker::start_with(POLICIES, &target, folder);
    let version = match flavor() {
        Flavor::MariaDb => "10",
        Flavor::MySql => "9",
    };
    for arguments in [
        &["target", "install", "shop-db", "--server-version", version][..],
        &["target", "passwords", "shop-db"],
    ] {
        let printed = operator(&path, arguments);
        assert!(!printed.contains(PASSWORD));
        administrator(&server, &path, &printed);
    }
    operator(&path, &["target", "check", "shop-db"]);

    let job = |credential: &str, sql: &str| {
        let file = path.join("my.cnf");
        let token = broker.token(|_| {});
        let arguments = ["exec", credential, "--file"];
        let mut job = broker.command(&token, &arguments);
        job.arg(format!("mysql={}", file.display()))
            .args(["--", "mariadb"])
            .arg(format!("--defaults-file={}", file.display()))
            .args(["-N", "-e", sql]);
        let done = job.env("PATH", "/usr/bin:/bin").observed();
        assert!(!file.exists());
        done
    };
    let read = job("shop-db/read", "SELECT SUM(id), CURRENT_ROLE() FROM items");
    assert_eq!(text(&read), "3\tapp_ro");
    let write = job("shop-db/read", "DELETE FROM items");
    assert!(String::from_utf8_lossy(&write.stderr).contains("denied"));
    let migrate = "CREATE VIEW doubled AS SELECT id * 2 AS twice FROM items; SELECT CURRENT_USER()";
    assert_eq!(text(&job("shop-db/migrate", migrate)), "app_migrator@%");
    // The view works without the job that made it, and no login is left.
    let after = "SELECT SUM(twice) FROM doubled";
    assert_eq!(text(&job("shop-db/read", after)), "6");
    let left = "SELECT CAST(COUNT(*) AS CHAR) FROM mysql.user WHERE User REGEXP '^hp_'";
    assert_eq!(runtime.block_on(server.read(left)), "0");

    let printed = operator(
        &path,
        &[
            "target",
            "uninstall",
            "shop-db",
            "--server-version",
            version,
        ],
    );
    administrator(&server, &path, &printed);
    let left = "SELECT CAST(COUNT(*) AS CHAR) FROM mysql.user WHERE User LIKE 'hallpass%'";
    assert_eq!(runtime.block_on(server.read(left)), "0");
}

/// Runs a printed file as its first lines say.
fn administrator(server: &MariaDb, folder: &Path, file: &str) {
    let path = folder.join("file.sql");
    fs::write(&path, file).unwrap();
    let done = Command::new("mariadb")
        .args(["--no-defaults", "-u", "root", "-S"])
        .arg(server.file("s"))
        .stdin(Stdio::from(fs::File::open(&path).unwrap()))
        .observed();
    assert_eq!(text(&done), "");
}

/// What `hallpass` printed to an operator.
fn operator(folder: &Path, arguments: &[&str]) -> String {
    let mut command = hallpass(arguments);
    command.arg("--config").arg(folder.join("hallpass.yaml"));
    text(&command.observed())
}

#[track_caller]
fn text(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone())
        .unwrap()
        .trim()
        .to_owned()
}
