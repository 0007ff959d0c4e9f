//! `hallpass target` and `hallpass leases` where the only target has no databases and no leases.

use std::fs;

use hallpass::dev::postgres::{Options, Server};
use hallpass::rootkey::RootKey;
use tempfile::TempDir;

use crate::client::fake::{hallpass, told};
use crate::ssh::stage::keygen;
use crate::support::broker::write_root_key;
use crate::support::leaks::Observed as _;

const POLICIES: &str = r#"issuers:
  ci: { provider: github, tenants: [ { owner: acme, owner_id: "5550100" } ] }
credentials:
  host: { kind: ssh, target: web-hosts, principals: [deploy], max_ttl: 10m, owner: web team, purpose: tests, class: moderate }
policies:
  - name: shop-deploy
    issuer: ci
    when: { repository: acme/shop, repository_id: "702114589", ref: refs/heads/main }
    grant: [ { credential: host, ttl: 5m } ]
"#;

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    write_root_key(&file("root.key"), &RootKey::generate().unwrap());
    keygen(&file("ca"), &["-t", "ed25519"]);
    fs::create_dir(file("policies")).unwrap();
    fs::write(file("policies/root.yaml"), POLICIES).unwrap();
    let settings = "issuer: https://hallpass.acme.dev\nroot_key: { file: root.key }\n\
         listen: { public: 127.0.0.1:0, operator: 127.0.0.1:0 }\n\
         policies: { path: policies }\n\
         audit: { sinks: [ { kind: file, path: audit.jsonl, required: true } ] }\n\
         targets:\n  web-hosts: { kind: ssh-ca, key: { file: ca } }\n";
    fs::write(file("hallpass.yaml"), settings).unwrap();
    folder
}

#[test]
fn a_target_without_databases_or_leases_is_a_wrong_command_or_a_finding() {
    let folder = folder();
    let run = |arguments: &[&str]| {
        let mut command = hallpass(arguments);
        command
            .arg("--config")
            .arg(folder.path().join("hallpass.yaml"));
        let output = command.observed();
        (output.status.code(), told(&output))
    };
    for word in ["install", "uninstall"] {
        let (code, said) = run(&["target", word, "web-hosts", "--server-version", "16"]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("leave it out"), "{said}");
        let (code, said) = run(&["target", word, "web-hosts"]);
        assert_eq!(code, Some(0), "{said}");
    }
    let login = "hp_1lg7h0k_g6d9l8b5rmam3";
    for target in [&[][..], &["--target", "web-hosts"]] {
        let arguments = [&["leases", "revoke", login], target].concat();
        let (code, said) = run(&arguments);
        assert_eq!(code, Some(4), "{said}");
        assert!(said.contains("no such lease"), "{said}");
    }
    let (code, said) = run(&["leases", "revoke", login, "--target", "other"]);
    assert_eq!(code, Some(2), "{said}");
}

#[test]
fn passwords_are_those_of_databases() {
    let folder = folder();
    let config = folder.path().join("hallpass.yaml").display().to_string();
    let output = hallpass(&["target", "passwords", "web-hosts", "--config", &config]).observed();
    assert_eq!(output.status.code(), Some(5), "{}", told(&output));
    assert!(
        told(&output).contains("no logins with passwords"),
        "{}",
        told(&output)
    );
    let output = hallpass(&["target", "passwords", "other", "--config", &config]).observed();
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
}

/// It is not unreachable: it answers, and says what it lacks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_tls_is_told_from_one_that_does_not_answer() {
    let server = Server::start(&Options::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    let database = format!("127.0.0.1:{}/shop", server.port());
    let arguments = [
        "init",
        &path,
        "--issuer",
        "https://hallpass.acme.dev",
        "--github",
        "acme/shop",
        "--owner-id",
        "1",
        "--repository-id",
        "2",
        "--postgres",
        &database,
    ];
    let check = |config: &str| {
        let output = hallpass(&["target", "check", "shop-db", "--config", config]).observed();
        assert_eq!(output.status.code(), Some(4), "{}", told(&output));
        told(&output)
    };
    let said = tokio::task::block_in_place(|| {
        let output = hallpass(&arguments).observed();
        assert!(output.status.success(), "{}", told(&output));
        let file = folder.path().join("hallpass.yaml");
        let settings = fs::read_to_string(&file).unwrap();
        fs::write(&file, settings.replace("tls: disable", "tls: verify-full")).unwrap();
        check(&file.display().to_string())
    });
    assert!(said.contains("answers without TLS"), "{said}");
    assert!(said.contains("turn on `ssl` on the server"), "{said}");
    assert!(!said.contains("cannot be reached"), "{said}");
}
