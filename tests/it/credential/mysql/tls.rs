//! TLS between the broker and the server, and of what it makes.

use std::fs;

use hallpass::credential::database::mysql::{Flavor, MysqlSettings, Tls};
use mysql_async::prelude::Queryable as _;

use super::stage::{Stage, fresh_random, order};
use crate::client::tls::certificates;
use crate::support::mariadb::{MariaDb, flavor};

/// T-57: the certificate is checked, and a login that was made over TLS is good for nothing else.
#[tokio::test]
async fn the_broker_checks_the_server_and_its_logins_need_tls() {
    let ((certificate, key), ca) = certificates();
    let (_, other) = certificates();
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("cert.pem", &certificate),
        ("key.pem", &key),
        ("ca.pem", &ca),
        ("other.pem", &other),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let path = |name: &str| folder.path().join(name);
    let server = MariaDb::start(&[
        &format!("--ssl-cert={}", path("cert.pem").display()),
        &format!("--ssl-key={}", path("key.pem").display()),
    ])
    .await;
    let mut stage = Stage::on(server).await;
    let over_tls = |ca: &str| MysqlSettings {
        host: "localhost".to_owned(),
        tls: Tls::VerifyFull,
        ca: Some(path(ca)),
        ..stage.settings.clone()
    };
    let (trusted, stranger) = (over_tls("ca.pem"), over_tls("other.pem"));
    let elsewhere = MysqlSettings {
        host: "127.0.0.1".to_owned(),
        ..trusted.clone()
    };
    for (settings, what) in [(stranger, "another authority"), (elsewhere, "another name")] {
        stage.settings = settings;
        stage.targets = stage.replica();
        let error = stage
            .try_mint(order("app_ro", 600, &fresh_random()))
            .await
            .err()
            .unwrap();
        assert_eq!(error.reason.code(), "database.unreachable", "{what}");
    }
    stage.settings = trusted;
    stage.targets = stage.replica();
    stage.install().await;
    let login = stage.mint("app_ro", 600).await;
    // Without TLS, as the stage logs in.
    assert!(stage.log_in(&login).await.is_err());
    let errors = stage.errors().await;
    assert!(errors.is_empty(), "{errors:#?}");
    stage.revoke(&login).await;
    assert_eq!(stage.accounts().await, "0");
}

/// T-57: `verify-full` never falls back.
#[tokio::test]
async fn a_server_without_tls_is_refused() {
    let without = match flavor() {
        Flavor::MariaDb => "--skip-ssl",
        Flavor::MySql => "--tls-version=",
    };
    let mut stage = Stage::start_with(&[without]).await;
    let mut session = stage.thief().await;
    session.query_drop("DO 0").await.unwrap();
    stage.settings.tls = Tls::VerifyFull;
    let errors = stage.errors().await;
    assert!(
        errors[0].message.contains("cannot be reached"),
        "{errors:?}"
    );
}
