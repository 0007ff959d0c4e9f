//! Credentials with `algorithm: RS256`, for relying parties that take nothing else.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use data_encoding::BASE64URL_NOPAD;
use hallpass::credential::jwt::{Rs256Files, Rs256Keys};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Value, json};

use crate::support::TestBroker;
use crate::support::broker::{
    ALSO_RS256, openssl_key, policies_with_rs256, rsa_key, write_private,
};
use crate::support::client::get;
use crate::support::leaks::{self, Observed as _};

async fn token(broker: &TestBroker, credential: &str) -> String {
    let answer = broker.exchange(&broker.github(|_| {}), credential).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.text("/access_token")
}

fn verifies(token: &str, key: &Jwk, algorithm: Algorithm) -> bool {
    let mut rules = Validation::new(algorithm);
    rules.set_audience(&["https://deploy.acme.dev", "api://AzureADTokenExchange"]);
    rules.set_issuer(&[TestBroker::issuer()]);
    // The broker's clock is fixed, the library's is not.
    rules.validate_exp = false;
    let key = DecodingKey::from_jwk(key).unwrap();
    decode::<Value>(token, &key, &rules).is_ok()
}

/// Whether OpenSSL finds that the private key in that file has signed the token.
fn openssl_verifies(token: &str, folder: &Path, key: &Path) -> bool {
    let (input, signature) = token.rsplit_once('.').unwrap();
    let [public, signed, signature_file] =
        ["public.pem", "signed", "signature"].map(|name| folder.join(name));
    let made = Command::new("openssl")
        .args(["pkey", "-pubout", "-in"])
        .arg(key)
        .arg("-out")
        .arg(&public)
        .status();
    assert!(made.unwrap().success());
    fs::write(&signed, input).unwrap();
    let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
    fs::write(&signature_file, signature).unwrap();
    let verified = Command::new("openssl")
        .args(["dgst", "-sha256", "-verify"])
        .arg(&public)
        .arg("-signature")
        .arg(&signature_file)
        .arg(&signed)
        .observed();
    verified.status.success()
}

/// T-87, T-170
#[tokio::test]
async fn each_algorithm_has_its_own_keys_and_no_token_verifies_with_anothers() {
    let broker = TestBroker::builder()
        .policies(&policies_with_rs256())
        .setting(ALSO_RS256)
        .private_file("rsa.key", &rsa_key())
        .private_file("next.key", &rsa_key())
        .start()
        .await;
    let published = get(broker.public(), "/.well-known/jwks.json").await;
    let keys: JwkSet = serde_json::from_str(&published.body).unwrap();
    assert_eq!(keys.keys.len(), 5);
    for (credential, algorithm, other) in [
        ("deploy-api", Algorithm::ES256, Algorithm::RS256),
        ("azure", Algorithm::RS256, Algorithm::ES256),
    ] {
        let token = token(&broker, credential).await;
        let header = decode_header(&token).unwrap();
        assert_eq!(header.alg, algorithm, "{credential}");
        assert_eq!(header.typ.as_deref(), Some("at+jwt"));
        let key = keys.find(header.kid.as_deref().unwrap()).unwrap();
        assert_eq!(key.common.key_algorithm, Some(algorithm.into()));
        assert!(verifies(&token, key, algorithm), "{credential}");
        assert!(!verifies(&token, key, other), "{credential}");
        let verifying = keys.keys.iter().filter(|key| {
            let is_of = key.common.key_algorithm == Some(algorithm.into());
            is_of && verifies(&token, key, algorithm)
        });
        assert_eq!(verifying.count(), 1, "{credential}");
    }
    let token = token(&broker, "azure").await;
    let folder = tempfile::tempdir().unwrap();
    for (file, expected) in [("rsa.key", true), ("next.key", false)] {
        let verified = openssl_verifies(&token, folder.path(), &broker.file(file));
        assert_eq!(verified, expected, "{file}");
    }
    let rsa = published.json()["keys"].as_array().unwrap().clone();
    for key in rsa.iter().filter(|key| key["kty"] == "RSA") {
        let members: Vec<&str> = key
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(members, ["alg", "e", "kid", "kty", "n", "use"]);
        assert_eq!((&key["alg"], &key["use"]), (&json!("RS256"), &json!("sig")));
    }
}

