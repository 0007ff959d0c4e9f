//! `hallpass target` and `hallpass leases` where the only target has no databases and no leases.

use std::fs;

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
