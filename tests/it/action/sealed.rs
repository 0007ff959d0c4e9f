//! The input `seal-to`: the secrets are for a recipient outside the job.

use aws_lc_rs::digest;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use super::runner::Job;
use crate::client::fake::{Fake, LEASE, Reply, login};

const REQUEST_TOKEN: &str = "canary-8a41d0c7e3";
/// RFC 7748 section 6.1.
const KEY: &str =
    r#"{"crv":"X25519","kty":"OKP","x":"hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo"}"#;

/// A message of the right form for a key of this thumbprint.
fn message(kid: &str) -> String {
    let header = json!({ "alg": "ECDH-ES", "enc": "A256GCM", "cty": "JWT", "kid": kid });
    let header = BASE64URL_NOPAD.encode(header.to_string().as_bytes());
    format!("{header}..AAAAAAAAAAAAAAAA.Q2lwaGVydGV4dA.AAAAAAAAAAAAAAAAAAAAAA")
}

fn thumbprint() -> String {
    let hash = digest::digest(&digest::SHA256, KEY.as_bytes());
    BASE64URL_NOPAD.encode(hash.as_ref())
}

/// The answer with these members in the place of the secret ones.
fn answer(change: &[(&str, Value)]) -> Value {
    let mut answer = login("shop-db/migrate")["hallpass"].clone();
    let members = answer["credential"].as_object_mut().unwrap();
    members.remove("password");
    members.remove("url");
    for (name, value) in change {
        members.insert((*name).to_owned(), value.clone());
    }
    answer
}

fn job(fake: &Fake, answer: &Value) -> Job {
    fake.next("/api/credentials", Reply::json(200, answer));
    let mut job = Job::new(&fake.url(), "shop-db/migrate");
    job.tokens(&format!("{}/idtoken", fake.url()), REQUEST_TOKEN);
    job.input("seal-to", KEY);
    job
}

/// T-239
#[test]
fn a_sealed_credential_is_an_output_and_outlives_the_job() {
    let fake = Fake::start();
    let sealed = message(&thumbprint());
    let job = job(&fake, &answer(&[("sealed", json!(sealed))]));
    let ran = job.main();
    assert_eq!(ran.code, Some(0), "{}", ran.log);
    let exported: Vec<String> = job.entries("ENV").into_keys().collect();
    assert_eq!(exported, ["HALLPASS_SEALED_FILE"]);
    let file = std::fs::read_to_string(&job.entries("ENV")["HALLPASS_SEALED_FILE"]).unwrap();
    assert_eq!(file.trim(), sealed);
    let shown: Value = serde_json::from_str(&job.entries("OUTPUT")["credentials"]).unwrap();
    assert_eq!(shown["shop-db/migrate"]["sealed"], sealed.as_str());
    // GitHub drops outputs with a masked text.
    assert!(!ran.masks(&sealed) && ran.masks(LEASE));
    assert_eq!(job.post().code, Some(0));
    assert!(fake.asked("/revoke").is_empty());
    assert!(job.secret_files().is_empty());
}

/// T-239
#[test]
fn an_answer_that_is_not_sealed_to_the_key_is_refused_and_revoked() {
    let right = json!(message(&thumbprint()));
    for (number, change) in [
        vec![],
        vec![("password", json!("canary-open"))],
        vec![
            ("sealed", right.clone()),
            ("password", json!("canary-open")),
        ],
        vec![
            ("sealed", right),
            ("url", json!("postgresql://a:canary-open@db/shop")),
        ],
        vec![("sealed", json!(message("of-another-key")))],
        vec![("sealed", json!("canary-open"))],
    ]
    .into_iter()
    .enumerate()
    {
        let fake = Fake::start();
        let mut answer = answer(&change);
        // Others may have it, but it was readable on its way.
        answer["shared"] = json!(number % 2 == 0);
        let job = job(&fake, &answer);
        let ran = job.main();
        assert_eq!(ran.code, Some(1), "{change:?}: {}", ran.log);
        assert!(
            ran.texts("error")[0].contains("is not sealed to the key"),
            "{}",
            ran.log
        );
        assert!(job.entries("ENV").is_empty());
        assert!(!job.entries("OUTPUT")["credentials"].contains("canary"));
        assert_eq!(job.post().code, Some(0));
        assert_eq!(fake.asked("/revoke")[0].form["token"], LEASE, "{change:?}");
    }
}

/// T-239
#[test]
fn with_a_recipient_the_job_can_ask_for_no_secret_and_name_no_private_key() {
    let fake = Fake::start();
    let private = KEY.replace("\"kty\"", "\"d\":\"canary-private\",\"kty\"");
    for (input, value) in [
        ("seal-to", private.as_str()),
        ("export-env", "true"),
        ("format", "url"),
    ] {
        let mut job = job(&fake, &answer(&[]));
        job.input(input, value);
        let ran = job.main();
        assert_eq!(ran.code, Some(1), "{input}: {}", ran.log);
        assert!(ran.texts("error")[0].contains("seal-to"), "{}", ran.log);
        assert!(!ran.texts("error")[0].contains("canary-private"));
    }
    assert!(fake.asked("/idtoken").is_empty());
}
