//! A database whose login names no authorities: psql checks it with those that the client found.

use std::path::Path;
use std::process::Output;

use hallpass::dev::postgres::{Options, Server};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::fake::{Fake, Reply, login, stderr, stdout, told};
use crate::support::leaks::{self, Observed as _};

/// A certificate for `localhost` with its key, and its authority's.
pub(crate) fn certificates() -> ((String, String), String) {
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    // A certificate named like its authority would be taken for self-signed.
    ca.distinguished_name
        .push(DnType::CommonName, "the test's authority");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &ca).unwrap();
    let key = key.serialize_pem();
    leaks::private_key(&key);
    ((leaf.pem(), key), ca.pem())
}

/// psql 15, whose libpq has no word for a machine's own authorities, and the same program over libpq
/// 18, which is built with an OpenSSL that finds none on this machine, as in the wheels of Python.
/// Only the newer one takes `require_auth`, so neither runs in place of the other.
fn clients() -> [Vec<String>; 2] {
    let psql = ["/usr/lib/postgresql/15/bin/psql", "-XAtd"].map(str::to_owned);
    let library = concat!(
        "LD_LIBRARY_PATH=",
        env!("CARGO_MANIFEST_DIR"),
        "/target/embedded-postgres/native/lib"
    );
    let with = |prefix: &[&str], database: &str| {
        let mut words: Vec<String> = prefix.iter().copied().map(str::to_owned).collect();
        words.extend(psql.clone());
        words.push(database.to_owned());
        words
    };
    [
        with(&[], "dbname=postgres"),
        with(&["env", library], "require_auth=scram-sha-256"),
    ]
}

#[test]
fn psql_checks_the_server_with_the_authorities_of_the_machine_or_of_the_option() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (tls, ca) = certificates();
    let options = Options {
        tls: Some(tls),
        ..Options::default()
    };
    let server = runtime.block_on(Server::start(&options)).unwrap();
    let fake = Fake::start();
    leaks::secret("a password", server.password().expose());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, ca).unwrap();
    let missing = folder.path().join("missing.pem");
    let run = |client: &[String], variables: &[(&str, &Path)]| -> Output {
        let mut answer = login("shop-db/migrate");
        let credential = &mut answer["hallpass"]["credential"];
        credential["host"] = "localhost".into();
        credential["port"] = server.port().into();
        credential["database"] = "postgres".into();
        credential["username"] = "postgres".into();
        credential["password"] = server.password().expose().as_str().into();
        credential["options"] = serde_json::Value::Null;
        fake.next("/token", Reply::json(200, &answer));
        let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        fake.on_github(&["exec", "shop-db/migrate", "--"])
            .args(client)
            .args(["-c", sql])
            .env("RUNNER_TEMP", folder.path())
            .env("HOME", folder.path())
            .envs(variables.iter().copied())
            .observed()
    };
    for client in clients() {
        for name in ["SSL_CERT_FILE", "HALLPASS_CA"] {
            let output = run(&client, &[(name, &file)]);
            assert_eq!(output.status.code(), Some(0), "{name}: {}", told(&output));
            assert_eq!(stdout(&output), "t\n");
        }
        // Neither a machine's list nor the public one, where the machine has none, knows ours.
        for variables in [&[][..], &[("SSL_CERT_FILE", missing.as_path())]] {
            let output = run(&client, variables);
            assert_eq!(output.status.code(), Some(2), "{}", told(&output));
            assert!(
                stderr(&output).contains("certificate verify failed"),
                "{}",
                told(&output)
            );
        }
    }
}

#[test]
fn a_login_whose_server_is_not_checked_gets_no_authorities() {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    for (sslmode, is_named) in [
        ("disable", false),
        ("verify-ca", true),
        ("verify-full", true),
    ] {
        let mut answer = login("shop-db/migrate");
        answer["hallpass"]["credential"]["sslmode"] = sslmode.into();
        fake.next("/token", Reply::json(200, &answer));
        let output = fake
            .on_github(&["get", "shop-db/migrate", "--format", "dotenv"])
            .env("TMPDIR", folder.path())
            .observed();
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        let text = stdout(&output);
        assert_eq!(text.contains("\nPGSSLROOTCERT=/"), is_named, "{sslmode}");
        assert_eq!(text.contains("&sslrootcert=%2F"), is_named, "{sslmode}");
    }
}
