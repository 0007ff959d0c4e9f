//! `mode: certificate` against real servers: who gets in with a certificate, and who does not.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use data_encoding::BASE64;
use hallpass::clock::{Clock as _, SystemClock, Timestamp};
use hallpass::credential::database::postgres::certificate::{
    CertificateAuthority, CertificateRequest, IssuedCertificate, PostgresCaSettings,
};
use hallpass::credential::target::{Installation, TargetSettings as _};
use hallpass::dev::postgres::{Options, Server};
use hallpass::policy::PolicySet;
use hallpass::replay::IdempotencyKey;
use tempfile::TempDir;

use super::stage::{KEYS, Version, fresh_random};
use crate::support::leaks::{self, Observed as _};

struct Stage {
    server: Server,
    folder: TempDir,
    authority: CertificateAuthority,
    _leaks: leaks::Guard,
}

fn ca_key(folder: &Path, name: &str) -> PathBuf {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let path = folder.join(name);
    fs::write(&path, key.serialize_pem()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn settings(key: PathBuf) -> PostgresCaSettings {
    PostgresCaSettings {
        host: "127.0.0.1".to_owned(),
        port: 5_432,
        databases: vec!["postgres".to_owned()],
        roles: vec!["deploy_rw".to_owned(), "deploy_ro".to_owned()],
        key,
        ca: None,
    }
}

fn installation(settings: &PostgresCaSettings) -> String {
    let policies = PolicySet::from_texts(&[("root.yaml", POLICIES)])
        .unwrap()
        .set;
    let wanted = Installation {
        name: "shop",
        policies: &policies,
        server_version: None,
        uninstall: false,
    };
    settings.installation(&wanted).unwrap().text
}

/// The lines that begin so, of the printed text.
fn lines<'t>(text: &'t str, fronts: &[&str]) -> Vec<&'t str> {
    let is_one = |line: &&str| fronts.iter().any(|front| line.starts_with(front));
    text.lines().filter(is_one).collect()
}

const POLICIES: &str = r#"
issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "48213377" } ] }
credentials:
  shop/deploy:
    kind: postgres-cert
    target: shop
    role: deploy_rw
    max_ttl: 10m
    owner: team-shop
    purpose: deploys
    class: moderate
policies:
  - name: shop-deploy
    issuer: github
    when: { repository: acme/shop, repository_id: "702114589", ref: refs/heads/main }
    grant: [ { credential: shop/deploy, ttl: 5m } ]
"#;

impl Stage {
    /// A server with the lines of `target install` in its files.
    async fn start(version: Version) -> Self {
        let guard = leaks::watch();
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let settings = settings(ca_key(folder.path(), "ca.key"));
        let text = installation(&settings);
        let pem = text
            .split("-----BEGIN")
            .nth(1)
            .unwrap()
            .split("-----END")
            .next()
            .unwrap();
        let pem = format!("-----BEGIN{pem}-----END CERTIFICATE-----\n");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            path.display().to_string()
        };
        let ca_file = write("client-ca.pem", &pem);
        let ident = write("pg_ident.conf", &lines(&text, &["hallpass "]).join("\n"));
        let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        write("server.pem", &own.cert.pem());
        let programs = version.programs();
        let access = lines(&text, &["hostssl ", "host ", "local "]);
        let options = Options {
            programs: Some(programs),
            tls: Some((own.cert.pem(), own.signing_key.serialize_pem())),
            settings: vec![
                ("ssl_ca_file".to_owned(), ca_file),
                ("ident_file".to_owned(), ident),
            ],
            access: access.into_iter().map(str::to_owned).collect(),
        };
        let server = Server::start(&options).await.unwrap();
        let client = server.connect("postgres").await.unwrap();
        for statement in lines(&text, &["#   CREATE ROLE"]) {
            let statement = statement.trim_start_matches('#');
            client.batch_execute(statement).await.unwrap();
        }
        let authority = CertificateAuthority::read(&settings.key).unwrap();
        Self {
            server,
            folder,
            authority,
            _leaks: guard,
        }
    }

    fn sign(&self, role: &str, from: i64, to: i64) -> IssuedCertificate {
        let now = SystemClock::new().now();
        sign_by(
            &self.authority,
            role,
            &fresh_random(),
            None,
            (now.plus(from), now.plus(to)),
        )
    }

    /// What psql says, with a certificate and as a user.
    fn log_in(&self, given: &IssuedCertificate, user: &str) -> Output {
        let (key, certificate) = (
            self.folder.path().join("job.key"),
            self.folder.path().join("job.crt"),
        );
        let _ = fs::remove_file(&key);
        let der = BASE64.decode(given.key.expose().as_bytes()).unwrap();
        fs::write(&key, der_as_pem(&der)).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&certificate, &given.certificate).unwrap();
        Command::new("/usr/lib/postgresql/15/bin/psql")
            .args(["-X", "-A", "-t", "-c", "SELECT current_user"])
            .env_clear()
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.server.port().to_string())
            .env("PGDATABASE", "postgres")
            .env("PGUSER", user)
            .env("PGSSLMODE", "verify-full")
            .env("PGSSLROOTCERT", self.folder.path().join("server.pem"))
            .env("PGSSLCERT", &certificate)
            .env("PGSSLKEY", &key)
            .env("PGCONNECT_TIMEOUT", "5")
            .observed()
    }
}

fn der_as_pem(der: &[u8]) -> String {
    let text = BASE64.encode(der);
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}

