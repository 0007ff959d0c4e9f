//! The real client of MariaDB with what a job got: an option file, variables, an address.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use super::fake::{Fake, Reply, login, stderr, stdout, told};
use super::tls::certificates;
use crate::support::leaks::{self, Observed as _};
use crate::support::mariadb::MariaDb;

/// Everything that an option file could read as something else.
const HOSTILE: &str = r"#p'a; s\s\n %=[x]\";

fn answer(port: u16, username: &str, password: &str, ssl_mode: &str) -> Value {
    let mut answer = login("shop-db/read");
    answer["access_token"] = password.into();
    answer["issued_token_type"] = "urn:hallpass:credential:mysql".into();
    answer["hallpass"]["credential"] = json!({
        "kind": "mysql", "name": "shop-db/read", "username": username, "password": password,
        "host": "localhost", "port": port, "database": "app", "ssl_mode": ssl_mode, "ca": null,
        "url": "mysql://ignored",
    });
    answer
}

/// T-410
#[test]
fn the_client_logs_in_with_an_option_file_and_checks_the_server() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ((certificate, key), ca) = certificates();
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("cert.pem", &certificate),
        ("key.pem", &key),
        ("ca.pem", &ca),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let path = |name: &str| folder.path().join(name).display().to_string();
    let server = runtime.block_on(MariaDb::start(&[
        &format!("--ssl-cert={}", path("cert.pem")),
        &format!("--ssl-key={}", path("key.pem")),
    ]));
    leaks::secret("a password", HOSTILE);
    let user = format!(
        "CREATE USER job@'%' IDENTIFIED BY '{}' REQUIRE SSL",
        HOSTILE.replace('\\', r"\\").replace('\'', "''")
    );
    // The server's own log has this password in the clear: hallpass sends a hash.
    runtime.block_on(server.run(&[
        "SET GLOBAL general_log = OFF",
        "CREATE DATABASE app",
        &user,
        "GRANT SELECT ON app.* TO job@'%'",
    ]));
    let fake = Fake::start();
    let file = folder.path().join("my.cnf");
    let run = |ca: Option<&Path>, program: &[&str]| -> Output {
        let reply = answer(server.port(), "job", HOSTILE, "VERIFY_IDENTITY");
        fake.next("/token", Reply::json(200, &reply));
        let mut command = fake.on_github(&["exec", "shop-db/read", "--file"]);
        command
            .arg(format!("mysql={}", file.display()))
            .arg("--")
            .args(program);
        if let Some(ca) = ca {
            command.env("SSL_CERT_FILE", ca);
        }
        command
            .env("RUNNER_TEMP", folder.path())
            .env("HOME", folder.path())
            .observed()
    };
    let from_file = format!("--defaults-file={}", file.display());
    let sql = "SELECT CURRENT_USER(), DATABASE(), VARIABLE_VALUE <> '' FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME = 'Ssl_cipher'";
    let client = [
        "mariadb",
        &from_file,
        "-N",
        "-B",
        "-h",
        "localhost",
        "--protocol=tcp",
        "-e",
        sql,
    ];
    let authority = folder.path().join("ca.pem");
    let output = run(Some(&authority), &client);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(stdout(&output), "job@%\tapp\t1\n");
    // Other tools refuse `database` in the group that all of them read.
    let output = run(
        Some(&authority),
        &[
            "mariadb-dump",
            &from_file,
            "--protocol=tcp",
            "--compact",
            "app",
        ],
    );
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    // A server whose certificate is another's.
    let output = run(None, &client);
    assert_ne!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("SSL"), "{}", told(&output));
    assert!(!file.exists(), "the file goes with the command");
}

/// `MYSQL_PWD` would be the password in a place that others can read.
#[test]
fn variables_are_those_of_mysql_and_the_password_is_not_in_mysql_pwd() {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let said = |format: &str| {
        let reply = answer(
            3_306,
            "hp_abc1234_x",
            super::fake::PASSWORD,
            "VERIFY_IDENTITY",
        );
        fake.next("/token", Reply::json(200, &reply));
        let output = fake
            .on_github(&["get", "shop-db/read", "--format", format])
            .env("RUNNER_TEMP", folder.path())
            .env("TMPDIR", folder.path())
            .observed();
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        stdout(&output)
    };
    let text = said("dotenv");
    for name in [
        "MYSQL_HOST=",
        "MYSQL_TCP_PORT=",
        "MYSQL_DATABASE=",
        "MYSQL_USER=",
        "MYSQL_PASSWORD=",
        "MYSQL_SSL_CA=",
        "DATABASE_URL=",
    ] {
        assert!(
            text.lines().any(|line| line.starts_with(name)),
            "{name}: {text}"
        );
    }
    assert!(!text.contains("MYSQL_PWD") && !text.contains("PGPASSWORD"));
    assert!(said("url").starts_with("mysql://hp_abc1234_x:"));
    // libpq's files are not for it.
    let reply = answer(3_306, "hp_abc1234_x", super::fake::PASSWORD, "DISABLED");
    fake.next("/token", Reply::json(200, &reply));
    let output = fake
        .on_github(&["get", "shop-db/read", "--format", "pgpass"])
        .observed();
    assert_ne!(output.status.code(), Some(0));
    assert!(
        stderr(&output).contains("needs member `sslmode`"),
        "{}",
        told(&output)
    );
}
