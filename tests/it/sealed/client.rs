//! The client: what it does with an answer that is not sealed as it asked, and how it keeps keys.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use hallpass::credential::sealed::RecipientKey;
use serde_json::{Value, json};

use super::message::{Message, Recipient};
use crate::client::fake::{Fake, LEASE, PASSWORD, Reply, hallpass, login, stderr, stdout, told};
use crate::support::leaks::Observed as _;

/// An answer sealed to this recipient, as far as a job can see.
fn sealed_login(recipient: &Recipient) -> Value {
    let message = Message::of(recipient, "canary").text();
    let mut answer = login("shop-db/migrate");
    answer["access_token"] = message.as_str().into();
    answer["issued_token_type"] = "urn:hallpass:sealed".into();
    let credential = answer["hallpass"]["credential"].as_object_mut().unwrap();
    credential.retain(|name, _| !["password", "url"].contains(&name.as_str()));
    credential.insert("sealed".to_owned(), message.into());
    answer
}

fn public_key(folder: &Path, recipient: &Recipient) -> String {
    let path = folder.join("recipient.pub");
    fs::write(&path, recipient.public.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_sealed_answer_is_printed_as_one_line_and_nothing_else() {
    let (folder, recipient, fake) = (
        tempfile::tempdir().unwrap(),
        Recipient::new(),
        Fake::start(),
    );
    let key = public_key(folder.path(), &recipient);
    let answer = sealed_login(&recipient);
    fake.next("/token", Reply::json(200, &answer));
    let get = ["get", "shop-db/migrate", "--seal-to", &key];
    let output = fake.on_github(&get).observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let message = answer["access_token"].as_str().unwrap();
    assert_eq!(stdout(&output), format!("{message}\n"));
    assert_eq!(stderr(&output), "");
    let sent = &fake.asked("/token")[0].form["response_encryption_jwk"];
    let sent = RecipientKey::parse(sent.as_bytes()).unwrap();
    assert_eq!(sent.thumbprint(), recipient.thumbprint());
    let out = folder.path().join("sealed.txt");
    fake.next("/token", Reply::json(200, &answer));
    let output = fake.on_github(&get).arg("--out").arg(&out).observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(fs::read_to_string(&out).unwrap(), format!("{message}\n"));
}

/// Each of them is what a proxy can make of the request or the answer.
///
/// T-116, T-225
#[test]
fn an_answer_that_is_not_sealed_as_asked_is_revoked_and_not_printed() {
    let (folder, recipient) = (tempfile::tempdir().unwrap(), Recipient::new());
    let key = public_key(folder.path(), &recipient);
    let with = |pointer: &str, value: Value| {
        let mut answer = sealed_login(&recipient);
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = match parent {
            "" => &mut answer,
            parent => answer.pointer_mut(parent).unwrap(),
        };
        parent[name] = value;
        answer
    };
    for (what, answer) in [
        ("the parameter was removed", login("shop-db/migrate")),
        ("another key", sealed_login(&Recipient::new())),
        (
            "a secret beside",
            with("/hallpass/credential/password", PASSWORD.into()),
        ),
        (
            "another message",
            with("/access_token", "eyJ.eyJ.a.b.c".into()),
        ),
        (
            "the type of a token",
            with(
                "/issued_token_type",
                "urn:hallpass:credential:postgres".into(),
            ),
        ),
    ] {
        let fake = Fake::start();
        fake.next("/token", Reply::json(200, &answer));
        let get = ["get", "shop-db/migrate", "--seal-to", &key];
        let output = fake.on_github(&get).observed();
        assert_ne!(output.status.code(), Some(0), "{what}: {}", told(&output));
        assert_eq!(stdout(&output), "", "{what}");
        assert!(!stderr(&output).contains(PASSWORD), "{what}");
        let revoked: Vec<_> = fake
            .asked("/revoke")
            .into_iter()
            .map(|one| one.form["token"].clone())
            .collect();
        assert_eq!(revoked, [LEASE], "{what}: {}", told(&output));
        insta::allow_duplicates! {
            insta::assert_snapshot!(stderr(&output), @"hallpass: the answer is not sealed as requested, so it is not used; its credential is revoked: the broker is too old for sealed delivery, or something in between changed the request");
        }
    }
    // What was not asked for is not used either.
    let fake = Fake::start();
    fake.next("/token", Reply::json(200, &sealed_login(&recipient)));
    let output = fake.on_github(&["get", "shop-db/migrate"]).observed();
    assert_ne!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(stdout(&output), "");
    assert_eq!(fake.asked("/revoke").len(), 1);
}

/// T-137, T-225
#[test]
fn a_message_that_was_not_printed_leaves_no_credential() {
    let (folder, recipient, fake) = (
        tempfile::tempdir().unwrap(),
        Recipient::new(),
        Fake::start(),
    );
    let key = public_key(folder.path(), &recipient);
    fake.next("/token", Reply::json(200, &sealed_login(&recipient)));
    let output = fake
        .on_github(&["get", "shop-db/migrate", "--seal-to", &key])
        .stdout(crate::client::handed_over::full_disk())
        .observed();
    assert_eq!(output.status.code(), Some(5), "{}", told(&output));
    assert_eq!(fake.asked("/revoke").len(), 1);
}

/// T-220
#[test]
fn a_key_that_nothing_can_be_sealed_to_is_refused_before_the_token_is_used() {
    let (folder, fake) = (tempfile::tempdir().unwrap(), Fake::start());
    let path = folder.path().join("key");
    let get = |text: &str| {
        fs::write(&path, text).unwrap();
        let get = [
            "get",
            "shop-db/migrate",
            "--seal-to",
            path.to_str().unwrap(),
        ];
        let output = fake.on_github(&get).observed();
        assert_eq!(output.status.code(), Some(2), "{}", told(&output));
        assert!(!stderr(&output).contains("AAECAw"), "{}", told(&output));
        stderr(&output)
    };
    let mut public = Recipient::new().public;
    public["d"] = "AAECAwQFBgcICQ".into();
    let said = [
        get(&public.to_string()),
        get("not JSON"),
        get(""),
        get(&json!({ "keys": [] }).to_string()),
        get(&"a".repeat(2_000)),
    ];
    insta::assert_snapshot!(said.concat(), @r"
    hallpass: the key of `--seal-to` has the private member `d`: send the public key alone, and use a new key, since this one was sent
    hallpass: the key of `--seal-to` is not a JWK, expected one JSON object: expected an object at byte 0
    hallpass: the key of `--seal-to` is not a JWK, expected one JSON object: expected an object at byte 0
    hallpass: the key of `--seal-to` must have `kty` EC with `crv` P-256, or `kty` OKP with `crv` X25519
    hallpass: the key of `--seal-to` is longer than 1024 bytes, expected one public key as a JWK
    ");
    assert!(fake.asked("/token").is_empty() && fake.asked("/idtoken").is_empty());
}

/// The private half of a pair that this side makes would never reach the recipient.
#[test]
fn a_certificate_is_sealed_for_a_key_pair_of_the_recipient_only() {
    let (folder, recipient, fake) = (
        tempfile::tempdir().unwrap(),
        Recipient::new(),
        Fake::start(),
    );
    let key = public_key(folder.path(), &recipient);
    let offers = json!({ "credentials": [{
        "credential": "host", "kind": "ssh", "policy": "p", "ttl": 900, "scopes": [], "purpose": "",
    }] });
    fake.next("/api/explain", Reply::json(200, &offers));
    let output = fake
        .on_github(&["get", "host", "--seal-to", &key])
        .observed();
    assert_eq!(output.status.code(), Some(5), "{}", told(&output));
    insta::assert_snapshot!(stderr(&output), @"hallpass: `host` is a certificate for a key pair, and the recipient must make that pair: pass its public half with `--input public_key=@FILE`");
    assert!(fake.asked("/token").is_empty());
}

/// T-228
#[test]
fn a_new_key_is_private_and_overwrites_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deploy.key");
    let make = || hallpass(&["keys", "recipient", "--out", path.to_str().unwrap()]).observed();
    let output = make();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let public = RecipientKey::parse(stdout(&output).trim().as_bytes()).unwrap();
    assert!(!stdout(&output).contains("\"d\""));
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let private = fs::read(&path).unwrap();
    let output = make();
    assert_eq!(output.status.code(), Some(5), "{}", told(&output));
    assert_eq!(fs::read(&path).unwrap(), private);
    assert_eq!(public.thumbprint().len(), 43);
}

/// T-228
#[test]
fn a_private_key_that_others_can_read_opens_nothing() {
    let (folder, fake) = (tempfile::tempdir().unwrap(), Fake::start());
    let path = folder.path().join("deploy.key");
    let link = folder.path().join("link.key");
    let made = hallpass(&["keys", "recipient", "--out", path.to_str().unwrap()]).observed();
    assert_eq!(made.status.code(), Some(0), "{}", told(&made));
    symlink(&path, &link).unwrap();
    fs::write(folder.path().join("keys.json"), r#"{"keys":[]}"#).unwrap();
    fs::write(folder.path().join("message"), "eyJ.a").unwrap();
    let unseal = |key: &Path| {
        let output = fake
            .hallpass(&[
                "unseal",
                "shop-db/migrate",
                "message",
                "--broker-keys",
                "keys.json",
            ])
            .current_dir(folder.path())
            .arg("--key")
            .arg(key.file_name().unwrap())
            .observed();
        assert_eq!(output.status.code(), Some(5), "{}", told(&output));
        assert_eq!(stdout(&output), "");
        stderr(&output)
    };
    let opened = unseal(&path);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let said = [
        opened,
        unseal(&path),
        unseal(&link),
        unseal(Path::new("none")),
    ];
    insta::assert_snapshot!(said.concat(), @r"
    hallpass: the sealed message cannot be opened with this key: it is damaged, for another key, or not a sealed answer of hallpass
    hallpass: `deploy.key` is not private; expected a regular file owned by this user, mode 0600
    hallpass: `link.key` cannot be read: Too many levels of symbolic links (os error 40)
    hallpass: `none` cannot be read: No such file or directory (os error 2)
    ");
}

/// The user wrote `--seal-to`, and no member of a request.
#[cfg(not(feature = "sealed"))]
#[test]
fn a_broker_that_cannot_seal_is_named_by_its_missing_feature() {
    let (folder, recipient) = (tempfile::tempdir().unwrap(), Recipient::new());
    let broker = crate::client::real::Broker::start();
    let key = public_key(folder.path(), &recipient);
    let output = broker
        .command(
            &broker.token(|_| {}),
            &["get", "deploy-api", "--seal-to", &key],
        )
        .observed();
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let text = stderr(&output);
    let wanted = "hallpass: denied: this broker cannot seal credentials (`--seal-to`): it is built without the feature `sealed`; nothing was issued (request.sealed, ";
    assert!(text.starts_with(wanted), "{text}");
}