/// T-170
#[tokio::test]
async fn metadata_names_rs256_only_where_there_is_a_key_for_it() {
    let algorithms = async |broker: &TestBroker| {
        let metadata = get(broker.public(), "/.well-known/openid-configuration").await;
        metadata.json()["id_token_signing_alg_values_supported"].clone()
    };
    let broker = TestBroker::start().await;
    assert_eq!(algorithms(&broker).await, json!(["ES256"]));
    let broker = TestBroker::builder()
        .setting("signing: { algorithm: EdDSA, also: [ { kind: file, algorithm: RS256, key: { file: rsa.key } } ] }")
        .private_file("rsa.key", &rsa_key())
        .start()
        .await;
    assert_eq!(algorithms(&broker).await, json!(["EdDSA", "RS256"]));
}

/// T-84, T-109: an issuer that publishes it has our key, or is us.
#[tokio::test]
async fn an_issuer_that_publishes_one_of_our_rs256_keys_is_refused() {
    use std::sync::Arc;

    use hallpass::token::TrustedIssuer;
    use hallpass::token::keys::FileKeys;

    use crate::support::broker::GITHUB;
    use crate::support::tokens::{TestKey, jwks};

    let (key, next) = (rsa_key(), rsa_key());
    let start = |keys: Vec<Value>| {
        let set = jwks(&keys);
        let source = FileKeys::new()
            .with_document(&TrustedIssuer::new("github", GITHUB), &set)
            .unwrap();
        TestBroker::builder()
            .policies(&policies_with_rs256())
            .setting(ALSO_RS256)
            .private_file("rsa.key", &key)
            .private_file("next.key", &next)
            .keys(Arc::new(source))
            .start()
    };
    let theirs = TestKey::rsa("k1").jwk();
    let broker = start(vec![theirs.clone()]).await;
    let answer = broker.exchange(&broker.github(|_| {}), "azure").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let published = get(broker.public(), "/.well-known/jwks.json").await.json();
    let published = published["keys"].as_array().unwrap();
    let ours = published.iter().filter(|key| key["kty"] == "RSA");
    for (at, ours) in ours.enumerate() {
        let mut entry = ours.clone();
        entry["kid"] = json!("theirs");
        let broker = start(vec![theirs.clone(), entry]).await;
        let answer = broker.exchange(&broker.github(|_| {}), "azure").await;
        assert_eq!(answer.reason(), "keys.own", "{at}");
    }
}

/// The text that says why there are no keys in these files.
fn problem(key: &str, next: Option<&str>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let files = Rs256Files {
        key: folder.path().join("rsa.key"),
        next: next.map(|_| folder.path().join("next.key")),
    };
    write_private(&files.key, key);
    if let (Some(text), Some(path)) = (next, &files.next) {
        write_private(path, text);
    }
    match Rs256Keys::read(&files) {
        Ok(keys) => {
            leaks::said("Debug of keys", format!("{keys:?}").as_bytes());
            String::new()
        }
        Err(error) => {
            leaks::said("Debug of an error", format!("{error:?}").as_bytes());
            let folder = format!("{}/", folder.path().display());
            error.to_string().replace(&folder, "")
        }
    }
}

fn rsa_with(options: &[&str]) -> String {
    let mut arguments = vec!["genpkey", "-algorithm", "RSA"];
    arguments.extend(options.iter().flat_map(|option| ["-pkeyopt", option]));
    openssl_key(&arguments)
}

/// T-172
#[test]
fn both_forms_of_pem_are_read_and_a_key_counts_by_its_number() {
    let _guard = leaks::watch();
    let key = rsa_key();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    write_private(&path, &key);
    let path = path.to_str().unwrap();
    let traditional = openssl_key(&["rsa", "-traditional", "-in", path]);
    assert!(traditional.starts_with("-----BEGIN RSA PRIVATE KEY-----"));
    assert_eq!(problem(&traditional, None), "");
    let large = rsa_with(&["rsa_keygen_bits:3072"]);
    assert_eq!(problem(&key, Some(&large)), "");
    insta::assert_snapshot!(problem(&key, Some(&traditional)), @"RS256 key file `next.key` holds the same key as `rsa.key`; `next` must hold another one; see `signing.also` in the settings");
    insta::assert_snapshot!(problem(&format!("{key}{large}"), None), @"RS256 key file `rsa.key` holds more than one private key, expected one; see `signing.also` in the settings");
}

