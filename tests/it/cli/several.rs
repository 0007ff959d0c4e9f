//! Several credentials at once: all of them are delivered, or none is left granted.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::Value;

use crate::client::fake::{
    Fake, LEASE, PASSWORD, Reply, jwt, login, refusal, stderr, stdout, told,
};
use crate::support::leaks::Observed as _;

fn get(fake: &Fake, arguments: &[&str]) -> Command {
    fake.on_github(&[&["get"], arguments].concat())
}

fn revoked(fake: &Fake) -> usize {
    let asked = fake.asked("/revoke");
    assert!(asked.iter().all(|asked| asked.form["token"] == LEASE));
    asked.len()
}

/// T-240
#[test]
fn several_credentials_are_one_text_with_a_key_each() {
    let fake = Fake::start();
    let output = get(&fake, &["shop-db/migrate", "deploy-api"]).observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let json: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let names = json["credentials"].as_array().unwrap().iter();
    let names: Vec<_> = names.map(|one| &one["credential"]["name"]).collect();
    assert_eq!(names, ["shop-db/migrate", "deploy-api"]);
    let asked = fake.asked("/token");
    let keys = asked.iter().map(|asked| &asked.headers["idempotency-key"]);
    let keys: BTreeSet<_> = keys.collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(revoked(&fake), 0);
}

