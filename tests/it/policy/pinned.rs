//! `jwks: { file: … }` of an issuer, as it is read.

use super::*;
use crate::support::tokens::{TestKey, jwks};
use serde_json::json;

fn root(more: &str) -> String {
    format!(
        "issuers:\n  lab: {{ provider: gitlab, url: \"https://gitlab.lab.acme.dev\", jwks: {{ file: keys/lab.json }}{more} }}\n"
    )
}

fn set(keys: &[Value]) -> String {
    text(&jwks(keys))
}

/// What the loader reports of a folder with this key set.
fn found(root: &str, keys: &str) -> Vec<(Severity, String)> {
    let dir = folder(&[("root.yaml", root), ("keys/lab.json", keys)]);
    found_in(dir.path())
}

fn found_in(dir: &Path) -> Vec<(Severity, String)> {
    let all = match PolicySet::load(dir) {
        Ok(loaded) => loaded.findings,
        Err(errors) => errors,
    };
    let ours = all.iter().filter(|one| one.rule == "jwks");
    ours.map(|one| (one.severity, one.message.clone()))
        .collect()
}

/// T-309
#[test]
fn a_pinned_key_set_is_checked_like_a_fetched_one_and_holds_no_private_key() {
    let good = TestKey::p256("k1").jwk();
    let rsa = TestKey::rsa("k2").jwk();
    let es256 = ", algorithms: [ES256]";
    assert_eq!(found(&root(es256), &set(std::slice::from_ref(&good))), []);
    // The issuer's algorithms decide what is admitted, wherever they are written.
    let wrong = found(&root(""), &set(std::slice::from_ref(&good)));
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    let unusable = "`keys/lab.json` has no key that can be used";
    assert!(
        wrong.contains(&(Severity::Error, unusable.to_owned())),
        "{wrong:?}"
    );
    let other = found(&root(es256), &set(&[good.clone(), rsa.clone()]));
    insta::assert_snapshot!(format!("{other:?}"), @r#"[(Warning, "key 1 of `keys/lab.json` is left out: its `alg` does not fit the key or the issuer's algorithms")]"#);
    let mut private = rsa.clone();
    private["d"] = json!("Ca4NAr1e");
    // It shares its `kid` with another, and is a leaked key all the same.
    let leaked = found(&root(""), &set(&[rsa.clone(), private]));
    assert!(
        (leaked.iter()).any(|(severity, message)| *severity == Severity::Error
            && message.contains("private or symmetric member")),
        "{leaked:?}"
    );
    let symmetric = json!({ "kty": "oct", "kid": "k2", "k": "Ca4NAr1e" });
    assert_eq!(
        found(&root(""), &set(&[rsa.clone(), symmetric]))[0].0,
        Severity::Error
    );
    for (text, expected) in [
        ("<html>", "is not a key set: the key set is not strict JSON"),
        ("{\"keys\":{}}", "the key set has no list `keys`"),
        ("{\"keys\":[],\"keys\":[]}", "not strict JSON"),
        ("{\"keys\":[]}", "has no key that can be used"),
    ] {
        let found = found(&root(""), text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert_eq!(found[0].0, Severity::Error);
        assert!(found[0].1.contains(expected), "{text}: {found:?}");
    }
}

/// T-309
#[test]
fn a_pinned_key_set_is_a_file_of_the_folder_that_others_cannot_change() {
    let keys = set(&[TestKey::rsa("k1").jwk()]);
    for (file, expected) in [
        ("../lab.json", "link that leads out of the folder"),
        ("/etc/hostname", "link that leads out of the folder"),
        ("keys", "is not a regular file"),
        ("keys/other.json", "cannot be read"),
    ] {
        let dir = folder(&[
            ("lab.json", &keys),
            (
                "policies/root.yaml",
                &root("").replace("keys/lab.json", file),
            ),
            ("policies/keys/lab.json", &keys),
        ]);
        let found = found_in(&dir.path().join("policies"));
        assert!(found[0].1.contains(expected), "{file}: {found:?}");
    }
    let dir = folder(&[("root.yaml", &root("")), ("lab.json", &keys)]);
    fs::create_dir(dir.path().join("keys")).unwrap();
    let path = dir.path().join("keys/lab.json");
    let outside = folder(&[("lab.json", &keys)]);
    symlink(outside.path().join("lab.json"), &path).unwrap();
    assert!(
        found_in(dir.path())[0]
            .1
            .contains("leads out of the folder")
    );
    fs::remove_file(&path).unwrap();
    fs::write(&path, &keys).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o646)).unwrap();
    assert!(found_in(dir.path())[0].1.contains("writable by every user"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let before = PolicySet::load(dir.path()).unwrap().set;
    assert_eq!(found_in(dir.path()), []);
    fs::write(&path, set(&[TestKey::other_rsa("k1").jwk()])).unwrap();
    let after = PolicySet::load(dir.path()).unwrap().set;
    assert_ne!(before.revision(), after.revision());
}

/// T-308
#[test]
fn settings_of_fetches_are_refused_beside_pinned_keys() {
    let keys = set(&[TestKey::rsa("k1").jwk()]);
    for more in ["networks: [10.0.0.0/8]", "key_hosts: [keys.acme.dev]"] {
        let found = found(&root(&format!(", {more}")), &keys);
        let key = more.split(':').next().unwrap();
        let expected =
            format!("`{key}` has no effect beside `jwks`: the keys of the file are never fetched");
        assert_eq!(found, [(Severity::Error, expected)]);
    }
    // An address needs no network, since nothing connects to it; this machine stays refused.
    let at = |url: &str| root("").replace("https://gitlab.lab.acme.dev", url);
    assert_eq!(found(&at("https://10.1.2.3"), &keys), []);
    let dir = folder(&[
        ("root.yaml", &at("https://127.0.0.1")),
        ("keys/lab.json", &keys),
    ]);
    assert_eq!(rules(dir.path()), ["loopback-issuer"]);
}

/// T-251: the demo's own issuer takes the place of one with pinned keys, and the pinned keys are not
/// accepted there.
#[test]
fn an_issuer_of_hallpass_dev_drops_pinned_keys() {
    let keys = set(&[TestKey::rsa("k1").jwk()]);
    let dir = folder(&[("root.yaml", &root("")), ("keys/lab.json", &keys)]);
    let own = IssuerOverride {
        url: "https://localhost:1".to_owned(),
        ..IssuerOverride::default()
    };
    let options = LoadOptions {
        issuer_overrides: [("lab".to_owned(), own)].into(),
        ..LoadOptions::default()
    };
    let pinned = |options: &LoadOptions| {
        let set = PolicySet::load_with(dir.path(), options).unwrap().set;
        set.readers()[0].issuer.pinned_keys.is_some()
    };
    assert!(pinned(&LoadOptions::default()));
    assert!(!pinned(&options));
}