/// T-172
#[test]
fn a_weak_foreign_or_damaged_key_does_not_sign() {
    let _guard = leaks::watch();
    let short = rsa_with(&["rsa_keygen_bits:1024"]);
    insta::assert_snapshot!(problem(&short, None), @"RS256 key file `rsa.key` holds a key that must not sign: its modulus is not 2048 to 8192 bits long; make one with `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072`; see `signing.also` in the settings");
    let exponent = rsa_with(&["rsa_keygen_bits:2048", "rsa_keygen_pubexp:3"]);
    insta::assert_snapshot!(problem(&exponent, None), @"RS256 key file `rsa.key` holds a key whose public exponent is not 65537; make one with `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072`; see `signing.also` in the settings");
    let curve = openssl_key(&[
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
    ]);
    insta::assert_snapshot!(problem(&curve, None), @"RS256 key file `rsa.key` holds a key of another type, expected RSA; make one with `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072`; see `signing.also` in the settings");
    let pss = openssl_key(&[
        "genpkey",
        "-algorithm",
        "RSA-PSS",
        "-pkeyopt",
        "rsa_keygen_bits:2048",
    ]);
    insta::assert_snapshot!(problem(&pss, None), @"RS256 key file `rsa.key` holds a key of another type, expected RSA; make one with `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072`; see `signing.also` in the settings");
    let encrypted = openssl_key(&[
        "genpkey",
        "-algorithm",
        "RSA",
        "-aes256",
        "-pass",
        "pass:for-the-tests-only",
    ]);
    insta::assert_snapshot!(problem(&encrypted, None), @"RS256 key file `rsa.key` is encrypted, expected a key without a passphrase; remove it with `openssl pkey`; see `signing.also` in the settings");
    let key = rsa_key();
    // A digit within the key.
    let changed: String = key
        .chars()
        .enumerate()
        .map(|(at, letter)| match (at, letter) {
            (600, 'A') => 'B',
            (600, _) => 'A',
            (_, letter) => letter,
        })
        .collect();
    insta::assert_snapshot!(problem(&changed, None), @"RS256 key file `rsa.key` is not a \
        complete private key; was it truncated or changed when it was copied?; see \
        `signing.also` in the settings");
    let lines: Vec<&str> = key.lines().collect();
    let cut = [&lines[..10], &lines[lines.len() - 1..]]
        .concat()
        .join("\n");
    insta::assert_snapshot!(problem(&cut, None), @"RS256 key file `rsa.key` is not a complete \
        private key; was it truncated or changed when it was copied?; see `signing.also` in the settings");
    insta::assert_snapshot!(problem(&lines[1..].join("\n"), None), @"RS256 key file `rsa.key` holds no private key in PEM; make one with `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072`; see `signing.also` in the settings");
    insta::assert_snapshot!(problem("hallpass-root-1:AAAA\n", None), @"RS256 key file `rsa.key` holds no private key in PEM; make one with `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072`; see `signing.also` in the settings");
}

/// T-173
#[test]
fn an_rs256_key_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let files = Rs256Files {
        key: folder.path().join("rsa.key"),
        next: None,
    };
    let problem = || {
        let text = Rs256Keys::read(&files).unwrap_err().to_string();
        text.replace(&format!("{}/", folder.path().display()), "")
    };
    insta::assert_snapshot!(problem(), @"RS256 key file `rsa.key` cannot be read: No such file or directory (os error 2); see `signing.also` in the settings");
    write_private(&files.key, &rsa_key());
    for mode in [0o604, 0o644, 0o660, 0o700] {
        fs::set_permissions(&files.key, fs::Permissions::from_mode(mode)).unwrap();
        let text = problem();
        assert!(
            text.contains(&format!("has mode {mode:04o}, expected")),
            "{text}"
        );
    }
    fs::remove_file(&files.key).unwrap();
    fs::create_dir(&files.key).unwrap();
    insta::assert_snapshot!(problem(), @"RS256 key file `rsa.key` is a directory, expected a regular file; see `signing.also` in the settings");
}