fn sign_by(
    authority: &CertificateAuthority,
    role: &str,
    token: &str,
    key: Option<&IdempotencyKey>,
    (minted_at, expires_at): (Timestamp, Timestamp),
) -> IssuedCertificate {
    let request = CertificateRequest {
        target: "shop",
        credential: "shop/deploy",
        role,
        issuer: "https://ci.test",
        token,
        key,
        minted_at,
        expires_at,
    };
    let signed = authority.sign(&KEYS, &request, minted_at).unwrap();
    leaks::secret("a private key", signed.key.expose());
    signed
}

fn refused(output: &Output, why: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(why), "{said}");
}

async fn who_gets_in(version: Version) {
    let stage = Stage::start(version).await;
    let good = stage.sign("deploy_rw", 0, 300);
    let done = stage.log_in(&good, "deploy_rw");
    assert_eq!(
        String::from_utf8_lossy(&done.stdout).trim(),
        "deploy_rw",
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    // Another role of the target, one that is not, and the superuser.
    refused(&stage.log_in(&good, "deploy_ro"), "authentication failed");
    refused(&stage.log_in(&good, "postgres"), "no password supplied");
    // Over: also where the broker signed it.
    refused(
        &stage.log_in(&stage.sign("deploy_rw", -600, -60), "deploy_rw"),
        "expired",
    );
    // A name that only begins like one, or holds the words of another.
    for role in ["deploy_rw.x", "x.deploy_rw", "deploy_rwx"] {
        refused(
            &stage.log_in(&stage.sign(role, 0, 300), "deploy_rw"),
            "authentication failed",
        );
    }
    // Signed by another authority, with all else right.
    let other = CertificateAuthority::read(&ca_key(stage.folder.path(), "other.key")).unwrap();
    let now = SystemClock::new().now();
    let forged = sign_by(
        &other,
        "deploy_rw",
        &fresh_random(),
        None,
        (now, now.plus(300)),
    );
    let output = stage.log_in(&forged, "deploy_rw");
    assert!(!output.status.success());
    // A job's certificate signs no other.
    assert!(good.certificate.contains("BEGIN CERTIFICATE"));
    let client = stage.server.connect("postgres").await.unwrap();
    let sql = "SELECT count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL";
    assert_eq!(
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0),
        0
    );
}

/// T-450, T-451
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_lets_its_role_in_until_it_ends_and_nobody_else_on_15() {
    who_gets_in(Version::V15).await;
}

/// T-450, T-451
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_lets_its_role_in_until_it_ends_and_nobody_else_on_18() {
    who_gets_in(Version::V18).await;
}

/// T-451: the statement that `target install` prints.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_outlives_its_certificate_is_found_by_its_name() {
    let stage = Stage::start(Version::V18).await;
    let text = installation(&settings(stage.folder.path().join("ca.key")));
    let (_, statement) = text.split_once("SELECT pg_terminate_backend").unwrap();
    let statement = format!("SELECT pg_terminate_backend{statement}").replace("\n#", "\n");
    let client = stage.server.connect("postgres").await.unwrap();
    // The expression that compares ends, as the server works it out.
    let now = statement
        .split("< (")
        .nth(1)
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .trim_end()
        .trim_end_matches(')');
    let row = client
        .query_one(
            &format!("SELECT ({now}), extract(epoch FROM now())::bigint"),
            &[],
        )
        .await
        .unwrap();
    let name = format!("hp_{}_0123456789abc", row.get::<_, String>(0));
    let read = hallpass::lease::LeaseName::parse(&name).unwrap();
    assert_eq!(read.expires_at().unix(), row.get::<_, i64>(1));
    client.batch_execute(&statement).await.unwrap();
}

/// T-110
#[test]
fn a_repeat_gets_the_same_key_name_and_number_and_another_key_does_not() {
    let _guard = leaks::watch();
    let folder = tempfile::tempdir().unwrap();
    let authority = CertificateAuthority::read(&ca_key(folder.path(), "ca.key")).unwrap();
    let key = |text: &str| IdempotencyKey::parse(&format!("{text:-<32}")).unwrap();
    let (one, two) = (key("one"), key("two"));
    let now = Timestamp::from_unix(1_790_000_000);
    let times = (now, now.plus(300));
    let first = sign_by(&authority, "deploy_rw", "t", Some(&one), times);
    let again = sign_by(&authority, "deploy_rw", "t", Some(&one), times);
    assert_eq!(
        (&first.name, &first.serial, first.key.expose()),
        (&again.name, &again.serial, again.key.expose())
    );
    let other = sign_by(&authority, "deploy_rw", "t", Some(&two), times);
    assert_ne!(first.key.expose(), other.key.expose());
    let fresh = sign_by(&authority, "deploy_rw", "t", None, times);
    assert_ne!(
        sign_by(&authority, "deploy_rw", "t", None, times)
            .key
            .expose(),
        fresh.key.expose()
    );
    insta::assert_snapshot!(first.name.split('.').take(2).collect::<Vec<_>>().join("."), @"hp.deploy_rw");
}

/// T-450
#[test]
fn what_is_printed_names_each_role_and_quotes_what_the_server_splits() {
    let _guard = leaks::watch();
    let folder = tempfile::tempdir().unwrap();
    let text = installation(&settings(ca_key(folder.path(), "ca.key")));
    insta::assert_snapshot!(lines(&text, &["hostssl ", "host ", "local ", "hallpass "]).join("\n"), @r#"
    hostssl postgres deploy_rw all cert map=hallpass
    host all deploy_rw all reject
    local all deploy_rw reject
    hostssl postgres deploy_ro all cert map=hallpass
    host all deploy_ro all reject
    local all deploy_ro reject
    hallpass "/^hp\.deploy_rw\.[0-9a-v]{7}\.[0-9a-v]{13}$" deploy_rw
    hallpass "/^hp\.deploy_ro\.[0-9a-v]{7}\.[0-9a-v]{13}$" deploy_ro
    "#);
}