#[test]
fn variables_of_several_credentials_have_prefixes() {
    let fake = Fake::start();
    let both = ["SHOP=shop-db/migrate", "API=deploy-api"];
    for format in ["env", "dotenv"] {
        let output = get(&fake, &[&both[..], &["--format", format]].concat()).observed();
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        let script = "set -a; eval \"$1\"; printf '%s %s' \"$SHOP_PGUSER\" \"$API_HALLPASS_TOKEN\"";
        let text = stdout(&output).replace("-c role=shop_owner", "x");
        let read = Command::new("sh")
            .args(["-euc", script, "sh", &text])
            .observed();
        assert_eq!(
            stdout(&read),
            "hp_abc1234_x canary.5d2e9c.a07f13",
            "{format}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("env");
    let output = get(&fake, &[&both[..], &["--github-env"]].concat())
        .env("GITHUB_ENV", &file)
        .observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let text = fs::read_to_string(&file).unwrap();
    assert!(
        text.contains("SHOP_PGUSER<<") && text.contains("API_HALLPASS_TOKEN<<"),
        "{text}"
    );
}

#[test]
fn what_fits_one_credential_only_is_refused_before_the_request() {
    let fake = Fake::start();
    let error = |arguments: &[&str]| {
        let output = get(&fake, arguments).observed();
        assert_eq!(output.status.code(), Some(2), "{}", told(&output));
        stderr(&output)
    };
    insta::assert_snapshot!(error(&["a", "b", "--format", "url"]), @"hallpass: format `url` holds one credential; for several use `json`, a format of variables such as `env`, or one `get` each");
    insta::assert_snapshot!(error(&["A=a", "A=b", "--format", "env"]), @"hallpass: prefix `A` is given twice");
    insta::assert_snapshot!(error(&["A=a", "b"]), @"hallpass: format `json` has no variables that a prefix could name; leave the prefix out");
    insta::assert_snapshot!(error(&["A=a", "b", "--format", "env", "--prefix", "X"]), @"hallpass: `--prefix` is for a single credential without a prefix of its own; write PREFIX=CREDENTIAL");
    insta::assert_snapshot!(error(&["A=a", "b", "--format", "env", "--database-ca", "x"]), @"hallpass: `--database-ca` is for a single credential; use one `get` each");
    assert!(fake.asked("/idtoken").is_empty());
}

/// T-240: the look-up shows that `audit-db/read` is not granted, so it is requested first.
#[test]
fn a_refusal_comes_before_the_token_is_used_for_another_credential() {
    let fake = Fake::start();
    fake.next("/token", refusal("policy.condition"));
    let output = get(&fake, &["shop-db/migrate", "audit-db/read"]).observed();
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(
        stderr(&output).contains("`audit-db/read`: denied:"),
        "{}",
        told(&output)
    );
    let asked = fake.asked("/token");
    let asked: Vec<_> = asked.iter().map(|asked| &asked.form["audience"]).collect();
    assert_eq!(asked, ["audit-db/read"]);
}

/// T-240
#[test]
fn what_was_granted_before_a_refusal_is_revoked_or_reported() {
    for command in ["get", "exec", "exec --keep"] {
        let fake = Fake::start();
        let names = ["A=shop-db/migrate", "B=deploy-api", "C=shop-db/read"];
        // The broker does not say what it offers, so they are requested in their order.
        fake.next("/api/explain", refusal("policy.condition"));
        fake.next("/token", Reply::json(200, &login("shop-db/migrate")));
        fake.next("/token", Reply::json(200, &jwt("deploy-api")));
        fake.next("/token", refusal("policy.condition"));
        let mut arguments: Vec<&str> = command.split(' ').collect();
        arguments.extend(names);
        arguments.extend(match command {
            "get" => &["--format", "env"][..],
            _ => &["--", "sh", "-c", "echo started"],
        });
        let output = fake.on_github(&arguments).observed();
        assert_eq!(output.status.code(), Some(1), "{}", told(&output));
        assert_eq!(stdout(&output), "", "{command}");
        assert!(
            stderr(&output).contains("`shop-db/read`: denied:"),
            "{}",
            told(&output)
        );
        assert_eq!(revoked(&fake), 1, "{command}");
        if command == "get" {
            let said = stderr(&output);
            assert!(
                said.contains("`shop-db/migrate` was not delivered, and is revoked"),
                "{said}"
            );
            assert!(said.contains("`deploy-api` was issued but not delivered; it cannot be revoked and expires at 2099-01-01T00:00:00Z"), "{said}");
        }
    }
}

/// T-386
#[test]
fn a_shared_login_before_a_refusal_is_left_to_its_other_holders() {
    for command in ["get", "exec"] {
        let fake = Fake::start();
        let mut shared = login("shop-db/migrate");
        shared["hallpass"]["shared"] = true.into();
        fake.next("/api/explain", refusal("policy.condition"));
        fake.next("/token", Reply::json(200, &shared));
        fake.next("/token", refusal("policy.condition"));
        let arguments = [command, "A=shop-db/migrate", "B=shop-db/read"];
        let more: &[&str] = match command {
            "get" => &["--format", "env"],
            _ => &["--", "true"],
        };
        let output = fake.on_github(&[&arguments, more].concat()).observed();
        assert_eq!(output.status.code(), Some(1), "{}", told(&output));
        assert_eq!(revoked(&fake), 0, "{command}");
        let expected = "`shop-db/migrate` is not revoked, because other tokens of this subject have the same login";
        let said = stderr(&output);
        assert_eq!(said.contains(expected), command == "get", "{said}");
    }
}

#[test]
fn revoke_ends_every_login_of_the_json() {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("logins.json");
    let arguments = ["shop-db/migrate", "shop-db/read", "deploy-api", "--out"];
    let output = get(&fake, &arguments).arg(&file).observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(fs::read_to_string(&file).unwrap().contains(PASSWORD));
    let revoke = |more: &[&str]| {
        let mut arguments = vec!["revoke", "--file"];
        let path = file.to_str().unwrap();
        arguments.push(path);
        arguments.extend(more);
        let output = fake.hallpass(&arguments).observed();
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        stdout(&output)
    };
    assert_eq!(revoke(&[]), "The login is gone.\nThe login is gone.\n");
    assert_eq!(
        revoke(&["--output", "json"]),
        "{\"revocations\":[\"gone\",\"gone\"]}\n"
    );
    assert_eq!(revoked(&fake), 4);
}
