//! Who may ask the other side, and what else its tokens are good for.

use std::collections::BTreeSet;

use data_encoding::BASE64URL_NOPAD;
use hallpass::clock::Timestamp;
use hallpass::credential::target::Severity;
use serde_json::Value;

use super::broken::Broken;
use super::stage::{SIGNING, Stage, errors, findings, fresh_random, logins, made, order};

/// Every rule of the contract that is about signatures is tried by the command, and the example keeps it.
///
/// T-452
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_refuses_every_request_that_is_not_the_brokers() {
    let stage = Stage::start();
    let all = findings(&stage.settings, true).await;
    let kept: Vec<&str> = all
        .iter()
        .filter(|finding| finding.severity == Severity::Fine)
        .filter_map(|finding| finding.message.strip_prefix("kept: "))
        .collect();
    let broken: Vec<&str> = all
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .map(|finding| finding.message.as_str())
        .collect();
    assert_eq!(broken, Vec::<&str>::new());
    assert!(kept.len() >= 45, "{} {kept:?}", kept.len());
    // Nothing of it stays.
    assert_eq!(stage.users(), Vec::<String>::new());
}

/// T-452: another side that checks nothing does not pass.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_side_that_accepts_any_signature_breaks_the_contract() {
    let side = Broken::start().await;
    let broken = errors(&side.settings, true).await;
    for rule in [
        "a request without a token is refused",
        "a token without a signature is refused",
        "a changed signature is refused",
        "a key that the broker does not publish is refused",
        "an old token is refused",
        "a token from the future is refused",
        "`/end`: a request without a token is refused",
        "`/list`: a changed body is refused",
        "`/check`: another `typ` is refused",
        "a token that lives longer than a minute is refused",
        "another `iss` is refused",
        "an `aud` with another path is refused",
        "an `aud` with another host is refused",
        "another `typ`, as tokens for jobs have, is refused",
        "a changed body is refused",
        "a token without `body_sha256` is refused",
        "a refused request makes nothing",
        "a group that it does not have is refused",
        "a life of more than an hour is refused",
        "a name that is no lease's is not made",
        "a name that is no lease's is not ended",
    ] {
        let is_found = broken.iter().any(|error| error.contains(rule));
        assert!(is_found, "{rule}: {broken:?}");
    }
    assert!(
        !broken
            .iter()
            .any(|error| error.contains("create again finds it")),
        "{broken:?}"
    );
}

/// The claims and the header of the token in a request.
pub(super) fn parts(head: &str) -> (Value, Value, String) {
    let line = head
        .lines()
        .find_map(|line| line.strip_prefix("authorization: Bearer "));
    let token = line.unwrap().to_owned();
    let parts: Vec<&str> = token.split('.').collect();
    let read =
        |text: &str| serde_json::from_slice(&BASE64URL_NOPAD.decode(text.as_bytes()).unwrap());
    (
        read(parts[0]).unwrap(),
        read(parts[1]).unwrap(),
        token.clone(),
    )
}

/// T-452
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_signed_for_its_url_its_body_and_a_minute() {
    let side = Broken::start().await;
    let broker = side.broker();
    let mint = logins(&broker).make(order("reader", 600, &fresh_random()));
    made(mint.await).unwrap();
    broker.sweep("app").await.unwrap();
    let mut ids = BTreeSet::new();
    for path in ["/create", "/list"] {
        for (head, body) in side.requests(path) {
            let (header, claims, _) = parts(&head);
            assert_eq!(header["typ"], "hallpass-webhook+jwt");
            let kid = header["kid"].as_str().unwrap();
            let now = claims["iat"].as_i64().unwrap();
            assert!(SIGNING.publishes(kid, Timestamp::from_unix(now)).unwrap());
            assert_eq!(claims["iss"], "https://hallpass.test");
            assert_eq!(claims["sub"], "target/app");
            assert_eq!(claims["aud"], format!("{}{path}", side.settings.url));
            assert_eq!(claims["exp"], now + 60);
            assert!(ids.insert(claims["jti"].as_str().unwrap().to_owned()));
            let names: Vec<&String> = claims.as_object().unwrap().keys().collect();
            assert_eq!(names.len(), 7, "{names:?}");
            assert!(claims["body_sha256"].as_str().unwrap().len() == 64 && body.is_object());
        }
    }
    assert!(ids.len() >= 3);
}
